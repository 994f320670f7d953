"""Which results may take the memory of an input that nobody needs afterwards.

An element may be overwritten once all that read it have done so. In a kernel that is arithmetic on
positions: whoever reads the old array reads the element that is written next, or stands in an
earlier stage of the same row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from funcgrad.compiler.affine import Sum
from funcgrad.compiler.fusion import Unit
from funcgrad.compiler.graph import bytes_of
from funcgrad.compiler.kernel import Accumulate, Buffer, Kernel, Load, Ref, Store
from funcgrad.core.jaxpr import Var


def shared_memory(
    units: Sequence[Unit], kernels: dict[Unit, Kernel], given: Sequence[Var], made: Sequence[Var],
) -> dict[Var, Var]:  # fmt: skip
    """For results in `made`, the input of `given` whose memory each one takes."""
    maker = {v: n for n, u in enumerate(units) for v in u.results()}
    last = {v: n for n, u in enumerate(units) for v in u.sources}
    free = list(dict.fromkeys(given))
    found: dict[Var, Var] = {}
    for out in sorted((v for v in made if v in maker), key=maker.__getitem__):
        unit = units[maker[out]]
        fitting = [v for v in free if _alike(v, out) and last.get(v, -1) <= maker[out]]
        # One that the unit reads is in the cache already.
        for v in sorted(fitting, key=lambda v: last.get(v, -1) != maker[out]):
            if last.get(v, -1) < maker[out] or _overwrites(kernels.get(unit), v, out):
                found[out] = v
                free.remove(v)
                break
    return found


def _alike(v: Var, out: Var) -> bool:
    return bytes_of(v) == bytes_of(out) and v.aval.dtype == out.aval.dtype


def _overwrites(kernel: Kernel | None, old: Var, new: Var) -> bool:
    """May the kernel write its result where it reads an operand?"""
    if kernel is None:
        return False
    buffers = {b.key: b for b in kernel.buffers if not b.local}
    if kernel.tile is not None and buffers[old] in kernel.tile.operands:
        return False
    stores = _stores(kernel, buffers[new])
    if len(stores) != 1:
        return _updates_in_place(kernel, buffers[old], buffers[new])
    ((at, place, index),) = stores
    for number, stage in enumerate(kernel.stages):
        for turn, s in enumerate(stage.statements):
            if isinstance(s, Load) and s.buffer is buffers[old]:
                same = s.index == index and number == at and turn < place
                if not (same or (number < at and _in_row(kernel, s.index, buffers[old]))):
                    return False
    return True


def _stores(kernel: Kernel, buffer: Buffer) -> list[tuple[int, int, Sum]]:
    """Where a buffer is written: the numbers of the stage and the statement, and the index; nothing
    if by sums.
    """
    found: list[tuple[int, int, Sum]] = []
    for number, stage in enumerate(kernel.stages):
        last = len(stage.statements)
        for turn, s in enumerate(stage.statements):
            if isinstance(s, Accumulate) and s.buffer is buffer:
                return []
            if isinstance(s, Store) and s.buffer is buffer:
                found.append((number, turn, s.index))
        for r in stage.reductions:
            if r.buffer is buffer and r.index is not None:
                found.append((number, last, r.index))
    return found


def _in_row(kernel: Kernel, index: Sum, buffer: Buffer) -> bool:
    """Does each row read its own part of the buffer only?"""
    rows = math.prod(loop.extent for loop in kernel.rows)
    own, rest = divmod(buffer.size, rows)
    if rest or any(isinstance(v, Ref) for v, _ in index.terms):
        return False
    step = own
    for loop in reversed(kernel.rows):
        if index.coefficient(loop) != step:
            return False
        step *= loop.extent
    inner = Sum(index.constant, tuple((v, c) for v, c in index.terms if v not in kernel.rows))
    low, high = inner.span()
    return low >= 0 and high < own


def _updates_in_place(kernel: Kernel, old: Buffer, new: Buffer) -> bool:
    """Is it a copy of the old array with updates, which read nothing of it?"""
    if len(kernel.stages) != 2 or kernel.rows:
        return False
    copied, updated = kernel.stages
    writes = [s for s in copied.statements if isinstance(s, Store)]
    reads = [s for s in copied.statements if isinstance(s, Load)]
    plain = len(copied.statements) == 2 and len(writes) == len(reads) == 1
    if not plain or reads[0].buffer is not old or writes[0].buffer is not new:
        return False
    later = [s for s in updated.statements if isinstance(s, Load) and s.buffer is old]
    # A single update reads all that it needs before it writes.
    return reads[0].index == writes[0].index and not (later and updated.loops)


def without_copy(kernel: Kernel, shared: Any) -> Kernel:
    """The kernel without a stage that copies an array onto itself."""
    if not kernel.stages or len(kernel.stages) < 2:
        return kernel
    statements = kernel.stages[0].statements
    if len(statements) != 2 or kernel.rows:
        return kernel
    read, write = statements
    onto_itself = (
        isinstance(read, Load)
        and isinstance(write, Store)
        and read.index == write.index
        and shared.get(write.buffer.key) is read.buffer.key
    )
    if not onto_itself:
        return kernel
    return Kernel([], kernel.stages[1:], kernel.buffers, kernel.written, updates=True)
