"""Metrics: what a person wants to know about predictions; nothing here is differentiated."""

from __future__ import annotations

import funcgrad.numpy as jnp


def accuracy(logits, labels):
    """The share of rows whose largest logit, on the last axis, is the label's, as a float32.

    `labels` are integers of the shape of logits without its last axis, or one-hot rows of the shape
    of logits.

    >>> import funcgrad.numpy as jnp
    >>> float(accuracy(jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([1, 1])))
    0.5
    """
    return jnp.mean(_classes(logits) == _labels("accuracy", logits, labels), dtype=jnp.float32)


def confusion_matrix(predictions, labels, classes: int):
    """Counts, int32 (classes, classes): row i, column j is how often label i was predicted as j.

    `predictions` are integers, or logits with one more axis than `labels`. Entries outside
    0 <= i < classes are not counted.
    """
    predictions, labels = jnp.asarray(predictions), jnp.asarray(labels)
    if predictions.ndim == labels.ndim + 1:
        predictions = _classes(predictions)
    if predictions.shape != labels.shape:
        raise ValueError(
            "confusion_matrix: predictions and labels must have equal shapes, but got "
            f"{tuple(predictions.shape)} and {tuple(labels.shape)}."
        )
    inside = (labels >= 0) & (predictions >= 0) & (predictions < classes)
    rows = jnp.where(inside, labels, classes).ravel()
    counts = jnp.zeros((classes, classes), jnp.int32)
    return counts.at[rows, predictions.ravel()].add(1, mode="drop")


def per_class_accuracy(matrix):
    """Of each label's rows in a confusion matrix, the share on the diagonal; NaN without rows."""
    matrix = jnp.asarray(matrix)
    return jnp.diagonal(matrix) / matrix.sum(1)


def _classes(logits):
    return jnp.argmax(jnp.asarray(logits), axis=-1)


def _labels(name: str, logits, labels):
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if labels.shape == logits.shape:
        return _classes(labels)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"{name}: labels for logits of shape {tuple(logits.shape)} must have shape "
            f"{tuple(logits.shape[:-1])}, but have {tuple(labels.shape)}."
        )
    return labels
