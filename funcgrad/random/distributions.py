"""Continuous and discrete distributions that are made of the basic samplers in one or two formulas.

Parameters broadcast against `shape`, or give the shape where there is none; samples are
differentiable in continuous parameters. Those that need rejection are in `rejection`.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from funcgrad import lax, numpy as jnp
from funcgrad.core import dtypes
from funcgrad.primitives.bits import random_split
from funcgrad.random.arguments import (
    as_shape,
    broadcast_to_shape,
    float_dtype,
    integer_dtype,
    parameter,
    sample_shape,
)
from funcgrad.random.keys import typed_key
from funcgrad.random.rejection import gamma, loggamma
from funcgrad.random.samplers import bernoulli, normal, uniform


def _two_keys(name: str, key: Any) -> tuple[Any, Any]:
    first, second = random_split(typed_key(name, key)[0], shape=(2,))
    return first, second


# ---- without parameters --------------------------------------------------------------------------


def exponential(key: Any, shape: Any = (), dtype: Any = None) -> Any:
    """Exponential numbers of rate 1: density exp(-x) for x >= 0."""
    u = uniform(key, as_shape("exponential", shape), float_dtype("exponential", dtype))
    return -jnp.log1p(-u)


def laplace(key: Any, shape: Any = (), dtype: Any = None) -> Any:
    """Laplace numbers: density exp(-|x|) / 2."""
    dtype = float_dtype("laplace", dtype)
    u = uniform(key, as_shape("laplace", shape), dtype, -1.0 + float(jnp.finfo(dtype).epsneg), 1.0)
    return jnp.sign(u) * jnp.log1p(-jnp.abs(u))


def logistic(key: Any, shape: Any = (), dtype: Any = None) -> Any:
    """Logistic numbers: the cumulative distribution is 1 / (1 + exp(-x))."""
    dtype = float_dtype("logistic", dtype)
    u = uniform(key, as_shape("logistic", shape), dtype, float(jnp.finfo(dtype).tiny), 1.0)
    return jnp.log(u) - jnp.log1p(-u)


def cauchy(key: Any, shape: Any = (), dtype: Any = None) -> Any:
    """Cauchy numbers: density 1 / (pi (1 + x**2))."""
    dtype = float_dtype("cauchy", dtype)
    u = uniform(key, as_shape("cauchy", shape), dtype, float(jnp.finfo(dtype).eps), 1.0)
    return jnp.tan(math.pi * (u - 0.5))


def rademacher(key: Any, shape: Any = (), dtype: Any = None) -> Any:
    """-1 or 1 with equal probability, as integers unless `dtype` says otherwise."""
    dtype = dtypes.as_dtype(int if dtype is None else dtype)
    heads = bernoulli(key, 0.5, as_shape("rademacher", shape))
    return (2 * heads.astype(dtype) - 1).astype(dtype)


def maxwell(key: Any, shape: Any = (), dtype: Any = None) -> Any:
    """Maxwell numbers: the length of a standard normal vector in three dimensions."""
    vectors = normal(key, (*as_shape("maxwell", shape), 3), float_dtype("maxwell", dtype))
    return jnp.linalg.norm(vectors, axis=-1)


# ---- with scale and shape parameters -------------------------------------------------------------


def double_sided_maxwell(key: Any, loc: Any, scale: Any, shape: Any = (), dtype: Any = None) -> Any:
    """`loc + scale * s * m` with a random sign s and a Maxwell number m, of shape `shape` + the
    parameters' shape.
    """
    dtype = float_dtype("double_sided_maxwell", dtype)
    parameters = jnp.broadcast_shapes(np.shape(loc), np.shape(scale))
    shape = (as_shape("double_sided_maxwell", shape) or parameters) + parameters
    length_key, sign_key = _two_keys("double_sided_maxwell", key)
    return rademacher(sign_key, shape, dtype) * maxwell(length_key, shape, dtype) * scale + loc


def weibull_min(
    key: Any, scale: Any, concentration: Any, shape: Any = (), dtype: Any = None
) -> Any:
    """Weibull numbers: density c/s (x/s)**(c-1) exp(-(x/s)**c) for x >= 0, scale s, concentration
    c.
    """
    u = uniform(key, as_shape("weibull_min", shape), float_dtype("weibull_min", dtype))
    return jnp.power(-jnp.log1p(-u), 1.0 / concentration) * scale


def pareto(key: Any, b: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Pareto numbers: density b / x**(b+1) for x >= 1."""
    dtype, shape = float_dtype("pareto", dtype), sample_shape("pareto", shape, b)
    return jnp.exp(exponential(key, shape, dtype) / parameter("pareto", b, dtype))


