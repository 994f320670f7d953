"""Operations on real floats. Those with a formula of their own are in `vector_math`.

A product and a sum are not fused here: kernels compute again what others have computed, and must
come to the same bits. (The slope of a maximum is where an element equals it.)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from funcgrad.backends.llvm import vector_math
from funcgrad.backends.llvm.builder import FLOATS, Builder, Value
from funcgrad.backends.llvm.narrow import NARROW, read_narrow, write_narrow
from funcgrad.backends.llvm.remainder import rem

Operation = Callable[..., Value]

SIGN, INFINITY = 1 << 63, 0x7FF << 52


def minimum(b: Builder, x: Value, y: Value) -> Value:
    """The smaller one; NaN if either is."""
    return _extremum(b, b.fmin, x, y)


def maximum(b: Builder, x: Value, y: Value) -> Value:
    """The larger one; NaN if either is."""
    return _extremum(b, b.fmax, x, y)


def _extremum(b: Builder, choose: Operation, x: Value, y: Value) -> Value:
    """`choose` gives its second operand if either is NaN; that is right where the first is a
    constant.
    """
    if _is_number(y):
        x, y = y, x
    if _is_number(x):
        return choose(x, y)
    return b.select(b.fcmp("uno", x, x), x, choose(x, y))


def _is_number(x: Value) -> bool:
    """Is it a constant other than NaN? Constants are written as the bits of an f64 number."""
    prefix, _, bits = x.text.rstrip(")").rpartition("0x")
    is_constant = prefix in ("", f"splat ({FLOATS[x.type.kind]} ") and bits != x.text
    return is_constant and int(bits, 16) & ~SIGN <= INFINITY


def sign(b: Builder, x: Value) -> Value:
    """-1, 0 or 1; NaN for NaN."""
    zero = b.like(0.0, x)
    return b.select(b.fcmp("one", x, zero), b.copysign(b.like(1.0, x), x), b.fadd(x, zero))


def nextafter(b: Builder, x: Value, y: Value, dtype: np.dtype) -> Value:
    """The neighbour of x towards y among the numbers of the dtype: one more or one less as a bit
    pattern.
    """
    bits, aim = to_bits(b, x, dtype), to_bits(b, y, dtype)
    zero, one = b.like(0.0, x), b.like(1, bits)
    outward = b.xor(b.fcmp("ogt", y, x), b.fcmp("olt", x, zero))
    moved = b.select(outward, b.add(bits, one), b.sub(bits, one))
    sign = b.and_(aim, b.like(1 << (bits.type.bits - 1), bits))
    moved = b.select(b.fcmp("oeq", x, zero), b.or_(sign, one), moved)
    moved = b.select(b.fcmp("oeq", x, y), aim, moved)
    return b.select(b.fcmp("uno", x, y), b.fadd(x, y), from_bits(b, moved, dtype))


def to_bits(b: Builder, x: Value, dtype: np.dtype) -> Value:
    """The bit patterns of numbers of the dtype."""
    return write_narrow(b, x, dtype) if dtype in NARROW else b.bits(x)


def from_bits(b: Builder, bits: Value, dtype: np.dtype) -> Value:
    """Numbers of the dtype by their bit patterns."""
    return read_narrow(b, bits, dtype) if dtype in NARROW else b.from_bits(bits)


def is_finite(b: Builder, x: Value) -> Value:
    return b.fcmp("olt", b.fabs(x), b.like(math.inf, x))


FLOAT: dict[str, Operation] = {
    "add": Builder.fadd, "sub": Builder.fsub, "mul": Builder.fmul, "div": Builder.fdiv,
    "neg": Builder.fneg, "abs": Builder.fabs, "sqrt": Builder.sqrt, "floor": Builder.floor,
    "ceil": Builder.ceil, "round": Builder.roundeven, "min": minimum, "max": maximum, "sign": sign,
    "rem": rem,
    **vector_math.FUNCTIONS,
}  # fmt: skip
