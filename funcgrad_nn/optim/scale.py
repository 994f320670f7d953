"""Parts that scale updates by something simple: a rate, momentum, decay, the size of a parameter.

Scalings by moments stand in `rms.py`, `adam.py`, `factored.py` and `orthogonal.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.clip import global_norm
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.masks import Mask, mask_of
from funcgrad_nn.optim.moments import cast_tree, next_count, no_steps, zeros
from funcgrad_nn.optim.transform import (
    GradientTransformation,
    cast,
    is_on,
    require_params,
    stateless,
)

Schedule = Callable[[Any], Any]


class CountState(NamedTuple):
    """How many updates have been made, int32."""

    count: Any


class TraceState(NamedTuple):
    """The decaying sum of past updates."""

    trace: Any


class DampenedTraceState(NamedTuple):
    """The decaying sum of past updates, and how many there were."""

    trace: Any
    count: Any


def scale(step_size: float) -> GradientTransformation:
    """Multiply updates by a constant.

    >>> import funcgrad.numpy as jnp
    >>> float(scale(-0.5).update(jnp.array(4.0), ())[0])
    -2.0
    """
    return stateless(lambda updates, params: fg.tree.map(lambda g: step_size * g, updates))


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Multiply updates by step_size_fn(t), t the number of updates made before: 0, 1, 2, ...

    >>> import funcgrad.numpy as jnp
    >>> part = scale_by_schedule(lambda t: 1 / (1 + t))
    >>> state, seen = part.init(None), []
    >>> for _ in range(3):
    ...     updates, state = part.update(jnp.array(6.0), state)
    ...     seen.append(float(updates))
    >>> seen
    [6.0, 3.0, 2.0]
    """
    if not callable(step_size_fn):
        raise TypeError(
            f"scale_by_schedule: needs a function of the step, but got {step_size_fn!r}. "
            "For a constant use scale."
        )

    def init(params):
        return CountState(no_steps())

    def update(updates, state, params=None):
        factor = step_size_fn(state.count)
        updates = fg.tree.map(lambda g: jnp.asarray(factor, g.dtype) * g, updates)
        return updates, CountState(next_count(state.count))

    return GradientTransformation(init, update)


@validated
def scale_by_learning_rate(
    learning_rate: float | Schedule, *, flip_sign: bool = True
) -> GradientTransformation:
    """Multiply updates by minus the learning rate: a number, or a schedule of the step.

    `flip_sign=False` keeps the sign, for maximising.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_learning_rate(0.5), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.15, 0.05]
    """
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        rate = learning_rate
        return scale_by_schedule(lambda count: sign * rate(count))
    return scale(sign * learning_rate)


@validated
def trace(
    decay: float, nesterov: bool = False, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Momentum: m <- g + decay m; the update is m, with `nesterov` g + decay m (the new m).

    `accumulator_dtype` is the dtype of m; without it m has the parameter's.

    >>> import funcgrad.numpy as jnp
    >>> part, w = trace(0.9, nesterov=True), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.57, -0.19]
    """

    def init(params):
        return TraceState(zeros(params, accumulator_dtype))

    def update(updates, state, params=None):
        m = fg.tree.map(lambda g, m: g + decay * m, updates, state.trace)
        out = fg.tree.map(lambda g, m: g + decay * m, updates, m) if nesterov else m
        return out, TraceState(cast_tree(m, accumulator_dtype))

    return GradientTransformation(init, update)


@validated
def dampened_trace(decay: float, dampening: float) -> GradientTransformation:
    """Momentum as PyTorch's SGD dampens it: m <- decay m + (1 - dampening) g, at first m <- g.

    >>> import funcgrad.numpy as jnp
    >>> part, w = dampened_trace(0.9, 0.5), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.3, -0.1]
    """

    def init(params):
        return DampenedTraceState(zeros(params), no_steps())

    def update(updates, state, params=None):
        share = jnp.where(state.count == 0, 1.0, 1.0 - dampening)
        m = fg.tree.map(lambda g, m: decay * m + cast(share, g.dtype) * g, updates, state.trace)
        return m, DampenedTraceState(m, next_count(state.count))

    return GradientTransformation(init, update)


@validated
def add_decayed_weights(
    weight_decay: float | Schedule = 0.0, mask: Mask = None
) -> GradientTransformation:
    """Add weight_decay * parameter to each update.

    `weight_decay` is a number or a schedule of the step. `mask`: a tree of bools like the
    parameters, a function of them that returns one, or a path pattern such as "**/weight"; only
    parameters marked True decay. Before a scaling by moments this is coupled (L2) decay, behind it
    decoupled decay (Loshchilov and Hutter, 2017).

    >>> import funcgrad.numpy as jnp
    >>> part, w = add_decayed_weights(0.1), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.4, -0.3]
    """

    def added(updates, params, factor):
        require_params("add_decayed_weights", params)
        chosen = mask_of(mask, params)
        return fg.tree.map(lambda g, p, c: g + factor * p if c else g, updates, params, chosen)

    def init(params):
        return CountState(no_steps())

    def update(updates, state, params=None):
        factor = weight_decay(state.count)  # type: ignore[operator]
        return added(updates, params, factor), CountState(next_count(state.count))

    if callable(weight_decay):
        return GradientTransformation(init, update)
    return stateless(lambda updates, params: added(updates, params, weight_decay))


@validated
def scale_by_param_block_rms(min_scale: float = 1e-3) -> GradientTransformation:
    """Multiply each leaf's update by the root mean square of its parameter, at least `min_scale`.

    (Shazeer and Stern, 2018, section 8.)

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_param_block_rms(), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.4743, -0.1581]
    """

    def scaled(updates, params):
        require_params("scale_by_param_block_rms", params)
        return fg.tree.map(
            lambda u, p: u * jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(p))), min_scale),
            updates,
            params,
        )

    return stateless(scaled)


@validated
def scale_by_trust_ratio(
    min_norm: float = 0.0, trust_coefficient: float = 1.0, eps: float = 0.0
) -> GradientTransformation:
    """Multiply each leaf's update u by trust_coefficient |p| / (|u| + eps), p its parameter.

    (You et al., 2017, for LARS and LAMB.) Norms count as at least `min_norm`; where one of them is
    zero the update stays as it is.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_trust_ratio(), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [2.1213, -0.7071]
    """

    def scaled(u, p):
        size, step = _norm(p, min_norm), _norm(u, min_norm)
        ratio = trust_coefficient * size / (step + eps)
        return u * cast(jnp.where((size == 0) | (step == 0), 1.0, ratio), u.dtype)

    def update(updates, params):
        require_params("scale_by_trust_ratio", params)
        return fg.tree.map(scaled, updates, params)

    return stateless(update)


@validated
def normalize_by_update_norm(
    scale_factor: float = 1.0, eps: float = 1e-6
) -> GradientTransformation:
    """Divide all updates by their common norm plus `eps`: a step of length `scale_factor`.

    >>> import funcgrad.numpy as jnp
    >>> part, w = normalize_by_update_norm(eps=0.0), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.9487, -0.3162]
    """

    def scaled(updates, params):
        factor = scale_factor / (global_norm(updates) + eps)
        return fg.tree.map(lambda u: u * cast(factor, u.dtype), updates)

    return stateless(scaled)


def _norm(x, least):
    norm = jnp.sqrt(jnp.sum(jnp.square(x)))
    return jnp.maximum(norm, least) if is_on(least) else norm
