"""W3b: the gradient of a small network without jit: tracing, differentiation and many small
operations.
"""

from types import ModuleType

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload

PARAMS, INPUTS, LABELS = models.mlp_inputs(4, (8, 16, 16, 4), batch=4)
TARGETS = models.one_hot(LABELS, 4)


def in_jax(lib: ModuleType) -> Run:
    params, inputs, targets = peers.to_library(lib, (PARAMS, INPUTS, TARGETS))
    stop = lib.lax.stop_gradient
    gradient = lib.grad(lambda p: models.mlp_loss(lib.numpy, p, inputs, targets, stop))
    return lambda: peers.wait(gradient(params))


def in_torch(torch: ModuleType) -> Run:
    params = peers.to_torch(torch, PARAMS, gradients=True)
    inputs, labels = peers.to_torch(torch, (INPUTS, LABELS))
    leaves = peers.arrays_of(params)

    def run():
        return torch.autograd.grad(models.torch_mlp_loss(torch, params, inputs, labels), leaves)

    return run


def in_autograd(autograd: ModuleType) -> Run:
    gradient = autograd.grad(lambda p: models.mlp_loss(autograd.numpy, p, INPUTS, TARGETS))
    return lambda: gradient(PARAMS)


WORKLOAD = Workload(
    "W3b",
    "eager gradient of an 8-16-16-4 network, batch 4",
    "us",
    {
        peers.FUNCGRAD: in_jax,
        peers.JAX: in_jax,
        peers.TORCH: in_torch,
        peers.AUTOGRAD: in_autograd,
    },
    (Bar(peers.AUTOGRAD, 0.4), Bar(peers.JAX, 0.05)),
    tolerance=1e-4,
)
