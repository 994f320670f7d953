"""How NumPy and CuPy read and write windows: the work behind gather and scatter.

`read_windows` and `write_windows` follow a `Layout` (index_maps.py). One window becomes basic
slicing; many become one `take`, or one assignment, of whole rows at flat addresses.
Next: `gather.py` and `scatter.py`, which give these functions their rules.
"""

from __future__ import annotations

import math
from typing import Any

from funcgrad.core.backend import NARROW
from funcgrad.primitives.index_maps import (
    GatherDimensionNumbers,
    GatherScatterMode,
    Layout,
    layout_of,
)

# Measured with NumPy 2.4. Rows shorter than this are accumulated element by element sooner than
# checked for repeats; from this length on it pays to part repeated ones into rounds, if these are
# not too many.
_SHORT_ROW = 4
_LONG_ROW = 128
_MANY_ROUNDS = 64


def read_windows(
    xp,
    operand: Any,
    indices: Any,
    numbers: GatherDimensionNumbers,
    sizes: tuple[int, ...],
    fill_value: Any = None,
) -> Any:
    """One window of `operand` per index vector.

    A window that sticks out is replaced by `fill_value`, or shifted inside if that is None.
    """
    layout = layout_of(operand.shape, indices.shape, numbers, sizes)
    if layout.empty:
        if 0 not in layout.batch_shape and min(layout.limits, default=0) < 0:
            raise ValueError("the windows do not fit")
        return _in_result_order(xp.zeros(layout.moved_shape, operand.dtype), layout)
    starts = integer_starts(xp, indices)
    inside = in_bounds(xp, starts, layout.limits)
    if inside.all():
        return _in_result_order(_read(xp, operand, starts, layout), layout)
    windows = _read(xp, operand, clipped(xp, starts, layout.limits), layout)
    if fill_value is not None:
        fill = xp.asarray(fill_value).astype(operand.dtype)
        windows = xp.where(_beside_windows(inside, layout), windows, fill)
    return _in_result_order(windows, layout)


def _in_result_order(windows: Any, layout: Layout) -> Any:
    return windows if layout.permutation is None else windows.transpose(layout.permutation)


def _beside_windows(per_index: Any, layout: Layout) -> Any:
    """A value per index vector, reshaped to broadcast against `layout.moved_shape`."""
    after = len(layout.moved_shape) - layout.first - len(layout.batch_shape)
    return per_index.reshape((1,) * layout.first + layout.batch_shape + (1,) * after)


def _read(xp, operand: Any, starts: Any, layout: Layout) -> Any:
    """The windows at legal starts, in the order of `moved_shape`."""
    if layout.single:
        window = single_window(starts.reshape(-1).tolist(), layout)
        return operand[window].reshape(layout.moved_shape)
    if not operand.flags.c_contiguous:
        return _read_strided(xp, operand, starts, layout)
    rows = addresses(xp, starts, operand.shape, layout)
    merged = operand.reshape(layout.merged_shape)
    if layout.merged_shape[0] == 1:
        return xp.take(merged[0], rows, axis=0).reshape(layout.moved_shape)
    return merged[:, rows].reshape(layout.moved_shape)


def _read_strided(xp, operand: Any, starts: Any, layout: Layout) -> Any:
    """Reads by one coordinate array per dimension: flat addresses would copy the whole operand."""
    if layout.plain:
        return operand[(slice(None),) * layout.first + (starts[..., 0],)]
    coords = coordinates(xp, starts, layout)
    if not coords:
        coords = [xp.zeros((), xp.int64)]
        operand = operand[None]
    coords[0] = xp.broadcast_to(coords[0], layout.block_shape)
    return operand[(slice(None),) * layout.first + tuple(coords)]


def write_windows(
    xp,
    operand: Any,
    indices: Any,
    updates: Any,
    numbers: GatherDimensionNumbers,
    sizes: tuple[int, ...],
    *,
    mode: GatherScatterMode,
    unique_indices: bool,
    ufunc: Any = None,
) -> Any:
    """A copy of `operand` with `updates` combined into its windows by `ufunc`, in their order.

    Without `ufunc` the updates replace what was there, and of several for one place the last
    one stays. Windows that stick out are dropped, or shifted inside if `mode` is CLIP.
    """
    layout = layout_of(operand.shape, indices.shape, numbers, sizes)
    if updates.shape != layout.result_shape or updates.dtype != operand.dtype:
        raise ValueError("updates do not fit")  # NumPy would reshape and convert them
    if layout.empty:
        return operand
    starts = integer_starts(xp, indices)
    inside = in_bounds(xp, starts, layout.limits)
    if mode is GatherScatterMode.CLIP and not inside.all():
        starts, inside = clipped(xp, starts, layout.limits), xp.ones_like(inside)
    if not inside.any():
        return operand
    out = xp.array(operand, order="C", copy=True)
    if layout.inverse is not None:
        updates = updates.transpose(layout.inverse)
    if layout.single:
        _combine_window(out, single_window(starts.reshape(-1).tolist(), layout), updates, ufunc)
    else:
        rows = addresses(xp, starts, operand.shape, layout).reshape(-1)
        merged, updates = out.reshape(layout.merged_shape), _as_rows(updates, layout)
        if not inside.all():
            kept = _kept_rows(xp, inside, layout)
            rows, updates = rows[kept], updates[:, kept]
        _combine_rows(xp, merged, rows, updates, unique_indices, ufunc)
    return out


