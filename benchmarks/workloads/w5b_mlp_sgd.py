"""W5b: one training step of a 784-128-10 network with SGD, batch 64."""

from types import ModuleType

import numpy as np

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload

PARAMS, INPUTS, LABELS = models.mlp_inputs(9, (784, 128, 10), batch=64)
TARGETS = models.one_hot(LABELS, 10)
RATE = 0.1


def in_jax(lib: ModuleType) -> Run:
    def loss(params, inputs, targets):
        return models.mlp_loss(lib.numpy, params, inputs, targets, lib.lax.stop_gradient)

    def step(params, inputs, targets):
        value, gradients = lib.value_and_grad(loss)(params, inputs, targets)
        return lib.tree.map(lambda p, g: p - RATE * g, params, gradients), value

    compiled = lib.jit(step, donate_argnums=0)
    params, inputs, targets = peers.to_library(lib, (PARAMS, INPUTS, TARGETS))

    def run():
        nonlocal params
        params, value = compiled(params, inputs, targets)
        return peers.wait([value, params[0]["b"]])

    return run


def in_torch(torch: ModuleType) -> Run:
    params = peers.to_torch(torch, PARAMS, gradients=True)
    inputs, labels = peers.to_torch(torch, (INPUTS, LABELS))
    optimizer = torch.optim.SGD(peers.arrays_of(params), RATE, fused=True)

    def run():
        value = models.torch_mlp_loss(torch, params, inputs, labels)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        return [value, params[0]["b"]]

    return run


def in_autograd(autograd: ModuleType) -> Run:
    def loss(params):
        return models.mlp_loss(autograd.numpy, params, INPUTS, TARGETS)

    params = peers.on_arrays(np.copy, PARAMS)
    gradient = autograd.value_and_grad(loss)

    def run():
        value, gradients = gradient(params)
        descend(params, gradients)
        return [value, params[0]["b"]]

    return run


def in_numpy(_: ModuleType) -> Run:
    params = peers.on_arrays(np.copy, PARAMS)

    def run():
        value, gradients = models.numpy_mlp_gradients(params, INPUTS, LABELS)
        descend(params, gradients)
        return [value, params[0]["b"]]

    return run


def descend(params: list, gradients: list) -> None:
    """The update in place; the gradients' buffers are used up."""
    for p, g in zip(peers.arrays_of(params), peers.arrays_of(gradients), strict=True):
        g *= np.float32(RATE)
        p -= g


WORKLOAD = Workload(
    "W5b",
    "784-128-10 network, batch 64, SGD step",
    "ms",
    {
        peers.NUMPY: in_numpy,
        peers.FUNCGRAD: in_jax,
        peers.JAX: in_jax,
        peers.TORCH: in_torch,
        peers.AUTOGRAD: in_autograd,
    },
    (Bar(peers.JAX, 0.75),),
    tolerance=1e-4,
    on_all_cores=True,
    sensitive_to_allocator=True,
)
