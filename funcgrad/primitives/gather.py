"""gather and scatter-add, each the transpose of the other, and what all scatters share.

A gather reads one window of the operand per index vector, a scatter writes one. Their meaning is
that of `GatherDimensionNumbers` and `GatherScatterMode` (index_maps.py), their work is done in
index_values.py. Next: `scatter.py`, the scatters that replace, multiply or compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import is_linear
from funcgrad.primitives.basis import NUMBERS, batched, moveaxis, neg, zeros
from funcgrad.primitives.index_maps import (
    GatherDimensionNumbers,
    GatherScatterMode,
    ScatterDimensionNumbers,
    check_columns,
    check_dims,
    check_numbers,
    check_paired,
    check_sizes,
    mirror_of_gather,
    mirror_of_scatter,
    shifted,
    window_sizes,
)
from funcgrad.primitives.index_values import read_windows, write_windows
from funcgrad.primitives.slicing import aval_of, static_sizes

# ---------------------------------------------------------------- gather


def _first_weak(flags, params):
    return flags[0]


def check_indices(name: str, indices: ShapedArray) -> None:
    """TypeError unless the indices are integers."""
    if not dtypes.is_integer(indices.dtype):
        raise TypeError(f"{name}: indices must be integers, but got {indices}. Convert them.")


def _gather_abstract(operand, indices, *, dimension_numbers, slice_sizes, **_):
    check_indices("gather", indices)
    shapes = (operand.shape, indices.shape)
    check_numbers("gather", *shapes, dimension_numbers)
    check_sizes(*shapes, dimension_numbers, slice_sizes, fitting=True)
    return ShapedArray(_gather_shape(indices, dimension_numbers, slice_sizes), operand.dtype)


def _gather_shape(indices, numbers, sizes):
    dropped = numbers.collapsed_slice_dims + numbers.operand_batching_dims
    windows = iter([size for dim, size in enumerate(sizes) if dim not in dropped])
    batch = iter(indices.shape[:-1])
    rank = indices.ndim - 1 + len(numbers.offset_dims)
    return tuple(next(windows) if d in numbers.offset_dims else next(batch) for d in range(rank))


def _gather_value(xp, operand, indices, *, dimension_numbers, slice_sizes, fill_value, **_):
    return read_windows(xp, operand, indices, dimension_numbers, slice_sizes, fill_value)


def _gather_jvp(primals, tangents, *, fill_value, **params):
    """Linear in the operand, except that what is filled in does not move."""
    operand, indices = primals
    no_change = None if fill_value is None else 0
    out = gather_p.bind(operand, indices, fill_value=fill_value, **params)
    return out, gather_p.bind(tangents[0], indices, fill_value=no_change, **params)


def _gather_transpose(ct, operand, indices, *, dimension_numbers, **params):
    """Adds what each window received to where it was read."""
    start = zeros(ShapedArray(operand.aval.shape, typeof(ct).dtype))
    shared = {name: params[name] for name in ("mode", "unique_indices", "indices_are_sorted")}
    return [scatter_add(start, indices, ct, mirror_of_gather(dimension_numbers), **shared), None]


def _gather_batch(axis, args, dims, *, dimension_numbers, slice_sizes, **params):
    (operand, indices), (operand_dim, indices_dim) = args, dims
    numbers = dimension_numbers
    if operand_dim is not None:
        operand = moveaxis(operand, operand_dim, 0)
        numbers = numbers._replace(
            collapsed_slice_dims=shifted(numbers.collapsed_slice_dims),
            start_index_map=shifted(numbers.start_index_map),
            operand_batching_dims=shifted(numbers.operand_batching_dims),
        )
    if indices_dim is not None:
        indices = moveaxis(indices, indices_dim, 0)
        numbers = numbers._replace(
            start_indices_batching_dims=shifted(numbers.start_indices_batching_dims)
        )
    numbers = numbers._replace(offset_dims=shifted(numbers.offset_dims))
    if indices_dim is None:  # the mapped dimension is one more that every window covers whole
        numbers = numbers._replace(offset_dims=(0, *numbers.offset_dims))
        slice_sizes = (axis.size, *slice_sizes)
    elif operand_dim is None:  # all index vectors read the same operand
        params |= {"unique_indices": False, "indices_are_sorted": False}
    else:
        numbers = numbers._replace(
            operand_batching_dims=(0, *numbers.operand_batching_dims),
            start_indices_batching_dims=(0, *numbers.start_indices_batching_dims),
        )
        slice_sizes = (1, *slice_sizes)
    out = gather_p.bind(
        operand, indices, dimension_numbers=numbers, slice_sizes=slice_sizes, **params
    )
    return out, 0


gather_p = Primitive(
    "gather",
    abstract=_gather_abstract,
    value=_gather_value,
    jvp=_gather_jvp,
    transpose=_gather_transpose,
    batch=_gather_batch,
    loops=lambda operand, indices, **params: loops.Gather(params),
    weak=_first_weak,
)


def gather(
    operand: Any,
    start_indices: Any,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Sequence[int],
    *,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    mode: str | GatherScatterMode | None = None,
    fill_value: Any = None,
) -> Any:
    """One window of `operand` for each index vector, the last dimension of `start_indices`.

    `slice_sizes` is the window's extent in each dimension of the operand. Without `mode` the
    indices are promised to be in bounds; mode "fill" writes `fill_value` where a window sticks
    out (default: NaN, the smallest signed or largest unsigned integer, or True).
    """
    mode = GatherScatterMode.PROMISE_IN_BOUNDS if mode is None else GatherScatterMode.from_any(mode)
    if mode is not GatherScatterMode.FILL_OR_DROP:
        fill_value = None
    elif fill_value is None:
        fill_value = _default_fill(typeof(operand).dtype)
    return gather_p.bind(
        operand,
        start_indices,
        dimension_numbers=dimension_numbers,
        slice_sizes=static_sizes(slice_sizes),
        unique_indices=bool(unique_indices),
        indices_are_sorted=bool(indices_are_sorted),
        mode=mode,
        fill_value=fill_value,
    )


def _default_fill(dtype: Any) -> Any:
    """What stands for a missing value of this dtype."""
    if dtypes.is_key(dtype):
        return int(np.iinfo(np.uint32).max)
    if dtypes.is_inexact(dtype):
        return float("nan")
    if dtype == dtypes.bool_:
        return True
    info = np.iinfo(dtype)
    return int(info.min if dtype.kind == "i" else info.max)


# ---------------------------------------------------------------- what all scatters share


def _check_scatter(name, operand, indices, updates, numbers):
    """The updates must have the shape that the gather with the mirrored numbers would produce."""
    rank = operand.ndim
    check_indices(name, indices)
    check_columns(name, indices.shape, numbers.scatter_dims_to_operand_dims)
    for field in ("inserted_window_dims", "scatter_dims_to_operand_dims"):
        check_dims(name, field, getattr(numbers, field), rank, ordered=field[0] == "i")
    check_dims(name, "update_window_dims", numbers.update_window_dims, updates.ndim)
    check_paired(name, operand.shape, indices.shape, mirror_of_scatter(numbers))
    without_window = numbers.inserted_window_dims + numbers.operand_batching_dims
    window_rank = len(numbers.update_window_dims)
    if rank != window_rank + len(without_window):
        raise ValueError(
            f"{name}: each dimension of the operand must be a window, inserted or batching "
            f"dimension, but got {numbers} for shape {operand.shape}."
        )
    if updates.ndim != indices.ndim - 1 + window_rank:
        raise ValueError(
            f"{name}: updates must have rank {indices.ndim - 1 + window_rank}, that of the indices "
            f"without the last plus that of a window, but got shape {updates.shape}."
        )
    sizes = window_sizes(operand.shape, updates.shape, numbers)
    expected = _gather_shape(indices, mirror_of_scatter(numbers), sizes)
    if updates.shape != expected or _too_large(sizes, operand.shape, without_window):
        raise ValueError(
            f"{name}: updates of shape {updates.shape} do not fit into an operand of shape "
            f"{operand.shape} at indices of shape {indices.shape} with {numbers}."
        )


def _too_large(sizes, shape, exempt):
    return any(
        isinstance(size, int) and isinstance(available, int) and size > available
        for dim, (size, available) in enumerate(zip(sizes, shape, strict=True))
        if dim not in exempt
    )


def scatter_abstract(name: str, accepts: frozenset[Any] | None = None) -> Callable[..., Any]:
    """The abstract rule of a scatter: the operand's shape and dtype, once all has been checked."""

    def rule(operand, indices, updates, *, dimension_numbers, **_):
        if operand.dtype != updates.dtype:
            raise TypeError(
                f"{name}: operand and updates must have equal dtypes, but got {operand} and "
                f"{updates}. Convert with astype."
            )
        if accepts is not None and operand.dtype not in accepts:
            raise TypeError(f"{name}: needs numbers, but got {operand}. Convert with astype.")
        _check_scatter(name, operand, indices, updates, dimension_numbers)
        return ShapedArray(operand.shape, operand.dtype)

    return rule


