"""Random numbers against jax: the same keys give the same numbers.

Exact are keys, split, fold_in, bits, randint, permutation, choice without probabilities, uniform on
[0, 1), bernoulli and rademacher. Other draws pass through functions that two libraries round
differently: they agree to 4 units in the last place, or of 1 where a formula subtracts equals, or
where it multiplies the difference (noted in the table).
"""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest

import funcgrad as fg
from funcgrad import numpy as fnp, random
from funcgrad.core import dtypes

jax = pytest.importorskip("jax")
jnp, jr = jax.numpy, jax.random

SHAPE = (40, 5)
FLOATS = ("float32", "bfloat16", "float16")
SEED = 7


def both(draw, raw=False):
    """The draw from ours and from jax, with the key of the same seed."""
    ours, theirs = (m.PRNGKey(SEED) if raw else m.key(SEED) for m in (random, jr))
    return draw(random, fnp, ours), draw(jr, jnp, theirs)


def assert_same_type(actual, expected):
    assert actual.shape == expected.shape
    assert str(actual.dtype) == str(expected.dtype)
    assert actual.weak_type == expected.weak_type


def assert_exact(draw, raw=False):
    actual, expected = both(draw, raw)
    assert_same_type(actual, expected)
    np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected))


def assert_close(draw, units=4):
    """Within `units` of the last place of the larger of the value and 1."""
    actual, expected = both(draw)
    assert_same_type(actual, expected)
    eps = float(fnp.finfo(actual.dtype).eps)
    a, e = (
        np.asarray(x).astype(np.complex128 if x.dtype.kind == "c" else np.float64)
        for x in (actual, expected)
    )
    finite = np.isfinite(e)
    np.testing.assert_array_equal(np.isfinite(a), finite)
    bound = units * eps * np.maximum(np.abs(e), 1)
    error = np.abs(a[finite] - e[finite]) / bound[finite]
    assert error.max(initial=0) <= 1
    np.testing.assert_array_equal(a[~finite], e[~finite])


# ---- keys
# ------------------------------------------------------------------------------------------

SEEDS = [0, 1, -1, 2**31 - 1, 2**31, 2**40 + 3, True, np.int64(5), np.uint8(200), np.int8(-3)]


@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_keys(seed):
    expected = np.asarray(jr.PRNGKey(seed))
    np.testing.assert_array_equal(random.PRNGKey(seed), expected)
    np.testing.assert_array_equal(random.key_data(random.key(seed)), expected)


@pytest.mark.parametrize("seed", [2**40 + 3, -1, -(2**40)])
def test_keys_of_64_bits(seed):
    with jax.enable_x64(True):
        expected = np.asarray(jr.PRNGKey(seed))
    with fg.config.override(enable_x64=True):
        np.testing.assert_array_equal(random.PRNGKey(seed), expected)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("num", [2, 5, 0, (2, 3)])
def test_split(num, raw):
    assert_exact(lambda r, n, key: r.key_data(r.split(key, num)), raw)
    assert_exact(lambda r, n, key: r.uniform(r.split(key)[1]), raw)


@pytest.mark.parametrize("data", [0, 7, 2**32 - 1])
@pytest.mark.parametrize("raw", [False, True])
def test_fold_in(data, raw):
    assert_exact(lambda r, n, key: r.key_data(r.fold_in(key, data)), raw)


def test_key_arrays_are_arrays():
    keys = random.split(random.key(0), 4)
    assert (
        keys.shape == (4,)
        and str(keys.dtype) == "key<fry>"
        and dtypes.issubdtype(keys.dtype, dtypes.prng_key)
    )
    assert random.key_impl(keys) == jr.key_impl(jr.key(0))
    words = np.asarray(random.key_data(keys))
    np.testing.assert_array_equal(random.key_data(keys[1:3]), words[1:3])
    np.testing.assert_array_equal(random.key_data(keys.reshape(2, 2)), words.reshape(2, 2, 2))
    np.testing.assert_array_equal(random.key_data(fnp.stack([keys[0], keys[3]])), words[[0, 3]])
    np.testing.assert_array_equal(random.key_data(random.clone(keys)), words)
    np.testing.assert_array_equal(
        random.key_data(random.wrap_key_data(random.key_data(keys))), words
    )
    first, *_ = keys
    np.testing.assert_array_equal(random.key_data(first), words[0])


