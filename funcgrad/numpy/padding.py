"""pad, in all of NumPy's modes.

Constants are one lax.pad. The modes that repeat elements are a gather by positions that NumPy pads
for us; those that compute (means, ramps, odd reflections) work along one axis after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.api.vectorize import vmap
from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.axes import concrete
from funcgrad.numpy.joining import taken
from funcgrad.numpy.promote import as_array
from funcgrad.numpy.shaping import moveaxis, reshape
from funcgrad.primitives import shape as primitives
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    div,
    mul,
    reduce_sum,
    sub,
)
from funcgrad.primitives.elementwise import RoundingMethod, floor, round
from funcgrad.primitives.reduce import reduce_max, reduce_min
from funcgrad.primitives.slicing import replaced
from funcgrad.primitives.sort import sort

Widths = tuple[int, int]

_OPTIONS = {
    "constant": ("constant_values",),
    "empty": (),
    "edge": (),
    "wrap": (),
    "linear_ramp": ("end_values",),
    "reflect": ("reflect_type",),
    "symmetric": ("reflect_type",),
    "maximum": ("stat_length",),
    "minimum": ("stat_length",),
    "mean": ("stat_length",),
    "median": ("stat_length",),
}


def pad(
    array: Any, pad_width: Any, mode: str | Callable[..., Any] = "constant", **kwargs: Any
) -> Array:
    """`array` with elements put before and after it along each axis.

    `pad_width` is n, (before, after), or one such pair for each axis. Modes: constant
    (`constant_values`), empty, edge, wrap, reflect and symmetric (`reflect_type` "even" or "odd"),
    linear_ramp (`end_values`), maximum, minimum, mean and median (`stat_length`), or a function
    of (vector, widths, axis, kwargs) that returns the padded vector.

    >>> pad(jnp.arange(3), (1, 2), mode="edge").tolist()
    [0, 0, 1, 2, 2, 2]
    """
    x = as_array("pad", array)
    widths = _pairs("pad_width", pad_width, x.ndim)
    if any(n < 0 for pair in widths for n in pair):
        raise ValueError(f"pad: widths must not be negative, but got {pad_width}.")
    if callable(mode):
        return _pad_by_function(x, widths, mode, kwargs)
    if mode not in _OPTIONS:
        raise ValueError(f"pad: mode must be one of {', '.join(_OPTIONS)}, but got {mode!r}.")
    for option in kwargs:
        if option not in _OPTIONS[mode]:
            raise ValueError(f"pad: mode {mode!r} takes no argument {option!r}.")
    return _MODES[mode](x, widths, **kwargs)


def _pairs(what: str, value: Any, ndim: int) -> list[Widths]:
    """(before, after) for each axis."""
    if isinstance(value, dict):
        chosen = {axis % ndim: pair for axis, pair in value.items()}
        value = [np.broadcast_to(chosen.get(d, 0), 2) for d in range(ndim)]
    known = concrete("pad", what, np.asarray(value))
    if known.dtype.kind not in "iu" and known.size:
        raise TypeError(f"pad: {what} must be integers, but got {value!r:.60}.")
    try:
        pairs = np.broadcast_to(known, (ndim, 2)) if ndim else known.reshape(-1)[:0]
    except ValueError:
        raise ValueError(
            f"pad: {what} must be n, (before, after), or one such pair for each of {ndim} axes, "
            f"but got {value!r:.60}."
        ) from None
    return [(int(before), int(after)) for before, after in pairs]


def _each_axis(x: Array, widths: list[Widths], one_axis: Callable[..., Array]) -> Array:
    for axis, pair in enumerate(widths):
        if any(pair):
            x = one_axis(x, axis, *pair)
    return x


def _broadcast_along(x: Array, axis: int, size: int) -> Array:
    """An array whose size along `axis` is 1, repeated along it."""
    return broadcast_in_dim(x, replaced(x.shape, axis, size), tuple(range(x.ndim)))


# ---- constants -----------------------------------------------------------------------------------


def _pad_constant(x: Array, widths: list[Widths], constant_values: Any = 0) -> Array:
    values = as_array("pad", _stacked(constant_values))
    values = convert_element_type(values, x.dtype, x.weak_type)
    if values.size == 1:
        value = primitives.squeeze(values, range(values.ndim)) if values.ndim else values
        return primitives.pad(x, value, [(before, after, 0) for before, after in widths])
    shape = (x.ndim, 2)
    values = broadcast_in_dim(values, shape, tuple(range(2 - values.ndim, 2)))
    return _each_axis(x, widths, lambda x, axis, *pair: _constant_along(x, values, axis, pair))


def _stacked(values: Any) -> Any:
    return np.asarray(values) if isinstance(values, (tuple, list)) else values


def _constant_along(x: Array, values: Array, axis: int, pair: Widths) -> Array:
    row = primitives.index_in_dim(values, axis, keepdims=False)
    for side, width in enumerate(pair):
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (0, width, 0) if side else (width, 0, 0)
        x = primitives.pad(x, primitives.index_in_dim(row, side, keepdims=False), config)
    return x


# ---- elements again ------------------------------------------------------------------------------


def _pad_by_positions(mode: str) -> Callable[..., Array]:
    def one_axis(x: Array, axis: int, before: int, after: int) -> Array:
        size = x.shape[axis]
        if size == 0:
            raise ValueError(f"pad: mode {mode!r} needs elements, but axis {axis} has none.")
        return taken(x, np.pad(np.arange(size), (before, after), mode=mode), axis)  # type: ignore

    return one_axis


def _pad_reflected(mode: str) -> Callable[..., Array]:
    def padded(x: Array, widths: list[Widths], reflect_type: str = "even") -> Array:
        if reflect_type not in ("even", "odd"):
            raise ValueError(f"pad: reflect_type must be even or odd, but got {reflect_type!r}.")
        if reflect_type == "even":
            return _each_axis(x, widths, _pad_by_positions(mode))
        skipped = 1 if mode == "reflect" else 0
        return _each_axis(x, widths, lambda x, axis, low, high: _odd(x, axis, low, high, skipped))

    return padded


def _odd(x: Array, axis: int, before: int, after: int, skipped: int) -> Array:
    """Continues x antisymmetrically about its ends, in pieces no longer than what is there."""
    if x.shape[axis] == 1 and skipped:
        return _pad_by_positions("edge")(x, axis, before, after)
    flipped = primitives.rev(_grown(x, axis, after, skipped), (axis,))
    return primitives.rev(_grown(flipped, axis, before, skipped), (axis,))


def _grown(x: Array, axis: int, width: int, skipped: int) -> Array:
    while width > 0:
        size = x.shape[axis]
        length = min(width, size - skipped)
        stop = size - skipped
        end = primitives.slice_in_dim(x, size - 1, size, axis=axis)
        mirrored = primitives.rev(
            primitives.slice_in_dim(x, stop - length, stop, axis=axis), (axis,)
        )
        ends = _broadcast_along(end, axis, length)
        x = primitives.concatenate([x, sub(add(ends, ends), mirrored)], axis)
        width -= length
    return x


# ---- computed elements ---------------------------------------------------------------------------


def _pad_linear_ramp(x: Array, widths: list[Widths], end_values: Any = 0) -> Array:
    ends = convert_element_type(as_array("pad", _stacked(end_values)), x.dtype)
    ends = broadcast_in_dim(ends, (max(x.ndim, 1), 2), tuple(range(2 - ends.ndim, 2)))

    def one_axis(x: Array, axis: int, before: int, after: int) -> Array:
        row = primitives.index_in_dim(ends, axis, keepdims=False)
        left, right = (primitives.index_in_dim(row, i, keepdims=False) for i in range(2))
        first = primitives.slice_in_dim(x, 0, 1, axis=axis)
        last = primitives.slice_in_dim(x, x.shape[axis] - 1, x.shape[axis], axis=axis)
        lower = primitives.rev(_ramp(first, left, axis, before), (axis,))
        return primitives.concatenate([lower, x, _ramp(last, right, axis, after)], axis)

    return _each_axis(x, widths, one_axis)


def _ramp(edge: Array, end: Array, axis: int, width: int) -> Array:
    """`width` steps from `edge` (not included) to `end`."""
    exact = edge.dtype if dtypes.is_inexact(edge.dtype) else dtypes.default_float()
    shape = replaced(edge.shape, axis, width)
    start = convert_element_type(_broadcast_along(edge, axis, width), exact)
    way = div(sub(convert_element_type(end, exact), start), max(width, 1))
    steps = primitives.broadcasted_iota(dtypes.real_part(exact), shape, axis)
    ramp = add(start, mul(way, convert_element_type(add(steps, 1), exact)))
    if dtypes.is_integer(edge.dtype):
        ramp = floor(ramp)
    return convert_element_type(ramp, edge.dtype)


def _pad_statistic(statistic: Callable[[Array, int], Array]) -> Callable[..., Array]:
    def padded(x: Array, widths: list[Widths], stat_length: Any = None) -> Array:
        lengths = (
            [(None, None)] * x.ndim
            if stat_length is None
            else _pairs("stat_length", stat_length, x.ndim)
        )

        def one_axis(x: Array, axis: int, before: int, after: int) -> Array:
            size = x.shape[axis]
            head, tail = (size if n is None else min(n, size) for n in lengths[axis])
            if head < 1 or tail < 1:
                raise ValueError(f"pad: stat_length must be positive, but got {stat_length}.")
            left = statistic(primitives.slice_in_dim(x, 0, head, axis=axis), axis)
            right = statistic(primitives.slice_in_dim(x, size - tail, size, axis=axis), axis)
            parts = [_broadcast_along(left, axis, before), x, _broadcast_along(right, axis, after)]
            return primitives.concatenate(parts, axis)

        return _each_axis(x, widths, one_axis)

    return padded


def _keeping_axis(reduce: Callable[..., Array]) -> Callable[[Array, int], Array]:
    return lambda x, axis: primitives.expand_dims(reduce(x, (axis,)), (axis,))


def _mean(x: Array, axes: tuple[int]) -> Array:
    exact = x.dtype if dtypes.is_inexact(x.dtype) else dtypes.default_float()
    total = reduce_sum(convert_element_type(x, exact), axes)
    return _rounded_to(div(total, x.shape[axes[0]]), x.dtype)


def _median(x: Array, axes: tuple[int]) -> Array:
    (axis,) = axes
    size = x.shape[axis]
    middle = primitives.slice_in_dim(sort(x, axis), (size - 1) // 2, size // 2 + 1, axis=axis)
    return _mean(middle, axes)


def _rounded_to(x: Array, dtype: Any) -> Array:
    return (
        x
        if x.dtype == dtype
        else convert_element_type(round(x, RoundingMethod.TO_NEAREST_EVEN), dtype)
    )


# ---- by a function -------------------------------------------------------------------------------


def _pad_by_function(
    x: Array, widths: list[Widths], function: Callable[..., Any], kwargs: dict[str, Any]
) -> Array:
    """Runs the function on every vector along each axis, after padding with zeros."""
    x = _pad_constant(x, widths)
    for axis, pair in enumerate(widths):
        rows = moveaxis(x, axis, -1)
        flat = reshape(rows, (-1, rows.shape[-1]))
        done = vmap(lambda row, pair=pair, axis=axis: function(row, pair, axis, kwargs))(flat)
        x = moveaxis(reshape(done, rows.shape), -1, axis)
    return x


_MODES: dict[str, Callable[..., Array]] = {
    "constant": _pad_constant,
    "empty": _pad_constant,
    "edge": lambda x, widths: _each_axis(x, widths, _pad_by_positions("edge")),
    "wrap": lambda x, widths: _each_axis(x, widths, _pad_by_positions("wrap")),
    "reflect": _pad_reflected("reflect"),
    "symmetric": _pad_reflected("symmetric"),
    "linear_ramp": _pad_linear_ramp,
    "maximum": _pad_statistic(_keeping_axis(reduce_max)),
    "minimum": _pad_statistic(_keeping_axis(reduce_min)),
    "mean": _pad_statistic(_keeping_axis(_mean)),
    "median": _pad_statistic(_keeping_axis(_median)),
}
