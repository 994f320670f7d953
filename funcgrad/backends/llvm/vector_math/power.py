"""pow, cbrt and rsqrt.

pow is exp(y log|x|) with the logarithm and the product in twice the bits (f64), or in f64 (f32).
"""

from __future__ import annotations

import math

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.exponential import EXP2_SHORT, exp_of_sum
from funcgrad.backends.llvm.vector_math.logarithm import Parts, parts
from funcgrad.backends.llvm.vector_math.parts import (
    Double,
    at_least,
    at_most,
    choose,
    compared,
    dear,
    double_product,
    double_sum,
    is_nan,
    polynomial,
    power_of_two,
    quick_two_sum,
    rounded,
    two_product,
    two_sum,
)

# (log((1 + s) / (1 - s)) - 2 s) / s**3 in s**2, for s**2 <= 0.0295; error 2**-36.6
LOG_SHORT = (0.23585145982367176, 0.28537161640744435, 0.40000337307998396, 0.666666656370862)
# (log((1 + s) / (1 - s)) - 2 s - 2/3 s**3) / s**5; error 2**-72.5 of the logarithm
LOG_LONG = (
    0.11992222759707269, 0.11674433445484966, 0.13336336372882185, 0.153845563787111,
    0.18181818877525785, 0.22222222217477725, 0.2857142857144535, 0.39999999999999974,
)  # fmt: skip
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
LOG2 = (0.6931471803691238, 1.9082149292705877e-10)
BEYOND = 2.0**70  # exponents from here on give 0 or infinity, unless the base is 1


# ---- pow -----------------------------------------------------------------------------------------


@dear
def pow(b: Builder, x: Value, y: Value) -> Value:
    """x to the power y, with the special cases of C99."""
    size = b.fabs(x)
    exponent = at_least(b, at_most(b, y, BEYOND), -BEYOND)
    magnitude = (_power_f32 if x.type.kind == "f32" else _power_f64)(b, size, exponent)
    return _special_powers(b, x, y, size, magnitude)


def _power_f32(b: Builder, x: Value, y: Value) -> Value:
    """x**y for normal or subnormal x > 0: 2**(y log2(x)) in f64."""
    exponent, f = parts(b, x)
    wide = b.cast("fpext", f, "f64")
    s = b.fdiv(wide, b.fadd(wide, b.like(2.0, wide)))
    z = b.fmul(s, s)
    logarithm = b.fma(b.fmul(s, z), polynomial(b, z, LOG_SHORT), b.fadd(s, s))
    log2 = b.fma(logarithm, b.like(1 / math.log(2), s), b.cast("fpext", exponent, "f64"))
    t = b.fmul(b.cast("fpext", y, "f64"), log2)
    t = at_least(b, at_most(b, t, 129.0), -152.0)
    n = rounded(b, t)
    r = b.fsub(t, n.number)
    power = b.fma(polynomial(b, r, EXP2_SHORT), r, b.like(1.0, r))
    return b.cast("fptrunc", b.fmul(power, power_of_two(b, n.integer, "f64")), "f32")


def _power_f64(b: Builder, x: Value, y: Value) -> Value:
    log = _log_double(b, parts(b, x))
    high, low = two_product(b, y, log.high)
    low = b.fma(y, log.low, low)
    settled = compared(b, "ogt", b.fabs(high), 1000.0)  # 0 or infinity, whatever the rest is
    return exp_of_sum(b, high, b.select(settled, b.like(0.0, x), low))


def _log_double(b: Builder, x: Parts) -> Double:
    """exponent log(2) + log(1 + fraction) to about 2**-66 of it: 2 s + 2/3 s**3 with twice the
    bits, the rest of the series in s = f / (2 + f) without.
    """
    f = x.fraction
    s = _ratio(b, f)
    z = double_product(b, s, s)
    cube = double_product(b, double_product(b, s, z), Double(*(b.like(c, f) for c in TWO_THIRDS)))
    fifth = b.fmul(b.fmul(s.high, z.high), z.high)
    rest = b.fmul(fifth, polynomial(b, z.high, LOG_LONG))
    series = quick_two_sum(b, cube.high, b.fadd(cube.low, rest))
    fraction = double_sum(b, Double(b.fadd(s.high, s.high), b.fadd(s.low, s.low)), series)
    whole = Double(*(b.fmul(x.exponent, b.like(c, f)) for c in LOG2))
    return double_sum(b, whole, fraction)


