"""The same elements under other shapes: reshape, transpose, squeeze, broadcast, flip, roll.

Nothing here computes. Joining and cutting arrays is in joining.py, diagonals and triangles are in
diagonals.py, padding is in padding.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, Tracer
from funcgrad.numpy.axes import (
    Axis,
    axis_index,
    axis_indices,
    concrete,
    integer,
    shape_tuple,
    sizes_tuple,
)
from funcgrad.numpy.promote import (
    as_array,
    broadcast_shapes as _broadcast_shapes,
    broadcast_to_shape,
)
from funcgrad.primitives import shape as primitives
from funcgrad.primitives.basis import (
    convert_element_type,
    neg,
    reshape as _reshape,
    select_n,
    sub,
    transpose as _transpose,
)
from funcgrad.primitives.dynamic_slice import dynamic_slice_in_dim
from funcgrad.primitives.elementwise import rem
from funcgrad.primitives.logic import lt

# ---- reshape -------------------------------------------------------------------------------------


def reshape(a: Any, shape: Any, order: str = "C", *, copy: bool | None = None) -> Array:
    """The elements of `a` under another shape, in which one size may be -1: whatever is left.

    `order` says which index runs fastest: the last ("C") or the first ("F"). `copy` is accepted as
    in NumPy and has no effect, since arrays are immutable. ValueError if the sizes do not fit.

    >>> reshape(jnp.arange(6), (2, -1)).shape
    (2, 3)
    """
    x = as_array("reshape", a)
    sizes = _resolved(x.shape, sizes_tuple("reshape", shape))
    if _column_major("reshape", order):
        return transpose(_reshape(transpose(x), sizes[::-1]))
    return _reshape(x, sizes)


def _column_major(name: str, order: str) -> bool:
    if order not in ("C", "F"):
        raise ValueError(f"{name}: order must be 'C' or 'F', but got {order!r}.")
    return order == "F"


def _resolved(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    """The new shape with the size -1 filled in."""
    unknown = [d for d, size in enumerate(new) if isinstance(size, int) and size < 0]
    if len(unknown) > 1 or any(new[d] != -1 for d in unknown):
        raise ValueError(f"reshape: one size may be -1, and none else negative, but got {new}.")
    known = math.prod(size for d, size in enumerate(new) if d not in unknown)
    total = math.prod(old)
    if not unknown and known == total:
        return new
    if not unknown or known == 0 or not total % known == 0:
        raise ValueError(
            f"reshape: an array of shape {old} has {total} elements, which do not fit into {new}. "
            "The products of the sizes must agree."
        )
    (position,) = unknown
    return (*new[:position], total // known, *new[position + 1 :])


def ravel(a: Any, order: str = "C") -> Array:
    """All elements in one dimension, the last index running fastest ("C") or the first ("F")."""
    x = as_array("ravel", a)
    return _reshape(transpose(x) if _column_major("ravel", order) else x, (x.size,))


def squeeze(a: Any, axis: Axis = None) -> Array:
    """`a` without the given axes of size 1, or without all such."""
    x = as_array("squeeze", a)
    if axis is None:
        return primitives.squeeze(x, [d for d, size in enumerate(x.shape) if size == 1])
    return primitives.squeeze(x, axis_indices("squeeze", axis, x.ndim))


def expand_dims(a: Any, axis: int | Sequence[int]) -> Array:
    """`a` with new axes of size 1, which are at the positions `axis` of the result."""
    x = as_array("expand_dims", a)
    new = axis if isinstance(axis, (tuple, list)) else (axis,)
    return primitives.expand_dims(x, axis_indices("expand_dims", new, x.ndim + len(new)))


def atleast_1d(*arys: Any) -> Any:
    """Each array, reshaped to rank 1 if it has less. One array, or a list for several."""
    return _each_at_least("atleast_1d", arys, lambda x: _reshape(x, (1,)) if x.ndim == 0 else x)


def atleast_2d(*arys: Any) -> Any:
    """Each array with axes put in front until it has rank 2. One array, or a list for several."""
    return _each_at_least("atleast_2d", arys, lambda x: _reshape(x, (1,) * (2 - x.ndim) + x.shape))


def atleast_3d(*arys: Any) -> Any:
    """Each array with axes added until it has rank 3: (n,) becomes (1, n, 1), (m, n) (m, n, 1)."""
    return _each_at_least("atleast_3d", arys, _of_rank_three)


def _of_rank_three(x: Array) -> Array:
    shapes = {0: (1, 1, 1), 1: (1, *x.shape, 1), 2: (*x.shape, 1)}
    return _reshape(x, shapes.get(x.ndim, x.shape))


def _each_at_least(name: str, arys: Sequence[Any], raised: Any) -> Any:
    if len(arys) == 1:
        return raised(as_array(name, arys[0]))
    return [raised(as_array(name, a)) for a in arys]


# ---- order of axes -------------------------------------------------------------------------------


def transpose(a: Any, axes: Sequence[int] | None = None) -> Array:
    """`a` with its axes reversed, or in the order `axes`."""
    x = as_array("transpose", a)
    if axes is None:
        return _transpose(x, range(x.ndim)[::-1])
    return _permuted("transpose", x, axes)


def permute_dims(a: Any, /, axes: Sequence[int]) -> Array:
    """`a` with its axes in the order `axes`."""
    return _permuted("permute_dims", as_array("permute_dims", a), axes)


def _permuted(name: str, x: Array, axes: Sequence[int]) -> Array:
    order = axis_indices(name, tuple(axes), x.ndim)
    if len(order) != x.ndim:
        raise ValueError(
            f"{name}: axes must name each of the {x.ndim} axes of shape {x.shape} once, but are "
            f"{tuple(axes)}."
        )
    return _transpose(x, order)


def matrix_transpose(x: Any, /) -> Array:
    """`x` with its last two axes swapped."""
    x = as_array("matrix_transpose", x)
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose: needs rank 2 or more, but got shape {x.shape}.")
    return swapaxes(x, -1, -2)


def swapaxes(a: Any, axis1: int, axis2: int) -> Array:
    """`a` with two of its axes exchanged."""
    x = as_array("swapaxes", a)
    first, second = (axis_index("swapaxes", axis, x.ndim) for axis in (axis1, axis2))
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return _transpose(x, order)


def moveaxis(a: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """`a` with the axes `source` moved to the positions `destination`, the others in order."""
    x = as_array("moveaxis", a)
    given = [(axis,) if isinstance(axis, int) else tuple(axis) for axis in (source, destination)]
    source, destination = (axis_indices("moveaxis", axes, x.ndim) for axes in given)
    if len(source) != len(destination):
        raise ValueError(
            f"moveaxis: source and destination must be as long as each other, but are {given[0]} "
            f"and {given[1]}."
        )
    order = [d for d in range(x.ndim) if d not in source]
    for position, axis in sorted(zip(destination, source, strict=True)):
        order.insert(position, axis)
    return _transpose(x, order)


def rollaxis(a: Any, axis: int, start: int = 0) -> Array:
    """`a` with one axis moved back until it lies before position `start`."""
    x = as_array("rollaxis", a)
    axis = axis_index("rollaxis", axis, x.ndim)
    start = axis_index("rollaxis", start, x.ndim) if start != x.ndim else start
    return moveaxis(x, axis, start - 1 if axis < start else start)


# ---- broadcasting --------------------------------------------------------------------------------


def broadcast_to(array: Any, shape: Any) -> Array:
    """`array` repeated to `shape`: sizes are matched from the last axis backwards."""
    x = as_array("broadcast_to", array)
    shape = shape_tuple("broadcast_to", shape)
    if len(x.shape) > len(shape) or _broadcast_shapes("broadcast_to", x.shape, shape) != shape:
        raise ValueError(
            f"broadcast_to: shape {x.shape} does not broadcast to {shape}. Sizes are matched from "
            "the last axis backwards and must be equal, or 1 in the array."
        )
    return broadcast_to_shape(x, shape)


def broadcast_arrays(*args: Any) -> list[Array]:
    """The arrays, repeated to their common shape."""
    arrays = [as_array("broadcast_arrays", x, i) for i, x in enumerate(args)]
    if not arrays:
        return []
    shape = _broadcast_shapes("broadcast_arrays", *(x.shape for x in arrays))
    return [broadcast_to_shape(x, shape) for x in arrays]


def broadcast_shapes(*shapes: Any) -> tuple[Any, ...]:
    """The shape to which arrays of these shapes broadcast together.

    >>> broadcast_shapes((3, 1), 4)
    (3, 4)
    """
    sizes = [shape_tuple("broadcast_shapes", shape) for shape in shapes]
    return _broadcast_shapes("broadcast_shapes", *sizes) if sizes else ()


# ---- reversing and rotating ----------------------------------------------------------------------


def flip(m: Any, axis: Axis = None) -> Array:
    """The elements in reverse order along some axes, or along all."""
    x = as_array("flip", m)
    return primitives.rev(x, axis_indices("flip", axis, x.ndim))


def fliplr(m: Any) -> Array:
    """The columns (axis 1) in reverse order."""
    return flip(m, 1)


def flipud(m: Any) -> Array:
    """The rows (axis 0) in reverse order."""
    return flip(m, 0)


def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Array:
    """`m` turned `k` times by 90 degrees in the plane of two axes, from the first to the second."""
    x = as_array("rot90", m)
    first, second = axis_indices("rot90", tuple(axes), x.ndim)
    turns = integer("rot90", "k", k) % 4
    if turns == 2:
        return primitives.rev(x, (first, second))
    if turns == 1:
        return swapaxes(primitives.rev(x, (second,)), first, second)
    return primitives.rev(swapaxes(x, first, second), (second,)) if turns else x


def roll(a: Any, shift: Any, axis: Axis = None) -> Array:
    """`a` with its elements moved by `shift` places along `axis`; what leaves comes in again.

    Several shifts and axes go together. Without an axis the flattened array is rolled. Shifts may
    be computed values of rank 0 or 1.

    >>> roll(jnp.arange(4), 1).tolist()
    [3, 0, 1, 2]
    """
    x = as_array("roll", a)
    if axis is None:
        return _reshape(roll(_reshape(x, (x.size,)), shift, 0), x.shape)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    for step, d in _paired(shift, [axis_index("roll", d, x.ndim) for d in axes]):
        if not x.shape[d] == 0:
            x = _rolled(x, step, d)
    return x


def _paired(shift: Any, axes: list[int]) -> list[tuple[Any, int]]:
    """Shifts with their axes, either of which may be a single one for all of the other."""
    shifts = list(shift) if isinstance(shift, (tuple, list)) else _unpacked(shift)
    if 1 not in (len(shifts), len(axes)) and len(shifts) != len(axes):
        raise ValueError(
            f"roll: shifts and axes must pair up, but there are {len(shifts)} and {len(axes)}."
        )
    if not (shifts and axes):
        return []
    length = max(len(shifts), len(axes))
    return list(zip(shifts * (length // len(shifts)), axes * (length // len(axes)), strict=True))


def _unpacked(shift: Any) -> list[Any]:
    if not isinstance(shift, Tracer):
        return concrete("roll", "shift", shift).ravel().tolist()
    if shift.ndim == 0:
        return [shift]
    return [primitives.index_in_dim(shift, i, keepdims=False) for i in range(shift.shape[0])]


def _rolled(x: Array, step: Any, axis: int) -> Array:
    size = x.shape[axis]
    if not isinstance(step, Tracer):
        cut = -integer("roll", "shift", step) % size
        if not cut:
            return x
        parts = primitives.split(x, (cut, size - cut), axis)
        return primitives.concatenate(parts[::-1], axis)
    step = rem(convert_element_type(step, dtypes.int32), np.int32(size))
    start = select_n(lt(step, np.int32(0)), sub(np.int32(size), step), neg(step))
    doubled = primitives.concatenate([x, x], axis)
    return dynamic_slice_in_dim(doubled, start, size, axis)
