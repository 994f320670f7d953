"""log, log2 and log1p.

x = 2**e (1 + f) with 1 + f between sqrt(1/2) and sqrt(2); numbers below the normal ones are scaled
first. In f32 log(1 + f) is f - f**2/2 and a polynomial; in f64 it is the series of the inverse
hyperbolic tangent in s = f / (2 + f), whose leading terms are f - f**2/2 too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.parts import (
    choose,
    compared,
    format_of,
    polynomial,
    two_sum,
)

# (log(1 + f) - f + f**2/2) / f**3 for sqrt(1/2) <= 1 + f <= sqrt(2); error 2**-27.3
LOG_F32 = (
    -7.644268e-02, 1.2767763e-01, -1.315957e-01, 1.42009e-01, -1.6623329e-01, 2.0001261e-01,
    -2.5000823e-01, 3.333333e-01,
)  # fmt: skip
# (log((1 + s) / (1 - s)) - 2 s) / s**3 in s**2, for s**2 <= 0.0295; error 2**-58.5
LOG_F64 = (
    0.14799146275605893, 0.15313750881193022, 0.18183575225360382, 0.22222198379924496,
    0.2857142874410281, 0.39999999999407754, 0.6666666666666735,
)  # fmt: skip

LOG2_HIGH = {"f32": 0.693359375, "f64": 0.6931471803691238}
LOG2_LOW = {"f32": -2.12194440e-04, "f64": 1.9082149292705877e-10}


class Parts(NamedTuple):
    """x = 2**exponent (1 + fraction)."""

    exponent: Value
    fraction: Value


def normal(b: Builder, x: Value) -> tuple[Value, Value]:
    """x scaled to be a normal number, and minus the power of two that it was scaled by."""
    form = format_of(x)
    tiny = compared(b, "olt", x, form.smallest)
    grown = b.fmul(x, b.like(2.0**form.mantissa, x))
    zero = b.like(0.0, x)
    return b.select(tiny, grown, x), b.select(tiny, b.like(-float(form.mantissa), x), zero)


def split(b: Builder, x: Value) -> tuple[Value, Value]:
    """The integer e and the bits of 2**-e x, which is between sqrt(1/2) and sqrt(2)."""
    form, bits = format_of(x), b.bits(x)
    middle = b.bits(b.like(math.sqrt(0.5), x))
    e = b.ashr(b.sub(bits, middle), form.mantissa)
    return e, b.sub(bits, b.shl(e, form.mantissa))


def exponent_number(b: Builder, e: Value, kind: str) -> Value:
    """Small integers as floats, by way of i32, which every machine converts in one step."""
    return b.cast("sitofp", b.cast("trunc", e, "i32"), kind)


def parts(b: Builder, x: Value) -> Parts:
    """Of positive numbers; of others, anything."""
    scaled, shift = normal(b, x)
    e, mantissa = split(b, scaled)
    exponent = b.fadd(exponent_number(b, e, x.type.kind), shift)
    return Parts(exponent, b.fsub(b.from_bits(mantissa), b.like(1.0, x)))


def log_rest(b: Builder, f: Value) -> Value:
    """log(1 + f) - f + f**2/2."""
    square = b.fmul(f, f)
    if f.type.kind == "f32":
        return b.fmul(b.fmul(f, square), polynomial(b, f, LOG_F32))
    s = b.fdiv(f, b.fadd(f, b.like(2.0, f)))
    z = b.fmul(s, s)
    series = b.fmul(polynomial(b, z, LOG_F64), z)
    return b.fmul(s, b.fma(b.like(0.5, f), square, series))


def combined(b: Builder, x: Parts, correction: Value | None = None) -> Value:
    """exponent * log(2) + log(1 + fraction) (+ correction), small terms first."""
    kind, f = x.fraction.type.kind, x.fraction
    low = b.fma(x.exponent, b.like(LOG2_LOW[kind], f), log_rest(b, f))
    if correction is not None:
        low = b.fadd(low, correction)
    low = b.fma(b.fmul(f, f), b.like(-0.5, f), low)
    return b.fma(x.exponent, b.like(LOG2_HIGH[kind], f), b.fadd(f, low))


def special(b: Builder, x: Value, result: Value) -> Value:
    """What a logarithm is at infinity, 0, negative numbers and NaN."""
    inf = math.inf
    return choose(
        b, result,
        (compared(b, "oeq", x, inf), inf),
        (compared(b, "oeq", x, 0.0), -inf),
        (compared(b, "ult", x, 0.0), math.nan),
    )  # fmt: skip


def log(b: Builder, x: Value) -> Value:
    """The natural logarithm."""
    return special(b, x, combined(b, parts(b, x)))


def log2(b: Builder, x: Value) -> Value:
    """The logarithm to base 2, exact for powers of two."""
    exponent, f = parts(b, x)
    low = b.fma(b.fmul(f, f), b.like(-0.5, f), log_rest(b, f))
    inner = b.fmul(b.fadd(f, low), b.like(1 / math.log(2), x))
    return special(b, x, b.fadd(exponent, inner))


def log1p(b: Builder, x: Value) -> Value:
    """log(1 + x): what the sum loses is added as the first term of the series around it."""
    total, lost = two_sum(b, b.like(1.0, x), x)
    result = special(b, total, combined(b, parts(b, total), b.fdiv(lost, total)))
    return b.select(compared(b, "oeq", x, 0.0), x, result)
