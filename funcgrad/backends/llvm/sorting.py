"""Sorting as inline code.

Each number becomes an unsigned integer of the same order, with its position below it in one word:
sorting the words, stably, sorts the numbers and tells where each came from. Many short rows are
sorted side by side, by a network of exchanges (Batcher 1968, "Sorting networks and their
applications"), single ones by insertion, longer ones by their digits (radix 256, the lowest digit
first); by several keys they are sorted by the last one first.
"""

from __future__ import annotations

import functools
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
NARROW_ROW = 128  # elements of rows that are sorted side by side
LANES = 8  # of the widest registers, for words of 64 bits
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
            return b.mul(row, b.like(size, row))
        outer, inner = (b.binary(op, row, b.like(self.step, row)) for op in ("udiv", "urem"))
        return b.add(b.mul(outer, b.like(size * self.step, row)), inner)

    def element(self, b: Builder, row: Value, place: Value, size: int) -> Value:
        """Where an element of a row lies; rows may be lanes, with one place or one for each."""
        lanes = row.type.lanes
        further = b.splat(b.mul(place, b.like(self.step, place)), lanes)
        return b.add(self.start(b, row, size), further)


class Key(NamedTuple):
    """Real numbers in memory, `step` from one to the next."""

    pointer: Value
    dtype: np.dtype
    step: int = 1


def keys_of(b: Builder, pointer: Value, dtype: np.dtype) -> list[Key]:
    """What an array is compared by: complex numbers by their real part, then the imaginary one."""
    if not dtypes.is_complex(dtype):
        return [Key(pointer, dtype)]
    part = dtypes.real_part(dtype)
    kind, _ = memory.element(part)
    return [Key(pointer, part, 2), Key(b.element(pointer, 1, kind), part, 2)]


