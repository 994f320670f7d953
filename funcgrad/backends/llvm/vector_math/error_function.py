"""erf, erfc and erf_inv.

The tables are those of the primitives, lowest power first. erf in f32 is 1 - 2**(a q(a)) with a
polynomial q, accurate near 0 too, or where the machine looks 32 numbers up at once, a Taylor
polynomial; in f64, and for erfc, the two halves are a polynomial near 0 and
exp(-x**2) P(t) / (1 + 2x) with t = (x - 3) / (x + 3) beyond.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.exponential import (
    EXP2_F32,
    exp_of_sum,
    expm1_reduced,
    reduced,
)
from funcgrad.backends.llvm.vector_math.logarithm import log1p
from funcgrad.backends.llvm.vector_math.parts import (
    LOOKED_UP,
    at_least,
    at_most,
    choose,
    compared,
    dear,
    has_lookup,
    lookup,
    polynomial,
    power_of_two,
    quick_two_sum,
    rounded,
    rounded_product,
    scaled,
    two_product,
    where_rare,
)
from funcgrad.compiler import special_tables as tables

# log2(erfc(a)) / a for 0 <= a <= 3.93, so that erf has the relative error 2**-24.7
ERF_F32 = (
    -5.9756192e-05, 5.573751e-04, -1.8282336e-03, -2.6501744e-04, 2.7852146e-02, -1.4832155e-01,
    -9.184447e-01, -1.627907e+00,
)  # fmt: skip
ONE_FROM = 3.93  # from here on erf rounds to 1 in f32
# erf(x) / x in x**2 for |x| <= 0.51; error 2**-24
ERF_NEAR_0 = (4.6998672e-03, -2.6749145e-02, 1.1282714e-01, -3.7612605e-01, 1.1283791e00)


def series(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """A polynomial, lowest power first."""
    return polynomial(b, x, coefficients[::-1])


# ---- erf and erfc --------------------------------------------------------------------------------


def erf(b: Builder, x: Value) -> Value:
    """The error function."""
    if x.type.kind == "f64":
        return _erf_f64(b, x)
    return _erf_by_table(b, x) if has_lookup(b.module.target) else _erf_f32(b, x)


def _erf_by_table(b: Builder, x: Value) -> Value:
    """The Taylor polynomial around the nearest multiple of 1/8. Fewer numbers than a register holds
    come to the same bits as part of a full one.
    """
    if x.type.lanes < LOOKED_UP:
        return b.narrowed(_erf_by_table(b, b.widened(x, LOOKED_UP)), x.type.lanes)
    size = at_most(b, b.fabs(x), ONE_FROM)
    n = rounded_product(b, size, 8.0)
    r = b.fma(n.number, b.like(-0.125, x), size)
    first, *others = [lookup(b, n.integer, row) for row in _erf_table()]
    result = others[-1]
    for coefficient in (*others[-2::-1], first):
        result = b.fma(result, r, coefficient)
    return b.copysign(result, x)


@functools.cache
def _erf_table() -> list[tuple[float, ...]]:
    """Coefficients around 0, 1/8, ..., 31/8; one row for each power."""
    return list(zip(*(_taylor_of_erf(k / 8, 5) for k in range(32))))


def _taylor_of_erf(center: float, degree: int) -> list[float]:
    """Coefficients of erf around a number, lowest power first: the derivative f = exp(-x**2) has
    f' = -2 x f.
    """
    slopes = [2 / math.sqrt(math.pi) * math.exp(-center * center), 0.0]
    slopes[1] = -2 * center * slopes[0]
    for k in range(1, degree):
        slopes.append(-2 * (center * slopes[k] + slopes[k - 1]) / (k + 1))
    return [math.erf(center), *(slopes[k] / (k + 1) for k in range(degree))]


def _erf_f32(b: Builder, x: Value) -> Value:
    size = at_most(b, b.fabs(x), ONE_FROM)
    t = b.fmul(size, polynomial(b, size, ERF_F32))
    n = rounded(b, t)
    r = b.fsub(t, n.number)
    inner = b.fmul(r, polynomial(b, r, EXP2_F32))  # 2**r - 1
    power = power_of_two(b, n.integer, "f32")
    rest = b.fsub(b.like(1.0, x), power)
    return b.copysign(b.fma(inner, b.fneg(power), rest), x)


@dear
def _erf_f64(b: Builder, x: Value) -> Value:
    size = b.fabs(x)
    z = b.fmul(x, x)
    near = b.fmul(x, series(b, z, tables.ERF_SMALL))
    far = b.copysign(b.fsub(b.like(1.0, x), _erfc_positive(b, size)), x)
    return b.select(compared(b, "ogt", size, 1.0), far, near)


@dear
def erfc(b: Builder, x: Value) -> Value:
    """1 - erf(x), accurate in the upper tail."""
    return _erfc_f32(b, x) if x.type.kind == "f32" else _erfc_f64(b, x)


def _ratio(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """exp(x**2) erfc(x) for x >= 0."""
    three = b.like(3.0, x)
    t = b.fdiv(b.fsub(x, three), b.fadd(x, three))
    divisor = b.fma(b.like(2.0, x), x, b.like(1.0, x))
    return b.fdiv(series(b, t, coefficients), divisor)


def _erfc_positive(b: Builder, x: Value) -> Value:
    """For x >= 0; beyond 30 it is 0 in any case. The rounding error of x**2 is kept."""
    x = at_most(b, x, 30.0)
    square = two_product(b, x, x)
    power = exp_of_sum(b, b.fneg(square.high), b.fneg(square.low))
    return b.fmul(_ratio(b, x, tables.ERFCX), power)


def _erfc_f64(b: Builder, x: Value) -> Value:
    near = b.fsub(b.like(1.0, x), b.fmul(x, series(b, b.fmul(x, x), tables.ERF_SMALL)))
    far = _erfc_positive(b, b.fabs(x))
    below = b.fsub(b.like(2.0, x), far)
    return choose(
        b, near, (compared(b, "ogt", x, 0.5), far), (compared(b, "olt", x, -1.0), below)
    )  # fmt: skip


def _erfc_f32(b: Builder, x: Value) -> Value:
    """The power of two comes last, so that results below all normal numbers are rounded once."""
    size = at_most(b, b.fabs(x), 11.0)
    square = two_product(b, size, size)
    n, r = reduced(b, b.fneg(square.high))
    power = quick_two_sum(b, b.like(1.0, x), expm1_reduced(b, b.fsub(r, square.low)))
    ratio = _ratio_f32(b, size)
    far = scaled(b, b.fma(ratio, power.high, b.fmul(ratio, power.low)), n)
    near = b.fma(b.fneg(x), b.polynomial(square.high, ERF_NEAR_0), b.like(1.0, x))
    below = b.fsub(b.like(2.0, x), far)
    return choose(
        b, far, (compared(b, "olt", x, 0.0), below), (compared(b, "olt", size, 0.5), near)
    )  # fmt: skip


def _ratio_f32(b: Builder, x: Value) -> Value:
    """As `_ratio`, in one chain: what is added last is rounded last."""
    t = b.fdiv(b.fsub(x, b.like(3.0, x)), b.fadd(x, b.like(3.0, x)))
    divisor = b.fma(b.like(2.0, x), x, b.like(1.0, x))
    return b.fdiv(b.polynomial(t, tables.ERFCX_SHORT[::-1]), divisor)


# ---- erf_inv -------------------------------------------------------------------------------------


# erf_inv(x) / x in w - 2.1875 for w < 5, where the constant term happens to be rounded little;
# lowest power first, error 2**-27
ERF_INV_F32 = (
    1.4239666e00, 2.4885732e-01, -2.8740123e-03, -1.5282681e-03, 2.205456e-04, 2.4427525e-06,
    -4.39543e-06, 3.7549353e-07, 4.7860084e-08, -8.670026e-09,
)  # fmt: skip


@dear
def erf_inv(b: Builder, x: Value) -> Value:
    """The inverse of erf (Giles 2010), in w = -log(1 - x**2) with the square rounded, as for
    everyone who draws normal numbers in this way.
    """
    w = b.fneg(log1p(b, b.fneg(b.fmul(x, x))))
    pieces: list[tuple[float, float, Sequence[float]]]
    coefficients: Sequence[float]
    if x.type.kind == "f32":
        pieces = [(5.0, 3.0, tables.ERF_INV_FLOAT32_TAIL)]
        middle, coefficients = 2.1875, ERF_INV_F32
    else:
        pieces = [
            (6.25, 3.25, tables.ERF_INV_FLOAT64_MIDDLE),
            (16.0, 5.0, tables.ERF_INV_FLOAT64_TAIL),
        ]
        middle, coefficients = 3.125, tables.ERF_INV_FLOAT64
    ratio = series(b, b.fsub(w, b.like(middle, w)), coefficients)
    for start, center, tail in pieces:
        ratio = _with_tail(b, w, ratio, start, center, tail)
    ends = compared(b, "oeq", b.fabs(x), 1.0)
    return b.fmul(choose(b, ratio, (ends, math.inf)), x)


def _with_tail(
    b: Builder, w: Value, ratio: Value, start: float, center: float, tail: Sequence[float]
) -> Value:
    """From w = start on, a polynomial in the root of w."""

    def computed() -> Value:
        root = b.sqrt(at_least(b, w, 0.0))
        return series(b, b.fsub(root, b.like(center, w)), tail)

    return where_rare(b, compared(b, "oge", w, start), ratio, computed)
