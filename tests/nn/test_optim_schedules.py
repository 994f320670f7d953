"""Schedules against their closed forms, optax and PyTorch."""

import inspect
import math
import sys

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn import optim
from tests.nn.optim_paths import Optax

T = 20
SCHEDULES = {
    "constant": lambda o: o.constant_schedule(0.3),
    "linear": lambda o: o.linear_schedule(0.1, 1.0, T),
    "linear, later": lambda o: o.linear_schedule(1.0, 0.1, T - 6, transition_begin=4),
    "polynomial": lambda o: o.polynomial_schedule(1.0, 0.1, 2.0, T),
    "cosine": lambda o: o.cosine_decay_schedule(0.5, T),
    "cosine, floor": lambda o: o.cosine_decay_schedule(0.5, T, alpha=0.1, exponent=1.5),
    "exponential": lambda o: o.exponential_decay(0.5, 4, 0.8),
    "step": lambda o: o.exponential_decay(0.5, 4, 0.5, staircase=True),
    "exponential, bounded": lambda o: o.exponential_decay(0.5, 4, 0.5, 3, end_value=0.1),
    "growing, bounded": lambda o: o.exponential_decay(0.5, 4, 2.0, end_value=2.0),
    "warm-up": lambda o: o.warmup_cosine_decay_schedule(0.0, 1.0, 5, T, 0.01),
    "no warm-up": lambda o: o.warmup_cosine_decay_schedule(0.2, 1.0, 0, T, 0.01),
    "no warm-up, exponential": lambda o: o.warmup_exponential_decay_schedule(0.2, 1.0, 0, 4, 0.5),
    "multi-step": lambda o: o.piecewise_constant_schedule(1.0, {5: 0.5, 12: 0.1}),
    "warm-up, constant": lambda o: o.warmup_constant_schedule(0.1, 1.0, 6),
    "warm-up, exponential": lambda o: o.warmup_exponential_decay_schedule(
        0.0, 1.0, 5, 4, 0.5, transition_begin=2, end_value=0.2
    ),
    "one-cycle": lambda o: o.cosine_onecycle_schedule(T, 2.0),
    "one-cycle, linear": lambda o: o.linear_onecycle_schedule(T, 2.0, 0.25, 0.75, 10.0, 100.0),
    "restarts": lambda o: o.sgdr_schedule(
        [
            dict(init_value=0.0, peak_value=1.0, warmup_steps=2, decay_steps=6),
            dict(init_value=0.2, peak_value=0.5, warmup_steps=3, decay_steps=10, end_value=0.1),
        ]
    ),
    "interpolated": lambda o: o.piecewise_interpolate_schedule("linear", 1.0, {4: 0.5, 12: 3.0}),
    "joined": lambda o: o.join_schedules(
        [o.linear_schedule(0.0, 1.0, 5), o.constant_schedule(1.0), o.linear_schedule(1.0, 0.0, 3)],
        [5, 10],
    ),
}


def half_cosine(s):
    """From 0 to 1 for s in [0, 1], constant after."""
    return 0.5 - 0.5 * math.cos(math.pi * min(s, 1.0))


def restarted(t):
    if t < 6:
        return t / 2 if t < 2 else 1 - half_cosine((t - 2) / 4)
    t -= 6
    return 0.2 + 0.1 * t if t < 3 else 0.5 - 0.4 * half_cosine((t - 3) / 7)


