"""Eigenvalues and vectors of small Hermitian matrices: reflections from both sides, then a
tridiagonal matrix (Golub and Van Loan 2013, "Matrix computations", section 8.3), with the choices
and signs of LAPACK's routines hetd2, and of stedc for larger ones.
"""

from __future__ import annotations

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.orthogonal import Reflections
from funcgrad.backends.llvm.planes import KIND, Index, Panel, Planes, each
from funcgrad.backends.llvm.terms import Term
from funcgrad.backends.llvm.tiles import whole
from funcgrad.backends.llvm.tridiagonal import MOST_AT_A_TIME, Tridiagonal, swap_rows


def tridiagonalize(p: Panel, m: Planes, t: Tridiagonal, found: Reflections) -> None:
    """Reflections from both sides: m = Q T Q^H with their product Q."""
    b, n = p.b, m.rows
    weights = p.planes(1, n)  # the conjugate of w in m - v w^H - w v^H
    found.clear()

    def step(k: Value, _: list[Value]) -> None:
        first = b.add(k, whole(1))
        t.set_d(k, p.terms(p.get(m, k, k))[0])
        found.take_column(m, k, k, first)
        beta, tau = found.make(k, first)
        t.set_e(k, beta)
        _weigh(p, m, found.vectors, k, tau, weights)
        _update(p, m, found.vectors, k, weights)

    b.loop(0, n - 1, 1, [], step)
    t.set_d(n - 1, p.terms(p.get(m, n - 1, n - 1))[0])


def _weigh(p: Panel, m: Planes, v: Planes, k: Value, tau: list[Term], weights: Planes) -> None:
    """w = tau m v - |tau|^2 / 2 (v^H m v) v, conjugated."""
    b, first = p.b, _next(p.b, k)
    total = b.alloca(KIND, p.lanes)
    b.store(b.const(0.0, p.vector), total)

    def product(columns: list[Index]) -> None:
        for c, sum in zip(columns, p.sums(m, v, k, first, columns)):
            p.put_row(weights, 0, c, sum)
            x = p.row(v, k, c)
            held = b.load(total, p.vector)
            terms = [b.fmul(sum[0], x[0])]
            if len(x) == 2:
                terms.append(b.fneg(b.fmul(sum[1], x[1])))
            for term in terms:
                held = b.fadd(held, term)
            b.store(held, total)

    p.along(m, product)
    form = Term(b, b.reduce(b.fadd, b.load(total, p.vector)))
    size = sum((t * t for t in tau[1:]), start=tau[0] * tau[0])
    along_v = p.splat([(-0.5 * size * form).value])
    factor = p.splat(p.conjugated([t.value for t in tau]))

    def combine(columns: list[Index]) -> None:
        for c in columns:
            scaled = p.scaled(p.row(weights, 0, c), factor)
            p.put_row(weights, 0, c, p.added(scaled, p.conjugated(p.row(v, k, c)), along_v))

    p.along(m, combine)


def _update(p: Panel, m: Planes, v: Planes, k: Value, weights: Planes) -> None:
    """Rows below k lose v w^H + w v^H."""

    def some(columns: list[Index]) -> None:
        rows = [(p.row(weights, 0, c), p.conjugated(p.row(v, k, c))) for c in columns]

        def row(i: Value, _: list[Value]) -> None:
            x = p.splat(p.negated(p.get(v, k, i)))
            y = p.splat(p.negated(p.conjugated(p.get(weights, 0, i))))
            for c, (w, u) in zip(columns, rows):
                p.put_row(m, i, c, p.added(p.added(p.row(m, i, c), x, w), y, u))

        p.b.loop(_next(p.b, k), m.rows, 1, [], row)

    p.along(m, some)


def _next(b: Builder, k: Value) -> Value:
    return b.add(k, whole(1))


