"""fit: the loop over epochs, around the compiled step, with everything a long run needs."""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.freeze import Pattern
from funcgrad_nn.module import Module
from funcgrad_nn.optim import GradientTransformation
from funcgrad_nn.saving import CheckpointManager
from funcgrad_nn.saving.pytree import require_like
from funcgrad_nn.training.callbacks import Callback, Callbacks, Epoch, Step
from funcgrad_nn.training.evaluate import Means, evaluate, only_scalars
from funcgrad_nn.training.interrupt import Interrupts
from funcgrad_nn.training.objective import Loss, Metrics, measures_of, pair_of, positional
from funcgrad_nn.training.progress import Display, shown
from funcgrad_nn.training.rates import Rate, rate_of
from funcgrad_nn.training.step import TrainState, make_counted_step, row_count, start


class Fitted(NamedTuple):
    """What `fit` returns: the parameters to use and the state, the history, and all of the state.

    The history has for each name a NumPy array of float64 with one value an epoch; a metric with
    several values, such as a confusion matrix, has further axes. `params` are the
    averaged ones if `ema` was given; `train_state.params` are those that were trained.
    """

    params: Any
    state: Any
    history: dict[str, np.ndarray]
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
    callbacks: Sequence[Callback | Callable[[Epoch], Any]] = (),
    penalty: Callable[[Any], Any] | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    frozen: Sequence[Pattern] = (),
    rate: Rate | None = None,
    checkpoints: CheckpointManager | str | os.PathLike | None = None,
    every: int | None = None,
    resume: bool = False,
) -> Fitted:
    """Train a model on the batches (inputs, targets) of `data` for a number of epochs.

    `data` and `validation` can be iterated many times, such as `DataLoader`s or lists of batches.
    Training starts from `initial`, or from `key`. `progress`: "auto" shows a bar at a terminal or
    in a notebook and nothing in CI or in a log; "bar" and "lines" insist, False is quiet. `loss`,
    `metrics`, `penalty`, `accumulate`, `ema` and `frozen` as in `make_train_step`. `callbacks` are
    told of every step and epoch and may stop training; see `Callback`. `rate`, a number or a
    schedule, is the learning rate to be shown where the optimizer's state does not hold it.

    `checkpoints`, a manager or a directory, gets the whole training (parameters, optimizer, step,
    key, place in the data, history, callbacks) after each epoch and after every `every` steps.
    `resume=True` goes on from the newest usable one, if there is any, as if there had been no
    break, bit for bit: call `fit` again with the same arguments. Data without a position of its own
    (a list of batches) is skipped over. Without `resume`, later steps found in the directory are
    those of another training, and a warning says so. `load_model` reads a checkpoint too. Ctrl-C
    lets the current step end, saves a last checkpoint, and raises `KeyboardInterrupt`; pressed
    twice it raises at once.

    The history has one entry per epoch for "train_loss", each metric as "train_<name>", the same
    with "val_" if there is validation data, and "rate" where it is known. Values of training are
    means over its rows, measured while the parameters change.

    Raises `ValueError` for options that make no sense, for data without a batch, and for a
    checkpoint of another model or optimizer.

    >>> import funcgrad as fg, funcgrad_nn as nn, numpy as np
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> fitted = nn.fit(
    ...     nn.Linear(1, 1), nn.data.DataLoader((x, 2 * x + 1), 16), epochs=20,
    ...     key=fg.random.key(0), loss=nn.mse, optimizer=nn.optim.sgd(0.3),
    ... )
    >>> bool(fitted.history["train_loss"][-1] < 1e-3)
    True
    """
    if not isinstance(model, Module):
        raise TypeError(f"fit: needs a module, but got {type(model).__name__}.")
    if epochs < 1:
        raise ValueError(f"fit: epochs must be at least 1, but got {epochs}.")
    if every is not None and every < 1:
        raise ValueError(f"fit: every must be at least 1, but got {every}.")
    manager = _manager(checkpoints, every, resume)
    data, first = _peeked(model, data)
    measures = measures_of(metrics)
    options: dict[str, Any] = dict(accumulate=accumulate, ema=ema, frozen=frozen)
    loop = Loop(
        model=model,
        now=_first_state(model, optimizer, key, initial, first, **options),
        step=make_counted_step(model, loss, optimizer, measures, penalty=penalty, **options),
        measures=measures,
        data=data,
        validate=_validator(model, validation, loss, metrics),
        callbacks=Callbacks(callbacks),
        display=Display(shown(progress), epochs),
        manager=manager,
        every=every,
        rate=rate,
    )
    if resume:
        loop.resume()
    elif manager is not None:
        _warn_of_later(manager, loop.steps)
    return loop.run(epochs)


