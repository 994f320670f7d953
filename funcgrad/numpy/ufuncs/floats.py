"""Rounding, and what floating-point numbers are made of: sign, exponent, neighbours, NaN and
infinities.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.core.dtypes import short_name
from funcgrad.numpy.promote import (
    as_array,
    choose,
    promote_args_inexact,
    promote_dtypes_inexact,
    promote_shapes,
)
from funcgrad.numpy.ufuncs import shortcut
from funcgrad.primitives import elementwise as P, logic
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    div,
    full,
    mul,
    neg,
    sub,
)
from funcgrad.primitives.convert import bitcast_convert_type

TO_EVEN = P.RoundingMethod.TO_NEAREST_EVEN


def is_whole(x: Any) -> bool:
    """Does the dtype of x hold integers or bools only?"""
    return x.dtype.kind in "biu"


def float_for(dtype: Any) -> Any:
    """The default float for integers; float64 for integers of 64 bits, which somebody asked for."""
    return np.promote_types(dtypes.default_float(), dtypes.to_inexact(dtype))


def _everywhere(x: Any, flag: bool) -> Any:
    return broadcast_in_dim(ConcreteArray(np.bool_(flag)), x.shape, ())


# ---- rounding ----------------------------------------------------------------------------------


@shortcut.unary(np.floor)
def floor(x: Any, /) -> Array:
    """Largest integer not above x, as a float; integers stay as they are."""
    x = as_array("floor", x)
    return x if is_whole(x) else P.floor(_real("floor", x))


@shortcut.unary(np.ceil)
def ceil(x: Any, /) -> Array:
    """Smallest integer not below x, as a float; integers stay as they are."""
    x = as_array("ceil", x)
    return x if is_whole(x) else P.ceil(_real("ceil", x))


def trunc(x: Any) -> Array:
    """x without its fraction, toward zero; integers stay as they are."""
    x = as_array("trunc", x)
    if is_whole(x):
        return x
    return choose(logic.lt(_real("trunc", x), 0), P.ceil(x), P.floor(x))


fix = trunc


def rint(x: Any, /) -> Array:
    """Nearest integer as a float, halves to even."""
    x = as_array("rint", x)
    if is_whole(x):
        return convert_element_type(x, float_for(x.dtype))
    return _each_part(x, lambda part: P.round(part, TO_EVEN))


def round(a: Any, decimals: Any = 0, out: Any = None) -> Array:
    """a rounded to `decimals` digits after the point, halves to even; integers stay as they are.

    Negative `decimals` round to tens, hundreds, ... (floats only). `out` must be None: arrays are
    immutable.

    >>> import funcgrad.numpy as jnp
    >>> jnp.round(jnp.array([0.5, 1.5, 2.25]), 1)
    Array([0.5, 1.5, 2.2], dtype=float32)
    """
    a, decimals = as_array("round", a), operator.index(decimals)
    if out is not None:
        raise TypeError("round: out must be None, because arrays are immutable. Use the result.")
    if is_whole(a):
        if decimals < 0:
            raise ValueError(
                f"round: decimals must not be negative for integers, but got {decimals}."
            )
        return a
    if decimals > math.log10(float(dtypes.finfo(a.dtype).max)):
        return a  # there are no digits so far behind the point
    return _each_part(a, lambda part: _round_at(part, decimals))


around = round


def _each_part(x, function):
    """`function` of x, or of the real and of the imaginary part."""
    if not dtypes.is_complex(x.dtype):
        return function(x)
    return P.complex(function(P.real(x)), function(P.imag(x)))


def _round_at(x, decimals):
    if decimals == 0:
        return P.round(x, TO_EVEN)
    wide = convert_element_type(x, _wide(x.dtype))
    factor = float(10 ** abs(decimals))
    shift, back = (mul, div) if decimals > 0 else (div, mul)
    return convert_element_type(
        back(P.round(shift(wide, factor), TO_EVEN), factor), x.dtype, x.weak_type
    )


def _wide(dtype):
    return dtypes.float32 if dtype in (dtypes.float16, dtypes.bfloat16) else dtype


def _real(name, x):
    if dtypes.is_complex(x.dtype):
        raise TypeError(
            f"{name}: needs real numbers, but got {short_name(x.dtype)}. Take x.real or x.imag."
        )
    return x


# ---- NaN and infinity --------------------------------------------------------------------------


def isnan(x: Any, /) -> Array:
    """True where x is NaN."""
    x = as_array("isnan", x)
    return logic.ne(x, x)


def isfinite(x: Any, /) -> Array:
    """True where x is neither infinite nor NaN; complex numbers need both parts finite."""
    x = as_array("isfinite", x)
    if is_whole(x):
        return _everywhere(x, True)
    if dtypes.is_complex(x.dtype):
        return logic.bitwise_and(P.is_finite(P.real(x)), P.is_finite(P.imag(x)))
    return P.is_finite(x)


def isinf(x: Any, /) -> Array:
    """True where x, or a part of it, is infinite."""
    x = as_array("isinf", x)
    if is_whole(x):
        return _everywhere(x, False)
    if dtypes.is_complex(x.dtype):
        return logic.bitwise_or(isinf(P.real(x)), isinf(P.imag(x)))
    return logic.eq(P.abs(x), math.inf)


def isposinf(x: Any, /, out: Any = None) -> Array:
    """True where x is plus infinity. `out` must be None: arrays are immutable."""
    return _is_infinity("isposinf", x, math.inf, out)


def isneginf(x: Any, /, out: Any = None) -> Array:
    """True where x is minus infinity. `out` must be None: arrays are immutable."""
    return _is_infinity("isneginf", x, -math.inf, out)


def _is_infinity(name, x, infinity, out):
    if out is not None:
        raise TypeError(f"{name}: out must be None, because arrays are immutable. Use the result.")
    x = _real(name, as_array(name, x))
    return _everywhere(x, False) if is_whole(x) else logic.eq(x, infinity)


def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Array:
    """x with NaN replaced by `nan`, infinities by `posinf` and `neginf` (default: the largest
    finite numbers).

    `copy` has no effect: the result is always a new array.
    """
    x = as_array("nan_to_num", x)
    return x if is_whole(x) else _each_part(x, lambda part: _replaced(part, nan, posinf, neginf))


def _replaced(x, nan, posinf, neginf):
    limits = dtypes.finfo(x.dtype)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    for condition, value in ((isnan(x), nan), (isposinf(x), high), (isneginf(x), low)):
        x = choose(*promote_shapes("nan_to_num", condition, full((), value, x.dtype), x))
    return x


# ---- sign, exponent, neighbours ----------------------------------------------------------------


def _bits(x):
    """The bits of a float as a signed integer of the same width."""
    return bitcast_convert_type(x, np.dtype(f"i{x.dtype.itemsize}"))


def signbit(x: Any, /) -> Array:
    """True where the sign bit is set: for negative numbers and for -0.0."""
    x = _real("signbit", as_array("signbit", x))
    if x.dtype == dtypes.bool_:
        return _everywhere(x, False)
    return logic.lt(x if is_whole(x) else _bits(x), 0)


def copysign(x1: Any, x2: Any, /) -> Array:
    """The magnitude of x1 with the sign of x2."""
    x1, x2 = promote_args_inexact("copysign", x1, x2)
    magnitude = P.abs(_real("copysign", x1))
    return choose(signbit(x2), neg(magnitude), magnitude)


def nextafter(x: Any, y: Any, /) -> Array:
    """The float next to x in the direction of y."""
    return P.nextafter(*promote_args_inexact("nextafter", x, y))


def spacing(x: Any, /) -> Array:
    """The distance from x to the next float away from zero, with the sign of x."""
    (x,) = promote_args_inexact("spacing", x)
    away = copysign(P.like(_real("spacing", x), math.inf), x)
    return sub(P.nextafter(x, away), x)


def modf(x: Any, /, out: Any = None) -> tuple[Array, Array]:
    """The pair (fraction, whole part), both with the sign of x. `out` must be None: arrays are
    immutable.
    """
    if out is not None:
        raise TypeError("modf: out must be None, because arrays are immutable. Use the result.")
    (x,) = promote_dtypes_inexact("modf", x)
    whole = trunc(x)
    return sub(x, whole), whole


def _layout(dtype):
    """Bits of the mantissa, and the exponent's bias."""
    limits = dtypes.finfo(dtype)
    return limits.nmant, 1 - limits.minexp


