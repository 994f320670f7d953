"""Running sums and products along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.axes import axis_index, refuse
from funcgrad.numpy.promote import as_numbers
from funcgrad.numpy.reductions import constant, given_or, summed_dtype
from funcgrad.primitives.basis import convert_element_type, full, reshape
from funcgrad.primitives.cumulative import cumprod as _cumprod, cumsum as _cumsum
from funcgrad.primitives.shape import concatenate
from funcgrad.primitives.slicing import replaced


def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Array:
    """Running sum along `axis`, or over the flattened array.

    >>> cumsum(jnp.arange(4)).tolist()
    [0, 1, 3, 6]
    """
    return _running("cumsum", _cumsum, a, axis, dtype, out)


def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Array:
    """Running product along `axis`, or over the flattened array."""
    return _running("cumprod", _cumprod, a, axis, dtype, out)


def _running(
    name: str, run: Callable[..., Array], a: Any, axis: int | None, dtype: Any, out: None
) -> Array:
    refuse(name, out=out)
    x = as_numbers(name, a)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = axis_index(name, axis, x.ndim)
    dtype = given_or(dtype, dtypes.default_int() if x.dtype == dtypes.bool_ else x.dtype)
    if dtype == dtypes.bool_:
        return convert_element_type(run(convert_element_type(x, dtypes.int32), axis), dtype)
    return run(convert_element_type(x, dtype), axis)


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Running sum along `axis`; with `include_initial`, after a zero.

    Small integers are summed in the default width. Rank above 1 needs an axis.
    """
    return _running_from("cumulative_sum", _cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Running product along `axis`; with `include_initial`, after a one.

    Rank above 1 needs an axis.
    """
    return _running_from("cumulative_prod", _cumprod, 1, x, axis, dtype, include_initial)


def _running_from(
    name: str, run: Callable[..., Array], start: int, x: Any, axis: Any, dtype: Any, include: bool
) -> Array:
    x = as_numbers(name, x)
    if x.ndim == 0 or (axis is None and x.ndim > 1):
        raise ValueError(f"{name}: needs rank 1, or an axis, but got shape {x.shape}.")
    axis = axis_index(name, 0 if axis is None else axis, x.ndim)
    if dtype is None and run is _cumsum:
        dtype = summed_dtype(x.dtype)
    result = _running(name, run, x, axis, dtype, None)
    if not include:
        return result
    first = full(replaced(x.shape, axis, 1), constant(start, result.dtype), result.dtype)
    return concatenate([first, result], axis)
