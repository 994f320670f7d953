"""map and associative_scan: rows one after the other or some at a time, and all prefixes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax


@pytest.mark.parametrize("size", [0, 1, 2, 5, 6, 7])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 10])
def test_map_is_vmap(size: int, batch_size: int | None) -> None:
    xs = {"a": jnp.arange(size * 2.0).reshape(size, 2), "b": jnp.arange(size)}
    f = lambda row: (jnp.sum(row["a"]) * row["b"], {"none": None, "a": row["a"] + 1})
    found, wanted = lax.map(f, xs, batch_size=batch_size), fg.vmap(f)(xs)
    assert fg.tree.structure(found) == fg.tree.structure(wanted)
    for a, b in zip(fg.tree.leaves(found), fg.tree.leaves(wanted), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_map_differentiates(batch_size: int | None) -> None:
    x = jnp.array([0.3, -0.5, 1.2])
    f = lambda x: jnp.sum(lax.map(lambda v: jnp.sin(v) * x[0], x, batch_size=batch_size))
    wanted = jnp.cos(x) * x[0] + jnp.array([jnp.sin(x).sum(), 0.0, 0.0])
    np.testing.assert_allclose(fg.grad(f)(x), wanted, rtol=1e-6)
    np.testing.assert_allclose(fg.jit(fg.grad(f))(x), wanted, rtol=1e-6)
    np.testing.assert_allclose(fg.vmap(fg.grad(f))(jnp.stack([x, x]))[1], wanted, rtol=1e-6)


def test_map_messages() -> None:
    with pytest.raises(ValueError, match="batch_size must be positive, but got 0"):
        lax.map(lambda x: x, jnp.ones(3), batch_size=0)
    with pytest.raises(ValueError, match="no rows|xs or length"):
        lax.map(lambda x: x, ())


# ---- associative_scan ---------------------------------------------------------------------------


def affine(a: Any, b: Any) -> Any:
    """Composition of x -> p x + q: associative, not commutative."""
    return a[0] * b[0], a[1] * b[0] + b[1]


def in_order(size: int, reverse: bool, p: Any, q: Any) -> Any:
    rows, last = [None] * size, None
    for i in reversed(range(size)) if reverse else range(size):
        last = (p[i], q[i]) if last is None else affine(last, (p[i], q[i]))
        rows[i] = last
    return [np.stack(column) for column in zip(*rows)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 11, 16, 17])
def test_prefixes_in_order(size: int, reverse: bool) -> None:
    rng = np.random.default_rng(size)
    p, q = rng.normal(size=(2, size, 3)).astype(np.float32)
    for run in (lambda *a: a, fg.jit):
        run = fg.jit if run is fg.jit else (lambda f: f)
        found = run(lambda p, q: lax.associative_scan(affine, (p, q), reverse=reverse))(p, q)
        for a, b in zip(found, in_order(size, reverse, p, q), strict=True):
            # float32: up to 17 products in another order
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis(axis: int) -> None:
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_allclose(
        lax.associative_scan(jnp.add, jnp.asarray(x), axis=axis), np.cumsum(x, axis)
    )


def test_no_elements() -> None:
    assert lax.associative_scan(jnp.add, jnp.zeros((0, 2))).shape == (0, 2)


def test_prefixes_differentiate() -> None:
    x = jnp.array([0.5, 1.5, -0.7, 2.0, 1.1])
    f = lambda x: jnp.sum(jnp.sin(lax.associative_scan(jnp.multiply, x)))
    g = lambda x: jnp.sum(jnp.sin(jnp.cumprod(x)))
    np.testing.assert_allclose(fg.grad(f)(x), fg.grad(g)(x), rtol=1e-5)
    np.testing.assert_allclose(fg.hessian(f)(x), fg.hessian(g)(x), rtol=1e-4, atol=1e-5)
    lanes = jnp.stack([x, 2 * x])
    np.testing.assert_allclose(fg.vmap(fg.grad(f))(lanes)[0], fg.grad(g)(x), rtol=1e-5)


def test_depth_is_logarithmic() -> None:
    """Doubling the elements adds one level: a constant number of equations."""
    counts = [
        len(fg.make_jaxpr(lambda x: lax.associative_scan(jnp.add, x))(jnp.ones(2**k)).eqns)
        for k in (4, 5, 6, 7)
    ]
    assert len(set(np.diff(counts))) == 1


def test_associative_scan_messages() -> None:
    with pytest.raises(ValueError, match=r"one size along axis 0, but got \[2, 3\]"):
        lax.associative_scan(lambda a, b: a, (jnp.ones(2), jnp.ones(3)))
