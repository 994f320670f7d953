"""One step of training, compiled, and the state that it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.freeze import Pattern, freeze, merge
from funcgrad_nn.module import Module
from funcgrad_nn.optim import GradientTransformation, MultiSteps, apply_updates
from funcgrad_nn.optim.transform import updater
from funcgrad_nn.precision import loss_scale_of
from funcgrad_nn.training.objective import (
    Loss,
    Measures,
    Metrics,
    losses_of,
    measures_of,
    positional,
)


class TrainState(NamedTuple):
    """All that training changes, as one tree: saving it and going on loses nothing.

    `key` stays the same; step n draws from `fold_in(key, n)`. `ema` holds the averaged parameters,
    or None if none are kept.
    """

    params: Any
    state: Any
    optimizer: Any
    step: Any
    key: Any
    ema: Any = None

    def averaged(self) -> Any:
        """The parameters to use: the averaged ones if there are any."""
        return self.params if self.ema is None else self.ema


def start(
    model: Module,
    optimizer: GradientTransformation,
    key,
    *inputs,
    accumulate: int = 1,
    ema: float | None = None,
    frozen: Sequence[Pattern] = (),
) -> TrainState:
    """The training state before the first step; `inputs` as in `Module.init`.

    `accumulate`, `ema` and `frozen` as in `make_train_step`.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> now = start(nn.Linear(2, 1), nn.optim.adam(1e-3), fg.random.key(0))
    >>> sorted(now.params), int(now.step)
    (['bias', 'weight'], 0)
    """
    init_key, step_key = fg.random.split(key)
    params, state = model.init(init_key, *inputs)
    options: dict[str, Any] = dict(accumulate=accumulate, ema=ema, frozen=frozen)
    return before_training(params, state, optimizer, step_key, **options)


def before_training(
    params,
    state,
    optimizer: GradientTransformation,
    key,
    *,
    accumulate: int = 1,
    ema: float | None = None,
    frozen: Sequence[Pattern] = (),
) -> TrainState:
    """The training state around parameters that exist already."""
    updater("optimizer", optimizer)  # raises for what is none, such as a recipe not called
    optimizer_state = accumulated(optimizer, accumulate).init(freeze(params, *frozen)[0])
    # A copy: the step donates its state, and no buffer may be in it twice.
    average = None if ema is None else fg.tree.map(jnp.copy, params)
    return TrainState(params, state, optimizer_state, jnp.zeros((), jnp.int32), key, average)


def make_train_step(
    model: Module,
    loss: Loss,
    optimizer: GradientTransformation,
    metrics: Metrics | None = None,
    *,
    penalty: Callable[[Any], Any] | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    frozen: Sequence[Pattern] = (),
) -> Callable:
    """A compiled `step(train_state, inputs, targets) -> (train_state, logs)`.

    `loss(outputs, targets)` is a scalar; `logs` holds it as "loss", beside each of `metrics`, as
    measured before the update. A metric is a function of (outputs, targets), or one of `metrics`'
    classes. Inputs may be a tuple or a dictionary (see `objective.positional`); for outputs in a
    dictionary, `loss` and `metrics` may be dictionaries by output, and the losses are added.
    `penalty(params)` is added to the loss. `accumulate=k` moves the parameters once for the mean
    gradient of every k batches. `ema=d` keeps averaged parameters: a <- d a + (1 - d) p after each
    move, starting at the first (as torch.optim.swa_utils does). Parameters that fit a path pattern
    of `frozen` (see `freeze`) stay as they are and cost no gradient work. Make the state with
    `start(..., accumulate=, ema=, frozen=)` of the same values.

    The training state given in is donated: its buffers become those of the new one, so it cannot
    be used again.

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
    measures = measures_of(metrics)
    counted_step = make_counted_step(
        model, loss, optimizer, measures,
        penalty=penalty, accumulate=accumulate, ema=ema, frozen=frozen,
    )  # fmt: skip

    def step(now: TrainState, inputs, targets):
        now, logs, states = counted_step(now, measures.init(), inputs, targets)
        return now, logs | {n: metric.compute(states[n]) for n, metric in measures.accumulating}

    return fg.jit(step, donate_argnums=0)


def make_counted_step(
    model: Module,
    loss: Loss,
    optimizer: GradientTransformation,
    measures: Measures,
    *,
    penalty: Callable[[Any], Any] | None,
    accumulate: int,
    ema: float | None,
    frozen: Sequence[Pattern],
) -> Callable:
    """The step not yet compiled, with metrics that accumulate.

    `step(train_state, states, inputs, targets) -> (train_state, logs, states)`.
    """
    update = updater("make_train_step", accumulated(optimizer, accumulate))
    _require_decay(ema)

    def total(trainable, held, now: TrainState, inputs, targets):
        params = merge(trainable, held)
        key = fg.random.fold_in(now.key, now.step)
        outputs, state = model.apply(
            params, now.state, *positional(model, inputs), train=True, key=key
        )
        losses = losses_of(loss, outputs, targets)
        if penalty is not None:
            losses["loss"] = losses["loss"] + penalty(params)
        return losses["loss"] * loss_scale_of(now.optimizer), (outputs, state, losses)

    def step(now: TrainState, states, inputs, targets):
        value_and_grad = fg.value_and_grad(total, has_aux=True)
        trainable, held = freeze(now.params, *frozen)
        (_, (outputs, state, logs)), grads = value_and_grad(trainable, held, now, inputs, targets)
        updates, optimizer_state = update(grads, now.optimizer, trainable, value=logs["loss"])
        params = merge(apply_updates(trainable, updates), held)
        average = _averaged(now, params, ema, accumulate)
        after = TrainState(params, state, optimizer_state, now.step + 1, now.key, average)
        logs |= measures.values(outputs, targets)
        return after, logs, measures.update(states, outputs, targets)

    return step


def accumulated(optimizer: GradientTransformation, count: int) -> GradientTransformation:
    """The optimizer that moves once for every `count` gradients."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"accumulate must be an integer of at least 1, but got {count!r}.")
    return optimizer if count == 1 else MultiSteps(optimizer, count).gradient_transformation()


def _require_decay(ema: float | None) -> None:
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema must be in [0, 1), but got {ema!r}.")


def _averaged(now: TrainState, params, decay: float | None, accumulate: int):
    """The averaged parameters after this step; they change only when the parameters do."""
    if decay is None:
        return now.ema
    if now.ema is None:
        raise ValueError("ema: the training state has no averages; make it with start(..., ema=).")
    moved, first = (now.step + 1) % accumulate == 0, now.step + 1 == accumulate

    def mixed(average, new):
        mean = average + ((new - average) * (1.0 - decay)).astype(average.dtype)
        return jnp.where(moved, jnp.where(first, new, mean), average)

    return fg.tree.map(mixed, now.ema, params)


def row_count(inputs) -> int:
    """The first size of a tree of arrays."""
    return int(np.shape(fg.tree.leaves(inputs)[0])[0])
