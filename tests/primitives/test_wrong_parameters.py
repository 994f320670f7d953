"""Parameters of `lax` that mean nothing: refused by name, computed at once or under `jit` alike.

Each of these was found by changing parameters at random; NumPy, Python's slices or native code
would have made something of most of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

X = np.arange(20, dtype=np.float32).reshape(4, 5)
ROWS = np.asarray([[0], [2], [1]], np.int32)
UPDATES = np.ones((3, 5), np.float32)
NCW = ("NCW", "OIW", "NCW")
SIGNAL, KERNEL = np.ones((2, 4, 8), np.float32), np.ones((6, 4, 3), np.float32)


def gather(x: Any, i: Any, *numbers: Any, sizes: Any = (1, 5), mode: Any = "clip") -> Any:
    numbers = numbers or ((1,), (0,), (0,))
    return lax.gather(x, i, lax.GatherDimensionNumbers(*numbers), sizes, mode=mode)


def scatter(x: Any, i: Any, u: Any, *numbers: Any, f: Any = lax.scatter_add) -> Any:
    numbers = numbers or ((1,), (0,), (0,))
    return f(x, i, u, lax.ScatterDimensionNumbers(*numbers))


def conv(x: Any, k: Any, **changed: Any) -> Any:
    usual = {"window_strides": (1,), "padding": "SAME", "dimension_numbers": NCW}
    return lax.conv_general_dilated(x, k, **{**usual, **changed})


def dot(x: Any, y: Any, contracting: Any, batch: Any = ((), ())) -> Any:
    return lax.dot_general(x, y, (contracting, batch))


def window(x: Any, *settings: Any) -> Any:
    return lax.reduce_window(x, np.float32(0), lax.add, *settings)


# what is called, with which arrays, the error, what its message says
WRONG: dict[str, tuple[Callable[..., Any], tuple[Any, ...], type[Exception], str]] = {
    "gather: sizes too large": (
        lambda x, i: gather(x, i, sizes=(1, 6)), (X, ROWS), ValueError, "window of size 6",
    ),
    "gather: collapsed size": (
        lambda x, i: gather(x, i, sizes=(2, 5)), (X, ROWS), ValueError, "slice_sizes must be 1",
    ),
    "gather: no collapsed size": (
        lambda x, i: gather(x, i, sizes=(0, 5)), (X, ROWS), ValueError, "slice_sizes must be 1",
    ),
    "gather: too many sizes": (
        lambda x, i: gather(x, i, sizes=(1, 5, 1)), (X, ROWS), ValueError, "slice_sizes must have",
    ),
    "gather: offset_dims beyond": (
        lambda x, i: gather(x, i, (2,), (0,), (0,)), (X, ROWS), ValueError, "offset_dims must be",
    ),
    "gather: negative offset_dims": (
        lambda x, i: gather(x, i, (-1,), (0,), (0,)), (X, ROWS), ValueError, "offset_dims must be",
    ),
    "gather: negative collapsed dims": (
        lambda x, i: gather(x, i, (1,), (-2,), (0,)), (X, ROWS), ValueError,
        "collapsed_slice_dims must be",
    ),
    "gather: start_index_map beyond": (
        lambda x, i: gather(x, i, (1,), (0,), (7,)), (X, ROWS), ValueError,
        "start_index_map must be",
    ),
    "gather: no integer": (
        lambda x, i: gather(x, i, (1,), (0,), (0.5,)), (X, ROWS), ValueError,
        "start_index_map must be",
    ),
    "gather: columns of the indices": (
        lambda x, i: gather(x, i, (1,), (0,), (0, 1)), (X, ROWS), ValueError, "must have size 2",
    ),
    "gather: one batching dimension": (
        lambda x, i: gather(x, i, (1,), (), (0,), (0,), ()), (X, ROWS), ValueError, "must pair up",
    ),
    "gather: complex indices": (
        gather, (X, ROWS.astype(np.complex64)), TypeError, "indices must be integers",
    ),
    "gather: an empty operand": (gather, (X[:0], ROWS), ValueError, "window of size 1"),
    "gather: mode": (
        lambda x, i: gather(x, i, mode="wrap"), (X, ROWS), ValueError, "mode must be",
    ),
    "scatter: updates of another rank": (
        scatter, (X, ROWS, UPDATES[..., None]), ValueError, "updates must have rank 2",
    ),
    "scatter: updates of another shape": (
        scatter, (X, ROWS, UPDATES[:2]), ValueError, "updates of shape",
    ),
    "scatter: updates of another dtype": (
        scatter, (X, ROWS, UPDATES.astype(np.int32)), TypeError, "equal dtypes",
    ),
    "scatter: replacing by another dtype": (
        lambda *a: scatter(*a, f=lax.scatter), (X, ROWS, UPDATES.astype(np.float16)), TypeError,
        "equal dtypes",
    ),
    "scatter: repeated window dims": (
        lambda *a: scatter(*a, (1, 1), (), (0,)), (X, ROWS, UPDATES), ValueError,
        "update_window_dims must be",
    ),
    "scatter: negative window dims": (
        lambda *a: scatter(*a, (-1,), (0,), (0,)), (X, ROWS, UPDATES), ValueError,
        "update_window_dims must be",
    ),
    "scatter: dims beyond": (
        lambda *a: scatter(*a, (1,), (0,), (7,)), (X, ROWS, UPDATES), ValueError,
        "scatter_dims_to_operand_dims must be",
    ),
    "scatter: columns of the indices": (
        lambda *a: scatter(*a, (1,), (0,), (0, 1)), (X, ROWS, UPDATES), ValueError,
        "must have size 2",
    ),
    "conv: strides": (
        lambda *a: conv(*a, window_strides=(1, 1)), (SIGNAL, KERNEL), ValueError, "window_strides",
    ),
    "conv: stride 0": (
        lambda *a: conv(*a, window_strides=(0,)), (SIGNAL, KERNEL), ValueError, "window_strides",
    ),
    "conv: padding": (
        lambda *a: conv(*a, padding=((1, 1), (0, 0))), (SIGNAL, KERNEL), ValueError, "padding",
    ),
    "conv: padding by name": (
        lambda *a: conv(*a, padding="FULL"), (SIGNAL, KERNEL), ValueError, "padding must be",
    ),
    "conv: groups": (
        lambda *a: conv(*a, feature_group_count=3), (SIGNAL, KERNEL), ValueError,
        "feature_group_count",
    ),
    "conv: batch groups": (
        lambda *a: conv(*a, batch_group_count=4), (SIGNAL, KERNEL), ValueError,
        "batch_group_count",
    ),
    "conv: channels": (conv, (SIGNAL, KERNEL[:, :3]), ValueError, "feature"),
    "conv: layout": (
        lambda *a: conv(*a, dimension_numbers=("NCX", "OIW", "NCW")), (SIGNAL, KERNEL), ValueError,
        "dimension_numbers",
    ),
    "dot_general: sizes": (
        lambda x, y: dot(x, y, ((1,), (1,))), (X, X.T), TypeError, "contract",
    ),
    "dot_general: dimensions beyond": (
        lambda x, y: dot(x, y, ((2,), (0,))), (X, X.T), TypeError, "dimension",
    ),
    "dot_general: two roles": (
        lambda x, y: dot(x, y, ((1,), (1,)), ((1,), (1,))), (X, X), TypeError, "dimension",
    ),
    "dot_general: unpaired": (
        lambda x, y: dot(x, y, ((1,), ())), (X, X.T), TypeError, "dimension",
    ),
    "reduce_window: rank": (
        lambda x: window(x, (2,), (1, 1), "VALID"), (X,), ValueError, "window_dimensions",
    ),
    "reduce_window: stride 0": (
        lambda x: window(x, (2, 2), (0, 1), "VALID"), (X,), ValueError, "window_strides",
    ),
    "reduce_window: padding": (
        lambda x: window(x, (2, 2), (1, 1), ((0, 0),)), (X,), ValueError, "padding",
    ),
    "pad: too few": (
        lambda x: lax.pad(x, np.float32(0), ((0, 1, 0),)), (X,), ValueError, "for each dimension",
    ),
    "pad: negative interior": (
        lambda x: lax.pad(x, np.float32(0), ((0, 1, 0), (0, 0, -1))), (X,), ValueError, "interior",
    ),
    "pad: more than there is": (
        lambda x: lax.pad(x, np.float32(0), ((-3, -3, 0), (0, 0, 0))), (X,), ValueError,
        "sizes must not become negative",
    ),
    "pad: a value of rank 1": (
        lambda x, v: lax.pad(x, v, ((1, 1, 0), (0, 0, 0))), (X, np.ones(1, np.float32)),
        ValueError, "must be a scalar",
    ),
    "dynamic_slice: too large": (
        lambda x: lax.dynamic_slice(x, (0, 0), (5, 2)), (X,), ValueError, "does not fit",
    ),
    "dynamic_slice: negative size": (
        lambda x: lax.dynamic_slice(x, (0, 0), (2, -2)), (X,), ValueError, "does not fit",
    ),
    "dynamic_slice: starts": (
        lambda x: lax.dynamic_slice(x, (0,), (2, 2)), (X,), ValueError, "one start per dimension",
    ),
    "dynamic_index_in_dim: nothing there": (
        lambda x: lax.dynamic_index_in_dim(x, 0), (X[:0],), ValueError, "does not fit",
    ),
    "dynamic_update_slice: too large": (
        lambda x, u: lax.dynamic_update_slice(x, u, (0, 0)), (X[:, :2], X), ValueError,
        "does not fit",
    ),
    "sort: dimension": (lambda x: lax.sort(x, dimension=2), (X,), ValueError, "dimension"),
    "sort: num_keys": (
        lambda x, y: lax.sort((x, y), num_keys=3), (X, X), ValueError, "num_keys",
    ),
    "sort: shapes": (lambda x, y: lax.sort((x, y)), (X, X[:2]), ValueError, "shape"),
    "slice: strides of another rank": (
        lambda x: lax.slice(x, (0, 0), (2, 2), (1,)), (X,), ValueError, "stride",
    ),
    "slice: strides too many": (
        lambda x: lax.slice(x, (0, 0), (2, 2), (1, 1, 2)), (X,), ValueError, "stride",
    ),
    "slice: backwards": (
        lambda x: lax.slice(x, (0, 0), (2, 2), (1, -1)), (X,), ValueError, "strides must be",
    ),
    "reduce_max: negative axes": (
        lambda x: lax.reduce_max(x, (-1,)), (X,), ValueError, "reduce_max: .*axes",
    ),
    "slice: standing still": (
        lambda x: lax.slice(x, (0, 0), (2, 2), (1, 0)), (X,), ValueError, "strides must be",
    ),
    "slice: beyond": (
        lambda x: lax.slice(x, (0, 0), (2, 6)), (X,), ValueError, "limit 6",
    ),
    "broadcast_in_dim: too few": (
        lambda x: lax.broadcast_in_dim(x, (3, 4, 5), (1,)), (X[:, :1],), ValueError,
        "broadcast_dimensions",
    ),
    "broadcast_in_dim: too many": (
        lambda x: lax.broadcast_in_dim(x, (3, 4), (0, 1)), (X[0, :1],), ValueError,
        "broadcast_dimensions",
    ),
    "broadcast_in_dim: repeated": (
        lambda x: lax.broadcast_in_dim(x, (3, 4, 4), (1, 1)), (X[:, :1],), ValueError,
        "does not fit",
    ),
    "broadcast_in_dim: beyond": (
        lambda x: lax.broadcast_in_dim(x, (4, 5), (0, 6)), (X,), ValueError, "does not fit",
    ),
    "broadcast_in_dim: negative size": (
        lambda x: lax.broadcast_in_dim(x, (-1, 5), (1,)), (X[0],), ValueError, "must not be neg",
    ),
    "broadcasted_iota: negative size": (
        lambda: lax.broadcasted_iota("int32", (-1, 5), 1), (), ValueError, "must not be negative",
    ),
    "transpose: negative": (
        lambda x: lax.transpose(x, (-1, 0)), (X,), ValueError, "not a permutation",
    ),
    "transpose: repeated": (
        lambda x: lax.transpose(x, (1, 1)), (X,), ValueError, "not a permutation",
    ),
    "reduce_sum: negative": (
        lambda x: lax.reduce_sum(x, axes=(-1,)), (X,), ValueError, "axes must be different",
    ),
    "reduce_max: beyond": (
        lambda x: lax.reduce_max(x, axes=(2,)), (X,), ValueError, "axes must be different",
    ),
    "reduce_sum: repeated": (
        lambda x: lax.reduce_sum(x, axes=(0, 0)), (X,), ValueError, "axes must be different",
    ),
    "reduce_sum: bools": (
        lambda x: lax.reduce_sum(x, axes=(0,)), (X > 2,), TypeError, "needs numbers",
    ),
    "argmax: negative": (
        lambda x: lax.argmax(x, -1, "int32"), (X,), ValueError, "axes must be different",
    ),
    "argmin: beyond": (
        lambda x: lax.argmin(x, 2, "int32"), (X,), ValueError, "axes must be different",
    ),
    "select_n: shapes": (
        lambda c, x, y: lax.select_n(c, x, y), (X > 2, X, X[0]), ValueError, "equal shapes",
    ),
    "select_n: three cases of a bool": (
        lambda c, x: lax.select_n(c, x, x, x), (X > 2, X), TypeError, "must be bool",
    ),
    "select_n: a float": (
        lambda c, x: lax.select_n(c, x, x), (X, X), TypeError, "must be bool",
    ),
    "clamp: shapes": (
        lambda low, x: lax.clamp(low, x, np.float32(9)), (X[0], X), ValueError, "equal shapes",
    ),
    "reduce_precision: no exponent": (
        lambda x: lax.reduce_precision(x, 0, 7), (X,), ValueError, "exponent_bits",
    ),
    "reduce_precision: mantissa": (
        lambda x: lax.reduce_precision(x, 8, -1), (X,), ValueError, "mantissa_bits",
    ),
    "reduce_precision: integers": (
        lambda x: lax.reduce_precision(x, 8, 7), (X.astype(np.int32),), TypeError, "floats",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_parameters_are_refused_at_once_and_under_jit(case: str) -> None:
    function, arrays, kind, said = WRONG[case]
    name, operands = case.partition(":")[0], [jnp.asarray(a) for a in arrays]
    messages = []
    for run in (function, fg.jit(function)):
        with pytest.raises(kind, match=said) as caught:
            run(*operands)
        messages.append(str(caught.value))
        assert type(caught.value) is kind
        assert name.split("_")[0] in messages[-1].partition(":")[0]
    assert messages[0].endswith(messages[1].removeprefix(f"{name}: "))


def test_scatters_may_write_nothing_into_an_empty_array() -> None:
    for f in (scatter, fg.jit(scatter)):
        assert f(jnp.asarray(X[:0]), jnp.asarray(ROWS), jnp.asarray(UPDATES)).shape == (0, 5)
