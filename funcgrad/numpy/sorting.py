"""Sorting, and searching in what is sorted.

NaN sorts last, -0.0 equals 0.0, complex numbers compare by real, then by imaginary part. Sets are
in sets.py, histograms in histograms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.numpy.axes import axis_index, integer, refuse
from funcgrad.numpy.joining import taken
from funcgrad.numpy.promote import as_array, promote_dtypes
from funcgrad.numpy.reductions import constant
from funcgrad.numpy.shaping import ravel
from funcgrad.primitives import sort as primitives
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
from funcgrad.primitives.elementwise import imag, real
from funcgrad.primitives.logic import (
    bitwise_and,
    bitwise_not,
    bitwise_or,
    eq,
    ge,
    lt,
    ne,
    shift_right_logical,
)
from funcgrad.primitives.ordering import comparable
from funcgrad.primitives.shape import broadcasted_iota, concatenate, index_in_dim, rev, slice_in_dim


def sort(
    a: Any,
    axis: int | None = -1,
    *,
    kind: None = None,
    order: None = None,
    stable: bool = True,
    descending: bool = False,
) -> Array:
    """The elements in ascending order along `axis`, or of the flattened array.

    >>> sort(jnp.array([3, 1, 2])).tolist()
    [1, 2, 3]
    """
    refuse("sort", kind=kind, order=order)
    x, axis = _sortable("sort", a, axis)
    result = primitives.sort(x, axis, stable)
    return rev(result, (axis,)) if descending else result


def argsort(
    a: Any,
    axis: int | None = -1,
    *,
    kind: None = None,
    order: None = None,
    stable: bool = True,
    descending: bool = False,
    dtype: Any = None,
) -> Array:
    """The positions of the elements in ascending or descending order along `axis`.

    Equal elements keep their order in both directions.

    >>> argsort(jnp.array([3, 1, 2])).tolist()
    [1, 2, 0]
    """
    refuse("argsort", kind=kind, order=order)
    x, axis = _sortable("argsort", a, axis)
    found = primitives.argsort(x, axis, stable, descending)
    dtype = dtypes.default_int() if dtype is None else dtypes.as_dtype(dtype)
    return convert_element_type(found, dtype)


def _sortable(name: str, a: Any, axis: int | None) -> tuple[Array, int]:
    x = as_array(name, a)
    if axis is None:
        return ravel(x), 0
    return x, axis_index(name, axis, x.ndim)


def lexsort(keys: Any, axis: int = -1) -> Array:
    """The positions that sort by several keys, the last the most significant."""
    if hasattr(keys, "shape"):
        keys = [index_in_dim(as_array("lexsort", keys), i, 0, False) for i in range(len(keys))]
    arrays = [as_array("lexsort", key, i) for i, key in enumerate(keys)]
    if not arrays:
        raise TypeError("lexsort: needs at least one key, but got none.")
    if len({x.shape for x in arrays}) > 1:
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"lexsort: keys must have equal shapes, but got {shapes}.")
    if arrays[0].ndim == 0:
        return constant(0, dtypes.default_int())
    axis = axis_index("lexsort", axis, arrays[0].ndim)
    positions = broadcasted_iota(dtypes.default_int(), arrays[0].shape, axis)
    return primitives.sort([*arrays[::-1], positions], axis, num_keys=len(arrays))[-1]


def partition(a: Any, kth: int, axis: int = -1) -> Array:
    """The elements with the `kth` smallest in its sorted place, smaller ones before it."""
    x = as_array("partition", a)
    axis = _checked_partition("partition", x, kth, axis)
    return primitives.sort(x, axis)


def argpartition(a: Any, kth: int, axis: int = -1) -> Array:
    """The positions of the elements in an order in which the `kth` is in its sorted place."""
    x = as_array("argpartition", a)
    axis = _checked_partition("argpartition", x, kth, axis)
    return convert_element_type(primitives.argsort(x, axis), dtypes.default_int())


def _checked_partition(name: str, x: Array, kth: int, axis: int) -> int:
    axis = axis_index(name, axis, x.ndim)
    size = x.shape[axis]
    if not -size <= integer(name, "kth", kth) < size:
        raise ValueError(f"{name}: kth is {kth}, out of bounds for an axis of size {size}.")
    return axis


def sort_complex(a: Any) -> Array:
    """The elements in order along the last axis, as complex numbers."""
    x = as_array("sort_complex", a)
    dtype = dtypes.promote(((x.dtype, False), (dtypes.complex64, False)))[0]
    return primitives.sort(convert_element_type(x, dtype))


# ---- searching -----------------------------------------------------------------------------------


def searchsorted(
    a: Any, v: Any, side: str = "left", sorter: Any = None, *, method: str = "scan"
) -> Array:
    """Where to insert the elements of `v` into the sorted vector `a`: before equal ones, or after.

    `side` is "left" or "right". `sorter` is the order of `a` if it is not sorted. `method` is how:
    scan or scan_unrolled (bisection), compare_all, or sort; the result is the same.

    >>> int(searchsorted(jnp.array([1, 2, 4]), 3))
    2
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right', but got {side!r}.")
    if method not in _SEARCHES:
        raise ValueError(
            f"searchsorted: method must be one of {', '.join(_SEARCHES)}, but got {method!r}."
        )
    line, values = promote_dtypes("searchsorted", a, v)
    if line.ndim != 1:
        raise ValueError(f"searchsorted: `a` must be a vector, but has shape {line.shape}.")
    if sorter is not None:
        line = taken(line, convert_element_type(as_array("searchsorted", sorter), dtypes.int32), 0)
    if line.shape[0] == 0 or values.size == 0:
        return _zeros(values.shape)
    search = _in_numpy if _is_known(line) and _is_known(values) else _SEARCHES[method]
    found = search(line, reshape(values, (values.size,)), side == "left")
    return reshape(convert_element_type(found, dtypes.int32), values.shape)


