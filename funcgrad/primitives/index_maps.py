"""Where gather reads and scatter writes: dimension numbers, modes, and addresses.

A gather copies one window of the operand per index vector; a scatter with the mirrored
numbers writes it back. Both therefore share one `Layout`, which merges the operand's
dimensions into (before, addressed, after) blocks, so that NumPy moves whole rows.
Next: `index_values.py`, which moves the elements.
"""

from __future__ import annotations

import enum
import math
from functools import lru_cache
from typing import NamedTuple


class GatherDimensionNumbers(NamedTuple):
    """Which dimensions of operand, indices and result correspond in a gather.

    The last dimension of the indices holds index vectors; all others are batch dimensions.

    offset_dims: dimensions of the result that run over a window.
    collapsed_slice_dims: dimensions of the operand whose window has size 1 and is dropped.
    start_index_map: the operand dimension that each entry of an index vector addresses.
    operand_batching_dims, start_indices_batching_dims: dimensions of equal size that operand
        and indices walk through together.
    """

    offset_dims: tuple[int, ...]
    collapsed_slice_dims: tuple[int, ...]
    start_index_map: tuple[int, ...]
    operand_batching_dims: tuple[int, ...] = ()
    start_indices_batching_dims: tuple[int, ...] = ()


class ScatterDimensionNumbers(NamedTuple):
    """Which dimensions of operand, indices and updates correspond in a scatter.

    update_window_dims: dimensions of the updates that run over a window.
    inserted_window_dims: dimensions of the operand that the window lacks (size 1 there).
    scatter_dims_to_operand_dims: the operand dimension that each entry of an index vector
        addresses.
    operand_batching_dims, scatter_indices_batching_dims: dimensions of equal size that operand
        and indices walk through together.
    """

    update_window_dims: tuple[int, ...]
    inserted_window_dims: tuple[int, ...]
    scatter_dims_to_operand_dims: tuple[int, ...]
    operand_batching_dims: tuple[int, ...] = ()
    scatter_indices_batching_dims: tuple[int, ...] = ()


class GatherScatterMode(enum.Enum):
    """What happens to a window that does not lie wholly inside the operand.

    CLIP: it is shifted inside. FILL_OR_DROP: a gather fills the whole window with a constant,
    a scatter drops it. PROMISE_IN_BOUNDS: the caller rules it out (a gather then clips, a
    scatter drops; derivatives at such places mean nothing).
    """

    CLIP = 1
    FILL_OR_DROP = 2
    PROMISE_IN_BOUNDS = 3

    @staticmethod
    def from_any(mode: str | GatherScatterMode | None) -> GatherScatterMode:
        """The mode named "clip", "fill", "drop" or "promise_in_bounds"; None means fill or drop."""
        if isinstance(mode, GatherScatterMode):
            return mode
        if mode not in _MODES:
            raise ValueError(
                f"mode must be 'clip', 'fill', 'drop' or 'promise_in_bounds', but got {mode!r}."
            )
        return _MODES[mode]


_MODES = {
    None: GatherScatterMode.FILL_OR_DROP,
    "fill": GatherScatterMode.FILL_OR_DROP,
    "drop": GatherScatterMode.FILL_OR_DROP,
    "clip": GatherScatterMode.CLIP,
    "promise_in_bounds": GatherScatterMode.PROMISE_IN_BOUNDS,
}


def shifted(dims: tuple[int, ...], by: int = 1) -> tuple[int, ...]:
    """The same dimensions after `by` new ones have been put in front."""
    return tuple(dim + by for dim in dims)


def mirror_of_scatter(numbers: ScatterDimensionNumbers) -> GatherDimensionNumbers:
    """The gather that reads exactly the windows which this scatter writes."""
    return GatherDimensionNumbers(*numbers)


def mirror_of_gather(numbers: GatherDimensionNumbers) -> ScatterDimensionNumbers:
    """The scatter that writes exactly the windows which this gather reads."""
    return ScatterDimensionNumbers(*numbers)


def window_sizes(operand_shape, updates_shape, numbers: ScatterDimensionNumbers) -> tuple:
    """The extent of one update window in every dimension of the operand."""
    sizes = iter([updates_shape[dim] for dim in numbers.update_window_dims])
    without_window = numbers.inserted_window_dims + numbers.operand_batching_dims
    return tuple(1 if dim in without_window else next(sizes) for dim in range(len(operand_shape)))


