"""W4c: mean softmax cross-entropy of (1024, 1024) logits, integer labels, value and gradient."""

from types import ModuleType

from benchmarks import models, peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload, jitted

SIZE = 1024
_rng = models.generator(7)
LOGITS = models.normal(_rng, SIZE, SIZE)
LABELS = _rng.integers(0, SIZE, SIZE)


def in_jax(lib: ModuleType) -> Run:
    xp = lib.numpy

    def loss(logits, labels):
        shifted = logits - lib.lax.stop_gradient(xp.max(logits, axis=-1, keepdims=True))
        log_sum = xp.log(xp.sum(xp.exp(shifted), axis=-1))
        picked = xp.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
        return xp.mean(log_sum - picked)

    return jitted(lib, lib.value_and_grad(loss), LOGITS, LABELS.astype("int32"))


def in_torch(torch: ModuleType) -> Run:
    logits = torch.from_numpy(LOGITS.copy()).requires_grad_()
    labels = torch.from_numpy(LABELS)

    def run():
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return loss, torch.autograd.grad(loss, logits)[0]

    return run


def in_numpy(_: ModuleType) -> Run:
    return lambda: models.numpy_cross_entropy(LOGITS, LABELS)


WORKLOAD = Workload(
    "W4c",
    "softmax cross-entropy (1024, 1024), value and gradient",
    "ms",
    {
        peers.NUMPY: in_numpy,
        peers.FUNCGRAD: in_jax,
        peers.JAX: in_jax,
        peers.TORCH: in_torch,
    },
    (Bar(peers.JAX, 0.75),),
    tolerance=1e-4,
    on_all_cores=True,
    sensitive_to_allocator=True,
)
