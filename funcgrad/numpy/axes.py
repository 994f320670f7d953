"""Axes, shapes and static numbers as users write them, checked in the public function's name."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from funcgrad import errors
from funcgrad.core.array import ConcreteArray, KeyArray, Tracer, to_host

Axis = int | Sequence[int] | None


def axis_index(name: str, axis: Any, ndim: int) -> int:
    """One axis, counted from the front; ValueError if an array of rank `ndim` has no such axis."""
    position = integer(name, "axis", axis)
    if not -ndim <= position < ndim:
        raise ValueError(
            f"{name}: axis {position} is out of bounds for an array of rank {ndim}."
            + (f" Use one from {-ndim} to {ndim - 1}." if ndim else "")
        )
    return position % ndim


def axis_indices(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """One or several axes in the order given, counted from the front; None means all."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        return (axis_index(name, axis, ndim),)
    found = tuple(axis_index(name, a, ndim) for a in axis)
    if len(set(found)) != len(found):
        raise ValueError(f"{name}: duplicate value in axis {tuple(axis)}. Name each axis once.")
    return found


def integer(name: str, what: str, value: Any) -> int:
    """A static integer; TypeError naming `what` it is otherwise."""
    try:
        return index(value)
    except errors.ConcretizationTypeError:
        raise
    except TypeError:
        raise TypeError(f"{name}: {what} must be an integer, but got {value!r:.60}.") from None


def shape_tuple(name: str, shape: Any) -> tuple[Any, ...]:
    """A shape given as a size or as a sequence of sizes; ValueError if one is negative."""
    if type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape):
        return shape
    sizes = sizes_tuple(name, shape)
    for size in sizes:
        if isinstance(size, int) and size < 0:
            raise ValueError(f"{name}: sizes must not be negative, but the shape is {shape}.")
    return sizes


def sizes_tuple(name: str, shape: Any) -> tuple[Any, ...]:
    """A size or a sequence of sizes as a tuple; they may be negative where -1 has a meaning."""
    if isinstance(shape, (Tracer, ConcreteArray, np.ndarray)):
        shape = concrete(name, "a shape", shape).tolist()
    if not isinstance(shape, Sequence) or isinstance(shape, (bytes, bytearray)):
        shape = (shape,)
    return tuple(size if _is_symbolic(size) else integer(name, "a size", size) for size in shape)


def _is_symbolic(size: Any) -> bool:
    return (
        not hasattr(size, "__index__")
        and hasattr(size, "__floordiv__")
        and not isinstance(size, type)
        and not np.isscalar(size)
    )


def concrete(name: str, what: str, value: Any) -> np.ndarray:
    """The values of an array that must be known now; ConcretizationTypeError for a tracer."""
    if isinstance(value, Tracer):
        raise errors.ConcretizationTypeError(
            f"{name}: {what} must be known while the function is traced, but got {value.aval}. "
            "Mark the argument static, or give the size of the result where the function takes one."
        )
    if isinstance(value, KeyArray):
        raise TypeError(f"{name}: {what} consists of numbers, but got {value.aval}.")
    return to_host(value._buffer) if isinstance(value, ConcreteArray) else np.asarray(value)


def refuse(name: str, **arguments: Any) -> None:
    """Raises for arguments that exist for NumPy's sake only and have no meaning here."""
    for argument, value in arguments.items():
        if value is not None:
            raise TypeError(f"{name}: the argument `{argument}` is not supported; leave it out.")
