"""Special functions under SciPy's names: operands are promoted and broadcast, integers become
floats.

The functions themselves are primitives; those made of several are differentiable where SciPy's
value is finite, and free of NaN that only an unused branch would cause.
"""

from __future__ import annotations

import math
import operator
from typing import Any

from funcgrad import lax, numpy as jnp
from funcgrad.control.custom import custom_jvp
from funcgrad.nn.functions import log_softmax as _log_softmax, logsumexp, softmax as _softmax
from funcgrad.numpy.promote import promote_args_inexact

__all__ = [
    "beta", "betainc", "betaln", "digamma", "entr", "erf", "erfc", "erfinv", "expit", "factorial",
    "gamma", "gammainc", "gammaincc", "gammaln", "gammasgn", "i0", "i0e", "i1", "i1e", "kl_div",
    "log_ndtr", "log_softmax", "logit", "logsumexp", "multigammaln", "ndtr", "ndtri", "polygamma",
    "psi", "rel_entr", "softmax", "xlog1py", "xlogy", "zeta",
]  # fmt: skip

_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


# ---- error functions and the normal distribution -------------------------------------------------


def erf(x: Any) -> Any:
    """The error function, 2/sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    return lax.erf(*promote_args_inexact("erf", x))


def erfc(x: Any) -> Any:
    """1 - erf(x), accurate in the upper tail."""
    return lax.erfc(*promote_args_inexact("erfc", x))


def erfinv(x: Any) -> Any:
    """The inverse of erf."""
    return lax.erf_inv(*promote_args_inexact("erfinv", x))


def ndtr(x: Any) -> Any:
    """The standard normal cumulative distribution, accurate in the lower tail."""
    (x,) = promote_args_inexact("ndtr", x)
    return 0.5 * lax.erfc(x * -math.sqrt(0.5))


_SERIES_BELOW = -10.0  # where the asymptotic series of ndtr takes over from its logarithm


def _log_ndtr_series(x: Any, terms: int) -> Any:
    """log(ndtr(x)) for x <= -10, by A&S 26.2.12."""
    inverse = -1 / jnp.square(x)
    total = jnp.ones_like(x)
    for n in range(terms, 0, -1):
        total = 1 + (2 * n - 1) * inverse * total
    return -0.5 * jnp.square(x) - _HALF_LOG_2_PI - jnp.log(-x) + jnp.log(total)


@custom_jvp
def _log_ndtr(x: Any) -> Any:
    upper = jnp.log1p(-ndtr(-jnp.maximum(x, 0)))
    middle = jnp.log(ndtr(jnp.clip(x, _SERIES_BELOW, 0)))
    lower = _log_ndtr_series(jnp.minimum(x, _SERIES_BELOW), 10)
    return jnp.where(x > 0, upper, jnp.where(x > _SERIES_BELOW, middle, lower))


@_log_ndtr.defjvp
def _log_ndtr_jvp(primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    y = _log_ndtr(x)
    return y, t * jnp.exp(-0.5 * jnp.square(x) - _HALF_LOG_2_PI - y)


def log_ndtr(x: Any) -> Any:
    """log(ndtr(x)), accurate where ndtr underflows or is nearly 1."""
    return _log_ndtr(*promote_args_inexact("log_ndtr", x))


def _lower_quantile(p: Any) -> Any:
    """The quantile for p <= 1/2: A&S 26.2.23, and Newton's steps on the logarithm."""
    t = jnp.sqrt(-2 * jnp.log(p))
    numerator = 2.515517 + t * (0.802853 + t * 0.010328)
    x = numerator / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t
    for _ in range(3):
        y = log_ndtr(x)
        x = x - (y - jnp.log(p)) * jnp.exp(0.5 * jnp.square(x) + _HALF_LOG_2_PI + y)
    return x


@custom_jvp
def _ndtri(p: Any) -> Any:
    inside = (p > 0) & (p < 1)
    tail = jnp.where(inside, jnp.minimum(p, 1 - p), 0.5)
    x = jnp.where(p < 0.5, 1, -1) * _lower_quantile(tail)
    outside = jnp.where(p == 0, -math.inf, jnp.where(p == 1, math.inf, math.nan))
    return jnp.where(inside, x, outside).astype(p.dtype)


@_ndtri.defjvp
def _ndtri_jvp(primals: Any, tangents: Any) -> Any:
    (p,), (t,) = primals, tangents
    x = _ndtri(p)
    return x, t * jnp.exp(0.5 * jnp.square(x) + _HALF_LOG_2_PI)


def ndtri(p: Any) -> Any:
    """The inverse of ndtr: the standard normal quantile."""
    return _ndtri(*promote_args_inexact("ndtri", p))


# ---- gamma, beta and their relatives -------------------------------------------------------------


def gammaln(x: Any) -> Any:
    """log|gamma(x)|."""
    return lax.lgamma(*promote_args_inexact("gammaln", x))


def gammasgn(x: Any) -> Any:
    """The sign of gamma(x); NaN at the negative integers."""
    (x,) = promote_args_inexact("gammasgn", x)
    whole = jnp.floor(x)
    negative = ((x < 0) & (jnp.mod(whole, 2) != 0)) | ((x == 0) & jnp.signbit(x))
    sign = jnp.where(negative, -jnp.ones_like(x), jnp.ones_like(x))
    return jnp.where(((x < 0) & (x == whole)) | jnp.isnan(x), math.nan, sign)


def gamma(x: Any) -> Any:
    """The gamma function."""
    (x,) = promote_args_inexact("gamma", x)
    return gammasgn(x) * jnp.exp(lax.lgamma(x))


