"""Positions of extreme elements: which of two candidates wins."""

from __future__ import annotations

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.scalar import render


def better(b: Builder, op: str, dtype: np.dtype, old: list[Value], new: list[Value]) -> list[Value]:
    """Of two values with positions the better one, the first of equal ones; NaN before all. A
    negative position stands for none.
    """
    name = "gt" if op == "argmax" else "lt"
    bool_ = np.dtype(bool)
    lanes = old[0].type.lanes

    def test(op: str, x: Value, y: Value, t: np.dtype) -> Value:
        (found,) = memory.parts(render(b, op, [x, y], [t, t], bool_, lanes))
        return found

    (x, i), (y, j) = old, new
    missing = b.icmp("slt", i, b.like(0, i))
    wins = test(name, y, x, dtype)
    first = b.icmp("slt", j, i)
    ties = b.and_(test("eq", y, x, dtype), first)
    if dtype.kind in "fV":
        y_nan, x_nan = test("ne", y, y, dtype), test("ne", x, x, dtype)
        either = b.or_(
            b.and_(y_nan, b.xor(x_nan, b.like(1, x_nan))), b.and_(b.and_(y_nan, x_nan), first)
        )
        keeps = b.and_(x_nan, b.like(1, x_nan))
        wins = b.or_(b.and_(wins, b.xor(keeps, b.like(1, keeps))), either)
    takes = b.or_(missing, b.or_(wins, ties))
    there = b.icmp("sge", j, b.like(0, j))
    takes = b.and_(takes, there)
    return [b.select(takes, y, x), b.select(takes, j, i)]
