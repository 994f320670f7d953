"""How far special functions are from the truth, in units in the last place: measured with mpmath.

Samples are spread over the range in which the result neither overflows nor vanishes. Near zeros of
a function the error is compared with the unit at 1: an absolute bound of the same size.
"""

from __future__ import annotations

import numpy as np
import pytest

from funcgrad.core.dtypes import bfloat16
from funcgrad.primitives.special import functions as f

mp = pytest.importorskip("mpmath")
COUNT = 150


def linear(low, high):
    return lambda rng: rng.uniform(low, high, COUNT)


def logarithmic(low, high):
    return lambda rng: np.exp(rng.uniform(np.log(low), np.log(high), COUNT))


def exact_zeta(s, q):
    """mpmath loses digits for large q, so it is given more."""
    with mp.workdps(60):
        return mp.zeta(s, q)


def lower(a, x):
    return mp.gammainc(a, 0, x, regularized=True)


def upper(a, x):
    return mp.gammainc(a, x, mp.inf, regularized=True)


def beta(a, b, x):
    return mp.betainc(a, b, 0, x, regularized=True)


def scaled_bessel(n):
    return lambda x: mp.exp(-abs(x)) * mp.besseli(n, x)


# function, truth, sample of each operand, ulp in float32, ulp in float64
ROWS = {
    "erf": (f.erf, mp.erf, [linear(-5, 5)], 4, 4),
    "erf small": (f.erf, mp.erf, [logarithmic(1e-12, 1)], 4, 4),
    "erfc": (f.erfc, mp.erfc, [linear(-5, 9)], 1, 5),
    "erfc tail": (f.erfc, mp.erfc, [linear(5, 26)], 1, 5),
    "lgamma": (f.lgamma, lambda x: mp.re(mp.loggamma(x)), [logarithmic(1e-8, 1e6)], 1, 4),
    "lgamma 1": (f.lgamma, lambda x: mp.re(mp.loggamma(x)), [linear(0.9, 2.1)], 1, 2),
    "lgamma -": (f.lgamma, lambda x: mp.re(mp.loggamma(x)), [linear(-20, 0)], 1, 12),
    "digamma": (f.digamma, mp.digamma, [logarithmic(1e-8, 1e6)], 1, 4),
    "digamma -": (f.digamma, mp.digamma, [linear(-20, 0)], 1, 12),
    "zeta": (f.zeta, exact_zeta, [linear(1.01, 20), logarithmic(0.1, 100)], 1, 8),
    "i0e": (f.bessel_i0e, scaled_bessel(0), [linear(-30, 30)], 1, 5),
    "i1e": (f.bessel_i1e, scaled_bessel(1), [linear(-30, 30)], 1, 5),
    "igamma": (f.igamma, lower, [logarithmic(0.05, 20), logarithmic(0.05, 40)], 1, 100),
    "igammac": (f.igammac, upper, [logarithmic(0.05, 20), logarithmic(0.05, 40)], 1, 100),
    "betainc": (
        f.regularized_incomplete_beta,
        beta,
        [logarithmic(0.1, 20), logarithmic(0.1, 20), linear(0.01, 0.99)],
        1,
        150,
    ),
}


def errors(name, dtype):
    """|result - truth| in units in the last place, that of 1 where the function is near a zero."""
    function, truth, samples, *_ = ROWS[name]
    rng = np.random.default_rng(len(name))
    operands = [sample(rng).astype(dtype) for sample in samples]
    actual = np.asarray(function(*operands))
    assert actual.dtype == dtype
    with mp.workdps(40):
        exact = [truth(*(mp.mpf(float(v)) for v in row)) for row in zip(*operands, strict=True)]
    crosses_zero = min(exact) < 0 < max(exact) and name != "erf"
    found = []
    for a, e in zip(actual, exact, strict=True):
        size = float(abs(e))
        if size < np.finfo(dtype).tiny:
            continue
        unit = np.spacing(dtype(max(size, 1.0) if crosses_zero else size))
        with mp.workdps(40):
            found.append(float(abs(mp.mpf(float(a)) - e)) / float(unit))
    return np.array(found)


@pytest.mark.parametrize("name", ROWS)
def test_float32(name):
    worst = errors(name, np.float32).max()
    assert worst <= ROWS[name][3] * 1.01


@pytest.mark.parametrize("name", ROWS)
def test_float64(name):
    worst = errors(name, np.float64).max()
    assert worst <= ROWS[name][4]


@pytest.mark.parametrize("dtype", [bfloat16, np.dtype("float16")])
@pytest.mark.parametrize("name", ["erf", "erfc", "lgamma", "digamma", "i0e"])
def test_16_bits_are_float32_rounded_once(name, dtype):
    function, _, samples, *_ = ROWS[name]
    x = samples[0](np.random.default_rng(0)).clip(0.1, 8).astype(dtype)
    expected = np.asarray(function(x.astype(np.float32))).astype(dtype)
    np.testing.assert_array_equal(np.asarray(function(x)), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_inv_inverts_a_neighbour(dtype):
    """Its argument's square is rounded (so that normal numbers agree with jax's): the result is
    that for an argument off by as much, which near 1 is many units of the result."""
    rng = np.random.default_rng(0)
    lowest = -14 if dtype == np.float32 else -36  # where 1 is next
    x = np.concatenate([rng.uniform(-1, 1, 300), 1 - np.exp(rng.uniform(lowest, -1, 600))]).astype(
        dtype
    )
    with mp.workdps(30):
        back = np.array([float(mp.erf(mp.mpf(float(y))) - mp.mpf(float(v)))
                         for y, v in zip(np.asarray(f.erf_inv(x)), x, strict=True)])  # fmt: skip
    assert np.abs(back).max() <= 4 * np.finfo(dtype).eps
