"""Sums of pieces become concatenations."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.compiler.pipeline import optimise
from funcgrad.core.jaxpr import Jaxpr


def names(jaxpr: Jaxpr) -> list[str]:
    return [e.primitive.name for e in jaxpr.eqns]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 0, 3, 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_of_slices_are_put_together(order: tuple[int, ...], axis: int) -> None:
    functions = [jnp.sin, jnp.cos, jnp.tanh, jnp.exp]

    def loss(x):
        parts = jnp.split(x, 4, axis) if axis == 0 else [x[:, 2 * k : 2 * k + 2] for k in range(4)]
        return sum(jnp.sum(functions[k](parts[k]) * (k + 1)) for k in order)

    x = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    program = optimise(fg.make_jaxpr(fg.grad(loss))(x))
    assert "pad" not in names(program)
    assert names(program).count("concatenate") == 1 or axis == 0
    np.testing.assert_allclose(fg.jit(fg.grad(loss))(x), fg.grad(loss)(x), rtol=1e-5, atol=1e-6)


def test_pieces_that_overlap_stay_a_sum() -> None:
    def loss(x):
        return jnp.sum(jnp.sin(x[:5])) + jnp.sum(jnp.cos(x[3:]))

    x = np.linspace(-1, 1, 8).astype(np.float32)
    assert "pad" in names(optimise(fg.make_jaxpr(fg.grad(loss))(x)))
    np.testing.assert_allclose(fg.jit(fg.grad(loss))(x), fg.grad(loss)(x), rtol=1e-5, atol=1e-6)
