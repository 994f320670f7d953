"""Matrix products with static shapes, as inline code that ends in the caller's epilogue.

The result is cut into panels of columns, panels into tiles of rows; a panel of the right operand is
packed if its rows are not contiguous or are read from far away again and again. Sums are taken in
the order of the contracted dimension, whatever the tile; only the dot products of few rows with
contiguous columns go by lanes, and those of few columns by fours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from funcgrad.backends.llvm.builder import PTR, Builder, Type, Value
from funcgrad.backends.llvm.gemm_plan import (
    LARGEST_STACK,
    STREAMED_ROWS,
    Plan,
    buffers,
    plan_of,
)
from funcgrad.backends.llvm.long_sums import BLOCK, end_of, in_blocks
from funcgrad.backends.llvm.packing import fill, pack_function
from funcgrad.backends.llvm.quads import pack_quads, quads_function
from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.tiles import (
    Tile,
    address,
    each,
    each_within,
    lanes_mask,
    lanes_of,
    load_whole,
    multiply_add,
    plus,
    tile_function,
    tile_sums,
    transposed,
    vector_type,
    whole,
)

Epilogue = Callable[[Value, Value, Value, Value | None], None]
STREAMED_COLUMNS = 256  # in a part, at least: what lies together in memory is read together


class Matrix(NamedTuple):
    """An operand: element (i, j) stands `i * row + j * column` elements after the pointer."""

    pointer: Value
    row: int
    column: int

    @property
    def transposed(self) -> Matrix:
        return Matrix(self.pointer, self.column, self.row)


def scratch_bytes(
    kind: str, m: int, n: int, k: int, lhs: tuple[int, int], rhs: tuple[int, int], target: Target
) -> int:
    """How much memory, aligned to 64 bytes, `product` needs from its caller; 0 for none.

    `lhs` and `rhs` are the operands' (row, column) strides.
    """
    if 0 in (m, n):
        return 0
    if n == 1:
        m, n, lhs, rhs = n, m, rhs[::-1], lhs[::-1]
    plan = plan_of(kind, m, n, k, lhs, rhs, target)
    needed = sum(buffers(plan, kind, m, n, k, target))
    return needed if needed > LARGEST_STACK else 0


class Cut(NamedTuple):
    """A product can run in parts: over `extent` columns, rows, or terms of its sums, its "depth",
    between multiples of `unit`. Sums of parts of the depth wait in so many bytes each.
    """

    along: str
    extent: int
    unit: int
    waiting: int = 0


def cut_of(
    kind: str, m: int, n: int, k: int, lhs: tuple[int, int], rhs: tuple[int, int], target: Target
) -> Cut | None:
    """How a product can be cut: between panels, which are packed once then, between tiles, or, if
    there are few of both, between blocks of the contracted dimension.
    """
    if 0 in (m, n):
        return None
    if n == 1:
        m, n, lhs, rhs = n, m, rhs[::-1], lhs[::-1]
    plan = plan_of(kind, m, n, k, lhs, rhs, target)
    width = plan.vectors * lanes_of(kind, target)
    if plan.form == "streamed":
        return Cut("columns", n, STREAMED_COLUMNS) if n >= 2 * STREAMED_COLUMNS else None
    if n >= 4 * width:
        return Cut("columns", n, width)
    if m >= 8 * plan.rows:
        return Cut("rows", m, plan.rows)
    waiting = buffers(plan, kind, m, n, k, target)[1]
    return Cut("depth", k, plan.block, waiting) if plan.deep and m > 1 else None


# ---------------------------------------------------------------- the product


class _Panel(NamedTuple):
    """Columns from `j` on: `vectors` vectors, of whose last one `tail` lanes exist (0: all)."""

    j: Value | int
    vectors: int
    tail: int
    sums: Value


class _Job(NamedTuple):
    """What the parts of one product share."""

    b: Builder
    kind: str
    m: int
    n: int
    k: int
    lhs: Matrix
    rhs: Matrix
    epilogue: Epilogue
    plan: Plan
    panel: Value
    sums: Value
    cut: Cut | None = None
    bounds: tuple[Value, Value] | None = None

    @property
    def lanes(self) -> int:
        return lanes_of(self.kind, self.b.module.target)

    @property
    def blocked(self) -> bool:
        return self.k > self.plan.block


def product(
    b: Builder,
    kind: str,
    m: int,
    n: int,
    k: int,
    lhs: Matrix,
    rhs: Matrix,
    epilogue: Epilogue,
    scratch: Value | None = None,
    bounds: tuple[Value, Value] | None = None,
    waiting: Value | None = None,
) -> None:
    """Emits lhs (m x k) times rhs (k x n); `epilogue(sums, i, j, mask)` stores what is wanted.

    It is called once for each piece of a finished row: `sums` is a vector of the elements (i, j),
    (i, j + 1), ...; `mask` says which lanes exist, None for all. Columns advance outside rows.
    With n = 1 the lanes run over rows instead: (i, 0), (i + 1, 0), ... `scratch` points to
    `scratch_bytes(...)` bytes where that is not 0. No operand is read outside its elements.
    `bounds` are those of a part, as `cut_of` says; `waiting` is where it leaves its sums, if they
    have to wait: then nothing is stored before `hand_out`.
    """
    if 0 in (m, n):
        return
    if n == 1 and m > 1:
        product(
            b, kind, 1, m, k, rhs.transposed, lhs.transposed,
            lambda sums, i, j, mask: epilogue(sums, j, i, mask), scratch, bounds, waiting,
        )  # fmt: skip
        return
    target = b.module.target
    plan = plan_of(kind, m, n, k, lhs[1:], rhs[1:], target)
    panel, sums = _memory(b, kind, buffers(plan, kind, m, n, k, target), scratch)
    cut = None if bounds is None else cut_of(kind, m, n, k, lhs[1:], rhs[1:], target)
    sums = sums if waiting is None else waiting
    job = _Job(b, kind, m, n, k, lhs, rhs, epilogue, plan, panel, sums, cut, bounds)
    FORMS[plan.form](job)


def hand_out(
    b: Builder, kind: str, m: int, n: int, k: int, lhs: Matrix, rhs: Matrix, epilogue: Epilogue,
    waiting: Value,
) -> None:  # fmt: skip
    """Emits the end of a product whose sums have waited in memory: `epilogue` for all of them."""
    assert n > 1, "what has one column is not cut by depth"
    plan = plan_of(kind, m, n, k, lhs[1:], rhs[1:], b.module.target)
    job = _Job(b, kind, m, n, k, lhs, rhs, epilogue, plan, waiting, waiting)
    _panels(job, lambda panel: _finish(job, panel, 0, whole(m), panel.sums))


def _memory(
    b: Builder, kind: str, sizes: tuple[int, int], scratch: Value | None
) -> tuple[Value, Value]:
    """Addresses of two buffers: on the stack, or in the caller's memory if they are large."""
    if sum(sizes) <= LARGEST_STACK or scratch is None:
        panel, sums = (b.alloca("i8", s) if s else Value("null", PTR) for s in sizes)
        return panel, sums
    return scratch, b.element(scratch, sizes[0], "i8")


