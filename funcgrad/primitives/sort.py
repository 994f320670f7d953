"""sort, of one or several arrays by one or several keys, and top_k.

Sorting permutes: the derivative permutes the tangents likewise, by the positions that a sorted
iota records. NaN sorts last (top_k: is the largest), -0.0 equals 0.0, complex numbers sort by their
real, then by their imaginary part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import Zero, is_zero
from funcgrad.primitives.basis import batched
from funcgrad.primitives.gather import gather
from funcgrad.primitives.index_maps import GatherDimensionNumbers
from funcgrad.primitives.ordering import (
    comparable,
    largest_positions,
    sorted_values,
    stable_order,
    take,
)
from funcgrad.primitives.shape import broadcasted_iota, expand_dims, rev
from funcgrad.primitives.slicing import nonnegative, replaced


def gather_along(x: Any, order: Any, dimension: int) -> Any:
    """The elements of `x` at the positions `order` along `dimension`."""
    ndim = len(typeof(x).shape)
    others = tuple(d for d in range(ndim) if d != dimension)
    numbers = GatherDimensionNumbers((), (dimension,), (dimension,), others, others)
    indices = expand_dims(order, (ndim,))
    return gather(x, indices, numbers, (1,) * ndim, mode="promise_in_bounds")


def _gathered_tangents(tangents, outs, order, dimension):
    return [
        Zero(typeof(out).tangent()) if is_zero(t) else gather_along(t, order, dimension)
        for t, out in zip(tangents, outs, strict=True)
    ]


# ---------------------------------------------------------------- sort


def _sort_abstract(*xs, dimension, is_stable, num_keys):
    for x in xs[1:]:
        if x.shape != xs[0].shape:
            raise ValueError(
                f"sort: operands must have equal shapes, but got {xs[0].shape} and {x.shape}. "
                "Broadcast them first."
            )
    return [ShapedArray(x.shape, x.dtype) for x in xs]


def _sort_value(xp, *xs, dimension, is_stable, num_keys):
    if len(xs) == 1:
        return [sorted_values(xp, xs[0], dimension, is_stable)]
    _sort_abstract(*xs, dimension=dimension, is_stable=is_stable, num_keys=num_keys)
    keys = [key for x in xs[:num_keys] for key in comparable(xp, x)]
    order = stable_order(xp, keys, dimension)
    return [take(xp, x, order, dimension) for x in xs]


def _sort_jvp(primals, tangents, *, dimension, is_stable, num_keys):
    positions = broadcasted_iota(dtypes.int32, typeof(primals[0]).shape, dimension)
    *outs, order = sort_p.bind(
        *primals, positions, dimension=dimension, is_stable=is_stable, num_keys=num_keys
    )
    return outs, _gathered_tangents(tangents, outs, order, dimension)


def _sort_batch(axis, args, dims, *, dimension, **params):
    lanes = [batched(axis, x, dim) for x, dim in zip(args, dims, strict=True)]
    return sort_p.bind(*lanes, dimension=dimension + 1, **params), [0] * len(lanes)


sort_p = Primitive(
    "sort",
    abstract=_sort_abstract,
    value=_sort_value,
    jvp=_sort_jvp,
    batch=_sort_batch,
    loops=lambda *xs, **params: loops.Opaque("sort", "sort"),
    multiple_results=True,
)


def sort(operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1) -> Any:
    """Sort one array, or several of equal shape together, in ascending order along `dimension`.

    The first `num_keys` arrays are compared, the first of them first; the others follow along.
    Returns an array, or a tuple for a sequence of arrays. Raises ValueError if shapes differ.
    """
    several = isinstance(operand, Sequence)
    operands = tuple(operand) if several else (operand,)
    if not operands or not 1 <= num_keys <= len(operands):
        raise ValueError(
            f"sort: num_keys must be between 1 and the number of arrays, but got {num_keys} for "
            f"{len(operands)} arrays."
        )
    dimension = nonnegative(dimension, len(typeof(operands[0]).shape), "sort")
    outs = sort_p.bind(
        *operands, dimension=dimension, is_stable=bool(is_stable), num_keys=int(num_keys)
    )
    return tuple(outs) if several else outs[0]


def sort_key_val(
    keys: Any, values: Any, dimension: int = -1, is_stable: bool = True
) -> tuple[Any, Any]:
    """Sort `keys` along `dimension`, and reorder `values` likewise."""
    return sort((keys, values), dimension, is_stable)


def argsort(x: Any, dimension: int = -1, is_stable: bool = True, descending: bool = False) -> Any:
    """Positions (int32) of the elements of `x` in ascending or descending order along `dimension`.

    Equal elements keep their order, also when descending.
    """
    shape = typeof(x).shape
    dimension = nonnegative(dimension, len(shape), "argsort")
    positions = broadcasted_iota(dtypes.int32, shape, dimension)
    if not descending:
        return sort((x, positions), dimension, is_stable)[1]
    x, positions = rev(x, (dimension,)), rev(positions, (dimension,))
    return rev(sort((x, positions), dimension, is_stable)[1], (dimension,))


# ---------------------------------------------------------------- top_k


def _top_k_abstract(x, *, k, axis):
    if dtypes.is_complex(x.dtype):
        raise TypeError(f"top_k: complex numbers have no order, but got {x.dtype}. Use abs first.")
    size = x.shape[axis]
    if k < 0 or (isinstance(size, int) and k > size):
        raise ValueError(
            f"top_k: k must be between 0 and the size of dimension {axis}, which is {size}, "
            f"but got {k}."
        )
    shape = replaced(x.shape, axis, k)
    return [ShapedArray(shape, x.dtype), ShapedArray(shape, dtypes.int32)]


def _top_k_value(xp, x, *, k, axis):
    _top_k_abstract(x, k=k, axis=axis)
    order = largest_positions(xp, xp.moveaxis(x, axis, -1), k)
    order = xp.moveaxis(order, -1, axis).astype(dtypes.int32)
    return [take(xp, x, order, axis), order]


def _top_k_jvp(primals, tangents, *, k, axis):
    (x,), (t,) = primals, tangents
    values, order = top_k(x, k, axis=axis)
    (tangent,) = _gathered_tangents([t], [values], order, axis)
    return [values, order], [tangent, Zero(typeof(order).tangent())]


def _top_k_batch(mapped, args, dims, /, *, k, axis):
    (x,), (dim,) = args, dims
    return list(top_k(x, k, axis=axis + (axis >= dim))), [dim, dim]


top_k_p = Primitive(
    "top_k",
    abstract=_top_k_abstract,
    value=_top_k_value,
    jvp=_top_k_jvp,
    batch=_top_k_batch,
    loops=lambda x, **params: loops.Opaque("top_k", "top_k"),
    weak=lambda flags, params: False,
    multiple_results=True,
)


def top_k(operand: Any, k: int, *, axis: int = -1) -> tuple[Any, Any]:
    """The `k` largest elements along `axis`, largest first, and their positions (int32).

    Among equal elements those that come first are taken. NaN counts as the largest number.
    """
    axis = nonnegative(axis, len(typeof(operand).shape), "top_k")
    values, order = top_k_p.bind(operand, k=int(k), axis=axis)
    return values, order
