"""dynamic_slice and dynamic_update_slice: one window whose starts are computed.

Each is the other's transpose. Starts are moved so that the window lies inside the array. Batched
over different starts they become a gather and a scatter.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import is_linear
from funcgrad.primitives.basis import (
    add,
    batched,
    convert_element_type,
    full,
    moveaxis,
    select_n,
    zeros,
)
from funcgrad.primitives.gather import gather_p
from funcgrad.primitives.index_maps import (
    GatherDimensionNumbers,
    GatherScatterMode,
    ScatterDimensionNumbers,
)
from funcgrad.primitives.logic import lt
from funcgrad.primitives.scatter import scatter_p
from funcgrad.primitives.shape import concatenate, expand_dims, index_in_dim, squeeze
from funcgrad.primitives.slicing import aval_of, nonnegative, replaced, static_sizes


def _first_weak(flags, params):
    return flags[0]


def _check_window(name, operand, starts, sizes):
    if not len(starts) == len(sizes) == operand.ndim:
        raise ValueError(
            f"{name}: needs one start and one size per dimension of shape {operand.shape}, but got "
            f"{len(starts)} starts and sizes {sizes}."
        )
    for size, available in zip(sizes, operand.shape, strict=True):
        if isinstance(size, int) and (
            size < 0 or (isinstance(available, int) and size > available)
        ):
            raise ValueError(
                f"{name}: a window of shape {sizes} does not fit into shape {operand.shape}."
            )
    for start in starts:
        if start.shape != () or not dtypes.is_integer(start.dtype):
            raise TypeError(f"{name}: starts must be integers of rank 0, but got {start}.")
    if len({start.dtype for start in starts}) > 1:
        dtype_names = ", ".join(str(start) for start in starts)
        raise TypeError(f"{name}: starts must have equal dtypes, but got {dtype_names}.")


def _window(shape, starts, sizes):
    """The basic index of a window, its starts moved so that it lies inside."""
    if not all(0 <= size <= available for size, available in zip(sizes, shape)):
        raise ValueError("the window does not fit")  # Python would clip it
    begins = [
        builtins.max(0, builtins.min(int(start), available - size))
        for start, size, available in zip(starts, sizes, shape, strict=True)
    ]
    return tuple(builtins.slice(b, b + size) for b, size in zip(begins, sizes, strict=True))


def _stacked_starts(axis, starts, dims):
    """Scalar starts, of which some are mapped, as index vectors batched along dimension 0."""
    columns = [expand_dims(batched(axis, start, dim), (1,)) for start, dim in zip(starts, dims)]
    return concatenate(columns, 1), 0


# ---------------------------------------------------------------- dynamic_slice


def _dynamic_slice_abstract(operand, *starts, slice_sizes):
    _check_window("dynamic_slice", operand, starts, slice_sizes)
    return ShapedArray(slice_sizes, operand.dtype)


def _dynamic_slice_transpose(ct, operand, *starts, slice_sizes):
    start = zeros(ShapedArray(operand.aval.shape, typeof(ct).dtype))
    return [dynamic_update_slice_p.bind(start, ct, *starts)] + [None] * len(starts)


def _dynamic_slice_batch(axis, args, dims, *, slice_sizes):
    (operand, *starts), (operand_dim, *start_dims) = args, dims
    if all(dim is None for dim in start_dims):
        operand = moveaxis(operand, operand_dim, 0)
        first = _zero_start(starts)
        sizes = (axis.size, *slice_sizes)
        return dynamic_slice_p.bind(operand, first, *starts, slice_sizes=sizes), 0
    indices, indices_dim = _stacked_starts(axis, starts, start_dims)
    window = tuple(range(len(slice_sizes)))
    return gather_p.rule("batch", "vmap")(
        axis,
        (operand, indices),
        (operand_dim, indices_dim),
        dimension_numbers=GatherDimensionNumbers(window, (), window),
        slice_sizes=slice_sizes,
        unique_indices=True,
        indices_are_sorted=True,
        mode=GatherScatterMode.CLIP,
        fill_value=None,
    )


def _zero_start(starts):
    return full((), 0, typeof(starts[0]).dtype if starts else dtypes.int32)


dynamic_slice_p = Primitive(
    "dynamic_slice",
    abstract=_dynamic_slice_abstract,
    value=lambda xp, x, *starts, slice_sizes: x[_window(x.shape, starts, slice_sizes)],
    linear=(0,),
    transpose=_dynamic_slice_transpose,
    batch=_dynamic_slice_batch,
    loops=lambda operand, *starts, slice_sizes: loops.Gather({"slice_sizes": slice_sizes}),
    weak=_first_weak,
)


def dynamic_slice(
    operand: Any,
    start_indices: Any,
    slice_sizes: Sequence[int],
    *,
    allow_negative_indices: bool | Sequence[bool] = True,
) -> Any:
    """A window of static size at computed starts, which are moved so that it lies inside.

    `start_indices` holds one integer of rank 0 per dimension, or is an array of rank 1. Negative
    ones count from the end where `allow_negative_indices`.
    """
    shape = typeof(operand).shape
    starts = _starts("dynamic_slice", shape, start_indices, allow_negative_indices)
    return dynamic_slice_p.bind(operand, *starts, slice_sizes=static_sizes(slice_sizes))


def _starts(name, shape, start_indices, allow_negative):
    """One start of rank 0 per dimension, counted from the front, all of one dtype."""
    if hasattr(start_indices, "shape"):
        start_indices = _unstacked(name, start_indices)
    if len(start_indices) != len(shape):
        raise ValueError(
            f"{name}: needs one start per dimension of shape {shape}, but got {len(start_indices)}."
        )
    if isinstance(allow_negative, bool):
        allow_negative = (allow_negative,) * len(shape)
    dtype = _common_integer(start_indices)
    return [
        _counted_from_front(name, start, size, wrap, dtype)
        for start, size, wrap in zip(start_indices, shape, allow_negative, strict=True)
    ]


def _unstacked(name, starts):
    if typeof(starts).ndim != 1:
        raise ValueError(f"{name}: starts must have rank 1, but got {typeof(starts)}.")
    return [index_in_dim(starts, i, keepdims=False) for i in range(typeof(starts).shape[0])]


def _is_static(start):
    return isinstance(start, (int, np.integer))


def _common_integer(starts):
    """The dtype of the computed starts; static ones adapt to it."""
    found = {typeof(start).dtype for start in starts if not _is_static(start)}
    if len(found) == 1 and min(dtype.itemsize for dtype in found) >= 4:
        return found.pop()
    return dtypes.int64 if any(dtype.itemsize == 8 for dtype in found) else dtypes.int32


def _counted_from_front(name, start, size, wrap, dtype):
    if _is_static(start):
        start = operator.index(start)
        if start < 0 and not wrap:
            raise ValueError(
                f"{name}: the start {start} is negative. Pass allow_negative_indices=True to count "
                "from the end."
            )
        return _fitting(start + size if start < 0 else start, dtype)
    aval = typeof(start)
    if not dtypes.is_integer(aval.dtype):
        raise TypeError(f"{name}: starts must be integers, but got {aval}. Convert them.")
    if aval.dtype != dtype:
        start = convert_element_type(start, dtype)
    if wrap and aval.dtype.kind == "i":
        start = select_n(lt(start, 0), start, add(start, size))
    return start


def _fitting(start, dtype):
    """A static start as a constant; beyond the dtype's range it would be moved inside anyway."""
    if not isinstance(start, int):
        return convert_element_type(start, dtype)
    info = np.iinfo(dtype)
    return dtype.type(builtins.min(builtins.max(start, int(info.min)), int(info.max)))


