"""Running a model over data without training it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module
from funcgrad_nn.training.objective import Loss, Metrics, flat_metrics, losses_of, positional
from funcgrad_nn.training.step import row_count


def evaluate(
    model: Module,
    params,
    state,
    data: Iterable,
    *,
    loss: Loss | None = None,
    metrics: Metrics | None = None,
) -> dict[str, float]:
    """The means of loss and metrics over the batches (inputs, targets) of `data`, by rows.

    The model runs with `train=False`, and its state does not change. A short batch counts by its
    rows. Raises `ValueError` if there is no batch.
    """
    measure = _compiled_measure(model, _hashable(loss), tuple(flat_metrics(metrics).items()))
    means = Means()
    for inputs, targets in data:
        means.add(measure(params, state, inputs, targets), row_count(inputs))
    if not means.rows:
        raise ValueError(
            "evaluate: the data has no batch. A generator is empty the second time; "
            "use a DataLoader or a list."
        )
    return means.result()


def _hashable(loss: Loss | None):
    return tuple(loss.items()) if isinstance(loss, Mapping) else loss


@functools.lru_cache(maxsize=32)
def _compiled_measure(model: Module, loss, metrics: tuple):
    """One compiled function for each model and choice of metrics, also over many calls."""

    def measure(params, state, inputs, targets):
        outputs, _ = model.apply(params, state, *positional(model, inputs))
        whole = dict(loss) if isinstance(loss, tuple) else loss
        losses = {} if whole is None else losses_of(whole, outputs, targets)
        return {**losses, **{name: metric(outputs, targets) for name, metric in metrics}}

    return fg.jit(measure)


def predict(model: Module, params, state, inputs, *, batch_size: int = 256):
    """The model's outputs for all rows of `inputs`, with `train=False`, in batches.

    `inputs` is an array, or for several inputs a tuple or dictionary of arrays with equal first
    sizes.
    """
    count = row_count(inputs)
    if count == 0:
        raise ValueError("predict: the inputs have no rows.")
    if batch_size < 1:
        raise ValueError(f"predict: batch_size must be at least 1, but got {batch_size}.")
    run = _compiled_forward(model)
    pieces = [
        run(params, state, fg.tree.map(lambda a, s=begin: a[s : s + batch_size], inputs))
        for begin in range(0, count, batch_size)
    ]
    return fg.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)


@functools.lru_cache(maxsize=32)
def _compiled_forward(model: Module):
    def forward(params, state, inputs):
        return model.apply(params, state, *positional(model, inputs))[0]

    return fg.jit(forward)


class Means:
    """Means over rows of values that come batch by batch.

    Values stay where they were computed until some hundreds have come, so that no step waits for
    the one before; sums are of Python floats in the order of the batches, hence reproducible.
    """

    AT_ONCE = 256

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.rows = 0
        self._waiting: list[tuple[dict, int]] = []

    def add(self, values: Mapping[str, Any], rows: int) -> None:
        """The values of one batch of `rows` rows."""
        self._waiting.append((dict(values), rows))
        self.rows += rows
        if len(self._waiting) >= self.AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        for values, rows in self._waiting:
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + rows * float(value)
        self._waiting.clear()

    def result(self) -> dict[str, float]:
        """The means so far, the loss first."""
        self._settle()
        return {name: self.sums[name] / self.rows for name in loss_first(self.sums)}

    def saved(self) -> dict[str, Any]:
        """What `restored` needs to go on exactly."""
        self._settle()
        return {"sums": dict(self.sums), "rows": self.rows}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> Means:
        """The means as they were when saved."""
        means = cls()
        means.sums, means.rows = dict(saved["sums"]), int(saved["rows"])
        return means


def loss_first(names: Iterable[str]) -> list[str]:
    """The names in alphabetical order, with the loss before the metrics."""
    return sorted(names, key=lambda name: (name != "loss", name))
