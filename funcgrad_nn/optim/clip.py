"""Limits on the size of updates."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.transform import GradientTransformation, stateless


def global_norm(tree):
    """The Euclidean norm of all leaves together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in fg.tree.leaves(tree)))


def clip(max_delta: float) -> GradientTransformation:
    """Clip each entry to [-max_delta, max_delta]."""
    return stateless(
        lambda updates, params: fg.tree.map(lambda g: jnp.clip(g, -max_delta, max_delta), updates)
    )


def clip_by_global_norm(max_norm: float) -> GradientTransformation:
    """If the norm of all updates together exceeds `max_norm`, scale them down to it.

    (Pascanu et al., 2012.)
    """

    def clipped(updates, params):
        norm = global_norm(updates)
        return fg.tree.map(
            lambda g: jnp.where(norm < max_norm, g, g / norm.astype(g.dtype) * max_norm), updates
        )

    return stateless(clipped)
