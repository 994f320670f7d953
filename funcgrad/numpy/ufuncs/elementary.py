"""Roots, exponentials, logarithms, circular and hyperbolic functions, and their kin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad.control.custom import custom_jvp
from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.promote import choose, promote_args_inexact
from funcgrad.numpy.ufuncs import shortcut
from funcgrad.primitives import elementwise as P, logic
from funcgrad.primitives.basis import add, div, mul, neg, sub
from funcgrad.primitives.convert import stop_gradient
from funcgrad.primitives.special import bessel_i0e


@shortcut.unary(np.sqrt)
def sqrt(x: Any, /) -> Array:
    """Square root; NaN for negative reals."""
    return P.sqrt(*promote_args_inexact("sqrt", x))


@shortcut.unary(np.cbrt)
def cbrt(x: Any, /) -> Array:
    """Real cube root."""
    return P.cbrt(*promote_args_inexact("cbrt", x))


def hypot(x1: Any, x2: Any, /) -> Array:
    """sqrt(x1**2 + x2**2) of real numbers, without overflow on the way."""
    x1, x2 = promote_args_inexact("hypot", x1, x2)
    if dtypes.is_complex(x1.dtype):
        raise TypeError("hypot: needs real numbers, but got complex ones. Use abs.")
    # the length does not depend on the scale, so taking it as constant keeps all derivatives right
    scale = stop_gradient(P.max(P.abs(x1), P.abs(x2)))
    usable = choose(_is_zero_or_inf(scale), 1, scale)
    squares = add(P.square(div(x1, usable)), P.square(div(x2, usable)))
    at_origin = logic.eq(scale, 0)
    length = mul(usable, P.sqrt(choose(at_origin, 1, squares)))
    infinite = logic.bitwise_or(logic.eq(P.abs(x1), math.inf), logic.eq(P.abs(x2), math.inf))
    return choose(at_origin, 0, choose(infinite, math.inf, length))


def _is_zero_or_inf(x):
    return logic.bitwise_or(logic.eq(x, 0), logic.eq(x, math.inf))


# ---- exponentials and logarithms ---------------------------------------------------------------


@shortcut.unary(np.exp)
def exp(x: Any, /) -> Array:
    """e to the power x."""
    return P.exp(*promote_args_inexact("exp", x))


@shortcut.unary(np.exp2)
def exp2(x: Any, /) -> Array:
    """2 to the power x."""
    return P.exp2(*promote_args_inexact("exp2", x))


@shortcut.unary(np.expm1)
def expm1(x: Any, /) -> Array:
    """exp(x) - 1, accurate near 0."""
    return P.expm1(*promote_args_inexact("expm1", x))


@shortcut.unary(np.log)
def log(x: Any, /) -> Array:
    """Natural logarithm; NaN for negative reals, -inf at 0.

    >>> import funcgrad.numpy as jnp
    >>> jnp.log(jnp.array([1.0, 0.0]))
    Array([  0., -inf], dtype=float32)
    """
    return P.log(*promote_args_inexact("log", x))


def log2(x: Any, /) -> Array:
    """Logarithm to base 2."""
    (x,) = promote_args_inexact("log2", x)
    return _logarithm(x, 1 / math.log(2))


def log10(x: Any, /) -> Array:
    """Logarithm to base 10."""
    (x,) = promote_args_inexact("log10", x)
    return _logarithm(x, 1 / math.log(10))


def _logarithm(x, scale):
    natural = P.log(x)
    factor = dtypes.real_part(x.dtype).type(scale)  # strong, and so is the result, as in JAX
    if not dtypes.is_complex(x.dtype):
        return mul(natural, factor)
    return P.complex(mul(P.real(natural), factor), mul(P.imag(natural), factor))


@shortcut.unary(np.log1p)
def log1p(x: Any, /) -> Array:
    """log(1 + x), accurate near 0."""
    return P.log1p(*promote_args_inexact("log1p", x))


def logaddexp(x1: Any, x2: Any, /) -> Array:
    """log(exp(x1) + exp(x2)), without overflow; -inf for two -inf."""
    x1, x2 = promote_args_inexact("logaddexp", x1, x2)
    if dtypes.is_complex(x1.dtype):
        return _complex_logaddexp(x1, x2)
    return _real_logaddexp(x1, x2)


def logaddexp2(x1: Any, x2: Any, /) -> Array:
    """log2(2**x1 + 2**x2), without overflow; -inf for two -inf."""
    x1, x2 = promote_args_inexact("logaddexp2", x1, x2)
    if dtypes.is_complex(x1.dtype):
        return mul(_complex_logaddexp(mul(x1, math.log(2)), mul(x2, math.log(2))), 1 / math.log(2))
    return _real_logaddexp2(x1, x2)


# The formulas have a bend where the operands tie, the functions have none: hence rules of their
# own.


@custom_jvp
def _real_logaddexp(x1, x2):
    return add(P.max(x1, x2), P.log1p(P.exp(neg(P.abs(_distance(x1, x2))))))


@_real_logaddexp.defjvp
def _real_logaddexp_jvp(primals, tangents):
    return _real_logaddexp(*primals), _weighted(primals, tangents, 1.0)


@custom_jvp
def _real_logaddexp2(x1, x2):
    nearness = P.exp2(neg(P.abs(_distance(x1, x2))))
    return add(P.max(x1, x2), mul(P.log1p(nearness), 1 / math.log(2)))


@_real_logaddexp2.defjvp
def _real_logaddexp2_jvp(primals, tangents):
    return _real_logaddexp2(*primals), _weighted(primals, tangents, math.log(2))


def _weighted(primals, tangents, log_base):
    """The mean of the tangents, by each operand's share of the sum of powers."""
    distance = mul(_distance(*primals), log_base)
    shares = P.logistic(distance), P.logistic(neg(distance))
    return add(mul(tangents[0], shares[0]), mul(tangents[1], shares[1]))


