"""Counting: bincount and histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.axes import concrete, integer
from funcgrad.numpy.calculus import diff
from funcgrad.numpy.creation import linspace
from funcgrad.numpy.joining import stack
from funcgrad.numpy.promote import as_array, broadcast_to_shape, promote_dtypes_inexact
from funcgrad.numpy.reductions import constant, max, min, sum
from funcgrad.numpy.shaping import ravel, reshape
from funcgrad.numpy.sorting import searchsorted
from funcgrad.primitives import elementwise
from funcgrad.primitives.basis import add, convert_element_type, div, full, mul, select_n, sub
from funcgrad.primitives.gather import scatter_add
from funcgrad.primitives.index_maps import ScatterDimensionNumbers
from funcgrad.primitives.logic import eq
from funcgrad.primitives.shape import expand_dims, index_in_dim, slice_in_dim


def _counted(positions: Array, weights: Array, length: int) -> Array:
    """The sum of the weights at each position; positions outside are left out."""
    numbers = ScatterDimensionNumbers((), (0,), (0,))
    nothing = full((length,), constant(0, weights.dtype), weights.dtype)
    return scatter_add(nothing, expand_dims(positions, (1,)), weights, numbers, mode="drop")


def bincount(
    x: Any, weights: Any = None, minlength: int = 0, *, length: int | None = None
) -> Array:
    """How often each of 0, 1, 2, ... occurs in `x`, or the sum of the `weights` there.

    The result has `length` entries (needed under jit), else as many as the largest element asks
    for, and `minlength` at least. Negative elements count as 0; too large ones are left out.

    >>> bincount(jnp.array([1, 1, 3])).tolist()
    [0, 2, 0, 1]
    """
    x = as_array("bincount", x)
    if not dtypes.is_integer(x.dtype):
        raise TypeError(f"bincount: needs integers, but got {x.dtype}. Convert with astype.")
    if x.ndim != 1:
        raise ValueError(f"bincount: needs a vector, but got shape {x.shape}. Use ravel.")
    if length is None:
        values = concrete("bincount", "the values", x)
        length = int(values.max()) + 1 if values.size else 0
        length = int(np.maximum(length, integer("bincount", "minlength", minlength)))
    one = full(x.shape, constant(1, dtypes.default_int()), dtypes.default_int())
    weights = one if weights is None else as_array("bincount", weights)
    if weights.shape != x.shape:
        raise ValueError(f"bincount: weights of shape {weights.shape} for elements of {x.shape}.")
    positions = elementwise.max(x, constant(0, x.dtype))
    return _counted(positions, weights, length)


def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Array:
    """The edges that `histogram` uses: given ones, or `bins` bins of equal width over `range`.

    Without a range it is that of the elements. `weights` have no effect on edges.
    """
    if isinstance(bins, str):
        raise TypeError("histogram_bin_edges: bins must be a number or edges, not a name.")
    x = as_array("histogram_bin_edges", a)
    dtype = dtypes.to_inexact(x.dtype)
    edges = _array("histogram_bin_edges", bins)
    if edges.ndim == 1:
        return convert_element_type(edges, dtype)
    low, high = _limits(convert_element_type(x, dtype), range)
    return linspace(low, high, integer("histogram", "bins", bins) + 1, dtype=dtype)


def _array(name: str, values: Any) -> Array:
    """An array, or a list of numbers or of arrays of rank 0."""
    return stack(values) if isinstance(values, (tuple, list)) else as_array(name, values)


def _limits(x: Array, given: Any) -> tuple[Array, Array]:
    """The first and the last edge: half a unit to either side if they would be equal."""
    if given is not None:
        pair = ravel(_array("histogram", given))
        low, high = (convert_element_type(index_in_dim(pair, i, 0, False), x.dtype) for i in (0, 1))
    elif x.size == 0:
        low, high = constant(0, x.dtype), constant(1, x.dtype)
    else:
        low, high = min(x), max(x)
    half = constant(0.5, x.dtype)
    same = eq(low, high)
    return select_n(same, low, sub(low, half)), select_n(same, high, add(high, half))


def histogram(
    a: Any, bins: Any = 10, range: Any = None, weights: Any = None, density: bool | None = None
) -> tuple[Array, Array]:
    """How many elements lie between each two edges, and the edges; the last one is included.

    With `weights` their sums; with `density` divided so that the integral is 1. Counts are floats.
    """
    if weights is None:
        (x,) = promote_dtypes_inexact("histogram", a)
        weights = full(x.shape, constant(1, x.dtype), x.dtype)
    else:
        x, weights = promote_dtypes_inexact("histogram", a, weights)
        if x.shape != weights.shape:
            raise ValueError(
                f"histogram: weights must have the shape of the elements, {x.shape}, but have "
                f"{weights.shape}."
            )
    edges = histogram_bin_edges(x, bins, range)
    places = _bins_of(ravel(x), edges)
    counts = slice_in_dim(_counted(places, ravel(weights), edges.shape[0]), 1, None)
    if density:
        counts = div(div(counts, diff(edges)), sum(counts))
    return counts, edges


def _bins_of(x: Array, edges: Array) -> Array:
    """1 for the first bin, and so on; 0 and the number of edges are outside."""
    last = edges.shape[0] - 1
    found = searchsorted(edges, x, side="right")
    end = index_in_dim(edges, last, 0, False)
    return select_n(eq(x, end), found, full(found.shape, constant(last, found.dtype), found.dtype))


def histogram2d(
    x: Any,
    y: Any,
    bins: Any = 10,
    range: Sequence[Any] | None = None,
    weights: Any = None,
    density: bool | None = None,
) -> tuple[Array, Array, Array]:
    """The histogram of points in the plane: counts, and the edges in x and in y."""
    sample = [as_array("histogram2d", v) for v in (x, y)]
    if isinstance(bins, (list, tuple)) and len(bins) not in (1, 2):
        bins = [bins, bins]
    counts, (x_edges, y_edges) = histogramdd(sample, bins, range, weights, density)
    return counts, x_edges, y_edges


def histogramdd(
    sample: Any,
    bins: Any = 10,
    range: Sequence[Any] | None = None,
    weights: Any = None,
    density: bool | None = None,
) -> tuple[Array, list[Array]]:
    """The histogram of points in space, the rows of `sample`: counts, and edges in each axis."""
    columns = _columns(sample)
    ranges = [None] * len(columns) if range is None else list(range)
    each = list(bins) if isinstance(bins, (list, tuple)) else [bins] * len(columns)
    if len(each) != len(columns) or len(ranges) != len(columns):
        raise ValueError(
            f"histogramdd: needs bins and a range for each of {len(columns)} axes, but got "
            f"{len(each)} and {len(ranges)}."
        )
    edges = [histogram_bin_edges(x, *pair) for x, *pair in zip(columns, each, ranges, strict=True)]
    sizes = [e.shape[0] + 1 for e in edges]
    place = constant(0, dtypes.int32)
    for x, edge, size in zip(columns, edges, sizes, strict=True):
        place = add(mul(place, constant(size, place.dtype)), _bins_of(x, edge))
    if weights is None:
        weights = full(place.shape, constant(1, dtypes.default_int()), dtypes.default_int())
    counts = reshape(_counted(place, as_array("histogramdd", weights), int(np.prod(sizes))), sizes)
    for d, _ in enumerate(sizes):
        counts = slice_in_dim(counts, 1, -1, axis=d)
    return (_density(counts, edges) if density else counts), edges


def _columns(sample: Any) -> list[Array]:
    if isinstance(sample, (list, tuple)):
        return [as_array("histogramdd", x) for x in sample]
    x = as_array("histogramdd", sample)
    if x.ndim != 2:
        raise ValueError(f"histogramdd: sample must be points in rows, but has shape {x.shape}.")
    return [index_in_dim(x, d, 1, False) for d in range(x.shape[1])]


def _density(counts: Array, edges: Sequence[Array]) -> Array:
    total = sum(counts)
    (counts,) = promote_dtypes_inexact("histogramdd", counts)
    counts = div(counts, convert_element_type(total, counts.dtype))
    for d, edge in enumerate(edges):
        widths = reshape(diff(edge), [-1 if e == d else 1 for e in range(counts.ndim)])
        counts = div(counts, broadcast_to_shape(widths, counts.shape))
    return counts
