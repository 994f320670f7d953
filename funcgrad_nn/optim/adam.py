"""Adam and its relatives: directions from running means of gradients and of their squares."""

from __future__ import annotations

from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.moments import (
    cast_tree,
    looked_ahead,
    missing_share,
    moving_mean,
    moving_square,
    next_count,
    no_steps,
    unbiased,
    zeros,
)
from funcgrad_nn.optim.transform import GradientTransformation, cast, is_on


class ScaleByAdamState(NamedTuple):
    """Number of updates, first moment mu, second moment nu."""

    count: Any
    mu: Any
    nu: Any


class ScaleByAmsgradState(NamedTuple):
    """As Adam's, with the largest second moment so far."""

    count: Any
    mu: Any
    nu: Any
    nu_max: Any


class ScaleByNadamState(NamedTuple):
    """As Adam's, with the product of all momenta so far."""

    count: Any
    mu: Any
    nu: Any
    mu_product: Any


class ScaleByLionState(NamedTuple):
    """Number of updates and the running mean mu."""

    count: Any
    mu: Any


def adam_state(params, mu_dtype=None) -> ScaleByAdamState:
    """No steps, and moments of zero."""
    return ScaleByAdamState(no_steps(), zeros(params, mu_dtype), zeros(params))


def moved(updates, state, b1, b2):
    """The number of this step, and both moments with these gradients in them."""
    mu, nu = moving_mean(updates, state.mu, b1), moving_square(updates, state.nu, b2)
    return next_count(state.count), mu, nu


