"""The scatters that replace, multiply, or keep the smaller or larger value.

They share their parameters, checks and batching with scatter-add (gather.py). Where several
updates meet in one place they are taken in order, so that of replacing ones the last one stays.
Next: `dynamic_slice.py`, the common case of one window at computed starts.
"""

from __future__ import annotations

import math
from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import is_linear, is_zero
from funcgrad.primitives.basis import (
    NUMBERS,
    add,
    broadcast_in_dim,
    convert_element_type,
    div,
    instantiate,
    mul,
    reshape,
    select_n,
    zeros,
)
from funcgrad.primitives.gather import (
    gather_updates,
    scatter_abstract,
    scatter_add,
    scatter_batch,
    scatter_params,
    scatter_sub,
    scatter_value,
)
from funcgrad.primitives.index_maps import GatherScatterMode, ScatterDimensionNumbers
from funcgrad.primitives.logic import bitwise_or, eq, ne
from funcgrad.primitives.shape import iota
from funcgrad.primitives.slicing import aval_of

__all__ = [
    "scatter",
    "scatter_add",
    "scatter_max",
    "scatter_min",
    "scatter_mul",
    "scatter_p",
    "scatter_sub",
]


def _first_weak(flags, params):
    return flags[0]


# ---------------------------------------------------------------- scatter


def _survivors(indices, updates_shape, operand_shape, params):
    """Which updates stay, where several go to one place: those that read themselves back."""
    window_dims = params["dimension_numbers"].update_window_dims
    batch_dims = [d for d in range(len(updates_shape)) if d not in window_dims]
    batch_shape = [updates_shape[d] for d in batch_dims]
    order = add(iota(dtypes.int32, math.prod(batch_shape)), 1)  # 0 is where nothing was written
    ids = broadcast_in_dim(reshape(order, batch_shape), updates_shape, batch_dims)
    empty = zeros(ShapedArray(operand_shape, dtypes.int32))
    written = scatter_p.bind(empty, indices, ids, **params)
    return eq(gather_updates(written, indices, updates_shape, **params), ids)


def _scatter_transpose(ct, operand, indices, updates, **params):
    """Only updates that stay, and elements that were not overwritten, receive a cotangent."""
    updates_shape = aval_of(updates).shape
    for_operand = for_updates = None
    if is_linear(operand):
        nothing = zeros(ShapedArray(updates_shape, typeof(ct).dtype))
        for_operand = scatter_p.bind(ct, indices, nothing, **params)
    if is_linear(updates):
        for_updates = gather_updates(ct, indices, updates_shape, **params)
        if not params["unique_indices"]:
            stays = _survivors(indices, updates_shape, typeof(ct).shape, params)
            for_updates = select_n(stays, zeros(typeof(for_updates)), for_updates)
    return [for_operand, None, for_updates]


scatter_p = Primitive(
    "scatter",
    abstract=scatter_abstract("scatter"),
    value=scatter_value(None),
    linear=(0, 2),
    transpose=_scatter_transpose,
    loops=lambda operand, indices, updates, **params: loops.Scatter("set", params),
    weak=_first_weak,
)
scatter_p.batch = scatter_batch(scatter_p)


def scatter(
    operand: Any,
    scatter_indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Any:
    """`operand` with each window of `updates` written at its index vector; the last one stays."""
    params = scatter_params(dimension_numbers, indices_are_sorted, unique_indices, mode)
    return scatter_p.bind(operand, scatter_indices, updates, **params)


# ---------------------------------------------------------------- scatter-mul


def _require_unique(unique_indices: bool) -> None:
    if not unique_indices:
        raise ValueError(
            "scatter_mul: its derivative in the updates needs indices without repetition. "
            "Pass unique_indices=True if they do not repeat."
        )


def _scatter_mul_jvp(primals, tangents, **params):
    """d(x[i] * u) = dx[i] * u + x[i] * du; elsewhere dx."""
    operand, indices, updates = primals
    d_operand, _, d_updates = tangents
    out = scatter_mul_p.bind(operand, indices, updates, **params)
    terms = []
    if not is_zero(d_operand):
        terms.append(scatter_mul_p.bind(d_operand, indices, updates, **params))
    if not is_zero(d_updates):
        _require_unique(params["unique_indices"])
        placed = scatter_add(zeros(typeof(operand).strong()), indices, d_updates, **params)
        terms.append(mul(operand, placed))
    return out, terms[0] if len(terms) == 1 else add(*terms)


def _scatter_mul_transpose(ct, operand, indices, updates, **params):
    if is_linear(operand):
        return [scatter_mul_p.bind(ct, indices, updates, **params), None, None]
    _require_unique(params["unique_indices"])
    shape = aval_of(updates).shape
    return [None, None, gather_updates(mul(ct, operand), indices, shape, **params)]


scatter_mul_p = Primitive(
    "scatter-mul",
    abstract=scatter_abstract("scatter-mul", NUMBERS),
    value=scatter_value("multiply"),
    jvp=_scatter_mul_jvp,
    transpose=_scatter_mul_transpose,
    loops=lambda operand, indices, updates, **params: loops.Scatter("mul", params),
    weak=_first_weak,
)
scatter_mul_p.batch = scatter_batch(scatter_mul_p)


def scatter_mul(
    operand: Any,
    scatter_indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Any:
    """`operand` with each window of `updates` multiplied in at its index vector.

    The derivative in the updates exists only with `unique_indices=True`; ValueError otherwise.
    """
    params = scatter_params(dimension_numbers, indices_are_sorted, unique_indices, mode)
    return scatter_mul_p.bind(operand, scatter_indices, updates, **params)


# ---------------------------------------------------------------- scatter-min, scatter-max


def _chosen(x, result):
    """1 where `x` is the value that was kept (NaN is always kept), else 0, in x's dtype."""
    kept = bitwise_or(eq(x, result), ne(x, x))
    return convert_element_type(kept, typeof(x).dtype)


def _scatter_extremum(name: str, op: str, ufunc: str) -> Primitive:
    def jvp(primals, tangents, **params):
        """The mean of the tangents of all values, old and new, that equal the kept one."""
        operand, indices, updates = primals
        out = primitive.bind(operand, indices, updates, **params)
        kept_there = gather_updates(out, indices, typeof(updates).shape, **params)
        old, new = _chosen(operand, out), _chosen(updates, kept_there)
        count = scatter_add(old, indices, new, **params)
        d_operand, _, d_updates = map(instantiate, tangents)
        total = scatter_add(mul(d_operand, old), indices, mul(d_updates, new), **params)
        return out, div(total, count)

    primitive = Primitive(
        name,
        abstract=scatter_abstract(name),
        value=scatter_value(ufunc),
        jvp=jvp,
        loops=lambda operand, indices, updates, **params: loops.Scatter(op, params),
        weak=_first_weak,
    )
    primitive.batch = scatter_batch(primitive)
    return primitive


scatter_min_p = _scatter_extremum("scatter-min", "min", "minimum")


def scatter_min(
    operand: Any,
    scatter_indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Any:
    """`operand` with the smaller of each element and all updates for its place."""
    params = scatter_params(dimension_numbers, indices_are_sorted, unique_indices, mode)
    return scatter_min_p.bind(operand, scatter_indices, updates, **params)


scatter_max_p = _scatter_extremum("scatter-max", "max", "maximum")


def scatter_max(
    operand: Any,
    scatter_indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Any:
    """`operand` with the larger of each element and all updates for its place."""
    params = scatter_params(dimension_numbers, indices_are_sorted, unique_indices, mode)
    return scatter_max_p.bind(operand, scatter_indices, updates, **params)
