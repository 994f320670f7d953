"""Staging and partial evaluation: what becomes an input, what is known, what is kept."""

from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import eval_jaxpr
from funcgrad.core.stage import collector_paused, stage
from funcgrad.core.trace import EVAL, Axis
from funcgrad.transforms.autodiff import jvp_jaxpr, linearize_jaxpr
from funcgrad.transforms.batching import batch_jaxpr
from funcgrad.transforms.dce import drop_dead
from funcgrad.transforms.partial import partial_eval
from funcgrad.transforms.transpose import transpose_jaxpr

F3 = ShapedArray((3,), np.dtype("float32"))
X, Y = (ConcreteArray(np.asarray(v, np.float32)) for v in ([0.5, 1.0, 2.0], [1.0, -1.0, 0.25]))


def mixed(x, y):
    a = jnp.sin(x) * 2
    b = jnp.cos(y) + a
    return [a, b * y, lax.scan(lambda c, v: (c * v + y[0], c), x[0], x)[1]]


def program(function=mixed, count=2):
    return stage(function, [F3] * count)[0]


def test_live_tracers_are_captured_once():
    def outer(x):
        jaxpr, captured = stage(lambda y: [x * y + x, jnp.sin(x)], [F3])
        assert len(captured) == 1 and len(jaxpr.args) == 2
        return eval_jaxpr(jaxpr, [*captured, x], EVAL if not hasattr(x, "_trace") else x._trace)[0]

    np.testing.assert_array_equal(fg.jit(outer)(X), np.asarray(X) ** 2 + np.asarray(X))


@pytest.mark.parametrize("known", list(itertools.product((False, True), repeat=2)))
def test_both_halves_of_a_program_give_the_whole(known):
    jaxpr = program()
    split = partial_eval(jaxpr, known)
    args = [X, Y]
    given = [a for a, k in zip(args, known) if k]
    outs = eval_jaxpr(split.known(split.residuals), given, EVAL)
    count = len(split.known_outputs)
    rest = [a for a, k in zip(args, known) if not k]
    unknown = split.unknown([*split.residuals, *split.unknown_inputs])
    later = iter(eval_jaxpr(unknown, [*outs[count:], *rest], EVAL))
    early = iter(outs[:count])
    found = [next(early) if k else next(later) for k in split.out_known]
    for ours, whole in zip(found, eval_jaxpr(jaxpr, args, EVAL), strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-6)
    assert split.out_known == (known[0], all(known), all(known))


def test_a_policy_moves_work_to_the_unknown_half():
    jaxpr = program(lambda x, y: [jnp.exp(jnp.sin(x)) * y])
    keep = partial_eval(jaxpr, (True, False))
    again = partial_eval(jaxpr, (True, False), None, lambda eqn: eqn.primitive.name == "sin")
    names = lambda split: [e.primitive.name for e in split.unknown_eqns]
    assert names(keep) == ["mul"] and names(again) == ["exp", "mul"]


def test_linearize_is_partial_evaluation_of_jvp():
    jaxpr, mask = program(lambda x: [jnp.sin(x) * x], 1), (True,)
    split = linearize_jaxpr(jaxpr, mask)
    derived, _ = jvp_jaxpr(jaxpr, mask)
    other = partial_eval(derived, (True, False))
    outs = eval_jaxpr(split.known(split.residuals), [X], EVAL)
    values = outs[len(split.known_outputs) :]
    linear = split.unknown([*split.residuals, *split.unknown_inputs])
    (tangent,) = eval_jaxpr(linear, [*values, Y], EVAL)
    expected = (np.cos(X) * X + np.sin(X)) * np.asarray(Y)
    np.testing.assert_allclose(tangent, expected, rtol=1e-6)
    assert len(linear.eqns) == len(other.unknown_eqns)


def test_derived_programs_are_the_same_objects():
    jaxpr = program()
    assert jvp_jaxpr(jaxpr, (True, False)) is jvp_jaxpr(jaxpr, (True, False))
    assert batch_jaxpr(jaxpr, Axis(2), (True, False)) is batch_jaxpr(jaxpr, Axis(2), (True, False))
    assert batch_jaxpr(jaxpr, Axis(2), (True, False)) is not batch_jaxpr(
        jaxpr, Axis(3), (True, False)
    )
    split = partial_eval(jaxpr, (True, False))
    assert split is partial_eval(jaxpr, (True, False))
    assert split.known(split.residuals) is split.known(split.residuals)


def test_the_transpose_of_the_transpose_is_the_program():
    jaxpr = program(lambda x, y: [jnp.cumsum(x) * 2 + y, jnp.sum(x)])
    back, marks = transpose_jaxpr(jaxpr, (True, True), (True, True))
    assert marks == (True, True)
    forth, _ = transpose_jaxpr(back, (True, True), (True, True))
    for a, b in zip(eval_jaxpr(forth, [X, Y], EVAL), eval_jaxpr(jaxpr, [X, Y], EVAL), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_dead_code_goes_and_arguments_stay():
    jaxpr = program(lambda x, y: [jnp.sin(x)] if jnp.cos(y) is not None else [])
    assert [e.primitive.name for e in jaxpr.eqns] == ["cos", "sin"]
    live = drop_dead(jaxpr)
    assert [e.primitive.name for e in live.eqns] == ["sin"] and len(live.args) == 2
    assert drop_dead(live) is live


def test_the_collector_is_put_back():
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), collector_paused():
        1 / 0  # noqa: B018 - raises
    assert gc.isenabled()
