"""Losses of classes: from logits, or from log-probabilities."""

from __future__ import annotations

from typing import NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.nn import log_sigmoid, log_softmax
from funcgrad_nn.losses.checks import (
    axis_of,
    equally_shaped,
    inexact,
    integers,
    reduced,
    require_between,
    require_positive,
    require_shape,
    shape,
)


def cross_entropy(
    logits,
    labels,
    *,
    axis: int = -1,
    class_weights=None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
):
    """-log of the probability that softmax(logits) gives to the label, in nats.

    `logits`: floats, with the classes along `axis`. `labels`: integers, of the shape of logits
    without `axis`; or probabilities (soft or one-hot, of any dtype) of the shape of logits. With
    `label_smoothing` s, the target is (1 - s) label + s / classes. `class_weights`, floats of shape
    (classes,), multiply each class's term; the mean over integer labels is then weighted by the
    weights of the labels. Rows whose integer label is `ignore_index` count nothing.

    Exact for logits of any size, -infinity at impossible classes included. An integer label that is
    no class gives NaN. Raises `ValueError` for shapes that do not fit, `TypeError` for integer
    logits.

    >>> import funcgrad.numpy as jnp
    >>> round(float(cross_entropy(jnp.array([[0.0, 0.0]]), jnp.array([1]))), 4)
    0.6931
    """
    name = "cross_entropy"
    logits = inexact(name, "logits", logits)
    axis = axis_of(name, logits, axis)
    log_p = log_softmax(logits, axis=axis)
    options = class_weights, label_smoothing, ignore_index
    return _of_log_probabilities(name, log_p, labels, axis, *options, reduction)


def nll(
    log_probabilities,
    labels,
    *,
    axis: int = -1,
    class_weights=None,
    ignore_index: int | None = None,
    reduction: str = "mean",
):
    """Negative log-likelihood: `cross_entropy` from log-probabilities in place of logits.

    >>> import funcgrad.numpy as jnp
    >>> float(nll(jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([0]))) == float(-jnp.log(0.5))
    True
    """
    log_p = inexact("nll", "log_probabilities", log_probabilities)
    axis = axis_of("nll", log_p, axis)
    options = class_weights, 0.0, ignore_index
    return _of_log_probabilities("nll", log_p, labels, axis, *options, reduction)


class _Rows(NamedTuple):
    """One loss a row, its weight in a mean (None: all equal), which to count, which are known."""

    losses: object
    weights: object = None
    counted: object = None
    known: object = None


def _of_log_probabilities(
    name, log_p, labels, axis, class_weights, smoothing, ignore_index, reduction
):
    labels = _probabilities_if_one_hot(jnp.asarray(labels), log_p, axis)
    require_between(name, "label_smoothing", smoothing)
    weights = _along(name, class_weights, log_p, axis)
    if labels.shape == log_p.shape and jnp.issubdtype(labels.dtype, jnp.inexact):
        if ignore_index is not None:
            raise ValueError(f"{name}: ignore_index needs integer labels.")
        rows = _Rows(-_expected(_smoothed(labels, smoothing, axis), _times(weights, log_p), axis))
    else:
        rows = _integer_rows(name, log_p, labels, axis, weights, smoothing, ignore_index)
    losses, row_weights = rows.losses, rows.weights
    if rows.known is not None:
        losses = jnp.where(rows.known, losses, jnp.nan)
    if rows.counted is not None:
        losses = jnp.where(rows.counted, losses, 0)
        row_weights = jnp.where(rows.counted, 1 if row_weights is None else row_weights, 0)
    return reduced(name, losses, reduction, row_weights)


def _probabilities_if_one_hot(labels, log_p, axis: int):
    """One-hot labels of integers or bools as floats: of the shape of logits they mean nothing else.

    With a single class they might be class numbers by mistake, for which the loss would be 0.
    """
    same = labels.shape == log_p.shape and log_p.shape[axis] > 1
    return labels.astype(log_p.dtype) if same else labels


def _integer_rows(name, log_p, labels, axis, weights, smoothing, ignore_index) -> _Rows:
    mask, known = _one_hot(name, log_p, labels, axis)
    weighted = _times(weights, log_p)
    losses = -_expected(mask, weighted, axis)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * weighted.mean(axis)
    row_weights = None if weights is None else jnp.where(mask, weights, 0).sum(axis)
    counted = None if ignore_index is None else labels != ignore_index
    return _Rows(losses, row_weights, counted, known)


def _along(name: str, class_weights, log_p, axis: int):
    """Class weights, shaped to stand along `axis`; None stays None."""
    if class_weights is None:
        return None
    class_weights = jnp.asarray(class_weights, log_p.dtype)
    require_shape(name, "class_weights", class_weights, (log_p.shape[axis],))
    return class_weights.reshape([-1 if i == axis else 1 for i in range(log_p.ndim)])


def _times(weights, log_p):
    return log_p if weights is None else weights * log_p


def _smoothed(labels, smoothing: float, axis: int):
    if not smoothing:
        return labels
    return (1 - smoothing) * labels + smoothing / labels.shape[axis]


