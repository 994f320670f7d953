"""where, take, nonzero and their relatives, compared with jax: values, dtypes, weak types."""

from __future__ import annotations

import numpy as np
import pytest

from funcgrad.api.autodiff import grad
from funcgrad.api.compile import jit
from funcgrad.api.vectorize import vmap
from funcgrad.config import config
from funcgrad.core.array import ConcreteArray
from funcgrad.core.dtypes import bfloat16
from funcgrad.errors import ConcretizationTypeError
from funcgrad.numpy import index_grids, selection

X = np.arange(6, dtype=np.float32).reshape(2, 3)
EMPTY = np.zeros((0, 3), np.float32)


def i32(*values):
    return np.array(values, np.int32)


ROWS = [
    ("take", (X, i32(0, 3, -1)), {}),
    ("take", (X, i32(0, 7, -1, -9).reshape(2, 2)), {"mode": "fill"}),
    ("take", (X, i32(0, 7, -9), 1), {"mode": "clip"}),
    ("take", (X, i32(0, 7, -9), 1), {"mode": "wrap"}),
    ("take", (X, 2, 1), {}),
    ("take", (X, i32(2, -3).astype(np.int8), -1), {}),
    ("take", (X, i32(1, 0, 9), 0), {"mode": "fill", "fill_value": -1.0}),
    ("take", (i32(1, 2, 3), i32(5)), {"mode": "fill"}),
    ("take", (EMPTY, i32(0)[:0], 1), {}),
    ("take_along_axis", (X, i32(2, -1).reshape(2, 1), 1), {}),
    ("take_along_axis", (X, i32(5, -1).reshape(2, 1), 1), {"mode": "fill"}),
    ("take_along_axis", (X, i32(5, -1).reshape(2, 1), 1), {"mode": "clip"}),
    ("take_along_axis", (X, i32(5, -1).reshape(2, 1), 1), {"mode": "fill", "fill_value": 4}),
    (
        "take_along_axis",
        (X, i32(-1, 1).reshape(2, 1), 1),
        {"wrap_negative_indices": False, "mode": "fill"},
    ),
    ("take_along_axis", (X[:1], i32(0, 1, 2).reshape(3, 1), 1), {}),
    ("take_along_axis", (X, i32(0, 4), None), {}),
    ("take_along_axis", (X, i32(0, 1, 0).reshape(1, 3), 0), {}),
    ("take_along_axis", (X, i32(0, 1, 0, 1, 1, 1, 0, 0, 1).reshape(3, 3), 0), {}),
    ("take_along_axis", (X, i32(2, 0).reshape(1, 2)), {}),
    ("where", (X > 2,), {}),
    ("where", (X > 2,), {"size": 2, "fill_value": -1}),
    ("where", (X > 2,), {"size": 5, "fill_value": (-1, -2)}),
    ("where", (X > 2,), {"size": 5}),
    ("where", (X, 1, 0.0), {}),
    ("where", (X > 2, 1, 2), {}),
    ("where", (X > 2, X, 0), {}),
    ("where", (X > 2, X, -X), {}),
    ("where", (X[0] > 1, X, X.T[:2, :1]), {}),
    ("where", (True, 1, 2), {}),
    ("where", (X > 2, i32(1, 2, 3).astype(np.int8), 2), {}),
    ("where", (True, X, 2), {}),
    ("where", (X > 2, X.astype(bfloat16), np.float16(1)), {}),
    ("nonzero", (X > 1,), {}),
    ("nonzero", (X,), {"size": 7}),
    ("nonzero", (np.eye(4, dtype=np.float32).reshape(2, 4, 2),), {"size": 3, "fill_value": 9}),
    ("argwhere", (X > 2,), {"size": 4, "fill_value": -1}),
    ("argwhere", (X > 2,), {}),
    ("argwhere", (np.float32(1),), {}),
    ("flatnonzero", (X > 2,), {"size": 4, "fill_value": -1}),
    ("compress", (np.array([True, False]), X), {"axis": 0}),
    ("compress", (i32(1, 0, 1, 1), X), {}),
    ("compress", (i32(1, 0, 1, 1), X), {"size": 2}),
    ("compress", (i32(1, 0, 1), X), {"size": 3, "axis": 1, "fill_value": 7}),
    ("extract", (X > 2, X), {}),
    ("extract", (X > 2, X), {"size": 5, "fill_value": 9}),
    ("choose", (i32(0, 1, 2), [X[0] * 0, X[0], X[1]]), {}),
    ("choose", (i32(0, 5, -1), [X[0] * 0, X[0], X[1]]), {"mode": "wrap"}),
    ("choose", (i32(0, 5, -1).reshape(3, 1), [X[0] * 0, X[0], X[1]]), {"mode": "clip"}),
    ("choose", (i32(1, 0), X[:, :2]), {}),
    ("select", ([X > 4, X > 2], [X, X * 10], 7), {}),
    ("select", ([X > 4], [1], 7), {}),
    ("select", ([X], [1], 7), {}),
    ("piecewise", (X, [X < 2, X >= 4], [lambda v: -v, 5]), {}),
    ("piecewise", (X, [X < 2, X >= 4], [1, 2, lambda v: v * 3]), {}),
    ("piecewise", (X, [X < 2, X >= 1], [1, 2]), {}),
    ("piecewise", (i32(0, 1, 2), [i32(0, 1, 2) < 2], [lambda v: v / 2, 1]), {}),
    ("piecewise", (X, [X < 2], [lambda v, k, s: v * k + s, 1], 3.0), {"s": 2.0}),
    ("unravel_index", (i32(5, -1, 9, -20), (2, 3)), {}),
    ("unravel_index", (5, (2, 3)), {}),
    ("ravel_multi_index", ((i32(0, 1), i32(1, 2)), (2, 3)), {}),
    ("ravel_multi_index", ((i32(0, 5), i32(1, 2)), (2, 3)), {"mode": "clip"}),
    ("ravel_multi_index", ((i32(0, 5), i32(1, 2)), (2, 3)), {"mode": "wrap", "order": "F"}),
    ("diag_indices", (3,), {}),
    ("diag_indices", (3, 3), {}),
    ("diag_indices_from", (np.zeros((2, 2), np.float32),), {}),
    ("tril_indices", (3, -1), {}),
    ("triu_indices", (2, 1, 3), {}),
    ("tril_indices_from", (X, 1), {}),
    ("triu_indices_from", (X,), {}),
    ("ix_", (i32(0, 1), i32(2)), {}),
    ("put_along_axis", (X, i32(0, 1).reshape(2, 1), 9.0, 1), {"inplace": False}),
    ("put_along_axis", (X, i32(0, 7), 9.0, None), {"inplace": False}),
    ("put", (X, i32(0, 7), 9.0), {"inplace": False}),
    ("put", (X, i32(0, 7, 2), np.float32([9, 8])), {"inplace": False, "mode": "wrap"}),
    ("place", (X, X > 2, np.float32([7, 8])), {"inplace": False}),
    ("fill_diagonal", (np.zeros((3, 3), np.float32), X[0]), {"inplace": False}),
    ("fill_diagonal", (np.zeros((3, 2), np.float32), 5), {"inplace": False}),
    ("fill_diagonal", (np.zeros((3, 3, 3), np.float32), 5), {"inplace": False}),
]


