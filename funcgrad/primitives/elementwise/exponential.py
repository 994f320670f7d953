"""Exponentials, logarithms and the logistic function; derivatives are stated through the result."""

from __future__ import annotations

import math
from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.primitives.basis import add, div, mul, sub
from funcgrad.primitives.elementwise.narrow import in_float32
from funcgrad.primitives.kinds import INEXACT, elementwise

exp_p = elementwise(
    "exp",
    accepts=INEXACT,
    ufunc="exp",
    partials=[lambda y, x: y],
    scalar=lambda k, x: k.exp(x),
)


def exp(x: Any) -> Array:
    """e to the power of each element."""
    return exp_p.bind(x)


exp2_p = elementwise(
    "exp2",
    accepts=INEXACT,
    ufunc="exp2",
    partials=[lambda y, x: mul(y, math.log(2))],
    scalar=lambda k, x: k.exp2(x),
)


def exp2(x: Any) -> Array:
    """2 to the power of each element."""
    return exp2_p.bind(x)


expm1_p = elementwise(
    "expm1",
    accepts=INEXACT,
    ufunc="expm1",
    partials=[lambda y, x: add(y, 1)],
    scalar=lambda k, x: k.expm1(x),
)


def expm1(x: Any) -> Array:
    """exp(x) - 1, accurate near 0."""
    return expm1_p.bind(x)


log_p = elementwise(
    "log",
    accepts=INEXACT,
    ufunc="log",
    partials=[lambda y, x: div(1, x)],
    scalar=lambda k, x: k.log(x),
)


def log(x: Any) -> Array:
    """Natural logarithm of each element; NaN for negative reals, -inf at 0."""
    return log_p.bind(x)


log1p_p = elementwise(
    "log1p",
    accepts=INEXACT,
    ufunc="log1p",
    partials=[lambda y, x: div(1, add(x, 1))],
    scalar=lambda k, x: k.log1p(x),
)


def log1p(x: Any) -> Array:
    """log(1 + x), accurate near 0."""
    return log1p_p.bind(x)


@in_float32
def _logistic_value(xp, x):
    if dtypes.is_complex(x.dtype):
        return 0.5 * xp.tanh(0.5 * x) + 0.5  # exp of a large complex number is NaN
    out = xp.empty_like(x)  # one buffer for the whole chain
    xp.negative(x, out=out)
    xp.exp(out, out=out)
    xp.add(out, 1, out=out)
    return xp.reciprocal(out, out=out)  # exp may overflow: 1 / inf is the right 0


logistic_p = elementwise(
    "logistic",
    accepts=INEXACT,
    value=_logistic_value,
    partials=[lambda y, x: mul(y, sub(1, y))],
    scalar=lambda k, x: k.logistic(x),
)


def logistic(x: Any) -> Array:
    """1 / (1 + exp(-x)), without overflow: 0 at -inf, 1/2 at 0, 1 at inf."""
    return logistic_p.bind(x)
