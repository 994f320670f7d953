"""One matrix product for all shapes and strides, known only at run time.

For sizes that have no value while a program is compiled, and for programs with many large products
of different shapes. Both operands are packed; each sum has the order that `gemm` takes it in.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm.builder import I64, PTR, Builder, Type, Value
from funcgrad.backends.llvm.gemm_plan import most_rows
from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.tiles import (
    Tile,
    itemsize,
    load_whole,
    store_whole,
    tile_function,
    transposed,
    vector_type,
    whole,
)

VECTORS = 2
BLOCK = 512  # of the contracted dimension
AHEAD = 24  # rows between a copy and what it asks the memory for
ROWS_BYTES = 1 << 21  # of packed rows of the left operand


def any_scratch_bytes(kind: str, target: Target) -> int:
    """Memory, aligned to 64 bytes, that `product_any` needs from its caller."""
    return _rows_bytes(kind, target) + (BLOCK + 16) * VECTORS * target.vector_bytes


def _rows_bytes(kind: str, target: Target) -> int:
    lanes = target.lanes(itemsize(kind))
    return (_block_rows(kind, target) + lanes) * _stride(lanes) * itemsize(kind)


def _stride(lanes: int) -> int:
    """Elements between packed rows; no power of two, so that rows do not evict one another."""
    return BLOCK + lanes


def _tile_rows(target: Target) -> int:
    return min(most_rows(VECTORS, target), 8)


def _block_rows(kind: str, target: Target) -> int:
    rows = _tile_rows(target)
    return ROWS_BYTES // (BLOCK * itemsize(kind)) // rows * rows


def product_any(
    b: Builder, kind: str, sizes: tuple[Value, Value, Value], lhs: tuple[Value, Value, Value],
    rhs: tuple[Value, Value, Value], out: tuple[Value, Value], scratch: Value,
) -> None:  # fmt: skip
    """Emits out = lhs (m x k) times rhs (k x n) for `sizes` (m, n, k).

    Operands are (pointer, row stride, column stride), the result (pointer, row stride) with
    contiguous columns; strides count elements.
    """
    name = f"product_{kind}"
    arguments = [*sizes, *lhs, *rhs, *out, scratch]

    def write(inner: Builder, *values: Value) -> None:
        _Blocks(inner, kind, values).write()

    b.module.function(name, [a.type for a in arguments], None, write)
    b.call(name, None, arguments)


class _Blocks:
    """The loops of the product: blocks of k, of rows, panels of columns, tiles."""

    def __init__(self, b: Builder, kind: str, values: tuple[Value, ...]) -> None:
        self.b, self.kind, target = b, kind, b.module.target
        self.m, self.n, self.k = values[:3]
        self.lhs, self.rhs, (self.out, self.out_row, scratch) = values[3:6], values[6:9], values[9:]
        self.type = vector_type(b, kind)
        self.width = VECTORS * self.type.lanes
        self.rows = scratch
        self.panel = b.element(scratch, _rows_bytes(kind, target), "i8")
        self.tile = Tile(
            kind, _tile_rows(target), VECTORS, _stride(self.type.lanes), 1, self.width, 0, True
        )
        self.held = b.alloca(kind, self.tile.rows * self.width)

    def write(self) -> None:
        b = self.b
        at_least_one = b.select(b.icmp("sgt", self.k, whole(1)), self.k, whole(1))
        b.loop(0, at_least_one, BLOCK, [], lambda p, _: self.block_of_k(p))

    def block_of_k(self, p: Value) -> None:
        b, height = self.b, _block_rows(self.kind, self.b.module.target)
        depth = smaller(b, b.sub(self.k, p), whole(BLOCK))
        b.loop(0, self.m, height, [], lambda i, _: self.block_of_rows(p, depth, i, height))

    def block_of_rows(self, p: Value, depth: Value, i: Value, height: int) -> None:
        b = self.b
        rows = smaller(b, b.sub(self.m, i), whole(height))
        source = at(b, self.kind, self.lhs, i, p)
        pack_any(b, self.kind, source, self.lhs[1:], (rows, depth), self.rows, self.tile.lhs_row)

        def panel(j: Value, _: list[Value]) -> None:
            columns = smaller(b, b.sub(self.n, j), whole(self.width))
            source = at(b, self.kind, self.rhs, p, j)
            pack_any(b, self.kind, source, self.rhs[1:], (depth, columns), self.panel, self.width)
            b.loop(
                0, rows, self.tile.rows, [],
                lambda r, _: self.tile_at(p, depth, (i, r, j), rows, columns),
            )  # fmt: skip

        b.loop(0, self.n, self.width, [], panel)

    def tile_at(
        self, p: Value, depth: Value, place: tuple[Value, Value, Value], rows: Value, columns: Value
    ) -> None:
        """Fetches the sums so far, adds the terms of this block and puts them back."""
        b, (i, r, j) = self.b, place
        height = smaller(b, b.sub(rows, r), whole(self.tile.rows))
        out = at(b, self.kind, (self.out, self.out_row, whole(1)), b.add(i, r), j)
        masks = [first_lanes(b, b.sub(columns, whole(v * self.type.lanes)), self.type.lanes)
                 for v in range(VECTORS)]  # fmt: skip
        going = b.splat(b.icmp("sgt", p, whole(0)), self.type.lanes)

        def fetch(at_out: Value, n: Value, mask: Value) -> None:
            store_whole(b, b.load(at_out, self.type, b.and_(mask, going)), self.held, n)

        def put(at_out: Value, n: Value, mask: Value) -> None:
            b.store(load_whole(b, self.type, self.held, n), at_out, mask)

        self.each_vector(out, height, masks, fetch)
        below = b.element(out, b.mul(self.out_row, whole(self.tile.rows)), self.kind)
        self.each_vector(below, whole(self.tile.rows), masks, lambda at, n, mask: prefetch(b, at))
        left = b.element(self.rows, b.mul(r, whole(self.tile.lhs_row)), self.kind)
        b.call(tile_function(b, self.tile), None, [left, self.panel, depth, self.held])
        self.each_vector(out, height, masks, put)

    def each_vector(
        self, out: Value, height: Value, masks: list[Value],
        body: Callable[[Value, Value, Value], None],
    ) -> None:  # fmt: skip
        b = self.b

        def row(r: Value, _: list[Value]) -> None:
            first = b.element(out, b.mul(r, self.out_row), self.kind)
            for v, mask in enumerate(masks):
                n = b.add(b.mul(r, whole(VECTORS)), whole(v))
                body(b.element(first, v * self.type.lanes, self.kind), n, mask)

        b.loop(0, height, 1, [], row)


def prefetch(b: Builder, pointer: Value) -> None:
    """Asks for a line of memory that will be needed; any address is allowed."""
    b.module.declare("llvm.prefetch.p0", "void", "ptr, i32, i32, i32")
    b.do(f"call void @llvm.prefetch.p0({pointer}, i32 0, i32 3, i32 1)")


def smaller(b: Builder, x: Value, y: Value) -> Value:
    """The smaller of two signed numbers."""
    return b.select(b.icmp("slt", x, y), x, y)


def at(b: Builder, kind: str, matrix: tuple[Value, ...], i: Value, j: Value) -> Value:
    """The address of element (i, j)."""
    pointer, row, column = matrix
    return b.element(pointer, b.add(b.mul(i, row), b.mul(j, column)), kind)


def first_lanes(b: Builder, count: Value, lanes: int) -> Value:
    """The mask of the first `count` lanes."""
    type = Type("i64" if lanes <= 8 else "i32", lanes)
    bounded = smaller(b, count, whole(lanes))
    narrow = bounded if type.kind == "i64" else b.cast("trunc", bounded, "i32")
    return b.icmp("slt", b.iota(type), b.splat(narrow, lanes))


def pack_any(
    b: Builder, kind: str, source: Value, strides: tuple[Value, ...], shape: tuple[Value, Value],
    to: Value, to_row: int,
) -> None:  # fmt: skip
    """Copies a matrix to rows of whole vectors, `to_row` apart; lanes that do not exist are zero.

    Rows are written up to a multiple of the lanes.
    """
    name = f"pack_any_{kind}_{to_row}"
    arguments = [source, *strides, *shape, to]

    def write(
        inner: Builder, source: Value, row: Value, column: Value, rows: Value, columns: Value,
        to: Value,
    ) -> None:  # fmt: skip
        _Packing(inner, kind, (source, row, column), rows, columns, to, to_row).write()

    b.module.function(name, [PTR, I64, I64, I64, I64, PTR], None, write)
    b.call(name, None, arguments)


class _Packing:
    """Copies by one of three ways: rows are contiguous, columns are, or neither."""

    def __init__(
        self, b: Builder, kind: str, matrix: tuple[Value, Value, Value], rows: Value,
        columns: Value, to: Value, to_row: int,
    ) -> None:  # fmt: skip
        self.b, self.kind, self.matrix, self.to, self.to_row = b, kind, matrix, to, to_row
        self.rows, self.columns = rows, columns
        self.type = vector_type(b, kind)

    def write(self) -> None:
        b, (_, row, column) = self.b, self.matrix

        def others() -> None:
            down = b.icmp("eq", row, whole(1))
            either(
                b,
                down,
                lambda: self.each(self.lanes, self.square),
                lambda: self.each(1, self.spread),
            )

        either(b, b.icmp("eq", column, whole(1)), lambda: self.each(1, self.copy), others)

    @property
    def lanes(self) -> int:
        return self.type.lanes

    def each(self, height: int, body: Callable[[Value, Value], None]) -> None:
        b = self.b
        b.loop(
            0, self.rows, height, [],
            lambda i, _: b.loop(0, self.columns, self.lanes, [], lambda j, _: body(i, j)) and None,
        )  # fmt: skip

    def put(self, x: Value, i: Value, j: Value, further: int = 0) -> None:
        b = self.b
        first = b.add(b.mul(i, whole(self.to_row)), j)
        to = b.element(b.element(self.to, first, self.kind), further * self.to_row, self.kind)
        b.store(x, to, align=self.lanes * itemsize(self.kind))

    def mask(self, count: Value, done: Value) -> Value:
        return first_lanes(self.b, self.b.sub(count, done), self.lanes)

    def copy(self, i: Value, j: Value) -> None:
        mask = self.mask(self.columns, j)
        ahead = self.b.add(i, whole(AHEAD))
        prefetch(self.b, at(self.b, self.kind, self.matrix, ahead, j))
        self.put(self.b.load(at(self.b, self.kind, self.matrix, i, j), self.type, mask), i, j)

    def spread(self, i: Value, j: Value) -> None:
        b, lanes = self.b, self.lanes
        across = b.mul(b.iota(Type("i64", lanes)), b.splat(self.matrix[2], lanes))
        pointers = b.element(at(b, self.kind, self.matrix, i, j), across, self.kind)
        self.put(b.gather(pointers, self.kind, self.mask(self.columns, j)), i, j)

    def square(self, i: Value, j: Value) -> None:
        b = self.b
        down, left = self.mask(self.rows, i), b.sub(self.columns, j)
        pointer, held = at(b, self.kind, self.matrix, i, j), []
        for c in range(self.lanes):
            exists = b.splat(b.icmp("sgt", left, whole(c)), self.lanes)
            held.append(b.load(pointer, self.type, b.and_(down, exists)))
            pointer = b.element(pointer, self.matrix[2], self.kind)
        for r, x in enumerate(transposed(b, held)):
            self.put(x, i, j, r)


def either(
    b: Builder, condition: Value, yes: Callable[[], object], no: Callable[[], object]
) -> None:
    """One of two pieces of code without results."""

    def quiet(side: Callable[[], object]) -> Callable[[], list[Value]]:
        def run() -> list[Value]:
            side()
            return []

        return run

    b.branch(condition, quiet(yes), quiet(no))
