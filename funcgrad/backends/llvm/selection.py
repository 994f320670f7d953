"""The first few of sorted rows, without sorting the rest.

The words of the best elements so far are kept in order (see `sorting`: a word has a number and its
position, and no two are equal). Vectors of elements are compared with the last of them at once; in
a row of n elements in random order only about k (1 + log(n / k)) go among the first k.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I64, Builder, Value
from funcgrad.backends.llvm.sorting import Key, Rows, Sorter, word_type
from funcgrad.backends.llvm.tiles import whole

MOST = 32  # elements: what is kept moves by one for each that comes between
FEWEST = 8  # times as many elements must be left out


def pays(rows: Rows, k: int) -> bool:
    """Is it faster than sorting?"""
    return 0 < k <= MOST and FEWEST * k <= rows.size


def select_rows(
    b: Builder, rows: Rows, key: Key, k: int, scratch: Value,
    deliver: Callable[[Value, Value, Value], None],
) -> None:  # fmt: skip
    """As `sort_rows` for the largest k elements, each delivered once."""
    selector = _Selector(b, rows, key, k, scratch)

    def row(n: Value, _: list[Value]) -> None:
        selector.choose(n)
        b.loop(0, k, 1, [], lambda i, _: deliver(n, i, selector.position(selector.best, i)))  # type: ignore[func-returns-value]

    b.loop(0, rows.number, 1, [], row)


class _Selector(Sorter):
    """One row after the other."""

    def __init__(self, b: Builder, rows: Rows, key: Key, k: int, scratch: Value) -> None:
        super().__init__(b, rows, word_type([key.dtype]), True, scratch)
        self.key, self.k, self.best = key, k, self.first
        self.lanes = b.module.target.lanes(8) if self.word == I64 else 1
        self.fresh = b.alloca(self.word.kind, self.lanes)

    def choose(self, row: Value) -> None:
        """The words of the best elements of a row, in order."""
        b, size = self.b, self.rows.size
        last = b.const(-1, self.word)  # comes after all words
        b.loop(0, self.k, 1, [], lambda i, _: self._put(self.best, i, last))  # type: ignore[func-returns-value]
        start, most = self.rows.start(b, row, size), size // self.lanes * self.lanes

        def some(i: Value, lanes: int) -> None:
            words = self._words(start, i, lanes)
            worst = self._get(self.best, whole(self.k - 1))
            better = b.icmp("ult", words, b.splat(worst, lanes))
            b.when(b.any(better), lambda: self._take(words))

        b.loop(0, most, self.lanes, [], lambda i, _: some(i, self.lanes))  # type: ignore[func-returns-value]
        if most < size:
            b.loop(most, size, 1, [], lambda i, _: some(i, 1))  # type: ignore[func-returns-value]

    def _words(self, start: Value, first: Value, lanes: int) -> Value:
        """Those of neighbours in the row."""
        b, step = self.b, self.rows.step * self.key.step
        kind, _ = memory.element(self.key.dtype)
        element = b.add(start, b.mul(first, whole(self.rows.step)))
        at = b.element(self.key.pointer, b.mul(element, whole(self.key.step)), kind)
        x = memory.load(b, at, self.key.dtype, lanes, step, None)
        places = b.splat(first, lanes)
        if lanes > 1:
            places = b.add(places, b.iota(places.type))
        return self.joined(x, self.key.dtype, places)

    def _take(self, words: Value) -> None:
        """Words that may be better than the worst of the best so far."""
        b = self.b
        b.store(words, self.fresh)

        def one(i: Value, _: list[Value]) -> None:
            word, worst = self._get(self.fresh, i), self._get(self.best, whole(self.k - 1))
            b.when(b.icmp("ult", word, worst), lambda: self._insert(word))

        b.loop(0, words.type.lanes, 1, [], one)

    def _insert(self, word: Value) -> None:
        """Puts a word in its place; those after it move on by one, and the last one is dropped."""
        b, one = self.b, whole(1)

        def before(at: Value) -> Value:
            there = b.icmp("sgt", at, whole(0))
            return b.select(there, b.sub(at, one), whole(0))

        def going(carried: list[Value]) -> Value:
            larger = b.icmp("ugt", self._get(self.best, before(carried[0])), word)
            return b.and_(b.icmp("sgt", carried[0], whole(0)), larger)

        def shift(carried: list[Value]) -> list[Value]:
            place = b.sub(carried[0], one)
            self._put(self.best, carried[0], self._get(self.best, place))
            return [place]

        (at,) = b.while_([whole(self.k - 1)], going, shift)
        self._put(self.best, at, word)
