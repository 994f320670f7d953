"""Data sets: anything with a length, indexed by row; here those over arrays.

A data set may have `take(indices)`, which gathers many rows at once; the loader then never touches
single rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import funcgrad as fg


class ArrayDataset:
    """Rows of arrays with equal first sizes, kept as they are: NumPy arrays are not copied.

    `ArrayDataset(x)` yields rows of x, `ArrayDataset(x, y)` pairs; each argument may be a tree of
    arrays, such as a dictionary. Raises `ValueError` when the lengths differ.

    >>> import numpy as np
    >>> rows = ArrayDataset(np.arange(6.0).reshape(3, 2), np.array([7, 8, 9]))
    >>> len(rows), rows[1][1].item()
    (3, 8)
    """

    def __init__(self, *arrays: Any):
        if not arrays:
            raise ValueError("ArrayDataset: needs at least one array.")
        whole = arrays[0] if len(arrays) == 1 else arrays
        self.arrays = fg.tree.map(np.asarray, whole)
        self.length = _common_length(fg.tree.leaves(self.arrays))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index):
        return self.take(index)

    def take(self, indices):
        """The rows at `indices` (an integer, a slice or an array), in the structure of the set."""
        return fg.tree.map(lambda array: array[indices], self.arrays)


def _common_length(leaves: Sequence[np.ndarray]) -> int:
    shapes = [leaf.shape for leaf in leaves]
    if not shapes or any(len(shape) == 0 for shape in shapes):
        raise ValueError(f"ArrayDataset: needs arrays with a first axis, but got shapes {shapes}.")
    if len({shape[0] for shape in shapes}) != 1:
        raise ValueError(
            "ArrayDataset: all arrays must have the same length, but got shapes "
            f"{', '.join(map(str, shapes))}."
        )
    return shapes[0][0]


class Subset:
    """The rows of a data set at given indices, in their order; nothing is copied."""

    def __init__(self, dataset, indices):
        self.dataset = dataset
        self.indices = np.asarray(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[index]]

    def take(self, indices):
        """The rows at `indices` of this subset."""
        return rows(self.dataset, self.indices[indices])


def random_split(dataset, lengths: Sequence[int], key) -> list[Subset]:
    """Split a data set at random into parts of the given lengths, which must add up to its own.

    >>> import funcgrad as fg, numpy as np
    >>> parts = random_split(ArrayDataset(np.arange(10)), [7, 3], fg.random.key(0))
    >>> [len(part) for part in parts]
    [7, 3]
    """
    if any(length < 0 for length in lengths) or sum(lengths) != len(dataset):
        raise ValueError(
            f"random_split: lengths {list(lengths)} must add up to the {len(dataset)} "
            "rows of the data set."
        )
    order = np.asarray(fg.random.permutation(key, len(dataset)))
    ends = np.cumsum(lengths)
    return [
        Subset(dataset, order[end - length : end])
        for length, end in zip(lengths, ends, strict=True)
    ]


def rows(dataset, indices: np.ndarray):
    """Many rows of any data set as one batch: by its `take`, else row by row, stacked."""
    if hasattr(dataset, "take"):
        return dataset.take(indices)
    return stacked([dataset[int(i)] for i in indices])


def stacked(items: Sequence[Any]):
    """Rows of equal structure as one tree with a leading axis."""
    shapes = {tuple(np.shape(leaf) for leaf in fg.tree.leaves(item)) for item in items}
    if len(shapes) > 1:
        raise ValueError(
            f"DataLoader: rows of one batch must have equal shapes, but got "
            f"{sorted(shapes)[:4]}. Pass collate= to pad or crop them."
        )
    return fg.tree.map(lambda *leaves: np.stack(leaves), *items)
