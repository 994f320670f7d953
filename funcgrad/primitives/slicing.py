"""slice and pad, and the small helpers on sizes and dimensions that the family shares.

Slicing takes a regular grid out of an array; padding puts one into a larger array. The derivative
of either is the other. Next: shape.py, which joins, splits, flips and relabels arrays.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from operator import index, le
from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import is_linear
from funcgrad.primitives.basis import (
    add,
    batched,
    broadcast_in_dim,
    full,
    neg,
    reduce_sum,
    select_n,
)
from funcgrad.primitives.kinds import linear

Sizes = Sequence[Any]


def static_sizes(sizes: Sizes) -> tuple[Any, ...]:
    """Sizes as a tuple of Python ints; a symbolic size stays what it is."""
    return tuple(size if type(size) is int else _plain_size(size) for size in sizes)


def _plain_size(size: Any) -> Any:
    return index(size) if hasattr(size, "__index__") else size


def nonnegative(dimension: int, ndim: int, name: str) -> int:
    """`dimension` counted from the front; `name` is the function that refuses an impossible one."""
    if not -ndim <= dimension < ndim:
        raise ValueError(
            f"{name}: dimension {dimension} is out of range for an array of rank {ndim}."
            + (f" Use one from {-ndim} to {ndim - 1}." if ndim else "")
        )
    return index(dimension) % ndim


def inserted(values: tuple[Any, ...], position: int, value: Any) -> tuple[Any, ...]:
    """`values` with one more at `position`."""
    return (*values[:position], value, *values[position:])


def replaced(values: tuple[Any, ...], position: int, value: Any) -> tuple[Any, ...]:
    """`values` with the one at `position` exchanged."""
    return (*values[:position], value, *values[position + 1 :])


def aval_of(operand: Any) -> ShapedArray:
    """The abstract value of an operand of a transpose rule, wanted or given."""
    return operand.aval if is_linear(operand) else typeof(operand)


def dilated(size: Any, interior: int) -> Any:
    """A size after `interior` elements have been put between each two neighbours."""
    if interior == 0 or size == 0:
        return size
    return size + (size - 1) * interior


# ---------------------------------------------------------------- slice


def _python_slices(start_indices, limit_indices, strides):
    strides = strides or (1,) * len(start_indices)
    return tuple(map(builtins.slice, start_indices, limit_indices, strides))


def _slice_size(size, start, limit, stride):
    known = all(isinstance(s, int) for s in (size, start, limit))
    if known and not 0 <= start <= limit <= size:
        raise ValueError(
            f"slice: needs 0 <= start <= limit <= size in each dimension, but got start "
            f"{start} and limit {limit} in a dimension of size {size}. "
            "Clip the indices, or use dynamic_slice."
        )
    if stride < 1:
        raise ValueError(f"slice: strides must be positive, but got {stride}. Use rev to go back.")
    return limit - start if stride == 1 else (limit - start + stride - 1) // stride


def _slice_abstract(x, *, start_indices, limit_indices, strides):
    steps = strides or (1,) * len(start_indices)
    if not len(start_indices) == len(limit_indices) == len(steps) == x.ndim:
        raise ValueError(
            f"slice: needs a start, limit and stride for each dimension of shape {x.shape}, but "
            f"got {start_indices}, {limit_indices} and {strides}."
        )
    return ShapedArray(
        tuple(map(_slice_size, x.shape, start_indices, limit_indices, steps)), x.dtype
    )


def _slice_value(xp, x, *, start_indices, limit_indices, strides):
    inside = all(map(le, start_indices, limit_indices)) and all(map(le, limit_indices, x.shape))
    ahead = min(start_indices, default=0) >= 0 and (not strides or min(strides) > 0)
    whole = len(start_indices) == len(limit_indices) == len(strides or x.shape) == x.ndim
    if not (inside and ahead and whole):  # Python would silently clip, or count from the end
        _slice_abstract(
            x, start_indices=start_indices, limit_indices=limit_indices, strides=strides
        )
    return x[_python_slices(start_indices, limit_indices, strides)]


def _slice_transpose(ct, x, *, start_indices, limit_indices, strides):
    """Zeros where the slice left elements out."""
    steps = strides or (1,) * len(start_indices)
    config = [
        (start, size - start - dilated(taken, step - 1), step - 1)
        for size, start, step, taken in zip(
            x.aval.shape, start_indices, steps, typeof(ct).shape, strict=True
        )
    ]
    return [pad(ct, _scalar_zero(ct), config)]


def _slice_batch(axis, args, dims, *, start_indices, limit_indices, strides):
    (x,), (dim,) = args, dims
    starts, limits = inserted(start_indices, dim, 0), inserted(limit_indices, dim, axis.size)
    return slice(x, starts, limits, strides and inserted(strides, dim, 1)), dim


def _slice_loops(x, *, start_indices, limit_indices, strides):
    steps = strides or (1,) * x.ndim
    return loops.View(
        tuple(
            loops.Affine(start, ((d, step),))
            for d, (start, step) in enumerate(zip(start_indices, steps, strict=True))
        )
    )


slice_p = linear(
    "slice",
    abstract=_slice_abstract,
    value=_slice_value,
    transpose=_slice_transpose,
    batch=_slice_batch,
    loops=_slice_loops,
)


def slice(x: Any, start_indices: Sizes, limit_indices: Sizes, strides: Sizes | None = None) -> Any:
    """The elements of `x` from `start_indices` up to `limit_indices`, every `strides`-th of them.

    Bounds are static, one for each dimension, and lie inside the array: ValueError otherwise.
    """
    starts, limits = static_sizes(start_indices), static_sizes(limit_indices)
    steps = None if strides is None else static_sizes(strides)
    if steps is not None and len(steps) == len(starts) and all(step == 1 for step in steps):
        steps = None
    shape = typeof(x).shape
    if steps is None and limits == shape and len(starts) == len(shape) and not any(starts):
        return x
    return slice_p.bind(x, start_indices=starts, limit_indices=limits, strides=steps)


def slice_in_dim(
    x: Any, start_index: int | None, limit_index: int | None, stride: int = 1, axis: int = 0
) -> Any:
    """Slice one dimension; None and negative indices mean what they mean in `x[a:b:stride]`."""
    shape = typeof(x).shape
    axis = nonnegative(axis, len(shape), "slice_in_dim")
    start = _from_front(0 if start_index is None else start_index, shape[axis])
    limit = _from_front(shape[axis] if limit_index is None else limit_index, shape[axis])
    return slice(
        x,
        replaced((0,) * len(shape), axis, start),
        replaced(shape, axis, limit),
        None if stride == 1 else replaced((1,) * len(shape), axis, stride),
    )


def _from_front(position, size):
    return position + size if isinstance(position, int) and position < 0 else position


# ---------------------------------------------------------------- pad


def _scalar_zero(x):
    return full((), 0, typeof(x).dtype)


def _padded_size(size, low, high, interior):
    if interior < 0:
        raise ValueError(f"pad: interior padding must not be negative, but got {interior}.")
    result = low + dilated(size, interior) + high
    if isinstance(result, int) and result < 0:
        raise ValueError(
            f"pad: sizes must not become negative, but padding ({low}, {high}, {interior}) takes a "
            f"dimension of size {size} to {result}. Remove fewer elements."
        )
    return result


def _pad_abstract(x, padding_value, *, padding_config):
    if x.dtype != padding_value.dtype:
        raise TypeError(
            f"pad: array and padding value must have one dtype, but got {x.dtype} and "
            f"{padding_value.dtype}. Convert one of them."
        )
    if padding_value.shape != ():
        raise ValueError(
            f"pad: the padding value must be a scalar, but got shape {padding_value.shape}."
        )
    if len(padding_config) != x.ndim:
        raise ValueError(
            f"pad: needs (low, high, interior) for each dimension of shape {x.shape}, but got "
            f"{len(padding_config)} of them."
        )
    return ShapedArray(_padded_shape(x.shape, padding_config), x.dtype)


def _padded_shape(shape, padding_config):
    return tuple(
        _padded_size(size, *config) for size, config in zip(shape, padding_config, strict=True)
    )


def _kept(size, result, low, interior):
    """The elements that padding keeps: their positions in the result, and in the operand."""
    step = interior + 1
    first = max(0, -(low // step))
    stop = max(first, min(size, (result - low + interior) // step))
    begin = low + first * step
    return builtins.slice(begin, low + stop * step, step), builtins.slice(first, stop)


def _pad_value(xp, x, padding_value, *, padding_config):
    if x.dtype != padding_value.dtype or padding_value.ndim:  # NumPy would convert and stretch it
        _pad_abstract(x, padding_value, padding_config=padding_config)
    shape = _padded_shape(x.shape, padding_config)
    out = xp.empty(shape, x.dtype)
    out[...] = padding_value
    places = [
        _kept(size, result, low, interior)
        for size, result, (low, _, interior) in zip(x.shape, shape, padding_config, strict=True)
    ]
    out[tuple(target for target, _ in places)] = x[tuple(source for _, source in places)]
    return out


def _pad_transpose(ct, x, padding_value, *, padding_config):
    """The operand's elements are cut out again; the padding value takes all the rest."""
    inside = _unpadded(ct, aval_of(x).shape, padding_config)
    outside = None
    if is_linear(padding_value):
        everywhere = tuple(range(typeof(ct).ndim))
        outside = add(reduce_sum(ct, everywhere), neg(reduce_sum(inside, everywhere)))
    return [inside if is_linear(x) else None, outside]


