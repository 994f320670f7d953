"""Metrics of one batch that count: which rows are right, and which class was taken for which."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp


def accuracy(logits, labels):
    """The share of rows whose largest logit, on the last axis, is the label's, as a float32.

    `labels` are integers of the shape of logits without its last axis, or one-hot rows of the shape
    of logits.

    >>> import funcgrad.numpy as jnp
    >>> float(accuracy(jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([1, 1])))
    0.5
    """
    return jnp.mean(hits("accuracy", logits, labels, 1), dtype=jnp.float32)


def top_k_accuracy(logits, labels, k: int = 5):
    """The share of rows whose label is among the `k` largest logits, as a float32.

    Shapes as in `accuracy`. Among equal logits the first count as larger.

    >>> import funcgrad.numpy as jnp
    >>> float(top_k_accuracy(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([1]), k=2))
    1.0
    """
    return jnp.mean(hits("top_k_accuracy", logits, labels, k), dtype=jnp.float32)


def confusion_matrix(predictions, labels, classes: int):
    """Counts, int32 (classes, classes): row i, column j is how often label i was predicted as j.

    `predictions` are integers, or logits with one more axis than `labels`. Entries outside
    0 <= i < classes are not counted.

    >>> import funcgrad.numpy as jnp
    >>> confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    predictions, labels = jnp.asarray(predictions), jnp.asarray(labels)
    if predictions.ndim == labels.ndim + 1:
        predictions = largest(predictions)
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
    """Of each label's rows in a confusion matrix, the share on the diagonal; NaN without rows.

    >>> import funcgrad.numpy as jnp
    >>> per_class_accuracy(jnp.array([[3, 1], [0, 2]])).tolist()
    [0.75, 1.0]
    """
    matrix = jnp.asarray(matrix)
    return jnp.diagonal(matrix) / matrix.sum(1)


def hits(name: str, logits, labels, k: int):
    """For each row whether its label is among the `k` largest logits, bool."""
    logits = jnp.asarray(logits)
    labels = label_indices(name, logits, labels)
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"{name}: k must be from 1 to {logits.shape[-1]} classes, but got {k}.")
    if k == 1:
        return largest(logits) == labels
    _, best = fg.lax.top_k(logits, k)
    return (best == labels[..., None]).any(-1)


def largest(logits):
    """The index of the largest entry on the last axis."""
    return jnp.argmax(jnp.asarray(logits), axis=-1)


def label_indices(name: str, logits, labels):
    """Labels as integers of the shape of logits without its last axis."""
    labels = jnp.asarray(labels)
    if labels.shape == logits.shape:
        return largest(labels)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"{name}: labels for logits of shape {tuple(logits.shape)} must have shape "
            f"{tuple(logits.shape[:-1])}, but have {tuple(labels.shape)}."
        )
    return labels
