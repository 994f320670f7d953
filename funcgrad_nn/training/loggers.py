"""Loggers: callbacks that write a training's values to files, as CSV or for TensorBoard."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from funcgrad_nn.training.callbacks import Callback, Epoch, Step
from funcgrad_nn.training.evaluate import only_scalars
from funcgrad_nn.training.event_file import EventFile


class CSVLogger(Callback):
    """One row an epoch: its number, the step, and every value of the history.

    The file begins anew when training does; a resumed training cuts it back to the checkpoint that
    it goes on from, so that no epoch stands in it twice.

    >>> import pathlib, tempfile, types
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> logger = CSVLogger(path)
    >>> logger.on_epoch(Epoch(1, {"train_loss": [0.5]}, types.SimpleNamespace(step=10)))
    >>> path.read_text().split()
    ['epoch,step,train_loss', '1,10,0.5']
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.size = 0

    def on_epoch(self, epoch: Epoch) -> None:
        values = only_scalars({name: values[-1] for name, values in epoch.history.items()})
        with self._opened() as stream:
            writer = csv.writer(stream, lineterminator="\n")
            if stream.tell() == 0:
                writer.writerow(["epoch", "step", *values])
            writer.writerow([epoch.number, int(epoch.train_state.step), *values.values()])
            self.size = stream.tell()

    def _opened(self) -> IO[str]:
        """The file, with nothing in it after what this training wrote."""
        self.path.touch()
        stream = open(self.path, "r+", newline="", encoding="utf-8")
        stream.truncate(min(self.size, os.fstat(stream.fileno()).st_size))
        stream.seek(0, os.SEEK_END)
        return stream

    def saved(self) -> dict[str, int]:
        return {"size": self.size}

    def restore(self, saved: Mapping[str, int]) -> None:
        self.size = saved["size"]


class TensorBoardLogger(Callback):
    """Every value of the history after each epoch, and the loss every `every` steps.

    Writes an event file into `directory`, which `tensorboard --logdir` reads; no package is needed
    for writing.

    >>> import pathlib, tempfile, types
    >>> directory = pathlib.Path(tempfile.mkdtemp())
    >>> logger = TensorBoardLogger(directory)
    >>> logger.on_epoch(Epoch(1, {"train_loss": [0.5]}, types.SimpleNamespace(step=10)))
    >>> [path.name[:20] for path in directory.iterdir()]
    ['events.out.tfevents.']
    """

    def __init__(self, directory: str | os.PathLike, *, every: int | None = 50):
        self.directory, self.every = Path(directory), every
        self._file: EventFile | None = None

    def on_step(self, step: Step) -> None:
        if self.every is not None and step.number % self.every == 0:
            self._write(step.number, {"step/loss": step.logs["loss"]})

    def on_epoch(self, epoch: Epoch) -> None:
        latest = only_scalars({name: values[-1] for name, values in epoch.history.items()})
        values = {f"epoch/{name}": value for name, value in latest.items()}
        self._write(int(epoch.train_state.step), values)

    def on_end(self, train_state) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        if self._file is None:
            self._file = EventFile(self.directory)
        self._file.scalars(step, {n: float(v) for n, v in values.items()}, time.time())