def _unpadded(ct, shape, padding_config):
    """Restores with zeros what negative padding removed, then slices out the operand."""
    removed = [(max(0, -low), max(0, -high), 0) for low, high, _ in padding_config]
    whole = pad(ct, _scalar_zero(ct), removed)
    starts = [max(0, low) for low, _, _ in padding_config]
    steps = [interior + 1 for _, _, interior in padding_config]
    limits = [
        start + dilated(size, step - 1)
        for start, size, step in zip(starts, shape, steps, strict=True)
    ]
    return slice(whole, starts, limits, steps)


def _pad_batch(axis, args, dims, *, padding_config):
    (x, padding_value), (dim, value_dim) = args, dims
    if value_dim is None:
        return pad(x, padding_value, inserted(padding_config, dim, (0, 0, 0))), dim
    x = batched(axis, x, dim)
    config = ((0, 0, 0), *padding_config)
    true, false = full(typeof(x).shape, True, dtypes.bool_), full((), False, dtypes.bool_)
    inside = pad(true, false, config)
    padded = pad(x, _scalar_zero(x), config)
    outside = broadcast_in_dim(padding_value, typeof(padded).shape, (0,))
    return select_n(inside, outside, padded), 0


def _pad_loops(x, padding_value, *, padding_config):
    starts = tuple(low for low, _, _ in padding_config)
    steps = tuple(interior + 1 for _, _, interior in padding_config)
    return loops.Guarded((loops.Part(0, starts, steps, x.shape),), fill=1)


pad_p = Primitive(
    "pad",
    abstract=_pad_abstract,
    value=_pad_value,
    linear=(0, 1),
    transpose=_pad_transpose,
    batch=_pad_batch,
    loops=_pad_loops,
)


def pad(x: Any, padding_value: Any, padding_config: Sequence[tuple[Any, Any, int]]) -> Any:
    """Surround `x`, and separate its elements, by the scalar `padding_value`.

    `padding_config` holds (low, high, interior) for each dimension; negative low and high remove
    elements. Raises ValueError if a size would become negative.
    """
    config = tuple(static_sizes(entry) for entry in padding_config)
    if any(len(entry) != 3 for entry in config):
        raise ValueError(f"pad: needs (low, high, interior) for each dimension, but got {config}.")
    if len(config) == len(typeof(x).shape) and not any(map(any, config)):
        return x
    return pad_p.bind(x, padding_value, padding_config=config)
