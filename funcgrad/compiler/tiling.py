"""Transposes in tiles: where neighbours in memory lie along different loops for what is read and
what is written, both loops are walked in small steps, so that every line of the cache that is
fetched is used up.
"""

from __future__ import annotations

from typing import Any

from funcgrad.compiler.affine import Loop, Sum
from funcgrad.compiler.kernel import Kernel, Load, Position, Ref, Statement, Store
from funcgrad.compiler.schedule import vector_loops

TILE = 16  # turns of the loop that what is read follows
SMALLEST = 1 << 12  # elements; what is smaller lies in cache anyway


def tiled(kernel: Kernel) -> Kernel:
    """The kernel with the loop that its reads follow cut into tiles, the lower digit innermost."""
    across = _across(kernel)
    if across is None:
        return kernel
    width = max(n for n in range(1, TILE + 1) if across.extent % n == 0)
    if width < TILE // 4 or width == across.extent:
        return kernel
    return _cut(kernel, across, width)


def _across(kernel: Kernel) -> Loop | None:
    """The row loop along which something is read neighbour by neighbour, while lanes run along
    another.
    """
    plain = len(kernel.stages) == 1 and not kernel.stages[0].loops and kernel.tile is None
    if not plain or len(kernel.rows) < 2 or not _only_maps(kernel):
        return None
    (vector,) = vector_loops(kernel).values()
    if vector is None or vector not in kernel.rows:
        return None
    for s in kernel.stages[0].statements:
        if isinstance(s, Load) and s.index.coefficient(vector) not in (0, 1):
            found = [v for v in kernel.rows if v is not vector and s.index.coefficient(v) == 1]
            if found and s.buffer.size >= SMALLEST:
                return found[0]
    return None


def _only_maps(kernel: Kernel) -> bool:
    statements = kernel.stages[0].statements
    return not kernel.stages[0].reductions and all(
        not isinstance(s, Store) or all(isinstance(v, Loop) for v, _ in s.index.terms)
        for s in statements
        if hasattr(s, "ref") or isinstance(s, Store)
    )


def _cut(kernel: Kernel, loop: Loop, width: int) -> Kernel:
    """The loop in two digits; the higher one comes first of all, the lower one last."""
    high = Loop(loop.extent // width, f"{loop.group}{loop.place}h", 0)
    low = Loop(width, f"{loop.group}{loop.place}l", 0)
    rows = [high, *(v for v in kernel.rows if v is not loop), low]
    for s in kernel.stages[0].statements:
        _replace(s, loop, high, low, width)
    kernel.rows = rows
    return kernel


def _replace(s: Statement, loop: Loop, high: Loop, low: Loop, width: int) -> None:
    ref: Ref | None = getattr(s, "ref", None)
    if ref is not None and loop in ref.loops:
        ref.loops = (ref.loops - {loop}) | {high, low}
    if isinstance(s, (Load, Store, Position)):
        s.index = _substituted(s.index, loop, high, low, width)


def _substituted(index: Sum, loop: Loop, high: Loop, low: Loop, width: int) -> Sum:
    step = index.coefficient(loop)
    if not step:
        return index
    terms: list[tuple[Any, int]] = [(v, c) for v, c in index.terms if v is not loop]
    return Sum(index.constant, (*terms, (high, step * width), (low, step)))
