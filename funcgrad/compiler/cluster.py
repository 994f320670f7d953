"""Which equations become one kernel: chains of maps over one shape, by their loop forms alone.

A kernel's equations run together over one part of the arrays at a time, so that what passes between
them never leaves the cache. Clusters grow greedily in program order. One is closed, and runs, as
soon as somebody outside reads from it; so no path leads out of a cluster and back in, and the order
of the program's units stays valid by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from funcgrad.core.jaxpr import Eqn, Var

LARGEST = 400  # equations in one cluster, so that compilation stays linear


class Cluster:
    """Equations that run together. `shape` is that of every result."""

    __slots__ = ("shape", "eqns", "closed")

    def __init__(self, shape: tuple[Any, ...]) -> None:
        self.shape = shape
        self.eqns: list[Eqn] = []
        self.closed = False

    def absorb(self, other: Cluster) -> None:
        """Takes over another cluster's equations. Both are open, so neither reads from the
        other.
        """
        self.eqns += other.eqns


Unit = Sequence[Eqn]


def clusters(eqns: Sequence[Eqn], joins: Callable[[Eqn], bool], smallest: int) -> list[Unit]:
    """The equations in units that run one after the other: clusters, and single equations.

    `joins(e)` says whether an equation may be part of a kernel; results of fewer than `smallest`
    bytes stay alone.
    """
    return _Clustering(joins, smallest).run(eqns)


class _Clustering:
    """One walk over the program."""

    def __init__(self, joins: Callable[[Eqn], bool], smallest: int) -> None:
        self.joins, self.smallest = joins, smallest
        self.units: list[Unit] = []
        self.home: dict[Var, Cluster] = {}
        self.taken_over: dict[Cluster, Cluster] = {}
        self.open: dict[Cluster, None] = {}

    def run(self, eqns: Sequence[Eqn]) -> list[Unit]:
        for e in eqns:
            if _is_large(e, self.smallest) and self.joins(e):
                self._join(e)
            else:
                self._close(self._read_by(e))
                self.units.append([e])
        self._close(list(self.open))
        return self.units

    def _current(self, cluster: Cluster) -> Cluster:
        while cluster in self.taken_over:
            cluster = self.taken_over[cluster]
        return cluster

    def _read_by(self, e: Eqn) -> list[Cluster]:
        """The open clusters that an equation reads from, each once."""
        homes = [self._current(self.home[a]) for a in e.args if a in self.home]  # type: ignore[index]
        return [c for c in dict.fromkeys(homes) if not c.closed]

    def _join(self, e: Eqn) -> None:
        shape = e.outs[0].aval.shape
        read = self._read_by(e)
        fitting = [c for c in read if c.shape == shape and len(c.eqns) < LARGEST]
        self._close(c for c in read if c not in fitting)
        cluster = max(fitting, key=lambda c: len(c.eqns)) if fitting else Cluster(shape)
        for other in fitting:
            if other is not cluster:
                cluster.absorb(other)
                self.taken_over[other] = cluster
                del self.open[other]
        self.open[cluster] = None
        cluster.eqns.append(e)
        self.home[e.outs[0]] = cluster

    def _close(self, finished: Iterable[Cluster]) -> None:
        """Lets clusters run here, before whoever reads from them."""
        for cluster in finished:
            cluster.closed = True
            del self.open[cluster]
            self.units.append(cluster.eqns)


def _is_large(e: Eqn, smallest: int) -> bool:
    """Does the equation read or write that many bytes in one array?"""
    if len(e.outs) != 1:
        return False
    aval = e.outs[0].aval
    if not aval.shape or not all(isinstance(n, int) for n in aval.shape):
        return False
    widest = max(a.aval.dtype.itemsize for a in (*e.args, *e.outs))
    return math.prod(aval.shape) * widest >= smallest