def eigh(p: Panel, x: Value, vectors: Value, values: Value, size: int, lower: bool) -> None:
    """Of one matrix, of which one triangle is read; NaN if it is not finite."""
    b = p.b
    # Behind the vectors, in columns of their own, those of the tridiagonal matrix at its middle.
    m, turned = p.planes(size, size), p.planes(size, size + 2)
    t = Tridiagonal(p, size, turned)
    _read_triangle(p, x, m, lower)
    most = p.largest(m)
    power = p.power_near(most.value)
    p.scale(m, power)
    p.identity(turned)
    if size > 1:
        _prepare(p, m, t, turned, lower)
    else:
        t.set_d(0, p.terms(p.get(m, 0, 0))[0])
    middle = _mark_middle(p, t, turned) if size > MOST_AT_A_TIME else None
    t.solve()
    t.sort()
    if middle is not None:
        _orient(p, turned, middle)
    missing = most * 0.0  # NaN where an element is not finite
    scale = Term(b, p.reciprocal_power(power))
    store = lambda i, _: p.write_number(t.d(i) * scale + missing, values, i)
    b.loop(0, size, 1, [], store)  # type: ignore[arg-type]
    p.shift(turned, missing)
    p.write_transposed(turned._replace(columns=size), vectors)


def _prepare(p: Panel, m: Planes, t: Tridiagonal, turned: Planes, lower: bool) -> None:
    """The tridiagonal matrix, and the transpose of the reflections' product."""
    b, size = p.b, m.rows
    found = Reflections(p, size - 1, size)
    if not lower:
        _reverse(p, m)
    tridiagonalize(p, m, t, found)
    p.conjugate(found.vectors)
    apply = lambda k, _: p.reflect(turned, found.vectors, k, found.factor(k), _next(b, k))
    b.loop(0, size - 1, 1, [], apply)  # type: ignore[arg-type]
    if not lower:
        _reverse(p, turned)
        t.reverse()


def _mark_middle(p: Panel, t: Tridiagonal, turned: Planes) -> tuple[Term, int]:
    """Starts the two columns; the sign of the element that joins the halves, and where it is."""
    size, half = t.size, t.size // 2
    one = [p.number(1.0).value]
    p.put(turned, half - 1, size, one)
    p.put(turned, half, size + 1, one)
    return p.number(1.0).signed(t.e(half - 1)), size


def _orient(p: Panel, turned: Planes, middle: tuple[Term, int]) -> None:
    """Larger matrices LAPACK divides at the middle; the sum of a vector's elements there, those of
    the tridiagonal matrix, is negative then (Cuppen 1981: it is -1 / rho times a length).
    """
    b = p.b
    sign, at = middle

    def row(i: Value, _: list[Value]) -> None:
        x, y = (p.terms(p.get(turned, i, at + n))[0] for n in (0, 1))
        upward = (x + sign * y > 0.0).value
        b.when(upward, lambda: p.scale_row(turned, i, [p.number(-1.0).value]))

    b.loop(0, turned.rows, 1, [], row)


def _reverse(p: Panel, m: Planes) -> None:
    """The last row first, the last column first."""
    b, n = p.b, m.rows

    def exchange(i: Value, j: Value, k: Value, h: Value) -> None:
        x, y = p.get(m, i, j), p.get(m, k, h)
        p.put(m, i, j, y)
        p.put(m, k, h, x)

    last = lambda i: b.sub(whole(n - 1), i)
    half = n // 2

    def column(i: Value, j: Value) -> None:
        exchange(i, j, i, last(j))

    each(b, n, half, column)
    b.loop(0, half, 1, [], lambda i, _: swap_rows(p, m, i, last(i)))  # type: ignore[func-returns-value]


def _read_triangle(p: Panel, given: Value, m: Planes, lower: bool) -> None:
    """A Hermitian matrix by one of its triangles."""
    b = p.b
    p.read(given, m)

    def element(i: Value, j: Value) -> None:
        x = p.get(m, i, j)
        p.put(m, j, i, p.conjugated(x))

    def row(i: Value, _: list[Value]) -> None:
        if m.parts == 2:  # the diagonal is real, whatever stands there
            p.put(m, i, i, [p.get(m, i, i)[0], p.number(0.0).value])
        start, stop = (0, i) if lower else (_next(b, i), m.columns)
        b.loop(start, stop, 1, [], lambda j, _: element(i, j))  # type: ignore[func-returns-value, arg-type]

    b.loop(0, m.rows, 1, [], row)
