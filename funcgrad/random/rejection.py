"""Samplers that draw until a draw is accepted: gamma, Poisson, binomial and multinomial numbers.

Gamma numbers come from a primitive of their own, in which each element stops when it is accepted.
Poisson and binomial numbers draw for the whole shape at once until all elements are accepted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import lax, numpy as jnp
from funcgrad.core import dtypes
from funcgrad.primitives.bits import random_split
from funcgrad.primitives.random_gamma import random_gamma
from funcgrad.random.arguments import as_shape, float_dtype, integer_dtype, sample_shape
from funcgrad.random.keys import typed_key
from funcgrad.random.samplers import uniform

# ---- gamma ---------------------------------------------------------------------------------------


def gamma(key: Any, a: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Gamma numbers of shape parameter `a` and scale 1: density x**(a-1) exp(-x) / Gamma(a).

    Differentiable in `a`, by implicit differentiation of the cumulative distribution. Small numbers
    underflow if `a` is below about 0.1: `loggamma` gives their logarithms.

    >>> from funcgrad import random
    >>> random.gamma(random.key(0), 3.0, (2,)).shape
    (2,)
    """
    return _gamma("gamma", key, a, shape, dtype, log_space=False)


def loggamma(key: Any, a: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Logarithms of gamma numbers, accurate for small `a`, where the numbers themselves are too
    small.
    """
    return _gamma("loggamma", key, a, shape, dtype, log_space=True)


def _gamma(name: str, key: Any, a: Any, shape: Any, dtype: Any, log_space: bool) -> Any:
    typed, _ = typed_key(name, key)
    dtype, shape = float_dtype(name, dtype), sample_shape(name, shape, a)
    alpha = jnp.broadcast_to(jnp.asarray(a, dtype=dtype), shape)
    return random_gamma(typed, alpha, log_space=log_space)


# ---- Poisson -------------------------------------------------------------------------------------

_KNUTH_BELOW = 10.0


def poisson(key: Any, lam: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Poisson numbers of rate `lam`, as integers.

    Products of uniform numbers below a rate of 10 (Knuth), transformed rejection above (Hormann
    1993, PTRS).
    """
    typed, _ = typed_key("poisson", key)
    dtype, shape = integer_dtype("poisson", dtype), sample_shape("poisson", shape, lam)
    lam = jnp.broadcast_to(jnp.asarray(lam, dtype=dtypes.float32), shape)
    small = jnp.logical_or(jnp.isnan(lam), lam < _KNUTH_BELOW)
    few = _poisson_by_products(typed, jnp.where(small, lam, 0.0), shape, dtype)
    many = _poisson_by_rejection(typed, jnp.where(small, 1e5, lam), shape, dtype)
    return jnp.where(lam == 0, 0, jnp.where(small, few, many)).astype(dtype)


def _poisson_by_products(key: Any, lam: Any, shape: tuple, dtype: np.dtype) -> Any:
    """How many uniform numbers can be multiplied before the product falls below exp(-lam)."""
    limit = jnp.iinfo(dtype).max

    def unfinished(state):
        step, _, _, log_product = state
        return jnp.logical_and(jnp.any(log_product > -lam), step < limit)

    def draw(state):
        step, count, key, log_product = state
        key, subkey = random_split(key, shape=(2,))
        count = jnp.where(log_product > -lam, count + 1, count)
        return step + 1, count, key, log_product + jnp.log(uniform(subkey, shape, dtypes.float32))

    start = (0, jnp.zeros(shape, dtype), key, jnp.zeros(shape, dtypes.float32))
    return lax.while_loop(unfinished, draw, start)[1] - 1


def _poisson_by_rejection(key: Any, lam: Any, shape: tuple, dtype: np.dtype) -> Any:
    """Hormann's PTRS, steps 1 to 3, with the names of his paper."""
    limit, log_lam = jnp.iinfo(dtype).max, jnp.log(lam)
    b = 0.931 + 2.53 * jnp.sqrt(lam)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)

    def unfinished(state):
        step, _, accepted, _ = state
        return jnp.logical_and(jnp.any(~accepted), step < limit)

    def draw(state):
        step, result, accepted, key = state
        key, u_key, v_key = random_split(key, shape=(3,))
        u, v = uniform(u_key, shape, lam.dtype) - 0.5, uniform(v_key, shape, lam.dtype)
        us = 0.5 - jnp.abs(u)
        k = jnp.floor((2 * a / us + b) * u + lam + 0.43)
        at_once = (us >= 0.07) & (v <= v_r)
        never = (k < 0) | ((us < 0.013) & (v > us))
        bound = -lam + k * log_lam - lax.lgamma(k + 1)
        accept = at_once | (~never & (jnp.log(v * inverse_alpha / (a / (us * us) + b)) <= bound))
        return step + 1, jnp.where(accept, k, result), accepted | accept, key

    start = (0, jnp.full(shape, -1, lam.dtype), jnp.zeros(shape, bool), key)
    return lax.while_loop(unfinished, draw, start)[1].astype(dtype)


