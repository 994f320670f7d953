"""From the primitives' strict functions to the public ones: NumPy values enter as Arrays, our
frames are hidden.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from funcgrad.core.array import Array
from funcgrad.core.inputs import as_input
from funcgrad.errors import trimmed

F = TypeVar("F", bound=Callable[..., Any])

STRICT = frozenset(
    "add sub mul div rem max min atan2 nextafter eq ne lt le gt ge bitwise_and bitwise_or "
    "bitwise_xor shift_left shift_right_logical shift_right_arithmetic complex".split()
)

FLOATING = frozenset(
    "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 expm1 log log1p logistic "
    "sqrt rsqrt cbrt floor ceil round is_finite erf erfc erf_inv lgamma digamma".split()
)


def public(function: F) -> F:
    """The function, taking NumPy arrays too (64 bits become the default width)."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            entered = [_entered(function.__name__, a) for a in args]
            named = {name: _entered(function.__name__, a) for name, a in kwargs.items()}
            if function.__name__ in STRICT:
                _check_alike(function.__name__, entered)
            elif function.__name__ in FLOATING:
                _check_inexact(function.__name__, entered)
            return function(*entered, **named)
        except Exception as error:
            __tracebackhide__ = True
            raise trimmed(error)

    return wrapper  # type: ignore[return-value]


def _check_alike(name: str, operands: list[Any]) -> None:
    """Eager operations do not look at types, for speed; what users call by hand does."""
    avals = [x.aval for x in operands if isinstance(x, Array)]
    if len({aval.dtype for aval in avals}) > 1:
        raise TypeError(
            f"{name}: operands must have one dtype, but got {', '.join(map(str, avals))}. "
            "Convert with astype, or use the function of funcgrad.numpy, which promotes."
        )
    if len({aval.shape for aval in avals if aval.shape}) > 1:
        raise ValueError(
            f"{name}: operands must have equal shapes, or rank 0, but got "
            f"{', '.join(map(str, avals))}. "
            "Reshape one, or use the function of funcgrad.numpy, which broadcasts."
        )


def _check_inexact(name: str, operands: list[Any]) -> None:
    """As `_check_alike`: NumPy would compute these of integers too, in double precision."""
    for x in operands:
        if isinstance(x, Array) and not x.aval.has_tangent:
            raise TypeError(
                f"{name}: accepts floating-point and complex numbers, but got {x.aval}. "
                "Convert with astype, or use the function of funcgrad.numpy, which does."
            )


def _entered(name: str, x: Any) -> Any:
    if isinstance(x, (np.ndarray, np.generic)):
        return as_input(name, x)
    if type(x) in (list, tuple) and any(isinstance(item, np.ndarray) for item in x):
        return type(x)(_entered(name, item) for item in x)
    return x
