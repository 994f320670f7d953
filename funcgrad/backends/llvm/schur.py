"""The real Schur form of small matrices: balanced, reduced to Hessenberg form by reflections, then
made quasi-triangular by Francis' double steps (Golub and Van Loan 2013, "Matrix computations",
section 7.5). Order and choices are those of LAPACK's routines gehd2, lahqr and lanv2.
"""

from __future__ import annotations

from funcgrad.backends.llvm.balance import Balanced
from funcgrad.backends.llvm.builder import I1, Value
from funcgrad.backends.llvm.orthogonal import Reflections, adjoint
from funcgrad.backends.llvm.planes import Index, Planes
from funcgrad.backends.llvm.terms import Term, hypotenuse, larger, length, where
from funcgrad.backends.llvm.tiles import whole
from funcgrad.backends.llvm.tridiagonal import SMALLEST

PRECISION = 2.0**-52
STEPS = 300  # for each row, at most; LAPACK allows as many
EXCEPTIONAL = 10  # steps without success, after which another shift is tried


class Schur(Balanced):
    """A balanced matrix on its way."""

    smallest = 2  # rows of a block that is finished without steps

    # ---- Hessenberg form

    def reduce(self, found: Reflections) -> None:
        """Zeros below the first subdiagonal."""
        p, b, h, z = self.p, self.b, self.h, self.z._replace(rows=self.size)
        low, high = self.bounds()
        found.clear()
        zero = p.number(0.0).value

        def step(k: Value, _: list[Value]) -> None:
            first = self.next(k)
            take = lambda i, _: p.put(found.vectors, k, i, p.get(h, i, k))
            b.loop(first, self.next(high), 1, [], take)  # type: ignore[arg-type]
            beta, tau = found.make(k, first)
            p.reflect_right(h, found.vectors, k, tau, 0)
            p.reflect(h._replace(rows=self.size), found.vectors, k, adjoint(tau), first)
            p.put(h, first, k, [beta.value, zero][: h.parts])
            clear = lambda i, _: p.put(h, i, k, [zero] * h.parts)
            b.loop(self.next(first), self.size, 1, [], clear)  # type: ignore[arg-type]

        b.loop(low, high, 1, [], step)
        p.identity(z)
        p.conjugate(found.vectors)
        turn = lambda k, _: p.reflect(z, found.vectors, k, found.factor(k), self.next(k))
        b.loop(low, high, 1, [], turn)  # type: ignore[arg-type]

    # ---- steps

    def solve(self, budget: Value) -> Value:
        """Quasi-triangular form, and the eigenvalues; were there steps enough?"""
        b, size = self.b, self.size
        low, high = self.bounds()

        def isolated(i: Value, _: list[Value]) -> None:
            parts = self.p.terms(self.p.get(self.h, i, i))
            self.p.store(parts[0], self.real, i)
            self.p.store(parts[1] if len(parts) == 2 else self.p.number(0.0), self.imaginary, i)

        b.loop(0, low, 1, [], isolated)
        b.loop(self.next(high), size, 1, [], isolated)

        def more(carried: list[Value]) -> Value:
            last, _, left = carried
            return b.and_(b.icmp("sge", last, low), b.icmp("sgt", left, whole(0)))

        def turn(carried: list[Value]) -> list[Value]:
            last, count, left = carried
            first = self._first(last, low, high)
            split = b.icmp("sgt", first, low)
            zeros = [self.p.number(0.0).value] * self.h.parts
            b.when(split, lambda: self.p.put(self.h, first, b.sub(first, whole(1)), zeros))
            few = b.icmp("sge", first, b.sub(last, whole(self.smallest - 1)))

            def deflate() -> list[Value]:
                single = b.icmp("eq", first, last)
                b.when(single, lambda: isolated(last, []))
                b.when(b.xor(single, b.const(1, I1)), lambda: self._pair(last))
                return [b.sub(first, whole(1)), whole(0), left]

            def step() -> list[Value]:
                following = self.next(count)
                self._step(first, last, following)
                return [last, following, b.sub(left, whole(1))]

            return b.branch(few, deflate, step)

        last, _, _ = b.while_([high, whole(0), budget], more, turn)
        return b.icmp("slt", last, low)

    def _first(self, last: Value, low: Value, high: Value) -> Value:
        """The first row of the block that ends at `last`: above it an element is negligible."""
        b = self.b

        def linked(carried: list[Value]) -> Value:
            k = carried[0]
            inside = b.icmp("sgt", k, low)
            safe = b.select(inside, k, self.next(low))
            negligible = self._negligible(safe, low, high)
            return b.and_(inside, b.xor(negligible, b.const(1, I1)))

        return b.while_([last], linked, lambda c: [b.sub(c[0], whole(1))])[0]

    def _negligible(self, k: Value, low: Value, high: Value) -> Value:
        """Ahues and Tisseur 1997, "A new deflation criterion for the QR algorithm"."""
        b = self.b
        before = b.sub(k, whole(1))
        below, above = self.magnitude(k, before), self.magnitude(before, k)
        here, there = self.magnitude(k, k), self.magnitude(before, before)
        tiny = SMALLEST * (self.size / PRECISION)
        test = there + here
        far = b.icmp("sge", b.sub(k, whole(2)), low)
        earlier = b.select(far, b.sub(k, whole(2)), low)
        later = b.icmp("sle", self.next(k), high)
        zero = self.p.number(0.0)
        more = where(Term(b, far), self.magnitude(before, earlier), zero)
        more = more + where(Term(b, later), self.magnitude(self.next(k), k), zero)
        test = where(test == 0.0, more, test)
        small = below <= PRECISION * test
        ab, ba = larger(below, above), where(below > above, above, below)
        gap = self._gap(before, k)
        aa, bb = larger(here, gap), where(here > gap, gap, here)
        total = aa + ab
        safe = where(total == 0.0, 1.0, total)
        careful = ba * (ab / safe) <= larger(PRECISION * (bb * (aa / safe)), tiny)
        return ((below <= tiny) | (small & careful)).value

    def _gap(self, i: Value, k: Value) -> Term:
        """How far two elements of the diagonal are from each other."""
        x, y = (self.p.terms(self.p.get(self.h, j, j)) for j in (i, k))
        apart = [abs(one - other) for one, other in zip(x, y)]
        return sum(apart[1:], start=apart[0])

    def _step(self, first: Value, last: Value, count: Value) -> None:
        """One double step on rows `first` to `last`."""
        b = self.b
        shifts = self._shifts(first, last, count)
        start, v = self._start(first, last, shifts)

        def turn(k: Value, _: list[Value]) -> None:
            before = b.select(b.icmp("sgt", k, whole(0)), b.sub(k, whole(1)), whole(0))
            later = b.icmp("sgt", k, start)
            three = b.icmp("slt", k, b.sub(last, whole(1)))
            column = [self.get(self.next(k, n), before) for n in range(3)]
            x = [where(Term(b, later), new, old) for new, old in zip(column, v)]
            x[2] = where(Term(b, three), x[2], 0.0)
            beta, tau, factor = _small_reflector(x)
            w = [x[1] * factor, x[2] * factor]
            self._reflect_rows(self.h, k, w, tau)
            inside = b.icmp("sgt", k, first)
            new = where(Term(b, later), beta, column[0] * (1.0 - tau))
            b.when(inside, lambda: self._close(k, before, new))
            most = self.next(k, 3)
            stop = b.select(b.icmp("slt", most, last), most, last)
            self._reflect_columns(k, w, tau, self.next(stop))
            self._reflect_rows(self.z, k, w, tau)

        b.loop(start, last, 1, [], turn)

    def _close(self, k: Value, before: Value, x: Term) -> None:
        """What the column before a reflector is."""
        self.set(k, before, x)
        for n in (1, 2):
            self.set(self.next(k, n), before, self.p.number(0.0))

    def _reflect_rows(self, m: Planes, k: Value, w: list[Term], tau: Term) -> None:
        """Three rows, reflected by tau (1, w) (1, w)^T."""
        p, b = self.p, self.b
        rows = [self.next(k, n) for n in range(3)]
        weights = [b.splat(x.value, p.lanes) for x in w]
        factors = [b.splat((-x).value, p.lanes) for x in (tau, tau * w[0], tau * w[1])]

        def some(columns: list[Index]) -> None:
            for c in columns:
                x, y, z = (p.row(m, i, c)[0] for i in rows)
                sum = b.fma(weights[1], z, b.fma(weights[0], y, x))
                for i, old, factor in zip(rows, (x, y, z), factors):
                    p.put_row(m, i, c, [b.fma(factor, sum, old)])

        p.along(m, some)

    def _reflect_columns(self, k: Value, w: list[Term], tau: Term, stop: Value) -> None:
        def row(j: Value, _: list[Value]) -> None:
            x, y, z = (self.get(j, self.next(k, n)) for n in range(3))
            sum = (x + w[0] * y + w[1] * z) * tau
            self.set(j, k, x - sum)
            self.set(j, self.next(k), y - sum * w[0])
            self.set(j, self.next(k, 2), z - sum * w[1])

        self.b.loop(0, stop, 1, [], row)

    def _shifts(self, first: Value, last: Value, count: Value) -> list[Term]:
        """Both eigenvalues of the last two rows, or the nearer one twice: real parts, imaginary
        ones.
        """
        b = self.b
        before = b.sub(last, whole(1))
        usual = [
            self.get(before, before), self.get(before, last), self.get(last, before),
            self.get(last, last),
        ]  # fmt: skip
        low_size = abs(self.get(last, before)) + abs(self.get(before, b.sub(last, whole(2))))
        high_size = abs(self.get(self.next(first), first))
        high_size = high_size + abs(self.get(self.next(first, 2), self.next(first)))
        every = lambda n: Term(b, b.icmp("eq", b.binary("srem", count, whole(n)), whole(0)))
        other, low = every(EXCEPTIONAL), every(2 * EXCEPTIONAL)
        size = where(low, low_size, high_size)
        corner = 0.75 * size + where(low, self.get(last, last), self.get(first, first))
        unusual = [corner, -0.4375 * size, size, corner]
        a, bb, c, d = (where(other, x, y) for x, y in zip(unusual, usual))
        scale = abs(a) + abs(bb) + abs(c) + abs(d)
        safe = where(scale == 0.0, 1.0, scale)
        a, bb, c, d = a / safe, bb / safe, c / safe, d / safe
        trace = (a + d) / 2.0
        determinant = (a - trace) * (d - trace) - bb * c
        root = abs(determinant).sqrt()
        paired = determinant >= 0.0
        upper, lower = trace + root, trace - root
        nearer = where(abs(upper - d) <= abs(lower - d), upper, lower)
        real = where(paired, trace, nearer) * scale
        imaginary = where(paired, root, 0.0) * scale
        return [real, imaginary, real, -imaginary]

    def _start(self, first: Value, last: Value, shifts: list[Term]) -> tuple[Value, list[Term]]:
        """The row where two small subdiagonal elements let a step begin, and its vector."""
        b = self.b
        r1, i1, r2, i2 = shifts
        zero = self.p.number(0.0).value

        def vector(m: Value) -> list[Term]:
            h = lambda i, j: self.get(self.next(m, i), self.next(m, j))
            s = abs(h(0, 0) - r2) + abs(i2) + abs(h(1, 0))
            below = h(1, 0) / s
            v = [
                below * h(0, 1) + (h(0, 0) - r1) * ((h(0, 0) - r2) / s) - i1 * (i2 / s),
                below * (h(0, 0) + h(1, 1) - r1 - r2),
                below * h(2, 1),
            ]
            total = abs(v[0]) + abs(v[1]) + abs(v[2])
            return [x / total for x in v]

        def going(carried: list[Value]) -> Value:
            return b.xor(carried[1], b.const(1, I1))

        def look(carried: list[Value]) -> list[Value]:
            m = carried[0]
            v = vector(m)
            top = b.icmp("eq", m, first)
            before = b.select(top, m, b.sub(m, whole(1)))
            left = abs(self.get(m, before)) * (abs(v[1]) + abs(v[2]))
            around = [abs(self.get(i, i)) for i in (before, m, self.next(m))]
            small = left <= PRECISION * abs(v[0]) * (around[0] + around[1] + around[2])
            done = b.or_(top, small.value)
            following = b.select(done, m, b.sub(m, whole(1)))
            return [following, done, *(x.value for x in v)]

        begin = [b.sub(last, whole(2)), b.const(0, I1), zero, zero, zero]
        m, _, *v = b.while_(begin, going, look)
        return m, [Term(b, x) for x in v]

    def _pair(self, last: Value) -> None:
        """Two rows alone: made triangular if their eigenvalues are real, else of equal diagonal."""
        b, p = self.b, self.p
        before = b.sub(last, whole(1))
        a, bb = self.get(before, before), self.get(before, last)
        c, d = self.get(last, before), self.get(last, last)
        (a, bb, c, d), (cosine, sine) = standardized(a, bb, c, d)
        p.rotate(self.h, before, last, cosine.value, sine.value)

        def column(j: Value, _: list[Value]) -> None:
            x, y = self.get(j, before), self.get(j, last)
            self.set(j, before, cosine * x + sine * y)
            self.set(j, last, cosine * y - sine * x)

        b.loop(0, before, 1, [], column)
        p.rotate(self.z, before, last, cosine.value, sine.value)
        places = ((before, before), (before, last), (last, before), (last, last))
        for (i, j), x in zip(places, (a, bb, c, d)):
            self.set(i, j, x)
        imaginary = where(c == 0.0, 0.0, abs(bb).sqrt() * abs(c).sqrt())
        for i, x, y in ((before, a, imaginary), (last, d, -imaginary)):
            p.store(x, self.real, i)
            p.store(y, self.imaginary, i)


