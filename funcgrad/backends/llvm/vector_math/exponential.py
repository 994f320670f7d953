"""exp, exp2, expm1 and the logistic function.

e**x = 2**n e**r with an integer n and |r| <= log(2)/2. n times the leading part of log(2) is exact.
Polynomials are minimax fits by Remez' algorithm, computed with 50 digits; the highest power comes
first, and errors are stated relative to the function.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.parts import (
    Rounded,
    at_least,
    at_most,
    compared,
    polynomial,
    power_of_two,
    rounded,
    rounded_product,
    scaled,
)

# (e**r - 1 - r) / r**2 for |r| <= 0.35
EXP_F32 = (  # error 2**-28
    1.4905432e-04, 1.3931228e-03, 8.341806e-03, 4.1666508e-02, 1.6666634e-01, 0.5,
)  # fmt: skip
EXP_F64 = (  # error 2**-61.6
    2.08752965173062e-09, 2.5110110402035026e-08, 2.755740601420376e-07, 2.7557241367602625e-06,
    2.4801587164657873e-05, 0.0001984126988868484, 0.0013888888888968407, 0.008333333333320737,
    0.04166666666666649, 0.16666666666666677, 0.5,
)  # fmt: skip


class Reduction(NamedTuple):
    """log(2) in two parts, the first with so few bits that its multiples are exact; the polynomial;
    the arguments beyond which the result is 0 or infinite.
    """

    log2_high: float
    log2_low: float
    polynomial: tuple[float, ...]
    lowest: float
    highest: float


REDUCTION = {
    "f32": Reduction(0.693145751953125, 1.42860677e-06, EXP_F32, -105.0, 88.9),
    "f64": Reduction(0.6931471803691238, 1.9082149292705877e-10, EXP_F64, -746.0, 709.9),
}


def reduced(b: Builder, x: Value) -> tuple[Rounded, Value]:
    """n and r with x = n log(2) + r."""
    table = REDUCTION[x.type.kind]
    n = rounded_product(b, x, 1 / math.log(2))
    r = b.fma(n.number, b.like(-table.log2_high, x), x)
    return n, b.fma(n.number, b.like(-table.log2_low, x), r)


def expm1_reduced(b: Builder, r: Value) -> Value:
    """e**r - 1 for |r| <= 0.35."""
    rest = polynomial(b, r, REDUCTION[r.type.kind].polynomial)
    return b.fma(rest, b.fmul(r, r), r)


def exp(b: Builder, x: Value) -> Value:
    """e**x."""
    table = REDUCTION[x.type.kind]
    n, r = reduced(b, at_least(b, at_most(b, x, table.highest), table.lowest))
    return scaled(b, b.fadd(expm1_reduced(b, r), b.like(1.0, x)), n)


def exp_of_sum(b: Builder, x: Value, low: Value) -> Value:
    """e**(x + low) for a correction `low` much smaller than x."""
    table = REDUCTION[x.type.kind]
    n, r = reduced(b, at_least(b, at_most(b, x, table.highest), table.lowest))
    return scaled(b, b.fadd(expm1_reduced(b, b.fadd(r, low)), b.like(1.0, x)), n)


def half_exp(b: Builder, x: Value) -> Value:
    """e**x / 2, which is finite a little longer than e**x."""
    table = REDUCTION[x.type.kind]
    n, r = reduced(b, at_least(b, at_most(b, x, table.highest + 1), table.lowest))
    less = Rounded(b.fsub(n.number, b.like(1.0, x)), b.sub(n.integer, b.like(1, n.integer)))
    return scaled(b, b.fadd(expm1_reduced(b, r), b.like(1.0, x)), less)


def expm1(b: Builder, x: Value) -> Value:
    """e**x - 1, as 2**n (e**r - 1) + (2**n - 1)."""
    table = REDUCTION[x.type.kind]
    x = at_most(b, x, table.highest)
    n, r = reduced(b, at_least(b, x, -60.0))
    inner = expm1_reduced(b, r)
    # half of everything, since 2**n itself may be out of range
    half = power_of_two(b, b.sub(n.integer, b.like(1, n.integer)), x.type.kind)
    result = b.fma(inner, half, b.fsub(half, b.like(0.5, x)))
    result = b.fadd(result, result)
    return b.copysign(b.select(compared(b, "oeq", n.number, 0.0), inner, result), x)


# (e**(2 r) - 1 - 2 r) / (2 r**2) for |r| <= 0.175
EXP_TWICE = {
    "f32": (4.442273e-02, 1.338749e-01, 3.333378e-01, 6.6666156e-01, 9.9999994e-01),  # 2**-26
    "f64": tuple(c * 2.0 ** (10 - k + 1) for k, c in enumerate(EXP_F64)),
}


def expm1_twice(b: Builder, x: Value) -> Value:
    """e**(2 x) - 1 for 0 <= x <= 20, where one number is enough for log(2): what it lacks counts in
    large results only, and those are needed relative to 1 + e**(2 x).
    """
    n = rounded_product(b, x, 2 / math.log(2))
    r = b.fma(n.number, b.like(-math.log(2) / 2, x), x)
    half = b.fma(polynomial(b, r, EXP_TWICE[x.type.kind]), b.fmul(r, r), r)
    twice = power_of_two(b, b.add(n.integer, b.like(1, n.integer)), x.type.kind)
    return b.fma(half, twice, b.fma(twice, b.like(0.5, x), b.like(-1.0, x)))


# All terms of 1 + e**-x are scaled by this power of two: none overflows where the result is not 0.
LOGISTIC_SHIFT = {"f32": (24, -70.0, 104.0), "f64": (54, -670.0, 745.5)}


def logistic(b: Builder, x: Value) -> Value:
    """1 / (1 + e**-x), the divisor being (2**n + 1) + 2**n (e**r - 1)."""
    shift, lowest, highest = LOGISTIC_SHIFT[x.type.kind]
    n, r = reduced(b, at_least(b, at_most(b, b.fneg(x), highest), lowest))
    power = power_of_two(b, b.sub(n.integer, b.like(shift, n.integer)), x.type.kind)
    one = b.like(2.0**-shift, x)
    total = b.fadd(power, one)
    lost = b.fsub(one, b.fsub(total, power))
    return b.fdiv(one, b.fadd(total, b.fma(power, expm1_reduced(b, r), lost)))


# (2**r - 1) / r for |r| <= 1/2
EXP2_F32 = (  # error 2**-29
    1.5475429e-04, 1.3400336e-03, 9.618007e-03, 5.5503275e-02, 2.402265e-01, 6.931472e-01,
)  # fmt: skip
EXP2_F64 = (  # error 2**-64.4
    2.574181002376799e-11, 4.4566706169080753e-10, 7.054888254751177e-09, 1.0178051228234356e-07,
    1.3215486833026968e-06, 1.5252733856195102e-05, 0.0001540353039334117, 0.0013333558146390479,
    0.009618129107628496, 0.0555041086648217, 0.24022650695910072, 0.6931471805599453,
)  # fmt: skip
# the same for results that are rounded to f32; error 2**-40
EXP2_SHORT = (
    1.3263483599309408e-06, 1.53100106312881e-05, 0.0001540341554851005, 0.0013333450904444545,
    0.00961812921929595, 0.05550410940704203, 0.24022650695555023, 0.6931471805461509,
)  # fmt: skip
EXP2 = {"f32": (EXP2_F32, -151.0, 129.0), "f64": (EXP2_F64, -1076.0, 1025.0)}


def exp2(b: Builder, x: Value) -> Value:
    """2**x."""
    coefficients, lowest, highest = EXP2[x.type.kind]
    x = at_least(b, at_most(b, x, highest), lowest)
    n = rounded(b, x)
    r = b.fsub(x, n.number)
    return scaled(b, b.fma(polynomial(b, r, coefficients), r, b.like(1.0, x)), n)