def factorial(n: Any, exact: bool = False) -> Any:
    """n!, as a float; 0 for negative n. `exact=True`, Python's integers, is not available."""
    if exact:
        raise ValueError("factorial: exact=True is not available: use math.factorial.")
    (n,) = promote_args_inexact("factorial", n)
    return jnp.where(n < 0, 0.0, jnp.exp(lax.lgamma(jnp.maximum(n, 0) + 1)))


def betaln(a: Any, b: Any) -> Any:
    """log|beta(a, b)|."""
    a, b = promote_args_inexact("betaln", a, b)
    return gammaln(a) + gammaln(b) - gammaln(a + b)


def beta(a: Any, b: Any) -> Any:
    """The beta function gamma(a) gamma(b) / gamma(a + b)."""
    a, b = promote_args_inexact("beta", a, b)
    return gammasgn(a) * gammasgn(b) * gammasgn(a + b) * jnp.exp(betaln(a, b))


def betainc(a: Any, b: Any, x: Any) -> Any:
    """The regularized incomplete beta function; differentiable in x."""
    return lax.betainc(*promote_args_inexact("betainc", a, b, x))


def digamma(x: Any) -> Any:
    """The derivative of gammaln; also called psi."""
    return lax.digamma(*promote_args_inexact("digamma", x))


psi = digamma


def polygamma(n: Any, x: Any) -> Any:
    """The derivative of order n of digamma."""
    return lax.polygamma(*promote_args_inexact("polygamma", n, x))


def zeta(x: Any, q: Any = 1) -> Any:
    """Hurwitz' zeta function, Riemann's for q = 1; x > 1."""
    return lax.zeta(*promote_args_inexact("zeta", x, q))


def gammainc(a: Any, x: Any) -> Any:
    """The regularized lower incomplete gamma function."""
    return lax.igamma(*promote_args_inexact("gammainc", a, x))


def gammaincc(a: Any, x: Any) -> Any:
    """1 - gammainc(a, x), accurate in the upper tail."""
    return lax.igammac(*promote_args_inexact("gammaincc", a, x))


def multigammaln(a: Any, d: int) -> Any:
    """The logarithm of the multivariate gamma function of dimension d."""
    (a,), d = promote_args_inexact("multigammaln", a), operator.index(d)
    total = gammaln(a)
    for i in range(1, d):
        total = total + gammaln(a - 0.5 * i)
    return total + 0.25 * d * (d - 1) * math.log(math.pi)


# ---- Bessel functions ----------------------------------------------------------------------------


def i0(x: Any) -> Any:
    """The modified Bessel function of order 0."""
    (x,) = promote_args_inexact("i0", x)
    return jnp.exp(jnp.abs(x)) * lax.bessel_i0e(x)


def i0e(x: Any) -> Any:
    """exp(-|x|) i0(x)."""
    return lax.bessel_i0e(*promote_args_inexact("i0e", x))


def i1(x: Any) -> Any:
    """The modified Bessel function of order 1."""
    (x,) = promote_args_inexact("i1", x)
    return jnp.exp(jnp.abs(x)) * lax.bessel_i1e(x)


def i1e(x: Any) -> Any:
    """exp(-|x|) i1(x)."""
    return lax.bessel_i1e(*promote_args_inexact("i1e", x))


# ---- logarithms and entropies --------------------------------------------------------------------


def expit(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return lax.logistic(*promote_args_inexact("expit", x))


def logit(p: Any) -> Any:
    """log(p / (1 - p)), the inverse of expit."""
    (p,) = promote_args_inexact("logit", p)
    return jnp.log(p / (1 - p))


def xlogy(x: Any, y: Any) -> Any:
    """x log(y), and 0 for x = 0 whatever y is."""
    x, y = promote_args_inexact("xlogy", x, y)
    return x * jnp.log(jnp.where((x == 0) & ~(y > 0), 1.0, y))


def xlog1py(x: Any, y: Any) -> Any:
    """x log(1 + y), and 0 for x = 0 whatever y is."""
    x, y = promote_args_inexact("xlog1py", x, y)
    return x * jnp.log1p(jnp.where((x == 0) & ~(y > -1), 0.0, y))


def entr(x: Any) -> Any:
    """-x log(x), 0 at 0, and -inf for negative x."""
    (x,) = promote_args_inexact("entr", x)
    return jnp.where(x < 0, -math.inf, -xlogy(x, x))


def rel_entr(p: Any, q: Any) -> Any:
    """p log(p / q); 0 for p = 0 and q >= 0, inf where either is negative or q = 0 alone."""
    p, q = promote_args_inexact("rel_entr", p, q)
    both, none = (p > 0) & (q > 0), (p == 0) & (q >= 0)
    safe_p, safe_q = jnp.where(both, p, 1.0), jnp.where(both, q, 1.0)
    value = safe_p * (jnp.log(safe_p) - jnp.log(safe_q))
    outside = jnp.where(jnp.isnan(p) | jnp.isnan(q), math.nan, math.inf)
    return jnp.where(both, value, jnp.where(none, 0.0, outside))


def kl_div(p: Any, q: Any) -> Any:
    """p log(p / q) - p + q: its sum is the Kullback-Leibler divergence of unnormalised weights."""
    p, q = promote_args_inexact("kl_div", p, q)
    return rel_entr(p, q) - p + q


def softmax(x: Any, axis: Any = None) -> Any:
    """exp(x) / sum(exp(x)) along `axis`; over all of x if None, as SciPy has it."""
    return _softmax(x, axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """log(softmax(x)) along `axis`; over all of x if None, as SciPy has it."""
    return _log_softmax(x, axis)
