"""Making arrays from anything: `array`, `asarray`, and their way out to files and other
libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.api.devices import device_put
from funcgrad.config import config
from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray, KeyArray
from funcgrad.core.inputs import as_input, from_number, plain
from funcgrad.core.primitive import wrap_buffer
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import convert_element_type, reshape
from funcgrad.primitives.shape import concatenate, expand_dims

_NUMBERS = (bool, int, float, complex)


@user_facing
def array(
    object: Any,
    dtype: Any = None,
    copy: bool = True,
    order: str | None = None,
    ndmin: int = 0,
    *,
    device: Any = None,
) -> Array:
    """An array of numbers, nested sequences of numbers or arrays, a NumPy array, or anything with
    `__array__`.

    NumPy data is copied; an Array given is not the one returned, unless `copy=False`, so that
    either can be donated. Without `dtype`, Python numbers and 64-bit NumPy data get the default
    width (32 bits unless `enable_x64`); a `dtype` of 64 bits is honoured. `order` has no effect.

    Raises:
        TypeError: strings, None, or objects that are no numbers. ValueError: rows of different
        lengths. OverflowError: an integer does not fit.

    >>> array([1, 2, 3])
    Array([1, 2, 3], dtype=int32)
    >>> array([1.0, 2.0], dtype="float64").dtype
    dtype('float64')
    """
    result = _on_device(_array("array", object, dtype), device)
    if copy and result is object:
        result = _twin(result)
    if ndmin > result.ndim:
        result = reshape(result, (1,) * (ndmin - result.ndim) + result.shape)
    return result


@user_facing
def asarray(
    a: Any,
    dtype: Any = None,
    order: str | None = None,
    *,
    copy: bool | None = None,
    device: Any = None,
) -> Array:
    """As `array`; an Array of that dtype already is returned as it is, unless `copy=True`.

    >>> asarray(1.5).dtype
    dtype('float32')
    """
    result = _on_device(_array("asarray", a, dtype), device)
    return _twin(result) if copy and result is a else result


def _twin(x: Array) -> Array:
    """Another Array of the same values. They share memory, which no program overwrites meanwhile:
    donated memory is taken only where nobody else has it.
    """
    return wrap_buffer(x._buffer, x.aval) if isinstance(x, (ConcreteArray, KeyArray)) else x


def _on_device(x: Array, device: Any) -> Array:
    """The array where it was asked for, or where new arrays go by default."""
    target = device if device is not None else config.current().default_device
    return x if target is None else device_put(x, target)


def _array(name: str, x: Any, dtype: Any) -> Array:
    wanted = None if dtype is None else dtypes.as_dtype(dtype)
    if isinstance(x, Array):
        return x if wanted is None else convert_element_type(x, wanted)
    if type(x) in _NUMBERS:
        return from_number(name, x) if wanted is None else _number(name, x, wanted)
    if isinstance(x, (np.ndarray, np.generic)):
        return as_input(name, x) if wanted is None else _of_numpy(name, x, wanted)
    if isinstance(x, (list, tuple)):
        return _of_sequence(name, x, wanted)
    if hasattr(x, "__jax_array__"):
        return _array(name, x.__jax_array__(), dtype)
    if hasattr(x, "__array__"):
        return _array(name, np.asarray(x), dtype)
    if hasattr(x, "__dlpack__"):
        return _array(name, np.from_dlpack(x), dtype)
    if isinstance(x, (memoryview, bytearray)):
        return _array(name, np.array(x), dtype)
    return as_input(name, x)


def _number(name: str, x: Any, dtype: Any) -> Array:
    """A Python number in a given type; a float does not silently become an integer that it does
    not equal.
    """
    if dtypes.is_integer(dtype) and isinstance(x, (float, complex)):
        return convert_element_type(from_number(name, x), dtype)
    return from_number(name, x, dtype, weak=False)


def _of_numpy(name: str, x: Any, dtype: Any) -> Array:
    x = plain(name, x)
    native = x if x.dtype.isnative else x.astype(x.dtype.type)
    if native.dtype.kind in "OSUMm":
        return as_input(name, x)  # which explains
    return convert_element_type(ConcreteArray(np.array(native)), dtype)


def _of_sequence(name: str, x: Sequence[Any], dtype: Any) -> Array:
    if _holds_arrays(x):
        return _stacked(name, x, dtype)
    try:
        whole = np.array(x)
    except ValueError as error:
        raise ValueError(
            f"{name}: rows must have equal lengths, but got a ragged sequence: {x!r:.60}. ({error})"
        ) from None
    if whole.dtype.kind in "OSUMm":
        raise TypeError(f"{name}: needs numbers, but got a sequence with {_foreign(x)!r:.60}.")
    if dtype is None:
        dtype = _default_of(x, whole)
    if dtypes.is_integer(dtype) and whole.dtype.kind in "iu":
        _check_fits(name, whole, dtype)
    return convert_element_type(ConcreteArray(whole), dtype)


def _default_of(x: Any, whole: np.ndarray) -> Any:
    """The type of a sequence: that of the NumPy values in it, else the default for Python
    numbers.
    """
    if whole.size == 0:
        return dtypes.default_float()
    return dtypes.narrowed(dtypes.as_dtype(whole.dtype))


def _check_fits(name: str, whole: np.ndarray, dtype: Any) -> None:
    info = np.iinfo(dtype)
    if whole.size and (whole.min() < info.min or whole.max() > info.max):
        worst = whole.max() if whole.max() > info.max else whole.min()
        raise OverflowError(
            f"{name}: the integer {worst} does not fit into {dtype}. Ask for a wider type, for "
            "example "
            f"dtype='int64', or set enable_x64."
        )


def _holds_arrays(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(_holds_arrays(item) for item in x)
    return (
        isinstance(x, Array)
        or hasattr(x, "__jax_array__")
        or (isinstance(x, (np.ndarray, np.generic)) and x.dtype == dtypes.bfloat16)
    )


def _foreign(x: Any) -> Any:
    """The first element that is no number."""
    if isinstance(x, (list, tuple)):
        return next((f for item in x if (f := _foreign(item)) is not None or item is None), None)
    return None if isinstance(x, (*_NUMBERS, np.number, np.bool_)) else x


def _stacked(name: str, x: Sequence[Any], dtype: Any) -> Array:
    """A sequence with arrays in it: its rows, brought to one type and stacked."""
    rows = [_array(name, row, None) for row in x]
    common = dtype or (
        rows[0].dtype
        if all(dtypes.is_key(r.dtype) for r in rows)
        else dtypes.promote(tuple((r.dtype, r.weak_type) for r in rows))[0]
    )
    shapes = {r.shape for r in rows}
    if len(shapes) > 1:
        raise ValueError(
            f"{name}: rows must have equal shapes, but got {', '.join(map(str, shapes))}."
        )
    return concatenate([expand_dims(convert_element_type(r, common), (0,)) for r in rows], 0)


@user_facing
def copy(a: Any, order: str | None = None) -> Array:
    """An array with memory of its own."""
    x = _array("copy", a, None)
    if isinstance(x, KeyArray):
        return KeyArray(x._buffer.copy(), x.dtype)
    if isinstance(x, ConcreteArray):
        return ConcreteArray(x._buffer.copy(), x.weak_type)
    return x


@user_facing
def astype(x: Any, dtype: Any, *, copy: bool = False, device: Any = None) -> Array:
    """The array in another type; a type of 64 bits is honoured. Floats become integers toward zero,
    clamped.

    >>> astype(array([1.7, -1.7]), "int32")
    Array([ 1, -1], dtype=int32)
    """
    array_ = _array("astype", x, None)
    wanted = dtypes.default_float() if dtype is None else dtypes.as_dtype(dtype)
    result = convert_element_type(array_, wanted)
    return result if device is None else device_put(result, device)


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Array:
    """The bytes of `buffer` as a vector."""
    return ConcreteArray(np.frombuffer(buffer, dtypes.as_dtype(dtype), count, offset).copy())


def fromiter(*args: Any, **kwargs: Any) -> Array:
    """A vector of what an iterator yields: `fromiter(iterator, dtype, count)`."""
    return asarray(np.fromiter(*args, **kwargs))


def fromstring(string: str, dtype: Any = float, count: int = -1, *, sep: str) -> Array:
    """A vector of the numbers written in `string`, separated by `sep`."""
    return asarray(np.fromstring(string, dtypes.as_dtype(dtype), count, sep=sep))


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """An array of another library, through DLPack. Its memory is copied, since arrays here do
    not change. ValueError with `copy=False`.
    """
    if copy is False:
        raise ValueError("from_dlpack: memory of others is always copied. Leave out copy=False.")
    return _on_device(ConcreteArray(np.array(np.from_dlpack(x))), device)


def save(file: Any, arr: Any) -> None:
    """Writes one array in NumPy's format (`.npy`)."""
    np.save(file, np.asarray(arr), allow_pickle=False)


