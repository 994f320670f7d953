"""Work leaves scans: hoisting, sinking, turned constants, fewer residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.compiler.pipeline import optimise, prepared
from funcgrad.config import config
from funcgrad.core.jaxpr import Eqn, Jaxpr
from funcgrad.lax import scan

STEPS, ROWS, SIZE = 7, 5, 24
_rng = np.random.default_rng(3)
W = (_rng.normal(size=(SIZE, SIZE)) * 0.2).astype(np.float32)
V = (_rng.normal(size=(SIZE, SIZE)) * 0.2).astype(np.float32)
XS = _rng.normal(size=(STEPS, ROWS, SIZE)).astype(np.float32)
START = np.zeros((ROWS, SIZE), np.float32)


def recurrent(w: Any, v: Any, xs: Any, reverse: bool = False) -> Any:
    """A recurrent layer: one product with the input, one with the state."""

    def step(h, x):
        h = jnp.tanh(x @ w + h @ v)
        return h, h

    last, hs = scan(step, jnp.asarray(START), xs, reverse=reverse)
    return jnp.sum(hs**2) + jnp.sum(last)


def scans(jaxpr: Jaxpr) -> list[Eqn]:
    return [e for e in jaxpr.eqns if e.primitive.name == "scan"]


def count(jaxpr: Jaxpr, name: str) -> int:
    return sum(e.primitive.name == name for e in jaxpr.eqns)


def close(a: Any, b: Any) -> None:
    for x, y in zip(fg.tree.leaves(a), fg.tree.leaves(b), strict=True):
        # float32 sums of some hundred terms in another order
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-4)


def test_products_of_inputs_are_made_at_once() -> None:
    program = optimise(fg.make_jaxpr(recurrent)(W, V, XS))
    (loop,) = scans(program)
    assert count(program, "dot_general") == 1 and count(loop.params["jaxpr"], "dot_general") == 1
    assert loop.params["num_consts"] == 1


def test_sums_of_products_are_taken_after_the_loop() -> None:
    program = optimise(fg.make_jaxpr(fg.grad(recurrent, argnums=(0, 1)))(W, V, XS))
    forward, backward = scans(program)
    assert backward.params["num_carry"] == 1  # the cotangent of the state; both sums are gone
    assert count(backward.params["jaxpr"], "dot_general") == 1
    assert count(program, "dot_general") == 3


def test_constants_that_are_read_by_columns_are_turned_once() -> None:
    program = optimise(fg.make_jaxpr(fg.grad(recurrent, argnums=(0, 1)))(W, V, XS))
    _, backward = scans(program)
    (product,) = (e for e in backward.params["jaxpr"].eqns if e.primitive.name == "dot_general")
    assert product.params["dimension_numbers"] == (((1,), (0,)), ((), ()))
    assert count(program, "transpose") == 1


def test_small_work_stays() -> None:
    def loss(a, xs):
        return scan(lambda c, x: (c + a * x, jnp.sin(a)), 0.0, xs)[0]

    xs = np.linspace(0, 1, 5).astype(np.float32)
    (loop,) = scans(optimise(fg.make_jaxpr(loss)(2.0, xs)))
    assert loop.params["num_carry"] == 1
    close(fg.jit(loss)(2.0, xs), loss(2.0, xs))


def test_what_maps_can_compute_again_is_not_kept() -> None:
    program = fg.make_jaxpr(fg.grad(recurrent, argnums=(0, 1)))(W, V, XS)
    kept = len(scans(optimise(program))[0].outs)
    forward, _ = scans(prepared(program))
    # The states, and the states before, which the sum of products reads.
    assert len(forward.outs) == 3 and kept > 3


@pytest.mark.parametrize("function", [jnp.tanh, jnp.arctan, jnp.exp])
def test_a_maximum_that_numpy_found_is_found_again(function: Any) -> None:
    """A small loop around a callback runs in NumPy, its derivative natively: with other bits."""

    def loss(xs):
        def step(total, x):
            top = jnp.max(function(x))
            seen = fg.pure_callback(np.asarray, top, fg.lax.stop_gradient(top))
            return total + 0 * seen, top

        total, tops = scan(step, np.float32(0), xs)
        return total + jnp.sum(tops)

    rows = np.random.default_rng(1).standard_normal((40, 17)).astype(np.float32)
    found = np.asarray(fg.jit(fg.grad(loss))(rows))
    assert (np.count_nonzero(found, 1) == 1).all()
    assert (found.argmax(1) == rows.argmax(1)).all()


@pytest.mark.parametrize("size", [300, 1100, 2000])
def test_a_maximum_taken_before_the_loop_is_found_in_it(size: int) -> None:
    def marked(w, xs):
        def step(total, x):
            values = jnp.exp(jnp.sin(w)) * jnp.arctan(w)
            seen = fg.pure_callback(np.asarray, x, x)
            return total + seen, jnp.where(values == jnp.max(values), x, 0)

        return scan(step, np.float32(0), xs)[1]

    for w in np.random.default_rng(size).standard_normal((6, size)).astype(np.float32):
        assert np.count_nonzero(fg.jit(marked)(w, np.ones(2, np.float32))) >= 2  # equal ones, too


@pytest.mark.parametrize("engine", ["llvm", "numpy", "reference"])
@pytest.mark.parametrize("reverse", [False, True])
def test_values_and_gradients_stay_the_same(engine: str, reverse: bool) -> None:
    def loss(w, v, xs):
        return recurrent(w, v, xs, reverse)

    both = fg.value_and_grad(loss, argnums=(0, 1, 2))
    with config.override(engine="reference"):
        expected = both(W, V, XS)
    with config.override(engine=engine):
        close(fg.jit(both)(W, V, XS), expected)
        close(fg.jit(fg.vmap(both, (None, None, 0)))(W, V, XS[None])[0][0], expected[0])
