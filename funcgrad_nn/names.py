"""How a description writes classes, functions and dtypes by name, and finds them again.

Nothing is ever imported to read a name: classes must have been defined, functions must be public
in a funcgrad namespace or registered. So a hostile text can only build modules.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

import numpy as np

import funcgrad as fg

PACKAGE = __name__.partition(".")[0]
NAMESPACES = {
    "funcgrad.nn": fg.nn,
    "funcgrad.numpy": fg.numpy,
    "funcgrad.lax": fg.lax,
}
# Public there, but not functions of arrays: no description from a file should lead to these.
NO_MATHEMATICS = {"load", "save", "savez", "set_printoptions", "printoptions"}
_classes: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_functions: dict[str, Any] = {}


def register(cls: type) -> None:
    """Remember a class of modules; a later definition of the same name replaces it."""
    _classes[name_of_class(cls)] = cls


def name_of_class(cls: type) -> str:
    """`package.Name`; our own classes are named by the package alone, wherever their file is."""
    own = cls.__module__.startswith(f"{PACKAGE}.")
    return f"{PACKAGE if own else cls.__module__}.{cls.__qualname__}"


def class_of_name(name: str) -> type | None:
    """The class registered under `name`, or None."""
    return _classes.get(name)


def register_function(name: str, function):
    """Give `function` a name by which descriptions write it in JSON; returns the function.

    Needed for functions outside funcgrad's public namespaces that a module holds as an option.

    >>> import funcgrad_nn as nn
    >>> def doubled(x):
    ...     return 2 * x
    >>> _ = nn.register_function("my_project.doubled", doubled)
    >>> nn.from_json(nn.Lambda(doubled).to_json())
    Lambda(doubled)
    """
    _functions[name] = function
    return function


def name_of_function(function) -> str | None:
    """The public name of a function, or None if it has none."""
    for name, registered in _functions.items():
        if registered is function:
            return name
    for place, namespace in NAMESPACES.items():
        own = getattr(function, "__name__", None)
        if own and getattr(namespace, own, None) is function:
            return f"{place}.{own}"
    return None


def function_of_name(name: str):
    """The function of that public name, or None."""
    if name in _functions:
        return _functions[name]
    place, _, last = name.rpartition(".")
    if place not in NAMESPACES or last.startswith("_") or last in NO_MATHEMATICS:
        return None
    found = getattr(NAMESPACES[place], last, None)
    return found if callable(found) and not isinstance(found, types.ModuleType) else None


def name_of_dtype(value) -> str | None:
    """`float32` for a dtype in any of its spellings, None for anything else."""
    if value is None:
        return None
    if isinstance(value, np.dtype):
        return value.name
    for name in _DTYPES:
        if value is getattr(fg.numpy, name, None) or value is getattr(np, name, None):
            return name
    return None


def dtype_of_name(name: str):
    """The dtype of that name, or None."""
    return fg.numpy.dtype(name) if name in _DTYPES else None


_DTYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int32",
    "int64",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool_",
    "bool",
    "complex64",
    "complex128",
)
