"""Abstract values: what is known of an array while a program is traced, its shape and element
type.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.dtypes import DType


class _Unknown:
    """A size known only at run time: the trips of a loop. It is equal to itself and takes part
    in no arithmetic.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "n"


UNKNOWN = _Unknown()


class ShapedArray:
    """Shape, element type, and whether the type is weak (came from a Python number). Immutable,
    compared by content.
    """

    __slots__ = ("shape", "dtype", "weak_type")

    def __init__(self, shape: tuple[Any, ...], dtype: DType, weak_type: bool = False) -> None:
        self.shape, self.dtype, self.weak_type = shape, dtype, weak_type

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is ShapedArray
            and self.shape == other.shape
            and self.dtype == other.dtype
            and self.weak_type == other.weak_type
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype, self.weak_type))

    def __str__(self) -> str:
        """`f32[3,4]`; a weak type is marked `~f32[]`."""
        dims = ",".join(map(str, self.shape))
        return f"{'~' if self.weak_type else ''}{dtypes.short_name(self.dtype)}[{dims}]"

    def __repr__(self) -> str:
        return f"ShapedArray({self})"

    def strong(self) -> ShapedArray:
        """The same shape and dtype, not weak."""
        return ShapedArray(self.shape, self.dtype) if self.weak_type else self

    @property
    def has_tangent(self) -> bool:
        """Can it be differentiated: is it floating or complex?"""
        return dtypes.tangent_dtype(self.dtype) == self.dtype

    def tangent(self) -> ShapedArray:
        """The abstract value of its tangents; those of integers, bools and keys have dtype
        float0.
        """
        dtype = dtypes.tangent_dtype(self.dtype)
        return self if dtype == self.dtype else ShapedArray(self.shape, dtype)

    def update(self, **changes: Any) -> ShapedArray:
        """A copy with some fields replaced."""
        kept = {"shape": self.shape, "dtype": self.dtype, "weak_type": self.weak_type}
        return ShapedArray(**{**kept, **changes})


_PYTHON_SCALARS = {
    bool: lambda: ShapedArray((), dtypes.bool_),
    int: lambda: ShapedArray((), dtypes.default_int(), True),
    float: lambda: ShapedArray((), dtypes.default_float(), True),
    complex: lambda: ShapedArray((), dtypes.default_complex(), True),
}


def typeof(x: Any) -> ShapedArray:
    """The abstract value of anything that a primitive accepts: an Array, a tracer, a NumPy
    value, a Python number.
    """
    aval = getattr(x, "aval", None)
    if aval is not None:
        return aval
    if isinstance(x, (np.ndarray, np.generic)):
        return ShapedArray(x.shape, x.dtype)
    scalar = _PYTHON_SCALARS.get(type(x))
    if scalar is None:
        raise TypeError(f"{x!r:.80} of type {type(x).__name__} is not an array.")
    return scalar()


def described(value: Any) -> str:
    """A wrong value in a message: arrays by type, containers by length, others by kind."""
    if isinstance(value, (tuple, list)):
        return f"{len(value)} values"
    aval = getattr(value, "aval", None)
    return str(aval.strong()) if aval is not None else f"{type(value).__name__} {value!r:.40}"
