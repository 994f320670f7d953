"""A model with its loss and optimizer in one object: fit, evaluate, predict in a line each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

import funcgrad as fg
from funcgrad_nn.data import ArrayDataset, DataLoader
from funcgrad_nn.module import Module
from funcgrad_nn.optim import GradientTransformation
from funcgrad_nn.saving import save_model
from funcgrad_nn.training.evaluate import evaluate, predict
from funcgrad_nn.training.fit import fit
from funcgrad_nn.training.objective import Loss, Metrics, positional
from funcgrad_nn.training.step import TrainState, before_training


class Compiled:
    """A model being trained: it keeps the training state between calls, as Keras does.

    Everything is done by the functions of the same names; `params`, `state` and `train_state` can
    be taken out at any time. Made by `compile`.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> model = nn.compile(nn.Linear(2, 1), loss=nn.mse, optimizer=nn.optim.sgd(0.1))
    >>> model.build(fg.random.key(0)).predict(fg.numpy.ones((5, 2))).shape
    (5, 1)
    """

    def __init__(
        self, model: Module, loss: Loss, optimizer: GradientTransformation, metrics: Metrics | None
    ):
        self.model, self.loss, self.optimizer, self.metrics = model, loss, optimizer, metrics
        self.train_state: TrainState | None = None
        self.history: dict[str, np.ndarray] = {}
        self._built: tuple[Any, Any] | None = None
        self._fits = 0

    @property
    def params(self):
        """The parameters to use; averaged ones if `fit` was given `ema`."""
        return self._trained("params")[0]

    @property
    def state(self):
        """The model's state, such as running statistics."""
        return self._trained("state")[1]

    def _trained(self, asked: str) -> tuple[Any, Any]:
        if self.train_state is not None:
            return self.train_state.averaged(), self.train_state.state
        if self._built is None:
            raise ValueError(
                f"{asked}: the model has no parameters yet. Call fit(x, y) or build(key, x) first."
            )
        return self._built

    def build(self, key, *inputs) -> Compiled:
        """Make the parameters without training; `inputs` as in `Module.init`."""
        self._built = self.model.init(key, *inputs)
        self.train_state = None
        return self

    def fit(
        self, x, y=None, *, epochs: int = 1, batch_size: int = 32, validation=None, key=None,
        shuffle: bool = True, **options,
    ) -> Compiled:  # fmt: skip
        """Train on arrays `x` and `y`, or on a loader `x`; a second call goes on training.

        `x` and `y` may be dictionaries of arrays. `validation` is a pair of arrays or a loader.
        `key` (`random.key(0)` if None) decides parameters, dropout and shuffling. `options` are
        those of `nn.fit`. Returns itself; `history` is the record of all epochs so far.
        """
        key = fg.random.key(0) if key is None else key
        shuffling = fg.random.fold_in(key, self._fits)
        fitted = fit(
            self.model,
            _batches(x, y, batch_size, shuffling if shuffle else None),
            loss=self.loss,
            optimizer=self.optimizer,
            metrics=self.metrics,
            key=key,
            epochs=epochs,
            validation=None if validation is None else _validation(validation, batch_size),
            **{"initial": self._initial(key, options), **options},
        )
        self._fits += 1
        self.train_state = fitted.train_state
        known = self.history if set(self.history) == set(fitted.history) else {}
        self.history = {
            name: np.concatenate([known.get(name, values[:0]), values])
            for name, values in fitted.history.items()
        }
        return self

    def _initial(self, key, options: Mapping[str, Any]) -> TrainState | None:
        if self.train_state is not None or self._built is None:
            return self.train_state
        kept = {n: options[n] for n in ("accumulate", "ema", "frozen") if n in options}
        return before_training(*self._built, self.optimizer, key, **kept)

    def evaluate(self, x, y=None, *, batch_size: int = 256) -> dict[str, float]:
        """Loss and metrics on arrays or on a loader, in evaluation mode."""
        params, state = self._trained("evaluate")
        batches = _batches(x, y, batch_size, None)
        return evaluate(self.model, params, state, batches, loss=self.loss, metrics=self.metrics)

    def predict(self, x, *, batch_size: int = 256):
        """The outputs for all rows of `x`, in evaluation mode."""
        return predict(self.model, *self._trained("predict"), x, batch_size=batch_size)

    def __call__(self, x):
        """The outputs for one batch, in evaluation mode; can be differentiated and compiled."""
        params, state = self._trained("call")
        return self.model.apply(params, state, *positional(self.model, x))[0]

    def save(self, path: str | os.PathLike) -> None:
        """Write the model, its parameters and its state to one file; `nn.load_model` reads it."""
        save_model(path, self.model, *self._trained("save"))


def compile(
    model: Module,
    *,
    loss: Loss,
    optimizer: GradientTransformation,
    metrics: Metrics | None = None,
) -> Compiled:
    """A model with what it needs to be trained, for those who want few lines.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> x = fg.random.normal(fg.random.key(0), (64, 3))
    >>> layers = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(1))
    >>> model = nn.compile(layers, loss=nn.mse, optimizer=nn.optim.adam(0.01))
    >>> model.fit(x, x.sum(1, keepdims=True), epochs=3).predict(x[:2]).shape
    (2, 1)
    """
    if not isinstance(model, Module):
        raise TypeError(f"compile: needs a module, but got {type(model).__name__}.")
    if not (callable(loss) or isinstance(loss, Mapping)):
        raise TypeError(
            f"compile: loss must be a function, or functions by output, but got {loss!r}."
        )
    return Compiled(model, loss, optimizer, metrics)


def _batches(x, y, batch_size: int, key) -> Any:
    """A loader over arrays, or the loader itself."""
    if y is None:
        return x
    rows = ArrayDataset(x, y)
    return DataLoader(rows, min(batch_size, max(len(rows), 1)), shuffle=key is not None, key=key)


def _validation(given, batch_size: int):
    if isinstance(given, tuple) and len(given) == 2:
        return _batches(*given, batch_size, None)
    return given
