"""W5a: one training step of a 784-512-512-10 network with Adam, batch 128, its state donated."""

from types import ModuleType

import numpy as np

from benchmarks import models, peers
from benchmarks.optimizers import DECAY1, DECAY2, EPSILON, RATE, adam_run, torch_adam_run
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload

PARAMS, INPUTS, LABELS = models.mlp_inputs(8, (784, 512, 512, 10), batch=128)
TARGETS = models.one_hot(LABELS, 10)


def in_jax(lib: ModuleType) -> Run:
    def loss(params, inputs, targets):
        return models.mlp_loss(lib.numpy, params, inputs, targets, lib.lax.stop_gradient)

    return adam_run(lib, loss, PARAMS, (INPUTS, TARGETS), shown)


def in_torch(torch: ModuleType) -> Run:
    params = peers.to_torch(torch, PARAMS, gradients=True)
    inputs, labels = peers.to_torch(torch, (INPUTS, LABELS))
    loss = lambda params: models.torch_mlp_loss(torch, params, inputs, labels)
    return torch_adam_run(torch, loss, params, shown)


def shown(params):
    return params[1]["b"]


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
