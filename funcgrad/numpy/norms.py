"""Norms of vectors and matrices; part of `funcgrad.numpy.linalg`."""

from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy import reductions, ufuncs
from funcgrad.numpy.axes import axis_indices
from funcgrad.numpy.promote import as_array, promote_dtypes_inexact
from funcgrad.numpy.shaping import expand_dims, moveaxis
from funcgrad.primitives.basis import convert_element_type
from funcgrad.primitives.linalg import svd

__all__ = ["matrix_norm", "norm", "vector_norm"]


def squared_size(x):
    """The squares of absolute values."""
    if dtypes.is_complex(x.dtype):
        return ufuncs.real(ufuncs.multiply(x, ufuncs.conj(x)))
    return ufuncs.multiply(x, x)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """Norms of vectors (one axis) or matrices (two axes), or of all elements.

    Without `ord` the root of the sum of squares, over `axis` or everything. Vectors: any number,
    inf, -inf, 0 (count of nonzeros). Matrices: "fro", "nuc", 1, -1, 2, -2, inf, -inf. The gradient
    of a root at zero is NaN, as of any square root there.

    >>> norm(np.array([3.0, 4.0], np.float32)).item()
    5.0
    """
    (x,) = promote_dtypes_inexact("norm", x)
    if axis is None:
        if ord is None:
            return ufuncs.sqrt(reductions.sum(squared_size(x), keepdims=keepdims))
        axes = tuple(range(x.ndim))
    else:
        axes = axis_indices("norm", axis, x.ndim)
    if len(axes) == 1:
        return _vector_norm(x, ord, axes[0], keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes, keepdims)
    raise ValueError(
        f"norm: needs one axis (vectors) or two (matrices), but got {axes} for shape {x.shape}. "
        "Reshape, or leave ord and axis out for the norm of all elements."
    )


def _vector_norm(x, ord, axis, keepdims):
    """`axis` may be several axes, taken as one."""
    options = {"axis": axis, "keepdims": keepdims}
    if ord is None or (not isinstance(ord, (str, Array)) and ord == 2):
        return ufuncs.sqrt(reductions.sum(squared_size(x), **options))
    if isinstance(ord, str):
        raise ValueError(f"norm: {ord!r} is no norm of vectors. Use a number, inf or -inf.")
    if not isinstance(ord, Array):
        if ord == np.inf:
            return reductions.max(ufuncs.abs(x), **options)
        if ord == -np.inf:
            return reductions.min(ufuncs.abs(x), **options)
        if ord == 0:
            dtype = dtypes.real_part(x.dtype)
            return reductions.sum(ufuncs.not_equal(x, 0), dtype=dtype, **options)
        if ord == 1:
            return reductions.sum(ufuncs.abs(x), **options)
    size = ufuncs.abs(x)
    power = convert_element_type(as_array("norm", ord), size.dtype)
    return ufuncs.power(reductions.sum(ufuncs.power(size, power), **options), 1 / power)


def _matrix_norm(x, ord, axes, keepdims):
    if ord in (None, "fro", "f"):
        return ufuncs.sqrt(reductions.sum(squared_size(x), axis=axes, keepdims=keepdims))
    row, column = axes
    extremes = {1: (row, column, "max"), -1: (row, column, "min"),
                np.inf: (column, row, "max"), -np.inf: (column, row, "min")}  # fmt: skip
    if ord in extremes:
        summed, kept, extremum = extremes[ord]
        sums = reductions.sum(ufuncs.abs(x), axis=summed, keepdims=True)
        out = getattr(reductions, extremum)(sums, axis=kept, keepdims=True)
        return out if keepdims else reductions.sum(out, axis=axes)
    pickers: dict[Any, Any] = {"nuc": reductions.sum, 2: reductions.max, -2: reductions.min}
    if ord not in pickers:
        raise ValueError(
            f"norm: {ord!r} is no norm of matrices. Use 'fro', 'nuc', 1, -1, 2, -2, inf or -inf."
        )
    matrices = moveaxis(x, axes, (-2, -1))
    out = pickers[ord](svd(matrices, compute_uv=False), axis=-1)
    return expand_dims(out, axes) if keepdims else out


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norms of matrices in the last two dimensions; see `norm`."""
    return norm(x, ord, (-2, -1), keepdims)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """The norms of vectors along one axis, or over several taken as one; see `norm`."""
    (x,) = promote_dtypes_inexact("vector_norm", x)
    return _vector_norm(x, ord, axis_indices("vector_norm", axis, x.ndim), keepdims)