def _ratio(b: Builder, f: Value) -> Double:
    """f / (2 + f) with twice the bits."""
    divisor = two_sum(b, b.like(2.0, f), f)
    high = b.fdiv(f, divisor.high)
    product = two_product(b, high, divisor.high)
    rest = b.fsub(b.fsub(f, product.high), product.low)
    rest = b.fsub(rest, b.fmul(high, divisor.low))
    return Double(high, b.fdiv(rest, divisor.high))


def _special_powers(b: Builder, x: Value, y: Value, size: Value, magnitude: Value) -> Value:
    """The sign, and bases 0, infinity and 1, negative bases, exponents 0 and NaN."""
    zero, one = b.like(0.0, x), b.like(1.0, x)
    is_zero, is_infinite = b.fcmp("oeq", size, zero), compared(b, "oeq", size, math.inf)
    rising, negative = b.fcmp("ogt", y, zero), b.icmp("slt", b.bits(x), b.like(0, b.bits(x)))
    grows = b.xor(rising, is_zero)
    extreme = b.select(grows, b.like(math.inf, x), zero)
    result = b.select(b.or_(is_zero, is_infinite), extreme, magnitude)
    half = b.fmul(y, b.like(0.5, y))
    whole, even = b.fcmp("oeq", b.floor(y), y), b.fcmp("oeq", b.floor(half), half)
    odd = b.and_(whole, b.xor(even, b.const(True, even.type)))
    result = b.select(b.and_(negative, odd), b.fneg(result), result)
    ordinary = b.and_(b.fcmp("olt", x, zero), compared(b, "olt", size, math.inf))
    undefined = b.and_(ordinary, b.fcmp("one", b.floor(y), y))
    undefined = b.or_(undefined, b.or_(is_nan(b, x), is_nan(b, y)))
    still = b.and_(b.fcmp("oeq", size, one), compared(b, "oeq", b.fabs(y), math.inf))
    still = b.or_(still, b.or_(b.fcmp("oeq", y, zero), b.fcmp("oeq", x, one)))
    return choose(b, result, (undefined, math.nan), (still, 1.0))


# ---- roots ---------------------------------------------------------------------------------------

# the cube root for 0.35 <= x <= 2.84; error 2**-9
CBRT = (
    -0.019577933658291285, 0.1537427430005194, -0.47532824215110847, 0.9000599742401074,
    0.44299478678310694,
)  # fmt: skip


def rsqrt(b: Builder, x: Value) -> Value:
    """1 / sqrt(x)."""
    return b.fdiv(b.like(1.0, x), b.sqrt(x))


@dear
def cbrt(b: Builder, x: Value) -> Value:
    """The real cube root."""
    if x.type.kind == "f64":
        return _cbrt(b, x)
    return b.cast("fptrunc", _cbrt(b, b.cast("fpext", x, "f64")), "f32")


def _cbrt(b: Builder, x: Value) -> Value:
    """2**k times the root of a number near 1: a polynomial, a step of Halley's, one of Newton's."""
    exponent, f = parts(b, b.fabs(x))
    k = rounded(b, b.fmul(exponent, b.like(1 / 3, x)))
    rest = rounded(b, b.fma(k.number, b.like(-3.0, x), exponent))
    m = b.fmul(b.fadd(f, b.like(1.0, x)), power_of_two(b, rest.integer, "f64"))
    y = polynomial(b, m, CBRT)
    cube, two = b.fmul(b.fmul(y, y), y), b.like(2.0, x)
    y = b.fmul(y, b.fdiv(b.fma(m, two, cube), b.fma(cube, two, m)))
    square = b.fmul(y, y)
    miss = b.fdiv(b.fma(square, y, b.fneg(m)), b.fmul(square, b.like(3.0, x)))
    y = b.fmul(b.fsub(y, miss), power_of_two(b, k.integer, "f64"))
    itself = b.or_(compared(b, "oeq", x, 0.0), compared(b, "ueq", b.fabs(x), math.inf))
    return b.select(itself, x, b.copysign(y, x))
