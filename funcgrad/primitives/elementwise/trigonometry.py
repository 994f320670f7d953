"""Circular and hyperbolic functions and their inverses.

1 - x*x is written (1 - x)(1 + x): near |x| = 1 the first form loses all digits, the second none.
"""

from __future__ import annotations

from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.primitives.basis import add, div, mul, neg, operands, sub
from funcgrad.primitives.elementwise.complexes import is_complex
from funcgrad.primitives.elementwise.powers import rsqrt, square
from funcgrad.primitives.kinds import INEXACT, elementwise


def _one_minus_square(x):
    return mul(sub(1, x), add(x, 1))


sin_p = elementwise(
    "sin",
    accepts=INEXACT,
    ufunc="sin",
    partials=[lambda y, x: cos(x)],
    scalar=lambda k, x: k.sin(x),
)


def sin(x: Any) -> Array:
    """Sine of each element, in radians."""
    return sin_p.bind(x)


cos_p = elementwise(
    "cos",
    accepts=INEXACT,
    ufunc="cos",
    partials=[lambda y, x: neg(sin(x))],
    scalar=lambda k, x: k.cos(x),
)


def cos(x: Any) -> Array:
    """Cosine of each element, in radians."""
    return cos_p.bind(x)


tan_p = elementwise(
    "tan",
    accepts=INEXACT,
    ufunc="tan",
    partials=[lambda y, x: add(square(y), 1)],
    scalar=lambda k, x: k.tan(x),
)


def tan(x: Any) -> Array:
    """Tangent of each element, in radians."""
    return tan_p.bind(x)


asin_p = elementwise(
    "asin",
    accepts=INEXACT,
    ufunc="arcsin",
    partials=[lambda y, x: rsqrt(_one_minus_square(x))],
    scalar=lambda k, x: k.asin(x),
)


def asin(x: Any) -> Array:
    """Angle between -pi/2 and pi/2 whose sine is x; NaN outside [-1, 1]."""
    return asin_p.bind(x)


acos_p = elementwise(
    "acos",
    accepts=INEXACT,
    ufunc="arccos",
    partials=[lambda y, x: neg(rsqrt(_one_minus_square(x)))],
    scalar=lambda k, x: k.acos(x),
)


def acos(x: Any) -> Array:
    """Angle between 0 and pi whose cosine is x; NaN outside [-1, 1]."""
    return acos_p.bind(x)


atan_p = elementwise(
    "atan",
    accepts=INEXACT,
    ufunc="arctan",
    partials=[lambda y, x: div(1, add(square(x), 1))],
    scalar=lambda k, x: k.atan(x),
)


def atan(x: Any) -> Array:
    """Angle between -pi/2 and pi/2 whose tangent is x."""
    return atan_p.bind(x)


def _atan2_value(xp, y, x):
    if dtypes.is_complex(x.dtype):
        return (-1j * xp.log((x + 1j * y) / xp.sqrt(x * x + y * y))).astype(x.dtype, copy=False)
    return xp.arctan2(y, x)


def _atan2_slope(numerator, y, x):
    return div(numerator, add(square(y), square(x)))


atan2_p = elementwise(
    "atan2",
    accepts=INEXACT,
    value=_atan2_value,
    partials=[
        lambda out, y, x: _atan2_slope(x, y, x),
        lambda out, y, x: _atan2_slope(neg(y), y, x),
    ],
    scalar=lambda k, y, x: k.atan2(y, x),
)


def atan2(y: Any, x: Any) -> Array:
    """Angle of the point (x, y) seen from the origin, between -pi and pi."""
    return atan2_p.bind(*operands(y, x))


sinh_p = elementwise(
    "sinh",
    accepts=INEXACT,
    ufunc="sinh",
    partials=[lambda y, x: cosh(x)],
    scalar=lambda k, x: k.sinh(x),
)


def sinh(x: Any) -> Array:
    """Hyperbolic sine of each element."""
    return sinh_p.bind(x)


cosh_p = elementwise(
    "cosh",
    accepts=INEXACT,
    ufunc="cosh",
    partials=[lambda y, x: sinh(x)],
    scalar=lambda k, x: k.cosh(x),
)


def cosh(x: Any) -> Array:
    """Hyperbolic cosine of each element."""
    return cosh_p.bind(x)


tanh_p = elementwise(
    "tanh",
    accepts=INEXACT,
    ufunc="tanh",
    partials=[lambda y, x: sub(1, square(y))],
    scalar=lambda k, x: k.tanh(x),
)


def tanh(x: Any) -> Array:
    """Hyperbolic tangent of each element."""
    return tanh_p.bind(x)


asinh_p = elementwise(
    "asinh",
    accepts=INEXACT,
    ufunc="arcsinh",
    partials=[lambda y, x: rsqrt(add(square(x), 1))],
    scalar=lambda k, x: k.asinh(x),
)


def asinh(x: Any) -> Array:
    """Inverse hyperbolic sine of each element."""
    return asinh_p.bind(x)


def _acosh_slope(y, x):
    if is_complex(x):  # the root of the product is on the wrong branch in half of the plane
        return mul(rsqrt(sub(x, 1)), rsqrt(add(x, 1)))
    return rsqrt(mul(sub(x, 1), add(x, 1)))


acosh_p = elementwise(
    "acosh",
    accepts=INEXACT,
    ufunc="arccosh",
    partials=[_acosh_slope],
    scalar=lambda k, x: k.acosh(x),
)


def acosh(x: Any) -> Array:
    """Inverse hyperbolic cosine of each element; NaN below 1."""
    return acosh_p.bind(x)


atanh_p = elementwise(
    "atanh",
    accepts=INEXACT,
    ufunc="arctanh",
    partials=[lambda y, x: div(1, _one_minus_square(x))],
    scalar=lambda k, x: k.atanh(x),
)


def atanh(x: Any) -> Array:
    """Inverse hyperbolic tangent of each element; NaN outside [-1, 1]."""
    return atanh_p.bind(x)
