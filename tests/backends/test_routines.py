"""Equations with native code of their own, against the primitives' values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
from funcgrad import lax
from funcgrad.config import config
from funcgrad.core import dtypes
from funcgrad.primitives import linalg
from tests.backends.test_native_cases import agree

pytest.importorskip("llvmlite")

DTYPES = ("float32", "float64", "bfloat16", "float16", "int8", "int32", "uint64", "complex64")
CUMULATIONS = (lax.cumsum, lax.cumprod, lax.cummax, lax.cummin, lax.cumlogsumexp)


def is_defined(function: Any, dtype: str) -> bool:
    """Complex numbers have no order, and logarithms of sums are for floats only."""
    kind = dtypes.as_dtype(dtype)
    if function in (lax.cummax, lax.cummin):
        return not dtypes.is_complex(kind)
    return function is not lax.cumlogsumexp or dtypes.is_float(kind)


def numbers(shape: Any, dtype: str, seed: int = 0) -> np.ndarray:
    """Small numbers with ties, zeros of both signs, and in floats NaN and infinities."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape)
    found = dtypes.as_dtype(dtype)
    if found.kind == "c":
        return np.asarray(x + 1j * rng.integers(-3, 4, shape), found)
    return np.asarray(np.abs(x) if found.kind == "u" else x, found)


def compare(function: Any, *operands: np.ndarray) -> None:
    """Compiled to native code alone, and eagerly."""
    given = [fg.numpy.asarray(x, x.dtype) for x in operands]
    expected = fg.tree.leaves(function(*given))
    with config.override(engine="llvm"):
        found = fg.tree.leaves(fg.jit(function)(*given))
    for a, e in zip(found, expected, strict=True):
        agree(np.asarray(a), np.asarray(e))


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("shape, axis", [((37,), 0), ((3, 16), 1), ((5, 33), 0), ((2, 7, 3), 1)])
@pytest.mark.parametrize(
    "function, dtype", [(f, t) for f in CUMULATIONS for t in DTYPES if is_defined(f, t)]
)
def test_running_reductions(function: Any, dtype: str, shape: Any, axis: int) -> None:
    x = numbers(shape, dtype)
    compare(lambda x: (function(x, axis), function(x, axis, reverse=True)), x)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", CUMULATIONS, ids=lambda f: f.__name__)
def test_running_reductions_of_special_values(function: Any, special: float) -> None:
    x = numbers((40,), "float32")
    x[[0, 21, 22]] = special
    compare(lambda x: (function(x, 0), function(x, 0, reverse=True), function(x[1:], 0)), x)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("window, strides, padding", [
    ((1, 2, 2, 1), (1, 2, 2, 1), "VALID"), ((1, 3, 3, 1), (1, 2, 2, 1), "SAME"),
    ((1, 3, 2, 1), (1, 1, 1, 1), "SAME"), ((1, 2, 5, 1), (1, 3, 4, 1), "VALID"),
])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 17])
def test_gradients_of_pooling(window: Any, strides: Any, padding: str, channels: int) -> None:
    x = numbers((2, 9, 8, channels), "float32", 3)

    def pooled(x: Any) -> Any:
        return lax.reduce_window(x, -np.inf, lax.max, window, strides, padding)

    compare(lambda x: fg.grad(lambda x: fg.numpy.sum(fg.numpy.sin(pooled(x))))(x), x)
    compare(lambda x: fg.jvp(pooled, (x,), (fg.numpy.cos(x),))[1], x)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("shape, axis", [((7,), 0), ((300,), 0), ((3, 70), 1), ((65, 2, 3), 0)])
