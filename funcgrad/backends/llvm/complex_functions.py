"""Elementary functions of complex128 numbers, from real functions of their parts.

Square roots and tangents follow Kahan, "Branch cuts for complex elementary
functions, or much ado about nothing's sign bit" (1987); division follows Smith (1962). Infinite and
undefined parts are those of C99's annex G where NumPy's are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from funcgrad.backends.llvm import vector_math
from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.parts import (
    Double,
    at_most,
    choose,
    compared,
    dear,
    double_sum,
    is_nan,
    two_product,
    where_rare,
)


class Complex(NamedTuple):
    """The two parts of a complex number."""

    re: Value
    im: Value


Function: TypeAlias = Callable[..., Complex]

# Real functions are called, not written out: there are several in each of these.
_REAL = {
    name: dear(vector_math.FUNCTIONS[name])
    for name in "exp expm1 log log1p sin cos tan sinh asinh atan atan2".split()
}
SAFE = 700.0  # e**x is finite up to here
BIG, SMALL = 2.0**500, 2.0**-500  # between them, squares neither overflow nor vanish


def real(b: Builder, name: str, *args: Value) -> Value:
    return _REAL[name](b, *args)


def select(b: Builder, condition: Value, yes: Complex, no: Complex) -> Complex:
    return Complex(*(b.select(condition, p, q) for p, q in zip(yes, no)))


def turned(b: Builder, z: Complex) -> Complex:
    """i z."""
    return Complex(b.fneg(z.im), z.re)


def turned_back(b: Builder, z: Complex) -> Complex:
    """-i z."""
    return Complex(z.im, b.fneg(z.re))


def turning(function: Function) -> Function:
    """-i f(i z): the circular function that belongs to a hyperbolic one, and the other way."""

    def function_turned(b: Builder, z: Complex) -> Complex:
        return turned_back(b, function(b, turned(b, z)))

    return function_turned


def shifted(b: Builder, z: Complex, amount: float) -> Complex:
    return Complex(b.fadd(z.re, b.like(amount, z.re)), z.im)


def is_infinite(b: Builder, x: Value) -> Value:
    return compared(b, "oeq", b.fabs(x), math.inf)


def has_infinite(b: Builder, z: Complex) -> Value:
    return b.or_(is_infinite(b, z.re), is_infinite(b, z.im))


def _is_finite(b: Builder, x: Value) -> Value:
    return compared(b, "olt", b.fabs(x), math.inf)


# ---- products and quotients ----------------------------------------------------------------------


def product(b: Builder, x: Complex, y: Complex) -> Complex:
    re = b.fsub(b.fmul(x.re, y.re), b.fmul(x.im, y.im))
    return Complex(re, b.fadd(b.fmul(x.re, y.im), b.fmul(x.im, y.re)))


def quotient(b: Builder, x: Complex, y: Complex) -> Complex:
    """By the ratio of the parts of the divisor, the smaller to the larger."""
    wide, tall = b.fabs(y.re), b.fabs(y.im)
    level = b.fcmp("oge", wide, tall)
    large, small = b.select(level, y.re, y.im), b.select(level, y.im, y.re)
    ratio = b.fdiv(small, large)
    scale = b.fdiv(b.like(1.0, ratio), b.fadd(large, b.fmul(small, ratio)))
    first, second = b.select(level, x.re, x.im), b.select(level, x.im, x.re)
    re = b.fadd(first, b.fmul(second, ratio))
    im = b.select(
        level,
        b.fsub(x.im, b.fmul(x.re, ratio)),
        b.fsub(b.fmul(x.im, ratio), x.re),
    )
    zero = b.and_(*(compared(b, "oeq", part, 0.0) for part in (wide, tall)))
    usual = Complex(b.fmul(re, scale), b.fmul(im, scale))
    return select(b, zero, Complex(b.fdiv(x.re, wide), b.fdiv(x.im, wide)), usual)


# ---- magnitude and square root -------------------------------------------------------------------


def _scale(b: Builder, z: Complex) -> tuple[Value, Value]:
    """A power of four that brings the parts between SMALL and BIG, and the inverse of its root."""
    size = b.fmax(b.fabs(z.re), b.fabs(z.im))
    big, small = compared(b, "ogt", size, BIG), compared(b, "olt", size, SMALL)
    scale = choose(b, b.like(1.0, size), (big, 2.0**-600), (small, 2.0**600))
    return scale, choose(b, b.like(1.0, size), (big, 2.0**300), (small, 2.0**-300))


def _scaled(b: Builder, z: Complex, scale: Value) -> Complex:
    return Complex(b.fmul(z.re, scale), b.fmul(z.im, scale))


def _norm(b: Builder, z: Complex) -> Value:
    """|z| where squares are harmless."""
    return b.sqrt(b.fma(z.re, z.re, b.fmul(z.im, z.im)))


def absolute(b: Builder, z: Complex) -> Value:
    """|z|, infinite if a part is. f32 parts are squared in f64, which holds their squares."""
    if z.re.type.kind == "f32":
        wide = Complex(*(b.cast("fpext", part, "f64") for part in z))
        size = b.cast("fptrunc", _norm(b, wide), "f32")
    else:
        scale, root = _scale(b, z)
        size = b.fmul(b.fmul(_norm(b, _scaled(b, z, scale)), root), root)
    endless = has_infinite(b, z)
    return choose(b, size, (endless, math.inf))


def sqrt(b: Builder, z: Complex) -> Complex:
    """The root with a real part that is not negative."""
    scale, root = _scale(b, z)
    w = _scaled(b, z, scale)
    half = b.like(0.5, w.re)
    t = b.sqrt(b.fmul(b.fadd(b.fabs(w.re), _norm(b, w)), half))
    other = b.fdiv(b.fmul(b.fabs(w.im), half), t)
    right = b.fcmp("oge", w.re, b.like(0.0, w.re))
    re, im = b.select(right, t, other), b.select(right, other, t)
    zero = compared(b, "oeq", t, 0.0)
    re, im = choose(b, re, (zero, 0.0)), choose(b, im, (zero, 0.0))
    im = b.copysign(im, z.im)
    return _special_roots(b, z, Complex(b.fmul(re, root), b.fmul(im, root)))


def _special_roots(b: Builder, z: Complex, usual: Complex) -> Complex:
    """Infinite parts."""
    endless, inf = is_infinite(b, z.re), b.like(math.inf, z.re)
    up = b.fcmp("ogt", z.re, b.like(0.0, z.re))
    rest = b.select(_is_finite(b, z.im), b.like(0.0, z.re), b.like(math.nan, z.re))
    along = Complex(b.select(up, inf, rest), b.copysign(b.select(up, rest, inf), z.im))
    tall = Complex(inf, z.im)
    return select(b, is_infinite(b, z.im), tall, select(b, endless, along, usual))


def rsqrt(b: Builder, z: Complex) -> Complex:
    one = b.like(1.0, z.re)
    return quotient(b, Complex(one, b.like(0.0, z.re)), sqrt(b, z))


# ---- exponentials and logarithms -----------------------------------------------------------------


def _grown(b: Builder, x: Value, size: Value, factors: Complex) -> Complex:
    """Factors times e**x for x up to twice SAFE, in two steps where one would overflow; `size` is
    e**min(x, SAFE).
    """
    rest = b.fsub(x, at_most(b, x, SAFE))
    far = b.fcmp("ogt", rest, b.like(0.0, rest))
    more = where_rare(b, far, b.like(1.0, x), lambda: real(b, "exp", rest))
    return Complex(*(b.fmul(b.fmul(f, size), more) for f in factors))


def exp(b: Builder, z: Complex) -> Complex:
    """e**x (cos y + i sin y)."""
    size = real(b, "exp", at_most(b, z.re, SAFE))
    circle = Complex(real(b, "cos", z.im), real(b, "sin", z.im))
    result = _grown(b, z.re, size, circle)
    vanishing = compared(b, "oeq", z.re, -math.inf)
    undefined = b.and_(vanishing, b.fcmp("uno", circle.re, circle.re))
    zero = b.like(0.0, z.re)
    im = b.select(compared(b, "oeq", z.im, 0.0), z.im, result.im)
    re = result.re
    lost = b.and_(compared(b, "oeq", z.re, math.inf), b.fcmp("uno", circle.re, circle.re))
    re = choose(b, re, (lost, math.inf))
    return select(b, undefined, Complex(zero, zero), Complex(re, im))


def exp2(b: Builder, z: Complex) -> Complex:
    return exp(b, Complex(*(b.fmul(part, b.like(math.log(2), part)) for part in z)))


def expm1(b: Builder, z: Complex) -> Complex:
    """Its real part is (e**x - 1) cos y - 2 sin(y/2)**2."""
    sine = real(b, "sin", b.fmul(z.im, b.like(0.5, z.im)))
    less = b.fmul(b.fmul(sine, sine), b.like(2.0, sine))
    near = b.fsub(b.fmul(real(b, "expm1", z.re), real(b, "cos", z.im)), less)
    far = exp(b, z)
    far = Complex(b.fsub(far.re, b.like(1.0, far.re)), far.im)
    moderate = compared(b, "olt", b.fabs(z.re), 1.0)
    return Complex(b.select(moderate, near, far.re), far.im)


@dear
def _log_of_norm(b: Builder, re: Value, im: Value) -> Value:
    """log|z|: near the unit circle by |z|**2 - 1, in twice the bits."""
    z = Complex(re, im)
    scale, root = _scale(b, z)
    norm = _norm(b, _scaled(b, z, scale))
    away = b.fsub(real(b, "log", norm), b.fmul(real(b, "log", scale), b.like(1.0, re)))
    high, low = b.fmax(b.fabs(re), b.fabs(im)), b.fmin(b.fabs(re), b.fabs(im))
    near = b.and_(compared(b, "ogt", norm, 0.7), compared(b, "olt", norm, 1.5))
    near = b.and_(near, compared(b, "oeq", scale, 1.0))
    result = where_rare(b, near, away, lambda: _half_log1p(b, _excess(b, high, low)))
    endless = b.or_(is_infinite(b, re), is_infinite(b, im))
    return choose(b, result, (endless, math.inf))


def _half_log1p(b: Builder, x: Value) -> Value:
    return b.fmul(real(b, "log1p", x), b.like(0.5, x))


def _excess(b: Builder, x: Value, y: Value) -> Value:
    """x**2 + y**2 - 1 for x near 1 and y below it."""
    square = two_product(b, x, x)
    less = Double(b.fsub(square.high, b.like(1.0, x)), square.low)
    total = double_sum(b, less, two_product(b, y, y))
    return b.fadd(total.high, total.low)


def log(b: Builder, z: Complex) -> Complex:
    return Complex(_log_of_norm(b, z.re, z.im), real(b, "atan2", z.im, z.re))


def log1p(b: Builder, z: Complex) -> Complex:
    """Near 0 the real part is log1p(x (2 + x) + y**2) / 2."""
    whole = shifted(b, z, 1.0)
    twice, square = b.fadd(z.re, z.re), two_product(b, z.re, z.re)
    total = double_sum(b, Double(twice, b.like(0.0, z.re)), square)
    total = double_sum(b, total, two_product(b, z.im, z.im))
    near = _half_log1p(b, b.fadd(total.high, total.low))
    small = b.fmax(b.fabs(z.re), b.fabs(z.im))
    far = log(b, whole)
    return Complex(b.select(compared(b, "olt", small, 0.4), near, far.re), far.im)


def pow(b: Builder, x: Complex, y: Complex) -> Complex:
    """e**(y log(x)); 1 for y = 0, and 0 for x = 0 where the real part of y is positive."""
    usual = exp(b, product(b, y, log(b, x)))
    zero, one, nan = (b.like(v, x.re) for v in (0.0, 1.0, math.nan))
    nothing = b.and_(*(compared(b, "oeq", part, 0.0) for part in x))
    still = b.and_(*(compared(b, "oeq", part, 0.0) for part in y))
    rising = b.fcmp("ogt", y.re, zero)
    at_zero = select(b, rising, Complex(zero, zero), Complex(nan, nan))
    return select(b, still, Complex(one, zero), select(b, nothing, at_zero, usual))


# ---- circular and hyperbolic functions -----------------------------------------------------------


def _halves(b: Builder, x: Value) -> tuple[Value, Value, Value]:
    """sinh(x) and cosh(x) of x limited to SAFE, and by how much |x| is beyond."""
    size = at_most(b, b.fabs(x), SAFE)
    sine = real(b, "sinh", size)
    cosine = b.fadd(sine, real(b, "exp", b.fneg(size)))
    return b.copysign(sine, x), cosine, b.fsub(b.fabs(x), size)


def _hyperbolic(b: Builder, z: Complex, first: int) -> Complex:
    """sinh(z) for first = 0, cosh(z) for first = 1."""
    *sides, beyond = _halves(b, z.re)
    circle = (real(b, "cos", z.im), real(b, "sin", z.im))
    far = compared(b, "ogt", beyond, 0.0)
    more = where_rare(b, far, b.like(1.0, beyond), lambda: real(b, "exp", beyond))
    re = b.fmul(b.fmul(sides[first], circle[0]), more)
    im = b.fmul(b.fmul(sides[1 - first], circle[1]), more)
    return _settled(b, z, Complex(re, im), first)


def _settled(b: Builder, z: Complex, usual: Complex, first: int) -> Complex:
    """0 where a part is the product of 0 and something infinite or undefined."""
    sign = b.copysign(b.like(1.0, z.re), z.re)
    level = b.and_(compared(b, "oeq", z.im, 0.0), is_nan(b, usual.im))
    im = b.select(level, z.im if first == 0 else b.fmul(z.im, sign), usual.im)
    upright = compared(b, "oeq", z.re, 0.0)
    if first == 0:
        return Complex(b.select(b.and_(upright, is_nan(b, usual.re)), z.re, usual.re), im)
    return Complex(usual.re, b.select(b.and_(upright, is_nan(b, im)), z.re, im))


def sinh(b: Builder, z: Complex) -> Complex:
    return _hyperbolic(b, z, 0)


def cosh(b: Builder, z: Complex) -> Complex:
    return _hyperbolic(b, z, 1)


def cos(b: Builder, z: Complex) -> Complex:
    return cosh(b, turned(b, z))


def tanh(b: Builder, z: Complex) -> Complex:
    """With t = tan(y) and s = sinh(x): (1 + t**2) s sqrt(1 + s**2) and t, over 1 + (1 + t**2) s**2;
    beyond 20 the imaginary part is 4 sin(y) cos(y) e**(-2|x|).
    """
    one = b.like(1.0, z.re)
    size = b.fabs(z.re)
    t = real(b, "tan", z.im)
    s = real(b, "sinh", b.copysign(at_most(b, size, 20.0), z.re))
    beta = b.fma(t, t, one)
    root = b.sqrt(b.fma(s, s, one))
    divisor = b.fma(b.fmul(beta, s), s, one)
    # a pole of the tangent: both parts tend to what remains when beta dominates
    near = Complex(b.fdiv(b.fmul(b.fmul(beta, root), s), divisor), b.fdiv(t, divisor))
    twice = real(b, "sin", b.fadd(z.im, z.im))
    small = b.fmul(
        b.fmul(twice, b.like(2.0, size)), real(b, "exp", b.fmul(size, b.like(-2.0, size)))
    )
    endless = is_infinite(b, size)
    small = b.select(endless, b.copysign(b.like(0.0, size), z.im), small)
    far = Complex(b.copysign(one, z.re), small)
    return select(b, compared(b, "oge", size, 20.0), far, near)


def logistic(b: Builder, z: Complex) -> Complex:
    """1 / (1 + e**-z), or e**z / (1 + e**z) on the left."""
    left = compared(b, "olt", z.re, 0.0)
    grown = exp(b, Complex(*(b.select(left, part, b.fneg(part)) for part in z)))
    one = Complex(b.like(1.0, z.re), b.like(0.0, z.re))
    return quotient(b, select(b, left, grown, one), shifted(b, grown, 1.0))


FUNCTIONS: dict[str, Function] = {
    "sqrt": sqrt, "rsqrt": rsqrt, "exp": exp, "exp2": exp2, "expm1": expm1, "log": log,
    "log1p": log1p, "pow": pow, "sin": turning(sinh), "cos": cos, "tan": turning(tanh),
    "sinh": sinh, "cosh": cosh, "tanh": tanh, "logistic": logistic,
}  # fmt: skip
