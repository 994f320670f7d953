"""Angles between vectors."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.losses.checks import axis_of, equally_shaped, integers, reduced, require_shape


def cosine_similarity(a, b, *, axis: int = -1, eps: float = 1e-8):
    """The cosine of the angle between vectors along `axis`: a.b / (max(|a|, eps) max(|b|, eps)).

    `a`, `b`: floats of equal shapes; the result lacks `axis`. For a vector of zeros it is 0, and so
    is the derivative with respect to the other.

    >>> import funcgrad.numpy as jnp
    >>> float(cosine_similarity(jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0])))
    0.0
    """
    return _cosine("cosine_similarity", a, b, axis, eps)


def cosine_embedding(a, b, labels, *, margin: float = 0.0, reduction: str = "mean"):
    """1 - cos(a, b) where the label is 1, max(0, cos(a, b) - margin) where it is -1.

    `a`, `b`: floats (..., features); `labels`: integers (...), 1 for what belongs together.

    >>> import funcgrad.numpy as jnp
    >>> a, b = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[0.0, 1.0], [2.0, 0.0]])
    >>> cosine_embedding(a, b, jnp.array([1, -1]), reduction="none").tolist()
    [1.0, 1.0]
    """
    name = "cosine_embedding"
    cosine = _cosine(name, a, b, -1, 1e-8)
    labels = integers(name, "labels", labels)
    require_shape(name, "labels", labels, tuple(cosine.shape))
    values = jnp.where(labels > 0, 1 - cosine, jnp.maximum(cosine - margin, 0))
    return reduced(name, values, reduction)


def _cosine(name: str, a, b, axis: int, eps: float):
    a, b = equally_shaped(name, "a", a, "b", b)
    axis = axis_of(name, a, axis)
    square = eps * eps
    lengths = (jnp.maximum(jnp.square(x).sum(axis), square) for x in (a, b))
    scale_a, scale_b = map(fg.lax.rsqrt, lengths)
    return (a * b).sum(axis) * scale_a * scale_b
