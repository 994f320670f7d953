"""A stand-in for the cupy module: its arrays are NumPy arrays in a box that NumPy cannot open.

Functions take boxes and numbers and give boxes back; handing them a NumPy array is an error, as in
CuPy, and so is handing a box to NumPy. What primitives compute on it shows that their `value` rules
use `xp` and nothing else.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np


class ndarray:
    """An array "on the device"."""

    __array_ufunc__ = None

    def __init__(self, host: np.ndarray) -> None:
        self._host = np.asarray(host)

    def get(self) -> np.ndarray:
        return self._host.copy()

    @property
    def device(self) -> Any:
        return types.SimpleNamespace(id=0, synchronize=lambda: None)

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    base = property(lambda self: self._host.base)
    real = property(lambda self: box(self._host.real), lambda self, v: _set(self._host.real, v))
    imag = property(lambda self: box(self._host.imag), lambda self, v: _set(self._host.imag, v))
    T = property(lambda self: box(self._host.T))
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __getitem__(self, index: Any) -> Any:
        return box(self._host[open_all(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[open_all(index)] = open_all(value)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._host, name)
        return lambda *args, **kwargs: box(method(*open_all(args), **open_all(kwargs)))

    def __len__(self) -> int:
        return len(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __index__(self) -> int:
        return self._host.__index__()

    def __float__(self) -> float:
        return float(self._host)


def _set(part: np.ndarray, value: Any) -> None:
    part[...] = open_all(value)


def _operator(name: str) -> Any:
    def method(self: ndarray, *others: Any) -> Any:
        return box(getattr(np.ndarray, name)(self._host, *open_all(others)))

    return method


for _name in (
    "add sub mul truediv floordiv mod pow and or xor lshift rshift lt le gt ge eq ne matmul "
    "radd rsub rmul rtruediv rfloordiv rmod rpow rand ror rxor neg pos abs invert iadd isub imul "
    "iand ior ixor "
    "itruediv irshift ilshift"
).split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def box(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if type(value) in (tuple, list):
        return type(value)(box(v) for v in value)
    return value


def open_all(value: Any) -> Any:
    """Boxes opened, at any depth; a NumPy array of rank 1 or more among them is an error."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if type(value) in (tuple, list):
        return type(value)(open_all(v) for v in value)
    if type(value) is dict:
        return {k: open_all(v) for k, v in value.items()}
    return value


class _Function:
    """A function (or ufunc) of NumPy on boxes."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.__name__ = getattr(function, "__name__", "function")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out")
        result = self._function(*open_all(args), **open_all(kwargs))
        return out if out is not None else box(result)

    def __getattr__(self, name: str) -> Any:
        return _Function(getattr(self._function, name))


class StandIn(types.ModuleType):
    """`cupy`, as far as rules use it."""

    ndarray = ndarray

    def __init__(self) -> None:
        super().__init__("cupy")
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(getDeviceCount=lambda: 1), Device=lambda i: _NoContext()
        )
        self.lib = types.SimpleNamespace(
            stride_tricks=types.SimpleNamespace(
                as_strided=_Function(np.lib.stride_tricks.as_strided),
                sliding_window_view=_Function(np.lib.stride_tricks.sliding_window_view),
            )
        )
        self.linalg = types.SimpleNamespace(
            **{n: _Function(getattr(np.linalg, n)) for n in np.linalg.__all__}
        )
        self.fft = types.SimpleNamespace(
            **{n: _Function(getattr(np.fft, n)) for n in np.fft.__all__}
        )

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        return _Function(value) if callable(value) and not isinstance(value, type) else value

    def asarray(self, value: Any, dtype: Any = None, order: str = "K") -> ndarray:
        if isinstance(value, ndarray) and dtype in (None, value.dtype):
            return value
        return self.array(value, dtype)

    def array(self, value: Any, dtype: Any = None, copy: bool = True, order: str = "K") -> ndarray:
        return ndarray(np.array(value._host if isinstance(value, ndarray) else value, dtype))


class _NoContext:
    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None: ...
