"""Element types as users name them: `float32(3)` makes an array, `dtype=float32` names a type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.core.avals import typeof
from funcgrad.core.inputs import as_input
from funcgrad.numpy.arrays import asarray

dtype = np.dtype
generic, number, integer, inexact, floating = (
    np.generic,
    np.number,
    np.integer,
    np.inexact,
    np.floating,
)
signedinteger, unsignedinteger = np.signedinteger, np.unsignedinteger
complexfloating, character, flexible, object_ = (
    np.complexfloating,
    np.character,
    np.flexible,
    np.object_,
)


class ScalarType:
    """An element type that can be called: `float64(x)` is `x` as an array of that type, whatever
    the default width.
    """

    def __init__(self, name: str, dtype: np.dtype) -> None:
        self.__name__ = self.name = name
        self.dtype = dtype
        self.type = dtype.type

    def __call__(self, x: Any = 0) -> Array:
        return asarray(x, dtype=self.dtype)

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, ScalarType):
            return self.dtype == other.dtype
        try:
            return bool(self.dtype == other)
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"funcgrad.numpy.{self.name}"

    def __reduce__(self) -> str:
        return self.name


bool_ = ScalarType("bool_", dtypes.bool_)
int8, int16 = ScalarType("int8", dtypes.int8), ScalarType("int16", dtypes.int16)
int32, int64 = ScalarType("int32", dtypes.int32), ScalarType("int64", dtypes.int64)
uint8, uint16 = ScalarType("uint8", dtypes.uint8), ScalarType("uint16", dtypes.uint16)
uint32, uint64 = ScalarType("uint32", dtypes.uint32), ScalarType("uint64", dtypes.uint64)
bfloat16, float16 = ScalarType("bfloat16", dtypes.bfloat16), ScalarType("float16", dtypes.float16)
float32, float64 = ScalarType("float32", dtypes.float32), ScalarType("float64", dtypes.float64)
complex64 = ScalarType("complex64", dtypes.complex64)
complex128 = ScalarType("complex128", dtypes.complex128)
single, double, csingle, cdouble = float32, float64, complex64, complex128
# The Python-like names mean the default width.
int_, float_, complex_, uint = int, float, complex, uint32


def finfo(dtype: Any) -> Any:
    """Limits of a floating type: `eps`, `max`, `tiny`, ...; bfloat16 included."""
    return dtypes.finfo(dtypes.real_part(dtypes.as_dtype(dtype)))


def iinfo(dtype: Any) -> Any:
    """Limits of an integer type: `min`, `max`, `bits`."""
    return np.iinfo(dtypes.as_dtype(dtype))


def issubdtype(arg1: Any, arg2: Any) -> bool:
    """Is the type `arg1` in the class `arg2`, such as `floating` or `integer`?

    >>> issubdtype(bfloat16, floating)
    True
    """
    return dtypes.issubdtype(_plain(arg1), _plain(arg2))


def _plain(x: Any) -> Any:
    return x.dtype if isinstance(x, ScalarType) else x


def isdtype(dtype: Any, kind: Any) -> bool:
    """Is `dtype` of a kind of the array API standard: "bool", "integral", "real floating", ...,
    or a tuple of them?
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    own = dtypes.as_dtype(dtype)
    return any(_of_kind(own, k) for k in kinds)


_KINDS = {
    "bool": (dtypes.bool_,),
    "signed integer": dtypes.SIGNED,
    "unsigned integer": dtypes.UNSIGNED,
    "integral": dtypes.SIGNED + dtypes.UNSIGNED,
    "real floating": dtypes.FLOATS,
    "complex floating": dtypes.COMPLEX,
    "numeric": dtypes.SIGNED + dtypes.UNSIGNED + dtypes.FLOATS + dtypes.COMPLEX,
}


def _of_kind(dtype: Any, kind: Any) -> bool:
    if isinstance(kind, str) and kind in _KINDS:
        return dtype in _KINDS[kind]
    return dtype == dtypes.as_dtype(kind)


def promote_types(a: Any, b: Any) -> Any:
    """The common type of two types.

    >>> promote_types("int8", "uint8")
    dtype('int16')
    """
    return dtypes.promote(((_typed(a)), (_typed(b))))[0]


def _typed(x: Any) -> tuple[Any, bool]:
    """A type, and whether it is weak: Python's own types are."""
    return dtypes.as_dtype(x), any(x is t for t in (int, float, complex))  # dtype == float


def result_type(*args: Any) -> Any:
    """The type that arrays, numbers and types promote to."""
    if not args:
        raise ValueError("result_type: needs at least one array, number or dtype.")
    return dtypes.promote(tuple(_operand(a) for a in args))[0]


def _operand(x: Any) -> tuple[Any, bool]:
    if isinstance(x, (str, type, np.dtype, ScalarType, dtypes.KeyDtype)):
        return _typed(x)
    aval = typeof(as_input("result_type", x))
    return aval.dtype, aval.weak_type


def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    """May values of one type become another under NumPy's rule `casting`?"""
    return bool(np.can_cast(dtypes.as_dtype(from_), dtypes.as_dtype(to), casting=casting))  # type: ignore[arg-type]


def shape(a: Any) -> tuple[int, ...]:
    """The size of each dimension."""
    return tuple(as_input("shape", a).shape) if not isinstance(a, (list, tuple)) else np.shape(a)


def ndim(a: Any) -> int:
    """The number of dimensions."""
    return len(shape(a))


def size(a: Any, axis: int | Sequence[int] | None = None) -> int:
    """The number of elements, or of those along `axis`."""
    sizes = shape(a)
    if axis is None:
        axis = range(len(sizes))
    axes = (axis,) if isinstance(axis, int) else axis
    return int(np.prod([sizes[i] for i in axes], dtype=int))


def isscalar(element: Any) -> bool:
    """Is it a number, or an array of rank 0?"""
    return np.isscalar(element) or (isinstance(element, (Array, np.ndarray)) and element.ndim == 0)


def iterable(y: Any) -> bool:
    """Can it be iterated over?"""
    return np.iterable(y)