# ---- what is exact
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 7), 4, [2, 3]], ids=str)
def test_uniform_on_the_unit_interval(shape, raw):
    for dtype in (None, *FLOATS):
        assert_exact(lambda r, n, key, d=dtype: r.uniform(key, shape, d), raw)


INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32")
RANGES = {
    "small": lambda n: (3, 60),
    "beyond narrow types": lambda n: (-5, 1000),
    "empty": lambda n: (5, 5),
    "reversed": lambda n: (5, 3),
    "arrays": lambda n: (n.arange(5), n.asarray(100)),
    "floats": lambda n: (0.7, 9.3),
    "all of int32": lambda n: (-(2**31), 2**31 - 1),
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("bounds", RANGES.values(), ids=RANGES)
def test_randint(dtype, bounds):
    assert_exact(lambda r, n, key: r.randint(key, SHAPE, *bounds(n), dtype))


def test_randint_takes_bounds_beyond_the_default_width():
    """Where jax refuses a Python integer that does not fit in int32."""
    every_bit = random.randint(random.key(1), (1000,), 0, 2**32, "uint32")
    assert np.asarray(every_bit).max() > 2**31
    wide = random.randint(random.key(1), (1000,), 0, 2**40, "int64")
    assert wide.dtype == np.int64 and np.asarray(wide).max() > 2**38


EXACT = {
    "bits": lambda r, n, key: r.bits(key, SHAPE),
    "bits 8": lambda r, n, key: r.bits(key, SHAPE, "uint8"),
    "bernoulli": lambda r, n, key: r.bernoulli(key, 0.3, SHAPE),
    "bernoulli array": lambda r, n, key: r.bernoulli(key, n.linspace(0, 1, 9)),
    "bernoulli high": lambda r, n, key: r.bernoulli(key, 0.3, SHAPE, mode="high"),
    "rademacher": lambda r, n, key: r.rademacher(key, SHAPE),
    "rademacher float": lambda r, n, key: r.rademacher(key, SHAPE, "float32"),
    "permutation": lambda r, n, key: r.permutation(key, 10),
    "permutation of none": lambda r, n, key: r.permutation(key, 0),
    "permutation, two rounds": lambda r, n, key: r.permutation(key, 3000),
    "permutation of rows": lambda r, n, key: r.permutation(key, n.arange(12.0).reshape(3, 4)),
    "permutation of columns": lambda r, n, key: r.permutation(key, n.arange(12).reshape(3, 4), -1),
    "permutation independent": lambda r, n, key: r.permutation(
        key, n.arange(12).reshape(3, 4), 1, True
    ),
    "choice": lambda r, n, key: r.choice(key, 7, SHAPE),
    "choice one": lambda r, n, key: r.choice(key, 7),
    "choice distinct": lambda r, n, key: r.choice(key, 300, SHAPE, replace=False),
    "choice p": lambda r, n, key: r.choice(key, 3, SHAPE, p=n.array([0.1, 0.7, 0.2])),
    "choice int p": lambda r, n, key: r.choice(key, 3, SHAPE, p=n.array([1, 1, 1])),
    "choice distinct p": lambda r, n, key: r.choice(
        key, 30, (5,), replace=False, p=n.arange(30) + 1.0
    ),
    "choice of rows": lambda r, n, key: r.choice(key, n.arange(60).reshape(2, 30), (2, 3), axis=1),
    "choice of distinct rows": lambda r, n, key: r.choice(
        key, n.arange(60).reshape(2, 30), (2, 3), False, axis=1
    ),
    "choice of rows p": lambda r, n, key: r.choice(
        key, n.arange(60).reshape(2, 30), (4,), p=n.arange(30.0), axis=1
    ),
    "choice of none": lambda r, n, key: r.choice(key, n.arange(5), (0,)),
    "geometric": lambda r, n, key: r.geometric(key, 0.3, SHAPE),
    "geometric int8": lambda r, n, key: r.geometric(key, n.array([0.1, 0.5, 1.0]), None, "int8"),
    "poisson": lambda r, n, key: r.poisson(key, n.array([0, 1, 9.99, 10, 100, 1e4, n.nan])),
    "poisson uint8": lambda r, n, key: r.poisson(key, 3.0, (8,), "uint8"),
    "binomial": lambda r, n, key: r.binomial(key, 10.0, 0.3, (8,)),
    "binomial mixed": lambda r, n, key: r.binomial(
        key,
        n.array([5, -1, n.nan, n.inf, 50, 1000.0]),
        n.array([n.nan, 0.5, 0.3, 0.3, -0.1, 0.999]),
    ),
    "multinomial": lambda r, n, key: r.multinomial(key, 20, n.array([0.2, 0.3, 0.5])),
    "multinomial rows": lambda r, n, key: r.multinomial(
        key, n.array([20.0, 100.0]), n.array([[0.2, 0.3, 0.5], [0.7, 0.1, 0.2]])
    ),
}


@pytest.mark.parametrize("draw", EXACT.values(), ids=EXACT)
def test_exact(draw):
    assert_exact(draw)


LOGITS = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize(
    "prefix, replace", [(None, True), ((), True), ((3, 2), True), ((3,), False)]
)
def test_categorical(axis, prefix, replace):
    batch = tuple(np.delete(LOGITS.shape, axis).tolist())
    shape = None if prefix is None else (*prefix, *batch)
    assert_exact(lambda r, n, key: r.categorical(key, n.asarray(LOGITS), axis, shape, replace))


def test_categorical_broadcasts_and_lists():
    assert_exact(lambda r, n, key: r.categorical(key, n.asarray(LOGITS[:1]), -1, (7, 4, 5)))
    assert_exact(lambda r, n, key: r.categorical(key, n.zeros((2, 3)), mode="high"))


# ---- what passes through functions
# --------------------------------------------------------------------

CLOSE = {
    "uniform": (lambda r, n, key, d: r.uniform(key, SHAPE, d, -3, 5), 4),
    "uniform arrays": (lambda r, n, key, d: r.uniform(key, SHAPE, d, n.zeros(5), n.arange(5)), 4),
    "normal": (lambda r, n, key, d: r.normal(key, SHAPE, d), 4),
    "truncated_normal": (lambda r, n, key, d: r.truncated_normal(key, -2, n.ones(5), SHAPE, d), 4),
    "exponential": (lambda r, n, key, d: r.exponential(key, SHAPE, d), 4),
    "laplace": (lambda r, n, key, d: r.laplace(key, SHAPE, d), 4),
    "logistic": (lambda r, n, key, d: r.logistic(key, SHAPE, d), 4),
    "cauchy": (lambda r, n, key, d: r.cauchy(key, SHAPE, d), 4),
    "gumbel": (lambda r, n, key, d: r.gumbel(key, SHAPE, d), 4),
    "gumbel high": (lambda r, n, key, d: r.gumbel(key, SHAPE, d, mode="high"), 4),
    "gumbel highest": (lambda r, n, key, d: r.gumbel(key, SHAPE, d, mode="highest"), 4),
    "maxwell": (lambda r, n, key, d: r.maxwell(key, SHAPE, d), 4),
    "double_sided_maxwell": (
        lambda r, n, key, d: r.double_sided_maxwell(key, 2.0, 3.0, SHAPE, d),
        8,
    ),
    "weibull_min": (lambda r, n, key, d: r.weibull_min(key, 2.0, 3.0, SHAPE, d), 8),
    "pareto": (lambda r, n, key, d: r.pareto(key, 3.0, SHAPE, d), 4),
    "rayleigh": (lambda r, n, key, d: r.rayleigh(key, n.asarray(2.0, d), SHAPE, d), 4),
    "lognormal": (lambda r, n, key, d: r.lognormal(key, 0.5, SHAPE, d), 8),
    "triangular": (lambda r, n, key, d: r.triangular(key, 0.0, 0.3, 1.0, SHAPE, d), 4),
    # rejection cubes a number that may be near 0, and the others are made of it
    "gamma": (lambda r, n, key, d: r.gamma(key, 2.5, SHAPE, d), 8),
    "gamma small": (lambda r, n, key, d: r.gamma(key, 0.2, SHAPE, d), 8),
    "loggamma": (lambda r, n, key, d: r.loggamma(key, 0.2, SHAPE, d), 8),
    "chisquare": (lambda r, n, key, d: r.chisquare(key, 4.0, SHAPE, d), 16),
    "beta": (lambda r, n, key, d: r.beta(key, 0.5, 2.0, SHAPE, d), 16),
    "t": (lambda r, n, key, d: r.t(key, 3.0, SHAPE, d), 16),
    "dirichlet": (lambda r, n, key, d: r.dirichlet(key, n.array([0.3, 1, 2], d), SHAPE, d), 16),
    "generalized_normal": (lambda r, n, key, d: r.generalized_normal(key, 1.5, SHAPE, d), 8),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CLOSE)
def test_close(name, dtype):
    draw, units = CLOSE[name]
    # in 16 bits jax may keep float32 between the steps of a formula, where ours round at each
    assert_close(
        lambda r, n, key: draw(r, n, key, dtype), units if dtype == "float32" else 3 * units
    )


WIDE = {
    "normal": lambda r, n, key: r.normal(key, SHAPE, "float64"),
    "uniform": lambda r, n, key: r.uniform(key, SHAPE, "float64", -1, 1),
    "gamma": lambda r, n, key: r.gamma(key, 2.5, SHAPE, "float64"),
    "complex": lambda r, n, key: r.normal(key, SHAPE, "complex128"),
    "gumbel": lambda r, n, key: r.gumbel(key, SHAPE, "float64"),
}


@pytest.mark.parametrize("draw", WIDE.values(), ids=WIDE)
def test_64_bits_need_no_flag_here(draw):
    with jax.enable_x64(True):
        expected = np.asarray(draw(jr, jnp, jr.key(SEED)))
    actual = np.asarray(draw(random, fnp, random.key(SEED)))
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=4e-15, atol=2e-15)