def _distance(x1, x2):
    """x1 - x2, and 0 for equal infinities."""
    tied = logic.bitwise_and(logic.eq(x1, x2), logic.eq(P.abs(x1), math.inf))
    return choose(tied, 0, sub(x1, x2))


def _complex_logaddexp(x1, x2):
    first = logic.gt(P.real(x1), P.real(x2))
    large, small = choose(first, x1, x2), choose(first, x2, x1)
    total = add(large, P.log1p(P.exp(sub(small, large))))
    return P.complex(P.real(total), _wrapped(P.imag(total)))


def _wrapped(angle):
    """An angle, brought into (-pi, pi]."""
    return P.atan2(P.sin(angle), P.cos(angle))


# ---- circular functions ------------------------------------------------------------------------


@shortcut.unary(np.sin)
def sin(x: Any, /) -> Array:
    """Sine, in radians."""
    return P.sin(*promote_args_inexact("sin", x))


@shortcut.unary(np.cos)
def cos(x: Any, /) -> Array:
    """Cosine, in radians."""
    return P.cos(*promote_args_inexact("cos", x))


@shortcut.unary(np.tan)
def tan(x: Any, /) -> Array:
    """Tangent, in radians."""
    return P.tan(*promote_args_inexact("tan", x))


@shortcut.unary(np.arcsin)
def arcsin(x: Any, /) -> Array:
    """Angle in [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1]."""
    return P.asin(*promote_args_inexact("arcsin", x))


@shortcut.unary(np.arccos)
def arccos(x: Any, /) -> Array:
    """Angle in [0, pi] whose cosine is x; NaN outside [-1, 1]."""
    return P.acos(*promote_args_inexact("arccos", x))


@shortcut.unary(np.arctan)
def arctan(x: Any, /) -> Array:
    """Angle in [-pi/2, pi/2] whose tangent is x."""
    return P.atan(*promote_args_inexact("arctan", x))


def arctan2(x1: Any, x2: Any, /) -> Array:
    """Angle of the point (x2, x1) seen from the origin, in [-pi, pi]."""
    return P.atan2(*promote_args_inexact("arctan2", x1, x2))


asin, acos, atan, atan2 = arcsin, arccos, arctan, arctan2


def degrees(x: Any, /) -> Array:
    """Radians to degrees."""
    (x,) = promote_args_inexact("degrees", x)
    return mul(x, 180 / math.pi)


def radians(x: Any, /) -> Array:
    """Degrees to radians."""
    (x,) = promote_args_inexact("radians", x)
    return mul(x, math.pi / 180)


rad2deg, deg2rad = degrees, radians


def sinc(x: Any, /) -> Array:
    """sin(pi x) / (pi x), and 1 at 0; all derivatives up to the ninth are right there too."""
    (x,) = promote_args_inexact("sinc", x)
    angle = mul(x, math.pi)
    at_zero = logic.eq(x, 0)
    safe = choose(at_zero, 1, angle)
    return choose(at_zero, _sinc_series(angle), div(P.sin(safe), safe))


def _sinc_series(angle):
    """The Taylor series of sin(a) / a to a**8, by Horner's rule; used for its derivatives at 0."""
    squared = P.square(angle)
    total = P.like(angle, 1)
    for n in (8, 6, 4, 2):
        total = sub(1, mul(mul(squared, 1 / (n * (n + 1))), total))
    return total


def i0(x: Any) -> Array:
    """Modified Bessel function of the first kind, of order 0, for real x."""
    (x,) = promote_args_inexact("i0", x)
    if dtypes.is_complex(x.dtype):
        raise TypeError("i0: needs real numbers, but got complex ones.")
    magnitude = P.abs(x)
    return mul(P.exp(magnitude), bessel_i0e(magnitude))


# ---- hyperbolic functions ----------------------------------------------------------------------


@shortcut.unary(np.sinh)
def sinh(x: Any, /) -> Array:
    """Hyperbolic sine."""
    return P.sinh(*promote_args_inexact("sinh", x))


@shortcut.unary(np.cosh)
def cosh(x: Any, /) -> Array:
    """Hyperbolic cosine."""
    return P.cosh(*promote_args_inexact("cosh", x))


@shortcut.unary(np.tanh)
def tanh(x: Any, /) -> Array:
    """Hyperbolic tangent."""
    return P.tanh(*promote_args_inexact("tanh", x))


@shortcut.unary(np.arcsinh)
def arcsinh(x: Any, /) -> Array:
    """Inverse hyperbolic sine."""
    return P.asinh(*promote_args_inexact("arcsinh", x))


def arccosh(x: Any, /) -> Array:
    """Inverse hyperbolic cosine; NaN below 1. Complex values have a nonnegative real part."""
    return P.acosh(*promote_args_inexact("arccosh", x))


@shortcut.unary(np.arctanh)
def arctanh(x: Any, /) -> Array:
    """Inverse hyperbolic tangent; NaN outside [-1, 1]."""
    return P.atanh(*promote_args_inexact("arctanh", x))


asinh, acosh, atanh = arcsinh, arccosh, arctanh
