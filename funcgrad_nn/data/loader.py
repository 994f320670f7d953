"""DataLoader: batches of a data set, shuffled by a key."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import funcgrad as fg
from funcgrad_nn.data.dataset import rows


class DataLoader:
    """Batches of a data set, as NumPy arrays in the structure of its rows.

    Each `iter` starts a new epoch over all rows, independent of other iterators; epoch e is
    shuffled by `fold_in(key, e)`, so two loaders with the same key yield the same batches.
    `batches(e)` gives the batches of epoch e again. `drop_last` leaves out a short last batch.
    `collate` makes a batch of a list of rows. Raises `ValueError` for an empty data set and for no
    batch at all.

    >>> import numpy as np
    >>> from funcgrad_nn.data import ArrayDataset
    >>> loader = DataLoader(ArrayDataset(np.arange(100)), batch_size=32)
    >>> [len(batch) for batch in loader], len(loader)
    ([32, 32, 32, 4], 4)
    """

    def __init__(
        self,
        dataset,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        key=None,
        drop_last: bool = False,
        collate: Callable[[Sequence[Any]], Any] | None = None,
    ):
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)):
            raise TypeError(
                f"DataLoader: batch_size must be an integer, but got {type(batch_size).__name__}."
            )
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, but got {batch_size}.")
        if len(dataset) == 0:
            raise ValueError("DataLoader: the data set is empty.")
        if shuffle and key is None:
            raise ValueError("DataLoader: shuffle=True needs a key, such as random.key(0).")
        self.dataset, self.batch_size = dataset, int(batch_size)
        self.key = key if shuffle else None
        self.drop_last, self.collate = drop_last, collate
        self._epochs = itertools.count()
        if len(self) == 0:
            raise ValueError(
                f"DataLoader: drop_last leaves no batch, since {len(dataset)} rows are "
                f"fewer than batch_size={batch_size}."
            )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        return self.batches(next(self._epochs))

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of epoch 0, 1, ..., whatever was iterated before."""
        order = self.order(epoch)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield self._batch(order[start : start + self.batch_size])

    def order(self, epoch: int) -> np.ndarray:
        """The row numbers of an epoch, in the order in which they are used."""
        count = len(self.dataset)
        if self.key is None:
            return np.arange(count)
        return np.asarray(fg.random.permutation(fg.random.fold_in(self.key, epoch), count))

    def _batch(self, indices: np.ndarray):
        if self.collate is not None:
            return self.collate([self.dataset[int(i)] for i in indices])
        return rows(self.dataset, indices)
