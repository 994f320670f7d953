"""CheckpointManager: a directory of checkpoints, of which the newest and the best are kept."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from funcgrad_nn.saving.files import DamagedFileError, is_leftover, sync_directory
from funcgrad_nn.saving.pytree import load, save
from funcgrad_nn.saving.safetensors import read_metadata, strict_json

FILE = re.compile(r"step-(\d{1,18})\.safetensors")
METRICS = "metrics"


class Restored(NamedTuple):
    """A checkpoint: the step it was saved at, and the tree."""

    step: int
    tree: Any


class CheckpointManager:
    """Checkpoints of a training in one directory: `step-00000100.safetensors` and so on.

    `keep`: how many of the newest stay (None: all). `best`: the name of a metric, such as
    "val_loss", whose best checkpoint stays too; `mode` says whether "min" or "max" is best. An old
    file is removed only after the new one has reached the disk, so that a process killed at any
    moment leaves a usable one, and `restore` skips a damaged file, with a warning, for the one
    before it. What was saved last stays, even where there are later steps of another training.

    >>> import funcgrad.numpy as jnp, tempfile
    >>> manager = CheckpointManager(tempfile.mkdtemp(), keep=2, best="loss")
    >>> for step, loss in enumerate([0.5, 0.1, 0.3, 0.4]):
    ...     path = manager.save(step, {"w": jnp.ones(3) * step}, {"loss": loss})
    >>> manager.steps(), manager.best_step()
    ([1, 2, 3], 1)
    >>> manager.restore().step
    3
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        keep: int | None = 3,
        best: str | None = None,
        mode: str = "min",
    ):
        if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
            raise ValueError(f"CheckpointManager: keep must be at least 1 or None, not {keep!r}.")
        if mode not in ("min", "max"):
            raise ValueError(f'CheckpointManager: mode must be "min" or "max", but got {mode!r}.')
        self.directory = Path(directory)
        self.keep, self.best, self.mode = keep, best, mode
        self.directory.mkdir(parents=True, exist_ok=True)
        self._metrics: dict[int, dict[str, float]] = {}
        self._swept = False

    def path(self, step: int) -> Path:
        """The file of a step, whether or not it is there."""
        return self.directory / f"step-{step:08d}.safetensors"

    def steps(self) -> list[int]:
        """The steps whose checkpoints are there, in order."""
        names = (FILE.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def save(self, step: int, tree: Any, metrics: Mapping[str, float] | None = None) -> Path:
        """Write the checkpoint of a step, then remove those that are kept no longer."""
        self._sweep()
        values = {name: float(value) for name, value in (metrics or {}).items()}
        written = {n: v if math.isfinite(v) else None for n, v in values.items()}
        save(self.path(step), tree, metadata={METRICS: json.dumps(written)})
        self._metrics[step] = values
        self._rotate(step)
        return self.path(step)

    def restore(self, like: Any = None, *, step: int | None = None) -> Restored:
        """The checkpoint of `step`, or the newest that is whole; `like` as in `load`.

        Raises `FileNotFoundError` if there is none.
        """
        for candidate in [step] if step is not None else reversed(self.steps()):
            try:
                return Restored(candidate, load(self.path(candidate), like))
            except DamagedFileError as error:
                if step is not None:
                    raise
                warnings.warn(f"CheckpointManager: skipped a checkpoint: {error}", stacklevel=2)
        raise FileNotFoundError(f"CheckpointManager: {self.directory} holds no usable checkpoint.")

    def metrics(self, step: int) -> dict[str, float]:
        """The metrics that were saved with a step; unreadable ones are none."""
        if step not in self._metrics:
            self._metrics[step] = {}
            with contextlib.suppress(DamagedFileError, OSError):
                written = strict_json(read_metadata(self.path(step)).get(METRICS, "{}"), METRICS)
                self._metrics[step] = _numbers(written)
        return self._metrics[step]

    def best_step(self) -> int | None:
        """The step with the best value of the metric `best`; the earliest of equals."""
        if self.best is None:
            return None
        sign = 1 if self.mode == "min" else -1
        found = [
            (sign * value, step)
            for step in self.steps()
            if not math.isnan(value := self.metrics(step).get(self.best, math.nan))
        ]
        return min(found)[1] if found else None

    def _sweep(self) -> None:
        """Remove what killed processes left, once, and only where this manager writes.

        One that only reads must not take away the file that a training is writing elsewhere.
        """
        leftovers = [] if self._swept else filter(is_leftover, self.directory.iterdir())
        for path in leftovers:
            path.unlink(missing_ok=True)
        self._swept = True

    def _rotate(self, saved: int) -> None:
        if self.keep is None:
            return
        steps = self.steps()
        stay = {*steps[-self.keep :], self.best_step(), saved}
        for step in steps:
            if step not in stay:
                self.path(step).unlink(missing_ok=True)
                self._metrics.pop(step, None)
        sync_directory(self.directory)


def _numbers(written) -> dict[str, float]:
    if not isinstance(written, dict):
        return {}
    numbers = {n: v for n, v in written.items() if isinstance(v, (int, float)) and v == v}
    return {name: float(value) for name, value in numbers.items()}
