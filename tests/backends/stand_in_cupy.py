"""A stand-in for the cupy module: its arrays are NumPy arrays in a box that NumPy cannot open.

Functions take boxes and numbers and give boxes back; handing them a NumPy array is an error, as in
CuPy, and so is handing a box to NumPy. It has the functions and parameters that `cupy_facts` lists
and no others, writes repeated places in no helpful order, and says nothing of singular matrices
unless told to. What primitives compute on it shows that their `value` rules use `xp` as CuPy is.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from tests.backends import cupy_facts as facts


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

    @property
    def flags(self) -> Any:
        own = self._host.flags
        return types.SimpleNamespace(
            c_contiguous=own.c_contiguous, f_contiguous=own.f_contiguous, owndata=own.owndata
        )

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    strides = property(lambda self: self._host.strides)
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
        _write(self._host, open_all(index), open_all(value))

    def __getattr__(self, name: str) -> Any:
        if name not in facts.METHODS:
            raise AttributeError(f"the stand-in's arrays have no {name!r}: see cupy_facts")
        return _Function(getattr(self._host, name), facts.METHODS[name])

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


def _write(host: np.ndarray, index: Any, value: Any) -> None:
    """`host[index] = value`, with the first of several values for one place staying: CuPy promises
    no order, and what relies on NumPy's should fail here.
    """
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(part, np.ndarray) and part.dtype != bool for part in parts):
        host[index] = value
        return
    places = np.arange(host.size).reshape(host.shape)[index]
    values = np.broadcast_to(np.asarray(value, host.dtype), places.shape)
    host.flat[places.reshape(-1)[::-1]] = values.reshape(-1)[::-1]


def _operator(name: str) -> Any:
    def method(self: ndarray, *others: Any) -> Any:
        return box(getattr(np.ndarray, name)(self._host, *_operands(others)))

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
    if isinstance(value, (tuple, list)):
        return [box(v) for v in value] if type(value) is list else tuple(box(v) for v in value)
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


def _operands(values: Any) -> list[Any]:
    """Boxes opened; elementwise functions refuse NumPy's arrays even if they hold one number."""
    if any(isinstance(v, np.ndarray) for v in values):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return [open_all(v) for v in values]


class _Function:
    """A function of NumPy on boxes, with CuPy's parameters."""

    def __init__(self, function: Any, signature: Any) -> None:
        self._function, self._signature = function, signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._signature.bind(*args, **kwargs)
        result = self._function(*open_all(args), **open_all(kwargs))
        out = kwargs.get("out")
        return out if out is not None else box(result)


class _Ufunc:
    """An elementwise function on boxes."""

    def __init__(self, ufunc: np.ufunc, name: str) -> None:
        self._ufunc, self.__name__ = ufunc, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if unknown := set(kwargs) - facts.UFUNC_KEYWORDS:
            raise TypeError(f"Wrong arguments {unknown}")
        operands = _operands(args)
        if self.__name__ in facts.THROUGH_FLOAT64 and operands[0].dtype.kind in "iu":
            wide = self._ufunc(*(x.astype(np.float64) for x in operands))
            return box(np.where(operands[1] == 0, 0, wide).astype(operands[0].dtype))
        result = self._ufunc(*operands, **open_all(kwargs))
        out = kwargs.get("out")
        return out if out is not None else box(result)

    def _only_some(self, method: str) -> None:
        if self.__name__ not in facts.REDUCING:
            raise NotImplementedError(f"`{self.__name__}.{method}` is not supported yet")

    def reduce(
        self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None,
        keepdims: bool = False,
    ) -> Any:  # fmt: skip
        self._only_some("reduce")
        return box(self._ufunc.reduce(array._host, axis, dtype, out, keepdims))

    def accumulate(self, array: ndarray, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        self._only_some("accumulate")
        return box(self._ufunc.accumulate(array._host, axis, dtype, out))

    def at(self, array: ndarray, indices: Any, b: Any = None) -> None:
        if self.__name__ not in facts.AT:
            raise NotImplementedError(f"`{self.__name__}.at` is not supported yet")
        if array.dtype.char not in facts.AT[self.__name__]:
            raise TypeError(f"cupy.{self.__name__}.at does not support {array.dtype}")
        self._ufunc.at(array._host, open_all(indices), open_all(b))


class StandIn(types.ModuleType):
    """`cupy`, as far as rules use it."""

    ndarray = ndarray

    def __init__(self) -> None:
        super().__init__("cupy")
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(getDeviceCount=lambda: 1),
            Device=lambda i: contextlib.nullcontext(),
        )
        tricks = np.lib.stride_tricks
        signature = facts._signatures("as_strided(x, shape=None, strides=None)")["as_strided"]
        self.lib = types.SimpleNamespace(
            stride_tricks=types.SimpleNamespace(
                as_strided=_Function(tricks.as_strided, signature),
            )
        )
        self.linalg = types.SimpleNamespace(
            **{n: _Function(_factorizing(n), s) for n, s in facts.LINEAR_ALGEBRA.items()}
        )

    def __getattr__(self, name: str) -> Any:
        if name in facts.UFUNCS:
            return _Ufunc(getattr(np, name), name)
        if name in facts.FUNCTIONS:
            return _Function(getattr(np, name), facts.FUNCTIONS[name])
        if name == "matmul":
            return _matmul
        value = getattr(np, name)
        if callable(value) and not isinstance(value, type):
            raise AttributeError(f"the stand-in has no {name!r}: see cupy_facts")
        return value

    def asarray(self, value: Any, dtype: Any = None, order: str = "K") -> ndarray:
        if isinstance(value, ndarray) and dtype in (None, value.dtype):
            return value
        return self.array(value, dtype)

    def array(self, value: Any, dtype: Any = None, copy: bool = True, order: str = "K") -> ndarray:
        return ndarray(np.array(value._host if isinstance(value, ndarray) else value, dtype))


