"""Small dense linear algebra as inline code: factors of matrices of up to `LARGEST` rows, solving.

Algorithms work on rows in place, a vector of elements at a time (Golub and Van Loan 2013, "Matrix
computations", sections 3.1, 3.4 and 4.2). Larger matrices are for LAPACK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import Builder, Type, Value
from funcgrad.backends.llvm.scalar import Number, constant_of, render
from funcgrad.backends.llvm.tiles import whole
from funcgrad.core import dtypes
from funcgrad.core.dtypes import bool_, float32, float64

LARGEST = 32
Index = Value | int


class Matrix(NamedTuple):
    """A matrix in memory: rows of `columns` elements."""

    pointer: Value
    columns: int


class Dense:
    """Matrices of one dtype; the algorithms."""

    def __init__(self, b: Builder, dtype: np.dtype) -> None:
        self.b, self.dtype = b, dtype
        self.kind, self.width = memory.element(dtype)
        self.lanes = b.module.target.lanes(dtype.itemsize // self.width)

    # ---- numbers

    def op(self, name: str, *args: Number, lanes: int = 1) -> Number:
        """A scalar operation in that many lanes."""
        return render(self.b, name, args, [self.dtype] * len(args), self.dtype, lanes)

    def test(self, name: str, x: Value, y: Value, dtype: np.dtype) -> Value:
        """A comparison."""
        found = render(self.b, name, [x, y], [dtype, dtype], bool_, 1)
        assert isinstance(found, Value)
        return found

    def size(self, x: Number) -> Value:
        """How large a number is: its absolute value, or the sum of those of its parts."""
        parts = [self.b.fabs(p) for p in memory.parts(x)]
        return parts[0] if len(parts) == 1 else self.b.fadd(*parts)

    @property
    def real(self) -> np.dtype:
        return dtypes.real_part(self.dtype) if self.width == 2 else self.dtype

    # ---- elements

    def address(self, m: Matrix, i: Index, j: Index) -> Value:
        """Where an element lies."""
        b = self.b
        at = b.add(b.mul(_value(i), whole(m.columns * self.width)), _scaled(b, j, self.width))
        return b.element(m.pointer, at, self.kind)

    def get(self, m: Matrix, i: Index, j: Index) -> Number:
        """An element."""
        return memory.load(self.b, self.address(m, i, j), self.dtype, 1, 1, None)

    def put(self, m: Matrix, i: Index, j: Index, x: Number) -> None:
        """Writes an element."""
        memory.store(self.b, x, self.address(m, i, j), self.dtype, 1, 1, None)

    def along(self, first: Index, stop: int, body: Callable[[Value, Value], None]) -> None:
        """`body(j, mask)` for the vectors of a row from column `first` on."""
        b, lanes = self.b, self.lanes
        type = Type("i64", lanes)

        def turn(j: Value, _: list[Value]) -> None:
            here = b.add(b.splat(j, lanes), b.iota(type))
            body(j, b.icmp("slt", here, b.const(stop, type)))

        b.loop(_value(first), stop, lanes, [], turn)

    def row(self, m: Matrix, i: Index, j: Value, mask: Value) -> Number:
        """A vector of a row."""
        return memory.load(self.b, self.address(m, i, j), self.dtype, self.lanes, 1, mask)

    def put_row(self, m: Matrix, i: Index, j: Value, x: Number, mask: Value) -> None:
        """Writes a vector of a row."""
        memory.store(self.b, x, self.address(m, i, j), self.dtype, self.lanes, 1, mask)

    # ---- rows

    def subtract(self, m: Matrix, i: Index, factor: Number, k: Index, first: Index) -> None:
        """Row i loses `factor` times row k, from column `first` on."""
        wide = memory.splat(self.b, factor, self.lanes)

        def part(j: Value, mask: Value) -> None:
            product = self.op("mul", wide, self.row(m, k, j, mask), lanes=self.lanes)
            rest = self.op("sub", self.row(m, i, j, mask), product, lanes=self.lanes)
            self.put_row(m, i, j, rest, mask)

        self.along(first, m.columns, part)

    def divide(self, m: Matrix, i: Index, divisor: Number, first: Index) -> None:
        """Row i divided by a number, from column `first` on."""
        wide = memory.splat(self.b, divisor, self.lanes)

        def part(j: Value, mask: Value) -> None:
            found = self.op("div", self.row(m, i, j, mask), wide, lanes=self.lanes)
            self.put_row(m, i, j, found, mask)

        self.along(first, m.columns, part)

    def exchange(self, m: Matrix, i: Value, k: Value) -> None:
        """Rows i and k change places."""

        def part(j: Value, mask: Value) -> None:
            x, y = self.row(m, i, j, mask), self.row(m, k, j, mask)
            self.put_row(m, i, j, y, mask)
            self.put_row(m, k, j, x, mask)

        self.along(0, m.columns, part)

    def copy(self, source: Matrix, to: Matrix, rows: int) -> None:
        """All elements."""
        size = rows * source.columns
        one, other = Matrix(source.pointer, size), Matrix(to.pointer, size)

        def part(j: Value, mask: Value) -> None:
            self.put_row(other, 0, j, self.row(one, 0, j, mask), mask)

        self.along(0, size, part)

    def transpose(self, source: Matrix, to: Matrix) -> None:
        """Rows become columns."""
        b = self.b

        def element(i: Value, j: Value) -> None:
            self.put(to, j, i, self.get(source, i, j))

        b.loop(
            0,
            to.columns,
            1,
            [],
            lambda i, _: b.loop(  # type: ignore[arg-type, return-value]
                0, source.columns, 1, [], lambda j, _: element(i, j)
            ),
        )  # type: ignore[func-returns-value]

    # ---- algorithms

    def cholesky(self, x: Matrix, upper: Matrix, out: Matrix) -> None:
        """The lower triangle L with L L^H = x, NaN if there is none; `upper` is for L^H."""
        b, n = self.b, x.columns

        def read(i: Value, j: Value) -> None:
            self.put(upper, i, j, self._conjugate(self.get(x, j, i)))

        b.loop(0, n, 1, [], lambda i, _: b.loop(i, n, 1, [], lambda j, _: read(i, j)))  # type: ignore[arg-type, func-returns-value, return-value]

        def column(j: Value, carried: list[Value]) -> list[Value]:
            pivot = memory.parts(self.get(upper, j, j))[0]
            zero = b.like(0, pivot)
            fits = self.test("gt", pivot, zero, self.real)
            self.divide(upper, j, self._whole(b.sqrt(pivot)), j)

            def eliminate(i: Value, _: list[Value]) -> None:
                self.subtract(upper, i, self._conjugate(self.get(upper, j, i)), j, i)

            b.loop(b.add(j, whole(1)), n, 1, [], eliminate)
            return [b.and_(carried[0], fits)]

        (fits,) = b.loop(0, n, 1, [b.const(1, Type("i1"))], column)
        self._write_lower(upper, out, fits)

    def _write_lower(self, upper: Matrix, out: Matrix, fits: Value) -> None:
        b = self.b
        missing = memory.parts(constant_of(self.dtype.type(np.nan), self.dtype, 1))

        def element(i: Value, j: Value) -> None:
            below = b.icmp("sle", j, i)
            at = b.select(below, j, i)
            found = memory.parts(self._conjugate(self.get(upper, at, i)))
            found = [b.select(fits, x, nan) for x, nan in zip(found, missing)]
            found = [b.select(below, x, b.like(0, x)) for x in found]
            self.put(out, i, j, memory.joined(found, self.dtype))

        n = out.columns
        b.loop(0, n, 1, [], lambda i, _: b.loop(0, n, 1, [], lambda j, _: element(i, j)))  # type: ignore[arg-type, func-returns-value, return-value]

    def _conjugate(self, x: Number) -> Number:
        return self.op("conj", x) if self.width == 2 else x

    def _whole(self, x: Value) -> Number:
        return (x, self.b.like(0, x)) if self.width == 2 else x

    def eliminate(
        self, m: Matrix, rows: int, exchanged: Callable[[Value, Value], None],
        eliminated: Callable[[Value, Number, Value], None],
    ) -> None:  # fmt: skip
        """Factors L and U in the place of a matrix. `exchanged(k, p)` and `eliminated(i, factor,
        k)` do to other arrays what is done to rows.
        """
        b = self.b

        def step(k: Value, _: list[Value]) -> None:
            p = self._pivot(m, rows, k)
            self.exchange(m, k, p)
            exchanged(k, p)
            pivot = self.get(m, k, k)
            zero = b.like(0, self.size(pivot))
            b.when(self.test("ne", self.size(pivot), zero, self.real), lambda: below(k, pivot))

        def below(k: Value, pivot: Number) -> None:
            def row(i: Value, _: list[Value]) -> None:
                factor = self.op("div", self.get(m, i, k), pivot)
                self.put(m, i, k, factor)
                self.subtract(m, i, factor, k, b.add(k, whole(1)))
                eliminated(i, factor, k)

            b.loop(b.add(k, whole(1)), rows, 1, [], row)

        b.loop(0, min(rows, m.columns), 1, [], step)

    def _pivot(self, m: Matrix, rows: int, k: Value) -> Value:
        """The row of the largest element of column k, from row k on."""
        b = self.b

        def compare(i: Value, carried: list[Value]) -> list[Value]:
            size = self.size(self.get(m, i, k))
            larger = self.test("gt", size, carried[1], self.real)
            return [b.select(larger, i, carried[0]), b.select(larger, size, carried[1])]

        start = [k, self.size(self.get(m, k, k))]
        return b.loop(b.add(k, whole(1)), rows, 1, start, compare)[0]

    def solve(self, a: Matrix, x: Matrix) -> None:
        """Rows of x become those of the solution of a y = x; `a` becomes its factors."""
        n = a.columns
        self.eliminate(
            a, n, lambda k, p: self.exchange(x, k, p),
            lambda i, factor, k: self.subtract(x, i, factor, k, 0),
        )  # fmt: skip
        self.solve_triangle(a, x, lower=False, transposed=False, conjugated=False, unit=False)

    def solve_triangle(
        self, a: Matrix, x: Matrix, *, lower: bool, transposed: bool, conjugated: bool, unit: bool
    ) -> None:
        """Rows of x become those of the solution of op(a) y = x."""
        b, n = self.b, a.columns
        forward = lower != transposed

        def element(i: Value, k: Value) -> Number:
            found = self.get(a, k, i) if transposed else self.get(a, i, k)
            return self._conjugate(found) if conjugated else found

        def row(turn: Value, _: list[Value]) -> None:
            i = turn if forward else b.sub(whole(n - 1), turn)

            def known(k: Value, _: list[Value]) -> None:
                self.subtract(x, i, element(i, k), k, 0)

            b.loop(0 if forward else b.add(i, whole(1)), i if forward else n, 1, [], known)
            if not unit:
                self.divide(x, i, element(i, i), 0)

        b.loop(0, n, 1, [], row)


def is_small(aval: Any) -> bool:
    """Are matrices of this type for this code?"""
    dtype = aval.dtype
    real = dtypes.real_part(dtype) if dtypes.is_complex(dtype) else dtype
    return max(aval.shape[-2:]) <= LARGEST and real in (float32, float64)


def permutation(b: Builder, pivots: Value, count: int, order: Value, size: int) -> None:
    """The order of rows that exchanging row i with row pivots[i], in turn, leads to (int32)."""

    def at(base: Value, i: Value) -> Value:
        return b.element(base, i, "i32")

    def exchange(i: Value, _: list[Value]) -> None:
        other = b.cast("sext", b.load(at(pivots, i), Type("i32")), "i64")
        one, two = (b.load(at(order, j), Type("i32")) for j in (i, other))
        b.store(two, at(order, i))
        b.store(one, at(order, other))

    b.loop(0, size, 1, [], lambda i, _: b.store(b.cast("trunc", i, "i32"), at(order, i)))  # type: ignore[func-returns-value]
    b.loop(0, count, 1, [], exchange)


def _value(i: Index) -> Value:
    return whole(i) if isinstance(i, int) else i


def _scaled(b: Builder, i: Index, factor: int) -> Value:
    return _value(i) if factor == 1 else b.mul(_value(i), whole(factor))
