"""Forked children of this process: one that speaks until it ends, and several that share a list of
work. What they work on need not be pickled; what they answer must be.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """What a child says: objects, in order. `here` is true in the child."""

    here: bool
    pipe: Any
    got: list[Any] = field(default_factory=list)

    def give(self, value: Any) -> None:
        pickle.dump(value, self.pipe)
        self.pipe.flush()


@contextlib.contextmanager
def child() -> Iterator[Answer]:
    """The block runs in a child and in the parent, which has the answer when the block has
    ended.
    """
    ours, theirs = os.pipe()
    number = os.fork()
    if number == 0:
        os.close(ours)
        code = 1
        try:
            with open(theirs, "wb") as pipe:
                yield Answer(True, pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(theirs)
    answer = Answer(False, None)
    yield answer
    with open(ours, "rb") as pipe:
        answer.got.extend(unpickled(pipe))
    os.waitpid(number, 0)


def unpickled(file: Any) -> Iterator[Any]:
    """All objects of a file, whose end may be torn off."""
    while True:
        try:
            yield pickle.load(file)
        except (EOFError, pickle.UnpicklingError):
            return


_work: list[Any] = []  # of a worker: the function, and its items


def in_parallel(
    function: Callable[[Any], Any], items: Sequence[Any], processes: int
) -> Iterator[tuple[int, Any]]:
    """What the function gives for each item, with the item's number, in the order they are ready.
    The first items are begun first; workers have all that this process had when the first is begun.
    """
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, multiprocessing.get_context("fork"), _work.extend, ((function, items),)
    )
    try:
        waiting = [pool.submit(_one, number) for number in range(len(items))]
        for ready in concurrent.futures.as_completed(waiting):
            yield ready.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _one(number: int) -> tuple[int, Any]:
    function, items = _work
    return number, function(items[number])
