"""Scalar operations as native code: every operation, dtype and target, with one lane and with a
full register.

Integers, comparisons and conversions are exact. Functions of floats stay within the bounds that
docs/accuracy.md states, here on small samples; `benchmarks.accuracy` tries them on many numbers.
"""

import numpy as np
import pytest

from benchmarks.accuracy import BINARY, FUNCTIONS, LEVELS, SCIPY, errors, samples
from funcgrad.backends.llvm import vector_math
from funcgrad.backends.llvm.builder import Type, Value
from funcgrad.backends.llvm.complexes import COMPARE, COMPLEX
from funcgrad.backends.llvm.floats import FLOAT
from funcgrad.backends.llvm.integers import BOOL, INTEGER
from funcgrad.backends.llvm.scalar import constant_of, render
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.scalar import COMPARISONS, OPERATIONS
from funcgrad.compiler.scalar_values import ScalarValues
from funcgrad.core import dtypes
from funcgrad.primitives.special.error_functions import erf_inv_value
from tests.backends.scalar_kernels import (
    compiled_map,
    compiled_operation,
    external_calls,
    map_text,
)

VALUES = ScalarValues()
BOOL_DTYPE = np.dtype(bool)
INTEGERS = (*dtypes.SIGNED, *dtypes.UNSIGNED)
NARROW = (dtypes.float16, dtypes.bfloat16)
WIDE = (dtypes.float32, dtypes.float64)
REALS = (BOOL_DTYPE, *INTEGERS, *NARROW, *WIDE)
SIZES = pytest.mark.parametrize("full", [False, True], ids=["scalar", "vector"])
TARGETS = pytest.mark.parametrize("level", LEVELS)


@pytest.fixture(autouse=True)
def silent():
    with np.errstate(all="ignore"):
        yield


def lanes_of(dtype, full, level):
    return host(level).lanes(max(dtype.itemsize, 4)) if full else 1


def operation(name, operand_dtypes, dtype, full, level):
    lanes = lanes_of(operand_dtypes[0], full, level)
    return compiled_operation(name, operand_dtypes, dtype, lanes, host(level))


def named(dtypes_):
    return {"argvalues": dtypes_, "ids": [dtypes.short_name(t) for t in dtypes_]}


def assert_same(got, expected, context=""):
    """Equal numbers, NaN where NaN is."""
    different = ~((got == expected) | ((got != got) & (expected != expected)))
    assert not different.any(), (context, got[different][:3], expected[different][:3])


# ---- integers and bools --------------------------------------------------------------------------


def integers(dtype, rng, count=96):
    """Random numbers, small ones and the ends of the range."""
    if dtype == BOOL_DTYPE:
        return rng.integers(0, 2, count).astype(bool)
    info = np.iinfo(dtype)
    edges = np.array([info.min, info.max, info.min + 1, info.max - 1, 0, 1, 2, 7, 8, 31, 64], dtype)
    x = rng.integers(info.min, info.max, count, dtype=dtype, endpoint=True)
    return np.where(rng.random(count) < 0.5, rng.choice(edges, count), x).astype(dtype)


BINARY_INTEGER = (
    "add", "sub", "mul", "div", "rem", "min", "max", "and_", "or_", "xor", "shl", "shr_logical",
    "shr_arithmetic",
)  # fmt: skip
UNARY_INTEGER = ("neg", "abs", "sign", "not_", "popcount", "clz")


@TARGETS
@SIZES
@pytest.mark.parametrize("dtype", **named(INTEGERS))
def test_integers(dtype, full, level):
    rng = np.random.default_rng(1)
    x, y = integers(dtype, rng), integers(dtype, rng)
    for name in (*BINARY_INTEGER, *UNARY_INTEGER, *sorted(COMPARISONS)):
        operands = (x,) if name in UNARY_INTEGER else (x, y)
        expected = getattr(VALUES, name)(*operands)
        kernel = operation(name, [dtype] * len(operands), expected.dtype, full, level)
        assert_same(kernel(*operands), expected, name)


