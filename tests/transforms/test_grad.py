"""grad, value_and_grad, vjp, jvp, linearize, linear_transpose: arguments, structures, types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from tests.transforms.comparison import same

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

X = np.asarray([0.3, -0.7, 1.1], np.float32)
Y = np.asarray([1.3, 0.2, -0.4], np.float32)
Z = np.asarray(0.6 - 0.8j, np.complex64)


def both(build: Any) -> None:
    """`build(library, its numpy)` gives the same in both libraries."""
    same(build(fg, fg.numpy), build(jax, jax.numpy))


def loss(np_: Any) -> Any:
    return lambda p, x: np_.sum(np_.sin(p["w"] * x) + p["b"]) * p["scale"][0]


def parameters(np_: Any) -> Any:
    return {"w": np_.asarray(X), "b": np_.asarray(0.5), "scale": (np_.asarray(2.0), None)}


CALLS = {
    "number": lambda lib, n: lib.grad(lambda x: x * x)(3.0),
    "array": lambda lib, n: lib.grad(lambda x: n.sum(x * x))(n.asarray(X)),
    "tree": lambda lib, n: lib.grad(loss(n))(parameters(n), n.asarray(Y)),
    "second argument": lambda lib, n: lib.grad(loss(n), 1)(parameters(n), n.asarray(Y)),
    "negative argnums": lambda lib, n: lib.grad(loss(n), -1)(parameters(n), n.asarray(Y)),
    "tuple of argnums": lambda lib, n: lib.grad(loss(n), (1, 0))(parameters(n), n.asarray(Y)),
    "tuple of one": lambda lib, n: lib.grad(lambda x: x * x, (0,))(3.0),
    "list of argnums": lambda lib, n: lib.grad(lambda x, y: x * y, [0, 1])(3.0, 2.0),
    "keyword argument": lambda lib, n: lib.grad(lambda x, y: n.sum(x * y))(n.asarray(X), y=2.0),
    "default argument": lambda lib, n: lib.grad(lambda x, y=2.0: x * y)(3.0),
    "static keyword": lambda lib, n: lib.grad(lambda x, how: x * (how == "a"))(3.0, how="a"),
    "value_and_grad": lambda lib, n: lib.value_and_grad(loss(n))(parameters(n), n.asarray(Y)),
    "aux": lambda lib, n: lib.grad(lambda x: (x * x, {"y": x + 1}), has_aux=True)(3.0),
    "value and aux": lambda lib, n: lib.value_and_grad(
        lambda x: (x * x, (x, n.asarray(2))), has_aux=True
    )(3.0),
    "constant function": lambda lib, n: lib.grad(lambda x: 2.0)(3.0),
    "unused leaf": lambda lib, n: lib.grad(lambda p: p[0] * 2)((1.0, n.asarray(X))),
    "strong scalar": lambda lib, n: lib.grad(lambda x: x * 2)(n.float32(1.0)),
    "bfloat16": lambda lib, n: lib.grad(lambda x: n.sum(x * x))(n.asarray([1.0, 2.0], "bfloat16")),
    "float16": lambda lib, n: lib.grad(lambda x: n.sum(x * 3))(n.asarray([1.0, 2.0], "float16")),
    "complex argument": lambda lib, n: lib.grad(lambda z: z.real * z.imag)(n.asarray(Z)),
    "abs of a complex": lambda lib, n: lib.grad(lambda z: n.abs(z) ** 2)(n.asarray(Z)),
    "holomorphic": lambda lib, n: lib.grad(lambda z: n.sin(z) * z, holomorphic=True)(n.asarray(Z)),
    "allow_int": lambda lib, n: lib.grad(lambda i, x: i * x, (0, 1), allow_int=True)(3, 2.0),
    "allow_int of arrays": lambda lib, n: lib.grad(lambda p: n.sum(p["x"][p["i"]]), allow_int=True)(
        {"i": n.arange(2), "x": n.asarray(X)}
    ),
    "empty": lambda lib, n: lib.grad(lambda x: n.sum(x * x))(n.zeros((0, 3))),
    "second order": lambda lib, n: lib.grad(
        lambda x: n.sum(lib.grad(lambda y: n.sum(n.sin(y) ** 2))(x))
    )(n.asarray(X)),
    "NaN": lambda lib, n: lib.grad(lambda x: n.sum(n.sqrt(x)))(n.asarray([0.0, -1.0, 4.0])),
    "unhashable callable": lambda lib, n: lib.grad(Squarer())(3.0),
}


class Squarer:
    """A callable that has no name and cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, x: Any) -> Any:
        return x * x


@pytest.mark.parametrize("name", CALLS)
def test_grad_as_jax(name: str) -> None:
    both(CALLS[name])


