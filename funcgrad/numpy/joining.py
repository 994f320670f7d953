"""Arrays from arrays: concatenate and stack, split, tile and repeat, insert and delete.

Operands of a join take their common type. What is inserted, deleted or repeated is known when the
function is traced, unless the size of the result is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, Tracer
from funcgrad.numpy.axes import axis_index, concrete, integer, shape_tuple
from funcgrad.numpy.promote import (
    as_array,
    promote_dtypes,
)
from funcgrad.numpy.shaping import atleast_1d, atleast_2d, atleast_3d, broadcast_to, moveaxis, ravel
from funcgrad.primitives import shape as primitives
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    full,
    reduce_sum,
    reshape,
    select_n,
    sub,
)
from funcgrad.primitives.cumulative import cumsum
from funcgrad.primitives.gather import gather, scatter_add
from funcgrad.primitives.index_maps import GatherDimensionNumbers, ScatterDimensionNumbers
from funcgrad.primitives.logic import ge, lt
from funcgrad.primitives.slicing import inserted, replaced
from funcgrad.primitives.sort import sort


def taken(x: Array, positions: Any, axis: int) -> Array:
    """The elements of `x` at `positions`, an array of rank 1, along `axis`."""
    kept = tuple(d for d in range(x.ndim) if d != axis)
    numbers = GatherDimensionNumbers(kept, (axis,), (axis,))
    if isinstance(positions, np.ndarray):
        positions = as_array("take", positions.astype(np.int32))
    indices = primitives.expand_dims(positions, (1,))
    return gather(x, indices, numbers, replaced(x.shape, axis, 1), mode="clip")


def _operands(name: str, arrays: Any, dtype: Any = None) -> list[Array]:
    """The arrays of a join in their common type, or in `dtype`; an array stands for its rows."""
    if hasattr(arrays, "shape"):
        arrays = unstack(arrays) if isinstance(arrays, Array) else list(arrays)
    if not isinstance(arrays, (tuple, list)):
        raise TypeError(f"{name}: needs a sequence of arrays, but got {type(arrays).__name__}.")
    if not arrays:
        raise ValueError(f"{name}: needs at least one array, but got none.")
    if dtype is None and all(dtypes.is_key(getattr(x, "dtype", None)) for x in arrays):
        return list(arrays)  # keys are moved like numbers, and never promoted
    if dtype is None:
        return list(promote_dtypes(name, *arrays))
    dtype = dtypes.as_dtype(dtype)
    return [convert_element_type(as_array(name, x, i), dtype) for i, x in enumerate(arrays)]


# ---- concatenate and stack -----------------------------------------------------------------------


def concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Array:
    """The arrays end to end along an existing `axis`; flattened first if it is None.

    Raises ValueError if ranks, or sizes along the other axes, differ.

    >>> concatenate([jnp.arange(2), jnp.arange(3)]).tolist()
    [0, 1, 0, 1, 2]
    """
    return _concatenated("concatenate", _operands("concatenate", arrays, dtype), axis)


def concat(arrays: Any, /, *, axis: int | None = 0) -> Array:
    """The arrays end to end along an existing `axis`; flattened first if it is None."""
    return _concatenated("concat", _operands("concat", arrays), axis)


def _concatenated(name: str, arrays: list[Array], axis: int | None) -> Array:
    if axis is None:
        arrays, axis = [ravel(x) for x in arrays], 0
    first = arrays[0]
    if first.ndim == 0:
        raise ValueError(f"{name}: arrays of rank 0 cannot be joined. Use stack.")
    axis = axis_index(name, axis, first.ndim)
    shape = replaced(first.shape, axis, None)
    for x in arrays:
        if x.ndim != first.ndim or replaced(x.shape, axis, None) != shape:
            raise ValueError(
                f"{name}: arrays must agree except along axis {axis}, but got shapes {first.shape} "
                f"and {x.shape}."
            )
    return primitives.concatenate(arrays, axis)


def stack(arrays: Any, axis: int = 0, out: None = None, dtype: Any = None) -> Array:
    """Arrays of one shape along a new axis, which is at position `axis` of the result.

    >>> stack([jnp.arange(2), jnp.arange(2)]).shape
    (2, 2)
    """
    if out is not None:
        raise TypeError("stack: the argument `out` is not supported; arrays are immutable.")
    operands = _operands("stack", arrays, dtype)
    shapes = {x.shape for x in operands}
    if len(shapes) > 1:
        first, *_, last = sorted(shapes, key=repr)
        raise ValueError(f"stack: arrays must have equal shapes, but got {first} and {last}.")
    axis = axis_index("stack", axis, operands[0].ndim + 1)
    return primitives.concatenate([primitives.expand_dims(x, (axis,)) for x in operands], axis)


def vstack(tup: Any, dtype: Any = None) -> Array:
    """The arrays below each other: along axis 0, vectors as rows."""
    return _concatenated("vstack", [atleast_2d(x) for x in _operands("vstack", tup, dtype)], 0)


def hstack(tup: Any, dtype: Any = None) -> Array:
    """The arrays beside each other: along axis 1, vectors end to end."""
    arrays = [atleast_1d(x) for x in _operands("hstack", tup, dtype)]
    return _concatenated("hstack", arrays, 0 if arrays[0].ndim == 1 else 1)


def dstack(tup: Any, dtype: Any = None) -> Array:
    """The arrays behind each other: along axis 2."""
    return _concatenated("dstack", [atleast_3d(x) for x in _operands("dstack", tup, dtype)], 2)


def column_stack(tup: Any) -> Array:
    """The arrays beside each other, vectors as columns."""
    arrays = _operands("column_stack", tup)
    columns = [reshape(x, (x.size, 1)) if x.ndim < 2 else x for x in arrays]
    return _concatenated("column_stack", columns, 1)


def block(arrays: Any) -> Array:
    """An array assembled from nested lists of blocks: the innermost lists run along the last axis.

    >>> block([[jnp.ones((1, 2)), jnp.zeros((1, 1))]]).shape
    (1, 3)
    """
    depth = _depth(arrays)
    leaves = [as_array("block", x) for x in _leaves(arrays)]
    rank = max(depth, *(x.ndim for x in leaves))
    return _assembled(arrays, rank, rank - depth)


def _depth(arrays: Any) -> int:
    if not isinstance(arrays, list):
        return 0
    depths = {_depth(x) for x in arrays}
    if len(depths) != 1:
        raise ValueError("block: lists must be nested to one depth, and none may be empty.")
    return 1 + depths.pop()


def _leaves(arrays: Any) -> list[Any]:
    return [y for x in arrays for y in _leaves(x)] if isinstance(arrays, list) else [arrays]


def _assembled(arrays: Any, rank: int, axis: int) -> Array:
    if not isinstance(arrays, list):
        x = as_array("block", arrays)
        return reshape(x, (1,) * (rank - x.ndim) + x.shape)
    parts = [_assembled(x, rank, axis + 1) for x in arrays]
    return _concatenated("block", list(promote_dtypes("block", *parts)), axis)


def append(arr: Any, values: Any, axis: int | None = None) -> Array:
    """`values` after `arr` along `axis`; both flattened first if it is None."""
    return _concatenated("append", list(promote_dtypes("append", arr, values)), axis)


# ---- split ---------------------------------------------------------------------------------------


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """`ary` cut along `axis` into equal parts, or at the given positions.

    >>> [part.shape for part in split(jnp.arange(6), 3)]
    [(2,), (2,), (2,)]
    """
    return _split("split", ary, indices_or_sections, axis)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """`ary` cut along `axis` into nearly equal parts, the first ones larger, or at positions."""
    return _split("array_split", ary, indices_or_sections, axis)


def vsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """`ary` cut along axis 0."""
    return _split("vsplit", ary, indices_or_sections, 0)


def hsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """`ary` cut along axis 1, a vector along axis 0."""
    x = as_array("hsplit", ary)
    return _split("hsplit", x, indices_or_sections, 0 if x.ndim == 1 else 1)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Array]:
    """`ary` cut along axis 2."""
    return _split("dsplit", ary, indices_or_sections, 2)


def _split(name: str, ary: Any, sections: Any, axis: int) -> list[Array]:
    x = as_array(name, ary)
    axis = axis_index(name, axis, x.ndim)
    size = x.shape[axis]
    if isinstance(sections, (tuple, list)) or getattr(sections, "ndim", 0) > 0:
        bounds = [_bound(name, b, size) for b in _static(name, sections)]
        return _cut(x, list(zip([0, *bounds], [*bounds, size], strict=True)), axis)
    parts = integer(name, "the number of parts", sections)
    if parts <= 0 or (name != "array_split" and not size % parts == 0):
        raise ValueError(
            f"{name}: axis {axis} of size {size} does not divide into {parts} equal parts. Use "
            "array_split, or give the positions of the cuts."
        )
    base, extra = size // parts, size % parts
    return primitives.split(x, [base + 1] * extra + [base] * (parts - extra), axis)


def _static(name: str, positions: Any) -> Any:
    if isinstance(positions, (tuple, list)):
        return positions
    return concrete(name, "the positions", positions).tolist()


def _bound(name: str, position: Any, size: Any) -> Any:
    position = integer(name, "a position", position)
    return max(0, min(position + size if position < 0 else position, size))


def _cut(x: Array, spans: list[tuple[Any, Any]], axis: int) -> list[Array]:
    sizes = [stop - start for start, stop in spans]
    if min(sizes) >= 0:
        return primitives.split(x, sizes, axis)
    return [primitives.slice_in_dim(x, a, max(a, b), axis=axis) for a, b in spans]


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The arrays that lie one after the other along `axis`, which they lose."""
    x = as_array("unstack", x)
    if x.ndim == 0:
        raise ValueError("unstack: an array of rank 0 has no axis to take apart.")
    axis = axis_index("unstack", axis, x.ndim)
    if x.shape[axis] == 0:
        return ()
    rows = primitives.split(x, (1,) * x.shape[axis], axis)
    return tuple(primitives.squeeze(row, (axis,)) for row in rows)


