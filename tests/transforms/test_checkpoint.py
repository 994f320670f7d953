"""checkpoint: derivatives are unchanged, and what is kept is what was promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.core.jaxpr import subjaxprs

X = jnp.asarray([0.3, -0.7, 1.1])


def f(x: Any) -> Any:
    return jnp.sin(jnp.sin(jnp.sin(x)))


def summed(g: Any) -> Any:
    return lambda x: jnp.sum(g(x))


def primitives(jaxpr: Any) -> list[str]:
    """The names of all operations, nested ones too."""
    found = []
    for e in jaxpr.eqns:
        found.append(e.primitive.name)
        for inner in subjaxprs(e.params):
            found += primitives(inner)
    return found


def residuals(function: Any, *args: Any) -> int:
    """How many numbers are kept for the backward pass."""
    _, pull = fg.vjp(function, *args)
    linear = pull.__wrapped__.__closure__
    (found,) = [c.cell_contents for c in linear if hasattr(c.cell_contents, "residuals")]
    return sum(np.size(v) for v in found.program()[1])


@pytest.mark.parametrize("outer", [lambda g: g, fg.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_are_unchanged(order: int, outer: Any) -> None:
    plain: Any = summed(f)
    kept: Any = summed(fg.checkpoint(f))
    for _ in range(order):
        plain, kept = summed(fg.grad(plain)), summed(fg.grad(kept))
    np.testing.assert_allclose(outer(fg.grad(kept))(X), fg.grad(plain)(X), rtol=1e-5)
    np.testing.assert_allclose(
        outer(fg.jacfwd(fg.checkpoint(f)))(X), fg.jacfwd(f)(X), rtol=1e-6, atol=1e-7
    )


def test_it_computes_again_what_it_does_not_keep() -> None:
    plain = primitives(fg.make_jaxpr(fg.grad(summed(f)))(X))
    again = primitives(fg.make_jaxpr(fg.grad(summed(fg.checkpoint(f))))(X))
    assert plain.count("sin") == 3
    assert again.count("sin") >= 5, "forward three, and the inner two once more"


def test_only_its_arguments_are_kept() -> None:
    assert residuals(f, X) == 9
    assert residuals(fg.checkpoint(f), X) == 3


def test_policies_say_what_may_be_kept() -> None:
    from_weights = lambda w, x: jnp.sin(jnp.dot(w, jnp.sin(jnp.dot(w, x))))
    w = jnp.ones((3, 3)) / 3
    everything = fg.checkpoint(from_weights, policy=fg.checkpoint_policies.everything_saveable)
    nothing = fg.checkpoint(from_weights, policy=fg.checkpoint_policies.nothing_saveable)
    dots = fg.checkpoint(from_weights, policy=fg.checkpoint_policies.dots_saveable)
    counts = [residuals(g, w, X) for g in (nothing, dots, everything)]
    assert counts[0] == w.size + X.size
    assert counts[0] < counts[1] <= counts[2] + 6
    for g in (everything, nothing, dots):
        expected = fg.grad(lambda w: from_weights(w, X).sum())(w)
        np.testing.assert_allclose(fg.grad(lambda w, g=g: g(w, X).sum())(w), expected, rtol=1e-5)


def test_static_arguments_keywords_and_trees() -> None:
    g = fg.checkpoint(lambda p, n, shift: {"y": p["x"] ** n + shift}, static_argnums=1)
    out = fg.grad(lambda x: g({"x": x}, 3, shift=1.0)["y"])(2.0)
    assert float(out) == 12


def test_it_can_be_written_as_a_decorator() -> None:
    @fg.checkpoint
    def first(x: Any) -> Any:
        return x * x

    @fg.remat(policy=fg.checkpoint_policies.everything_saveable)
    def second(x: Any) -> Any:
        return x * x

    assert fg.grad(first)(3.0) == fg.grad(second)(3.0) == 6


def test_it_closes_over_traced_values() -> None:
    outer = lambda x: fg.checkpoint(lambda y: jnp.sin(x * y))(2.0 * x)
    np.testing.assert_allclose(fg.grad(outer)(0.7), np.cos(2 * 0.49) * 4 * 0.7, rtol=1e-6)


def test_chain_of_checkpoints_keeps_one_value_each() -> None:
    def chain(x: Any) -> Any:
        for _ in range(5):
            x = fg.checkpoint(f)(x)
        return x

    assert residuals(chain, X) == 15
