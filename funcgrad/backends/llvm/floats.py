"""Operations on real floats. Those with a formula of their own are in `vector_math`.

Sums and products may be contracted to fused multiply-adds, as compilers of numerical code do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from funcgrad.backends.llvm import vector_math
from funcgrad.backends.llvm.builder import Builder, Value

Operation = Callable[..., Value]

CONTRACTED = {"add": "fadd contract", "sub": "fsub contract", "mul": "fmul contract"}


def minimum(b: Builder, x: Value, y: Value) -> Value:
    """The smaller one; NaN if either is."""
    return b.select(b.fcmp("uno", x, x), x, b.fmin(x, y))


def maximum(b: Builder, x: Value, y: Value) -> Value:
    """The larger one; NaN if either is."""
    return b.select(b.fcmp("uno", x, x), x, b.fmax(x, y))


def sign(b: Builder, x: Value) -> Value:
    """-1, 0 or 1; NaN for NaN."""
    zero = b.like(0.0, x)
    size = b.select(b.fcmp("one", x, zero), b.copysign(b.like(1.0, x), x), b.fadd(x, zero))
    return size


def is_finite(b: Builder, x: Value) -> Value:
    return b.fcmp("olt", b.fabs(x), b.like(math.inf, x))


def binary(operation: str) -> Operation:
    """An instruction of two operands."""
    return lambda b, x, y: b.binary(operation, x, y)


FLOAT: dict[str, Operation] = {
    **{name: binary(text) for name, text in CONTRACTED.items()},
    "div": binary("fdiv"),
    "neg": Builder.fneg, "abs": Builder.fabs, "sqrt": Builder.sqrt, "floor": Builder.floor,
    "ceil": Builder.ceil, "round": Builder.roundeven, "min": minimum, "max": maximum, "sign": sign,
    **vector_math.FUNCTIONS,
}  # fmt: skip
