"""Traced values where Python needs concrete ones, and traced values that outlive their function."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import errors, lax
from tests.errors.raising import refused, shows_only_the_user

X = jnp.arange(3.0)
TRANSFORMS = {
    "jit": (lambda f: fg.jit(f)(1.5), "jit, scan or the like"),
    "vmap": (lambda f: fg.vmap(f)(X), "vmap"),
    "grad": (lambda f: fg.grad(f)(1.5), "differentiation"),
    "jit of grad": (lambda f: fg.jit(fg.grad(f))(1.5), "differentiation"),
    "grad of vmap": (lambda f: fg.grad(lambda x: fg.vmap(f)(x).sum())(X), "vmap"),
    "scan": (lambda f: lax.scan(lambda c, x: (c, f(x)), 0, X), "jit, scan or the like"),
}
USES = {
    "float": (float, errors.ConcretizationTypeError, "float() needs a concrete value"),
    "complex": (complex, errors.ConcretizationTypeError, "complex() needs a concrete value"),
    "np.sin": (np.sin, errors.TracerArrayConversionError, "in funcgrad.numpy"),
    "np.asarray": (np.asarray, errors.TracerArrayConversionError, "NumPy was given"),
    # these need values; where grad knows them it gives them, as jax does
    "bool": (bool, errors.TracerBoolConversionError, "a condition needs a concrete bool"),
    "if": (lambda x: 1.0 if x > 0 else 2.0, errors.TracerBoolConversionError, "lax.cond"),
    "int": (int, errors.ConcretizationTypeError, "int() needs a concrete value"),
    "item": (lambda x: x.item(), errors.ConcretizationTypeError, "item() needs a concrete value"),
    "tolist": (lambda x: x.tolist(), errors.ConcretizationTypeError, "tolist()"),
    "index": (
        lambda x: [1.0, 2.0][x.astype(int)],
        errors.TracerIntegerConversionError,
        "a Python integer is needed here",
    ),
    "range": (
        lambda x: sum(range(x.astype(int))),
        errors.TracerIntegerConversionError,
        "lax.fori_loop",
    ),
}
KNOWN_UNDER_GRAD = {"bool", "if", "int", "item", "tolist", "index", "range"}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_python_asks_a_tracer_for_its_value(transform, use):
    run, kind_of_tracer = TRANSFORMS[transform]
    ask, kind, part = USES[use]
    if transform == "grad" and use in KNOWN_UNDER_GRAD:
        run(lambda x: x * ask(x) if use != "tolist" else x)
        return
    error = refused(lambda: run(lambda x: x * ask(x)), kind, part, "a traced value")
    shows_only_the_user(error)
    if transform != "jit of grad":  # a comparison is the outer trace's
        assert f"(traced by {kind_of_tracer})" in str(error)


def test_values_under_grad_are_those_of_the_primal():
    assert float(fg.grad(lambda x: x * int(x))(2.5)) == 2
    assert float(fg.grad(lambda x: x**3 if x > 1 else x)(2.0)) == 12
    assert float(fg.grad(fg.grad(lambda x: x**3 if x else x))(2.0)) == 12
    assert fg.jvp(lambda x: x * [1.0, 4.0][1 if x else 0], (1.0,), (1.0,))[1] == 4


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_rank_0_has_no_rows_and_no_length(transform):
    run, _ = TRANSFORMS[transform]
    for ask, part in ((list, "iteration over an array of rank 0"), (len, "len() needs an array")):
        shows_only_the_user(refused(lambda ask=ask: run(lambda x: ask(x)), TypeError, part))
    for ask in (list, len):
        with pytest.raises(TypeError, match="rank 0"):
            ask(jnp.float32(1))


def test_a_traced_mask_cannot_be_an_index():
    error = refused(
        lambda: fg.jit(lambda x: x[x > 0])(X), errors.NonConcreteBooleanIndexError, "where"
    )
    shows_only_the_user(error)


def test_tracers_are_neither_hashed_nor_pickled():
    refused(lambda: fg.jit(hash)(X), TypeError, "unhashable type")
    refused(
        lambda: fg.jit(pickle.dumps)(X), TypeError, "cannot be pickled", "a traced value f32[3]"
    )
    assert fg.jit(lambda x: copy.deepcopy(x) * 2)(X).shape == (3,)


# ---- escaped tracers


class Leak:
    """Ways for a traced value to get out of its function."""

    kept: list = []

    @staticmethod
    def through_a_list(x):
        Leak.kept.append(x * 2)  # the line that made it
        return x

    @staticmethod
    def through_a_generator(x):
        values = (x * k for k in (2, 3))
        Leak.kept.append(next(values))
        return x

    @staticmethod
    def through_a_global(x):
        global leaked
        leaked = x * 2
        Leak.kept.append(leaked)
        return x


def start_afresh():
    """Nothing has leaked, and jit has yet to trace its function."""
    Leak.kept.clear()
    fg.clear_caches()


WAYS = [Leak.through_a_list, Leak.through_a_generator, Leak.through_a_global]
MAKERS = {
    "jit": lambda f: fg.jit(f)(1.0),
    "grad": lambda f: fg.grad(f)(1.0),
    "vmap": lambda f: fg.vmap(f)(X),
    "scan": lambda f: lax.scan(lambda c, x: (f(c), x), 0.0, X),
    "linearize": lambda f: fg.linearize(f, 1.0),
}
LATER = {
    "an operation": lambda v: v + 1,
    "another jit": lambda v: fg.jit(lambda y: y + v)(1.0),
    "an argument of jit": lambda v: fg.jit(lambda y: y)(v),
    "a result of jit": lambda v: fg.jit(lambda y: v)(1.0),
    "a gradient": lambda v: fg.grad(lambda y: jnp.sum(y * v))(1.0),
    "a map": lambda v: fg.vmap(lambda y: y * v)(X),
    "a body of scan": lambda v: lax.scan(lambda c, x: (c + v, x), 0.0, X),
}


@pytest.mark.parametrize("way", WAYS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("made_by", MAKERS)
def test_an_escaped_tracer_says_where_it_was_made(made_by, way):
    start_afresh()
    MAKERS[made_by](way)
    error = refused(
        lambda: Leak.kept[0] + 1,
        errors.UnexpectedTracerError,
        "add got a traced value",
        "whose function has already returned",
        "Return such values from the function",
        "test_tracers.py:",
    )
    line = int(re.search(r"test_tracers\.py:(\d+)", str(error)).group(1))
    first = way.__code__.co_firstlineno
    assert first <= line <= first + 6, "the line is in the function that leaked"
    if made_by in ("jit", "scan"):
        assert line > first + 1, "staging knows the very line"


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("made_by", MAKERS)
def test_an_escaped_tracer_is_refused_wherever_it_is_used(made_by, later):
    start_afresh()
    MAKERS[made_by](Leak.through_a_list)
    refused(
        lambda: LATER[later](Leak.kept[0]),
        errors.UnexpectedTracerError,
        "already returned",
        "test_tracers.py:",
    )


def test_tracers_of_live_traces_may_be_closed_over():
    def outer(x):
        return fg.jit(lambda y: fg.vmap(lambda z: x * y * z)(X).sum())(x)

    assert float(fg.grad(outer)(2.0)) == 12


def test_staging_finds_an_escaped_tracer_although_nothing_is_computed():
    """Evaluation would find it later; a program that is only looked at would not."""
    start_afresh()
    fg.jit(Leak.through_a_list)(1.0)
    refused(
        lambda: fg.make_jaxpr(lambda y: y * Leak.kept[0])(1.0),
        errors.UnexpectedTracerError,
        "a traced function got",
    )
