"""The Bernoulli distribution: 1 with probability `p`, else 0, shifted by `loc`."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.numpy.promote import promote_args_inexact
from funcgrad.scipy import special


def logpmf(k: Any, p: Any, loc: Any = 0) -> Any:
    """Logarithm of the probability of k."""
    k, p, loc = promote_args_inexact("bernoulli.logpmf", k, p, loc)
    x = k - loc
    possible = (x == 0) | (x == 1)
    x = jnp.where(possible, x, 0.0)
    return jnp.where(possible, special.xlogy(x, p) + special.xlog1py(1 - x, -p), -math.inf)


def pmf(k: Any, p: Any, loc: Any = 0) -> Any:
    """The probability of k."""
    return jnp.exp(logpmf(k, p, loc))


def cdf(k: Any, p: Any, loc: Any = 0) -> Any:
    """The probability of at most k."""
    k, p, loc = promote_args_inexact("bernoulli.cdf", k, p, loc)
    x = k - loc
    return jnp.where(x < 0, 0.0, jnp.where(x < 1, 1 - p, 1.0))


def ppf(q: Any, p: Any) -> Any:
    """The quantile: the least k whose cdf is at least q; NaN unless 0 <= q <= 1."""
    q, p = promote_args_inexact("bernoulli.ppf", q, p)
    return jnp.where((q >= 0) & (q <= 1), jnp.where(q <= 1 - p, 0.0, 1.0), math.nan)