def _power_of_two(exponent, dtype):
    """2**exponent for integers that give normal numbers, put together from bits."""
    mantissa, bias = _layout(dtype)
    return bitcast_convert_type(logic.shift_left(add(exponent, bias), mantissa), dtype)


def frexp(x: Any, /) -> tuple[Array, Array]:
    """The pair (mantissa, exponent) with x = mantissa * 2**exponent and 0.5 <= |mantissa| < 1;
    (x, 0) at 0, inf, NaN.
    """
    (x,) = promote_dtypes_inexact("frexp", x)
    mantissa, bias = _layout(_real("frexp", x).dtype)
    subnormal = logic.lt(P.abs(x), float(dtypes.finfo(x.dtype).tiny))
    scaled = mul(x, choose(subnormal, P.like(x, 2.0**mantissa), 1))
    exponent = logic.bitwise_and(logic.shift_right_logical(_bits(scaled), mantissa), 2 * bias + 1)
    special = logic.bitwise_or(logic.eq(x, 0), logic.bitwise_not(P.is_finite(x)))
    power = choose(special, 0, sub(exponent, bias - 1))
    fraction = _times_power(scaled, neg(power))
    power = sub(
        power, choose(logic.bitwise_and(subnormal, logic.ne(x, 0)), P.like(power, mantissa), 0)
    )
    return fraction, convert_element_type(power, dtypes.int32)


def ldexp(x1: Any, x2: Any, /) -> Array:
    """x1 * 2**x2 for integer x2."""
    x1, x2 = as_array("ldexp", x1), as_array("ldexp", x2)
    if dtypes.is_complex(x1.dtype) or dtypes.is_inexact(x2.dtype):
        kinds = f"{short_name(x1.dtype)} and {short_name(x2.dtype)}"
        raise TypeError(f"ldexp: needs a real number and an integer exponent, but got {kinds}.")
    (x1,) = promote_dtypes_inexact("ldexp", x1)
    return _times_power(*promote_shapes("ldexp", x1, _exponent_for(x1.dtype, x2)))


def _exponent_for(dtype, exponent):
    """The exponent in the integer type that is as wide as `dtype`, limited to what matters
    there.
    """
    _, bias = _layout(dtype)
    wide = convert_element_type(exponent, np.promote_types(exponent.dtype, np.int16))
    limited = P.min(P.max(wide, -3 * bias), 3 * bias)
    return convert_element_type(limited, np.dtype(f"i{dtype.itemsize}"))


def _times_power(x, exponent):
    """x * 2**exponent, in steps whose factors are normal numbers."""
    _, bias = _layout(x.dtype)
    for _ in range(3):
        step = P.min(P.max(exponent, 1 - bias), bias)
        x, exponent = mul(x, _power_of_two(step, x.dtype)), sub(exponent, step)
    return x