# ---- binomial ------------------------------------------------------------------------------------


def binomial(key: Any, n: Any, p: Any, shape: Any = None, dtype: Any = None) -> Any:
    """The number of successes in `n` trials of probability `p`, as floating-point numbers.

    Sums of geometric numbers while n p <= 10, transformed rejection above (Hormann 1993, BTRS). NaN
    where n or p is negative or NaN.
    """
    typed, _ = typed_key("binomial", key)
    dtype, shape = float_dtype("binomial", dtype), sample_shape("binomial", shape, n, p)
    p = jnp.asarray(p)
    p = p.astype(dtypes.to_inexact(p.dtype))
    n = jnp.broadcast_to(jnp.asarray(n, dtype=p.dtype), shape)
    return _binomial(typed, n, jnp.broadcast_to(p, shape), dtype)


def _binomial(key: Any, n: Any, p: Any, dtype: np.dtype) -> Any:
    """The rarer of success and failure is counted, then turned round."""
    below_half = p < 0.5
    q = jnp.where(below_half, p, 1.0 - p)
    bad_n, bad_q = jnp.isnan(n) | (n < 0), jnp.isnan(q) | (q < 0)
    infinite = jnp.isinf(n)
    q = jnp.where(bad_q, 0.01, q)
    few = bad_n | (n * q <= 10)
    n = jnp.floor(n)
    limit = float(jnp.finfo(dtype).max)
    samples = jnp.where(
        few,
        _binomial_by_geometric(key, jnp.where(few, n, 0.0), q, limit),
        _binomial_by_rejection(key, jnp.where(few, 1e4, n), jnp.where(few, 0.5, q), limit),
    )
    samples = jnp.where(bad_n | bad_q, jnp.nan, samples.astype(dtype))
    samples = jnp.where(infinite & ~(bad_n | bad_q), jnp.inf, samples)
    return jnp.where(
        below_half | bad_n | jnp.isnan(p) | infinite, samples, n.astype(dtype) - samples
    )


def _binomial_by_geometric(key: Any, n: Any, q: Any, limit: float) -> Any:
    """How many geometric waiting times fit into n trials."""
    log_failure = jnp.log1p(-q)

    def unfinished(state):
        step, _, trials, _ = state
        return jnp.logical_and(jnp.any(trials <= n), step < limit)

    def draw(state):
        step, successes, trials, key = state
        subkey, key = random_split(key, shape=(2,))
        successes = jnp.where(trials <= n, successes + 1, successes)
        wait = jnp.ceil(jnp.log(uniform(subkey, n.shape, q.dtype)) / log_failure)
        return step + 1, successes, trials + wait, key

    start = (0, jnp.zeros_like(q), jnp.zeros_like(q), key)
    return lax.while_loop(unfinished, draw, start)[1] - 1


