"""Vectors for integers."""

from __future__ import annotations

import funcgrad.numpy as jnp
from funcgrad_nn.init import Initializer, draw
from funcgrad_nn.layers.linear import positive
from funcgrad_nn.module import Module


class Embedding(Module):
    """Row i of a table for each index i: integers (...) -> (..., features).

    The gradient of a row is the sum over its occurrences. An index outside 0 <= i < count gives NaN
    (negative ones do not count from the end). `attend(x)` is x W^T: the same table as output layer.
    """

    def __init__(
        self, count: int, features: int, *, weight_init: str | float | Initializer = "normal"
    ):
        self.count = positive("Embedding", "count", count)
        self.features = positive("Embedding", "features", features)
        self.weight_init = weight_init

    def parameters(self, key) -> dict:
        return {"weight": draw(self.weight_init, key, (self.count, self.features))}

    def forward(self, indices):
        indices = jnp.asarray(indices)
        if not jnp.issubdtype(indices.dtype, jnp.integer):
            raise TypeError(f"Embedding: needs integers, but got {indices.dtype}.")
        inside = jnp.where(indices < 0, self.count, indices)
        return jnp.take(self.p.weight, inside, axis=0, mode="fill", fill_value=jnp.nan)

    def attend(self, x):
        """Scores of x (..., features) against every row: (..., count)."""
        return x @ self.p.weight.T
