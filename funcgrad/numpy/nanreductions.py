"""Reductions that leave NaN out: nansum, nanmean, nanmax and the others.

Over elements that are all NaN, sums are 0, products 1, means, variances and extrema NaN, and
positions -1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy import averages, reductions, running
from funcgrad.numpy.axes import Axis
from funcgrad.numpy.promote import as_array
from funcgrad.numpy.reductions import masked
from funcgrad.numpy.ufuncs import isnan
from funcgrad.primitives import elementwise
from funcgrad.primitives.basis import full, select_n
from funcgrad.primitives.kinds import dtype_limits
from funcgrad.primitives.logic import bitwise_not


def _numbers(x: Array) -> Array:
    """Where `x` is not NaN."""
    return bitwise_not(isnan(x))


def _present(name: str, x: Array, where: Any) -> Array:
    """Where `x` is not NaN, among the places that `where` admits."""
    return masked(name, _numbers(x), where, False)


def _without_nan(x: Array, fill: Any) -> Array:
    return masked("", x, _numbers(x), fill) if dtypes.is_inexact(x.dtype) else x


def nansum(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Array:
    """The sum over `axis` of what is not NaN."""
    x = _without_nan(as_array("nansum", a), 0)
    return reductions.sum(x, axis, dtype, out, keepdims, initial, where)


def nanprod(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Array:
    """The product over `axis` of what is not NaN."""
    x = _without_nan(as_array("nanprod", a), 1)
    return reductions.prod(x, axis, dtype, out, keepdims, initial, where)


def nanmax(
    a: Any,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Array:
    """The largest element over `axis` that is not NaN; NaN if there is none."""
    return _extremum("nanmax", reductions.max, 0, a, axis, out, keepdims, initial, where)


def nanmin(
    a: Any,
    axis: Axis = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Array:
    """The smallest element over `axis` that is not NaN; NaN if there is none."""
    return _extremum("nanmin", reductions.min, 1, a, axis, out, keepdims, initial, where)


def _extremum(
    name: str,
    reduce: Callable[..., Array],
    side: int,
    a: Any,
    axis: Axis,
    out: None,
    keepdims: bool,
    initial: Any,
    where: Any,
) -> Array:
    x = as_array(name, a)
    if not dtypes.is_inexact(x.dtype):
        return reduce(x, axis, out, keepdims, initial, where)
    filled = _without_nan(x, dtype_limits(x.dtype)[side])
    result = reduce(filled, axis, out, keepdims, initial, where)
    if initial is not None:
        return result
    nothing = reductions.all(isnan(x), axis, keepdims=keepdims)
    return select_n(nothing, result, full(result.shape, np.nan, result.dtype))


def nanargmax(
    a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None
) -> Array:
    """The position of the largest element that is not NaN; -1 if there is none."""
    return _position("nanargmax", reductions.argmax, 0, a, axis, out, keepdims)


def nanargmin(
    a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None
) -> Array:
    """The position of the smallest element that is not NaN; -1 if there is none."""
    return _position("nanargmin", reductions.argmin, 1, a, axis, out, keepdims)


def _position(
    name: str,
    find: Callable[..., Array],
    side: int,
    a: Any,
    axis: int | None,
    out: None,
    keepdims: Any,
) -> Array:
    x = as_array(name, a)
    if not dtypes.is_inexact(x.dtype):
        return find(x, axis, out, keepdims)
    found = find(_without_nan(x, dtype_limits(x.dtype)[side]), axis, out, keepdims)
    nothing = reductions.all(isnan(x), axis, keepdims=bool(keepdims))
    return select_n(nothing, found, full(found.shape, -1, found.dtype))


def nanmean(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    where: Any = None,
) -> Array:
    """The mean over `axis` of what is not NaN."""
    x = as_array("nanmean", a)
    where = _present("nanmean", x, where) if dtypes.is_inexact(x.dtype) else where
    return averages.mean(x, axis, dtype, out, keepdims, where=where)


def nanvar(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: Any = 0,
    keepdims: bool = False,
    where: Any = None,
    mean: Any = None,
) -> Array:
    """The variance over `axis` of what is not NaN."""
    x = as_array("nanvar", a)
    where = _present("nanvar", x, where) if dtypes.is_inexact(x.dtype) else where
    return averages.var(x, axis, dtype, out, ddof, keepdims, where=where, mean=mean)


def nanstd(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: Any = 0,
    keepdims: bool = False,
    where: Any = None,
    mean: Any = None,
) -> Array:
    """The standard deviation over `axis` of what is not NaN."""
    return elementwise.sqrt(nanvar(a, axis, dtype, out, ddof, keepdims, where, mean))


def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Array:
    """Running sum along `axis`, to which NaN adds nothing."""
    return running.cumsum(_without_nan(as_array("nancumsum", a), 0), axis, dtype, out)


def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Array:
    """Running product along `axis`, which NaN leaves as it is."""
    return running.cumprod(_without_nan(as_array("nancumprod", a), 1), axis, dtype, out)
