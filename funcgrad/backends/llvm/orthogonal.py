"""QR factors of small matrices by Householder's reflections, with LAPACK's signs.

Columns are first scaled by powers of two, which changes nothing but R's columns and keeps squares
from overflow and underflow. With pivoting the longest of the remaining columns comes next, by
lengths that are computed anew for each (Golub and Van Loan 2013, section 5.4.2).
"""

from __future__ import annotations

from funcgrad.backends.llvm.builder import Type, Value
from funcgrad.backends.llvm.planes import Index, Panel, Planes
from funcgrad.backends.llvm.terms import Term
from funcgrad.backends.llvm.tiles import whole


class Reflections:
    """H_1 H_2 ...: row k of `vectors` and number k of `factors` make one."""

    def __init__(self, panel: Panel, count: int, size: int) -> None:
        self.panel, self.count = panel, count
        self.vectors = panel.planes(count, size)
        self.factors = panel.numbers(2 * count)

    def clear(self) -> None:
        """No vectors yet."""
        self.panel.clear(self.vectors)

    def take_column(self, m: Planes, k: Value, j: Value, first: Index) -> None:
        """The next vector: column j, from row `first` on."""
        p = self.panel

        def element(i: Value, _: list[Value]) -> None:
            p.put(self.vectors, k, i, p.get(m, i, j))

        p.b.loop(first, m.rows, 1, [], element)

    def make(self, k: Value, first: Index) -> tuple[Term, list[Term]]:
        """Turns vector k into a reflector: (beta, tau)."""
        p = self.panel
        beta, tau = p.reflector(self.vectors, k, first)
        place = p.b.mul(k, whole(2))
        for n, t in enumerate(tau):
            p.store(t, self.factors, p.b.add(place, whole(n)))
        return beta, tau

    def factor(self, k: Value) -> list[Term]:
        """tau."""
        p = self.panel
        place = p.b.mul(k, whole(2))
        parts = range(self.vectors.parts)
        return [p.load(self.factors, p.b.add(place, whole(n))) for n in parts]

    def product(self, out: Planes, shift: int = 0) -> None:
        """The leading columns of H_1 H_2 ...; reflector k begins at row k + shift."""
        p, b = self.panel, self.panel.b
        p.identity(out)

        def apply(turn: Value, _: list[Value]) -> None:
            k = b.sub(whole(self.count - 1), turn)
            p.reflect(out, self.vectors, k, self.factor(k), b.add(k, whole(shift)))

        b.loop(0, self.count, 1, [], apply)


def adjoint(tau: list[Term]) -> list[Term]:
    """The factor of H^H."""
    return [tau[0], -tau[1]] if len(tau) == 2 else tau


def triangularize(p: Panel, m: Planes, found: Reflections, order: Value | None = None) -> None:
    """`m` becomes R above its diagonal; `order` (i32) follows columns that are exchanged."""
    b = p.b
    found.clear()

    def step(k: Value, _: list[Value]) -> None:
        if order is not None:
            _exchange(p, m, order, k)
        found.take_column(m, k, k, k)
        beta, tau = found.make(k, k)
        p.reflect(m, found.vectors, k, adjoint(tau), k)
        p.put(m, k, k, [beta.value, p.number(0.0).value][: m.parts])

    b.loop(0, found.count, 1, [], step)


def _exchange(p: Panel, m: Planes, order: Value, k: Value) -> None:
    """The longest column from k on becomes column k."""
    b = p.b

    def length(j: Value) -> Term:
        def add(i: Value, carried: list[Value]) -> list[Value]:
            total = Term(b, carried[0])
            for x in p.terms(p.get(m, i, j)):
                total = total + x * x
            return [total.value]

        return Term(b, b.loop(k, m.rows, 1, [p.number(0.0).value], add)[0])

    def compare(j: Value, carried: list[Value]) -> list[Value]:
        size = length(j).value
        longer = b.fcmp("ogt", size, carried[1])
        return [b.select(longer, j, carried[0]), b.select(longer, size, carried[1])]

    j, _ = b.loop(b.add(k, whole(1)), m.columns, 1, [k, length(k).value], compare)

    def swap(i: Value, _: list[Value]) -> None:
        x, y = p.get(m, i, k), p.get(m, i, j)
        p.put(m, i, k, y)
        p.put(m, i, j, x)

    b.loop(0, m.rows, 1, [], swap)
    places = [b.element(order, i, "i32") for i in (k, j)]
    one, other = (b.load(at, Type("i32")) for at in places)
    b.store(other, places[0])
    b.store(one, places[1])


def scale_columns(p: Panel, m: Planes, scales: Planes) -> None:
    """Brings the elements of each column near one; `scales` has the powers of two."""
    b = p.b

    def some(columns: list[Index]) -> None:
        for c in columns:
            zero = b.const(0.0, p.vector)

            def larger(i: Value, carried: list[Value], c: Index = c) -> list[Value]:
                most = carried[0]
                for x in p.row(m, i, c):
                    size = b.fabs(x)
                    most = b.select(b.fcmp("ogt", most, size), most, size)
                return [most]

            (most,) = b.loop(0, m.rows, 1, [zero], larger)
            power = p.power_near(most)
            p.put_row(scales, 0, c, [power])

            def scale(i: Value, _: list[Value], c: Index = c, power: Value = power) -> None:
                p.put_row(m, i, c, p.scaled(p.row(m, i, c), [power]))

            b.loop(0, m.rows, 1, [], scale)

    p.along(m, some)


def unscale_columns(p: Panel, m: Planes, scales: Planes) -> None:
    """The columns as long as they were."""

    def vector(i: Value, c: Index) -> None:
        power = p.reciprocal_power(p.row(scales, 0, c)[0])
        p.put_row(m, i, c, p.scaled(p.row(m, i, c), [power]))

    p.each_row(m, vector)


def clear_below(p: Panel, m: Planes) -> None:
    """Zeros below the diagonal."""
    zero = [p.number(0.0).value] * m.parts

    def row(i: Value, _: list[Value]) -> None:
        stop = p.b.select(p.b.icmp("slt", i, whole(m.columns)), i, whole(m.columns))
        p.b.loop(0, stop, 1, [], lambda j, _: p.put(m, i, j, zero))  # type: ignore[func-returns-value]

    p.b.loop(0, m.rows, 1, [], row)


def qr(
    p: Panel, x: Value, q: Value, r: Value, order: Value | None,
    rows: int, columns: int, inner: int,
) -> None:  # fmt: skip
    """The factors of one matrix; with `order`, of its columns in that order."""
    b = p.b
    m, scales = p.planes(rows, columns), p.planes(1, columns, 1)
    found = Reflections(p, min(rows, columns), rows)
    orthogonal = p.planes(rows, inner)
    p.read(x, m)
    if order is None:
        scale_columns(p, m, scales)
    else:
        power = p.power_near(p.largest(m).value)
        p.scale(m, power)
        places = lambda j, _: b.store(b.cast("trunc", j, "i32"), b.element(order, j, "i32"))
        b.loop(0, columns, 1, [], places)  # type: ignore[arg-type]
    triangularize(p, m, found, order)
    clear_below(p, m)
    if order is None:
        unscale_columns(p, m, scales)
    else:
        p.scale(m, p.reciprocal_power(power))
    found.product(orthogonal)
    p.write(orthogonal, q)
    p.write(m._replace(rows=inner), r)
