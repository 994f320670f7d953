"""Sums, products, extrema and their positions, all and any, over axes.

`axis` is an integer, a tuple, or None for all; with `keepdims` reduced axes keep size 1; `where`
leaves elements out, and `initial` takes part as one element more. Small integers and bools are
summed as int32. Means are in averages.py, running sums in running.py, variants that skip NaN in
nanreductions.py, medians in quantiles.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.numpy.axes import Axis, axis_index, axis_indices, refuse
from funcgrad.numpy.promote import (
    as_array,
    as_numbers,
    broadcast_shapes,
    broadcast_to_shape,
)
from funcgrad.numpy.ufuncs.shortcut import composite
from funcgrad.primitives import elementwise
from funcgrad.primitives.basis import (
    add,
    convert_element_type,
    full,
    mul,
    reduce_sum,
    reshape,
    select_n,
    sub,
)
from funcgrad.primitives.kinds import dtype_limits
from funcgrad.primitives.reduce import (
    argmax as _argmax,
    argmin as _argmin,
    reduce_and,
    reduce_max,
    reduce_min,
    reduce_or,
    reduce_prod,
)
from funcgrad.primitives.shape import expand_dims

# ---- what all of them share ----------------------------------------------------------------------


def summed_dtype(dtype: Any) -> Any:
    """The dtype in which elements are summed: integers and bools in the default width at least."""
    if dtype == dtypes.bool_:
        return dtypes.default_int()
    if not dtypes.is_integer(dtype):
        return dtype
    default = np.dtype(f"{dtype.kind}{dtypes.default_int().itemsize}")
    return dtype if dtype.itemsize > default.itemsize else default


def constant(value: Any, dtype: Any) -> Array:
    """A number as an array of rank 0."""
    return ConcreteArray(dtype.type(value))


def masked(name: str, x: Array, where: Any, fill: Any) -> Array:
    """`x` with `fill` at the places that `where`, which broadcasts against it, leaves out."""
    if where is None:
        return x
    kept = convert_element_type(as_array(name, where), dtypes.bool_)
    shape = broadcast_shapes(name, x.shape, kept.shape)
    kept, x = broadcast_to_shape(kept, shape), broadcast_to_shape(x, shape)
    return select_n(kept, constant(fill, x.dtype), x)


def with_axes(reduced: Array, axes: Sequence[int], keepdims: bool) -> Array:
    """The result of a reduction, with the reduced axes put back as size 1 if they are kept."""
    return expand_dims(reduced, axes) if keepdims else reduced


def given_or(dtype: Any, otherwise: Any) -> Any:
    """The dtype that the user asked for, or another if none."""
    return otherwise if dtype is None else dtypes.as_dtype(dtype)


# ---- sum and prod --------------------------------------------------------------------------------


@composite
def sum(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
    promote_integers: bool = True,
) -> Array:
    """The sum over `axis`, starting from `initial`, in `dtype`.

    With `promote_integers` small integers and bools are summed in the default integer type.

    >>> sum(jnp.ones((2, 3)), axis=0).tolist()
    [2.0, 2.0, 2.0]
    """
    refuse("sum", out=out)
    return _accumulated(
        "sum", reduce_sum, add, 0, a, axis, dtype, keepdims, initial, where, promote_integers
    )


@composite
def prod(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
    promote_integers: bool = True,
) -> Array:
    """The product over `axis`, starting from `initial`, in `dtype`.

    With `promote_integers` small integers and bools are multiplied in the default integer type.
    """
    refuse("prod", out=out)
    return _accumulated(
        "prod", reduce_prod, mul, 1, a, axis, dtype, keepdims, initial, where, promote_integers
    )


def _accumulated(
    name: str,
    reduce: Callable[..., Array],
    combine: Callable[..., Array],
    identity: int,
    a: Any,
    axis: Axis,
    dtype: Any,
    keepdims: bool,
    initial: Any,
    where: Any,
    promote_integers: bool,
) -> Array:
    x = as_numbers(name, a)
    promoted = promote_integers or x.dtype == dtypes.bool_
    dtype = given_or(dtype, summed_dtype(x.dtype) if promoted else x.dtype)
    if dtype == dtypes.bool_:
        return (any if name == "sum" else all)(x, axis, keepdims=keepdims, where=where)
    x = masked(name, convert_element_type(x, dtype), where, identity)
    axes = axis_indices(name, axis, x.ndim)
    result = with_axes(reduce(x, axes), axes, keepdims)
    return result if initial is None else combine(result, _initial(name, initial, dtype))


def _initial(name: str, initial: Any, dtype: Any) -> Array:
    start = convert_element_type(as_array(name, initial), dtype)
    if start.ndim:
        raise ValueError(f"{name}: initial must be a number, but has shape {start.shape}.")
    return start


# ---- extrema -------------------------------------------------------------------------------------


@composite
def max(
    a: Any,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Array:
    """The largest element over `axis`; NaN if there is one.

    Raises ValueError for no elements, or for a `where`, without an `initial` value.
    """
    return _extremum("max", a, axis, out, keepdims, initial, where)


@composite
def min(
    a: Any,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Array:
    """The smallest element over `axis`; NaN if there is one.

    Raises ValueError for no elements, or for a `where`, without an `initial` value.
    """
    return _extremum("min", a, axis, out, keepdims, initial, where)


amax, amin = max, min


def _extremum(
    name: str, a: Any, axis: Axis, out: None, keepdims: bool, initial: Any, where: Any
) -> Array:
    refuse(name, out=out)
    x = as_numbers(name, a)
    x = convert_element_type(x, x.dtype)
    axes = axis_indices(name, axis, x.ndim)
    if initial is None:
        if where is not None:
            raise ValueError(f"{name}: with `where`, give an `initial` value for the rest.")
        _require_elements(name, x, axes)
    x = masked(name, x, where, _identity_of(name, x.dtype))
    reduce, combine = _EXTREMA[name]
    if initial is None:
        return with_axes(reduce(x, axes), axes, keepdims)
    start = _initial(name, initial, x.dtype)
    kept = tuple(size for d, size in enumerate(x.shape) if d not in axes)
    empty = math.prod(x.shape[d] for d in axes) == 0
    result = full(kept, start, x.dtype) if empty else combine(reduce(x, axes), start)
    return with_axes(result, axes, keepdims)


_EXTREMA = {
    "max": (reduce_max, elementwise.max),
    "min": (reduce_min, elementwise.min),
}


def _identity_of(name: str, dtype: Any) -> Any:
    return dtype_limits(dtype)[0 if name == "max" else 1]


def _require_elements(name: str, x: Array, axes: Sequence[int]) -> None:
    for d in axes:
        if x.shape[d] == 0:
            raise ValueError(
                f"{name}: an array of shape {x.shape} has no elements along axis {d}, and without "
                "any there is no result. Give an `initial` value, or leave empty arrays out."
            )


def ptp(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Array:
    """The largest element minus the smallest over `axis`."""
    refuse("ptp", out=out)
    x = as_numbers("ptp", a)
    _require_elements("ptp", x, axis_indices("ptp", axis, x.ndim))
    return sub(max(x, axis, keepdims=keepdims), min(x, axis, keepdims=keepdims))


def argmax(
    a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None
) -> Array:
    """The position of the largest element along `axis`, or in the flattened array.

    The first of equal elements, or the first NaN, is taken.
    """
    return _position("argmax", _argmax, a, axis, out, keepdims)


def argmin(
    a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None
) -> Array:
    """The position of the smallest element along `axis`, or in the flattened array.

    The first of equal elements, or the first NaN, is taken.
    """
    return _position("argmin", _argmin, a, axis, out, keepdims)


def _position(
    name: str, find: Callable[..., Array], a: Any, axis: int | None, out: None, keepdims: Any
) -> Array:
    refuse(name, out=out)
    x = as_numbers(name, a)
    if x.size == 0:
        d = None if axis is None else axis_index(name, axis, x.ndim)
        if d is None or x.shape[d] == 0:
            raise ValueError(f"{name}: needs at least one element, but got shape {x.shape}.")
    rank = x.ndim
    if axis is None:
        found = find(reshape(x, (x.size,)), 0, dtypes.default_int())
        return reshape(found, (1,) * rank) if keepdims else found
    d = axis_index(name, axis, rank)
    return with_axes(find(x, d, dtypes.default_int()), (d,), bool(keepdims))


# ---- all and any ---------------------------------------------------------------------------------


def all(
    a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Array:
    """Are all elements over `axis` nonzero?"""
    return _tested("all", reduce_and, True, a, axis, out, keepdims, where)


def any(
    a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Array:
    """Is any element over `axis` nonzero?"""
    return _tested("any", reduce_or, False, a, axis, out, keepdims, where)


def _tested(
    name: str,
    reduce: Callable[..., Array],
    identity: bool,
    a: Any,
    axis: Axis,
    out: None,
    keepdims: bool,
    where: Any,
) -> Array:
    refuse(name, out=out)
    x = masked(name, convert_element_type(as_numbers(name, a), dtypes.bool_), where, identity)
    axes = axis_indices(name, axis, x.ndim)
    return with_axes(reduce(x, axes), axes, keepdims)


def count_nonzero(a: Any, axis: Axis = None, keepdims: bool = False) -> Array:
    """How many elements over `axis` are not zero."""
    x = as_numbers("count_nonzero", a)
    return sum(convert_element_type(x, dtypes.bool_), axis, keepdims=keepdims)
