"""Moving elements without computing on them: squeeze, rev, concatenate, split, copy; and iota.

All but iota are linear, and each states how a cotangent travels back: concatenate and split undo
each other, rev and copy undo themselves. The longhand members of the family (reshape, transpose,
broadcast_in_dim) are in basis.py; slice and pad, re-exported here, in slicing.py.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import is_linear
from funcgrad.primitives.basis import (
    batched,
    broadcast_in_dim,
    check_shape,
    instantiate,
    reshape,
)
from funcgrad.primitives.kinds import linear
from funcgrad.primitives.slicing import (
    aval_of,
    inserted,
    nonnegative,
    pad,
    pad_p,
    replaced,
    slice,
    slice_in_dim,
    slice_p,
    static_sizes,
)

__all__ = [
    "broadcasted_iota",
    "concatenate",
    "concatenate_p",
    "copy",
    "copy_p",
    "expand_dims",
    "index_in_dim",
    "iota",
    "iota_p",
    "pad",
    "pad_p",
    "rev",
    "rev_p",
    "slice",
    "slice_in_dim",
    "slice_p",
    "split",
    "split_p",
    "squeeze",
    "squeeze_p",
]


def _in_batch(dimensions, dim):
    """Where the dimensions of one lane lie in an operand whose mapped dimension is `dim`."""
    return tuple(d + (d >= dim) for d in dimensions)


def _identity_view(ndim):
    return [loops.Affine(0, ((d, 1),)) for d in range(ndim)]


def _distinct(dimensions, ndim, name):
    """The dimensions, counted from the front and sorted; raises if one is named twice."""
    found = sorted(nonnegative(d, ndim, name) for d in dimensions)
    if len(set(found)) != len(found):
        raise ValueError(f"{name}: each dimension may be named once, but got {tuple(dimensions)}.")
    return tuple(found)


# ---------------------------------------------------------------- squeeze, expand_dims


def _squeeze_abstract(x, *, dimensions):
    for d in dimensions:
        if not x.shape[d] == 1:
            raise ValueError(
                f"squeeze: only dimensions of size 1 can be removed, but dimension {d} of shape "
                f"{x.shape} has size {x.shape[d]}. Index it, or leave it out."
            )
    kept = tuple(size for d, size in enumerate(x.shape) if d not in dimensions)
    return ShapedArray(kept, x.dtype)


def _squeeze_batch(axis, args, dims, *, dimensions):
    (x,), (dim,) = args, dims
    removed = _in_batch(dimensions, dim)
    return squeeze(x, removed), dim - sum(d < dim for d in removed)


def _squeeze_loops(x, *, dimensions):
    remaining = iter(range(x.ndim))
    return loops.View(
        tuple(
            loops.Affine(0, () if d in dimensions else ((next(remaining), 1),))
            for d in range(x.ndim)
        )
    )


squeeze_p = linear(
    "squeeze",
    abstract=_squeeze_abstract,
    value=lambda xp, x, *, dimensions: xp.squeeze(x, dimensions),
    transpose=lambda ct, x, *, dimensions: [reshape(ct, x.aval.shape)],
    batch=_squeeze_batch,
    loops=_squeeze_loops,
)


def squeeze(x: Any, dimensions: Sequence[int]) -> Any:
    """Remove `dimensions`, each of size 1."""
    dimensions = _distinct(dimensions, len(typeof(x).shape), "squeeze")
    return squeeze_p.bind(x, dimensions=dimensions) if dimensions else x


def expand_dims(x: Any, dimensions: Sequence[int]) -> Any:
    """Insert dimensions of size 1; `dimensions` are their positions in the result."""
    shape = typeof(x).shape
    new = _distinct(dimensions, len(shape) + len(dimensions), "expand_dims")
    if not new:
        return x
    result = shape
    for position in new:
        result = inserted(result, position, 1)
    return broadcast_in_dim(x, result, tuple(d for d in range(len(result)) if d not in new))


def index_in_dim(x: Any, position: int, axis: int = 0, keepdims: bool = True) -> Any:
    """The elements at one static `position` of `axis`; negative positions count from the end."""
    shape = typeof(x).shape
    axis = nonnegative(axis, len(shape), "index_in_dim")
    position = nonnegative(position, shape[axis], "index_in_dim")
    taken = slice_in_dim(x, position, position + 1, axis=axis)
    return taken if keepdims else squeeze(taken, (axis,))


# ---------------------------------------------------------------- rev, copy


def _rev_batch(axis, args, dims, *, dimensions):
    (x,), (dim,) = args, dims
    return rev(x, _in_batch(dimensions, dim)), dim


def _rev_loops(x, *, dimensions):
    view = _identity_view(x.ndim)
    for d in dimensions:
        view[d] = loops.Affine(x.shape[d] - 1, ((d, -1),))
    return loops.View(tuple(view))


rev_p = linear(
    "rev",
    abstract=lambda x, *, dimensions: ShapedArray(x.shape, x.dtype),
    value=lambda xp, x, *, dimensions: xp.flip(x, dimensions),
    transpose=lambda ct, x, *, dimensions: [rev(ct, dimensions)],
    batch=_rev_batch,
    loops=_rev_loops,
)


def rev(x: Any, dimensions: Sequence[int]) -> Any:
    """`x` with the order of its elements along `dimensions` reversed."""
    dimensions = _distinct(dimensions, len(typeof(x).shape), "rev")
    return rev_p.bind(x, dimensions=dimensions) if dimensions else x


copy_p = linear(
    "copy",
    abstract=lambda x: ShapedArray(x.shape, x.dtype),
    value=lambda xp, x: x.copy(),
    transpose=lambda ct, x: [ct],
    batch=lambda axis, args, dims: (copy(args[0]), dims[0]),
    loops=lambda x: loops.View(tuple(_identity_view(x.ndim))),
)


def copy(x: Any) -> Any:
    """An equal array that shares no memory with `x`."""
    return copy_p.bind(x)


# ---------------------------------------------------------------- concatenate


def _concatenate_abstract(*xs, dimension):
    first, size = xs[0], 0
    for x in xs:
        if x.dtype != first.dtype:
            raise TypeError(
                f"concatenate: operands must have one dtype, but got {first.dtype} and {x.dtype}. "
                "Convert them, or use funcgrad.numpy.concatenate."
            )
        if x.ndim != first.ndim or not replaced(x.shape, dimension, 0) == replaced(
            first.shape, dimension, 0
        ):
            raise ValueError(
                f"concatenate: operands must agree except along dimension {dimension}, but got "
                f"shapes {first.shape} and {x.shape}."
            )
        size = x.shape[dimension] + size
    return ShapedArray(replaced(first.shape, dimension, size), first.dtype)


def _concatenate_value(xp, *xs, dimension):
    out = xp.concatenate(xs, dimension)
    if any(x.dtype != out.dtype for x in xs):  # the library would silently promote
        _concatenate_abstract(*xs, dimension=dimension)
    return out


def _concatenate_jvp(primals, tangents, *, dimension):
    out = concatenate(primals, dimension)
    return out, concatenate([instantiate(t) for t in tangents], dimension)


def _concatenate_transpose(ct, *xs, dimension):
    """Each operand takes its own stretch of the cotangent."""
    stops = accumulate((aval_of(x).shape[dimension] for x in xs), initial=0)
    return [
        slice_in_dim(ct, start, stop, axis=dimension) if is_linear(x) else None
        for x, (start, stop) in zip(xs, pairwise(stops), strict=True)
    ]


def _concatenate_batch(axis, args, dims, *, dimension):
    lanes = [batched(axis, x, dim) for x, dim in zip(args, dims, strict=True)]
    return concatenate(lanes, dimension + 1), 0


def _concatenate_loops(*xs, dimension):
    stops = accumulate((x.shape[dimension] for x in xs), initial=0)
    parts = [
        loops.Part(position, replaced((0,) * x.ndim, dimension, start), (1,) * x.ndim, x.shape)
        for (position, x), start in zip(enumerate(xs), stops, strict=False)
    ]
    return loops.Guarded(tuple(parts), fill=None)


concatenate_p = Primitive(
    "concatenate",
    abstract=_concatenate_abstract,
    value=_concatenate_value,
    jvp=_concatenate_jvp,
    transpose=_concatenate_transpose,
    batch=_concatenate_batch,
    loops=_concatenate_loops,
)


def concatenate(operands: Sequence[Any], dimension: int) -> Any:
    """Join arrays of one dtype, whose other sizes agree, along an existing `dimension`."""
    if not operands:
        raise ValueError("concatenate: needs at least one array, but got none.")
    dimension = nonnegative(dimension, len(typeof(operands[0]).shape), "concatenate")
    if len(operands) == 1:
        return operands[0]
    return concatenate_p.bind(*operands, dimension=dimension)


# ---------------------------------------------------------------- split


def _split_abstract(x, *, sizes, axis):
    if not sum(sizes[1:], sizes[0]) == x.shape[axis]:
        raise ValueError(
            f"split: sizes must add up to the size of dimension {axis}, but got {sizes} for shape "
            f"{x.shape}."
        )
    return [ShapedArray(replaced(x.shape, axis, size), x.dtype) for size in sizes]


def _split_value(xp, x, *, sizes, axis):
    if sum(sizes) != x.shape[axis]:  # slices would silently clip
        _split_abstract(x, sizes=sizes, axis=axis)
    before = (builtins.slice(None),) * axis
    stops = accumulate(sizes, initial=0)
    return [x[(*before, builtins.slice(start, stop))] for start, stop in pairwise(stops)]


def _split_jvp(primals, tangents, *, sizes, axis):
    (x,), (t,) = primals, tangents
    return split(x, sizes, axis), split(t, sizes, axis)


def _split_batch(mapped, args, dims, /, *, sizes, axis):
    (x,), (dim,) = args, dims
    return split(x, sizes, axis + (axis >= dim)), [dim] * len(sizes)


def _split_loops(x, *, sizes, axis):
    starts = accumulate(sizes[:-1], initial=0)
    return [
        loops.View(replaced(tuple(_identity_view(x.ndim)), axis, loops.Affine(start, ((axis, 1),))))
        for start in starts
    ]


split_p = Primitive(
    "split",
    abstract=_split_abstract,
    value=_split_value,
    jvp=_split_jvp,
    transpose=lambda cts, x, *, sizes, axis: [concatenate([instantiate(ct) for ct in cts], axis)],
    batch=_split_batch,
    loops=_split_loops,
    multiple_results=True,
)


def split(x: Any, sizes: Sequence[Any], axis: int = 0) -> list[Any]:
    """Consecutive parts of `x` along `axis`, of the given sizes, which add up to the whole."""
    axis = nonnegative(axis, len(typeof(x).shape), "split")
    sizes = static_sizes(sizes)
    if not sizes or any(isinstance(size, int) and size < 0 for size in sizes):
        raise ValueError(f"split: needs one or more sizes, none of them negative, but got {sizes}.")
    return split_p.bind(x, sizes=sizes, axis=axis)


# ---------------------------------------------------------------- iota


def _iota_abstract(*, dtype, shape, dimension):
    check_shape("iota", shape)
    return ShapedArray(shape, dtype)


def _iota_value(xp, *, dtype, shape, dimension):
    size = shape[dimension]
    narrow = dtype.itemsize < 4  # counted in more bits, then rounded or wrapped
    line = xp.arange(size).astype(dtype) if narrow else xp.arange(size, dtype=dtype)
    if len(shape) == 1:
        return line
    return xp.broadcast_to(line.reshape((size,) + (1,) * (len(shape) - 1 - dimension)), shape)


iota_p = Primitive(
    "iota",
    abstract=_iota_abstract,
    value=_iota_value,
    constant=True,
    loops=lambda *, dtype, shape, dimension: loops.Index(dimension),
)


def iota(dtype: Any, size: Any) -> Any:
    """0, 1, ..., size - 1."""
    return broadcasted_iota(dtype, (size,), 0)


def broadcasted_iota(dtype: Any, shape: Sequence[Any], dimension: int) -> Any:
    """An array whose elements are their own positions along `dimension`."""
    shape = static_sizes(shape)
    dimension = nonnegative(dimension, len(shape), "broadcasted_iota")
    dtype = dtypes.as_dtype(dtype)
    if not (dtypes.is_integer(dtype) or dtypes.is_inexact(dtype)):
        raise TypeError(f"iota: needs an integer, floating or complex dtype, but got {dtype}.")
    return iota_p.bind(dtype=dtype, shape=shape, dimension=dimension)