def _binomial_by_rejection(key: Any, n: Any, q: Any, limit: float) -> Any:
    """Hormann's BTRS, with the names of his paper."""
    deviation = jnp.sqrt(n * q * (1 - q))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * q
    c, v_r, ratio = n * q + 0.5, 0.92 - 4.2 / b, q / (1 - q)
    alpha, m = (2.83 + 5.1 / b) * deviation, jnp.floor((n + 1) * q)

    def unfinished(state):
        step, _, accepted, _ = state
        return jnp.logical_and(jnp.any(~accepted), step < limit)

    def draw(state):
        step, result, accepted, key = state
        key, u_key, v_key = random_split(key, shape=(3,))
        u, v = uniform(u_key, n.shape, q.dtype) - 0.5, uniform(v_key, n.shape, q.dtype)
        us = 0.5 - jnp.abs(u)
        k = jnp.floor((2 * a / us + b) * u + c)
        at_once = (us >= 0.07) & (v <= v_r)
        never = (k < 0) | (k > n)
        accept = at_once | (
            ~never & (jnp.log(v * alpha / (a / (us * us) + b)) <= _log_density(n, ratio, m, k))
        )
        return step + 1, jnp.where(accept, k, result), accepted | accept, key

    start = (0, jnp.full_like(q, -1), jnp.zeros(q.shape, bool), key)
    return lax.while_loop(unfinished, draw, start)[1]


def _log_density(n: Any, ratio: Any, m: Any, k: Any) -> Any:
    """Logarithm of the binomial density at k over that at its mode m, by Stirling's series."""
    return (
        (m + 0.5) * jnp.log((m + 1) / (ratio * (n - m + 1)))
        + (n + 1) * jnp.log((n - m + 1) / (n - k + 1))
        + (k + 0.5) * jnp.log(ratio * (n - k + 1) / (k + 1))
        + _stirling_tail(m)
        + _stirling_tail(n - m)
        - _stirling_tail(k)
        - _stirling_tail(n - k)
    )


# log k! - (k + 1/2) log(k + 1) + (k + 1) - log(2 pi)/2 for k = 0, ..., 9: Hormann's table
_STIRLING = (
    0.0810614667953272,
    0.0413406959554092,
    0.0276779256849983,
    0.02079067210376509,
    0.0166446911898211,
    0.0138761288230707,
    0.0118967099458917,
    0.010411265261972,
    0.00925546218271273,
    0.00833056343336287,
)


def _stirling_tail(k: Any) -> Any:
    exact = jnp.asarray(_STIRLING, dtype=k.dtype)
    small = jnp.clip(k, 0.0, 9.0)
    square = (small + 1) * (small + 1)
    series = (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (small + 1)
    return jnp.where(k <= 9, jnp.take(exact, jnp.floor(small).astype(dtypes.int32)), series)


def multinomial(key: Any, n: Any, p: Any, *, shape: Any = None, dtype: Any = None) -> Any:
    """How `n` trials spread over the categories of the last axis of `p`, as floating-point numbers.

    Category by category, each takes a binomial part of what remains.
    """
    typed, _ = typed_key("multinomial", key)
    n, p = jnp.asarray(n), jnp.asarray(p)
    common = dtypes.to_inexact(jnp.promote_types(n.dtype, p.dtype))
    shape = p.shape if shape is None else as_shape("multinomial", shape)
    remaining = jnp.broadcast_to(n.astype(common), shape[:-1])
    p = jnp.moveaxis(jnp.broadcast_to(p.astype(common), shape), -1, 0)
    rest = lax.cumsum(p, 0, reverse=True)
    ratios = p / jnp.where(rest == 0, jnp.ones_like(rest), rest)

    def take(remaining, ratio_and_key):
        ratio, key = ratio_and_key
        count = binomial(key, remaining, jnp.clip(ratio, 0, 1), dtype=common)
        return remaining - count, count

    keys = random_split(typed, shape=(ratios.shape[0],))
    counts = lax.scan(take, remaining, (ratios, keys))[1]
    return jnp.moveaxis(counts, 0, -1).astype(float_dtype("multinomial", dtype))
