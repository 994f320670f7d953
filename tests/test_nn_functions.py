"""`funcgrad.nn` against `jax.nn`: values, types, derivatives; attention; initial values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import funcgrad as fg
from funcgrad import nn, numpy as fnp, random
from funcgrad.core.dtypes import bfloat16

jax = pytest.importorskip("jax")
jnp, jnn = jax.numpy, jax.nn

ACTIVATIONS = """
relu relu6 identity leaky_relu hard_tanh hard_sigmoid hard_silu hard_swish sparse_plus
sparse_sigmoid sigmoid silu swish softplus log_sigmoid soft_sign squareplus mish elu celu selu gelu
tanh log1mexp
""".split()
RNG = np.random.default_rng(0)
INPUTS = {
    "float32": (RNG.normal(size=(3, 4)) * 4).astype(np.float32),
    "bfloat16": RNG.normal(size=(2, 6)).astype(bfloat16),
    "float16": RNG.normal(size=(5,)).astype(np.float16),
    "edges": np.array(
        [-np.inf, -100, -6, -3, -1, -0.0, 0, 1, 3, 6, 100, np.inf, np.nan, 1e-20], np.float32
    ),
    "empty": np.zeros((0, 4), np.float32),
}


def assert_same(actual, expected, units=8):
    """Types exactly; values within `units` of the last place of the larger of themselves and a
    tenth of the largest, since compositions round at every step."""
    for a, e in zip(fg.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.shape, str(a.dtype), a.weak_type) == (e.shape, str(e.dtype), e.weak_type)
        eps = float(fnp.finfo(a.dtype).eps) if fnp.issubdtype(a.dtype, np.inexact) else 0
        a, e = (
            np.asarray(x).astype(complex if x.dtype.kind == "c" else np.float64) for x in (a, e)
        )
        finite = np.isfinite(e)
        np.testing.assert_array_equal(a[~finite], e[~finite])
        scale = np.maximum(np.abs(e[finite]), np.abs(e[finite]).max(initial=0) / 10)
        assert (np.abs(a[finite] - e[finite]) <= units * eps * scale).all()


def compared(function, units=8):
    """The function of (nn library, numpy, library) in ours and in jax."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        actual = function(nn, fnp, fg)
    assert_same(actual, function(jnn, jnp, jax), units)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, kind):
    compared(lambda m, n, lib: getattr(m, name)(n.asarray(INPUTS[kind])))


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"identity"}))
def test_their_derivatives(name):
    """On ordinary numbers and at the bends, where jax's choice of slope is ours."""
    x = np.array([-100, -6, -3.3, -1, -0.3, 0, 0.2, 1, 2.5, 3, 6, 7, 100], np.float32)
    x = x[x > 0] if name == "log1mexp" else x
    compared(lambda m, n, lib: lib.vmap(lib.grad(getattr(m, name)))(n.asarray(x)), units=32)


def test_relu():
    """D39: 0 has slope 0, NaN stays, integers stay integers."""
    assert fg.grad(nn.relu)(0.0) == 0 and fg.grad(fg.grad(nn.relu))(1.0) == 0
    assert np.isnan(nn.relu(np.nan)) and np.isnan(nn.relu6(np.nan))
    compared(lambda m, n, lib: m.relu(n.arange(-3, 4)))
    compared(lambda m, n, lib: m.relu(2.0))


def test_other_parameters():
    x = INPUTS["float32"]
    compared(lambda m, n, lib: m.leaky_relu(n.asarray(x), 0.3))
    compared(lambda m, n, lib: m.elu(n.asarray(x), 0.3))
    compared(lambda m, n, lib: m.celu(n.asarray(x), 0.3))
    compared(lambda m, n, lib: m.squareplus(n.asarray(x), 2.0))
    compared(lambda m, n, lib: m.gelu(n.asarray(x), approximate=False))
    compared(lambda m, n, lib: m.gelu(n.asarray(INPUTS["bfloat16"]), approximate=False))
    compared(lambda m, n, lib: m.glu(n.asarray(x)))
    compared(lambda m, n, lib: m.glu(n.asarray(x[:2]), 0))


