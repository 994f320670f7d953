"""Special functions in native code: their formulas' values, on all edges of their domains."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
from funcgrad.config import config
from funcgrad.core import dtypes
from funcgrad.primitives.special import functions

pytest.importorskip("llvmlite")

from funcgrad.backends.llvm.target import host
from tests.backends.native import levels

pytestmark = [
    pytest.mark.filterwarnings("error:jit. native:RuntimeWarning"),
    pytest.mark.usefixtures("all_native", "x64"),
]
FUNCTIONS = (
    "zeta", "polygamma", "igamma", "igammac", "igamma_grad_a", "random_gamma_grad",
    "regularized_incomplete_beta",
)  # fmt: skip
EDGES = (0, -0.0, 1, 2, 0.5, -1, -2.5, np.inf, -np.inf, np.nan, 1e-30, 1e30, 30, 170, -30.5, 5)
# Own logarithms and powers, at large exponents; and differences, of which the worst are left to
# the digits that their terms share.
ULPS = 2000


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """NumPy says nothing of overflows and poles."""
    with np.errstate(all="ignore"):
        yield


def operands(name: str, dtype: Any, size: int = 300) -> list[np.ndarray]:
    """All combinations of edges, and random numbers."""
    count = 3 if name == "regularized_incomplete_beta" else 2
    rng = np.random.default_rng(0)
    grid = np.array(list(itertools.product(EDGES, repeat=count))).T
    random = rng.gamma(0.7, 8, size=(count, size))
    if name == "polygamma":
        random[0] = np.round(random[0])
    if count == 3:
        random[2] = rng.uniform(0, 1, size)
    return list(np.concatenate([grid, random], axis=1).astype(dtypes.as_dtype(dtype)))


def native(function: Any, *args: Any) -> np.ndarray:
    with config.override(engine="llvm"):
        return np.asarray(fg.jit(function)(*args))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_numbers(name: str) -> None:
    function = getattr(functions, name)
    args = operands(name, "float64")
    found, expected = native(function, *args), np.asarray(function(*args))
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=ULPS * 2.0**-52, atol=1e-300)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_rounded_once(name: str, dtype: str) -> None:
    """So they are the same bits, but for numbers half way between two."""
    function = getattr(functions, name)
    args = operands(name, dtype)
    found, expected = (x.astype(np.float64) for x in (native(function, *args), function(*args)))
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    assert np.mean(same) > 0.999
    info = dtypes.finfo(dtypes.as_dtype(dtype))
    np.testing.assert_allclose(found, expected, rtol=float(info.eps), atol=float(info.tiny))


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 8)], ids=str)
def test_shapes_and_operands_of_rank_0(shape: Any) -> None:
    x = np.random.default_rng(0).gamma(2.0, size=shape)
    for function in (lambda x: functions.igamma(2.5, x), lambda x: functions.zeta(x + 1, 0.25)):
        np.testing.assert_allclose(native(function, x), np.asarray(function(x)), rtol=1e-12)


@pytest.mark.parametrize("level", levels())
def test_narrower_registers(level: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if level is not None:
        monkeypatch.setenv("FUNCGRAD_TARGET", level)
        host.cache_clear()
    args = operands("igammac", "float64", 301)
    found = native(functions.igammac, *args)
    host.cache_clear()
    expected = np.asarray(functions.igammac(*args))
    np.testing.assert_allclose(found, expected, rtol=ULPS * 2.0**-52, atol=1e-300)


def test_negative_arguments_of_zeta() -> None:
    """One term for each integer up to zero, however many."""
    q = -np.array([0.5, 99.25, 9999.5, 10000.5])
    found = native(lambda q: functions.zeta(np.float64(3.0), q), q)
    np.testing.assert_allclose(found, functions.zeta(np.float64(3.0), q), rtol=1e-9)


def test_neighbours_do_not_matter() -> None:
    """What converges at once is not spoilt by the steps that others need."""
    a, x = np.full(9, 900.0), np.full(9, 950.0)
    a[4], x[4] = 0.5, 1e30
    for found in (native(functions.igamma, a, x), np.asarray(functions.igamma(a, x))):
        assert found[4] == 1.0 and np.all(found[:4] == found[5])