def _manager(checkpoints, every, resume) -> CheckpointManager | None:
    if checkpoints is None and (every is not None or resume):
        raise ValueError("fit: every and resume need checkpoints=, a directory or a manager.")
    if checkpoints is None or isinstance(checkpoints, CheckpointManager):
        return checkpoints
    return CheckpointManager(checkpoints)


def _warn_of_later(manager: CheckpointManager, steps: int) -> None:
    later = [step for step in manager.steps() if step > steps]
    if later:
        warnings.warn(
            f"fit: {manager.directory} holds checkpoints of another training, up to step "
            f"{later[-1]}; resume=True would go on from there. Give each training a directory of "
            "its own.",
            stacklevel=3,
        )


def _peeked(model: Module, data: Iterable) -> tuple[Iterable, Any]:
    """The data, and the inputs of its first batch if the model must see them; nothing is lost."""
    if not any(part.open for part in model.modules().values()):
        return data, None
    if hasattr(data, "batches"):
        return data, pair_of(next(iter(data.batches(0))))[0]
    batches = iter(data)
    try:
        first = next(batches)
    except StopIteration:
        raise ValueError("fit: the data has no batch.") from None
    return (itertools.chain([first], batches) if batches is data else data), pair_of(first)[0]


def _first_state(model, optimizer, key, initial, first, **options) -> TrainState:
    """A state that may be donated: a copy of the one given, or a new one."""
    if initial is not None:
        return fg.tree.map(jnp.copy, initial)
    if key is None:
        raise ValueError("fit: needs a key, such as random.key(0), or a training state as initial.")
    inputs = () if first is None else positional(model, first)
    return start(model, optimizer, key, *inputs, **options)


def _validator(model, validation, loss, metrics) -> Callable[[TrainState, Interrupts], dict]:
    def validate(now: TrainState, interrupts: Interrupts) -> dict[str, float]:
        if validation is None:
            return {}
        batches = interrupts.watch(validation)
        params, state = now.averaged(), now.state
        values = evaluate(model, params, state, batches, loss=loss, metrics=metrics)
        return {f"val_{name}": value for name, value in values.items()}

    return validate


def _described(model: Module) -> str | None:
    """The model as JSON, so that a checkpoint can be used alone; None if it has no such form."""
    try:
        return model.to_json(indent=None)
    except TypeError:
        return None


def _length(data: Iterable) -> int | None:
    """The number of batches, where it is known; a loader over a stream knows none."""
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None


