"""Products of few columns, which would leave most lanes of a vector empty: each vector holds four
terms of the sums of several columns, and rows of the left operand are read four numbers at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from funcgrad.backends.llvm.builder import PTR, Builder, Type, Value
from funcgrad.backends.llvm.tiles import (
    address,
    each,
    lanes_mask,
    load_whole,
    multiply_add,
    plus,
    store_whole,
    vector_type,
    whole,
)

QUAD = 4  # terms


def vectors_of(n: int, lanes: int) -> int:
    """Vectors that hold four terms of `n` columns."""
    return -(-n * QUAD // lanes)


def cycles(rows: int, m: int, n: int, k: int, lanes: int) -> float:
    """Of two products, two loads and one shuffle a cycle; with the ends of tiles."""
    vectors, quads = vectors_of(n, lanes), -(-k // QUAD)
    step = max(rows * vectors / 2, (rows + vectors) / 2, 4)
    return quads * (3 * vectors + step * -(-m // rows)) + 30 * -(-m // rows) + 6 * m


def pack_quads(b: Builder, kind: str, row: int, n: int, k: int) -> str:
    """A function of (rhs, panel) that copies `k` rows of `n` numbers: four rows become vectors in
    which the four numbers of a column are neighbours, zeros in the lanes that do not exist.
    """

    def write(inner: Builder, source: Value, panel: Value) -> None:
        type = vector_type(inner, kind)
        vectors, mask = vectors_of(n, type.lanes), lanes_mask(n, type.lanes)

        def quad(q: Value | int, present: int) -> None:
            first = address(inner, source, kind, (q, QUAD * row))
            at = [address(inner, first, kind, (t, row)) for t in range(present)]
            rows = [inner.load(a, type, mask) for a in at]
            rows += [inner.const(0, type)] * (QUAD - present)
            out = address(inner, panel, kind, (q, vectors * type.lanes))
            for v, x in enumerate(_woven(inner, rows, vectors)):
                store_whole(inner, x, out, v)

        each(inner, 0, k // QUAD, 1, lambda q: quad(q, QUAD))
        if k % QUAD:
            quad(k // QUAD, k % QUAD)

    return b.module.function(f"pack_quads_{kind}_{row}_{n}_{k}", [PTR, PTR], None, write)


def _woven(b: Builder, rows: Sequence[Value], vectors: int) -> list[Value]:
    """Vectors of the numbers that four rows have in a column, column by column."""
    lanes = rows[0].type.lanes
    half, found = lanes // 2, list[Value]()
    for first in range(0, vectors * lanes // QUAD, half):
        pair = [first + c + i for c in range(half) for i in (0, lanes)]
        upper, lower = b.shuffle(rows[0], rows[1], pair), b.shuffle(rows[2], rows[3], pair)
        for part in (0, half):
            quad = [c + i + part for c in range(0, half, 2) for i in (0, 1, lanes, lanes + 1)]
            found.append(b.shuffle(upper, lower, quad))
    return found[:vectors]


def quads_function(b: Builder, kind: str, rows: int, n: int, k: int, lhs_row: int) -> str:
    """A function of (lhs, panel, out): `out` holds a vector for each row of the left operand, whose
    first `n` lanes are the sums.
    """

    def write(inner: Builder, lhs: Value, panel: Value, out: Value) -> None:
        type = vector_type(inner, kind)
        vectors = vectors_of(n, type.lanes)

        def step(q: Value, sums: list[Value], mask: Value | None = None) -> list[Value]:
            row = address(inner, panel, kind, (q, vectors * type.lanes))
            terms = [load_whole(inner, type, row, v) for v in range(vectors)]
            found = []
            for r in range(rows):
                at = address(inner, lhs, kind, (q, QUAD), (r, lhs_row))
                numbers = inner.load(at, Type(kind, QUAD), mask)
                factors = inner.shuffle(numbers, numbers, [*range(QUAD)] * (type.lanes // QUAD))
                held = sums[r * vectors : (r + 1) * vectors]
                found += [multiply_add(inner, factors, y, z) for y, z in zip(terms, held)]
            return found

        sums = inner.loop(0, k // QUAD, 1, [inner.const(0, type)] * (rows * vectors), step)
        if k % QUAD:
            sums = step(whole(k // QUAD), sums, lanes_mask(k % QUAD, QUAD))
        for r in range(rows):
            store_whole(inner, _added(inner, sums[r * vectors : (r + 1) * vectors]), out, r)

    name = f"quads_{kind}_{rows}x{n}_{k}_{lhs_row}".replace("-", "n")
    return b.module.function(name, [PTR, PTR, PTR], None, write)


def _added(b: Builder, terms: list[Value]) -> Value:
    """The sums of neighbouring fours of up to four vectors."""
    held = terms + terms[-1:] * (QUAD - len(terms))
    first = _pairs(b, held[0], held[1])
    return _pairs(b, first, _pairs(b, held[2], held[3]) if len(terms) > 2 else first)


def _pairs(b: Builder, x: Value, y: Value) -> Value:
    """The sums of neighbours in one vector, then in another."""
    even = range(0, 2 * x.type.lanes, 2)
    return plus(b, b.shuffle(x, y, even), b.shuffle(x, y, [i + 1 for i in even]))
