"""Keys and bits: the hash against its published vectors and jax, and the laws for operands that are
keys.
"""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
from funcgrad import numpy as fnp, random
from funcgrad.core.primitive import Primitive
from funcgrad.primitives import bits as b, threefry
from funcgrad.primitives.random_gamma import random_gamma, random_gamma_p
from funcgrad.primitives.special.functions import random_gamma_grad

# Random123's known answers for threefry2x32 with 20 rounds: key, counter, result
VECTORS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize("key, counter, expected", VECTORS)
def test_the_hash_gives_its_known_answers(key, counter, expected):
    assert threefry.hash_integers(*key, *counter) == expected
    many = [np.full(50, word, np.uint32) for word in (*key, *counter)]
    for column, word in zip(b.threefry2x32(*many), expected, strict=True):
        assert (np.asarray(column) == word).all()


class Lane:
    """The kernel operations that the scalar rule uses, on Python integers of 32 bits."""

    const = staticmethod(lambda value, dtype: value)
    add = staticmethod(lambda x, y: (x + y) & threefry.MASK)
    xor = staticmethod(lambda x, y: x ^ y)
    or_ = staticmethod(lambda x, y: x | y)
    shl = staticmethod(lambda x, n: (x << n) & threefry.MASK)
    shr_logical = staticmethod(lambda x, n: x >> n)


@pytest.mark.parametrize("key, counter, expected", VECTORS)
def test_one_lane_of_a_kernel_computes_the_hash(key, counter, expected):
    form = b.threefry2x32_p.loops(*[None] * 4)
    assert form.scalar(Lane, *key, *counter) == expected


@pytest.mark.parametrize("count", [0, 1, threefry.FEW, threefry.FEW + 1, threefry.BLOCK + 5])
def test_blocks_do_not_show(count):
    """Python's integers, one array and several blocks give the same words."""
    key = np.array([[3, 4], [5, 6]], np.uint32)
    words = threefry.random_words(np, key, 32, (count,))
    assert words.shape == (2, count)
    for row, (key0, key1) in enumerate(key.tolist()):
        for i in {0, 1, count // 2, count - 1} & set(range(count)):
            high, low = threefry.hash_integers(key0, key1, 0, i)
            assert words[row, i] == high ^ low


@pytest.mark.parametrize("width", [8, 16, 32, 64])
@pytest.mark.parametrize("shape", [(), (0,), (5, 3), (7, 0, 2), (200, 300)])
def test_bits_are_jax_s(width, shape):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        expected = np.asarray(jax.random.bits(jax.random.key(42), shape, f"uint{width}"))
    actual = random.bits(random.key(42), shape, f"uint{width}")
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def words_of(x):
    return np.asarray(random.key_data(x) if str(x.dtype).startswith("key") else x)


DATA = fnp.arange(3).astype("uint32")
ON_KEYS = {
    b.random_unwrap_p: lambda k: b.random_unwrap(k),
    b.random_clone_p: lambda k: b.random_clone(k),
    b.random_split_p: lambda k: b.random_split(k, shape=(2, 3)),
    b.random_bits_p: lambda k: b.random_bits(k, bit_width=32, shape=(2,)),
    b.random_fold_in_p: lambda k: b.random_fold_in(k, np.uint32(7)),
    random_gamma_p: lambda k: random_gamma(k, fnp.array([0.3, 2.0]), log_space=False),
    "log gamma": lambda k: random_gamma(k, fnp.array([0.3, 2.0]), log_space=True),
    "normal": lambda k: random.normal(k, (3,), "bfloat16"),
}


@pytest.mark.parametrize("function", ON_KEYS.values(), ids=map(str, ON_KEYS))
def test_jit_and_vmap_on_keys(function):
    keys = random.split(random.key(1), 4)
    rows = np.stack([words_of(function(k)) for k in keys])
    np.testing.assert_array_equal(words_of(fg.jit(function)(keys[2])), rows[2])
    np.testing.assert_array_equal(words_of(fg.vmap(function)(keys)), rows)
    np.testing.assert_array_equal(words_of(fg.jit(fg.vmap(function))(keys)), rows)
    square = fg.vmap(fg.vmap(function))(keys.reshape(2, 2))
    np.testing.assert_array_equal(words_of(square), rows.reshape(2, 2, *rows.shape[1:]))


@pytest.mark.parametrize("function", ON_KEYS.values(), ids=map(str, ON_KEYS))
def test_types_on_keys(function):
    key = random.key(1)
    assert fg.eval_shape(function, key).shape == function(key).shape
    assert fg.eval_shape(function, key).dtype == function(key).dtype


def test_fold_in_batches_over_either_operand():
    keys = random.split(random.key(1), 2)
    both = fg.vmap(fg.vmap(random.fold_in, (None, 0)), (0, None))(keys, DATA)
    other = fg.vmap(fg.vmap(random.fold_in, (0, None)), (None, 0))(keys, DATA)
    for i in range(2):
        for j in range(3):
            expected = words_of(random.fold_in(keys[i], j))
            np.testing.assert_array_equal(words_of(both)[i, j], expected)
            np.testing.assert_array_equal(words_of(other)[j, i], expected)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)], ids=str)
