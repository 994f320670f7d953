"""A few functions under every stack of up to three transformations, against jax and against
differences.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgrad as fg

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

X = np.asarray([0.3, 0.7, 1.1], np.float32)


def elementwise(lib: Any, jnp: Any, x: Any) -> Any:
    return jnp.sum(jnp.sin(x) * jnp.exp(-x) + x / (1.0 + x**2))


def shared(lib: Any, jnp: Any, x: Any) -> Any:
    y = x * x
    z = y + y
    return jnp.sum(z * y) + jnp.max(x) * jnp.min(y)


def contraction(lib: Any, jnp: Any, x: Any) -> Any:
    w = jnp.outer(x, jnp.cos(x))
    return jnp.tanh(w @ x) @ x


def indexing(lib: Any, jnp: Any, x: Any) -> Any:
    return jnp.sum(x[jnp.array([0, 0, 2])] * x[::-1]) + jnp.sum(x.at[1].multiply(x[0]) ** 2)


def jitted(lib: Any, jnp: Any, x: Any) -> Any:
    inner = lib.jit(lambda a, b: jnp.sum(jnp.sin(a * b)))
    return inner(x, x) * inner(x, 2.0)


def closed_over(lib: Any, jnp: Any, x: Any) -> Any:
    return lib.jit(lambda a: lib.jit(lambda b: jnp.sum(a * b * x))(jnp.cos(x)))(x)


def checkpointed(lib: Any, jnp: Any, x: Any) -> Any:
    return jnp.sum(lib.checkpoint(lambda a: jnp.sin(jnp.sin(a) * a))(x))


def scanned(lib: Any, jnp: Any, x: Any) -> Any:
    def body(c: Any, v: Any) -> Any:
        c = jnp.sin(c * v + x[0])
        return c, c * c

    last, all_ = lib.lax.scan(body, 0.5 * x[1], x)
    return last + jnp.sum(all_ * x)


def branching(lib: Any, jnp: Any, x: Any) -> Any:
    return lib.lax.cond(jnp.sum(x) > 0, lambda v: jnp.sum(v**3), lambda v: jnp.sum(jnp.cos(v)), x)


def looping(lib: Any, jnp: Any, x: Any) -> Any:
    return jnp.sum(lib.lax.fori_loop(0, 3, lambda i, v: jnp.sin(v) * x + i, x))


def custom(lib: Any, jnp: Any, x: Any) -> Any:
    @lib.custom_jvp
    def f(v: Any) -> Any:
        return jnp.sin(v)

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        return f(primals[0]), 2.0 * jnp.cos(primals[0]) * tangents[0]

    return jnp.sum(f(x) * x)


FUNCTIONS = [
    elementwise, shared, contraction, indexing, jitted, closed_over, checkpointed, scanned,
    branching, looping, custom,
]  # fmt: skip

# Each keeps a function of one vector to one scalar, so that any stack can be built.
STACKABLE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "grad": lambda lib, jnp, f: lambda x: jnp.sum(jnp.sin(lib.grad(f)(x))),
    "jvp": lambda lib, jnp, f: lambda x: lib.jvp(f, (x,), (jnp.cos(x),))[1],
    "vjp": lambda lib, jnp, f: (
        lambda x: jnp.sum(lib.vjp(f, x)[1](jnp.asarray(2.0, x.dtype))[0] * x)
    ),
    "linearize": lambda lib, jnp, f: lambda x: lib.linearize(f, x)[1](x),
    "vmap": lambda lib, jnp, f: (
        lambda x: jnp.sum(lib.vmap(lambda s: f(x * s))(jnp.asarray([1.0, 0.5], x.dtype)))
    ),
    "jit": lambda lib, jnp, f: lib.jit(f),
    "checkpoint": lambda lib, jnp, f: lib.checkpoint(f),
}

STACKS = [s for n in (1, 2) for s in itertools.product(STACKABLE, repeat=n)] + [
    ("grad", "grad", "grad"),
    ("jit", "grad", "grad"),
    ("grad", "jit", "grad"),
    ("vmap", "grad", "jit"),
    ("grad", "vmap", "grad"),
    ("grad", "grad", "vmap"),
    ("jvp", "grad", "vmap"),
    ("vjp", "jvp", "checkpoint"),
    ("linearize", "checkpoint", "grad"),
    ("checkpoint", "grad", "jit"),
    ("jit", "vmap", "jvp"),
]


def build(lib: Any, jnp: Any, function: Any, stack: tuple[str, ...]) -> Any:
    f: Any = lambda x: function(lib, jnp, x)
    for name in stack:
        f = STACKABLE[name](lib, jnp, f)
    return f


@pytest.mark.parametrize("stack", STACKS, ids=" of ".join)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_as_jax(function: Any, stack: tuple[str, ...]) -> None:
    ours = build(fg, fg.numpy, function, stack)(fg.numpy.asarray(X))
    theirs = build(jax, jax.numpy, function, stack)(jax.numpy.asarray(X))
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    # float32 through up to a few hundred operations; derivatives of third order reach a few hundred
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=2e-4, atol=2e-4)
