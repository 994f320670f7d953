"""Factors of small matrices in native code: what LAPACK finds, with its signs, and residuals."""

from __future__ import annotations

from collections.abc import Callable
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
    pytest.mark.filterwarnings("error"),
    pytest.mark.usefixtures("all_native", "x64"),
]  # what cannot be compiled says so by a warning

DTYPES = ("float32", "float64", "complex64")
SQUARES = ((1, 1), (2, 2), (7, 7), (25, 25), (2, 3, 5, 5))
RECTANGLES = ((3, 5), (32, 17), (1, 4), (4, 1), (4, 20), (2, 9, 8))


def normal(shape: Any, dtype: str, seed: int = 0) -> np.ndarray:
    """Random matrices."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    if dtype.startswith("complex"):
        x = x + 1j * rng.normal(size=shape)
    return np.asarray(x, dtype)


def adjoint(x: np.ndarray) -> np.ndarray:
    return np.conj(np.swapaxes(x, -1, -2))


def native(function: Any, *args: Any) -> list[np.ndarray]:
    """What compiled code finds."""
    return compiled(function)(*args)


def compiled(function: Any) -> Callable[..., list[np.ndarray]]:
    """Compiled once for all calls with operands of one kind."""
    jitted = fg.jit(function)

    def run(*args: Any) -> list[np.ndarray]:
        with config.override(engine="llvm"):
            return [np.asarray(x) for x in fg.tree.leaves(jitted(*args))]

    return run


def eager(function: Any, *args: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in fg.tree.leaves(function(*args))]


def difference(a: np.ndarray, e: np.ndarray, scale: Any = None) -> float:
    """In units of rounding at the scale of the largest element."""
    size = np.max(np.abs(e)) if scale is None else scale
    return float(np.max(np.abs(a - e)) / (size * np.finfo(e.dtype).eps))


def error_of_product(x: np.ndarray, product: np.ndarray) -> float:
    """The largest difference of a column from that of the matrix, in its own units of rounding."""
    lengths = np.sqrt(np.sum(np.abs(x) ** 2, axis=-2, keepdims=True))
    return float(np.max(np.abs(product - x) / lengths) / np.finfo(x.dtype).eps)


def error_of_columns(q: np.ndarray) -> float:
    """How far columns are from being orthonormal."""
    return difference(adjoint(q) @ q, np.eye(q.shape[-1], dtype=q.dtype), 1.0)


# Rounding: about sqrt(n) units for each of n reflections; random matrices stay below 20 units
# where the bounds of backward analysis are hundreds.
BOUND = 40


@pytest.mark.parametrize("pivoting", [False, True])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", [*SQUARES, *RECTANGLES], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_qr(dtype: str, shape: Any, full: bool, pivoting: bool) -> None:
    x = normal(shape, dtype)
    function = lambda x: linalg.qr(x, full_matrices=full, pivoting=pivoting)
    found, expected = native(function, x), eager(function, x)
    q, r = found[:2]
    if pivoting:
        np.testing.assert_array_equal(found[2], expected[2])
        x = np.take_along_axis(x, found[2][..., None, :], -1)
    assert error_of_product(x, q @ r) < BOUND and error_of_columns(q) < BOUND
    assert not np.any(np.tril(r, -1))
    # The sensitivity of factors is the matrix's condition, which is below 200 here.
    assert all(difference(a, e) < 200 for a, e in zip(found[:2], expected[:2], strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_qr_of_unusual_matrices(dtype: str) -> None:
    """Graded, singular and zero ones, of tiny and huge numbers: residuals by columns."""
    n, tiny = 12, np.finfo(dtype).tiny
    x = normal((n, n), dtype)
    powers = np.logspace(-20, 15, n).astype(x.real.dtype)
    rank_one = np.outer(x[0], x[1])
    cases = [
        x * powers, x * powers[::-1], powers[:, None] * x, rank_one, np.ones((n, n), dtype),
        np.triu(x), np.eye(n, dtype=dtype), x * (tiny * 1e3), x / (tiny * 1e3), -np.eye(n, 5),
    ]  # fmt: skip
    qr = compiled(lambda x: linalg.qr(x, full_matrices=False))
    for case in (np.asarray(c, dtype) for c in cases):
        q, r = qr(case)
        assert error_of_columns(q) < BOUND
        wide = np.complex128 if dtype == "complex64" else np.float64
        a, product = case.astype(wide), q.astype(wide) @ r.astype(wide)
        lengths = np.max(np.abs(a), axis=0)
        assert np.max(np.abs(a - product) / lengths) < BOUND * np.finfo(dtype).eps
    zero = np.zeros((4, 3), dtype)
    q, r = native(linalg.qr, zero)
    np.testing.assert_array_equal(q, np.eye(4))
    np.testing.assert_array_equal(r, zero)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_qr_of_what_is_not_finite(bad: float) -> None:
    """Everything from that column on, as LAPACK leaves it."""
    x = normal((4, 4), "float32")
    x[2, 1] = bad
    q, r = native(linalg.qr, x)
    assert np.isfinite(r[:, 0]).all() and np.isnan(r[:2, 1:]).any() and np.isnan(q).any()


def hermitian(x: np.ndarray) -> np.ndarray:
    return np.asarray((x + adjoint(x)) / 2, x.dtype)


def check_eigh(x: np.ndarray, v: np.ndarray, w: np.ndarray) -> None:
    """Vectors, their order, and values within rounding of LAPACK's."""
    size = np.linalg.norm(x, 2, axis=(-2, -1)).max() or 1.0
    assert difference(x @ v, v * w[..., None, :].astype(x.dtype), size) < BOUND
    assert error_of_columns(v) < BOUND
    assert np.all(np.diff(w, axis=-1) >= 0)
    assert difference(w, np.linalg.eigvalsh(x), size) < BOUND


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("shape", [*SQUARES, (4, 32, 32)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_eigh(dtype: str, shape: Any, lower: bool) -> None:
    x = hermitian(normal(shape, dtype))
    other = np.triu(normal(shape, dtype, 1), 1)  # what is not read
    given = np.tril(x) + other if lower else np.triu(x) + np.swapaxes(other, -1, -2)
    function = lambda x: linalg.eigh(x, lower=lower, symmetrize_input=False)
    (v, w), (v_expected, _) = native(function, given), eager(function, given)
    check_eigh(x, v, w)
    signs = np.real(np.sum(np.conj(v) * v_expected, axis=-2))
    np.testing.assert_allclose(signs, 1.0, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_eigh_of_unusual_matrices(dtype: str) -> None:
    """Repeated eigenvalues, zeros, blocks, rank one, graded both ways, tiny and huge."""
    n, tiny = 12, np.finfo(dtype).tiny
    x = hermitian(normal((n, n), dtype))
    powers = np.logspace(0, -10, n).astype(x.real.dtype)
    q = np.linalg.qr(normal((n, n), dtype))[0]
    halves = np.diag([1.0, 1, 1, 2, 2, 2, 2, 2, -1, -1, 0, 0])
    blocks = np.kron(np.eye(4), np.array([[0, 1, 0], [1, 0, 0], [0, 0, 3]]))
    cases = [
        hermitian(q @ halves @ adjoint(q)), blocks, np.zeros((n, n)), np.eye(n), -np.ones((n, n)),
        powers[:, None] * x * powers, powers[::-1, None] * x * powers[::-1],
        np.diag(np.arange(n) % 3), np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1),
        x * (tiny * 1e8), x / (tiny * 1e8), np.outer(x[0], np.conj(x[0])),
    ]  # fmt: skip
    eigh = compiled(lambda x: linalg.eigh(x, symmetrize_input=False))
    for case in (hermitian(np.asarray(c, dtype)) for c in cases):
        check_eigh(case, *eigh(case))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_eigh_of_what_is_not_finite(bad: float) -> None:
    """NaN, and the other matrices of the batch are as ever."""
    x = hermitian(normal((3, 5, 5), "float32"))
    expected = native(linalg.eigh, x)
    x[1, 3, 2] = bad
    for found, e in zip(native(linalg.eigh, x), expected, strict=True):
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(found[::2], e[::2])


def test_small_eigenvalues_of_graded_matrices() -> None:
    """Relative to themselves, where the grading allows LAPACK's route to see them."""
    powers = 10.0 ** -np.arange(10)
    x = powers[:, None] * (np.eye(10) + 0.1) * powers
    w = native(linalg.eigh, x)[1]
    with_care = np.sort(np.linalg.svd(np.linalg.cholesky(x), compute_uv=False) ** 2)
    np.testing.assert_allclose(w, with_care, rtol=1e-6)


def check_svd(x: np.ndarray, u: np.ndarray, s: np.ndarray, vh: np.ndarray) -> None:
    k = s.shape[-1]
    size = s.max() or 1.0
    assert difference((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], x, size) < BOUND
    assert error_of_columns(u) < BOUND and error_of_columns(adjoint(vh)) < BOUND
    assert np.all(s >= 0) and np.all(np.diff(s, axis=-1) <= 0)
    assert difference(s, np.linalg.svd(x, compute_uv=False), size) < BOUND


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", [*SQUARES, *RECTANGLES, (3, 32, 28)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_svd(dtype: str, shape: Any, full: bool) -> None:
    x = normal(shape, dtype)
    function = lambda x: linalg.svd(x, full_matrices=full)
    (u, s, vh), (u_expected, _, vh_expected) = native(function, x), eager(function, x)
    check_svd(x, u, s, vh)
    k = s.shape[-1]
    # Vectors of values that are close to each other are as sensitive as these are close.
    np.testing.assert_allclose(u[..., :k], u_expected[..., :k], atol=2e-3)
    np.testing.assert_allclose(vh[..., :k, :], vh_expected[..., :k, :], atol=2e-3)
    (values,) = native(lambda x: linalg.svd(x, compute_uv=False), x)
    assert difference(values, s) < BOUND


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("shape", [(12, 12), (12, 7), (5, 12)], ids=str)
def test_svd_of_unusual_matrices(shape: Any, dtype: str) -> None:
    """Repeated values, zeros, rank one, bidiagonal, graded, tiny and huge."""
    x, tiny = normal(shape, dtype), np.finfo(dtype).tiny
    m, n = shape
    rows, columns = (np.logspace(0, -10, k).astype(x.real.dtype) for k in shape)
    q = np.linalg.qr(normal((m, m), dtype))[0]
    zero_rows = np.where(np.arange(m)[:, None] % 3 == 0, 0, x)
    cases = [
        q[:, :n], np.zeros(shape), np.eye(m, n), -np.ones(shape), np.outer(x[:, 0], x[0]),
        np.eye(m, n) + np.eye(m, n, k=1), np.eye(m, n) + np.eye(m, n, k=-1), zero_rows,
        rows[:, None] * x, x * columns, x * columns[::-1], rows[::-1, None] * x * columns[::-1],
        x * (tiny * 1e8), x / (tiny * 1e8), np.diag(np.arange(m) % 3)[:, :n],
    ]  # fmt: skip
    full, thin = (
        compiled(lambda x, all=all: linalg.svd(x, full_matrices=all)) for all in (True, False)
    )
    for case in (np.asarray(c, dtype) for c in cases):
        check_svd(case, *full(case))
        check_svd(case, *thin(case))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_svd_of_what_is_not_finite(bad: float) -> None:
    x = normal((3, 5, 4), "float32")
    expected = native(linalg.svd, x)
    x[1, 3, 2] = bad
    for found, e in zip(native(linalg.svd, x), expected, strict=True):
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(found[::2], e[::2])


def test_small_singular_values_of_bidiagonal_matrices() -> None:
    """To their last digits, whatever the largest ones are (Demmel and Kahan 1990, theorem 2)."""
    n = 10
    d, e = 10.0 ** -(1.5 * np.arange(n)), 10.0 ** -(1.5 * np.arange(n - 1) + 0.3)
    x = np.diag(d) + np.diag(e, 1)
    (s,) = native(lambda x: linalg.svd(x, compute_uv=False), x)
    np.testing.assert_allclose(np.prod(s[-3:]) * np.prod(s[:-3]), np.prod(d), rtol=1e-12)
    # The inverse has the reciprocal values, of which the largest are the accurate ones.
    exact = 1 / np.linalg.svd(np.linalg.inv(x), compute_uv=False)[:3]
    np.testing.assert_allclose(s[:-4:-1], exact, rtol=1e-12)


def test_factors_of_larger_matrices_are_lapacks() -> None:
    """They run outside."""
    x = normal((40, 33), "float32")
    with pytest.warns(RuntimeWarning, match="svd runs outside"):
        native(linalg.svd, x)


@pytest.fixture
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with narrower registers."""
    if request.param is not None:
        monkeypatch.setenv("FUNCGRAD_TARGET", request.param)
        host.cache_clear()
    yield request.param
    host.cache_clear()


@pytest.mark.parametrize("level", levels(), indirect=True)
def test_narrower_registers(level: str | None) -> None:
    """Rows of several vectors each."""
    for dtype in ("float64", "complex64"):
        x = normal((2, 21, 13), dtype)
        q, r = native(lambda x: linalg.qr(x, full_matrices=False), x)
        assert error_of_product(x, q @ r) < BOUND and error_of_columns(q) < BOUND
        check_svd(x, *native(linalg.svd, x))
        h = hermitian(x @ adjoint(x))
        check_eigh(h, *native(lambda x: linalg.eigh(x, symmetrize_input=False), h))
