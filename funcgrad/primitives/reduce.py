"""Reductions beyond the sum: max, min, prod, and, or, xor, argmax, argmin.

Their parameter `axes` is a sorted tuple. Elements that tie for an extremum share its derivative
equally. The derivative of a product multiplies the other factors in a tree, without division, so
that it is exact where factors are zero, in every order. reduce_sum is in basis.py; running
reductions are in cumulative.py.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import (
    add,
    check_axes,
    convert_element_type,
    div,
    mul,
    reduce_sum,
    reduced,
    reduction_batch,
    reshape,
    sorted_axes,
    transpose,
    unreduce,
    zeros,
)
from funcgrad.primitives.kinds import ANY, INTEGERS_BOOL, NUMBERS, ORDERED, reduction
from funcgrad.primitives.logic import eq
from funcgrad.primitives.shape import concatenate, slice_in_dim, squeeze


def _bind(primitive: Primitive, x: Any, axes: Sequence[int]) -> Any:
    """Binds a reduction over `axes`; over no axes it is the identity."""
    axes = sorted_axes(primitive.name, x, axes)
    return primitive.bind(x, axes=axes) if axes else x


# ---------------------------------------------------------------- max, min


def _extremum_jvp(name: str) -> Callable[..., Any]:
    """The mean of the tangents of those elements that attain it; none does if it is NaN."""

    def jvp(primals, tangents, *, axes):
        (x,), (t,) = primals, tangents
        out = (reduce_max if name == "max" else reduce_min)(x, axes)
        attains = eq(x, unreduce(out, typeof(x).shape, axes))
        attains = convert_element_type(attains, typeof(x).dtype)
        return out, div(reduce_sum(mul(t, attains), axes), reduce_sum(attains, axes))

    return jvp


reduce_max_p = reduction(
    "reduce_max",
    op="max",
    accepts=ANY,
    value=lambda xp, x, *, axes: xp.max(x, axes),
    has_identity=False,
    jvp=_extremum_jvp("max"),
)


def reduce_max(x: Any, axes: Sequence[int]) -> Any:
    """The largest element over `axes`; NaN if there is one, ValueError if there are none."""
    return _bind(reduce_max_p, x, axes)


reduce_min_p = reduction(
    "reduce_min",
    op="min",
    accepts=ANY,
    value=lambda xp, x, *, axes: xp.min(x, axes),
    has_identity=False,
    jvp=_extremum_jvp("min"),
)


def reduce_min(x: Any, axes: Sequence[int]) -> Any:
    """The smallest element over `axes`; NaN if there is one, ValueError if there are none."""
    return _bind(reduce_min_p, x, axes)


# ---------------------------------------------------------------- prod


def _reduce_prod_value(xp, x, *, axes):
    if x.dtype == dtypes.bool_:
        raise TypeError("reduce_prod: needs numbers, but got bools. Use reduce_and, or astype.")
    # NumPy widens small integers unless it is told their type
    return xp.prod(x, axes, dtype=x.dtype if dtypes.is_integer(x.dtype) else None)


def _reduced_axes_first(x, axes):
    """`x` with `axes` merged into one leading dimension."""
    shape = typeof(x).shape
    kept = tuple(d for d in range(len(shape)) if d not in axes)
    merged = math.prod(shape[d] for d in axes)
    return reshape(transpose(x, (*axes, *kept)), (merged, *reduced(shape, axes)))


def _reduce_prod_jvp(primals, tangents, *, axes):
    (x,), (t,) = primals, tangents
    out = reduce_prod(x, axes)
    factors, changes = _reduced_axes_first(x, axes), _reduced_axes_first(t, axes)
    if typeof(factors).shape[0] == 0:
        return out, zeros(typeof(out))
    while typeof(factors).shape[0] > 1:
        factors, changes = _multiplied_in_pairs(factors, changes)
    return out, squeeze(changes, (0,))


def _multiplied_in_pairs(x, t):
    """Half as many factors, and how each of them changes: (a b)' = a b' + a' b."""
    size = typeof(x).shape[0]
    half = size // 2
    a, b = slice_in_dim(x, 0, half), slice_in_dim(x, half, 2 * half)
    da, db = slice_in_dim(t, 0, half), slice_in_dim(t, half, 2 * half)
    product, change = mul(a, b), add(mul(a, db), mul(da, b))
    if size == 2 * half:
        return product, change
    return (
        concatenate([product, slice_in_dim(x, 2 * half, size)], 0),
        concatenate([change, slice_in_dim(t, 2 * half, size)], 0),
    )


