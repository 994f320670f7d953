"""Eigenvalues and eigenvectors of small matrices, from their Schur form.

Vectors of the quasi-triangular matrix come by substitution, complex where a pair of values is, and
are turned back; as LAPACK's geev has them, they have length one, and those of a pair a real
element where they are largest. Left vectors are the rows of the inverse.
"""

from __future__ import annotations

import math

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I1, Builder, Value
from funcgrad.backends.llvm.complex_schur import Complex, ComplexSchur, divided, size_of, times
from funcgrad.backends.llvm.dense import Dense, Matrix
from funcgrad.backends.llvm.orthogonal import Reflections
from funcgrad.backends.llvm.planes import Index, Panel, Parts, Planes, Scratch, each
from funcgrad.backends.llvm.schur import PRECISION, STEPS, Schur
from funcgrad.backends.llvm.terms import Term, is_finite, larger, where
from funcgrad.backends.llvm.tiles import whole
from funcgrad.backends.llvm.tridiagonal import SMALLEST, givens

HUGE = 1e100  # larger elements of a vector are scaled down with it


def eig(
    b: Builder, given: np.dtype, result: np.dtype, x: Value, values: Value, left: Value | None,
    right: Value | None, scratch: Scratch, size: int,
) -> None:  # fmt: skip
    """Of one matrix; NaN if it is not finite."""
    p, out = Panel(b, given, scratch), Panel(b, result, scratch)
    s = ComplexSchur(p, size) if p.count == 2 else Schur(p, size)
    m = s.h._replace(rows=size, columns=size)
    p.clear(s.h)
    p.clear(s.z)
    p.read(x, m)
    most = p.largest(m)
    power = p.power_near(most.value)
    p.scale(m, power)
    finite = is_finite(most).value
    s.balance()
    s.reduce(Reflections(p, size, size))
    solved = s.solve(b.select(finite, whole(STEPS * size), whole(0)))
    missing = most * 0.0 + where(Term(b, solved), 0.0, p.number(math.nan))
    scale = Term(b, p.reciprocal_power(power))

    def value(i: Value, _: list[Value]) -> None:
        for n, array in enumerate((s.real, s.imaginary)):
            found = p.load(array, i) * scale + missing
            out.write_number(found, values, b.add(b.mul(i, whole(2)), whole(n)))

    b.loop(0, size, 1, [], value)
    if left is None and right is None:
        return
    found = _Vectors(out, s).find()
    s.restore(found)
    _normalize(out, s, found)
    out.shift(found, missing)
    if right is not None:
        out.write_transposed(found, right)
    if left is not None:
        _write_left(out, found, left)


def _write_left(p: Panel, right: Planes, out: Value) -> None:
    """Left vectors: the adjoint of the inverse of the right ones, of length one."""
    b, size = p.b, right.rows
    dense = Dense(b, np.dtype(np.complex128))
    bytes_of = size * size * dense.dtype.itemsize
    factors, inverse = (Matrix(p.scratch.take(bytes_of), size) for _ in range(2))
    one, zero = p.number(1.0).value, p.number(0.0).value

    def read(i: Value, j: Value) -> None:
        x, y = p.get(right, j, i)
        dense.put(factors, i, j, (x, y))
        dense.put(inverse, i, j, (b.select(b.icmp("eq", i, j), one, zero), zero))

    each(b, size, size, read)
    dense.solve(factors, inverse)
    each(b, size, size, lambda i, j: p.put(right, i, j, memory.parts(dense.get(inverse, i, j))))

    def scale(k: Value, _: list[Value]) -> None:
        p.scale_row(right, k, [(1.0 / _length(p, right, k)).value])

    b.loop(0, size, 1, [], scale)
    p.write_transposed(right, out, conjugated=True)


