"""Copies that bring operands into the order in which kernels read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from funcgrad.backends.llvm.builder import I64, PTR, Builder, Type, Value
from funcgrad.backends.llvm.tiles import (
    address,
    each,
    lanes_mask,
    load_evenly,
    store_evenly,
    store_whole,
    transposed,
    vector_type,
    whole,
)


def pack_function(
    b: Builder, kind: str, row: int, column: int, columns: int, vectors: int, short: int
) -> str:
    """A function of (source, rows, target) that copies `rows` x `columns` numbers of any strides
    to rows of `vectors` whole vectors, zeros in the lanes that do not exist.

    `short` is the number of rows where it is less than a vector's lanes, else 0.
    """
    name = f"pack_{kind}_{row}_{column}_{columns}_{vectors}_{short}".replace("-", "n")
    packed_by = _pack_rows
    if column != 1:
        packed_by = _pack_squares if row == 1 else _pack_gathered

    def write(inner: Builder, source: Value, rows: Value, to: Value) -> None:
        packed_by(inner, kind, (row, column), columns, vectors, short, source, rows, to)

    return b.module.function(name, [PTR, I64, PTR], None, write)


def _pack_rows(
    b: Builder, kind: str, strides: tuple[int, int], columns: int, vectors: int, short: int,
    source: Value, rows: Value, to: Value,
) -> None:  # fmt: skip
    type = vector_type(b, kind)

    def copy(i: Value, _: list[Value]) -> None:
        at = address(b, source, kind, (i, strides[0]))
        out = address(b, to, kind, (i, vectors * type.lanes))
        for v in range(vectors):
            mask = lanes_mask(min(columns - v * type.lanes, type.lanes), type.lanes)
            x = b.load(b.element(at, v * type.lanes, kind), type, mask)
            store_whole(b, x, out, v)

    b.loop(0, rows, 1, [], copy)


def _pack_squares(
    b: Builder, kind: str, strides: tuple[int, int], columns: int, vectors: int, short: int,
    source: Value, rows: Value, to: Value,
) -> None:  # fmt: skip
    """Columns are contiguous: squares are transposed in registers. The last square overlaps the
    one before it, so that nothing needs a mask.
    """
    type = vector_type(b, kind)
    n, (_, stride) = type.lanes, strides
    height = short or n
    mask = lanes_mask(short, n) if short else None
    full = columns // n

    def square(at: Value, out: Value, v: Value | int, present: int) -> None:
        first = address(b, at, kind, (v, n * stride))
        held = [b.load(address(b, first, kind, (c, stride)), type, mask) for c in range(present)]
        across = transposed(b, held + [b.const(0, type)] * (n - present))
        to_first = address(b, out, kind, (v, n))
        for r in range(height):
            store_whole(b, across[r], to_first, r * vectors)

    def squares(i: Value, _: list[Value]) -> None:
        last = b.sub(rows, whole(height))
        i = b.select(b.icmp("slt", i, last), i, last)
        at, out = address(b, source, kind, (i, 1)), address(b, to, kind, (i, vectors * n))
        each(b, 0, full, 1, lambda v: square(at, out, v, n))
        if columns % n:
            square(at, out, full, columns % n)

    b.loop(0, rows, height, [], squares)


def _pack_gathered(
    b: Builder, kind: str, strides: tuple[int, int], columns: int, vectors: int, short: int,
    source: Value, rows: Value, to: Value,
) -> None:  # fmt: skip
    type = vector_type(b, kind)
    across = b.mul(b.iota(Type("i64", type.lanes)), b.const(strides[1], Type("i64", type.lanes)))

    def gather(i: Value, _: list[Value]) -> None:
        at = address(b, source, kind, (i, strides[0]))
        out = address(b, to, kind, (i, vectors * type.lanes))
        for v in range(vectors):
            mask = lanes_mask(min(columns - v * type.lanes, type.lanes), type.lanes)
            first = address(b, at, kind, (v * type.lanes, strides[1]))
            store_whole(b, b.gather(b.element(first, across, kind), kind, mask), out, v)

    b.loop(0, rows, 1, [], gather)


# ---------------------------------------------------------------- blocks of memory


def merged(terms: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Nested extents with strides, outermost first: (extent, stride, ...), made as few as can be.

    Two neighbours are one where the outer one continues the inner one in every stride.
    """
    found: list[tuple[int, ...]] = []
    for extent, *strides in terms:
        if extent == 1:
            continue
        if found and all(a == extent * b for a, b in zip(found[-1][1:], strides)):
            found[-1] = (found[-1][0] * extent, *strides)
        else:
            found.append((extent, *strides))
    return found


def nested(
    b: Builder, extents: Sequence[int], body: Callable[..., object], *indices: Value | int
) -> None:
    """`body(i, j, ...)` for all indices below the extents, the last one running fastest."""
    if not extents:
        body(*indices)
        return
    rest = extents[1:]
    each(b, 0, extents[0], 1, lambda i: nested(b, rest, body, *indices, i))


def copy_block(
    b: Builder, kind: str, terms: Sequence[tuple[int, ...]], source: Value, to: Value
) -> None:
    """Copies an array; `terms` are (extent, stride of the source, stride of the copy) by falling
    strides of the copy.
    """
    *outer, (count, step, to_step) = merged(terms) or [(1, 1, 1)]

    def run(*indices: Value | int) -> None:
        one = address(b, source, kind, *zip(indices, (t[1] for t in outer)))
        other = address(b, to, kind, *zip(indices, (t[2] for t in outer)))
        copy_run(b, kind, count, (one, step), (other, to_step))

    nested(b, [t[0] for t in outer], run)


def copy_run(
    b: Builder, kind: str, count: int, source: tuple[Value, int], to: tuple[Value, int]
) -> None:
    """Copies numbers that lie evenly, by vectors with a masked rest."""
    type = vector_type(b, kind)
    if count < type.lanes and type.lanes > 1 and (source[1], to[1]) != (1, 1):
        type = Type(kind)
    full = count // type.lanes * type.lanes

    def copy(i: Value | int, mask: Value | None) -> None:
        x = load_evenly(b, address(b, source[0], kind, (i, source[1])), source[1], type, mask)
        store_evenly(b, x, address(b, to[0], kind, (i, to[1])), to[1], mask)

    each(b, 0, full, type.lanes, lambda i: copy(i, None))
    if full < count:
        copy(full, lanes_mask(count - full, type.lanes))


def fill(b: Builder, kind: str, count: int, pointer: Value, value: float | int = 0) -> None:
    """Numbers that are all equal."""
    type = vector_type(b, kind)
    x, full = b.const(value, type), count // type.lanes * type.lanes
    each(b, 0, full, type.lanes, lambda i: b.store(x, address(b, pointer, kind, (i, 1))))
    if full < count:
        rest = lanes_mask(count - full, type.lanes)
        b.store(x, address(b, pointer, kind, (full, 1)), rest)
