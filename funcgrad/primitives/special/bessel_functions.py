"""Values of the modified Bessel functions I0 and I1, scaled by exp(-|x|), computed in float64 for
all dtypes.

The power series (DLMF 10.25.2), whose terms are all positive, up to 8; beyond, a polynomial in 1/x.
"""

from __future__ import annotations

import math

from funcgrad.core import dtypes
from funcgrad.primitives.special import tables
from funcgrad.primitives.special.numerics import FLOAT64, fill, in_blocks, polynomial

_LIMIT = 8
_TERMS = 25  # at 8 the next one is below 1e-19 of the sum
_I0_SERIES = tuple(1 / math.factorial(k) ** 2 for k in range(_TERMS))
_I1_SERIES = tuple(0.5 / (math.factorial(k) * math.factorial(k + 1)) for k in range(_TERMS))


def _scaled(xp, x, series, large):
    """Of |x|: exp(-x) times the series, and a polynomial over sqrt(x) beyond the limit."""
    near = xp.minimum(x, _LIMIT)
    out = xp.exp(-near) * polynomial(xp, series, 0.25 * near * near)
    fill(
        xp, out, x > _LIMIT, lambda xp, x: polynomial(xp, large, 2 * _LIMIT / x - 1) / xp.sqrt(x), x
    )
    return out


def _i0e_block(xp, x, large):
    return _scaled(xp, xp.abs(x), _I0_SERIES, large)


def _i1e_block(xp, x, large):
    size = xp.abs(x)
    out = (
        xp.exp(-xp.minimum(size, _LIMIT))
        * x
        * polynomial(xp, _I1_SERIES, 0.25 * xp.minimum(size, _LIMIT) ** 2)
    )
    fill(
        xp,
        out,
        size > _LIMIT,
        lambda xp, x: xp.copysign(
            polynomial(xp, large, 2 * _LIMIT / xp.abs(x) - 1) / xp.sqrt(xp.abs(x)), x
        ),
        x,
    )
    return out


def _chosen(block, long, short):
    """A `value` rule with as many coefficients as the dtype needs."""
    wide = in_blocks(lambda xp, x: block(xp, x, long), FLOAT64)
    narrow = in_blocks(lambda xp, x: block(xp, x, short), FLOAT64)
    return lambda xp, x: (wide if x.dtype == dtypes.float64 else narrow)(xp, x)


# ---- the same for one number, in the operations of kernels


def _horner(k, coefficients, x):
    result = k.const(coefficients[-1], FLOAT64)
    for c in coefficients[-2::-1]:
        result = k.add(k.mul(result, x), k.const(c, FLOAT64))
    return result


def _scaled_scalar(k, x, series, large):
    """Of |x|, in float64; and x itself."""
    size, limit = k.abs(x), k.const(_LIMIT, FLOAT64)
    near = k.min(size, limit)
    square = k.mul(k.mul(near, near), k.const(0.25, FLOAT64))
    small = k.mul(k.exp(k.neg(near)), _horner(k, series, square))
    far = k.max(size, limit)
    place = k.sub(k.div(k.const(2 * _LIMIT, FLOAT64), far), k.const(1, FLOAT64))
    return small, k.div(_horner(k, large, place), k.sqrt(far)), k.gt(size, limit)


def bessel_i0e_scalar(k, x):
    """exp(-|x|) I0(x)."""
    dtype, wide = k.dtype(x), k.convert(x, FLOAT64)
    large = tables.I0E_LARGE if dtype == FLOAT64 else tables.I0E_LARGE_SHORT
    near, far, is_far = _scaled_scalar(k, wide, _I0_SERIES, large)
    return k.convert(k.select(is_far, far, near), dtype)


def bessel_i1e_scalar(k, x):
    """exp(-|x|) I1(x)."""
    dtype, wide = k.dtype(x), k.convert(x, FLOAT64)
    large = tables.I1E_LARGE if dtype == FLOAT64 else tables.I1E_LARGE_SHORT
    near, far, is_far = _scaled_scalar(k, wide, _I1_SERIES, large)
    wanted = k.select(is_far, k.mul(far, k.sign(wide)), k.mul(near, wide))
    return k.convert(wanted, dtype)


bessel_i0e_value = _chosen(_i0e_block, tables.I0E_LARGE, tables.I0E_LARGE_SHORT)
bessel_i1e_value = _chosen(_i1e_block, tables.I1E_LARGE, tables.I1E_LARGE_SHORT)
