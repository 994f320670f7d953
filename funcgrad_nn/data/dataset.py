"""Data sets: what a loader can draw batches from.

A `Dataset` has a length, rows by index, and `take(indices)`, which gathers many rows at once, so
that a loader never touches single rows. Arrays, sequences, tables and generators become one through
`as_dataset`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import funcgrad as fg


class Dataset:
    """Rows by number. Subclasses write `__len__` and `__getitem__`, and `take` where it is faster.

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return index**2
    >>> Squares().take([1, 3]).tolist()
    [1, 9]
    """

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no __len__(self): write one.")

    def __getitem__(self, index) -> Any:
        raise TypeError(f"{type(self).__name__} has no __getitem__(self, index): write one.")

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def take(self, indices) -> Any:
        """The rows at `indices` as one batch: each leaf with a leading axis."""
        return stacked([self[int(i)] for i in indices])


class ArrayDataset(Dataset):
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


class Subset(Dataset):
    """The rows of a data set at given indices, in their order; nothing is copied.

    >>> import numpy as np
    >>> Subset(np.array([5, 6, 7]), [2, 0]).take([0, 1]).tolist()
    [7, 5]
    """

    def __init__(self, dataset, indices):
        self.dataset = with_length("Subset", dataset)
        self.indices = np.asarray(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[index]]

    def take(self, indices):
        """The rows at `indices` of this subset."""
        return self.dataset.take(self.indices[indices])


class Rows(Dataset):
    """Anything with a length and rows by number, such as a list, as a `Dataset`."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


class Table(Dataset):
    """A `datasets.Dataset` (Hugging Face): rows are dictionaries, or tuples of `columns`.

    Columns are read as NumPy arrays, many rows at once, and never all of them. Raises `ValueError`
    for a column that the table lacks.

    >>> import importlib.util
    >>> if importlib.util.find_spec("datasets"):
    ...     from datasets import Dataset as Rows
    ...     table = Table(Rows.from_dict({"x": [1.0, 2.0], "y": [0, 1]}), columns=("x", "y"))
    ...     assert len(table) == 2 and table[1] == (2.0, 1)
    """

    def __init__(self, table, columns: Sequence[str] | None = None):
        self.table = table.with_format("numpy")
        known = list(table.column_names)
        self.columns = known if columns is None else list(columns)
        self.as_tuples = columns is not None
        unknown = [name for name in self.columns if name not in known]
        if unknown:
            raise ValueError(f"Table: the table has no columns {unknown}, only {known}.")

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index):
        return self._row(self.table[int(index)])

    def take(self, indices):
        """The rows at `indices`, each column as one array."""
        return self._row(self.table[[int(i) for i in indices]])

    def _row(self, row: Mapping[str, Any]):
        values = {name: np.asarray(row[name]) for name in self.columns}
        if not self.as_tuples:
            return values
        return tuple(values.values()) if len(values) > 1 else next(iter(values.values()))


class Stream:
    """Rows that come one after the other and have no number: `make()` starts them anew.

    `make` is a generator function, or anything else whose call gives an iterable of rows; it is
    called once an epoch. A loader over a stream has no length and cannot shuffle.

    >>> def count():
    ...     yield from range(5)
    >>> list(Stream(count))
    [0, 1, 2, 3, 4]
    """

    def __init__(self, make: Callable[[], Iterable[Any]]):
        if not callable(make):
            raise TypeError(
                f"Stream: needs a function that gives rows, but got {type(make).__name__}. A "
                "generator can be used only once; pass the function that makes it."
            )
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())


def as_dataset(source) -> Dataset | Stream:
    """A data set from what a user has.

    Arrays and tuples or dictionaries of arrays become an `ArrayDataset`, a `datasets.Dataset` a
    `Table`, a list or another indexable `Rows`, a function without arguments a `Stream`. Raises
    `TypeError` for an iterator, which would be empty in the second epoch.

    >>> import numpy as np
    >>> type(as_dataset(np.ones((3, 2)))).__name__, len(as_dataset(["a", "b"]))
    ('ArrayDataset', 2)
    """
    if isinstance(source, (Dataset, Stream)):
        return source
    if isinstance(source, (np.ndarray, fg.Array)):
        return ArrayDataset(source)
    if isinstance(source, tuple) and source and all(map(_is_array, source)):
        return ArrayDataset(*source)
    if isinstance(source, Mapping) and source and all(map(_is_array, source.values())):
        return ArrayDataset(dict(source))
    if hasattr(source, "with_format") and hasattr(source, "column_names"):
        return Table(source)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return Rows(source)
    if callable(source):
        return Stream(source)
    raise TypeError(
        f"as_dataset: needs arrays, a sequence of rows, or a function that gives rows, but got "
        f"{type(source).__name__}."
        + (" A generator is empty the second time; pass its function." if _once(source) else "")
    )


def _is_array(value) -> bool:
    return isinstance(value, (np.ndarray, fg.Array))


def _once(source) -> bool:
    return hasattr(source, "__next__")


def with_length(name: str, source) -> Dataset:
    """`as_dataset` for what needs rows by number."""
    dataset = as_dataset(source)
    if isinstance(dataset, Stream):
        raise TypeError(f"{name}: a stream has neither a length nor rows by number.")
    return dataset


def random_split(dataset, lengths: Sequence[int], key) -> list[Subset]:
    """Split a data set at random into parts of the given lengths, which must add up to its own.

    Lengths may also be shares that add up to 1; rows left over by rounding go to the first parts.

    >>> import funcgrad as fg, numpy as np
    >>> parts = random_split(ArrayDataset(np.arange(10)), [7, 3], fg.random.key(0))
    >>> [len(part) for part in parts]
    [7, 3]
    """
    dataset = with_length("random_split", dataset)
    counts = _counts(lengths, len(dataset))
    order = np.asarray(fg.random.permutation(key, len(dataset)))
    ends = np.cumsum(counts)
    return [
        Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends, strict=True)
    ]


def _counts(lengths: Sequence[float], total: int) -> list[int]:
    """Lengths as numbers of rows."""
    if any(isinstance(length, float) for length in lengths):
        if any(length < 0 for length in lengths) or abs(sum(lengths) - 1) > 1e-6:
            raise ValueError(f"random_split: shares {list(lengths)} must add up to 1.")
        counts = [int(length * total + 1e-9) for length in lengths]
        left = total - sum(counts)
        return [count + (i < left) for i, count in enumerate(counts)]
    if any(length < 0 for length in lengths) or sum(lengths) != total:
        raise ValueError(
            f"random_split: lengths {list(lengths)} must add up to the {total} "
            "rows of the data set."
        )
    return [int(length) for length in lengths]


def stacked(items: Sequence[Any]):
    """Rows of equal structure as one tree with a leading axis."""
    shapes = {tuple(np.shape(leaf) for leaf in fg.tree.leaves(item)) for item in items}
    if len(shapes) > 1:
        raise ValueError(
            f"DataLoader: rows of one batch must have equal shapes, but got "
            f"{sorted(shapes)[:4]}. Pass collate= to pad or crop them."
        )
    return fg.tree.map(lambda *leaves: np.stack(leaves), *items)