def check_dims(name: str, field: str, dims: tuple, rank: int, *, ordered: bool = True) -> None:
    """The dimensions lie in range and differ, and are in order where that is asked for."""
    expected = sorted(set(dims)) if ordered else dims
    in_range = all(hasattr(dim, "__index__") and 0 <= dim < rank for dim in dims)
    if not in_range or len(set(dims)) != len(dims) or list(expected) != list(dims):
        raise ValueError(
            f"{name}: {field} must be different{', sorted' if ordered else ''} dimensions from 0 "
            f"to {rank - 1}, but got {dims}."
        )


def check_paired(name: str, operand_shape, indices_shape, numbers: GatherDimensionNumbers) -> None:
    """Batching dimensions of operand and indices come in pairs of equal size, used once."""
    dims, index_dims = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    check_dims(name, "operand_batching_dims", dims, len(operand_shape))
    last = len(indices_shape) - 1
    check_dims(name, "the indices' batching dimensions", index_dims, last, ordered=False)
    sizes = [operand_shape[dim] for dim in dims]
    if len(dims) != len(index_dims) or sizes != [indices_shape[dim] for dim in index_dims]:
        raise ValueError(
            f"{name}: batching dimensions {dims} of the operand and {index_dims} of the indices "
            f"must pair up with equal sizes, but got shapes {operand_shape} and {indices_shape}."
        )
    if set(dims) & {*numbers.collapsed_slice_dims, *numbers.start_index_map}:
        raise ValueError(f"{name}: a batching dimension of the operand must have no other role.")


def check_columns(name: str, indices_shape, columns: tuple[int, ...]) -> None:
    """The last dimension of the indices has one entry per addressed dimension."""
    if not indices_shape or indices_shape[-1] != len(columns):
        raise ValueError(
            f"{name}: the last dimension of the indices must have size {len(columns)}, one entry "
            f"for each of the addressed dimensions {columns}, but got shape {indices_shape}."
        )


def check_numbers(name: str, operand_shape, indices_shape, numbers: GatherDimensionNumbers) -> None:
    """Each of a gather's dimension numbers names dimensions that there are, in one role."""
    rank = len(operand_shape)
    check_columns(name, indices_shape, numbers.start_index_map)
    check_dims(name, "start_index_map", numbers.start_index_map, rank, ordered=False)
    check_dims(name, "collapsed_slice_dims", numbers.collapsed_slice_dims, rank)
    result_rank = len(indices_shape) - 1 + len(numbers.offset_dims)
    check_dims(name, "offset_dims", numbers.offset_dims, result_rank)
    check_paired(name, operand_shape, indices_shape, numbers)


def check_sizes(
    operand_shape, indices_shape, numbers: GatherDimensionNumbers, sizes, *, fitting: bool
) -> None:
    """A gather's windows lie inside the operand, if there are any; without `fitting`, a dimension
    that they lack may be empty.
    """
    dropped = numbers.collapsed_slice_dims + numbers.operand_batching_dims
    if not len(sizes) == len(operand_shape) == len(dropped) + len(numbers.offset_dims):
        raise ValueError(
            f"gather: slice_sizes must have one entry per dimension of the operand, and each "
            f"dimension must be offset, collapsed or batching, but got slice_sizes {sizes} and "
            f"{numbers} for shape {operand_shape}."
        )
    for dim, (size, available) in enumerate(zip(sizes, operand_shape, strict=True)):
        if isinstance(size, int) and (size < 0 or (dim in dropped and size != 1)):
            raise ValueError(
                f"gather: slice_sizes must be 1 in dimensions without offset, and never negative, "
                f"but got {sizes} for {numbers}."
            )
        known = isinstance(size, int) and isinstance(available, int)
        looked_at = 0 not in indices_shape[:-1] and (fitting or dim not in dropped)
        if known and looked_at and size > available:
            raise ValueError(
                f"gather: a window of size {size} does not fit into dimension {dim} of shape "
                f"{operand_shape}. Make slice_sizes smaller."
            )


