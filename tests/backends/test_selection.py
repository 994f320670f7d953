"""top_k of rows much longer than k: the same elements and positions as by sorting."""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

pytest.importorskip("llvmlite")

from funcgrad.backends.llvm import selection
from funcgrad.backends.llvm.sorting import Rows
from tests.backends.kernel_programs import block_of, guarded

numbers = np.random.default_rng(7)
DTYPES = ("float32", "float16", "bfloat16", "int8", "uint16", "int32", "bool")


def check(x, k, axis=-1):
    axis = axis % x.ndim
    block = block_of(fg.make_jaxpr(lambda x: lax.top_k(x, k, axis=axis))(x))
    found = guarded(block, [np.asarray(x._buffer)])
    with fg.disable_jit():
        expected = lax.top_k(x, k, axis=axis)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(f.astype(np.asarray(e).dtype), np.asarray(e))


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_equal_elements_come_in_their_order(dtype):
    for size, k in ((8, 1), (41, 5), (300, 7), (1000, 32)):
        assert selection.pays(Rows.along((3, size), 1), k)
        x = numbers.integers(-5 if dtype[0] not in "ub" else 0, 6, (3, size))
        check(jnp.asarray(x.astype(dtype if dtype != "bfloat16" else "float32")).astype(dtype), k)


@pytest.mark.parametrize("enable_x64", (False, True))
def test_orders(enable_x64):
    with fg.config.override(enable_x64=enable_x64):
        x = numbers.standard_normal((4, 203)).astype("f8" if enable_x64 else "f4")
        for row in (x, np.sort(x), np.sort(x)[:, ::-1], np.zeros_like(x), np.abs(x).round()):
            for k in (1, 2, 25):
                check(jnp.asarray(row), k)
            check(jnp.asarray(row.T), 25, axis=0)


def test_special_numbers():
    """NaN is the largest number; zeros are told apart as `sort` in the other direction does."""
    x = numbers.standard_normal((5, 150)).astype(np.float32)
    x[0, ::7], x[1, 3::5], x[2, ::3], x[3, :] = np.nan, np.inf, -0.0, -np.inf
    x[2, 1::3], x[4, 149] = 0.0, np.nan
    check(jnp.asarray(x), 18)


def test_other_sizes_are_sorted():
    for size, k in ((7, 1), (100, 33), (64, 9), (10, 0)):
        assert not selection.pays(Rows.along((3, size), 1), k)
        check(jnp.asarray(numbers.standard_normal((3, size)).astype(np.float32)), k)
