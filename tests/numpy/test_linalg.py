"""Linear algebra, compared with jax: values, types, gradients; identities where phases are free."""

from __future__ import annotations

import numpy
import pytest

import funcgrad
import funcgrad.numpy as jnp
from funcgrad.primitives import linalg as primitives
from tests.numpy.expressions import check, check_gradient, check_jit, check_raises, rows

pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

# Factorizations of well conditioned matrices in float32, by other LAPACK versions than jax's.
TOLERANCE = 1e-4

SQUARE = "(np.cos(X[0, :, :3]) + 2 * np.eye(3))"
BATCH = "(np.cos(X[:, :, :3]) + 2 * np.eye(3))"
FOUR = "(np.cos(X).reshape(6, 4)[:4] + 2 * np.eye(4))"
TALL, WIDE = "np.cos(M * M / 5).T", "np.cos(M * M / 5)"
HERMITIAN = "(np.cos(X[0, :, :3]) + 1j * np.sin(X[1, :, :3]) + 2 * np.eye(3))"
DEFINITE = f"({SQUARE} @ {SQUARE}.T)"


def table(text: str) -> list[str]:
    """Rows with the matrices above written in."""
    names = {"SQUARE": SQUARE, "BATCH": BATCH, "FOUR": FOUR, "TALL": TALL, "WIDE": WIDE,
             "DEFINITE": DEFINITE, "COMPLEX": HERMITIAN}  # fmt: skip
    for name, matrix in names.items():
        text = text.replace(name, matrix)
    return rows(text)


SMOOTH = table("""
    np.linalg.inv(SQUARE)
    np.linalg.inv(BATCH)
    np.linalg.solve(SQUARE, V[:3])
    np.linalg.solve(SQUARE, M)
    np.linalg.solve(BATCH, M)
    np.linalg.solve(BATCH, V[:3])
    np.linalg.solve(SQUARE, X)
    np.linalg.det(SQUARE)
    np.linalg.det(BATCH)
    np.linalg.det(FOUR)
    np.linalg.slogdet(SQUARE)[1]
    np.linalg.slogdet(BATCH)[1]
    np.linalg.cholesky(DEFINITE)
    np.linalg.cholesky(DEFINITE, upper=True)
    np.linalg.qr(SQUARE)
    np.linalg.qr(TALL)
    np.linalg.qr(WIDE)
    np.linalg.qr(TALL, "complete")[1]
    np.linalg.svdvals(TALL)
    np.linalg.svd(WIDE, compute_uv=False)
    np.linalg.eigvalsh(DEFINITE)
    np.linalg.pinv(TALL)
    np.linalg.pinv(WIDE)
    np.linalg.matrix_power(SQUARE, 3)
    np.linalg.matrix_power(SQUARE, -2)
    np.linalg.multi_dot([TALL, WIDE, V[:4]])
    np.linalg.lstsq(TALL, V[:4])[0]
    np.linalg.lstsq(TALL, V[:4])[1]
    np.linalg.norm(D)
    np.linalg.norm(M + 1)
    np.linalg.norm(M + 1, axis=1)
    np.linalg.norm(D, 1)
    np.linalg.norm(D, np.inf)
    np.linalg.norm(D, 3)
    np.linalg.norm(D, -2)
    np.linalg.norm(TALL, 1)
    np.linalg.norm(TALL, "fro")
    np.linalg.norm(TALL, "nuc")
    np.linalg.norm(TALL, 2)
    np.linalg.norm(TALL, -2)
    np.linalg.norm(TALL, -1)
    np.linalg.norm(TALL, np.inf)
    np.linalg.cond(SQUARE)
    np.linalg.cond(SQUARE, 1)
    np.linalg.trace(BATCH)
    np.linalg.diagonal(BATCH, offset=1)
""")

