"""W11: products of matrices: a large one, and two as they occur in small networks."""

from types import ModuleType

import numpy as np

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload, jitted


def product(rows: int, inner: int, columns: int, advantage: float) -> Workload:
    """A row of the table; `advantage` is the rate to reach over the best peer's."""
    rng = models.generator(15)
    a, b = models.normal(rng, rows, inner), models.normal(rng, inner, columns)

    def in_jax(lib: ModuleType) -> Run:
        return jitted(lib, lib.numpy.dot, a, b)

    def in_torch(torch: ModuleType) -> Run:
        x, y = torch.from_numpy(a), torch.from_numpy(b)
        return lambda: x @ y

    def in_numpy(_: ModuleType) -> Run:
        out = np.empty((rows, columns), np.float32)
        return lambda: np.dot(a, b, out=out)

    return Workload(
        f"W11-{rows}",
        f"matrix product {rows} x {inner} x {columns}",
        "us",
        {
            peers.NUMPY: in_numpy,
            peers.FUNCGRAD: in_jax,
            peers.JAX: in_jax,
            peers.TORCH: in_torch,
        },
        tuple(Bar(peer, 1 / advantage) for peer in (peers.NUMPY, peers.JAX, peers.TORCH)),
        tolerance=1e-4,
        on_all_cores=True,
    )


WORKLOADS = (
    product(1024, 1024, 1024, 1.0),
    product(64, 128, 10, 1.3),
    product(128, 512, 512, 1.1),
)