ONCE = {
    # formulas that subtract large terms, or divide by gamma numbers
    "f": (lambda r, n, key: r.f(key, 3.0, 4.0, SHAPE), 32),
    "wald": (lambda r, n, key: r.wald(key, n.asarray(2.0), SHAPE), 32),
    "ball": (lambda r, n, key: r.ball(key, 3, 2, SHAPE), 16),
    "complex normal": (lambda r, n, key: r.normal(key, SHAPE, "complex64"), 4),
    "complex lognormal": (lambda r, n, key: r.lognormal(key, 0.3, SHAPE, "complex64"), 8),
    "orthogonal": (lambda r, n, key: r.orthogonal(key, 4, (2,)), 32),
    "orthogonal tall": (lambda r, n, key: r.orthogonal(key, 4, m=2), 32),
    "orthogonal wide": (lambda r, n, key: r.orthogonal(key, 2, m=4), 32),
    "multivariate_normal": (
        lambda r, n, key: r.multivariate_normal(key, n.zeros(2), n.array([[2, 0.5], [0.5, 1]])),
        16,
    ),
    "multivariate_normal shape": (
        lambda r, n, key: r.multivariate_normal(key, n.ones((3, 2)), n.eye(2), (4, 3)),
        16,
    ),
    "parameters' shape": (lambda r, n, key: r.gamma(key, n.array([0.3, 1, 5])), 8),
    "integer parameters": (lambda r, n, key: r.chisquare(key, n.array([1, 2, 5])), 16),
}


