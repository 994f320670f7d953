"""`profile`: every equation is timed once per run, nested ones too, and lines add up."""

import time

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.api.profile import profile
from funcgrad.core.avals import ShapedArray
from funcgrad.core.primitive import Primitive


def _sleep(xp, x, *, seconds):
    time.sleep(seconds)
    return x


sleep_p = Primitive(
    "sleep", abstract=lambda x, *, seconds: ShapedArray(x.shape, x.dtype), value=_sleep
)


sleep = sleep_p.bind


def calls(found):
    return {r.primitive: r.calls for r in found.rows}


def test_slow_equation_comes_first():
    found = profile(lambda x: jnp.sin(sleep(jnp.cos(x), seconds=0.02)), rounds=3)(jnp.ones(3))
    first = found.rows[0]
    assert (first.primitive, first.calls, first.depth) == ("sleep", 1, 0)
    assert first.share > 0.5
    assert 0.02 <= first.seconds == first.total_seconds
    assert found.seconds == sum(r.seconds for r in found.rows)
    assert sum(r.share for r in found.rows) == pytest.approx(1)


def test_lines_add_up():
    def function(x):
        y = sleep(x, seconds=0.01) + sleep(x + 1, seconds=0.02)
        return sleep(y, seconds=0.004) * 2

    found = profile(function, rounds=2)(jnp.ones(3))
    slow, fast = found.lines
    assert slow.line == function.__code__.co_firstlineno + 1
    assert slow.code == "y = sleep(x, seconds=0.01) + sleep(x + 1, seconds=0.02)"
    assert 0.03 <= slow.seconds and 0.004 <= fast.seconds
    assert slow.calls == 4 and fast.calls == 2
    assert sum(line.seconds for line in found.lines) == pytest.approx(found.seconds)


def test_nested_programs():
    @fg.jit
    def inner(x):
        return sleep(jnp.sin(x), seconds=0.001)

    def function(x):
        x, _ = lax.scan(lambda c, _: (inner(c), None), x, None, length=4)
        x = lax.while_loop(lambda x: x.sum() < 100, lambda x: jnp.exp(x) + 1, x)
        return lax.cond(x[0] > 0, jnp.tanh, jnp.cos, x)

    for optimized in (False, True):
        found = profile(function, optimized=optimized, rounds=1)(jnp.ones(3))
        counted = calls(found)
        assert counted["sleep"] == counted["sin"] == 4
        assert counted["exp"] == counted["reduce_sum"] - 1
        assert counted["tanh"] == 1 and "cos" not in counted
        by_name = {r.primitive: r for r in found.rows}
        assert by_name["sleep"].depth == (1 if optimized else 2)
        scan, inside = by_name["scan"], by_name["sleep"].seconds
        assert inside >= 0.004
        assert scan.seconds <= scan.total_seconds - inside  # nested programs have rows of their own
        assert ("jit" in counted) is not optimized


def test_branch_of_some_rounds_counts_by_its_median():
    flips = iter([True, True, False, False, False, False])

    def flip(xp, x):
        return np.bool_(next(flips))

    flip_p = Primitive("flip", abstract=lambda x: ShapedArray((), np.dtype(bool)), value=flip)
    found = profile(lambda x: lax.cond(flip_p.bind(x), jnp.sin, jnp.cos, x), rounds=5)(1.0)
    assert calls(found)["cos"] == 1
    assert calls(found)["sin"] == 0


def test_plain_and_optimized():
    def function(x):
        return jnp.sin(x) + jnp.sin(x) * 1.0

    plain, optimized = (profile(function, optimized=o)(jnp.ones(3)) for o in (False, True))
    assert sorted(r.primitive for r in plain.rows) == ["add", "mul", "sin", "sin"]
    assert sorted(r.primitive for r in optimized.rows) == ["mul", "sin"]
    assert {r.text for r in optimized.rows} == {"b:f32[3] = sin a", "c:f32[3] = mul b 2.0:f32[]"}


def test_jitted_with_static_and_keyword_arguments():
    function = fg.jit(lambda n, x, *, y: x**n + y, static_argnums=0)
    assert calls(profile(function)(3, jnp.ones(2), y=1.0)) == {"square": 1, "mul": 1, "add": 1}
    plain = profile(lambda n, x: x**n, static_argnums=0)(3, jnp.ones(2))
    assert calls(plain) == {"square": 1, "mul": 1}


def test_printed():
    text = str(profile(lambda x: jnp.sin(x).sum())(jnp.ones(3)))
    assert text.startswith("<lambda>: ")
    assert "b:f32[3] = sin a" in text
    assert "test_profile.py:" in text
    assert "text = str(profile(lambda x: jnp.sin(x).sum())(jnp.ones(3)))" in text


def test_measuring_changes_nothing():
    function = fg.jit(lambda x: jnp.sin(x), donate_argnums=0)
    x = jnp.ones(3)
    profile(function)(x)
    assert not x.is_deleted()
    assert fg.config.engine == "auto"
    assert not function.explain().compilations


def test_errors():
    with pytest.raises(TypeError, match="profile: needs a function"):
        profile(3)
    with pytest.raises(ValueError, match="profile: rounds must be at least 1, but got 0"):
        profile(jnp.sin, rounds=0)
