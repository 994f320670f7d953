"""W2a: what a call of a jitted function costs when there is nothing to compute."""

from types import ModuleType

import numpy as np

from benchmarks import peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload, jitted

X = np.array([0.5, -1.5, 2.5], np.float32)


def in_jax(lib: ModuleType) -> Run:
    return jitted(lib, lambda x: x + 1, X)


def in_torch(torch: ModuleType) -> Run:
    x = torch.from_numpy(X.copy())
    return lambda: x + 1


def in_numpy(np_: ModuleType) -> Run:
    one = np_.float32(1)
    return lambda: X + one


WORKLOAD = Workload(
    "W2a",
    "call of a jitted x + 1, shape (3,)",
    "us",
    {
        peers.FUNCGRAD: in_jax,
        peers.JAX: in_jax,
        peers.TORCH: in_torch,
        peers.NUMPY: in_numpy,
    },
    (Bar(peers.TORCH, 0.3), Bar(peers.JAX, 1.0)),
    tolerance=1e-6,
)
