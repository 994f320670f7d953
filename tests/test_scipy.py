"""`funcgrad.scipy` against scipy in float64; derivatives against differences; types against jax."""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
from funcgrad import numpy as fnp, scipy as fsp

reference = pytest.importorskip("scipy.special")
statistics = pytest.importorskip("scipy.stats")
jax = pytest.importorskip("jax")

INF, NAN = np.inf, np.nan
REAL = [-30.0, -3.5, -1.2, -0.3, 0.0, 1e-5, 0.4, 1.0, 2.7, 20.0]
POSITIVE = [0.02, 0.3, 1.0, 1.7, 4.0, 15.0]
UNIT = [1e-12, 1e-4, 0.1, 0.3, 0.5, 0.9, 0.99]

# name: operands, and whether differences can check the derivative there
SPECIAL = {
    "erf": [REAL],
    "erfc": [REAL[1:]],
    "erfinv": [[-0.9, -0.2, 0.0, 0.5, 0.99]],
    "ndtr": [REAL],
    "log_ndtr": [[-40.0, -10.1, -9.9, -1.0, 0.0, 0.3, 3.0, 9.0]],
    "ndtri": [UNIT],
    "gammaln": [POSITIVE],
    "gamma": [POSITIVE],
    "gammasgn": [[-2.5, -1.5, -0.5, 0.5]],
    "factorial": [[0.5, 1.0, 2.0, 3.5, 10.0]],
    "betaln": [POSITIVE, POSITIVE],
    "beta": [POSITIVE, POSITIVE],
    "digamma": [POSITIVE],
    "psi": [POSITIVE],
    "i0": [REAL[1:]],
    "i0e": [REAL],
    "i1": [REAL[1:]],
    "i1e": [REAL],
    "expit": [REAL],
    "logit": [UNIT[1:]],
    "xlogy": [POSITIVE, POSITIVE],
    "xlog1py": [POSITIVE, POSITIVE],
    "entr": [POSITIVE],
    "rel_entr": [POSITIVE, POSITIVE[::-1]],
    "kl_div": [POSITIVE, POSITIVE[::-1]],
    "gammaincc": [POSITIVE, POSITIVE[::-1]],
    "gammainc": [POSITIVE, POSITIVE[::-1]],
}


def wide(values):
    return [fnp.asarray(v, dtype="float64") for v in values]


def slope(function, operands, i):
    """Central difference in operand i."""
    x = operands[i]
    h = 1e-6 * np.maximum(np.abs(x), 1 if (x < 0).any() else 0)
    ends = ([x if j != i else x + d for j, x in enumerate(operands)] for d in (h, -h))
    up, down = (np.asarray(function(*wide(e))) for e in ends)
    return (up - down) / (2 * h)


@pytest.mark.parametrize("name", SPECIAL)
def test_special(name):
    operands = [np.array(x) for x in SPECIAL[name]]
    function = getattr(fsp.special, name)
    actual = function(*wide(operands))
    assert actual.dtype == np.float64
    near_zero = 1e-15 if name == "ndtri" else 1e-300
    expected = getattr(reference, name)(*operands)
    np.testing.assert_allclose(actual, expected, rtol=3e-13, atol=near_zero)
    for i in range(len(operands)):
        gradient = fg.grad(lambda *xs: function(*xs).sum(), i)(*wide(operands))
        np.testing.assert_allclose(gradient, slope(function, operands, i), rtol=2e-6, atol=1e-8)


def test_functions_of_integers_and_of_several_kinds():
    special = fsp.special
    a, b = [0.5, 2, 7.0], [1, 2, 0.3]
    x = [0.2, 0.5, 0.9]
    np.testing.assert_allclose(
        special.betainc(*wide([a, b, x])), reference.betainc(a, b, x), rtol=1e-13
    )
    for n in range(4):
        np.testing.assert_allclose(
            special.polygamma(n, *wide([a])), reference.polygamma(n, a), rtol=1e-13
        )
    np.testing.assert_allclose(
        special.zeta(*wide([[2, 3.5], [1, 0.4]])), reference.zeta([2, 3.5], [1, 0.4])
    )
    np.testing.assert_allclose(special.zeta(2.0), np.pi**2 / 6, rtol=1e-6)
    np.testing.assert_allclose(
        special.multigammaln(5.0, 3), reference.multigammaln(5.0, 3), rtol=1e-6
    )
    for name in ("softmax", "log_softmax", "logsumexp"):
        matrix = np.arange(6.0).reshape(2, 3)
        for axis in (None, 0):
            actual = getattr(special, name)(*wide([matrix]), axis=axis)
            np.testing.assert_allclose(
                actual, getattr(reference, name)(matrix, axis=axis), rtol=1e-14
            )