def dynamic_slice_in_dim(
    operand: Any,
    start_index: Any,
    slice_size: int,
    axis: int = 0,
    *,
    allow_negative_indices: bool = True,
) -> Any:
    """`slice_size` elements of one dimension, from a computed start."""
    shape = typeof(operand).shape
    axis = nonnegative(axis, len(shape), "dynamic_slice_in_dim")
    return dynamic_slice(
        operand,
        replaced((0,) * len(shape), axis, start_index),
        replaced(shape, axis, slice_size),
        allow_negative_indices=allow_negative_indices,
    )


def dynamic_index_in_dim(
    operand: Any,
    index: Any,
    axis: int = 0,
    keepdims: bool = True,
    *,
    allow_negative_indices: bool = True,
) -> Any:
    """The elements at one computed position of a dimension, which stays if `keepdims`."""
    taken = dynamic_slice_in_dim(
        operand, index, 1, axis, allow_negative_indices=allow_negative_indices
    )
    return taken if keepdims else squeeze(taken, (axis,))


# ---------------------------------------------------------------- dynamic_update_slice


def _dynamic_update_slice_abstract(operand, update, *starts):
    if operand.dtype != update.dtype:
        raise TypeError(
            f"dynamic_update_slice: operand and update must have equal dtypes, but got {operand} "
            f"and {update}. Convert with astype."
        )
    _check_window("dynamic_update_slice", operand, starts, update.shape)
    return ShapedArray(operand.shape, operand.dtype)


