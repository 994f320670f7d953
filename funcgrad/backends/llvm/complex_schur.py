"""The Schur form of small complex matrices, by single steps with Wilkinson's shifts (Golub and Van
Loan 2013, "Matrix computations", section 7.6.1). As in LAPACK's lahqr, but for phases, which are
free.
"""

from __future__ import annotations

from funcgrad.backends.llvm.builder import I1, Value
from funcgrad.backends.llvm.planes import Index, Planes
from funcgrad.backends.llvm.schur import EXCEPTIONAL, PRECISION, Schur
from funcgrad.backends.llvm.terms import Term, length, where
from funcgrad.backends.llvm.tiles import whole

Complex = tuple[Term, Term]


def times(x: Complex, y: Complex) -> Complex:
    """The product."""
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def size_of(x: Complex) -> Term:
    """The larger part's magnitude."""
    return where(abs(x[0]) > abs(x[1]), abs(x[0]), abs(x[1]))


def divided(x: Complex, y: Complex) -> Complex:
    """x / y by way of a scaled y, whose square would underflow."""
    size = size_of(y)
    scaled = y[0] / size, y[1] / size
    square = scaled[0] * scaled[0] + scaled[1] * scaled[1]
    found = times(x, (scaled[0], -scaled[1]))
    return found[0] / square / size, found[1] / square / size


def root(x: Complex) -> Complex:
    """The square root with a positive real part."""
    half = (0.5 * (length(x[0], x[1]) + abs(x[0]))).sqrt()
    other = x[1] / (2.0 * where(half == 0.0, 1.0, half))
    forward = x[0] >= 0.0
    return where(forward, half, abs(other)), where(forward, other, half.signed(x[1]))


