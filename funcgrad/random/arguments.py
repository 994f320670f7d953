"""What all samplers do with their arguments: shapes, dtypes, and parameters that broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import numpy as jnp
from funcgrad.core import dtypes
from funcgrad.core.avals import typeof
from funcgrad.numpy.axes import shape_tuple


def as_shape(name: str, shape: Any) -> tuple:
    """A tuple of sizes from what the user gave; a single size stands for one dimension."""
    return shape_tuple(name, shape)


def float_dtype(name: str, dtype: Any, *, or_complex: bool = False) -> np.dtype:
    """The dtype of a sampler's result; the default width where the user gave none."""
    result = dtypes.as_dtype(float if dtype is None else dtype)
    if not (dtypes.is_inexact(result) if or_complex else dtypes.is_float(result)):
        raise ValueError(
            f"{name}: dtype must be floating{' or complex' if or_complex else ''}, but got "
            f"{result}."
        )
    return result


def integer_dtype(name: str, dtype: Any) -> np.dtype:
    result = dtypes.as_dtype(int if dtype is None else dtype)
    if not dtypes.is_integer(result):
        raise TypeError(f"{name}: dtype must be an integer type, but got {result}.")
    return result


def broadcast_to_shape(shape: tuple, *others: tuple) -> bool:
    """Do arrays of the other shapes broadcast to `shape`?"""
    try:
        return jnp.broadcast_shapes(shape, *others) == shape
    except ValueError:
        return False


def sample_shape(name: str, shape: Any, *parameters: Any) -> tuple:
    """The shape of the result: as given, and then parameters must broadcast to it, or the
    parameters' own.
    """
    shapes = [np.shape(p) for p in parameters]
    if shape is None:
        return jnp.broadcast_shapes(*shapes) if shapes else ()
    shape = as_shape(name, shape)
    if any(shapes) and not broadcast_to_shape(shape, *shapes):
        raise ValueError(
            f"{name}: parameters of shapes {', '.join(map(str, shapes))} must broadcast to the "
            "shape "
            f"argument {shape}. Give a larger shape, or none to take the parameters'."
        )
    return shape


def parameter(name: str, value: Any, dtype: np.dtype) -> Any:
    """A parameter in the result's dtype; an error where that would lose part of it."""
    aval = typeof(jnp.asarray(value))
    if dtypes.promote(((dtype, False), (aval.dtype, aval.weak_type)))[
        0
    ] != dtype and dtypes.is_inexact(aval.dtype):
        raise TypeError(
            f"{name}: a parameter of type {aval.dtype} does not fit dtype {dtype}. "
            "Convert it with astype, or give dtype."
        )
    return jnp.asarray(value, dtype=dtype)