FORWARD = {
    "jvp": lambda lib, n: lib.jvp(
        lambda x, y: n.sin(x) * y, (n.asarray(X), 2.0), (n.asarray(Y), 0.5)
    ),
    "jvp of trees": lambda lib, n: lib.jvp(
        loss(n), (parameters(n), n.asarray(Y)), (parameters(n), n.asarray(X))
    ),
    "jvp with aux": lambda lib, n: lib.jvp(lambda x: (x * x, x + 1), (3.0,), (2.0,), has_aux=True),
    "jvp of a constant": lambda lib, n: lib.jvp(lambda x: n.asarray(Y), (3.0,), (2.0,)),
    "jvp through integers": lambda lib, n: lib.jvp(
        lambda x: (x * 2, n.asarray(x, "int32"), x > 0), (3.0,), (2.0,)
    ),
    "jvp of an integer argument": lambda lib, n: lib.jvp(
        lambda i, x: i * x,
        (3, 2.0),
        (np.zeros((), lib.float0 if lib is fg else lib.dtypes.float0), 1.0),
    ),
    "jvp in lists": lambda lib, n: lib.jvp(lambda x: x * x, [3.0], [2.0]),
    "linearize": lambda lib, n: lib.linearize(lambda x: n.sin(x) * x, n.asarray(X))[1](
        n.asarray(Y)
    ),
    "linearize of two": lambda lib, n: lib.linearize(lambda x, y: x * y, 3.0, 2.0)[1](1.0, 10.0),
    "linearize's value": lambda lib, n: lib.linearize(lambda p: {"y": p["x"] ** 2}, {"x": 3.0})[0],
    "linearize of a constant": lambda lib, n: lib.linearize(lambda x: n.asarray(Y), 1.0)[1](1.0),
    "vjp": lambda lib, n: lib.vjp(lambda x, y: n.sin(x) * y, n.asarray(X), 2.0)[1](n.asarray(Y)),
    "vjp of trees": lambda lib, n: lib.vjp(
        lambda p: (p["x"] * 2, p["x"].sum()), {"x": n.asarray(X)}
    )[1]((n.asarray(Y), n.float32(3.0))),
    "vjp with aux": lambda lib, n: lib.vjp(lambda x: (x * x, x + 1), 3.0, has_aux=True)[2],
    "vjp of integers": lambda lib, n: lib.vjp(lambda i, x: x[i], 1, n.asarray(X))[1](
        n.float32(2.0)
    ),
    "vjp to complex": lambda lib, n: lib.vjp(lambda x: x * (1 + 2j), n.asarray(X))[1](
        n.asarray(X + 1j * Y)
    ),
    "linear_transpose": lambda lib, n: lib.linear_transpose(
        lambda x: n.dot(n.ones((2, 3)), x), n.asarray(X)
    )(n.asarray([1.0, 2.0])),
    "linear_transpose of shapes": lambda lib, n: lib.linear_transpose(
        lambda p: p["a"] * 2 + p["b"].sum(),
        {"a": lib.ShapeDtypeStruct((3,), n.float32), "b": lib.ShapeDtypeStruct((2, 2), n.float32)},
    )(n.asarray(X)),
}


@pytest.mark.parametrize("name", FORWARD)
def test_other_derivatives_as_jax(name: str) -> None:
    both(FORWARD[name])


# ---- nth derivatives


def tanh_derivatives(x: float) -> list[float]:
    """Closed forms: with t = tanh x and s = 1 - t**2."""
    t = np.tanh(x)
    s = 1 - t**2
    return [
        t,
        s,
        -2 * t * s,
        s * (6 * t**2 - 2),
        s * (16 * t - 24 * t**3),
        s * (16 - 120 * t**2 + 120 * t**4),
    ]


MODES = {
    "grad": lambda f: fg.grad(f),
    "jvp": lambda f: lambda x: fg.jvp(f, (x,), (jnp.ones_like(x),))[1],
    "linearize": lambda f: lambda x: fg.linearize(f, x)[1](jnp.ones_like(x)),
    "vjp": lambda f: lambda x: fg.vjp(f, x)[1](jnp.ones_like(x))[0],
    "grad of jit": lambda f: fg.grad(fg.jit(f)),
    "jit of grad": lambda f: fg.jit(fg.grad(f)),
    "grad of checkpoint": lambda f: fg.grad(fg.checkpoint(f)),
    "jacfwd": lambda f: fg.jacfwd(f),
    "grad of vmap": lambda f: fg.grad(lambda x: fg.vmap(f)(x[None])[0]),
}