reduce_prod_p = reduction(
    "reduce_prod", op="mul", accepts=NUMBERS, value=_reduce_prod_value, jvp=_reduce_prod_jvp
)


def reduce_prod(x: Any, axes: Sequence[int]) -> Any:
    """The product over `axes`, in the operand's dtype; 1 if there are no elements."""
    return _bind(reduce_prod_p, x, axes)


# ---------------------------------------------------------------- and, or, xor


def _bits_value(ufunc: str) -> Callable[..., Any]:
    def value(xp, x, *, axes):
        function = getattr(xp, ufunc)
        try:
            return function.reduce(x, axes)
        except NotImplementedError:  # CuPy reduces by few functions
            return _folded(xp, function, x, axes)

    return value


def _folded(xp, function, x, axes):
    """Reduces by halves."""
    x = xp.moveaxis(x, axes, tuple(range(len(axes))))
    shape = x.shape[len(axes) :]
    x = x.reshape((math.prod(x.shape[: len(axes)]), *shape))
    if len(x) == 0:  # all bits set, or none
        every = x.dtype.type(0) if function is not xp.bitwise_and else ~x.dtype.type(0)
        return xp.full(shape, every, x.dtype)
    while len(x) > 1:
        half = len(x) // 2
        x = xp.concatenate([function(x[:half], x[half : 2 * half]), x[2 * half :]])
    return x[0]


def _bit_reduction(op: str) -> Primitive:
    return reduction(
        f"reduce_{op}",
        op=op,
        accepts=INTEGERS_BOOL,
        value=_bits_value(f"bitwise_{op}"),
        constant=True,
    )


reduce_and_p = _bit_reduction("and")


def reduce_and(x: Any, axes: Sequence[int]) -> Any:
    """The bits set in all elements over `axes`; for bools, whether all are true."""
    return _bind(reduce_and_p, x, axes)


reduce_or_p = _bit_reduction("or")


def reduce_or(x: Any, axes: Sequence[int]) -> Any:
    """The bits set in any element over `axes`; for bools, whether one is true."""
    return _bind(reduce_or_p, x, axes)


reduce_xor_p = _bit_reduction("xor")


def reduce_xor(x: Any, axes: Sequence[int]) -> Any:
    """The bits set in an odd number of elements over `axes`; for bools, the parity."""
    return _bind(reduce_xor_p, x, axes)


# ---------------------------------------------------------------- argmax, argmin


def _position_of_extremum(name: str, op: str) -> Primitive:
    def abstract(x, *, axes, index_dtype):
        if x.dtype not in ORDERED:
            raise TypeError(f"{name}: needs real numbers or bools, but got {x}. Use abs first.")
        check_axes(name, axes, x.ndim)
        if any(x.shape[d] == 0 for d in axes):
            raise ValueError(
                f"{name}: needs at least one element, but got shape {x.shape}, reduced over {axes}."
            )
        return ShapedArray(reduced(x.shape, axes), index_dtype)

    def value(xp, x, *, axes, index_dtype):
        abstract(x, axes=axes, index_dtype=index_dtype)
        return getattr(xp, name)(x, axes[0]).astype(index_dtype)

    primitive = Primitive(
        name,
        abstract=abstract,
        value=value,
        constant=True,
        loops=lambda x, *, axes, index_dtype: loops.ArgReduce(op, axes[0]),
        weak=lambda flags, params: False,
    )
    primitive.batch = reduction_batch(primitive)
    return primitive


def _position(primitive: Primitive, x: Any, axis: int, index_dtype: Any) -> Any:
    index_dtype = dtypes.as_dtype(index_dtype)
    if not dtypes.is_integer(index_dtype):
        raise TypeError(
            f"{primitive.name}: index_dtype must be an integer type, but got {index_dtype}."
        )
    return primitive.bind(x, axes=(operator.index(axis),), index_dtype=index_dtype)


argmax_p = _position_of_extremum("argmax", "max")


def argmax(x: Any, axis: int, index_dtype: Any = dtypes.int32) -> Any:
    """The position along `axis` of the largest element: the first such, or the first NaN."""
    return _position(argmax_p, x, axis, index_dtype)


argmin_p = _position_of_extremum("argmin", "min")


def argmin(x: Any, axis: int, index_dtype: Any = dtypes.int32) -> Any:
    """The position along `axis` of the smallest element: the first such, or the first NaN."""
    return _position(argmin_p, x, axis, index_dtype)
