"""The special functions as primitives, with all their rules."""

from __future__ import annotations

import math
from typing import Any

from funcgrad.core import loops
from funcgrad.core.avals import typeof
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import add, div, full, mul, neg, select_n, sub
from funcgrad.primitives.elementwise.arithmetic import sign
from funcgrad.primitives.elementwise.exponential import exp, log, log1p
from funcgrad.primitives.kinds import FLOATS, elementwise
from funcgrad.primitives.logic import eq
from funcgrad.primitives.special import (
    bessel_functions,
    error_functions,
    gamma_functions,
    incomplete_functions,
)


def _library(name: str, value: Any, partials: Any) -> Primitive:
    """A function that is computed in float64, by steps that go on until all have converged."""
    none: Any = None
    primitive = elementwise(name, accepts=FLOATS, value=value, partials=partials, scalar=none)
    form = loops.Opaque("special function", "function of float64", value.of_vectors)
    primitive.loops = lambda *avals: form
    return primitive


def _refuse(message: str) -> Any:
    def partial(*args):
        raise ValueError(message)

    return partial


def _like(x: Any, value: float) -> Any:
    return full(typeof(x).shape, value, typeof(x).dtype)


# ---- error functions -----------------------------------------------------------------------------

_SLOPE = 2 / math.sqrt(math.pi)

erf_p = elementwise(
    "erf",
    accepts=FLOATS,
    value=error_functions.erf_value,
    partials=[lambda y, x: mul(exp(neg(mul(x, x))), _SLOPE)],
    scalar=lambda k, x: k.erf(x),
)


def erf(x):
    """The error function, 2/sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    return erf_p.bind(x)


erfc_p = elementwise(
    "erfc",
    accepts=FLOATS,
    value=error_functions.erfc_value,
    partials=[lambda y, x: mul(exp(neg(mul(x, x))), -_SLOPE)],
    scalar=lambda k, x: k.erfc(x),
)


def erfc(x):
    """1 - erf(x), accurate in the upper tail."""
    return erfc_p.bind(x)


erf_inv_p = elementwise(
    "erf_inv",
    accepts=FLOATS,
    value=error_functions.erf_inv_value,
    partials=[lambda y, x: mul(exp(mul(y, y)), 1 / _SLOPE)],
    scalar=lambda k, x: k.erf_inv(x),
)


def erf_inv(x):
    """The inverse of erf: -inf at -1, inf at 1, NaN beyond.

    Its argument's square is rounded to x's dtype, as in JAX, so that normal numbers agree.
    """
    return erf_inv_p.bind(x)


# ---- gamma and its relatives ---------------------------------------------------------------------

lgamma_p = elementwise(
    "lgamma",
    accepts=FLOATS,
    value=gamma_functions.lgamma_value,
    partials=[lambda y, x: digamma(x)],
    scalar=lambda k, x: k.lgamma(x),
)


def lgamma(x):
    """log|gamma(x)|; inf at 0 and the negative integers."""
    return lgamma_p.bind(x)


digamma_p = elementwise(
    "digamma",
    accepts=FLOATS,
    value=gamma_functions.digamma_value,
    partials=[lambda y, x: polygamma(_like(x, 1), x)],
    scalar=lambda k, x: k.digamma(x),
)


def digamma(x):
    """The derivative of lgamma; NaN at 0 and the negative integers."""
    return digamma_p.bind(x)


polygamma_p = _library(
    "polygamma",
    gamma_functions.polygamma_value,
    [
        _refuse("polygamma: not differentiable in its order m. Use stop_gradient on it."),
        lambda y, m, x: polygamma(add(m, 1), x),
    ],
)


def polygamma(m, x):
    """The derivative of order m of digamma; NaN unless m is 0, 1, 2, ...."""
    return polygamma_p.bind(m, x)


zeta_p = _library(
    "zeta",
    gamma_functions.zeta_value,
    [
        _refuse("zeta: not differentiable in its exponent. Use stop_gradient on it."),
        lambda y, s, q: mul(neg(s), zeta(add(s, 1), q)),
    ],
)


def zeta(x, q):
    """Hurwitz' zeta function, the sum of (q + n)**-x over n = 0, 1, 2, ..., for x > 1."""
    return zeta_p.bind(x, q)


