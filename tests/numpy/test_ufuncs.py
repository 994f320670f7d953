"""Every elementwise function against jax: values, dtypes, weak types, and what is refused.

One program per function holds all its rows, so that jax compiles each function once. Floats are
compared with a tolerance of a few units in the last place of their type, integers exactly.
"""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest

import funcgrad.numpy as fnp
from funcgrad.api.autodiff import grad
from funcgrad.api.compile import jit
from funcgrad.api.inspect import make_jaxpr
from funcgrad.core.array import Array
from funcgrad.core.dtypes import bfloat16

jax = pytest.importorskip("jax")
jnp = jax.numpy

UNARY = """
abs absolute fabs negative positive sign square reciprocal sqrt cbrt exp exp2 expm1 log log2 log10
log1p sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh asin acos atan asinh
acosh atanh degrees radians rad2deg deg2rad sinc floor ceil trunc rint round around isnan isinf
isfinite isposinf isneginf signbit spacing modf frexp nan_to_num logical_not real imag conj
conjugate angle isreal iscomplex invert bitwise_not bitwise_invert bitwise_count iscomplexobj
isrealobj
""".split()

BINARY = """
add subtract multiply divide true_divide floor_divide mod remainder fmod divmod power pow
float_power maximum minimum fmax fmin heaviside logaddexp logaddexp2 hypot arctan2 atan2 copysign
nextafter ldexp equal not_equal less less_equal greater greater_equal logical_and logical_or
logical_xor bitwise_and bitwise_or bitwise_xor left_shift right_shift bitwise_left_shift
bitwise_right_shift isclose allclose array_equal array_equiv
""".split()

NARROW = [np.bool_, np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32,
          bfloat16, np.float16, np.float32, np.complex64]  # fmt: skip
WIDE = [np.int64, np.uint64, np.float64, np.complex128]
SPECIAL = [0.0, -0.0, 1, -1, 0.5, -0.5, 2, 3.7, -2.3, 0.1, 1e-3, -1e-5, 10, 100, -100, 1000, 1e-20,
           3e38, np.inf, -np.inf, np.nan, 7.5, -2.5]  # fmt: skip

# Units of a type's epsilon allowed. Compositions round at every step in 16 bits, where jax may
# keep float32 between steps; jax's exp2 and complex functions lose more digits than ours.
TOLERANCE = 16
LOOSER = {"exp2": 400, "power": 200, "pow": 200, "float_power": 200, "logaddexp2": 60, "sinc": 40}

# Compositions in which jax forgets, depending on shapes, that its operands were weak.
FORGETFUL = {"hypot", "heaviside", "logaddexp", "logaddexp2", "spacing", "power", "pow", "angle"}

# What differs on purpose, with the reason.
IGNORED = {
    ("round", "bool"): "jax has no round of bools",
    ("around", "bool"): "jax has no round of bools",
    ("fmod", "bool"): "jax forgets the rule for a divisor 0 when both operands are bools",
    ("spacing", "float16"): "jax drops the sign in this type only",
    ("ldexp", "uint64"): "jax converts the exponent to a float first",
}

if jax.version.__version_info__ >= (0, 12):  # the tables above speak for 0.10 and 0.11
    FORGETFUL.add("log2")  # weak there now
    UNARY.remove("sinc")  # zero there at infinity, where NumPy and we have NaN
    IGNORED["frexp", "float16"] = "jax takes subnormal numbers for zero"


def values(dtype) -> np.ndarray:
    dtype = np.dtype(dtype)
    if dtype == np.bool_:
        return np.array([True, False])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([0, 1, 2, 3, 7, 100, limits.max, limits.min, 5], dtype)
    if dtype.kind == "c":
        parts = np.array([0, 1, -1, 0.5, 2, -2.3])[:, None] + 1j * np.array([0.3, -1, 2.0])
        return parts.ravel().astype(dtype)
    with np.errstate(over="ignore"):
        return np.array(SPECIAL).astype(dtype)


def pairs(dtype) -> tuple[np.ndarray, np.ndarray]:
    both = np.broadcast_arrays(values(dtype)[:, None], values(dtype))
    return tuple(np.array(x.ravel()) for x in both)


def attempt(function, args):
    """The result, or None where the arguments are refused."""
    try:
        return function(*args)
    except (TypeError, ValueError, NotImplementedError, OverflowError):
        return None


def jax_results(function, rows):
    """The results of all rows, from one compiled program; Python numbers stay constants."""
    arrays = [[x for x in row if isinstance(x, np.ndarray)] for row in rows]

    def program(arrays):
        results = []
        for row, given in zip(rows, arrays, strict=True):
            rest = iter(given)
            args = [next(rest) if isinstance(x, np.ndarray) else x for x in row]
            results.append(attempt(function, args))
        return results

    # without optimisation: compiling is what this file's time goes to
    return jax.jit(program, compiler_options={"xla_backend_optimization_level": 0})(arrays)


