"""Functions that make indices: nonzero and its relatives, unravel_index, triangles, diagonals.

Sizes that depend on values need concrete arrays, or a `size`. Next: `selection.py`, which uses
indices to choose elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.numpy.axes import concrete, integer, shape_tuple
from funcgrad.numpy.promote import as_array, converted, promote_dtypes, promote_shapes
from funcgrad.numpy.ufuncs.arithmetic import clip, remainder
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    div,
    full,
    mul,
    reshape,
    select_n,
    sub,
)
from funcgrad.primitives.cumulative import cumsum
from funcgrad.primitives.elementwise import rem
from funcgrad.primitives.index_maps import ScatterDimensionNumbers
from funcgrad.primitives.logic import ge, lt, ne
from funcgrad.primitives.scatter import scatter
from funcgrad.primitives.shape import concatenate, expand_dims, iota

# ---------------------------------------------------------------- where something holds


def truth(name: str, x: Any) -> Array:
    """An array as bools: what is not zero is true."""
    x = as_array(name, x)
    return x if x.dtype == dtypes.bool_ else ne(x, 0)


def nonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> tuple[Array, ...]:
    """The positions of all elements that are not zero, in row-major order, one array per dimension.

    With `size` there are that many: surplus ones are cut off, missing ones are `fill_value` (one
    number, or one per dimension; default 0). Without it the array must be concrete.
    """
    mask = truth("nonzero", a)
    if mask.ndim == 0:
        raise ValueError("nonzero: needs an array of rank 1 or more. Use reshape(x, (1,)).")
    fills = _fill_values(fill_value, mask.ndim)
    if size is None:
        values = concrete("nonzero", "without a size, the array", mask)
        return tuple(_index_array(line) for line in np.nonzero(values))
    flat, found = _first_positions(mask, integer("nonzero", "size", size))
    return tuple(
        select_n(found, full((), fill, dtypes.int32), line)
        for fill, line in zip(fills, _unraveled(flat, mask.shape), strict=True)
    )


def _fill_values(fill_value: Any, ndim: int) -> tuple[Any, ...]:
    """One filler for each dimension."""
    if not isinstance(fill_value, tuple):
        return (0 if fill_value is None else fill_value,) * ndim
    if len(fill_value) != ndim:
        raise ValueError(
            f"nonzero: fill_value must be one number or {ndim} of them, but got {fill_value}."
        )
    return fill_value


def _index_array(values: np.ndarray) -> Array:
    return ConcreteArray(values.astype(dtypes.default_int()))


def _first_positions(mask: Array, size: int) -> tuple[Array, Array]:
    """Flat positions of the first `size` true elements, and which of these exist."""
    total = math.prod(mask.shape)
    flat_mask = reshape(mask, (total,))
    nowhere = full((size,), -1, dtypes.int32)
    rank_of = sub(cumsum(convert_element_type(flat_mask, dtypes.int32)), 1)
    place = select_n(flat_mask, full((), size, dtypes.int32), rank_of)
    positions = scatter(
        nowhere,
        expand_dims(place, (1,)),
        iota(dtypes.int32, total),
        ScatterDimensionNumbers((), (0,), (0,)),
        mode="drop",
    )
    return positions, ge(positions, 0)


def flatnonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> Array:
    """The positions, in the flattened array, of all elements that are not zero; see `nonzero`."""
    a = as_array("flatnonzero", a)
    return nonzero(reshape(a, (math.prod(a.shape),)), size=size, fill_value=fill_value)[0]


def argwhere(a: Any, *, size: int | None = None, fill_value: Any = None) -> Array:
    """The positions of all elements that are not zero, one row for each; see `nonzero`."""
    a = as_array("argwhere", a)
    if a.ndim == 0:
        found = nonzero(reshape(a, (1,)), size=size, fill_value=fill_value)[0]
        return ConcreteArray(np.zeros((*found.shape, 0), dtypes.default_int()))
    lines = nonzero(a, size=size, fill_value=fill_value)
    return concatenate([expand_dims(line, (1,)) for line in lines], 1)


# ---------------------------------------------------------------- flat positions


def unravel_index(indices: Any, shape: Any) -> tuple[Array, ...]:
    """Flat positions as positions in each dimension of `shape`.

    Negative ones count from the end; those out of bounds are clipped.
    """
    indices = as_array("unravel_index", indices)
    if not dtypes.is_integer(indices.dtype):
        raise TypeError(f"unravel_index: indices must be integers, but got {indices.dtype}.")
    shape = shape_tuple("unravel_index", shape)
    total = math.prod(shape)
    if indices.dtype.kind == "i":
        indices = select_n(lt(indices, 0), indices, add(indices, total))
    return tuple(_unraveled(clip(indices, 0, max(0, total - 1)), shape))


def _unraveled(flat: Array, shape: Sequence[Any]) -> list[Array]:
    lines = []
    for size in reversed(shape):
        size = max(size, 1) if isinstance(size, int) else size
        lines.append(rem(flat, size))
        flat = div(flat, size)
    return lines[::-1]


def ravel_multi_index(
    multi_index: Sequence[Any],
    dims: Sequence[int],
    mode: str = "raise",
    order: str = "C",
    *,
    dtype: Any = None,
) -> Array:
    """Positions in each dimension of a shape `dims` as flat positions.

    Out of range raises ValueError, which needs concrete positions; `mode="wrap"` or "clip" do not.
    """
    if len(multi_index) != len(dims):
        raise ValueError(
            f"ravel_multi_index: needs one array per dimension of {tuple(dims)}, but got "
            f"{len(multi_index)}."
        )
    if order not in ("C", "F"):
        raise ValueError(f"ravel_multi_index: order must be 'C' or 'F', but got {order!r}.")
    lines = promote_shapes("ravel_multi_index", *promote_dtypes("ravel_multi_index", *multi_index))
    if not dtypes.is_integer(lines[0].dtype):
        raise TypeError(f"ravel_multi_index: indices must be integers, but got {lines[0].dtype}.")
    if dtype is not None:
        lines = [converted(line, dtypes.as_dtype(dtype)) for line in lines]
    pairs = list(zip(lines, dims, strict=True))
    total: Any = None
    for line, size in pairs if order == "C" else reversed(pairs):
        line = within("ravel_multi_index", line, size, mode)
        total = line if total is None else add(mul(total, size), line)
    return total


def within(name: str, positions: Array, size: Any, mode: str) -> Array:
    """Positions brought into range in the way `mode` says; ValueError for "raise"."""
    if mode == "wrap":
        return remainder(positions, size)
    if mode == "clip":
        return clip(positions, 0, size - 1)
    if mode != "raise":
        raise ValueError(f"{name}: mode must be 'raise', 'wrap' or 'clip', but got {mode!r}.")
    values = concrete(name, "with mode='raise', the index", positions)
    if values.size and (values.min() < 0 or values.max() >= size):
        raise ValueError(
            f"{name}: invalid entry: indices must lie from 0 to {size - 1}, but they go from "
            f"{values.min()} to {values.max()}. Use mode='wrap' or mode='clip' to allow that."
        )
    return positions


# ---------------------------------------------------------------- diagonals, triangles, meshes


def diag_indices(n: int, ndim: int = 2) -> tuple[Array, ...]:
    """The positions of the main diagonal of an array with `ndim` dimensions of size `n`."""
    n, ndim = integer("diag_indices", "n", n), integer("diag_indices", "ndim", ndim)
    if n < 0 or ndim < 0:
        raise ValueError(f"diag_indices: n and ndim must not be negative, but got {n} and {ndim}.")
    return (_index_array(np.arange(n)),) * ndim


def diag_indices_from(arr: Any) -> tuple[Array, ...]:
    """The positions of the main diagonal of `arr`, whose sizes must be equal."""
    shape = as_array("diag_indices_from", arr).shape
    if len(shape) < 2 or any(size != shape[0] for size in shape):
        raise ValueError(
            f"diag_indices_from: needs two or more dimensions of equal size, but got shape {shape}."
        )
    return diag_indices(shape[0], len(shape))


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """The positions on and below diagonal `k` of a matrix of n rows and m columns (default n)."""
    return _triangle(np.tril_indices, n, k, m)


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """The positions on and above diagonal `k` of a matrix of n rows and m columns (default n)."""
    return _triangle(np.triu_indices, n, k, m)


def _triangle(function: Callable[..., Any], n: int, k: int, m: int | None) -> tuple[Array, Array]:
    name = function.__name__
    columns = n if m is None else integer(name, "m", m)
    rows, cols = function(integer(name, "n", n), integer(name, "k", k), columns)
    return _index_array(rows), _index_array(cols)


def tril_indices_from(arr: Any, k: int = 0) -> tuple[Array, Array]:
    """The positions on and below diagonal `k` of the matrix `arr`."""
    rows, columns = _matrix_shape("tril_indices_from", arr)
    return tril_indices(rows, k, columns)


def triu_indices_from(arr: Any, k: int = 0) -> tuple[Array, Array]:
    """The positions on and above diagonal `k` of the matrix `arr`."""
    rows, columns = _matrix_shape("triu_indices_from", arr)
    return triu_indices(rows, k, columns)


def _matrix_shape(name: str, arr: Any) -> tuple[int, int]:
    shape = arr.shape if hasattr(arr, "shape") else as_array(name, arr).shape
    if len(shape) != 2:
        raise ValueError(f"{name}: needs a matrix, but got shape {shape}.")
    return shape


def mask_indices(
    n: int, mask_func: Callable[..., Any], k: int = 0, *, size: int | None = None
) -> tuple[Array, ...]:
    """The positions that `mask_func` (such as `triu`) leaves of an n by n matrix of ones."""
    n = integer("mask_indices", "n", n)
    ones = ConcreteArray(np.ones((n, n), dtypes.default_int()))
    return nonzero(mask_func(ones, k), size=size)


def ix_(*args: Any) -> tuple[Array, ...]:
    """Index arrays, each along a dimension of its own, that together address a mesh."""
    lines = [_mesh_line(arg) for arg in args]
    return tuple(
        broadcast_in_dim(line, _alone(line, at, len(lines)), (at,)) for at, line in enumerate(lines)
    )


def _mesh_line(arg: Any) -> Array:
    line = as_array("ix_", arg)
    if line.ndim != 1:
        raise ValueError(f"ix_: needs arrays of rank 1, but got shape {line.shape}.")
    if line.dtype == dtypes.bool_:
        return nonzero(line)[0]
    return converted(line, dtypes.default_int()) if line.shape == (0,) else line


def _alone(line: Array, at: int, rank: int) -> tuple[Any, ...]:
    return tuple(line.shape[0] if dim == at else 1 for dim in range(rank))
