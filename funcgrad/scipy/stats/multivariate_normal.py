"""The multivariate normal distribution with mean (..., n) and covariance (..., n, n)."""

from __future__ import annotations

import math
from typing import Any

from funcgrad import numpy as jnp
from funcgrad.numpy.promote import promote_dtypes_inexact


def logpdf(x: Any, mean: Any, cov: Any, allow_singular: None = None) -> Any:
    """Logarithm of the density of vectors x (..., n).

    `cov` may be a number: the variance of each component. Singular covariances are not available:
    `allow_singular` must be None.
    """
    if allow_singular is not None:
        raise ValueError("multivariate_normal.logpdf: allow_singular is not available.")
    x, mean, cov = promote_dtypes_inexact("multivariate_normal.logpdf", x, mean, cov)
    if mean.ndim == 0:
        return -0.5 * jnp.square(x - mean) / cov - 0.5 * (math.log(2 * math.pi) + jnp.log(cov))
    n = mean.shape[-1]
    if cov.ndim == 0:
        square, log_det = jnp.sum(jnp.square(x - mean), axis=-1) / cov, n * jnp.log(cov)
    else:
        square, log_det = _whitened(x - mean, cov)
    return -0.5 * (square + n * math.log(2 * math.pi) + log_det)


def _whitened(difference: Any, cov: Any) -> tuple[Any, Any]:
    """The squared length of L**-1 (x - mean) for cov = L L', and log(det(cov))."""
    if cov.shape[-2:] != (difference.shape[-1],) * 2:
        raise ValueError(
            "multivariate_normal.logpdf: the covariance must have shape (..., n, n) for vectors of "
            f"size n = {difference.shape[-1]}, but got {cov.shape}."
        )
    factor = jnp.linalg.cholesky(cov)
    solved = jnp.linalg.solve(factor, difference[..., None])[..., 0]
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
    return jnp.sum(jnp.square(solved), axis=-1), log_det


def pdf(x: Any, mean: Any, cov: Any) -> Any:
    """The density of vectors x (..., n)."""
    return jnp.exp(logpdf(x, mean, cov))
