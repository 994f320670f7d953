"""One step of training, compiled; and running a model over data without training it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module
from funcgrad_nn.optim import GradientTransformation, apply_updates

Loss = Callable[[Any, Any], Any]
Metrics = Mapping[str, Callable[[Any, Any], Any]]


class TrainState(NamedTuple):
    """All that training changes, as one tree: saving it and going on loses nothing.

    `key` stays the same; step n draws from `fold_in(key, n)`.
    """

    params: Any
    state: Any
    optimizer: Any
    step: Any
    key: Any


def start(model: Module, optimizer: GradientTransformation, key, *inputs) -> TrainState:
    """The training state before the first step; `inputs` as in `Module.init`."""
    init_key, step_key = fg.random.split(key)
    params, state = model.init(init_key, *inputs)
    return TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32), step_key)


def make_train_step(
    model: Module, loss: Loss, optimizer: GradientTransformation, metrics: Metrics | None = None
) -> Callable:
    """A compiled `step(train_state, inputs, targets) -> (train_state, logs)`.

    `loss(outputs, targets)` is a scalar; `logs` holds it as "loss", beside each of `metrics`, as
    measured before the update. The training state given in is donated: its buffers become those of
    the new one, so it cannot be used again.

    >>> import funcgrad as fg, funcgrad_nn as nn, numpy as np
    >>> model, optimizer = nn.Linear(2, 1), nn.optim.sgd(0.1)
    >>> step = make_train_step(model, nn.mse, optimizer)
    >>> now = start(model, optimizer, fg.random.key(0))
    >>> x, y = np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)
    >>> now, first = step(now, x, y)
    >>> now, second = step(now, x, y)
    >>> bool(second["loss"] < first["loss"])
    True
    """
    metrics = dict(metrics or {})

    def total(params, now, inputs, targets):
        key = fg.random.fold_in(now.key, now.step)
        outputs, state = model.apply(params, now.state, inputs, train=True, key=key)
        return loss(outputs, targets), (outputs, state)

    def step(now: TrainState, inputs, targets):
        value_and_grad = fg.value_and_grad(total, has_aux=True)
        (value, (outputs, state)), grads = value_and_grad(now.params, now, inputs, targets)
        updates, optimizer_state = optimizer.update(grads, now.optimizer, now.params)
        params = apply_updates(now.params, updates)
        logs = {"loss": value, **_measured(metrics, outputs, targets)}
        return TrainState(params, state, optimizer_state, now.step + 1, now.key), logs

    return fg.jit(step, donate_argnums=0)


def _measured(metrics: Metrics, outputs, targets) -> dict:
    return {name: metric(outputs, targets) for name, metric in metrics.items()}


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
    functions = {**({"loss": loss} if loss else {}), **(metrics or {})}
    measure = _compiled_measure(model, tuple(functions.items()))
    totals, count = dict.fromkeys(functions, 0.0), 0
    for inputs, targets in data:
        size = row_count(inputs)
        values = measure(params, state, inputs, targets)
        totals = {name: total + size * float(values[name]) for name, total in totals.items()}
        count += size
    if not count:
        raise ValueError(
            "evaluate: the data has no batch. A generator is empty the second time; "
            "use a DataLoader or a list."
        )
    return {name: total / count for name, total in totals.items()}


@functools.lru_cache(maxsize=32)
def _compiled_measure(model: Module, functions: tuple):
    """One compiled function for each model and choice of metrics, also over many calls."""

    def measure(params, state, inputs, targets):
        outputs, _ = model.apply(params, state, inputs)
        return _measured(dict(functions), outputs, targets)

    return fg.jit(measure)


def predict(model: Module, params, state, inputs, *, batch_size: int = 256):
    """The model's outputs for all rows of `inputs`, with `train=False`, in batches.

    `inputs` is an array or a tree of arrays with equal first sizes.
    """
    count = row_count(inputs)
    if count == 0:
        raise ValueError("predict: the inputs have no rows.")
    run = _compiled_forward(model)
    pieces = [
        run(params, state, fg.tree.map(lambda a, s=begin: a[s : s + batch_size], inputs))
        for begin in range(0, count, batch_size)
    ]
    return fg.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)


@functools.lru_cache(maxsize=32)
def _compiled_forward(model: Module):
    return fg.jit(lambda params, state, inputs: model.apply(params, state, inputs)[0])


def row_count(inputs) -> int:
    """The first size of a tree of arrays."""
    return int(np.shape(fg.tree.leaves(inputs)[0])[0])