class Layout(NamedTuple):
    """The static half of addressing; dimensions `first:last` of the operand are addressed.

    Dimensions before and after are taken whole. `limits` is the largest legal start of each
    column of the indices; `columns`, `lockstep` (batching) and `offsets` (windows larger than
    one) say, per addressed dimension, what its coordinate is made of.
    """

    limits: tuple[int, ...]
    first: int
    last: int
    columns: dict[int, int]
    lockstep: dict[int, int]
    offsets: dict[int, int]
    sizes: tuple[int, ...]
    window_dims: tuple[int, ...]  # the dimensions of the operand that survive in the window
    batch_shape: tuple[int, ...]
    result_shape: tuple[int, ...]
    block_shape: tuple[int, ...]  # what the addressed dimensions become: batch, then offsets
    moved_shape: tuple[int, ...]  # before + block_shape + after
    merged_shape: tuple[int, int, int]  # the operand as (before, addressed, after)
    permutation: tuple[int, ...] | None  # from moved_shape to the order of the result
    inverse: tuple[int, ...] | None  # and back
    single: bool  # is there exactly one index vector?
    plain: bool  # is each address just the one entry of its index vector?
    empty: bool  # is there nothing to move?


@lru_cache(maxsize=4096)
def layout_of(operand_shape, indices_shape, numbers: GatherDimensionNumbers, sizes) -> Layout:
    """Work out, once per signature, how windows of `sizes` lie in the operand.

    Raises ValueError where there are no such windows.
    """
    check_numbers("gather", operand_shape, indices_shape, numbers)
    check_sizes(operand_shape, indices_shape, numbers, sizes, fitting=False)
    columns, lockstep = _addressed(operand_shape, numbers, sizes)
    partial = [d for d, size in enumerate(sizes) if size != operand_shape[d]]
    dropped = numbers.collapsed_slice_dims + numbers.operand_batching_dims
    dims = sorted({*columns, *dropped, *partial})
    first, last = (dims[0], dims[-1] + 1) if dims else (0, 0)
    window_dims = tuple(d for d in range(len(sizes)) if d not in dropped)
    offsets = [d for d in range(first, last) if d in window_dims]
    batch_shape = tuple(indices_shape[:-1])
    limits = tuple(operand_shape[d] - sizes[d] for d in numbers.start_index_map)
    block_shape = batch_shape + tuple(sizes[d] for d in offsets)
    order = _result_order(first, len(batch_shape), numbers.offset_dims)
    moved_shape = operand_shape[:first] + block_shape + operand_shape[last:]
    return Layout(
        limits=limits,
        first=first,
        last=last,
        columns=columns,
        lockstep=lockstep,
        offsets={d: len(batch_shape) + position for position, d in enumerate(offsets)},
        sizes=tuple(sizes),
        window_dims=window_dims,
        batch_shape=batch_shape,
        block_shape=block_shape,
        moved_shape=moved_shape,
        result_shape=moved_shape if order is None else tuple(moved_shape[d] for d in order),
        merged_shape=(
            math.prod(operand_shape[:first]),
            math.prod(operand_shape[first:last]),
            math.prod(operand_shape[last:]),
        ),
        permutation=order,
        inverse=None if order is None else tuple(sorted(range(len(order)), key=order.__getitem__)),
        single=math.prod(batch_shape) == 1,
        plain=last - first == len(columns) == len(limits) == 1 and not offsets,
        empty=0 in block_shape or 0 in operand_shape or any(limit < 0 for limit in limits),
    )


def _addressed(operand_shape, numbers, sizes) -> tuple[dict[int, int], dict[int, int]]:
    """Operand dimension -> column of the indices; operand dimension -> batch dimension."""
    columns = {
        dim: column
        for column, dim in enumerate(numbers.start_index_map)
        if sizes[dim] != operand_shape[dim] or dim in numbers.collapsed_slice_dims
    }
    lockstep = dict(
        zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    )
    return columns, lockstep


def _result_order(first: int, batch_rank: int, offset_dims) -> tuple[int, ...] | None:
    """The permutation from (windows before, batch, other windows) to the result's order."""
    rank = batch_rank + len(offset_dims)
    windows = iter([*range(first), *range(first + batch_rank, rank)])
    batch = iter(range(first, first + batch_rank))
    order = tuple(next(windows) if d in offset_dims else next(batch) for d in range(rank))
    return None if order == tuple(range(rank)) else order
