"""Which loop of a kernel runs over lanes.

Either one of the row loops, so that several rows run side by side, or in each stage one of its own
loops. What decides is how memory is reached: neighbouring lanes should touch neighbouring elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from funcgrad.compiler.affine import Loop, Sum
from funcgrad.compiler.kernel import Accumulate, Kernel, Load, Ref, Stage, Store


def vector_loops(kernel: Kernel) -> dict[int, Loop | None]:
    """For each stage, by number, the loop that runs over lanes; a row loop is all stages' own."""
    inner = {n: _best(stage) for n, stage in enumerate(kernel.stages)}
    row = _best_row(kernel)
    if row is None:
        return inner
    by_rows = sum(_penalty(s, row) for s in kernel.stages)
    by_stage = sum(_penalty(s, inner[n]) for n, s in enumerate(kernel.stages))
    if by_rows < by_stage:
        return dict.fromkeys(inner, row)
    return inner


def _best_row(kernel: Kernel) -> Loop | None:
    if not kernel.rows or _accumulates_by_row(kernel):
        return None
    return min(kernel.rows, key=lambda v: sum(_penalty(s, v) for s in kernel.stages))


def _accumulates_by_row(kernel: Kernel) -> bool:
    """Do rows write to the same memory, so that they cannot run side by side?"""
    locals_ = any(b.local for b in kernel.buffers)
    return locals_ or any(
        isinstance(s, Accumulate) for stage in kernel.stages for s in stage.statements
    )


def _best(stage: Stage) -> Loop | None:
    candidates = [v for v in stage.loops if v.extent > 1 and _is_free(stage, v)]
    if not candidates:
        return None
    found = min(candidates, key=lambda v: _penalty(stage, v))
    return found if _penalty(stage, found) <= _penalty(stage, None) else None


def _is_free(stage: Stage, loop: Loop) -> bool:
    """Do all turns of the loop write to different elements?"""
    for s in stage.statements:
        if not isinstance(s, (Store, Accumulate)):
            continue
        places = [v for v, _ in s.index.terms if isinstance(v, Ref)]
        if not s.index.coefficient(loop) or any(loop in v.loops for v in places):
            return False
    return True


def _penalty(stage: Stage, loop: Loop | None) -> float:
    """An estimate of the time of a stage, if this loop runs over lanes."""
    turns = math.prod(v.extent for v in stage.loops)
    if loop is None:
        return turns * (len(stage.statements) + 1)
    cost = sum(_access(index.coefficient(loop)) * weight for index, weight in _indices(stage))
    cost += 0.3 * len(stage.statements) + 1
    if stage.reduced and loop in stage.loops[len(stage.loops) - stage.reduced :]:
        cost += 8 * len(stage.reductions) * 16 / max(loop.extent, 16)
    return turns * cost * _waste(loop.extent) / 8


def _access(step: int) -> float:
    return 1 if step in (0, 1) else 8


def _waste(extent: int) -> float:
    """Lanes that stay empty."""
    lanes = 16
    return math.ceil(extent / lanes) * lanes / extent


def _indices(stage: Stage) -> Iterator[tuple[Sum, float]]:
    """Where memory is reached; scattered stores are dearer than gathered loads."""
    for s in stage.statements:
        if isinstance(s, (Load, Store, Accumulate)):
            yield s.index, 1 if isinstance(s, Load) else 1.25
    for r in stage.reductions:
        if r.index is not None:
            yield r.index, 1.25
