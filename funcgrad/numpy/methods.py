"""Operators and methods of arrays: functions of this package under the names that JAX gives them.

A method is the function itself, with the array as first argument.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from funcgrad.api.devices import device_put
from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray, install_operators, to_host
from funcgrad.core.backend import Device, device_of
from funcgrad.core.dtypes import short_name
from funcgrad.numpy import (
    averages,
    contractions,
    diagonals,
    index_grids,
    indexing,
    joining,
    reductions,
    running,
    selection,
    shaping,
    sorting,
    ufuncs,
)
from funcgrad.numpy.arrays import astype
from funcgrad.numpy.operators import Function, operators
from funcgrad.primitives import elementwise as P, logic
from funcgrad.primitives.basis import convert_element_type, reshape as _reshape
from funcgrad.primitives.convert import bitcast_convert_type
from funcgrad.primitives.shape import concatenate, copy, expand_dims, index_in_dim

# ---- methods whose arguments differ from the function's ----------------------------------------


def reshape(x: Array, *shape: Any, order: str = "C") -> Array:
    """x.reshape(2, 3) or x.reshape((2, 3)); one size may be -1."""
    return shaping.reshape(x, shape[0] if len(shape) == 1 else shape, order)


def transpose(x: Array, *axes: Any) -> Array:
    """x.transpose(), x.transpose(1, 0) or x.transpose((1, 0))."""
    if not axes or axes == (None,):
        return shaping.transpose(x)
    return shaping.transpose(x, axes[0] if len(axes) == 1 and np.ndim(axes[0]) else axes)


def flatten(x: Array, order: str = "C") -> Array:
    """All elements in one dimension."""
    return shaping.ravel(x, order)


def clip(x: Array, min: Any = None, max: Any = None) -> Array:
    """x limited to [min, max]; either may be None."""
    return ufuncs.clip(x, min, max)


def compress(x: Array, condition: Any, axis: int | None = None, **options: Any) -> Array:
    """The slices along `axis` whose condition is true."""
    return selection.compress(condition, x, axis, **options)


def copy_of(x: Array) -> Array:
    """The same values in memory of their own."""
    return copy(x)


def conjugate(x: Array) -> Array:
    """Complex conjugate; real arrays are themselves."""
    return ufuncs.conjugate(x)


def view(x: Array, dtype: Any = None, type: None = None) -> Array:
    """The same bytes read as another dtype; the last dimension grows or shrinks with the width.

    Raises ValueError if the bytes of the last dimension do not divide into elements of `dtype`.
    """
    if type is not None:
        raise ValueError("view: type must be None; there is one array type.")
    if dtype is None:
        return x
    new = dtypes.as_dtype(dtype)
    return x if new == x.dtype else _from_plain(_rebitten(_as_plain(x), _plain(new)), new)


def _plain(dtype: Any) -> Any:
    """The integer or float type whose elements a dtype is stored as."""
    return dtypes.uint8 if dtype == dtypes.bool_ else dtypes.real_part(dtype)


def _as_plain(x: Array) -> Array:
    if not dtypes.is_complex(x.dtype):
        return convert_element_type(x, _plain(x.dtype))
    parts = [expand_dims(part, (x.ndim,)) for part in (P.real(x), P.imag(x))]
    pairs = concatenate(parts, x.ndim)
    return _reshape(pairs, (*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,))


def _from_plain(x: Array, dtype: Any) -> Array:
    if dtype == dtypes.bool_:
        return logic.ne(x, 0)
    if not dtypes.is_complex(dtype):
        return x
    pairs = _split_last(x, 2, dtype)
    return P.complex(*(index_in_dim(pairs, i, x.ndim, keepdims=False) for i in (0, 1)))


def _rebitten(x: Array, new: Any) -> Array:
    """The last dimension's bytes read as `new`."""
    old_size, new_size = x.dtype.itemsize, new.itemsize
    if old_size < new_size:
        return bitcast_convert_type(_split_last(x, new_size // old_size, new), new)
    out = bitcast_convert_type(x, new)
    return out if old_size == new_size else _reshape(out, (*x.shape[:-1], _merged(out, x)))


def _merged(out: Array, x: Array) -> Any:
    if not x.ndim:
        kind = short_name(out.dtype)
        raise ValueError(f"view: an array of rank 0 cannot become several {kind}: reshape it.")
    return out.shape[-1] * x.shape[-1]


def _split_last(x: Array, count: int, dtype: Any) -> Array:
    """The last dimension in groups of `count` elements."""
    if not x.ndim or x.shape[-1] % count:
        kind = short_name(dtype)
        raise ValueError(f"view: the last dimension of shape {x.shape} does not fill {kind}.")
    return _reshape(x, (*x.shape[:-1], x.shape[-1] // count, count))


# ---- methods of arrays with values -------------------------------------------------------------


def item(x: ConcreteArray, *index: Any) -> Any:
    """The only element, or the one at `index`, as a Python number."""
    return to_host(x._buffer).item(*index)


def tolist(x: ConcreteArray) -> Any:
    """The elements as nested lists of Python numbers."""
    return to_host(x._buffer).tolist()


def tobytes(x: ConcreteArray, order: Any = "C") -> bytes:
    """The elements as bytes."""
    return to_host(x._buffer).tobytes(order)


def device(x: ConcreteArray) -> Device:
    """Where the values live."""
    return device_of(x._buffer)


def devices(x: ConcreteArray) -> set[Device]:
    """Where the values live, as a set."""
    return {device_of(x._buffer)}


def to_device(x: ConcreteArray, device: Device, *, stream: None = None) -> Array:
    """The same values on another device. `stream` must be None: copies need no ordering."""
    if stream is not None:
        raise ValueError("to_device: stream must be None; copies are ordered by themselves.")
    return device_put(x, device)


def is_ready(x: ConcreteArray) -> bool:
    """Are the values computed?"""
    x.block_until_ready()
    return True


def _namespace(x: Array, *, api_version: str | None = None) -> Any:
    """The module with the functions for arrays, as the array API standard asks."""
    return sys.modules["funcgrad.numpy"]


METHODS: dict[str, Any] = {
    "__getitem__": indexing.getitem,
    "__array_namespace__": _namespace,
    "at": property(indexing.at),
    "T": property(transpose),
    "mT": property(shaping.matrix_transpose),
    "real": property(ufuncs.real),
    "imag": property(ufuncs.imag),
    "all": reductions.all,
    "any": reductions.any,
    "argmax": reductions.argmax,
    "argmin": reductions.argmin,
    "argpartition": sorting.argpartition,
    "argsort": sorting.argsort,
    "astype": astype,
    "choose": selection.choose,
    "clip": clip,
    "compress": compress,
    "conj": conjugate,
    "conjugate": conjugate,
    "copy": copy_of,
    "cumprod": running.cumprod,
    "cumsum": running.cumsum,
    "diagonal": diagonals.diagonal,
    "dot": contractions.dot,
    "flatten": flatten,
    "max": reductions.max,
    "mean": averages.mean,
    "min": reductions.min,
    "nonzero": index_grids.nonzero,
    "prod": reductions.prod,
    "ptp": reductions.ptp,
    "ravel": shaping.ravel,
    "repeat": joining.repeat,
    "reshape": reshape,
    "round": ufuncs.round,
    "searchsorted": sorting.searchsorted,
    "sort": sorting.sort,
    "squeeze": shaping.squeeze,
    "std": averages.std,
    "sum": reductions.sum,
    "swapaxes": shaping.swapaxes,
    "take": selection.take,
    "trace": diagonals.trace,
    "transpose": transpose,
    "var": averages.var,
    "view": view,
}
OF_VALUES: dict[str, Function] = {
    "item": item,
    "tolist": tolist,
    "tobytes": tobytes,
    "device": property(device),  # type: ignore[dict-item]
    "devices": devices,
    "is_ready": is_ready,
    "to_device": to_device,
}


def install() -> None:
    """Gives arrays their operators and methods."""
    general, concrete = operators()
    install_operators(general | METHODS, concrete | OF_VALUES)
