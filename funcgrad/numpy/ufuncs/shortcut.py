"""The short ways for arrays outside of jit: NumPy's ufunc at once where no tracer is about, and
under reverse mode the operation's compiled Unit (transforms/units.py).

Everything else takes the general way: promotion, broadcasting, `bind`. All ways give the same
numbers, for a shortcut is only declared where the general way ends in that same ufunc.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from funcgrad.config import config
from funcgrad.core.array import ConcreteArray
from funcgrad.core.backend import quiet
from funcgrad.core.dtypes import float32, float64
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.transforms.autodiff import AutodiffTrace

Function = Callable[..., Any]


def unary(ufunc: Function) -> Callable[[Function], Function]:
    """Gives a function of one array the shortcut through `ufunc`, for floats."""

    def decorate(general: Function) -> Function:
        @functools.wraps(general)
        def function(x: Any, /) -> Any:
            if type(x) is ConcreteArray and current_trace() is EVAL:
                buffer = x._buffer
                if buffer.dtype is float32 or buffer.dtype is float64:
                    return ConcreteArray(quiet.run(ufunc, buffer), x._weak)
            return differentiated(general, x)

        return function

    return decorate


def test(ufunc: Function) -> Callable[[Function], Function]:
    """As `binary`, for functions whose result is bool and therefore never weak."""
    return binary(ufunc, weak=False)


def binary(ufunc: Function, weak: bool = True) -> Callable[[Function], Function]:
    """Gives a function of two arrays the shortcut through `ufunc`: floats of one dtype, or a
    float array and a number.
    """

    def decorate(general: Function) -> Function:
        @functools.wraps(general)
        def function(x: Any, y: Any, /) -> Any:
            if current_trace() is EVAL:
                if type(x) is ConcreteArray:
                    a, other = x._buffer, type(y)
                    if a.dtype is float32 or a.dtype is float64:
                        if other is ConcreteArray:
                            b = y._buffer
                            if a.dtype is b.dtype and broadcasts(a, b):
                                return ConcreteArray(
                                    quiet.run(ufunc, a, b), weak and x._weak and y._weak
                                )
                        elif other is float or other is int:
                            return ConcreteArray(quiet.run(ufunc, a, y), weak and x._weak)
                elif type(y) is ConcreteArray and (type(x) is float or type(x) is int):
                    b = y._buffer
                    if b.dtype is float32 or b.dtype is float64:
                        return ConcreteArray(quiet.run(ufunc, x, b), weak and y._weak)
                return general(x, y)
            return differentiated(general, x, y)

        function.ufunc = ufunc  # type: ignore[attr-defined]
        return function

    return decorate


def differentiated(general: Function, *args: Any, **settings: Any) -> Any:
    """`general(*args, **settings)`, through its Unit where there is one."""
    trace = current_trace()
    if type(trace) is AutodiffTrace:
        out = trace.composite(general, args, tuple(settings.items()))
        if out is not None:
            return out
    return general(*args, **settings)


def composite(general: Function) -> Function:
    """Gives a function of arrays the way through its Unit; for functions without a ufunc."""

    @functools.wraps(general)
    def function(*args: Any, **settings: Any) -> Any:
        if type(current_trace()) is AutodiffTrace:
            try:
                return differentiated(general, *args, **settings)
            except TypeError:  # settings that cannot be hashed
                return general(*args, **settings)
        return general(*args, **settings)

    return function


def broadcasts(a: Any, b: Any) -> bool:
    """Whether NumPy may broadcast these two buffers; if not, the general way knows what to say."""
    if a.shape == b.shape or not a.ndim or not b.ndim:
        return True
    if a.ndim != b.ndim and config.current().numpy_rank_promotion != "allow":
        return False
    return all(m == n or m == 1 or n == 1 for m, n in zip(reversed(a.shape), reversed(b.shape)))
