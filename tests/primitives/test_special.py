"""Special functions where they are not ordinary: poles, infinities, NaN, and derivatives that some
operands have and others refuse.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from scipy import special

import funcgrad as fg
from funcgrad.compiler.scalar_values import computed
from funcgrad.core.avals import typeof
from funcgrad.primitives.special import functions as f

INF, NAN = np.inf, np.nan
EDGES = {
    f.erf: [(INF, 1), (-INF, -1), (NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (30, 1)],
    f.erfc: [(INF, 0), (-INF, 2), (NAN, NAN), (0, 1), (40, 0)],
    f.erf_inv: [(1, INF), (-1, -INF), (1.5, NAN), (NAN, NAN), (0.0, 0.0), (-0.0, -0.0)],
    f.lgamma: [
        (0, INF),
        (-1, INF),
        (-30, INF),
        (INF, INF),
        (-INF, INF),
        (NAN, NAN),
        (1, 0),
        (2, 0),
    ],
    f.digamma: [(0, NAN), (-1, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)],
    f.bessel_i0e: [(0, 1), (INF, 0), (-INF, 0), (NAN, NAN)],
    f.bessel_i1e: [(0.0, 0.0), (-0.0, -0.0), (INF, 0), (-INF, -0.0), (NAN, NAN)],
    f.zeta: [
        (1, 2, INF),
        (0.5, 2, NAN),
        (2, 0, INF),
        (2, -3, INF),
        (1.5, 0, INF),
        (1.5, -3, INF),
        (2.5, -0.5, NAN),
        (NAN, 1, NAN),
        (2, 1, np.pi**2 / 6),
        (2, -0.5, 8.934802),
        (2, -15.5, 9.807124718),
    ],
    f.polygamma: [
        (0, 1, -0.5772157),
        (1.5, 3, NAN),
        (-1, 2, NAN),
        (1, 0, INF),
        (1, 1, np.pi**2 / 6),
    ],
    f.igamma: [
        (1, 0, 0),
        (1, INF, 1),
        (0, 1, 1),
        (0, 0, NAN),
        (-1, 1, NAN),
        (1, -1, NAN),
        (INF, 0, 0),
        (INF, 0.5, 0),
        (INF, -1, NAN),
        (0, 0.5, 1),
        (0, INF, 1),
        (0.5, INF, 1),
        (-1, INF, NAN),
        (-1, 0, NAN),
        (INF, INF, NAN),
        (NAN, 1, NAN),
        (1, NAN, NAN),
        (1, 1, 1 - np.exp(-1)),
    ],
    f.igammac: [
        (1, 0, 1),
        (1, INF, 0),
        (0.5, INF, 0),
        (INF, 0.5, 1),
        (0, 1, 0),
        (0, 0.5, 0),
        (0, 0, NAN),
        (-1, 1, NAN),
        (1, -1, NAN),
        (1, 1, np.exp(-1)),
    ],
    f.igamma_grad_a: [
        (0, 0, NAN),
        (1, 0, 0),
        (0, 1, NAN),
        (-1, 1, NAN),
        (1, 1, -0.43172977),
        (2, 2, -0.29400467),
    ],
    f.random_gamma_grad: [
        (0, 0, NAN),
        (1, 0, 0),
        (0, 1, NAN),
        (1, -1, NAN),
        (1, 1, 1.1735632),
        (2, 1, 0.7507787),
    ],
    f.regularized_incomplete_beta: [
        (1, 1, 0, 0),
        (1, 1, 1, 1),
        (0, 1, 0.5, 1),
        (1, 0, 0.5, 0),
        (0, 0, 0.5, NAN),
        (-1, 1, 0.5, NAN),
        (2, 3, -0.1, NAN),
        (2, 3, 1.1, NAN),
        (2, 3, 0.3, 0.3483),
        (INF, 1, 0.5, 0),
        (1, INF, 0.5, 1),
        (0, 1, 1.5, NAN),
    ],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", EDGES, ids=lambda g: g.__name__)
def test_edges(function, dtype):
    table = np.array(EDGES[function], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = np.asarray(function(*table[:, :-1].T))
    np.testing.assert_allclose(actual, table[:, -1], rtol=1e-6)
    zero = table[:, -1] == 0
    if function in (f.erf, f.erf_inv, f.bessel_i1e):
        np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(table[zero, -1]))


def test_beta_distributions_that_are_one_point():
    """With a = 0 or b = inf all of the distribution is at 0, with b = 0 or a = inf at 1."""
    ends = [0.0, 0.5, INF]
    for a, b, x in itertools.product(ends, ends, [0.0, 0.25, 0.5, 1.0]):
        at_zero, at_one = a == 0 or b == INF, b == 0 or a == INF
        if at_zero == at_one and (at_zero is False or (a, b) in ((0, 0), (INF, INF))):
            wanted = None if not at_zero else NAN
        else:
            wanted = float(x > 0) if at_zero else float(x == 1)
        if wanted is not None:
            found = f.regularized_incomplete_beta(*map(np.float32, (a, b, x)))
            np.testing.assert_array_equal(found, np.float32(wanted), (a, b, x))


def slope(function, at, h=1e-6):
    return (float(function(np.float64(at + h))) - float(function(np.float64(at - h)))) / (2 * h)


ONE_OPERAND = {
    "polygamma": lambda x: f.polygamma(np.float64(2), x),
    "zeta": lambda q: f.zeta(np.float64(2.5), q),
    "betainc": lambda x: f.regularized_incomplete_beta(np.float64(2.5), np.float64(0.7), x),
    "igamma x twice": lambda x: fg.grad(lambda t: f.igamma(np.float64(1.3), t))(x),
}


@pytest.mark.parametrize("name", ONE_OPERAND)
def test_derivative_in_the_operand_that_has_one(name):
    function = ONE_OPERAND[name]
    x = fg.numpy.asarray(0.4, dtype="float64")
    np.testing.assert_allclose(
        fg.grad(function)(x),
        slope(lambda v: function(fg.numpy.asarray(v, dtype="float64")), 0.4),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda v: f.polygamma(v, np.float32(2)), "order m"),
        (lambda v: f.zeta(v, np.float32(2)), "exponent"),
        (lambda v: f.regularized_incomplete_beta(v, np.float32(2), np.float32(0.5)), "a and b"),
        (lambda v: f.igamma_grad_a(v, np.float32(2)), "Second derivatives"),
        (lambda v: f.random_gamma_grad(v, np.float32(2)), "Second derivatives"),
    ],
)
def test_derivatives_that_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        fg.grad(function)(1.5)


def test_derivatives_at_zero():
    assert fg.grad(f.bessel_i1e)(0.0) == 0.5
    assert fg.grad(f.bessel_i0e)(0.0) == 0.0
    assert fg.grad(fg.nn.relu)(0.0) == 0.0


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 40000])
def test_blocks_do_not_show(size):
    """Values are computed a cache-sized block at a time; each element is as it is alone."""
    x = np.linspace(-3, 3, size, dtype=np.float32)
    whole = np.asarray(f.erf(x))
    assert whole.shape == x.shape
    for i in {0, size // 2, size - 1} & set(range(size)):
        assert whole[i] == np.asarray(f.erf(x[i]))


def spread(low, high, count=400):
    """Numbers of all sizes between two, in an order of their own for each operand."""
    return lambda rng: np.exp(rng.permutation(np.linspace(np.log(low), np.log(high), count)))


def between(low, high, count=400):
    return lambda rng: rng.permutation(np.linspace(low, high, count))


# What it is compared with, samples of each operand, relative and absolute tolerance: SciPy's own
# errors where two large terms cancel, and test_special_accuracy.py has the sharper bounds.
AS_SCIPY = {
    "erf": (f.erf, special.erf, [between(-6, 6)], 1e-14, 0),
    "erfc": (f.erfc, special.erfc, [between(-6, 26)], 1e-13, 0),
    "erf_inv": (f.erf_inv, special.erfinv, [between(-0.999999, 0.999999)], 1e-11, 1e-15),
    "lgamma": (f.lgamma, special.gammaln, [between(-9.97, 40)], 1e-12, 1e-13),
    "digamma": (f.digamma, special.digamma, [between(-9.97, 40)], 1e-11, 1e-11),
    "i0e": (f.bessel_i0e, special.i0e, [between(-40, 40)], 1e-13, 0),
    "i1e": (f.bessel_i1e, special.i1e, [between(-40, 40)], 1e-13, 0),
    "zeta": (f.zeta, special.zeta, [spread(1.01, 30), spread(0.01, 60)], 1e-12, 0),
    "polygamma": (f.polygamma, special.polygamma,
                  [lambda rng: rng.integers(0, 9, 400).astype(float), spread(0.1, 30)], 1e-11, 0),
    "igamma": (f.igamma, special.gammainc, [spread(0.05, 300), spread(0.05, 300)], 1e-10, 1e-300),
    "igammac": (f.igammac, special.gammaincc, [spread(0.05, 300), spread(0.05, 300)], 1e-9, 1e-14),
    "betainc": (f.regularized_incomplete_beta, special.betainc,
                [spread(0.05, 90), spread(0.05, 90), between(0.002, 0.998)], 1e-9, 1e-14),
}  # fmt: skip


@pytest.mark.parametrize("name", AS_SCIPY)
def test_values_as_scipy(name):
    ours, theirs, samples, rtol, atol = AS_SCIPY[name]
    rng = np.random.default_rng(len(name))
    operands = [sample(rng) for sample in samples]
    np.testing.assert_allclose(ours(*operands), theirs(*operands), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ["bessel_i0e", "bessel_i1e"])
def test_kernels_of_bessel_functions_are_right_to_the_last_digits(name):
    """In float64, which compiled code has formulas of its own for."""
    primitive, expected = getattr(f, f"{name}_p"), getattr(special, name.removeprefix("bessel_"))
    x = np.linspace(-40, 40, 801)
    (found,) = computed(primitive.loops(typeof(x)).scalar, [x])
    np.testing.assert_allclose(found, expected(x), rtol=2e-15)


def test_zeta_sums_thousands_of_terms_below_zero():
    """zeta(2, -9999.5) sums (n + 1/2)**-2 from n = 0 to 9999, and all n once more."""
    expected = 2 * special.zeta(2, 0.5) - special.zeta(2, 10000.5)
    np.testing.assert_allclose(f.zeta(np.float64(2), np.float64(-9999.5)), expected, rtol=1e-12)
