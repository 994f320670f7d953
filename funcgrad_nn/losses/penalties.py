"""Penalties on the size of parameters, over all of a tree or over chosen paths."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.masks import Mask, mask_of


def l1_penalty(params, paths: Mask = None):
    """The sum of |p| over all entries, rank 0; its derivative at 0 is 0.

    `paths` chooses leaves: a pattern such as "**/weight" or several in a tuple, a tree of bools, or
    a function of the tree that returns one. Gradient steps never make an entry exactly 0;
    `optim.proximal_sgd` does.

    >>> import funcgrad.numpy as jnp
    >>> float(l1_penalty({"weight": jnp.array([1.0, -2.0]), "bias": jnp.array([5.0])}, "weight"))
    3.0
    """
    return _total(lambda p: jnp.sum(p * jnp.sign(p)), params, paths)


def l2_penalty(params, paths: Mask = None):
    """The sum of p^2 over all entries, rank 0; its gradient is 2 p. `paths` as in `l1_penalty`.

    >>> import funcgrad.numpy as jnp
    >>> float(l2_penalty({"w": jnp.array([1.0, -2.0])}))
    5.0
    """
    return _total(lambda p: jnp.sum(jnp.square(p)), params, paths)


@validated
def elastic_penalty(params, l1: float, l2: float, paths: Mask = None):
    """l1 * sum |p| + l2 * sum p^2 (Zou and Hastie, 2005). `paths` as in `l1_penalty`.

    >>> import funcgrad.numpy as jnp
    >>> float(elastic_penalty(jnp.array([1.0, -2.0]), l1=1.0, l2=0.5))
    5.5
    """
    return l1 * l1_penalty(params, paths) + l2 * l2_penalty(params, paths)


def _total(size, params, paths: Mask):
    chosen = mask_of(paths, params)
    sizes = fg.tree.leaves(
        fg.tree.map(lambda p, c: size(jnp.asarray(p)) if c else None, params, chosen)
    )
    return sum(sizes[1:], sizes[0]) if sizes else jnp.zeros(())
