"""How a matrix product is computed: its register tile, blocks and form, by a count of cycles."""

from __future__ import annotations

import functools
from typing import NamedTuple

from funcgrad.backends.llvm import quads
from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.tiles import itemsize, lanes_of

LARGEST_BLOCK = 512  # of the contracted dimension: a packed panel stays in the second cache
LARGEST_STACK = 1 << 15  # bytes of buffers that a kernel keeps to itself
FIRST_CACHE = 3 << 13  # bytes that a panel may have to be read at full speed
SECOND_CACHE = 1 << 20  # bytes that may be read again and again without packing
DEEPEST_SUMS = 1 << 18  # bytes of sums that may wait while the contracted dimension runs
SHALLOW = 16  # terms up to which stores are the work
STREAMED_ROWS = 8  # rows of a large matrix that are read side by side


class Plan(NamedTuple):
    """How a product is computed; extents in elements."""

    rows: int
    vectors: int
    block: int
    packed: bool
    form: str = (
        "tiles"  # or "quads", "dots", "streamed"; "shallow": sums go straight to the epilogue
    )
    deep: bool = False  # blocks of the contracted dimension outside panels


@functools.lru_cache(maxsize=4096)
def plan_of(
    kind: str, m: int, n: int, k: int, lhs: tuple[int, int], rhs: tuple[int, int], target: Target
) -> Plan:
    """The cheapest tile by a count of cycles: least padding, then least loads and overhead."""
    if m <= 4 and rhs[0] == 1 and lhs[1] == 1 and rhs[1] != 1:
        return Plan(1, 1, k, False, "dots")
    if m == 1 and rhs[1] == 1 and n * k * itemsize(kind) > SECOND_CACHE and k >= STREAMED_ROWS:
        return Plan(1, 1, k, False, "streamed")
    if k <= SHALLOW and rhs[1] == 1:
        return Plan(min(m, 4), 2, k, False, "shallow")
    blocks = -(-k // LARGEST_BLOCK) or 1
    lanes = lanes_of(kind, target)
    block = k if blocks == 1 else -(-k // (blocks * lanes)) * lanes
    cost, rows, vectors = best_tile(kind, m, n, k, block, lhs[0], target)
    if lhs[1] == rhs[1] == 1 and (few := few_columns(kind, m, n, k, lhs[0], target, cost)):
        return few
    reread = m > 4 * rows and block * n * itemsize(kind) > SECOND_CACHE
    packed = rhs[1] != 1 or reread
    deep = blocks > 1 and m * (n + vectors * lanes) * itemsize(kind) <= DEEPEST_SUMS
    return Plan(rows, vectors, block, packed, deep=deep)


def few_columns(
    kind: str, m: int, n: int, k: int, lhs_row: int, target: Target, cost: float
) -> Plan | None:
    """A plan for columns that fill few lanes, if it costs less."""
    lanes = lanes_of(kind, target)
    vectors = quads.vectors_of(n, lanes)
    panel = -(-k // quads.QUAD) * vectors * target.vector_bytes
    if lanes < quads.QUAD or not 1 < n <= lanes * 3 // 4 or panel > FIRST_CACHE:
        return None
    most = min(m, most_rows(vectors, target), 8 if _is_aliased(kind, lhs_row) else 16)
    rows = -(-m // -(-m // most))
    cheaper = quads.cycles(rows, m, n, k, lanes) < cost
    return Plan(rows, vectors, k, True, "quads") if cheaper else None


def _is_aliased(kind: str, lhs_row: int) -> bool:
    """Do rows that lie multiples of a page apart share one set of the first cache?"""
    return lhs_row * itemsize(kind) % 4096 == 0 and lhs_row != 0


def best_tile(
    kind: str, m: int, n: int, k: int, block: int, lhs_row: int, target: Target
) -> tuple[float, int, int]:
    """Cycles, rows and vectors of the cheapest tile."""
    lanes, aliased = lanes_of(kind, target), _is_aliased(kind, lhs_row)
    return min(
        (_cost(rows, vectors, m, n, k, block * itemsize(kind), lanes), rows, vectors)
        for vectors in (1, 2, 3, 4, 8, 16)
        for rows in range(1, most_rows(vectors, target) + 1)
        if rows <= m and vectors <= max(-(-n // lanes), 1) and (rows <= 8 or not aliased)
    )


def most_rows(vectors: int, target: Target) -> int:
    """Sums, a row of the right operand and one number of the left one are in registers at once."""
    registers = 32 if target.vector_bytes == 64 or target.is_arm else 16
    return (registers - vectors - (1 if target.fma else 2)) // vectors


def _cost(rows: int, vectors: int, m: int, n: int, k: int, column_bytes: int, lanes: int) -> float:
    """Cycles of all tiles, for two products and two loads a cycle and a latency of four.

    A panel that does not fit into the first cache is loaded at a quarter of that rate.
    """
    load = 2 if vectors * lanes * column_bytes > FIRST_CACHE else 0.5
    full_rows, last_rows = divmod(m, rows)
    full, rest = divmod(n, vectors * lanes)
    heights = [(rows, full_rows)] + [(last_rows, 1)] * (last_rows > 0)
    widths = [(vectors, full)] + [(-(-rest // lanes), 1)] * (rest > 0)
    total = sum(
        times * often * (k * max(h * w / 2, h / 2 + w * load, 4) + 30 + 2 * h * w)
        for h, times in heights
        for w, often in widths
    )
    kernels = sum(1 for _, t in heights if t) * sum(1 for _, t in widths if t)
    return total * (1 + 0.05 * kernels)


def buffers(plan: Plan, kind: str, m: int, n: int, k: int, target: Target) -> tuple[int, int]:
    """Bytes of a packed panel, and of sums: of one tile, or of rows that wait for their end."""
    if plan.form == "streamed":
        return 0, 2 * ((n + target.lanes(itemsize(kind))) * itemsize(kind) // 64 * 64 + 64)
    if plan.form == "quads":
        panel = -(-k // quads.QUAD) * plan.vectors * target.vector_bytes
        return panel, plan.rows * target.vector_bytes
    if plan.form != "tiles":
        return 0, 0
    width = plan.vectors * target.vector_bytes
    columns = width
    if plan.deep:
        columns = -(-n // (width // itemsize(kind))) * width
    rows = m if k > plan.block else plan.rows
    return plan.block * width if plan.packed else 0, rows * columns