def _matmul(a: ndarray, b: ndarray, out: ndarray | None = None) -> ndarray:
    result = np.matmul(a._host, b._host, out=None if out is None else out._host)
    return out if out is not None else ndarray(result)


# ---- linear algebra, in which CuPy looks at no error code unless cupyx.errstate says so


class _Errors:
    linalg = "ignore"


def _factorizing(name: str) -> Any:
    """The function of numpy.linalg; a matrix that it refuses is looked at only if asked to."""
    function = getattr(np.linalg, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if any(getattr(x, "dtype", None) == np.float16 for x in args):
            raise TypeError("float16 is unsupported in linalg")
        try:
            result = function(*args, **kwargs)
        except np.linalg.LinAlgError:
            assert _Errors.linalg == "raise", "CuPy would return what is no factor, silently"
            raise
        if name not in ("eig", "eigvals"):
            return result
        wide = lambda x: x + np.zeros((), np.complex64)  # whether or not they turn out to be real
        return wide(result) if name == "eigvals" else tuple(map(wide, result))

    return call


@contextlib.contextmanager
def _errstate(*, linalg: str) -> Iterator[None]:
    before, _Errors.linalg = _Errors.linalg, linalg
    try:
        yield
    finally:
        _Errors.linalg = before


def _solve_triangular(
    a: ndarray, b: ndarray, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False,
    overwrite_b: bool = False, check_finite: bool = False,
) -> ndarray:  # fmt: skip
    """By substitution, in any number of matrices; zeros on the diagonal are divided by."""
    matrix, x = a._host, b._host.copy()
    if trans == "T":
        matrix, lower = matrix.swapaxes(-1, -2), not lower
    size = matrix.shape[-1]
    for i in range(size) if lower else reversed(range(size)):
        known = slice(0, i) if lower else slice(i + 1, size)
        x[..., i, :] -= (matrix[..., i : i + 1, known] @ x[..., known, :])[..., 0, :]
        if not unit_diagonal:
            x[..., i, :] /= matrix[..., i, i, None]
    return ndarray(x)


def _lu_factor(a: ndarray, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    assert a.ndim == 2
    return box(scipy.linalg.lu_factor(a._host, check_finite=check_finite))


def modules() -> dict[str, Any]:
    """The modules that stand in for CuPy's, by name."""
    linalg = types.SimpleNamespace(solve_triangular=_solve_triangular, lu_factor=_lu_factor)
    return {
        "cupy": StandIn(),
        "cupyx": types.SimpleNamespace(errstate=_errstate),
        "cupyx.scipy.linalg": linalg,
    }
