"""Eigenvalues of real tridiagonal matrices, by QL steps with Wilkinson's shifts (Golub and Van Loan
2013, "Matrix computations", section 8.3.3).

Each block between negligible elements is worked from the end with the smaller number, which keeps
what graded matrices know of small eigenvalues. Choices of order, direction and sign are those of
LAPACK's routines steqr and laev2, so that vectors have the same signs. All is in float64.
"""

from __future__ import annotations

from typing import NamedTuple

from funcgrad.backends.llvm.builder import I1, Builder, Type, Value
from funcgrad.backends.llvm.planes import Index, Panel, Planes
from funcgrad.backends.llvm.terms import LARGE, SMALL, Term, hypotenuse, length, where
from funcgrad.backends.llvm.tiles import whole

MOST_AT_A_TIME = 25  # rows that LAPACK does not divide
STEPS = 30  # for each row, at most
UNIT = 2.0**-53  # of rounding
SMALLEST = 2.0**-1022
Rotation = tuple[Term, Term]


def givens(f: Term, g: Term) -> tuple[Term, Term, Term]:
    """(c, s, r) with c f + s g = r, -s f + c g = 0 and c >= 0; r has the sign of f."""
    b = f.b
    small = (abs(f) < SMALL) & (abs(g) < SMALL)

    def scaled() -> list[Value]:
        c, s, r = _rotation(f * LARGE, g * LARGE)
        return [c.value, s.value, (r * (1 / LARGE)).value]

    found = b.branch(small.value, scaled, lambda: [x.value for x in _rotation(f, g)])
    c, s, r = (Term(b, x) for x in found)
    return c, s, r


def _rotation(f: Term, g: Term) -> tuple[Term, Term, Term]:
    one = f * 0.0 + 1.0
    flat, upright = g == 0.0, f == 0.0
    r = where(flat, 1.0, hypotenuse(f, g)).signed(f)
    cosine = where(flat, 1.0, where(upright, 0.0, abs(f / r)))
    sine = where(upright, where(flat, 0.0, one.signed(g)), g / r)
    return cosine, where(flat, 0.0, sine), where(flat, f, where(upright, abs(g), r))


def eigen_of_two(a: Term, b: Term, c: Term) -> tuple[Term, Term, Term, Term]:
    """Of [[a, b], [b, c]]: the eigenvalue of larger magnitude, the other, and (cosine, sine),
    the first one's vector.
    """
    sum, gap, twice = a + c, a - c, b + b
    swapped = abs(a) > abs(c)
    most, least = where(swapped, a, c), where(swapped, c, a)
    root = length(gap, twice)
    downward = sum < 0.0
    first = 0.5 * where(downward, sum - root, sum + root)
    second = (most / first) * least - (b / first) * b
    balanced = sum == 0.0
    first = where(balanced, 0.5 * root, first)
    second = where(balanced, -0.5 * root, second)
    ascending = gap >= 0.0
    far = where(ascending, gap + root, gap - root)
    steep = abs(far) > abs(twice)
    t = where(steep, -twice / far, -far / where(twice == 0.0, 1.0, twice))
    one = 1.0 / (1.0 + t * t).sqrt()
    cosine, sine = where(steep, t * one, one), where(steep, one, t * one)
    # Both signs are +1 or -1: that of the sum, and that of the gap.
    alike = (downward & ~ascending) | (~downward & ascending)
    return first, second, where(alike, -sine, cosine), where(alike, cosine, sine)


class Block(NamedTuple):
    """Rows low to high, counted from one end: from the other if `turned`."""

    b: Builder
    low: Value
    high: Value
    turned: Value

    def row(self, j: Value) -> Value:
        """Which row is number j."""
        b = self.b
        return b.select(self.turned, b.sub(self.high, j), b.add(self.low, j))

    def link(self, j: Value) -> Value:
        """Which element beside the diagonal joins numbers j and j + 1."""
        b = self.b
        return b.select(self.turned, b.sub(b.sub(self.high, j), whole(1)), b.add(self.low, j))

    @property
    def last(self) -> Value:
        return self.b.sub(self.high, self.low)


