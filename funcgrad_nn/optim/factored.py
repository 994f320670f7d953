"""Adafactor's second moment: for a matrix its row and column means, in place of all its entries."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.moments import next_count, no_steps
from funcgrad_nn.optim.transform import GradientTransformation, cast, require_params


class FactoredState(NamedTuple):
    """Number of updates; means of squares by rows, by columns, and whole where not factored."""

    count: Any
    v_row: Any
    v_col: Any
    v: Any


class _Leaf(NamedTuple):
    """What one leaf contributes: its update, and its three entries of the state."""

    update: Any
    v_row: Any
    v_col: Any
    v: Any


@validated
def scale_by_factored_rms(
    factored: bool = True,
    decay_rate: float = 0.8,
    step_offset: int = 0,
    min_dim_size_to_factor: int = 128,
    epsilon: float = 1e-30,
) -> GradientTransformation:
    """Divide by the root of a second moment of rank one (Shazeer and Stern, 2018, algorithm 4).

    In step t = 1, 2, ... the means move by 1 - t^(-decay_rate). Leaves whose two largest sizes are
    both at least `min_dim_size_to_factor` keep one row and one column for these two axes, others
    keep all of their squares.

    >>> import funcgrad.numpy as jnp
    >>> part, w = scale_by_factored_rms(min_dim_size_to_factor=2), jnp.ones((2, 3))
    >>> updates, state = part.update(5 * w, part.init(w), w)
    >>> state.v_row.shape, state.v_col.shape, round(float(updates[0, 0]), 4)
    ((2,), (3,), 1.0)
    """

    def init(params):
        leaves = fg.tree.map(
            lambda p: _start(p, _axes(p, factored, min_dim_size_to_factor)), params
        )
        return _state(no_steps(), leaves)

    def update(updates, state, params=None):
        require_params("scale_by_factored_rms", params)
        t = (state.count - step_offset + 1).astype(jnp.float32)
        decay = 1 - t**-decay_rate

        def step(g, v_row, v_col, v):
            axes = _axes(g, factored, min_dim_size_to_factor)
            square, rate = jnp.square(g) + epsilon, cast(decay, g.dtype)
            if axes is None:
                v = _moved(v, square, rate)
                return _Leaf(g * fg.lax.rsqrt(v), v_row, v_col, v)
            return _factored_step(g, square, v_row, v_col, v, rate, axes)

        leaves = fg.tree.map(step, updates, state.v_row, state.v_col, state.v)
        return _part(leaves, 0), _state(next_count(state.count), leaves)

    return GradientTransformation(init, update)


def _axes(leaf, factored: bool, least: int) -> tuple[int, int] | None:
    """The axes of second largest and of largest size, or None if the leaf is not factored."""
    if not factored or leaf.ndim < 2:
        return None
    *_, second, largest = (int(axis) for axis in np.argsort(leaf.shape))
    return (second, largest) if leaf.shape[second] >= least else None


def _start(p, axes: tuple[int, int] | None) -> _Leaf:
    unused = jnp.zeros((1,), p.dtype)
    if axes is None:
        return _Leaf(unused, unused, unused, jnp.zeros_like(p))
    second, largest = axes
    return _Leaf(unused, _without(p, largest), _without(p, second), unused)


def _without(p, axis: int):
    return jnp.zeros([size for i, size in enumerate(p.shape) if i != axis], p.dtype)


def _moved(mean, value, decay):
    return decay * mean + (1 - decay) * value


def _factored_step(g, square, v_row, v_col, v, decay, axes) -> _Leaf:
    """g / sqrt(row column / mean of the row): equation 3 of the paper, axis by axis."""
    second, largest = axes
    v_row = _moved(v_row, square.mean(largest), decay)
    v_col = _moved(v_col, square.mean(second), decay)
    second_of_rows = second - 1 if second > largest else second
    row = v_row / v_row.mean(second_of_rows, keepdims=True)
    row = jnp.expand_dims(fg.lax.rsqrt(row), largest)
    column = jnp.expand_dims(fg.lax.rsqrt(v_col), second)
    return _Leaf(g * row * column, v_row, v_col, v)


def _part(leaves, index: int):
    return fg.tree.map(lambda leaf: leaf[index], leaves, is_leaf=lambda x: isinstance(x, _Leaf))


def _state(count, leaves) -> FactoredState:
    return FactoredState(count, _part(leaves, 1), _part(leaves, 2), _part(leaves, 3))
