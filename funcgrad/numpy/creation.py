"""New arrays: constants, ranges, grids, and the identity.

Types follow what is given: without a dtype, constants are float32, ranges take the common type of
their bounds, and a Python number as fill value stays weak. Next: shaping.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.numpy.axes import axis_index, concrete, integer, shape_tuple
from funcgrad.numpy.promote import (
    as_array,
    broadcast_shapes,
    broadcast_to_shape,
    converted,
    promote_dtypes,
    promote_dtypes_inexact,
)
from funcgrad.primitives import elementwise
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    div,
    full as _full,
    moveaxis as _moveaxis,
    mul,
    select_n,
    sub,
)
from funcgrad.primitives.cumulative import cumprod
from funcgrad.primitives.logic import eq, ge
from funcgrad.primitives.shape import broadcasted_iota, concatenate, expand_dims, iota, rev

# ---- constants ---------------------------------------------------------------------------------


def zeros(shape: Any, dtype: Any = None) -> Array:
    """Zeros of a shape; float32 unless a dtype is given.

    >>> zeros((2, 3)).shape
    (2, 3)
    """
    return _constant("zeros", shape, 0, dtype)


def ones(shape: Any, dtype: Any = None) -> Array:
    """Ones of a shape; float32 unless a dtype is given."""
    return _constant("ones", shape, 1, dtype)


def empty(shape: Any, dtype: Any = None) -> Array:
    """An array for values yet to come: zeros, since memory is never shown uninitialised."""
    return _constant("empty", shape, 0, dtype)


def _constant(name: str, shape: Any, value: int, dtype: Any) -> Array:
    dtype = dtypes.default_float() if dtype is None else dtypes.as_dtype(dtype)
    return _filled(shape_tuple(name, shape), value, dtype)


def _filled(shape: tuple[Any, ...], value: Any, dtype: Any) -> Array:
    return _full(shape, ConcreteArray(dtype.type(value)), dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Array:
    """An array of a shape in which `fill_value`, which broadcasts to it, is repeated."""
    shape = shape_tuple("full", shape)
    value = as_array("full", fill_value)
    if dtype is not None:
        value = convert_element_type(value, dtypes.as_dtype(dtype))
    broadcast_shapes("full", value.shape, shape)
    return broadcast_to_shape(value, shape)


def zeros_like(a: Any, dtype: Any = None, shape: Any = None) -> Array:
    """Zeros with the shape and dtype of `a`, or those given."""
    return _constant_like("zeros_like", a, 0, dtype, shape)


def ones_like(a: Any, dtype: Any = None, shape: Any = None) -> Array:
    """Ones with the shape and dtype of `a`, or those given."""
    return _constant_like("ones_like", a, 1, dtype, shape)


def empty_like(prototype: Any, dtype: Any = None, shape: Any = None) -> Array:
    """Zeros with the shape and dtype of `prototype`, or those given."""
    return _constant_like("empty_like", prototype, 0, dtype, shape)


def full_like(a: Any, fill_value: Any, dtype: Any = None, shape: Any = None) -> Array:
    """`fill_value` repeated to the shape and dtype of `a`, or those given.

    `a` may be an array, a number, or anything with a shape and a dtype.
    """
    target, dtype, weak = _described("full_like", a, dtype, shape)
    value = convert_element_type(as_array("full_like", fill_value), dtype, weak)
    broadcast_shapes("full_like", value.shape, target)
    return broadcast_to_shape(value, target)


def _constant_like(name: str, a: Any, value: int, dtype: Any, shape: Any) -> Array:
    target, dtype, weak = _described(name, a, dtype, shape)
    return broadcast_to_shape(ConcreteArray(dtype.type(value), weak), target)


def _described(name: str, a: Any, dtype: Any, shape: Any) -> tuple[tuple[Any, ...], Any, bool]:
    """The shape, dtype and weakness of an array like `a`, with what is given instead."""
    like = a if hasattr(a, "shape") and hasattr(a, "dtype") else as_array(name, a)
    target = tuple(like.shape) if shape is None else shape_tuple(name, shape)
    if dtype is not None:
        return target, dtypes.as_dtype(dtype), False
    if isinstance(like, Array):
        return target, like.dtype, like.weak_type
    return target, dtypes.narrowed(dtypes.as_dtype(like.dtype)), getattr(like, "weak_type", False)


# ---- ranges ------------------------------------------------------------------------------------


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Array:
    """start, start + step, ... below `stop`; with one argument, 0, 1, ... below it.

    Bounds must be concrete. Without a dtype the result has the common type of the bounds: int32
    for Python integers, float32 for floats. ValueError if `step` is 0.

    >>> arange(2, 10, 3).tolist()
    [2, 5, 8]
    """
    bounds = [x for x in (start, stop, step) if x is not None]
    dtype = _range_dtype(bounds) if dtype is None else dtypes.as_dtype(dtype)
    if stop is None:
        start, stop = 0, start
    first, last = _static_number("start", start), _static_number("stop", stop)
    stride = 1 if step is None else _static_number("step", step)
    positions = iota(dtype, _range_size(first, last, stride))
    if step is not None:
        positions = mul(positions, _as_type(stride, dtype))
    return positions if first == 0 else add(positions, _as_type(first, dtype))


def _range_dtype(bounds: Sequence[Any]) -> Any:
    given = [as_array("arange", x) for x in bounds]
    return dtypes.promote(tuple((x.dtype, x.weak_type) for x in given))[0]


def _static_number(what: str, value: Any) -> Any:
    number = concrete("arange", what, value)
    if number.ndim:
        raise TypeError(
            f"arange: {what} must be a number, but got an array of shape {number.shape}."
        )
    if number.dtype == dtypes.bfloat16:
        return float(number)
    return number.item()


def _as_type(number: Any, dtype: Any) -> Any:
    return np.asarray(number).astype(dtype)[()]


def _range_size(first: Any, last: Any, stride: Any) -> int:
    if stride == 0:
        raise ValueError("arange: step must not be 0.")
    if all(isinstance(x, int) for x in (first, last, stride)):
        return max(0, -((first - last) // stride))
    length = (last - first) / stride
    return max(0, math.ceil(length.real))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` evenly spaced numbers from `start` to `stop`, the last included if `endpoint`.

    Bounds may be arrays, which broadcast; the new axis is `axis`. An integer dtype rounds down.
    With `retstep`, also the spacing.

    >>> linspace(0.0, 1.0, 3).tolist()
    [0.0, 0.5, 1.0]
    """
    result, step = _linspace("linspace", start, stop, num, endpoint, axis)
    if dtype is not None:
        dtype = dtypes.as_dtype(dtype)
        if dtypes.is_integer(dtype) and not dtypes.is_complex(result.dtype):
            result = elementwise.floor(result)
        result = convert_element_type(result, dtype)
        step = convert_element_type(step, dtype) if dtypes.is_inexact(dtype) else step
    return (result, step) if retstep else result


