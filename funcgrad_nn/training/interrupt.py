"""Ctrl-C during training: heard at once, obeyed between two steps.

A step gives its buffers away, so an exception in the middle of one would lose the training state.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any


class Interrupts:
    """A context in which the first Ctrl-C only sets a flag; the second raises as always.

    Outside of the main thread, and where another handler is installed, nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> Interrupts:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._heard)
        return self

    def __exit__(self, *exception) -> None:
        self._release()

    def _heard(self, number, frame) -> None:
        self.requested = True
        self._release()

    def _release(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if Ctrl-C was pressed since."""
        if self.requested:
            raise KeyboardInterrupt

    def watch(self, batches: Iterable) -> Iterator:
        """The same batches, with a check before each."""
        for batch in batches:
            self.check()
            yield batch
