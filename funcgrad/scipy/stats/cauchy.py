"""The Cauchy distribution around `loc`, with half width `scale`."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.numpy.promote import promote_args_inexact


def _standard(name: str, x: Any, loc: Any, scale: Any) -> tuple[Any, Any]:
    x, loc, scale = promote_args_inexact(f"cauchy.{name}", x, loc, scale)
    return (x - loc) / scale, scale


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the density."""
    z, scale = _standard("logpdf", x, loc, scale)
    return -jnp.log1p(jnp.square(z)) - jnp.log(scale) - math.log(math.pi)


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The density."""
    return jnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of at most x."""
    z, _ = _standard("cdf", x, loc, scale)
    return jnp.arctan2(jnp.ones_like(z), -z) / math.pi  # accurate in the lower tail


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of more than x."""
    return cdf(-_standard("sf", x, loc, scale)[0])


def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the probability of at most x."""
    return jnp.log(cdf(x, loc, scale))


def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the probability of more than x."""
    return jnp.log(sf(x, loc, scale))


def _quantile(q: Any) -> Any:
    """-cot(pi q), which is the more exact below 1/4, or tan(pi (q - 1/2))."""
    near_0 = q < 0.25
    low, high = jnp.where(near_0, q, 0.25), jnp.where(near_0, 0.5, q)
    return jnp.where(near_0, -1 / jnp.tan(math.pi * low), jnp.tan(math.pi * (high - 0.5)))


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The quantile: where cdf is q."""
    q, loc, scale = promote_args_inexact("cauchy.ppf", q, loc, scale)
    return _quantile(q) * scale + loc


def isf(q: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Where sf is q."""
    q, loc, scale = promote_args_inexact("cauchy.isf", q, loc, scale)
    return loc - _quantile(q) * scale
