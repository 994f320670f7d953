"""New arrays, compared with jax."""

from __future__ import annotations

import pytest

from tests.numpy.expressions import check, check_gradient, check_jit, check_raises, rows

pytestmark = pytest.mark.oracle

VALUES = rows("""
    np.zeros(3)
    np.zeros((2, 3), int)
    np.zeros(())
    np.zeros(numpy.int64(3))
    np.ones((2,), "bfloat16")
    np.empty((2,), bool)
    np.full(3, 1)
    np.full(3, 1.0)
    np.full((2, 3), np.array([1, 2, 3]))
    np.full((2,), 1.5, int)
    np.full((2,), True)
    np.zeros_like(1.0)
    np.zeros_like(np.array([1, 2]))
    np.ones_like(np.array([1, 2]), float)
    np.ones_like(np.array([1, 2]), shape=(2, 2))
    np.full_like(np.array([1, 2]), 2.7)
    np.full_like(np.full(3, 1), 2)
    np.full_like(np.array([1.0, 2]), np.array([3, 4]))
    np.zeros_like(np.ones(3))
    np.arange(5)
    np.arange(2, 5)
    np.arange(2, 10, 3)
    np.arange(0, 1, 0.1)
    np.arange(0.1, 5)
    np.arange(2.5)
    np.arange(5, 0, -2)
    np.arange(5, 0)
    np.arange(3, step=2)
    np.arange(5, dtype=float)
    np.arange(5, dtype="int8")
    np.arange(5, dtype="bfloat16")
    np.arange(2, 5, dtype="float16")
    np.arange(np.array(3))
    np.arange(numpy.int8(3))
    np.arange(numpy.float32(3), 5)
    np.arange(3, dtype="complex64")
    np.arange(16777215.0, 16777221.0)
    np.arange(1, 5, 0.5, dtype=int)
    np.linspace(0, 1)
    np.linspace(0, 1, 5, endpoint=False)
    np.linspace(0, 10, 3, dtype=int)
    np.linspace(-3, 3, 4, dtype=int)
    np.linspace(0, 1, 1)
    np.linspace(0, 1, 0)
    np.linspace(0, 1, 1, endpoint=False)
    np.linspace(0, 1, 5, retstep=True)
    np.linspace(0, 1, 1, retstep=True)
    np.linspace(0, 1, 0, retstep=True)
    np.linspace(np.array([0, 1]), 2.0, 3, axis=1)
    np.linspace(np.array([0, 1]), 2.0, 3)
    np.linspace(np.array([0, 1]), 2.0, 3, axis=-1)
    np.linspace(0, 1j, 4)
    np.linspace(0, 1, 5, dtype="bfloat16")
    np.linspace(numpy.float16(0), numpy.float16(1), 5)
    np.logspace(0, 2, 5)
    np.logspace(0, 2, 5, base=2)
    np.logspace(0, 2, 5, dtype=int)
    np.geomspace(1, 100, 3)
    np.geomspace(1, 1000, 4, endpoint=False)
    np.geomspace(-1, -1000, 4)
    np.geomspace(1000, 1, 4)
    np.geomspace(np.array([1.0, 2]), 8, 3, axis=-1)
    np.eye(3)
    np.eye(3, 4, 1)
    np.eye(3, 4, -1, dtype=int)
    np.eye(0)
    np.eye(2, k=5)
    np.eye(3, dtype=bool)
    np.identity(2)
    np.identity(2, int)
    np.tri(3)
    np.tri(3, 4, 1)
    np.tri(3, 2, -1, dtype=int)
    np.vander(np.array([1, 2, 3]))
    np.vander(np.array([1.0, 2, 3]), 5, increasing=True)
    np.vander(np.array([1.0, 2, 3]), 0)
    np.meshgrid(np.array([1, 2]), np.array([3.0, 4, 5]))
    np.meshgrid(np.array([1, 2]), np.array([3.0, 4, 5]), indexing="ij")
    np.meshgrid(np.array([1, 2]), np.array([3.0, 4, 5]), np.array([1]), sparse=True)
    np.meshgrid(np.array([1, 2]))
    np.meshgrid()
    np.indices((2, 3))
    np.indices((2, 3), sparse=True)
    np.indices((2,), dtype=float)
    np.indices(())
    np.mgrid[0:2]
    np.mgrid[0:2, 0:3]
    np.mgrid[0:1:3j]
    np.mgrid[0:1:3j, 0:2]
    np.mgrid[:3, 1:4:2]
    np.ogrid[0:2, 0:3]
    np.ogrid[0:2]
    np.ogrid[:2.0, 0:3:2j]
    np.mgrid[0:1:0.25]
""")

# The sizes of these results depend on values, so they are not compiled.
CONCRETE = rows("""
    np.zeros(np.array([2, 3]))
""")

GRADIENTS = rows("""
    np.linspace(V, 2.0, 3)
    np.linspace(M, V[0], 4, axis=1)
    np.full((2, 5), V)
    np.vander(D)
    np.geomspace(V, 8.0, 3)
    np.logspace(D, 2.0, 3)
    np.meshgrid(V, D)[0]
""")

RAISES = rows("""
    np.zeros((2, -1))
    np.zeros(2.5)
    np.full((2, 3), np.array([1, 2]))
    np.arange(3, dtype=bool)
    np.arange(True)
    np.arange(0, 10, 0)
    np.arange(np.array([1, 2]))
    np.linspace(0, 1, -1)
    np.linspace(0, 1, 2.5)
    np.vander(np.array([[1.0]]))
    np.meshgrid(1.0, np.array([1, 2]))
    np.meshgrid(np.array([[1]]))
    np.meshgrid(np.array([1]), indexing="xx")
""")


@pytest.mark.parametrize("text", VALUES + CONCRETE)
def test_same_as_jax(text: str) -> None:
    check(text)


@pytest.mark.parametrize("text", VALUES)
def test_compiled_is_the_same(text: str) -> None:
    check_jit(text)


@pytest.mark.parametrize("text", GRADIENTS)
def test_gradient_is_jaxs(text: str) -> None:
    check_gradient(text)


@pytest.mark.parametrize("text", RAISES)
def test_raises_where_jax_does(text: str) -> None:
    check_raises(text)