@pytest.mark.parametrize("dtype", [*DTYPES[:-1], "bool", "int16", "uint8", "int64", "uint32"])
def test_sorting(dtype: str, shape: Any, axis: int) -> None:
    x = numbers(shape, dtype)
    compare(lambda x: (lax.sort(x, axis), fg.numpy.argsort(x, axis)), x)
    compare(lambda x: lax.sort((x, fg.numpy.flip(x, axis), x * 2), axis), x)
    compare(lambda x: lax.top_k(x, shape[axis] // 2 + 1, axis=axis), x)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("size", [11, 200])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_sorting_special_values(dtype: str, size: int) -> None:
    """NaN of both signs last, zeros of both signs in their order."""
    x = np.random.default_rng(0).normal(size=size).astype(dtypes.as_dtype(dtype))
    x[[1, 4]], x[2], x[3], x[5], x[7], x[9] = np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0
    compare(lambda x: (lax.sort(x), fg.numpy.argsort(x), *lax.top_k(x, 8)), x)
    compare(lambda x: 1 / lax.sort(x), x)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64", "int32"])
def test_sorting_numbers_of_all_sizes(dtype: str) -> None:
    """Every digit of the keys counts."""
    bits = np.random.default_rng(0).integers(0, 1 << 63, 500, np.uint64) * np.uint64(3)
    x = bits.view(dtype)[:500] if dtype != "float64" else bits.astype("f8") - 1e19
    compare(lambda x: (lax.sort(x), fg.numpy.argsort(x), *lax.top_k(x, 100)), x)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("dtype", [*DTYPES, "bool", "uint8", "int16", "uint32", "int64"])
def test_large_products_of_all_types(dtype: str) -> None:
    x, y = numbers((33, 40), dtype), numbers((40, 35), dtype, 1)
    compare(lambda x, y: x @ y, x, y)
    compare(lambda x, y: fg.numpy.einsum("ij,jk->ki", x, y), x, y)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
def test_products_with_results_of_other_types() -> None:
    x, y = numbers((33, 40), "int8"), numbers((40, 35), "int8", 1)
    compare(lambda x, y: lax.dot(x, y, preferred_element_type="int32"), x, y)
    half = [v.astype(dtypes.bfloat16) for v in (x, y)]
    compare(lambda x, y: lax.dot(x, y, preferred_element_type="float32"), *half)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("dtype", [*DTYPES, "bool", "uint8", "int16", "uint32", "int64"])
def test_convolutions_of_all_types(dtype: str) -> None:
    x, kernel = numbers((2, 9, 8, 3), dtype), numbers((3, 3, 3, 5), dtype, 1)
    numbers_of = ("NHWC", "HWIO", "NHWC")
    for strides, dilation in (((1, 1), None), ((2, 1), (1, 2))):
        compare(
            lambda x, k: lax.conv_general_dilated(
                x, k, strides, "SAME", rhs_dilation=dilation, dimension_numbers=numbers_of
            ),
            x, kernel,
        )  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
def test_windows_with_gaps() -> None:
    x = numbers((9, 7), "float32")
    options = dict(window_dimensions=(2, 3), padding=((1, 2), (0, 1)), base_dilation=(2, 3))
    compare(lambda x: lax.reduce_window(x, 0.0, lax.add, **options), x)
    compare(lambda x: lax.reduce_window(x, -np.inf, lax.max, **options), x)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("bits", [(5, 10), (8, 7), (4, 3), (2, 1), (5, 2), (11, 52)])
def test_less_precision(bits: tuple[int, int], dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=500).astype(dtypes.as_dtype(dtype))
    x[:6] = [np.nan, np.inf, -np.inf, -0.0, 6e4, -6e-5]
    compare(lambda x: lax.reduce_precision(x, *bits), x)


def matrices(shape: Any, dtype: str, seed: int = 0) -> np.ndarray:
    """Well-conditioned ones."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    x = x + 1j * rng.normal(size=shape) if dtype.startswith("complex") else x
    n = min(shape[-2:])
    x[..., :n, :n] += 2 * n**0.5 * np.eye(n)
    return np.asarray(x, dtype)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (16, 16), (17, 17), (32, 32), (5, 4, 4)])
def test_small_matrices(shape: Any, dtype: str) -> None:
    x = matrices(shape, dtype)
    right = matrices((*shape[:-1], 5), dtype, 1)
    solve = linalg.triangular_solve
    compare(lambda x: linalg.cholesky(x @ fg.numpy.conj(x.mT)), x)
    compare(lambda x: linalg.lu(x), x[..., ::-1, :].copy())
    compare(lambda x, y: fg.numpy.linalg.solve(x, y), x[..., ::-1, :].copy(), right)
    for lower in (True, False):
        for flags in ({}, {"transpose_a": True, "conjugate_a": True}, {"unit_diagonal": True}):
            scaled = x / 30 if flags.get("unit_diagonal") else x
            compare(lambda x, y: solve(x, y, left_side=True, lower=lower, **flags), scaled, right)
            compare(lambda x, y: solve(x, y.mT, lower=lower, **flags), scaled, right)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
def test_matrices_without_factors() -> None:
    x = np.stack([np.eye(3), -np.eye(3), np.full((3, 3), np.nan), np.zeros((3, 3))])
    x = x.astype("float32")
    compare(lambda x: linalg.cholesky(x), x)
    compare(lambda x: linalg.lu(x), x[[0, 1, 3]])
    rectangular = matrices((4, 7), "float32")
    compare(lambda x: linalg.lu(x), rectangular)
    compare(lambda x: linalg.lu(x), rectangular.T.copy())


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sums_of_narrow_floats_are_rounded_once(dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 40, 3)).astype(dtypes.as_dtype(dtype))
    places = np.array([[1], [1], [0]] * 20, np.int32)

    def scattered(x: Any, places: Any) -> Any:
        rows = fg.numpy.reshape(x, (80, 3))
        at = rows[:5].at[places[:, 0]]
        return at.add(rows[:60]), at.subtract(rows[:60]), at.multiply(1 + rows[:60] / 64)

    def pooled(x: Any) -> Any:
        return lax.reduce_window(x, -np.inf, lax.max, (1, 3, 1), (1, 2, 1), "VALID")

    compare(scattered, x, places)
    compare(lambda x: fg.grad(lambda x: fg.numpy.sum(pooled(x) * x[:, :19]))(x), x)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("all_native")
@pytest.mark.parametrize("size", [9, 150])
@pytest.mark.parametrize("first", ["float32", "int8", "bool", "complex64", "bfloat16"])
@pytest.mark.parametrize("second", ["float64", "uint8", "float16", "complex128", "int64"])
def test_sorting_by_several_keys(first: str, second: str, size: int) -> None:
    x, y = numbers((2, size), first), numbers((2, size), second, 1)
    rest = np.arange(2 * size, dtype=np.int32).reshape(2, size)
    compare(lambda *args: lax.sort(args, 1, num_keys=2), x, y, rest)
    compare(lambda *args: lax.sort(args, 1, num_keys=1), x, y, rest)
