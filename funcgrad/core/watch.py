"""Watching values: with `debug_nans` or `debug_infs` on, an operation that makes a NaN or an
infinity raises.

Nothing of it is there until one of the settings is turned on: then the function that runs
operations, `backend.quiet.run`, is exchanged for one that looks at their results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from funcgrad.config import State, config
from funcgrad.core import dtypes
from funcgrad.core.array import to_host
from funcgrad.core.backend import quiet
from funcgrad.core.primitive import registry
from funcgrad.core.source import user_source


def unwanted(buffer: Any) -> bool:
    """Has the buffer a NaN or an infinity that the settings forbid?"""
    state, dtype = config.current(), getattr(buffer, "dtype", None)
    if dtype is None or not dtypes.is_inexact(dtype):
        return False
    host = to_host(buffer)
    nans, infs = state.debug_nans, state.debug_infs
    return bool((nans and np.isnan(host).any()) or (infs and np.isinf(host).any()))


def refuse(name: str, outs: Any) -> NoReturn:
    """Raises FloatingPointError for the first unwanted value among these buffers."""
    bad = next(to_host(o) for o in outs if unwanted(o))
    is_nan = config.current().debug_nans and bool(np.isnan(bad).any())
    wrong = np.isnan(bad) if is_nan else np.isinf(bad)
    kind, setting = ("nan", "debug_nans") if is_nan else ("inf", "debug_infs")
    where = user_source()
    raise FloatingPointError(
        f"{setting}: invalid value ({kind}) from {name}: {int(wrong.sum())} of {bad.size} in a "
        f"result of shape {bad.shape}" + (f", at {where}." if where is not None else ".")
    )


def _name_of(function: Callable[..., Any]) -> str | None:
    """The operation that a function computes: a primitive, or NumPy's of that name."""
    if isinstance(function, np.ufunc):
        return function.__name__
    return next((p.name for p in registry if p.value is function), None)


def _watched(run: Callable[..., Any]) -> Callable[..., Any]:
    def watching(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        out = run(function, *args, **kwargs)
        state = config.current()
        if state.debug_nans or state.debug_infs:
            outs = out if isinstance(out, (list, tuple)) else [out]
            if any(unwanted(o) for o in outs) and (name := _name_of(function)) is not None:
                refuse(name, outs)
        return out

    watching.__name__ = "watching"
    return watching


def _watch_if_asked(state: State) -> None:
    """Exchanges the function that runs operations in this thread, once."""
    asked = state.debug_nans or state.debug_infs
    if asked and getattr(quiet.run, "__name__", "") != "watching":
        quiet.run = _watched(quiet.run)


config.observe(_watch_if_asked)
