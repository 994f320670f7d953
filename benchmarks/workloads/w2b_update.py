"""W2b: an SGD update of 20 small leaves: flattening, calling and rebuilding outweigh the
arithmetic.
"""

from types import ModuleType

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload, jitted

RATE = 1e-3
_rng = models.generator(2)
PARAMS = {f"p{i:02}": models.normal(_rng, 16) for i in range(20)}
GRADIENTS = {name: models.normal(_rng, 16) for name in PARAMS}


def in_jax(lib: ModuleType) -> Run:
    def update(params, gradients):
        return lib.tree.map(lambda p, g: p - RATE * g, params, gradients)

    return jitted(lib, update, PARAMS, GRADIENTS)


def in_torch(torch: ModuleType) -> Run:
    """In place, so the compared calls start again from copies of the start values."""
    params, gradients = peers.to_torch(torch, [PARAMS, GRADIENTS])
    start = [p.clone() for p in peers.arrays_of(params)]
    current, steps = peers.arrays_of(params), peers.arrays_of(gradients)
    calls = iter(range(2))

    def run():
        if next(calls, None) is not None:  # the two compared calls start where the others do
            torch._foreach_copy_(current, start)
        torch._foreach_add_(current, steps, alpha=-RATE)
        return params

    return run


def in_numpy(np: ModuleType) -> Run:
    rate = np.float32(RATE)
    return lambda: {name: PARAMS[name] - rate * GRADIENTS[name] for name in PARAMS}


WORKLOAD = Workload(
    "W2b",
    "jitted SGD update, 20 leaves of (16,)",
    "us",
    {
        peers.FUNCGRAD: in_jax,
        peers.JAX: in_jax,
        peers.TORCH: in_torch,
        peers.NUMPY: in_numpy,
    },
    (Bar(peers.TORCH, 0.6), Bar(peers.JAX, 0.15)),
    tolerance=1e-6,
)