def function(name):
    return getattr(selection, name, None) or getattr(index_grids, name)


def converted(args, make):
    """The arguments with NumPy's arrays turned into those of a library."""
    if isinstance(args, np.ndarray):
        return make(args)
    return type(args)(converted(a, make) for a in args) if isinstance(args, (tuple, list)) else args


def same(ours, theirs):
    ours = ours if isinstance(ours, tuple) else (ours,)
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    assert len(ours) == len(theirs)
    for got, wanted in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted), strict=True)
        assert got.weak_type == wanted.weak_type


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted({name for name, _, _ in ROWS}))
def test_agrees_with_jax(name):
    jnp = pytest.importorskip("jax.numpy")
    for row, args, options in ROWS:
        if row == name:
            wanted = getattr(jnp, name)(*converted(args, jnp.asarray), **options)
            same(function(name)(*converted(args, ConcreteArray), **options), wanted)


def test_where_differentiates_into_both_branches():
    x, y = X + 1, -X
    for_x, for_y = grad(lambda x, y: selection.where(X > 2, x * 2, y * 3).sum(), (0, 1))(x, y)
    np.testing.assert_array_equal(for_x, np.where(X > 2, 2, 0))
    np.testing.assert_array_equal(for_y, np.where(X > 2, 0, 3))
    for_scalar = grad(lambda s: selection.where(X > 2, s, X).sum())(1.0)
    assert float(for_scalar) == 3.0


def test_where_maps_each_operand():
    condition, x, y = X > 2, X + 1, -X
    expected = np.where(condition, x, y)
    for axes in [(0, 0, 0), (0, None, 0), (None, 0, None), (0, None, None)]:
        args = [a if axis == 0 else a[0] for a, axis in zip((condition, x, y), axes, strict=True)]
        expected = np.where(*[np.broadcast_to(a, X.shape) for a in args])
        np.testing.assert_array_equal(vmap(selection.where, in_axes=axes)(*args), expected)


