"""Long bodies of loops in pieces.

A processor looks a few hundred instructions ahead. Where the body of a loop is a chain of so many,
the next vectors wait until this one is through. Pieces of the body, each run for a strip of vectors
before the next piece, have short chains: vectors overlap again. What a later piece needs is kept in
memory, a strip of it, which stays in the first cache.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import Builder, Type, Value
from funcgrad.backends.llvm.long_sums import end_of
from funcgrad.compiler.graph import COSTS
from funcgrad.compiler.kernel import Accumulate, Compute, Load, Ref, Statement, Store

STRIP = 16  # vectors: enough to overlap, few enough for the first cache
FEWEST = 4  # vectors that are worth it
AHEAD = 30  # instructions that overlap well with those of other vectors
MOST = 4 * AHEAD  # instructions of a piece
CROSSING = 4  # instructions for each value that is kept for a later piece


class Piece(NamedTuple):
    """Some statements of a body, the values from earlier pieces that they need, and those of their
    own that later pieces need.
    """

    statements: Sequence[Statement]
    needed: list[Ref]
    kept: list[Ref]


def pieces(statements: Sequence[Statement], results: Sequence[Ref] = ()) -> list[Piece]:
    """The body of a loop in pieces, in order; none if there is nothing to gain. `results` are
    needed at its end.
    """
    if weight(statements) <= AHEAD or _has_scatter(statements):
        return []
    cuts = _best_cuts([_weight(s) for s in statements], _crossings(statements, results))
    parts = [statements[i:j] for i, j in itertools.pairwise([0, *cuts, len(statements)])]
    return _pieces(parts, results) if cuts else []


def weight(statements: Sequence[Statement]) -> int:
    """About how many instructions they become."""
    return sum(map(_weight, statements))


def _weight(s: Statement) -> int:
    if not isinstance(s, Compute):
        return 1
    cost = COSTS.get(s.name, 1)
    return cost if cost < 8 else 2 * cost  # functions are counted more cheaply for fusion


def _has_scatter(statements: Sequence[Statement]) -> bool:
    """Do turns write to places that values name? Then their order may matter."""
    return any(
        isinstance(s, (Store, Accumulate)) and any(isinstance(v, Ref) for v, _ in s.index.terms)
        for s in statements
    )


def _best_cuts(weights: list[int], crossings: list[int]) -> list[int]:
    """Where to cut so that the time is least: that of a piece grows with the square of its length,
    since so much less of it overlaps.
    """
    total = [0, *itertools.accumulate(weights)]
    best: list[tuple[float, int]] = [(0.0, 0)]  # up to each statement: the time, the cut before
    first = 0
    for end in range(1, len(total)):
        while first < end - 1 and total[end] - total[first] > MOST:
            first += 1
        options = (
            (
                best[start][0]
                + (total[end] - total[start]) ** 2 / AHEAD
                + (CROSSING * crossings[start] if start else 0),
                start,
            )
            for start in range(first, end)
        )
        best.append(min(options))
    cuts, at = [], best[-1][1]
    while at:
        cuts.append(at)
        at = best[at][1]
    return cuts[::-1]


def _crossings(statements: Sequence[Statement], results: Sequence[Ref]) -> list[int]:
    """For each place between statements, how many values are made before and used after it."""
    last_use: dict[Ref, int] = {}
    for place, s in enumerate(statements):
        last_use.update(dict.fromkeys(uses(s), place))
    last_use.update(dict.fromkeys(results, len(statements)))
    change = [0] * (len(statements) + 2)
    for place, s in enumerate(statements):
        made = made_by(s)
        if made is not None and last_use.get(made, place) > place:
            change[place + 1] += 1
            change[last_use[made] + 1] -= 1
    return list(itertools.accumulate(change))


def _pieces(parts: list[Sequence[Statement]], results: Sequence[Ref]) -> list[Piece]:
    reads = [dict.fromkeys(v for s in part for v in uses(s)) for part in parts]
    reads[-1].update(dict.fromkeys(results))
    last_read = {v: number for number, read in enumerate(reads) for v in read}
    found: list[Piece] = []
    before: set[Ref] = set()
    for number, (part, read) in enumerate(zip(parts, reads)):
        made = [v for s in part if (v := made_by(s)) is not None]
        kept = [v for v in made if last_read.get(v, number) > number]
        found.append(Piece(part, [v for v in read if v in before], kept))
        before.update(made)
    return found


def made_by(s: Statement) -> Ref | None:
    """The value that a statement binds."""
    return None if isinstance(s, (Store, Accumulate)) else s.ref


def uses(s: Statement) -> list[Ref]:
    """The values that a statement reads, those in indices included."""
    if isinstance(s, Compute):
        return [a for a in s.args if isinstance(a, Ref)]
    found = [v for v, _ in s.index.terms if isinstance(v, Ref)]
    if isinstance(s, (Load, Store, Accumulate)) and s.guard is not None:
        found.append(s.guard)
    if isinstance(s, (Store, Accumulate)) and isinstance(s.value, Ref):
        found.append(s.value)
    return found


@dataclass(eq=False, repr=False)
class Kept:
    """Values of a strip, in memory on the stack."""

    b: Builder
    lanes: int
    places: dict[Ref, list[tuple[Value, Type]]] = field(default_factory=dict)

    def put(self, ref: Ref, value: Any, at: Value) -> None:
        parts = memory.parts(value)
        if ref not in self.places:
            self.places[ref] = [(self._room(v.type), v.type) for v in parts]
        for part, (room, _) in zip(parts, self.places[ref]):
            stored = self.b.cast("zext", part, "i8") if part.type.kind == "i1" else part
            self.b.store(stored, self.b.element(room, at, stored.type.kind))

    def get(self, ref: Ref, at: Value) -> Any:
        return memory.joined(
            [self._read(room, type, at) for room, type in self.places[ref]], ref.dtype
        )

    def _room(self, type: Type) -> Value:
        return self.b.alloca("i8" if type.kind == "i1" else type.kind, STRIP * self.lanes)

    def _read(self, room: Value, type: Type, at: Value) -> Value:
        if type.kind != "i1":
            return self.b.load(self.b.element(room, at, type.kind), type)
        found = self.b.load(self.b.element(room, at, "i8"), type.of("i8"))
        return self.b.icmp("ne", found, self.b.const(0, found.type))


def run(
    b: Builder, parts: list[Piece], lanes: int, span: tuple[int | Value, int | Value],
    scope_at: Callable[[Value], Any], emit: Callable[[Sequence[Statement], Any], None],
    carried: list[Value], end: Callable[[Any, list[Value]], list[Value]],
) -> list[Value]:  # fmt: skip
    """Each piece for all vectors of a strip, strip by strip; `end` carries results on."""
    kept = Kept(b, lanes)
    start, stop = span

    def strip(first: Value, held: list[Value]) -> list[Value]:
        after = end_of(b, first, STRIP * lanes, stop)

        def turns(part: Piece, held: list[Value]) -> list[Value]:
            return b.loop(first, after, lanes, held, functools.partial(vector, part, first))

        for part in parts[:-1]:
            turns(part, [])
        return turns(parts[-1], held)

    def vector(part: Piece, first: Value, i: Value, held: list[Value]) -> list[Value]:
        scope, at = scope_at(i), b.sub(i, first)
        for ref in part.needed:
            scope.values[ref] = kept.get(ref, at)
        emit(part.statements, scope)
        for ref in part.kept:
            kept.put(ref, scope.values[ref], at)
        return end(scope, held) if part is parts[-1] else []

    return b.loop(start, stop, STRIP * lanes, carried, strip)
