"""Rounding to integers, and what IEEE floats are made of: finiteness and neighbours.

All of these are constant almost everywhere, so their derivative is zero.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.primitives.basis import operands
from funcgrad.primitives.kinds import FLOATS, elementwise


class RoundingMethod(IntEnum):
    """What `round` does with values half-way between two integers."""

    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


floor_p = elementwise(
    "floor", accepts=FLOATS, ufunc="floor", constant=True, scalar=lambda k, x: k.floor(x)
)


def floor(x: Any) -> Array:
    """Largest integer that is not greater than x, as a float."""
    return floor_p.bind(x)


ceil_p = elementwise(
    "ceil", accepts=FLOATS, ufunc="ceil", constant=True, scalar=lambda k, x: k.ceil(x)
)


def ceil(x: Any) -> Array:
    """Smallest integer that is not less than x, as a float."""
    return ceil_p.bind(x)


def _round_value(xp, x, *, rounding_method):
    if rounding_method == RoundingMethod.TO_NEAREST_EVEN:
        return xp.rint(x)
    # floor(|x| + 0.5) would round up the float just below one half: compare the fraction instead
    magnitude = xp.abs(x)
    whole = xp.floor(magnitude)
    up = (magnitude - whole >= 0.5).astype(x.dtype)
    return xp.copysign(whole + up, x)


def _round_scalar(k, x, *, rounding_method):
    if rounding_method == RoundingMethod.TO_NEAREST_EVEN:
        return k.round(x)
    magnitude = k.abs(x)
    whole = k.floor(magnitude)
    half = k.const(0.5, k.dtype(x))
    one = k.const(1, k.dtype(x))
    up = k.select(k.ge(k.sub(magnitude, whole), half), k.add(whole, one), whole)
    return k.mul(k.sign(x), up)


round_p = elementwise(
    "round", accepts=FLOATS, value=_round_value, constant=True, scalar=_round_scalar
)


def round(x: Any, rounding_method: Any = RoundingMethod.AWAY_FROM_ZERO) -> Array:
    """Nearest integer, as a float; `rounding_method` says what happens half-way."""
    return round_p.bind(x, rounding_method=RoundingMethod(rounding_method))


is_finite_p = elementwise(
    "is_finite",
    accepts=FLOATS,
    ufunc="isfinite",
    result=dtypes.bool_,
    constant=True,
    scalar=lambda k, x: k.is_finite(x),
    weak=lambda flags, params: False,
)


def is_finite(x: Any) -> Array:
    """True where x is neither infinite nor NaN."""
    return is_finite_p.bind(x)


nextafter_p = elementwise(
    "nextafter",
    accepts=FLOATS,
    ufunc="nextafter",
    constant=True,
    scalar=lambda k, x, y: k.nextafter(x, y),
)


def nextafter(x: Any, y: Any) -> Array:
    """The float next to x in the direction of y."""
    return nextafter_p.bind(*operands(x, y))
