"""W5a: one training step of a 784-512-512-10 network with Adam, batch 128, its state donated."""

from types import ModuleType

import numpy as np

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload

PARAMS, INPUTS, LABELS = models.mlp_inputs(8, (784, 512, 512, 10), batch=128)
TARGETS = models.one_hot(LABELS, 10)
RATE, DECAY1, DECAY2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def in_jax(lib: ModuleType) -> Run:
    xp, tree = lib.numpy, lib.tree

    def loss(params, inputs, targets):
        return models.mlp_loss(xp, params, inputs, targets, lib.lax.stop_gradient)

    def step(state, inputs, targets):
        params, first, second, count = state
        value, gradients = lib.value_and_grad(loss)(params, inputs, targets)
        count = count + 1
        first = tree.map(lambda m, g: DECAY1 * m + (1 - DECAY1) * g, first, gradients)
        second = tree.map(lambda v, g: DECAY2 * v + (1 - DECAY2) * g * g, second, gradients)
        scale1, scale2 = 1 / (1 - DECAY1**count), 1 / (1 - DECAY2**count)
        params = tree.map(
            lambda p, m, v: p - RATE * m * scale1 / (xp.sqrt(v * scale2) + EPSILON),
            params,
            first,
            second,
        )
        return (params, first, second, count), value

    compiled = lib.jit(step, donate_argnums=0)
    params, inputs, targets = peers.to_library(lib, (PARAMS, INPUTS, TARGETS))
    state = params, tree.map(xp.zeros_like, params), tree.map(xp.zeros_like, params), xp.float32(0)

    def run():
        nonlocal state
        state, value = compiled(state, inputs, targets)
        return peers.wait([value, state[0][1]["b"]])

    return run


def in_torch(torch: ModuleType) -> Run:
    params = peers.to_torch(torch, PARAMS, gradients=True)
    inputs, labels = peers.to_torch(torch, (INPUTS, LABELS))
    optimizer = torch.optim.Adam(
        peers.arrays_of(params), RATE, (DECAY1, DECAY2), EPSILON, fused=True
    )

    def run():
        value = models.torch_mlp_loss(torch, params, inputs, labels)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        return [value, params[1]["b"]]

    return run


def in_numpy(_: ModuleType) -> Run:
    params = peers.on_arrays(np.copy, PARAMS)
    leaves = peers.arrays_of(params)
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in leaves]
    count = 0

    def run():
        nonlocal count
        value, gradients = models.numpy_mlp_gradients(params, INPUTS, LABELS)
        count += 1
        scale1, scale2 = RATE / (1 - DECAY1**count), 1 / (1 - DECAY2**count)
        for p, g, (m, v) in zip(leaves, peers.arrays_of(gradients), moments, strict=True):
            adam_in_place(p, g, m, v, np.float32(scale1), np.float32(scale2))
        return [value, params[1]["b"]]

    return run


def adam_in_place(p, g, m, v, scale1, scale2) -> None:
    """One Adam update as one writes it by hand; the gradient's buffer is used up."""
    m *= np.float32(DECAY1)
    m += np.float32(1 - DECAY1) * g
    g *= g
    g *= np.float32(1 - DECAY2)
    v *= np.float32(DECAY2)
    v += g
    np.multiply(v, scale2, out=g)
    np.sqrt(g, out=g)
    g += np.float32(EPSILON)
    np.divide(m, g, out=g)
    g *= scale1
    p -= g


WORKLOAD = Workload(
    "W5a",
    "784-512-512-10 network, batch 128, Adam step",
    "ms",
    {
        peers.NUMPY: in_numpy,
        peers.FUNCGRAD: in_jax,
        peers.JAX: in_jax,
        peers.TORCH: in_torch,
    },
    (Bar(peers.JAX, 0.85),),
    tolerance=1e-3,  # Adam divides by the root of tiny second moments: rounding is amplified
    on_all_cores=True,
    sensitive_to_allocator=True,
)