@pytest.mark.parametrize("name", ONCE)
def test_close_once(name):
    assert_close(*ONCE[name])


@pytest.mark.parametrize("method", ["cholesky", "eigh", "svd"])
def test_multivariate_normal_has_its_covariance(method):
    cov = np.array([[2.0, 0.5], [0.5, 1.0]], np.float32)
    draws = np.asarray(
        random.multivariate_normal(
            random.key(0), np.zeros(2, np.float32), cov, (100_000,), method=method
        )
    )
    np.testing.assert_allclose(np.cov(draws.T), cov, atol=0.03)  # four standard errors


def test_truncated_normal_is_inside_its_bounds():
    """D45: every draw lies within, and the variance is that of the truncated distribution."""
    draws = np.asarray(random.truncated_normal(random.key(0), -2, 2, (1_000_000,)))
    assert draws.min() > -2 and draws.max() < 2
    np.testing.assert_allclose(draws.std(), 0.8796256610342398, rtol=3e-3)


# ---- under transformations
# ----------------------------------------------------------------------------

PROGRAMS = {
    "normal": lambda r, key: r.normal(key, (3,)),
    "uniform": lambda r, key: r.uniform(key, (3,)),
    "gamma": lambda r, key: r.gamma(key, 2.0, (3,)),
    "permutation": lambda r, key: r.permutation(key, 6),
    "randint": lambda r, key: r.randint(key, (2,), 0, 9),
    "split": lambda r, key: r.uniform(r.split(key)[1]),
    "fold_in": lambda r, key: r.uniform(r.fold_in(key, 5)),
    "poisson": lambda r, key: r.poisson(key, 4.0, (2,)),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_jit_and_vmap(program):
    def transformed(lib, r):
        keys = r.split(r.key(SEED), 4)
        return lib.jit(lambda k: program(r, k))(keys[0]), lib.vmap(lambda k: program(r, k))(keys)

    for actual, expected in zip(transformed(fg, random), transformed(jax, jr), strict=True):
        assert_same_type(actual, expected)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
    one, rows = transformed(fg, random)
    again = fg.jit(fg.vmap(lambda k: program(random, k)))(random.split(random.key(SEED), 4))
    # Floats that are made by functions differ by 4 units in the last place between engines.
    np.testing.assert_allclose(again, rows, rtol=5e-7)


def test_keys_are_carried_by_loops():
    def program(lib, r):
        def step(key, _):
            key, subkey = r.split(key)
            return key, r.normal(subkey, (2,))

        return lib.lax.scan(step, r.key(SEED), None, length=3)[1]

    np.testing.assert_allclose(program(fg, random), program(jax, jr), rtol=1e-6)


GRADIENTS = {
    "uniform": lambda r, n, key, a: r.uniform(key, (4,), minval=a).sum(),
    "gamma": lambda r, n, key, a: r.gamma(key, a, (4,)).sum(),
    "loggamma": lambda r, n, key, a: r.loggamma(key, a, (4,)).sum(),
    "beta": lambda r, n, key, a: r.beta(key, a, 2.0, (4,)).sum(),
    "t": lambda r, n, key, a: r.t(key, 2 + a, (4,)).sum(),
    "dirichlet": lambda r, n, key, a: r.dirichlet(key, a * n.ones(3))[0],
    "truncated_normal": lambda r, n, key, a: r.truncated_normal(key, -a, 2.0),
    "multivariate_normal": lambda r, n, key, a: r.multivariate_normal(
        key, n.zeros(2), a * n.eye(2)
    ).sum(),
    "lognormal": lambda r, n, key, a: r.lognormal(key, a, (4,)).sum(),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    function = GRADIENTS[name]
    actual = fg.grad(lambda a: function(random, fnp, random.key(SEED), a))(0.7)
    expected = jax.grad(lambda a: function(jr, jnp, jr.key(SEED), a))(0.7)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)


# ---- errors
# ---------------------------------------------------------------------------------------------

KEY = random.key(0)
ERRORS = [
    (lambda: random.normal(0), TypeError, "normal: needs a key"),
    (lambda: random.normal(fnp.ones(2)), TypeError, "uint32"),
    (lambda: random.normal(random.split(KEY)), ValueError, "single key.*vmap"),
    (lambda: random.PRNGKey(1.5), TypeError, "integer seed"),
    (lambda: random.PRNGKey(2**70), OverflowError, "64 bits"),
    (lambda: random.key(fnp.arange(2)), TypeError, "scalar seed.*vmap"),
    (lambda: random.key(KEY), TypeError, "got a key"),
    (lambda: random.key(0, impl="rbg"), ValueError, "threefry2x32.*rbg"),
    (lambda: random.fold_in(KEY, fnp.ones(2)), TypeError, "scalar.*vmap"),
    (lambda: random.uniform(KEY, (), "int32"), ValueError, "uniform: dtype must be floating"),
    (lambda: random.uniform(KEY, (2,), minval=fnp.zeros(3)), ValueError, "minval"),
    (lambda: random.uniform(KEY, 1.5), TypeError, "uniform: a size must be an integer"),
    (lambda: random.bits(KEY, (), "int32"), ValueError, "unsigned"),
    (lambda: random.randint(KEY, (), 0, 1, "float32"), TypeError, "integer type"),
    (lambda: random.gamma(KEY, fnp.ones(3), (2,)), ValueError, "gamma"),
    (lambda: random.beta(KEY, fnp.ones(3, "float64"), 1.0), TypeError, "float64"),
    (lambda: random.bernoulli(KEY, 1), TypeError, "floating"),
    (lambda: random.bernoulli(KEY, mode="x"), ValueError, "mode"),
    (lambda: random.gumbel(KEY, mode="x"), ValueError, "mode"),
    (lambda: random.permutation(KEY, 1.5), TypeError, "integer or an array"),
    (lambda: random.permutation(KEY, fnp.ones(3), 2), ValueError, "axis 2"),
    (lambda: random.choice(KEY, 3, 5), TypeError, "tuple"),
    (lambda: random.choice(KEY, 3, (5,), replace=False), ValueError, "5 of 3"),
    (lambda: random.choice(KEY, 0, (5,)), ValueError, "nothing to choose"),
    (lambda: random.choice(KEY, 3, p=fnp.ones(2)), ValueError, "probability for each"),
    (lambda: random.categorical(KEY, fnp.arange(3)), TypeError, "logits must be floating"),
    (lambda: random.categorical(KEY, fnp.ones((2, 3)), shape=(4,)), ValueError, r"end in \(2,\)"),
    (lambda: random.categorical(KEY, fnp.ones(3), shape=(4,), replace=False), ValueError, "4 of 3"),
    (lambda: random.multivariate_normal(KEY, fnp.ones(3), fnp.eye(2)), ValueError, "covariance"),
    (
        lambda: random.multivariate_normal(KEY, fnp.ones(2), fnp.eye(2), method="x"),
        ValueError,
        "method",
    ),
    (lambda: random.dirichlet(KEY, 1.0), ValueError, "scalar"),
    (lambda: random.poisson(KEY, 1.0, (), "float32"), TypeError, "integer type"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number):
    call, error, message = ERRORS[number]
    with pytest.raises(error, match=message):
        call()


def test_every_sampler_is_in_a_table():
    import inspect

    text = inspect.getsource(__import__(__name__, fromlist=["_"]))
    missing = [
        name
        for name in random.__all__
        if f"r.{name}(" not in text and f"random.{name}(" not in text
    ]
    assert not missing


def test_streams_of_blocks_are_those_of_one():
    """A prefix of a longer draw: counters, not sequences, decide."""
    long = np.asarray(random.bits(KEY, (100_000,)))
    np.testing.assert_array_equal(random.bits(KEY, (1000,)), long[:1000])
    assert math.isclose(operator.truediv(int((long >> 31).sum()), long.size), 0.5, abs_tol=0.01)