class Band:
    """The diagonal of a real matrix and the elements beside it, in scratch memory of a panel."""

    def __init__(self, panel: Panel, size: int) -> None:
        self.panel, self.b, self.size = panel, panel.b, size
        self.diagonal, self.beside = panel.numbers(size), panel.numbers(size)
        self.left = panel.b.alloca("i64", 1)  # steps that may still be made

    def d(self, i: Index) -> Term:
        return self.panel.load(self.diagonal, i)

    def e(self, i: Index) -> Term:
        return self.panel.load(self.beside, i)

    def set_d(self, i: Index, x: Term) -> None:
        self.panel.store(x, self.diagonal, i)

    def set_e(self, i: Index, x: Term) -> None:
        self.panel.store(x, self.beside, i)


class Tridiagonal(Band):
    """A real tridiagonal matrix, and the rows that its rotations act on, if any."""

    def __init__(self, panel: Panel, size: int, vectors: Planes | None) -> None:
        super().__init__(panel, size)
        self.vectors = vectors

    def rotate(self, i: Value, k: Value, rotation: Rotation) -> None:
        """The rotation of rows i and k."""
        if self.vectors is not None:
            c, s = rotation
            self.panel.rotate(self.vectors, i, k, c.value, s.value)

    # ---- blocks

    def solve(self) -> None:
        """The diagonal becomes the eigenvalues."""
        b = self.b
        b.store(whole(STEPS * self.size), self.left)

        def more(carried: list[Value]) -> Value:
            return b.icmp("slt", carried[0], whole(self.size))

        def block(carried: list[Value]) -> list[Value]:
            low = carried[0]
            high = self._end(low)
            turned = (abs(self.d(high)) < abs(self.d(low))).value
            self._solve_block(Block(b, low, high, turned))
            return [b.add(high, whole(1))]

        b.while_([whole(0)], more, block)

    def _end(self, low: Value) -> Value:
        """The last row of the block that begins at `low`."""
        b, last = self.b, whole(self.size - 1)

        def joined(carried: list[Value]) -> Value:
            i = carried[0]
            bound = abs(self.d(i)).sqrt() * abs(self.d(b.add(i, whole(1)))).sqrt() * UNIT
            linked = b.xor((abs(self.e(i)) <= bound).value, b.const(1, I1))
            return b.and_(b.icmp("slt", i, last), linked)

        (high,) = b.while_([low], joined, lambda c: [b.add(c[0], whole(1))])
        return high

    def _solve_block(self, block: Block) -> None:
        b = self.b

        def more(carried: list[Value]) -> Value:
            left = b.icmp("sgt", b.load(self.left, Type("i64")), whole(0))
            return b.and_(left, b.icmp("sle", carried[0], block.last))

        def one(carried: list[Value]) -> list[Value]:
            at = carried[0]
            to = self._negligible(block, at)
            size = b.sub(to, at)

            def found() -> list[Value]:
                return [b.add(at, whole(1))]

            def pair() -> list[Value]:
                self._pair(block, at)
                return [b.add(at, whole(2))]

            def longer() -> list[Value]:
                self._step(block, at, to)
                return [at]

            single, two = (b.icmp("eq", size, whole(n)) for n in (0, 1))
            return b.branch(single, found, lambda: b.branch(two, pair, longer))

        b.while_([whole(0)], more, one)

    def _negligible(self, block: Block, at: Value) -> Value:
        """The first number from `at` on whose link to the next is negligible, which becomes
        zero.
        """
        b = self.b

        def linked(carried: list[Value]) -> Value:
            j = carried[0]
            e = self.e(block.link(j))
            x, y = self.d(block.row(j)), self.d(block.row(b.add(j, whole(1))))
            bound = (UNIT**2 * abs(x)) * abs(y) + SMALLEST
            joined = b.xor((e * e <= bound).value, b.const(1, I1))
            return b.and_(b.icmp("slt", j, block.last), joined)

        (to,) = b.while_([at], linked, lambda c: [b.add(c[0], whole(1))])
        ends = b.icmp("slt", to, block.last)
        b.when(ends, lambda: self.set_e(block.link(to), self.panel.number(0.0)))
        return to

    def _pair(self, block: Block, at: Value) -> None:
        """Two rows alone."""
        b = self.b
        i = block.link(at)
        following = b.add(i, whole(1))
        first, second, c, s = eigen_of_two(self.d(i), self.e(i), self.d(following))
        linked = (self.e(i) != 0.0).value

        def turn() -> None:
            self.rotate(i, following, (c, s))
            self.set_d(i, first)
            self.set_d(following, second)
            self.set_e(i, self.panel.number(0.0))

        b.when(linked, turn)

    def _step(self, block: Block, at: Value, to: Value) -> None:
        """One implicit QL step on the numbers `at` to `to`."""
        b, p = self.b, self.panel
        b.store(b.sub(b.load(self.left, Type("i64")), whole(1)), self.left)
        d = lambda j: self.d(block.row(j))
        here, e = d(at), self.e(block.link(at))
        g = (d(b.add(at, whole(1))) - here) / (2.0 * e)
        r = hypotenuse(g, p.number(1.0))
        g = d(to) - here + e / (g + r.signed(g))
        start = [x.value for x in (p.number(1.0), p.number(1.0), p.number(0.0), g)]

        def turn(n: Value, carried: list[Value]) -> list[Value]:
            c, s, moved, g = (Term(b, x) for x in carried)
            inner = b.sub(b.sub(to, n), whole(1))
            outer = b.add(inner, whole(1))
            e = self.e(block.link(inner))
            f, h = s * e, c * e
            c, s, r = givens(g, f)
            b.when(b.icmp("sgt", n, whole(0)), lambda: self.set_e(block.link(outer), r))
            g = d(outer) - moved
            r = (d(inner) - g) * s + 2.0 * c * h
            moved = s * r
            self.set_d(block.row(outer), g + moved)
            self.rotate(block.row(outer), block.row(inner), (c, s))
            return [x.value for x in (c, s, moved, c * r - h)]

        _, _, moved, g_last = b.loop(0, b.sub(to, at), 1, start, turn)
        self.set_d(block.row(at), here - Term(b, moved))
        self.set_e(block.link(at), Term(b, g_last))

    # ---- order

    def reverse(self) -> None:
        """The last row first."""
        b = self.b
        for array, count in ((self.diagonal, self.size), (self.beside, self.size - 1)):

            def exchange(i: Value, _: list[Value], array: Value = array, n: int = count) -> None:
                k = b.sub(whole(n - 1), i)
                x, y = self.panel.load(array, i), self.panel.load(array, k)
                self.panel.store(y, array, i)
                self.panel.store(x, array, k)

            b.loop(0, count // 2, 1, [], exchange)

    def sort(self) -> None:
        """Eigenvalues ascend; vectors follow."""
        b, n = self.b, self.size

        def place(i: Value, _: list[Value]) -> None:
            def compare(j: Value, carried: list[Value]) -> list[Value]:
                x = self.d(j).value
                less = b.fcmp("olt", x, carried[1])
                return [b.select(less, j, carried[0]), b.select(less, x, carried[1])]

            mine = self.d(i)
            k, least = b.loop(b.add(i, whole(1)), n, 1, [i, mine.value], compare)

            def exchange() -> None:
                self.set_d(k, mine)
                self.set_d(i, Term(b, least))
                if self.vectors is not None:
                    swap_rows(self.panel, self.vectors, i, k)

            b.when(b.icmp("ne", i, k), exchange)

        b.loop(0, n - 1, 1, [], place)


def swap_rows(p: Panel, m: Planes, i: Value, k: Value) -> None:
    """Rows i and k change places."""

    def some(columns: list[Index]) -> None:
        for c in columns:
            x, y = p.row(m, i, c), p.row(m, k, c)
            p.put_row(m, i, c, y)
            p.put_row(m, k, c, x)

    p.along(m, some)
