"""Student's t distribution with `df` degrees of freedom, moved by `loc` and scaled by `scale`."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.numpy.promote import promote_args_inexact
from funcgrad.scipy import special


def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """Logarithm of the density."""
    x, df, loc, scale = promote_args_inexact("t.logpdf", x, df, loc, scale)
    z, half = (x - loc) / scale, 0.5 * df
    normalizer = special.gammaln(half) - special.gammaln(half + 0.5)
    normalizer = normalizer + 0.5 * jnp.log(df * math.pi) + jnp.log(scale)
    return -normalizer - (half + 0.5) * jnp.log1p(jnp.square(z) / df)


def pdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The density."""
    return jnp.exp(logpdf(x, df, loc, scale))


def cdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Any:
    """The probability of at most x (DLMF 8.17.21)."""
    x, df, loc, scale = promote_args_inexact("t.cdf", x, df, loc, scale)
    z = (x - loc) / scale
    square = jnp.square(z)
    tail = 0.5 * special.betainc(0.5 * df, 0.5, df / (df + square))
    return jnp.where(z <= 0, tail, 1 - tail)
