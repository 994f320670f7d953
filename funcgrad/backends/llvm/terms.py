"""Formulas as they are written: numbers of one float type whose operators emit instructions.

A term is a scalar or a vector; beside it Python's numbers stand for themselves. Nothing is fused
or reordered, so that a formula loses no more than its text says.
"""

from __future__ import annotations

import math
from typing import Any

from funcgrad.backends.llvm.builder import Builder, Value

SMALL, LARGE = 1e-140, 2.0**600  # what has a square that is rounded, and what it is scaled by


class Term:
    """A value in a formula: numbers, or the truth of a comparison."""

    __slots__ = ("b", "value")

    def __init__(self, b: Builder, value: Value) -> None:
        self.b, self.value = b, value

    def like(self, x: Any) -> Value:
        """The value of another operand, which may be a number."""
        return x.value if isinstance(x, Term) else self.b.like(x, self.value)

    def _new(self, value: Value) -> Term:
        return type(self)(self.b, value)

    def _two(self, operation: str, x: Any, y: Any) -> Term:
        return self._new(self.b.binary(operation, self.like(x), self.like(y)))

    def _compare(self, predicate: str, x: Any) -> Term:
        return self._new(self.b.fcmp(predicate, self.value, self.like(x)))

    def __add__(self, x: Any) -> Term:
        return self._two("fadd", self, x)

    def __sub__(self, x: Any) -> Term:
        return self._two("fsub", self, x)

    def __mul__(self, x: Any) -> Term:
        return self._two("fmul", self, x)

    def __truediv__(self, x: Any) -> Term:
        return self._two("fdiv", self, x)

    def __radd__(self, x: Any) -> Term:
        return self._two("fadd", x, self)

    def __rsub__(self, x: Any) -> Term:
        return self._two("fsub", x, self)

    def __rmul__(self, x: Any) -> Term:
        return self._two("fmul", x, self)

    def __rtruediv__(self, x: Any) -> Term:
        return self._two("fdiv", x, self)

    def __neg__(self) -> Term:
        return self._new(self.b.fneg(self.value))

    def __abs__(self) -> Term:
        return self._new(self.b.fabs(self.value))

    def __lt__(self, x: Any) -> Term:
        return self._compare("olt", x)

    def __le__(self, x: Any) -> Term:
        return self._compare("ole", x)

    def __gt__(self, x: Any) -> Term:
        return self._compare("ogt", x)

    def __ge__(self, x: Any) -> Term:
        return self._compare("oge", x)

    def __eq__(self, x: Any) -> Term:  # type: ignore[override]
        return self._compare("oeq", x)

    def __ne__(self, x: Any) -> Term:  # type: ignore[override]
        return self._compare("une", x)

    __hash__ = None  # type: ignore[assignment]

    def __and__(self, x: Term) -> Term:
        return self._two("and", self, x)

    def __or__(self, x: Term) -> Term:
        return self._two("or", self, x)

    def __invert__(self) -> Term:
        return self._two("xor", self, 1)

    def sqrt(self) -> Term:
        return self._new(self.b.sqrt(self.value))

    def signed(self, sign: Any) -> Term:
        """This magnitude with the sign of another number."""
        return self._new(self.b.copysign(self.value, self.like(sign)))


def where(condition: Term, yes: Any, no: Any) -> Term:
    """One of two numbers, of which one is a term."""
    term = yes if isinstance(yes, Term) else no
    b = term.b
    return term._new(b.select(condition.value, term.like(yes), term.like(no)))


def larger(x: Term, y: Any) -> Term:
    """The larger one of two numbers."""
    return where(x > y, x, y)


def hypotenuse(x: Term, y: Term) -> Term:
    """The length of (x, y), of which one is near one or the other."""
    return (x * x + y * y).sqrt()


def length(x: Term, y: Term) -> Term:
    """The length of (x, y), of which neither is huge, however small they are."""
    small = (abs(x) < SMALL) & (abs(y) < SMALL)
    factor = where(small, LARGE, x * 0.0 + 1.0)
    return hypotenuse(x * factor, y * factor) * where(small, 1 / LARGE, x * 0.0 + 1.0)


def is_finite(x: Term) -> Term:
    """Neither infinite nor NaN."""
    return abs(x) < math.inf