def _small_reflector(x: list[Term]) -> tuple[Term, Term, Term]:
    """Of three numbers: beta, tau, and what the last two are multiplied by."""
    tail = hypotenuse(x[1], x[2])
    trivial = tail == 0.0
    beta = where(trivial, x[0], -length(x[0], tail).signed(x[0]))
    divisor = where(trivial, 1.0, beta)
    tau = where(trivial, 0.0, (beta - x[0]) / divisor)
    return beta, tau, where(trivial, 0.0, 1.0 / where(trivial, 1.0, x[0] - beta))


Four = tuple[Term, Term, Term, Term]


def standardized(a: Term, b: Term, c: Term, d: Term) -> tuple[Four, tuple[Term, Term]]:
    """[[a, b], [c, d]] rotated by (cosine, sine): triangular, or with a = d and b c < 0."""
    zero, one = a * 0.0, a * 0.0 + 1.0
    same = lambda x, y: one.signed(x) == one.signed(y)
    difference = a - d
    half = 0.5 * difference
    most = larger(abs(b), abs(c))
    least = where(abs(b) < abs(c), abs(b), abs(c)) * one.signed(b) * one.signed(c)
    scale = larger(abs(half), most)
    safe = where(scale == 0.0, 1.0, scale)
    z = (half / safe) * half + (most / safe) * least
    real = z >= 4.0 * PRECISION
    # Real and well apart.
    root = half + (scale.sqrt() * where(real, z, 0.0).sqrt()).signed(half)
    turn = length(c, root)
    safe_root, safe_turn = where(root == 0.0, 1.0, root), where(turn == 0.0, 1.0, turn)
    apart = (d + root, b - c, zero, d - (most / safe_root) * least)
    apart_rotation = root / safe_turn, c / safe_turn
    # Complex, or nearly equal: the diagonal is made equal first.
    sum = b + c
    tau = length(sum, difference)
    tau = where(tau == 0.0, 1.0, tau)
    cs = (0.5 * (1.0 + abs(sum) / tau)).sqrt()
    sn = -(half / (tau * cs)) * one.signed(sum)
    aa, bb = a * cs + b * sn, b * cs - a * sn
    cc, dd = c * cs + d * sn, d * cs - c * sn
    b2, c2 = bb * cs + dd * sn, cc * cs - aa * sn
    mean = 0.5 * (aa * cs + cc * sn + (dd * cs - bb * sn))
    sab, sac = abs(b2).sqrt(), abs(c2).sqrt()
    product = (sab * sac).signed(c2)
    inverse = 1.0 / where(b2 + c2 == 0.0, 1.0, abs(b2 + c2)).sqrt()
    cs1, sn1 = sab * inverse, sac * inverse
    split = (c2 != 0.0) & (b2 != 0.0) & same(b2, c2)
    lower = (c2 != 0.0) & (b2 == 0.0)
    near = (
        where(split, mean + product, mean),
        where(split, b2 - c2, where(lower, -c2, b2)),
        where(split | lower, 0.0, c2),
        where(split, mean - product, mean),
    )
    near_rotation = (
        where(split, cs * cs1 - sn * sn1, where(lower, -sn, cs)),
        where(split, cs * sn1 + sn * cs1, where(lower, cs, sn)),
    )
    found = [where(real, x, y) for x, y in zip((*apart, *apart_rotation), (*near, *near_rotation))]
    # Nothing to do, or rows and columns exchanged.
    kept = (difference == 0.0) & ~same(b, c)
    found = [where(kept, x, y) for x, y in zip((a, b, c, d, one, zero), found)]
    found = [where(b == 0.0, x, y) for x, y in zip((d, -c, zero, a, zero, one), found)]
    found = [where(c == 0.0, x, y) for x, y in zip((a, b, c, d, one, zero), found)]
    return (found[0], found[1], found[2], found[3]), (found[4], found[5])
