"""The inner kernels of matrix products and convolutions: register tiles.

A tile is a few rows by a few vectors of sums that stay in registers while the contracted dimension
runs. Kernels are functions of the module, shared by all products that need the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from funcgrad.backends.llvm.builder import I64, PTR, Builder, Type, Value
from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.values import WIDTH, constant


class Tile(NamedTuple):
    """`rows` x `vectors` sums; strides in elements. `tail` is the number of lanes that exist in the
    last vector of a row of the right operand, 0 for all.
    """

    kind: str
    rows: int
    vectors: int
    lhs_row: int
    lhs_column: int
    rhs_row: int
    tail: int = 0
    accumulate: bool = False
    lanewise: bool = False  # the left operand has its own number for each lane

    @property
    def name(self) -> str:
        """The function's name: it says everything, so equal tiles are one function."""
        strides = "_".join(f"{int(s)}".replace("-", "n") for s in self[3:])
        return f"tile_{self.kind}_{self.rows}x{self.vectors}_{strides}"


def itemsize(kind: str) -> int:
    """Bytes of a number."""
    return WIDTH[kind] // 8


def lanes_of(kind: str, target: Target) -> int:
    """Numbers in a register."""
    return target.lanes(itemsize(kind))


def vector_type(b: Builder, kind: str) -> Type:
    """A whole register of the kind."""
    return Type(kind, lanes_of(kind, b.module.target))


def lanes_mask(count: int, lanes: int) -> Value | None:
    """The first `count` lanes; None for all."""
    if count % lanes == 0:
        return None
    listed = ", ".join(f"i1 {int(i < count)}" for i in range(lanes))
    return Value(f"<{listed}>", Type("i1", lanes))


def whole(n: int) -> Value:
    """A static index as a value."""
    return constant(n, I64)


def address(b: Builder, pointer: Value, kind: str, *steps: tuple[Value | int, int]) -> Value:
    """The address that is `sum(index * stride)` elements further."""
    fixed = sum(i * s for i, s in steps if isinstance(i, int))
    for i, stride in steps:
        if not isinstance(i, int) and stride:
            scaled = i if stride == 1 else b.mul(i, whole(stride))
            pointer = b.element(pointer, scaled, kind)
    return b.element(pointer, fixed, kind)


def each(b: Builder, start: int, stop: int, step: int, body: Callable[[Value | int], Any]) -> None:
    """`body(i)` for each i of a static range: no loop around a single one."""
    if stop - start <= step:
        if stop > start:
            body(start)
        return
    b.loop(start, stop, step, [], lambda i, _: body(i))


def each_within(
    b: Builder, bounds: tuple[Value, Value] | None, ends: tuple[int, int], step: int,
    body: Callable[[Value | int], Any], rest: Callable[[], Any],
) -> None:  # fmt: skip
    """`body` for whole steps up to the first end and `rest` for what is left up to the second; only
    those within bounds, which fall between steps.
    """
    full, last = ends
    if bounds is None:
        each(b, 0, full, step, body)
        if full < last:
            rest()
        return
    (begin, end), bound = bounds, whole(full)
    stop = b.select(b.icmp("sle", end, bound), end, bound)
    b.loop(begin, stop, step, [], lambda i, _: body(i))
    if full < last:
        b.when(b.icmp("sgt", end, bound), rest)


def _evenly(b: Builder, pointer: Value, step: int, type: Type) -> Value:
    """Addresses so many elements apart, one for each lane."""
    lanes = Type("i64", type.lanes)
    return b.element(pointer, b.mul(b.iota(lanes), b.const(step, lanes)), type.kind)


def load_evenly(b: Builder, pointer: Value, step: int, type: Type, mask: Value | None) -> Value:
    """A vector of elements that lie `step` apart."""
    if step == 1 or type.lanes == 1:
        return b.load(pointer, type, mask)
    return b.gather(_evenly(b, pointer, step, type), type.kind, mask)


def store_evenly(b: Builder, x: Value, pointer: Value, step: int, mask: Value | None) -> None:
    """Writes a vector to elements that lie `step` apart."""
    if step == 1 or x.type.lanes == 1:
        b.store(x, pointer, mask)
    else:
        b.scatter(x, _evenly(b, pointer, step, x.type), mask)


