"""The gamma distribution with shape parameter `a`, from `loc` on, scaled by `scale`."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.numpy.promote import promote_args_inexact
from funcgrad.scipy import special


def _standard(name: str, x: Any, a: Any, loc: Any, scale: Any) -> tuple[Any, Any, Any]:
    x, a, loc, scale = promote_args_inexact(f"gamma.{name}", x, a, loc, scale)
    return (x - loc) / scale, a, scale


def logpdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the density."""
    z, a, scale = _standard("logpdf", x, a, loc, scale)
    inside = z >= 0
    z = jnp.where(inside, z, 1.0)
    value = special.xlogy(a - 1, z) - z - special.gammaln(a) - jnp.log(scale)
    return jnp.where(inside, value, -math.inf)


def pdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The density."""
    return jnp.exp(logpdf(x, a, loc, scale))


def cdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of at most x."""
    z, a, _ = _standard("cdf", x, a, loc, scale)
    return special.gammainc(a, jnp.maximum(z, 0.0))


def logcdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the probability of at most x."""
    return jnp.log(cdf(x, a, loc, scale))


def sf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of more than x."""
    z, a, _ = _standard("sf", x, a, loc, scale)
    return special.gammaincc(a, jnp.maximum(z, 0.0))


def logsf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the probability of more than x."""
    return jnp.log(sf(x, a, loc, scale))
