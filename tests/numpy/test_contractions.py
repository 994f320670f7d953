"""Products of arrays, compared with jax: values, types, gradients, and what is refused."""

from __future__ import annotations

import itertools

import numpy
import pytest

import funcgrad
import funcgrad.numpy as jnp
from tests.numpy.expressions import agree, check, check_gradient, check_jit, check_raises, rows

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

# Products of numbers up to 23, some 20 of them summed, in another order than XLA's.
TOLERANCE = 1e-4

VALUES = rows("""
    np.dot(2.0, 3.0)
    np.dot(2, M)
    np.dot(W, W)
    np.dot(M, M.T)
    np.dot(X, V[:4])
    np.dot(X, M.T)
    np.dot(X, np.moveaxis(X, 1, 2))
    np.dot(M, M.T, preferred_element_type="float16")
    np.dot(I, B)
    np.dot(B, B)
    np.dot(M.astype("bfloat16"), M.T.astype("bfloat16"))
    np.dot(M.astype("bfloat16"), M.T.astype("bfloat16"), preferred_element_type="float32")
    np.dot(M.astype("int8"), M.T.astype("int8"), preferred_element_type="int32")
    np.dot(M.astype("int8") * 20, M.T.astype("int8") * 20)
    np.matmul(E, E)
    np.matmul(M, M.T, precision="highest")
    np.matmul(np.zeros((3, 0)), np.zeros((0, 2)))
    np.matmul(X[:1], np.moveaxis(X, 1, 2))
    np.matmul(X[:, None], np.moveaxis(X, 1, 2))
    np.matmul(M, np.moveaxis(X, 1, 2))
    np.matmul(V[:3], X)
    X @ V[:4]
    np.vdot(M, M)
    np.vdot(M * 1j, M + 1j)
    np.inner(X, M)
    np.inner(2.0, M)
    np.outer(V, M)
    np.outer(I, B)
    np.vecdot(X, M)
    np.vecdot(X * 1j, X + 1j, axis=1)
    np.vecdot(X, M, axis=-2)
    np.matvec(X, V[:4])
    np.matvec(M, X)
    np.vecmat(V[:3] * 1j, X)
    np.tensordot(X, M)
    np.tensordot(X, M, 0)
    np.tensordot(X, M.T, 1)
    np.tensordot(X, X, ((0, 2), (0, 2)))
    np.tensordot(X, M, ((-1, 1), (1, 0)))
    np.tensordot(V, V, axes=(0, 0))
    np.kron(M, V)
    np.kron(V, X)
    np.kron(I, 2.0)
    np.cross(M[:, :3], M[:, 1:])
    np.cross(M, M + V[:3, None], axis=0)
    np.cross(X, X[0] + 1, axisa=1, axisb=0, axisc=0)
    np.convolve(V, D)
    np.convolve(V, D[:2], mode="same")
    np.convolve(D[:2], V, mode="valid")
    np.convolve(I, B)
    np.convolve(I, I, preferred_element_type="int32")
    np.convolve(V * 1j, D)
    np.correlate(V, D)
    np.correlate(V, D[:2], mode="full")
    np.correlate(D[:2], V, mode="full")
    np.correlate(D[:2], V, mode="same")
    np.correlate(V, D[:2] * 1j, mode="same")
    np.einsum("ij,kj", M, M)
    np.einsum("ij,kj->ki", M, M)
    np.einsum("ij->ji", M)
    np.einsum("ij->", M)
    np.einsum("ij->j", I[:4].reshape(2, 2))
    np.einsum("ba", M)
    np.einsum("ii", X[0, :, :3])
    np.einsum("ii->i", X[0, :, :3])
    np.einsum("iij->j", X[:, :2])
    np.einsum("iij,jk->ki", X[:, :2], M.T)
    np.einsum("i,i->i", V, D)
    np.einsum("i,j->ji", V, D)
    np.einsum(",i", 2.0, V)
    np.einsum(",", 2.0, 3.0)
    np.einsum("...ij,...kj->...ik", X, M)
    np.einsum("...ij,kj", X, M)
    np.einsum("...,...", X, M)
    np.einsum("i...->...", X)
    np.einsum("...i->i...", X)
    np.einsum("b...,b...->...", X, V[:2, None])
    np.einsum("ij,jk,kl->il", M, M.T, M)
    np.einsum("ij,jk,ik->", M, M.T, X[0, :, :3])
    np.einsum("i,j,k->ikj", V, D, V)
    np.einsum("ij,ij->j", M[:1], M)
    np.einsum("ij,jk", M[:, :1], M)
    np.einsum(" a b , b c -> c a ", M, M.T)
    np.einsum("Ab,bC->CA", M, M.T)
    np.einsum(M, [0, 1], M, [2, 1])
    np.einsum(M, [0, 1], M, [2, 1], [2, 0])
    np.einsum(X, [Ellipsis, 0], V[:4], [0])
    np.einsum("ij,jk,kl->il", M, M.T, M, optimize=False)
    np.einsum("ij,jk,kl->il", M, M.T, M, optimize=[(1, 2), (0, 1)])
    np.einsum("ij,kj", B[:4].reshape(2, 2), B[:4].reshape(2, 2))
    np.einsum("ij,kj", M.astype("bfloat16"), M.astype("bfloat16"), preferred_element_type="float32")
    np.einsum("ij,kj", M, I[:4].reshape(1, 4))
    np.einsum("ij,kj", M, M, precision="high")
    np.einsum("i->", E)
""")

