"""Losses: functions of predictions and targets.

Every loss takes `reduction`: "mean" over all its values (the default, so that the size of a batch
does not change the size of a step), "sum", or "none". Shapes must match exactly; nothing is
broadcast.
"""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.nn import log_sigmoid, log_softmax

REDUCTIONS = {"mean": jnp.mean, "sum": jnp.sum, "none": lambda values: values}


def cross_entropy(
    logits, labels, *, axis: int = -1, label_smoothing: float = 0.0, reduction: str = "mean"
):
    """-log of the probability that softmax(logits) gives to the label, in nats.

    `logits`: floats, with the classes along `axis`. `labels`: integers, of the shape of logits
    without `axis`; or probabilities (one-hot or soft) of the shape of logits. With
    `label_smoothing` s, the target is (1 - s) label + s / classes. Exact for logits of any size,
    -infinity at impossible classes included. An integer label that is no class gives NaN.
    Raises `ValueError` for shapes that do not fit, `TypeError` for integer logits.

    >>> import funcgrad.numpy as jnp
    >>> round(float(cross_entropy(jnp.array([[0.0, 0.0]]), jnp.array([1]))), 4)
    0.6931
    """
    logits, labels = _inexact("cross_entropy", "logits", logits), jnp.asarray(labels)
    _require_between("cross_entropy", "label_smoothing", label_smoothing)
    axis = _axis("cross_entropy", logits, axis)
    if labels.shape == logits.shape and jnp.issubdtype(labels.dtype, jnp.inexact):
        weights, known = labels, True
    else:
        weights, known = _one_hot(logits, labels, axis)
    log_p = log_softmax(logits, axis=axis)
    losses = -_weighted(weights, log_p).sum(axis)
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_p.mean(axis)
    losses = losses if known is True else jnp.where(known, losses, jnp.nan)
    return _reduced("cross_entropy", losses, reduction)


def _one_hot(logits, labels, axis: int):
    """A mask of each label's class, and which labels are classes at all."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"cross_entropy: labels must be integers, or probabilities of the shape of "
            f"logits {_shape(logits)}, but got {labels.dtype}{list(labels.shape)}."
        )
    rest = tuple(size for i, size in enumerate(logits.shape) if i != axis)
    if labels.shape != rest:
        raise ValueError(
            f"cross_entropy: integer labels for logits of shape {_shape(logits)} must "
            f"have shape {rest}, but have {_shape(labels)}."
        )
    count = logits.shape[axis]
    classes = fg.lax.broadcasted_iota(labels.dtype, logits.shape, axis)
    return classes == jnp.expand_dims(labels, axis), (labels >= 0) & (labels < count)


def _weighted(weights, log_p):
    """weights * log_p, where a weight of zero gives zero even for log_p = -infinity.

    A mask selects instead of multiplying: no class but the label's is ever touched.
    """
    if weights.dtype == jnp.bool_:
        return jnp.where(weights, log_p, jnp.zeros_like(log_p))
    return weights * jnp.where(weights == 0, jnp.zeros_like(log_p), log_p)


def binary_cross_entropy(logits, labels, *, reduction: str = "mean"):
    """-y log(sigmoid(x)) - (1 - y) log(1 - sigmoid(x)) for logits x and labels y in [0, 1].

    Computed from logits, hence finite and with exact gradients for any finite ones. Labels may be
    bool, integers or probabilities, of the shape of logits.
    """
    logits = _inexact("binary_cross_entropy", "logits", logits)
    labels = jnp.asarray(labels)
    _require_equal_shapes("binary_cross_entropy", "logits", logits, "labels", labels)
    labels = labels.astype(logits.dtype)
    losses = -labels * log_sigmoid(logits) - (1 - labels) * log_sigmoid(-logits)
    return _reduced("binary_cross_entropy", losses, reduction)


def mse(predictions, targets, *, reduction: str = "mean"):
    """Mean squared error: the mean of (prediction - target)^2, without a factor of one half.

    >>> import funcgrad.numpy as jnp
    >>> float(mse(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])))
    2.5
    """
    return _reduced("mse", jnp.square(_difference("mse", predictions, targets)), reduction)


def mae(predictions, targets, *, reduction: str = "mean"):
    """Mean absolute error: the mean of |prediction - target|; the derivative at 0 is 0."""
    difference = _difference("mae", predictions, targets)
    return _reduced("mae", difference * jnp.sign(difference), reduction)  # abs'(0) would be 1


def huber(predictions, targets, *, delta: float = 1.0, reduction: str = "mean"):
    """d^2 / 2 for |d| <= delta, else delta (|d| - delta / 2), d the difference (Huber, 1964)."""
    distance = jnp.abs(_difference("huber", predictions, targets))
    near = jnp.minimum(distance, delta)
    return _reduced("huber", near * (distance - near / 2), reduction)


def _difference(name: str, predictions, targets):
    predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
    _require_equal_shapes(name, "predictions", predictions, "targets", targets)
    return _inexact(name, "predictions", predictions) - targets


def _inexact(name: str, what: str, values):
    values = jnp.asarray(values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(
            f"{name}: {what} must be floats, but got {values.dtype}. "
            "Convert them, for example with .astype(float32)."
        )
    return values


def _axis(name: str, values, axis: int) -> int:
    if not -values.ndim <= axis < values.ndim:
        raise ValueError(f"{name}: axis {axis} is not an axis of shape {_shape(values)}.")
    return axis % values.ndim


def _require_equal_shapes(name: str, what: str, a, other: str, b) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"{name}: {what} and {other} must have equal shapes, but got {_shape(a)} "
            f"and {_shape(b)}. Reshape one of them; nothing is broadcast."
        )


def _require_between(name: str, what: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: {what} must be between 0 and 1, but got {value}.")


def _reduced(name: str, losses, reduction: str):
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be mean, sum or none, but got {reduction!r}.")
    return REDUCTIONS[reduction](losses)


def _shape(values) -> tuple:
    return tuple(values.shape)
