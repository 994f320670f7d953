"""mean, variance, standard deviation and weighted average over axes.

Means of integers are floats; bfloat16 and float16 are averaged in float32 and rounded once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.axes import Axis, axis_indices, refuse
from funcgrad.numpy.promote import (
    as_array,
    as_numbers,
    broadcast_shapes,
    broadcast_to_shape,
    promote_args_inexact,
)
from funcgrad.numpy.reductions import constant, given_or, masked, sum
from funcgrad.numpy.ufuncs.shortcut import composite
from funcgrad.primitives import elementwise
from funcgrad.primitives.basis import (
    convert_element_type,
    div,
    full,
    mul,
    reshape,
    select_n,
    sub,
    transpose,
)
from funcgrad.primitives.logic import gt


def computed_dtype(dtype: Any) -> Any:
    """The dtype in which means of a dtype are computed: narrow floats in float32."""
    return dtypes.float32 if dtype in (dtypes.bfloat16, dtypes.float16) else dtype


@composite
def mean(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Array:
    """The arithmetic mean over `axis`, of those elements that `where` admits.

    >>> float(mean(jnp.arange(4)))
    1.5
    """
    refuse("mean", out=out)
    x = as_numbers("mean", a)
    dtype = given_or(dtype, dtypes.to_inexact(x.dtype))
    exact = computed_dtype(dtypes.to_inexact(dtype))
    axes = axis_indices("mean", axis, x.ndim)
    total = sum(x, axes, exact, keepdims=keepdims, where=where)
    return convert_element_type(div(total, _count("mean", x, axes, keepdims, where, exact)), dtype)


def _count(
    name: str, x: Array, axes: tuple[int, ...], keepdims: bool, where: Any, dtype: Any
) -> Array:
    """How many elements a mean is taken over."""
    real = dtypes.real_part(dtype)
    if where is None:
        return constant(math.prod(x.shape[d] for d in axes), dtype)
    kept = convert_element_type(as_array(name, where), real)
    kept = broadcast_to_shape(kept, broadcast_shapes(name, x.shape, kept.shape))
    return convert_element_type(sum(kept, axes, keepdims=keepdims), dtype)


def var(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: Any = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: Any = None,
) -> Array:
    """The variance over `axis`: squared distances from the mean, summed, over (count - ddof).

    `correction` is another name of `ddof`; `mean` is used if it is already known. NaN where the
    divisor is not positive.
    """
    return _variance("var", a, axis, dtype, out, ddof, keepdims, where, mean, correction)


def std(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: Any = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: Any = None,
) -> Array:
    """The standard deviation over `axis`: the square root of `var`."""
    variance = _variance("std", a, axis, dtype, out, ddof, keepdims, where, mean, correction)
    return elementwise.sqrt(variance)


def _variance(
    name: str,
    a: Any,
    axis: Axis,
    dtype: Any,
    out: None,
    ddof: Any,
    keepdims: bool,
    where: Any,
    known_mean: Any,
    correction: Any,
) -> Array:
    refuse(name, out=out)
    x = as_numbers(name, a)
    result, exact = _variance_dtypes(name, x.dtype, dtype)
    x = convert_element_type(x, exact)
    axes = axis_indices(name, axis, x.ndim)
    if known_mean is None:
        known_mean = mean(x, axes, exact, keepdims=True, where=where)
    distance = _minus(name, x, convert_element_type(as_array(name, known_mean), exact))
    # what is left out is cleared before it is squared: NaN would come back in the derivative
    squares = _squared_size(masked(name, distance, where, 0))
    total = sum(squares, axes, squares.dtype, keepdims=keepdims)
    return convert_element_type(
        _over_freedom(name, total, x, axes, keepdims, where, _degrees(name, ddof, correction)),
        result,
    )


def _over_freedom(
    name: str, total: Array, x: Array, axes: Any, keepdims: bool, where: Any, ddof: Any
) -> Array:
    """total / (count - ddof), or NaN where that is not positive."""
    if where is None and isinstance(ddof, (int, float)):
        freedom = math.prod(x.shape[d] for d in axes) - ddof
        return div(total, constant(freedom if freedom > 0 else np.nan, total.dtype))
    nan = full(total.shape, constant(np.nan, total.dtype), total.dtype)
    count = _count(name, x, axes, keepdims, where, total.dtype)
    freedom = sub(count, convert_element_type(as_array(name, ddof), total.dtype))
    freedom = broadcast_to_shape(freedom, total.shape)
    return select_n(gt(freedom, constant(0, freedom.dtype)), nan, div(total, freedom))


def _variance_dtypes(name: str, dtype: Any, asked: Any) -> tuple[Any, Any]:
    """The result's dtype and the one to compute in."""
    asked = dtypes.as_dtype(asked) if asked is not None else None
    if asked is not None and not dtypes.is_complex(asked) and dtypes.is_complex(dtype):
        raise ValueError(f"{name}: the dtype of complex numbers must be complex, but is {asked}.")
    exact = dtypes.to_inexact(asked or dtype)
    return dtypes.real_part(asked or exact), computed_dtype(exact)


def _minus(name: str, x: Array, center: Array) -> Array:
    shape = broadcast_shapes(name, x.shape, center.shape)
    return sub(broadcast_to_shape(x, shape), broadcast_to_shape(center, shape))


def _squared_size(x: Array) -> Array:
    if not dtypes.is_complex(x.dtype):
        return elementwise.square(x)
    return elementwise.real(mul(x, elementwise.conj(x)))


def _degrees(name: str, ddof: Any, correction: Any) -> Any:
    if correction is None:
        return ddof
    if not isinstance(ddof, int) or ddof != 0:
        raise ValueError(f"{name}: give ddof or correction, but not both.")
    return correction


def average(
    a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, keepdims: bool = False
) -> Any:
    """The mean over `axis`, weighted; with `returned`, also the sum of the weights.

    `weights` have the shape of `a`, or are a vector as long as its only axis.
    """
    if weights is None:
        result = mean(a, axis, keepdims=keepdims)
        x = as_numbers("average", a)
        counted = _count(
            "average", x, axis_indices("average", axis, x.ndim), False, None, result.dtype
        )
        return (result, broadcast_to_shape(counted, result.shape)) if returned else result
    x, weights = (as_array("average", v) for v in (a, weights))
    weights = _weights_like(x, weights, axis)
    x, weights = promote_args_inexact("average", x, weights)
    total = sum(weights, axis, keepdims=keepdims)
    result = div(sum(mul(x, weights), axis, keepdims=keepdims), total)
    return (result, total) if returned else result


def _weights_like(x: Array, weights: Array, axis: Axis) -> Array:
    if weights.shape == x.shape:
        return weights
    if axis is None:
        raise ValueError(
            f"average: weights of shape {weights.shape} for shape {x.shape} need an axis."
        )
    axes = axis_indices("average", axis, x.ndim)
    if weights.shape != tuple(x.shape[d] for d in axes):
        raise ValueError(
            f"average: weights of shape {weights.shape} do not fit axes {axes} of shape {x.shape}."
        )
    order = sorted(range(len(axes)), key=axes.__getitem__)
    aligned = transpose(weights, order)
    shape = tuple(size if d in axes else 1 for d, size in enumerate(x.shape))
    return broadcast_to_shape(reshape(aligned, shape), x.shape)
