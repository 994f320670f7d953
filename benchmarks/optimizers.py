"""Training steps as a user writes them, the same for jax and funcgrad."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from benchmarks import peers
from benchmarks.timing import Run

RATE, DECAY1, DECAY2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def adam_run(
    lib: ModuleType,
    loss: Callable[..., Any],
    params: Any,
    batch: tuple[Any, ...],
    shown: Callable[[Any], Any],
    weight_decay: float = 0.0,
) -> Run:
    """Calls of a jitted Adam step whose state is donated; with `weight_decay`, AdamW. A call
    returns the loss and the parameters that `shown` picks.
    """
    xp, tree = lib.numpy, lib.tree

    def step(state: Any, *batch: Any) -> Any:
        params, first, second, count = state
        value, gradients = lib.value_and_grad(loss)(params, *batch)
        count = count + 1
        first = tree.map(lambda m, g: DECAY1 * m + (1 - DECAY1) * g, first, gradients)
        second = tree.map(lambda v, g: DECAY2 * v + (1 - DECAY2) * g * g, second, gradients)
        scale1, scale2 = 1 / (1 - DECAY1**count), 1 / (1 - DECAY2**count)

        def updated(p: Any, m: Any, v: Any) -> Any:
            kept = p * (1 - RATE * weight_decay) if weight_decay else p
            return kept - RATE * m * scale1 / (xp.sqrt(v * scale2) + EPSILON)

        return (tree.map(updated, params, first, second), first, second, count), value

    compiled = lib.jit(step, donate_argnums=0)
    start, arguments = peers.to_library(lib, (params, batch))
    moments = [tree.map(xp.zeros_like, start) for _ in range(2)]
    state = start, *moments, xp.float32(0)

    def run() -> Any:
        nonlocal state
        state, value = compiled(state, *arguments)
        return peers.wait([value, shown(state[0])])

    return run


def torch_adam_run(
    torch: ModuleType,
    loss: Callable[..., Any],
    params: Any,
    shown: Callable[[Any], Any],
    weight_decay: float = 0.0,
) -> Run:
    """The same with torch's fused optimizers; `params` are tensors that want gradients."""
    optimizer = torch.optim.AdamW(
        peers.arrays_of(params),
        RATE,
        (DECAY1, DECAY2),
        EPSILON,
        weight_decay=weight_decay,
        fused=True,
    )

    def run() -> Any:
        value = loss(params)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        return [value, shown(params)]

    return run