def savez(file: Any, *args: Any, **kwds: Any) -> None:
    """Writes several arrays into one file (`.npz`)."""
    named: dict[str, Any] = {k: np.asarray(v) for k, v in kwds.items()}
    np.savez(file, *map(np.asarray, args), **named)


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Reads what `save` or `savez` wrote; never executes code from the file."""
    loaded = np.load(file, *args, **{**kwargs, "allow_pickle": False})
    return asarray(loaded) if isinstance(loaded, np.ndarray) else loaded


def array_repr(
    arr: Any,
    max_line_width: int | None = None,
    precision: int | None = None,
    suppress_small: bool | None = None,
) -> str:
    """The array as an expression, with lines of at most so many characters.

    >>> array_repr(array([1 / 3, 2.0]), precision=2)
    'Array([0.33, 2.  ], dtype=float32)'
    """
    given: dict[str, Any] = dict(
        linewidth=max_line_width, precision=precision, suppress=suppress_small
    )
    with np.printoptions(**{k: v for k, v in given.items() if v is not None}):
        return repr(_array("array_repr", arr, None))


def array_str(a: Any, *args: Any, **kwargs: Any) -> str:
    """The array's numbers as text."""
    return np.array_str(np.asarray(a), *args, **kwargs)


def fromfunction(
    function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kwargs: Any
) -> Any:
    """`function` of the coordinate arrays of `shape`."""
    grids = np.indices(tuple(shape))
    return function(*(asarray(g, dtype=dtype) for g in grids), **kwargs)
