"""Branches and loops whose predicate differs from lane to lane, all lanes at once: when, and what
is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.compiler import lanes

X = np.asarray([0.4, -1.2, 2.5, 0.0, -0.3, 1.7], np.float32)
W = np.asarray([0.5, -0.25], np.float32)


def branch(w: Any, x: Any) -> Any:
    return lax.cond(x > 0, lambda v: jnp.log(v) * w[0], lambda v: v * w.sum() + 1.0, x)


def trips(w: Any, x: Any) -> Any:
    going = lambda c: (c[0] < 6) & (c[1] < 3.0)
    return lax.while_loop(going, lambda c: (c[0] + 1, jnp.sin(c[1]) * w[1] + c[1] + 1.0), (0, x))


def branches_of_branches(w: Any, x: Any) -> Any:
    inner = lambda v: lax.switch((v > 1).astype("int32"), [jnp.sin, lambda u: u * w[0]], v)
    return lax.cond(x > 0, inner, lambda v: lax.cond(v < -1, jnp.exp, jnp.cos, v), x)


def scan_of_branches(w: Any, x: Any) -> Any:
    step = lambda c, v: (lax.cond(c > v, lambda d: d * v, lambda d: d + w[0], c), c)
    return lax.scan(step, x, w)


def loop_with_a_branch(w: Any, x: Any) -> Any:
    return lax.fori_loop(0, (x > 0).astype("int32") + 1, lambda i, c: branch(w, c), x)


FUNCTIONS = (branch, trips, branches_of_branches, scan_of_branches, loop_with_a_branch)


def total(out: Any) -> Any:
    floats = [jnp.sum(jnp.sin(leaf)) for leaf in fg.tree.leaves(out) if leaf.dtype == "float32"]
    return sum(floats)


def over_lanes(f: Any) -> Any:
    return fg.vmap(f, in_axes=(None, 0))


USES = {
    "value": over_lanes,
    "jit": lambda f: fg.jit(over_lanes(f)),
    "gradient": lambda f: fg.jit(fg.grad(lambda w, x: total(over_lanes(f)(w, x)), (0, 1))),
    "gradient per lane": lambda f: fg.jit(over_lanes(fg.grad(lambda w, x: total(f(w, x)), (0, 1)))),
    "tangent": lambda f: lambda w, x: fg.jvp(over_lanes(f), (w, x), (w * 2, jnp.cos(x)))[1],
    "second": lambda f: fg.grad(
        lambda w, x: jnp.sum(fg.grad(lambda w: total(over_lanes(f)(w, x)))(w) ** 2)
    ),
    "vmap of vmap": lambda f: lambda w, x: fg.vmap(over_lanes(f), (None, 0))(w, jnp.stack([x, -x])),
}


@pytest.fixture(autouse=True)
def numpy_engine() -> Iterator[None]:
    """Native code runs lane by lane."""
    with fg.config.override(engine="numpy"):
        yield


@pytest.fixture
def converted(monkeypatch: Any) -> list[bool]:
    """For each scan over lanes that is compiled, whether all lanes go at once."""
    seen: list[bool] = []
    original = lanes._together

    def recorded(*args: Any) -> Any:
        found = original(*args)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(lanes, "_together", recorded)
    return seen


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_all_at_once_is_one_by_one(
    function: Any, use: str, converted: Any, monkeypatch: Any
) -> None:
    found = USES[use](function)(W, X)
    assert converted and all(converted)
    monkeypatch.setattr(lanes, "_together", lambda *args: None)
    fg.clear_caches()
    wanted = USES[use](lambda w, x: function(w, x))(W, X)
    for a, b in zip(fg.tree.leaves(found), fg.tree.leaves(wanted), strict=True):
        if a.dtype == fg.float0:
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        # sums over lanes in another order
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


def endless(x: Any) -> Any:
    """For a number below zero the loop in the branch not taken would never end."""
    grow = lambda v: lax.while_loop(lambda u: u < 10.0, lambda u: u * 2.0, v)
    return lax.cond(x > 0, grow, jnp.exp, x)


def called(x: Any) -> Any:
    say = lambda v: fg.pure_callback(np.sqrt, v, v, vmap_method="sequential")
    return lax.cond(x > 0, say, lambda v: v, x)


def large(x: Any) -> Any:
    wide = lambda v: jnp.sum(jnp.sin(v * jnp.arange(float(lanes.SMALL + 1))))
    return lax.cond(x > 0, wide, lambda v: v, x)


def carried(x: Any) -> Any:
    """Not a construct's own lanes: a loop that the user wants in order."""
    return lax.map(lambda v: v * 2.0, jnp.stack([x, x]))


@pytest.mark.parametrize("engine", ["numpy", "reference"])
@pytest.mark.parametrize("function", [endless, called, large], ids=lambda f: f.__name__)
def test_some_go_one_by_one(function: Any, engine: str, converted: Any) -> None:
    with fg.config.override(engine=engine):
        found = fg.jit(fg.vmap(function))(X)
    np.testing.assert_allclose(found, [function(x) for x in X], rtol=1e-5)
    assert converted and not any(converted)


def test_loops_of_the_user_keep_their_order(converted: Any) -> None:
    fg.jit(fg.vmap(carried))(X)
    assert not converted


def test_statements_do_not_grow_with_lanes() -> None:
    def lines(count: int) -> int:
        f = fg.jit(fg.vmap(lambda x: branch(W, x)))
        return f.lower(jnp.ones(count)).as_text("python").count("\n")

    assert lines(5) == lines(500)
    assert "for " not in fg.jit(fg.vmap(lambda x: branch(W, x))).lower(X).as_text("python")