VALUES = SMOOTH + table("""
    np.linalg.slogdet(SQUARE)
    np.linalg.slogdet(-SQUARE)
    np.linalg.slogdet(COMPLEX)
    np.linalg.slogdet(np.zeros((2, 2)))
    np.linalg.det(np.zeros((0, 0)))
    np.linalg.det(np.arange(4).reshape(2, 2))
    np.linalg.inv(np.array([[1.0, 2.0], [2.0, 4.0]]))
    np.linalg.cholesky(-np.eye(2))
    np.linalg.inv(COMPLEX)
    np.linalg.solve(COMPLEX, V[:3])
    np.linalg.det(COMPLEX)
    np.linalg.qr(TALL, "r")
    np.linalg.eigh(DEFINITE)[0]
    np.sort(np.linalg.eigvals(SQUARE))
    np.linalg.svd(DEFINITE, hermitian=True)[1]
    np.linalg.svd(TALL)[1]
    np.linalg.pinv(DEFINITE, hermitian=True)
    np.linalg.pinv(TALL, rtol=0.5)
    np.linalg.matrix_power(I[:4].reshape(2, 2), 3)
    np.linalg.matrix_power(SQUARE, 0)
    np.linalg.matrix_rank(M)
    np.linalg.matrix_rank(V)
    np.linalg.matrix_rank(SQUARE, tol=2.5)
    np.linalg.matrix_rank(BATCH)
    np.linalg.lstsq(WIDE, V[:3])
    np.linalg.lstsq(TALL, M.T)
    np.linalg.lstsq(TALL, V[:4], numpy_resid=True)
    np.linalg.cond(np.array([[1.0, 2.0], [2.0, 4.0]]), "fro")
    np.linalg.norm(D, 0)
    np.linalg.norm(D, -np.inf)
    np.linalg.norm(I)
    np.linalg.norm(I, 1)
    np.linalg.norm(D * 1j)
    np.linalg.norm(X, axis=(0, 2))
    np.linalg.norm(X, "nuc", axis=(2, 0), keepdims=True)
    np.linalg.norm(X, 1, axis=(0, 2), keepdims=True)
    np.linalg.norm(X, keepdims=True)
    np.linalg.norm(E)
    np.linalg.vector_norm(X)
    np.linalg.vector_norm(X, axis=(0, 1), ord=1)
    np.linalg.matrix_norm(X, ord="nuc", keepdims=True)
    np.linalg.cross(M[:, :3], M[:, 1:])
    np.linalg.outer(V, D)
    np.linalg.tensordot(X, M, axes=((2,), (1,)))
    np.linalg.vecdot(X, M)
    np.linalg.matmul(M, M.T)
    np.linalg.matrix_transpose(X)
    np.linalg.tensorinv(np.cos(X).reshape(2, 3, 4)[:, :, :1] + np.eye(6).reshape(2, 3, 6))
""")

RAISES = table("""
    np.linalg.inv(M)
    np.linalg.inv(V)
    np.linalg.solve(SQUARE, M.T)
    np.linalg.det(M)
    np.linalg.cholesky(M)
    np.linalg.qr(SQUARE, "odd")
    np.linalg.norm(D, "fro")
    np.linalg.norm(TALL, 3)
    np.linalg.norm(X, 2)
    np.linalg.norm(X, axis=(0, 1, 2))
    np.linalg.matrix_power(M, 2)
    np.linalg.multi_dot([M])
    np.linalg.outer(M, V)
    np.linalg.cross(V, V)
    np.linalg.eigh(SQUARE, UPLO="X")
    np.linalg.tensorinv(M, ind=0)
    np.linalg.matrix_rank(M, 0.1, tol=0.1)
""")


@pytest.mark.parametrize("text", VALUES)
def test_same_as_jax(text: str) -> None:
    check(text, TOLERANCE)


@pytest.mark.parametrize("text", SMOOTH)
def test_compiled_is_the_same(text: str) -> None:
    check_jit(text)


@pytest.mark.parametrize("text", SMOOTH)
def test_gradient_is_jaxs(text: str) -> None:
    check_gradient(text, 2e-3)  # inverses multiply the errors of both libraries


@pytest.mark.parametrize("text", RAISES)
def test_raises_where_jax_does(text: str) -> None:
    check_raises(text)


def test_norm_at_zero_has_jaxs_gradient() -> None:
    assert numpy.isnan(funcgrad.grad(jnp.linalg.norm)(jnp.zeros(3))).all()
    assert not funcgrad.grad(lambda x: jnp.linalg.norm(x, 1))(jnp.zeros(3)).any()


