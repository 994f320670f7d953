"""Small matrices in scratch memory, as algorithms work on them: rows of whole vectors, the parts
of complex numbers in planes of their own, zeros behind the columns.

Everything is computed in float64, as NumPy does: of float32 matrices all results are rounded once,
and no sum of their squares overflows or underflows. Reflections follow Golub and Van Loan 2013,
"Matrix computations", section 5.1, with the signs of LAPACK: H = I - tau v v^H, the leading element
of v is one, H^H x = beta e1 with a real beta whose sign is opposite to that of x's leading element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import Builder, Type, Value
from funcgrad.backends.llvm.dense import Dense, Matrix
from funcgrad.backends.llvm.scalar import Number
from funcgrad.backends.llvm.terms import Term, where
from funcgrad.backends.llvm.tiles import whole
from funcgrad.core import dtypes

KIND, SIZE = "f64", 8
DIGITS, PLACES = 52, 2046  # of a number's bits: behind the point, and the largest exponent
MOST_AT_ONCE = 4  # vectors of a row in registers
ALIGNED = 64
NOTHING = 1e-280  # the square of a length; elements are near one
Index = Value | int
Parts = list[Value]


class Planes(NamedTuple):
    """A matrix: the address of its rows, each `stride` numbers after the one before."""

    pointer: Value
    rows: int
    columns: int
    stride: int
    parts: int  # planes: two for complex numbers
    plane: int  # numbers from one plane to the next


class Scratch:
    """Hands out pieces of scratch memory, of so many bytes in all."""

    def __init__(self, b: Builder, pointer: Value, room: int) -> None:
        self.b, self.pointer, self.room, self.size = b, pointer, room, 0

    def take(self, size: int) -> Value:
        """The address of so many bytes."""
        at, self.size = self.size, self.size + -(-size // ALIGNED) * ALIGNED
        assert self.size <= self.room, "an algorithm takes more scratch memory than it asked for"
        return self.b.element(self.pointer, at, "i8")


def room(dtype: np.dtype, shapes: Sequence[tuple[int, int]], numbers: int = 0) -> int:
    """Bytes that hold matrices of these shapes and arrays of numbers, whatever the machine."""
    widest = MOST_AT_ONCE * ALIGNED
    parts = 2 if dtypes.is_complex(dtype) else 1
    rows = sum(m * parts * (widest + n * SIZE) + ALIGNED for m, n in shapes)
    return rows + numbers * (8 + ALIGNED)


class Panel:
    """Matrices as planes, and what is done to their rows. They are given and delivered in `dtype`,
    in row-major order.
    """

    def __init__(self, b: Builder, dtype: np.dtype, scratch: Scratch) -> None:
        self.b, self.dtype, self.scratch = b, dtype, scratch
        self.dense = Dense(b, dtype)
        self.given, self.count = memory.element(dtype)
        self.lanes = b.module.target.lanes(SIZE)
        self.vector = Type(KIND, self.lanes)

    # ---- memory

    def planes(self, rows: int, columns: int, count: int | None = None) -> Planes:
        """Memory for a matrix."""
        count = count or self.count
        stride = padded(columns, self.lanes)
        size = rows * stride * count * SIZE
        return Planes(self.scratch.take(size), rows, columns, stride, count, rows * stride)

    def numbers(self, count: int) -> Value:
        """Memory for numbers in float64."""
        return self.scratch.take(8 * count)

    def at(self, m: Planes, i: Index, j: Index, part: int = 0) -> Value:
        """Where a number lies."""
        b = self.b
        row = i * m.stride if isinstance(i, int) else b.mul(i, whole(m.stride))
        fixed = part * m.plane + sum(x for x in (row, j) if isinstance(x, int))
        pointer = m.pointer
        for x in (row, j):
            if not isinstance(x, int):
                pointer = b.element(pointer, x, KIND)
        return b.element(pointer, fixed, KIND)

    def get(self, m: Planes, i: Index, j: Index) -> Parts:
        """An element's parts."""
        type = Type(KIND)
        return [self.b.load(self.at(m, i, j, p), type) for p in range(m.parts)]

    def put(self, m: Planes, i: Index, j: Index, parts: Parts) -> None:
        """Writes an element."""
        for p, x in enumerate(parts):
            self.b.store(x, self.at(m, i, j, p))

    def row(self, m: Planes, i: Index, c: Index) -> Parts:
        """The vectors of a row from a column on that starts one."""
        size = SIZE * self.lanes
        return [self.b.load(self.at(m, i, c, p), self.vector, align=size) for p in range(m.parts)]

    def put_row(self, m: Planes, i: Index, c: Index, parts: Parts) -> None:
        """Writes vectors of a row."""
        size = SIZE * self.lanes
        for p, x in enumerate(parts):
            self.b.store(x, self.at(m, i, c, p), align=size)

    def put_row_of(self, m: Planes, source: Planes) -> None:
        """A copy of all rows."""
        self.each_row(m, lambda i, c: self.put_row(m, i, c, self.row(source, i, c)))

    def along(self, m: Planes, body: Callable[[list[Index]], None]) -> None:
        """`body(columns)` with the places of the vectors of a row, a few at a time."""
        b, at_once = self.b, min(m.stride // self.lanes, MOST_AT_ONCE)
        step = at_once * self.lanes
        if step == m.stride:
            body([n * self.lanes for n in range(at_once)])
            return

        def some(c: Value, _: list[Value]) -> None:
            body([b.add(c, whole(n * self.lanes)) for n in range(at_once)])

        b.loop(0, m.stride, step, [], some)

    def along_with(
        self, m: Planes, start: Parts, body: Callable[[list[Index], Parts], Parts]
    ) -> Parts:
        """As `along`, with vectors that are carried."""
        b, at_once = self.b, min(m.stride // self.lanes, MOST_AT_ONCE)
        step = at_once * self.lanes
        if step == m.stride:
            return body([n * self.lanes for n in range(at_once)], start)

        def some(c: Value, carried: list[Value]) -> Parts:
            return body([b.add(c, whole(n * self.lanes)) for n in range(at_once)], carried)

        return b.loop(0, m.stride, step, start, some)

    def each_row(self, m: Planes, body: Callable[[Value, Index], None]) -> None:
        """`body(row, column)` for all vectors."""

        def row(i: Value, _: list[Value]) -> None:
            self.along(m, lambda columns: [body(i, c) for c in columns])  # type: ignore[arg-type, func-returns-value, return-value]

        self.b.loop(0, m.rows, 1, [], row)

    def clear(self, m: Planes) -> None:
        """Zeros."""
        zero = [self.b.const(0, self.vector)] * m.parts
        self.each_row(m, lambda i, c: self.put_row(m, i, c, zero))

    def identity(self, m: Planes) -> None:
        """Ones on the diagonal."""
        self.clear(m)
        one = [self.b.const(1.0, Type(KIND))]
        self.b.loop(0, min(m.rows, m.columns), 1, [], lambda i, _: self.put(m, i, i, one))  # type: ignore[func-returns-value]

    # ---- matrices as they are given and delivered

    def read(self, given: Value, m: Planes) -> None:
        """The elements of a matrix of the same shape."""
        source = Matrix(given, m.columns)

        def vector(i: Value, c: Index) -> None:
            at, mask = self.dense.address(source, i, c), self._inside(c, m.columns)
            x = memory.load(self.b, at, self.dtype, self.lanes, 1, mask)
            self.put_row(m, i, c, self._widened(x))

        self.each_row(m, vector)

    def read_adjoint(self, given: Value, m: Planes) -> None:
        """The adjoint of a matrix of `m.columns` rows and `m.rows` columns."""
        self.clear(m)
        source = Matrix(given, m.rows)

        def element(i: Value, j: Value) -> None:
            self.put(m, i, j, self.conjugated(self._widened(self.dense.get(source, j, i))))

        each(self.b, m.rows, m.columns, element)

    def write(self, m: Planes, out: Value) -> None:
        """All elements."""
        goal = Matrix(out, m.columns)

        def vector(i: Value, c: Index) -> None:
            at, mask = self.dense.address(goal, i, c), self._inside(c, m.columns)
            x = self._rounded(self.row(m, i, c))
            memory.store(self.b, x, at, self.dtype, self.lanes, 1, mask)

        self.each_row(m, vector)

    def write_transposed(self, m: Planes, out: Value, conjugated: bool = False) -> None:
        """The transpose, or the adjoint."""
        goal = Matrix(out, m.rows)

        def element(i: Value, j: Value) -> None:
            x = self.get(m, i, j)
            self.dense.put(goal, j, i, self._rounded(self.conjugated(x) if conjugated else x))

        each(self.b, m.rows, m.columns, element)

    def write_number(self, x: Term, array: Value, i: Index) -> None:
        """A real number into an array of the matrix's real type."""
        rounded = self.b.cast("fptrunc", x.value, self.given)
        self.b.store(rounded, self.b.element(array, i, self.given))

    def _widened(self, x: Number) -> Parts:
        return [self.b.cast("fpext", part, KIND) for part in memory.parts(x)]

    def _rounded(self, parts: Parts) -> Number:
        return memory.joined([self.b.cast("fptrunc", x, self.given) for x in parts], self.dtype)

    def _inside(self, c: Index, columns: int) -> Value:
        b, type = self.b, Type("i64", self.lanes)
        here = b.add(b.splat(_value(c), self.lanes), b.iota(type))
        return b.icmp("slt", here, b.const(columns, type))

    def conjugated(self, x: Parts) -> Parts:
        """The complex conjugate."""
        return [x[0], self.b.fneg(x[1])] if len(x) == 2 else x

    # ---- numbers

    def terms(self, x: Parts) -> list[Term]:
        """Parts in formulas."""
        return [Term(self.b, part) for part in x]

    def number(self, x: float) -> Term:
        return Term(self.b, self.b.const(x, Type(KIND)))

    def load(self, array: Value, i: Index) -> Term:
        """A number of an array in float64."""
        return Term(self.b, self.b.load(self.b.element(array, i, KIND), Type(KIND)))

    def store(self, x: Term, array: Value, i: Index) -> None:
        self.b.store(x.value, self.b.element(array, i, KIND))

    def added(self, sum: Parts, x: Parts, y: Parts) -> Parts:
        """sum + x * y, of vectors."""
        b = self.b
        if len(x) == 1 or len(y) == 1:
            return [b.fma(p, q, s) for s, p, q in zip(sum, x * len(y), y * len(x))]
        real = b.fma(b.fneg(x[1]), y[1], b.fma(x[0], y[0], sum[0]))
        return [real, b.fma(x[1], y[0], b.fma(x[0], y[1], sum[1]))]

    def scaled(self, x: Parts, factor: Parts) -> Parts:
        """x * factor."""
        return self.added([self.b.like(0.0, x[0])] * max(len(x), len(factor)), x, factor)

    def splat(self, x: Parts) -> Parts:
        return [self.b.splat(p, self.lanes) for p in x]

    def negated(self, x: Parts) -> Parts:
        return [self.b.fneg(p) for p in x]

    # ---- scale

    def largest(self, m: Planes) -> Term:
        """The largest magnitude of a part of an element; NaN if one is NaN or infinite."""
        b = self.b
        found = b.alloca(KIND, 2 * self.lanes)
        bad = b.element(found, self.lanes, KIND)
        zero = b.const(0.0, self.vector)
        for place in (found, bad):
            b.store(zero, place)

        def vector(i: Value, c: Index) -> None:
            for x in self.row(m, i, c):
                b.store(b.fmax(b.fabs(x), b.load(found, self.vector)), found)
                b.store(b.fma(x, zero, b.load(bad, self.vector)), bad)

        self.each_row(m, vector)
        largest = Term(b, b.reduce(b.fmax, b.load(found, self.vector)))
        return largest + Term(b, b.reduce(b.fadd, b.load(bad, self.vector)))

    def power_near(self, x: Value) -> Value:
        """A power of two, or one a lane, that brings magnitudes near one; one for NaN and inf."""
        b = self.b
        field = b.lshr(b.bits(b.fabs(x)), DIGITS)
        turned = b.sub(b.like(PLACES, field), field)
        least, most = b.like(1, field), b.like(PLACES - 1, field)
        turned = b.select(b.icmp("sgt", turned, most), most, turned)
        turned = b.select(b.icmp("slt", turned, least), least, turned)
        middle = b.like(PLACES // 2, field)
        finite = b.fcmp("olt", b.fabs(x), b.like(math.inf, x))
        return b.from_bits(b.shl(b.select(finite, turned, middle), DIGITS))

    def reciprocal_power(self, x: Value) -> Value:
        """One over a power of two."""
        return self.b.fdiv(self.b.like(1.0, x), x)

    def scale(self, m: Planes, factor: Value) -> None:
        """All elements times a number."""
        wide = self.splat([factor])
        self.each_row(m, lambda i, c: self.put_row(m, i, c, self.scaled(self.row(m, i, c), wide)))

    def conjugate(self, m: Planes) -> None:
        """All elements become their conjugates."""
        if m.parts == 2:
            turned = lambda i, c: self.conjugated(self.row(m, i, c))
            self.each_row(m, lambda i, c: self.put_row(m, i, c, turned(i, c)))

    def scale_row(self, m: Planes, i: Index, factor: Parts) -> None:
        """A row times a number."""
        wide = self.splat(factor)

        def some(columns: list[Index]) -> None:
            for c in columns:
                self.put_row(m, i, c, self.scaled(self.row(m, i, c), wide))

        self.along(m, some)

    def shift(self, m: Planes, by: Term) -> None:
        """Adds a number to all elements: NaN makes them NaN."""
        wide = self.b.splat(by.value, self.lanes)
        plus = lambda i, c: [self.b.fadd(x, wide) for x in self.row(m, i, c)]
        self.each_row(m, lambda i, c: self.put_row(m, i, c, plus(i, c)))

    # ---- reflections and rotations

    def reflector(self, v: Planes, k: Index, first: Index) -> tuple[Term, list[Term]]:
        """Turns row k of `v`, zero before place `first`, into a reflector; (beta, tau)."""
        alpha = self.terms(self.get(v, k, first))
        zero = self.number(0.0)
        self.put(v, k, first, [zero.value] * v.parts)
        tail = self._squares(v, k)
        real, imaginary = alpha[0], alpha[1] if len(alpha) == 2 else zero
        off = tail + imaginary * imaginary
        trivial = off <= NOTHING
        beta = where(trivial, real, -(real * real + off).sqrt().signed(real))
        divisor = where(trivial, 1.0, beta)
        tau = [where(trivial, 0.0, (beta - real) / divisor), -imaginary / divisor]
        # 1 / (alpha - beta)
        x, y = where(trivial, 1.0, real - beta), imaginary
        size = x * x + y * y
        factor = [where(trivial, 0.0, x / size), where(trivial, 0.0, -y / size)]
        self.scale_row(v, k, [f.value for f in factor[: len(alpha)]])
        self.put(v, k, first, [self.number(1.0).value])
        return beta, tau[: len(alpha)]

    def _squares(self, v: Planes, k: Index) -> Term:
        b = self.b

        def add(columns: list[Index], total: Parts) -> Parts:
            (sum,) = total
            for c in columns:
                for x in self.row(v, k, c):
                    sum = b.fma(x, x, sum)
            return [sum]

        (total,) = self.along_with(v, [b.const(0.0, self.vector)], add)
        return Term(b, b.reduce(b.fadd, total))

    def reflect(self, m: Planes, v: Planes, k: Index, tau: list[Term], first: Index) -> None:
        """Rows of `m` from `first` on become (I - tau v v^H) m, v being row k of `v`."""
        b = self.b
        minus = [(-t).value for t in tau]

        def some(columns: list[Index]) -> None:
            sums = self.sums(m, v, k, first, columns)

            def spread(i: Value, _: list[Value]) -> None:
                factor = self.splat(self.scaled(self.get(v, k, i), minus))
                for c, sum in zip(columns, sums):
                    self.put_row(m, i, c, self.added(self.row(m, i, c), factor, sum))

            b.loop(first, m.rows, 1, [], spread)

        self.along(m, some)

    def sums(
        self, m: Planes, v: Planes, k: Index, first: Index, columns: list[Index]
    ) -> list[Parts]:
        """v^H m in some columns, v being row k of `v`, of rows from `first` on."""
        b, parts = self.b, m.parts
        zero = b.const(0.0, self.vector)

        def add(i: Value, carried: list[Value]) -> list[Value]:
            x = self.splat(self.conjugated(self.get(v, k, i)))
            held = _grouped(carried, parts)
            found = [self.added(h, x, self.row(m, i, c)) for h, c in zip(held, columns)]
            return [part for sum in found for part in sum]

        flat = b.loop(first, m.rows, 1, [zero] * (len(columns) * parts), add)
        return _grouped(flat, parts)

    def reflect_right(self, m: Planes, v: Planes, k: Index, tau: list[Term], first: Index) -> None:
        """Rows of `m` from `first` on become m (I - tau v v^H), v being row k of `v`."""
        b, parts = self.b, m.parts
        minus = [(-t).value for t in tau]

        def row(i: Value, _: list[Value]) -> None:
            start = [b.const(0.0, self.vector)] * parts

            def add(columns: list[Index], start: Parts) -> Parts:
                for c in columns:
                    start = self.added(start, self.row(m, i, c), self.row(v, k, c))
                return start

            total = [b.reduce(b.fadd, x) for x in self.along_with(m, start, add)]
            factor = self.splat(self.scaled(total, minus))

            def spread(columns: list[Index]) -> None:
                for c in columns:
                    conjugate = self.conjugated(self.row(v, k, c))
                    self.put_row(m, i, c, self.added(self.row(m, i, c), factor, conjugate))

            self.along(m, spread)

        b.loop(first, m.rows, 1, [], row)

    def rotate(self, m: Planes, i: Index, k: Index, c: Value, s: Value) -> None:
        """Rows i and k become c i + s k and c k - s i."""
        cosine, sine = self.splat([c]), self.splat([s])
        minus = self.negated(sine)

        def some(columns: list[Index]) -> None:
            for at in columns:
                x, y = self.row(m, i, at), self.row(m, k, at)
                self.put_row(m, i, at, self.added(self.scaled(x, cosine), y, sine))
                self.put_row(m, k, at, self.added(self.scaled(y, cosine), x, minus))

        self.along(m, some)


def padded(columns: int, lanes: int) -> int:
    """The stride of rows: whole vectors, and if they are many, whole groups of them."""
    vectors = -(-columns // lanes)
    if vectors > MOST_AT_ONCE:
        vectors = -(-vectors // MOST_AT_ONCE) * MOST_AT_ONCE
    return vectors * lanes


def each(b: Builder, rows: int, columns: int, body: Callable[[Value, Value], None]) -> None:
    """`body(i, j)` for all elements."""
    b.loop(0, rows, 1, [], lambda i, _: b.loop(0, columns, 1, [], lambda j, _: body(i, j)))  # type: ignore[arg-type, func-returns-value, return-value]


def _grouped(values: Sequence[Value], size: int) -> list[Parts]:
    return [list(values[n : n + size]) for n in range(0, len(values), size)]


def _value(i: Index) -> Value:
    return whole(i) if isinstance(i, int) else i
