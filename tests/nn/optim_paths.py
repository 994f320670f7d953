"""The same gradients through our optimizers, optax's and PyTorch's: the paths of the parameters."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn import optim

STEPS = 20
RNG = np.random.default_rng(0)
PARAMS = {
    "w": RNG.normal(size=(3, 4)).astype(np.float32),
    "b": {"c": RNG.normal(size=(4,)).astype(np.float32)},
}
# Gradients of different sizes, also exactly zero ones: what scaling by moments must survive.
GRADS = [
    fg.tree.map(
        lambda p: (
            RNG.normal(size=p.shape) * 10 ** RNG.uniform(-3, 1) * (RNG.random(p.shape) < 0.9)
        ).astype(np.float32),
        PARAMS,
    )
    for _ in range(STEPS)
]


class Optax:
    """optax's names, those of optax.contrib included."""

    def __getattr__(self, name):
        optax = pytest.importorskip("optax")
        return getattr(optax, name, None) or getattr(optax.contrib, name)


def run_ours(optimizer, jit=True, grads=GRADS, value=None):
    extra = {} if value is None else {"value": value}

    def step(params, state, grads, extra):
        updates, state = optimizer.update(grads, state, params, **extra)
        return optim.apply_updates(params, updates), state

    step = fg.jit(step) if jit else step
    params = fg.tree.map(jnp.asarray, PARAMS)
    state, seen = optimizer.init(params), []
    for g in grads:
        params, state = step(params, state, fg.tree.map(jnp.asarray, g), extra)
        seen.append([np.asarray(leaf) for leaf in fg.tree.leaves(params)])
    return seen


def run_counted(optimizer, dtype, steps):
    """The parameters in `dtype` after some jitted steps, and how often the step was traced."""
    traces = []

    @fg.jit
    def step(params, state, grads):
        traces.append(None)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    def cast(tree):
        return fg.tree.map(lambda leaf: jnp.asarray(leaf).astype(dtype), tree)

    params = cast(PARAMS)
    state = optimizer.init(params)
    for grads in GRADS[:steps]:
        params, state = step(params, state, cast(grads))
    return params, len(traces)


def run_optax(optimizer, grads=GRADS, value=None):
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    optimizer = optax.with_extra_args_support(optimizer)
    extra = {} if value is None else {"value": value}
    params = jax.tree.map(jax.numpy.asarray, PARAMS)
    state, seen = optimizer.init(params), []

    @jax.jit
    def step(params, state, g):
        updates, state = optimizer.update(g, state, params, **extra)
        return optax.apply_updates(params, updates), state

    for g in grads:
        params, state = step(params, state, g)
        seen.append([np.asarray(leaf) for leaf in jax.tree.leaves(params)])
    return seen


def run_torch(make, grads=GRADS):
    torch = pytest.importorskip("torch")
    # leaves in the order of ours: b.c, then w
    params = [
        torch.tensor(PARAMS["b"]["c"]).requires_grad_(),
        torch.tensor(PARAMS["w"]).requires_grad_(),
    ]
    optimizer, seen = make(torch.optim, params), []
    for g in grads:
        for p, leaf in zip(params, (g["b"]["c"], g["w"]), strict=True):
            p.grad = torch.tensor(leaf)
        optimizer.step()
        seen.append([p.detach().numpy().copy() for p in params])
    return seen


def assert_same_paths(ours, theirs, rtol=1e-6, atol=2e-6):
    """1e-6 of the parameters' size: a few roundings of float32 in each of 20 steps."""
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=f"step {step}")
