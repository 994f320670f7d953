"""The Poisson distribution with rate `mu`, shifted by `loc`."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.numpy.promote import promote_args_inexact
from funcgrad.scipy import special


def logpmf(k: Any, mu: Any, loc: Any = 0) -> Any:
    """Logarithm of the probability of k."""
    k, mu, loc = promote_args_inexact("poisson.logpmf", k, mu, loc)
    x = k - loc
    possible = (x >= 0) & (x == jnp.floor(x))
    x = jnp.where(possible, x, 0.0)
    return jnp.where(possible, special.xlogy(x, mu) - special.gammaln(x + 1) - mu, -math.inf)


def pmf(k: Any, mu: Any, loc: Any = 0) -> Any:
    """The probability of k."""
    return jnp.exp(logpmf(k, mu, loc))


def cdf(k: Any, mu: Any, loc: Any = 0) -> Any:
    """The probability of at most k."""
    k, mu, loc = promote_args_inexact("poisson.cdf", k, mu, loc)
    x = jnp.floor(k - loc)
    return jnp.where(x < 0, 0.0, special.gammaincc(jnp.maximum(x, 0.0) + 1, mu))
