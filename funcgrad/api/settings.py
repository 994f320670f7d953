"""Settings that hold inside a `with` block, and names for parts of programs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from funcgrad.config import config
from funcgrad.core import watch as _watch  # noqa: F401 - listens to debug_nans and debug_infs
from funcgrad.core.source import scope
from funcgrad.core.trace import EVAL, running
from funcgrad.core.transfers import DIRECTIONS

Setting = AbstractContextManager[None]


def debug_nans(enable: bool = True) -> Setting:
    """In the `with` block the first operation that makes a NaN raises FloatingPointError, naming
    itself and the user's line.

    Compiled functions run as fast as ever and once more, operation by operation, if there is a NaN
    in their result.

    Example:
        >>> import funcgrad as fg
        >>> with fg.debug_nans(True):
        ...     fg.jit(lambda x: 2 * fg.numpy.log(x))(-1.0)
        Traceback (most recent call last):
            ...
        FloatingPointError: debug_nans: invalid value (nan) from log: 1 of 1 in a result of ...
    """
    return config.override(debug_nans=enable)


def debug_infs(enable: bool = True) -> Setting:
    """As `debug_nans`, for infinities."""
    return config.override(debug_infs=enable)


def log_compiles(enable: bool = True) -> Setting:
    """In the `with` block every compilation is logged (logger "funcgrad"), with the types that it
    is for.
    """
    return config.override(log_compiles=enable)


def checking_leaks() -> Setting:
    """In the `with` block a traced value that outlives its function raises at once, instead of
    when it is used.

    Example:
        >>> import funcgrad as fg
        >>> kept = []
        >>> with fg.checking_leaks():
        ...     fg.jit(lambda x: kept.append(x))(1.0)
        Traceback (most recent call last):
            ...
        funcgrad.errors.LeakError: checking_leaks: a traced value outlives the function ...
    """
    return config.override(check_tracer_leaks=True)


def transfer_guard(setting: str) -> Setting:
    """In the `with` block, copies between the CPU and devices, in all directions.

    A copy is explicit if `device_put` or `device_get` makes it, else implicit: an operation on a
    device array and a NumPy array, `numpy.asarray`, `float`, `print`. On the CPU nothing is copied,
    so there is nothing to guard.

    Args:
        setting: "allow" all of them; "log" or "disallow" (RuntimeError) implicit ones;
            "log_explicit" or "disallow_explicit" explicit ones too.
    """
    every = {f"transfer_guard_{direction}": setting for direction in DIRECTIONS}
    return config.override(transfer_guard=setting, **every)


def transfer_guard_host_to_device(setting: str) -> Setting:
    """As `transfer_guard`, for copies from the CPU to a device."""
    return config.override(transfer_guard_host_to_device=setting)


def transfer_guard_device_to_device(setting: str) -> Setting:
    """As `transfer_guard`, for copies from one device to another."""
    return config.override(transfer_guard_device_to_device=setting)


def transfer_guard_device_to_host(setting: str) -> Setting:
    """As `transfer_guard`, for copies from a device to the CPU."""
    return config.override(transfer_guard_device_to_host=setting)


def numpy_dtype_promotion(setting: str) -> Setting:
    """In the `with` block, operands of different dtypes are promoted ("standard") or raise
    TypeError ("strict").

    Example:
        >>> import funcgrad as fg
        >>> with fg.numpy_dtype_promotion("strict"):
        ...     fg.numpy.ones(2) + fg.numpy.arange(2)
        Traceback (most recent call last):
            ...
        TypeError: ...
    """
    return config.override(numpy_dtype_promotion=setting)


def numpy_rank_promotion(setting: str) -> Setting:
    """In the `with` block, operands of different rank are broadcast ("allow"), broadcast with a
    warning ("warn"), or raise ValueError ("raise").
    """
    return config.override(numpy_rank_promotion=setting)


def default_matmul_precision(precision: str | None) -> Setting:
    """In the `with` block, products record this precision if they are not given one. All products
    here are computed in full precision, so results do not change.
    """
    return config.override(default_matmul_precision=precision)


@contextmanager
def named_scope(name: str) -> Iterator[None]:
    """Names a part of a program: its equations say so wherever their line is told, in profiles and
    in errors. Also a decorator.

    Example:
        >>> import funcgrad as fg
        >>> def f(x):
        ...     with fg.named_scope("attention"):
        ...         return fg.numpy.sin(x)
        >>> str(fg.make_jaxpr(f)(1.0).eqns[0].source).endswith("(f) in attention")
        True
    """
    if not isinstance(name, str):
        raise TypeError(f"named_scope: the name must be a string, but got {name!r:.40}.")
    token = scope.set((*scope.get(), name))
    try:
        yield
    finally:
        scope.reset(token)


def named_call(fun: Callable[..., Any], *, name: str | None = None) -> Callable[..., Any]:
    """The function with its own name, or the one given, as a `named_scope` around it."""
    own = str(name or getattr(fun, "__name__", "function"))
    return functools.wraps(fun)(named_scope(own)(fun))


def ensure_compile_time_eval() -> AbstractContextManager[None]:
    """In the `with` block operations on values that are known are computed while tracing; what is
    traced cannot be used in it.

    Example:
        >>> import funcgrad as fg
        >>> @fg.jit
        ... def f(x):
        ...     with fg.ensure_compile_time_eval():
        ...         rank = int(fg.numpy.arange(3).sum())
        ...     return x ** rank
        >>> float(f(2.0))
        8.0
    """
    return running(EVAL)  # type: ignore[return-value]