def _is_known(x: Array) -> bool:
    """Are these values that NumPy may look at now, and can compare?"""
    on_host = type(x) is ConcreteArray and isinstance(x._buffer, (np.ndarray, np.generic))
    return on_host and not dtypes.is_complex(x.dtype) and current_trace() is EVAL


def _in_numpy(line: Any, values: Any, left: bool) -> Array:
    (line,), (values,) = (comparable(np, x._buffer) for x in (line, values))
    return as_array("searchsorted", np.searchsorted(line, values, "left" if left else "right"))


def _zeros(shape: tuple[Any, ...]) -> Array:
    return full(shape, constant(0, dtypes.int32), dtypes.int32)


def _precedes(x: Array, y: Array) -> Array:
    """Does x sort before y? NaN comes last."""
    if dtypes.is_complex(x.dtype):
        first = _precedes(real(x), real(y)), _precedes(real(y), real(x))
        return bitwise_or(first[0], bitwise_and(bitwise_not(first[1]), _precedes(imag(x), imag(y))))
    smaller = lt(x, y)
    if not dtypes.is_inexact(x.dtype):
        return smaller
    return bitwise_or(smaller, bitwise_and(ne(y, y), eq(x, x)))


def _goes_after(element: Array, value: Array, left: bool) -> Array:
    """Must the value be inserted after this element?"""
    return _precedes(element, value) if left else bitwise_not(_precedes(value, element))


def _by_bisection(line: Array, values: Array, left: bool) -> Array:
    """Halves the interval [low, high) of possible places until it is empty."""
    size = line.shape[0]
    low = full(values.shape, 0, dtypes.int32)
    high = full(values.shape, size, dtypes.int32)
    for _ in range(size.bit_length()):
        middle = shift_right_logical(add(low, high), full(values.shape, 1, dtypes.int32))
        after = _goes_after(taken(line, middle, 0), values, left)
        unfinished = lt(low, high)
        low = select_n(bitwise_and(after, unfinished), low, add(middle, constant(1, dtypes.int32)))
        high = select_n(after, middle, high)
    return low


def _by_comparing_all(line: Array, values: Array, left: bool) -> Array:
    shape = (line.shape[0], values.shape[0])
    rows, columns = broadcast_in_dim(line, shape, (0,)), broadcast_in_dim(values, shape, (1,))
    after = _goes_after(rows, columns, left)
    return reduce_sum(convert_element_type(after, dtypes.int32), (0,))


def _by_sorting(line: Array, values: Array, left: bool) -> Array:
    """Sorts both together: a value's place is its rank among all less that among the values."""
    both = concatenate([values, line] if left else [line, values], 0)
    ranks = primitives.argsort(primitives.argsort(both))
    start = 0 if left else line.shape[0]
    ranks = slice_in_dim(ranks, start, start + values.shape[0])
    return sub(ranks, primitives.argsort(primitives.argsort(values)))


_SEARCHES: dict[str, Callable[[Array, Array, bool], Array]] = {
    "scan": _by_bisection,
    "scan_unrolled": _by_bisection,
    "compare_all": _by_comparing_all,
    "sort": _by_sorting,
}


def digitize(x: Any, bins: Any, right: bool = False, *, method: str | None = None) -> Array:
    """The number of the bin that each element falls into; 0 is before all, len(bins) after all.

    `bins` are edges in ascending or descending order. A bin holds its lower edge, or with `right`
    its upper one.
    """
    edges = as_array("digitize", bins)
    if edges.ndim != 1:
        raise ValueError(f"digitize: bins must be a vector, but have shape {edges.shape}.")
    search = {"side": "left" if right else "right", "method": method or "scan"}
    count = edges.shape[0]
    if count == 0:
        return _zeros(as_array("digitize", x).shape)
    rising = ge(index_in_dim(edges, count - 1, 0, False), index_in_dim(edges, 0, 0, False))
    if isinstance(rising, ConcreteArray):
        return searchsorted(edges, x, **search) if rising else _descending(edges, x, search)
    return select_n(rising, _descending(edges, x, search), searchsorted(edges, x, **search))


def _descending(edges: Array, x: Any, search: dict[str, str]) -> Array:
    found = searchsorted(rev(edges, (0,)), x, **search)
    return sub(full(found.shape, edges.shape[0], found.dtype), found)
