"""Values of erf, erfc and erf_inv.

erf in float32 is 1 - exp(-q) with a polynomial q, one branch for all x. In float64, and for erfc,
it is x times a polynomial in x**2 near 0, and beyond that erfc(x) = exp(-x**2) P(t) / (1 + 2 x)
with t = (x - 3) / (x + 3), after Schonfelder, "Chebyshev expansions for the error and related
functions" (1978). The tables say how they were made.
"""

from __future__ import annotations

import numpy as np

from funcgrad.primitives.special import tables
from funcgrad.primitives.special.numerics import FLOAT64, fill, in_blocks, polynomial

_ONE_IN_FLOAT32 = np.float32(3.92)  # from here on erf rounds to 1


def _erf_block(xp, x):
    return _erf_float64(xp, x) if x.dtype == FLOAT64 else _erf_float32(xp, x)


def _erf_float32(xp, x):
    size = xp.abs(x)
    xp.minimum(size, _ONE_IN_FLOAT32, out=size)
    exponent = polynomial(xp, tables.ERF_FLOAT32, size)
    xp.multiply(exponent, size, out=exponent)
    xp.negative(exponent, out=exponent)
    xp.expm1(exponent, out=exponent)
    return xp.copysign(exponent, x, out=exponent)


def _erf_near_0(xp, x):
    return x * polynomial(xp, tables.ERF_SMALL, x * x)


def _erf_float64(xp, x):
    out = _erf_near_0(xp, xp.clip(x, -1, 1))
    fill(xp, out, xp.abs(x) > 1, lambda xp, x: xp.copysign(1 - _erfc_positive(xp, xp.abs(x)), x), x)
    return out


def _exp_minus_square(xp, x):
    """exp(-x**2) without the rounding of x**2: its leading half squares exactly."""
    head = (x.view(np.int64) & np.int64(-1 << 27)).view(np.float64)
    return xp.exp(-head * head) * xp.exp((head - x) * (head + x))


def _erfc_positive(xp, x, coefficients=tables.ERFCX):
    x = xp.minimum(x, 30)  # beyond, the result is 0 in any case
    ratio = polynomial(xp, coefficients, (x - 3) / (x + 3)) / (1 + 2 * x)
    return ratio * _exp_minus_square(xp, x)


def _erfc_from_float32(xp, x):
    """For arguments that were float32: their squares are exact in float64."""
    size = xp.minimum(xp.abs(x), 30)
    ratio = polynomial(xp, tables.ERFCX_SHORT, (size - 3) / (size + 3)) / (1 + 2 * size)
    out = ratio * xp.exp(-size * size)
    return xp.where(x < 0, 2 - out, out)


def _erfc_float64(xp, x):
    out = 1 - _erf_near_0(xp, xp.clip(x, -1, 1))
    fill(xp, out, x > 0.5, _erfc_positive, x)
    fill(xp, out, x < -1, lambda xp, x: 2 - _erfc_positive(xp, -x), x)
    return out


def _erf_inv_block(xp, x):
    return _erf_inv_float64(xp, x) if x.dtype == FLOAT64 else _erf_inv_float32(xp, x)


def _minus_log(xp, x):
    """log(1 - x**2). The square is rounded, as it is for everyone who draws normal numbers in
    this way.
    """
    w = x * x
    xp.negative(w, out=w)
    return xp.log1p(w, out=w)


def _erf_inv_tail(xp, x, log, coefficients, middle):
    ratio = polynomial(xp, coefficients, xp.sqrt(-log) - x.dtype.type(middle))
    return xp.where(xp.abs(x) == 1, x * x.dtype.type(np.inf), ratio * x)


def _erf_inv_float32(xp, x):
    log = _minus_log(xp, x)
    out = x * polynomial(xp, tables.ERF_INV_FLOAT32, np.float32(-2.5) - log)
    fill(
        xp,
        out,
        log <= -5,
        lambda xp, x, log: _erf_inv_tail(xp, x, log, tables.ERF_INV_FLOAT32_TAIL, 3),
        x,
        log,
    )
    return out


def _erf_inv_float64(xp, x):
    log = _minus_log(xp, x)
    out = x * polynomial(xp, tables.ERF_INV_FLOAT64, -3.125 - log)
    fill(
        xp,
        out,
        (log <= -6.25) & (log > -16),
        lambda xp, x, log: _erf_inv_tail(xp, x, log, tables.ERF_INV_FLOAT64_MIDDLE, 3.25),
        x,
        log,
    )
    fill(
        xp,
        out,
        log <= -16,
        lambda xp, x, log: _erf_inv_tail(xp, x, log, tables.ERF_INV_FLOAT64_TAIL, 5),
        x,
        log,
    )
    return out


_erfc_wide, _erfc_narrow = in_blocks(_erfc_float64), in_blocks(_erfc_from_float32, FLOAT64)

erf_value = in_blocks(_erf_block)
erf_inv_value = in_blocks(_erf_inv_block)


def erfc_value(xp, x):
    """1 - erf(x), accurate in the upper tail."""
    return (_erfc_wide if x.dtype == FLOAT64 else _erfc_narrow)(xp, x)
