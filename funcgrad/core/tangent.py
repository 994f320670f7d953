"""Two markers of differentiation: a tangent or cotangent that is zero, and an operand whose
cotangent is wanted.
"""

from __future__ import annotations

from typing import Any

from funcgrad.core.avals import ShapedArray


class Zero:
    """A tangent or cotangent known to be zero, kept symbolic so that nothing is computed with
    it.
    """

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray) -> None:
        self.aval = aval

    def __repr__(self) -> str:
        return f"Zero({self.aval})"


class Linear:
    """Stands, among the operands given to a transpose rule, for one in which the operation is
    linear.
    """

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray) -> None:
        self.aval = aval

    def __repr__(self) -> str:
        return f"Linear({self.aval})"


def is_zero(tangent: Any) -> bool:
    return type(tangent) is Zero


def is_linear(operand: Any) -> bool:
    return type(operand) is Linear
