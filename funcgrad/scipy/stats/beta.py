"""The beta distribution with parameters `a` and `b`, on [loc, loc + scale]."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.numpy.promote import promote_args_inexact
from funcgrad.scipy import special


def _standard(name: str, x: Any, a: Any, b: Any, loc: Any, scale: Any) -> tuple[Any, Any, Any, Any]:
    x, a, b, loc, scale = promote_args_inexact(f"beta.{name}", x, a, b, loc, scale)
    return (x - loc) / scale, a, b, scale


def logpdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the density."""
    z, a, b, scale = _standard("logpdf", x, a, b, loc, scale)
    inside = (z >= 0) & (z <= 1)
    z = jnp.where(inside, z, 0.5)
    value = special.xlogy(a - 1, z) + special.xlog1py(b - 1, -z) - special.betaln(a, b)
    return jnp.where(inside, value - jnp.log(scale), -math.inf)


def pdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The density."""
    return jnp.exp(logpdf(x, a, b, loc, scale))


def cdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of at most x."""
    z, a, b, _ = _standard("cdf", x, a, b, loc, scale)
    return special.betainc(a, b, jnp.clip(z, 0.0, 1.0))


def logcdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the probability of at most x."""
    return jnp.log(cdf(x, a, b, loc, scale))


def sf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of more than x."""
    z, a, b, _ = _standard("sf", x, a, b, loc, scale)
    return special.betainc(b, a, 1 - jnp.clip(z, 0.0, 1.0))


def logsf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the probability of more than x."""
    return jnp.log(sf(x, a, b, loc, scale))
