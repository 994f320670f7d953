"""lgamma and digamma, in f64 for all types.

Near its zeros at 1 and 2 lgamma is a polynomial with these zeros as factors; beyond, both are
Stirling's leading terms (DLMF 5.11.1, 5.11.2) with a polynomial in 1/x. The recurrence reaches
small arguments, reflection (5.5.3, 5.5.4) the negative axis.
"""

from __future__ import annotations

import math

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.error_function import series
from funcgrad.backends.llvm.vector_math.logarithm import log
from funcgrad.backends.llvm.vector_math.parts import (
    at_least,
    choose,
    compared,
    dear,
    in_float64,
    where_rare,
)
from funcgrad.backends.llvm.vector_math.trigonometric import sin, tan
from funcgrad.compiler import special_tables as tables

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)
TINY = 1e-200  # below, sin(pi x) is pi x, of which few digits may be left


def lgamma(b: Builder, x: Value) -> Value:
    """log|gamma(x)|; infinite at 0 and the negative integers."""
    return in_float64(b, _lgamma, x) if x.type.kind == "f32" else _lgamma(b, x)


def digamma(b: Builder, x: Value) -> Value:
    """The derivative of lgamma; NaN at 0 and the negative integers."""
    return in_float64(b, _digamma, x) if x.type.kind == "f32" else _digamma(b, x)


def _is_pole(b: Builder, x: Value) -> Value:
    return b.and_(compared(b, "ole", x, 0.0), b.fcmp("oeq", x, b.floor(x)))


def _angle(b: Builder, x: Value) -> Value:
    """pi times the distance of x to the nearest integer."""
    return b.fmul(b.fsub(x, b.roundeven(x)), b.like(math.pi, x))


def _folded(b: Builder, negative: Value, x: Value) -> Value:
    """1 - x where x is to be reflected, else x."""
    return b.select(negative, b.fsub(b.like(1.0, x), x), x)


# ---- lgamma --------------------------------------------------------------------------------------


@dear
def _lgamma(b: Builder, x: Value) -> Value:
    low = compared(b, "olt", x, 0.5)
    tiny = compared(b, "olt", b.fabs(x), TINY)
    positive = _lgamma_positive(b, _folded(b, low, x))

    def reflected() -> Value:
        sine = b.select(tiny, b.fabs(x), b.fabs(sin(b, _angle(b, x))))
        rest = b.select(tiny, b.like(0.0, x), b.like(math.log(math.pi), x))
        return b.fsub(b.fsub(rest, log(b, sine)), positive)

    result = where_rare(b, low, positive, reflected)
    infinite = b.or_(_is_pole(b, x), compared(b, "oeq", b.fabs(x), math.inf))
    return choose(b, result, (infinite, math.inf))


def _lgamma_positive(b: Builder, x: Value) -> Value:
    """For x >= 1/2."""
    logarithm = log(b, x)
    below = compared(b, "olt", x, 1.5)
    distance = b.fsub(x, b.select(below, b.like(1.0, x), b.like(2.0, x)))
    near = series(b, b.fadd(distance, distance), tables.LGAMMA)
    near = b.fmul(b.fmul(b.fadd(distance, b.like(1.0, x)), distance), near)
    near = b.select(below, b.fsub(near, logarithm), near)
    return b.select(compared(b, "olt", x, 2.5), near, _lgamma_large(b, x, logarithm))


def _lgamma_large(b: Builder, x: Value, logarithm: Value) -> Value:
    """For x >= 2.5; (x - 1/2) (log(x) - 1) loses less than the difference of the large terms."""
    one = b.like(1.0, x)
    inverse = b.fdiv(one, at_least(b, x, 2.5))
    rest = b.fmul(
        series(b, b.fma(b.like(5.0, x), inverse, b.fneg(one)), tables.LGAMMA_LARGE), inverse
    )
    main = b.fmul(b.fsub(x, b.like(0.5, x)), b.fsub(logarithm, one))
    return b.fadd(main, b.fadd(rest, b.like(HALF_LOG_2_PI - 0.5, x)))


# ---- digamma -------------------------------------------------------------------------------------


@dear
def _digamma(b: Builder, x: Value) -> Value:
    low = compared(b, "olt", x, 0.0)
    positive = _digamma_positive(b, _folded(b, low, x))

    tiny = compared(b, "olt", b.fabs(x), TINY)

    def reflected() -> Value:
        tangent = b.fdiv(b.like(math.pi, x), tan(b, _angle(b, x)))
        return b.fsub(positive, b.select(tiny, b.fdiv(b.like(1.0, x), x), tangent))

    result = where_rare(b, low, positive, reflected)
    undefined = b.or_(_is_pole(b, x), compared(b, "oeq", x, -math.inf))
    return choose(b, result, (compared(b, "oeq", x, math.inf), math.inf), (undefined, math.nan))


def _digamma_positive(b: Builder, x: Value) -> Value:
    """Stirling's terms from 2 on; below, two steps up the recurrence."""
    one, two = b.like(1.0, x), b.like(2.0, x)
    small = b.fcmp("olt", x, two)
    y = b.select(small, b.fadd(x, two), x)
    inverse = b.fdiv(one, y)
    rest = series(b, b.fma(b.like(4.0, x), inverse, b.fneg(one)), tables.DIGAMMA_LARGE)
    rest = b.fmul(b.fma(rest, inverse, b.like(0.5, x)), inverse)
    steps = b.fadd(b.fdiv(one, b.fadd(x, one)), b.fdiv(one, x))
    large = b.fsub(log(b, y), rest)
    return b.select(small, b.fsub(large, steps), large)