def _dynamic_update_slice_value(xp, x, update, *starts):
    out = xp.array(x, copy=True)
    out[_window(x.shape, starts, update.shape)] = update
    return out


def _dynamic_update_slice_transpose(ct, operand, update, *starts):
    for_operand = for_update = None
    if is_linear(operand):
        nothing = zeros(ShapedArray(aval_of(update).shape, typeof(ct).dtype))
        for_operand = dynamic_update_slice_p.bind(ct, nothing, *starts)
    if is_linear(update):
        for_update = dynamic_slice_p.bind(ct, *starts, slice_sizes=update.aval.shape)
    return [for_operand, for_update] + [None] * len(starts)


def _dynamic_update_slice_batch(axis, args, dims):
    (operand, update, *starts), (operand_dim, update_dim, *start_dims) = args, dims
    if all(dim is None for dim in start_dims):
        operand, update = batched(axis, operand, operand_dim), batched(axis, update, update_dim)
        return dynamic_update_slice_p.bind(operand, update, _zero_start(starts), *starts), 0
    indices, indices_dim = _stacked_starts(axis, starts, start_dims)
    window = tuple(range(len(starts)))
    return scatter_p.rule("batch", "vmap")(
        axis,
        (operand, indices, update),
        (operand_dim, indices_dim, update_dim),
        dimension_numbers=ScatterDimensionNumbers(window, (), window),
        indices_are_sorted=True,
        unique_indices=True,
        mode=GatherScatterMode.CLIP,
    )


dynamic_update_slice_p = Primitive(
    "dynamic_update_slice",
    abstract=_dynamic_update_slice_abstract,
    value=_dynamic_update_slice_value,
    linear=(0, 1),
    transpose=_dynamic_update_slice_transpose,
    batch=_dynamic_update_slice_batch,
    loops=lambda operand, update, *starts: loops.Scatter("set", {}),
)


def dynamic_update_slice(
    operand: Any,
    update: Any,
    start_indices: Any,
    *,
    allow_negative_indices: bool | Sequence[bool] = True,
) -> Any:
    """`operand` with a window replaced by `update`; starts are moved so that it lies inside.

    `start_indices` is as in `dynamic_slice`.
    """
    shape = typeof(operand).shape
    starts = _starts("dynamic_update_slice", shape, start_indices, allow_negative_indices)
    return dynamic_update_slice_p.bind(operand, update, *starts)


def dynamic_update_slice_in_dim(
    operand: Any, update: Any, start_index: Any, axis: int, *, allow_negative_indices: bool = True
) -> Any:
    """`operand` with part of one dimension replaced by `update`, from a computed start."""
    shape = typeof(operand).shape
    axis = nonnegative(axis, len(shape), "dynamic_update_slice_in_dim")
    return dynamic_update_slice(
        operand,
        update,
        replaced((0,) * len(shape), axis, start_index),
        allow_negative_indices=allow_negative_indices,
    )


def dynamic_update_index_in_dim(
    operand: Any, update: Any, index: Any, axis: int, *, allow_negative_indices: bool = True
) -> Any:
    """`operand` with the elements at one computed position of a dimension replaced.

    `update` may lack that dimension.
    """
    if typeof(update).ndim != typeof(operand).ndim:
        axis = nonnegative(axis, typeof(operand).ndim, "dynamic_update_index_in_dim")
        update = expand_dims(update, (axis,))
    return dynamic_update_slice_in_dim(
        operand, update, index, axis, allow_negative_indices=allow_negative_indices
    )
