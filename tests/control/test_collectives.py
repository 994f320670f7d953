"""Collectives over named axes: values and derivatives against jax, nested names, messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

X = np.asarray([[0.3, -1.0, 2.0], [1.5, 0.2, -0.7], [0.9, 0.9, 0.1]], np.float32)

# Functions of one lane's vector of three, on an axis "i" of three lanes.
COLLECTIVES = {
    "psum": lambda lib, x: lib.lax.psum(x * x, "i"),
    "psum of a constant": lambda lib, x: x * lib.lax.psum(1, "i"),
    "psum of what is not mapped": lambda lib, x: x * lib.lax.psum(lib.numpy.float32(2), "i"),
    "psum of trees": lambda lib, x: lib.lax.psum({"a": x, "b": x[0]}, "i")["a"] * x,
    "pmean": lambda lib, x: x - lib.lax.pmean(x, "i"),
    "pmax": lambda lib, x: lib.lax.pmax(lib.lax.stop_gradient(x), "i") * x,
    "pmin": lambda lib, x: lib.lax.pmin(lib.lax.stop_gradient(x), "i") * x,
    "pmax of what is not mapped": lambda lib, x: x * lib.lax.pmax(lib.numpy.float32(7), "i"),
    "axis_index": lambda lib, x: x * lib.lax.axis_index("i"),
    "all_gather": lambda lib, x: lib.lax.all_gather(x, "i") ** 2,
    "all_gather, axis 1": lambda lib, x: lib.lax.all_gather(x, "i", axis=1) * x,
    "all_gather, tiled": lambda lib, x: lib.lax.all_gather(x, "i", tiled=True) ** 2,
    "all_gather, tiled, of matrices": lambda lib, x: lib.lax.all_gather(
        x[:, None, None] * x[:2, None] * x, "i", axis=1, tiled=True
    ),
    "psum_scatter": lambda lib, x: lib.lax.psum_scatter(x * x, "i"),
    "psum_scatter, tiled": lambda lib, x: lib.lax.psum_scatter(
        lib.numpy.concatenate([x, x * x]), "i", tiled=True
    ),
    "psum_scatter, tiled, of matrices": lambda lib, x: lib.lax.psum_scatter(
        x[:2, None, None] * lib.numpy.concatenate([x, x * x])[:, None] * x[:2],
        "i", scatter_dimension=1, tiled=True,
    ),
    "ppermute": lambda lib, x: lib.lax.ppermute(x, "i", [(0, 1), (1, 2), (2, 0)]) * x,
    "pshuffle": lambda lib, x: lib.lax.pshuffle(x, "i", [2, 0, 1]) * x,
    "all_to_all": lambda lib, x: lib.lax.all_to_all(x * x, "i", 0, 0),
    "all_to_all, axes": lambda lib, x: lib.lax.all_to_all(
        lib.numpy.outer(x, x[:2]), "i", 0, 1
    ),
    "all_to_all, tiled": lambda lib, x: lib.lax.all_to_all(
        lib.numpy.concatenate([x, x * x]), "i", 0, 0, tiled=True
    ),
    "in scan": lambda lib, x: lib.lax.scan(
        lambda c, v: (lib.numpy.sin(c + lib.lax.psum(v, "i")), c), x[0], x
    )[1],
    "in cond": lambda lib, x: lib.lax.cond(
        lib.lax.axis_size("i") > 2, lambda v: lib.lax.psum(v, "i") * v, lambda v: v, x
    ),
    "in while": lambda lib, x: lib.lax.fori_loop(
        0, 2, lambda i, c: c * 0.5 + lib.lax.pmean(c * c, "i"), x
    ),
    "in jit": lambda lib, x: x * lib.jit(lambda v: lib.lax.psum(lib.numpy.sin(v), "i"))(x),
    "in jit, without operands": lambda lib, x: x * lib.jit(lambda: lib.lax.psum(1.0, "i"))(),
    "in checkpoint": lambda lib, x: lib.checkpoint(lambda v: v * lib.lax.psum(v, "i"))(x),
}  # fmt: skip

USES = {
    "vmap": lambda lib, f: lib.vmap(f, axis_name="i"),
    "jit of vmap": lambda lib, f: lib.jit(lib.vmap(f, axis_name="i")),
    "mapped over columns": lambda lib, f: lib.vmap(f, in_axes=1, out_axes=-1, axis_name="i"),
    "vmap of vmap": lambda lib, f: lambda x: lib.vmap(lib.vmap(f, axis_name="i"))(
        lib.numpy.stack([x, x * x])
    ),
    "vmap inside": lambda lib, f: lambda x: lib.vmap(
        lambda v: lib.vmap(lambda s: f(v * s))(lib.numpy.asarray([1.0, 2.0])), axis_name="i"
    )(x),
    "grad of vmap": lambda lib, f: lib.grad(
        lambda x: lib.numpy.sum(lib.numpy.sin(lib.vmap(f, axis_name="i")(x)))
    ),
    "jit of grad of vmap": lambda lib, f: lib.jit(lib.grad(
        lambda x: lib.numpy.sum(lib.numpy.sin(lib.vmap(f, axis_name="i")(x)))
    )),
    "jvp of vmap": lambda lib, f: lambda x: lib.jvp(
        lib.vmap(f, axis_name="i"), (x,), (lib.numpy.cos(x),)
    )[1],
    "vmap of jvp": lambda lib, f: lambda x: lib.vmap(
        lambda v: lib.jvp(f, (v,), (v * v,))[1], axis_name="i"
    )(x),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", COLLECTIVES)
def test_as_jax(name: str, use: str) -> None:
    jax = pytest.importorskip("jax")
    found, wanted = (
        USES[use](lib, lambda x, lib=lib: COLLECTIVES[name](lib, x))(lib.numpy.asarray(X))
        for lib in (fg, jax)
    )
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", COLLECTIVES)
def test_types_are_stated(name: str) -> None:
    """What a lane's program is said to return is what a lane returns."""
    stated = []

    def lane(x: Any) -> Any:
        stated.append(fg.eval_shape(lambda x: COLLECTIVES[name](fg, x), x))
        return COLLECTIVES[name](fg, x)

    found = fg.vmap(lane, axis_name="i")(jnp.asarray(X))
    assert (found.shape, found.dtype) == ((3, *stated[0].shape), stated[0].dtype)


