"""Arithmetic: sums, products, quotients, remainders, powers, absolute values, extrema."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, Tracer
from funcgrad.core.avals import typeof
from funcgrad.numpy.promote import (
    as_array,
    choose,
    promote_args,
    promote_args_inexact,
    promote_args_numeric,
    promote_dtypes_numeric,
    promote_shapes,
)
from funcgrad.numpy.ufuncs import shortcut
from funcgrad.primitives import elementwise as P, logic
from funcgrad.primitives.basis import add as _add, div, mul, neg, sub


@shortcut.binary(np.add)
def add(x: Any, y: Any, /) -> Array:
    """Sum x + y; for bools, whether either is true."""
    x, y = promote_args("add", x, y)
    return logic.bitwise_or(x, y) if x.dtype == dtypes.bool_ else _add(x, y)


@shortcut.binary(np.subtract)
def subtract(x: Any, y: Any, /) -> Array:
    """Difference x - y; bools are an error."""
    return sub(*promote_args("subtract", x, y))


@shortcut.binary(np.multiply)
def multiply(x: Any, y: Any, /) -> Array:
    """Product x * y; for bools, whether both are true."""
    x, y = promote_args("multiply", x, y)
    return logic.bitwise_and(x, y) if x.dtype == dtypes.bool_ else mul(x, y)


@shortcut.binary(np.divide)
def true_divide(x1: Any, x2: Any, /) -> Array:
    """Quotient x1 / x2, always a float or complex number."""
    return div(*promote_args_inexact("divide", x1, x2))


divide = true_divide


@shortcut.unary(np.negative)
def negative(x: Any, /) -> Array:
    """-x; bools are an error."""
    return neg(*promote_args("negative", x))


def positive(x: Any, /) -> Array:
    """x itself, as an array."""
    return as_array("positive", x)


# ---- division with remainder -------------------------------------------------------------------


def floor_divide(x1: Any, x2: Any, /) -> Array:
    """Quotient rounded toward minus infinity, in the promoted dtype of the operands."""
    x1, x2 = promote_args_numeric("floor_divide", x1, x2)
    if dtypes.is_complex(x1.dtype):
        raise TypeError("floor_divide: complex numbers have no order; needs real operands.")
    if not dtypes.is_integer(x1.dtype):
        return _float_divmod(x1, x2)[0]
    quotient = div(x1, x2)
    if x1.dtype.kind == "u":
        return quotient
    inexact = logic.ne(P.rem(x1, x2), 0)
    below = logic.bitwise_and(logic.ne(P.sign(x1), P.sign(x2)), inexact)
    return choose(below, sub(quotient, 1), quotient)


def remainder(x1: Any, x2: Any, /) -> Array:
    """x1 - floor(x1 / x2) * x2, with the sign of x2; 0 for an integer divisor 0."""
    x1, x2 = promote_args_numeric("remainder", x1, x2)
    if dtypes.is_integer(x2.dtype):
        x2 = choose(logic.eq(x2, 0), 1, x2)
    rest = P.rem(x1, x2)
    return choose(_against(rest, x2), _add(rest, x2), rest)


mod = remainder


def _against(rest, divisor):
    """Where a remainder is not zero and its sign is not the divisor's."""
    opposite = logic.ne(logic.lt(rest, 0), logic.lt(divisor, 0))
    return logic.bitwise_and(opposite, logic.ne(rest, 0))


def fmod(x1: Any, x2: Any, /) -> Array:
    """Remainder of x1 / x2 with the sign of x1; 0 for an integer divisor 0."""
    x1, x2 = promote_args_numeric("fmod", x1, x2)
    if dtypes.is_integer(x2.dtype):
        x2 = choose(logic.eq(x2, 0), 1, x2)
    return P.rem(x1, x2)


def divmod(x1: Any, x2: Any, /) -> tuple[Array, Array]:
    """The pair (floor_divide(x1, x2), remainder(x1, x2))."""
    x1, x2 = promote_args_numeric("divmod", x1, x2)
    if dtypes.is_integer(x1.dtype):
        return floor_divide(x1, x2), remainder(x1, x2)
    return _float_divmod(x1, x2)


def _float_divmod(x1, x2):
    rest = P.rem(x1, x2)
    multiple = choose(logic.eq(x2, 0), x1, sub(x1, rest))  # x1 / 0 is an infinity, not NaN
    quotient = div(multiple, x2)
    wrong = logic.bitwise_and(logic.ne(rest, 0), logic.ne(P.sign(x2), P.sign(rest)))
    rest = choose(wrong, _add(rest, x2), rest)
    quotient = choose(wrong, sub(quotient, 1), quotient)
    return P.round(quotient), rest


# ---- powers ------------------------------------------------------------------------------------


@shortcut.composite
def power(x1: Any, x2: Any, /) -> Array:
    """x1 to the power x2.

    A concrete integer exponent is multiplied out, also negative ones for floats. Of two integer
    arrays the result is an integer, wrapping on overflow.
    """
    known = _concrete_integer(x2)
    if known is not None:
        (x1,) = promote_dtypes_numeric("power", x1)
        if known < 0 and not dtypes.is_inexact(x1.dtype):
            raise TypeError(
                f"power: a negative power needs a float or complex base, but got {x1.aval} to the "
                f"power {known}. Convert the base to float."
            )
        return P.integer_pow(x1, known)
    base, exponent = promote_args_numeric("power", x1, x2)
    if dtypes.is_integer(base.dtype):
        return _integer_power(base, exponent)
    if dtypes.is_integer(
        typeof(x2).dtype
    ):  # kept as an integer: exact, and nothing to differentiate
        return P.pow(*promote_shapes("power", as_array("power", x1), as_array("power", x2)))
    return P.pow(base, exponent)