class _Vectors:
    """The vectors of a quasi-triangular matrix, one after the other."""

    def __init__(self, p: Panel, s: Schur) -> None:
        self.p, self.b, self.s = p, p.b, s
        self.real = s.h.parts == 1
        self.x = p.planes(1, s.size + 2)  # elements so far, zero elsewhere
        self.found = p.planes(s.size, s.size)

    def find(self) -> Planes:
        """As rows, turned back by the Schur vectors."""
        b, s = self.b, self.s

        def one(k: Value, _: list[Value]) -> None:
            wi = self.p.load(s.imaginary, k)
            if self.real:
                b.when((wi >= 0.0).value, lambda: self._vector(k, wi))
            else:
                self._vector(k, wi)

        b.loop(0, s.size, 1, [], one)
        return self.found

    def _vector(self, k: Value, wi: Term) -> None:
        b, p = self.b, self.p
        wr = p.load(self.s.real, k)
        p.clear(self.x)
        paired = (wi != 0.0).value if self.real else b.const(0, I1)

        def two() -> list[Value]:
            self._start_pair(k, wi)
            return [b.add(k, whole(2))]

        def single() -> list[Value]:
            self._put(k, (p.number(1.0), p.number(0.0)))
            return [b.add(k, whole(1))]

        (stop,) = b.branch(paired, two, single) if self.real else single()
        least = larger(PRECISION * (abs(wr) + abs(wi)), SMALLEST * (self.s.size / PRECISION))
        more = lambda carried: b.icmp("sge", carried[0], whole(0))
        before = b.sub(k, whole(1))
        b.while_([before], more, lambda carried: [self._row(carried[0], (wr, wi), least)])
        self._turn_back(k, stop)
        if self.real:
            b.when(paired, lambda: self._conjugate(k))

    def _start_pair(self, k: Value, wi: Term) -> None:
        following = self.b.add(k, whole(1))
        above, below = self.s.get(k, following), self.s.get(following, k)
        by_above = abs(above) >= abs(below)
        zero, one = self.p.number(0.0), self.p.number(1.0)
        self._put(k, (where(by_above, one, -wi / below), zero))
        self._put(following, (zero, where(by_above, wi / above, one)))

    def _put(self, j: Value, x: Complex) -> None:
        self.p.put(self.x, 0, j, [part.value for part in x])

    def _row(self, j: Value, w: Complex, least: Term) -> Value:
        """The element of a row, or both of a block; the row before."""
        b = self.b
        if not self.real:
            self._solve_one(j, w, least)
            return b.sub(j, whole(1))
        before = b.select(b.icmp("sgt", j, whole(0)), b.sub(j, whole(1)), whole(0))
        linked = b.and_(b.icmp("sgt", j, whole(0)), (self.s.get(j, before) != 0.0).value)

        def block() -> list[Value]:
            self._solve_block(before, j, w, least)
            return [b.sub(j, whole(2))]

        def single() -> list[Value]:
            self._solve_one(j, w, least)
            return [b.sub(j, whole(1))]

        return b.branch(linked, block, single)[0]

    def _rest(self, j: Value) -> Complex:
        """What a row has against the elements so far."""
        b, p = self.b, self.p
        zero = b.const(0.0, p.vector)

        def add(columns: list[Index], sums: Parts) -> Parts:
            for c in columns:
                sums = p.added(sums, p.row(self.s.h, j, c), p.row(self.x, 0, c))
            return sums

        real, imaginary = (b.reduce(b.fadd, x) for x in p.along_with(self.x, [zero, zero], add))
        return -Term(b, real), -Term(b, imaginary)

    def _solve_one(self, j: Value, w: Complex, least: Term) -> None:
        real, *imaginary = self.p.terms(self.p.get(self.s.h, j, j))
        divisor = self._away(real - w[0], sum(imaginary, start=-w[1]), least)
        x = divided(self._rest(j), divisor)
        self._put(j, x)
        self._shrink(x)

    def _away(self, real: Term, imaginary: Term, least: Term) -> Complex:
        """A divisor that is not too small."""
        small = abs(real) + abs(imaginary) < least
        return where(small, least, real), where(small, 0.0, imaginary)

    def _solve_block(self, i: Value, j: Value, w: Complex, least: Term) -> None:
        s = self.s
        a, d = ((s.get(k, k) - w[0], -w[1]) for k in (i, j))
        above, below = s.get(i, j), s.get(j, i)
        first, second = self._rest(i), self._rest(j)
        square = times(a, d)
        size = abs(above) + abs(below)
        determinant = self._away(square[0] - above * below, square[1], least * size)
        one, other = times(first, d), times(second, a)
        x = divided((one[0] - above * second[0], one[1] - above * second[1]), determinant)
        y = divided((other[0] - below * first[0], other[1] - below * first[1]), determinant)
        self._put(i, x)
        self._put(j, y)
        self._shrink((larger(size_of(x), size_of(y)), self.p.number(0.0)))

    def _shrink(self, x: Complex) -> None:
        size = size_of(x)
        scale = lambda: self.p.scale_row(self.x, 0, [(1.0 / size).value])
        self.b.when((size > HUGE).value, scale)

    def _turn_back(self, k: Value, stop: Value) -> None:
        """Row k of the result: the Schur vectors, weighted by the elements."""
        b, p, z = self.b, self.p, self.s.z

        def some(columns: list[Index]) -> None:
            def add(j: Value, sums: list[Value]) -> list[Value]:
                weights = p.splat(p.get(self.x, 0, j))
                found: Parts = []
                for n, c in enumerate(columns):
                    found += p.added(sums[2 * n : 2 * n + 2], p.row(z, j, c), weights)
                return found

            zero = b.const(0.0, p.vector)
            sums = b.loop(0, stop, 1, [zero] * (2 * len(columns)), add)
            for n, c in enumerate(columns):
                p.put_row(self.found, k, c, sums[2 * n : 2 * n + 2])

        p.along(self.found, some)

    def _conjugate(self, k: Value) -> None:
        """The vector of the conjugate value."""
        p = self.p
        following = self.b.add(k, whole(1))

        def some(columns: list[Index]) -> None:
            for c in columns:
                p.put_row(self.found, following, c, p.conjugated(p.row(self.found, k, c)))

        p.along(self.found, some)


