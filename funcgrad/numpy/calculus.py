"""Differences, numerical gradients, interpolation and the trapezoidal rule."""

from __future__ import annotations

from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.axes import Axis, axis_index, axis_indices, integer, refuse
from funcgrad.numpy.joining import taken
from funcgrad.numpy.promote import (
    as_array,
    broadcast_shapes,
    broadcast_to_shape,
    promote_dtypes,
    promote_dtypes_inexact,
)
from funcgrad.numpy.reductions import constant, sum
from funcgrad.numpy.shaping import moveaxis, ravel
from funcgrad.numpy.sorting import searchsorted
from funcgrad.primitives import elementwise
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    div,
    full,
    mul,
    reshape,
    select_n,
    sub,
)
from funcgrad.primitives.logic import eq, gt, lt, ne
from funcgrad.primitives.shape import concatenate, index_in_dim, slice_in_dim
from funcgrad.primitives.slicing import replaced
from funcgrad.primitives.sort import sort_key_val

# ---- differences ---------------------------------------------------------------------------------


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Differences of neighbours along `axis`, taken `n` times; for bools, whether they differ.

    `prepend` and `append` are put before and after the array first.

    >>> diff(jnp.array([1, 4, 9])).tolist()
    [3, 5]
    """
    x = as_array("diff", a)
    times = integer("diff", "n", n)
    if times < 0:
        raise ValueError(f"diff: n must not be negative, but got {times}.")
    if x.ndim == 0:
        raise ValueError("diff: needs rank 1 or more, but got a number.")
    axis = axis_index("diff", axis, x.ndim)
    x = _extended(x, axis, prepend, append)
    for _ in range(times):
        before, after = _neighbours(x, axis)
        x = ne(after, before) if x.dtype == dtypes.bool_ else sub(after, before)
    return x


def _extended(x: Array, axis: int, prepend: Any, append: Any) -> Array:
    ends = [x if end is None else end for end in (prepend, append)]
    if prepend is None and append is None:
        return x
    before, x, after = promote_dtypes("diff", ends[0], x, ends[1])
    parts = [before] * (prepend is not None) + [x] + [after] * (append is not None)
    shape = replaced(x.shape, axis, 1)
    return concatenate([p if p.ndim else broadcast_to_shape(p, shape) for p in parts], axis)


def _neighbours(x: Array, axis: int) -> tuple[Array, Array]:
    """All but the last, and all but the first."""
    size = x.shape[axis]
    if size == 0:
        return x, x
    return slice_in_dim(x, 0, size - 1, axis=axis), slice_in_dim(x, 1, size, axis=axis)


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Array:
    """Differences of neighbours in the flattened array, between what is put before and after."""
    x = ravel(as_array("ediff1d", ary))
    before, after = _neighbours(x, 0)
    parts = [sub(after, before)]
    if to_begin is not None:
        parts.insert(0, convert_element_type(ravel(as_array("ediff1d", to_begin)), x.dtype))
    if to_end is not None:
        parts.append(convert_element_type(ravel(as_array("ediff1d", to_end)), x.dtype))
    return concatenate(parts, 0)


def gradient(f: Any, *varargs: Any, axis: Axis = None, edge_order: None = None) -> Any:
    """Second-order differences in the interior and first-order ones at both ends, along each axis.

    `varargs` give the spacing: nothing (1), one number for all axes, or for each axis a number or
    the vector of coordinates. Several axes give a list.
    """
    refuse("gradient", edge_order=edge_order)
    values, *spacings = promote_dtypes_inexact("gradient", f, *varargs)
    axes = axis_indices("gradient", axis, values.ndim)
    if not spacings:
        spacings = [constant(1, values.dtype)]
    if len(spacings) == 1 and spacings[0].ndim == 0:
        spacings = spacings * len(axes)
    if len(spacings) != len(axes):
        raise ValueError(f"gradient: got {len(spacings)} spacings for {len(axes)} axes.")
    slopes = [_slope(values, h, d) for h, d in zip(spacings, axes, strict=True)]
    return slopes[0] if len(slopes) == 1 and (axis is None or isinstance(axis, int)) else slopes


def _slope(values: Array, spacing: Array, axis: int) -> Array:
    size = values.shape[axis]
    if size < 2:
        raise ValueError(f"gradient: needs 2 elements along axis {axis}, but got {size}.")
    before, after = _neighbours(values, axis)
    rise = sub(after, before)
    if spacing.ndim == 0:
        gaps = broadcast_to_shape(spacing, rise.shape)
    elif spacing.shape == (size,):
        gaps = broadcast_in_dim(diff(spacing), rise.shape, (axis,))
    else:
        raise ValueError(
            f"gradient: coordinates of axis {axis} must be {size} numbers, not {spacing.shape}."
        )
    slopes = div(rise, gaps)
    ends = [slice_in_dim(slopes, i, i + 1, axis=axis) for i in (0, size - 2)]
    if size == 2:
        return concatenate(ends, axis)
    left, right = _neighbours(slopes, axis)
    left_gap, right_gap = _neighbours(gaps, axis)
    # each side weighs as much as the other's gap: exact for parabolas
    total = add(mul(left, right_gap), mul(right, left_gap))
    return concatenate([ends[0], div(total, add(left_gap, right_gap)), ends[1]], axis)


# ---- interpolation and integration ---------------------------------------------------------------


def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Array:
    """Values at `x` of the function that is linear between the points (xp, fp), `xp` ascending.

    Outside it is `left` and `right`: numbers, "extrapolate", or by default the values at the ends.
    With a `period` the points are repeated.
    """
    x, xp, fp = promote_dtypes_inexact("interp", x, xp, fp)
    if xp.ndim != 1 or xp.shape != fp.shape:
        raise ValueError(
            f"interp: xp and fp must be vectors of one length, but have {xp.shape} and {fp.shape}."
        )
    if dtypes.is_complex(x.dtype):
        raise ValueError("interp: complex numbers are not supported; interpolate each part.")
    if period is not None:
        x, xp, fp = _wrapped(x, xp, fp, convert_element_type(as_array("interp", period), x.dtype))
        left = right = "extrapolate"
    return _outside(_between(x, xp, fp), x, xp, fp, left, right)


def _between(x: Array, xp: Array, fp: Array) -> Array:
    """The line through the two points around x, or the two next to it."""
    last = xp.shape[0] - 1
    if last == 0:
        return broadcast_to_shape(reshape(fp, ()), x.shape)
    above = searchsorted(xp, x, side="right")
    above = elementwise.clamp(constant(1, above.dtype), above, constant(last, above.dtype))
    below = sub(above, constant(1, above.dtype))
    low, high = (_at(xp, i) for i in (below, above))
    start, end = (_at(fp, i) for i in (below, above))
    gap = sub(high, low)
    flat = eq(gap, full(gap.shape, 0, gap.dtype))
    slope = div(sub(end, start), select_n(flat, gap, full(gap.shape, 1, gap.dtype)))
    return select_n(flat, add(start, mul(sub(x, low), slope)), start)


def _at(values: Array, positions: Array) -> Array:
    return reshape(taken(values, ravel(positions), 0), positions.shape)


def _outside(result: Array, x: Array, xp: Array, fp: Array, left: Any, right: Any) -> Array:
    sides = ((left, 0, lt), (right, xp.shape[0] - 1, gt))
    for side, end, beyond in sides:
        if isinstance(side, str):
            if side != "extrapolate":
                raise ValueError(
                    f"interp: left and right are numbers or 'extrapolate', not {side!r}."
                )
            continue
        value = index_in_dim(fp, end, 0, False) if side is None else as_array("interp", side)
        value = broadcast_to_shape(convert_element_type(value, fp.dtype), x.shape)
        edge = broadcast_to_shape(index_in_dim(xp, end, 0, False), x.shape)
        result = select_n(beyond(x, edge), result, value)
    return result


def _wrapped(x: Array, xp: Array, fp: Array, period: Array) -> tuple[Array, Array, Array]:
    """Everything in one period, with the last point before the first, and the first after it."""
    xp, fp = sort_key_val(_modulo(xp, period), fp)
    first, last = (slice_in_dim(xp, i, i + 1) for i in (0, xp.shape[0] - 1))
    ends = [slice_in_dim(fp, i, i + 1) for i in (0, fp.shape[0] - 1)]
    xp = concatenate([sub(last, period), xp, add(first, period)], 0)
    return _modulo(x, period), xp, concatenate([ends[1], fp, ends[0]], 0)


def _modulo(x: Array, period: Array) -> Array:
    period = broadcast_to_shape(elementwise.abs(period), x.shape)
    return sub(x, mul(elementwise.floor(div(x, period)), period))


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Array:
    """The integral along `axis` by the trapezoidal rule, over coordinates `x` or steps `dx`.

    >>> float(trapezoid(jnp.array([0.0, 1.0, 2.0])))
    2.0
    """
    if x is None:
        values, step = promote_dtypes_inexact("trapezoid", y, dx)
    else:
        values, step = promote_dtypes_inexact("trapezoid", y, x)
    axis = axis_index("trapezoid", axis, values.ndim)
    if x is not None:
        step = diff(step) if step.ndim == 1 else diff(step, axis=axis)
    before, after = _neighbours(moveaxis(values, axis, -1), values.ndim - 1)
    step = moveaxis(step, axis, -1) if step.ndim > 1 else step
    heights = add(before, after)
    shape = broadcast_shapes("trapezoid", heights.shape, step.shape)
    area = mul(broadcast_to_shape(heights, shape), broadcast_to_shape(step, shape))
    return mul(sum(area, -1), constant(0.5, area.dtype))
