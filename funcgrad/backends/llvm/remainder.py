"""The remainder of floats, exact for all magnitudes.

Where the quotient is small, one division and one product tell it. Else the mantissas are divided as
integers, many binary digits of the quotient at a time.
"""

from __future__ import annotations

import math

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.parts import (
    compared,
    format_of,
    outlined,
    power_of_two,
    where_rare,
)

I64 = "i64"


def rem(b: Builder, x: Value, y: Value) -> Value:
    """What x loses by the multiple of y that is next towards zero; it has the sign of x."""
    size, step = b.fabs(x), b.fabs(y)
    below = b.fcmp("olt", size, step)
    usual, known = _small_quotient(b, size, step)
    usual = b.select(below, size, usual)
    rare = b.xor(b.or_(known, below), b.const(True, known.type))

    def exactly() -> Value:
        return outlined(b, "math_remainder", _by_integers, size, step, result=x.type)

    return b.copysign(where_rare(b, rare, usual, exactly), x)


def _small_quotient(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """x - trunc(x / y) y for quotients with few bits, and where it is right. The rounded quotient
    may be one too large; f32 without fused multiply-add is computed in f64.
    """
    if not b.module.target.fma:
        if x.type.kind == "f64":
            return x, b.const(False, x.type.of("i1"))
        rest, known = _small_quotient_wide(b, b.cast("fpext", x, "f64"), b.cast("fpext", y, "f64"))
        return b.cast("fptrunc", rest, "f32"), known
    return _small_quotient_wide(b, x, y)


def _small_quotient_wide(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    quotient = b.truncate(b.fdiv(x, y))
    rest = b.fma(b.fneg(quotient), y, x)
    rest = b.select(compared(b, "olt", rest, 0.0), b.fadd(rest, y), rest)
    return rest, compared(b, "olt", quotient, 2.0**20)


# ---- any quotient --------------------------------------------------------------------------------


def _by_integers(b: Builder, x: Value, y: Value) -> Value:
    """The remainder of x >= 0 and y >= 0, or NaN, by long division of mantissas."""
    form, kind = format_of(x), x.type.kind
    top, x_shift = _mantissa(b, x)
    divisor, y_shift = _mantissa(b, y)
    divisor = b.select(b.icmp("eq", divisor, b.like(0, divisor)), b.like(1, divisor), divisor)
    digits = 63 - (form.mantissa + 1)
    top = _long_remainder(b, top, divisor, b.sub(x_shift, y_shift), digits)
    # the remainder has the exponent of y, and fits: two exact steps reach subnormal numbers
    number = b.cast("uitofp", b.cast("trunc", top, "i32") if kind == "f32" else top, kind)
    half = b.ashr(y_shift, 1)
    integer = "i32" if kind == "f32" else I64
    for part in (half, b.sub(y_shift, half)):
        number = b.fmul(number, power_of_two(b, b.cast("trunc", part, integer), kind))
    finite = b.and_(compared(b, "olt", x, math.inf), compared(b, "ogt", y, 0.0))
    number = b.select(finite, number, b.like(math.nan, x))
    bounded = b.and_(compared(b, "olt", x, math.inf), compared(b, "oeq", y, math.inf))
    return b.select(bounded, x, number)


def _mantissa(b: Builder, x: Value) -> tuple[Value, Value]:
    """Integers m and e with x = m 2**e, for any number that is not negative."""
    form = format_of(x)
    bits = b.cast("zext", b.bits(x), I64)
    exponent = b.lshr(bits, form.mantissa)
    fraction = b.and_(bits, b.like((1 << form.mantissa) - 1, bits))
    normal = b.icmp("ne", exponent, b.like(0, exponent))
    whole = b.or_(fraction, b.like(1 << form.mantissa, fraction))
    exponent = b.select(normal, exponent, b.like(1, exponent))
    shift = b.sub(exponent, b.like(form.bias + form.mantissa, exponent))
    return b.select(normal, whole, fraction), shift


def _long_remainder(b: Builder, x: Value, y: Value, excess: Value, digits: int) -> Value:
    """x 2**excess modulo y, some binary digits at a time; where excess is negative, anything."""

    def going(carried: list[Value]) -> Value:
        return b.any(b.icmp("sgt", carried[1], b.like(0, carried[1])))

    def step(carried: list[Value]) -> list[Value]:
        rest, left = carried
        now = b.intrinsic("smin", left, b.like(digits, left))
        now = b.intrinsic("smax", now, b.like(0, now))
        rest = b.binary("urem", b.binary("shl", rest, now), y)
        return [rest, b.sub(left, now)]

    first = b.binary("urem", x, y)
    rest, _ = b.while_([first, excess], going, step)
    return rest
