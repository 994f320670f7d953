"""W4a: a chain of elementwise operations, long and short: fusion against passes over memory."""

from types import ModuleType

import numpy as np

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload, jitted


def chain(xp, x):
    a = x * 0.5 + 0.1
    b = xp.exp(-a * a)
    c = xp.tanh(a + b)
    d = c * b - a
    return d * d


def chain_in_place(x: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """As one writes it by hand: no array is made twice."""
    np.multiply(x, np.float32(0.5), out=a)
    a += np.float32(0.1)
    np.multiply(a, a, out=b)
    np.negative(b, out=b)
    np.exp(b, out=b)
    np.add(a, b, out=c)
    np.tanh(c, out=c)
    c *= b
    c -= a
    c *= c
    return c


def workload(name: str, size: int, bars: tuple[Bar, ...]) -> Workload:
    x = models.normal(models.generator(5), size)

    def in_jax(lib: ModuleType) -> Run:
        return jitted(lib, lambda v: chain(lib.numpy, v), x)

    def in_torch(torch: ModuleType) -> Run:
        tensor = torch.from_numpy(x.copy())
        return lambda: chain(torch, tensor)

    def in_numpy(_: ModuleType) -> Run:
        buffers = [np.empty_like(x) for _ in range(3)]
        return lambda: chain_in_place(x, *buffers)

    return Workload(
        name,
        f"elementwise chain on {size:.0e} elements",
        "us",
        {
            peers.FUNCGRAD: in_jax,
            peers.JAX: in_jax,
            peers.TORCH: in_torch,
            peers.NUMPY: in_numpy,
        },
        bars,
        tolerance=1e-5,
        on_all_cores=True,
        sensitive_to_allocator=True,
    )


LONG = workload("W4a", 1_000_000, (Bar(peers.JAX, 0.45),))
SHORT = workload("W4a-short", 10_000, (Bar(peers.JAX, 0.22), Bar(peers.NUMPY, 0.4)))