def scratch_bytes(rows: Rows, types: Sequence[np.dtype]) -> int:
    """Memory for counters and words: of one row, twice, or of as many rows as there are lanes."""
    return (
        max(2 * rows.size * word_type(types).bits // 8, LANES * 8 * min(rows.size, NARROW_ROW))
        + COUNTERS
    )


def sort_rows(
    b: Builder, rows: Rows, keys: Sequence[Key], descending: bool, scratch: Value,
    deliver: Callable[[Value, Value, Value], None],
) -> None:  # fmt: skip
    """Emits loops that call `deliver(row, place, position)`: at this place of the sorted row stands
    what was at that position. NaN is the largest number; -0.0 equals 0.0 where not `descending`.
    """
    word = word_type([key.dtype for key in keys])
    if word == I64 and len(keys) == 1 and 1 < rows.size <= NARROW_ROW and rows.number > 1:
        _SideBySide(b, rows, word, descending, scratch).run(keys[0], deliver)
        return
    sorter = Sorter(b, rows, word, descending, scratch)

    def row(n: Value, _: list[Value]) -> None:
        words = sorter.numbered()
        for key in reversed(keys):
            words = sorter.sorted_by(key, n, words)
        b.loop(0, rows.size, 1, [], lambda i, _: deliver(n, i, sorter.position(words, i)))  # type: ignore[func-returns-value]

    b.loop(0, rows.number, 1, [], row)


def word_type(types: Sequence[np.dtype]) -> Type:
    """An integer with room for a number of each of these types and for a position."""
    return Type("i128") if any(_part(t).itemsize > 4 for t in types) else I64


def _part(dtype: np.dtype) -> np.dtype:
    return dtypes.real_part(dtype) if dtypes.is_complex(dtype) else dtype


class Sorter:
    """One row after the other."""

    def __init__(
        self, b: Builder, rows: Rows, word: Type, descending: bool, scratch: Value
    ) -> None:
        self.b, self.rows, self.descending = b, rows, descending
        self.word, self.half = word, word.bits // 2
        size = rows.size * self.word.bits // 8
        self.counters = scratch
        self.first = b.element(scratch, whole(COUNTERS), "i8")
        self.second = b.element(scratch, whole(COUNTERS + size), "i8")

    def numbered(self) -> Value:
        """Words in the order of the row as it is."""
        b = self.b

        def one(i: Value, _: list[Value]) -> None:
            self._put(self.first, i, b.cast("zext", i, self.word.kind))

        b.loop(0, self.rows.size, 1, [], one)
        return self.first

    def sorted_by(self, key: Key, row: Value, words: Value) -> Value:
        """Words in the order of a key, equal ones as they were."""
        self.read(key, row, words)
        if self.rows.size <= SHORT:
            self.insertion(words)
            return words
        return self.digits(words, key.dtype)

    def read(self, key: Key, row: Value, words: Value) -> None:
        """The numbers of a row into its words."""
        b, rows = self.b, self.rows
        start = rows.start(b, row, rows.size)

        def one(i: Value, _: list[Value]) -> None:
            place = self.position(words, i)
            element = b.add(start, b.mul(place, whole(rows.step)))
            self._put(words, i, self.word_of(key, element, place))

        b.loop(0, rows.size, 1, [], one)

    def word_of(self, key: Key, element: Value, place: Value) -> Value:
        """The word of one element of an array, or of one in each lane."""
        b, lanes = self.b, element.type.lanes
        kind, _ = memory.element(key.dtype)
        at = b.element(key.pointer, b.mul(element, b.like(key.step, element)), kind)
        x = memory.load(b, at, key.dtype, lanes, 1 if lanes == 1 else None, None)
        return self.joined(x, key.dtype, place)

    def joined(self, x: Value, dtype: np.dtype, place: Value) -> Value:
        """The words of numbers and their places."""
        b = self.b
        bits = b.cast("zext", self.ordered(x, dtype), self.word.kind)
        low = b.splat(b.cast("zext", place, self.word.kind), x.type.lanes)
        return b.or_(b.shl(bits, self.half), low)

    def ordered(self, x: Value, dtype: np.dtype) -> Value:
        """An unsigned integer in the order of the numbers."""
        b, kind = self.b, f"i{self.half}"
        if dtype == bool_ or dtype.kind == "u":
            bits = b.cast("zext", x, kind)
        else:
            if dtypes.is_integer(dtype):
                bits = b.cast("sext", x, kind)
                flipped = b.like(0, bits)
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
        bits = b.cast("sext", b.bits(x), f"i{self.half}")
        return self._signless(bits, x.type.bits), b.ashr(bits, self.half - 1)

    def _signless(self, bits: Value, width: int) -> Value:
        """Bits whose sign fills all places above them, with the sign in the topmost place alone."""
        b = self.b
        if width == self.half:
            return bits
        top = b.like(1 << (self.half - 1), bits)
        number = b.and_(bits, b.like((1 << (width - 1)) - 1, bits))
        return b.or_(number, b.and_(bits, top))

    def position(self, words: Value, i: Value) -> Value:
        """Where the number at place i came from."""
        return self.low(self._get(words, i))

    def low(self, word: Value) -> Value:
        """The position in a word."""
        return self.b.cast("zext", self.b.cast("trunc", word, f"i{self.half}"), "i64")

    # ---- words

    def _get(self, words: Value, i: Value) -> Value:
        return self.b.load(self.b.element(words, i, self.word.kind), self.word, align=8)

    def _put(self, words: Value, i: Value, x: Value) -> None:
        self.b.store(x, self.b.element(words, i, self.word.kind), align=8)

    # ---- insertion

    def insertion(self, words: Value) -> None:
        """Each word moves down past those whose numbers are larger."""
        b, one = self.b, whole(1)

        def place(i: Value, _: list[Value]) -> None:
            x = self._get(words, i)
            number = b.lshr(x, self.half)

            def going(carried: list[Value]) -> Value:
                there = b.icmp("sgt", carried[0], whole(0))
                before = b.select(there, b.sub(carried[0], one), whole(0))
                larger = b.icmp("ugt", b.lshr(self._get(words, before), self.half), number)
                return b.and_(there, larger)

            def shift(carried: list[Value]) -> list[Value]:
                before = b.sub(carried[0], one)
                self._put(words, carried[0], self._get(words, before))
                return [before]

            (at,) = b.while_([i], going, shift)
            self._put(words, at, x)

        b.loop(1, self.rows.size, 1, [], place)

    # ---- digits

    def digits(self, words: Value, dtype: np.dtype) -> Value:
        """One pass for each digit of the numbers that differs between them."""
        b = self.b
        other = b.select(self._is_first(words), self.second, self.first)
        source, goal = words, other
        for place in self._places(dtype):
            source, goal = self._pass(source, goal, place)
        return source

    def _is_first(self, words: Value) -> Value:
        return self.b.emit(f"icmp eq {words}, {self.first.text}", Type("i1"))

    def _places(self, dtype: np.dtype) -> range:
        """The first bit of each digit within a word; of unsigned numbers fewer differ."""
        bits = 8 * dtype.itemsize if dtype.kind in "ub" else self.half
        # A bfloat16 is the upper half of a float32.
        low = 16 if dtype == dtypes.bfloat16 else 0
        return range(self.half + low, self.half + bits, 8)

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


class _SideBySide(Sorter):
    """As many rows at once as a register has lanes."""

    def run(self, key: Key, deliver: Callable[[Value, Value, Value], None]) -> None:
        """All rows; lanes beyond the last one do that one again."""
        b, rows = self.b, self.rows
        self.lanes = b.module.target.lanes(8)
        type = Type("i64", self.lanes)
        table = b.module.constant_data([i for pair in network(rows.size) for i in pair], "i32")

        def block(r: Value, _: list[Value]) -> None:
            row = b.add(b.splat(r, self.lanes), b.iota(type))
            last = b.const(rows.number - 1, type)
            row = b.select(b.icmp("slt", row, last), row, last)

            def read(i: Value, _: list[Value]) -> None:
                self._set(i, self.word_of(key, rows.element(b, row, i, rows.size), i))

            b.loop(0, rows.size, 1, [], read)
            self._exchange(table)
            b.loop(0, rows.size, 1, [], lambda i, _: deliver(row, i, self.low(self._vector(i))))  # type: ignore[func-returns-value]

        b.loop(0, rows.number, self.lanes, [], block)

    def _place(self, i: Value) -> Value:
        return self.b.element(self.first, self.b.mul(i, whole(self.lanes)), "i64")

    def _vector(self, i: Value) -> Value:
        return self.b.load(self._place(i), Type("i64", self.lanes), align=8)

    def _set(self, i: Value, x: Value) -> None:
        self.b.store(x, self._place(i), align=8)

    def _exchange(self, table: Value) -> None:
        """The smaller word of each pair of places before the larger one."""
        b = self.b

        def one(n: Value, _: list[Value]) -> None:
            first = b.mul(n, whole(2))
            i, j = (
                b.cast("zext", b.load(b.element(table, at, "i32"), Type("i32")), "i64")
                for at in (first, b.add(first, whole(1)))
            )
            x, y = self._vector(i), self._vector(j)
            fits = b.icmp("ult", x, y)
            self._set(i, b.select(fits, x, y))
            self._set(j, b.select(fits, y, x))

        b.loop(0, len(network(self.rows.size)), 1, [], one)


@functools.cache
def network(size: int) -> tuple[tuple[int, int], ...]:
    """Pairs of places whose exchanges, in turn, sort: Batcher's odd-even merge sort."""
    found, merged = [], 1
    while merged < size:
        distance = merged
        while distance >= 1:
            for start in range(distance % merged, size - distance, 2 * distance):
                for i in range(start, min(start + distance, size - distance)):
                    if i // (2 * merged) == (i + distance) // (2 * merged):
                        found.append((i, i + distance))
            distance //= 2
        merged *= 2
    return tuple(found)
