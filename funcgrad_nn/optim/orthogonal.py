"""Muon: momentum whose matrices are made nearly orthogonal before they become a step."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.moments import (
    looked_ahead,
    missing_share,
    moving_mean,
    next_count,
    no_steps,
    unbiased,
    zeros,
)
from funcgrad_nn.optim.transform import GradientTransformation, stateless

QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al., 2024: steep at 0, about 1 on (0, 1]


class MuonState(NamedTuple):
    """Number of updates and the running mean mu."""

    count: Any
    mu: Any


def orthogonalize(
    x, ns_coeffs: tuple[float, float, float] = QUINTIC, ns_steps: int = 5, eps: float = 1e-8
):
    """A matrix with the singular vectors of `x` and singular values near 1; x: float (m, n).

    Newton-Schulz iteration from x / |x|: y <- a y + (b A + c A^2) y with A = y y^T (Jordan et al.,
    2024). With the default coefficients singular values end between about 0.7 and 1.2.

    >>> import funcgrad.numpy as jnp
    >>> near = orthogonalize(jnp.array([[3.0, 0.0], [0.0, 2.0]]))
    >>> bool((jnp.abs(jnp.diagonal(near) - 1) < 0.35).all())
    True
    """
    if x.ndim != 2:
        raise ValueError(f"orthogonalize: needs a matrix, but got shape {tuple(x.shape)}.")
    a, b, c = ns_coeffs
    tall = x.shape[0] > x.shape[1]
    y = x.T if tall else x
    y = y / (jnp.sqrt(jnp.sum(jnp.square(y))) + eps)
    for _ in range(ns_steps):
        gram = y @ y.T
        y = a * y + (b * gram + c * gram @ gram) @ y
    return y.T if tall else y


@validated
def scale_by_muon(
    ns_coeffs: tuple[float, float, float] = QUINTIC,
    ns_steps: int = 5,
    beta: float = 0.95,
    eps: float = 1e-8,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
) -> GradientTransformation:
    """Muon's direction for matrices: `orthogonalize` of the unbiased mean of gradients.

    mu <- beta mu + (1 - beta) g; with `nesterov` the mean is the one of `scale_by_adam`. With
    `adaptive` the direction o is multiplied by the sum of mean * o (Bernstein and Newhouse, 2024).

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_muon(), jnp.array([[3.0, 0.0], [0.0, 0.5]])
    >>> updates, state = part.update(w, part.init(w))
    >>> bool((jnp.abs(jnp.diagonal(updates) - 1) < 0.35).all())
    True
    """

    def init(params):
        return MuonState(no_steps(), zeros(params))

    def update(updates, state, params=None):
        t = next_count(state.count)
        mu = moving_mean(updates, state.mu, beta)
        if nesterov:
            means = looked_ahead(mu, updates, beta, t)
        else:
            means = unbiased(mu, missing_share(beta, t))

        def direction(m):
            o = orthogonalize(m, ns_coeffs, ns_steps, eps)
            return jnp.sum(m * o) * o if adaptive else o

        return fg.tree.map(direction, means), MuonState(t, mu)

    return GradientTransformation(init, update)


@validated
def scale_by_shape(consistent_rms: float | None = None) -> GradientTransformation:
    """Multiply a matrix (fan in, fan out) by sqrt(max(1, fan out / fan in)).

    With `consistent_rms` r, by r sqrt(max(fan in, fan out)), so that the root mean square of an
    orthogonal step is about r (Liu et al., 2025).

    >>> import funcgrad.numpy as jnp
    >>> float(scale_by_shape().update(jnp.ones((1, 4)), ())[0][0, 0])
    2.0
    """

    def factor(shape) -> float:
        fan_in, fan_out = shape
        if consistent_rms is None:
            return math.sqrt(max(1, fan_out / max(fan_in, 1)))
        return consistent_rms * math.sqrt(max(fan_in, fan_out))

    return stateless(lambda updates, params: fg.tree.map(lambda u: factor(u.shape) * u, updates))
