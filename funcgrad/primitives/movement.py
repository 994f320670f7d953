"""The operations that move and sum: `broadcast_in_dim`, `reshape`, `transpose`, `reduce_sum`,
longhand.

Each is linear, and their transposes are written in each other. `basis` adds arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.trace import Axis

_MOST = 1 << 60  # elements; NumPy counts bytes in 63 bits


def check_shape(name: str, shape: Sequence[Any]) -> None:
    """ValueError for a shape with a negative size, or with more elements than can be counted."""
    known = [size for size in shape if isinstance(size, int)]
    if any(size < 0 for size in known):
        raise ValueError(f"{name}: sizes must not be negative, but the shape is {tuple(shape)}.")
    if 0 not in known and math.prod(known) > _MOST:
        raise ValueError(
            f"{name}: an array of shape {tuple(shape)} has more elements than there are addresses."
        )


def _broadcast_in_dim_abstract(
    x: ShapedArray, *, shape: Any, broadcast_dimensions: Any
) -> ShapedArray:
    if len(broadcast_dimensions) != x.ndim:
        raise ValueError(
            f"broadcast_in_dim: broadcast_dimensions {broadcast_dimensions} must name one "
            "dimension of the result "
            f"for each of the operand's, whose shape is {x.shape}."
        )
    repeated = len(set(broadcast_dimensions)) != x.ndim
    for size, d in zip(x.shape, broadcast_dimensions):
        if repeated or not 0 <= d < len(shape) or (size != shape[d] and size != 1):
            raise ValueError(
                f"broadcast_in_dim: shape {x.shape} does not fit into {shape} at "
                f"{broadcast_dimensions}."
            )
    check_shape("broadcast_in_dim", shape)
    return ShapedArray(tuple(shape), x.dtype)


_SMALL = 65536  # up to here a filled array is cheaper than a view of stride zero and what reads it


def _broadcast_in_dim_value(xp: Any, x: Any, *, shape: Any, broadcast_dimensions: Any) -> Any:
    if len(broadcast_dimensions) != x.ndim or min(broadcast_dimensions, default=0) < 0:
        raise ValueError("not one dimension each")  # Python would count from the end, or drop some
    if x.ndim:
        expanded = [1] * len(shape)
        for size, d in zip(x.shape, broadcast_dimensions):
            expanded[d] = size
        x = x.reshape(expanded)
    if math.prod(shape) > _SMALL:
        return xp.broadcast_to(x, shape)
    out = xp.empty(shape, x.dtype)
    out[...] = x
    return out


def _broadcast_in_dim_transpose(
    ct: Any, x: Any, *, shape: Any, broadcast_dimensions: Any
) -> list[Any]:
    new = tuple(d for d in range(len(shape)) if d not in broadcast_dimensions)
    stretched = tuple(
        d for size, d in zip(x.aval.shape, broadcast_dimensions) if size == 1 and shape[d] != 1
    )
    return [reshape(reduce_sum(ct, tuple(sorted(new + stretched))), x.aval.shape)]


def _broadcast_in_dim_batch(
    axis: Axis, args: Any, dims: Any, *, shape: Any, broadcast_dimensions: Any
) -> Any:
    (x,), (dim,) = args, dims
    moved = (0, *(d + 1 for d in broadcast_dimensions))
    return broadcast_in_dim(moveaxis(x, dim, 0), (axis.size, *shape), moved), 0


def _broadcast_in_dim_loops(x: ShapedArray, *, shape: Any, broadcast_dimensions: Any) -> loops.View:
    return loops.View(
        tuple(
            loops.Affine(0, ((d, 1),) if size == shape[d] else ())
            for size, d in zip(x.shape, broadcast_dimensions)
        )
    )


broadcast_in_dim_p = Primitive(
    "broadcast_in_dim",
    abstract=_broadcast_in_dim_abstract,
    value=_broadcast_in_dim_value,
    linear=(0,),
    transpose=_broadcast_in_dim_transpose,
    batch=_broadcast_in_dim_batch,
    loops=_broadcast_in_dim_loops,
)


def broadcast_in_dim(
    operand: Any, shape: Sequence[Any], broadcast_dimensions: Sequence[int]
) -> Any:
    """The operand inside a larger shape: its dimension `i` becomes dimension
    `broadcast_dimensions[i]`.
    """
    shape, broadcast_dimensions = tuple(shape), tuple(map(int, broadcast_dimensions))
    if typeof(operand).shape == shape and broadcast_dimensions == tuple(range(len(shape))):
        return operand
    return broadcast_in_dim_p.bind(operand, shape=shape, broadcast_dimensions=broadcast_dimensions)


def _reshape_abstract(x: ShapedArray, *, new_sizes: Any) -> ShapedArray:
    if math.prod(x.shape) != math.prod(new_sizes):
        raise ValueError(
            f"reshape: the new shape {tuple(new_sizes)} must have as many elements as the old one, "
            f"{x.shape}."
        )
    return ShapedArray(tuple(new_sizes), x.dtype)


def _reshape_batch(axis: Axis, args: Any, dims: Any, *, new_sizes: Any) -> Any:
    return reshape(moveaxis(args[0], dims[0], 0), (axis.size, *new_sizes)), 0


reshape_p = Primitive(
    "reshape",
    abstract=_reshape_abstract,
    value=lambda xp, x, *, new_sizes: x.reshape(new_sizes),
    linear=(0,),
    transpose=lambda ct, x, *, new_sizes: [reshape(ct, x.aval.shape)],
    batch=_reshape_batch,
    loops=lambda x, *, new_sizes: loops.Reshape(),
)


def reshape(operand: Any, new_sizes: Sequence[Any]) -> Any:
    """The same elements in row-major order, under a shape with as many of them."""
    if typeof(operand).shape == tuple(new_sizes):
        return operand
    return reshape_p.bind(operand, new_sizes=tuple(new_sizes))


def _transpose_abstract(x: ShapedArray, *, permutation: Any) -> ShapedArray:
    if sorted(permutation) != list(range(x.ndim)):
        raise ValueError(
            f"transpose: {permutation} is not a permutation of the {x.ndim} dimensions of an array "
            f"of shape {x.shape}."
        )
    return ShapedArray(tuple(x.shape[d] for d in permutation), x.dtype)


def _transpose_value(xp: Any, x: Any, *, permutation: Any) -> Any:
    if min(permutation, default=0) < 0:
        raise ValueError("negative dimensions")  # NumPy would count from the end
    return x.transpose(permutation)


def _inverse(permutation: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(permutation)), key=permutation.__getitem__))


def _transpose_batch(axis: Axis, args: Any, dims: Any, *, permutation: Any) -> Any:
    (x,), (dim,) = args, dims
    return transpose(x, (dim, *(d + (d >= dim) for d in permutation))), 0


transpose_p = Primitive(
    "transpose",
    abstract=_transpose_abstract,
    value=_transpose_value,
    linear=(0,),
    transpose=lambda ct, x, *, permutation: [transpose(ct, _inverse(permutation))],
    batch=_transpose_batch,
    loops=lambda x, *, permutation: loops.View(
        tuple(loops.Affine(0, ((permutation.index(d), 1),)) for d in range(x.ndim))
    ),
)


def transpose(operand: Any, permutation: Sequence[int]) -> Any:
    """The operand with dimension `i` of the result being its dimension `permutation[i]`."""
    permutation = tuple(map(int, permutation))
    if permutation == tuple(range(typeof(operand).ndim)):
        return operand
    return transpose_p.bind(operand, permutation=permutation)


def moveaxis(operand: Any, source: int, destination: int) -> Any:
    """The operand with one dimension moved, the others in their order."""
    if source == destination:
        return operand
    order = [d for d in range(typeof(operand).ndim) if d != source]
    order.insert(destination, source)
    return transpose(operand, order)


def batched(axis: Axis, operand: Any, dim: int | None, to: int = 0) -> Any:
    """The operand with its mapped dimension at `to`; broadcast along it if it has none."""
    if dim is not None:
        return moveaxis(operand, dim, to)
    shape = list(typeof(operand).shape)
    kept = [d + (d >= to) for d in range(len(shape))]
    shape.insert(to, axis.size)
    return broadcast_in_dim(operand, shape, kept)


def check_axes(name: str, axes: Sequence[int], rank: int) -> None:
    """ValueError unless the axes are different dimensions of an array of that rank."""
    if len(set(axes)) != len(axes) or not all(0 <= d < rank for d in axes):
        raise ValueError(
            f"{name}: axes must be different dimensions, counted from 0, of an array of rank "
            f"{rank}, but got {tuple(axes)}."
        )


def sorted_axes(name: str, x: Any, axes: Sequence[int]) -> tuple[int, ...]:
    """The axes of a reduction in order; negative ones, which NumPy would accept, are refused."""
    axes = tuple(sorted(axes))
    if axes and axes[0] < 0:
        check_axes(name, axes, typeof(x).ndim)
    return axes


def reduced(shape: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    """The shape without `axes`."""
    return tuple(size for d, size in enumerate(shape) if d not in axes)


def unreduce(x: Any, shape: Sequence[Any], axes: Sequence[int]) -> Any:
    """Broadcasts the result of a reduction over `axes` back to the operand's shape."""
    return broadcast_in_dim(x, shape, [d for d in range(len(shape)) if d not in axes])