pow = power


def _concrete_integer(x: Any) -> int | None:
    if isinstance(x, (Tracer, str)) or not isinstance(x, (int, np.generic, np.ndarray, Array)):
        return None
    try:
        return operator.index(x)  # type: ignore[arg-type]  # the TypeError is the question
    except TypeError:
        return None


def _integer_power(base, exponent):
    """By squaring; six bits of the exponent suffice, more overflow for every base beyond 1."""
    vanishes = logic.bitwise_and(logic.eq(base, 0), logic.ne(exponent, 0))
    result = choose(vanishes, P.like(base, 0), 1)
    for _ in range(6):
        is_set = logic.ne(logic.bitwise_and(exponent, 1), 0)
        result = choose(is_set, mul(result, base), result)
        base, exponent = mul(base, base), logic.shift_right_logical(exponent, 1)
    return result


def float_power(x: Any, y: Any, /) -> Array:
    """x to the power y, computed in floats even for integers."""
    return P.pow(*promote_args_inexact("float_power", x, y))


@shortcut.unary(np.square)
def square(x: Any, /) -> Array:
    """x * x."""
    return P.square(*promote_dtypes_numeric("square", x))


def reciprocal(x: Any, /) -> Array:
    """1 / x, as a float or complex number."""
    (x,) = promote_args_inexact("reciprocal", x)
    return P.integer_pow(x, -1)


# ---- absolute value and sign -------------------------------------------------------------------


@shortcut.unary(np.absolute)
def absolute(x: Any, /) -> Array:
    """Absolute value; of complex numbers the real magnitude."""
    x = as_array("absolute", x)
    return x if x.dtype.kind in "bu" else P.abs(x)


abs = absolute


def fabs(x: Any, /) -> Array:
    """Absolute value as a float; complex numbers are an error."""
    (x,) = promote_args_inexact("fabs", x)
    if dtypes.is_complex(x.dtype):
        raise TypeError("fabs: needs real numbers, but got complex ones. Use abs.")
    return P.abs(x)


@shortcut.unary(np.sign)
def sign(x: Any, /) -> Array:
    """-1, 0 or 1 by the sign of x; x / |x| for complex x."""
    return P.sign(*promote_args("sign", x))


# ---- extrema -----------------------------------------------------------------------------------


@shortcut.binary(np.maximum)
def maximum(x: Any, y: Any, /) -> Array:
    """Larger of x and y; NaN if either is."""
    return P.max(*promote_args("maximum", x, y))


@shortcut.binary(np.minimum)
def minimum(x: Any, y: Any, /) -> Array:
    """Smaller of x and y; NaN if either is."""
    return P.min(*promote_args("minimum", x, y))


def fmax(x1: Any, x2: Any) -> Array:
    """Larger of x1 and x2; where one is NaN, the other."""
    x1, x2 = promote_args("fmax", x1, x2)
    return choose(logic.bitwise_or(logic.gt(x1, x2), logic.ne(x2, x2)), x1, x2)


def fmin(x1: Any, x2: Any) -> Array:
    """Smaller of x1 and x2; where one is NaN, the other."""
    x1, x2 = promote_args("fmin", x1, x2)
    return choose(logic.bitwise_or(logic.lt(x1, x2), logic.ne(x2, x2)), x1, x2)


_MISSING = object()


def clip(
    arr: Any = _MISSING,
    /,
    min: Any = None,
    max: Any = None,
    *,
    a: Any = _MISSING,
    a_min: Any = None,
    a_max: Any = None,
) -> Array:
    """arr limited to [min, max]; either bound may be None. `a`, `a_min` and `a_max` are the older
    names.

    Where min > max the result is max. The gradient passes where arr lies inside and is 1/2 on a
    bound.
    """
    arr = a if arr is _MISSING else arr
    low = a_min if min is None else min
    high = a_max if max is None else max
    if arr is _MISSING:
        raise ValueError("clip: needs an array, but got none.")
    result = as_array("clip", arr)
    for bound in (result, low, high):
        if isinstance(bound, complex) or getattr(getattr(bound, "dtype", None), "kind", "") == "c":
            raise ValueError(
                "clip: complex numbers have no order. Clip the real and imaginary parts."
            )
    if low is not None:
        result = _limited(maximum, P.max, low, result)
    if high is not None:
        result = _limited(minimum, P.min, high, result)
    return result


def _limited(function, primitive, bound, x):
    if type(bound) in (int, float) and dtypes.is_float(x.dtype):
        return function(x, bound)  # which has a shortcut; nothing can go wrong with a number
    return primitive(*promote_args("clip", x, bound))


def heaviside(x1: Any, x2: Any, /) -> Array:
    """Step function: 0 for negative x1, 1 for positive x1, x2 at 0; NaN stays NaN."""
    x1, x2 = promote_args_inexact("heaviside", x1, x2)
    if dtypes.is_complex(x1.dtype):
        raise TypeError("heaviside: complex numbers have no order; needs real operands.")
    at_zero = choose(logic.eq(x1, 0), x2, choose(logic.ne(x1, x1), x1, P.like(x1, 0)))
    return choose(logic.gt(x1, 0), P.like(x1, 1), at_zero)