@TARGETS
@SIZES
def test_bools(full, level):
    x, y = np.array([0, 0, 1, 1] * 8, bool), np.array([0, 1, 0, 1] * 8, bool)
    for name in ("and_", "or_", "xor", "not_", "min", "max", *sorted(COMPARISONS)):
        operands = (x,) if name == "not_" else (x, y)
        kernel = operation(name, [BOOL_DTYPE] * len(operands), BOOL_DTYPE, full, level)
        assert_same(kernel(*operands), getattr(VALUES, name)(*operands), name)


# ---- floats --------------------------------------------------------------------------------------


def floats(dtype, rng, count=512, reach=40):
    """Random magnitudes, halves, powers of two at the ends of integer ranges, what is no number."""
    edges = [
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        1.0,
        -1.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-310,
        3e-45,
    ]
    edges += [2.0**k for k in (7, 8, 15, 16, 31, 32, 63, 64, -24, -25)] + [65519.0, 65520.0]
    edges += [-(2.0**k) for k in (7, 15, 31, 63)] + [127.5, 255.5, 1e30, -1e30]
    x = rng.standard_normal(count) * np.exp2(rng.uniform(-reach, reach, count))
    return np.where(rng.random(count) < 0.5, rng.choice(edges, count), x).astype(dtype)


EXACT_FLOAT = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "min": np.minimum,
    "max": np.maximum, "rem": np.fmod, "neg": np.negative, "abs": np.absolute, "sign": np.sign,
    "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "round": np.rint,
    "is_finite": np.isfinite, "eq": np.equal, "ne": np.not_equal, "lt": np.less,
    "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip


@TARGETS
@SIZES
@pytest.mark.parametrize("dtype", **named((*NARROW, *WIDE)))
def test_floats(dtype, full, level):
    """Exactly what NumPy computes; floats of 16 bits in float32, rounded once."""
    rng = np.random.default_rng(2)
    x, y = floats(dtype, rng), floats(dtype, rng)
    for name, function in EXACT_FLOAT.items():
        operands = (x, y)[: function.nin]
        wide = [a.astype(np.float32) if dtype in NARROW else a for a in operands]
        expected = function(*wide)
        expected = expected if expected.dtype == bool else expected.astype(dtype)
        kernel = operation(name, [dtype] * len(operands), expected.dtype, full, level)
        assert_same(kernel(*operands), expected, name)


@TARGETS
@SIZES
@pytest.mark.parametrize("limit", [0.0, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["min", "max"])
def test_extrema_with_a_constant(name, limit, full, level):
    """NaN wins, on either side."""
    x = np.array([-1.0, 0.0, 2.0, np.nan, np.inf, -np.inf] * 3, np.float32)
    lanes = lanes_of(x.dtype, full, level)

    for order in (1, -1):

        def operation(b, v, order=order):
            operands = [v, constant_of(x.dtype.type(limit), x.dtype, lanes)][::order]
            return render(b, name, operands, [x.dtype] * 2, x.dtype, lanes)

        kernel = compiled_map(operation, [x.dtype], x.dtype, lanes, host(level))
        assert_same(kernel(x), getattr(VALUES, name)(x, x.dtype.type(limit)))


@TARGETS
@pytest.mark.parametrize("dtype", **named((*NARROW, *WIDE)))
def test_neighbours(dtype, level):
    rng = np.random.default_rng(3)
    x, y = floats(dtype, rng), floats(dtype, rng)
    kernel = operation("nextafter", [dtype] * 2, dtype, True, level)
    assert_same(kernel(x, y), np.nextafter(x, y))
    assert_same(kernel(x, x), x)


@TARGETS
@pytest.mark.parametrize("dtype", **named(WIDE))
def test_remainders_of_any_magnitude(dtype, level):
    """The quotient may have as many digits as the range of exponents."""
    rng = np.random.default_rng(4)
    reach = 120 if dtype == np.float32 else 1000
    x, y = floats(dtype, rng, reach=reach), floats(dtype, rng, reach=reach)
    kernel = operation("rem", [dtype] * 2, dtype, True, level)
    got, expected = kernel(x, y), np.fmod(x, y)
    assert_same(got, expected)
    known = expected == expected
    assert (np.signbit(got) == np.signbit(expected))[known].all()


@TARGETS
@SIZES
@pytest.mark.parametrize("old", **named(REALS))
def test_conversions(old, full, level):
    rng = np.random.default_rng(5)
    x = floats(old, rng) if dtypes.is_float(old) else integers(old, rng)
    for new in REALS:
        kernel = operation("convert", [old], new, full, level)
        assert_same(kernel(x), np.asarray(VALUES.convert(x, new)), dtypes.short_name(new))


@TARGETS
@pytest.mark.parametrize("dtype", **named(NARROW))
def test_all_narrow_numbers_are_read_and_written(dtype, level):
    bits = np.arange(1 << 16, dtype=np.uint16)
    x = bits.view(dtype)
    widened = operation("convert", [dtype], dtypes.float32, True, level)(x)
    assert_same(widened, x.astype(np.float32))
    same = operation("bitcast", [dtype], dtypes.uint16, True, level)(x)
    kept = np.isfinite(x.astype(np.float32)) | (x.astype(np.float32) != 0)
    nan = widened != widened
    assert (same == bits)[kept & ~nan].all()
    assert (same[nan].view(dtype).astype(np.float32) != 0).all()


@TARGETS
@pytest.mark.parametrize("dtype", **named(NARROW))
def test_rounding_to_narrow_numbers(dtype, level):
    """Halves between all neighbours, and what is next to them, round to even."""
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
    x = x[np.isfinite(x)]
    middle = ((x.astype(np.float64) + np.nextafter(x.astype(dtype), dtype.type(np.inf)).astype(
        np.float64)) / 2).astype(np.float32)  # fmt: skip
    x = np.concatenate([x, middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf)])
    kernel = operation("convert", [dtypes.float32], dtype, True, level)
    assert_same(kernel(x), x.astype(dtype))


