"""Values on their way in: what a user hands to a function, as an Array.

Python numbers become weak arrays of rank 0. NumPy's types are strong, and 64 bits become the
default width, never silently: an integer that does not fit raises, and float64 data warns once,
naming the line and both ways to keep it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.core.backend import quiet
from funcgrad.core.source import user_source
from funcgrad.errors import NarrowingWarning

_NUMBERS = (bool, int, float, complex)


def as_input(name: str, x: Any, position: int | None = None, *, copy: bool = True) -> Array:
    """`x` as an Array; TypeError with the public `name` for anything but arrays and numbers.

    `copy=False` may share memory with a NumPy array, for callers that do not keep the result.
    """
    if isinstance(x, Array):
        return x
    if isinstance(x, (np.ndarray, np.generic)):
        return ConcreteArray(_default_width(name, _checked(name, x, position), copy))
    if isinstance(x, _NUMBERS):
        return from_number(name, x)
    convert = getattr(x, "__jax_array__", None)
    if convert is not None and not isinstance(x, type):
        return as_input(name, convert(), position)
    raise TypeError(_not_an_array(name, x, position))


def from_number(name: str, x: Any, dtype: Any = None, weak: bool = True) -> ConcreteArray:
    """A Python number as an array of rank 0, of `dtype` or of the default type for its kind.

    OverflowError if an integer does not fit. A bool without `dtype` is strong, as NumPy's are.
    """
    if dtype is None:
        dtype, weak = default_dtype(x), type(x) is not bool
    try:
        return ConcreteArray(quiet.run(dtype.type, x), weak)
    except OverflowError:
        raise OverflowError(
            f"{name}: the integer {x} does not fit into {dtypes.short_name(dtype)}. "
            "Give the other operand a wider dtype, or use config.update('enable_x64', True)."
        ) from None


def default_dtype(x: Any) -> np.dtype:
    """The type of a Python number without a partner."""
    if isinstance(x, bool):
        return dtypes.bool_
    if isinstance(x, int):
        return dtypes.default_int()
    return dtypes.default_float() if isinstance(x, float) else dtypes.default_complex()


def _not_an_array(name: str, x: Any, position: int | None) -> str:
    where = "" if position is None else f" at position {position}"
    repair = " Convert it with numpy.array first." if isinstance(x, (list, tuple)) else ""
    return f"{name}: needs arrays or numbers, but got {type(x).__name__} {x!r:.60}{where}.{repair}"


def _checked(name: str, x: Any, position: int | None) -> Any:
    """The NumPy value, if its type is one of ours; TypeError for objects, strings, dates and
    records.
    """
    try:
        dtype = dtypes.as_dtype(x.dtype)
    except TypeError:
        dtype = dtypes.float0
    if dtype == dtypes.float0:
        where = "" if position is None else f" at position {position}"
        raise TypeError(
            f"{name}: needs arrays of numbers, but got a NumPy array of dtype {x.dtype}{where}. "
            "Convert it with astype, or select its numbers."
        )
    x = plain(name, x)
    return x if x.dtype.isnative else x.astype(dtype)


def plain(name: str, x: Any) -> Any:
    """The NumPy value without the rules of a subclass, as of `numpy.matrix`; TypeError for masks,
    which would be lost.
    """
    if type(x) is np.ndarray or isinstance(x, np.generic):
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: needs arrays of numbers, but got a masked array. Fill it with x.filled(value)"
            ", or pass x.data and x.mask as two arrays."
        )
    return np.asarray(x)


def _default_width(name: str, x: Any, copy: bool) -> Any:
    """The buffer, narrowed to the default width; a scalar loses no more than a Python number
    would, so it is quiet.
    """
    dtype = dtypes.narrowed(x.dtype)
    if dtype == x.dtype:
        return x.copy() if copy and x.ndim else x
    if dtypes.is_integer(dtype):
        _check_range(name, x, dtype)
    elif x.ndim:
        _warn_once(x.dtype, dtype)
    with np.errstate(all="ignore"):
        return x.astype(dtype)


def _check_range(name: str, x: Any, dtype: np.dtype) -> None:
    limits = np.iinfo(dtype)
    if x.size and (x.min() < limits.min or x.max() > limits.max):
        worst = x.max() if x.max() > limits.max else x.min()
        raise OverflowError(
            f"{name}: a NumPy array of {x.dtype} holds {worst}, which does not fit into {dtype}. "
            "Keep 64 bits with "
            f"numpy.array(x, dtype='{x.dtype}'), or for all arrays with "
            "config.update('enable_x64', True)."
        )


_warned = False


def _warn_once(old: np.dtype, new: np.dtype) -> None:
    global _warned
    if _warned:
        return
    _warned = True
    source = user_source()
    warnings.warn_explicit(
        f"NumPy data of {old} becomes {new}, the default width. Keep 64 bits with numpy.array(x, "
        f"dtype='{old}'), "
        "or for all arrays with config.update('enable_x64', True). This is said once.",
        NarrowingWarning,
        source.file if source else "<unknown>",
        source.line if source else 0,
    )
