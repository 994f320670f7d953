"""Batches made ahead of time by threads or processes, in order and in bounded number."""

from __future__ import annotations

import collections
import concurrent.futures
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from funcgrad.util import optional

Task = Any
_make: Callable[[Task], Any]  # in a worker process: set once, so that the data set travels once


class Workers:
    """Threads or processes that run `make(task)`; they start at first use and end with this."""

    def __init__(self, make: Callable[[Task], Any], count: int, kind: str):
        self.make, self.count, self.kind = make, count, kind
        self._pool: concurrent.futures.Executor | None = None

    def ahead(self, tasks: Iterable[Task], prefetch: int) -> Iterator[Any]:
        """The results in the order of the tasks, with at most `prefetch` of them waiting.

        An exception in a worker is raised where its result would have come. Leaving the iterator
        early drops what was not begun.
        """
        pool = self._started()
        call = self.make if self.kind == "thread" else _run
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(call, task))
                if len(waiting) > prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except concurrent.futures.BrokenExecutor:
            self._pool = None
            raise RuntimeError(
                "DataLoader: a worker process ended. The data set, collate and transform must be "
                "importable from a module, and a script must start its work under "
                'if __name__ == "__main__".'
            ) from None
        finally:
            for future in waiting:
                future.cancel()

    def _started(self) -> concurrent.futures.Executor:
        if self._pool is None:
            self._pool = _pool(self.make, self.count, self.kind)
            weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        return self._pool


def _pool(make: Callable[[Task], Any], count: int, kind: str) -> concurrent.futures.Executor:
    if kind == "thread":
        return concurrent.futures.ThreadPoolExecutor(count, thread_name_prefix="batches")
    # Forking a process with threads in it may copy a lock that nobody will ever open.
    context = optional("multiprocessing").get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(
        count, mp_context=context, initializer=_initialise, initargs=(make,)
    )


def _initialise(make: Callable[[Task], Any]) -> None:
    global _make
    _make = make


def _run(task: Task) -> Any:
    return _make(task)
