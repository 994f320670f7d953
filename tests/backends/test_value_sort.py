"""Sorting of numbers alone in native code, against NumPy and the eager sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
from funcgrad import lax
from funcgrad.config import config

pytest.importorskip("llvmlite")

from funcgrad.backends.llvm.builder import Builder, Module, Type, Value
from funcgrad.backends.llvm.register_sort import sorted_registers
from funcgrad.backends.llvm.target import host
from tests.backends.native import DTYPES as KINDS, entry_point, levels

pytestmark = pytest.mark.filterwarnings("error:jit. native:RuntimeWarning")
DTYPES = ("float32", "int32", "uint32", "float64", "int64", "uint64")
# On both sides of whole vectors, of what registers hold, and of eight vectors at once.
SIZES = (1, 2, 7, 16, 33, 129, 257, 1000, 3001)


def numbers(size: int, dtype: str, kind: str) -> np.ndarray:
    """A row of one kind."""
    rng = np.random.default_rng(size)
    if kind == "all":
        bits = rng.integers(0, 1 << 63, size, np.uint64) * np.uint64(3)
        if dtype == "float32":
            bits = bits >> np.uint64(32)
            return np.nan_to_num(bits.astype("u4").view("f4"), nan=1.0)
        return (
            np.nan_to_num(bits.view(dtype), nan=1.0) if dtype == "float64" else bits.astype(dtype)
        )
    if kind == "few":
        return rng.integers(0, 4, size).astype(dtype)
    if kind == "largest":
        info = np.finfo(dtype) if dtype.startswith("f") else np.iinfo(dtype)
        return rng.choice(np.array([info.max, info.max, info.min], dtype), size)
    if kind == "descending":
        return np.arange(size, 0, -1).astype(dtype)
    return np.zeros(size, dtype)


def native(x: np.ndarray, axis: int = -1) -> np.ndarray:
    with config.override(engine="llvm"), fg.enable_x64():
        return np.asarray(fg.jit(lambda x: lax.sort(x, axis))(x))


@pytest.mark.parametrize("kind", ["all", "few", "largest", "descending", "equal"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_all_sizes(dtype: str, kind: str) -> None:
    for size in SIZES:
        x = numbers(size, dtype, kind)
        np.testing.assert_array_equal(native(x), np.sort(x))


@pytest.mark.parametrize("shape, axis", [((40, 7), 0), ((3, 300, 5), 1), ((6, 400), 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_rows_along_any_axis(dtype: str, shape: Any, axis: int) -> None:
    x = numbers(int(np.prod(shape)), dtype, "all").reshape(shape)
    np.testing.assert_array_equal(native(x, axis), np.sort(x, axis))


@pytest.mark.parametrize("shape, axis", [((23,), 0), ((900,), 0), ((5, 300), 1), ((300, 3), 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zeros_stay_in_order_and_nan_is_last(dtype: str, shape: Any, axis: int) -> None:
    choices = np.array([0.0, -0.0, 1, -1, np.nan, -np.nan, np.inf, -np.inf], dtype)
    for some in (choices, choices[:2], choices[1:2], choices[[0, 2]], choices[4:6]):
        x = np.random.default_rng(0).choice(some, shape)
        found = native(x, axis)
        with fg.enable_x64():
            expected = np.asarray(lax.sort(fg.numpy.asarray(x), axis))
        np.testing.assert_array_equal(found, expected)
        number = ~np.isnan(found)
        np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("level", levels())
def test_narrower_registers(level: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if level is not None:
        monkeypatch.setenv("FUNCGRAD_TARGET", level)
        host.cache_clear()
    found = {}
    for dtype in ("float32", "int64"):
        for size in (5, 60, 261):
            x = numbers(3 * size, dtype, "all").reshape(3, size)
            found[dtype, size] = native(x), np.sort(x)
    host.cache_clear()
    for one, other in found.values():
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", ["i32", "i64"])
def test_networks_sort_zeros_and_ones(kind: str, count: int) -> None:
    """What sorts these sorts everything (Knuth, volume 3, section 5.3.4); random ones here."""
    module = Module(host())
    lanes = host().lanes(int(kind[1:]) // 8)

    def write(b: Builder, x: Value) -> None:
        type = Type(kind, lanes)
        at = [b.element(x, n * lanes, kind) for n in range(count)]
        for place, found in zip(at, sorted_registers(b, [b.load(a, type) for a in at])):
            b.store(found, place)

    function = entry_point(module, 1, write)
    rng = np.random.default_rng(0)
    for ones in range(count * lanes + 1):
        x = (np.arange(count * lanes) < ones).astype(KINDS[kind])
        for _ in range(3):
            rng.shuffle(x)
            given = x.copy()
            function(x.ctypes.data)
            np.testing.assert_array_equal(x, np.sort(given))
