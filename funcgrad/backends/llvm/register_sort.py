"""Sorting what lies in registers: integers in a few vectors, by networks of exchanges.

The lanes are sorted side by side, as columns (Batcher 1968, "Sorting networks and their
applications"), then merged two and two: the second column backwards makes a sequence that rises and
falls, which is sorted by halves. Most exchanges are between whole vectors; only the first few of a
merge cross lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.sorting import network


def sorted_registers(b: Builder, xs: Sequence[Value]) -> list[Value]:
    """All numbers of some vectors (a power of two of them), ascending, vector by vector."""
    found, lanes = list(xs), xs[0].type.lanes
    for i, j in network(len(found)):
        found[i], found[j] = _exchanged(b, found[i], found[j])
    group = 2
    while group <= lanes:
        found = _merged(b, found, group)
        group *= 2
    return _as_rows(b, found)


def _exchanged(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    return b.intrinsic("smin", x, y), b.intrinsic("smax", x, y)


def _merged(b: Builder, xs: list[Value], group: int) -> list[Value]:
    """Columns, of which each half of `group` lanes is sorted, with all lanes of each sorted."""
    count, lanes = len(xs), xs[0].type.lanes
    mirror = [i ^ (group - 1) for i in range(lanes)]
    found = [_across(b, xs[v], xs[count - 1 - v], mirror, group // 2) for v in range(count)]
    distance = group // 4
    while distance:
        order = [i ^ distance for i in range(lanes)]
        found = [_across(b, x, x, order, distance) for x in found]
        distance //= 2
    distance = count // 2
    while distance:
        for v in range(count):
            if not v & distance:
                found[v], found[v + distance] = _exchanged(b, found[v], found[v + distance])
        distance //= 2
    return found


def _across(b: Builder, x: Value, y: Value, order: Sequence[int], distance: int) -> Value:
    """Lanes of x against those of y in another order: the smaller one where the bit `distance` of
    the lane is not set, the larger one where it is.
    """
    lanes = x.type.lanes
    low, high = _exchanged(b, x, b.shuffle(y, y, order))
    return b.shuffle(low, high, [i + lanes * bool(i & distance) for i in range(lanes)])


def _as_rows(b: Builder, xs: list[Value]) -> list[Value]:
    """Columns become rows: as many rounds of interleaving as the number of vectors has bits."""
    count, lanes = len(xs), xs[0].type.lanes
    if lanes == 1:
        return xs
    low = [i // 2 + lanes * (i % 2) for i in range(lanes)]
    high = [i + lanes // 2 for i in low]
    rounds = count.bit_length() - 1
    for _ in range(rounds):
        pairs = [(xs[v], xs[v + count // 2]) for v in range(count // 2)]
        xs = [b.shuffle(x, y, order) for x, y in pairs for order in (low, high)]
    return xs