def flat(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def assert_same(ours, theirs, units: int, weak: bool = True) -> None:
    assert (ours is None) == (theirs is None), f"ours {ours}, jax {theirs}"
    if ours is None:
        return
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        if not isinstance(a, Array):
            assert bool(a) == bool(b)
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if weak and a.dtype != np.bool_:
            assert a.weak_type == b.weak_type, "weak type"
        assert_close(np.asarray(a), np.asarray(b), units)


def assert_close(a: np.ndarray, b: np.ndarray, units: int) -> None:
    if a.dtype.kind in "biu":
        np.testing.assert_array_equal(a, b)
        return
    limits = fnp.finfo(a.dtype)
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    a, b = a.astype(wide), b.astype(wide)
    if wide is np.complex128:  # jax overflows to NaN in the middle of complex formulas
        a, b = a[np.isfinite(b)], b[np.isfinite(b)]
    # jax flushes subnormal numbers to zero
    tiny = float(limits.tiny) * 1.01
    np.testing.assert_allclose(
        np.where(np.abs(a) < tiny, 0, a), np.where(np.abs(b) < tiny, 0, b),
        rtol=units * float(limits.eps),
        atol=float(limits.eps) * (a.dtype.kind == "c" or units > TOLERANCE),
    )  # fmt: skip


def check(name: str, rows, x64: bool = False) -> None:
    with jax.enable_x64(True) if x64 else contextlib.nullcontext():
        expected = jax_results(getattr(jnp, name), rows)
        for row, theirs in zip(rows, expected, strict=True):
            ours = attempt(getattr(fnp, name), [fnp.array(x, x.dtype) if isinstance(x, np.ndarray)
                                                else x for x in row])  # fmt: skip
            try:
                assert_same(ours, theirs, LOOSER.get(name, TOLERANCE), name not in FORGETFUL)
            except AssertionError as error:
                kinds = [str(x.dtype) if isinstance(x, np.ndarray) else repr(x) for x in row]
                raise AssertionError(f"{name}({', '.join(kinds)}): {error}") from None


def kept(name, dtype) -> bool:
    return (name, np.dtype(dtype).name) not in IGNORED


@pytest.mark.parametrize("name", UNARY)
def test_unary_functions_equal_jax(name):
    rows = [(values(dtype),) for dtype in NARROW if kept(name, dtype)]
    check(name, rows + [(2,), (0.7,), (-3,), (np.zeros((0, 3), np.float32),)])


@pytest.mark.parametrize("name", UNARY)
def test_unary_functions_keep_64_bits(name):
    check(name, [(values(dtype),) for dtype in WIDE], x64=True)


@pytest.mark.parametrize("name", BINARY)
def test_binary_functions_equal_jax(name):
    rows = [pairs(dtype) for dtype in NARROW if kept(name, dtype)]
    for dtype in (np.int8, np.int32, np.uint8, bfloat16, np.float32):
        for number in (2, 0.75, -3 if np.dtype(dtype).kind != "u" else 3):
            rows += [(values(dtype), number), (number, values(dtype))]
    rows += [(2, 3), (2, 0.5), (0.5, 0.25), (values(np.float32)[:, None], values(np.float32)[:4])]
    check(name, rows)


@pytest.mark.parametrize("name", BINARY)
def test_binary_functions_keep_64_bits(name):
    check(name, [pairs(dtype) for dtype in WIDE if kept(name, dtype)], x64=True)


@pytest.mark.parametrize("decimals", [-2, -1, 0, 1, 3, 50])
def test_round_to_decimals(decimals):
    x = np.array([0.0, 0.15, 2.5, -1234.5678, 1e10, np.inf, np.nan], np.float32)
    assert_same(fnp.round(x, decimals), jnp.round(x, decimals), 4)
    z = (x[:4] + 1j * x[3::-1]).astype(np.complex64)
    assert_same(fnp.round(z, decimals), jnp.round(z, decimals), 4)


BOUNDS = [(None, None), (-1, None), (None, 2.5), (0.5, 2), (3, 1), (np.float32(1), np.arange(9.0)),
          (np.nan, 1.0)]  # fmt: skip


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float32, bfloat16])
@pytest.mark.filterwarnings("ignore:NumPy data of float64")
def test_clip_equals_jax(dtype, bounds):
    x = values(dtype)[:9]
    assert_same(fnp.clip(x, *bounds), jnp.clip(x, *bounds), 1)
    if bounds != (None, None):
        older = fnp.clip(a=fnp.array(x), a_min=bounds[0], a_max=bounds[1])
        assert_same(older, jnp.clip(x, *bounds), 1)