# ---- repetition ----------------------------------------------------------------------------------


def tile(A: Any, reps: Any) -> Array:
    """`A` repeated as a whole, `reps` times along each axis; missing axes are added in front.

    >>> tile(jnp.arange(2), 2).tolist()
    [0, 1, 0, 1]
    """
    x = as_array("tile", A)
    times = shape_tuple("tile", reps)
    rank = max(len(times), x.ndim)
    times = (1,) * (rank - len(times)) + times
    sizes = (1,) * (rank - x.ndim) + x.shape
    blocks = tuple(n for pair in zip(times, sizes, strict=True) for n in pair)
    places = range(2 * (rank - x.ndim) + 1, 2 * rank, 2)
    repeated = broadcast_in_dim(x, blocks, tuple(places))
    return reshape(repeated, tuple(n * size for n, size in zip(times, sizes, strict=True)))


def repeat(
    a: Any, repeats: Any, axis: int | None = None, *, total_repeat_length: int | None = None
) -> Array:
    """Each element of `a` repeated along `axis`, which is that of the flattened array if None.

    `repeats` is one number, or one for each position. Numbers that are computed need
    `total_repeat_length`, the size of the result: what is beyond it is cut off, and the last
    element fills what is missing.

    >>> repeat(jnp.arange(3), jnp.array([1, 0, 2])).tolist()
    [0, 2, 2]
    """
    x = as_array("repeat", a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("repeat", axis, x.ndim)
    if isinstance(repeats, Tracer):
        return _repeated_at_run_time(x, repeats, axis, total_repeat_length)
    counts = concrete("repeat", "repeats", repeats)
    if counts.dtype.kind not in "iub" or (counts < 0).any() or counts.ndim > 1:
        raise ValueError(f"repeat: repeats must be non-negative integers, but got {repeats}.")
    if counts.size == 1 and total_repeat_length is None:
        return _repeated_evenly(x, int(counts.reshape(())), axis)
    if counts.size not in (1, x.shape[axis]):
        raise ValueError(
            f"repeat: repeats must have one entry or as many as axis {axis}, {x.shape[axis]}, but "
            f"have {counts.size}."
        )
    positions = np.repeat(np.arange(x.shape[axis]), counts)
    return taken(x, _fitted(positions, total_repeat_length, x.shape[axis]), axis)


def _repeated_evenly(x: Array, times: int, axis: int) -> Array:
    shape = inserted(x.shape, axis + 1, times)
    dims = tuple(d for d in range(x.ndim + 1) if d != axis + 1)
    return reshape(broadcast_in_dim(x, shape, dims), replaced(x.shape, axis, x.shape[axis] * times))


def _fitted(positions: np.ndarray, length: int | None, size: int) -> np.ndarray:
    """Positions cut off or filled up with the last one to `length`."""
    if length is None:
        return positions
    missing = max(0, length - len(positions))
    return np.concatenate([positions[:length], np.full(missing, max(0, size - 1))])


def _repeated_at_run_time(x: Array, counts: Array, axis: int, length: int | None) -> Array:
    """Element j of the result is that at position (how many elements end at or before j)."""
    if length is None:
        concrete("repeat", "repeats, unless total_repeat_length is given,", counts)
    size = x.shape[axis]
    counts = broadcast_to(convert_element_type(counts, dtypes.int32), (size,))
    ends = primitives.expand_dims(cumsum(counts), (1,))
    numbers = ScatterDimensionNumbers((), (0,), (0,))
    started = scatter_add(
        full((length,), 0, dtypes.int32), ends, full((size,), 1, dtypes.int32), numbers, mode="drop"
    )
    return taken(x, cumsum(started), axis)  # positions beyond the end are moved to it


def resize(a: Any, new_shape: Any) -> Array:
    """The elements of `a`, repeated from the beginning as often as needed, in a new shape."""
    x = ravel(as_array("resize", a))
    shape = shape_tuple("resize", new_shape)
    size = int(np.prod(shape, dtype=int))
    if x.size == 0:
        return full(shape, 0, x.dtype)
    whole = tile(x, -(-size // x.size)) if size > x.size else x
    return reshape(primitives.slice_in_dim(whole, 0, size), shape)


# ---- insert and delete ---------------------------------------------------------------------------


def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Array:
    """`arr` with `values` put before the positions `obj` (an integer, a slice, or integers).

    >>> insert(jnp.arange(3), 1, 9).tolist()
    [0, 9, 1, 2]
    """
    x = as_array("insert", arr)
    values = convert_element_type(as_array("insert", _listed(values)), x.dtype)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("insert", axis, x.ndim)
    places = _places("insert", obj, x.shape[axis])
    if places.size == 1:
        values = reshape(values, (1,) * (x.ndim - values.ndim) + values.shape)
        # at a single position, NumPy reads the values' first axis as the one to insert along
        values = values if np.ndim(obj) else moveaxis(values, 0, axis)
        places = np.repeat(places, values.shape[axis])
    values = broadcast_to(values, replaced(x.shape, axis, len(places)))
    return taken(primitives.concatenate([x, values], axis), _merged(places, x.shape[axis]), axis)


def _listed(values: Any) -> Any:
    return np.asarray(values) if isinstance(values, (tuple, list)) else values


def _places(name: str, obj: Any, size: int) -> np.ndarray:
    """The positions that `obj` names, counted from the front."""
    if isinstance(obj, slice):
        return np.arange(size)[obj]
    places = concrete(name, "the positions", np.asarray(obj) if isinstance(obj, list) else obj)
    if places.dtype == bool:
        places = np.flatnonzero(places)
    elif places.dtype.kind not in "iu" and places.size:
        raise TypeError(f"{name}: positions must be integers, but got {places.dtype}.")
    places = places.astype(int)
    limit = size if name == "insert" else size - 1
    if places.size and (places.min() < -size or places.max() > limit):
        raise IndexError(f"{name}: positions {obj} are out of bounds for an axis of size {size}.")
    return np.where(places < 0, places + size, places).ravel()


def _merged(places: np.ndarray, size: int) -> np.ndarray:
    """Where each element of the result lies in [array, values]."""
    order = np.argsort(places, kind="stable")
    targets = np.empty(len(places), int)
    targets[order] = places[order] + np.arange(len(places))
    merged = np.full(size + len(places), -1)
    merged[targets] = size + np.arange(len(places))
    merged[merged < 0] = np.arange(size)
    return merged


def delete(
    arr: Any, obj: Any, axis: int | None = None, *, assume_unique_indices: bool = False
) -> Array:
    """`arr` without the positions `obj` (an integer, a slice, integers, or a mask).

    A computed position of rank 0 is possible; so are computed positions of rank 1 that are
    unique, if `assume_unique_indices` says so.
    """
    x = as_array("delete", arr)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_index("delete", axis, x.ndim)
    size = x.shape[axis]
    if isinstance(obj, Tracer) and (obj.ndim == 0 or assume_unique_indices):
        return _deleted_at_run_time(x, obj, axis)
    if (
        not isinstance(obj, slice)
        and getattr(obj, "dtype", None) == dtypes.bool_
        and len(obj) != size
    ):
        raise ValueError(f"delete: the mask has {len(obj)} entries for an axis of size {size}.")
    return taken(x, np.delete(np.arange(size), _places("delete", obj, size)), axis)


def _deleted_at_run_time(x: Array, obj: Array, axis: int) -> Array:
    """Element j of the result is that at j + (how many of the deleted lie at or before it)."""
    size = x.shape[axis]
    obj = reshape(convert_element_type(obj, dtypes.int32), (obj.size,))
    gone = sort(select_n(lt(obj, np.int32(0)), obj, add(obj, np.int32(size))))
    gone = sub(gone, primitives.iota(dtypes.int32, obj.size))
    shape = (size - obj.size, obj.size)
    kept = primitives.iota(dtypes.int32, shape[0])
    before = ge(broadcast_in_dim(kept, shape, (0,)), broadcast_in_dim(gone, shape, (1,)))
    skipped = reduce_sum(convert_element_type(before, dtypes.int32), (1,))
    return taken(x, add(kept, skipped), axis)
