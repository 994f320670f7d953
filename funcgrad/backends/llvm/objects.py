"""How Python's and NumPy's objects lie in memory, found by looking at some of them.

The dispatcher reads and makes arrays without their C headers. What it relies on is checked here,
once; where a check fails, calls go through Python instead.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from typing import Any, NamedTuple

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import ConcreteArray, KeyArray

# PyArrayObject, the same in NumPy 1.22 to 2.x
DATA, RANK, SHAPE, BASE, DTYPE, FLAGS = 16, 24, 32, 48, 56, 64
TYPE = 8  # PyObject.ob_type
HEADER = 16  # bytes of PyObject; longer where there is no lock of the interpreter
SCALAR = 16  # where NumPy's scalars hold their number
NEW_FROM_DESCR = 94  # its place in NumPy's table of functions


class Offsets(NamedTuple):
    """Bytes from the beginning of an object: an Array's slots, and the owner of an ndarray's
    memory.
    """

    buffer: int
    weak: int
    key: int
    memory: int


@functools.lru_cache(maxsize=1)
def offsets() -> Offsets | None:
    """None where objects are not what the dispatcher needs."""
    plain = platform.python_implementation() == "CPython" and sys.maxsize > 2**32
    if not plain or object.__basicsize__ != HEADER or sys.byteorder != "little":
        return None
    try:
        return _found()
    except (AttributeError, ImportError, ValueError):
        return None


def _found() -> Offsets | None:
    examples = np.zeros((3, 5), np.float32), np.zeros(7, np.int64)
    if not all(_is_as_expected(x) for x in examples):
        return None
    buffer, words = np.zeros(2, np.uint32), dtypes.threefry_key
    array, key = ConcreteArray(buffer, True), KeyArray(buffer, words)
    place, flag, kind = _place(array, buffer), _place(array, True), _place(key, words)
    memory = _memory_place()
    alike = (place, flag) == (_place(key, buffer), _place(key, False))
    if place is None or flag is None or kind is None or memory is None or not alike:
        return None
    return Offsets(place, flag, kind, memory)


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _is_as_expected(x: np.ndarray) -> bool:
    at, view = id(x), x[:1]
    rank = ctypes.c_int32.from_address(at + RANK).value
    shape = _word(at + SHAPE)
    return (
        _word(at + TYPE) == id(np.ndarray)
        and _word(at + DATA) == x.ctypes.data
        and rank == x.ndim
        and tuple(_word(shape + 8 * d) for d in range(rank)) == x.shape
        and (_word(at + BASE), _word(id(view) + BASE)) == (0, id(x))
        and _word(at + DTYPE) == id(x.dtype)
        and ctypes.c_int32.from_address(at + FLAGS).value == x.flags.num
    )


def _place(holder: Any, held: Any) -> int | None:
    """Where an object holds a reference to another."""
    size = type(holder).__basicsize__
    places = [n for n in range(16, size, 8) if _word(id(holder) + n) == id(held)]
    return places[0] if len(places) == 1 else None


def _memory_place() -> int | None:
    """Where an ndarray says whose its memory is: behind all else, and set where it owns any."""
    owner, place = np.zeros(3), np.ndarray.__basicsize__ - 8
    view = owner[:1]
    held, borrowed = _word(id(owner) + place), _word(id(view) + place)
    if held == 0 or borrowed != 0:
        return None
    is_capsule = _word(held + TYPE) == id(type(array_interface()))
    return place if is_capsule else None


def array_interface() -> Any:
    """The capsule with NumPy's table of functions."""
    core = getattr(np, "_core", None) or np.core
    return core.multiarray._ARRAY_API


def new_from_descr() -> int:
    """The address of PyArray_NewFromDescr."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return _word(get(array_interface(), None) + 8 * NEW_FROM_DESCR)


def function(name: str) -> int:
    """The address of a function of Python's C interface."""
    found = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    assert found is not None
    return found


@functools.lru_cache(maxsize=64)
def scalar_type(dtype: np.dtype) -> Any:
    """The class of NumPy's scalars of this dtype if they hold their number where it is looked
    for, else None.
    """
    if dtype.kind not in "biufcV":
        return None
    scalar = np.ones((), dtype)[()]
    if type(scalar).__basicsize__ < SCALAR + dtype.itemsize:
        return None
    held = ctypes.string_at(id(scalar) + SCALAR, dtype.itemsize)
    return type(scalar) if held == np.ones((), dtype).tobytes() else None


def keep_forever(*kept: Any) -> None:
    """Objects that must outlive everything, since memory is freed by their code until the end."""
    for x in kept:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(x))
