"""Medians, quantiles and percentiles, of all elements or of those that are not NaN.

The array is sorted once; a quantile then lies between two of its elements. bfloat16 and float16
are interpolated in float32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray, Tracer
from funcgrad.core.trace import EVAL, running
from funcgrad.numpy.averages import computed_dtype
from funcgrad.numpy.axes import Axis, axis_indices, concrete, refuse
from funcgrad.numpy.joining import taken
from funcgrad.numpy.promote import as_array
from funcgrad.numpy.reductions import constant
from funcgrad.numpy.shaping import moveaxis
from funcgrad.numpy.ufuncs import isnan
from funcgrad.primitives import elementwise
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    div,
    full,
    mul,
    reduce_sum,
    reshape,
    select_n,
    sub,
)
from funcgrad.primitives.logic import bitwise_not, le
from funcgrad.primitives.shape import index_in_dim
from funcgrad.primitives.sort import gather_along, sort


def median(
    a: Any,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Array:
    """The middle element over `axis`, or the mean of the two in the middle; NaN if there is one.

    >>> float(median(jnp.array([3.0, 1.0, 2.0])))
    2.0
    """
    return _quantile("median", a, 0.5, axis, out, overwrite_input, "midpoint", keepdims)


def quantile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Array:
    """The element below which lies the fraction `q` (a number or a vector) over `axis`.

    `method` says what to do between two elements: linear, lower, higher, midpoint, nearest, or
    inverted_cdf. Several quantiles lie along a new first axis. NaN if there is one.

    >>> float(quantile(jnp.arange(5), 0.25))
    1.0
    """
    refuse("quantile", weights=weights)
    return _quantile("quantile", a, q, axis, out, overwrite_input, method, keepdims)


def percentile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Array:
    """As `quantile`, with `q` in percent."""
    refuse("percentile", weights=weights)
    return _quantile("percentile", a, _hundredth(q), axis, out, overwrite_input, method, keepdims)


def nanmedian(
    a: Any,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Array:
    """The median over `axis` of what is not NaN; NaN if nothing is."""
    return _quantile("nanmedian", a, 0.5, axis, out, overwrite_input, "midpoint", keepdims, True)


def nanquantile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Array:
    """The quantile over `axis` of what is not NaN; NaN if nothing is."""
    refuse("nanquantile", weights=weights)
    return _quantile("nanquantile", a, q, axis, out, overwrite_input, method, keepdims, True)


def nanpercentile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: None = None,
) -> Array:
    """As `nanquantile`, with `q` in percent."""
    refuse("nanpercentile", weights=weights)
    q = _hundredth(q)
    return _quantile("nanpercentile", a, q, axis, out, overwrite_input, method, keepdims, True)


def _hundredth(q: Any) -> Any:
    if isinstance(q, (int, float)):
        return q / 100
    q = _fractions("percentile", q)
    return div(q, constant(100, q.dtype))


def _wide_fractions(name: str, q: Any, dtype: Any) -> Array:
    return convert_element_type(_fractions(name, q), computed_dtype(dtype))


def _fractions(name: str, q: Any) -> Array:
    q = as_array(name, np.asarray(q) if isinstance(q, (list, tuple)) else q)
    return convert_element_type(q, dtypes.to_inexact(q.dtype))


# ---- the common engine ---------------------------------------------------------------------------


def _quantile(
    name: str,
    a: Any,
    q: Any,
    axis: Axis,
    out: None,
    overwrite_input: bool,
    method: str,
    keepdims: bool,
    skip_nan: bool = False,
) -> Array:
    refuse(name, out=out, overwrite_input=overwrite_input or None)
    if method not in _BETWEEN:
        raise ValueError(f"{name}: method must be one of {', '.join(_BETWEEN)}, but is {method!r}.")
    x = as_array(name, a)
    if dtypes.is_complex(x.dtype):
        raise ValueError(f"{name}: complex numbers have no order; needs real numbers.")
    dtype = dtypes.to_inexact(x.dtype)
    q = _computed_now(lambda: _wide_fractions(name, q, dtype), q)
    if q.ndim > 1:
        raise ValueError(f"{name}: q must be a number or a vector, but has shape {q.shape}.")
    axes = axis_indices(name, axis, x.ndim)
    rows = sort(_rows(name, convert_element_type(x, computed_dtype(dtype)), axes))
    between = _skipping_nan if skip_nan else _with_nan
    result = convert_element_type(between(rows, q, method), dtype)
    if not keepdims:
        return result
    kept = tuple(1 if d in axes else size for d, size in enumerate(x.shape))
    return reshape(result, (*q.shape, *kept))


def _rows(name: str, x: Array, axes: tuple[int, ...]) -> Array:
    """`x` with the axes merged into one, which comes last."""
    size = math.prod(x.shape[d] for d in axes)
    if size == 0:
        raise ValueError(f"{name}: needs at least one element over axes {axes} of shape {x.shape}.")
    kept = tuple(n for d, n in enumerate(x.shape) if d not in axes)
    return reshape(moveaxis(x, axes, tuple(range(-len(axes), 0))), (*kept, size))


def _with_nan(rows: Array, q: Array, method: str) -> Array:
    """Quantiles of sorted rows; NaN sorts last, so that the last element tells if there is one."""
    axis, last = rows.ndim - 1, rows.shape[-1] - 1
    low, high, weight = _neighbours_now(q, constant(last, q.dtype), method)
    pairs = [_elements(rows, position, axis) for position in (low, high)]
    lanes = tuple(range(q.ndim, q.ndim + axis))
    shape = (*q.shape, *rows.shape[:-1])
    weight = broadcast_in_dim(weight, shape, tuple(range(q.ndim)))
    result = _BETWEEN[method](pairs[0], pairs[1], weight)
    spoiled = broadcast_in_dim(isnan(index_in_dim(rows, last, axis, False)), shape, lanes)
    return select_n(spoiled, result, full(shape, np.nan, rows.dtype))


def _elements(rows: Array, position: Array, axis: int) -> Array:
    """The elements at computed positions along `axis`, several of them along a new first axis."""
    if position.ndim:
        return moveaxis(taken(rows, position, axis), axis, 0)
    if isinstance(position, ConcreteArray):
        return index_in_dim(rows, int(concrete("quantile", "q", position)), axis, False)
    return index_in_dim(taken(rows, reshape(position, (1,)), axis), 0, axis, False)


def _skipping_nan(rows: Array, q: Array, method: str) -> Array:
    """Quantiles of the leading elements of sorted rows that are not NaN, as many as there are."""
    axis = rows.ndim - 1
    count = reduce_sum(convert_element_type(bitwise_not(isnan(rows)), q.dtype), (axis,))
    shape = (*rows.shape[:-1], *q.shape)
    lanes = tuple(range(axis))
    last = broadcast_in_dim(sub(count, constant(1, q.dtype)), shape, lanes)
    spread = broadcast_in_dim(q, shape, tuple(range(axis, axis + q.ndim)))
    low, high, weight = _neighbours(spread, elementwise.max(last, full(shape, 0, q.dtype)), method)
    pairs = []
    for position in (low, high):
        columns = position if q.ndim else reshape(position, (*shape, 1))
        pairs.append(reshape(gather_along(rows, columns, axis), shape))
    result = _BETWEEN[method](pairs[0], pairs[1], weight)
    return moveaxis(result, axis, 0) if q.ndim else result


def _neighbours_now(q: Array, last: Array, method: str) -> tuple[Array, Array, Array]:
    """As `_neighbours`; if q is known they are too, also while a program is traced."""
    return _computed_now(lambda: _neighbours(q, last, method), q)


def _computed_now(compute: Callable[[], Any], q: Any) -> Any:
    """Runs what depends on q alone outside of the program that is traced, if q is known."""
    if isinstance(q, Tracer):
        return compute()
    with running(EVAL):
        return compute()


def _neighbours(q: Array, last: Array, method: str) -> tuple[Array, Array, Array]:
    """Positions of the elements on either side of a quantile, and how far it is from the lower."""
    zero = full(last.shape, 0, q.dtype)
    if method == "inverted_cdf":
        count = add(last, constant(1, q.dtype))
        place = sub(elementwise.ceil(mul(q, count)), constant(1, q.dtype))
    else:
        place = mul(q, last)
    low = elementwise.floor(place)
    inside = [elementwise.clamp(zero, p, last) for p in (low, elementwise.ceil(place))]
    positions = [convert_element_type(p, dtypes.int32) for p in inside]
    return positions[0], positions[1], sub(place, low)


def _linear(low: Array, high: Array, weight: Array) -> Array:
    return add(mul(low, sub(constant(1, weight.dtype), weight)), mul(high, weight))


def _nearest(low: Array, high: Array, weight: Array) -> Array:
    return select_n(le(weight, constant(0.5, weight.dtype)), high, low)


_BETWEEN: dict[str, Callable[[Array, Array, Array], Array]] = {
    "linear": _linear,
    "lower": lambda low, high, weight: low,
    "higher": lambda low, high, weight: high,
    "midpoint": lambda low, high, weight: mul(add(low, high), constant(0.5, low.dtype)),
    "nearest": _nearest,
    "inverted_cdf": lambda low, high, weight: low,
}
