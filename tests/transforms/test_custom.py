"""custom_jvp and custom_vjp: rules are used, arguments and structures pass through, and they
compose with everything.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from tests.transforms.comparison import same

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

X = np.asarray([0.3, -0.7, 1.1], np.float32)


def by_jvp(lib: Any, n: Any) -> Any:
    @lib.custom_jvp
    def f(x: Any, y: Any) -> Any:
        return n.sin(x) * y

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x, y), (dx, dy) = primals, tangents
        return f(x, y), 3 * n.cos(x) * y * dx + 5 * n.sin(x) * dy

    return lambda x: n.sum(f(x, x**2))


def by_jvps(lib: Any, n: Any) -> Any:
    @lib.custom_jvp
    def f(x: Any, y: Any, z: Any) -> Any:
        return n.sin(x) * y * z

    f.defjvps(lambda t, out, x, y, z: 3 * t * y, None, lambda t, out, x, y, z: t * out)
    return lambda x: n.sum(f(x, x**2, 0.5 * x))


def by_vjp(lib: Any, n: Any) -> Any:
    @lib.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return n.sin(x) * y

    f.defvjp(
        lambda x, y: (f(x, y), (n.cos(x), y)),
        lambda kept, ct: (3 * kept[0] * kept[1] * ct, 5 * kept[1] * ct),
    )
    return lambda x: n.sum(f(x, x**2))


def of_trees(lib: Any, n: Any) -> Any:
    @lib.custom_vjp
    def f(p: Any) -> Any:
        return {"out": (p["a"] * p["b"][0], p["b"][1])}

    def bwd(kept: Any, ct: Any) -> Any:
        first, second = ct["out"]
        return ({"a": 2 * first * kept, "b": (3 * first, 4 * second)},)

    f.defvjp(lambda p: (f(p), p["b"][0]), bwd)

    def loss(x: Any) -> Any:
        first, second = f({"a": x, "b": (x**2, n.sin(x))})["out"]
        return n.sum(first * second)

    return loss


def nondiff(lib: Any, n: Any) -> Any:
    @lib.partial_vjp
    def f(op: Any, x: Any, power: Any) -> Any:
        return op(x) ** power

    f.defvjp(
        lambda op, x, power: (f(op, x, power), x),
        lambda op, power, x, ct: (op(x) * power * ct,),
    )
    return lambda x: n.sum(f(n.sin, x, 3))


def without_some(lib: Any, n: Any) -> Any:
    """None stands for a zero cotangent."""

    @lib.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return x * y

    f.defvjp(lambda x, y: (x * y, None), lambda _, ct: (ct, None))
    return lambda x: n.sum(f(x, n.sin(x)) * x)


def integer_argument(lib: Any, n: Any) -> Any:
    @lib.custom_vjp
    def f(i: Any, x: Any) -> Any:
        return x[i]

    zeros = lambda i: np.zeros(np.shape(i), lib.float0 if lib is fg else lib.dtypes.float0)
    f.defvjp(
        lambda i, x: (x[i], (i, x)),
        lambda kept, ct: (zeros(kept[0]), n.zeros_like(kept[1]).at[kept[0]].add(2 * ct)),
    )
    return lambda x: f(n.asarray(1), x) * x[0]


def calls_itself(lib: Any, n: Any) -> Any:
    @lib.custom_jvp
    def f(x: Any) -> Any:
        return n.exp(x)

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        out = f(primals[0])
        return out, tangents[0] * out

    return lambda x: n.sum(f(f(x)))


def closing_over(lib: Any, n: Any) -> Any:
    scale = n.asarray(2.0)

    @lib.custom_vjp
    def f(x: Any) -> Any:
        return x * scale

    f.defvjp(lambda x: (x * scale, None), lambda _, ct: (ct * scale * 10,))
    return lambda x: n.sum(f(x) * x)


FUNCTIONS = [
    by_jvp, by_jvps, by_vjp, of_trees, nondiff, without_some, integer_argument, calls_itself,
    closing_over,
]  # fmt: skip


class Library:
    """A library with decorators for functions that have arguments which are not differentiated."""

    def __init__(self, lib: Any) -> None:
        self.lib = lib

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lib, name)

    def __eq__(self, other: object) -> bool:
        return self.lib is other

    __hash__ = None  # type: ignore[assignment]

    def partial_vjp(self, f: Any) -> Any:
        return self.lib.custom_vjp(f, nondiff_argnums=(0, 2))


USES = {
    "value": lambda lib, n, f, x: f(x),
    "grad": lambda lib, n, f, x: lib.grad(f)(x),
    "jit of grad": lambda lib, n, f, x: lib.jit(lib.grad(f))(x),
    "grad of jit": lambda lib, n, f, x: lib.grad(lib.jit(f))(x),
    "vmap of grad": lambda lib, n, f, x: lib.vmap(lib.grad(f))(n.stack([x, 2 * x])),
    "grad of vmap": lambda lib, n, f, x: lib.grad(lambda v: lib.vmap(f)(v).sum())(
        n.stack([x, 2 * x])
    ),
    "grad of grad": lambda lib, n, f, x: lib.grad(lambda y: n.sum(n.sin(lib.grad(f)(y))))(x),
    "grad of checkpoint": lambda lib, n, f, x: lib.grad(lib.checkpoint(f))(x),
    "grad in scan": lambda lib, n, f, x: lib.lax.scan(
        lambda c, _: (c - 0.1 * lib.grad(f)(c), None), x, None, length=2
    )[0],
    "grad of scan": lambda lib, n, f, x: lib.grad(
        lambda y: lib.lax.scan(lambda c, k: (c + k * f(y), None), 0.0, n.arange(3.0))[0]
    )(x),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("build", FUNCTIONS, ids=lambda f: f.__name__)
def test_as_jax(build: Any, use: str) -> None:
    def run(lib: Any, n: Any) -> Any:
        f = build(Library(lib), n)
        return USES[use](lib, n, f, n.asarray(X))

    same(run(fg, jnp), run(jax, jax.numpy), 1e-5)


@pytest.mark.parametrize("build", [by_jvp, by_jvps, calls_itself], ids=lambda f: f.__name__)
def test_forward_mode_as_jax(build: Any) -> None:
    def run(lib: Any, n: Any) -> Any:
        f, x = build(Library(lib), n), n.asarray(X)
        return lib.jvp(f, (x,), (n.cos(x),)), lib.hessian(f)(x), lib.jacfwd(lib.jit(f))(x)

    same(run(fg, jnp), run(jax, jax.numpy), 1e-5)


def test_the_function_itself_is_called_without_derivatives() -> None:
    """Outside of all traces neither rule runs."""
    calls = []
    f = fg.custom_vjp(lambda x: x * 2)
    f.defvjp(lambda x: calls.append("fwd") or (x, None), lambda _, ct: calls.append("bwd") or (ct,))
    assert f(3.0) == 6 and not calls
    fg.grad(f)(3.0)
    assert calls == ["fwd", "bwd"]


def test_D14_the_gradient_can_be_watched_as_it_passes() -> None:
    seen = []
    watch = fg.custom_vjp(lambda x: x)
    watch.defvjp(lambda x: (x, None), lambda _, ct: seen.append(ct.shape) or (ct,))
    gradient = fg.grad(lambda x: jnp.sum(3 * watch(x)))(jnp.ones(4))
    np.testing.assert_array_equal(gradient, np.full(4, 3.0))
    assert seen == [(4,)]


def test_keyword_and_default_arguments_are_resolved() -> None:
    f = fg.custom_jvp(lambda x, y=2.0: x * y)
    f.defjvp(lambda p, t: (p[0] * p[1], 10 * t[0] + t[1]))
    assert fg.grad(f)(1.0) == 10
    assert fg.grad(lambda x: f(y=x, x=1.0))(3.0) == 1


def test_methods_can_have_rules() -> None:
    class Model:
        factor = 3.0

        @functools.partial(fg.custom_jvp, nondiff_argnums=(0,))
        def f(self, x: Any) -> Any:
            return self.factor * x

        @f.defjvp
        def rule(self, primals: Any, tangents: Any) -> Any:
            return self.f(*primals), tangents[0] * self.factor * 7

    np.testing.assert_array_equal(fg.grad(lambda x: Model().f(x).sum())(jnp.ones(2)), [21, 21])


@pytest.mark.parametrize("transform", ["grad", "jit of grad", "grad of jit", "vmap of grad"])
def test_numbers_of_python_among_the_residuals_stay_numbers(transform: str) -> None:
    """Shapes and flags, which the backward function uses as such."""

    @fg.custom_vjp
    def pick(x: Any, i: Any) -> Any:
        return x[i]

    def bwd(kept: Any, ct: Any) -> Any:
        (shape, doubled), i = kept
        return jnp.zeros(shape).at[i].set(2 * ct if doubled else ct), None

    pick.defvjp(lambda x, i: (x[i], ((x.shape, True), i)), bwd)
    run = {
        "grad": fg.grad(pick),
        "jit of grad": fg.jit(fg.grad(pick)),
        "grad of jit": fg.grad(fg.jit(pick)),
        "vmap of grad": lambda x, i: fg.vmap(fg.grad(pick), (0, None))(x[None], i)[0],
    }[transform]
    np.testing.assert_array_equal(run(jnp.arange(3.0), 1), [0, 2, 0])


@pytest.mark.parametrize("kind", ["custom_jvp", "custom_vjp"])
def test_rules_within_rules_are_traced_a_number_of_times_linear_in_their_depth(kind: str) -> None:
    calls = []

    def nested(depth: int) -> Any:
        if not depth:
            return lambda x: calls.append(1) or jnp.sin(x)
        inner = nested(depth - 1)
        f = getattr(fg, kind)(lambda x: 2.0 * inner(x))
        if kind == "custom_jvp":
            f.defjvp(lambda p, t: (2.0 * inner(*p), 3.0 * t[0] * inner(*p)))
        else:
            f.defvjp(lambda x: (2.0 * inner(x), x), lambda x, ct: (3.0 * ct * inner(x),))
        return f

    def counted(depth: int) -> int:
        calls.clear()
        fg.jit(fg.grad(nested(depth)))(1.0)
        return len(calls)

    four, five, six = counted(4), counted(5), counted(6)
    assert six - five == five - four


def test_rules_within_rules_close_over_traced_values() -> None:
    """Second derivatives, in which rules of calls in rules are traced late."""

    def outer(k: Any) -> Any:
        inner = fg.custom_jvp(lambda x: k * jnp.sin(x))
        inner.defjvp(lambda p, t: (inner(*p), k * t[0] * jnp.cos(p[0])))
        f = fg.custom_jvp(lambda x: inner(x) ** 2)
        f.defjvp(lambda p, t: (f(*p), 2.0 * inner(*p) * k * jnp.cos(p[0]) * t[0]))
        return f

    plain = lambda k: lambda x: (k * jnp.sin(x)) ** 2
    for order in (1, 2, 3):
        found, wanted = outer, plain
        for _ in range(order):
            found, wanted = (lambda k, g=g: fg.grad(g(k)) for g in (found, wanted))
        for transform in (lambda g: g, fg.jit, fg.vmap):
            k = jnp.asarray([1.5, 2.0]) if transform is fg.vmap else 1.5
            a, b = (transform(lambda k, g=g: g(k)(0.7))(k) for g in (found, wanted))
            np.testing.assert_allclose(a, b, rtol=1e-4)