CLOSED = {
    "constant": lambda t: 0.3,
    "linear": lambda t: 0.1 + 0.9 * min(t, T) / T,
    "linear, later": lambda t: 1.0 - 0.9 * min(max(t - 4, 0), T - 6) / (T - 6),
    "polynomial": lambda t: 0.9 * (1 - min(t, T) / T) ** 2 + 0.1,
    "cosine": lambda t: 0.25 * (1 + math.cos(math.pi * min(t, T) / T)),
    "cosine, floor": lambda t: (
        0.5 * (0.9 * (0.5 * (1 + math.cos(math.pi * min(t, T) / T))) ** 1.5 + 0.1)
    ),
    "exponential": lambda t: 0.5 * 0.8 ** (t / 4),
    "step": lambda t: 0.5 * 0.5 ** (t // 4),
    "exponential, bounded": lambda t: max(0.5 * 0.5 ** (max(t - 3, 0) / 4), 0.1),
    "growing, bounded": lambda t: min(0.5 * 2.0 ** (t / 4), 2.0),
    "warm-up": lambda t: (
        t / 5
        if t < 5
        else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(t - 5, T - 5) / (T - 5)))
    ),
    "no warm-up": lambda t: 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(t, T) / T)),
    "no warm-up, exponential": lambda t: 0.5 ** (t / 4),
    "multi-step": lambda t: 1.0 if t < 5 else 0.5 if t < 12 else 0.05,
    "warm-up, constant": lambda t: 0.1 + 0.9 * min(t, 6) / 6,
    "warm-up, exponential": lambda t: t / 5 if t < 5 else max(0.5 ** (max(t - 7, 0) / 4), 0.2),
    "one-cycle": lambda t: (
        0.08 + 1.92 * half_cosine(t / 6) if t < 6 else 2 - (2 - 8e-6) * half_cosine((t - 6) / 14)
    ),
    "one-cycle, linear": lambda t: float(np.interp(t, [0, 5, 15, 20], [0.2, 2.0, 0.2, 0.002])),
    "restarts": lambda t: restarted(t),
    "interpolated": lambda t: float(np.interp(t, [0, 4, 12], [1.0, 0.5, 1.5])),
    "joined": lambda t: t / 5 if t < 5 else 1.0 if t < 10 else max(1 - (t - 10) / 3, 0.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_D36_schedules_are_their_closed_forms(name):
    """For Python numbers, arrays and vectors of steps, in any order: nothing is remembered."""
    schedule = SCHEDULES[name](optim)
    steps = [*range(T + 6), 3, 0]
    expected = [CLOSED[name](t) for t in steps]
    np.testing.assert_allclose([float(schedule(t)) for t in steps], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        [float(schedule(jnp.int32(t))) for t in steps], expected, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        np.broadcast_to(fg.jit(schedule)(jnp.array(steps)), len(steps)),
        expected,
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_optax_s(name):
    theirs = SCHEDULES[name](Optax())
    ours = SCHEDULES[name](optim)
    for t in range(T + 6):
        np.testing.assert_allclose(float(ours(t)), float(theirs(t)), rtol=1e-5, atol=1e-6)


def test_D36_warm_up_starts_at_its_start():
    schedule = optim.warmup_cosine_decay_schedule(0.0, 1.0, 4, 10)
    assert [float(schedule(t)) for t in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.oracle
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_cosine_restarts_are_torch_s(factor):
    torch = pytest.importorskip("torch")
    parameter = torch.zeros(1, requires_grad=True)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        torch.optim.SGD([parameter], 0.5), T_0=5, T_mult=factor, eta_min=0.05
    )
    ours = optim.cosine_restarts_schedule(0.5, 5, factor, alpha=0.1)
    for t in range(80):
        theirs.step(t)
        np.testing.assert_allclose(float(ours(t)), theirs.get_last_lr()[0], rtol=1e-5)
    assert 0.05 <= float(ours(2**31 - 1)) <= 0.5, "no overflow at the last step there is"


def test_every_schedule_has_a_row():
    made = {name for name in optim.__all__ if name.endswith(("_schedule", "_decay"))}
    source = inspect.getsource(sys.modules[__name__])
    missing = {name for name in made if f".{name}(" not in source}
    assert missing == {"scale_by_schedule"}, "a part, not a schedule"


def test_schedules_refuse_what_has_no_meaning():
    with pytest.raises(ValueError, match="transition_steps must be positive, but got 0"):
        optim.linear_schedule(0.0, 1.0, 0)
    with pytest.raises(ValueError, match="3 schedules need 2 boundaries, but got 1"):
        optim.join_schedules([optim.constant_schedule(1.0)] * 3, [1])
    with pytest.raises(ValueError, match="scales must not be negative"):
        optim.piecewise_constant_schedule(1.0, {3: -1.0})
    with pytest.raises(ValueError, match="scales must not be negative"):
        optim.piecewise_interpolate_schedule("linear", 1.0, {3: -1.0})
    with pytest.raises(ValueError, match="must be 'linear' or 'cosine', but got 'cubic'"):
        optim.piecewise_interpolate_schedule("cubic", 1.0, {3: 1.0})
    with pytest.raises(ValueError, match="transition_steps must be positive, but got 0"):
        optim.cosine_onecycle_schedule(0, 1.0)
    with pytest.raises(ValueError, match="factor must be an integer >= 1, but got 0.5"):
        optim.cosine_restarts_schedule(1.0, 4, 0.5)
    with pytest.raises(ValueError, match="at least one cycle"):
        optim.sgdr_schedule([])
    with pytest.raises(ValueError, match="decay_steps must be positive, but got -1"):
        optim.warmup_cosine_decay_schedule(0.0, 1.0, 5, 4)
    with pytest.raises(ValueError, match="transition_steps must be positive, but got -1"):
        optim.warmup_cosine_decay_schedule(0.0, 1.0, -1, 4)
