"""Values of lgamma, digamma, zeta and polygamma, computed in float64 for all dtypes.

The argument is moved by the recurrence to where a series is good: near 2 a polynomial, far out Stirling's series
(DLMF 5.11.1, 5.11.2); reflection (5.5.3, 5.5.4) gives the negative axis. zeta is summed by Euler and Maclaurin
(25.11.28 with its first terms summed as they are).
"""

from __future__ import annotations

import math

from funcgrad.primitives.special import tables
from funcgrad.primitives.special.numerics import FLOAT64, fill, in_blocks, poles, polynomial

# Bernoulli numbers B2, B4, ..., B26
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330,
             854513 / 138, -236364091 / 2730, 8553103 / 6)
_STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI[:9], 1))
_DIGAMMA = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI[:11], 1))
_STEPS = 9                       # of the recurrence: arguments up to 11.5 are brought to [1.5, 2.5)
_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


# ---- lgamma -----------------------------------------------------------------------------------------


def lgamma_near_2(xp, y):
    """For 1.5 <= y <= 2.5; the zeros at 1 and 2 are factors, so that it is accurate beside them."""
    return (y - 1) * (y - 2) * polynomial(xp, tables.LGAMMA, 2 * (y - 2))


def _lgamma_below(xp, x):
    """For 0.5 <= x < 1.5."""
    return lgamma_near_2(xp, x + 1) - xp.log(x)


def reduced_product(xp, x):
    """y in [1.5, 2.5) and y (y + 1) ... (x - 1), for 1.5 <= x < 11.5."""
    steps = xp.floor(x - 1.5)
    y = x - steps
    product = xp.ones_like(x)
    for j in range(_STEPS):
        product *= xp.where(j < steps, y + j, 1)
    return y, product


def _lgamma_middle(xp, x):
    y, product = reduced_product(xp, x)
    return lgamma_near_2(xp, y) + xp.log(product)


def stirling_tail(xp, x):
    """log(gamma(x)) - (x - 1/2) log(x) + x - log(2 pi) / 2, for x >= 10."""
    return polynomial(xp, _STIRLING, 1 / (x * x)) / x


def _lgamma_large(xp, x):
    # (x - 1/2) (log(x) - 1) loses less than the difference of the two large terms
    return (x - 0.5) * (xp.log(x) - 1) + (_HALF_LOG_2_PI - 0.5) + stirling_tail(xp, x)


def lgamma_positive(xp, x):
    """log(gamma(x)) for x >= 0.5."""
    out = xp.full_like(x, xp.nan)
    fill(xp, out, x < 1.5, _lgamma_below, x)
    fill(xp, out, (x >= 1.5) & (x < 11.5), _lgamma_middle, x)
    fill(xp, out, x >= 11.5, _lgamma_large, x)
    return out


def sine_of_pi(xp, x):
    """sin(pi (x - n)) for the nearest integer n: the sine of pi x but for its sign."""
    return xp.sin(math.pi * (x - xp.rint(x)))


def _lgamma_reflected(xp, x):
    return math.log(math.pi) - xp.log(xp.abs(sine_of_pi(xp, x))) - lgamma_positive(xp, 1 - x)


def _lgamma_block(xp, x):
    out = xp.full_like(x, xp.nan)
    fill(xp, out, x >= 0.5, lgamma_positive, x)
    fill(xp, out, x < 0.5, _lgamma_reflected, x)
    out[poles(xp, x) | xp.isinf(x)] = xp.inf
    return out


# ---- digamma ----------------------------------------------------------------------------------------


def digamma_positive(xp, x):
    """For x > 0: up the recurrence beyond 8, then the asymptotic series."""
    y, sum_ = x.copy(), xp.zeros_like(x)
    for _ in range(8):
        below = y < 8
        sum_ += xp.where(below, 1 / y, 0)
        y += below
    z = 1 / (y * y)
    return xp.log(y) - 0.5 / y - z * polynomial(xp, _DIGAMMA, z) - sum_


def _digamma_reflected(xp, x):
    return digamma_positive(xp, 1 - x) - math.pi / xp.tan(math.pi * (x - xp.rint(x)))


def _digamma_block(xp, x):
    out = xp.full_like(x, xp.nan)
    fill(xp, out, x > 0, digamma_positive, x)
    fill(xp, out, (x < 0) & ~poles(xp, x) & ~xp.isinf(x), _digamma_reflected, x)
    out[x == xp.inf] = xp.inf
    return out


# ---- zeta and polygamma -----------------------------------------------------------------------------

_TERMS = 10                      # summed as they are; at q + 10 the rest converges fast for every s


def _zeta_regular(xp, s, q):
    """For s > 1 and q > 0, or q negative and not an integer while s is one."""
    total = xp.zeros_like(q)
    while True:                                         # negative q: as many terms as lead to q > 0
        below = q < 0
        if not below.any():
            break
        total += xp.where(below, q ** -s, 0)
        q = q + below
    for _ in range(_TERMS):
        total += q ** -s
        q = q + 1
    power = q ** -s
    total += power * q / (s - 1) + 0.5 * power
    factor, power = s, power / q
    for k, b in enumerate(BERNOULLI, 1):
        total += b / math.factorial(2 * k) * factor * power
        factor, power = factor * (s + (2 * k - 1)) * (s + 2 * k), power / (q * q)
    return total


def _zeta_block(xp, s, q):
    out = xp.full_like(s, xp.nan)
    good = (s > 1) & xp.isfinite(s) & xp.isfinite(q) & ~poles(xp, q) & ((q > 0) | (s == xp.floor(s)))
    fill(xp, out, good & (q > -10000), _zeta_regular, s, q)
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
    sign = xp.where(m % 2 == 0, -1.0, 1.0)
    return sign * gamma_positive(xp, m + 1) * _zeta_block(xp, m + 1, x)


def gamma_positive(xp, x):
    """gamma(x) for x >= 1: a product while that is exact enough, exp(lgamma) beyond."""
    out = xp.exp(lgamma_positive(xp, x))
    fill(xp, out, (x >= 1.5) & (x < 11.5), _gamma_middle, x)
    return out


def _gamma_middle(xp, x):
    y, product = reduced_product(xp, x)
    return xp.exp(lgamma_near_2(xp, y)) * product


lgamma_value = in_blocks(_lgamma_block, FLOAT64)
digamma_value = in_blocks(_digamma_block, FLOAT64)
zeta_value = in_blocks(_zeta_block, FLOAT64)
polygamma_value = in_blocks(_polygamma_block, FLOAT64)