def _linspace(
    name: str, start: Any, stop: Any, num: Any, endpoint: bool, axis: int
) -> tuple[Any, Any]:
    num = integer(name, "num", num)
    if num < 0:
        raise ValueError(f"{name}: num must not be negative, but got {num}.")
    start, stop = _strong(*promote_dtypes_inexact(name, start, stop))
    shape = broadcast_shapes(name, start.shape, stop.shape)
    start, stop = broadcast_to_shape(start, shape), broadcast_to_shape(stop, shape)
    gaps = num - 1 if endpoint else num
    step = div(sub(stop, start), gaps) if gaps > 0 else _filled(shape, np.nan, start.dtype)
    return _moveaxis(
        _spaced(start, stop, num, gaps), 0, axis_index(name, axis, len(shape) + 1)
    ), step


def _strong(*arrays: Array) -> list[Array]:
    return [convert_element_type(x, x.dtype) for x in arrays]


def _spaced(start: Array, stop: Array, num: int, gaps: int) -> Array:
    """Weighted means of both ends, along a new leading axis; the end itself is exact."""
    ends = [expand_dims(x, (0,)) for x in (start, stop)]
    if num == 0 or gaps == 0:
        return broadcast_in_dim(start, (num, *start.shape), tuple(range(1, start.ndim + 1)))
    real = dtypes.real_part(start.dtype)
    line = convert_element_type(div(iota(real, gaps), gaps), start.dtype)
    shape = (gaps, *start.shape)
    weight = broadcast_in_dim(line, shape, (0,))
    first, last = (broadcast_in_dim(x, shape, tuple(range(len(shape)))) for x in ends)
    points = add(mul(first, sub(_full((), 1, start.dtype), weight)), mul(last, weight))
    return points if gaps == num else concatenate([points, ends[1]], 0)


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Array:
    """base ** linspace(start, stop): evenly spaced on a logarithmic scale."""
    exponents, _ = _linspace("logspace", start, stop, num, endpoint, axis)
    base, exponents = promote_dtypes("logspace", base, exponents)
    base = broadcast_to_shape(base, broadcast_shapes("logspace", base.shape, exponents.shape))
    result = elementwise.pow(base, exponents)
    return result if dtype is None else convert_element_type(result, dtypes.as_dtype(dtype))


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Array:
    """A geometric progression from `start` to `stop`, both exact."""
    start, stop = _strong(*promote_dtypes_inexact("geomspace", start, stop))
    shape = broadcast_shapes("geomspace", start.shape, stop.shape)
    start, stop = broadcast_to_shape(start, shape), broadcast_to_shape(stop, shape)
    ratio = div(stop, start)
    powers, _ = _linspace(
        "geomspace", _full(shape, 0, ratio.dtype), elementwise.log(ratio), num, endpoint, 0
    )
    wide = powers.shape
    spread = [broadcast_in_dim(x, wide, tuple(range(1, len(wide)))) for x in (start, stop)]
    result = mul(spread[0], elementwise.exp(powers))
    if endpoint and num > 1:
        at_end = eq(broadcasted_iota(dtypes.int32, wide, 0), _full((), num - 1, dtypes.int32))
        result = select_n(at_end, result, spread[1])
    result = _moveaxis(result, 0, axis_index("geomspace", axis, len(wide)))
    return result if dtype is None else convert_element_type(result, dtypes.as_dtype(dtype))


