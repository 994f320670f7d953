"""Shapes without values: `ShapeDtypeStruct`, `eval_shape`, `typeof`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad import tree
from funcgrad.api.flat import Flat, argument_leaves, check_callable
from funcgrad.core import dtypes
from funcgrad.core.avals import ShapedArray, typeof as _typeof
from funcgrad.core.stage import stage
from funcgrad.errors import user_facing


class ShapeDtypeStruct:
    """Shape and dtype of an array that need not exist; accepted by `eval_shape`, `lower` and
    `linear_transpose`.
    """

    __slots__ = ("shape", "dtype", "weak_type")

    def __init__(
        self, shape: Any, dtype: Any, *, weak_type: bool = False, sharding: Any = None
    ) -> None:
        if dtype is None:
            raise ValueError("ShapeDtypeStruct: dtype must be given.")
        self.shape, self.dtype, self.weak_type = tuple(shape), dtypes.as_dtype(dtype), weak_type

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: self.aval.size)
    sharding = None

    @property
    def aval(self) -> ShapedArray:
        """The abstract value."""
        return ShapedArray(self.shape, self.dtype, self.weak_type)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a shape of rank 0.")
        return self.shape[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeDtypeStruct) and self.aval == other.aval

    def __hash__(self) -> int:
        return hash(self.aval)

    def __repr__(self) -> str:
        weak = ", weak_type=True" if self.weak_type else ""
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype}{weak})"


def abstract_leaf(x: Any, name: str) -> ShapedArray:
    """The abstract value of an array, a number, or anything with `shape` and `dtype`."""
    if isinstance(x, (ShapeDtypeStruct, ShapedArray)):
        return x if isinstance(x, ShapedArray) else x.aval
    if hasattr(x, "shape") and hasattr(x, "dtype") and not hasattr(x, "__array__"):
        return ShapedArray(tuple(x.shape), x.dtype, bool(getattr(x, "weak_type", False)))
    return _typeof(argument_leaves(name, x, copy=False)[0][0])


def typeof(x: Any) -> ShapedArray:
    """Shape, dtype and weakness of an array or number, as programs print them.

    Example:
        >>> import funcgrad as fg
        >>> print(fg.typeof(1.0))
        ~f32[]
    """
    return abstract_leaf(x, "typeof")


@user_facing
def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Shapes and dtypes of `fun(*args, **kwargs)`, without computing anything.

    Arguments are arrays or `ShapeDtypeStruct`s; the result has the function's structure, with
    `ShapeDtypeStruct` leaves.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.eval_shape(jnp.dot, fg.ShapeDtypeStruct((2, 3), "float32"), jnp.ones((3, 4)))
        ShapeDtypeStruct(shape=(2, 4), dtype=float32)
    """
    check_callable(fun, "eval_shape")
    leaves, in_tree = tree.flatten((args, kwargs))
    flat = Flat(fun, in_tree, "eval_shape")
    jaxpr, _ = stage(flat, [abstract_leaf(x, "eval_shape") for x in leaves])
    structs = [ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in jaxpr.out_avals]
    return tree.unflatten(flat.out_tree, structs)
