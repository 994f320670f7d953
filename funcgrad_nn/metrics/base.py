"""What a metric that accumulates is, and running means that do not lose digits."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp


@dataclass(frozen=True)
class Metric(abc.ABC):
    """Base of metrics that accumulate over batches.

    A metric holds options and no arrays: it is hashable, and equal to one with the same options.
    Its state is a tree of arrays, so `update` works under `jit` and `scan`.

    >>> import funcgrad.numpy as jnp, funcgrad_nn as nn
    >>> metric = nn.metrics.Accuracy()
    >>> state = metric.init()
    >>> for logits, label in [([[2.0, 1.0]], [0]), ([[2.0, 1.0], [0.0, 3.0]], [1, 1])]:
    ...     state = metric.update(state, jnp.array(logits), jnp.array(label))
    >>> round(float(metric.compute(state)), 4)
    0.6667
    """

    @abc.abstractmethod
    def init(self) -> Any:
        """The state before the first batch."""

    @abc.abstractmethod
    def update(self, state: Any, predictions, targets) -> Any:
        """The state with one more batch."""

    @abc.abstractmethod
    def compute(self, state: Any) -> Any:
        """The value over all batches so far; NaN where there is nothing to measure."""

    def merge(self, state: Any, other: Any) -> Any:
        """The state after the batches of both: of two devices, or of two passes."""
        return fg.tree.map(jnp.add, state, other)

    def __call__(self, predictions, targets) -> Any:
        """The value over one batch."""
        return self.compute(self.update(self.init(), predictions, targets))


class MeanState(NamedTuple):
    """How many values, int32, and their mean, float32."""

    count: Any
    mean: Any


def no_mean() -> MeanState:
    """The mean of nothing yet."""
    return MeanState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))


def joined(a: MeanState, b: MeanState) -> MeanState:
    """The mean of both groups of values: moved by a share, not divided out of a growing sum."""
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1)
    # a group of nothing may have a mean of NaN
    moved = jnp.where(b.count > 0, a.mean + (b.mean - a.mean) * share, a.mean)
    return MeanState(count, jnp.where(a.count > 0, moved, b.mean))


def mean_of(values) -> MeanState:
    """The mean of all entries of an array, counted one by one."""
    values = jnp.asarray(values)
    return MeanState(jnp.int32(values.size), jnp.mean(values.astype(jnp.float32)))


def value_of(state: MeanState):
    """The mean, or NaN if there is none."""
    return jnp.where(state.count > 0, state.mean, jnp.nan)


@dataclass(frozen=True)
class Mean(Metric):
    """The mean of all values given, such as losses of single rows; targets are not looked at.

    >>> import funcgrad.numpy as jnp
    >>> metric = Mean()
    >>> state = metric.update(metric.init(), jnp.array([1.0, 2.0]))
    >>> float(metric.compute(metric.update(state, jnp.array([6.0]))))
    3.0
    """

    def init(self) -> MeanState:
        return no_mean()

    def update(self, state: MeanState, predictions, targets=None) -> MeanState:
        return joined(state, mean_of(predictions))

    def compute(self, state: MeanState):
        return value_of(state)

    def merge(self, state: MeanState, other: MeanState) -> MeanState:
        return joined(state, other)

    def __call__(self, predictions, targets=None):
        return super().__call__(predictions, targets)
