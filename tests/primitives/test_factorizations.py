"""Factorizations where their results are not unique, and the operands that they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.primitives import linalg

STEP = 1e-6
RNG = np.random.default_rng(0)
MATRICES = RNG.normal(size=(2, 4, 4)) + np.diag([1.0, 2.0, 4.0, 7.0])
DIRECTIONS = RNG.normal(size=(2, 4, 4))


def right_vectors(x):
    return linalg.eig(x, compute_left_eigenvectors=False, compute_right_eigenvectors=True)


def projections(x):
    """Onto each vector along the others: what of them does not depend on length or phase."""
    _, v = right_vectors(x)
    return jnp.einsum("...ik,...kj->...kij", v, jnp.linalg.inv(v))


@pytest.mark.parametrize("index", [0, slice(None)], ids=["one", "batch"])
def test_derivatives_of_eigenvectors(index):
    with fg.enable_x64():
        x, t = jnp.asarray(MATRICES[index]), jnp.asarray(DIRECTIONS[index])
        _, tangent = fg.jvp(projections, (x,), (t,))
        plus, minus = projections(x + STEP * t), projections(x - STEP * t)
        np.testing.assert_allclose(tangent, (plus - minus) / (2 * STEP), rtol=1e-6, atol=1e-7)
        (_, v), (_, v_dot) = fg.jvp(right_vectors, (x,), (t,))
        along = jnp.einsum("...ik,...ik->...k", jnp.conj(v), v_dot)
        np.testing.assert_allclose(along, np.zeros(v.shape[:-1]), atol=1e-12)


@pytest.mark.parametrize("index", [0, slice(None)], ids=["one", "batch"])
def test_left_eigenvectors(index):
    """u^H A = w u^H, with vectors of length one."""
    x = MATRICES[index]
    with fg.enable_x64():
        w, u, v = linalg.eig(x)
    adjoint = np.conj(np.swapaxes(u, -1, -2))
    np.testing.assert_allclose(adjoint @ x, np.asarray(w)[..., None] * adjoint, atol=1e-10)
    right = np.asarray(v)
    np.testing.assert_allclose(x @ right, np.asarray(w)[..., None, :] * right, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(u, axis=-2), np.ones(x.shape[:-1]), rtol=1e-12)


SQUARE = {
    "cholesky": linalg.cholesky,
    "eigh": linalg.eigh,
    "cholesky, as it is": lambda x: linalg.cholesky(x, symmetrize_input=False),
    "eigh, as it is": lambda x: linalg.eigh(x, symmetrize_input=False),
    "eig": linalg.eig,
    "triangular_solve": lambda x: linalg.triangular_solve(x, x),
}


@pytest.mark.parametrize("name", SQUARE)
def test_square_matrices_are_asked_for(name):
    for shape in ((2, 3), (3,), (2, 3, 2)):
        with pytest.raises(ValueError, match=f"{name.partition(',')[0]}: "):
            SQUARE[name](jnp.ones(shape))


WRONG_SIDES = [((3, 3), (2, 1)), ((2, 3, 3), (1, 3, 2)), ((3, 3), (1, 3, 2)), ((3, 3), (3,))]


@pytest.mark.parametrize("a, b", WRONG_SIDES, ids=str)
def test_right_hand_sides_must_fit(a, b):
    for call, side in (
        (lambda a, b: linalg.linear_solve_p.bind(a, b), "rows"),
        (lambda a, b: linalg.triangular_solve(a, b, left_side=True), "rows"),
        (lambda a, b: linalg.triangular_solve(a, b), "columns"),
    ):
        is_vector = len(b) == len(a) - 1
        right = b if side == "rows" or is_vector else (*b[:-2], b[-1], b[-2])
        if is_vector and call.__code__.co_names[1] == "triangular_solve":
            continue  # a vector for each matrix
        with pytest.raises(ValueError, match=f"solve: the right-hand side .* as many {side}"):
            call(jnp.ones(a), jnp.ones(right))


def test_systems_must_be_square():
    with pytest.raises(ValueError, match="solve: needs square matrices"):
        linalg.linear_solve(jnp.ones((2, 3)), jnp.ones((3, 1)))
