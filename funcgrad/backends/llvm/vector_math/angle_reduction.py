"""x = n pi/2 + r with |r| <= pi/4: what the circular functions begin with.

Up to a limit, multiples of the parts of pi/2 are exact (Cody and Waite). Beyond it, and in f64
where so much cancels that these parts do not suffice, x is multiplied by the bits of 2/pi that
matter (Payne and Hanek 1983), lane by lane in 128-bit integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from funcgrad.backends.llvm.builder import I64, PTR, Builder, Type, Value
from funcgrad.backends.llvm.vector_math.parts import (
    Double,
    compared,
    double_product,
    quick_two_sum,
    rounded_product,
)

F64 = Type("f64")
I128 = Type("i128")

# pi/2 in parts of 24 bits, and of 33 bits
PARTS_F32 = (1.570796251296997, 7.549789415861596e-08, 5.390302858158119e-15)
PARTS_F64 = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
LIMIT = {"f32": 5e4, "f64": 1.5e6}

HALF_PI = (1.5707963267948966, 6.123233995736766e-17)
# 2/pi, 64 bits at a time from the point on, after a word of zeros
TWO_OVER_PI = (
    0, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041, 0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E, 0xE88235F52EBB4484,
    0xE99C7026B45F7E41, 0x3991D639835339F4, 0x9C845F8BBDF9283B, 0x1FF897FFDE05980F,
    0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D, 0x7527BAC7EBE5F17B,
    0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB, 0xF0CFBC209AF4361D,
)  # fmt: skip


class Angle(NamedTuple):
    """|x| = n pi/2 + r + rest; of n the lowest two bits are right. f32 has no rest."""

    n: Value
    r: Value
    rest: Value | None


def reduced_angle(b: Builder, size: Value) -> Angle:
    """For numbers that are not negative, or NaN."""
    if size.type.kind == "f64":
        return _reduced_f64(b, size)
    return _reduced_f32(b, size)


# ---- usual arguments -----------------------------------------------------------------------------


def _reduced_f32(b: Builder, x: Value) -> Angle:
    n, r = _usual_f32(b, x) if b.module.target.fma else _usual_f32_in_f64(b, x)

    def exactly(large: Value) -> list[Value]:
        n, r, _ = _large(b, b.cast("fpext", large, "f64"))
        return [b.cast("trunc", n, "i32"), b.cast("fptrunc", r, "f32")]

    n, r = _where_rare(b, compared(b, "uge", x, LIMIT["f32"]), x, [n, r], exactly)
    return Angle(n, r, None)


def _usual_f32(b: Builder, x: Value) -> tuple[Value, Value]:
    n = rounded_product(b, x, 2 / math.pi)
    r = x
    for part in PARTS_F32:
        r = b.fma(n.number, b.like(-part, x), r)
    return n.integer, r


def _usual_f32_in_f64(b: Builder, x: Value) -> tuple[Value, Value]:
    """Without fused multiply-adds: f64 has the bits to spare."""
    wide = b.cast("fpext", x, "f64")
    n = rounded_product(b, wide, 2 / math.pi)
    r = b.fsub(wide, b.fmul(n.number, b.like(PARTS_F64[0], wide)))
    r = b.fsub(r, b.fmul(n.number, b.like(PARTS_F64[1], wide)))
    return b.cast("trunc", n.integer, "i32"), b.cast("fptrunc", r, "f32")


def _reduced_f64(b: Builder, x: Value) -> Angle:
    n = rounded_product(b, x, 2 / math.pi)
    first, second, third = (b.fmul(n.number, b.like(part, x)) for part in PARTS_F64)
    r = b.fsub(x, first)
    high, low = quick_two_sum(b, r, b.fneg(second))
    high, low = quick_two_sum(b, high, b.fsub(low, third))
    cancelled = b.fcmp("olt", b.fabs(high), b.fmul(x, b.like(2.0**-40, x)))
    rare = b.or_(compared(b, "uge", x, LIMIT["f64"]), cancelled)
    found = _where_rare(b, rare, x, [n.integer, high, low], lambda large: _large(b, large))
    return Angle(*found)


def _where_rare(
    b: Builder,
    rare: Value,
    x: Value,
    usual: list[Value],
    exactly: Callable[[Value], list[Value]],
) -> list[Value]:
    """The exact results in rare lanes, jumped over if there are none."""

    def repaired() -> list[Value]:
        exact = exactly(b.select(rare, x, b.like(2.0, x)))
        return [b.select(rare, e, u) for e, u in zip(exact, usual)]

    return b.branch(b.any(rare), repaired, lambda: usual)


# ---- large arguments -----------------------------------------------------------------------------


def _large(b: Builder, x: Value) -> list[Value]:
    """n, r and rest of all lanes, through memory."""
    lanes = x.type.lanes
    numbers, results = b.alloca("f64", lanes), b.alloca("f64", 3 * lanes)
    b.store(x, numbers)
    name = b.module.function("math_large_angles", [PTR, PTR, I64], None, _each, "noinline cold ")
    b.call(name, None, [numbers, results, b.const(lanes, I64)])
    n = b.load(results, x.type.of("i64"))
    r, rest = (b.load(b.element(results, k * lanes, "f64"), x.type) for k in (1, 2))
    return [n, r, rest]


def _each(b: Builder, numbers: Value, results: Value, lanes: Value) -> None:
    def one(i: Value, carried: list[Value]) -> None:
        n, r, rest = _exactly(b, b.load(b.element(numbers, i, "f64"), F64))
        b.store(n, b.element(results, i, "i64"))
        second = b.add(i, lanes)
        b.store(r, b.element(results, second, "f64"))
        b.store(rest, b.element(results, b.add(second, lanes), "f64"))

    b.loop(0, lanes, 1, [], one)


def _exactly(b: Builder, x: Value) -> tuple[Value, Value, Value]:
    """n, r and rest of one number that is not below 1."""
    bits = b.bits(x)
    exponent = b.lshr(bits, 52)
    mantissa = b.or_(b.and_(bits, b.like((1 << 52) - 1, bits)), b.like(1 << 52, bits))
    # x = mantissa * 2**e; bits of 2/pi above the e-th give multiples of 4 pi/2
    place = b.add(exponent, b.like(64 - 2 - 1023 - 52, exponent))
    turns = _product(b, mantissa, _window(b, place))
    n = b.cast("trunc", b.lshr(b.add(turns, b.like(1 << 125, turns)), 126), "i64")
    r = _fraction(b, b.shl(turns, 2))
    r = double_product(b, r, Double(*(b.const(part, F64) for part in HALF_PI)))
    bad = b.fsub(x, x)  # NaN for infinity and NaN
    return n, b.fadd(r.high, bad), r.low


def _window(b: Builder, place: Value) -> list[Value]:
    """Three words of the table from bit `place` on."""
    table = b.module.constant_data(TWO_OVER_PI, "i64")
    first, shift = b.lshr(place, 6), b.and_(place, b.like(63, place))
    words = [b.load(b.element(table, b.add(first, b.like(k, first)), "i64"), I64) for k in range(4)]
    return [b.intrinsic("fshl", words[k], words[k + 1], shift) for k in range(3)]


def _product(b: Builder, mantissa: Value, words: list[Value]) -> Value:
    """The upper 128 of the lowest 192 bits of mantissa * words: quarters of a turn times 2**126."""
    m = b.cast("zext", mantissa, "i128")
    high, middle, low = (b.mul(m, b.cast("zext", w, "i128")) for w in words)
    return b.add(b.shl(high, 64), b.add(middle, b.lshr(low, 64)))


def _fraction(b: Builder, signed: Value) -> Double:
    """A signed 128-bit fraction, not 0, as two floats: its leading 53 bits, and the next 53."""
    negative = b.icmp("slt", signed, b.like(0, signed))
    size = b.select(negative, b.sub(b.like(0, signed), signed), signed)
    zeros = b.call("llvm.ctlz.i128", I128, [size, b.const(1, Type("i1"))])
    size = b.binary("shl", size, zeros)
    high = b.cast("uitofp", b.cast("trunc", b.lshr(size, 75), "i64"), "f64")
    rest = b.and_(b.cast("trunc", b.lshr(size, 22), "i64"), b.const((1 << 53) - 1, I64))
    low = b.cast("uitofp", rest, "f64")
    exponent = b.sub(b.const(1023, I64), b.cast("trunc", zeros, "i64"))
    scale = b.from_bits(b.shl(exponent, 52))
    scale = b.select(negative, b.fneg(scale), scale)
    return Double(
        b.fmul(b.fmul(high, b.const(2.0**-53, F64)), scale),
        b.fmul(b.fmul(low, b.const(2.0**-106, F64)), scale),
    )
