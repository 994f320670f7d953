"""Factories of primitives: what operations of one kind have in common is derived here, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray
from funcgrad.core.primitive import Primitive, Rule, minus_one, one
from funcgrad.primitives.basis import (
    ANY,
    COMPLEX,
    FLOATS,
    INEXACT,
    INTEGERS,
    INTEGERS_BOOL,
    NUMBERS,
    ORDERED,
    REALS,
    check_axes,
    elementwise_abstract,
    elementwise_batch,
    elementwise_loops,
    reduced,
    reduction_batch,
)

__all__ = [
    "ANY", "COMPLEX", "FLOATS", "INEXACT", "INTEGERS", "INTEGERS_BOOL", "NUMBERS", "ORDERED",
    "REALS", "comparison", "dtype_limits", "elementwise", "linear", "minus_one", "one", "reduction",
]  # fmt: skip


def elementwise(
    name: str,
    *,
    accepts: frozenset[Any],
    scalar: Callable[..., Any],
    ufunc: str | None = None,
    value: Rule | None = None,
    result: Any = None,
    partials: Sequence[Rule | None] | None = None,
    linear: Iterable[int] | None = None,
    multilinear: Iterable[int] | None = None,
    jvp: Rule | None = None,
    constant: bool = False,
    transpose: Rule | None = None,
    weak: Rule | None = None,
) -> Primitive:
    """An operation on each element: `ufunc` (a NumPy function of the same meaning) or `value`
    computes it.

    `accepts` is the set of operand dtypes, `result` the result's dtype (default: the operands'),
    `scalar(k, *xs)` one lane of a compiled kernel. The derivative is stated in one of the forms of
    `Primitive`.
    """
    if ufunc is not None and value is None:

        def value(xp: Any, *xs: Any, **params: Any) -> Any:
            return getattr(xp, ufunc)(*xs)

    primitive = Primitive(
        name,
        abstract=elementwise_abstract(name, accepts, result),
        value=value,
        partials=partials,
        linear=linear,
        multilinear=multilinear,
        jvp=jvp,
        constant=constant,
        transpose=transpose,
        loops=elementwise_loops(scalar, ufunc),
        weak=weak,
    )
    primitive.batch = elementwise_batch(primitive)
    return primitive


def comparison(
    name: str, *, ufunc: str, scalar: Callable[..., Any], accepts: frozenset[Any] = ORDERED
) -> Primitive:
    """A test on each element, with a bool result and no derivative."""
    return elementwise(
        name, accepts=accepts, ufunc=ufunc, scalar=scalar, result=dtypes.bool_, constant=True,
        weak=lambda flags, params: False,
    )  # fmt: skip


def linear(
    name: str,
    *,
    abstract: Rule,
    value: Rule,
    transpose: Rule,
    batch: Rule,
    loops: Rule,
) -> Primitive:
    """An operation on one array that is linear in it."""
    return Primitive(
        name,
        abstract=abstract,
        value=value,
        linear=(0,),
        transpose=transpose,
        batch=batch,
        loops=loops,
    )


def reduction(
    name: str,
    *,
    op: str,
    accepts: frozenset[Any],
    value: Rule,
    has_identity: bool = True,
    jvp: Rule | None = None,
    constant: bool = False,
) -> Primitive:
    """A reduction over `axes` by the monoid `op`; without an identity, reducing nothing is an
    error.
    """

    def abstract(x: ShapedArray, *, axes: Sequence[int]) -> ShapedArray:
        if x.dtype not in accepts:
            raise TypeError(f"{name}: does not accept operands of type {x}.")
        check_axes(name, axes, x.ndim)
        if not has_identity and any(x.shape[d] == 0 for d in axes):
            raise ValueError(
                f"{name}: reducing no elements has no result: shape {x.shape}, axes {tuple(axes)}. "
                "Give an `initial` value, or leave empty arrays out."
            )
        return ShapedArray(reduced(x.shape, axes), x.dtype)

    primitive = Primitive(
        name,
        abstract=abstract,
        value=value,
        jvp=jvp,
        constant=constant,
        loops=lambda x, *, axes: loops.Reduce(op, axes, x.dtype),
    )
    primitive.batch = reduction_batch(primitive)
    return primitive


def dtype_limits(dtype: np.dtype) -> tuple[Any, Any]:
    """The smallest and the largest value of a dtype: infinities for floats."""
    if dtype == dtypes.bool_:
        return np.False_, np.True_
    if dtypes.is_integer(dtype):
        info = np.iinfo(dtype)
        return dtype.type(info.min), dtype.type(info.max)
    return dtype.type(-np.inf), dtype.type(np.inf)