@pytest.mark.parametrize("of_keys, of_data", [((), (2,)), ((2,), ()), ((2, 2), ()), ((2,), (2,))])
def test_fold_in_of_lanes_with_dimensions_of_their_own(of_keys, of_data, axes):
    """One key a lane against several numbers, several keys against one number."""
    shapes = [(3, *s) if d == 0 else s for s, d in zip((of_keys, of_data), axes)]
    count = int(np.prod(shapes[0]))
    keys = random.split(random.key(7), count).reshape(shapes[0])
    data = fnp.arange(int(np.prod(shapes[1]))).astype("uint32").reshape(shapes[1])
    found = words_of(fg.vmap(b.random_fold_in, axes)(keys, data))
    for i in range(3):
        lane = [x[i] if d == 0 else x for x, d in zip((keys, data), axes)]
        np.testing.assert_array_equal(found[i], words_of(b.random_fold_in(*lane)))


def test_types_of_batches_of_keys_are_stated():
    keys = random.split(random.key(1), 6).reshape(2, 3)
    a = fnp.full((2, 3, 4), 0.7)
    for function, shape in (
        (lambda k: b.random_bits(k, bit_width=8, shape=(4, 5)), (2, 3, 4, 5)),
        (lambda k: b.random_split(k, shape=(4, 5)), (2, 3, 4, 5)),
        (lambda k: random_gamma(k, a, log_space=False), (2, 3, 4)),
        (lambda k: random_gamma(random.key_data(k), a, log_space=True), (2, 3, 4)),
    ):
        assert fg.eval_shape(function, keys).shape == shape == function(keys).shape


def test_gamma_numbers_are_these():
    """Sums over 2000 numbers for each parameter, as jax gives them: one other decision of the
    rejection moves them by far more than rounding does.
    """
    a = fnp.broadcast_to(fnp.array([0.1, 0.7, 1.0, 2.0, 30.0]), (2000, 5))
    numbers = random.gamma(random.key(11), a).astype("float64")
    sums = [188.44135, 1481.09672, 1985.34849, 4038.2926, 60067.1962]
    np.testing.assert_allclose(numbers.sum(0), sums, rtol=2e-7)
    logarithms = random.loggamma(random.key(11), a).astype("float64")
    sums = [-21637.93633, -2322.93185, -1185.28886, 850.69621, 6771.5283]
    np.testing.assert_allclose(logarithms.sum(0), sums, rtol=2e-7)


def test_gamma_numbers_batch_over_the_parameter():
    key, a = random.key(3), fnp.array([0.5, 2.0, 9.0])
    rows = np.stack([np.asarray(random.gamma(key, x, (2,))) for x in a])
    np.testing.assert_array_equal(fg.vmap(lambda x: random.gamma(key, x, (2,)))(a), rows)