class ComplexSchur(Schur):
    """A complex matrix, made triangular."""

    smallest = 1

    def element(self, i: Index, j: Index) -> Complex:
        re, im = self.p.terms(self.p.get(self.h, i, j))
        return re, im

    def _put(self, i: Index, j: Index, x: Complex) -> None:
        self.p.put(self.h, i, j, [x[0].value, x[1].value])

    def _pair(self, last: Value) -> None:
        """No block has two rows."""

    def _step(self, first: Value, last: Value, count: Value) -> None:
        """One step on rows `first` to `last`."""
        b = self.b
        start, v = self._start_of(first, last, self._shift(first, last, count))
        zero = self.p.number(0.0)

        def turn(k: Value, _: list[Value]) -> None:
            following = self.next(k)
            before = b.select(b.icmp("sgt", k, whole(0)), b.sub(k, whole(1)), whole(0))
            later = Term(b, b.icmp("sgt", k, start))
            column = self.element(k, before), self.element(following, before)
            x, y = (
                (where(later, new[0], old[0]), where(later, new[1], old[1]))
                for new, old in zip(column, v)
            )
            tau, w = _reflector_of_two(x, y)
            self._reflect(self.h, k, (tau[0], -tau[1]), (w[0], -w[1]))
            inside = b.icmp("sgt", k, first)
            b.when(inside, lambda: self._put(following, before, (zero, zero)))
            most = self.next(k, 2)
            stop = b.select(b.icmp("slt", most, last), most, last)
            self._reflect_right(k, tau, w, self.next(stop))
            self._reflect(self.z, k, tau, w)

        b.loop(start, last, 1, [], turn)

    def _reflect(self, m: Planes, k: Value, tau: Complex, w: Complex) -> None:
        """Rows k and k + 1: x + w y, times tau, is taken from x, and with the conjugate of w from
        y.
        """
        p, following = self.p, self.next(k)
        weight = p.splat([x.value for x in w])
        factor = p.splat([(-x).value for x in tau])
        back = p.conjugated(weight)

        def some(columns: list[Index]) -> None:
            for c in columns:
                x, y = p.row(m, k, c), p.row(m, following, c)
                sum = p.scaled(p.added(x, y, weight), factor)
                p.put_row(m, k, c, [self.b.fadd(one, other) for one, other in zip(x, sum)])
                p.put_row(m, following, c, p.added(y, sum, back))

        p.along(m, some)

    def _reflect_right(self, k: Value, tau: Complex, w: Complex, stop: Value) -> None:
        following = self.next(k)

        def row(j: Value, _: list[Value]) -> None:
            x, y = self.element(j, k), self.element(j, following)
            far = times(w, y)
            sum = times(tau, (x[0] + far[0], x[1] + far[1]))
            back = times(sum, (w[0], -w[1]))
            self._put(j, k, (x[0] - sum[0], x[1] - sum[1]))
            self._put(j, following, (y[0] - back[0], y[1] - back[1]))

        self.b.loop(0, stop, 1, [], row)

    def _shift(self, first: Value, last: Value, count: Value) -> Complex:
        """The eigenvalue of the last two rows that is nearer to the last element."""
        b = self.b
        before = b.sub(last, whole(1))
        t, corner = self.element(last, last), self.element(before, before)
        product = times(self.element(before, last), self.element(last, before))
        x = 0.5 * (corner[0] - t[0]), 0.5 * (corner[1] - t[1])
        square = times(x, x)
        y = root((square[0] + product[0], square[1] + product[1]))
        away = x[0] * y[0] + x[1] * y[1] < 0.0
        total = where(away, x[0] - y[0], x[0] + y[0]), where(away, x[1] - y[1], x[1] + y[1])
        nothing = size_of(total) == 0.0
        step = divided(product, (where(nothing, 1.0, total[0]), total[1]))
        usual = t[0] - where(nothing, 0.0, step[0]), t[1] - where(nothing, 0.0, step[1])
        every = lambda n: Term(b, b.icmp("eq", b.binary("srem", count, whole(n)), whole(0)))
        other, low = every(EXCEPTIONAL), every(2 * EXCEPTIONAL)
        size = where(low, self.magnitude(last, before), self.magnitude(self.next(first), first))
        top = self.element(first, first)
        base = where(low, t[0], top[0]) + 0.75 * size, where(low, t[1], top[1])
        return where(other, base[0], usual[0]), where(other, base[1], usual[1])

    def _start_of(self, first: Value, last: Value, t: Complex) -> tuple[Value, list[Complex]]:
        """The row where small subdiagonal elements let a step begin, and its vector."""
        b = self.b
        zero = self.p.number(0.0).value

        def going(carried: list[Value]) -> Value:
            return b.xor(carried[1], b.const(1, I1))

        def look(carried: list[Value]) -> list[Value]:
            m = carried[0]
            x, y = self.element(m, m), self.element(self.next(m), m)
            x = x[0] - t[0], x[1] - t[1]
            total = abs(x[0]) + abs(x[1]) + abs(y[0]) + abs(y[1])
            x, y = (x[0] / total, x[1] / total), (y[0] / total, y[1] / total)
            top = b.icmp("eq", m, first)
            before = b.select(top, m, b.sub(m, whole(1)))
            left = self.magnitude(m, before) * (abs(y[0]) + abs(y[1]))
            around = self.magnitude(m, m) + self.magnitude(self.next(m), self.next(m))
            small = left <= PRECISION * ((abs(x[0]) + abs(x[1])) * around)
            done = b.or_(top, small.value)
            following = b.select(done, m, b.sub(m, whole(1)))
            return [following, done, *(part.value for part in (*x, *y))]

        begin = [b.sub(last, whole(1)), b.const(0, I1), *[zero] * 4]
        m, _, *v = b.while_(begin, going, look)
        found = [Term(b, x) for x in v]
        return m, [(found[0], found[1]), (found[2], found[3])]


def _reflector_of_two(x: Complex, y: Complex) -> tuple[Complex, Complex]:
    """tau and w with I - tau (1, w) (1, w)^H, whose adjoint makes the second number zero."""
    tail = length(y[0], y[1])
    norm = length(x[0], length(x[1], tail))
    trivial = (tail == 0.0) & (x[1] == 0.0)
    beta = where(trivial, 1.0, -norm.signed(x[0]))
    tau = where(trivial, 0.0, (beta - x[0]) / beta), where(trivial, 0.0, -x[1] / beta)
    w = divided(y, (where(trivial, 1.0, x[0] - beta), x[1]))
    return tau, (where(trivial, 0.0, w[0]), where(trivial, 0.0, w[1]))
