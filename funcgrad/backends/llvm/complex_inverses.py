"""Inverse circular and hyperbolic functions of complex128 numbers, with Kahan's branch cuts and
formulas (see `complex_functions`).
"""

from __future__ import annotations

import math

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.complex_functions import (
    Complex,
    Function,
    has_infinite,
    is_infinite,
    log,
    product,
    quotient,
    real,
    select,
    shifted,
    sqrt,
    turned,
    turned_back,
    turning,
)
from funcgrad.backends.llvm.vector_math.parts import choose, compared


def _roots(b: Builder, z: Complex) -> tuple[Complex, Complex]:
    """The roots of 1 - z and 1 + z."""
    return sqrt(b, shifted(b, Complex(b.fneg(z.re), b.fneg(z.im)), 1.0)), sqrt(
        b, shifted(b, z, 1.0)
    )


def _cross(b: Builder, x: Complex, y: Complex) -> Value:
    """The imaginary part of conj(x) y."""
    return b.fsub(b.fmul(x.re, y.im), b.fmul(x.im, y.re))


def _inner(b: Builder, x: Complex, y: Complex) -> Value:
    """The real part of conj(x) y."""
    return b.fadd(b.fmul(x.re, y.re), b.fmul(x.im, y.im))


def _angle(b: Builder, z: Complex, tall: Value, y: Value, x: Value) -> Value:
    """Twice the angle of (x, y); the angle of (z.re, tall) if z is infinite."""
    endless = has_infinite(b, z)
    half = real(b, "atan2", b.select(endless, tall, y), b.select(endless, z.re, x))
    return b.select(endless, half, b.fadd(half, half))


def asin(b: Builder, z: Complex) -> Complex:
    less, more = _roots(b, z)
    under = b.fsub(b.fmul(less.re, more.re), b.fmul(less.im, more.im))
    zero, inf = (b.like(v, under) for v in (0.0, math.inf))
    endless = b.select(is_infinite(b, z.im), inf, zero)
    under = b.select(has_infinite(b, z), endless, under)
    return Complex(real(b, "atan2", z.re, under), real(b, "asinh", _cross(b, less, more)))


def acos(b: Builder, z: Complex) -> Complex:
    less, more = _roots(b, z)
    re = _angle(b, z, b.fabs(z.im), less.re, more.re)
    return Complex(re, real(b, "asinh", _cross(b, more, less)))


def acosh(b: Builder, z: Complex) -> Complex:
    less, more = sqrt(b, shifted(b, z, -1.0)), sqrt(b, shifted(b, z, 1.0))
    im = _angle(b, z, z.im, less.im, more.re)
    return Complex(real(b, "asinh", _inner(b, less, more)), im)


def atanh(b: Builder, z: Complex) -> Complex:
    """log1p(4 x / ((1 - x)**2 + y**2)) / 4 for x >= 0, and half the angle of (1 - x) (1 + x) - y**2
    and 2 y; for large z the real part is that of 1 / z.
    """
    one, size = b.like(1.0, z.re), b.fabs(z.re)
    less = b.fsub(one, size)
    square = b.fma(z.im, z.im, b.fmul(less, less))
    four = b.fmul(size, b.like(4.0, size))
    re = b.fmul(real(b, "log1p", b.fdiv(four, square)), b.like(0.25, size))
    across = b.fsub(b.fmul(less, b.fadd(one, size)), b.fmul(z.im, z.im))
    im = b.fmul(real(b, "atan2", b.fadd(z.im, z.im), across), b.like(0.5, size))
    large = compared(b, "ogt", b.fmax(size, b.fabs(z.im)), 2.0**200)
    inverse = quotient(b, Complex(one, b.like(0.0, one)), Complex(size, z.im))
    inverse = Complex(choose(b, inverse.re, (has_infinite(b, z), 0.0)), inverse.im)
    quarter = b.copysign(b.like(math.pi / 2, z.im), z.im)
    result = select(b, large, Complex(inverse.re, quarter), Complex(re, im))
    return Complex(b.copysign(result.re, z.re), result.im)


def atan2(b: Builder, y: Complex, x: Complex) -> Complex:
    """-i log((x + i y) / sqrt(x**2 + y**2))."""
    side = turned(b, y)
    over = Complex(b.fadd(x.re, side.re), b.fadd(x.im, side.im))
    xx, yy = product(b, x, x), product(b, y, y)
    under = sqrt(b, Complex(b.fadd(xx.re, yy.re), b.fadd(xx.im, yy.im)))
    return turned_back(b, log(b, quotient(b, over, under)))


FUNCTIONS: dict[str, Function] = {
    "asin": asin, "acos": acos, "atan": turning(atanh), "asinh": turning(asin), "acosh": acosh,
    "atanh": atanh, "atan2": atan2,
}  # fmt: skip
