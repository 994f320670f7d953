"""sinh, cosh, tanh and their inverses, from exponentials and logarithms that are accurate near
their zeros.
"""

from __future__ import annotations

import math

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.exponential import expm1_twice, half_exp
from funcgrad.backends.llvm.vector_math.logarithm import log1p
from funcgrad.backends.llvm.vector_math.parts import at_most, choose, compared, polynomial

ONE_FROM = {"f32": 9.1, "f64": 20.0}  # from here on tanh rounds to 1
SMALL = 0.35
# (tanh(x) - x) / x**3 in x**2, for |x| <= 0.36; error 2**-30
TANH_F32 = (1.931618e-02, -5.370182e-02, 1.3332233e-01, -3.333332e-01)


def tanh(b: Builder, x: Value) -> Value:
    """The hyperbolic tangent, as t / (t + 2) with t = e**(2|x|) - 1; small f32 numbers, where that
    sum loses most, by a polynomial.
    """
    size = b.fabs(x)
    t = expm1_twice(b, at_most(b, size, ONE_FROM[x.type.kind]))
    y = b.fdiv(t, b.fadd(t, b.like(2.0, x)))
    if x.type.kind == "f32":
        z = b.fmul(size, size)
        small = b.fma(b.fmul(size, z), polynomial(b, z, TANH_F32), size)
        y = b.select(compared(b, "olt", size, SMALL), small, y)
    return b.copysign(y, x)


# (sinh(x) - x) / x**3 in x**2, for |x| <= 1
SINH_F32 = (2.7855053e-06, 1.9842418e-04, 8.333312e-03, 1.6666667e-01)  # error 2**-31
SINH_F64 = (  # error 2**-63
    7.760441604927376e-13, 1.6057203919144267e-10, 2.5052123855098704e-08, 2.7557319152541387e-06,
    0.00019841269841446263, 0.008333333333333127, 0.16666666666666669,
)  # fmt: skip
SINH = {"f32": SINH_F32, "f64": SINH_F64}


def _halves(b: Builder, size: Value) -> tuple[Value, Value]:
    """e**x / 2 and e**-x / 2."""
    grown = half_exp(b, size)
    return grown, b.fdiv(b.like(0.25, size), grown)


def sinh(b: Builder, x: Value) -> Value:
    """(e**x - e**-x) / 2; a polynomial up to 1."""
    size = b.fabs(x)
    grown, shrunk = _halves(b, size)
    z = b.fmul(size, size)
    small = b.fma(b.fmul(size, z), polynomial(b, z, SINH[x.type.kind]), size)
    return b.copysign(b.select(compared(b, "olt", size, 1.0), small, b.fsub(grown, shrunk)), x)


def cosh(b: Builder, x: Value) -> Value:
    """(e**x + e**-x) / 2."""
    return b.fadd(*_halves(b, b.fabs(x)))


# ---- inverses ------------------------------------------------------------------------------------

HUGE = {"f32": 2.0**24, "f64": 2.0**53}  # x**2 + 1 is x**2 from here on, and much before


def _log1p_or_log_twice(b: Builder, huge: Value, size: Value, t: Value) -> Value:
    """log(1 + t), or log(2 size) for huge ones."""
    logarithm = log1p(b, b.select(huge, size, t))
    return b.select(huge, b.fadd(logarithm, b.like(math.log(2), size)), logarithm)


def asinh(b: Builder, x: Value) -> Value:
    """log(|x| + sqrt(x**2 + 1)) with the sign of x."""
    size, one = b.fabs(x), b.like(1.0, x)
    huge = compared(b, "oge", size, HUGE[x.type.kind])
    square = b.fmul(size, size)
    excess = b.fdiv(square, b.fadd(one, b.sqrt(b.fadd(square, one))))  # sqrt(x**2 + 1) - 1
    return b.copysign(_log1p_or_log_twice(b, huge, size, b.fadd(size, excess)), x)


def acosh(b: Builder, x: Value) -> Value:
    """log(x + sqrt(x**2 - 1))."""
    huge = compared(b, "oge", x, HUGE[x.type.kind])
    t = b.fsub(x, b.like(1.0, x))
    root = b.sqrt(b.fmul(t, b.fadd(x, b.like(1.0, x))))
    result = _log1p_or_log_twice(b, huge, x, b.fadd(t, root))
    return choose(b, result, (compared(b, "olt", x, 1.0), math.nan))


def atanh(b: Builder, x: Value) -> Value:
    """log((1 + x) / (1 - x)) / 2."""
    size = b.fabs(x)
    ratio = b.fdiv(b.fadd(size, size), b.fsub(b.like(1.0, x), size))
    return b.copysign(b.fmul(log1p(b, ratio), b.like(0.5, x)), x)