GRADIENTS = rows("""
    np.dot(X, M.T)
    np.vdot(M, M)
    np.inner(X, M)
    np.outer(V, D)
    np.vecdot(X, M)
    np.tensordot(X, M, ((-1, 1), (1, 0)))
    np.kron(M, V)
    np.cross(M[:, :3], M[:, 1:])
    np.convolve(V, D[:2], mode="same")
    np.correlate(D[:2], V, mode="full")
    np.einsum("ij,jk,kl->il", M / 9, M.T / 9, M / 9)
    np.einsum("iij,jk->ki", X[:, :2] / 9, M.T / 9)
    np.einsum("...ij,kj->k...", X / 9, M / 9)
    np.einsum("ij,ij->j", M[:1], M)
    np.einsum("ii->i", X[0, :, :3])
""")

RAISES = rows("""
    np.matmul(2.0, M)
    np.matmul(M, M)
    np.matmul(X, np.zeros((3, 4, 2)))
    np.dot(M, M)
    np.vdot(V, M)
    np.inner(M, V)
    np.tensordot(M, M, 1)
    np.tensordot(M, M, ((0,), (0, 1)))
    np.tensordot(M, M, 3)
    np.cross(V, V)
    np.convolve(V, E)
    np.convolve(M, V)
    np.convolve(V, V, mode="odd")
    np.vecdot(V, M)
    np.einsum("ij,jk", M, M)
    np.einsum("ij", V)
    np.einsum("ij->ijj", M)
    np.einsum("ij->k", M)
    np.einsum("i,j", V)
    np.einsum("ij...->i", V)
    np.matmul(M, [[1.0]])
    np.dot(M, M.T, precision="sharp")
    np.dot(M.astype("int32"), M.T.astype("int32"), preferred_element_type="int8")
""")


@pytest.mark.parametrize("text", VALUES)
def test_same_as_jax(text: str) -> None:
    check(text, 1e-2 if "16" in text else TOLERANCE)


@pytest.mark.parametrize("text", VALUES)
def test_compiled_is_the_same(text: str) -> None:
    check_jit(text)


@pytest.mark.parametrize("text", GRADIENTS)
def test_gradient_is_jaxs(text: str) -> None:
    check_gradient(text, TOLERANCE)


@pytest.mark.parametrize("text", RAISES)
def test_raises_where_jax_does(text: str) -> None:
    check_raises(text)


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (2, 2)])
def test_vectors_in_the_plane_have_a_cross_product(sizes: tuple[int, int]) -> None:
    """jax 0.12 and NumPy 2.5 no longer take vectors of size 2; their third component is zero."""
    rng = numpy.random.default_rng(0)
    a, b = (rng.standard_normal((5, size)).astype("float32") for size in sizes)
    in_space = lambda x: jnp.pad(x, ((0, 0), (0, 3 - x.shape[-1])))
    components = 2 if sizes == (2, 2) else slice(None)  # of which only the last is not zero
    product = lambda a, b: jnp.cross(in_space(a), in_space(b))[..., components]
    agree(jnp.cross(a, b), product(a, b), 0.0)
    for argument in (0, 1):
        gradient = lambda f: funcgrad.grad(lambda a, b: jnp.sum(jnp.sin(f(a, b))), argument)(a, b)
        agree(gradient(jnp.cross), gradient(product), 1e-6)


@pytest.mark.parametrize("ranks", list(itertools.product(range(1, 5), repeat=2)))
def test_d12_matmul_gradients_for_all_rank_pairs(ranks: tuple[int, int]) -> None:
    rng = numpy.random.default_rng(0)
    left, right = ranks
    a = rng.normal(size=(5, 4, 2, 3)[4 - left :]).astype("float32")
    b = rng.normal(size=(5, 4, 3, 2)[4 - right :] if right > 1 else (3,)).astype("float32")
    expected, pull = jax.vjp(jax.numpy.matmul, a, b)
    ct = rng.normal(size=expected.shape).astype("float32")
    actual, pull_ours = funcgrad.vjp(jnp.matmul, a, b)
    agree(actual, expected, 1e-5)
    agree(list(pull_ours(jnp.asarray(ct))), list(pull(ct)), 1e-5)


def test_weight_gradient_needs_no_transposition() -> None:
    def loss(w, x):
        return jnp.sum(x @ w)

    program = funcgrad.make_jaxpr(funcgrad.grad(loss))(jnp.ones((3, 2)), jnp.ones((5, 3)))
    assert "transpose" not in str(program)


def test_integer_products_through_floats_are_exact() -> None:
    rng = numpy.random.default_rng(0)
    for bound in (2**10, 2**20, 2**31 - 1):
        a = rng.integers(-bound, bound, (40, 50), dtype="int32")
        b = rng.integers(-bound, bound, (50, 30), dtype="int32")
        wrapped = (a.astype(object) @ b.astype(object)) % 2**32
        expected = numpy.where(wrapped >= 2**31, wrapped - 2**32, wrapped).astype("int32")
        numpy.testing.assert_array_equal(jnp.matmul(a, b), expected)


def test_einsum_takes_the_cheap_order() -> None:
    path, text = jnp.einsum_path(
        "ij,jk,kl->il", numpy.ones((2, 90)), numpy.ones((90, 90)), numpy.ones((90, 2))
    )
    assert path[1] in ((0, 1), (1, 2)) and "contraction order" in text
    path, _ = jnp.einsum_path("ij,jk,k->i", numpy.ones((9, 9)), numpy.ones((9, 9)), numpy.ones(9))
    assert path[1:] == [(1, 2), (0, 1)]
