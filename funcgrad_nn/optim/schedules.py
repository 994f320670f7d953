"""Schedules: pure functions of the step t = 0, 1, 2, ..., each equal to its closed form.

Nothing is remembered between calls, so a run can be resumed at any step. t may be a Python number
or an array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import funcgrad.numpy as jnp

Schedule = Callable[[Any], Any]


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
    require_positive("polynomial_schedule", "transition_steps", transition_steps)

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
    require_positive("exponential_decay", "transition_steps", transition_steps)
    require_positive("exponential_decay", "decay_rate", decay_rate)

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
    require_positive("cosine_decay_schedule", "decay_steps", decay_steps)

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

    `decay_steps` counts from t = 0, the warm-up included, and must be larger than `warmup_steps`,
    which may be 0.

    >>> schedule = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=2, decay_steps=6)
    >>> [round(float(schedule(t)), 3) for t in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    alpha = end_value / peak_value if peak_value else 0.0
    cosine = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)
    return _after_warm_up(init_value, peak_value, warmup_steps, cosine)


def warmup_constant_schedule(init_value: float, peak_value: float, warmup_steps: int) -> Schedule:
    """A line from `init_value` to `peak_value` over `warmup_steps` > 0 steps, which then holds.

    >>> [float(warmup_constant_schedule(0.0, 1.0, 2)(t)) for t in range(4)]
    [0.0, 0.5, 1.0, 1.0]
    """
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
    """A line up to `peak_value`, then `exponential_decay` from there, counted from its own 0.

    `warmup_steps` may be 0.

    >>> schedule = warmup_exponential_decay_schedule(0.0, 1.0, 2, 1, 0.5)
    >>> [float(schedule(t)) for t in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.25]
    """
    decay = exponential_decay(
        peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value
    )
    return _after_warm_up(init_value, peak_value, warmup_steps, decay)


def _after_warm_up(
    init_value: float, peak_value: float, warmup_steps: int, schedule: Schedule
) -> Schedule:
    """A line from `init_value` to `peak_value`, then a schedule that begins there."""
    if warmup_steps == 0:
        return schedule
    line = linear_schedule(init_value, peak_value, warmup_steps)
    return join_schedules([line, schedule], [warmup_steps])


def require_positive(name: str, what: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}: {what} must be positive, but got {value}.")
