"""bfloat16 and float16 as f32 numbers in registers: reading, rounding to nearest even, writing.

f32 numbers that are rounded to the narrow type are written without loss. float16 uses the
machine's conversions where it has them; elsewhere the same is done with integers, since LLVM would
call its runtime library.
"""

from __future__ import annotations

import math

import numpy as np

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.target import Target
from funcgrad.core import dtypes

NARROW = (dtypes.bfloat16, dtypes.float16)


def has_float16(target: Target) -> bool:
    """Does the machine convert float16?"""
    return target.vector_bytes >= 32 or target.is_arm


# ---- memory --------------------------------------------------------------------------------------


def read_narrow(b: Builder, bits: Value, dtype: np.dtype) -> Value:
    """The f32 number that 16 bits from memory stand for."""
    if dtype == dtypes.bfloat16:
        return b.from_bits(b.shl(b.cast("zext", bits, "i32"), 16))
    if has_float16(b.module.target):
        return b.cast("fpext", b.bitcast(bits, "f16"), "f32")
    return _read_float16(b, b.cast("zext", bits, "i32"))


def write_narrow(b: Builder, x: Value, dtype: np.dtype) -> Value:
    """The 16 bits of an f32 number that is rounded to the dtype."""
    if dtype == dtypes.bfloat16:
        return b.cast("trunc", b.lshr(b.bits(x), 16), "i16")
    if has_float16(b.module.target):
        return b.bitcast(b.cast("fptrunc", x, "f16"), "i16")
    return _write_float16(b, x)


def _read_float16(b: Builder, bits: Value) -> Value:
    """Exponent and mantissa in their new places, times 2**112; infinity and NaN keep the topmost
    exponent.
    """
    body = b.shl(b.and_(bits, b.like(0x7FFF, bits)), 13)
    number = b.from_bits(body)
    number = b.fmul(number, b.like(2.0**112, number))
    beyond = b.icmp("uge", body, b.like(0x7C00 << 13, body))
    topmost = b.or_(b.bits(number), b.like(0x7F800000, body))
    sign = b.shl(b.and_(bits, b.like(0x8000, bits)), 16)
    return b.from_bits(b.or_(b.select(beyond, topmost, b.bits(number)), sign))


def _write_float16(b: Builder, x: Value) -> Value:
    """The inverse of reading, for numbers that float16 has."""
    bits = b.bits(x)
    size = b.from_bits(b.and_(bits, b.like(0x7FFFFFFF, bits)))
    small = b.lshr(b.bits(b.fmul(size, b.like(2.0**-112, size))), 13)
    beyond = b.icmp("uge", b.bits(size), b.like(0x7F800000, bits))
    wide = b.and_(b.lshr(bits, 13), b.like(0x3FF, bits))
    body = b.select(beyond, b.or_(wide, b.like(0x7C00, bits)), small)
    sign = b.and_(b.lshr(bits, 16), b.like(0x8000, bits))
    return b.cast("trunc", b.or_(body, sign), "i16")


# ---- rounding ------------------------------------------------------------------------------------


def round_narrow(b: Builder, x: Value, dtype: np.dtype) -> Value:
    """The f32 number rounded to the dtype, half to even; NaN stays NaN."""
    if dtype == dtypes.bfloat16:
        return _rounded_bfloat16(b, x)
    if has_float16(b.module.target):
        return b.cast("fpext", b.cast("fptrunc", x, "f16"), "f32")
    return _rounded_float16(b, x)


def _half_to_even(b: Builder, bits: Value, dropped: int) -> Value:
    """Bit patterns whose lowest bits are rounded away; a carry moves into the exponent."""
    last = b.and_(b.lshr(bits, dropped), b.like(1, bits))
    up = b.add(bits, b.add(last, b.like((1 << (dropped - 1)) - 1, bits)))
    return b.and_(up, b.like(-(1 << dropped), bits))


def _rounded_bfloat16(b: Builder, x: Value) -> Value:
    bits = b.bits(x)
    quiet = b.and_(b.or_(bits, b.like(0x400000, bits)), b.like(-(1 << 16), bits))
    return b.from_bits(b.select(b.fcmp("uno", x, x), quiet, _half_to_even(b, bits, 16)))


def _rounded_float16(b: Builder, x: Value) -> Value:
    """Below the normal numbers, adding and subtracting 1/2 rounds to multiples of 2**-24."""
    size, half = b.fabs(x), b.like(0.5, x)
    usual = b.from_bits(_half_to_even(b, b.bits(size), 13))
    tiny = b.fsub(b.fadd(size, half), half)
    result = b.select(b.fcmp("olt", size, b.like(2.0**-14, x)), tiny, usual)
    result = b.select(b.fcmp("oge", size, b.like(65520.0, x)), b.like(math.inf, x), result)
    return b.copysign(b.select(b.fcmp("uno", x, x), size, result), x)


def rounded_to_odd(b: Builder, x: Value) -> Value:
    """An f64 number as f32, the last bit set if it is not exact: rounding that further is rounding
    once.
    """
    near = b.cast("fptrunc", x, "f32")
    back = b.cast("fpext", near, "f64")
    bits = b.bits(near)
    beyond = b.fcmp("ogt", b.fabs(back), b.fabs(x))
    odd = b.or_(b.select(beyond, b.sub(bits, b.like(1, bits)), bits), b.like(1, bits))
    return b.from_bits(b.select(b.fcmp("one", back, x), odd, bits))
