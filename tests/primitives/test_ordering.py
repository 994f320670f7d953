"""Sorted orders of every dtype, on the paths for short and for long rows, compared with jax.

Equal elements, both zeros, infinities and NaN occur in every row, so that stability is seen.
"""

from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.lax
from funcgrad.core.backend import NUMPY
from funcgrad.core.dtypes import ALL, short_name
from funcgrad.primitives import ordering

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

SPECIAL = np.array([0, -0.0, np.nan, np.nan, np.inf, -np.inf, 1, -1, 0, -0.0, 2, 2])
SHAPES = [(12,), (3, 14), (2, 12, 2), (1000,), (2, 400), (2, 300, 2)]


def values(shape, axis, dtype, seed):
    """Rows along `axis`, each with all special values that the dtype has."""
    rng = np.random.default_rng(seed)
    lead = [size for d, size in enumerate(shape) if d != axis]
    draws = rng.integers(-30, 30, (*lead, shape[axis] - len(SPECIAL)))
    rows = np.concatenate([np.broadcast_to(SPECIAL, (*lead, len(SPECIAL))), draws], -1)
    rows = rng.permuted(rows, axis=-1)
    if dtype.kind in "bui":
        rows = np.nan_to_num(rows, posinf=99, neginf=-99)
        rows = np.abs(rows) if dtype.kind != "i" else rows
    if dtype.kind == "c":
        rows = complex_rows(rows, rng)
    return np.moveaxis(rows.astype(dtype), -1, axis)


def complex_rows(real, rng):
    """Real and imaginary parts side by side; 1j * inf would make NaN of both."""
    return np.stack([real, rng.permuted(real, axis=-1)], -1).view(complex)[..., 0]


def positions(shape, axis):
    size = [-1 if d == axis else 1 for d in range(len(shape))]
    return np.broadcast_to(np.arange(shape[axis], dtype=np.int32).reshape(size), shape)


@pytest.fixture(params=SHAPES, ids=str)
def case(request):
    shape = request.param
    return shape, 1 if len(shape) > 1 else 0


@pytest.mark.parametrize("dtype", ALL, ids=short_name)
def test_stable_orders_by_one_and_two_keys(dtype, case):
    shape, axis = case
    x, y = values(shape, axis, dtype, 0), values(shape, axis, dtype, 1)
    keys = [ordering.comparable(NUMPY, key) for key in (x, y)]
    with jax.enable_x64(True):
        *_, one = jax.lax.sort([x, positions(shape, axis)], dimension=axis, num_keys=1)
        *_, two = jax.lax.sort([x, y, positions(shape, axis)], dimension=axis, num_keys=2)
    np.testing.assert_array_equal(ordering.stable_order(NUMPY, keys[0], axis), one)
    np.testing.assert_array_equal(ordering.stable_order(NUMPY, keys[0] + keys[1], axis), two)


@pytest.mark.parametrize("dtype", ALL, ids=short_name)
def test_sorted_values_keep_the_order_of_zeros(dtype, case):
    shape, axis = case
    x = values(shape, axis, dtype, 2)
    with jax.enable_x64(True):
        expected = np.asarray(jax.lax.sort(x, dimension=axis))
    actual = ordering.sorted_values(NUMPY, x, axis, is_stable=True)
    assert actual.dtype == dtype
    if dtype.kind in "fV":
        actual, expected = actual.astype(np.float64), expected.astype(np.float64)
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(actual)[numbers], np.signbit(expected)[numbers])
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("k", [0, 1, 4, 12])
@pytest.mark.parametrize("dtype", [t for t in ALL if t.kind != "c"], ids=short_name)
def test_positions_of_the_largest(dtype, k):
    for length in (12, 700):
        x = values((3, length), 1, dtype, 3)
        with jax.enable_x64(True):
            _, expected = jax.lax.top_k(x, k)
        np.testing.assert_array_equal(ordering.largest_positions(NUMPY, x, k), expected)


def test_arrays_sorted_together_have_one_shape():
    for shapes in ([(3,), (4,)], [(3,), (3,), (4,)]):
        arrays = [np.zeros(shape, np.float32) for shape in shapes]
        for call in (fg.lax.sort, fg.jit(fg.lax.sort)):
            with pytest.raises(ValueError, match="sort: operands must have equal shapes"):
                call(arrays)
