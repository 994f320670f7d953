"""Limits on the size of updates."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.transform import GradientTransformation, cast, stateless


def global_norm(tree):
    """The Euclidean norm of all leaves together, rank 0; 0 for a tree without leaves.

    >>> import funcgrad.numpy as jnp
    >>> float(global_norm({"a": jnp.array([3.0]), "b": jnp.array([[4.0]])}))
    5.0
    """
    squares = [jnp.sum(jnp.square(leaf)) for leaf in fg.tree.leaves(tree)]
    return jnp.sqrt(sum(squares[1:], squares[0])) if squares else jnp.zeros(())


@validated
def clip(max_delta: float) -> GradientTransformation:
    """Clip each entry to [-max_delta, max_delta].

    >>> import funcgrad.numpy as jnp
    >>> part, w = clip(0.2), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.2, -0.1]
    """
    return stateless(
        lambda updates, params: fg.tree.map(lambda g: jnp.clip(g, -max_delta, max_delta), updates)
    )


@validated
def clip_by_global_norm(max_norm: float) -> GradientTransformation:
    """If the norm of all updates together exceeds `max_norm`, scale them down to it.

    (Pascanu et al., 2012.) Updates that are not finite stay so.

    >>> import funcgrad.numpy as jnp
    >>> part = clip_by_global_norm(1.0)
    >>> [round(x, 3) for x in part.update(jnp.array([3.0, 4.0]), part.init(None))[0].tolist()]
    [0.6, 0.8]
    """

    def clipped(updates, params):
        norm = global_norm(updates)
        factor = jnp.where(norm < max_norm, 1.0, max_norm / norm)
        return fg.tree.map(lambda g: g * cast(factor, g.dtype), updates)

    return stateless(clipped)


@validated
def clip_by_block_rms(threshold: float) -> GradientTransformation:
    """Scale each leaf down so that its root mean square is at most `threshold`.

    (Shazeer and Stern, 2018, section 6.)

    >>> import funcgrad.numpy as jnp
    >>> part, w = clip_by_block_rms(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.1342, -0.0447]
    """

    def clipped(g):
        return g / jnp.maximum(1.0, jnp.sqrt(jnp.mean(jnp.square(g))) / threshold)

    return stateless(lambda updates, params: fg.tree.map(clipped, updates))
