"""Schedules that go up and down: warm restarts, one cycle, and what they are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import funcgrad.numpy as jnp
from funcgrad_nn.optim.schedules import (
    Schedule,
    join_schedules,
    require_positive,
    warmup_cosine_decay_schedule,
)

LARGEST = 2**31 - 1  # step
BLENDS: dict[str, Callable] = {
    "linear": lambda s: s,
    "cosine": lambda s: 0.5 - 0.5 * jnp.cos(math.pi * s),
}


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Cosine with warm restarts (Loshchilov and Hutter, 2016): several cycles after each other.

    Each cycle is a dictionary of arguments of `warmup_cosine_decay_schedule` and takes its
    `decay_steps` steps. See `cosine_restarts_schedule` for cycles without warm-up.

    >>> cycle = dict(init_value=0.0, peak_value=1.0, warmup_steps=1, decay_steps=3)
    >>> schedule = sgdr_schedule([cycle, cycle])
    >>> [round(float(schedule(t)), 3) for t in range(6)]
    [0.0, 1.0, 0.5, 0.0, 1.0, 0.5]
    """
    cycles = [dict(cycle) for cycle in cosine_kwargs]
    if not cycles:
        raise ValueError("sgdr_schedule: needs at least one cycle.")
    ends = list(itertools.accumulate(cycle["decay_steps"] for cycle in cycles))
    return join_schedules([warmup_cosine_decay_schedule(**cycle) for cycle in cycles], ends[:-1])


def cosine_restarts_schedule(
    init_value: float, first_steps: int, factor: int = 1, alpha: float = 0.0
) -> Schedule:
    """Cosines from `init_value` down to alpha * init_value, restarted for ever.

    The first takes `first_steps` > 0 steps, each next one `factor` >= 1 times as many: PyTorch's
    CosineAnnealingWarmRestarts (Loshchilov and Hutter, 2016).

    >>> schedule = cosine_restarts_schedule(1.0, 2, factor=2)
    >>> [round(float(schedule(t)), 3) for t in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """
    require_positive("cosine_restarts_schedule", "first_steps", first_steps)
    if not factor >= 1 or factor != int(factor):
        raise ValueError(
            f"cosine_restarts_schedule: factor must be an integer >= 1, but got {factor}."
        )

    def schedule(t):
        t = jnp.asarray(t)
        begin, length = jnp.zeros_like(t), jnp.full_like(t, first_steps)
        # 31 lengths at most fit in int32; a count of cycles by logarithm would round wrongly
        for _ in range(31 if factor > 1 else 0):
            over = t >= begin + length
            begin, length = (
                jnp.where(over, begin + length, begin),
                jnp.where(over & (length <= LARGEST // factor), length * factor, length),
            )
        passed = jnp.remainder(t - begin, length) / length
        return init_value * ((1 - alpha) * 0.5 * (1 + jnp.cos(math.pi * passed)) + alpha)

    return schedule


def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: float, boundaries_and_scales: Mapping[int, float]
) -> Schedule:
    """Between boundaries a line ("linear") or half a cosine ("cosine"), after them constant.

    At boundary b the value is `init_value` times the product of the scales up to b.

    >>> schedule = piecewise_interpolate_schedule("linear", 1.0, {2: 0.0})
    >>> [float(schedule(t)) for t in range(4)]
    [1.0, 0.5, 0.0, 0.0]
    """
    if interpolate_type not in BLENDS:
        raise ValueError(
            "piecewise_interpolate_schedule: interpolate_type must be 'linear' or 'cosine', but "
            f"got {interpolate_type!r}."
        )
    points = sorted(boundaries_and_scales.items())
    if any(scale < 0 for _, scale in points):
        raise ValueError(
            f"piecewise_interpolate_schedule: scales must not be negative, but got {dict(points)}."
        )
    blend = BLENDS[interpolate_type]

    def schedule(t):
        begin, low = 0, init_value
        value = init_value
        for end, scale in points:
            high = low * scale
            passed = jnp.clip((t - begin) / max(end - begin, 1), 0, 1)
            value = jnp.where(t >= begin, low + (high - low) * blend(passed), value)
            begin, low = end, high
        return jnp.where(t >= begin, low, value)

    return schedule


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Half a cosine up from peak / div_factor, then one down (Smith and Topin, 2017).

    The peak stands at pct_start * transition_steps, the end is peak / (div_factor
    final_div_factor): PyTorch's OneCycleLR.

    >>> schedule = cosine_onecycle_schedule(10, 1.0)
    >>> [round(float(schedule(t)), 3) for t in (0, 3, 10)]
    [0.04, 1.0, 0.0]
    """
    require_positive("cosine_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule(
        "cosine",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(transition_steps): 1.0 / (div_factor * final_div_factor),
        },
    )


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Lines from peak / div_factor up to the peak, back, and down to the end at the last step.

    They meet at pct_start and pct_final of `transition_steps`; the end is peak / (div_factor
    final_div_factor) (Smith and Topin, 2017).

    >>> schedule = linear_onecycle_schedule(10, 1.0, pct_start=0.2, pct_final=0.8)
    >>> [round(float(schedule(t)), 3) for t in (0, 2, 8, 10)]
    [0.04, 1.0, 0.04, 0.0]
    """
    require_positive("linear_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule(
        "linear",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(pct_final * transition_steps): 1.0 / div_factor,
            int(transition_steps): 1.0 / final_div_factor,
        },
    )
