"""`funcgrad.scipy.linalg` against scipy, and its gradients against jax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp

scipy_linalg = pytest.importorskip("scipy.linalg")
ours = fg.scipy.linalg

RNG = np.random.default_rng(0)
GENERAL = RNG.normal(size=(4, 4))
POSITIVE = GENERAL @ GENERAL.T + 4 * np.eye(4)
TALL = RNG.normal(size=(5, 3))
VECTOR, COLUMNS = RNG.normal(size=4), RNG.normal(size=(4, 2))


def wide(x: Any) -> Any:
    return jnp.asarray(x, dtype="float64")


@pytest.mark.parametrize("b", [VECTOR, COLUMNS], ids=["vector", "columns"])
@pytest.mark.parametrize("lower", [False, True])
def test_solving(b: Any, lower: bool) -> None:
    expected = np.linalg.solve(POSITIVE, b)
    found = [
        ours.cho_solve(ours.cho_factor(wide(POSITIVE), lower=lower), wide(b)),
        ours.solve(wide(POSITIVE), wide(b), assume_a="pos", lower=lower),
        ours.solve(wide(POSITIVE), wide(b)),
        ours.lu_solve(ours.lu_factor(wide(POSITIVE)), wide(b)),
    ]
    for x in found:
        np.testing.assert_allclose(x, expected, rtol=1e-10)


@pytest.mark.parametrize("trans", [0, 1, 2])
def test_transposed_systems(trans: int) -> None:
    for lower in (False, True):
        expected = scipy_linalg.solve_triangular(GENERAL, VECTOR, trans=trans, lower=lower)
        got = ours.solve_triangular(wide(GENERAL), wide(VECTOR), trans=trans, lower=lower)
        np.testing.assert_allclose(got, expected, rtol=1e-9)
    expected = scipy_linalg.lu_solve(scipy_linalg.lu_factor(GENERAL), VECTOR, trans=trans)
    got = ours.lu_solve(ours.lu_factor(wide(GENERAL)), wide(VECTOR), trans=trans)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("a", [GENERAL, TALL, TALL.T], ids=["square", "tall", "wide"])
def test_factors_multiply_to_the_matrix(a: Any) -> None:
    p, lower, upper = ours.lu(wide(a))
    np.testing.assert_allclose(p @ lower @ upper, a, atol=1e-12)
    for expected, got in zip(scipy_linalg.lu(a), (p, lower, upper), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)
    q, r = ours.qr(wide(a), mode="economic")
    np.testing.assert_allclose(q @ r, a, atol=1e-12)
    u, s, vh = ours.svd(wide(a), full_matrices=False)
    np.testing.assert_allclose((u * s) @ vh, a, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_expm(scale: float) -> None:
    expected = scipy_linalg.expm(scale * GENERAL)
    np.testing.assert_allclose(ours.expm(wide(scale * GENERAL)), expected, rtol=1e-8)
    single = ours.expm(jnp.asarray(GENERAL, dtype="float32"))
    np.testing.assert_allclose(single, scipy_linalg.expm(GENERAL), rtol=1e-4)
    stack = ours.expm(wide(np.stack([GENERAL, scale * GENERAL])))
    np.testing.assert_allclose(stack[1], expected, rtol=1e-8)


def test_expm_gives_up_with_nan() -> None:
    assert np.isnan(np.asarray(ours.expm(1e9 * jnp.eye(2)))).all()


def test_structured_matrices() -> None:
    blocks = [np.ones((2, 3)), np.full((1, 1), 5.0), np.ones(2)]
    np.testing.assert_array_equal(ours.block_diag(*blocks), scipy_linalg.block_diag(*blocks))
    c, r = np.array([1.0, 2.0, 3.0]), np.array([9.0, 4.0])
    np.testing.assert_array_equal(ours.toeplitz(c, r), scipy_linalg.toeplitz(c, r))
    np.testing.assert_array_equal(ours.toeplitz(c), scipy_linalg.toeplitz(c))


@pytest.mark.oracle
def test_gradients_of_a_gaussian_process() -> None:
    jax = pytest.importorskip("jax")
    x, y = np.linspace(0, 1, 6, dtype=np.float32), np.sin(np.arange(6, dtype=np.float32))

    def likelihood(lib: Any, np_: Any, scale: Any) -> Any:
        kernel = np_.exp(-((x[:, None] - x[None, :]) ** 2) / scale**2) + 0.1 * np_.eye(6)
        factor = lib.scipy.linalg.cho_factor(kernel, lower=True)
        fit = y @ lib.scipy.linalg.cho_solve(factor, y)
        return 0.5 * fit + np_.sum(np_.log(np_.diagonal(factor[0])))

    pytest.importorskip("jax.scipy.linalg")

    got = fg.jit(fg.value_and_grad(lambda s: likelihood(fg, jnp, s)))(0.5)
    expected = jax.value_and_grad(lambda s: likelihood(jax, jax.numpy, s))(0.5)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_messages() -> None:
    with pytest.raises(ValueError, match="solve_triangular: trans must be"):
        ours.solve_triangular(jnp.eye(2), jnp.ones(2), trans=7)
    with pytest.raises(ValueError, match="qr: mode must be"):
        ours.qr(jnp.eye(2), mode="odd")