def scatter_value(ufunc: str | None) -> Callable[..., Any]:
    """The value rule of a scatter that combines by the function of that name, or replaces."""

    def rule(xp, operand, indices, updates, *, dimension_numbers, mode, unique_indices, **_):
        return write_windows(
            xp,
            operand,
            indices,
            updates,
            mirror_of_scatter(dimension_numbers),
            window_sizes(operand.shape, updates.shape, dimension_numbers),
            mode=mode,
            unique_indices=unique_indices,
            ufunc=None if ufunc is None else getattr(xp, ufunc),
        )

    return rule


def scatter_batch(primitive: Primitive) -> Callable[..., Any]:
    """The batch rule of a scatter: one more window dimension, or one more in lockstep."""

    def rule(axis, args, dims, *, dimension_numbers, **params):
        operand, indices, updates = args
        numbers = ScatterDimensionNumbers(
            update_window_dims=shifted(dimension_numbers.update_window_dims),
            inserted_window_dims=shifted(dimension_numbers.inserted_window_dims),
            scatter_dims_to_operand_dims=shifted(dimension_numbers.scatter_dims_to_operand_dims),
            operand_batching_dims=shifted(dimension_numbers.operand_batching_dims),
            scatter_indices_batching_dims=dimension_numbers.scatter_indices_batching_dims,
        )
        if dims[1] is None:
            numbers = numbers._replace(update_window_dims=(0, *numbers.update_window_dims))
        else:
            indices = moveaxis(indices, dims[1], 0)
            lockstep = shifted(numbers.scatter_indices_batching_dims)
            numbers = numbers._replace(
                operand_batching_dims=(0, *numbers.operand_batching_dims),
                scatter_indices_batching_dims=(0, *lockstep),
            )
        operand, updates = batched(axis, operand, dims[0]), batched(axis, updates, dims[2])
        out = primitive.bind(operand, indices, updates, dimension_numbers=numbers, **params)
        return out, 0

    return rule


