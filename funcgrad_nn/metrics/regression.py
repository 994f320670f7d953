"""Metrics of differences between predictions and targets that accumulate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import funcgrad.numpy as jnp
from funcgrad_nn.metrics.base import Mean, MeanState, Metric, joined, mean_of, value_of


@dataclass(frozen=True)
class MeanSquaredError(Mean):
    """The mean of (prediction - target)^2 over all entries of all batches; equal shapes.

    >>> import funcgrad.numpy as jnp
    >>> float(MeanSquaredError()(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])))
    2.5
    """

    def update(self, state: MeanState, predictions, targets=None) -> MeanState:
        difference = _difference(type(self).__name__, predictions, targets)
        return joined(state, mean_of(jnp.square(difference)))


@dataclass(frozen=True)
class RootMeanSquaredError(MeanSquaredError):
    """The root of `MeanSquaredError`, in the units of the targets.

    >>> import funcgrad.numpy as jnp
    >>> float(RootMeanSquaredError()(jnp.array([1.0, 7.0]), jnp.zeros(2)))
    5.0
    """

    def compute(self, state: MeanState):
        return jnp.sqrt(value_of(state))


@dataclass(frozen=True)
class MeanAbsoluteError(Mean):
    """The mean of |prediction - target| over all entries of all batches; equal shapes.

    >>> import funcgrad.numpy as jnp
    >>> float(MeanAbsoluteError()(jnp.array([1.0, -3.0]), jnp.zeros(2)))
    2.0
    """

    def update(self, state: MeanState, predictions, targets=None) -> MeanState:
        difference = _difference("MeanAbsoluteError", predictions, targets)
        return joined(state, mean_of(jnp.abs(difference)))


class R2State(NamedTuple):
    """Number of rows; means of squared residuals, of targets, of their squared deviations."""

    count: Any
    residual: Any
    mean: Any
    deviation: Any


@dataclass(frozen=True)
class R2Score(Metric):
    """The coefficient of determination: 1 - sum (y - p)^2 / sum (y - mean y)^2.

    1 is perfect, 0 as good as the mean of the targets. All entries are one variable; with `outputs`
    the last axis holds that many variables, and the result is the mean of theirs. Targets that are
    all equal give 1 if every prediction is exact, else 0, as in scikit-learn. Deviations are merged
    about the mean of each batch (Chan et al., 1979), so that large targets do not cancel.

    >>> import funcgrad.numpy as jnp
    >>> round(float(R2Score()(jnp.array([2.5, 0.0, 2.0]), jnp.array([3.0, -0.5, 2.0]))), 4)
    0.9231
    """

    outputs: int | None = None

    def init(self) -> R2State:
        none = jnp.zeros(self.outputs or 1, jnp.float32)
        return R2State(jnp.zeros((), jnp.int32), none, none, none)

    def update(self, state: R2State, predictions, targets) -> R2State:
        difference = _difference("R2Score", predictions, targets)
        targets = jnp.asarray(targets)
        if self.outputs is not None and targets.shape[-1:] != (self.outputs,):
            raise ValueError(
                f"R2Score: the last axis must have {self.outputs} outputs, but targets have shape "
                f"{tuple(targets.shape)}."
            )
        width = self.outputs or 1
        rows = targets.astype(jnp.float32).reshape(-1, width)
        residual = jnp.square(difference.astype(jnp.float32).reshape(-1, width)).mean(0)
        mean = rows.mean(0)
        deviation = jnp.square(rows - mean).mean(0)
        batch = R2State(jnp.int32(rows.shape[0]), residual, mean, deviation)
        return self.merge(state, batch)

    def merge(self, state: R2State, other: R2State) -> R2State:
        count = state.count + other.count
        share = other.count / jnp.maximum(count, 1)
        apart = other.mean - state.mean
        merged = R2State(
            count,
            state.residual + (other.residual - state.residual) * share,
            state.mean + apart * share,
            state.deviation
            + (other.deviation - state.deviation) * share
            + jnp.square(apart) * share * (1 - share),
        )
        return R2State(
            count,
            *(
                jnp.where(other.count == 0, old, new)
                for old, new in zip(state[1:], merged[1:], strict=True)
            ),
        )

    def compute(self, state: R2State):
        constant = state.deviation == 0
        score = 1 - state.residual / jnp.where(constant, 1, state.deviation)
        exact = jnp.where(state.residual == 0, 1.0, 0.0)
        return jnp.where(state.count == 0, jnp.nan, jnp.where(constant, exact, score).mean())


def _difference(name: str, predictions, targets):
    predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"{name}: predictions and targets must have equal shapes, but got "
            f"{tuple(predictions.shape)} and {tuple(targets.shape)}."
        )
    return predictions - targets
