"""The essence of programs that people write in JAX, run with either library and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgrad as fg

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle


def recurrent_gradient(jax: Any, jnp: Any) -> Any:
    """Gradient of a small LSTM through scan, with remat of the cell."""

    @jax.checkpoint
    def cell(weights: Any, carry: Any, x: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(jnp.concatenate([x, h]) @ weights, 4)
        c = jax.nn.sigmoid(f + 1.0) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def loss(weights: Any) -> Any:
        inputs = jax.random.normal(jax.random.key(1), (7, 2))
        start = (jnp.zeros(3), jnp.zeros(3))
        return (jax.lax.scan(lambda c, x: cell(weights, c, x), start, inputs)[1] ** 2).sum()

    return jax.jit(jax.grad(loss))(jax.random.normal(jax.random.key(0), (5, 12)))


def hamiltonian_chains(jax: Any, jnp: Any) -> Any:
    """Chains of Hamiltonian Monte Carlo: vmap of scan of fori_loop of grad, with accept or stay."""

    def log_density(x: Any) -> Any:
        return -0.5 * jnp.sum(x**2) - 0.1 * x[0] ** 2 * x[1] ** 2

    def leap(i: Any, state: Any) -> Any:
        x, p = state
        p = p + 0.1 * jax.grad(log_density)(x)
        return x + 0.1 * p, p

    def step(x: Any, key: Any) -> Any:
        momentum_key, accept_key = jax.random.split(key)
        p = jax.random.normal(momentum_key, x.shape)
        new, q = jax.lax.fori_loop(0, 5, leap, (x, p))
        ratio = log_density(new) - 0.5 * q @ q - log_density(x) + 0.5 * p @ p
        accepted = jnp.log(jax.random.uniform(accept_key)) < ratio
        x = jax.lax.cond(accepted, lambda: new, lambda: x)
        return x, x

    def chain(key: Any) -> Any:
        return jax.lax.scan(step, jnp.ones(2), jax.random.split(key, 6))[1]

    return jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(3), 4))


def beam_search(jax: Any, jnp: Any) -> Any:
    """Best sequences by top_k, with positions moved by roll and written by dynamic updates."""

    def extend(state: Any, scores: Any) -> Any:
        total, sequences = state
        candidates = (total[:, None] + scores).reshape(-1)
        total, chosen = jax.lax.top_k(candidates, 3)
        sequences = jnp.roll(sequences[chosen // 5], -1, 1)
        token = (chosen % 5)[:, None]
        return (total, jax.lax.dynamic_update_slice(sequences, token, (0, 3))), None

    start = (jnp.array([0.0, -jnp.inf, -jnp.inf]), jnp.zeros((3, 4), jnp.int32))
    scores = jax.nn.log_softmax(jax.random.normal(jax.random.key(5), (4, 5)))
    return jax.lax.scan(extend, start, scores)[0][1]


def implicit_root(jax: Any, jnp: Any) -> Any:
    """The square root as a fixed point, differentiated twice through its equation."""

    @jax.custom_vjp
    def root(a: Any) -> Any:
        def unsettled(state: Any) -> Any:
            return jnp.abs(state[0] - state[1]) > 1e-6

        def improve(state: Any) -> Any:
            return state[1], 0.5 * (state[1] + a / state[1])

        return jax.lax.while_loop(unsettled, improve, (a, 0.5 * (a + 1.0)))[1]

    def forward(a: Any) -> Any:
        x = root(a)
        return x, x

    root.defvjp(forward, lambda x, ct: (ct * 0.5 / x,))
    return jax.vmap(jax.grad(root))(jnp.array([2.0, 3.0, 5.0]))


def filtered_likelihood(jax: Any, jnp: Any) -> Any:
    """Value and gradient of a Kalman filter's likelihood in its noise."""
    seen = jnp.cumsum(jax.random.normal(jax.random.key(7), (9, 1)), 0)

    def likelihood(noise: Any) -> Any:
        def step(state: Any, y: Any) -> Any:
            mean, spread = state
            spread = spread + noise * jnp.eye(1)
            total = spread + 0.5 * jnp.eye(1)
            gain = jnp.linalg.solve(total, spread).T
            error = y - mean
            term = error @ jnp.linalg.solve(total, error) + jnp.linalg.slogdet(total)[1]
            return (mean + gain @ error, spread - gain @ total @ gain.T), -0.5 * term

        return jax.lax.scan(step, (jnp.zeros(1), jnp.eye(1)), seen)[1].sum()

    return jnp.stack(jax.jit(jax.value_and_grad(likelihood))(0.3))


PROGRAMS: list[Callable[[Any, Any], Any]] = [
    recurrent_gradient,
    hamiltonian_chains,
    beam_search,
    implicit_root,
    filtered_likelihood,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_same_numbers_as_jax(program: Callable[[Any, Any], Any]) -> None:
    ours, theirs = program(fg, fg.numpy), program(jax, jax.numpy)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    # some dozen float32 operations on numbers of order one, rounded differently
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-4, atol=1e-5)