def test_log1mexp_has_a_finite_derivative_everywhere():
    """Both branches of a selection are computed: neither may be NaN where the other is taken."""
    slopes = fg.vmap(fg.grad(nn.log1mexp))(fnp.array([1e-30, 1e-3, 0.69, 0.7, 50, 200.0]))
    assert np.isfinite(slopes).all()


# ---- sums of exponentials ------------------------------------------------------------------------

X = INPUTS["float32"]
WHERE = np.array([[1, 0, 1, 1], [0, 1, 1, 1], [1, 1, 0, 1]], bool)
AXES = (None, 0, -1, (0, 1))


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
def test_logsumexp(axis, keepdims):
    def every_form(m, n, lib):
        x, kept = n.asarray(X), dict(axis=axis, keepdims=keepdims)
        return [
            m.logsumexp(x, **kept),
            m.logsumexp(x, where=n.asarray(WHERE), **kept),
            m.logsumexp(x, b=x, **kept),
            m.logsumexp(x, b=x, return_sign=True, **kept),
            m.logsumexp(x, b=2, **kept),
            m.logmeanexp(x, **kept),
            m.logmeanexp(x, where=n.asarray(WHERE), **kept),
        ]

    compared(every_form, units=32)


def test_logsumexp_of_extremes():
    """D39: all -inf is -inf, with no warning."""
    for values in ([-np.inf] * 3, [1, np.inf], [-np.inf, 0], [np.nan, 1], [1000, 1000], []):
        compared(lambda m, n, lib, v=values: m.logsumexp(n.array(v, "float32")))
    compared(lambda m, n, lib: m.logsumexp(n.array([1 + 2j, 3, -1j])))
    compared(lambda m, n, lib: m.logsumexp(n.arange(3)))
    compared(lambda m, n, lib: lib.grad(m.logsumexp)(n.array([-n.inf, 0.0, 1.0])))


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "standardize"])
@pytest.mark.parametrize("axis", [-1, 0, (0, 1)])
def test_softmax_and_its_relatives(name, axis):
    compared(lambda m, n, lib: getattr(m, name)(n.asarray(X), axis), units=32)
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    compared(
        lambda m, n, lib: lib.grad(lambda x: (getattr(m, name)(x, axis) * weights).sum())(
            n.asarray(X)
        ),
        units=128,
    )
    if name != "standardize":
        compared(
            lambda m, n, lib: getattr(m, name)(n.asarray(X), axis, where=n.asarray(WHERE)), units=32
        )


def test_softmax_of_extremes():
    for values in ([1e4, 0, -1e4], [-np.inf, 0, 1], [np.nan, 0, 0], [3e38, -3e38, 0]):
        for name in ("softmax", "log_softmax"):
            compared(lambda m, n, lib, v=values, f=name: getattr(m, f)(n.array(v, "float32")))
    compared(lambda m, n, lib: m.softmax(n.asarray(INPUTS["bfloat16"])))
    compared(
        lambda m, n, lib: lib.hessian(lambda x: m.log_softmax(x)[0])(n.asarray(X[0])), units=32
    )


def test_standardize_forms():
    compared(lambda m, n, lib: m.standardize(n.asarray(X), algorithm="stable"), units=16)
    compared(lambda m, n, lib: m.standardize(n.asarray(X), mean=1.0, variance=2.0, epsilon=0.1))
    compared(lambda m, n, lib: m.standardize(n.asarray(X), where=n.asarray(WHERE)), units=64)


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_one_hot(axis):
    compared(lambda m, n, lib: m.one_hot(n.array([0, 2, 5, -1]), 4, axis=axis))
    compared(lambda m, n, lib: m.one_hot(n.arange(6).reshape(2, 3) % 4, 4, dtype="int8", axis=axis))


