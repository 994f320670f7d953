"""fit: the loop over epochs, around the compiled step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module
from funcgrad_nn.optim import GradientTransformation
from funcgrad_nn.training.progress import Display, loss_first, shown
from funcgrad_nn.training.step import (
    Loss,
    Metrics,
    TrainState,
    evaluate,
    make_train_step,
    row_count,
    start,
)

History = dict[str, list[float]]


class Fitted(NamedTuple):
    """What `fit` returns: the trained parameters and state, the history, and all of the state."""

    params: Any
    state: Any
    history: History
    train_state: TrainState


class Epoch(NamedTuple):
    """What a callback is told after each epoch; `train_state` is gone after the next step."""

    number: int
    history: History
    train_state: TrainState


def fit(
    model: Module,
    data: Iterable,
    *,
    loss: Loss,
    optimizer: GradientTransformation,
    key=None,
    epochs: int = 1,
    validation: Iterable | None = None,
    metrics: Metrics | None = None,
    initial: TrainState | None = None,
    progress: bool | str = "auto",
    callbacks: Sequence[Callable[[Epoch], Any]] = (),
) -> Fitted:
    """Train a model on the batches (inputs, targets) of `data` for a number of epochs.

    `data` and `validation` can be iterated many times, such as `DataLoader`s or lists of batches.
    Training starts from `initial`, or from `key`. `progress`: "auto" shows a bar at a terminal and
    nothing in CI or in a log; "bar" and "lines" insist, False is quiet. A callback that returns
    True stops training.

    The history has a list with one entry per epoch for "train_loss", each metric as "train_<name>",
    and the same with "val_" if there is validation data. Values of training are means over its
    rows, measured while the parameters change.
    """
    if epochs < 1:
        raise ValueError(f"fit: epochs must be at least 1, but got {epochs}.")
    now = _first_state(model, optimizer, key, initial, data)
    step = make_train_step(model, loss, optimizer, metrics)
    display = Display(shown(progress), epochs)
    history: History = {}
    try:
        for number in range(1, epochs + 1):
            began = time.perf_counter()
            now, values, steps = _one_epoch(step, now, data, display, number)
            seconds = time.perf_counter() - began
            if validation is not None:
                values |= _validated(model, now, validation, loss, metrics)
            for name, value in values.items():
                history.setdefault(name, []).append(value)
            display.epoch(number, values, steps, seconds)
            answers = [callback(Epoch(number, history, now)) for callback in callbacks]
            if True in answers:
                break
    finally:
        display.close()
    return Fitted(now.params, now.state, history, now)


def _first_state(model, optimizer, key, initial, data) -> TrainState:
    """A state that may be donated: a copy of the one given, or a new one."""
    if initial is not None:
        return fg.tree.map(jnp.copy, initial)
    if key is None:
        raise ValueError("fit: needs a key, such as random.key(0), or a training state as initial.")
    if any(part.open for part in model.modules().values()):
        return start(model, optimizer, key, next(iter(data))[0])
    return start(model, optimizer, key)


def _one_epoch(step, now: TrainState, data, display: Display, number: int):
    """One pass over the data: the new state, the means by rows, and the number of steps.

    Values stay where they were computed until the end, so that no step waits for the one before.
    """
    logged, sizes = [], []
    total = len(data) if hasattr(data, "__len__") else None
    for inputs, targets in display.watch(data, total, number):
        now, logs = step(now, inputs, targets)
        logged.append(logs)
        sizes.append(row_count(inputs))
        display.step(logs)
    if not logged:
        raise ValueError(
            "fit: the data has no batch. A generator is empty the second time; use a "
            "DataLoader or a list."
        )
    values = {
        f"train_{name}": _mean([logs[name] for logs in logged], sizes)
        for name in loss_first(logged[0])
    }
    return now, values, len(logged)


def _mean(values: Sequence, sizes: Sequence[int]) -> float:
    weighted = sum(float(value) * size for value, size in zip(values, sizes, strict=True))
    return weighted / sum(sizes)


def _validated(model, now: TrainState, validation, loss, metrics) -> dict[str, float]:
    values = evaluate(model, now.params, now.state, validation, loss=loss, metrics=metrics)
    return {f"val_{name}": value for name, value in values.items()}
