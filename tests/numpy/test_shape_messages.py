"""What is said when shapes, axes or dtypes do not fit: the same eagerly and under a trace."""

from __future__ import annotations

import re

import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax

X = jnp.ones((2, 3))

ROWS = [
    (lambda: jnp.reshape(X, (4, -1)), r"reshape: .*\(2, 3\) has 6 elements.*\(4, -1\)"),
    (lambda: jnp.reshape(X, (-1, -1)), r"reshape: one size may be -1"),
    (lambda: jnp.transpose(X, (0, 0)), r"transpose: duplicate value in axis \(0, 0\)"),
    (
        lambda: jnp.sum(X, 2),
        r"sum: axis 2 is out of bounds for an array of rank 2. Use one from -2",
    ),
    (
        lambda: jnp.max(jnp.zeros((2, 0)), 1),
        r"max: .*\(2, 0\) has no elements along axis 1.*initial",
    ),
    (lambda: jnp.max(X, where=X > 0), r"max: with `where`, give an `initial` value"),
    (
        lambda: jnp.concatenate([X, X[0]]),
        r"concatenate: .*axis 0, but got shapes \(2, 3\) and \(3,\)",
    ),
    (lambda: jnp.concatenate([]), r"concatenate: needs at least one array"),
    (lambda: jnp.stack([X, X[0]]), r"stack: arrays must have equal shapes"),
    (
        lambda: jnp.split(X, 2, 1),
        r"split: axis 1 of size 3 does not divide into 2 equal parts. Use array_split",
    ),
    (lambda: jnp.squeeze(X, 0), r"squeeze: .*dimension 0 of shape \(2, 3\) has size 2"),
    (lambda: jnp.broadcast_to(X, (3, 2)), r"broadcast_to: shape.*do not broadcast"),
    (lambda: jnp.pad(X, -1), r"pad: widths must not be negative"),
    (lambda: jnp.pad(X, 1, "edge", constant_values=2), r"pad: mode 'edge' takes no argument"),
    (lambda: jnp.argmax(jnp.zeros(0)), r"argmax: needs at least one element, but got shape \(0,\)"),
    (lambda: jnp.arange(0, 3, 0), r"arange: step must not be 0"),
    (lambda: jnp.sort(X, kind="quicksort"), r"sort: the argument `kind` is not supported"),
    (lambda: jnp.unique(jnp.zeros(0), size=2), r"unique: .*needs a fill_value"),
    (lambda: jnp.bincount(X[0]), r"bincount: needs integers, but got float32"),
    (lambda: jnp.quantile(X, 0.5, method="best"), r"quantile: method must be one of linear"),
    (
        lambda: lax.slice(X, (0, 0), (2, 4)),
        r"slice: .*start 0 and limit 4 in a dimension of size 3",
    ),
    (lambda: lax.slice(X, (0,), (1,)), r"slice: needs a start, limit and stride"),
    (
        lambda: lax.pad(X, jnp.int32(0), [(1, 1, 0)] * 2),
        r"pad: .*one dtype, but got float32 and int32",
    ),
    (lambda: lax.pad(X, jnp.float32(0), [(-2, -2, 0)] * 2), r"pad: sizes must not become negative"),
    (lambda: lax.concatenate([X, X.astype(int)], 0), r"concatenate: operands must have one dtype"),
    (lambda: lax.sort([X, X[0]]), r"sort: operands must have equal shapes.*\(2, 3\) and \(3,\)"),
    (lambda: lax.top_k(X, 9), r"top_k: k must be between 0 and .* 3, but got 9"),
    (lambda: lax.cumsum(X > 0), r"cumsum: does not accept bool"),
    (lambda: lax.split(X, [1, 1], 1), r"split: sizes must add up"),
]


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("function, message", ROWS, ids=[message[:30] for _, message in ROWS])
def test_message(function, message, traced):
    with pytest.raises((TypeError, ValueError)) as error:
        fg.jit(function)() if traced else function()
    assert re.match(message, str(error.value).replace("\n", " ")), error.value


def test_results_whose_size_depends_on_values_say_what_to_give():
    for function in (jnp.unique, jnp.bincount, lambda x: jnp.repeat(x, x)):
        with pytest.raises(fg.errors.ConcretizationTypeError, match="known while the function"):
            fg.jit(function)(jnp.arange(3))