def _as_rows(updates: Any, layout: Layout) -> Any:
    """Updates in the order of `moved_shape` as (before, rows, after)."""
    before, _, after = layout.merged_shape
    return updates.reshape(before, math.prod(layout.block_shape), after)


def _kept_rows(xp, inside: Any, layout: Layout) -> Any:
    """Which of the addressed rows belong to a window that lies inside."""
    offsets = len(layout.block_shape) - len(layout.batch_shape)
    mask = inside.reshape(layout.batch_shape + (1,) * offsets)
    return xp.broadcast_to(mask, layout.block_shape).reshape(-1)


def _combine_window(out: Any, window: tuple, updates: Any, ufunc: Any) -> None:
    """Combine the only update into `out`; a window never meets itself."""
    target = out[(*window, ...)]
    updates = updates.reshape(target.shape)
    if ufunc is None:
        target[...] = updates
    else:
        ufunc(target, updates, out=target)


def _combine_rows(xp, out: Any, rows: Any, updates: Any, unique: bool, ufunc: Any) -> None:
    """Combine `updates[:, i]` into `out[:, rows[i]]`, in the order of i."""
    index: tuple = (slice(None), rows)
    if out.shape[0] == 1:  # plain rows are several times faster to index than columns
        out, updates, index = out[0], updates[0], (rows,)
    width = updates.size // rows.size
    if not xp.writes_in_order and not unique:
        rows, updates = _without_repeats(xp, rows, updates, ufunc)
        index, unique = (*index[:-1], rows), True
    if ufunc is None:
        out[index] = updates
    elif unique or (width >= _SHORT_ROW and not _has_repeats(xp, rows)):
        out[index] = ufunc(out[index], updates)
    elif out.dtype in NARROW:  # accumulated in float32, rounded once
        wide = out.astype(xp.float32)
        _accumulate(xp, wide, rows, updates.astype(xp.float32), ufunc)
        out[...] = wide.astype(out.dtype)
    else:
        _accumulate(xp, out, rows, updates, ufunc)


def _has_repeats(xp, rows: Any) -> bool:
    ordered = xp.sort(rows)
    return bool((ordered[1:] == ordered[:-1]).any())


def _without_repeats(xp, rows: Any, updates: Any, ufunc: Any) -> tuple[Any, Any]:
    """Rows that occur once each, with the updates that they get combined in pairs.

    Without `ufunc` the last update stays. What is subtracted is summed first. The work is that of
    a stable sort and of log2(repeats) passes, and the result does not depend on who comes first.
    """
    order = xp.argsort(rows, kind="stable")
    before = (slice(None),) * (updates.ndim - 2)
    rows, updates = rows[order], updates[(*before, order)]
    combine = xp.add if ufunc is xp.subtract else ufunc
    if combine is not None and updates.dtype in NARROW:
        updates = updates.astype(xp.float32)  # rounded once, where it is written
    while rows.size > 1 and bool((repeated := rows[1:] == rows[:-1]).any()):
        if combine is None:
            last = xp.flatnonzero(xp.concatenate([~repeated, xp.ones(1, bool)]))
            return rows[last], updates[(*before, last)]
        repetition = xp.arange(rows.size) - xp.searchsorted(rows, rows)
        first = xp.flatnonzero(repetition % 2 == 0)
        second = xp.minimum(first + 1, rows.size - 1)
        paired = ((second > first) & (rows[second] == rows[first]))[:, None]
        left, right = updates[(*before, first)], updates[(*before, second)]
        rows, updates = rows[first], xp.where(paired, combine(left, right), left)
    return rows, updates