def multiply_add(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z for floats and integers."""
    return b.fma(x, y, z) if x.type.is_float else b.add(b.mul(x, y), z)


def plus(b: Builder, x: Value, y: Value) -> Value:
    """x + y for floats and integers."""
    return b.fadd(x, y) if x.type.is_float else b.add(x, y)


def tile_function(b: Builder, tile: Tile) -> str:
    """A function of (lhs, rhs, k, out): `out` holds rows of `vectors` whole vectors."""
    arguments = [PTR, PTR, I64, PTR]

    def write(inner: Builder, lhs: Value, rhs: Value, k: Value, out: Value) -> None:
        sums = tile_sums(inner, tile, lhs, rhs, k, tile_start(inner, tile))
        tile_end(inner, tile, sums, out)

    return b.module.function(tile.name, arguments, None, write)


def tile_start(b: Builder, tile: Tile) -> list[Value]:
    """Zeros."""
    return [b.const(0, vector_type(b, tile.kind))] * (tile.rows * tile.vectors)


def tile_end(b: Builder, tile: Tile, sums: list[Value], out: Value) -> None:
    """Stores the sums, or adds them to those so far: sums of blocks lose fewer digits than one
    sum of all terms.
    """
    for n, x in enumerate(sums):
        if tile.accumulate:
            x = plus(b, load_whole(b, x.type, out, n), x)
        store_whole(b, x, out, n)


def load_whole(b: Builder, type: Type, buffer: Value, n: int | Value) -> Value:
    """Vector `n` of an aligned buffer."""
    at = address(b, buffer, type.kind, (n, type.lanes))
    return b.load(at, type, align=type.lanes * itemsize(type.kind))


def store_whole(b: Builder, x: Value, buffer: Value, n: int | Value) -> None:
    """Vector `n` into an aligned buffer."""
    at = address(b, buffer, x.type.kind, (n, x.type.lanes))
    b.store(x, at, align=x.type.lanes * itemsize(x.type.kind))


def tile_sums(
    b: Builder, tile: Tile, lhs: Value, rhs: Value, k: int | Value, start: list[Value]
) -> list[Value]:
    """The sums of a tile, row by row, in the order of the contracted dimension."""

    def step(i: Value, sums: list[Value]) -> list[Value]:
        row = address(b, rhs, tile.kind, (i, tile.rhs_row))
        column = address(b, lhs, tile.kind, (i, tile.lhs_column))
        return tile_step(b, tile, column, row, sums)

    return b.loop(0, k, 1, start, step)


def tile_step(b: Builder, tile: Tile, column: Value, row: Value, sums: list[Value]) -> list[Value]:
    """One term of each sum: a column of the left operand times a row of the right one."""
    vectors = _row_of_vectors(b, tile, row)
    found = []
    for r in range(tile.rows):
        at = address(b, column, tile.kind, (r, tile.lhs_row))
        if tile.lanewise:
            factors = _row_of_vectors(b, tile, at)
        else:
            x = b.splat(b.load(at, Type(tile.kind)), vectors[0].type.lanes)
            factors = [x] * tile.vectors
        held = sums[r * tile.vectors : (r + 1) * tile.vectors]
        found += [multiply_add(b, x, y, z) for x, y, z in zip(factors, vectors, held)]
    return found


def _row_of_vectors(b: Builder, tile: Tile, pointer: Value) -> list[Value]:
    type = vector_type(b, tile.kind)
    found = []
    for v in range(tile.vectors):
        mask = lanes_mask(tile.tail, type.lanes) if v == tile.vectors - 1 else None
        found.append(b.load(b.element(pointer, v * type.lanes, tile.kind), type, mask))
    return found


def transposed(b: Builder, rows: list[Value]) -> list[Value]:
    """A square of vectors with rows and columns exchanged, in log2(lanes) rounds of shuffles."""
    n, distance = len(rows), 1
    while distance < n:
        low = [i if not i & distance else n + i - distance for i in range(n)]
        high = [i + distance if not i & distance else n + i for i in range(n)]
        after = list(rows)
        for i in range(n):
            if not i & distance:
                x, y = rows[i], rows[i + distance]
                after[i], after[i + distance] = b.shuffle(x, y, low), b.shuffle(x, y, high)
        rows, distance = after, 2 * distance
    return rows
