"""Operations on complex numbers, which are pairs of values: arithmetic, order, the table of all.

Sums of products are not contracted, so that z times its conjugate is real. Functions of complex64
are computed in complex128 and rounded once; what they compute is in `complex_functions` and
`complex_inverses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from funcgrad.backends.llvm import complex_functions as functions, complex_inverses as inverses
from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.complex_functions import Complex
from funcgrad.backends.llvm.vector_math.parts import choose, compared

Operation: TypeAlias = Callable[..., Complex]


# ---- arithmetic ----------------------------------------------------------------------------------


def add(b: Builder, x: Complex, y: Complex) -> Complex:
    return Complex(b.fadd(x.re, y.re), b.fadd(x.im, y.im))


def sub(b: Builder, x: Complex, y: Complex) -> Complex:
    return Complex(b.fsub(x.re, y.re), b.fsub(x.im, y.im))


def neg(b: Builder, x: Complex) -> Complex:
    return Complex(b.fneg(x.re), b.fneg(x.im))


def conj(b: Builder, x: Complex) -> Complex:
    return Complex(x.re, b.fneg(x.im))


def sign(b: Builder, x: Complex) -> Complex:
    """x / |x|; 0 for 0, and the direction of a single infinite part."""
    size = functions.absolute(b, x)
    nothing, endless = (compared(b, "oeq", size, v) for v in (0.0, math.inf))
    parts = []
    for part in x:
        unit = b.copysign(b.like(1.0, part), part)
        infinite = compared(b, "oeq", b.fabs(part), math.inf)
        whole = b.select(infinite, unit, b.like(0.0, part))
        parts.append(choose(b, b.fdiv(part, size), (endless, whole), (nothing, b.like(0.0, part))))
    both = b.and_(*(compared(b, "oeq", b.fabs(part), math.inf) for part in x))
    return Complex(*(choose(b, part, (both, math.nan)) for part in parts))


# ---- order: by the real part, then by the imaginary one ------------------------------------------


def _has_nan(b: Builder, x: Complex) -> Value:
    return b.fcmp("uno", x.re, x.im)


def _ordered(b: Builder, predicate: str, x: Complex, y: Complex) -> Value:
    """`olt`, `ole`, `ogt` or `oge`; false if a part is NaN."""
    first = b.fcmp(predicate[:2] + "t", x.re, y.re)
    second = b.and_(b.fcmp("oeq", x.re, y.re), b.fcmp(predicate, x.im, y.im))
    known = b.fcmp("ord", x.im, y.im)
    return b.or_(b.and_(first, known), second)


def equal(b: Builder, x: Complex, y: Complex) -> Value:
    return b.and_(b.fcmp("oeq", x.re, y.re), b.fcmp("oeq", x.im, y.im))


def not_equal(b: Builder, x: Complex, y: Complex) -> Value:
    return b.or_(b.fcmp("une", x.re, y.re), b.fcmp("une", x.im, y.im))


def _extremum(predicate: str) -> Operation:
    """The first operand if it is NaN or comes first in the order."""

    def extremum(b: Builder, x: Complex, y: Complex) -> Complex:
        chosen = b.or_(_has_nan(b, x), _ordered(b, predicate, x, y))
        return functions.select(b, chosen, x, y)

    return extremum


COMPARE: dict[str, Callable[..., Value]] = {
    "eq": equal,
    "ne": not_equal,
    **{
        name: lambda b, x, y, p=predicate: _ordered(b, p, x, y)
        for name, predicate in (("lt", "olt"), ("le", "ole"), ("gt", "ogt"), ("ge", "oge"))
    },
}  # fmt: skip


# ---- the table -----------------------------------------------------------------------------------


def wide(function: Operation) -> Operation:
    """The function in complex128, whatever the parts are."""

    def computed(b: Builder, *args: Complex) -> Complex:
        kind = args[0].re.type.kind
        result = function(b, *(_cast(b, "fpext", a, "f64") for a in args))
        return _cast(b, "fptrunc", result, kind)

    return computed


def _cast(b: Builder, operation: str, x: Complex, kind: str) -> Complex:
    return Complex(*(b.cast(operation, part, kind) for part in x))


COMPLEX: dict[str, Operation] = {
    "add": add, "sub": sub, "mul": functions.product, "div": functions.quotient, "neg": neg,
    "conj": conj, "sign": sign, "min": _extremum("ole"), "max": _extremum("oge"),
    **{n: wide(f) for n, f in {**functions.FUNCTIONS, **inverses.FUNCTIONS}.items()},
}  # fmt: skip
