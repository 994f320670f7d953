"""Bits, rounding and stopped gradients, compared with jax."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import funcgrad.numpy as fnp
from funcgrad.api.autodiff import grad, linearize
from funcgrad.api.compile import jit
from funcgrad.compiler.scalar_values import computed
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import typeof
from funcgrad.core.dtypes import bfloat16
from funcgrad.primitives.convert import (
    bitcast_convert_type,
    reduce_precision,
    reduce_precision_p,
    stop_gradient,
)

SWEEP = np.concatenate([s * np.geomspace(1e-9, 1e6, 400) for s in (1, -1)])
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 65519, 65520, 3e38, 1.5 * 2.0**-14])
FORMATS = [(5, 10), (8, 7), (4, 3), (5, 2), (8, 23), (3, 0), (2, 5), (8, 22), (5, 9), (8, 6)]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("bits", FORMATS, ids=str)
def test_reduce_precision_equals_jax(dtype, bits):
    lax = pytest.importorskip("jax").lax
    with np.errstate(over="ignore"):
        x = np.concatenate([SWEEP, SPECIAL]).astype(bfloat16 if dtype == "bfloat16" else dtype)
    ours, theirs = (np.asarray(f(x, *bits)).astype(np.float64)
                    for f in (reduce_precision, lax.reduce_precision))  # fmt: skip
    tiny = np.finfo(np.float32).tiny
    subnormal = (np.abs(x.astype(np.float64)) < tiny) & (x != 0)  # jax flushes them
    np.testing.assert_array_equal(ours[~subnormal], theirs[~subnormal])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("bits", FORMATS, ids=str)
def test_kernels_reduce_precision_to_the_same_bits(dtype, bits):
    with np.errstate(over="ignore"):
        x = np.concatenate([SWEEP, SPECIAL, SWEEP * 1e-36]).astype(
            bfloat16 if dtype == "bfloat16" else dtype
        )
    form = reduce_precision_p.loops(typeof(x), exponent_bits=bits[0], mantissa_bits=bits[1])
    (found,) = computed(form.scalar, [x])
    expected = np.asarray(reduce_precision(x, *bits))
    assert found.dtype == expected.dtype
    unsigned = f"u{x.dtype.itemsize}"
    np.testing.assert_array_equal(found.view(unsigned), expected.view(unsigned))


def test_reduce_precision_rounds_its_tangents_and_cotangents_too():
    x = ConcreteArray(np.float32([1.0, 2.0]))
    third = ConcreteArray(np.float32([1 / 3, 1 / 3]))
    rounded = reduce_precision(third, 8, 3)
    _, slope = linearize(lambda x: reduce_precision(x, 8, 3), x)
    np.testing.assert_array_equal(slope(third), rounded)
    back = grad(lambda x: (reduce_precision(x, 8, 3) * third).sum())(x)
    np.testing.assert_array_equal(back, rounded)


WIDTHS = [("float32", "int32", (3,)), ("float32", "uint8", (2, 3)), ("uint8", "float32", (2, 3, 4)),
          ("int16", "int32", (2,)), ("bfloat16", "uint16", (3,)), ("float32", "bfloat16", (0, 3)),
          ("int32", "int32", ()), ("float32", "uint16", ())]  # fmt: skip


@pytest.mark.parametrize("old, new, shape", WIDTHS)
def test_bitcast_equals_jax(old, new, shape):
    jax = pytest.importorskip("jax")
    types = {"bfloat16": bfloat16}
    x = np.arange(int(np.prod(shape))).reshape(shape).astype(types.get(old, old))
    theirs = jax.lax.bitcast_convert_type(x, types.get(new, new))
    for ours in (bitcast_convert_type(x, new), jit(lambda x: bitcast_convert_type(x, new))(x)):
        assert (ours.dtype, ours.shape, ours.weak_type) == (theirs.dtype, theirs.shape, False)
        np.testing.assert_array_equal(ours, theirs)


def test_bitcast_says_what_does_not_fit():
    with pytest.raises(TypeError, match="bitcast_convert_type: needs integer or float .* bool"):
        bitcast_convert_type(fnp.array([True]), "uint8")
    to_float = lambda x: bitcast_convert_type(x, "float32")
    for function in (to_float, jit(to_float)):
        with pytest.raises(ValueError, match="f32 needs a last dimension of 4 elements of u8"):
            function(fnp.zeros(3, "uint8"))


def test_stop_gradient_on_trees_and_integers():
    assert float(grad(lambda x: x * stop_gradient(x))(3.0)) == 3.0
    assert float(grad(lambda x: stop_gradient({"a": x, "b": [x]})["b"][0] * x)(3.0)) == 3.0
    kept = stop_gradient({"n": 3, "x": 2.0})
    assert kept["n"] == 3 and float(kept["x"]) == 2.0
    assert float(grad(grad(lambda x: x**3 + stop_gradient(x**3)))(2.0)) == 12.0


def test_imaginary_parts_are_dropped_without_a_warning():
    x = fnp.array([1.5 + 2j, 0j])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype, expected in (("float32", [1.5, 0]), ("int32", [1, 0]), ("bool", [True, False])):
            assert x.astype(dtype).tolist() == expected