@validated
def scale_by_adam(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam's direction (Kingma and Ba, 2014, algorithm 1).

    t <- t + 1, mu <- b1 mu + (1 - b1) g, nu <- b2 nu + (1 - b2) g^2; the update is
    mu / (1 - b1^t) / (sqrt(nu / (1 - b2^t) + eps_root) + eps). With `nesterov`, b1 mu /
    (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t) stands for mu / (1 - b1^t) (Dozat, 2016). `mu_dtype`
    is the dtype of mu; without it mu has the parameter's.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_adam(b1=0.5), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [1.0, -1.0]
    """

    def update(updates, state, params=None):
        t, mu, nu = moved(updates, state, b1, b2)
        square_share = missing_share(b2, t)
        if nesterov:
            ahead = looked_ahead(mu, updates, b1, t)
            directions = divided(ahead, nu, square_share, 1.0, eps, eps_root)
        else:
            directions = divided(mu, nu, square_share, missing_share(b1, t), eps, eps_root)
        return directions, ScaleByAdamState(t, cast_tree(mu, mu_dtype), nu)

    return GradientTransformation(lambda params: adam_state(params, mu_dtype), update)


def divided(means, squares, square_share, mean_share, eps, eps_root):
    """mu / mean_share / (sqrt(nu / square_share + eps_root) + eps), in few passes over arrays.

    = mu / (a sqrt(nu + eps_root square_share) + b) with the scalars a = mean_share /
    sqrt(square_share) and b = eps mean_share.
    """
    a, b = mean_share / jnp.sqrt(square_share), eps * mean_share

    def direction(m, v):
        # adding 0.0 would cost a pass
        if is_on(eps_root):
            v = v + cast(eps_root * square_share, v.dtype)
        return m / (jnp.sqrt(v) * cast(a, v.dtype) + cast(b, v.dtype))

    return fg.tree.map(direction, means, squares)


@validated
def scale_by_amsgrad(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    mu_dtype: Any = None,
    *,
    correct_after_max: bool = False,
) -> GradientTransformation:
    """Adam's direction with the largest second moment so far (Reddi et al., 2018).

    nu_max <- max(nu_max, nu / (1 - b2^t)) takes the place of nu / (1 - b2^t). PyTorch's form,
    `correct_after_max`, keeps the largest nu and divides that by 1 - b2^t.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_amsgrad(b1=0.5), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [1.0, -1.0]
    """

    def init(params):
        return ScaleByAmsgradState(*adam_state(params, mu_dtype), zeros(params))

    def update(updates, state, params=None):
        t, mu, nu = moved(updates, state, b1, b2)
        share = missing_share(b2, t)
        seen = nu if correct_after_max else unbiased(nu, share)
        largest = fg.tree.map(jnp.maximum, state.nu_max, seen)
        still_missing = share if correct_after_max else jnp.ones_like(share)
        directions = divided(mu, largest, still_missing, missing_share(b1, t), eps, eps_root)
        return directions, ScaleByAmsgradState(t, cast_tree(mu, mu_dtype), nu, largest)

    return GradientTransformation(init, update)


@validated
def scale_by_adamax(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> GradientTransformation:
    """Adamax's direction (Kingma and Ba, 2014, algorithm 2): the largest |g| in place of a mean.

    mu <- b1 mu + (1 - b1) g, nu <- max(b2 nu, |g| + eps); the update is mu / (1 - b1^t) / nu.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_adamax(b1=0.5), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [1.0, -1.0]
    """

    def update(updates, state, params=None):
        t = next_count(state.count)
        mu = moving_mean(updates, state.mu, b1)
        nu = fg.tree.map(lambda g, v: jnp.maximum(b2 * v, jnp.abs(g) + eps), updates, state.nu)
        factor = 1 / missing_share(b1, t)
        directions = fg.tree.map(lambda m, v: m * cast(factor, m.dtype) / v, mu, nu)
        return directions, ScaleByAdamState(t, mu, nu)

    return GradientTransformation(adam_state, update)


@validated
def scale_by_nadam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, momentum_decay: float = 4e-3
) -> GradientTransformation:
    """NAdam as PyTorch has it (Dozat, 2016, with the warm-up of the momentum).

    m_t = b1 (1 - 0.96^(t momentum_decay) / 2) is the momentum of step t, M_t the product of the
    momenta so far; the update is ((1 - m_t) g / (1 - M_t) + m_(t+1) mu / (1 - M_(t+1))) /
    (sqrt(nu / (1 - b2^t)) + eps).

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_nadam(b1=0.5), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [1.1334, -1.1334]
    """

    def init(params):
        return ScaleByNadamState(*adam_state(params), jnp.ones((), jnp.float32))

    def momentum(t):
        return b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    def update(updates, state, params=None):
        t, mu, nu = moved(updates, state, b1, b2)
        now, following = momentum(t), momentum(t + 1)
        product = state.mu_product * now
        new_part, old_part = (1 - now) / (1 - product), following / (1 - product * following)
        ahead = fg.tree.map(
            lambda g, m: cast(new_part, g.dtype) * g + cast(old_part, m.dtype) * m, updates, mu
        )
        directions = divided(ahead, nu, missing_share(b2, t), 1.0, eps, 0.0)
        return directions, ScaleByNadamState(t, mu, nu, product)

    return GradientTransformation(init, update)


@validated
def scale_by_radam(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    threshold: float = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Rectified Adam's direction (Liu et al., 2019, algorithm 2).

    rho_inf = 2 / (1 - b2) - 1, rho = rho_inf - 2 t b2^t / (1 - b2^t). From rho >= `threshold` on,
    Adam's direction times sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho));
    before, the mean of gradients alone.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_radam(b1=0.5), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.3, -0.1]
    """
    rho_inf = 2.0 / (1.0 - b2) - 1.0

    def update(updates, state, params=None):
        t, mu, nu = moved(updates, state, b1, b2)
        share = missing_share(b2, t)
        if nesterov:
            means = looked_ahead(mu, updates, b1, t)
        else:
            means = unbiased(mu, missing_share(b1, t))
        rho, factor = _rectification(rho_inf, b2, t, threshold)
        rectified = divided(means, nu, share, 1 / factor, eps, eps_root)
        directions = fg.tree.map(lambda r, m: jnp.where(rho >= threshold, r, m), rectified, means)
        return directions, ScaleByAdamState(t, mu, nu)

    return GradientTransformation(adam_state, update)


def _rectification(rho_inf, b2, t, threshold):
    """rho, and the factor for rho >= threshold; in float64, since rho is a small difference."""
    t = t.astype(jnp.float64)
    power = b2**t
    rho = rho_inf - 2 * t * power / (1 - power)
    r = jnp.maximum(rho, threshold)
    square = (r - 4) * (r - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * r)
    return rho, jnp.sqrt(square).astype(jnp.float32)


@validated
def scale_by_lion(
    b1: float = 0.9, b2: float = 0.99, mu_dtype: Any = None
) -> GradientTransformation:
    """Lion's direction (Chen et al., 2023): sign(b1 mu + (1 - b1) g); mu <- b2 mu + (1 - b2) g.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_lion(b1=0.5), jnp.array([1.0, -2.0])
    >>> updates, state = part.update(jnp.array([0.3, -0.1]), part.init(w), w)
    >>> [round(x, 4) for x in updates.tolist()]
    [1.0, -1.0]
    """

    def init(params):
        return ScaleByLionState(no_steps(), zeros(params, mu_dtype))

    def update(updates, state, params=None):
        directions = fg.tree.map(jnp.sign, moving_mean(updates, state.mu, b1))
        mu = cast_tree(moving_mean(updates, state.mu, b2), mu_dtype)
        return directions, ScaleByLionState(next_count(state.count), mu)

    return GradientTransformation(init, update)
