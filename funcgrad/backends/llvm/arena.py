"""Where each value of a program lies: with the caller, in an array of its own, or in the arena.

The arena is one piece of memory for a call. Values that are not alive at the same time share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from funcgrad.backends.llvm.recipe import Slot
from funcgrad.compiler.fusion import Unit
from funcgrad.compiler.graph import bytes_of
from funcgrad.core.jaxpr import Var

ALIGNMENT = 64
SLACK = 64  # bytes behind every value, which a vector load may touch


class Layout:
    """Variables in `own` have an entry each, from 1 on.

    What only kernels use lies in the arena, and so does the scratch memory of each unit.
    """

    def __init__(
        self, units: Sequence[Unit], stored: set[Var], own: Sequence[Var],
        scratch_of: Callable[[Unit], int],
    ) -> None:  # fmt: skip
        self.slots: dict[Var, Slot] = {}
        for v in dict.fromkeys(own):
            self.slots[v] = Slot(len(self.slots) + 1)
        self.entries = len(self.slots) + 1
        self.scratch: dict[Unit, int] = dict.fromkeys(units, 0)
        self.bytes = self._plan(units, stored, {u: scratch_of(u) for u in units})
        for unit in units:  # arrays without elements, which nobody makes, are anywhere
            for v in unit.sources:
                if 0 in v.aval.shape:
                    self.slots.setdefault(v, Slot(0))

    def _plan(self, units: Sequence[Unit], stored: set[Var], scratch: dict[Unit, int]) -> int:
        """Offsets: the first gap that is free for the value's life, the largest values first."""
        first, last = self._lives(units, stored)
        wanted = [(bytes_of(v), first[v], last[v], v) for v in first]
        wanted += [(size, n, n, u) for n, u in enumerate(units) if (size := scratch[u])]  # type: ignore[misc]
        placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
        total = 0
        for size, begin, end, what in sorted(wanted, key=lambda w: (-w[0], w[1])):
            size = -(-(size + SLACK) // ALIGNMENT) * ALIGNMENT
            alive = sorted(p for p in placed if p[2] <= end and begin <= p[3])
            offset = 0
            for low, high, _, _ in alive:
                if offset + size <= low:
                    break
                offset = max(offset, high)
            placed.append((offset, offset + size, begin, end))
            if isinstance(what, Unit):
                self.scratch[what] = offset
            else:
                self.slots[what] = Slot(0, offset)
            total = max(total, offset + size)
        return total

    def _lives(
        self, units: Sequence[Unit], stored: set[Var]
    ) -> tuple[dict[Var, int], dict[Var, int]]:
        """For what lies in the arena, the first and the last unit that uses it."""
        first: dict[Var, int] = {}
        last: dict[Var, int] = {}
        for n, unit in enumerate(units):
            for v in unit.results():
                if v in stored and v not in self.slots:
                    first[v] = last[v] = n
            for v in unit.sources:
                if v in first:
                    last[v] = n
        return first, last
