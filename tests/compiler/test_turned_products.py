"""Transposes that move behind maps, outer products as multiplications, and values that many rows
read, which are computed once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.compiler.passes.dead import drop_dead
from funcgrad.compiler.passes.outer import multiply_outer
from funcgrad.compiler.pipeline import optimise
from funcgrad.config import config
from funcgrad.primitives.bits import threefry2x32_p


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def equations(jaxpr: Any) -> list[str]:
    return [e.primitive.name for e in jaxpr.eqns]


def agree(function: Any, *args: np.ndarray, rtol: float = 1e-5) -> None:
    """Compiled natively, it gives what NumPy gives one operation after the other."""
    with config.override(disable_jit=True):
        expected = fg.tree.leaves(function(*fg.tree.map(jnp.asarray, args)))
    with config.override(engine="llvm"):
        found = fg.tree.leaves(fg.jit(function)(*args))
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=1e-5)


# ---- transposes behind maps
# -------------------------------------------------------------------------------

A, B, C = numbers(3, 4), numbers(4, 3), numbers(3, 5)
SPARED = {  # and the transposes that are left
    "maps of transposes": (lambda a, b, c: (jnp.sin(a.T) * jnp.cos(a + 1).T).T, 0),
    "numbers": (lambda a, b, c: jnp.exp(2 * a.T + 1).T, 0),
    "another kind": (lambda a, b, c: (jnp.sin(a.T) * b).T, 2),
    "a product": (lambda a, b, c: ((b @ a) * jnp.sin(a.T @ b.T).T).T, 2),
    "a product and a transpose": (lambda a, b, c: ((b @ c) * numbers(5, 4).T).T, 1),
    "a product of an argument": (lambda a, b, c: ((b @ c) * jnp.sin(c.T @ b.T).T).T, 2),
    "a product that others read": (lambda a, b, c: (lambda p: ((p * a.T).T, p))(b @ C[:, :3]), 2),
    "three dimensions": (
        lambda a, b, c: jnp.transpose(jnp.einsum("ij,jkl->ikl", b, numbers(3, 2, 5))
                                      * jnp.transpose(numbers(2, 5, 4), (2, 0, 1)), (1, 2, 0)),
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPARED)
def test_transposes_sink(name: str) -> None:
    function, left = SPARED[name]
    found = equations(optimise(fg.jit(function).trace(A, B, C).jaxpr))
    assert found.count("transpose") == left, found
    agree(function, A, B, C)


def test_maps_with_two_results_stay() -> None:
    def function(a: Any) -> Any:
        return threefry2x32_p.bind(a[0, 0], a[0, 1], a.T, a.T + 1)

    agree(function, np.arange(6, dtype=np.uint32).reshape(2, 3))


def test_gradients_per_example_keep_their_order() -> None:
    def loss(w: Any, x: Any) -> Any:
        return jnp.sum(jnp.sin(jnp.tanh(x @ w[0]) @ w[1]))

    function = fg.vmap(fg.grad(loss), in_axes=(None, 0))
    arguments = ([numbers(4, 6), numbers(6, 3)], numbers(7, 4))
    program = optimise(fg.jit(function).trace(*arguments).jaxpr)
    assert equations(program)[-2:] == ["transpose", "dot_general"]  # which reads any order
    assert all(e.outs[0].aval.shape[0] == 7 for e in program.eqns[:-2])
    agree(function, *arguments)


# ---- outer products
# ---------------------------------------------------------------------------------------

X, Y = numbers(3, 1, 2), numbers(1, 3, 5)
OUTER = {
    "of vectors": ((((), ()), ((), ())), numbers(4), numbers(3)),
    "of numbers": ((((), ()), ((), ())), numbers(), numbers()),
    "of a number": ((((), ()), ((), ())), numbers(), numbers(3, 2)),
    "in batches": ((((), ()), ((0,), (0,))), numbers(3, 4), numbers(3, 5)),
    "batches in another order": ((((), ()), ((1, 0), (0, 1))), numbers(4, 3), numbers(3, 4, 5)),
    "of elements": ((((), ()), ((0, 1), (0, 1))), numbers(4, 3), numbers(4, 3)),
    "over one": ((((1,), (0,)), ((0,), (1,))), X, Y),
    "over one behind": ((((1,), (0,)), ((), ())), numbers(4, 1), numbers(1, 3)),
}


@pytest.mark.parametrize("name", OUTER)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int8", "bool"])
def test_outer_products_are_multiplications(name: str, dtype: str) -> None:
    dimensions, x, y = OUTER[name]
    x, y = (np.asarray(jnp.asarray(4 * a).astype(dtype)) for a in (x, y))

    def function(x: Any, y: Any) -> Any:
        return lax.dot_general(x, y, dimensions)

    found = multiply_outer(fg.jit(function).trace(x, y).jaxpr)
    assert ("dot_general" in equations(found)) == (dtype == "bool")
    agree(lambda x, y: function(x, y).astype("complex64"), x, y, rtol=0)


def test_outer_products_turn_nothing_twice() -> None:
    def function(x: Any, y: Any) -> Any:
        return lax.dot_general(x.T, y, (((), ()), ((1,), (0,))))

    arguments = numbers(3, 4), numbers(3, 5)
    found = multiply_outer(optimise(fg.jit(function).trace(*arguments).jaxpr))
    assert "transpose" not in equations(drop_dead(found))
    agree(function, *arguments, rtol=0)


def test_products_that_convert_are_not() -> None:
    found = multiply_outer(
        fg.jit(lambda x: lax.dot_general(x, x, OUTER["of vectors"][0],
                                         preferred_element_type=jnp.float32))
        .trace(np.ones(3, np.int8)).jaxpr
    )  # fmt: skip
    assert equations(found) == ["dot_general"]


# ---- computed once
# ----------------------------------------------------------------------------------------

ROW, COLUMN = numbers(64), numbers(64)
STORED = {
    "a dear row": (lambda x, y: jnp.exp(x)[None, :] * y[:, None], 2),
    "a cheap row": (lambda x, y: (2 * x + 1)[None, :] * y[:, None], 1),
    "a dear column": (lambda x, y: x[None, :] * jnp.exp(y)[:, None], 1),
    "an outer product": (lambda x, y: jnp.outer(jnp.tanh(x), jnp.exp(y)), 2),
    "few rows": (lambda x, y: jnp.exp(x)[None, :] * y[:4, None], 1),
    "a matrix": (lambda x, y: x.reshape(8, 8)[None] * y[:, None, None], 1),
    "a matrix turned": (lambda x, y: x.reshape(8, 8).T[None] * y[:, None, None], 2),
}


@pytest.mark.parametrize("name", STORED)
def test_what_many_rows_read_is_computed_once(name: str) -> None:
    function, stored = STORED[name]
    text = fg.jit(function).lower(ROW, COLUMN).as_text("kernels")
    assert text.count("store") == stored, text
    agree(function, ROW, COLUMN)