EDGES = {
    "ndtri": [(0, -INF), (1, INF), (-0.1, NAN), (NAN, NAN)],
    "log_ndtr": [(INF, 0), (-1e4, -5e7 - 10.129279), (NAN, NAN)],
    "xlogy": [(0, 0, 0), (0, INF, NAN), (1, 0, -INF), (0, 2, 0)],
    "xlog1py": [(0, -1, 0), (1, -1, -INF)],
    "entr": [(0, 0), (-1, -INF), (NAN, NAN)],
    "rel_entr": [(0, 0, 0), (1, 0, INF), (-1, 1, INF), (0, 2, 0), (NAN, 1, NAN)],
    "kl_div": [(0, 2, 2), (1, 0, INF)],
    "gammasgn": [(-1, NAN), (-0.0, -1), (0.0, 1), (-1.5, 1), (NAN, NAN)],
    "gamma": [(0.0, INF), (-0.0, -INF), (-1.5, 2.3632718)],
    "factorial": [(-1, 0)],
    "logit": [(0, -INF), (1, INF)],
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name):
    table = np.array(EDGES[name])
    if name == "xlogy":
        table = table[[0, 2, 3]]  # 0 log(inf) is NaN in SciPy too, and no convention of ours
    actual = getattr(fsp.special, name)(*wide(table[:, :-1].T))
    np.testing.assert_allclose(actual, table[:, -1], rtol=1e-7)


def test_no_unused_branch_spoils_a_derivative():
    x = fnp.array([0.0, 0.5])
    for function in (lambda v: fsp.special.xlogy(v, 2.0), lambda v: fsp.special.rel_entr(v, 1.0)):
        assert np.isfinite(fg.vmap(fg.grad(function))(x)).all()
    assert np.isfinite(
        fg.vmap(fg.grad(fsp.special.log_ndtr))(fnp.array([-1e4, -30.0, 0, 30]))
    ).all()
    assert np.isfinite(fg.vmap(fg.grad(lambda v: fsp.stats.gamma.logpdf(v, 2.0)))(x - 1)).all()


DISTRIBUTIONS = {
    "norm": [(), (0.5, 2.0)],
    "uniform": [(), (-1.0, 3.0)],
    "expon": [(), (0.5, 2.0)],
    "gamma": [(2.5,), (0.7, 0.1, 2.0)],
    "beta": [(2.5, 0.7), (1.0, 3.0, 0.1, 2.0)],
    "laplace": [(), (0.5, 2.0)],
    "cauchy": [(), (0.5, 2.0)],
    "t": [(3.0,), (2.5, 0.5, 2.0)],
    "poisson": [(3.5,), (2.0, 1)],
    "bernoulli": [(0.3,), (0.6, 1)],
}
OF_VALUES = ("logpdf", "pdf", "cdf", "logcdf", "sf", "logsf", "logpmf", "pmf")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(name):
    ours, theirs = getattr(fsp.stats, name), getattr(statistics, name)
    assert hasattr(ours, "cdf")
    for parameters in DISTRIBUTIONS[name]:
        for function in (*OF_VALUES, "ppf", "isf"):
            if not hasattr(ours, function) or (
                name == "bernoulli" and function == "ppf" and len(parameters) > 1
            ):
                continue
            x = np.array(
                UNIT if function in ("ppf", "isf") else [-2.5, -1.0, 0.05, 0.3, 1.0, 2.0, 5.5]
            )
            near_zero = 1e-15 if function in ("ppf", "isf") else 1e-300
            actual = getattr(ours, function)(*wide([x]), *parameters)
            expected = getattr(theirs, function)(x, *parameters)
            np.testing.assert_allclose(
                actual, expected, rtol=1e-11, atol=near_zero, err_msg=function
            )


def test_multivariate_normal():
    cov = np.array([[2.0, 0.3], [0.3, 1.0]])
    x, mean = np.array([[0.1, 0.2], [1.0, -3.0]]), np.array([0.5, -0.5])
    for ours, theirs in ((cov, cov), (2.0, 2.0)):
        for name in ("logpdf", "pdf"):
            actual = getattr(fsp.stats.multivariate_normal, name)(*wide([x, mean, ours]))
            expected = getattr(statistics.multivariate_normal, name)(x, mean, theirs)
            np.testing.assert_allclose(actual, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="shape"):
        fsp.stats.multivariate_normal.logpdf(*wide([x, mean, np.eye(3)]))


@pytest.mark.parametrize(
    "name", ["erf", "gammaln", "ndtr", "xlogy", "i0", "entr", "logit", "ndtri"]
)
def test_types_are_jax_s(name):
    for operand in (1, 0.5, fnp.arange(1, 3), fnp.asarray(0.5, dtype="bfloat16")):
        count = 2 if name == "xlogy" else 1
        theirs = jax.numpy.asarray(operand) if isinstance(operand, fg.Array) else operand
        if name in ("ndtr", "ndtri") and not isinstance(operand, float):
            continue  # jax takes float32 and float64 only
        actual = getattr(fsp.special, name)(*[operand] * count)
        expected = getattr(jax.scipy.special, name)(*[theirs] * count)
        assert (actual.shape, str(actual.dtype)) == (expected.shape, str(expected.dtype))
