"""Perturbation confusion: tangents of nested derivatives must not be taken for one another."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp

MODES: dict[str, Any] = {
    "grad": fg.grad,
    "jvp": lambda f: lambda x: fg.jvp(f, (x,), (1.0,))[1],
    "vjp": lambda f: lambda x: fg.vjp(f, x)[1](1.0)[0],
    "linearize": lambda f: lambda x: fg.linearize(f, x)[1](1.0),
    "jit of grad": lambda f: fg.jit(fg.grad(f)),
    "grad of jit": lambda f: fg.grad(fg.jit(f)),
    "jvp of checkpoint": lambda f: lambda x: fg.jvp(fg.checkpoint(f), (x,), (1.0,))[1],
    "grad of vmap": lambda f: lambda x: fg.grad(lambda v: fg.vmap(f)(v[None]).sum())(x),
}
PAIRS = list(itertools.product(MODES, MODES))


@pytest.mark.parametrize("outer, inner", PAIRS)
def test_sum_inside_a_product(outer: str, inner: str) -> None:
    """d/dx (x * d/dy (x + y)) is 1; who confuses the two perturbations gets 2."""

    def f(x):
        return x * MODES[inner](lambda y: x + y)(jnp.ones_like(x))

    assert float(MODES[outer](f)(jnp.float32(5.0))) == 1.0


@pytest.mark.parametrize("outer, inner", PAIRS)
def test_product_inside_a_product(outer: str, inner: str) -> None:
    """d/dx (x * d/dy (x * y)) is 2 x."""

    def f(x):
        return x * MODES[inner](lambda y: x * y)(jnp.float32(2.0))

    assert float(MODES[outer](f)(jnp.float32(5.0))) == 10.0


@pytest.mark.parametrize("outer, inner", PAIRS)
def test_the_inner_point_depends_on_the_outer_variable(outer: str, inner: str) -> None:
    """d/dx (d/dy (x * y**3) at y = x) = d/dx 3 x**3 = 9 x**2."""

    def f(x):
        return MODES[inner](lambda y: x * y * y * y)(x)

    assert float(MODES[outer](f)(jnp.float32(2.0))) == 36.0


@pytest.mark.parametrize(
    "modes", list(itertools.product(("grad", "jvp", "linearize"), repeat=3)), ids=" ".join
)
def test_three_levels(modes: tuple[str, str, str]) -> None:
    """d/dx (x * d/dy (y * x * d/dz (x * y * z)))  at y = z = 1, x = 2:
    inside x*y, then y * x * (x*y) = x**2 y**2, its derivative 2 x**2 y, so d/dx 2 x**3 = 6 x**2.
    """
    outer, middle, inner = (MODES[m] for m in modes)

    def f(x):
        return x * middle(lambda y: y * x * inner(lambda z: x * y * z)(1.0))(1.0)

    assert float(outer(f)(2.0)) == 24.0


def test_a_gradient_stored_outside_carries_the_right_perturbation() -> None:
    """The closure of an inner derivative used after it has returned."""

    def f(x):
        kept = []
        fg.grad(lambda y: kept.append(lambda z: z * x) or y * x)(1.0)
        return kept[0](x)

    assert float(fg.grad(f)(3.0)) == 6.0


def test_directional_derivative_inside_a_loop() -> None:
    def f(x):
        step = lambda i, c: c + fg.jvp(lambda y: x * y * y, (x,), (1.0,))[1]
        return fg.lax.fori_loop(0, 3, step, 0.0 * x)

    np.testing.assert_allclose(fg.grad(f)(2.0), 6 * 2 * 2.0)  # 3 * 2 x**2


def test_mapped_lanes_keep_their_own_tangents() -> None:
    xs = jnp.asarray([1.0, 2.0, 3.0])
    inner = lambda x: x * fg.grad(lambda y: x * y)(1.0)
    np.testing.assert_array_equal(fg.vmap(fg.grad(inner))(xs), 2 * xs)
    np.testing.assert_array_equal(fg.grad(lambda v: fg.vmap(inner)(v).sum())(xs), 2 * xs)
