"""Eigenvalues of small general matrices in native code: LAPACK's, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
from funcgrad.config import config
from funcgrad.primitives import linalg

pytest.importorskip("llvmlite")

from funcgrad.backends.llvm.target import host
from tests.backends.native import levels

pytestmark = [
    pytest.mark.filterwarnings("error:jit. native:RuntimeWarning"),
    pytest.mark.usefixtures("all_native", "x64"),
]
# In units of rounding at the matrix's norm: random matrices stay below 20, as LAPACK does.
BOUND = 60


def right(x: Any) -> Any:
    return linalg.eig(x, compute_left_eigenvectors=False)


def native(function: Any, x: np.ndarray) -> list[np.ndarray]:
    with config.override(engine="llvm"):
        return [np.asarray(a) for a in fg.jit(function)(x)]


def check(x: np.ndarray, w: np.ndarray, v: np.ndarray) -> None:
    """x v = v w, vectors of length one, and those of pairs each other's conjugates."""
    unit = np.finfo(x.dtype).eps
    norm = np.linalg.norm(x, 2, axis=(-2, -1)).max() or 1.0
    assert np.max(np.abs(x @ v - v * w[..., None, :])) < BOUND * unit * norm
    np.testing.assert_allclose(np.linalg.norm(v, axis=-2), 1.0, rtol=8 * unit)
    first = w[..., :-1].imag > 0
    np.testing.assert_array_equal(w[..., 1:][first], np.conj(w[..., :-1][first]))
    vectors = np.swapaxes(v, -1, -2)
    np.testing.assert_array_equal(vectors[..., 1:, :][first], np.conj(vectors[..., :-1, :][first]))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 17, 32])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_matrices(dtype: str, n: int) -> None:
    x = np.random.default_rng(n).normal(size=(6, n, n)).astype(dtype)
    w, v = native(right, x)
    check(x, w, v)
    expected, vectors = (np.asarray(a) for a in right(x))
    np.testing.assert_allclose(w, expected, atol=1e-11 if dtype == "float64" else 1e-4)
    # The sign of a pair's vectors depends on how many steps were taken.
    products = np.sum(np.conj(v) * vectors, axis=-2)
    np.testing.assert_allclose(np.where(w.imag, np.abs(products), products.real), 1, rtol=1e-3)
    (values,) = native(
        lambda x: linalg.eig(x, compute_left_eigenvectors=False, compute_right_eigenvectors=False),
        x,
    )
    np.testing.assert_array_equal(values, w)


def near(one: np.ndarray, other: np.ndarray, bound: float) -> None:
    """The same values in some order."""
    for x, y in ((one, other), (other, one)):
        assert np.max(np.min(np.abs(x[..., None] - y[..., None, :]), axis=-1)) < bound


def complex_normal(shape: Any, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(shape[-1])
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 27])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_matrices(dtype: str, n: int) -> None:
    """Vectors have a real, positive element where they are largest."""
    x = complex_normal((5, n, n), dtype)
    w, v = native(right, x)
    unit = np.finfo(dtype).eps
    assert np.max(np.abs(x @ v - v * w[..., None, :])) < BOUND * unit * np.linalg.norm(x[0], 2)
    np.testing.assert_allclose(np.linalg.norm(v, axis=-2), 1.0, rtol=8 * unit)
    largest = np.take_along_axis(v, np.argmax(np.abs(v), axis=-2)[..., None, :], -2)
    assert np.all(largest.real > 0) and np.all(largest.imag == 0)
    expected, vectors = (np.asarray(a) for a in right(x))
    near(w, expected, 1e-11 if dtype == "complex128" else 1e-4)
    if n <= 8:  # the order of more depends on the last bits
        np.testing.assert_allclose(v, vectors, atol=1e-3)