def test_nan_to_num_replaces_what_it_is_told():
    x = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    assert_same(fnp.nan_to_num(x, nan=7.0, posinf=2, neginf=-3.0),
                jnp.nan_to_num(x, nan=7.0, posinf=2, neginf=-3.0), 1)  # fmt: skip


def test_isclose_and_its_tolerances():
    a, b = np.float32([1, 1, np.nan, np.inf]), np.float32([1.001, 1.1, np.nan, np.inf])
    for options in ({}, {"rtol": 0.01}, {"atol": 0.2}, {"equal_nan": True}):
        assert_same(fnp.isclose(a, b, **options), jnp.isclose(a, b, **options), 0)
        assert_same(fnp.allclose(a, b, **options), jnp.allclose(a, b, **options), 0)
    assert bool(fnp.array_equal(a[2:], b[2:], equal_nan=True))
    assert not bool(fnp.array_equal(a, b[:2]))
    assert not bool(fnp.array_equiv(a, b[:3]))


@pytest.mark.parametrize("name", ["gcd", "lcm"])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16], ids=str)
def test_common_divisors_equal_jax(name, dtype):
    x = np.array([0, 1, 2, 12, 18, 10, 7, 5, 0], dtype)
    y = np.array([0, 5, 4, 6, 12, 15, 0, 3, 9], dtype)  # small: lcm wraps in 8 bits otherwise
    sign = -1 if np.dtype(dtype).kind == "i" else 1
    for args in [(x, y), (x[:, None], y), (x, 6), (x * sign, y), (12, 18)]:
        assert_same(getattr(fnp, name)(*args), getattr(jnp, name)(*args), 0)
    assert_same(jit(getattr(fnp, name))(x, y), getattr(jnp, name)(x, y), 0)


def test_angle_in_degrees():
    z = np.array([1j, -1, 1 + 1j], np.complex64)
    assert_same(fnp.angle(z, deg=True), jnp.angle(z, deg=True), 4)


@pytest.mark.parametrize("x", [0.5, np.float32([0, 1, -2]), np.arange(3)], ids=str)
def test_polyval_equals_jax(x):
    p = np.float32([2, -1, 3])
    assert_same(fnp.polyval(p, x), jnp.polyval(p, x), 4)
    assert_same(fnp.polyval(p[:0], x), jnp.polyval(p[:0], x), 4)


# ---- derivatives where they are delicate -------------------------------------------------------


def test_gradient_of_the_absolute_value_is_zero_at_zero_d24():
    assert float(grad(fnp.abs)(0.0)) == 0.0
    assert float(grad(fnp.abs)(-3.0)) == -1.0


@pytest.mark.parametrize("function, share", [(fnp.maximum, 0.5), (fnp.minimum, 0.5)])
def test_extrema_share_the_gradient_at_a_tie(function, share):
    assert [float(g) for g in grad(function, (0, 1))(2.0, 2.0)] == [share, share]
    assert [float(g) for g in grad(function, (0, 1))(np.nan, 2.0)] == [0.0, 0.0]


def test_gradient_of_the_exponent_d22():
    slope = grad(fnp.power, 1)
    assert float(slope(2.0, 3.0)) == pytest.approx(8 * math.log(2), rel=1e-6)
    assert float(slope(0.0, 2.0)) == 0.0
    assert float(slope(0.0, 0.0)) == 0.0


def test_constant_exponent_computes_no_logarithm_d22_d39():
    for exponent in (2, 2.0, -1.5, 3):
        assert "log" not in str(make_jaxpr(grad(lambda x, e=exponent: x**e))(-1.5))
    assert float(grad(lambda x: x**2)(-1.5)) == -3.0
    assert float(grad(lambda x: x**2.0)(-1.5)) == -3.0


def test_sinc_has_its_derivatives_at_zero():
    second = grad(grad(fnp.sinc))
    assert float(grad(fnp.sinc)(0.0)) == 0.0
    assert float(second(0.0)) == pytest.approx(-(math.pi**2) / 3, rel=1e-5)
    assert float(grad(grad(second))(0.0)) == pytest.approx(math.pi**4 / 5, rel=1e-4)


@pytest.mark.parametrize("function", [fnp.logaddexp, fnp.logaddexp2])
def test_logaddexp_has_finite_gradients_everywhere_d39(function):
    for a, b in [(-np.inf, -np.inf), (-np.inf, 1.0), (1000.0, -1000.0), (3.0, 3.0)]:
        gradients = [float(g) for g in grad(function, (0, 1))(a, b)]
        assert sum(gradients) == pytest.approx(1.0, rel=1e-6)


