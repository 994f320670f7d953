"""vmap: axes, names, collectives and their derivatives, against jax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from tests.transforms.comparison import same

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

M = np.arange(12, dtype=np.float32).reshape(3, 4) / 7
T = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)


def tree_of(n: Any) -> Any:
    return {"a": n.asarray(M), "b": (n.asarray(M[:, 0]), n.asarray(M.T))}


AXES = {
    "first": lambda lib, n: lib.vmap(lambda x: x.sum())(n.asarray(M)),
    "second": lambda lib, n: lib.vmap(lambda x: x.sum(), 1)(n.asarray(M)),
    "last": lambda lib, n: lib.vmap(lambda x: x * 2, -1)(n.asarray(M)),
    "out second": lambda lib, n: lib.vmap(lambda x: x * 2, 0, 1)(n.asarray(M)),
    "out last": lambda lib, n: lib.vmap(lambda x: x * 2, 1, -1)(n.asarray(T)),
    "one shared": lambda lib, n: lib.vmap(n.dot, (None, 0))(n.asarray(M), n.asarray(M)),
    "list of axes": lambda lib, n: lib.vmap(n.dot, [0, 1])(n.asarray(M), n.asarray(M.T)),
    "tree of axes": lambda lib, n: lib.vmap(
        lambda p: p["a"].sum() * p["b"][0] + p["b"][1].sum(), ({"a": 0, "b": (0, 1)},)
    )(tree_of(n)),
    "prefix of a tree": lambda lib, n: lib.vmap(
        lambda p, q: p["a"] * q, ({"a": 0, "b": None}, None)
    )(tree_of(n), 2.0),
    "tree of out_axes": lambda lib, n: lib.vmap(
        lambda x: {"s": x.sum(), "x": (x, 2 * x)}, out_axes={"s": 0, "x": (0, 1)}
    )(n.asarray(M)),
    "out_axes None": lambda lib, n: lib.vmap(lambda x, y: (x * y, y), (0, None), (0, None))(
        n.asarray(M), n.asarray(2.0)
    ),
    "constant result": lambda lib, n: lib.vmap(lambda x: n.ones(2))(n.asarray(M)),
    "number result": lambda lib, n: lib.vmap(lambda x: 3)(n.asarray(M)),
    "keyword": lambda lib, n: lib.vmap(lambda x, y: x + y, (0,))(n.asarray(M), y=n.asarray(M)),
    "axis_size": lambda lib, n: lib.vmap(lambda: n.ones(2), axis_size=3)(),
    "nested": lambda lib, n: lib.vmap(lib.vmap(lambda x, y: x * y, (0, None)), (None, 0))(
        n.asarray(M[0]), n.asarray(M[:, 0])
    ),
    "empty axis": lambda lib, n: lib.vmap(lambda x: x.sum())(n.zeros((0, 3))),
    "integers": lambda lib, n: lib.vmap(lambda i: n.asarray(M)[i])(n.asarray([2, 0])),
    "keys": lambda lib, n: lib.vmap(lambda k: lib.random.normal(k, (2,)))(
        lib.random.split(lib.random.PRNGKey(0), 3)
    ),
    "None in a tree": lambda lib, n: lib.vmap(lambda p: (p[0] * 2, None))((n.asarray(M), None)),
    "weak": lambda lib, n: lib.vmap(lambda x: x * 2, in_axes=None, axis_size=3)(1.0),
    "of grad": lambda lib, n: lib.vmap(lib.grad(lambda w, x: n.tanh(w @ x)), (None, 0))(
        n.asarray(M[0]), n.asarray(M)
    ),
    "of jit": lambda lib, n: lib.vmap(lib.jit(lambda x, y: x * y.sum()), (0, None))(
        n.asarray(M), n.asarray(M)
    ),
    "of scan": lambda lib, n: lib.vmap(
        lambda c, xs: lib.lax.scan(lambda c, x: (c * x + 1, c), c, xs), (0, None)
    )(n.asarray(M[:, 0]), n.asarray(M[0])),
    "of cond": lambda lib, n: lib.vmap(
        lambda x: lib.lax.cond(x.sum() > 2, lambda v: v * 2, lambda v: v - 1, x)
    )(n.asarray(M)),
    "of while": lambda lib, n: lib.vmap(
        lambda x: lib.lax.while_loop(lambda v: v < 5, lambda v: v * 2 + 1, x)
    )(n.asarray(M[1])),
}


@pytest.mark.parametrize("name", AXES)
def test_axes_as_jax(name: str) -> None:
    same(AXES[name](fg, jnp), AXES[name](jax, jax.numpy))


COLLECTIVES = {
    "psum": lambda lib, n, x: lib.lax.psum(x, "i"),
    "psum of a tree": lambda lib, n, x: lib.lax.psum({"a": x, "b": (x * 2,)}, "i")["b"][0],
    "psum of one": lambda lib, n, x: x * lib.lax.psum(1, "i"),
    "psum of a constant": lambda lib, n, x: x + lib.lax.psum(n.ones(4), "i"),
    "pmean": lambda lib, n, x: x - lib.lax.pmean(x, "i"),
    "pmax": lambda lib, n, x: x * lib.lax.pmax(lib.lax.stop_gradient(x), "i"),
    "pmin": lambda lib, n, x: x * lib.lax.pmin(lib.lax.stop_gradient(x), "i"),
    "axis_index": lambda lib, n, x: x * lib.lax.axis_index("i"),
    "all_gather": lambda lib, n, x: (lib.lax.all_gather(x, "i") * n.asarray(M)).sum(0) * x,
    "all_gather axis": lambda lib, n, x: (
        lib.lax.all_gather(x, "i", axis=1) @ n.asarray([1.0, 2, 3])
    ),
    "all_gather tiled": lambda lib, n, x: lib.lax.all_gather(x, "i", tiled=True)[2:6] * x,
    "ppermute": lambda lib, n, x: x * lib.lax.ppermute(x, "i", [(0, 1), (1, 2), (2, 0)]),
    "pshuffle": lambda lib, n, x: x * lib.lax.pshuffle(x, "i", [2, 0, 1]),
    "all_to_all": lambda lib, n, x: lib.lax.all_to_all(n.outer(x[:3], x), "i", 0, 0).sum(0),
    "psum_scatter": lambda lib, n, x: x * lib.lax.psum_scatter(n.outer(x[:3], x), "i"),
    "psum_scatter tiled": lambda lib, n, x: n.tile(
        lib.lax.psum_scatter(n.concatenate([x, x, x]), "i", tiled=True), 1
    ),
    "in jit": lambda lib, n, x: lib.jit(lambda y: y / lib.lax.psum(y**2, "i"))(x),
    "in jit without operands": lambda lib, n, x: (
        x * lib.jit(lambda: lib.lax.psum(n.ones(4), "i"))()
    ),
    "in scan": lambda lib, n, x: (
        lib.lax.scan(lambda c, v: (c + lib.lax.psum(v, "i"), None), 0.0, x)[0] * x
    ),
    "in cond": lambda lib, n, x: lib.lax.cond(
        x.sum() > 1, lambda v: v, lambda v: v * 2, lib.lax.psum(x, "i")
    ),
    "in checkpoint": lambda lib, n, x: lib.checkpoint(lambda y: n.sin(y) * lib.lax.pmean(y, "i"))(
        x
    ),
    "two together": lambda lib, n, x: lib.lax.psum(n.sin(lib.lax.pmean(x, "i") * x), "i"),
}


def mapped(lib: Any, n: Any, body: Any) -> Any:
    return lib.vmap(lambda x: body(lib, n, x), axis_name="i")


@pytest.mark.parametrize("name", COLLECTIVES)
def test_collectives_as_jax(name: str) -> None:
    body = COLLECTIVES[name]
    ours, theirs = mapped(fg, jnp, body), mapped(jax, jax.numpy, body)
    same(ours(jnp.asarray(M)), theirs(jax.numpy.asarray(M)))
    same(fg.jit(ours)(jnp.asarray(M)), theirs(jax.numpy.asarray(M)))


@pytest.mark.parametrize("name", COLLECTIVES)
def test_derivatives_of_collectives_as_jax(name: str) -> None:
    """Inside the map and outside of it: the two differ, since lanes talk to each other."""
    body = COLLECTIVES[name]

    def outside(lib: Any, n: Any) -> Any:
        loss = lambda x: n.sum(n.sin(mapped(lib, n, body)(x)))
        return lib.grad(loss)(n.asarray(M))

    def inside(lib: Any, n: Any) -> Any:
        gradient = lib.grad(lambda x: n.sum(n.sin(body(lib, n, x))))
        return lib.vmap(gradient, axis_name="i")(n.asarray(M))

    def forward(lib: Any, n: Any) -> Any:
        return lib.jvp(mapped(lib, n, body), (n.asarray(M),), (n.cos(n.asarray(M)),))[1]

    same(outside(fg, jnp), outside(jax, jax.numpy), 1e-5)
    same(forward(fg, jnp), forward(jax, jax.numpy), 1e-5)
    if name not in ("in jit without operands", "psum of a constant"):
        same(inside(fg, jnp), inside(jax, jax.numpy), 1e-5)


def test_two_named_axes() -> None:
    def build(lib: Any, n: Any) -> Any:
        def body(x: Any) -> Any:
            total = lib.lax.psum(x, ("i", "j"))
            place = lib.lax.axis_index(("i", "j"))
            return x / total + lib.lax.psum(x, "j") * place, lib.lax.pmax(x, "i")

        inner = lib.vmap(body, axis_name="j")
        return lib.vmap(inner, axis_name="i")(n.asarray(M))

    same(build(fg, jnp), build(jax, jax.numpy))


def test_lanes_that_nobody_sends_to_get_zeros() -> None:
    send = lambda x: x + fg.lax.ppermute(x, "i", [(0, 1)])
    out = fg.vmap(send, axis_name="i")(jnp.asarray(M))
    np.testing.assert_array_equal(out, M + np.stack([0 * M[0], M[0], 0 * M[0]]))
    gradient = fg.grad(lambda x: fg.vmap(send, axis_name="i")(x)[1].sum())(jnp.asarray(M))
    np.testing.assert_array_equal(gradient, np.stack([1 + 0 * M[0], 1 + 0 * M[0], 0 * M[0]]))


def test_axis_size_is_known() -> None:
    assert fg.vmap(lambda x: x * fg.lax.axis_size("i"), axis_name="i")(jnp.ones(5))[0] == 5


def test_lanes_take_their_own_branch_and_make_their_own_trips() -> None:
    """The gradient of log at 0 is not computed in lanes that do not take the branch."""
    f = lambda x: fg.lax.cond(x > 0, jnp.log, lambda v: 2 * v, x)
    x = jnp.asarray([0.0, 1.0, 2.0])
    np.testing.assert_array_equal(fg.grad(lambda v: fg.vmap(f)(v).sum())(x), [2, 1, 0.5])
    np.testing.assert_array_equal(fg.vmap(fg.grad(f))(x), [2, 1, 0.5])
    trips = fg.vmap(
        lambda n: fg.lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * 2), (0, 1))
    )(jnp.arange(4))
    np.testing.assert_array_equal(trips[1], [1, 2, 4, 8])