@pytest.mark.parametrize("name", ["zero", "triangular", "Jordan", "nilpotent", "cyclic", "sparse"])
def test_unusual_complex_matrices(name: str) -> None:
    x = complex_normal((8, 8), "complex128")
    cases = {
        "zero": 0 * x, "triangular": np.tril(x), "Jordan": 2j * np.eye(6) + np.eye(6, k=1),
        "nilpotent": np.eye(20, k=1) + 0j, "cyclic": 1j * np.eye(6)[[1, 2, 3, 4, 5, 0]],
        "sparse": x * (np.abs(x) > 1.5),
    }  # fmt: skip
    x = cases[name]
    w, v = native(right, x)
    assert np.max(np.abs(x @ v - v * w)) < BOUND * 2.0**-52 * (np.linalg.norm(x, 2) or 1.0)
    near(w, np.linalg.eigvals(x), 1e-12)


@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_left_vectors(dtype: str, n: int) -> None:
    """u^H x = w u^H, with length one; alone and with the right ones."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=(3, n, n)).astype(dtype)
    if dtype == "complex128":
        x = x + 1j * rng.normal(size=x.shape)
    w, u, v = native(linalg.eig, x)
    np.testing.assert_array_equal(v, native(right, x)[1])
    adjoint = np.conj(np.swapaxes(u, -1, -2))
    unit = np.finfo(dtype).eps
    # The inverse loses what the vectors' condition costs, which is below 30 here.
    assert np.max(np.abs(adjoint @ x - w[..., None] * adjoint)) < 30 * BOUND * unit
    np.testing.assert_allclose(np.linalg.norm(u, axis=-2), 1.0, rtol=8 * unit)
    only = lambda x: linalg.eig(x, compute_right_eigenvectors=False)
    np.testing.assert_array_equal(native(only, x)[1], u)
    expected = np.asarray(linalg.eig(x)[1])
    products = np.abs(np.sum(np.conj(u) * expected, axis=-2))
    np.testing.assert_allclose(products, 1, rtol=1e-3)


def unusual() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 8))
    powers = 10.0 ** np.arange(8)
    return {
        "upper triangular": np.triu(x), "lower triangular": np.tril(x), "diagonal": np.diag(x[0]),
        "zero": np.zeros((4, 4)), "Jordan": 2 * np.eye(6) + np.eye(6, k=1),
        "nilpotent": np.eye(20, k=1), "cyclic": np.eye(6)[[1, 2, 3, 4, 5, 0]],
        "badly scaled": powers[:, None] * x / powers, "symmetric": x + x.T, "skew": x - x.T,
        "ones": np.ones((5, 5)), "pairs": np.kron(np.eye(3), [[1, 2], [-2, 1]]),
        "companion": np.diag(np.ones(9), -1) - np.outer(np.eye(10)[0], rng.normal(size=10)),
        "sparse": x * (rng.uniform(size=(8, 8)) < 0.25), "huge": x * 1e200, "tiny": x * 1e-200,
        "two equal pairs": np.kron([[1, 1], [0, 1]], [[1, 2], [-2, 1]]).astype(float),
    }  # fmt: skip


@pytest.mark.parametrize("name", unusual())
def test_unusual_matrices(name: str) -> None:
    x = unusual()[name]
    w, v = native(right, x)
    check(x, w, v)
    norm = np.linalg.norm(x, 2) or 1.0
    expected = np.linalg.eigvals(x)
    # Of defective matrices values are known to a root of rounding.
    bound = 1e-6 if name in ("Jordan", "two equal pairs") else 1e-12
    near(w, expected, bound * norm)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite(bad: float) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 4))
    expected = native(right, x)
    x[1, 2, 0] = bad
    for found, e in zip(native(right, x), expected, strict=True):
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(found[::2], e[::2])


@pytest.mark.parametrize("level", levels())
def test_narrower_registers(level: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if level is not None:
        monkeypatch.setenv("FUNCGRAD_TARGET", level)
        host.cache_clear()
    x = np.random.default_rng(1).normal(size=(2, 19, 19))
    found = native(right, x)
    host.cache_clear()
    check(x, *found)