def rayleigh(key: Any, scale: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Rayleigh numbers: density x/s**2 exp(-x**2 / (2 s**2)) for x >= 0, scale s."""
    dtype, shape = float_dtype("rayleigh", dtype), sample_shape("rayleigh", shape, scale)
    return parameter("rayleigh", scale, dtype) * jnp.sqrt(jnp.log(uniform(key, shape, dtype)) * -2)


def lognormal(key: Any, sigma: Any = 1.0, shape: Any = None, dtype: Any = None) -> Any:
    """exp(sigma * z) for standard normal z."""
    dtype = float_dtype("lognormal", dtype, or_complex=True)
    shape = sample_shape("lognormal", shape, sigma)
    return jnp.exp(normal(key, shape, dtype) * parameter("lognormal", sigma, dtype))


def triangular(
    key: Any, left: Any, mode: Any, right: Any, shape: Any = None, dtype: Any = None
) -> Any:
    """Numbers in [left, right] whose density is a triangle with its top at `mode`."""
    dtype, shape = (
        float_dtype("triangular", dtype),
        sample_shape("triangular", shape, left, mode, right),
    )
    left, mode, right = (parameter("triangular", p, dtype) for p in (left, mode, right))
    u = uniform(key, shape, dtype)
    rising = left + jnp.sqrt(u * (right - left) * (mode - left))
    falling = right - jnp.sqrt((1 - u) * (right - left) * (right - mode))
    return jnp.where(u < (mode - left) / (right - left), rising, falling)


def wald(key: Any, mean: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Wald (inverse Gaussian) numbers of scale 1.

    The method of Michael, Schucany and Haas (1976): the smaller root of the equation for the chi-
    square variable is taken with probability mean / (mean + x), else the larger one.
    """
    dtype, shape = float_dtype("wald", dtype), sample_shape("wald", shape, mean)
    mean = jnp.broadcast_to(parameter("wald", mean, dtype), shape)
    normal_key, uniform_key = _two_keys("wald", key)
    y, z = jnp.square(normal(normal_key, shape, dtype)), uniform(uniform_key, shape, dtype)
    square = jnp.square(mean)
    x = mean + square * y / 2 - mean / 2 * jnp.sqrt(4 * mean * y + square * jnp.square(y))
    return jnp.where(z <= mean / (mean + x), x, square / x)


def geometric(key: Any, p: Any, shape: Any = None, dtype: Any = None) -> Any:
    """The number of trials up to the first success, each of probability `p`: 1, 2, ...."""
    typed, _ = typed_key("geometric", key)
    dtype, shape = integer_dtype("geometric", dtype), sample_shape("geometric", shape, p)
    p = jnp.asarray(p)
    p = p.astype(dtypes.to_inexact(p.dtype))
    u = uniform(typed, shape, p.dtype)
    u = jnp.where(u == 0, jnp.ones_like(u), u)
    return (jnp.floor(jnp.log(u) / jnp.log1p(-p)) + 1).astype(dtype)


# ---- made of gamma numbers -----------------------------------------------------------------------


def chisquare(key: Any, df: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Chi-square numbers with `df` degrees of freedom."""
    dtype, shape = float_dtype("chisquare", dtype), sample_shape("chisquare", shape, df)
    return jnp.exp(loggamma(key, parameter("chisquare", df, dtype) / 2, shape, dtype)) * 2


def f(key: Any, dfnum: Any, dfden: Any, shape: Any = None, dtype: Any = None) -> Any:
    """F numbers with `dfnum` and `dfden` degrees of freedom."""
    dtype, shape = float_dtype("f", dtype), sample_shape("f", shape, dfnum, dfden)
    dfnum, dfden = parameter("f", dfnum, dtype), parameter("f", dfden, dtype)
    denominator_key, numerator_key = _two_keys("f", key)
    numerator = chisquare(numerator_key, dfnum, shape, dtype) / dfnum
    return numerator / (chisquare(denominator_key, dfden, shape, dtype) / dfden)


def t(key: Any, df: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Student's t numbers with `df` degrees of freedom."""
    dtype, shape = float_dtype("t", dtype), sample_shape("t", shape, df)
    half = parameter("t", df, dtype) / 2
    normal_key, gamma_key = _two_keys("t", key)
    return normal(normal_key, shape, dtype) * jnp.sqrt(half / gamma(gamma_key, half, shape, dtype))


def beta(key: Any, a: Any, b: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Beta numbers: density proportional to x**(a-1) (1-x)**(b-1) on (0, 1)."""
    dtype, shape = float_dtype("beta", dtype), sample_shape("beta", shape, a, b)
    keys = _two_keys("beta", key)
    first, second = (
        loggamma(k, parameter("beta", p, dtype), shape, dtype)
        for k, p in zip(keys, (a, b), strict=True)
    )
    top = jnp.maximum(first, second)  # small a and b underflow without it
    first, second = jnp.exp(first - top), jnp.exp(second - top)
    return first / (first + second)


def dirichlet(key: Any, alpha: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Points of a simplex, shape (*shape, n), with concentrations `alpha` of shape (..., n)."""
    dtype, sizes = float_dtype("dirichlet", dtype), np.shape(alpha)
    if not sizes:
        raise ValueError("dirichlet: alpha needs at least one dimension, but is a scalar.")
    shape = sizes[:-1] if shape is None else as_shape("dirichlet", shape)
    if not broadcast_to_shape(shape, sizes[:-1]):
        raise ValueError(
            f"dirichlet: alpha of shape {sizes} must broadcast to shape {shape} and a last "
            "dimension."
        )
    logs = loggamma(key, parameter("dirichlet", alpha, dtype), (*shape, sizes[-1]), dtype)
    weights = jnp.exp(logs - lax.stop_gradient(jnp.max(logs, axis=-1, keepdims=True)))
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def generalized_normal(key: Any, p: float, shape: Any = (), dtype: Any = None) -> Any:
    """Numbers with density proportional to exp(-|x|**p)."""
    dtype, shape = float_dtype("generalized_normal", dtype), as_shape("generalized_normal", shape)
    gamma_key, sign_key = _two_keys("generalized_normal", key)
    power = gamma(gamma_key, 1 / p, shape, dtype)
    return rademacher(sign_key, shape, dtype) * power ** (1 / p)


def ball(key: Any, d: int, p: float = 2, shape: Any = (), dtype: Any = None) -> Any:
    """Uniform points of the unit ball of the p-norm in `d` dimensions, shape (*shape, d).

    Barthe, Guedon, Mendelson, Naor, "A probabilistic approach to the geometry of the p-ball"
    (2005), theorem 1.
    """
    dtype, shape = float_dtype("ball", dtype), as_shape("ball", shape)
    direction_key, radius_key = _two_keys("ball", key)
    g = generalized_normal(direction_key, p, (*shape, operator.index(d)), dtype)
    e = exponential(radius_key, shape, dtype)
    return g / ((jnp.sum(jnp.abs(g) ** p, axis=-1) + e) ** (1 / p))[..., None]


# ---- vectors and matrices ------------------------------------------------------------------------


def orthogonal(key: Any, n: int, shape: Any = (), dtype: Any = None, m: int | None = None) -> Any:
    """Uniformly distributed orthogonal matrices, shape (*shape, n, m) with m = n unless given.

    The columns (rows, if n < m) are orthonormal: the Q of a normal matrix, with the signs that make
    R's diagonal positive (Mezzadri 2007).
    """
    n, m = operator.index(n), operator.index(n if m is None else m)
    shape, dtype = as_shape("orthogonal", shape), float_dtype("orthogonal", dtype, or_complex=True)
    q, r = jnp.linalg.qr(normal(key, (*shape, max(n, m), min(n, m)), dtype))
    q = q * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    return jnp.swapaxes(q, -1, -2) if n < m else q


_FACTORS = ("cholesky", "eigh", "svd")


def _square_root(cov: Any, method: str) -> Any:
    """A matrix F with F F' = cov."""
    if method == "cholesky":
        return jnp.linalg.cholesky(cov)
    if method == "eigh":
        values, vectors = jnp.linalg.eigh(cov)
    else:
        vectors, values, _ = jnp.linalg.svd(cov)
    return vectors * jnp.sqrt(values[..., None, :])


def multivariate_normal(
    key: Any, mean: Any, cov: Any, shape: Any = None, dtype: Any = None, method: str = "cholesky"
) -> Any:
    """Normal vectors with mean (..., n) and covariance (..., n, n), shape (*shape, n).

    `method` is how the covariance is factored: "cholesky", which is fastest, "eigh" or "svd", which
    also take matrices that are singular.
    """
    if method not in _FACTORS:
        raise ValueError(
            f"multivariate_normal: method is one of {', '.join(_FACTORS)}, but got {method!r}."
        )
    mean, cov = _inexact_pair(mean, cov)
    dtype = mean.dtype if dtype is None else float_dtype("multivariate_normal", dtype)
    n = mean.shape[-1] if mean.ndim else None
    if mean.ndim < 1 or cov.shape[-2:] != (n, n):
        raise ValueError(
            "multivariate_normal: needs a mean of shape (..., n) and a covariance of shape (..., "
            "n, n), "
            f"but got {mean.shape} and {cov.shape}."
        )
    batch = jnp.broadcast_shapes(mean.shape[:-1], cov.shape[:-2])
    shape = batch if shape is None else as_shape("multivariate_normal", shape)
    if not broadcast_to_shape(shape, batch):
        raise ValueError(
            f"multivariate_normal: mean of shape {mean.shape} and covariance of shape {cov.shape} "
            f"must broadcast to the shape argument {shape}."
        )
    samples = normal(key, (*shape, n), dtype)
    return mean + jnp.einsum("...ij,...j->...i", _square_root(cov, method), samples)


def _inexact_pair(mean: Any, cov: Any) -> tuple[Any, Any]:
    mean, cov = jnp.asarray(mean), jnp.asarray(cov)
    dtype = dtypes.to_inexact(jnp.promote_types(mean.dtype, cov.dtype))
    return mean.astype(dtype), cov.astype(dtype)
