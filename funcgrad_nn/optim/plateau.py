"""Reducing the step when the loss no longer falls: a schedule that needs a memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.moments import next_count, no_steps
from funcgrad_nn.optim.transform import GradientTransformationExtraArgs, cast


class ReduceLROnPlateauState(NamedTuple):
    """The factor on updates; best value; counts of plateau, cooldown and values; their mean."""

    scale: Any
    best_value: Any
    plateau_count: Any
    cooldown_count: Any
    count: Any
    avg_value: Any


@validated
def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    accumulation_size: int = 1,
    min_scale: float = 0.0,
) -> GradientTransformationExtraArgs:
    """Multiply updates by a scale that falls by `factor` when a value stops improving.

    `update(updates, state, params, value=loss)` is told the value to be made small. Means of
    `accumulation_size` values are compared: one below (1 - rtol) best - atol is an improvement;
    after `patience` without one the scale falls, though not below `min_scale`, and for `cooldown`
    more nothing is counted. `state.scale` is the current scale.

    >>> import funcgrad.numpy as jnp
    >>> part = reduce_on_plateau(factor=0.5, patience=2)
    >>> state = part.init(jnp.array(1.0))
    >>> for loss in (1.0, 1.0, 1.0):
    ...     updates, state = part.update(jnp.array(1.0), state, value=loss)
    >>> float(updates)
    0.5
    """
    if rtol == 0 and atol == 0 or rtol > 1:
        raise ValueError(
            "reduce_on_plateau: rtol must be in [0, 1], and not 0 together with atol, but got "
            f"rtol={rtol!r} and atol={atol!r}."
        )

    def init(params):
        zero, one = jnp.zeros((), jnp.float32), jnp.ones((), jnp.float32)
        none = no_steps()
        return ReduceLROnPlateauState(one, one * jnp.inf, none, none, none, zero)

    def update(updates, state, params=None, *, value=None, **extra):
        if value is None:
            raise ValueError(
                "reduce_on_plateau: update needs the value that should fall: "
                "optimizer.update(grads, state, params, value=loss)."
            )
        count = next_count(state.count)
        mean = state.avg_value + (jnp.asarray(value, jnp.float32) - state.avg_value) / count
        full = count >= accumulation_size
        judged = _judged(state, mean, patience, rtol, atol, factor, cooldown, min_scale)
        waiting = state._replace(count=count, avg_value=mean)
        state = fg.tree.map(lambda a, b: jnp.where(full, a, b), judged, waiting)
        return fg.tree.map(lambda g: cast(state.scale, g.dtype) * g, updates), state

    return GradientTransformationExtraArgs(init, update)


def _judged(state, value, patience, rtol, atol, factor, cooldown, min_scale):
    """The state after one mean value: better, or one more step of a plateau or of a cooldown."""
    better = value < (1 - rtol) * state.best_value - atol
    cooling = state.cooldown_count > 0
    waited = jnp.where(better, 0, state.plateau_count + 1)
    falls = ~cooling & (waited >= max(patience, 1))
    lower = jnp.maximum(state.scale * factor, min_scale)
    return ReduceLROnPlateauState(
        scale=jnp.where(falls, lower, state.scale),
        best_value=jnp.where(better, value, state.best_value),
        plateau_count=jnp.where(cooling | falls, 0, waited),
        cooldown_count=jnp.where(falls, cooldown, jnp.maximum(state.cooldown_count - 1, 0)),
        count=jnp.zeros_like(state.count),
        avg_value=jnp.zeros_like(value),
    )
