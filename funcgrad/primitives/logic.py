"""Comparisons, logic and bits of integers and bools; nothing here has a derivative other than zero.

A shift by the width of the type or more, or by a negative amount, shifts everything out: what
remains is 0, or the sign for the arithmetic shift.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.primitives.basis import operands
from funcgrad.primitives.kinds import ANY, INTEGERS, INTEGERS_BOOL, comparison, elementwise

eq_p = comparison("eq", accepts=ANY, ufunc="equal", scalar=lambda k, x, y: k.eq(x, y))


def eq(x: Any, y: Any) -> Array:
    """True where x equals y; NaN equals nothing."""
    return eq_p.bind(*operands(x, y))


ne_p = comparison("ne", accepts=ANY, ufunc="not_equal", scalar=lambda k, x, y: k.ne(x, y))


def ne(x: Any, y: Any) -> Array:
    """True where x differs from y; NaN differs from everything."""
    return ne_p.bind(*operands(x, y))


lt_p = comparison("lt", ufunc="less", scalar=lambda k, x, y: k.lt(x, y))


def lt(x: Any, y: Any) -> Array:
    """True where x is less than y."""
    return lt_p.bind(*operands(x, y))


le_p = comparison("le", ufunc="less_equal", scalar=lambda k, x, y: k.le(x, y))


def le(x: Any, y: Any) -> Array:
    """True where x is at most y."""
    return le_p.bind(*operands(x, y))


gt_p = comparison("gt", ufunc="greater", scalar=lambda k, x, y: k.gt(x, y))


def gt(x: Any, y: Any) -> Array:
    """True where x is greater than y."""
    return gt_p.bind(*operands(x, y))


ge_p = comparison("ge", ufunc="greater_equal", scalar=lambda k, x, y: k.ge(x, y))


def ge(x: Any, y: Any) -> Array:
    """True where x is at least y."""
    return ge_p.bind(*operands(x, y))


# ---- logic, bit by bit -------------------------------------------------------------------------

_bitwise = functools.partial(elementwise, accepts=INTEGERS_BOOL, constant=True)

and_p = _bitwise("and", ufunc="bitwise_and", scalar=lambda k, x, y: k.and_(x, y))


def bitwise_and(x: Any, y: Any) -> Array:
    """Bits set in both operands; for bools, whether both are true."""
    return and_p.bind(*operands(x, y))


or_p = _bitwise("or", ufunc="bitwise_or", scalar=lambda k, x, y: k.or_(x, y))


def bitwise_or(x: Any, y: Any) -> Array:
    """Bits set in either operand; for bools, whether one is true."""
    return or_p.bind(*operands(x, y))


xor_p = _bitwise("xor", ufunc="bitwise_xor", scalar=lambda k, x, y: k.xor(x, y))


def bitwise_xor(x: Any, y: Any) -> Array:
    """Bits set in exactly one operand; for bools, whether they differ."""
    return xor_p.bind(*operands(x, y))


not_p = _bitwise("not", ufunc="invert", scalar=lambda k, x: k.not_(x))


def bitwise_not(x: Any) -> Array:
    """Every bit inverted; for bools, the opposite."""
    return not_p.bind(x)


# ---- shifts and counts -------------------------------------------------------------------------

_on_integers = functools.partial(elementwise, accepts=INTEGERS, constant=True)


def _with_sign(dtype, signed: bool) -> np.dtype:
    """The integer type of the same width; TypeError for what is no integer."""
    if not dtypes.is_integer(dtype):
        raise TypeError(f"needs integers, but got {dtype}")
    return np.dtype(f"{'i' if signed else 'u'}{np.dtype(dtype).itemsize}")


def _shift_right(signed):
    """Right shift of the same bits read as signed (fills with the sign) or unsigned (with
    zeros).
    """

    def value(xp, x, y):
        kind = _with_sign(x.dtype, signed)
        return xp.right_shift(x.view(kind), y.view(kind)).view(x.dtype)

    return value


shift_left_p = _on_integers("shift_left", ufunc="left_shift", scalar=lambda k, x, y: k.shl(x, y))


def shift_left(x: Any, y: Any) -> Array:
    """x moved left by y bits; 0 if y is negative or at least the width."""
    return shift_left_p.bind(*operands(x, y))


shift_right_logical_p = _on_integers(
    "shift_right_logical",
    value=_shift_right(signed=False),
    scalar=lambda k, x, y: k.shr_logical(x, y),
)


def shift_right_logical(x: Any, y: Any) -> Array:
    """x moved right by y bits, zeros moving in; 0 if y is negative or at least the width."""
    return shift_right_logical_p.bind(*operands(x, y))


shift_right_arithmetic_p = _on_integers(
    "shift_right_arithmetic",
    value=_shift_right(signed=True),
    scalar=lambda k, x, y: k.shr_arithmetic(x, y),
)


def shift_right_arithmetic(x: Any, y: Any) -> Array:
    """x moved right by y bits, its topmost bit moving in, also for unsigned types."""
    return shift_right_arithmetic_p.bind(*operands(x, y))


def _population_count_value(xp, x):
    return xp.bitwise_count(x.view(_with_sign(x.dtype, False))).astype(x.dtype)


population_count_p = _on_integers(
    "population_count", value=_population_count_value, scalar=lambda k, x: k.popcount(x)
)


def population_count(x: Any) -> Array:
    """Number of bits set, in the dtype of x."""
    return population_count_p.bind(x)


def _clz_value(xp, x):
    bits = x.view(_with_sign(x.dtype, False))
    width = 8 * bits.dtype.itemsize
    shift = 1
    while shift < width:  # copies the highest set bit into all below it
        bits = bits | (bits >> shift)
        shift *= 2
    return (width - xp.bitwise_count(bits)).astype(x.dtype)


clz_p = _on_integers("clz", value=_clz_value, scalar=lambda k, x: k.clz(x))


def clz(x: Any) -> Array:
    """Number of zero bits above the highest set bit, in the dtype of x; the width for 0."""
    return clz_p.bind(x)
