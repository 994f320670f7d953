"""jacfwd, jacrev, hessian: values, structures and types are jax's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from tests.transforms.comparison import same

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

X = np.asarray([0.3, -0.7, 1.1], np.float32)
M = np.arange(6, dtype=np.float32).reshape(2, 3) / 5


def wide(n: Any) -> Any:
    return lambda x: n.stack([n.sin(x), x**2, x[::-1] * x[0]])


def trees(n: Any) -> Any:
    return lambda p: {"a": p["m"] @ p["v"], "b": (n.sum(p["v"] ** 2), n.cos(p["m"]))}


def operands(n: Any) -> Any:
    return {"m": n.asarray(M), "v": n.asarray(X)}


SHARED = {
    "vector": lambda jac, lib, n: jac(wide(n))(n.asarray(X)),
    "scalar to scalar": lambda jac, lib, n: jac(n.sin)(0.5),
    "scalar to vector": lambda jac, lib, n: jac(lambda x: x * n.asarray(X))(0.5),
    "vector to scalar": lambda jac, lib, n: jac(lambda x: n.sum(x**3))(n.asarray(X)),
    "trees": lambda jac, lib, n: jac(trees(n))(operands(n)),
    "two arguments": lambda jac, lib, n: jac(lambda x, y: x * y, (0, 1))(
        n.asarray(X), n.asarray(X)
    ),
    "second argument": lambda jac, lib, n: jac(lambda x, y: x @ y, 1)(n.asarray(M), n.asarray(X)),
    "aux": lambda jac, lib, n: jac(lambda x: (x**2, {"sum": x.sum()}), has_aux=True)(n.asarray(X)),
    "independent": lambda jac, lib, n: jac(lambda x: n.ones(2))(n.asarray(X)),
    "holomorphic": lambda jac, lib, n: jac(lambda z: z**3, holomorphic=True)(n.asarray(X + 1j * X)),
    "jit inside": lambda jac, lib, n: jac(lib.jit(wide(n)))(n.asarray(X)),
    "jit outside": lambda jac, lib, n: lib.jit(jac(wide(n)))(n.asarray(X)),
    "vmap outside": lambda jac, lib, n: lib.vmap(jac(wide(n)))(n.asarray([X, 2 * X])),
    "of itself": lambda jac, lib, n: jac(jac(wide(n)))(n.asarray(X)),
    "bfloat16": lambda jac, lib, n: jac(lambda x: x * x)(n.asarray(X, "bfloat16")),
    "keyword": lambda jac, lib, n: jac(lambda x, y: x * y)(n.asarray(X), y=2.0),
}


@pytest.mark.parametrize("mode", ["jacfwd", "jacrev"])
@pytest.mark.parametrize("name", SHARED)
def test_jacobians_as_jax(name: str, mode: str) -> None:
    build = SHARED[name]
    same(build(getattr(fg, mode), fg, jnp), build(getattr(jax, mode), jax, jax.numpy))


HESSIANS = {
    "vector": lambda lib, n: lib.hessian(lambda x: n.prod(n.sin(x)))(n.asarray(X)),
    "tree": lambda lib, n: lib.hessian(lambda p: n.sum(n.sin(p["m"] @ p["v"])))(operands(n)),
    "two arguments": lambda lib, n: lib.hessian(lambda x, y: n.sum(x**2 * y), (0, 1))(
        n.asarray(X), n.asarray(X)
    ),
    "vector output": lambda lib, n: lib.hessian(lambda x: n.sin(x) * x[0])(n.asarray(X)),
    "jit": lambda lib, n: lib.jit(lib.hessian(lambda x: n.prod(x)))(n.asarray(X)),
    "aux": lambda lib, n: lib.hessian(lambda x: (n.prod(x), x), has_aux=True)(n.asarray(X)),
    "scan": lambda lib, n: lib.hessian(
        lambda x: lib.lax.scan(lambda c, v: (n.sin(c * v), None), x[0], x)[0]
    )(n.asarray(X)),
}


@pytest.mark.parametrize("name", HESSIANS)
def test_hessians_as_jax(name: str) -> None:
    same(HESSIANS[name](fg, jnp), HESSIANS[name](jax, jax.numpy), 1e-5)


def test_all_ways_to_a_hessian_agree() -> None:
    f = lambda x: jnp.sum(jnp.sin(x) * jnp.exp(x[::-1]))
    x = jnp.asarray(X, "float64")
    ways = [outer(inner(f)) for outer in (fg.jacfwd, fg.jacrev) for inner in (fg.jacfwd, fg.jacrev)]
    first, *others = [way(x) for way in ways]
    np.testing.assert_allclose(first, first.T, rtol=1e-12)
    for other in others:
        np.testing.assert_allclose(first, other, rtol=1e-12, atol=1e-14)


def test_jacfwd_of_an_integer_argument_beside_a_float() -> None:
    i, x = jnp.arange(3), jnp.asarray(X)
    np.testing.assert_array_equal(fg.jacfwd(lambda i, x: i * x, 1)(i, x), np.diag([0.0, 1.0, 2.0]))
    np.testing.assert_array_equal(fg.jacrev(lambda i, x: i * x, 1)(i, x), np.diag([0.0, 1.0, 2.0]))


def test_empty_arrays_have_empty_jacobians() -> None:
    x = jnp.zeros((0,))
    assert fg.jacfwd(lambda x: x * 2)(x).shape == (0, 0)
    assert fg.jacrev(lambda x: x * 2)(x).shape == (0, 0)
    assert fg.jacrev(lambda x: jnp.ones(2) * x.sum())(x).shape == (2, 0)
