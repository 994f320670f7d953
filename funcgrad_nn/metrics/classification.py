"""Metrics of classes that accumulate: counts over all batches, divided once at the end."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, NamedTuple

import funcgrad.numpy as jnp
from funcgrad_nn.metrics.base import Metric
from funcgrad_nn.metrics.counts import (
    confusion_matrix,
    hits,
    label_indices,
    per_class_accuracy,
)

AVERAGES = ("macro", "micro", "weighted", "binary", None)


class HitState(NamedTuple):
    """How many rows were right, and how many there were; int32."""

    correct: Any
    count: Any


@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of rows whose label is among the `top_k` largest logits.

    Predictions are logits (..., classes), targets integers (...) or one-hot rows. With `threshold`
    both have equal shapes: scores, of which those above it count as class 1. Targets equal to
    `ignore_index` are left out.

    >>> import funcgrad.numpy as jnp
    >>> float(Accuracy(threshold=0.5)(jnp.array([0.2, 0.9]), jnp.array([0, 0])))
    0.5
    """

    top_k: int = 1
    threshold: float | None = None
    ignore_index: int | None = None

    def __post_init__(self):
        if self.threshold is not None and self.top_k != 1:
            raise ValueError("Accuracy: with a threshold there is no top_k.")

    def init(self) -> HitState:
        return HitState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(self, state: HitState, predictions, targets) -> HitState:
        predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
        if self.threshold is None:
            right = hits("Accuracy", predictions, targets, self.top_k)
            targets = label_indices("Accuracy", predictions, targets)
        else:
            right = _above("Accuracy", predictions, targets, self.threshold) == targets
        counted = jnp.ones(right.shape, bool)
        if self.ignore_index is not None:
            counted = targets != self.ignore_index
        return HitState(
            state.correct + jnp.sum(right & counted, dtype=jnp.int32),
            state.count + jnp.sum(counted, dtype=jnp.int32),
        )

    def compute(self, state: HitState):
        return state.correct / state.count


@dataclass(frozen=True)
class ConfusionMatrix(Metric):
    """Counts, int32 (classes, classes): row i, column j is how often label i was predicted as j.

    Predictions are integers of the shape of the targets, logits with one more axis, or with
    `threshold` scores of class 1. Targets outside 0 <= i < classes are left out.

    >>> import funcgrad.numpy as jnp
    >>> ConfusionMatrix(2)(jnp.array([0, 1, 1]), jnp.array([0, 0, 1])).tolist()
    [[1, 1], [0, 1]]
    """

    classes: int
    threshold: float | None = None

    def __post_init__(self):
        if self.classes < 1:
            raise ValueError(
                f"{type(self).__name__}: classes must be at least 1, but got {self.classes}."
            )

    def init(self):
        return jnp.zeros((self.classes, self.classes), jnp.int32)

    def update(self, state, predictions, targets):
        if self.threshold is not None:
            name = type(self).__name__
            predictions = _above(name, predictions, targets, self.threshold).astype(jnp.int32)
        return state + confusion_matrix(predictions, targets, self.classes)

    def compute(self, state):
        return state


@dataclass(frozen=True)
class PerClassAccuracy(ConfusionMatrix):
    """Of each class's rows the share that was recognised, (classes,); NaN for a class without rows.

    >>> import funcgrad.numpy as jnp
    >>> PerClassAccuracy(2)(jnp.array([0, 1, 1]), jnp.array([0, 0, 1])).tolist()
    [0.5, 1.0]
    """

    def compute(self, state):
        return per_class_accuracy(state)


@dataclass(frozen=True)
class _Rate(ConfusionMatrix):
    """Right predictions of a class divided by a count of rows that depends on the metric.

    `average`: "macro" is the mean over classes, "weighted" one by their number of targets, "micro"
    counts all classes together, "binary" is class 1 alone, None gives all as (classes,). A class
    without such rows has 0.
    """

    average: str | None = "macro"

    def __post_init__(self):
        super().__post_init__()
        if self.average not in AVERAGES:
            raise ValueError(
                f"{type(self).__name__}: average must be macro, micro, weighted, binary or None, "
                f"but got {self.average!r}."
            )
        if self.average == "binary" and self.classes != 2:
            raise ValueError(
                f"{type(self).__name__}: the average binary needs 2 classes, not {self.classes}."
            )

    def compute(self, state):
        right, predicted, actual = jnp.diagonal(state), state.sum(0), state.sum(1)
        if self.average == "micro":
            right, predicted, actual = right.sum(), predicted.sum(), actual.sum()
        rates = self.rate(right, predicted, actual)
        if self.average == "macro":
            return rates.mean()
        if self.average == "weighted":
            return _divided((rates * actual).sum(), actual.sum())
        return rates[1] if self.average == "binary" else rates

    @abc.abstractmethod
    def rate(self, right, predicted, actual):
        """The rates from counts of each class, or of all together."""


@dataclass(frozen=True)
class Precision(_Rate):
    """Of what was predicted as a class, the share that is of it. Arguments as in `Recall`.

    >>> import funcgrad.numpy as jnp
    >>> Precision(2, average=None)(jnp.array([0, 1, 1]), jnp.array([0, 0, 1])).tolist()
    [1.0, 0.5]
    """

    def rate(self, right, predicted, actual):
        return _divided(right, predicted)


@dataclass(frozen=True)
class Recall(_Rate):
    """Of the rows of a class, the share that was predicted as it.

    `average`: "macro" is the mean over classes, "weighted" one by their number of targets, "micro"
    counts all classes together, "binary" is class 1 alone, None gives all as (classes,). A class
    without rows has 0, as in scikit-learn. Predictions as in `ConfusionMatrix`.

    >>> import funcgrad.numpy as jnp
    >>> float(Recall(2)(jnp.array([0, 1, 1]), jnp.array([0, 0, 1])))
    0.75
    """

    def rate(self, right, predicted, actual):
        return _divided(right, actual)


@dataclass(frozen=True)
class F1(_Rate):
    """The harmonic mean of precision and recall of each class. Arguments as in `Recall`.

    >>> import funcgrad.numpy as jnp
    >>> round(float(F1(2, average="binary")(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]))), 4)
    0.6667
    """

    def rate(self, right, predicted, actual):
        return _divided(2 * right, predicted + actual)


def _divided(part, whole):
    return jnp.where(whole == 0, 0.0, part / jnp.where(whole == 0, 1, whole))


def _above(name: str, scores, targets, threshold: float):
    scores, targets = jnp.asarray(scores), jnp.asarray(targets)
    if scores.shape != targets.shape:
        raise ValueError(
            f"{name}: with a threshold, scores and targets must have equal shapes, but got "
            f"{tuple(scores.shape)} and {tuple(targets.shape)}."
        )
    return scores > threshold
