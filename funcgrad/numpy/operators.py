"""What +, *, <, @ and their kin mean on arrays: a function of the same meaning, or NotImplemented.

A stranger gets NotImplemented, so that its own reflected operator may be tried. A list, a string or
None is refused with a message instead; only == and != of those are False and True, as in Python.
Eager float32 and int32 arrays take a shortcut past everything, straight to NumPy's ufunc.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.core.backend import quiet
from funcgrad.core.dtypes import float32, int32
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.numpy import contractions, ufuncs
from funcgrad.numpy.ufuncs.shortcut import broadcasts
from funcgrad.primitives.basis import convert_element_type

Function = Callable[..., Any]

_OPERANDS = (Array, np.ndarray, np.generic, bool, int, float, complex)
_REFUSED = (list, tuple, str, bytes, type(None))
_SEQUENCES = (list, tuple)


def is_operand(x: Any) -> bool:
    """Can operators compute with x?"""
    return isinstance(x, _OPERANDS) or hasattr(type(x), "__jax_array__")


def operator(function: Function, refused: tuple[type, ...] = _REFUSED) -> Function:
    """The method x.__op__(y) for a function of two arrays."""

    def method(x: Array, y: Any) -> Any:
        return function(x, y) if is_operand(y) or isinstance(y, refused) else NotImplemented

    return method


def reflected(function: Function) -> Function:
    """The method y.__rop__(x), for an x on the left that does not know arrays."""

    def method(y: Array, x: Any) -> Any:
        return function(x, y) if is_operand(x) or isinstance(x, _REFUSED) else NotImplemented

    return method


def eager(ufunc: Function, general: Function, weak: bool = True, integers: bool = True) -> Function:
    """A method for concrete arrays that goes straight to `ufunc` for two float32 or two int32."""
    second = int32 if integers else float32

    def method(x: ConcreteArray, y: Any) -> Any:
        a = x._buffer
        dtype = a.dtype
        if (dtype is float32 or dtype is second) and current_trace() is EVAL:
            other = type(y)
            try:
                if other is ConcreteArray:
                    b = y._buffer
                    if b.dtype is dtype and (a.ndim == b.ndim or broadcasts(a, b)):
                        return ConcreteArray(quiet.run(ufunc, a, b), weak and x._weak and y._weak)
                elif other is int or (other is float and dtype is float32):
                    return ConcreteArray(quiet.run(ufunc, a, y), weak and x._weak)
            except (ValueError, OverflowError):
                pass  # the general way says which shapes or numbers do not fit
        return general(x, y)

    return method


def eager_reflected(ufunc: Function, general: Function) -> Function:
    """As `eager`, for a Python number on the left."""

    def method(y: ConcreteArray, x: Any) -> Any:
        b = y._buffer
        if b.dtype is float32 and (type(x) is float or type(x) is int) and current_trace() is EVAL:
            return ConcreteArray(quiet.run(ufunc, x, b), y._weak)
        return general(y, x)

    return method


def _power(x: Array, y: Any, modulus: Any = None) -> Any:
    if modulus is not None:
        raise TypeError("pow: takes two arguments for arrays. Write (x ** y) % modulus.")
    return ufuncs.power(x, y) if is_operand(y) or isinstance(y, _REFUSED) else NotImplemented


def _eager_power(x: ConcreteArray, y: Any, modulus: Any = None) -> Any:
    if type(y) is int and y == 2 and modulus is None:
        a = x._buffer
        if a.dtype is float32 and current_trace() is EVAL:
            return ConcreteArray(quiet.run(np.multiply, a, a), x._weak)
    return _power(x, y, modulus)


def _rounded(x: Array, ndigits: int | None = None) -> Array:
    """round(x): without digits an integer array, as Python's round of a float is an int."""
    if ndigits is not None:
        return ufuncs.round(x, ndigits)
    return convert_element_type(ufuncs.round(x), dtypes.default_int())


def _whole(function: Function) -> Function:
    @functools.wraps(function)
    def method(x: Array) -> Array:
        return convert_element_type(function(x), dtypes.default_int())

    return method


BINARY: dict[str, Function] = {
    "add": ufuncs.add,
    "sub": ufuncs.subtract,
    "mul": ufuncs.multiply,
    "truediv": ufuncs.true_divide,
    "floordiv": ufuncs.floor_divide,
    "mod": ufuncs.remainder,
    "divmod": ufuncs.divmod,
    "pow": ufuncs.power,
    "and": ufuncs.bitwise_and,
    "or": ufuncs.bitwise_or,
    "xor": ufuncs.bitwise_xor,
    "lshift": ufuncs.left_shift,
    "rshift": ufuncs.right_shift,
    "matmul": contractions.matmul,
}
COMPARISONS: dict[str, Function] = {
    "lt": ufuncs.less,
    "le": ufuncs.less_equal,
    "gt": ufuncs.greater,
    "ge": ufuncs.greater_equal,
}
EQUALITY: dict[str, Function] = {"eq": ufuncs.equal, "ne": ufuncs.not_equal}
UNARY: dict[str, Function] = {
    "neg": ufuncs.negative,
    "pos": ufuncs.positive,
    "abs": ufuncs.absolute,
    "invert": ufuncs.invert,
    "round": _rounded,
    "floor": _whole(ufuncs.floor),
    "ceil": _whole(ufuncs.ceil),
    "trunc": _whole(ufuncs.trunc),
}


def operators() -> tuple[dict[str, Function], dict[str, Function]]:
    """The operator methods of all arrays, and the faster ones of concrete arrays."""
    methods = {f"__{name}__": operator(f) for name, f in (BINARY | COMPARISONS).items()}
    methods |= {f"__r{name}__": reflected(function) for name, function in BINARY.items()}
    methods |= {f"__{name}__": operator(f, _SEQUENCES) for name, f in EQUALITY.items()}
    methods |= {f"__{name}__": function for name, function in UNARY.items()}
    methods["__pow__"] = _power
    return methods, _eager_methods(methods) | {"__pow__": _eager_power}


def _eager_methods(methods: dict[str, Function]) -> dict[str, Function]:
    concrete = {}
    for name in ("add", "sub", "mul", "truediv"):
        ufunc = BINARY[name].ufunc  # type: ignore[attr-defined]
        concrete[f"__{name}__"] = eager(ufunc, methods[f"__{name}__"], integers=name != "truediv")
        concrete[f"__r{name}__"] = eager_reflected(ufunc, methods[f"__r{name}__"])
    for name, function in (COMPARISONS | EQUALITY).items():
        ufunc = function.ufunc  # type: ignore[attr-defined]
        concrete[f"__{name}__"] = eager(ufunc, methods[f"__{name}__"], weak=False)
    return concrete
