"""Greedy colourings of sparsity patterns: which columns of a Jacobian or Hessian one product can
compute together.

Sets of colours are bits of integers. Orders tried are the natural one, which is best for bands,
and by falling degree; the better result is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def column_colors(pattern: Any) -> np.ndarray:
    """A colour for each column such that no two of one colour have an entry in the same row.

    `pattern` is a scipy.sparse matrix. Rows are coloured by giving its transpose.
    """
    by_column = pattern.tocsc()
    starts, members = by_column.indptr.tolist(), by_column.indices.tolist()
    columns = [members[a:b] for a, b in zip(starts, starts[1:])]
    return _best(columns, lambda order: _greedy_columns(columns, pattern.shape[0], order))


def _best(
    neighbors: Sequence[Sequence[int]], coloring: Callable[[Sequence[int]], list[int]]
) -> np.ndarray:
    natural = range(len(neighbors))
    falling = sorted(natural, key=lambda v: -len(neighbors[v]))
    found = [coloring(order) for order in (natural, falling)]
    return np.array(min(found, key=lambda colors: max(colors, default=-1)), dtype=np.int64)


def lowest_free(taken: int) -> int:
    """The smallest colour whose bit is not set."""
    return (~taken & (taken + 1)).bit_length() - 1


def _greedy_columns(columns: Sequence[Sequence[int]], rows: int, order: Sequence[int]) -> list[int]:
    used, colors = [0] * rows, [0] * len(columns)
    for v in order:
        taken = 0
        for i in columns[v]:
            taken |= used[i]
        colors[v] = lowest_free(taken)
        bit = 1 << colors[v]
        for i in columns[v]:
            used[i] |= bit
    return colors


def star_colors(pattern: Any) -> np.ndarray:
    """A star colouring of a symmetric pattern: neighbours differ, and every path of four vertices
    has three colours.

    Each entry (i, j) can then be read from one product: i is the only neighbour of j of its colour,
    or j the only one of i. Greedy algorithm after Gebremedhin, Tarafdar, Manne and Pothen, "New
    acyclic and star coloring algorithms" (2007).
    """
    whole = pattern.tocsr()
    starts, members = whole.indptr.tolist(), whole.indices.tolist()
    neighbors = [
        [w for w in members[a:b] if w != v] for v, (a, b) in enumerate(zip(starts, starts[1:]))
    ]
    return _best(neighbors, lambda order: _StarColoring(neighbors).run(order))


class _StarColoring:
    """One greedy run.

    `around[w]` holds the colours of the neighbours of w; `closed[w]` those that a further neighbour
    of w cannot have, because some x beside w of that colour has a second neighbour coloured as w.
    """

    def __init__(self, neighbors: Sequence[Sequence[int]]) -> None:
        self.neighbors = neighbors
        self.colors = [-1] * len(neighbors)
        self.around = [0] * len(neighbors)
        self.closed = [0] * len(neighbors)
        self.by_color: list[dict[int, list[int]]] = [{} for _ in neighbors]

    def run(self, order: Sequence[int]) -> list[int]:
        for v in order:
            taken = 0
            for w in self.neighbors[v]:
                color = self.colors[w]
                taken |= self.around[w] if color < 0 else (1 << color) | self.closed[w]
            self._color(v, lowest_free(taken))
        return self.colors

    def _color(self, v: int, color: int) -> None:
        self.colors[v] = color
        bit = 1 << color
        for x in self.neighbors[v]:
            self.around[x] |= bit
            same = self.by_color[x].setdefault(color, [])
            same.append(v)
            if len(same) > 1 and self.colors[x] >= 0:
                for w in same if len(same) == 2 else (v,):
                    self.closed[w] |= 1 << self.colors[x]
        for same in self.by_color[v].values():
            if len(same) > 1:
                for w in same:
                    self.closed[w] |= bit
