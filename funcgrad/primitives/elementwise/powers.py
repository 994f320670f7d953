"""Powers and roots: square, integer powers by repeated multiplication, pow, sqrt, rsqrt, cbrt."""

from __future__ import annotations

import operator
from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.primitives.basis import (
    broadcast_in_dim,
    convert_element_type,
    div,
    elementwise_abstract,
    mul,
    operands,
    select_n,
    sub,
)
from funcgrad.primitives.elementwise.exponential import log
from funcgrad.primitives.elementwise.narrow import in_float32
from funcgrad.primitives.kinds import FLOATS, INEXACT, NUMBERS, elementwise
from funcgrad.primitives.logic import eq


def like(x: Any, value: Any) -> Any:
    """An array of the type of x, filled with one value."""
    aval = typeof(x)
    scalar = ConcreteArray(aval.dtype.type(value), aval.weak_type)
    return broadcast_in_dim(scalar, aval.shape, ())


def nonzero_or_one(x: Any) -> Any:
    """x with its zeros replaced by ones: for a divisor or a logarithm whose result is not used
    there.
    """
    return select_n(eq(x, 0), x, 1)


square_p = elementwise(
    "square",
    accepts=NUMBERS,
    ufunc="square",
    partials=[lambda y, x: mul(x, 2)],
    scalar=lambda k, x: k.mul(x, x),
)


def square(x: Any) -> Array:
    """x * x."""
    return square_p.bind(x)


# ---- integer powers ----------------------------------------------------------------------------


def _repeated_product(multiply, x, exponent):
    """x to a positive integer exponent, with at most 2 log2(exponent) multiplications."""
    product = None
    while exponent:
        if exponent & 1:
            product = x if product is None else multiply(product, x)
        exponent >>= 1
        if exponent:
            x = multiply(x, x)
    return product


@in_float32
def _integer_pow_value(xp, x, *, y):
    if y == 0:
        return xp.ones_like(x)
    power = _repeated_product(xp.multiply, x, abs(y))
    return power if y > 0 else xp.reciprocal(power)


def _integer_pow_scalar(k, x, *, y):
    one = k.const(1, k.dtype(x))
    if y == 0:
        return one
    power = _repeated_product(k.mul, x, abs(y))
    return power if y > 0 else k.div(one, power)


def _integer_pow_slope(out, x, *, y):
    if y in (0, 1):
        return like(x, y)  # without x**(y - 1), which is not finite at 0
    return mul(x if y == 2 else integer_pow(x, y - 1), y)


integer_pow_p = elementwise(
    "integer_pow",
    accepts=NUMBERS,
    value=_integer_pow_value,
    partials=[_integer_pow_slope],
    scalar=_integer_pow_scalar,
)


def integer_pow(x: Any, y: int) -> Array:
    """x to a static integer power, by repeated multiplication; a negative y takes the
    reciprocal.
    """
    y, dtype = operator.index(y), typeof(x).dtype
    if y < 0 and not dtypes.is_inexact(dtype):
        raise TypeError(
            f"integer_pow: a negative power needs a float or complex base, but got "
            f"{dtypes.short_name(dtype)} to the power {y}. Convert the base to float."
        )
    return integer_pow_p.bind(x, y=y)


# ---- pow ---------------------------------------------------------------------------------------


def _pow_abstract(x: ShapedArray, y: ShapedArray) -> ShapedArray:
    if x.dtype != y.dtype and not dtypes.is_integer(y.dtype):
        raise TypeError(
            f"pow: the exponent must have the dtype of the base or an integer one, but got {x} to "
            "the "
            f"power {y}. Convert one of them with astype."
        )
    return elementwise_abstract("pow", INEXACT)(x, ShapedArray(y.shape, x.dtype))


def _pow_value(xp, x, y):
    return xp.power(x, y.astype(x.dtype))


def _pow_base_slope(out, x, y):
    if dtypes.is_inexact(typeof(y).dtype):
        return mul(y, pow(x, sub(y, 1)))
    exponent = convert_element_type(nonzero_or_one(y), typeof(x).dtype)
    return select_n(eq(y, 0), mul(exponent, pow(x, sub(y, 1))), 0)


def _pow_exponent_slope(out, x, y):
    return mul(log(nonzero_or_one(x)), out)  # a base of 0 has the power 0, whatever y > 0 is


pow_p = elementwise(
    "pow",
    accepts=INEXACT,
    value=_pow_value,
    partials=[_pow_base_slope, _pow_exponent_slope],
    scalar=lambda k, x, y: k.pow(x, k.convert(y, k.dtype(x))),
)
pow_p.abstract = _pow_abstract  # the one elementwise operation whose operands may differ in dtype


def pow(x: Any, y: Any) -> Array:
    """x to the power y, for float or complex x; y has the dtype of x or an integer one."""
    return pow_p.bind(*operands(x, y))


# ---- roots -------------------------------------------------------------------------------------

sqrt_p = elementwise(
    "sqrt",
    accepts=INEXACT,
    ufunc="sqrt",
    partials=[lambda y, x: div(0.5, y)],
    scalar=lambda k, x: k.sqrt(x),
)


def sqrt(x: Any) -> Array:
    """Square root of each element; NaN for negative reals."""
    return sqrt_p.bind(x)


@in_float32
def _rsqrt_value(xp, x):
    return xp.reciprocal(xp.sqrt(x))


rsqrt_p = elementwise(
    "rsqrt",
    accepts=INEXACT,
    value=_rsqrt_value,
    partials=[lambda y, x: mul(div(y, x), -0.5)],
    scalar=lambda k, x: k.rsqrt(x),
)


def rsqrt(x: Any) -> Array:
    """1 / sqrt(x)."""
    return rsqrt_p.bind(x)


cbrt_p = elementwise(
    "cbrt",
    accepts=FLOATS,
    ufunc="cbrt",
    partials=[lambda y, x: mul(integer_pow(y, -2), 1 / 3)],
    scalar=lambda k, x: k.cbrt(x),
)


def cbrt(x: Any) -> Array:
    """Real cube root of each element, negative for negative x."""
    return cbrt_p.bind(x)
