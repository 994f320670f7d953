"""Counting steps, and moving means of leaves: what the scalings by moments are written in.

The formulas are arranged for few operations on whole arrays: corrections that depend on the step
alone are computed as scalars first.
"""

from __future__ import annotations

import math
import numbers

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.transform import cast

LAST_COUNT = 2**31 - 1


def no_steps():
    """The count before the first update, int32."""
    return jnp.zeros((), jnp.int32)


def next_count(count):
    """count + 1, which stays at the largest int32 instead of wrapping round."""
    return jnp.where(count < LAST_COUNT, count + 1, count)


def zeros(params, dtype=None):
    """A tree of zeros like `params`, in `dtype` if one is given."""
    return fg.tree.map(lambda p: jnp.zeros_like(p, dtype=dtype), params)


def full(params, value):
    """A tree like `params` that holds `value` everywhere."""
    return fg.tree.map(lambda p: jnp.full_like(p, value), params)


def moving_mean(values, means, decay):
    """decay mean + (1 - decay) value, leaf by leaf."""
    return fg.tree.map(lambda g, m: decay * m + (1 - decay) * g, values, means)


def moving_square(values, means, decay):
    """decay mean + (1 - decay) value^2, leaf by leaf."""
    return fg.tree.map(lambda g, m: decay * m + (1 - decay) * jnp.square(g), values, means)


def missing_share(decay, count):
    """1 - decay^count: the weight that the values so far have in a mean that began at zero.

    Through expm1, because 1 - 0.999 in float32 is off by one part in 100 000.
    """
    if isinstance(decay, numbers.Real):
        return -jnp.expm1(count * math.log(decay)) if decay else jnp.ones((), jnp.float32)
    return 1 - decay**count


def unbiased(means, share):
    """Means divided by their `missing_share`, each in its own dtype."""
    factor = 1 / share
    return fg.tree.map(lambda m: m * cast(factor, m.dtype), means)


def looked_ahead(means, values, decay, count):
    """Nesterov's mean (Dozat, 2016): the unbiased mean as it will be with this value once more."""
    ahead, now = missing_share(decay, next_count(count)), missing_share(decay, count)
    old_part, new_part = decay / ahead, (1 - decay) / now
    return fg.tree.map(
        lambda m, g: cast(old_part, m.dtype) * m + cast(new_part, m.dtype) * g, means, values
    )


def cast_tree(tree, dtype):
    """All leaves in `dtype`; None keeps theirs."""
    return tree if dtype is None else fg.tree.map(lambda x: cast(x, dtype), tree)
