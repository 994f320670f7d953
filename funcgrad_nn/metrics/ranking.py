"""The area under the ROC curve: how well scores order rows, whatever the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.metrics.base import Metric


def auroc(scores, labels):
    """The probability that a row of class 1 has a larger score than a row of class 0.

    Ties count half. `scores`: floats, `labels`: bool or integers 0 and 1 of the same shape. For
    scores with one more axis (..., classes) the labels are classes, and the result is the mean over
    classes of each against the rest. NaN if one side has no rows. Float32, computed from ranks
    (Mann and Whitney, 1947), exactly.

    >>> import funcgrad.numpy as jnp
    >>> float(auroc(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])))
    0.75
    """
    scores, labels = _checked("auroc", scores, labels)
    if scores.ndim == labels.ndim:
        return _area(scores.ravel(), labels.ravel() > 0)
    columns, wanted = _against_rest(scores, labels)
    return fg.vmap(_area)(columns, wanted).mean()


def _area(scores, positive):
    """From mean ranks; in float64, since sums of ranks exceed float32's integers."""
    ordered = jnp.sort(scores)
    below = jnp.searchsorted(ordered, scores, side="left")
    not_above = jnp.searchsorted(ordered, scores, side="right")
    rank = (below + not_above + 1).astype(jnp.float64) / 2
    ones = positive.sum().astype(jnp.float64)
    zeros = scores.size - ones
    won = jnp.sum(jnp.where(positive, rank, 0)) - ones * (ones + 1) / 2
    pairs = ones * zeros
    return jnp.where(pairs > 0, won / jnp.where(pairs > 0, pairs, 1), jnp.nan).astype(jnp.float32)


class ScoreState(NamedTuple):
    """All scores and labels so far."""

    scores: Any
    labels: Any


@dataclass(frozen=True)
class AUROC(Metric):
    """`auroc` over batches: of class 1, or with `classes` the mean of each class against the rest.

    Exact, it keeps all scores; then the state grows with every batch, so update it outside of
    `jit`. With `bins` it keeps counts of scores in [0, 1] instead, and rows within a bin count as
    ties: fixed memory, off by at most half the share of pairs that meet in a bin.

    >>> import funcgrad.numpy as jnp
    >>> metric = AUROC()
    >>> state = metric.update(metric.init(), jnp.array([0.1, 0.4]), jnp.array([0, 0]))
    >>> state = metric.update(state, jnp.array([0.35, 0.8]), jnp.array([1, 1]))
    >>> float(metric.compute(state))
    0.75
    """

    classes: int | None = None
    bins: int | None = None

    def __post_init__(self):
        for name, value, least in (("classes", self.classes, 2), ("bins", self.bins, 2)):
            if value is not None and value < least:
                raise ValueError(f"AUROC: {name} must be at least {least}, but got {value}.")

    def init(self):
        if self.bins is not None:
            return jnp.zeros((self.classes or 1, 2, self.bins), jnp.int32)
        shape = (0,) if self.classes is None else (0, self.classes)
        return ScoreState(jnp.zeros(shape, jnp.float32), jnp.zeros(0, jnp.int32))

    def update(self, state, predictions, targets):
        scores, labels = _checked("AUROC", predictions, targets)
        if (scores.ndim > labels.ndim) != (self.classes is not None) or (
            self.classes is not None and scores.shape[-1] != self.classes
        ):
            raise ValueError(
                f"AUROC: scores of shape {tuple(scores.shape)} for labels of shape "
                f"{tuple(labels.shape)} do not fit classes={self.classes}."
            )
        if self.bins is not None:
            return state + _binned(scores, labels, self.bins)
        scores = scores.reshape((-1, *state.scores.shape[1:])).astype(jnp.float32)
        labels = labels.ravel().astype(jnp.int32)
        return ScoreState(
            jnp.concatenate([state.scores, scores]), jnp.concatenate([state.labels, labels])
        )

    def compute(self, state):
        if self.bins is None:
            return auroc(state.scores, state.labels)
        zeros, ones = state[:, 0].astype(jnp.float64), state[:, 1].astype(jnp.float64)
        below = jnp.cumsum(zeros, axis=1) - zeros
        pairs = zeros.sum(1) * ones.sum(1)
        won = (ones * (below + zeros / 2)).sum(1)
        area = jnp.where(pairs > 0, won / jnp.where(pairs > 0, pairs, 1), jnp.nan)
        return area.mean().astype(jnp.float32)

    def merge(self, state, other):
        if self.bins is not None:
            return state + other
        return fg.tree.map(lambda a, b: jnp.concatenate([a, b]), state, other)


def _checked(name: str, scores, labels):
    scores, labels = jnp.asarray(scores), jnp.asarray(labels)
    if labels.shape not in (scores.shape, scores.shape[:-1]):
        raise ValueError(
            f"{name}: labels must have the shape of scores {tuple(scores.shape)}, or that without "
            f"the last axis, but have {tuple(labels.shape)}."
        )
    return scores, labels


def _binned(scores, labels, bins: int):
    """Counts (classes, 2, bins): of the rest and of the class, by score."""
    if scores.ndim == labels.ndim:
        columns, wanted = scores.ravel()[None], labels.ravel()[None] > 0
    else:
        columns, wanted = _against_rest(scores, labels)
    place = jnp.clip((columns * bins).astype(jnp.int32), 0, bins - 1) + bins * wanted

    def counted(places):
        return jnp.zeros(2 * bins, jnp.int32).at[places].add(1)

    return fg.vmap(counted)(place).reshape(-1, 2, bins)


def _against_rest(scores, labels):
    """Scores (classes, rows), and for each class which rows are of it."""
    classes = scores.shape[-1]
    columns = scores.reshape(-1, classes).T
    return columns, labels.ravel() == jnp.arange(classes)[:, None]
