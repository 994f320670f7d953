"""A line search for the strong Wolfe conditions, as one loop that compiles.

It keeps a bracket: `low`, the best point that decreases enough, and `high`, beyond which nothing is
looked for (infinitely far at first). Values that differ by rounding alone are judged by slopes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp

DECREASE, CURVATURE = 1e-4, 0.9  # c1 and c2 of Nocedal and Wright, 2006, equations 3.7
EXPANSION = 3.0
MARGIN = 0.1  # a trial stays this share of the bracket away from its ends


class Point(NamedTuple):
    """A step along the line, the value there, the gradient, and its slope along the line."""

    step: Any
    value: Any
    slope: Any
    gradient: Any


class _Search(NamedTuple):
    low: Point
    high: Point
    trial: Any
    evaluations: Any
    done: Any


def strong_wolfe(
    along: Callable[[Any], Point], start: Point, first_step, max_evaluations: int = 25
) -> tuple[Point, Any]:
    """A point that decreases enough and is flat enough, and the number of evaluations.

    (Nocedal and Wright, 2006, algorithms 3.5 and 3.6, in one loop.) `along(step)` evaluates a point
    of the line, `start` is the one at step 0, where the slope must be negative. If the budget or
    the resolution of the floats is used up first, the best point found, which may be `start`.
    """
    noise = 4 * jnp.finfo(start.value.dtype).eps * jnp.abs(start.value)

    def unfinished(now: _Search):
        return ~now.done & (now.evaluations < max_evaluations)

    def body(now: _Search) -> _Search:
        point = along(now.trial)
        low, high, done = _narrowed(start, now.low, now.high, point, noise)
        trial = _next_trial(low, high)
        stuck = trial == low.step  # the bracket is a single float wide
        return _Search(low, high, trial, now.evaluations + 1, done | stuck)

    nowhere = jnp.full_like(start.value, jnp.inf)
    far = Point(nowhere, nowhere, nowhere, start.gradient)
    first = jnp.asarray(first_step, start.value.dtype)
    nothing = jnp.zeros((), jnp.int32)
    begin = _Search(start, far, first, nothing, jnp.zeros((), bool))
    end = fg.lax.while_loop(unfinished, body, begin)
    return end.low, end.evaluations


def _narrowed(start: Point, low: Point, high: Point, point: Point, noise):
    """The bracket after a trial, and whether the trial is the answer."""
    line = start.value + DECREASE * point.step * start.slope
    # written so that NaN counts as too high
    lower = (point.value <= line + noise) & (point.value <= low.value + noise)
    flat = jnp.abs(point.slope) <= -CURVATURE * start.slope
    turns = point.slope * (high.step - low.step) >= 0
    new_high = _picked(lower, _picked(turns, low, high), point)
    return _picked(lower, point, low), new_high, lower & flat


def _next_trial(low: Point, high: Point):
    """Further out while nothing bounds the line, then the minimum of a cubic inside the bracket."""
    width = high.step - low.step
    cubic = _cubic_minimum(low, high)
    safe_low, safe_high = low.step + MARGIN * width, high.step - MARGIN * width
    inside = (cubic - safe_low) * (cubic - safe_high) <= 0
    between = jnp.where(inside, cubic, low.step + 0.5 * width)
    further = jnp.where(low.step > 0, EXPANSION * low.step, 1.0)
    return jnp.where(jnp.isinf(high.step), further, between)


def _cubic_minimum(a: Point, b: Point):
    """Where the cubic through two points with their slopes is smallest; NaN if it is nowhere.

    (Nocedal and Wright, 2006, equation 3.59.)
    """
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    d2 = jnp.sign(b.step - a.step) * jnp.sqrt(jnp.square(d1) - a.slope * b.slope)
    share = (b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2)
    return b.step - (b.step - a.step) * share


def _picked(condition, if_true: Point, if_false: Point) -> Point:
    return Point(*(jnp.where(condition, a, b) for a, b in zip(if_true, if_false, strict=True)))