def test_one_hot_of_a_scalar():
    compared(lambda m, n, lib: m.one_hot(1, 3))
    compared(lambda m, n, lib: m.one_hot(n.array(1), 3, dtype=bool))
    compared(lambda m, n, lib: lib.jit(lambda x: m.one_hot(x, 3))(n.array([2, 0])))


# ---- attention -----------------------------------------------------------------------------------

B, T, S, N, K, H = 2, 5, 6, 4, 2, 8
QUERY, KEY, VALUE, BIAS = (
    RNG.normal(size=shape).astype(np.float32)
    for shape in ((B, T, N, H), (B, S, K, H), (B, S, K, H), (B, N, T, S))
)
MASK = RNG.random((B, 1, T, S)) > 0.3
LENGTHS = {"key_value_seq_lengths": np.array([3, 6], np.int32)}
QUERY_LENGTHS = {"query_seq_lengths": np.array([5, 2], np.int32)}
FORMS = {
    "plain": {},
    "bias": {"bias": BIAS},
    "bias for all heads": {"bias": BIAS[:1, :1]},
    "mask": {"mask": MASK},
    "mask per head": {"mask": np.broadcast_to(MASK, (B, N, T, S))},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "lengths": {**LENGTHS, **QUERY_LENGTHS, "is_causal": True},
    "key lengths": LENGTHS,
    "window": {"local_window_size": 2},
    "two-sided window": {"local_window_size": (1, 2), "mask": MASK},
    "residual": {"return_residual": True, "is_causal": True},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", FORMS)
def test_attention(form, dtype):
    def attend(m, n, lib):
        query, key, value = (n.asarray(x).astype(dtype) for x in (QUERY, KEY, VALUE))
        options = {
            k: n.asarray(v) if isinstance(v, np.ndarray) else v for k, v in FORMS[form].items()
        }
        return m.dot_product_attention(query, key, value, **options)

    compared(attend, units=32 if dtype == "float32" else 8)


def test_attention_of_one_sequence_and_its_gradient():
    compared(
        lambda m, n, lib: m.dot_product_attention(*map(n.asarray, (QUERY[0], KEY[0], VALUE[0]))), 32
    )
    compared(
        lambda m, n, lib: lib.grad(
            lambda q: m.dot_product_attention(
                q, n.asarray(KEY), n.asarray(VALUE), is_causal=True
            ).sum()
        )(n.asarray(QUERY)),
        units=256,
    )


# ---- initial values ------------------------------------------------------------------------------

FAMILY = "glorot_uniform glorot_normal lecun_uniform lecun_normal he_uniform he_normal".split()
MAKERS = {
    **{name: lambda m, f=name: getattr(m, f)() for name in FAMILY},
    "xavier_uniform": lambda m: m.xavier_uniform(),
    "xavier_normal": lambda m: m.xavier_normal(),
    "kaiming_uniform": lambda m: m.kaiming_uniform(),
    "kaiming_normal": lambda m: m.kaiming_normal(in_axis=0, out_axis=1),
    "uniform": lambda m: m.uniform(0.5),
    "normal": lambda m: m.normal(),
    "truncated_normal": lambda m: m.truncated_normal(2.0, lower=-1.0),
    "zeros": lambda m: m.zeros,
    "ones": lambda m: m.ones,
    "constant": lambda m: m.constant(3),
    "fan_out": lambda m: m.variance_scaling(1.5, "fan_out", "normal"),
    "fan_geo_avg": lambda m: m.variance_scaling(1.5, "fan_geo_avg", "truncated_normal"),
    "several axes": lambda m: m.variance_scaling(
        1.5, "fan_in", "normal", in_axis=(0, 1), out_axis=-1
    ),
    "batch": lambda m: m.variance_scaling(1.5, "fan_in", "normal", in_axis=1, batch_axis=0),
    "orthogonal": lambda m: m.orthogonal(),
    "orthogonal columns": lambda m: m.orthogonal(2.0, column_axis=0),
    "delta_orthogonal": lambda m: m.delta_orthogonal(),
}


KERNEL = (3, 3, 2, 6)  # delta_orthogonal needs a convolution's shape


@pytest.mark.parametrize(
    "name, shape", [(n, s) for n in MAKERS for s in ((3, 4), KERNEL)[n == "delta_orthogonal" :]]
)
def test_initial_values_are_jax_s(name, shape):
    make = MAKERS[name]
    for dtype in (None, "float32", "complex64", "bfloat16"):
        if dtype == "bfloat16" and "orthogonal" in name:
            continue  # neither library factors 16-bit matrices
        if dtype == "complex64" and name in ("uniform", "truncated_normal"):
            continue  # not defined for complex numbers
        actual = make(nn.initializers)(random.key(1), shape, dtype)
        expected = make(jnn.initializers)(jax.random.key(1), shape, dtype)
        assert (actual.shape, str(actual.dtype)) == (expected.shape, str(expected.dtype))
        tolerance = 2e-2 if dtype == "bfloat16" else 2e-6
        actual, expected = (np.asarray(x).astype(np.complex64) for x in (actual, expected))
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("shape", [(1000, 1000), (5, 5, 160, 250)], ids=str)
def test_variances_are_as_documented(name, shape):
    """D17, D45: 2 / (in + out), 2 / in, 1 / in, within 2 % over a million draws; normal ones lie
    within two of the standard deviations they were cut at."""
    window = int(np.prod(shape[:-2]))
    fan_in, fan_out = window * shape[-2], window * shape[-1]
    variance = {"glorot": 2 / (fan_in + fan_out), "he": 2 / fan_in, "lecun": 1 / fan_in}[
        name.split("_")[0]
    ]
    draws = np.asarray(getattr(nn.initializers, name)()(random.key(0), shape))
    np.testing.assert_allclose(draws.var(), variance, rtol=0.02)
    bound = 2 / 0.8796256610342398 if name.endswith("normal") else 3**0.5
    assert np.abs(draws).max() <= bound * variance**0.5 * (1 + 1e-6)


def test_nothing_to_initialise():
    assert nn.initializers.he_normal()(random.key(0), (0, 3)).shape == (0, 3)
    assert nn.initializers.orthogonal()(random.key(0), (3, 0)).shape == (3, 0)


ZERO = random.key(0)
ERRORS = [
    (lambda: nn.glu(fnp.ones(3)), "even size"),
    (lambda: nn.one_hot(fnp.arange(3), 3, axis=4), "axis 4"),
    (lambda: nn.standardize(fnp.ones(3), algorithm="x"), "algorithm"),
    (lambda: nn.dot_product_attention(QUERY, KEY, VALUE[:1]), "value must have shape"),
    (
        lambda: nn.dot_product_attention(QUERY, KEY.astype("float16"), VALUE),
        "value must be float16",
    ),
    (lambda: nn.dot_product_attention(QUERY[:, :, :3], KEY, VALUE), "multiple"),
    (lambda: nn.dot_product_attention(QUERY, KEY, VALUE, mask=BIAS), "mask must be bool"),
    (lambda: nn.initializers.variance_scaling(1.0, "x", "normal"), "mode is one of"),
    (lambda: nn.initializers.variance_scaling(1.0, "fan_in", "x"), "distribution is one of"),
    (lambda: nn.initializers.he_normal()(ZERO, (3,)), "rank 2 or more"),
    (lambda: nn.initializers.orthogonal()(ZERO, (3,)), "rank 2 or more"),
    (lambda: nn.initializers.delta_orthogonal()(ZERO, (3, 3)), "rank 3, 4 or 5"),
    (lambda: nn.initializers.delta_orthogonal()(ZERO, (3, 4, 3)), "as many outputs"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number):
    call, message = ERRORS[number]
    with pytest.raises(ValueError, match=message):
        call()


def test_what_one_kernel_costs():
    """The rectifier is one operation forward, and keeps its result only."""
    program = str(fg.make_jaxpr(nn.relu)(fnp.ones(3)))
    assert program.count("=") == 1 and "relu" in program
