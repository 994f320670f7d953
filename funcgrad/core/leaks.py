"""Looking for traced values that outlive their function, with `check_tracer_leaks` on."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from funcgrad.config import config
from funcgrad.core.array import Tracer
from funcgrad.core.trace import Trace
from funcgrad.errors import LeakError

F = TypeVar("F", bound=Callable[..., Any])


def leak_checked(function: F) -> F:
    """For functions that trace others: no trace that they begin may be alive when they return."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not config.current().check_tracer_leaks:
            return function(*args, **kwargs)
        before = _living_traces()
        result = function(*args, **kwargs)
        gc.collect()
        for trace in _living_traces():
            if not any(trace is other for other in before):
                _refuse(trace)
        return result

    return wrapper  # type: ignore[return-value]


def _living_traces() -> list[Trace]:
    return [x for x in gc.get_objects() if issubclass(type(x), Trace)]  # asks no proxy anything


def _refuse(trace: Trace) -> NoReturn:
    held = [x for x in gc.get_referrers(trace) if isinstance(x, Tracer)]
    named = [f"{t.aval.strong()}" + (f", made at {t.source}" if t.source else "") for t in held[:3]]
    what = "; ".join(named) or "a trace"
    raise LeakError(
        f"checking_leaks: a traced value outlives the function it was made in: {what}. Return it "
        "from the function; do not store it elsewhere."
    )
