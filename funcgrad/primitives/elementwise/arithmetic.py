"""Arithmetic beyond the basis: remainder, extrema, clamp, absolute value, sign.

Derivatives of functions with kinks are defined everywhere: 1/2 for each operand of max and min at a
tie, 0 for the absolute value at 0.
"""

from __future__ import annotations

from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.core.avals import typeof
from funcgrad.primitives.basis import convert_element_type, div, mul, operands, select_n, sub
from funcgrad.primitives.elementwise.complexes import conj, is_complex, real
from funcgrad.primitives.elementwise.powers import nonzero_or_one
from funcgrad.primitives.elementwise.rounding import RoundingMethod, round
from funcgrad.primitives.kinds import ANY, NUMBERS, ORDERED, REALS, elementwise, one
from funcgrad.primitives.logic import bitwise_and, eq, gt, lt


def as_number(condition: Any, like: Any) -> Any:
    """1 where the condition holds and 0 elsewhere, in the dtype of `like`."""
    return convert_element_type(condition, typeof(like).dtype)


# ---- remainder ---------------------------------------------------------------------------------


def _rem_value(xp, x, y):
    remainder = xp.fmod(x, y)
    if dtypes.is_integer(x.dtype):
        return xp.where(y == 0, x, remainder)  # nothing was divided, all of x remains
    return remainder


def _rem_divisor_slope(out, x, y):
    """Minus the quotient rounded toward zero, that is (out - x) / y; rounding makes it exact and
    constant.
    """
    return round(div(sub(out, x), y), RoundingMethod.TO_NEAREST_EVEN)


rem_p = elementwise(
    "rem",
    accepts=REALS,
    value=_rem_value,
    partials=[one, _rem_divisor_slope],
    scalar=lambda k, x, y: k.rem(x, y),
)


def rem(x: Any, y: Any) -> Array:
    """Remainder of x / y with the sign of x; for integers, x where y is 0."""
    return rem_p.bind(*operands(x, y))


# ---- extrema -----------------------------------------------------------------------------------


def _share(beats, out, chosen, other):
    """Derivative of an extremum in `chosen`: 1 where it wins, 0 where it loses, 1/2 at a tie."""
    wins = eq(chosen, out) if is_complex(chosen) else beats(chosen, other)
    return select_n(eq(chosen, other), as_number(wins, out), 0.5)


max_p = elementwise(
    "max",
    accepts=ANY,
    ufunc="maximum",
    partials=[lambda out, x, y: _share(gt, out, x, y), lambda out, x, y: _share(gt, out, y, x)],
    scalar=lambda k, x, y: k.max(x, y),
)


def max(x: Any, y: Any) -> Array:
    """Larger of two values, NaN if either is; complex numbers compare by real, then imaginary
    part.
    """
    return max_p.bind(*operands(x, y))


min_p = elementwise(
    "min",
    accepts=ANY,
    ufunc="minimum",
    partials=[lambda out, x, y: _share(lt, out, x, y), lambda out, x, y: _share(lt, out, y, x)],
    scalar=lambda k, x, y: k.min(x, y),
)


def min(x: Any, y: Any) -> Array:
    """Smaller of two values, NaN if either is; complex numbers compare by real, then imaginary
    part.
    """
    return min_p.bind(*operands(x, y))


clamp_p = elementwise(
    "clamp",
    accepts=ORDERED,
    value=lambda xp, low, x, high: xp.minimum(xp.maximum(low, x), high),
    partials=[
        lambda out, low, x, high: as_number(bitwise_and(gt(low, x), lt(low, high)), out),
        lambda out, low, x, high: as_number(bitwise_and(gt(x, low), lt(x, high)), out),
        lambda out, low, x, high: as_number(lt(high, select_n(gt(low, x), x, low)), out),
    ],
    scalar=lambda k, low, x, high: k.min(k.max(low, x), high),
)


def clamp(min: Any, x: Any, max: Any) -> Array:
    """x limited to [min, max], bounds being of rank 0 or of the shape of x; max where min > max."""
    return clamp_p.bind(*operands(min, x, max))


# ---- absolute value and sign -------------------------------------------------------------------


def _abs_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    y = abs(x)
    if not is_complex(x):
        return y, mul(t, sign(x))
    direction = div(conj(x), convert_element_type(nonzero_or_one(y), typeof(x).dtype))
    return y, real(mul(t, direction))


abs_p = elementwise(
    "abs",
    accepts=NUMBERS,
    ufunc="absolute",
    result=dtypes.real_part,
    jvp=_abs_jvp,
    scalar=lambda k, x: k.abs(x),
)


def abs(x: Any) -> Array:
    """Absolute value; the real magnitude of complex numbers. The derivative at 0 is 0."""
    return abs_p.bind(x)


sign_p = elementwise(
    "sign", accepts=NUMBERS, ufunc="sign", constant=True, scalar=lambda k, x: k.sign(x)
)


def sign(x: Any) -> Array:
    """-1, 0 or 1 by the sign of x; x / |x| for complex x."""
    return sign_p.bind(x)
