"""Values of the incomplete gamma and beta functions and of their derivatives, computed in float64
for all dtypes.

P(a, x) is summed as a series (DLMF 8.11.4) where x <= a, and comes from the continued fraction of Q
= 1 - P (8.9.2) elsewhere; both are differentiated in `a` term by term. The regularized incomplete
beta function is the continued fraction 8.17.22.
"""

from __future__ import annotations

import math

from funcgrad.primitives.special.gamma_functions import (
    digamma_positive,
    gamma_positive,
    lgamma_positive,
    stirling_rest,
)
from funcgrad.primitives.special.numerics import FLOAT64, fill, in_blocks, until_converged

_LIMIT = 10000  # terms; about 6 sqrt(a) are needed where x is near a
_EPSILON = 4e-16  # one step later the change is below rounding
_LARGE = 10  # parameters from which Stirling's series is used
_RESCALE = 2.0**52
_NEAR = 0.3  # a ratio is near 1


# ---- factors in front ----------------------------------------------------------------------------


def _log_minus(xp, ratio, u):
    """log(ratio) - u for ratio = 1 + u. Near 1 it is a difference of equals: there the series of
    log, in u.
    """
    small = xp.abs(u) < _NEAR
    s = xp.where(small, u / (2 + u), 0)  # log(1 + u) = 2 atanh(s)
    z = s * s
    total = xp.zeros_like(s)
    for k in range(13, 0, -1):
        total = (total + 2 / (2 * k + 1)) * z
    # log(1 + u) - u = 2 s + s * total - u, and 2 s - u = -u s
    return xp.where(small, s * (total - u), xp.log(ratio) - u)


def _gamma_factor(xp, a, x):
    """x**a exp(-x) / gamma(a + 1)."""
    out = xp.empty_like(x)
    fill(xp, out, a < _LARGE, lambda xp, a, x: x**a * xp.exp(-x) / gamma_positive(xp, a + 1), a, x)
    fill(xp, out, ~(a < _LARGE), _gamma_factor_large, a, x)
    return out


def _gamma_factor_large(xp, a, x):
    """The large exponents a log(x / a) and a - x cancel before anything is rounded."""
    ratio, u = x / a, (x - a) / a
    power = xp.exp(a * _log_minus(xp, ratio, u))
    far = xp.abs(u) >= _NEAR  # here an exponent would be rounded more than its power
    power = xp.where(far, (ratio * xp.exp(-u)) ** a, power)
    return power * xp.exp(-stirling_rest(xp, a)) / xp.sqrt(2 * math.pi * a)


def _beta_factor(xp, a, b, x):
    """x**a (1 - x)**b / beta(a, b)."""
    out = xp.exp(
        a * xp.log(x)
        + b * xp.log1p(-x)
        + lgamma_any(xp, a + b)
        - lgamma_any(xp, a)
        - lgamma_any(xp, b)
    )
    fill(xp, out, (a >= _LARGE) & (b >= _LARGE), _beta_factor_large, a, b, x)
    fill(xp, out, (a < _LARGE) & (b < _LARGE), _beta_factor_small, a, b, x)
    return out


def _beta_factor_small(xp, a, b, x):
    """Powers are rounded less than the exponential of a sum of logarithms."""
    gammas = gamma_positive(xp, a + b + 1) / (gamma_positive(xp, a + 1) * gamma_positive(xp, b + 1))
    return x**a * xp.exp(b * xp.log1p(-x)) * gammas * (a * b / (a + b))


def _beta_factor_large(xp, a, b, x):
    mean = a / (a + b)
    rest = b / (a + b)
    exponent = (
        a * _log_minus(xp, x / mean, (x - mean) / mean)
        + b * _log_minus(xp, (1 - x) / rest, (mean - x) / rest)
        + stirling_rest(xp, a + b)
        - stirling_rest(xp, a)
        - stirling_rest(xp, b)
    )
    return xp.exp(exponent) * xp.sqrt(a * b / (2 * math.pi * (a + b)))


def lgamma_any(xp, x):
    """log(gamma(x)) for x > 0."""
    return xp.where(
        x < 0.5, lgamma_positive(xp, x + 1) - xp.log(x), lgamma_positive(xp, xp.maximum(x, 0.5))
    )


# ---- incomplete gamma ----------------------------------------------------------------------------


def _series(xp, a, x):
    """The sum of x**n / ((a + 1) ... (a + n)) over n = 0, 1, 2, ...."""

    def step(xp, n, total, term, a, x):
        term = term * (x / (a + n))
        total = total + term
        return [total, term, a, x], term > _EPSILON * total

    return until_converged(xp, [xp.ones_like(x), xp.ones_like(x), a, x], step, _LIMIT)[0]


