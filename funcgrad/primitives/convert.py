"""Identities with a twist: other bits, no derivative, less precision.

convert_element_type, the one conversion that other rules need, is in basis.py.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.core import dtypes, loops
from funcgrad.core.array import Array
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import elementwise_abstract, elementwise_batch, moveaxis
from funcgrad.primitives.kinds import ANY, FLOATS, elementwise

# ---- bitcast -----------------------------------------------------------------------------------


def _bitcast_abstract(x, *, new_dtype):
    old, new = x.dtype, new_dtype
    if old != new and not all(dtypes.is_integer(t) or dtypes.is_float(t) for t in (old, new)):
        raise TypeError(
            f"bitcast_convert_type: needs integer or float types, but got {dtypes.short_name(old)} "
            f"to {dtypes.short_name(new)}. Use x.view(dtype) for bool and complex numbers."
        )
    if old.itemsize == new.itemsize:
        return ShapedArray(x.shape, new)
    if old.itemsize > new.itemsize:
        return ShapedArray((*x.shape, old.itemsize // new.itemsize), new)
    if not x.shape or x.shape[-1] * old.itemsize != new.itemsize:
        raise ValueError(
            f"bitcast_convert_type: {dtypes.short_name(new)} needs a last dimension of "
            f"{new.itemsize // old.itemsize} elements of {dtypes.short_name(old)}, but got shape "
            f"{x.shape}. Reshape the operand first."
        )
    return ShapedArray(x.shape[:-1], new)


def _bitcast_value(xp, x, *, new_dtype):
    if x.dtype.itemsize == new_dtype.itemsize:
        return x.view(new_dtype)
    if x.dtype.itemsize > new_dtype.itemsize:
        return xp.ascontiguousarray(x.reshape((*x.shape, 1))).view(new_dtype)
    return xp.ascontiguousarray(x).view(new_dtype).reshape(x.shape[:-1])


def _bitcast_batch(axis, args, dims, *, new_dtype):
    (x,), (dim,) = args, dims
    if typeof(x).dtype.itemsize < new_dtype.itemsize:  # the last dimension is consumed
        x, dim = moveaxis(x, dim, 0), 0
    return bitcast_convert_type(x, new_dtype), dim


def _bitcast_loops(x, *, new_dtype):
    if x.dtype.itemsize == new_dtype.itemsize:
        return loops.Map(lambda k, x: k.bitcast(x, new_dtype))
    return loops.Opaque("one element becomes several, or several become one", "same bytes")


bitcast_convert_type_p = Primitive(
    "bitcast_convert_type",
    abstract=_bitcast_abstract,
    value=_bitcast_value,
    constant=True,
    batch=_bitcast_batch,
    loops=_bitcast_loops,
    weak=lambda flags, params: False,
)


def bitcast_convert_type(operand: Any, new_dtype: Any) -> Array:
    """The same bits read as another integer or float type.

    A narrower type adds a last dimension (one element becomes several), a wider one consumes it.
    """
    new_dtype = dtypes.as_dtype(new_dtype)
    _bitcast_abstract(typeof(operand), new_dtype=new_dtype)  # a view would not complain
    return bitcast_convert_type_p.bind(operand, new_dtype=new_dtype)


# ---- no derivative -----------------------------------------------------------------------------

stop_gradient_p = elementwise(
    "stop_gradient", accepts=ANY, value=lambda xp, x: x, constant=True, scalar=lambda k, x: x
)


def stop_gradient(x: Any) -> Any:
    """The same values, but constant under differentiation; x may be a tree of arrays.

    >>> import funcgrad as fg
    >>> fg.grad(lambda x: x * fg.lax.stop_gradient(x))(3.0)
    Array(3., dtype=float32, weak_type=True)
    """
    return tree.map(lambda leaf: stop_gradient_p.bind(leaf) if has_tangent(leaf) else leaf, x)


def has_tangent(x: Any) -> bool:
    """Whether x is a float or complex array or number, the only things with a derivative."""
    dtype = typeof(x).dtype
    return not dtypes.is_key(dtype) and dtypes.is_inexact(dtype)


# ---- less precision ----------------------------------------------------------------------------

_LAYOUT = {  # dtype -> (exponent bits, mantissa bits)
    dtypes.float16: (5, 10),
    dtypes.bfloat16: (8, 7),
    dtypes.float32: (8, 23),
    dtypes.float64: (11, 52),
}


def _rounded_mantissa(bits, dropped):
    """Bit patterns whose lowest `dropped` mantissa bits are rounded to even and cleared."""
    if dropped <= 0:
        return bits
    one = bits.dtype.type(1)
    to_even = ((bits >> dropped) & one) + ((one << (dropped - 1)) - one)
    return (bits + to_even) & ~((one << dropped) - one)


def _reduce_precision_value(xp, x, *, exponent_bits, mantissa_bits):
    own_exponent, own_mantissa = _LAYOUT[x.dtype]
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    bits = _rounded_mantissa(x.view(unsigned), own_mantissa - mantissa_bits)
    rounded = bits.view(x.dtype)
    if exponent_bits < own_exponent:
        one = unsigned.type(1)
        exponent = (bits >> own_mantissa) & ((one << own_exponent) - one)
        bias, reach = (1 << own_exponent - 1) - 1, (1 << exponent_bits - 1) - 1
        rounded = xp.where(exponent > bias + reach, xp.copysign(x.dtype.type(np.inf), x), rounded)
        rounded = xp.where(exponent <= bias - reach, xp.copysign(x.dtype.type(0), x), rounded)
    return xp.where(xp.isnan(x), x, rounded)


def _reduce_precision_scalar(exponent_bits, mantissa_bits):
    """The same for one number, in the operations of kernels."""

    def scalar(k, x):
        dtype = k.dtype(x)
        own_exponent, own_mantissa = _LAYOUT[dtype]
        unsigned = np.dtype(f"u{dtype.itemsize}")
        word = lambda value: k.const(value, unsigned)
        top, dropped = 1 << 8 * dtype.itemsize - 1, own_mantissa - mantissa_bits
        given = bits = k.bitcast(x, unsigned)
        if dropped > 0:
            lowest = k.and_(k.shr_logical(bits, word(dropped)), word(1))
            to_even = k.add(lowest, word((1 << dropped - 1) - 1))
            bits = k.and_(k.add(bits, to_even), word(2 * top - (1 << dropped)))
        rounded = k.bitcast(bits, dtype)
        if exponent_bits < own_exponent:
            mask = (1 << own_exponent) - 1
            exponent = k.and_(k.shr_logical(bits, word(own_mantissa)), word(mask))
            bias, reach = mask >> 1, (1 << exponent_bits - 1) - 1
            sign = k.and_(given, word(top))
            infinity = k.bitcast(k.or_(sign, word(mask << own_mantissa)), dtype)
            rounded = k.select(k.gt(exponent, word(bias + reach)), infinity, rounded)
            small = k.le(exponent, word(bias - reach))
            rounded = k.select(small, k.bitcast(sign, dtype), rounded)
        return k.select(k.ne(x, x), x, rounded)

    return scalar


reduce_precision_p = Primitive(
    "reduce_precision",
    abstract=elementwise_abstract("reduce_precision", FLOATS),
    value=_reduce_precision_value,
    linear=(0,),
    transpose=lambda ct, x, **bits: [reduce_precision(ct, **bits)],
    loops=lambda x, **bits: loops.Map(_reduce_precision_scalar(**bits)),
)
reduce_precision_p.batch = elementwise_batch(reduce_precision_p)


def reduce_precision(operand: Any, exponent_bits: int, mantissa_bits: int) -> Array:
    """Floats rounded as if they were stored with fewer bits.

    Halves round to even; what is too large becomes infinite, what is too small becomes zero.
    Raises ValueError without an exponent bit, or for fewer than no mantissa bits.
    """
    exponent_bits, mantissa_bits = index(exponent_bits), index(mantissa_bits)
    if exponent_bits < 1 or mantissa_bits < 0:
        raise ValueError(
            "reduce_precision: exponent_bits must be positive and mantissa_bits must not be "
            f"negative, but got {exponent_bits} and {mantissa_bits}."
        )
    return reduce_precision_p.bind(
        operand, exponent_bits=exponent_bits, mantissa_bits=mantissa_bits
    )
