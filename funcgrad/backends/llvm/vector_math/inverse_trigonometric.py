"""asin, acos, atan and atan2: odd polynomials on small arguments, to which the others are brought
by half angles and by differences from pi/4, pi/2 and pi.
"""

from __future__ import annotations

import math

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.parts import choose, compared, is_nan, polynomial

# (asin(t) - t) / t**3 in t**2, for |t| <= 1/2
ASIN_F32 = (4.2219404e-02, 2.4148338e-02, 4.5476627e-02, 7.495249e-02, 1.6666754e-01)  # 2**-27.6
ASIN_F64 = (  # error 2**-59.8
    0.032702311012434135, -0.021116999893114517, 0.021790878986396502, 0.0036720742314841743,
    0.010789355173801798, 0.011397286029811528, 0.013981019524822086, 0.017351595405227703,
    0.022372215911959717, 0.030381942675032726, 0.04464285717529206, 0.0749999999997009,
    0.16666666666666763,
)  # fmt: skip
# (atan(t) - t) / t**3 in t**2, for |t| <= tan(pi/8)
ATAN_F32 = (-6.089544e-02, 1.0599086e-01, -1.4244394e-01, 1.9998528e-01, -3.3333316e-01)  # 2**-30
ATAN_F64 = (  # error 2**-59.4
    -0.01789240454312561, 0.03805157054156267, -0.050388148589275296, 0.05847785464032052,
    -0.06663090457311256, 0.07692059079237192, -0.0909089769726631, 0.1111111078147558,
    -0.1428571428015926, 0.1999999999995324, -0.333333333333332,
)  # fmt: skip
ASIN = {"f32": ASIN_F32, "f64": ASIN_F64}
ATAN = {"f32": ATAN_F32, "f64": ATAN_F64}

# pi/2 as the sum of two numbers of the type
HALF_PI = {
    "f32": (1.5707963705062866, -4.3711390001862426e-08),
    "f64": (1.5707963267948966, 6.123233995736766e-17),
}
TAN_EIGHTH = math.sqrt(2) - 1  # tan(pi/8)


def _odd(b: Builder, t: Value, z: Value, coefficients: tuple[float, ...]) -> Value:
    """t + t**3 times a polynomial in z = t**2."""
    return b.fma(b.fmul(t, z), polynomial(b, z, coefficients), t)


def _turned(b: Builder, p: Value, quarters: float) -> Value:
    """quarters * pi/2 - p."""
    high, low = (quarters * part for part in HALF_PI[p.type.kind])
    return b.fsub(b.like(high, p), b.fsub(p, b.like(low, p)))


# ---- asin and acos -------------------------------------------------------------------------------


def _half_angle(b: Builder, x: Value) -> tuple[Value, Value]:
    """Is |x| <= 1/2, and asin(|x|) if it is, asin(sqrt((1 - |x|) / 2)) if not."""
    size, half = b.fabs(x), b.like(0.5, x)
    small = b.fcmp("ole", size, half)
    rest = b.fmul(b.fsub(b.like(1.0, x), size), half)
    z = b.select(small, b.fmul(size, size), rest)
    t = b.select(small, size, b.sqrt(rest))
    return small, _odd(b, t, z, ASIN[x.type.kind])


def asin(b: Builder, x: Value) -> Value:
    """The angle in [-pi/2, pi/2] whose sine is x."""
    small, p = _half_angle(b, x)
    return b.copysign(b.select(small, p, _turned(b, b.fadd(p, p), 1.0)), x)


def acos(b: Builder, x: Value) -> Value:
    """The angle in [0, pi] whose cosine is x."""
    small, p = _half_angle(b, x)
    twice = b.fadd(p, p)
    ends = b.select(compared(b, "olt", x, 0.0), _turned(b, twice, 2.0), twice)
    return b.select(small, _turned(b, b.copysign(p, x), 1.0), ends)


# ---- atan and atan2 ------------------------------------------------------------------------------


def _atan_of_ratio(b: Builder, over: Value, under: Value) -> Value:
    """atan(over / under) for 0 <= over <= under: above tan(pi/8), pi/4 plus the atan of
    (over - under) / (over + under).
    """
    kind = over.type.kind
    big = b.fcmp("ogt", over, b.fmul(under, b.like(TAN_EIGHTH, over)))
    t = b.fdiv(b.select(big, b.fsub(over, under), over), b.select(big, b.fadd(over, under), under))
    high, low = (0.5 * part for part in HALF_PI[kind])
    zero = b.like(0.0, t)
    z = b.fmul(t, t)
    rest = b.fma(b.fmul(t, z), polynomial(b, z, ATAN[kind]), b.select(big, b.like(low, t), zero))
    return b.fadd(b.select(big, b.like(high, t), zero), b.fadd(t, rest))


def atan(b: Builder, x: Value) -> Value:
    """The angle in [-pi/2, pi/2] whose tangent is x."""
    size, one = b.fabs(x), b.like(1.0, x)
    beyond = b.fcmp("ogt", size, one)
    # infinity over infinity is avoided: the reciprocal of the largest numbers is 0 in effect
    under = b.select(beyond, b.fmin(b.like(_largest(x), x), size), one)
    p = _atan_of_ratio(b, b.select(beyond, one, size), under)
    return b.copysign(b.select(beyond, _turned(b, p, 1.0), p), x)


def _largest(x: Value) -> float:
    return 2.0**126 if x.type.kind == "f32" else 2.0**1022


def atan2(b: Builder, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), in [-pi, pi]; zeros and infinities as in C99."""
    tall, wide = b.fabs(y), b.fabs(x)
    steep = b.fcmp("ogt", tall, wide)
    over, under = b.select(steep, wide, tall), b.select(steep, tall, wide)
    # both infinite: as if both were 1; both zero: as if only y were
    infinite = compared(b, "oeq", over, math.inf)
    over = choose(b, over, (infinite, 1.0))
    under = choose(b, under, (infinite, 1.0), (compared(b, "oeq", under, 0.0), 1.0))
    # the sum of the two must not overflow
    huge = compared(b, "oge", under, _largest(x))
    shrink = b.select(huge, b.like(0.25, x), b.like(1.0, x))
    p = _atan_of_ratio(b, b.fmul(over, shrink), b.fmul(under, shrink))
    left = b.icmp("slt", b.bits(x), b.like(0, b.bits(x)))
    from_axis = b.select(steep, _turned(b, b.copysign(p, x), 1.0), _turned(b, p, 2.0))
    p = b.copysign(b.select(b.or_(steep, left), from_axis, p), y)
    return choose(b, p, (b.or_(is_nan(b, x), is_nan(b, y)), math.nan))
