"""W4b: layer norm of (1024, 1024) with a weighted sum, value and gradients: reductions between
passes.
"""

from types import ModuleType

import numpy as np

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Unable, Workload, jitted

SIZE = 1024
EPSILON = 1e-5
_rng = models.generator(6)
X, WEIGHTS = models.normal(_rng, SIZE, SIZE), models.normal(_rng, SIZE, SIZE)
GAIN, BIAS = models.normal(_rng, SIZE), models.normal(_rng, SIZE)


def in_jax(lib: ModuleType) -> Run:
    xp = lib.numpy

    def loss(x, gain, bias, weights):
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        return xp.sum((centred / xp.sqrt(variance + EPSILON) * gain + bias) * weights)

    return jitted(lib, lib.value_and_grad(loss, (0, 1, 2)), X, GAIN, BIAS, WEIGHTS)


def torch_loss(torch: ModuleType):
    layer_norm = torch.nn.functional.layer_norm
    return lambda x, gain, bias, weights: (
        layer_norm(x, (SIZE,), gain, bias, EPSILON) * weights
    ).sum()


def with_gradients(torch: ModuleType, loss) -> Run:
    tensors = peers.to_torch(torch, (X, GAIN, BIAS), gradients=True)
    weights = torch.from_numpy(WEIGHTS.copy())

    def run():
        value = loss(*tensors, weights)
        return value, torch.autograd.grad(value, tensors)

    return run


def in_torch(torch: ModuleType) -> Run:
    return with_gradients(torch, torch_loss(torch))


def in_compiled_torch(torch: ModuleType) -> Run:
    run = with_gradients(torch, torch.compile(torch_loss(torch)))
    try:
        run()
    except Exception as error:  # whatever its compiler or the one it calls raises
        raise Unable(f"torch.compile failed: {type(error).__name__}") from error
    return run


def in_numpy(_: ModuleType) -> Run:
    def run():
        normal = X - X.mean(1, keepdims=True)
        scale = 1 / np.sqrt((normal * normal).mean(1, keepdims=True) + np.float32(EPSILON))
        normal *= scale
        value = ((normal * GAIN + BIAS) * WEIGHTS).sum()
        delta = WEIGHTS * GAIN
        inner = (delta * normal).mean(1, keepdims=True)
        along = (delta - delta.mean(1, keepdims=True) - normal * inner) * scale
        return value, (along, (WEIGHTS * normal).sum(0), WEIGHTS.sum(0))

    return run


WORKLOAD = Workload(
    "W4b",
    "layer norm (1024, 1024), value and gradients",
    "ms",
    {
        peers.NUMPY: in_numpy,
        peers.FUNCGRAD: in_jax,
        peers.JAX: in_jax,
        peers.TORCH: in_torch,
        peers.COMPILED: in_compiled_torch,
    },
    (Bar(peers.COMPILED, 0.85),),
    tolerance=1e-4,
    on_all_cores=True,
    sensitive_to_allocator=True,
)
