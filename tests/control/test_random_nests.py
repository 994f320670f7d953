"""Constructs nested at random, under transformations: against the unrolled program, and against
jax.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import funcgrad as fg
from tests.control.nests import CONSTRUCTS, LEAVES, NESTS, REVERSE, built, has_inside, kinds
from tests.control.programs import unrolled as loops

Function = Callable[[Any], Any]

unrolled = SimpleNamespace(**vars(loops), custom_vjp=fg.custom_vjp)
POINTS = [[0.3, 0.7, 1.1], [-0.4, 0.2, -0.9], [1.3, -0.2, 0.1]]
BRANCHING = ("cond", "switch", "while")


def loss(lib: Any, f: Function) -> Function:
    return lambda x: lib.numpy.sum(lib.numpy.sin(f(x)))


def tangent(lib: Any, f: Function) -> Function:
    return lambda x: lib.jvp(f, (x,), (lib.numpy.cos(x),))[1]


TRANSFORMS: dict[str, Callable[[Any, Function], Function]] = {
    "value": lambda lib, f: f,
    "jit": lambda lib, f: lib.jit(f),
    "jvp": tangent,
    "linearize": lambda lib, f: lambda x: lib.linearize(f, x)[1](lib.numpy.cos(x)),
    "grad": lambda lib, f: lib.grad(loss(lib, f)),
    "jit of grad": lambda lib, f: lib.jit(lib.grad(loss(lib, f))),
    "vmap of grad": lambda lib, f: (
        lambda x: lib.vmap(lib.grad(loss(lib, f)))(lib.numpy.stack([x, -x]))
    ),
    "grad of vmap": lambda lib, f: lib.grad(
        lambda x: lib.numpy.sum(lib.vmap(f)(lib.numpy.stack([x, 0.5 * x, -x])))
    ),
    "forward over reverse": lambda lib, f: lib.jit(tangent(lib, lib.grad(loss(lib, f)))),
    "reverse over reverse": lambda lib, f: lib.grad(loss(lib, lib.grad(loss(lib, f)))),
}
FORWARD = {"jvp", "linearize", "forward over reverse", "reverse over reverse"}
BACKWARD = {name for name in TRANSFORMS if "grad" in name or "reverse" in name}

PROGRAMS = st.tuples(NESTS, st.sampled_from(sorted(TRANSFORMS)), st.sampled_from(POINTS))


def is_allowed(nest: Any, transform: str) -> bool:
    """custom_vjp has no forward mode."""
    if "custom_vjp" not in kinds(nest):
        return True
    outer = {"tangent", "gradient", "custom_jvp"}
    return transform not in FORWARD and not has_inside(nest, outer, "custom_vjp")


def agree(lib: Any, nest: Any, transform: str, point: list[float]) -> None:
    with fg.enable_x64():
        found = TRANSFORMS[transform](fg, built(fg, nest))(fg.numpy.asarray(np.asarray(point)))
        wanted = TRANSFORMS[transform](lib, built(lib, nest))(lib.numpy.asarray(np.asarray(point)))
    # the same operations in float64, their sums in another order
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-7, atol=1e-9)


# A residual handed over twice, of which one was left out.
HANDED_TWICE = ("scan", ("while", ("map", ("square",)))), "reverse over reverse", POINTS[0]


@hypothesis.settings(max_examples=150)
@hypothesis.given(PROGRAMS)
@hypothesis.example(HANDED_TWICE)
def test_as_unrolled(program: Any) -> None:
    nest, transform, point = program
    hypothesis.assume(is_allowed(nest, transform))
    for custom in ("custom_jvp", "custom_vjp"):  # they are staged: Python cannot branch there
        hypothesis.assume(not any(has_inside(nest, {custom}, kind) for kind in BRANCHING))
    agree(unrolled, nest, transform, point)


@pytest.mark.oracle
@hypothesis.settings(max_examples=15)
@hypothesis.given(PROGRAMS)
def test_as_jax(program: Any) -> None:
    jax = pytest.importorskip("jax")
    nest, transform, point = program
    hypothesis.assume(is_allowed(nest, transform))
    if "while" in kinds(nest):  # jax has no reverse mode for it
        reverse = transform in BACKWARD or has_inside(nest, REVERSE, "while")
        hypothesis.assume(not reverse)
    with jax.enable_x64(True):
        agree(jax, nest, transform, point)


def seen(lib: Any, nest: Any, transform: str, point: list[float]) -> list[tuple[str, list[float]]]:
    """What ordered callbacks in all leaves are given, in order."""
    calls: list[tuple[str, list[float]]] = []

    def saying(name: str) -> Callable[[Any, Any], Any]:
        def leaf(n: Any, x: Any) -> Any:
            say = lambda v: calls.append((name, np.asarray(v).tolist()))
            fg.debug.callback(say, x, ordered=True)
            return LEAVES[name](n, x)

        return leaf

    leaves = {name: saying(name) for name in LEAVES}
    with fg.enable_x64():
        TRANSFORMS[transform](lib, built(lib, nest, leaves))(fg.numpy.asarray(np.asarray(point)))
    return calls


@hypothesis.settings(max_examples=60)
@hypothesis.given(PROGRAMS)
def test_effects_happen_once_and_in_order(program: Any) -> None:
    nest, transform, point = program
    for kind in ("vmap", "custom_jvp", "custom_vjp"):  # lanes have no order; rules call again
        hypothesis.assume(kind not in kinds(nest) and kind not in transform)
    found, wanted = (seen(lib, nest, transform, point) for lib in (fg, unrolled))
    assert [name for name, _ in found] == [name for name, _ in wanted]
    for (_, a), (_, b) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", CONSTRUCTS)
def test_each_construct_by_itself(kind: str) -> None:
    """Under every transformation, so that none is missed by chance."""
    arity = CONSTRUCTS[kind][0]
    nest = (kind, *((name,) for name in list(LEAVES)[1 : 1 + arity]))
    for transform in TRANSFORMS:
        if is_allowed(nest, transform):
            agree(unrolled, nest, transform, POINTS[1])
