"""Parts of optimizers that scale updates; each is named for what it does to a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.transform import GradientTransformation, require_params, stateless

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


class ScaleByAdamState(NamedTuple):
    """Number of updates, first moment mu, second moment nu."""

    count: Any
    mu: Any
    nu: Any


class ScaleByRmsState(NamedTuple):
    """The running mean of squares."""

    nu: Any


def scale(factor: float) -> GradientTransformation:
    """Multiply updates by a constant."""
    return stateless(lambda updates, params: fg.tree.map(lambda g: factor * g, updates))


def scale_by_schedule(schedule: Schedule) -> GradientTransformation:
    """Multiply updates by schedule(t), t the number of updates made before: 0, 1, 2, ..."""

    def init(params):
        return CountState(_no_steps())

    def update(updates, state, params=None):
        factor = schedule(state.count)
        updates = fg.tree.map(lambda g: jnp.asarray(factor, g.dtype) * g, updates)
        return updates, CountState(_next(state.count))

    return GradientTransformation(init, update)


def scale_by_learning_rate(
    learning_rate: float | Schedule, *, flip_sign: bool = True
) -> GradientTransformation:
    """Multiply updates by minus the learning rate: a number, or a schedule of the step.

    `flip_sign=False` keeps the sign, for maximising.
    """
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        return scale_by_schedule(lambda count: sign * learning_rate(count))
    return scale(sign * learning_rate)


def trace(decay: float, nesterov: bool = False) -> GradientTransformation:
    """Momentum: m <- g + decay m; the update is m, with `nesterov` g + decay m (the new m)."""

    def init(params):
        return TraceState(_zeros(params))

    def update(updates, state, params=None):
        m = fg.tree.map(lambda g, m: g + decay * m, updates, state.trace)
        out = fg.tree.map(lambda g, m: g + decay * m, updates, m) if nesterov else m
        return out, TraceState(m)

    return GradientTransformation(init, update)


def dampened_trace(decay: float, dampening: float) -> GradientTransformation:
    """Momentum as PyTorch's SGD dampens it: m <- decay m + (1 - dampening) g, at first m <- g."""

    def init(params):
        return DampenedTraceState(_zeros(params), _no_steps())

    def update(updates, state, params=None):
        share = jnp.where(state.count == 0, 1.0, 1.0 - dampening)
        m = fg.tree.map(lambda g, m: decay * m + share.astype(g.dtype) * g, updates, state.trace)
        return m, DampenedTraceState(m, _next(state.count))

    return GradientTransformation(init, update)


def scale_by_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0
) -> GradientTransformation:
    """Adam's direction (Kingma and Ba, 2014).

    t <- t + 1, mu <- b1 mu + (1 - b1) g, nu <- b2 nu + (1 - b2) g^2; the update is
    mu / (1 - b1^t) / (sqrt(nu / (1 - b2^t) + eps_root) + eps).
    """

    def init(params):
        return ScaleByAdamState(_no_steps(), _zeros(params), _zeros(params))

    def update(updates, state, params=None):
        t = _next(state.count)
        mu = _moving_mean(updates, state.mu, b1)
        nu = _moving_mean(fg.tree.map(jnp.square, updates), state.nu, b2)
        mean_scale, square_scale = 1 / (1 - b1**t), 1 / (1 - b2**t)

        def direction(m, v):
            mean, square = m * mean_scale.astype(m.dtype), v * square_scale.astype(v.dtype)
            square = square + eps_root if eps_root else square  # adding 0.0 would cost a pass
            return mean / (jnp.sqrt(square) + eps)

        return fg.tree.map(direction, mu, nu), ScaleByAdamState(t, mu, nu)

    return GradientTransformation(init, update)


def scale_by_rms(
    decay: float = 0.9, eps: float = 1e-8, initial_scale: float = 0.0, eps_in_sqrt: bool = True
) -> GradientTransformation:
    """Divide by the root of a running mean of squares (Tieleman and Hinton, 2012).

    nu <- decay nu + (1 - decay) g^2, from `initial_scale`; the update is g / sqrt(nu + eps), or
    with `eps_in_sqrt=False`, as in PyTorch, g / (sqrt(nu) + eps).
    """

    def init(params):
        return ScaleByRmsState(fg.tree.map(lambda p: jnp.full_like(p, initial_scale), params))

    def update(updates, state, params=None):
        nu = _moving_mean(fg.tree.map(jnp.square, updates), state.nu, decay)

        def scaled(g, v):
            return g * fg.lax.rsqrt(v + eps) if eps_in_sqrt else g / (jnp.sqrt(v) + eps)

        return fg.tree.map(scaled, updates, nu), ScaleByRmsState(nu)

    return GradientTransformation(init, update)


def add_decayed_weights(weight_decay: float, mask: Any = None) -> GradientTransformation:
    """Add weight_decay * parameter to each update.

    `mask`: a tree of bools like the parameters, or a function of them that returns one; only
    parameters marked True decay. Before a scaling by moments this is coupled (L2) decay, behind it
    decoupled decay (Loshchilov and Hutter, 2017).
    """

    def add(updates, params):
        require_params("add_decayed_weights", params)
        chosen = mask(params) if callable(mask) else mask
        if chosen is None:
            chosen = fg.tree.map(lambda p: True, params)
        return fg.tree.map(
            lambda g, p, c: g + weight_decay * p if c else g, updates, params, chosen
        )

    return stateless(add)


def _zeros(params):
    return fg.tree.map(jnp.zeros_like, params)


def _no_steps():
    return jnp.zeros((), jnp.int32)


def _next(count):
    """count + 1, which stays at the largest int32 instead of wrapping round."""
    return jnp.where(count < jnp.iinfo(jnp.int32).max, count + 1, count)


def _moving_mean(values, means, decay: float):
    return fg.tree.map(lambda g, m: decay * m + (1 - decay) * g, values, means)
