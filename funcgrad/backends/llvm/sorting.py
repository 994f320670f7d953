"""Sorting by one key as inline code.

Each number becomes an unsigned integer of the same order, with its position below it in one word:
sorting the words is a stable sort of the numbers, and tells where each came from. Short rows are
sorted by insertion, longer ones by their digits (radix 256, the lowest digit first).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I64, Builder, Type, Value
from funcgrad.backends.llvm.tiles import whole
from funcgrad.core import dtypes
from funcgrad.core.dtypes import bool_

SHORT = 64  # elements that are sorted by insertion
DIGITS = 256
COUNTERS = 8 * DIGITS  # bytes


class Rows(NamedTuple):
    """The rows along one dimension: `size` elements `step` apart; there are `number` of them."""

    size: int
    step: int
    number: int

    @classmethod
    def along(cls, shape: Sequence[int], axis: int) -> Rows:
        """The rows of an array."""
        return cls(shape[axis], math.prod(shape[axis + 1 :]), math.prod(shape) // shape[axis])

    def start(self, b: Builder, row: Value, size: int) -> Value:
        """Where a row begins in an array with `size` numbers along the dimension."""
        if self.step == 1:
            return b.mul(row, whole(size))
        outer, inner = (b.binary(op, row, whole(self.step)) for op in ("udiv", "urem"))
        return b.add(b.mul(outer, whole(size * self.step)), inner)


def has_order(dtype: np.dtype) -> bool:
    """Can numbers of this dtype be keys?"""
    return not dtypes.is_complex(dtype)


def scratch_bytes(rows: Rows, dtype: np.dtype) -> int:
    """Memory for the words of one row, twice, and for counters."""
    return 2 * rows.size * _word(dtype).bits // 8 + COUNTERS


def sort_rows(
    b: Builder, rows: Rows, key: tuple[Value, np.dtype], descending: bool, scratch: Value,
    deliver: Callable[[Value, Value, Value], None],
) -> None:  # fmt: skip
    """Emits loops that call `deliver(row, place, position)`: at this place of the sorted row stands
    what was at that position. NaN is the largest number; -0.0 equals 0.0 where not `descending`.
    """
    sorter = _Sorter(b, rows, key, descending, scratch)

    def row(n: Value, _: list[Value]) -> None:
        sorter.read(n)
        words = sorter.insertion() if rows.size <= SHORT else sorter.digits()
        b.loop(0, rows.size, 1, [], lambda i, _: deliver(n, i, sorter.position(words, i)))  # type: ignore[func-returns-value]

    b.loop(0, rows.number, 1, [], row)


def _word(dtype: np.dtype) -> Type:
    return Type("i128") if dtype.itemsize > 4 else I64


class _Sorter:
    """One row after the other."""

    def __init__(
        self, b: Builder, rows: Rows, key: tuple[Value, np.dtype], descending: bool, scratch: Value
    ) -> None:
        self.b, self.rows, self.descending = b, rows, descending
        self.key, self.dtype = key
        self.word = _word(self.dtype)
        self.half = self.word.bits // 2
        size = rows.size * self.word.bits // 8
        self.counters = scratch
        self.first = b.element(scratch, whole(COUNTERS), "i8")
        self.second = b.element(scratch, whole(COUNTERS + size), "i8")

    def read(self, row: Value) -> None:
        """The words of a row."""
        b, rows = self.b, self.rows
        start = rows.start(b, row, rows.size)
        kind, _ = memory.element(self.dtype)

        def one(i: Value, _: list[Value]) -> None:
            at = b.element(self.key, b.add(start, b.mul(i, whole(rows.step))), kind)
            x = memory.load(b, at, self.dtype, 1, 1, None)
            bits = b.cast("zext", self.ordered(x), self.word.kind)
            place = b.cast("zext", i, self.word.kind)
            self._put(self.first, i, b.or_(b.shl(bits, self.half), place))

        b.loop(0, rows.size, 1, [], one)

    def ordered(self, x: Value) -> Value:
        """An unsigned integer in the order of the numbers."""
        b, dtype, kind = self.b, self.dtype, f"i{self.half}"
        if dtype == bool_ or dtype.kind == "u":
            bits = b.cast("zext", x, kind)
        else:
            if dtypes.is_integer(dtype):
                bits, flipped = b.cast("sext", x, kind), b.const(0, Type(kind))
            else:
                bits, flipped = self._number_bits(x)
            top = b.like(1 << (self.half - 1), bits)
            bits = b.xor(bits, b.or_(flipped, top))
        return b.xor(bits, b.like(-1, bits)) if self.descending else bits

    def _number_bits(self, x: Value) -> tuple[Value, Value]:
        """The bits of a float, and all ones if it is negative."""
        b = self.b
        if not self.descending:
            x = b.fadd(x, b.like(0.0, x))
        x = b.select(b.fcmp("uno", x, x), b.like(math.nan, x), x)
        bits = b.bits(x)
        return bits, b.ashr(bits, self.half - 1)

    def position(self, words: Value, i: Value) -> Value:
        """Where the number at place i came from."""
        b = self.b
        low = b.cast("trunc", self._get(words, i), f"i{self.half}")
        return b.cast("zext", low, "i64")

    # ---- words

    def _get(self, words: Value, i: Value) -> Value:
        return self.b.load(self.b.element(words, i, self.word.kind), self.word, align=8)

    def _put(self, words: Value, i: Value, x: Value) -> None:
        self.b.store(x, self.b.element(words, i, self.word.kind), align=8)

    # ---- insertion

    def insertion(self) -> Value:
        """Each word moves down past those that are larger."""
        b, one = self.b, whole(1)

        def place(i: Value, _: list[Value]) -> None:
            x = self._get(self.first, i)

            def going(carried: list[Value]) -> Value:
                there = b.icmp("sgt", carried[0], whole(0))
                before = b.select(there, b.sub(carried[0], one), whole(0))
                larger = b.icmp("ugt", self._get(self.first, before), x)
                return b.and_(there, larger)

            def shift(carried: list[Value]) -> list[Value]:
                before = b.sub(carried[0], one)
                self._put(self.first, carried[0], self._get(self.first, before))
                return [before]

            (at,) = b.while_([i], going, shift)
            self._put(self.first, at, x)

        b.loop(1, self.rows.size, 1, [], place)
        return self.first

    # ---- digits

    def digits(self) -> Value:
        """One pass for each digit of the keys that differs between them."""
        source, goal = self.first, self.second
        for place in self._places():
            source, goal = self._pass(source, goal, place)
        return source

    def _places(self) -> range:
        """The first bit of each digit within a word."""
        bits = 8 * self.dtype.itemsize if self.dtype.kind in "iub" else self.half
        # Those of bfloat16 are the upper half of a float32.
        low = self.half // 2 if self.dtype == dtypes.bfloat16 else 0
        signed = self.dtype.kind == "i" and bits < self.half
        return range(self.half + low, self.half + (self.half if signed else bits), 8)

    def _digit(self, x: Value, place: int) -> Value:
        b = self.b
        return b.and_(b.cast("trunc", b.lshr(x, place), "i64"), whole(DIGITS - 1))

    def _counter(self, digit: Value) -> Value:
        return self.b.element(self.counters, digit, "i64")

    def _pass(self, source: Value, goal: Value, place: int) -> tuple[Value, Value]:
        b, size = self.b, self.rows.size
        b.loop(0, DIGITS, 1, [], lambda i, _: b.store(whole(0), self._counter(i)))  # type: ignore[func-returns-value]

        def count(i: Value, _: list[Value]) -> None:
            at = self._counter(self._digit(self._get(source, i), place))
            b.store(b.add(b.load(at, I64), whole(1)), at)

        b.loop(0, size, 1, [], count)
        first = self._counter(self._digit(self._get(source, whole(0)), place))
        same = b.icmp("eq", b.load(first, I64), whole(size))

        def move() -> list[Value]:
            self._distribute(source, goal, place)
            return [goal, source]

        source, goal = b.branch(same, lambda: [source, goal], move)
        return source, goal

    def _distribute(self, source: Value, goal: Value, place: int) -> None:
        """Words to where their digit's run has come."""
        b = self.b

        def start(i: Value, carried: list[Value]) -> list[Value]:
            at = self._counter(i)
            found = b.load(at, I64)
            b.store(carried[0], at)
            return [b.add(carried[0], found)]

        b.loop(0, DIGITS, 1, [whole(0)], start)

        def one(i: Value, _: list[Value]) -> None:
            x = self._get(source, i)
            at = self._counter(self._digit(x, place))
            to = b.load(at, I64)
            self._put(goal, to, x)
            b.store(b.add(to, whole(1)), at)

        b.loop(0, self.rows.size, 1, [], one)
