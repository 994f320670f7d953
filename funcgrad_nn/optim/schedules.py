"""Schedules: pure functions of the step t = 0, 1, 2, ..., each equal to its closed form.

Nothing is remembered between calls, so a run can be resumed at any step. t may be a Python number
or an array.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import funcgrad.numpy as jnp

Schedule = Callable[[Any], Any]
LARGEST = 2**31 - 1


def constant_schedule(value: float) -> Schedule:
    """The same value at every step.

    >>> constant_schedule(0.1)(1000)
    0.1
    """
    return lambda t: value


def polynomial_schedule(
    init_value: float,
    end_value: float,
    power: float,
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    """(init - end) (1 - s)^power + end, where s goes from 0 at `transition_begin` to 1.

    s reaches 1 after `transition_steps` > 0 further steps and stays there.

    >>> [round(float(polynomial_schedule(1.0, 0.0, 2.0, 4)(t)), 4) for t in (0, 2, 4, 9)]
    [1.0, 0.25, 0.0, 0.0]
    """
    _require_positive("polynomial_schedule", "transition_steps", transition_steps)

    def schedule(t):
        passed = jnp.clip(t - transition_begin, 0, transition_steps) / transition_steps
        return (init_value - end_value) * (1 - passed) ** power + end_value

    return schedule


def linear_schedule(
    init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """A straight line from `init_value` to `end_value`, which then holds.

    >>> schedule = linear_schedule(0.0, 1.0, 4)
    >>> [float(schedule(t)) for t in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """init_value * decay_rate^((t - transition_begin) / transition_steps), not past `end_value`.

    With `staircase` the exponent is rounded down: the step schedule. Raises `ValueError` if
    `transition_steps` or `decay_rate` is not positive.

    >>> schedule = exponential_decay(1.0, 10, 0.5, staircase=True)
    >>> [float(schedule(t)) for t in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """
    _require_positive("exponential_decay", "transition_steps", transition_steps)
    _require_positive("exponential_decay", "decay_rate", decay_rate)

    def schedule(t):
        power = jnp.maximum(t - transition_begin, 0) / transition_steps
        value = init_value * jnp.power(decay_rate, jnp.floor(power) if staircase else power)
        if end_value is None:
            return value
        return (jnp.maximum if decay_rate < 1 else jnp.minimum)(value, end_value)

    return schedule


def cosine_decay_schedule(
    init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0
) -> Schedule:
    """init_value ((1 - alpha) c^exponent + alpha), c = (1 + cos(pi t / decay_steps)) / 2.

    From t = decay_steps on it stays at init_value * alpha (Loshchilov and Hutter, 2016).

    >>> [round(float(cosine_decay_schedule(1.0, 10)(t)), 3) for t in (0, 5, 10, 15)]
    [1.0, 0.5, 0.0, 0.0]
    """
    _require_positive("cosine_decay_schedule", "decay_steps", decay_steps)

    def schedule(t):
        passed = jnp.minimum(t, decay_steps) / decay_steps
        cosine = 0.5 * (1 + jnp.cos(math.pi * passed))
        cosine = cosine if exponent == 1 else cosine**exponent
        return init_value * ((1 - alpha) * cosine + alpha)

    return schedule


def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """init_value times the product of the scales of all boundaries b <= t: multi-step.

    >>> schedule = piecewise_constant_schedule(1.0, {10: 0.1, 20: 0.5})
    >>> [round(float(schedule(t)), 3) for t in (0, 9, 10, 20)]
    [1.0, 1.0, 0.1, 0.05]
    """
    steps = sorted((boundaries_and_scales or {}).items())
    if any(factor < 0 for _, factor in steps):
        raise ValueError(
            f"piecewise_constant_schedule: scales must not be negative, but got {dict(steps)}."
        )

    def schedule(t):
        value = init_value
        for boundary, factor in steps:
            value = jnp.where(t >= boundary, value * factor, value)
        return value

    return schedule


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """The first schedule until the first boundary, then the second from its own step 0, ...

    >>> both = join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 2)], [3])
    >>> [float(both(t)) for t in range(6)]
    [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"join_schedules: {len(schedules)} schedules need {len(schedules) - 1} "
            f"boundaries, but got {len(boundaries)}."
        )

    def schedule(t):
        value = schedules[0](t)
        for boundary, following in zip(boundaries, schedules[1:], strict=True):
            value = jnp.where(t < boundary, value, following(t - boundary))
        return value

    return schedule


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """A line from `init_value` (at t = 0) to `peak_value`, then a cosine down to `end_value`.

    `decay_steps` counts from t = 0, the warm-up included, and must be larger than `warmup_steps`.

    >>> schedule = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=2, decay_steps=6)
    >>> [round(float(schedule(t)), 3) for t in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    _require_positive("warmup_cosine_decay_schedule", "warmup_steps", warmup_steps)
    alpha = end_value / peak_value if peak_value else 0.0
    cosine = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)
    return join_schedules(
        [linear_schedule(init_value, peak_value, warmup_steps), cosine], [warmup_steps]
    )


def warmup_constant_schedule(init_value: float, peak_value: float, warmup_steps: int) -> Schedule:
    """A line from `init_value` to `peak_value` over `warmup_steps` > 0 steps, which then holds."""
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_exponential_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """A line up to `peak_value`, then `exponential_decay` from there, counted from its own 0."""
    decay = exponential_decay(
        peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value
    )
    return join_schedules(
        [linear_schedule(init_value, peak_value, warmup_steps), decay], [warmup_steps]
    )


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Cosine with warm restarts (Loshchilov and Hutter, 2016): several cycles after each other.

    Each cycle is a dictionary of arguments of `warmup_cosine_decay_schedule` and takes its
    `decay_steps` steps. See `cosine_restarts_schedule` for cycles without warm-up.
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
    _require_positive("cosine_restarts_schedule", "first_steps", first_steps)
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


BLENDS: dict[str, Callable] = {
    "linear": lambda s: s,
    "cosine": lambda s: 0.5 - 0.5 * jnp.cos(math.pi * s),
}


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
    _require_positive("cosine_onecycle_schedule", "transition_steps", transition_steps)
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
    """
    _require_positive("linear_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule(
        "linear",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(pct_final * transition_steps): 1.0 / div_factor,
            int(transition_steps): 1.0 / final_div_factor,
        },
    )


def _require_positive(name: str, what: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}: {what} must be positive, but got {value}.")
