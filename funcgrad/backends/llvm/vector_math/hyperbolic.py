"""sinh, cosh, tanh and their inverses."""

from __future__ import annotations

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.vector_math.exponential import expm1_moderate
from funcgrad.backends.llvm.vector_math.parts import at_most, compared

ONE_FROM = {"f32": 9.1, "f64": 20.0}  # from here on tanh rounds to 1


# Below, e**(2|x|) needs no power of two.
SMALL = 0.1733


def tanh(b: Builder, x: Value) -> Value:
    """The hyperbolic tangent, as t / (t + 2) with t = e**(2|x|) - 1; for small arguments with
    t = e**(-2|x|) - 1, since a sum just below 2 has half the error of one just above.
    """
    size = at_most(b, b.fabs(x), ONE_FROM[x.type.kind])
    twice = b.fadd(size, size)
    twice = b.select(compared(b, "olt", size, SMALL), b.fneg(twice), twice)
    t = expm1_moderate(b, twice)
    return b.copysign(b.fdiv(t, b.fadd(t, b.like(2.0, x))), x)