def test_gradients_within_lanes_add_up_over_lanes() -> None:
    """The transpose of a sum over lanes is a sum over lanes: every lane asks for all."""
    found = fg.vmap(fg.grad(lambda x: lax.psum(x * x, "i")), axis_name="i")(jnp.array([1.0, 3.0]))
    np.testing.assert_array_equal(found, [4.0, 12.0])


@pytest.mark.parametrize("extreme, at", [(lax.pmax, 2.0), (lax.pmin, 0.5)])
def test_extremes_differentiate(extreme: Any, at: float) -> None:
    """Where lax.pmax has no derivative in jax: the tangent of the lane that holds the extreme."""
    x = jnp.array([1.0, 2.0, 0.5])
    f = lambda x: jnp.sum(fg.vmap(lambda v: v * extreme(v, "i"), axis_name="i")(x))
    np.testing.assert_allclose(fg.grad(f)(x), at + jnp.where(x == at, jnp.sum(x), 0.0))


@pytest.mark.parametrize("extreme", [lax.pmax, lax.pmin])
def test_derivatives_of_extremes_within_lanes_are_those_of_all_lanes(extreme: Any) -> None:
    """Two lanes hold the extreme, and share the tangent."""
    sign = 1 if extreme is lax.pmax else -1
    x = sign * jnp.array([[2.0, 1.0], [0.5, 7.0], [2.0, 3.0]])
    t = jnp.array([[1.0, 10.0], [2.0, 20.0], [5.0, 40.0]])
    lane = lambda v: v * extreme(v, "i")
    within = fg.vmap(lambda v, s: fg.jvp(lane, (v,), (s,))[1], axis_name="i")(x, t)
    outside = fg.jvp(fg.vmap(lane, axis_name="i"), (x,), (t,))[1]
    np.testing.assert_allclose(within, outside, rtol=1e-6)
    np.testing.assert_allclose(
        outside, t * sign * jnp.array([2.0, 7.0]) + x * jnp.array([3.0, 20.0])
    )


