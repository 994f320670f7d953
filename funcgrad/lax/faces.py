"""From the primitives' strict functions to the public ones: NumPy values enter as Arrays, our
frames are hidden.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.core.avals import typeof
from funcgrad.core.inputs import as_input, default_dtype, from_number
from funcgrad.errors import naming, trimmed

F = TypeVar("F", bound=Callable[..., Any])

STRICT = frozenset(
    "add sub mul div rem max min atan2 nextafter eq ne lt le gt ge bitwise_and bitwise_or "
    "bitwise_xor shift_left shift_right_logical shift_right_arithmetic complex".split()
)

# Other functions, some of whose operands must have one dtype: which ones.
ONE_DTYPE = {
    "select": slice(1, 3),
    "select_n": slice(1, None),
    "clamp": slice(0, 3),
    "dynamic_update_slice": slice(0, 2),
    "dynamic_update_slice_in_dim": slice(0, 2),
    "dynamic_update_index_in_dim": slice(0, 2),
}

ONE_SHAPE = frozenset({"select", "select_n", "clamp"})  # among them

SIZES = {"full": 0, "broadcast": 1, "broadcast_in_dim": 1}  # where sizes may come as an array

FLOATING = frozenset(
    "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 expm1 log log1p logistic "
    "sqrt rsqrt cbrt floor ceil round is_finite erf erfc erf_inv lgamma digamma".split()
)


def public(function: F) -> F:
    """The function, taking NumPy arrays too (64 bits become the default width)."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            if function.__name__ in SIZES:
                args = _with_plain_sizes(SIZES[function.__name__], args)
            entered = [_entered(function.__name__, a) for a in args]
            named = {name: _entered(function.__name__, a) for name, a in kwargs.items()}
            if function.__name__ in STRICT:
                _check_dtypes(function.__name__, entered)
                _check_shapes(function.__name__, entered)
            elif function.__name__ in ONE_DTYPE:
                _check_dtypes(function.__name__, entered[ONE_DTYPE[function.__name__]])
                if function.__name__ in ONE_SHAPE:
                    _check_shapes(function.__name__, entered)
            elif function.__name__ in FLOATING:
                _check_inexact(function.__name__, entered)
            return function(*entered, **named)
        except Exception as error:
            __tracebackhide__ = True
            raise trimmed(naming(function.__name__, error))

    return wrapper  # type: ignore[return-value]


def _with_plain_sizes(position: int, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """An array of sizes would unpack to arrays of rank 0, which are no sizes."""
    if len(args) > position and isinstance(args[position], (np.ndarray, Array)):
        return (*args[:position], args[position].tolist(), *args[position + 1 :])
    return args


def _check_dtypes(name: str, operands: list[Any]) -> None:
    """Eager operations do not look at types, for speed; what users call by hand does.

    A Python number takes its partner's dtype where that loses nothing: an integer may meet floats.
    """
    found = [x.aval.dtype for x in operands if isinstance(x, Array)]
    numbers = [x for x in operands if isinstance(x, (bool, int, float, complex))]
    if not found:
        found, numbers = [default_dtype(x) for x in numbers], []
    if len(set(found)) > 1 or not all(_fits(x, found[0]) for x in numbers):
        got = ", ".join(str(typeof(x)) for x in operands)
        raise TypeError(
            f"{name}: operands must have one dtype, but got {got}. "
            "Convert with astype, or use the function of funcgrad.numpy, which promotes."
        )
    for x in numbers:
        from_number(name, x, found[0])


def _fits(number: Any, dtype: Any) -> bool:
    """Is the number's kind no wider than the dtype's?"""
    return dtypes.promote(((dtype, False), (default_dtype(number), True)))[0] == dtype


def _check_shapes(name: str, operands: list[Any]) -> None:
    avals = [x.aval for x in operands if isinstance(x, Array)]
    if len({aval.shape for aval in avals if aval.shape}) > 1:
        raise ValueError(
            f"{name}: operands must have equal shapes, or rank 0, but got "
            f"{', '.join(map(str, avals))}. "
            "Reshape one, or use the function of funcgrad.numpy, which broadcasts."
        )


def _check_inexact(name: str, operands: list[Any]) -> None:
    """As `_check_dtypes`: NumPy would compute these of integers too, in double precision."""
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