# ---- matrices ----------------------------------------------------------------------------------


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Array:
    """A matrix of zeros with ones on the k-th diagonal."""
    return _banded("eye", N, M, k, dtype, eq)


def identity(n: int, dtype: Any = None) -> Array:
    """The identity matrix of size n."""
    return _banded("identity", n, None, 0, dtype, eq)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Array:
    """A matrix with ones at and below the k-th diagonal, zeros above."""
    return _banded("tri", N, M, k, dtype, ge)


def _banded(
    name: str, rows: Any, columns: Any, k: Any, dtype: Any, test: Callable[..., Any]
) -> Array:
    rows = shape_tuple(name, rows)
    shape = (*rows, *(rows if columns is None else shape_tuple(name, columns)))
    if len(shape) != 2:
        raise TypeError(f"{name}: N and M must be single integers, but give the shape {shape}.")
    dtype = dtypes.default_float() if dtype is None else dtypes.as_dtype(dtype)
    return convert_element_type(diagonal_mask(shape, k, test), dtype)


def diagonal_mask(shape: tuple[Any, ...], k: Any, test: Callable[..., Any]) -> Array:
    """Where `test(row + k, column)` holds in the last two dimensions."""
    row = broadcasted_iota(dtypes.int32, shape, len(shape) - 2)
    column = broadcasted_iota(dtypes.int32, shape, len(shape) - 1)
    return test(add(row, converted(as_array("diagonal", k), dtypes.int32)), column)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Array:
    """The matrix of powers of `x`: column j holds x ** j if `increasing`, else x ** (N - 1 - j)."""
    x = as_array("vander", x)
    if x.ndim != 1:
        raise ValueError(f"vander: needs an array of rank 1, but got shape {x.shape}.")
    columns = x.shape[0] if N is None else integer("vander", "N", N)
    if x.dtype == dtypes.bool_:
        x = convert_element_type(x, dtypes.default_int())
    if columns == 0:
        return _filled((x.shape[0], 0), 0, x.dtype)
    repeated = broadcast_in_dim(x, (x.shape[0], columns - 1), (0,))
    powers = cumprod(concatenate([_full((x.shape[0], 1), 1, x.dtype), repeated], 1), 1)
    return powers if increasing else rev(powers, (1,))