def _series_and_slope(xp, a, x):
    """That sum, and its derivative in a."""

    def step(xp, n, total, slope, term, harmonic, a, x):
        term = term * (x / (a + n))
        harmonic = harmonic + 1 / (a + n)
        total, change = total + term, term * harmonic
        slope = slope - change
        state = [total, slope, term, harmonic, a, x]
        return state, (term > _EPSILON * total) | (change > _EPSILON * xp.abs(slope))

    start = [xp.ones_like(x), xp.zeros_like(x), xp.ones_like(x), xp.zeros_like(x), a, x]
    return until_converged(xp, start, step, _LIMIT)[:2]


def _fraction(xp, a, x):
    """1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / ...)), for x > a and x > 1.

    Numerators p and denominators q of successive approximants.
    """

    def step(xp, n, value, p, q, p_before, q_before, a, x):
        partial, denominator = n * (n - a), x + (2 * n + 1) - a
        new_p, new_q = p * denominator - p_before * partial, q * denominator - q_before * partial
        new_value = new_p / new_q
        unfinished = xp.abs(new_value - value) > _EPSILON * xp.abs(new_value)
        scale = xp.where(xp.abs(new_q) > _RESCALE, 1 / _RESCALE, 1.0)
        rows = [part * scale for part in (new_p, new_q, p, q)]
        return [new_value, *rows, a, x], unfinished

    one, q = xp.ones_like(x), x + 1 - a
    start = [1 / q, one, q, xp.zeros_like(x), one, a, x]
    return until_converged(xp, start, step, _LIMIT)[0]


def _fraction_and_slope(xp, a, x):
    """That fraction, and its derivative in a: p and q each with its derivative."""

    def step(xp, n, value, slope, p, q, p_before, q_before, dp, dq, dp_before, dq_before, a, x):
        partial, denominator = n * (n - a), x + (2 * n + 1) - a
        new_p, new_q = p * denominator - p_before * partial, q * denominator - q_before * partial
        new_dp = dp * denominator - p - dp_before * partial + p_before * n
        new_dq = dq * denominator - q - dq_before * partial + q_before * n
        new_value = new_p / new_q
        new_slope = (new_dp - new_value * new_dq) / new_q
        unfinished = (xp.abs(new_value - value) > _EPSILON * xp.abs(new_value)) | (
            xp.abs(new_slope - slope) > _EPSILON * xp.abs(new_slope)
        )
        scale = xp.where(xp.abs(new_q) > _RESCALE, 1 / _RESCALE, 1.0)
        rows = [part * scale for part in (new_p, new_q, p, q, new_dp, new_dq, dp, dq)]
        return [new_value, new_slope, *rows, a, x], unfinished

    one, zero = xp.ones_like(x), xp.zeros_like(x)
    q = x + 1 - a
    start = [1 / q, 1 / (q * q), one, q, zero, one, zero, -one, zero, zero, a, x]
    return until_converged(xp, start, step, _LIMIT)[:2]


def _lower_by_series(xp, a, x):
    return _gamma_factor(xp, a, x) * _series(xp, a, x)


def _upper_by_fraction(xp, a, x):
    return _gamma_factor(xp, a, x) * a * _fraction(xp, a, x)


def _regions(xp, a, x):
    """Where the series is used, and where the fraction; both exclude the edges of the domain."""
    inside = (a > 0) & (x > 0) & xp.isfinite(a) & xp.isfinite(x)
    series = inside & ((x <= 1) | (x <= a))
    return series, inside & ~series


def _igamma_block(xp, a, x):
    series, fraction = _regions(xp, a, x)
    out = xp.full_like(x, xp.nan)
    fill(xp, out, series, _lower_by_series, a, x)
    fill(xp, out, fraction, lambda xp, a, x: 1 - _upper_by_fraction(xp, a, x), a, x)
    return _edges(xp, out, a, x, 0.0, 1.0)


def _igammac_block(xp, a, x):
    series, fraction = _regions(xp, a, x)
    out = xp.full_like(x, xp.nan)
    fill(xp, out, series, lambda xp, a, x: 1 - _lower_by_series(xp, a, x), a, x)
    fill(xp, out, fraction, _upper_by_fraction, a, x)
    return _edges(xp, out, a, x, 1.0, 0.0)


