"""Singular values of small matrices: reflections from both sides, then a bidiagonal matrix.

The route is that of LAPACK's gesdd, which fixes the signs of vectors: matrices that are much
longer than wide, or wider than long, are first made triangular; wide ones are worked on as their
adjoints (Golub and Van Loan 2013, "Matrix computations", sections 5.4 and 8.6).
"""

from __future__ import annotations

from funcgrad.backends.llvm.bidiagonal import Bidiagonal
from funcgrad.backends.llvm.builder import Value
from funcgrad.backends.llvm.orthogonal import Reflections, adjoint, clear_below, triangularize
from funcgrad.backends.llvm.planes import Panel, Planes, each
from funcgrad.backends.llvm.terms import Term, is_finite
from funcgrad.backends.llvm.tiles import whole
from funcgrad.backends.llvm.tridiagonal import MOST_AT_A_TIME


class Decomposition:
    """A singular value decomposition of matrices of one shape."""

    def __init__(self, p: Panel, rows: int, columns: int, full: bool, vectors: bool) -> None:
        self.p, self.full, self.vectors = p, full, vectors
        self.wide = rows < columns
        self.long, self.short = max(rows, columns), min(rows, columns)
        ratio = (17, 9) if p.count == 2 else (11, 6)
        self.is_triangular = self.long >= self.short * ratio[0] // ratio[1]
        self.size = self.short if self.is_triangular else self.long  # rows of what is worked on
        self.m = p.planes(self.long, self.short)
        self.triangle = Reflections(p, self.short, self.long) if self.is_triangular else None
        self.work = p.planes(self.short, self.short) if self.is_triangular else self.m
        self.left = Reflections(p, self.short, self.size)
        self.right = Reflections(p, max(self.short - 1, 1), self.size)
        # Behind the vectors, in a column of its own, what is said in `_orient`.
        side = lambda: p.planes(self.size, self.size + 1)
        self.sides = (side(), side()) if vectors else None
        # Whether the matrix worked on is the adjoint of that between left and right vectors.
        self.turned = self.wide and not self.is_triangular
        sides = self.sides
        if sides is not None and self.turned:
            sides = sides[1], sides[0]
        self.b = Bidiagonal(p, self.short, sides)

    def run(self, given: Value, values: Value, u: Value | None, vh: Value | None) -> None:
        """One matrix; everything is NaN if it is not finite."""
        p, b = self.p, self.p.b
        read = p.read_adjoint if self.wide else p.read
        read(given, self.m)
        most = p.largest(self.m)
        power = p.power_near(most.value)
        p.scale(self.m, power)
        if self.triangle is not None:
            self._make_triangular(self.triangle)
        self._bidiagonalize()
        self._start_vectors()
        if self.turned:
            self.b.make_upper()
        divided = self.vectors and self.short > MOST_AT_A_TIME
        if divided:
            self._mark_middle()
        self.b.solve(is_finite(most).value)
        if divided:
            self._orient()
        missing = most * 0.0
        scale = Term(b, p.reciprocal_power(power))
        store = lambda i, _: p.write_number(self.b.d(i) * scale + missing, values, i)
        b.loop(0, self.short, 1, [], store)  # type: ignore[arg-type]
        if u is not None and vh is not None:
            self._deliver(u, vh, missing)

    def _make_triangular(self, found: Reflections) -> None:
        p = self.p
        triangularize(p, self.m, found)
        upper = self.m._replace(rows=self.short)
        clear_below(p, upper)

        def element(i: Value, j: Value) -> None:
            x = p.get(upper, i, j)
            if self.wide:
                p.put(self.work, j, i, p.conjugated(x))
            else:
                p.put(self.work, i, j, x)

        p.clear(self.work)
        each(p.b, self.short, self.short, element)

    def _bidiagonalize(self) -> None:
        """Reflections from the left and right in turn."""
        p, b, m = self.p, self.p.b, self.work
        self.left.clear()
        self.right.clear()

        def step(k: Value, _: list[Value]) -> None:
            self.left.take_column(m, k, k, k)
            beta, tau = self.left.make(k, k)
            self.b.set_d(k, beta)
            p.reflect(m, self.left.vectors, k, adjoint(tau), k)
            following = b.add(k, whole(1))
            b.when(b.icmp("slt", following, whole(self.short)), lambda: row(k, following))

        def row(k: Value, following: Value) -> None:
            def element(j: Value, _: list[Value]) -> None:
                p.put(self.right.vectors, k, j, p.conjugated(p.get(m, k, j)))

            b.loop(following, self.short, 1, [], element)
            beta, tau = self.right.make(k, following)
            self.b.set_e(k, beta)
            p.reflect_right(m, self.right.vectors, k, tau, following)

        b.loop(0, self.short, 1, [], step)

    def _start_vectors(self) -> None:
        """The transposes of both products of reflections."""
        if self.sides is None:
            return
        p, b = self.p, self.p.b
        counts = (self.short, self.short - 1)
        for side, found, count, shift in zip(self.sides, (self.left, self.right), counts, (0, 1)):
            p.identity(side)
            p.conjugate(found.vectors)

            def apply(
                k: Value, _: list[Value], side: Planes = side, found: Reflections = found,
                shift: int = shift,
            ) -> None:  # fmt: skip
                p.reflect(side, found.vectors, k, found.factor(k), b.add(k, whole(shift)))

            b.loop(0, count, 1, [], apply)

    def _mark_middle(self) -> None:
        assert self.b.sides is not None
        one = [self.p.number(1.0).value]
        self.p.put(self.b.sides[0], self.short // 2, self.size, one)

    def _orient(self) -> None:
        """Larger matrices LAPACK divides at the middle row; there the left vectors of the
        bidiagonal matrix are negative then (lasd3 sets them to -1, before they are scaled).
        """
        p, b, sides = self.p, self.p.b, self.b.sides
        assert sides is not None

        def row(i: Value, _: list[Value]) -> None:
            upward = p.terms(p.get(sides[0], i, self.size))[0] > 0.0

            def flip() -> None:
                for side in sides:
                    p.scale_row(side, i, [p.number(-1.0).value])

            b.when(upward.value, flip)

        b.loop(0, self.short, 1, [], row)

    def _deliver(self, u: Value, vh: Value, missing: Term) -> None:
        p = self.p
        assert self.sides is not None
        left, right = (self._shaped(side, n) for n, side in enumerate(self.sides))
        if self.turned:
            left, right = right, left
        for side in (left, right):
            p.shift(side, missing)
        if self.triangle is not None and not self.wide:
            left = self._restored(left)
            p.shift(left, missing)
            p.write(left, u)
        else:
            p.write_transposed(left, u)
        if self.triangle is not None and self.wide:
            right = self._restored(right)
            p.shift(right, missing)
            p.write_transposed(right, vh, conjugated=True)
        else:
            p.conjugate(right)
            p.write(right, vh)

    def _shaped(self, side: Planes, number: int) -> Planes:
        """The rows that are wanted, as long as they are: of the long side and of the short one."""
        if number == 1 or self.is_triangular:
            return side._replace(rows=self.short, columns=self.short)
        return side._replace(rows=self.long if self.full else self.short, columns=self.long)

    def _restored(self, side: Planes) -> Planes:
        """The vectors of the long side, as columns: those of the triangle, reflected back."""
        p, b, found = self.p, self.p.b, self.triangle
        assert found is not None
        out = p.planes(self.long, self.long if self.full else self.short)
        p.identity(out)
        each(b, self.short, self.short, lambda i, j: p.put(out, j, i, p.get(side, i, j)))

        def apply(turn: Value, _: list[Value]) -> None:
            k = b.sub(whole(found.count - 1), turn)
            p.reflect(out, found.vectors, k, found.factor(k), k)

        b.loop(0, found.count, 1, [], apply)
        return out