def _square(p: Panel, m: Planes, k: Value, i: Value) -> Term:
    real, imaginary = p.terms(p.get(m, k, i))
    return real * real + imaginary * imaginary


def _length(p: Panel, m: Planes, k: Value) -> Term:
    """Of a row."""
    add = lambda i, carried: [(Term(p.b, carried[0]) + _square(p, m, k, i)).value]
    return Term(p.b, p.b.loop(0, m.columns, 1, [p.number(0.0).value], add)[0]).sqrt()


def _normalize(p: Panel, s: Schur, m: Planes) -> None:
    """Length one; a pair's vectors are turned until their largest element is real."""
    b, size = p.b, s.size

    def largest(k: Value) -> Value:
        def compare(i: Value, carried: list[Value]) -> list[Value]:
            x = _square(p, m, k, i).value
            more = b.fcmp("ogt", x, carried[1])
            return [b.select(more, i, carried[0]), b.select(more, x, carried[1])]

        return b.loop(0, size, 1, [whole(0), p.number(-1.0).value], compare)[0]

    def vector(k: Value, _: list[Value]) -> None:
        i = largest(k)
        most = larger(*(abs(x) for x in p.terms(p.get(m, k, i))))
        p.scale_row(m, k, [(1.0 / where(most == 0.0, 1.0, most)).value])
        p.scale_row(m, k, [(1.0 / _length(p, m, k)).value])

        def turn() -> None:
            i = largest(k)
            # The second one of a pair is the conjugate of the first, and is turned like it.
            x, y = p.terms(p.get(m, k, i))
            c, sine, _ = givens(x, y)
            if s.h.parts == 2:
                c, sine = c * p.number(1.0).signed(x), sine * p.number(1.0).signed(x)
            p.scale_row(m, k, [c.value, (-sine).value])
            p.put(m, k, i, [p.get(m, k, i)[0], p.number(0.0).value])

        if s.h.parts == 2:
            turn()
        else:
            b.when((p.load(s.imaginary, k) != 0.0).value, turn)

    b.loop(0, size, 1, [], vector)