def _accumulate(xp, out: Any, rows: Any, updates: Any, ufunc: Any) -> None:
    """Combine rows that may be repeated: long ones round by round, else element by element."""
    rounds = _rounds(xp, rows) if updates.size >= _LONG_ROW * rows.size else None
    if rounds is None:
        flat = _flat_elements(xp, rows, out.shape)
        ufunc.at(out.reshape(-1), flat, updates.reshape(-1))
        return
    before = (slice(None),) * (out.ndim - 2)
    for chosen in rounds:
        index = (*before, rows[chosen])
        out[index] = ufunc(out[index], updates[(*before, chosen)])


def _rounds(xp, rows: Any) -> list[Any] | None:
    """Positions in `rows`, parted so that no part names a row twice: all first ones, second, ...

    None if there would be too many parts.
    """
    order = xp.argsort(rows, kind="stable")
    ordered = rows[order]
    repetition = xp.arange(rows.size) - xp.searchsorted(ordered, ordered)
    count = int(repetition.max()) + 1
    return None if count > _MANY_ROUNDS else [order[repetition == r] for r in range(count)]


def _flat_elements(xp, rows: Any, shape: tuple[int, ...]) -> Any:
    """The flat position of every element of the given rows: `ufunc.at` is fast only on those."""
    elements = rows[:, None] * shape[-1] + xp.arange(shape[-1])
    if len(shape) == 3:
        before = xp.arange(shape[0]) * (shape[1] * shape[2])
        elements = before[:, None, None] + elements
    return elements.reshape(-1)


def integer_starts(xp, indices: Any) -> Any:
    """Indices as signed machine integers; huge unsigned ones stay beyond every limit."""
    if indices.dtype.kind not in "iu":
        raise TypeError("indices are integers")  # NumPy would convert them
    if indices.dtype == xp.uint64:
        indices = xp.minimum(indices, xp.uint64(2**63 - 1))
    return indices.astype(xp.int64, copy=False)


def in_bounds(xp, starts: Any, limits: tuple[int, ...]) -> Any:
    """Per index vector: does its whole window lie inside?"""
    unsigned = starts.view(xp.uint64)  # a negative start becomes a huge one: one comparison
    inside = unsigned[..., 0] <= limits[0] if limits else xp.ones(starts.shape[:-1], bool)
    for column in range(1, len(limits)):
        inside = inside & (unsigned[..., column] <= limits[column])
    return inside


def clipped(xp, starts: Any, limits: tuple[int, ...]) -> Any:
    """Starts moved so that each window lies inside."""
    return xp.minimum(xp.maximum(starts, 0), xp.asarray(limits, dtype=xp.int64))


def coordinates(xp, starts: Any, layout: Layout) -> list[Any]:
    """One coordinate array per addressed dimension, each broadcasting to `block_shape`."""
    return [_coordinate(xp, starts, layout, dim) for dim in range(layout.first, layout.last)]


def _coordinate(xp, starts: Any, layout: Layout, dim: int) -> Any:
    rank = len(layout.block_shape)
    coord = None
    if dim in layout.columns:
        pad = (1,) * (rank - len(layout.batch_shape))
        coord = starts[..., layout.columns[dim]].reshape(layout.batch_shape + pad)
    elif dim in layout.lockstep:
        coord = _ramp(xp, layout.block_shape, layout.lockstep[dim])
    if dim in layout.offsets:
        ramp = _ramp(xp, layout.block_shape, layout.offsets[dim])
        coord = ramp if coord is None else coord + ramp
    return xp.zeros((1,) * rank, xp.int64) if coord is None else coord


def _ramp(xp, shape: tuple[int, ...], dim: int) -> Any:
    """0, 1, 2, ... along one dimension of a broadcast shape."""
    return xp.arange(shape[dim]).reshape((1,) * dim + (-1,) + (1,) * (len(shape) - dim - 1))


def addresses(xp, starts: Any, shape: tuple[int, ...], layout: Layout) -> Any:
    """The flat position, in the merged addressed dimension, of each row of each window."""
    if layout.plain:
        return starts[..., 0]
    position: Any = 0
    stride = 1
    coords = coordinates(xp, starts, layout)
    for size, coord in zip(reversed(shape[: layout.last]), reversed(coords), strict=False):
        position = position + (coord if stride == 1 else coord * stride)
        stride *= size
    if getattr(position, "shape", None) == layout.block_shape:
        return position
    return xp.broadcast_to(xp.asarray(position), layout.block_shape)


def single_window(start: list[int], layout: Layout) -> tuple:
    """The basic index of the only window: integers where it is collapsed, slices elsewhere."""
    index: list[Any] = [0] * len(layout.sizes)
    for dim in layout.window_dims:
        index[dim] = slice(0, layout.sizes[dim])
    for dim, column in layout.columns.items():
        begin = start[column]
        kept = dim in layout.window_dims
        index[dim] = slice(begin, begin + layout.sizes[dim]) if kept else begin
    return tuple(index)