def test_lanes_that_nobody_sends_to_get_zeros() -> None:
    send = fg.vmap(lambda v: lax.ppermute(v, "i", [(0, 2), (2, 1)]), axis_name="i")
    np.testing.assert_array_equal(send(X), np.stack([0 * X[0], X[2], X[0]]))
    slopes = fg.grad(lambda x: jnp.sum(send(x) ** 2))(X)
    np.testing.assert_array_equal(slopes, np.stack([2 * X[0], 0 * X[1], 2 * X[2]]))


def test_one_lane_alone() -> None:
    send = fg.vmap(lambda v: lax.ppermute(v, "i", [(0, 0)]), axis_name="i")
    np.testing.assert_array_equal(send(X[:1]), X[:1])
    silent = fg.vmap(lambda v: lax.ppermute(v, "i", []), axis_name="i")
    np.testing.assert_array_equal(silent(X[:1]), 0 * X[:1])


def test_nested_names() -> None:
    def f(x: Any) -> Any:
        both = lax.psum(x, ("i", "j"))
        index = lax.axis_index(("i", "j"))
        return both, lax.psum(x, "i"), lax.psum(x, "j"), index, lax.axis_size(("i", "j")) + 0 * x

    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    found = fg.vmap(fg.vmap(f, axis_name="j"), axis_name="i")(x)
    wanted = (
        np.full((2, 3), 15), np.tile(x.sum(0), (2, 1)), np.tile(x.sum(1)[:, None], (1, 3)),
        np.arange(6).reshape(2, 3), np.full((2, 3), 6),
    )  # fmt: skip
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sums_of_integers_and_bools() -> None:
    assert fg.vmap(lambda x: lax.psum(x, "i"), axis_name="i")(jnp.array([True, True])).tolist() == [
        2, 2,
    ]  # fmt: skip
    mean = fg.vmap(lambda x: lax.pmean(x, "i"), axis_name="i")(jnp.array([1, 2]))
    assert mean.dtype == jnp.float32 and mean.tolist() == [1.5, 1.5]


WRONG = {
    "unbound": (lambda: lax.psum(1.0, "k"), NameError, "unbound axis name: 'k'.*none"),
    "unbound, others bound": (
        lambda: fg.vmap(lambda x: lax.psum(x, "k"), axis_name="i")(X), NameError, "'k'.*'i'",
    ),
    "unbound index": (lambda: fg.jit(lambda: lax.axis_index("i"))(), NameError, "unbound"),
    "used twice": (
        lambda: fg.vmap(fg.vmap(lambda x: x, axis_name="i"), axis_name="i")(X), ValueError,
        "already used",
    ),
    "two senders": (
        lambda: fg.vmap(lambda x: lax.ppermute(x, "i", [(0, 1), (2, 1)]), axis_name="i")(X),
        ValueError, r"destinations must be different lanes of 0 to 2, but got \[1, 1\]",
    ),
    "no such lane": (
        lambda: fg.vmap(lambda x: lax.ppermute(x, "i", [(3, 1)]), axis_name="i")(X), ValueError,
        r"sources must be .* \[3\]",
    ),
    "no permutation": (
        lambda: fg.vmap(lambda x: lax.pshuffle(x, "i", [0, 0, 1]), axis_name="i")(X), ValueError,
        "not a permutation",
    ),
    "not divisible": (
        lambda: fg.vmap(lambda x: lax.psum_scatter(x[:2], "i"), axis_name="i")(X), ValueError,
        "3 lanes",
    ),
    "wrong size": (
        lambda: fg.vmap(lambda x: lax.all_to_all(x[:2], "i", 0, 0), axis_name="i")(X), ValueError,
        "all_to_all: dimension 0",
    ),
    "blocks": (
        lambda: fg.vmap(lambda x: lax.all_to_all(x[:2], "i", 0, 0, tiled=True), axis_name="i")(X),
        ValueError, "divided among 3 lanes",
    ),
    "groups": (
        lambda: fg.vmap(
            lambda x: lax.psum(x, "i", axis_index_groups=[[0, 1], [2]]), axis_name="i"
        )(X), ValueError, "axis_index_groups is not supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_messages(name: str) -> None:
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()
