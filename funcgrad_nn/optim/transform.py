"""What an optimizer is: a pair of functions over trees, and how such pairs are put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp


class GradientTransformation(NamedTuple):
    """`init(params) -> state` and `update(updates, state, params=None) -> (updates, state)`.

    Both are pure, so an optimizer works under `jit`, `vmap` and `scan` like any function.

    >>> import funcgrad.numpy as jnp
    >>> def half(updates, state, params=None):
    ...     return updates / 2, state
    >>> halve = GradientTransformation(lambda params: (), half)
    >>> float(halve.update(jnp.float32(3.0), halve.init(None))[0])
    1.5
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, Any]]


class GradientTransformationExtraArgs(GradientTransformation):
    """A transformation whose `update` takes more by keyword, such as `value=` (the loss).

    `chain` and the other wrappers pass keywords on to parts of this kind only.

    >>> import funcgrad.numpy as jnp
    >>> def by_loss(updates, state, params=None, *, value, **extra):
    ...     return updates * value, state
    >>> part = chain(GradientTransformationExtraArgs(lambda params: (), by_loss))
    >>> float(part.update(jnp.float32(2.0), part.init(None), value=3.0)[0])
    6.0
    """


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


def stateless(function: Callable[[Any, Any], Any]) -> GradientTransformation:
    """A transformation without state from `function(updates, params) -> updates`.

    >>> import funcgrad.numpy as jnp
    >>> sign = stateless(lambda updates, params: jnp.sign(updates))
    >>> sign.update(jnp.array([-3.0, 2.0]), sign.init(None))[0].tolist()
    [-1.0, 1.0]
    """

    def init(params):
        return EmptyState()

    def update(updates, state, params=None):
        return function(updates, params), state

    return GradientTransformation(init, update)


def identity() -> GradientTransformation:
    """Passes updates on as they are.

    >>> import funcgrad.numpy as jnp
    >>> part, w = identity(), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.3, -0.1]
    """
    return stateless(lambda updates, params: updates)


def set_to_zero() -> GradientTransformation:
    """Zeros in place of the updates: parameters that get these stay as they are.

    >>> import funcgrad.numpy as jnp
    >>> part, w = set_to_zero(), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.0, 0.0]
    """
    return stateless(lambda updates, params: fg.tree.map(jnp.zeros_like, updates))


def chain(*parts: GradientTransformation) -> GradientTransformationExtraArgs:
    """Each transformation on the updates of the one before; the state is the tuple of states.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> halved = optim.chain(optim.scale(-1.0), optim.scale(0.5))
    >>> updates, state = halved.update(jnp.array(4.0), halved.init(jnp.array(0.0)))
    >>> float(updates)
    -2.0
    """
    updaters = [updater("chain", part) for part in parts]

    def init(params):
        return tuple(part.init(params) for part in parts)

    def update(updates, state, params=None, **extra):
        if len(state) != len(parts):
            raise ValueError(
                f"chain: the state has {len(state)} entries for {len(parts)} "
                "transformations. Make it with the same optimizer's init(params)."
            )
        states = []
        for run, own in zip(updaters, state, strict=True):
            updates, own = run(updates, own, params, **extra)
            states.append(own)
        return updates, tuple(states)

    return GradientTransformationExtraArgs(init, update)


def updater(name: str, part: GradientTransformation) -> Callable[..., tuple[Any, Any]]:
    """The `update` of a part, made to accept keywords that it has no use for."""
    if not hasattr(part, "init") or not hasattr(part, "update"):
        raise TypeError(
            f"{name}: needs gradient transformations, but got "
            f"{type(part).__name__}. A recipe must be called: adam(1e-3)."
        )
    if isinstance(part, GradientTransformationExtraArgs):
        return part.update
    return lambda updates, state, params=None, **extra: part.update(updates, state, params)


def apply_updates(params, updates):
    """params + updates, leaf by leaf, each in its parameter's dtype.

    Raises `ValueError` for an update of which the parameter would take another shape.

    >>> import funcgrad.numpy as jnp
    >>> apply_updates({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([0.5, -0.5])})["w"].tolist()
    [1.5, 1.5]
    """
    return fg.tree.map(_moved, params, updates)


def _moved(parameter, update):
    moved = parameter + update
    if moved.shape != jnp.shape(parameter):
        raise ValueError(
            f"apply_updates: an update of shape {jnp.shape(update)} does not belong to a "
            f"parameter of shape {jnp.shape(parameter)}."
        )
    return cast(moved, jnp.asarray(parameter).dtype)


def cast(leaf, dtype):
    """`leaf` in `dtype`, at no cost if it has it; None keeps the dtype."""
    leaf = jnp.asarray(leaf)
    return leaf if dtype is None or leaf.dtype == dtype else leaf.astype(dtype)


def cast_like(tree, other):
    """The leaves of one tree in the dtypes of another's."""
    return fg.tree.map(lambda a, b: cast(a, jnp.asarray(b).dtype), tree, other)


def is_on(value) -> bool:
    """Not the number 0; an array may become something else later."""
    return not (isinstance(value, int | float) and value == 0)


def require_params(name: str, params) -> None:
    """Raise for a transformation that needs to see the parameters and got none."""
    if params is None:
        raise ValueError(
            f"{name}: update needs the parameters: call optimizer.update(grads, state, params)."
        )
