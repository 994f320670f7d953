"""Passes on arrays without elements, and on products of types that tiles are not made for."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.compiler import pipeline
from funcgrad.compiler.passes.dead import drop_dead
from funcgrad.compiler.passes.empty import settle_empty
from funcgrad.compiler.passes.widen import widen_products
from funcgrad.core import dtypes
from tests.compiler.test_passes import equations, m, traced, x


def test_settle_empty():
    empty = np.zeros((0, 3), np.float32)
    before = traced(lambda e, v: (jnp.sin(e) @ m.T, jnp.sum(e, 0) + v), empty, x)
    after = drop_dead(settle_empty(before))
    assert equations(after) == ["broadcast_in_dim", "broadcast_in_dim", "add"]
    assert "shape=(0, 2)" in str(after) and "0.0:f32[]" in str(after)


@pytest.mark.parametrize(
    "function, operands, expected",
    [
        (lambda a: jnp.prod(a, 0), [np.zeros((0, 2), np.float32)], "1.0:f32[]"),
        (lambda a: jnp.all(a, 0), [np.zeros((0, 2), bool)], "True:bool[]"),
        (lambda a, b: a @ b, [np.zeros((2, 0), np.int32), np.zeros((0, 2), np.int32)], "0:i32[]"),
        (lambda a, b: a.at[b].add(1.0), [x, np.zeros(0, np.int32)], "in (a,)"),
    ],
)
def test_sums_of_nothing_are_known(function, operands, expected):
    after = pipeline.optimise(traced(function, *operands))
    assert len(after.eqns) <= 1 and expected in str(after)


def test_loops_with_empty_carries_keep_them():
    def f(e):
        return lax.fori_loop(0, 3, lambda i, c: (c[0] + i, c[1] * 2), (0.0, e))

    np.testing.assert_array_equal(fg.jit(f)(np.zeros((2, 0), np.float32))[1], np.zeros((2, 0)))


def products_of(dtype, size=40, result=None):
    a = np.ones((size, size), dtypes.as_dtype(dtype))
    return widen_products(traced(lambda a, b: lax.dot(a, b, preferred_element_type=result), a, a))


@pytest.mark.parametrize(
    "dtype, result, wide",
    [
        ("bfloat16", None, "f32"), ("float16", "float32", "f32"), ("int8", None, "i32"),
        ("uint8", None, "u32"), ("bool", None, "i32"), ("int8", "int64", "i64"),
    ],
)  # fmt: skip
def test_widen_products(dtype, result, wide):
    after = products_of(dtype, result=result)
    (product,) = [e for e in after.eqns if e.primitive.name == "dot_general"]
    assert all(wide in str(v.aval) for v in (*product.args, *product.outs))
    assert after.eqns[0].primitive.name == "convert_element_type"


def test_complex_products_are_four_real_ones():
    assert equations(products_of("complex64")).count("dot_general") == 4


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint32"])
def test_products_that_tiles_are_made_for_stay(dtype):
    assert equations(products_of(dtype)) == ["dot_general"]
    assert equations(products_of("bfloat16", size=4)) == ["dot_general"]
