"""Vectors for integers."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.init import Initializer, draw
from funcgrad_nn.layers.checks import positive
from funcgrad_nn.module import Module


class Embedding(Module):
    """Row i of a table for each index i: integers (...) -> (..., embedding_dim).

    The gradient of a row is the sum over its occurrences, or their mean with
    `scale_grad_by_freq=True`. The row `padding_idx` starts at zero and gets no gradient. Rows with
    a `norm_type`-norm above `max_norm` are used scaled down to it; the table stays as it is. An
    index outside 0 <= i < num_embeddings gives NaN (negative ones do not count from the end).
    `attend(x)` is x W^T: the same table as output layer.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> layer = nn.Embedding(10, 4, padding_idx=0)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, fg.numpy.array([[0, 3]]))[0].shape
    (1, 2, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        *,
        weight_init: str | float | Initializer = "normal",
    ):
        self.num_embeddings = positive("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = positive("Embedding", "embedding_dim", embedding_dim)
        self.padding_idx = _row(padding_idx, num_embeddings)
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.weight_init = scale_grad_by_freq, weight_init

    def parameters(self, key) -> dict:
        weight = draw(self.weight_init, key, (self.num_embeddings, self.embedding_dim))
        if self.padding_idx is not None:
            weight = weight.at[self.padding_idx].set(0)
        return {"weight": weight}

    def forward(self, indices):
        indices = jnp.asarray(indices)
        if not jnp.issubdtype(indices.dtype, jnp.integer):
            raise TypeError(f"Embedding: needs integers, but got {indices.dtype}.")
        inside = jnp.where(indices < 0, self.num_embeddings, indices)
        rows = jnp.take(self.p.weight, inside, axis=0, mode="fill", fill_value=jnp.nan)
        if self.max_norm is not None:
            rows = self._at_most_max_norm(rows)
        if self.scale_grad_by_freq:
            rows = self._averaging_gradients(rows, inside)
        if self.padding_idx is not None:
            padding = (indices == self.padding_idx)[..., None]
            rows = jnp.where(padding, fg.lax.stop_gradient(rows), rows)
        return rows

    def _at_most_max_norm(self, rows):
        """Long rows scaled down; the gradient is that of the row used, as in PyTorch."""
        held = fg.lax.stop_gradient(rows)
        norms = (jnp.abs(held) ** self.norm_type).sum(-1, keepdims=True) ** (1 / self.norm_type)
        factors = jnp.where(norms > self.max_norm, self.max_norm / (norms + 1e-7), 1.0)
        return rows + (held * factors - held)

    def _averaging_gradients(self, rows, indices):
        """The same rows, with gradients divided by how often each index occurs."""
        zeros = jnp.zeros((self.num_embeddings,), rows.dtype)
        counts = jnp.take(zeros.at[indices].add(1, mode="drop"), indices, mode="clip")
        held = fg.lax.stop_gradient(rows)
        return held + (rows - held) / jnp.maximum(counts, 1)[..., None]

    def attend(self, x):
        """Scores of x (..., embedding_dim) against every row: (..., num_embeddings)."""
        return x @ self.p.weight.T


def _row(index: int | None, count: int) -> int | None:
    """The row that `padding_idx` means; a negative one counts from the end."""
    if index is None:
        return None
    if not -count <= index < count:
        raise ValueError(f"Embedding: padding_idx={index} must be one of the {count} rows.")
    return index % count