def _edges(xp, out, a, x, at_zero, at_infinity):
    """Values on the edges: x = 0 or a = inf, x = inf or a = 0; NaN where both, and outside."""
    out[((x == 0) & (a > 0)) | ((a == xp.inf) & (x >= 0) & (x < xp.inf))] = at_zero
    out[((x == xp.inf) & (a >= 0) & (a < xp.inf)) | ((a == 0) & (x > 0))] = at_infinity
    return out


def _derivative_ratio(xp, a, x):
    """The derivative of P in a, over a times the factor: what both derivatives are multiples of."""
    series, fraction = _regions(xp, a, x)
    out = xp.full_like(x, xp.nan)
    fill(xp, out, series, _ratio_by_series, a, x)
    fill(xp, out, fraction, _ratio_by_fraction, a, x)
    return out


def _ratio_by_series(xp, a, x):
    total, slope = _series_and_slope(xp, a, x)
    return ((xp.log(x) - digamma_positive(xp, a + 1)) * total + slope) / a


def _ratio_by_fraction(xp, a, x):
    value, slope = _fraction_and_slope(xp, a, x)
    return -((xp.log(x) - digamma_positive(xp, a)) * value + slope)


def _igamma_grad_a_block(xp, a, x):
    out = _derivative_ratio(xp, a, x)
    fill(xp, out, out == out, lambda xp, r, a, x: r * a * _gamma_factor(xp, a, x), out, a, x)
    out[(x == 0) & (a > 0)] = 0
    return out


def _random_gamma_grad_block(xp, a, x):
    # the derivative of P in x is a times the factor over x, so that the factor drops out
    out = -x * _derivative_ratio(xp, a, x)
    out[(x == 0) & (a > 0)] = 0
    return out


# ---- incomplete beta -----------------------------------------------------------------------------

_TINY = 1e-300


def _beta_fraction(xp, a, b, x):
    """The continued fraction, by Lentz's method in two half-steps."""

    def half(coefficient, c, d, value):
        d = 1 + coefficient * d
        c = 1 + coefficient / c
        d = 1 / xp.where(xp.abs(d) < _TINY, _TINY, d)
        c = xp.where(xp.abs(c) < _TINY, _TINY, c)
        return c, d, value * c * d

    def step(xp, n, value, c, d, a, b, x):
        even = n * (b - n) * x / ((a + (2 * n - 1)) * (a + 2 * n))
        odd = -(a + n) * (a + b + n) * x / ((a + 2 * n) * (a + (2 * n + 1)))
        c, d, half_way = half(even, c, d, value)
        c, d, new = half(odd, c, d, half_way)
        return [new, c, d, a, b, x], xp.abs(new - half_way) > _EPSILON * xp.abs(new)

    d = 1 - (a + b) * x / (a + 1)
    d = 1 / xp.where(xp.abs(d) < _TINY, _TINY, d)
    return until_converged(xp, [d, xp.ones_like(x), d, a, b, x], step, _LIMIT)[0]


def _betainc_inside(xp, a, b, x):
    """The fraction converges fast below the mean; above it, the complement is computed."""
    swapped = x > (a + 1) / (a + b + 2)
    first, second = xp.where(swapped, b, a), xp.where(swapped, a, b)
    y = xp.where(swapped, 1 - x, x)
    part = _beta_factor(xp, first, second, y) * _beta_fraction(xp, first, second, y) / first
    return xp.where(swapped, 1 - part, part)


def _betainc_block(xp, a, b, x):
    out = xp.full_like(x, xp.nan)
    allowed = (x >= 0) & (x <= 1) & (a >= 0) & (b >= 0) & ~((a == 0) & (b == 0))
    allowed &= ~((a == xp.inf) & (b == xp.inf))
    inside = allowed & (x > 0) & (x < 1) & (a > 0) & (b > 0) & xp.isfinite(a) & xp.isfinite(b)
    fill(xp, out, inside, _betainc_inside, a, b, x)
    out[allowed & ((x == 0) | ((b == 0) | (a == xp.inf)) & (x < 1))] = 0
    out[allowed & ((x == 1) | ((a == 0) | (b == xp.inf)) & (x > 0))] = 1
    return out


igamma_value = in_blocks(_igamma_block, FLOAT64)
igammac_value = in_blocks(_igammac_block, FLOAT64)
igamma_grad_a_value = in_blocks(_igamma_grad_a_block, FLOAT64)
random_gamma_grad_value = in_blocks(_random_gamma_grad_block, FLOAT64)
regularized_incomplete_beta_value = in_blocks(_betainc_block, FLOAT64)