def gather_updates(x, indices, updates_shape, *, dimension_numbers, mode, **_):
    """What a gather reads from `x` at the places where a scatter writes; zero where it drops."""
    sizes = window_sizes(typeof(x).shape, updates_shape, dimension_numbers)
    numbers = mirror_of_scatter(dimension_numbers)
    return gather(x, indices, numbers, sizes, mode=mode, fill_value=0)


def scatter_params(dimension_numbers, indices_are_sorted, unique_indices, mode) -> dict[str, Any]:
    """The parameters of a scatter in canonical form."""
    return {
        "dimension_numbers": dimension_numbers,
        "indices_are_sorted": bool(indices_are_sorted),
        "unique_indices": bool(unique_indices),
        "mode": GatherScatterMode.from_any(mode),
    }


# ---------------------------------------------------------------- scatter-add, scatter-sub


def _scatter_sum(name: str, ufunc: str, sign: Callable[[Any], Any]) -> Primitive:
    """A scatter that adds or subtracts, and so is linear in operand and updates jointly."""

    def transposed(ct, operand, indices, updates, **params):
        shape = aval_of(updates).shape
        return [
            ct if is_linear(operand) else None,
            None,
            sign(gather_updates(ct, indices, shape, **params)) if is_linear(updates) else None,
        ]

    primitive = Primitive(
        name,
        abstract=scatter_abstract(name, NUMBERS),
        value=scatter_value(ufunc),
        linear=(0, 2),
        transpose=transposed,
        loops=lambda operand, indices, updates, **params: loops.Scatter(ufunc, params),
        weak=_first_weak,
    )
    primitive.batch = scatter_batch(primitive)
    return primitive


scatter_add_p = _scatter_sum("scatter-add", "add", lambda x: x)


def scatter_add(
    operand: Any,
    scatter_indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Any:
    """`operand` with each window of `updates` added at its index vector; repeated places add up."""
    params = scatter_params(dimension_numbers, indices_are_sorted, unique_indices, mode)
    return scatter_add_p.bind(operand, scatter_indices, updates, **params)


scatter_sub_p = _scatter_sum("scatter-sub", "subtract", neg)


def scatter_sub(
    operand: Any,
    scatter_indices: Any,
    updates: Any,
    dimension_numbers: ScatterDimensionNumbers,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: str | GatherScatterMode | None = None,
) -> Any:
    """`operand` with each window of `updates` subtracted at its index vector."""
    params = scatter_params(dimension_numbers, indices_are_sorted, unique_indices, mode)
    return scatter_sub_p.bind(operand, scatter_indices, updates, **params)