def test_hypot_is_smooth_where_its_operands_are_equal():
    assert [float(g) for g in grad(fnp.hypot, (0, 1))(0.0, 0.0)] == [0.0, 0.0]
    second = grad(lambda x, y: grad(fnp.hypot)(x, y), (0, 1))
    expected = 1 / (2 * math.sqrt(2) * 3)
    assert [float(g) for g in second(3.0, 3.0)] == pytest.approx([expected, -expected], rel=1e-5)


def test_no_floating_point_warning_reaches_the_user_d39():
    with np.errstate(all="raise"):
        x = fnp.array([-1000.0, 0.0, 1000.0])
        for function in (fnp.exp, fnp.log, fnp.sqrt, fnp.square, fnp.reciprocal, fnp.arcsin):
            function(x * 1e38)
            jit(function)(x * 1e38)
        x * 1e300


def test_logaddexp_of_two_minus_infinities():
    assert float(fnp.logaddexp(-np.inf, -np.inf)) == -np.inf


# ---- what is refused ---------------------------------------------------------------------------

REFUSED = [
    (lambda x: fnp.add(x, [1, 2]), r"add: needs arrays or numbers, but got list \[1, 2\]"),
    (lambda x: fnp.sin("a"), "sin: needs arrays or numbers, but got str 'a'"),
    (lambda x: fnp.sin(None), "sin: needs arrays or numbers, but got NoneType"),
    (lambda x: fnp.add(x, np.array([None])), "add: .* dtype object"),
    (lambda x: fnp.add(x, np.array(["a"])), "add: .* dtype <U1"),
    (lambda x: fnp.bitwise_and(x, x), "bitwise_and: accepts integers or bools, but got f32"),
    (lambda x: ~x, "invert: accepts integers or bools, but got f32"),
    (lambda x: fnp.left_shift(x, x), "left_shift: accepts integers, but got f32"),
    (lambda x: fnp.right_shift(x, x), "right_shift: accepts integers"),
    (lambda x: fnp.negative(x > 0), "neg: accepts numbers, but got bool"),
    (lambda x: fnp.floor(x * 1j), "floor: needs real numbers, but got c64"),
    (lambda x: fnp.floor_divide(x * 1j, 2), "floor_divide: complex numbers have no order"),
    (lambda x: fnp.power(fnp.arange(3), -1), "power: a negative power needs a float"),
    (lambda x: fnp.modf(x, out=x), "modf: out must be None"),
]


@pytest.mark.parametrize("call, message", REFUSED)
def test_wrong_types_are_refused_by_name(call, message):
    with pytest.raises(TypeError, match=message):
        call(fnp.ones(2))
    with pytest.raises(TypeError, match=message):
        jit(call)(fnp.ones(2))


def test_shapes_that_do_not_broadcast_are_both_named():
    with pytest.raises(ValueError, match=r"add: shapes \(2,3\) and \(4,\) do not broadcast"):
        fnp.add(fnp.ones((2, 3)), fnp.ones(4))
    with pytest.raises(ValueError, match=r"clip: shapes \(2,3\) and \(4,\) do not broadcast"):
        fnp.clip(fnp.ones((2, 3)), None, fnp.ones(4))
    with pytest.raises(ValueError, match=r"multiply: shapes \(2,3\) and \(4,\) do not broadcast"):
        fnp.ones((2, 3)) * fnp.ones(4)


@pytest.mark.parametrize("name", ["exp", "sin", "sqrt", "negative", "square", "floor", "sign"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_shortcut_for_eager_arrays_changes_nothing(name, dtype):
    function, x = getattr(fnp, name), fnp.array(values(dtype), dtype)
    for a in (x, x[4]):
        shortcut, general = function(a), function.__wrapped__(a)
        assert (shortcut.dtype, shortcut.weak_type) == (general.dtype, general.weak_type)
        np.testing.assert_array_equal(shortcut, general)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "less"])
def test_the_shortcut_for_two_eager_arrays_changes_nothing(name):
    function = getattr(fnp, name)
    x, weak = fnp.array(values(np.float32)), fnp.asarray(0.5)
    for args in [(x, x), (x, x[:, None]), (x, x[3]), (x, weak), (weak, weak), (x, 2), (0.1, x)]:
        shortcut, general = function(*args), function.__wrapped__(*args)
        assert (shortcut.dtype, shortcut.weak_type) == (general.dtype, general.weak_type)
        np.testing.assert_array_equal(shortcut, general)