def _one_hot(name: str, log_p, labels, axis: int):
    """A mask of each label's class, and which labels are classes at all."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"{name}: labels must be integers, or probabilities of the shape of "
            f"logits {shape(log_p)}, but got {labels.dtype}{list(labels.shape)}."
        )
    rest = tuple(size for i, size in enumerate(log_p.shape) if i != axis)
    if labels.shape != rest:
        raise ValueError(
            f"{name}: integer labels for logits of shape {shape(log_p)} must "
            f"have shape {rest}, but have {shape(labels)}."
        )
    classes = fg.lax.broadcasted_iota(labels.dtype, log_p.shape, axis)
    known = (labels >= 0) & (labels < log_p.shape[axis])
    return classes == jnp.expand_dims(labels, axis), known


def _expected(weights, log_p, axis: int):
    """The sum of weights * log_p, where a weight of zero gives zero even for log_p = -infinity.

    A mask selects instead of multiplying: no class but the label's is ever touched.
    """
    if weights.dtype == jnp.bool_:
        return jnp.where(weights, log_p, jnp.zeros_like(log_p)).sum(axis)
    return (weights * jnp.where(weights == 0, jnp.zeros_like(log_p), log_p)).sum(axis)


def binary_cross_entropy(
    logits, labels, *, pos_weight=None, from_logits: bool = True, reduction: str = "mean"
):
    """-y log(sigmoid(x)) - (1 - y) log(1 - sigmoid(x)) for logits x and labels y in [0, 1].

    Computed from logits, hence finite and with exact gradients for any finite ones. Labels may be
    bool, integers or probabilities, of the shape of logits. `pos_weight` multiplies the first term:
    a number, or an array of the shape of the last axes of logits, such as (classes,).
    `from_logits=False` takes probabilities in place of logits; a certain prediction that is wrong
    then costs infinity.

    >>> import funcgrad.numpy as jnp
    >>> round(float(binary_cross_entropy(jnp.array([0.0]), jnp.array([1.0]))), 4)
    0.6931
    """
    name = "binary_cross_entropy"
    logits, labels = equally_shaped(name, "logits", logits, "labels", labels)
    labels = labels.astype(logits.dtype)
    if from_logits:
        true, false = labels * log_sigmoid(logits), (1 - labels) * log_sigmoid(-logits)
    else:
        true, false = _times_log(labels, logits), _times_log(1 - labels, 1 - logits)
    if pos_weight is not None:
        true = _positive_weight(name, pos_weight, logits) * true
    return reduced(name, -true - false, reduction)


def _positive_weight(name: str, pos_weight, logits):
    pos_weight = jnp.asarray(pos_weight, logits.dtype)
    if pos_weight.shape != logits.shape[logits.ndim - pos_weight.ndim :]:
        raise ValueError(
            f"{name}: pos_weight must have the shape of the last axes of logits "
            f"{shape(logits)}, but has {shape(pos_weight)}."
        )
    return pos_weight


def _times_log(y, p):
    """y log p, and 0 where y is 0."""
    return y * jnp.log(jnp.where(y == 0, 1, p))


def kl_divergence(
    log_predictions, targets, *, axis: int = -1, log_targets: bool = False, reduction: str = "mean"
):
    """Kullback-Leibler divergence of predictions from targets: the sum of p (log p - log q).

    `log_predictions`: log q, floats; `targets`: probabilities p of the same shape, or log p with
    `log_targets`. The sum goes over `axis`, the reduction over the rest: PyTorch's "batchmean" for
    a batch of rows. Terms with p = 0 are 0. In nats; it is never negative for distributions.

    >>> import funcgrad.numpy as jnp
    >>> p = jnp.array([[0.5, 0.5]])
    >>> round(float(kl_divergence(jnp.log(jnp.array([[0.25, 0.75]])), p)), 4)
    0.1438
    """
    name = "kl_divergence"
    log_q, targets = equally_shaped(name, "log_predictions", log_predictions, "targets", targets)
    targets, axis = inexact(name, "targets", targets), axis_of(name, log_q, axis)
    p = jnp.exp(targets) if log_targets else targets
    absent = p == 0
    log_p = targets if log_targets else jnp.log(jnp.where(absent, 1, p))
    terms = p * (jnp.where(absent, 0, log_p) - jnp.where(absent, 0, log_q))
    return reduced(name, terms.sum(axis), reduction)


def hinge(predictions, labels, *, margin: float = 1.0, reduction: str = "mean"):
    """max(0, margin - y x) for scores x and labels y of -1 or 1, of equal shapes.

    (Cortes and Vapnik, 1995.)

    >>> import funcgrad.numpy as jnp
    >>> hinge(jnp.array([0.5, 2.0]), jnp.array([1, -1]), reduction="none").tolist()
    [0.5, 3.0]
    """
    predictions, labels = equally_shaped("hinge", "predictions", predictions, "labels", labels)
    values = jnp.maximum(margin - labels.astype(predictions.dtype) * predictions, 0)
    return reduced("hinge", values, reduction)


def multi_margin(
    logits, labels, *, p: int = 1, margin: float = 1.0, class_weights=None, reduction: str = "mean"
):
    """The mean over all classes i but the label y of max(0, margin - x_y + x_i)^p.

    `logits`: floats (..., classes); `labels`: integers (...). The mean divides by the number of
    classes, as in PyTorch. `class_weights` (classes,) multiply the rows by the weight of their
    label. A label that is no class gives NaN.

    >>> import funcgrad.numpy as jnp
    >>> float(multi_margin(jnp.array([[1.0, 3.0, 0.0, 0.0]]), jnp.array([0])))
    0.75
    """
    name = "multi_margin"
    logits, labels = inexact(name, "logits", logits), integers(name, "labels", labels)
    require_positive(name, "p", p)
    axis = axis_of(name, logits, -1)
    weights = _along(name, class_weights, logits, axis)
    mask, known = _one_hot(name, logits, labels, axis)
    own = jnp.where(mask, logits, 0).sum(axis, keepdims=True)
    distances = jnp.where(mask, 0, jnp.maximum(margin - own + logits, 0))
    values = (distances if p == 1 else distances**p).mean(axis)
    if weights is not None:
        values = values * jnp.where(mask, weights, 0).sum(axis)
    return reduced(name, jnp.where(known, values, jnp.nan), reduction)
