"""Diagonals and triangles of matrices, which are the last two axes unless axes are named.

A diagonal is a strided slice of the flattened matrix, and writing one is padding between its
elements: both are views for a compiler, and undo each other in derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.numpy.axes import axis_indices, concrete, integer
from funcgrad.numpy.creation import diagonal_mask
from funcgrad.numpy.promote import as_array
from funcgrad.numpy.reductions import summed_dtype
from funcgrad.numpy.shaping import moveaxis, ravel
from funcgrad.primitives.basis import (
    convert_element_type,
    literal,
    reduce_sum,
    reshape,
    select_n,
)
from funcgrad.primitives.logic import ge
from funcgrad.primitives.shape import pad, slice_in_dim


def tril(m: Any, k: int = 0) -> Array:
    """`m` with zeros above the k-th diagonal of its last two axes."""
    return _triangle("tril", m, k, ge)


def triu(m: Any, k: int = 0) -> Array:
    """`m` with zeros below the k-th diagonal of its last two axes."""
    return _triangle("triu", m, k, lambda row, column: ge(column, row))


def _triangle(name: str, m: Any, k: Any, kept: Callable[..., Any]) -> Array:
    x = as_array(name, m)
    if x.ndim < 2:
        raise ValueError(f"{name}: needs rank 2 or more, but got shape {x.shape}.")
    zero = ConcreteArray(x.dtype.type(0), x.weak_type)
    return select_n(diagonal_mask(x.shape, k, kept), zero, x)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonals of the matrices in two axes, along a new last axis.

    Element i is at (i, i + offset), or at (i - offset, i) if the offset is negative.
    """
    x = as_array("diagonal", a)
    if x.ndim < 2:
        raise ValueError(f"diagonal: needs rank 2 or more, but got shape {x.shape}.")
    axes = axis_indices("diagonal", (axis1, axis2), x.ndim)
    return _diagonal(moveaxis(x, axes, (-2, -1)), integer("diagonal", "offset", offset))


def _diagonal(x: Array, offset: int) -> Array:
    *lead, rows, columns = x.shape
    first = offset if offset >= 0 else -offset * columns
    length = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    flat = reshape(x, (*lead, rows * columns))
    first = first if length else 0
    stop = first + (length - 1) * (columns + 1) + 1 if length else 0
    return slice_in_dim(flat, first, stop, columns + 1, axis=len(lead))


def diag(v: Any, k: int = 0) -> Array:
    """The k-th diagonal of a matrix, or the matrix with `v` on its k-th diagonal and zeros."""
    x, k = as_array("diag", v), integer("diag", "k", k)
    if x.ndim == 2:
        return _diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag: needs a vector or a matrix, but got shape {x.shape}.")
    return _matrix_with_diagonal(x, k)


def diagflat(v: Any, k: int = 0) -> Array:
    """The matrix with the elements of `v`, flattened, on its k-th diagonal and zeros elsewhere."""
    return _matrix_with_diagonal(ravel(as_array("diagflat", v)), integer("diagflat", "k", k))


def _matrix_with_diagonal(x: Array, k: int) -> Array:
    length = x.shape[0]
    size = length + abs(k)
    first = k if k >= 0 else -k * size
    covered = length + (length - 1) * size if length else 0
    flat = pad(x, literal(0, x.aval), [(first, size * size - first - covered, size)])
    return reshape(flat, (size, size))


def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None
) -> Array:
    """The sum of the diagonal of the matrices in two axes; small integers are summed as int32."""
    if out is not None:
        raise TypeError("trace: the argument `out` is not supported; arrays are immutable.")
    x = diagonal(a, offset, axis1, axis2)
    dtype = summed_dtype(x.dtype) if dtype is None else dtypes.as_dtype(dtype)
    return reduce_sum(convert_element_type(x, dtype), (x.ndim - 1,))


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Array:
    """`filt` without leading ("f") and trailing ("b") zeros, along some axes or all."""
    x = as_array("trim_zeros", filt)
    present = concrete("trim_zeros", "the array", x) != 0
    for d in axis_indices("trim_zeros", axis, x.ndim):
        others = tuple(e for e in range(x.ndim) if e != d)
        places = np.flatnonzero(present.any(others))
        start = places[0] if "f" in trim.lower() and places.size else 0
        stop = places[-1] + 1 if "b" in trim.lower() and places.size else x.shape[d]
        x = slice_in_dim(x, int(start), int(stop) if places.size else int(start), axis=d)
    return x