def reduction_batch(primitive: Primitive) -> Callable[..., Any]:
    """The batch rule of reductions over `axes`: the mapped dimension is one more that stays."""

    def rule(axis: Axis, args: Any, dims: Any, *, axes: Any, **params: Any) -> Any:
        (x,), (dim,) = args, dims
        moved = tuple(d + (d >= dim) for d in axes)
        return primitive.bind(x, axes=moved, **params), dim - sum(d < dim for d in moved)

    return rule


def _reduce_sum_abstract(x: ShapedArray, *, axes: Any) -> ShapedArray:
    if x.dtype == dtypes.bool_ or dtypes.is_key(x.dtype):
        raise TypeError(f"reduce_sum: needs numbers, but got {x}. Convert bools with astype.")
    check_axes("reduce_sum", axes, x.ndim)
    return ShapedArray(reduced(x.shape, axes), x.dtype)


def _reduce_sum_value(xp: Any, x: Any, *, axes: Any) -> Any:
    if x.dtype == dtypes.bool_:
        raise TypeError("bools")  # NumPy would count them
    return xp.reduce_sum(x, axes)


reduce_sum_p = Primitive(
    "reduce_sum",
    abstract=_reduce_sum_abstract,
    value=_reduce_sum_value,
    linear=(0,),
    transpose=lambda ct, x, *, axes: [unreduce(ct, x.aval.shape, axes)],
    loops=lambda x, *, axes: loops.Reduce("add", axes, dtypes.accumulator(x.dtype)),
)
reduce_sum_p.batch = reduction_batch(reduce_sum_p)


def reduce_sum(operand: Any, axes: Sequence[int]) -> Any:
    """The sum over `axes`, in the operand's dtype."""
    axes = sorted_axes("reduce_sum", operand, axes)
    return reduce_sum_p.bind(operand, axes=axes) if axes else operand
