"""Reductions to single elements, in parts: each part takes some turns of the outermost loop.

All parts but the last one have as many turns, so that loops have lengths that are known.
"""

from __future__ import annotations

from typing import Any

from funcgrad.backends.llvm.builder import I64, Value
from funcgrad.backends.llvm.emit import Emitter
from funcgrad.backends.llvm.statements import Scope
from funcgrad.compiler.affine import Loop
from funcgrad.compiler.kernel import Accumulate, Kernel, Reduction, Store


def reduced_loop(kernel: Kernel) -> Loop | None:
    """The outermost loop of a kernel that does nothing but reduce what it reads to single elements;
    None for other kernels.
    """
    if kernel.tile is not None or kernel.rows or len(kernel.stages) != 1:
        return None
    (stage,) = kernel.stages
    if not stage.reductions or not stage.loops or stage.reduced != len(stage.loops):
        return None
    writes = any(isinstance(s, (Store, Accumulate)) for s in stage.statements)
    return stage.loops[0] if not writes and all(map(_can_wait, stage.reductions)) else None


def _can_wait(r: Reduction) -> bool:
    """May partial results lie in memory? Sums of narrow floats would be rounded too often."""
    stored = r.buffer is not None and r.position is None
    return stored and (r.ref.dtype.kind not in "fV" or r.ref.dtype.itemsize >= 4)


class PartEmitter(Emitter):
    """Writes a kernel that has a `reduced_loop`, for those of its turns that are in bounds."""

    def _loop(
        self, loop: Loop, scope: Scope, carried: list[Value], body: Any, statements: int,
        join: Any = None, in_parts: bool = False, extent: int | None = None,
    ) -> list[Value]:  # fmt: skip
        if loop is not self.kernel.stages[0].loops[0]:
            return super()._loop(loop, scope, carried, body, statements, join, in_parts, extent)
        assert self.bounds is not None
        b, (begin, _) = self.b, self.bounds

        def turn(inner: Scope, held: list[Value]) -> list[Value]:
            inner.loops[loop] = b.add(begin, inner.loops[loop])
            return body(inner, held)

        def turns(count: int) -> list[Value]:
            return super(PartEmitter, self)._loop(
                loop, scope, carried, turn, statements, join, in_parts, count
            )

        last = (loop.extent - 1) // self.grain * self.grain
        if loop.extent - last == self.grain:
            return turns(self.grain)
        is_last = b.icmp("eq", begin, b.const(last, I64))
        return b.branch(is_last, lambda: turns(loop.extent - last), lambda: turns(self.grain))
