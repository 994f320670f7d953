"""Where each value of a program lies: with the caller, in an array of its own, or in the arena.

The arena is one piece of memory for a call. Values that are not alive at the same time share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from funcgrad.compiler.fusion import Fusion, Unit
from funcgrad.compiler.graph import bytes_of, variables
from funcgrad.core.jaxpr import Var

ALIGNMENT = 64
SLACK = 64  # bytes behind every value, which a vector load may touch


class Slot(NamedTuple):
    """An entry of the table of addresses, and an offset in bytes from there."""

    entry: int
    offset: int = 0


class Layout:
    """Entry 0 is the arena; then come inputs, outputs, and results of steps outside."""

    def __init__(self, fusion: Fusion, donated: Sequence[bool]) -> None:
        jaxpr = fusion.jaxpr
        self.slots: dict[Var, Slot] = {}
        self.entries = 1
        for v in jaxpr.inputs:
            self._own_entry(v)
        self.outputs = [v for v in variables(jaxpr.outputs) if v not in self.slots]
        made_outside = {o for u in fusion.units if u.eqn is not None for o in u.eqn.outs}
        self.allocated = [v for v in self.outputs if v not in made_outside]
        for v in self.outputs:
            self._own_entry(v)
        for v in made_outside:
            if v not in self.slots:
                self._own_entry(v)
        self.arena_bytes = self._plan(fusion.units, fusion.stored)
        self.scratch = 0  # bytes behind all values, for whichever kernel runs

    @property
    def scratch_slot(self) -> Slot:
        return Slot(0, self.arena_bytes)

    def _own_entry(self, v: Var) -> None:
        self.slots[v] = Slot(self.entries)
        self.entries += 1

    def _plan(self, units: Sequence[Unit], stored: set[Var]) -> int:
        """Offsets of what only kernels write: the first gap that is free for the value's life."""
        first: dict[Var, int] = {}
        last: dict[Var, int] = {}
        for n, unit in enumerate(units):
            for root in unit.roots:
                if root.var in stored and root.var not in self.slots:
                    first[root.var] = last[root.var] = n
            for v in unit.sources:
                if v in first:
                    last[v] = n
        placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
        total = 0
        for v in sorted(first, key=lambda v: (-bytes_of(v), first[v])):
            size = -(-(bytes_of(v) + SLACK) // ALIGNMENT) * ALIGNMENT
            alive = sorted(p for p in placed if p[2] <= last[v] and first[v] <= p[3])
            offset = 0
            for begin, end, _, _ in alive:
                if offset + size <= begin:
                    break
                offset = max(offset, end)
            placed.append((offset, offset + size, first[v], last[v]))
            self.slots[v] = Slot(0, offset)
            total = max(total, offset + size)
        return total


def describe(layout: Layout, names: Any) -> list[str]:
    """One line for each value."""
    return [f"{names(v)}: {slot}" for v, slot in layout.slots.items()]
