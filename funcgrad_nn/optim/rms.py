"""Scalings by a root of squares: RMSprop, Adagrad, Adadelta."""

from __future__ import annotations

from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.moments import full, moving_mean, moving_square, zeros
from funcgrad_nn.optim.transform import GradientTransformation


class ScaleByRmsState(NamedTuple):
    """The running mean of squares."""

    nu: Any


class ScaleByStdDevState(NamedTuple):
    """The running means of values and of squares."""

    mu: Any
    nu: Any


class ScaleByRssState(NamedTuple):
    """The sum of all squares so far."""

    sum_of_squares: Any


class ScaleByAdaDeltaState(NamedTuple):
    """Running means of the squares of gradients and of steps."""

    e_g: Any
    e_x: Any


@validated
def scale_by_rms(
    decay: float = 0.9, eps: float = 1e-8, initial_scale: float = 0.0, eps_in_sqrt: bool = True
) -> GradientTransformation:
    """Divide by the root of a running mean of squares (Tieleman and Hinton, 2012).

    nu <- decay nu + (1 - decay) g^2, from `initial_scale`; the update is g / sqrt(nu + eps), or
    with `eps_in_sqrt=False`, as in PyTorch, g / (sqrt(nu) + eps).

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_rms(decay=0.75), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [2.0, -2.0]
    """

    def init(params):
        return ScaleByRmsState(full(params, initial_scale))

    def update(updates, state, params=None):
        nu = moving_square(updates, state.nu, decay)
        scaled = fg.tree.map(lambda g, v: g * _inverse_root(v, eps, eps_in_sqrt), updates, nu)
        return scaled, ScaleByRmsState(nu)

    return GradientTransformation(init, update)


@validated
def scale_by_stddev(
    decay: float = 0.9, eps: float = 1e-8, initial_scale: float = 0.0, eps_in_sqrt: bool = True
) -> GradientTransformation:
    """As `scale_by_rms`, by the standard deviation: nu - mu^2 in place of nu (Graves, 2013).

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_stddev(decay=0.75), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [2.3094, -2.3094]
    """

    def init(params):
        return ScaleByStdDevState(zeros(params), full(params, initial_scale))

    def update(updates, state, params=None):
        mu = moving_mean(updates, state.mu, decay)
        nu = moving_square(updates, state.nu, decay)

        def scaled(g, m, v):
            # rounding can make the variance of a constant negative by a hair
            return g * _inverse_root(jnp.maximum(v - jnp.square(m), 0), eps, eps_in_sqrt)

        return fg.tree.map(scaled, updates, mu, nu), ScaleByStdDevState(mu, nu)

    return GradientTransformation(init, update)


@validated
def scale_by_rss(
    initial_accumulator_value: float = 0.1, eps: float = 1e-7, eps_in_sqrt: bool = True
) -> GradientTransformation:
    """Divide by the root of the sum of all squares so far (Duchi et al., 2011).

    s <- s + g^2; the update is g / sqrt(s + eps), 0 where s is 0, or with `eps_in_sqrt=False`, as
    in PyTorch, g / (sqrt(s) + eps).

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_rss(initial_accumulator_value=0.0), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [1.0, -1.0]
    """

    def init(params):
        return ScaleByRssState(full(params, initial_accumulator_value))

    def update(updates, state, params=None):
        sums = fg.tree.map(lambda g, s: s + jnp.square(g), updates, state.sum_of_squares)

        def scaled(g, s):
            return jnp.where(s > 0, g * _inverse_root(s, eps, eps_in_sqrt), 0)

        return fg.tree.map(scaled, updates, sums), ScaleByRssState(sums)

    return GradientTransformation(init, update)


@validated
def scale_by_adadelta(rho: float = 0.9, eps: float = 1e-6) -> GradientTransformation:
    """Adadelta's step (Zeiler, 2012, algorithm 1).

    e_g <- rho e_g + (1 - rho) g^2; u = g sqrt(e_x + eps) / sqrt(e_g + eps);
    e_x <- rho e_x + (1 - rho) u^2.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_adadelta(), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.0032, -0.0032]
    """

    def init(params):
        return ScaleByAdaDeltaState(zeros(params), zeros(params))

    def update(updates, state, params=None):
        e_g = moving_square(updates, state.e_g, rho)
        steps = fg.tree.map(
            lambda g, v, x: g * jnp.sqrt((x + eps) / (v + eps)), updates, e_g, state.e_x
        )
        return steps, ScaleByAdaDeltaState(e_g, moving_square(steps, state.e_x, rho))

    return GradientTransformation(init, update)


def _inverse_root(square, eps, eps_in_sqrt: bool):
    return fg.lax.rsqrt(square + eps) if eps_in_sqrt else 1 / (jnp.sqrt(square) + eps)