# ---- incomplete gamma and beta -------------------------------------------------------------------


def _gamma_density(a, x):
    """The derivative of igamma in x."""
    return exp(sub(sub(mul(sub(a, 1), log(x)), x), lgamma(a)))


igamma_p = _library(
    "igamma",
    incomplete_functions.igamma_value,
    [lambda y, a, x: igamma_grad_a(a, x), lambda y, a, x: _gamma_density(a, x)],
)


def igamma(a, x):
    """The regularized lower incomplete gamma function, of a > 0 and x >= 0; NaN elsewhere."""
    return igamma_p.bind(a, x)


igammac_p = _library(
    "igammac",
    incomplete_functions.igammac_value,
    [lambda y, a, x: neg(igamma_grad_a(a, x)), lambda y, a, x: neg(_gamma_density(a, x))],
)


def igammac(a, x):
    """1 - igamma(a, x), accurate in the upper tail."""
    return igammac_p.bind(a, x)


def _no_second_derivative(name: str) -> Any:
    return _refuse(
        f"{name}: has no derivative of its own. Second derivatives in the parameter a are not "
        "available."
    )


igamma_grad_a_p = _library(
    "igamma_grad_a",
    incomplete_functions.igamma_grad_a_value,
    [_no_second_derivative("igamma_grad_a")] * 2,
)


def igamma_grad_a(a, x):
    """The derivative of igamma in a."""
    return igamma_grad_a_p.bind(a, x)


random_gamma_grad_p = _library(
    "random_gamma_grad",
    incomplete_functions.random_gamma_grad_value,
    [_no_second_derivative("random_gamma_grad")] * 2,
)


def random_gamma_grad(a, x):
    """The derivative in a of a gamma number x: by how much it moves if its quantile is held."""
    return random_gamma_grad_p.bind(a, x)


def _beta_density(a, b, x):
    """The derivative of the incomplete beta function in x."""
    normalizer = sub(add(lgamma(a), lgamma(b)), lgamma(add(a, b)))
    return exp(sub(add(mul(sub(b, 1), log1p(neg(x))), mul(sub(a, 1), log(x))), normalizer))


_BETA_PARAMETER = _refuse(
    "regularized_incomplete_beta: not differentiable in a and b. Use stop_gradient on them."
)

regularized_incomplete_beta_p = _library(
    "regularized_incomplete_beta",
    incomplete_functions.regularized_incomplete_beta_value,
    [_BETA_PARAMETER, _BETA_PARAMETER, lambda y, a, b, x: _beta_density(a, b, x)],
)


def regularized_incomplete_beta(a, b, x):
    """The regularized incomplete beta function of a, b > 0 and x in [0, 1]; NaN elsewhere."""
    return regularized_incomplete_beta_p.bind(a, b, x)


betainc = regularized_incomplete_beta


# ---- Bessel functions ----------------------------------------------------------------------------


def _i1e_slope(y, x):
    """i0e - i1e (sign(x) + 1/x), which is 1/2 at 0."""
    zero = eq(x, 0)
    safe = select_n(zero, x, _like(x, 1))
    slope = sub(bessel_i0e(safe), mul(y, add(sign(safe), div(1.0, safe))))
    return select_n(zero, slope, _like(x, 0.5))


bessel_i0e_p = elementwise(
    "bessel_i0e",
    accepts=FLOATS,
    value=bessel_functions.bessel_i0e_value,
    partials=[lambda y, x: sub(bessel_i1e(x), mul(sign(x), y))],
    scalar=bessel_functions.bessel_i0e_scalar,
)


def bessel_i0e(x):
    """exp(-|x|) I0(x), the modified Bessel function of order 0."""
    return bessel_i0e_p.bind(x)


bessel_i1e_p = elementwise(
    "bessel_i1e",
    accepts=FLOATS,
    value=bessel_functions.bessel_i1e_value,
    partials=[_i1e_slope],
    scalar=bessel_functions.bessel_i1e_scalar,
)


def bessel_i1e(x):
    """exp(-|x|) I1(x), the modified Bessel function of order 1."""
    return bessel_i1e_p.bind(x)
