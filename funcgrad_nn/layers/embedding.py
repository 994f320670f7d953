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


class EmbeddingBag(Embedding):
    """The mean, sum or maximum (`mode`) of the rows of a table for each bag of indices.

    Indices (bags, size) -> (bags, embedding_dim); or all bags after each other, (count,), with
    `offsets`, where each begins (with `include_last_offset` also where the last one ends); indices
    before the first and behind the last are in no bag.
    `per_sample_weights`, of the indices' shape, multiply the rows of a sum. Entries that are
    `padding_idx` do not count; an empty bag gives zeros. Other options as in `Embedding`.

    >>> layer = nn.EmbeddingBag(10, 3, mode="sum")
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, jnp.array([1, 2, 4, 4]), jnp.array([0, 3]))[0].shape
    (2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        *,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        weight_init: str | float | Initializer = "normal",
    ):
        options = (padding_idx, max_norm, norm_type, scale_grad_by_freq)
        Embedding.__init__(self, num_embeddings, embedding_dim, *options, weight_init=weight_init)
        if mode not in ("mean", "sum", "max"):
            raise ValueError(f'EmbeddingBag: mode is "mean", "sum" or "max", but got {mode!r}.')
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(self, indices, offsets=None, per_sample_weights=None):
        indices = jnp.asarray(indices)
        bags, count = self._bags(indices, offsets)
        rows = Embedding.forward(self, indices.ravel())
        if per_sample_weights is not None:
            rows = rows * self._checked_weights(per_sample_weights, indices).ravel()[:, None]
        counts = jnp.ones(rows.shape[0], rows.dtype)
        if self.padding_idx is not None:
            counts = jnp.where(indices.ravel() == self.padding_idx, 0, counts)
        return self._reduced(rows, counts, bags, jnp.zeros((count, rows.shape[1]), rows.dtype))

    def _reduced(self, rows, counts, bags, zeros):
        filled = zeros[:, 0].at[bags].add(counts, mode="drop")[:, None]
        if self.mode == "max":
            rows = jnp.where(counts[:, None] > 0, rows, -jnp.inf)
            return jnp.where(filled > 0, (zeros - jnp.inf).at[bags].max(rows, mode="drop"), 0)
        sums = zeros.at[bags].add(jnp.where(counts[:, None] > 0, rows, 0), mode="drop")
        return sums if self.mode == "sum" else sums / jnp.maximum(filled, 1)

    def _bags(self, indices, offsets):
        """The bag of each index, all in one row, and how many bags there are."""
        if indices.ndim == 2 and offsets is None:
            count, size = indices.shape
            return jnp.repeat(jnp.arange(count), size), count
        if indices.ndim != 1 or offsets is None or jnp.ndim(offsets) != 1:
            raise ValueError(
                "EmbeddingBag: needs indices (bags, size), or indices (count,) with offsets "
                f"(bags,), but the indices' shape is {tuple(indices.shape)}."
            )
        offsets = jnp.asarray(offsets)
        bags = jnp.searchsorted(offsets, jnp.arange(indices.size), side="right") - 1
        count = offsets.size - self.include_last_offset
        return jnp.where(bags < 0, count, bags), count

    def _checked_weights(self, weights, indices):
        if self.mode != "sum" or jnp.shape(weights) != indices.shape:
            raise ValueError(
                'EmbeddingBag: per_sample_weights need mode="sum" and the shape of the indices '
                f"{tuple(indices.shape)}, but their shape is {tuple(jnp.shape(weights))}."
            )
        return jnp.asarray(weights)


def _row(index: int | None, count: int) -> int | None:
    """The row that `padding_idx` means; a negative one counts from the end."""
    if index is None:
        return None
    if not -count <= index < count:
        raise ValueError(f"Embedding: padding_idx={index} must be one of the {count} rows.")
    return index % count
