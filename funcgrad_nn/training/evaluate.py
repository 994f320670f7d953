"""Running a model over data without training it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module
from funcgrad_nn.training.objective import (
    Loss,
    Measures,
    Metrics,
    losses_of,
    measures_of,
    pair_of,
    positional,
)
from funcgrad_nn.training.step import row_count


def evaluate(
    model: Module,
    params,
    state,
    data: Iterable,
    *,
    loss: Loss | None = None,
    metrics: Metrics | None = None,
) -> dict[str, Any]:
    """Loss and metrics over the batches (inputs, targets) of `data`, as floats.

    The model runs with `train=False`, and its state does not change. The loss and metrics that are
    functions are averaged over rows, so that a short batch counts by its rows; `nn.metrics`'
    classes accumulate, and those with several values give NumPy arrays. Raises `ValueError` if
    there is no batch.

    >>> import funcgrad as fg, funcgrad_nn as nn, numpy as np
    >>> model = nn.Linear(2, 1, weight_init="zeros")
    >>> batches = [(np.ones((4, 2), np.float32), np.full((4, 1), 3, np.float32))]
    >>> evaluate(model, *model.init(fg.random.key(0)), batches, loss=nn.mse)
    {'loss': 9.0}
    """
    measures = measures_of(metrics)
    measure = _compiled_measure(model, _hashable(loss), measures)
    means = Means(measures)
    for inputs, targets in map(pair_of, data):
        values, states = measure(params, state, means.states, inputs, targets)
        means.add(values, states, row_count(inputs))
    if not means.rows:
        raise ValueError(
            "evaluate: the data has no batch. A generator is empty the second time; "
            "use a DataLoader or a list."
        )
    return means.result()


def _hashable(loss: Loss | None):
    return tuple(loss.items()) if isinstance(loss, Mapping) else loss


@functools.lru_cache(maxsize=32)
def _compiled_measure(model: Module, loss, measures: Measures):
    """One compiled function for each model and choice of metrics, also over many calls."""

    def measure(params, state, states, inputs, targets):
        outputs, _ = model.apply(params, state, *positional(model, inputs))
        whole = dict(loss) if isinstance(loss, tuple) else loss
        losses = {} if whole is None else losses_of(whole, outputs, targets)
        values = {**losses, **measures.values(outputs, targets)}
        return values, measures.update(states, outputs, targets)

    return fg.jit(measure)


def predict(model: Module, params, state, inputs, *, batch_size: int = 256):
    """The model's outputs for all rows of `inputs`, with `train=False`, in batches.

    `inputs` is an array, or for several inputs a tuple or dictionary of arrays with equal first
    sizes. Raises `TypeError` for anything else, such as a loader, `ValueError` for no rows.

    >>> import funcgrad as fg, funcgrad_nn as nn, numpy as np
    >>> model = nn.Linear(2, 3)
    >>> predict(model, *model.init(fg.random.key(0)), np.ones((1000, 2), np.float32)).shape
    (1000, 3)
    """
    if not all(getattr(leaf, "shape", ()) for leaf in fg.tree.leaves(inputs)):
        raise TypeError(
            f"predict: needs arrays with a first axis of rows, but got {type(inputs).__name__}. "
            "Of a loader, predict each batch: predict(model, params, state, x)."
        )
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
    """Values over the batches so far: means over rows of plain ones, and metrics with a state.

    Plain values stay where they were computed until some hundreds have come, so that no step waits
    for the one before; sums are of Python floats in the order of the batches, hence reproducible.
    """

    AT_ONCE = 256

    def __init__(self, measures: Measures) -> None:
        self.measures = measures
        self.states = measures.init()
        self.sums: dict[str, float] = {}
        self.rows = 0
        self._waiting: list[tuple[dict, int]] = []

    def add(self, values: Mapping[str, Any], states: Mapping[str, Any], rows: int) -> None:
        """The values of one batch of `rows` rows, and the states after it."""
        self.states = dict(states)
        self._waiting.append((dict(values), rows))
        self.rows += rows
        if len(self._waiting) >= self.AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        for values, rows in self._waiting:
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0.0) + rows * float(value)
        self._waiting.clear()

    def result(self) -> dict[str, Any]:
        """The values so far, the loss first: floats, and arrays of metrics with several."""
        self._settle()
        means = {name: total / self.rows for name, total in self.sums.items()}
        values = {**means, **self.accumulated()}
        return {name: values[name] for name in loss_first(values)}

    def accumulated(self) -> dict[str, Any]:
        """The values of the metrics with a state; reading them waits for the last step."""
        return self.measures.compute(self.states)

    def saved(self) -> dict[str, Any]:
        """What `restore` needs to go on exactly."""
        self._settle()
        return {"sums": dict(self.sums), "rows": self.rows, "states": self.states}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Become what was saved; states of other metrics are an error."""
        if set(saved["states"]) != set(self.states):
            raise ValueError(
                f"fit: the checkpoint has the metrics {sorted(saved['states'])}, not "
                f"{sorted(self.states)}."
            )
        self.sums, self.rows = dict(saved["sums"]), int(saved["rows"])
        self.states = saved["states"]


def only_scalars(values: Mapping[str, Any]) -> dict[str, float]:
    """Those values that are one number, for places where an array has no room."""
    return {name: value for name, value in values.items() if np.ndim(value) == 0}


def loss_first(names: Iterable[str]) -> list[str]:
    """The names in alphabetical order, with the loss before the metrics."""
    return sorted(names, key=lambda name: (name != "loss", name))