def test_matrix_rank_has_a_relative_tolerance() -> None:
    x = numpy.diag([100.0, 20.0, 5.0]).astype("float32")
    for rtol in (0.01, 0.1, 0.3):
        assert int(jnp.linalg.matrix_rank(x, rtol=rtol)) == numpy.linalg.matrix_rank(x, rtol=rtol)


# ---- complex factors: identities that hold whatever the phases are -----------------------------


def draw(*shape: int) -> numpy.ndarray:
    rng = numpy.random.default_rng(len(shape))
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def adjoint(x: numpy.ndarray) -> numpy.ndarray:
    return numpy.conj(numpy.swapaxes(x, -1, -2))


def with_tangents(function, x, t):
    """The factors of x and their tangents, in double precision."""
    with funcgrad.enable_x64(True):
        out, dot = funcgrad.jvp(function, (jnp.asarray(x),), (jnp.asarray(t),))
        return [numpy.asarray(v) for v in (*out, *dot)]


def close(a, b=0.0) -> None:
    numpy.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 5, 3)])
def test_svd_tangents_rebuild_the_tangent(shape) -> None:
    x, t = draw(*shape), draw(*shape[:-1], shape[-1])[::-1].copy()
    u, s, vh, du, ds, dvh = with_tangents(lambda x: jnp.linalg.svd(x, False), x, t)
    s, ds = s[..., None, :], ds[..., None, :]
    close(du * s @ vh + u * ds @ vh + u * s @ dvh, t)
    close(adjoint(u) @ du + adjoint(du) @ u)
    close(dvh @ adjoint(vh) + vh @ adjoint(dvh))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 5, 3)])
def test_qr_tangents_rebuild_the_tangent(shape, full) -> None:
    x, t = draw(*shape), draw(*shape)[..., ::-1].copy()
    mode = "complete" if full else "reduced"
    q, r, dq, dr = with_tangents(lambda x: jnp.linalg.qr(x, mode), x, t)
    close(dq @ r + q @ dr, t)
    close(adjoint(q) @ dq + adjoint(dq) @ q)
    close(numpy.tril(dr, -1))


def test_eigh_tangents_rebuild_the_tangent() -> None:
    x, t = draw(4, 4), draw(4, 4).T.copy()
    x, t = x + adjoint(x), t + adjoint(t)
    w, v, dw, dv = with_tangents(jnp.linalg.eigh, x, t)
    close(x @ dv + t @ v, dv * w + v * dw)
    close(adjoint(v) @ dv + adjoint(dv) @ v)


def test_eig_tangents_rebuild_the_tangent() -> None:
    x, t = draw(4, 4).real, draw(4, 4).imag
    w, v, dw, dv = with_tangents(jnp.linalg.eig, x, t)
    close(x @ dv + t @ v, dv * w + v * dw)
    close(numpy.sum(numpy.conj(v) * dv, axis=0))


def test_eig_vectors_belong_to_their_values() -> None:
    x = draw(3, 4, 4)
    w, left, right = map(numpy.asarray, primitives.eig(x.astype("complex64")))
    numpy.testing.assert_allclose(x @ right, right * w[:, None, :], atol=1e-4)
    numpy.testing.assert_allclose(adjoint(left) @ x, w[..., None] * adjoint(left), atol=1e-4)


# ---- what has no factorization -----------------------------------------------------------------


def test_one_bad_matrix_leaves_the_others_alone() -> None:
    x = numpy.stack([numpy.eye(2), -numpy.eye(2), 4 * numpy.eye(2)]).astype("float32")
    factors = numpy.asarray(jnp.linalg.cholesky(x))
    numpy.testing.assert_array_equal(factors[[0, 2]], numpy.sqrt(x[[0, 2]]))
    assert numpy.isnan(factors[1, 0, 0]) and factors[1, 0, 1] == 0
    x[1] = numpy.nan
    w = numpy.asarray(jnp.linalg.eigvalsh(x))
    assert numpy.isnan(w[1]).all() and numpy.isfinite(w[[0, 2]]).all()


def test_narrow_floats_are_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"inv: .*astype"):
        jnp.linalg.inv(jnp.eye(2, dtype="bfloat16"))