@pytest.mark.parametrize("log_space", [False, True])
def test_gamma_numbers_move_with_their_parameter(log_space):
    """Implicit derivative: the quantile is held. Its own formula checks it, by differences."""
    scipy_special = pytest.importorskip("scipy.special")
    key, a, h = random.key(5), 1.7, 1e-6
    draw = lambda x: random_gamma(key, x, log_space=log_space)
    shape = fnp.full((20,), a, "float64")
    sample, slope = fg.jvp(draw, (shape,), (fnp.ones_like(shape),))
    quantile = scipy_special.gammainc(a, np.exp(sample) if log_space else np.asarray(sample))
    moved = [scipy_special.gammaincinv(a + d, quantile) for d in (h, -h)]
    up, down = (np.log(m) if log_space else m for m in moved)
    np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_logarithms_of_narrow_gamma_numbers_move_with_their_parameter(dtype):
    """As in float64, for the same uniform numbers: as far as those of float32 carry."""
    draw = lambda a: random_gamma(random.key(5), a, log_space=True)
    a = fnp.full((50,), 0.7, dtype)
    sample, slope = fg.jvp(draw, (a,), (fnp.ones_like(a),))
    assert slope.dtype == a.dtype
    number = fnp.exp(sample.astype("float64"))
    wide = random_gamma_grad(fnp.full((50,), 0.7, "float64"), number) / number
    np.testing.assert_allclose(slope.astype("float64"), wide, rtol=0.05)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_logarithms_of_gamma_numbers_below_all_floats_have_a_slope(dtype):
    """That of the smallest normal number x: P(a, x) is x**a / Gamma(a + 1), as a goes to 0, so that
    the logarithm moves by (digamma(a + 1) - log(x)) / a, where its quantile is held.
    """
    log_tiny = {"bfloat16": -87.5, "float16": -9.7, "float32": -87.34, "float64": -708.4}[dtype]
    a = fnp.full((50,), 1e-3, dtype)
    draw = lambda a: random_gamma(random.key(5), a, log_space=True)
    sample, slope = (x.astype("float64") for x in fg.jvp(draw, (a,), (fnp.ones_like(a),)))
    below = np.asarray(sample) < -750  # what float64 cannot hold
    assert below.sum() > 10
    wanted = (-0.5756 - log_tiny) / float(a[0])
    np.testing.assert_allclose(np.asarray(slope)[below], wanted, rtol=0.02)


def test_keys_have_no_tangents_and_no_arithmetic():
    key = random.key(0)
    with pytest.raises(TypeError, match="key"):
        fnp.add(key, 1)
    primal, tangent = fg.jvp(lambda x: x * random.normal(key), (2.0,), (1.0,))
    np.testing.assert_allclose(primal, 2 * tangent, rtol=1e-6)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: b.random_bits(random.PRNGKey(0), bit_width=32, shape=()), TypeError, "needs keys"),
        (lambda: b.random_bits(random.key(0), bit_width=12, shape=()), ValueError, "12"),
        (lambda: b.random_wrap(fnp.ones(3)), TypeError, r"shape \(\.\.\., 2\)"),
        (lambda: b.random_seed(1.5), TypeError, "integer seed"),
        (lambda: b.threefry2x32(*[fnp.ones(2)] * 4), TypeError, "u32"),
        (lambda: random_gamma(random.split(random.key(0)), fnp.ones(3)), ValueError, "begin"),
        (
            lambda: random_gamma(
                random.key_data(random.split(random.key(0), (2, 3))),
                fnp.ones((2, 4)),
                log_space=False,
            ),
            ValueError,
            "begin",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_every_primitive_of_the_file_is_here():
    here = {p for p in vars(b).values() if isinstance(p, Primitive)} | {random_gamma_p}
    elsewhere = {b.random_seed_p, b.random_wrap_p, b.threefry2x32_p}
    assert here - elsewhere == {p for p in ON_KEYS if isinstance(p, Primitive)}
