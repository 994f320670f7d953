"""The exponential distribution from `loc` on, with mean `scale` beyond it."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.numpy.promote import promote_args_inexact


def _standard(name: str, x: Any, loc: Any, scale: Any) -> tuple[Any, Any]:
    x, loc, scale = promote_args_inexact(f"expon.{name}", x, loc, scale)
    return (x - loc) / scale, scale


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the density."""
    z, scale = _standard("logpdf", x, loc, scale)
    return jnp.where(z < 0, -math.inf, -z - jnp.log(scale))


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The density."""
    return jnp.exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of at most x."""
    return -jnp.expm1(-jnp.maximum(_standard("cdf", x, loc, scale)[0], 0.0))


def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the probability of at most x."""
    return jnp.log(cdf(x, loc, scale))


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of more than x."""
    return jnp.exp(logsf(x, loc, scale))


def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the probability of more than x."""
    return -jnp.maximum(_standard("logsf", x, loc, scale)[0], 0.0)


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The quantile: where cdf is q; NaN unless 0 <= q <= 1."""
    q, loc, scale = promote_args_inexact("expon.ppf", q, loc, scale)
    return jnp.where((q >= 0) & (q <= 1), loc - scale * jnp.log1p(-q), math.nan)