@pytest.mark.parametrize("mode", MODES)
def test_D26_derivatives_of_tanh_up_to_the_fifth(mode: str) -> None:
    f: Any = jnp.tanh
    x = jnp.float64(0.4)
    for n, expected in enumerate(tanh_derivatives(0.4)):
        value = f(x)
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, expected, rtol=1e-12 * 10**n, err_msg=f"derivative {n}")
        f = MODES[mode](f)


# ---- functions that are given back


def test_vjp_fun_can_be_called_often_and_under_transformations() -> None:
    x, y = jnp.asarray(X), jnp.asarray(Y)
    out, pull = fg.vjp(lambda x, y: jnp.sin(x) * y, x, y)
    first, second = pull(y), pull(2 * y)
    np.testing.assert_allclose(second[0], 2 * first[0], rtol=1e-6)
    np.testing.assert_array_equal(fg.jit(pull)(y)[0], first[0])
    rows = fg.vmap(pull)(jnp.eye(3))
    np.testing.assert_allclose(jnp.diagonal(rows[0]), jnp.cos(x) * y, rtol=1e-6)
    np.testing.assert_allclose(fg.grad(lambda c: pull(c)[1].sum())(y), jnp.sin(x), rtol=1e-6)
    np.testing.assert_allclose(fg.jvp(pull, (y,), (x,))[1][1], jnp.sin(x) * x, rtol=1e-6)


def test_jvp_fun_can_be_called_often_and_under_transformations() -> None:
    x, t = jnp.asarray(X), jnp.asarray(Y)
    _, push = fg.linearize(jnp.sin, x)
    np.testing.assert_allclose(push(t), jnp.cos(x) * t, rtol=1e-6)
    np.testing.assert_array_equal(fg.jit(push)(t), push(t))
    np.testing.assert_allclose(fg.vmap(push)(jnp.eye(3)), jnp.diag(jnp.cos(x)), rtol=1e-6)
    np.testing.assert_allclose(fg.grad(lambda t: push(t).sum())(t), jnp.cos(x), rtol=1e-6)
    np.testing.assert_allclose(fg.linear_transpose(push, t)(t)[0], jnp.cos(x) * t, rtol=1e-6)


def test_derivatives_with_respect_to_the_point_of_an_inner_linearization() -> None:
    def outer(x):
        _, push = fg.linearize(lambda y: jnp.sin(y) * x, x)
        _, pull = fg.vjp(lambda y: y**3 * x, x)
        return push(2.0 * x) + pull(x)[0]

    x = 0.7  # push = 2 x cos(x) x, pull = 3 x**2 x x
    expected = 4 * x * np.cos(x) - 2 * x**2 * np.sin(x) + 12 * x**3
    np.testing.assert_allclose(fg.grad(outer)(x), expected, rtol=1e-6)
    np.testing.assert_allclose(fg.jit(fg.grad(outer))(x), expected, rtol=1e-6)


def test_a_linearized_function_runs_once() -> None:
    calls = []

    def f(x):
        calls.append(x)
        return x * x

    _, push = fg.linearize(f, 3.0)
    _, pull = fg.vjp(f, 3.0)
    for _ in range(3):
        push(1.0), pull(1.0)
    assert len(calls) == 2


def test_gradients_keep_the_kinds_of_containers() -> None:
    Point = __import__("collections").namedtuple("Point", "x y")
    g = fg.grad(lambda p: p["point"].x * p["list"][0])({"point": Point(2.0, 1.0), "list": [3.0]})
    assert type(g["point"]) is Point and type(g["list"]) is list
    assert (float(g["point"].x), float(g["point"].y), float(g["list"][0])) == (3, 0, 2)


def test_wrapped_functions_keep_their_names_and_documentation() -> None:
    def documented(x):
        """Doubles."""
        return 2 * x

    for wrapped in (
        fg.grad(documented),
        fg.vmap(documented),
        fg.jit(documented),
        fg.checkpoint(documented),
    ):
        assert wrapped.__name__ == "documented" and wrapped.__doc__ == "Doubles."


def test_numpy_arguments_are_not_kept_by_reference() -> None:
    """A residual is a copy: what the user does to the array later does not change the gradient."""
    x = np.asarray([1.0, 2.0], np.float32)
    _, pull = fg.vjp(lambda v: v * v, x)
    x[:] = 100
    np.testing.assert_array_equal(pull(jnp.ones(2))[0], [2, 4])


def test_reduce_axes_are_refused_not_ignored() -> None:
    with pytest.raises(ValueError, match="grad: reduce_axes must be empty"):
        fg.grad(lambda x: x, reduce_axes=("i",))
    with pytest.raises(ValueError, match="vjp: reduce_axes must be empty"):
        fg.vjp(lambda x: x, 1.0, reduce_axes=("i",))
