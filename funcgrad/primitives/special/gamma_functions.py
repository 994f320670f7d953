"""Values of lgamma, digamma, zeta and polygamma, computed in float64 for all dtypes.

Near its zeros lgamma is a polynomial with these zeros as factors; beyond, both it and digamma are
Stirling's leading terms (DLMF 5.11.1, 5.11.2) with a polynomial in 1/x in place of the divergent
series. The recurrence (5.5.1) reaches small arguments, reflection (5.5.3, 5.5.4) the negative axis.
zeta is summed by Euler and Maclaurin (25.11.28 with its first terms summed as they are).
"""

from __future__ import annotations

import math

from funcgrad.primitives.special import tables
from funcgrad.primitives.special.numerics import (
    FLOAT64,
    fill,
    in_blocks,
    poles,
    polynomial,
    until_converged,
)

_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


# ---- lgamma --------------------------------------------------------------------------------------


def _lgamma_near_2(xp, distance):
    """log(gamma(2 + distance)), |distance| <= 1/2."""
    return (1 + distance) * distance * polynomial(xp, tables.LGAMMA, 2 * distance)


def stirling_rest(xp, x):
    """log(gamma(x)) - (x - 1/2) log(x) + x - log(2 pi) / 2, for x >= 2.5."""
    return polynomial(xp, tables.LGAMMA_LARGE, 5 / x - 1) / x


def _lgamma_large(xp, x):
    # (x - 1/2) (log(x) - 1) loses less than the difference of the two large terms
    return (x - 0.5) * (xp.log(x) - 1) + (_HALF_LOG_2_PI - 0.5) + stirling_rest(xp, x)


def lgamma_positive(xp, x):
    """log(gamma(x)) for x >= 0.5."""
    out = _lgamma_large(xp, xp.maximum(x, 2.5))
    fill(xp, out, x < 1.5, lambda xp, x: _lgamma_near_2(xp, x - 1) - xp.log(x), x)
    fill(xp, out, (x >= 1.5) & (x < 2.5), lambda xp, x: _lgamma_near_2(xp, x - 2), x)
    return out


def _lgamma_reflected(xp, x):
    sine = xp.sin(math.pi * (x - xp.rint(x)))  # of pi x, but for its sign
    return math.log(math.pi) - xp.log(xp.abs(sine)) - lgamma_positive(xp, 1 - x)


def _lgamma_block(xp, x):
    out = lgamma_positive(xp, xp.maximum(x, 0.5))
    fill(xp, out, x < 0.5, _lgamma_reflected, x)
    out[poles(xp, x) | xp.isinf(x)] = xp.inf
    return out


# ---- digamma -------------------------------------------------------------------------------------


def _digamma_large(xp, x):
    """For x >= 2."""
    return xp.log(x) - (0.5 + polynomial(xp, tables.DIGAMMA_LARGE, 4 / x - 1) / x) / x


def digamma_positive(xp, x):
    """For x > 0: from below 2, two steps up the recurrence."""
    out = _digamma_large(xp, xp.maximum(x, 2))
    fill(xp, out, x < 2, lambda xp, x: _digamma_large(xp, x + 2) - 1 / (x + 1) - 1 / x, x)
    return out


def _digamma_reflected(xp, x):
    return digamma_positive(xp, 1 - x) - math.pi / xp.tan(math.pi * (x - xp.rint(x)))


def _digamma_block(xp, x):
    out = xp.full_like(x, xp.nan)
    fill(xp, out, x > 0, digamma_positive, x)
    fill(xp, out, (x < 0) & ~poles(xp, x) & ~xp.isinf(x), _digamma_reflected, x)
    out[x == xp.inf] = xp.inf
    return out


# ---- zeta and polygamma --------------------------------------------------------------------------

# Bernoulli numbers B2, B4, ..., B26
BERNOULLI = (
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
    -174611 / 330,
    854513 / 138,
    -236364091 / 2730,
    8553103 / 6,
)
_LOWEST = 10000  # as many terms of negative q are summed
_TERMS = 10  # summed as they are; at q + 10 the rest converges fast for every s


def _term_below(xp, n, total, q, s):
    """Negative q: as many terms as lead to q >= 0."""
    below = q < 0
    total = total + xp.where(below, q**-s, 0.0)
    q = xp.where(below, q + 1, q)
    return [total, q, s], q < 0


def _zeta_regular(xp, s, q):
    """For s > 1 and q > 0, or q negative and not an integer while s is one."""
    total, q, s = until_converged(xp, [xp.zeros_like(q), q, s], _term_below, _LOWEST + 1)
    for _ in range(_TERMS):
        total = total + q**-s
        q = q + 1
    power = q**-s
    total += power * q / (s - 1) + 0.5 * power
    factor, power = s, power / q
    for k, b in enumerate(BERNOULLI, 1):
        total = total + b / math.factorial(2 * k) * factor * power
        factor, power = factor * (s + (2 * k - 1)) * (s + 2 * k), power / (q * q)
    return total


def _zeta_block(xp, s, q):
    out = xp.full_like(s, xp.nan)
    good = (
        (s > 1) & xp.isfinite(s) & xp.isfinite(q) & ~poles(xp, q) & ((q > 0) | (s == xp.floor(s)))
    )
    fill(xp, out, good & (q > -_LOWEST), _zeta_regular, s, q)
    out[(s >= 1) & xp.isfinite(s) & poles(xp, q)] = xp.inf
    out[(s == 1) & ~xp.isnan(q)] = xp.inf
    return out


def _polygamma_block(xp, m, x):
    """(-1)**(m + 1) m! zeta(m + 1, x); for m = 0 it is digamma."""
    out = xp.full_like(m, xp.nan)
    whole = (m > 0) & (m == xp.floor(m))
    fill(xp, out, m == 0, lambda xp, m, x: _digamma_block(xp, x), m, x)
    fill(xp, out, whole, _polygamma_regular, m, x)
    return out


def _polygamma_regular(xp, m, x):
    sign = xp.where(m == 2 * xp.floor(m / 2), -1.0, 1.0)
    return sign * gamma_positive(xp, m + 1) * _zeta_block(xp, m + 1, x)


_STEPS = 20  # of the recurrence: arguments up to 22.5 are brought to [1.5, 2.5)


def gamma_positive(xp, x):
    """gamma(x) for x >= 1: by the recurrence while that is exact enough, exp(lgamma) beyond."""
    out = xp.exp(lgamma_positive(xp, x))
    fill(xp, out, (x >= 1.5) & (x < 22.5), _gamma_by_recurrence, x)
    return out


def _gamma_by_recurrence(xp, x):
    steps = xp.floor(x - 1.5)
    y = x - steps
    product = xp.exp(_lgamma_near_2(xp, y - 2))
    for j in range(_STEPS):
        fill(xp, product, j < steps, lambda xp, p, y, j=j: p * (y + j), product, y)
    return product


lgamma_value = in_blocks(_lgamma_block, FLOAT64)
digamma_value = in_blocks(_digamma_block, FLOAT64)
zeta_value = in_blocks(_zeta_block, FLOAT64)
polygamma_value = in_blocks(_polygamma_block, FLOAT64)