class Loop:
    """A training under way. Between two steps, `saved` is all that is needed to go on from there.

    `epoch` is the current one, from 1; `batch` counts the batches done in it, `steps` all.
    """

    def __init__(
        self, *, model, now, step, measures, data, validate, callbacks, display, manager, every,
        rate,
    ):  # fmt: skip
        self.model = model
        self.now, self.data, self.validate = now, data, validate
        self.step, self.measures = fg.jit(step, donate_argnums=(0, 1)), measures
        self.callbacks, self.display, self.rate = callbacks, display, rate
        self.manager, self.every = manager, every
        self.epoch, self.batch, self.steps = 1, 0, int(now.step)
        self.means, self.history = Means(measures), {}
        self.stopped = False
        self.whole = True  # not so in the middle of a step, or of closing an epoch
        # Of the last batch that a step was made of: the data may have handed out one more.
        self.position = getattr(data, "position", None)

    def run(self, epochs: int) -> Fitted:
        """Train until the end of the last epoch, or until a callback stops it."""
        with Interrupts() as interrupts:
            try:
                while self.epoch <= epochs and not (self.stopped and self.batch == 0):
                    self._run_epoch(interrupts)
            except KeyboardInterrupt as interrupt:
                self._save_interrupted(interrupt)
                raise
            finally:
                self.display.close()
                now = self.callbacks.on_end(self.now)
        history = {name: np.array(values) for name, values in self.history.items()}
        return Fitted(now.averaged(), now.state, history, now)

    # -- one epoch

    def _run_epoch(self, interrupts: Interrupts) -> None:
        began, before = time.perf_counter(), self.batch
        self._run_batches(interrupts)
        if not self.means.rows:
            raise ValueError(
                "fit: the data has no batch. A generator is empty the second time; use a "
                "DataLoader or a list."
            )
        seconds, steps = time.perf_counter() - began, self.batch - before
        values = {f"train_{name}": value for name, value in self.means.result().items()}
        values |= self.validate(self.now, interrupts)
        rate = rate_of(self.now.optimizer, self.now.step, self.rate)
        if rate is not None:
            values["rate"] = rate
        self.whole = False
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        self.display.epoch(self.epoch, only_scalars(values), steps, seconds)
        told = Epoch(self.epoch, self.history, self.now)
        self.stopped = self.callbacks.on_epoch(told) or self.stopped
        self.epoch, self.batch, self.means = self.epoch + 1, 0, Means(self.measures)
        self.position = getattr(self.data, "position", None)
        self.whole = True
        self._save(only_scalars(values))

    def _run_batches(self, interrupts: Interrupts) -> None:
        """The rest of the epoch, batch by batch."""
        if self.stopped:
            return
        batches = iter(self.data)
        if self.batch and not hasattr(self.data, "position"):
            batches = itertools.islice(batches, self.batch, None)
        for batch in self.display.watch(batches, _length(self.data), self.epoch, self.batch):
            interrupts.check()
            self._take_step(*pair_of(batch))
            if self.stopped:
                break
        interrupts.check()

    def _take_step(self, inputs, targets) -> None:
        self.whole = False
        self.now, logs, states = self.step(self.now, self.means.states, inputs, targets)
        self.batch, self.steps = self.batch + 1, self.steps + 1
        self.means.add(logs, states, row_count(inputs))
        self.position = getattr(self.data, "position", None)
        self.whole = True
        self.display.step(lambda: self._shown(logs))
        self.stopped = self.callbacks.on_step(Step(self.steps, self.epoch, logs, self.now))
        if self.every is not None and self.steps % self.every == 0:
            self._save({})

    def _shown(self, logs) -> dict[str, float]:
        """What the bar says of a step; reading it waits for the step."""
        values = {name: float(value) for name, value in logs.items()} | self.means.accumulated()
        rate = rate_of(self.now.optimizer, self.now.step, self.rate)
        return only_scalars(values) | ({} if rate is None else {"rate": rate})

    # -- checkpoints

    def saved(self) -> dict[str, Any]:
        """All of the training as one tree."""
        return {
            "model": _described(self.model),
            "train_state": self.now,
            "epoch": self.epoch,
            "batch": self.batch,
            "position": self.position,
            "means": self.means.saved(),
            "history": {name: np.array(values) for name, values in self.history.items()},
            "callbacks": self.callbacks.saved(),
            "stopped": self.stopped,
        }

    def _save(self, metrics: dict[str, float]) -> None:
        if self.manager is not None:
            self.manager.save(self.steps, self.saved(), metrics)

    def _save_interrupted(self, interrupt: KeyboardInterrupt) -> None:
        if self.manager is None or not self.whole:
            return
        self._save({})
        interrupt.add_note(
            f"fit: stopped after step {self.steps}, which is saved in {self.manager.directory}; "
            "the same call with resume=True goes on from there."
        )

    def resume(self) -> None:
        """Go on from the newest usable checkpoint, if there is one."""
        if not self.manager.steps():
            return
        steps, saved = self.manager.restore()
        where = f"the checkpoint of step {steps} in {self.manager.directory}"
        if not isinstance(saved, dict) or "train_state" not in saved:
            raise ValueError(f"fit: {where} was not saved by fit.")
        require_like(self.now, saved["train_state"], f"fit: {where} is of another training.")
        self.now, self.steps = saved["train_state"], steps
        self.epoch, self.batch = saved["epoch"], saved["batch"]
        self.means.restore(saved["means"])
        self.history = {name: list(values) for name, values in saved["history"].items()}
        self.callbacks.restore(saved["callbacks"])
        self.stopped = saved["stopped"]
        self.position = saved["position"]
        if self.position is not None and hasattr(self.data, "restore"):
            self.data.restore(self.position)
