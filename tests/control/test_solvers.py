"""custom_linear_solve, custom_root and reduce, against jax and against what they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

A = np.asarray([[3.0, 0.4, -0.2], [0.1, 2.5, 0.7], [0.3, -0.6, 4.0]], np.float32)
B = np.asarray([1.0, -2.0, 0.5], np.float32)


def solved(lib: Any, a: Any, b: Any) -> Any:
    """A solver that must not be differentiated: its steps are opaque to derivatives."""

    def direct(matrix: Any) -> Any:
        return lambda matvec, rhs: lib.lax.stop_gradient(lib.numpy.linalg.solve(matrix, rhs))

    return lib.lax.custom_linear_solve(lambda x: a @ x, b, direct(a), direct(a.T))


def in_trees(lib: Any, a: Any, b: Any) -> Any:
    matvec = lambda x: {"u": 2.0 * x["u"] + x["v"], "v": a[0, 0] * x["v"]}

    def back(matvec: Any, rhs: Any) -> Any:
        v = rhs["v"] / a[0, 0]
        return {"u": (rhs["u"] - v) / 2.0, "v": v}, lib.numpy.sum(v)

    def forth(vecmat: Any, rhs: Any) -> Any:
        u = rhs["u"] / 2.0
        return {"u": u, "v": (rhs["v"] - u) / a[0, 0]}, lib.numpy.sum(u)

    x, aux = lib.lax.custom_linear_solve(matvec, {"u": b, "v": b * b}, back, forth, has_aux=True)
    return x["u"] * x["v"]


def symmetric(lib: Any, a: Any, b: Any) -> Any:
    s = a @ a.T
    direct = lambda matvec, rhs: lib.lax.stop_gradient(lib.numpy.linalg.solve(s, rhs))
    return lib.lax.custom_linear_solve(lambda x: s @ x, b, direct, symmetric=True)


def total(lib: Any, f: Any) -> Any:
    return lambda a, b: lib.numpy.sum(lib.numpy.sin(f(lib, a, b)) * b)


USES = {
    "value": lambda lib, f: total(lib, f),
    "grad": lambda lib, f: lib.grad(total(lib, f), (0, 1)),
    "jit of grad": lambda lib, f: lib.jit(lib.grad(total(lib, f), (0, 1))),
    "grad of jit": lambda lib, f: lib.grad(lib.jit(total(lib, f)), (0, 1)),
    "jvp": lambda lib, f: lambda a, b: lib.jvp(total(lib, f), (a, b), (a * a, b * b)),
    "second order": lambda lib, f: lib.jacfwd(lib.grad(total(lib, f), (0, 1))),
    "reverse twice": lambda lib, f: lib.jacrev(lib.grad(total(lib, f), (0, 1))),
    "vmap over b": lambda lib, f: lambda a, b: lib.vmap(
        lib.grad(total(lib, f)), (None, 0))(a, lib.numpy.stack([b, 2 * b])),
    "vmap over A": lambda lib, f: lambda a, b: lib.vmap(
        lib.grad(total(lib, f), 1), (0, None))(lib.numpy.stack([a, 2 * a]), b),
}  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("system", [solved, in_trees, symmetric], ids=lambda f: f.__name__)
def test_linear_solve_as_jax(system: Any, use: str) -> None:
    jax = pytest.importorskip("jax")
    if system is in_trees and use in ("reverse twice", "vmap over b"):
        use = "second order"  # jax stops at auxiliary values here
    found, wanted = (
        lib.tree.leaves(USES[use](lib, system)(lib.numpy.asarray(A), lib.numpy.asarray(B)))
        for lib in (fg, jax)
    )
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-4, atol=2e-5)


def test_a_system_that_does_not_depend_on_what_varies() -> None:
    """Neither side has a tangent, though the operator holds a value that has one."""

    def f(a: Any) -> Any:
        still = lax.stop_gradient(a)
        direct = lambda matvec, rhs: jnp.linalg.solve(A, rhs)
        return lax.custom_linear_solve(
            lambda x: lax.stop_gradient(a) @ x + 0 * jnp.sum(still), B, direct, direct
        )

    value, tangent = fg.jvp(f, (A,), (A,))
    np.testing.assert_allclose(value, np.linalg.solve(A, B), rtol=1e-5)
    np.testing.assert_array_equal(tangent, np.zeros(3))


def test_auxiliary_values_that_no_lane_changes() -> None:
    def f(b: Any) -> Any:
        direct = lambda matvec, rhs: (jnp.linalg.solve(A, rhs), jnp.float32(7))
        return lax.custom_linear_solve(lambda x: A @ x, b, direct, direct, has_aux=True)

    x, aux = fg.vmap(f)(jnp.stack([B, 2 * B]))
    np.testing.assert_allclose(x, np.linalg.solve(A, np.stack([B, 2 * B]).T).T, rtol=1e-5)
    np.testing.assert_array_equal(aux, [7, 7])


def test_linear_solve_messages() -> None:
    twice = lambda matvec, b: b / 2.0
    solve = lambda b: lax.custom_linear_solve(lambda x: 2.0 * x, b, twice)
    assert fg.jvp(solve, (3.0,), (1.0,))[1] == 0.5
    with pytest.raises(TypeError, match="transpose_solve"):
        fg.grad(solve)(3.0)
    with pytest.raises(TypeError, match=r"matvec must return .*f32\[3\]"):
        lax.custom_linear_solve(lambda x: x[:2], jnp.ones(3), twice)


# ---- roots --------------------------------------------------------------------------------------


def cube_root(lib: Any, a: Any) -> Any:
    def newton(f: Any, x: Any) -> Any:
        return lib.lax.fori_loop(0, 15, lambda i, x: x - f(x) / (3 * x**2), x)

    guess = lib.lax.stop_gradient(1.0 + 0 * a)
    return lib.lax.custom_root(
        lambda x: x**3 - a, guess, newton, lambda g, y: y / g(lib.numpy.ones_like(y))
    )


ROOT_USES = {
    "value": lambda lib, f: f,
    "grad": lambda lib, f: lib.grad(f),
    "third order": lambda lib, f: lib.grad(lib.grad(lib.grad(f))),
    "jit of grad": lambda lib, f: lib.jit(lib.grad(f)),
    "grad of jit": lambda lib, f: lib.grad(lib.jit(f)),
    "vmap of grad": lambda lib, f: lambda a: lib.vmap(lib.grad(f))(lib.numpy.stack([a, 2 * a]))[0],
    "jvp": lambda lib, f: lambda a: lib.jvp(f, (a,), (1.0 + 0 * a,))[1],
}
ORDERS = {"value": 0, "third order": 3}


@pytest.mark.parametrize("use", ROOT_USES)
def test_roots_are_differentiated_implicitly(use: str) -> None:
    with fg.config.override(enable_x64=True):
        found = ROOT_USES[use](fg, lambda a: cube_root(fg, a))(jnp.asarray(0.7))
    x = 0.7
    wanted = {0: x ** (1 / 3), 1: x ** (-2 / 3) / 3, 3: 10 / 27 * x ** (-8 / 3)}
    np.testing.assert_allclose(found, wanted[ORDERS.get(use, 1)], rtol=1e-9)


def pair_of_equations(a: Any, solve: Any) -> Any:
    """u = a and u v = 1, for a in both modes."""

    def tangent(g: Any, y: Any) -> Any:
        flat = lambda u, v: tuple(g({"u": u, "v": v}).values())
        columns = [flat(1.0, 0.0), flat(0.0, 1.0)]
        slopes = jnp.array([[columns[j][i] for j in range(2)] for i in range(2)])
        u, v = jnp.linalg.solve(slopes, jnp.stack([y["u"], y["v"]]))
        return {"u": u, "v": v}

    equations = lambda x: {"u": x["u"] - a, "v": x["v"] * x["u"] - 1.0}
    return lax.custom_root(equations, {"u": 0.0, "v": 0.0}, solve, tangent, has_aux=True)


def test_roots_in_trees_with_auxiliary_values() -> None:
    def solve(f: Any, guess: Any) -> Any:
        u = guess["u"] - f(guess)["u"]
        return {"u": u, "v": 1.0 / u}, {"steps": 3, "u": u}

    def f(a: Any) -> Any:
        x, aux = pair_of_equations(a, solve)
        return x["u"] * x["v"] ** 2 + 0.0 * aux["steps"]

    for transform in (fg.grad, lambda f: fg.jit(fg.grad(f)), fg.jacfwd):
        assert np.isclose(transform(f)(2.0), -0.25, rtol=1e-6)


def test_a_solver_may_not_hold_what_is_differentiated() -> None:
    f = lambda a: pair_of_equations(a, lambda f, x: ({"u": a, "v": 1 / a}, ()))[0]["v"]
    with pytest.raises(TypeError, match="closes over|closed over|captured"):
        fg.jit(fg.grad(f))(2.0)


# ---- reduce -------------------------------------------------------------------------------------

R = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
AXES = [(0,), (1,), (2,), (0, 2), (0, 1, 2)]
MONOIDS = {
    "add": (lambda lib: lambda a, b: a + b, 0.0),
    "mul": (lambda lib: lambda a, b: a * b, 1.0),
    "max": (lambda lib: lib.lax.max, -np.inf),
    "min, from above": (lambda lib: lib.lax.min, 0.5),
    "neither": (lambda lib: lambda a, b: a + b + 0.1 * a * b, 0.0),
}


@pytest.mark.oracle
@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("name", MONOIDS)
def test_reduce_as_jax(name: str, axes: Any) -> None:
    jax = pytest.importorskip("jax")
    combine, start = MONOIDS[name]
    found, wanted = (
        lib.lax.reduce(lib.numpy.asarray(R), np.float32(start), combine(lib), axes)
        for lib in (fg, jax)
    )
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_reduce_of_pairs_keeps_their_order(jitted: bool) -> None:
    """Composition of affine maps does not commute."""

    def run(p: Any, q: Any) -> Any:
        combine = lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1])
        return lax.reduce((p, q), (np.float32(1), np.float32(0)), combine, (0,))

    p, q = R[:, :, 0], R[:, :, 1]
    found = (fg.jit(run) if jitted else run)(p, q)
    a, b = np.float32(1), np.float32(0)
    for k in range(3):
        a, b = a * p[k], b * p[k] + q[k]
    np.testing.assert_allclose(found[0], a, rtol=1e-5)
    np.testing.assert_allclose(found[1], b, rtol=1e-5)


def test_reduce_differentiates_and_maps() -> None:
    f = lambda x: lax.reduce(x, np.float32(1), lambda a, b: a * b + 0.0, (0,))
    x = jnp.array([0.5, 2.0, -1.0, 3.0])
    np.testing.assert_allclose(fg.grad(f)(x), jnp.prod(x) / x, rtol=1e-6)
    np.testing.assert_allclose(fg.vmap(f)(jnp.stack([x, 2 * x])), [-3.0, -48.0], rtol=1e-6)
    assert lax.reduce(jnp.zeros((0, 2)), np.float32(4), lambda a, b: a * b, (0,)).tolist() == [4, 4]


def test_reduce_messages() -> None:
    add = lambda a, b: a + b
    with pytest.raises(ValueError, match="different ones of 0 to 1"):
        lax.reduce(jnp.ones((2, 2)), np.float32(0), add, (2,))
    with pytest.raises(TypeError, match="equal dtypes"):
        lax.reduce(jnp.ones(2), np.int32(0), add, (0,))
    with pytest.raises(TypeError, match=r"must return f32\[\].*returned bool\[\]"):
        lax.reduce(jnp.ones(2), np.float32(0), lambda a, b: a > b, (0,))
    with pytest.raises(ValueError, match="one structure"):
        lax.reduce((jnp.ones(2),), np.float32(0), add, (0,))
