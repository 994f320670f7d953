"""W8b: the Lorenz system, 10 000 steps of Runge-Kutta by `scan`, on a state of shape (3,).

That is the natural form. jax is much faster with three scalars in its place, written out by hand:
it is compared in both forms. The time is short, since the system forgets where it began: longer,
rounding alone would decide the results.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.timing import Run
from benchmarks.workload import Bar, Workload, jitted

STEPS, STEP = 10_000, 1e-4
START = np.array([1.0, 2.0, 20.0], np.float32)
PARAMS = np.array([10.0, 28.0, 8 / 3], np.float32)

Slope = Callable[[Any, Any], Any]


def slope_of(xp: Any) -> Slope:
    """The system's right side, with its components stacked."""

    def slope(state: Any, params: Any) -> Any:
        x, y, z = state[0], state[1], state[2]
        sigma, rho, beta = params[0], params[1], params[2]
        return xp.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])

    return slope


def runge_kutta(slope: Slope, state: Any, params: Any) -> Any:
    """One step of the fourth order."""
    k1 = slope(state, params)
    k2 = slope(state + STEP / 2 * k1, params)
    k3 = slope(state + STEP / 2 * k2, params)
    k4 = slope(state + STEP * k3, params)
    return state + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def natural(lib: ModuleType) -> Callable[..., Any]:
    """The sum of the last state, for a start and parameters of shape (3,)."""
    slope = slope_of(lib.numpy)

    def value(params: Any, start: Any) -> Any:
        step = lambda state, _: (runge_kutta(slope, state, params), None)
        return lib.numpy.sum(lib.lax.scan(step, start, None, length=STEPS)[0])

    return value


def by_scalars(lib: ModuleType) -> Callable[..., Any]:
    """The same with a carry of three scalars."""
    slope = slope_of(_Tuples)

    def value(params: Any, start: Any) -> Any:
        parts = _Vector(params[i] for i in range(3))

        def step(state: Any, _: Any) -> Any:
            return tuple(runge_kutta(slope, _Vector(state), parts)), None

        first = tuple(start[i] for i in range(3))
        x, y, z = lib.lax.scan(step, first, None, length=STEPS)[0]
        return x + y + z

    return value


class _Vector(tuple):
    """Three scalars that add and multiply like an array."""

    def __add__(self, other: Any) -> "_Vector":  # type: ignore[override]
        return _Vector(a + b for a, b in zip(self, other, strict=True))

    def __rmul__(self, factor: Any) -> "_Vector":  # type: ignore[override]
        return _Vector(factor * a for a in self)


class _Tuples:
    stack = staticmethod(_Vector)


def value_run(form: Callable[[ModuleType], Any]) -> Callable[[ModuleType], Run]:
    return lambda lib: jitted(lib, form(lib), PARAMS, START)


def gradient_run(form: Callable[[ModuleType], Any]) -> Callable[[ModuleType], Run]:
    return lambda lib: jitted(lib, lib.value_and_grad(form(lib)), PARAMS, START)


def in_torch(torch: ModuleType) -> Run:
    params, start = torch.from_numpy(PARAMS.copy()), torch.from_numpy(START.copy())
    slope = slope_of(torch)

    def run() -> Any:
        with torch.inference_mode():
            state = start
            for _ in range(STEPS):
                state = runge_kutta(slope, state, params)
            return state.sum()

    return run


# Rounding in another order is multiplied by what the system amplifies.
TOLERANCE = 1e-3

VALUE = Workload(
    "W8b",
    "Lorenz, 10 000 steps; jax: scalars by hand",
    "ms",
    {
        peers.FUNCGRAD: value_run(natural),
        peers.JAX: value_run(by_scalars),
        peers.TORCH: in_torch,
    },
    (Bar(peers.JAX, 0.9),),
    tolerance=TOLERANCE,
)
GRADIENT = Workload(
    "W8b-grad",
    "Lorenz, gradient; jax: scalars by hand",
    "ms",
    {peers.FUNCGRAD: gradient_run(natural), peers.JAX: gradient_run(by_scalars)},
    (Bar(peers.JAX, 0.9),),
    tolerance=TOLERANCE,
)
NATURAL = Workload(
    "W8b-same",
    "Lorenz, gradient; jax: the same program",
    "ms",
    {peers.FUNCGRAD: gradient_run(natural), peers.JAX: gradient_run(natural)},
    (Bar(peers.JAX, 0.02),),
    tolerance=TOLERANCE,
)
