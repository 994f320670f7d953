"""Bits of integers and bools, and polynomials by Horner's rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.promote import (
    broadcast_shapes,
    broadcast_to_shape,
    promote_args,
    promote_args_numeric,
    promote_dtypes,
)
from funcgrad.numpy.ufuncs.arithmetic import absolute
from funcgrad.primitives import elementwise as P, logic
from funcgrad.primitives.basis import add, convert_element_type, mul
from funcgrad.primitives.shape import index_in_dim

# ---- bits --------------------------------------------------------------------------------------


def _bits(name: str, *args: Any) -> Sequence[Array]:
    """The operands promoted; TypeError in the name of the function if they have no bits."""
    return _of_kinds("biu", "integers or bools", name, promote_args(name, *args))


def _integers(name: str, *args: Any) -> Sequence[Array]:
    """As `_bits`, with bools as integers."""
    return _of_kinds("iu", "integers", name, promote_args_numeric(name, *args))


def _of_kinds(kinds: str, words: str, name: str, operands: Sequence[Array]) -> Sequence[Array]:
    if operands[0].dtype.kind not in kinds:
        got = ", ".join(str(x.aval) for x in operands)
        raise TypeError(f"{name}: accepts {words}, but got {got}. Convert with astype.")
    return operands


def bitwise_and(x: Any, y: Any, /) -> Array:
    """Bits set in both operands, integers or bools."""
    return logic.bitwise_and(*_bits("bitwise_and", x, y))


def bitwise_or(x: Any, y: Any, /) -> Array:
    """Bits set in either operand, integers or bools."""
    return logic.bitwise_or(*_bits("bitwise_or", x, y))


def bitwise_xor(x: Any, y: Any, /) -> Array:
    """Bits set in exactly one operand, integers or bools."""
    return logic.bitwise_xor(*_bits("bitwise_xor", x, y))


def invert(x: Any, /) -> Array:
    """Every bit inverted; for bools, the opposite."""
    return logic.bitwise_not(*_bits("invert", x))


bitwise_not = bitwise_invert = invert


def left_shift(x: Any, y: Any, /) -> Array:
    """x moved left by y bits; 0 if y is negative or at least the width."""
    return logic.shift_left(*_integers("left_shift", x, y))


def right_shift(x1: Any, x2: Any, /) -> Array:
    """x1 moved right by x2 bits; signed types fill with the sign."""
    x1, x2 = _integers("right_shift", x1, x2)
    shift = logic.shift_right_logical if x1.dtype.kind == "u" else logic.shift_right_arithmetic
    return shift(x1, x2)


bitwise_left_shift, bitwise_right_shift = left_shift, right_shift


def bitwise_count(x: Any, /) -> Array:
    """Number of bits set in the absolute value of x, as uint8."""
    (x,) = promote_args_numeric("bitwise_count", x)
    return convert_element_type(logic.population_count(absolute(x)), dtypes.uint8)


# ---- polynomials -------------------------------------------------------------------------------


def polyval(p: Any, x: Any, *, unroll: int = 16) -> Array:
    """p[0] * x**(n-1) + ... + p[n-1], by Horner's rule; further dimensions of p broadcast against
    x.

    `unroll` has no effect: the rule is always written out in full.
    """
    p, x = promote_dtypes("polyval", p, x)
    shape = broadcast_shapes("polyval", p.shape[1:], x.shape)
    x = broadcast_to_shape(x, shape)
    total = P.like(x, 0)
    for i in range(p.shape[0]):
        coefficient = broadcast_to_shape(index_in_dim(p, i, keepdims=False), shape)
        total = add(mul(total, x), coefficient)
    return total