def test_gradients_of_take_accumulate():
    gradient = grad(lambda x: selection.take(x, i32(1, 1, 0), axis=1).sum())(X)
    np.testing.assert_array_equal(gradient, [[1, 2, 0], [1, 2, 0]])
    index = i32(2, 2, 0, 1, 1, 1).reshape(2, 3)
    gradient = grad(lambda x: selection.take_along_axis(x, index, 1).sum())(X)
    np.testing.assert_array_equal(gradient, [[1, 0, 2], [0, 3, 0]])


def test_filled_entries_have_no_gradient():
    gradient = grad(lambda x: selection.take(x, i32(0, 9), mode="fill", fill_value=1.0).sum())(X[0])
    np.testing.assert_array_equal(gradient, [1, 0, 0])


def test_known_positions_out_of_bounds_raise_without_a_mode():
    for call in (
        lambda x: selection.take(x, i32(0, 6)),
        lambda x: selection.take(x, -4, axis=1),
        lambda x: selection.take_along_axis(x, i32(3).reshape(1, 1), 1),
    ):
        with pytest.raises(IndexError, match="out of bounds"):
            call(X)
        assert np.isnan(np.asarray(jit(call)(X))).any()
        with config.override(eager_bounds_check=False):
            assert np.isnan(np.asarray(call(X))).any()


def test_sizes_that_depend_on_values_are_refused_while_tracing():
    for call in (
        selection.nonzero,
        selection.where,
        lambda x: selection.compress(x[0] > 1, x, axis=1),
        lambda x: selection.extract(x > 1, x),
        index_grids.argwhere,
    ):
        with pytest.raises(ConcretizationTypeError, match="size"):
            jit(call)(X)


def test_with_a_size_they_are_traced():
    for name in ("nonzero", "flatnonzero", "argwhere"):
        traced = jit(lambda x, name=name: function(name)(x > 1, size=5, fill_value=-1))(X)
        eager = function(name)(ConcreteArray(X > 1), size=5, fill_value=-1)
        for got, wanted in zip(traced, eager, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_apply_along_axis_puts_results_in_place_of_the_axis():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    for axis in range(4):
        ours = selection.apply_along_axis(lambda line: line[:2] * 2, axis, x)
        np.testing.assert_array_equal(ours, np.apply_along_axis(lambda v: v[:2] * 2, axis, x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: selection.where(X > 1, X), TypeError, "both x and y, or neither"),
        (lambda: selection.where(X > 1, X, X, size=2), ValueError, "one operand"),
        (lambda: selection.where([True], 1, 2), TypeError, "got list"),
        (lambda: selection.where(X > 1, X, np.zeros(2, np.float32)), ValueError, "broadcast"),
        (lambda: selection.take(X, np.float32([0.0])), TypeError, "must be integers"),
        (lambda: selection.take(X, 0, axis=2), ValueError, "axis 2 is out of bounds"),
        (lambda: selection.take(X, 0, mode="nearest"), ValueError, "got 'nearest'"),
        (lambda: selection.take(X, i32(9), mode="raise"), IndexError, "out of bounds"),
        (lambda: selection.take(EMPTY, i32(0), 0, mode="clip"), IndexError, "size 0"),
        (lambda: selection.take_along_axis(X, i32(0), 1), ValueError, "equal rank"),
        (
            lambda: selection.take_along_axis(X, i32(*[0] * 3).reshape(3, 1), 1),
            ValueError,
            "broadcast",
        ),
        (lambda: selection.nonzero(np.float32(1)), ValueError, "rank 1 or more"),
        (lambda: selection.nonzero(X, size=3, fill_value=(1, 2, 3)), ValueError, "fill_value"),
        (lambda: selection.choose(i32(0, 5), [X[0, :2], X[1, :2]]), ValueError, "mode='wrap'"),
        (lambda: selection.select([], []), ValueError, "at least one"),
        (lambda: selection.piecewise(X, [X > 1], [1, 2, 3]), ValueError, "got 3"),
        (lambda: selection.put(X, 0, 1.0), ValueError, "inplace=False"),
        (lambda: index_grids.ravel_multi_index((i32(5),), (2,)), ValueError, "invalid entry"),
        (lambda: index_grids.diag_indices_from(X), ValueError, "equal size"),
        (lambda: index_grids.unravel_index(1.5, (2,)), TypeError, "must be integers"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