# ---- grids -------------------------------------------------------------------------------------


def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> list[Array]:
    """Coordinate arrays of the grid spanned by vectors; `indexing` "xy" swaps the first two axes.

    With `sparse` they keep size 1 along the other axes. `copy` must be true: arrays share nothing
    that could be written to.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', but got {indexing!r}.")
    if not copy:
        raise ValueError("meshgrid: copy=False is not supported; leave it out.")
    axes = [as_array("meshgrid", x) for x in xi]
    for x in axes:
        if x.ndim != 1:
            raise ValueError(f"meshgrid: needs vectors, but got shape {x.shape}. Use ravel first.")
    order = list(range(len(axes)))
    if indexing == "xy" and len(axes) > 1:
        order[:2] = [1, 0]
    sizes = [axes[d].shape[0] for d in order]
    return [_spread(x, sizes, order.index(d), sparse) for d, x in enumerate(axes)]


def _spread(x: Array, sizes: Sequence[Any], dim: int, sparse: bool) -> Array:
    shape = [size if d == dim or not sparse else 1 for d, size in enumerate(sizes)]
    return broadcast_in_dim(x, tuple(shape), (dim,))


def indices(dimensions: Sequence[int], dtype: Any = None, sparse: bool = False) -> Any:
    """The index of every element of an array of that shape, one array per dimension, stacked."""
    shape = shape_tuple("indices", dimensions)
    dtype = dtypes.default_int() if dtype is None else dtypes.as_dtype(dtype)
    if sparse:
        return tuple(_spread(iota(dtype, n), shape, d, True) for d, n in enumerate(shape))
    if not shape:
        return _filled((0,), 0, dtype)
    grids = [expand_dims(broadcasted_iota(dtype, shape, d), (0,)) for d in range(len(shape))]
    return concatenate(grids, 0)


class _Grid:
    """`grid[a:b:c, ...]`: an arange per slice, a linspace where the step is complex (5j)."""

    def __init__(self, name: str, sparse: bool) -> None:
        self.name, self.sparse = name, sparse

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return _range_of(self.name, key)
        lines = promote_dtypes(self.name, *(_range_of(self.name, part) for part in key))
        grids = meshgrid(*lines, sparse=self.sparse, indexing="ij")
        return grids if self.sparse else concatenate([expand_dims(g, (0,)) for g in grids], 0)

    def __repr__(self) -> str:
        return f"<funcgrad.numpy.{self.name}>"


def _range_of(name: str, key: slice) -> Array:
    if key.stop is None:
        raise ValueError(f"{name}: each slice needs a stop, but got {key}.")
    start = 0 if key.start is None else key.start
    if isinstance(key.step, complex):
        return linspace(start, key.stop, int(abs(key.step)))
    return arange(start, key.stop, key.step)


mgrid = _Grid("mgrid", sparse=False)
ogrid = _Grid("ogrid", sparse=True)
