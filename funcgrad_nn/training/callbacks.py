"""Callbacks: what may look at a training, stop it, or change its result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.training.step import TrainState

History = dict[str, list[float]]


class Step(NamedTuple):
    """What callbacks are told after each step. `number` counts from 1 over all epochs.

    `logs` are arrays on the device: reading one waits for the step. `train_state` is gone after
    the next step; copy what you keep.
    """

    number: int
    epoch: int
    logs: Mapping[str, Any]
    train_state: TrainState


class Epoch(NamedTuple):
    """What callbacks are told after each epoch; `train_state` is gone after the next step."""

    number: int
    history: History
    train_state: TrainState


class Callback:
    """A callback with a memory. A plain function of an `Epoch` does as well where none is needed.

    Write those methods that you need. `True` from `on_step` or `on_epoch` stops training there.
    What `saved` returns, a tree that `nn.save` accepts, is part of every checkpoint, and `restore`
    gets it back when training resumes.

    >>> import funcgrad_nn as nn
    >>> class StopBelow(nn.Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...     def on_epoch(self, epoch):
    ...         return epoch.history["train_loss"][-1] < self.loss
    >>> StopBelow(0.1).on_epoch(nn.training.Epoch(1, {"train_loss": [0.05]}, None))
    True
    """

    def on_step(self, step: Step) -> bool | None:
        """After each step."""

    def on_epoch(self, epoch: Epoch) -> bool | None:
        """After each epoch and its validation, before its checkpoint."""

    def on_end(self, train_state: TrainState) -> TrainState | None:
        """After training, also when it failed; may return another state to be the result."""

    def saved(self) -> Any:
        """What a checkpoint must hold for this callback to go on."""

    def restore(self, saved: Any) -> None:
        """Take back what `saved` returned."""


class FunctionCallback(Callback):
    """A function of an `Epoch` as a callback."""

    def __init__(self, function: Callable[[Epoch], Any]):
        self.function = function

    def on_epoch(self, epoch: Epoch) -> bool | None:
        return self.function(epoch)


class EarlyStopping(Callback):
    """Stop when a value of the history has not improved for `patience` epochs in a row.

    An improvement is one by more than `min_delta`, downward for `mode="min"`, upward for "max".
    `restore_best=True` makes the state of the best epoch the result. NaN never improves.
    Raises `ValueError` at the end of the first epoch if the history has no such value.

    >>> stopping = EarlyStopping("val_loss", patience=2)
    >>> losses = [0.5, 0.6, 0.7]
    >>> [stopping.on_epoch(Epoch(n, {"val_loss": losses[:n]}, None)) for n in (1, 2, 3)]
    [False, False, True]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "min",
        restore_best: bool = False,
    ):
        if mode not in ("min", "max"):
            raise ValueError(f'EarlyStopping: mode must be "min" or "max", but got {mode!r}.')
        if patience < 1 or min_delta < 0:
            raise ValueError(
                "EarlyStopping: patience must be at least 1 and min_delta not negative, but got "
                f"{patience} and {min_delta}."
            )
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.sign = 1.0 if mode == "min" else -1.0
        self.restore_best = restore_best
        self.best, self.best_epoch, self.waited = math.inf, 0, 0
        self.kept: TrainState | None = None

    def on_epoch(self, epoch: Epoch) -> bool:
        if self.monitor not in epoch.history:
            raise ValueError(
                f"EarlyStopping: the history has no {self.monitor!r}, only {list(epoch.history)}."
            )
        value = self.sign * epoch.history[self.monitor][-1]
        if value < self.best - self.min_delta or (self.best_epoch == 0 and value == value):
            self.best, self.best_epoch, self.waited = value, epoch.number, 0
            if self.restore_best:
                self.kept = fg.tree.map(jnp.copy, epoch.train_state)
        else:
            self.waited += 1
        return self.waited >= self.patience

    def on_end(self, train_state: TrainState) -> TrainState | None:
        return self.kept

    def saved(self) -> dict:
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "kept": self.kept,
        }

    def restore(self, saved: Mapping) -> None:
        self.best, self.best_epoch = saved["best"], saved["best_epoch"]
        self.waited, self.kept = saved["waited"], saved["kept"]


def _is_true(answer) -> bool:
    """True itself, not what merely counts as true: a lambda that logs may return anything."""
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


class Callbacks:
    """Several callbacks as one; functions are wrapped."""

    def __init__(self, given: Iterable[Callback | Callable[[Epoch], Any]]):
        self.all = [c if isinstance(c, Callback) else FunctionCallback(c) for c in given]

    def on_step(self, step: Step) -> bool:
        """Whether one of them wants to stop."""
        answers = [callback.on_step(step) for callback in self.all]  # each is asked
        return any(map(_is_true, answers))

    def on_epoch(self, epoch: Epoch) -> bool:
        """Whether one of them wants to stop."""
        answers = [callback.on_epoch(epoch) for callback in self.all]
        return any(map(_is_true, answers))

    def on_end(self, train_state: TrainState) -> TrainState:
        """The state that is the result."""
        for callback in self.all:
            train_state = callback.on_end(train_state) or train_state
        return train_state

    def saved(self) -> dict[str, Any]:
        """What each wants to keep, by its class and its number."""
        return {name: callback.saved() for name, callback in self._named()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Give each its own back; those that are new start anew."""
        for name, callback in self._named():
            if saved.get(name) is not None:
                callback.restore(saved[name])

    def _named(self) -> list[tuple[str, Callback]]:
        return [(f"{i} {type(callback).__name__}", callback) for i, callback in enumerate(self.all)]