# ---- functions -----------------------------------------------------------------------------------


def small_sample(name, dtype, count=1500):
    """Some of the numbers that `benchmarks.accuracy` tries, hard ones included."""
    operands = samples(name, dtype)
    size = operands[0].size
    middle = size - size // 5 if name not in BINARY else size - 200
    keep = np.concatenate([np.arange(0, middle, max(middle // count, 1)), np.arange(middle, size)])
    return tuple(x[keep[: 2 * count]] for x in operands)


# Scalars are the same code on all machines with fused multiply-add.
ONCE_ALONE = [
    (level, full) for level in LEVELS for full in (False, True) if full or level == LEVELS[0]
]


@pytest.mark.parametrize("level, full", ONCE_ALONE)
@pytest.mark.parametrize("dtype", **named(WIDE))
@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "erf_inv"])
def test_functions(name, dtype, full, level):
    if name in SCIPY and dtype == np.float64:
        pytest.importorskip("mpmath")
    function = FUNCTIONS[name]
    operands = small_sample(name, dtype, 150 if name in SCIPY else 1500)
    wide = np.longdouble if dtype == np.float64 else np.float64
    exact = function.exact(*(x.astype(wide) for x in operands))
    got = operation(name, [dtype] * len(operands), dtype, full, level)(*operands)
    ulps, wrong = errors(got, exact, function.near_zero)
    bound = function.bound if dtype == np.float32 else function.bound_float64
    at = ulps.argmax()
    assert ulps[at] <= bound, (ulps[at], [x[at] for x in operands])
    assert not wrong.any(), ([x[wrong][:3] for x in operands], got[wrong][:3])


@TARGETS
@pytest.mark.parametrize("dtype", **named(WIDE))
def test_erf_inv(dtype, level):
    """As the primitive, which rounds the square of its argument in the same way."""
    rng = np.random.default_rng(6)
    x = np.concatenate([rng.uniform(-1, 1, 2000), [0.0, 1.0, -1.0, 1.5, np.nan, 1e-40, 0.9999999]])
    x = x.astype(dtype)
    got = operation("erf_inv", [dtype], dtype, True, level)(x)
    expected = erf_inv_value(np, x)
    finite = np.isfinite(expected)
    assert_same(got[~finite], expected[~finite])
    unit = np.spacing(np.abs(expected[finite]))
    assert (np.abs(got[finite] - expected[finite]) <= 6 * unit).all()


ODD = (
    "sin",
    "tan",
    "asin",
    "atan",
    "sinh",
    "tanh",
    "asinh",
    "atanh",
    "expm1",
    "log1p",
    "cbrt",
    "erf",
)


@TARGETS
@pytest.mark.parametrize("dtype", **named(WIDE))
@pytest.mark.parametrize("name", ODD)
def test_zero_keeps_its_sign(name, dtype, level):
    got = operation(name, [dtype], dtype, True, level)(np.array([0.0, -0.0], dtype))
    assert (got == 0).all() and np.signbit(got).tolist() == [False, True]


@TARGETS
@pytest.mark.parametrize("dtype", **named(WIDE))
@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_special_operands(name, dtype, level):
    """All pairs of zeros, ones, infinities and NaN, with the signs of results, as C99 has them."""
    special = np.array([0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, np.inf, -np.inf, np.nan], dtype)
    x, y = (grid.ravel() for grid in np.meshgrid(special, special))
    got = operation(name, [dtype] * 2, dtype, True, level)(x, y)
    expected = getattr(VALUES, name)(x, y)
    near = np.isclose(got, expected, rtol=1e-6, atol=0, equal_nan=True)
    assert near.all(), (x[~near], y[~near], got[~near])
    known = expected == expected
    assert (np.signbit(got) == np.signbit(expected))[known].all()


def test_a_wrong_coefficient_is_found(monkeypatch):
    """The bounds are tight enough to notice a change by a thousandth."""
    table = [*vector_math.exponential.EXP_F32]
    table[3] *= 1.001
    wrong = vector_math.exponential.REDUCTION["f32"]._replace(polynomial=tuple(table))
    monkeypatch.setitem(vector_math.exponential.REDUCTION, "f32", wrong)
    with pytest.raises(AssertionError):
        test_functions("exp", dtypes.float32, True, LEVELS[-1])


# ---- complex numbers -----------------------------------------------------------------------------

COMPLEX_BOUND = 6  # units of the magnitude of the result
COMPLEX_UNARY = (
    "neg", "abs", "sign", "conj", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sin", "cos",
    "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "asinh", "acosh", "atanh",
)  # fmt: skip


def complexes(dtype, rng, count=600):
    z = np.empty(count, dtype)
    z.real, z.imag = (rng.standard_normal(count) * np.exp2(rng.uniform(-4, 4, count)) for _ in "ri")
    return z


@TARGETS
@pytest.mark.parametrize("dtype", **named(dtypes.COMPLEX))
@pytest.mark.parametrize("name", [*COMPLEX_UNARY, "add", "sub", "mul", "div", "min", "max"])
def test_complex_functions(name, dtype, level):
    rng = np.random.default_rng(7)
    operands = [complexes(dtype, rng) for _ in range(1 if name in COMPLEX_UNARY else 2)]
    wide = np.clongdouble if dtype == np.complex128 else np.complex128
    exact = getattr(VALUES, name)(*(z.astype(wide) for z in operands))
    result = dtype if exact.dtype.kind == "c" else dtypes.real_part(dtype)
    got = operation(name, [dtype] * len(operands), result, True, level)(*operands)
    unit = np.finfo(result).eps * np.abs(exact)
    assert (np.abs(got.astype(exact.dtype) - exact) <= COMPLEX_BOUND * unit).all()


@TARGETS
@pytest.mark.parametrize(
    "name", ["sqrt", "exp", "log", "div", "acos", "asin", "max", "mul", "sign"]
)
def test_complex_infinities(name, level):
    """Infinite and undefined parts are where NumPy has them."""
    parts = np.array([0.0, -0.0, 1, -1, 0.5, 3, np.inf, -np.inf])
    z = np.empty(parts.size**2, np.complex128)
    z.real, z.imag = (grid.ravel() for grid in np.meshgrid(parts, parts))
    w = np.repeat(np.array([1 + 2j, -1j, 2.0, 0]), z.size)
    operands = [z] if name in COMPLEX_UNARY else [np.tile(z, 4), w]
    got = operation(name, [z.dtype] * len(operands), z.dtype, True, level)(*operands)
    expected = getattr(VALUES, name)(*operands)
    for part in ("real", "imag"):
        g, e = getattr(got, part), getattr(expected, part)
        close = np.abs(g - e) <= 1e-12 * np.where(np.isfinite(expected), np.abs(expected), 0)
        assert (close | (g == e) | ((g != g) & (e != e))).all()


@TARGETS
def test_complex_parts_and_conversions(level):
    rng = np.random.default_rng(8)
    z = complexes(dtypes.complex64, rng, 64)
    single, double = dtypes.complex64, dtypes.complex128
    assert_same(operation("real", [single], dtypes.float32, True, level)(z), z.real)
    assert_same(operation("imag", [single], dtypes.float32, True, level)(z), z.imag)
    assert_same(operation("convert", [single], double, True, level)(z), z.astype(double))
    assert_same(operation("convert", [single], dtypes.int32, True, level)(z), z.real.astype(int))
    together = operation("complex", [dtypes.float32] * 2, single, True, level)
    assert_same(together(z.real.copy(), z.imag.copy()), z)
    for name in sorted(COMPARISONS):
        kernel = operation(name, [single] * 2, BOOL_DTYPE, True, level)
        assert_same(kernel(z, z[::-1].copy()), getattr(VALUES, name)(z, z[::-1]), name)


@TARGETS
@pytest.mark.parametrize("dtype", **named((BOOL_DTYPE, *NARROW, dtypes.int8, dtypes.complex64)))
def test_select(dtype, level):
    rng = np.random.default_rng(9)
    which = rng.integers(0, 2, 64).astype(bool)
    x, y = (rng.integers(0, 2, 64).astype(dtype) for _ in "xy")
    kernel = operation("select", [BOOL_DTYPE, dtype, dtype], dtype, True, level)
    assert_same(kernel(which, x, y), np.where(which, x, y))


# ---- the whole table -----------------------------------------------------------------------------


def test_every_operation_has_instructions():
    special = {"is_finite", "nextafter"}
    found = set(FLOAT) | set(INTEGER) | set(BOOL) | set(COMPLEX) | special
    assert found >= OPERATIONS
    assert set(COMPARE) == COMPARISONS


@TARGETS
@pytest.mark.parametrize("dtype", **named((*WIDE, dtypes.float16, *dtypes.COMPLEX)))
def test_nothing_is_called_outside_the_module(dtype, level):
    """Neither the mathematical library nor the compiler's own: kernels are loaded without them."""
    table = COMPLEX if dtypes.is_complex(dtype) else FLOAT
    full = lanes_of(dtype, True, level)
    for lanes in (full,) if dtypes.is_complex(dtype) else (1, full):

        def everything(b, x, y, lanes=lanes):
            results = []
            for name in sorted(table):
                arity = 2 if name in TWO_OPERANDS else 1
                results.append(render(b, name, [x, y][:arity], [dtype] * arity, dtype, lanes))
            results += _converted(b, x, dtype, lanes)
            return _combined(b, results)

        part = dtypes.real_part(dtype)
        text = map_text(everything, [dtype] * 2, part, lanes, host(level))
        assert external_calls(text, host(level)) == set()


TWO_OPERANDS = ("add", "sub", "mul", "div", "rem", "min", "max", "pow", "atan2")


def _converted(b, x, dtype, lanes):
    """To every integer type and back."""
    if dtypes.is_complex(dtype):
        return []
    there = [(render(b, "convert", [x], [dtype], t, lanes), t) for t in REALS]
    return [render(b, "convert", [value], [t], dtype, lanes) for value, t in there]


def _combined(b, results):
    """One number that depends on all."""
    parts = [p for r in results for p in ([r] if isinstance(r, Value) else r)]
    total = parts[0]
    for part in parts[1:]:
        total = b.fadd(total, part)
    return total


def test_calls_are_found():
    """The check above can fail: LLVM turns this into a call of its library."""

    def remainder(b, x):
        return b.binary("frem", x, b.like(3.0, x))

    text = map_text(remainder, [dtypes.float32], dtypes.float32, 1, host(LEVELS[-1]))
    assert external_calls(text, host(LEVELS[-1])) == {"fmodf"}


def test_any_number_of_lanes():
    """Vectors of other widths than a register's are split."""
    x = np.linspace(-3, 3, 64, dtype=np.float32)
    for lanes in (1, 4, 8, 16):
        kernel = compiled_map(
            lambda b, v: vector_math.FUNCTIONS["tanh"](b, v),
            [dtypes.float32], dtypes.float32, lanes, host(LEVELS[0]),
        )  # fmt: skip
        np.testing.assert_allclose(kernel(x), np.tanh(x), rtol=3e-7)
    assert Type("f32", 16).suffix == "v16f32"
