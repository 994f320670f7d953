"""W3a: two operations without jit, on 8 elements: what an eager operation costs."""

from types import ModuleType

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload

_rng = models.generator(3)
X, Y, Z = (models.normal(_rng, 8) for _ in range(3))


def in_jax(lib: ModuleType) -> Run:
    x, y, z = peers.to_library(lib, (X, Y, Z))
    return lambda: peers.wait(x * y + z)


def in_torch(torch: ModuleType) -> Run:
    x, y, z = peers.to_torch(torch, (X, Y, Z))
    return lambda: x * y + z


def in_autograd(autograd: ModuleType) -> Run:
    multiply, add = autograd.numpy.multiply, autograd.numpy.add
    return lambda: add(multiply(X, Y), Z)


def in_numpy(_: ModuleType) -> Run:
    return lambda: X * Y + Z


WORKLOAD = Workload(
    "W3a",
    "eager x * y + z on (8,), per operation",
    "us",
    {
        peers.FUNCGRAD: in_jax,
        peers.JAX: in_jax,
        peers.TORCH: in_torch,
        peers.AUTOGRAD: in_autograd,
        peers.NUMPY: in_numpy,
    },
    (Bar(peers.TORCH, 1.2), Bar(peers.JAX, 0.3)),
    tolerance=1e-6,
    operations=2,
)
