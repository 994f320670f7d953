"""cond and switch: the branch taken, types, derivatives in all operands, branches per lane."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from tests.control.as_jax import assert_as_jax


def chosen(pred: Any, a: Any, b: Any) -> Any:
    return lax.cond(pred, lambda u, v: jnp.sin(u) * v, lambda u, v: u + v**3, a, b)


def in_python(pred: Any, a: Any, b: Any) -> Any:
    return jnp.sin(a) * b if pred else a + b**3


@pytest.mark.parametrize("pred", [True, False, 1, 0, 0.5, np.int8(0), np.True_])
def test_any_scalar_is_a_predicate(pred: Any) -> None:
    assert float(chosen(jnp.asarray(pred), 2.0, 3.0)) == float(in_python(pred, 2.0, 3.0))
    assert float(fg.jit(chosen)(pred, 2.0, 3.0)) == float(in_python(pred, 2.0, 3.0))


@pytest.mark.parametrize("index", [-5, 0, 1, 2, 7])
def test_switch_clamps_its_index(index: int) -> None:
    branches = [lambda x: x, lambda x: 2 * x, lambda x: 3 * x]
    wanted = (min(max(index, 0), 2) + 1) * 5
    assert int(lax.switch(index, branches, 5)) == wanted
    assert int(fg.jit(lambda i: lax.switch(i, branches, 5))(index)) == wanted
    assert int(lax.switch(jnp.uint8(max(index, 0)), branches, 5)) == (min(max(index, 0), 2) + 1) * 5


def test_the_older_form_with_two_operands() -> None:
    for pred, expected in ((True, 4.0), (False, 4.5)):
        f = lambda p, x: lax.cond(p, x, lambda a: a + 1, 2 * x, lambda b: 0.75 * b)
        assert float(f(pred, 3.0)) == float(fg.jit(f)(pred, 3.0)) == expected


def test_one_branch_needs_no_choice() -> None:
    assert fg.make_jaxpr(lambda i: lax.switch(i, [lambda: 3.0]))(0).eqns == ()


def test_only_the_chosen_branch_runs() -> None:
    seen = []

    def tell(name: str) -> Any:
        return lambda x: fg.pure_callback(lambda v: seen.append(name) or v, x, x)

    fg.jit(lambda p, x: lax.cond(p, tell("yes"), tell("no"), x))(False, jnp.float32(1.0))
    assert seen == ["no"]


PROGRAMS = {
    "weak and strong": lambda lib: lib.lax.cond(
        True, lambda x: 1.0, lambda x: x, lib.numpy.float32(2)
    ),
    "both weak": lambda lib: lib.lax.cond(False, lambda: 1.0, lambda: 2.0),
    "trees": lambda lib: lib.lax.cond(
        True, lambda d: {"a": d[0], "b": (d[1], None)}, lambda d: {"a": d[1], "b": (d[0], None)},
        (1, 2),
    ),
    "nothing": lambda lib: lib.lax.cond(True, lambda: None, lambda: None),
    "integers": lambda lib: lib.lax.switch(
        1, [lambda x: x + 1, lambda x: x * 2], lib.numpy.arange(3, dtype="int8")
    ),
    "keys": lambda lib: lib.random.uniform(
        lib.lax.cond(
            True, lambda k: lib.random.split(k)[1], lambda k: k, lib.random.key(1)
        )
    ),
    "empty": lambda lib: lib.lax.cond(
        True, lambda x: x * 2, lambda x: x, lib.numpy.zeros((0, 3))
    ),
    "operand by name": lambda lib: lib.lax.cond(True, lambda x: x, lambda x: -x, operand=3.0),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_types_as_jax(name: str, jitted: bool) -> None:
    assert_as_jax(PROGRAMS[name], jitted, rtol=0)


SUBSETS = [s for n in (1, 2) for s in itertools.combinations((1, 2), n)]


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("pred", [True, False])
@pytest.mark.parametrize("varied", SUBSETS, ids=str)
def test_derivatives_in_all_operand_combinations(varied: Any, pred: bool, jitted: bool) -> None:
    def both(function: Any) -> Any:
        first = fg.grad(lambda a, b: function(pred, a, b), tuple(i - 1 for i in varied))
        total = lambda a, b: sum(g * g for g in first(a, b))
        found = lambda a, b: (first(a, b), fg.grad(total, (0, 1))(a, b))
        return fg.tree.leaves((fg.jit(found) if jitted else found)(0.7, 1.3))

    np.testing.assert_allclose(both(chosen), both(in_python), rtol=1e-5)


MASKS = [m for m in itertools.product([0, None], repeat=3) if any(d == 0 for d in m)]


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("axes", MASKS, ids=str)
def test_vmap_in_all_operand_combinations(axes: Any, jitted: bool) -> None:
    whole = (
        jnp.array([True, False, True]), jnp.array([0.3, -1.0, 2.0]), jnp.array([1.5, 0.5, -0.7])
    )  # fmt: skip
    args = [x if d == 0 else x[0] for x, d in zip(whole, axes)]
    derivative = fg.grad(lambda p, a, b: chosen(p, a, b), (1, 2))
    both = fg.vmap(lambda *a: (chosen(*a), derivative(*a)), axes)
    found = (fg.jit(both) if jitted else both)(*args)
    for k in range(3):
        row = [x[k] if d == 0 else x for x, d in zip(args, axes)]
        p, a, b = bool(row[0]), row[1], row[2]
        wanted = (in_python(p, a, b), fg.grad(lambda a, b: in_python(p, a, b), (0, 1))(a, b))
        lane = [leaf[k] for leaf in fg.tree.leaves(found)]
        np.testing.assert_allclose(lane, fg.tree.leaves(wanted), rtol=1e-6)


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("order", ["grad of vmap", "vmap of grad"])
def test_a_lane_is_not_spoilt_by_the_branch_it_does_not_take(order: str, jitted: bool) -> None:
    """log at 0 is not in the branch that lane takes; choosing afterwards would give 0 * inf."""
    f = lambda x: lax.cond(x > 0, lambda v: jnp.log(v), lambda v: 2 * v, x)
    if order == "vmap of grad":
        g = fg.vmap(fg.grad(f))
    else:
        g = fg.grad(lambda xs: jnp.sum(fg.vmap(f)(xs)))
    found = (fg.jit(g) if jitted else g)(jnp.array([0.0, 1.0, 2.0]))
    np.testing.assert_array_equal(found, [2.0, 1.0, 0.5])


def test_switch_per_lane() -> None:
    branches = [lambda x: x, lambda x: x * x, lambda x: jnp.exp(x)]
    index, x = jnp.array([2, 0, 1, -3, 9]), jnp.arange(5.0)
    found = fg.vmap(lambda i, v: fg.grad(lambda u: lax.switch(i, branches, u))(v))(index, x)
    np.testing.assert_allclose(found, [1.0, 1.0, 4.0, 1.0, np.exp(4.0)], rtol=1e-6)


def test_lanes_that_talk_to_each_other() -> None:
    """A branch with a collective runs in all lanes; each then chooses."""
    f = lambda x: lax.cond(x > 1.5, lambda v: lax.psum(v, "i"), lambda v: v, x)
    found = fg.vmap(f, axis_name="i")(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(found, [1.0, 6.0, 6.0])


def test_lanes_choose_among_values_that_belong_to_no_lane() -> None:
    """Sums over lanes and constants are the same in all of them, the choice is not."""
    yes, no = lambda v: (lax.psum(v, "i"), 5.0), lambda v: (lax.pmax(v, "i"), -1.0)
    f = lambda x: lax.cond(x > 1.5, yes, no, x)
    sums, constants = fg.vmap(f, axis_name="i")(jnp.array([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(sums, [4.0, 7.0, 7.0])
    np.testing.assert_array_equal(constants, [-1.0, 5.0, 5.0])
    g = lambda p, x: lax.cond(p, yes, no, x)
    sums, _ = fg.vmap(g, (0, None), axis_name="i")(jnp.array([True, False, True]), 2.0)
    np.testing.assert_array_equal(sums, [6.0, 2.0, 6.0])


def test_programs_do_not_grow_with_the_batch() -> None:
    f = fg.vmap(fg.grad(lambda x: lax.cond(x > 0, jnp.sin, jnp.cos, x)))
    assert len({str(fg.make_jaxpr(f)(jnp.ones(n))).count("\n") for n in (2, 64)}) == 1


WRONG = {
    "predicate of rank 1": (
        lambda: lax.cond(jnp.array([True, False]), lambda: 1, lambda: 2), TypeError,
        r"scalar, but got bool\[2\]",
    ),
    "predicate of a wrong type": (
        lambda: lax.cond(jnp.asarray(1j), lambda: 1, lambda: 2), TypeError, "bool or a number",
    ),
    "dtypes": (
        lambda: lax.cond(True, lambda x: {"k": x}, lambda x: {"k": x > 0}, jnp.ones(2)), TypeError,
        r"output\['k'\]: bool\[2\] in branch 0, f32\[2\] in branch 1",
    ),
    "structures": (
        lambda: lax.cond(True, lambda x: (x, x), lambda x: x, 1.0), TypeError, "one structure",
    ),
    "no branches": (lambda: lax.switch(0, [], 1.0), ValueError, "at least one"),
    "index of a wrong type": (
        lambda: lax.switch(1.0, [lambda: 1, lambda: 2]), TypeError, "integer scalar",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_messages(name: str) -> None:
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()
