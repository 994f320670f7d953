"""Balancing of small matrices: rows and columns that isolate an eigenvalue go to the ends, others
are scaled to similar lengths. Order and choices are those of LAPACK's routine gebal.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm.builder import I1, I64, Value
from funcgrad.backends.llvm.planes import KIND, Index, Panel, Planes
from funcgrad.backends.llvm.terms import Term
from funcgrad.backends.llvm.tiles import whole
from funcgrad.backends.llvm.tridiagonal import swap_rows

LARGE, SMALL = 1e290, 1e-290  # no scale goes beyond


class Balanced:
    """A matrix with one row and column more than it has, so that steps may look there."""

    def __init__(self, panel: Panel, size: int) -> None:
        self.p, self.b, self.size = panel, panel.b, size
        self.h = panel.planes(size + 2, size + 2)
        self.z = panel.planes(size + 2, size)  # the transpose of what turns it
        self.scales = panel.planes(1, size, 1)
        self.real, self.imaginary = panel.numbers(size), panel.numbers(size)
        self.low, self.high = panel.b.alloca("i64", 1), panel.b.alloca("i64", 1)

    # ---- elements

    def get(self, i: Index, j: Index) -> Term:
        return Term(self.b, self.p.get(self.h, i, j)[0])

    def set(self, i: Index, j: Index, x: Term) -> None:
        self.p.put(self.h, i, j, [x.value])

    def magnitude(self, i: Index, j: Index) -> Term:
        """The sum of the absolute values of an element's parts."""
        parts = [abs(x) for x in self.p.terms(self.p.get(self.h, i, j))]
        return sum(parts[1:], start=parts[0])

    def square(self, i: Index, j: Index) -> Term:
        """The squared magnitude of an element."""
        parts = self.p.terms(self.p.get(self.h, i, j))
        return sum((x * x for x in parts[1:]), start=parts[0] * parts[0])

    def next(self, i: Value, by: int = 1) -> Value:
        return self.b.add(i, whole(by))

    def bounds(self) -> tuple[Value, Value]:
        """The first and the last row of what balancing leaves to be done."""
        return self.b.load(self.low, I64), self.b.load(self.high, I64)

    # ---- balancing

    def balance(self) -> None:
        """Rows and columns that isolate an eigenvalue go to the ends; others are scaled."""
        b = self.b
        one = b.const(1.0, self.p.vector)
        self.p.each_row(self.scales, lambda i, c: self.p.put_row(self.scales, i, c, [one]))
        b.store(whole(0), self.low)
        b.store(whole(self.size - 1), self.high)
        self._repeat(self._push_rows_down)
        several = lambda: b.icmp("sgt", b.load(self.high, I64), whole(0))
        b.when(several(), lambda: self._repeat(self._push_columns_left))
        b.when(several(), lambda: self._repeat(self._scale_once))

    def _repeat(self, body: Callable[[], Value]) -> None:
        """While it changes something."""
        self.b.while_([self.b.const(1, I1)], lambda c: c[0], lambda c: [body()])

    def _alone(self, i: Value, along_row: bool, start: Value, stop: Value) -> Value:
        """Is all but the diagonal zero, in a part of a row or column?"""
        b = self.b

        def look(j: Value, carried: list[Value]) -> list[Value]:
            x = self.square(i, j) if along_row else self.square(j, i)
            other = b.and_(b.icmp("ne", i, j), (x != 0.0).value)
            return [b.or_(carried[0], other)]

        (found,) = b.loop(start, self.next(stop), 1, [b.const(0, I1)], look)
        return b.xor(found, b.const(1, I1))

    def _exchange(self, i: Value, k: Value) -> None:
        """Rows and columns i and k change places; `k` remembers it."""
        self._note(k, i)

        def column(j: Value, _: list[Value]) -> None:
            x, y = self.p.get(self.h, j, i), self.p.get(self.h, j, k)
            self.p.put(self.h, j, i, y)
            self.p.put(self.h, j, k, x)

        def swap() -> None:
            self.b.loop(0, self.size, 1, [], column)
            swap_rows(self.p, self.h, i, k)

        self.b.when(self.b.icmp("ne", i, k), swap)

    def _note(self, k: Value, i: Value) -> None:
        place = self.b.cast("sitofp", i, KIND)
        self.p.put(self.scales, 0, k, [place])

    def _push_rows_down(self) -> Value:
        b = self.b
        start = b.load(self.high, I64)

        def one(turn: Value, carried: list[Value]) -> list[Value]:
            i, high = b.sub(start, turn), b.load(self.high, I64)
            alone = self._alone(i, True, whole(0), high)
            last = b.icmp("eq", high, whole(0))

            def push() -> None:
                self._exchange(i, high)
                b.store(b.sub(high, whole(1)), self.high)

            b.when(b.and_(alone, b.xor(last, b.const(1, I1))), push)
            # With one row left there is nothing more to look for.
            return [b.or_(carried[0], b.and_(alone, b.xor(last, b.const(1, I1))))]

        return b.loop(0, self.next(start), 1, [b.const(0, I1)], one)[0]

    def _push_columns_left(self) -> Value:
        b = self.b
        start, high = self.bounds()

        def one(j: Value, carried: list[Value]) -> list[Value]:
            low = b.load(self.low, I64)
            alone = self._alone(j, False, low, high)

            def push() -> None:
                self._exchange(j, low)
                b.store(self.next(low), self.low)

            b.when(alone, push)
            return [b.or_(carried[0], alone)]

        return b.loop(start, self.next(high), 1, [b.const(0, I1)], one)[0]

    def _scale_once(self) -> Value:
        """Rows and columns by powers of two that bring their lengths near each other."""
        b = self.b
        low, high = self.bounds()

        def one(i: Value, carried: list[Value]) -> list[Value]:
            stop = self.next(high)
            column = self._sum(low, stop, lambda j: self.square(j, i)).sqrt()
            row = self._sum(low, stop, lambda j: self.square(i, j)).sqrt()
            factor = self._factor(column, row)
            usable = (column != 0.0) & (row != 0.0)
            scaled = factor * column + row / factor
            pays = (scaled < 0.95 * (column + row)) & usable
            held = Term(b, self.p.get(self.scales, 0, i)[0]) * factor
            pays = pays & (held > SMALL) & (held < LARGE)
            b.when(pays.value, lambda: self._scale(i, factor, held))
            return [b.or_(carried[0], pays.value)]

        return b.loop(low, self.next(high), 1, [b.const(0, I1)], one)[0]

    def _sum(self, start: Value, stop: Value, term: Callable[[Value], Term]) -> Term:
        add = lambda j, carried: [(Term(self.b, carried[0]) + term(j)).value]
        return Term(self.b, self.b.loop(start, stop, 1, [self.p.number(0.0).value], add)[0])

    def _factor(self, column: Term, row: Term) -> Term:
        """Powers of two: the column times it is about as long as the row divided by it."""
        b, one = self.b, self.p.number(1.0).value

        def smaller(c: list[Value]) -> Value:
            column, row, factor = (Term(b, x) for x in c)
            limited = (factor < LARGE) & (column < LARGE) & (row > SMALL)
            return ((column < row / 2.0) & limited).value

        def larger_one(c: list[Value]) -> Value:
            column, row, factor = (Term(b, x) for x in c)
            limited = (factor > SMALL) & (column > SMALL) & (row < LARGE)
            return ((column / 2.0 >= row) & limited).value

        def turn(c: list[Value], by: float) -> list[Value]:
            column, row, factor = (Term(b, x) for x in c)
            return [(column * by).value, (row / by).value, (factor * by).value]

        state = b.while_([column.value, row.value, one], smaller, lambda c: turn(c, 2.0))
        return Term(b, b.while_(state, larger_one, lambda c: turn(c, 0.5))[2])

    def _scale(self, i: Value, factor: Term, held: Term) -> None:
        self.p.put(self.scales, 0, i, [held.value])
        self.p.scale_row(self.h, i, [(1.0 / factor).value])

        def element(j: Value, _: list[Value]) -> None:
            parts = self.p.terms(self.p.get(self.h, j, i))
            self.p.put(self.h, j, i, [(x * factor).value for x in parts])

        self.b.loop(0, self.size, 1, [], element)

    def restore(self, vectors: Planes) -> None:
        """What balancing did, undone for vectors that are rows."""
        p, b = self.p, self.b
        low, high = self.bounds()
        kept = p.planes(1, self.size, 1)  # places that were exchanged
        p.put_row_of(kept, self.scales)
        one = [p.number(1.0).value]

        def reset(i: Value, _: list[Value]) -> None:
            p.put(self.scales, 0, i, one)

        b.loop(0, low, 1, [], reset)
        b.loop(self.next(high), self.size, 1, [], reset)

        def scale(i: Value, c: Index) -> None:
            p.put_row(vectors, i, c, p.scaled(p.row(vectors, i, c), p.row(self.scales, 0, c)))

        p.each_row(vectors, scale)

        def swap(i: Value) -> None:
            k = b.cast("fptosi", p.get(kept, 0, i)[0], "i64")

            def element(n: Value, _: list[Value]) -> None:
                x, y = p.get(vectors, n, i), p.get(vectors, n, k)
                p.put(vectors, n, i, y)
                p.put(vectors, n, k, x)

            b.loop(0, vectors.rows, 1, [], element)

        last = b.sub(low, whole(1))
        b.loop(0, low, 1, [], lambda turn, _: swap(b.sub(last, turn)))  # type: ignore[func-returns-value]
        b.loop(self.next(high), self.size, 1, [], lambda i, _: swap(i))  # type: ignore[func-returns-value]
