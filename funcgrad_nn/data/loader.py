"""DataLoader: batches of a data set, shuffled by a key, made ahead of time if asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import funcgrad as fg
from funcgrad_nn.data.dataset import Stream, as_dataset, stacked, with_length
from funcgrad_nn.data.transforms import Transform, composed
from funcgrad_nn.data.workers import Workers


class Job(NamedTuple):
    """One batch to be made: its number in the epoch, and the numbers of its rows."""

    epoch: int
    batch: int
    rows: np.ndarray


class Maker:
    """Makes one batch; it holds all that this needs, so that it can travel to a process."""

    def __init__(self, dataset, collate, transform: Transform | None, seed: tuple[int, ...]):
        self.dataset, self.collate, self.transform = dataset, collate, transform
        self.seed = seed

    def __call__(self, job: Job) -> Any:
        if self.collate is not None:
            return self.finish(self.collate([self.dataset[int(i)] for i in job.rows]), job)
        return self.finish(self.dataset.take(job.rows), job)

    def finish(self, batch, job: Job) -> Any:
        """The batch transformed, with random numbers that only its place decides."""
        if self.transform is None:
            return batch
        return self.transform.on_batch(
            batch, np.random.default_rng([*self.seed, job.epoch, job.batch])
        )


class DataLoader:
    """Batches of a data set, as NumPy arrays in the structure of its rows.

    `dataset`: see `as_dataset`. Each `iter` starts a new epoch over all rows, independent of other
    iterators; epoch e is shuffled by `fold_in(key, e)`, so two loaders with the same key yield the
    same batches. `batches(e)` gives the batches of epoch e again. `drop_last` leaves out a short
    last batch. `collate` makes a batch of a list of rows. `transform`, one or a list, changes each
    batch; what is random in it depends on `key`, the epoch and the batch alone.

    `workers` make up to `prefetch` batches ahead, as threads or, with `kind="process"`, as
    processes, to which data set, `collate` and `transform` are sent; the batches are the same, in
    the same order. `position` is the place reached, which `restore` goes back to.

    Raises `ValueError` for an empty data set and for no batch at all, `TypeError` for what is no
    data set.

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
        transform: Transform | Sequence[Transform] | None = None,
        workers: int = 0,
        prefetch: int = 2,
        kind: str = "thread",
    ):
        self.batch_size = _count("batch_size", batch_size, 1)
        self.workers, self.prefetch = _count("workers", workers), _count("prefetch", prefetch, 1)
        if kind not in ("thread", "process"):
            raise ValueError(f'DataLoader: kind must be "thread" or "process", but got {kind!r}.')
        if shuffle and key is None:
            raise ValueError("DataLoader: shuffle=True needs a key, such as random.key(0).")
        self.dataset = as_dataset(dataset)
        self.key, self.drop_last, self.kind = (key if shuffle else None), drop_last, kind
        whole = composed(transform)
        if whole is not None and whole.random and key is None:
            raise ValueError("DataLoader: a random transform needs a key, such as random.key(0).")
        self._make = Maker(self.dataset, collate, whole, _words(key))
        self._workers = Workers(self._make, self.workers, kind)
        self._epoch, self._start = 0, 0
        self._reached = (0, 0)
        self._require_batches(shuffle)

    def _require_batches(self, shuffle: bool) -> None:
        if isinstance(self.dataset, Stream):
            if shuffle or (self.workers and self.kind == "process"):
                raise ValueError(
                    "DataLoader: a stream can neither be shuffled nor read by processes."
                )
            return
        if len(self.dataset) == 0:
            raise ValueError("DataLoader: the data set is empty.")
        if len(self) == 0:
            raise ValueError(
                f"DataLoader: drop_last leaves no batch, since {len(self.dataset)} rows are "
                f"fewer than batch_size={self.batch_size}."
            )

    def __len__(self) -> int:
        """The number of batches in an epoch. Raises `TypeError` for a stream."""
        if isinstance(self.dataset, Stream):
            raise TypeError("DataLoader: a stream has no length.")
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    # -- iteration

    def __iter__(self) -> Iterator[Any]:
        epoch, start = self._epoch, self._start
        self._epoch, self._start = epoch + 1, 0
        self._reached = (epoch, start)
        return self._followed(epoch, start)

    def _followed(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of an epoch, each told to `position` before it is handed out."""
        for number, batch in enumerate(self.batches(epoch, start), start + 1):
            self._reached = (epoch, number)
            yield batch
        self._reached = (epoch + 1, 0)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of epoch 0, 1, ... from number `start` on, whatever was iterated before."""
        if isinstance(self.dataset, Stream):
            made = self._of_stream(self.dataset, epoch)
            return itertools.islice(made, start, None) if start else made
        jobs = self._jobs(epoch, start)
        if not self.workers:
            return map(self._make, jobs)
        return self._workers.ahead(jobs, self.prefetch)

    def _jobs(self, epoch: int, start: int) -> Iterator[Job]:
        order = self.order(epoch)
        for batch in range(start, len(self)):
            begin = batch * self.batch_size
            yield Job(epoch, batch, order[begin : begin + self.batch_size])

    def _of_stream(self, stream: Stream, epoch: int) -> Iterator[Any]:
        rows = iter(stream)
        collate = self._make.collate or stacked
        for number in itertools.count():
            group = list(itertools.islice(rows, self.batch_size))
            if not group or (self.drop_last and len(group) < self.batch_size):
                return
            yield self._make.finish(collate(group), Job(epoch, number, np.arange(0)))

    def order(self, epoch: int) -> np.ndarray:
        """The row numbers of an epoch, in the order in which they are used."""
        count = len(with_length("DataLoader.order", self.dataset))
        if self.key is None:
            return np.arange(count)
        return np.asarray(fg.random.permutation(fg.random.fold_in(self.key, epoch), count))

    # -- place

    @property
    def position(self) -> dict[str, int]:
        """The epoch of the newest iterator, and how many batches it has handed out."""
        return {"epoch": self._reached[0], "batch": self._reached[1]}

    def restore(self, position: Mapping[str, int]) -> None:
        """Let the next `iter` go on from a `position`, without making the batches before it."""
        self._epoch, self._start = int(position["epoch"]), int(position["batch"])
        self._reached = (self._epoch, self._start)


def _count(name: str, value, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"DataLoader: {name} must be an integer, but got {type(value).__name__}.")
    if value < least:
        raise ValueError(f"DataLoader: {name} must be at least {least}, but got {value}.")
    return int(value)


def _words(key) -> tuple[int, ...]:
    """A key as numbers that seed NumPy's generators, also in another process."""
    return () if key is None else tuple(np.asarray(fg.random.key_data(key)).ravel().tolist())