def _tiled(job: _Job) -> None:
    """Panels of columns; a long contracted dimension is taken in blocks, whose sums wait."""
    b, block = job.b, job.plan.block
    last = max(job.k - 1, 0) // block * block if job.blocked else 0

    def all_blocks(panel: _Panel) -> None:
        if job.blocked:
            _clear(job, panel)
            each(b, 0, last, block, lambda p: _block(job, panel, p, block, finish=False))
        _block(job, panel, last, job.k - last, finish=True)

    def all_panels(p: Value | int, depth: int, finish: bool) -> None:
        _panels(job, lambda panel: _block(job, panel, p, depth, finish))

    if not job.plan.deep:
        _panels(job, all_blocks)
        return
    _panels(job, lambda panel: _clear(job, panel))
    is_end = job.bounds is None or job.cut is None or job.cut.along != "depth"
    _within(
        job, "depth", (last, job.k), block,
        lambda p: all_panels(p, block, False),
        lambda: all_panels(last, job.k - last, is_end),
    )  # fmt: skip


def _panels(job: _Job, body: Callable[[_Panel], None]) -> None:
    width = job.plan.vectors * job.lanes
    full = job.n // width * width

    def panel(j: Value | int, vectors: int, tail: int) -> None:
        sums = job.sums
        if job.plan.deep:
            sums = address(job.b, sums, job.kind, (j, job.m))
        body(_Panel(j, vectors, tail, sums))

    _within(
        job, "columns", (full, job.n), width,
        lambda j: panel(j, job.plan.vectors, 0),
        lambda: panel(full, -(-(job.n - full) // job.lanes), (job.n - full) % job.lanes),
    )  # fmt: skip


def _within(
    job: _Job, along: str, ends: tuple[int, int], step: int, body: Callable[[Value | int], None],
    rest: Callable[[], None],
) -> None:  # fmt: skip
    """`body` for whole steps and `rest` for what is left; only those of this part of the job."""
    is_cut = job.cut is not None and job.cut.along == along
    each_within(job.b, job.bounds if is_cut else None, ends, step, body, rest)


def _clear(job: _Job, panel: _Panel) -> None:
    fill(job.b, job.kind, job.m * panel.vectors * job.lanes, panel.sums)


def _block(job: _Job, panel: _Panel, p: Value | int, depth: int, finish: bool) -> None:
    """A panel's sums over `depth` terms from `p` on, and the epilogue where they are the last."""
    b, kind, rhs, lanes = job.b, job.kind, job.rhs, job.lanes
    source = address(b, rhs.pointer, kind, (p, rhs.row), (panel.j, rhs.column))
    stride, tail = rhs.row, panel.tail
    if job.plan.packed:
        columns = panel.vectors * lanes - (lanes - tail if tail else 0)
        short = depth if depth < lanes else 0
        pack = pack_function(b, kind, rhs.row, rhs.column, columns, panel.vectors, short)
        b.call(pack, None, [source, whole(depth), job.panel])
        source, stride, tail = job.panel, panel.vectors * lanes, 0
    tile = Tile(
        kind, job.plan.rows, panel.vectors, job.lhs.row, job.lhs.column, stride, tail, job.blocked
    )

    def rows(i: Value | int) -> None:
        left = address(b, job.lhs.pointer, kind, (i, job.lhs.row), (p, job.lhs.column))
        out = panel.sums
        if job.blocked:
            out = address(b, out, kind, (i, panel.vectors * lanes))
        function = lambda height: tile_function(b, tile._replace(rows=height))
        height = _tile(job, function, i, [left, source, whole(depth), out])
        if finish:
            _finish(job, panel, i, height, out)

    _tiles(job, rows)


def _tiles(job: _Job, body: Callable[[Value | int], None]) -> None:
    """`body` for the first row of each tile; only those of this part of the job."""
    if job.bounds is not None and job.cut is not None and job.cut.along == "rows":
        job.b.loop(*job.bounds, job.plan.rows, [], lambda i, _: body(i))
    else:
        each(job.b, 0, job.m, job.plan.rows, body)


def _tile(
    job: _Job, function: Callable[[int], str], i: Value | int, arguments: list[Value]
) -> Value:
    """A call of a tile's function, or of that for what is left at the bottom; its rows."""
    b, rows = job.b, job.plan.rows

    def run(height: int) -> list[Value]:
        b.call(function(height), None, arguments)
        return [whole(height)]

    rest = job.m % rows
    if isinstance(i, int):
        return run(min(rows, job.m - i))[0]
    if rest == 0:
        return run(rows)[0]
    inside = b.icmp("sle", i, whole(job.m - rows))
    return b.branch(inside, lambda: run(rows), lambda: run(rest))[0]


def _finish(job: _Job, panel: _Panel, i: Value | int, height: Value, out: Value) -> None:
    b, type = job.b, vector_type(job.b, job.kind)

    def row(r: Value, _: list[Value]) -> None:
        held = address(b, out, job.kind, (r, panel.vectors * type.lanes))
        at = b.add(r, _value(i))
        for v in range(panel.vectors):
            _piece(job, panel, at, v, load_whole(b, type, held, v))

    b.loop(0, height, 1, [], row)


def _piece(job: _Job, panel: _Panel, i: Value, v: int, sums: Value) -> None:
    """The epilogue of one vector."""
    lanes = job.lanes
    mask = lanes_mask(panel.tail, lanes) if v == panel.vectors - 1 else None
    j = _value(panel.j)
    job.epilogue(sums, i, job.b.add(j, whole(v * lanes)) if v else j, mask)


def _value(i: Value | int) -> Value:
    return whole(i) if isinstance(i, int) else i


# ---------------------------------------------------------------- few columns


def _quads(job: _Job) -> None:
    """One panel, in which each vector has four terms of several columns."""
    b, kind, n, k = job.b, job.kind, job.n, job.k
    b.call(pack_quads(b, kind, job.rhs.row, n, k), None, [job.rhs.pointer, job.panel])
    panel = _Panel(0, 1, n, job.sums)

    def rows(i: Value | int) -> None:
        left = address(b, job.lhs.pointer, kind, (i, job.lhs.row))
        function = lambda height: quads_function(b, kind, height, n, k, job.lhs.row)
        height = _tile(job, function, i, [left, job.panel, job.sums])
        _finish(job, panel, i, height, job.sums)

    _tiles(job, rows)


# ---------------------------------------------------------------- short contracted dimension


def _shallow(job: _Job) -> None:
    """Few terms: stores are the work, so sums go from registers to the epilogue."""
    height = job.plan.rows
    full = job.m // height * height

    def rows_of(panel: _Panel) -> None:
        _within(
            job, "rows", (full, job.m), height,
            lambda i: _shallow_tile(job, panel, i, height),
            lambda: _shallow_tile(job, panel, full, job.m - full),
        )  # fmt: skip

    _panels(job, rows_of)


def _shallow_tile(job: _Job, panel: _Panel, i: Value | int, height: int) -> None:
    b, kind = job.b, job.kind
    tile = Tile(kind, height, panel.vectors, job.lhs.row, job.lhs.column, job.rhs.row, panel.tail)
    left = address(b, job.lhs.pointer, kind, (i, job.lhs.row))
    right = address(b, job.rhs.pointer, kind, (panel.j, job.rhs.column))
    zeros = [b.const(0, vector_type(b, kind))] * (height * panel.vectors)
    sums = tile_sums(b, tile, left, right, job.k, zeros)
    for n, x in enumerate(sums):
        row, v = divmod(n, panel.vectors)
        _piece(job, panel, b.add(_value(i), whole(row)), v, x)


# ---------------------------------------------------------------- a row times a large matrix


def _streamed(job: _Job) -> None:
    """Some rows of the matrix at a time from end to end, as memory likes it; sums wait in cache."""
    b, lanes = job.b, job.lanes
    last = job.k // STREAMED_ROWS * STREAMED_ROWS
    size = -(-job.n // lanes) * lanes
    _along(job, lambda j, mask: _start(job, j))
    several, length = job, STREAMED_ROWS * BLOCK
    if last > length:  # sums of blocks, which lose fewer digits
        several = job._replace(sums=address(b, job.sums, job.kind, (size, 1)))
        _along(job, lambda j, mask: _start(several, j))

    def some(first: Value | int, end: Value | int) -> None:
        b.loop(first, end, STREAMED_ROWS, [], lambda p, _: _stream(several, p, STREAMED_ROWS))

    def block(p: Value, _: list[Value]) -> None:
        some(p, end_of(b, p, length, last))
        _along(job, lambda j, mask: _moved(several, job, j))

    if last > length:
        b.loop(0, last, length, [], block)
    elif last:
        some(0, last)
    if last < job.k:
        _stream(job, last, job.k - last)
    zero, type = whole(0), vector_type(b, job.kind)
    _along(
        job,
        lambda j, mask: job.epilogue(
            b.load(address(b, job.sums, job.kind, (j, 1)), type), zero, _value(j), mask
        ),
    )


def _start(job: _Job, j: Value | int) -> None:
    """A vector of sums that are zero."""
    zero = job.b.const(0, vector_type(job.b, job.kind))
    job.b.store(zero, address(job.b, job.sums, job.kind, (j, 1)))


def _moved(source: _Job, job: _Job, j: Value | int) -> None:
    """Adds a vector of sums of a block to those of all, and begins again from zero."""
    b, type = job.b, vector_type(job.b, job.kind)
    partial, total = (address(b, x.sums, job.kind, (j, 1)) for x in (source, job))
    b.store(plus(b, b.load(total, type), b.load(partial, type)), total)
    _start(source, j)


def _along(job: _Job, body: Callable[[Value | int, Value | None], None]) -> None:
    """All columns by vectors."""
    lanes = job.lanes
    full = job.n // lanes * lanes
    _within(
        job, "columns", (full, job.n), lanes,
        lambda j: body(j, None), lambda: body(full, lanes_mask(job.n - full, lanes)),
    )  # fmt: skip


def _stream(job: _Job, p: Value | int, count: int) -> None:
    """Adds `count` rows of the matrix, times their numbers, to the sums."""
    b, kind, rhs, type = job.b, job.kind, job.rhs, vector_type(job.b, job.kind)
    left = address(b, job.lhs.pointer, kind, (p, job.lhs.column))
    numbers = [
        b.load(address(b, left, kind, (c, job.lhs.column)), Type(kind)) for c in range(count)
    ]
    factors = [b.splat(x, type.lanes) for x in numbers]
    first = address(b, rhs.pointer, kind, (p, rhs.row))

    def add(j: Value | int, mask: Value | None) -> None:
        held = address(b, job.sums, kind, (j, 1))
        at, x = address(b, first, kind, (j, 1)), b.const(0, type)
        for c, factor in enumerate(factors):
            row = b.load(address(b, at, kind, (c, rhs.row)), type, mask)
            x = multiply_add(b, factor, row, x)
        b.store(plus(b, b.load(held, type), x), held)

    _along(job, add)


# ---------------------------------------------------------------- few rows, contiguous columns


def _dots(job: _Job) -> None:
    """A vector of dot products at a time, each along the contracted dimension."""
    lanes = job.lanes
    full = job.n // lanes * lanes
    _within(
        job, "columns", (full, job.n), lanes,
        lambda j: _dots_of_columns(job, j, lanes),
        lambda: _dots_of_columns(job, full, job.n - full),
    )  # fmt: skip


def _dots_of_columns(job: _Job, j: Value | int, count: int) -> None:
    b, kind = job.b, job.kind
    columns = address(b, job.rhs.pointer, kind, (j, job.rhs.column))

    def row(i: Value | int) -> None:
        left = address(b, job.lhs.pointer, kind, (i, job.lhs.row))
        found = b.call(_dot_function(job, count), vector_type(b, kind), [left, columns])
        job.epilogue(found, _value(i), _value(j), lanes_mask(count, job.lanes))

    each(b, 0, job.m, 1, row)


def _dot_function(job: _Job, count: int) -> str:
    """A function of (lhs, rhs): the dot products of one row with `count` columns."""
    kind, k, stride = job.kind, job.k, job.rhs.column
    name = f"dots_{kind}_{k}_{stride}_{count}".replace("-", "n")
    type = vector_type(job.b, kind)

    def write(b: Builder, left: Value, right: Value) -> Value:
        def step(mask: Value | None, p: Value, sums: list[Value]) -> list[Value]:
            x = b.load(address(b, left, kind, (p, 1)), type, mask)
            at = address(b, right, kind, (p, 1))
            columns = [address(b, at, kind, (c, stride)) for c in range(count)]
            return [multiply_add(b, x, b.load(c, type, mask), s) for c, s in zip(columns, sums)]

        full = k // type.lanes * type.lanes
        sums = [b.const(0, type)] * count
        some = lambda first, last, held: b.loop(
            first, last, type.lanes, held, functools.partial(step, None)
        )
        add = lambda one, other: [plus(b, x, y) for x, y in zip(one, other)]
        sums = in_blocks(b, full, type.lanes, sums, some, (add, sums))
        if full < k:
            sums = step(lanes_mask(k - full, type.lanes), whole(full), sums)
        return _sums_of_lanes(b, sums, type)

    return job.b.module.function(name, [PTR, PTR], type, write)


def _sums_of_lanes(b: Builder, rows: list[Value], type: Type) -> Value:
    """A vector of the sums over the lanes of each of up to `lanes` vectors."""
    columns = transposed(b, rows + [b.const(0, type)] * (type.lanes - len(rows)))
    while len(columns) > 1:
        columns = [plus(b, x, y) for x, y in zip(columns[::2], columns[1::2])]
    return columns[0]


FORMS = {
    "streamed": _streamed, "tiles": _tiled, "shallow": _shallow, "dots": _dots, "quads": _quads,
}  # fmt: skip
