"""What an optimizer is: a pair of functions over trees, and how such pairs are put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp


class GradientTransformation(NamedTuple):
    """`init(params) -> state` and `update(updates, state, params=None) -> (updates, state)`.

    Both are pure, so an optimizer works under `jit`, `vmap` and `scan` like any function.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, Any]]


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


def stateless(function: Callable) -> GradientTransformation:
    """A transformation without state from `function(updates, params) -> updates`."""

    def init(params):
        return EmptyState()

    def update(updates, state, params=None):
        return function(updates, params), state

    return GradientTransformation(init, update)


def identity() -> GradientTransformation:
    """Passes updates on as they are."""
    return stateless(lambda updates, params: updates)


def chain(*parts: GradientTransformation) -> GradientTransformation:
    """Each transformation on the updates of the one before; the state is the tuple of states.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> halved = optim.chain(optim.scale(-1.0), optim.scale(0.5))
    >>> updates, state = halved.update(jnp.array(4.0), halved.init(jnp.array(0.0)))
    >>> float(updates)
    -2.0
    """
    for part in parts:
        if not hasattr(part, "init") or not hasattr(part, "update"):
            raise TypeError(
                "chain: needs gradient transformations, but got "
                f"{type(part).__name__}. A recipe must be called: adam(1e-3)."
            )

    def init(params):
        return tuple(part.init(params) for part in parts)

    def update(updates, state, params=None):
        if len(state) != len(parts):
            raise ValueError(
                f"chain: the state has {len(state)} entries for {len(parts)} "
                "transformations. Make it with the same optimizer's init(params)."
            )
        states = []
        for part, own in zip(parts, state, strict=True):
            updates, own = part.update(updates, own, params)
            states.append(own)
        return updates, tuple(states)

    return GradientTransformation(init, update)


def apply_updates(params, updates):
    """params + updates, leaf by leaf, each in its parameter's dtype."""
    return fg.tree.map(
        lambda p, u: jnp.asarray(p + u).astype(jnp.asarray(p).dtype), params, updates
    )


def require_params(name: str, params) -> None:
    """Raise for a transformation that needs to see the parameters and got none."""
    if params is None:
        raise ValueError(
            f"{name}: update needs the parameters: call optimizer.update(grads, state, params)."
        )
