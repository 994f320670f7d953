"""Whole derivatives: `jacfwd`, `jacrev`, `hessian`. A derivative along each basis vector, all at
once by `vmap`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.api.autodiff import (
    _differentiable,
    _positions,
    _within,
    cotangents_in,
)
from funcgrad.api.flat import Flat, FlatOfSome, argument_leaves, check_callable, name_of
from funcgrad.core import dtypes
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import typeof
from funcgrad.core.tangent import Zero
from funcgrad.core.trace import Axis
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import instantiate, moveaxis, reshape
from funcgrad.transforms.autodiff import jvp_flat, linearize_flat
from funcgrad.transforms.batching import batch_flat


def _basis(avals: Sequence[Any]) -> tuple[list[Any], int]:
    """For each array the rows of the standard basis of all of them together: shape `(total,
    *shape)`.
    """
    sizes = [int(np.prod(a.shape, dtype=int)) for a in avals]
    total, start, rows = sum(sizes), 0, []
    for aval, size in zip(avals, sizes):
        block = np.zeros((total, size), aval.dtype)
        block[start + np.arange(size), np.arange(size)] = 1
        rows.append(ConcreteArray(block.reshape(total, *aval.shape), aval.weak_type))
        start += size
    return rows, total


def _pieces(x: Any, axis: int, avals: Sequence[Any]) -> list[Any]:
    """A Jacobian's block cut along `axis` by inputs (or outputs), that axis in their shapes."""
    start, pieces = 0, []
    for aval in avals:
        size = int(np.prod(aval.shape, dtype=int))
        index = (slice(None),) * axis + (slice(start, start + size),)
        shape = typeof(x).shape
        pieces.append(reshape(x[index], shape[:axis] + aval.shape + shape[axis + 1 :]))
        start += size
    return pieces


def _jacobian_of(
    name: str,
    argnums: Any,
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    fun: Any,
    blocks: Callable[..., Any],
) -> Callable[..., Any]:
    """What both modes share. `blocks(flat, leaves)` gives rows of blocks, output by input, and
    the flat results.
    """
    check_callable(fun, name)
    positions = _positions(argnums, name)

    @user_facing
    @functools.wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen = [args[i] for i in _within(positions, args, name, fun)]
        leaves, in_tree = argument_leaves(name, chosen)
        if not all(_differentiable(name, leaves, holomorphic, allow_int, args, positions)):
            raise TypeError(
                f"{name}: integer arguments have no Jacobian; choose others with argnums."
            )
        flat = FlatOfSome(fun, in_tree, name, has_aux, positions, args, kwargs)
        rows, outs = blocks(flat, leaves)
        per_output = []
        for row in rows:
            trees = tree.unflatten(in_tree, row)
            per_output.append(trees[0] if isinstance(argnums, (int, np.integer)) else tuple(trees))
        result = tree.unflatten(flat.out_tree, per_output)
        return (result, flat.aux(outs)) if has_aux else result

    return jacobian


@user_facing
def jacfwd(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """The Jacobian of `fun`, column by column in forward mode: best for more outputs than inputs.

    Returns a function whose result has the structure of the output, with the structure of the input
    in place of each leaf; the block for an output of shape `s` and an input of shape `t` has shape
    `s + t`.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.jacfwd(lambda x: x**2)(jnp.array([1.0, 2.0]))
        Array([[2., 0.],
               [0., 4.]], dtype=float32)
    """

    def blocks(flat: Flat, leaves: Sequence[Any]) -> Any:
        avals = [typeof(x) for x in leaves]
        rows, total = _basis(avals)
        kept: list[Any] = []

        def push(*tangents: Any) -> list[Any]:
            outs, out_tangents = jvp_flat(flat, leaves, tangents)
            kept[:] = outs
            return [instantiate(t) for t in out_tangents[: flat.out_count]]

        columns, dims = batch_flat(push, Axis(total), rows, [0] * len(rows))
        last = [_last(c, d, total) for c, d in zip(columns, dims)]
        _check_outputs("jacfwd", flat, kept, holomorphic)
        return [_pieces(c, typeof(c).ndim - 1, avals) for c in last], kept

    return _jacobian_of("jacfwd", argnums, has_aux, holomorphic, False, fun, blocks)


def _last(x: Any, dim: int | None, total: int) -> Any:
    """The basis dimension last; a result without one does not depend on the inputs."""
    if dim is None:
        return instantiate(Zero(typeof(x).update(shape=(*typeof(x).shape, total))))
    return moveaxis(x, dim, typeof(x).ndim - 1)


def _check_outputs(name: str, flat: Flat, outs: Sequence[Any], holomorphic: bool) -> None:
    for out in outs[: flat.out_count]:
        aval = typeof(out)
        if not aval.has_tangent:
            raise TypeError(
                f"{name}: {name_of(flat.fun)} must return floating-point numbers, but returned "
                f"{aval.strong()}."
            )
        if holomorphic and not dtypes.is_complex(aval.dtype):
            raise TypeError(
                f"{name}: with holomorphic=True the function must return complex numbers, but "
                f"returned {aval.strong()}."
            )
        if name == "jacrev" and not holomorphic and dtypes.is_complex(aval.dtype):
            raise TypeError(
                f"{name}: the function must return real numbers, but returned {aval.strong()}. "
                "Pass holomorphic=True."
            )


@user_facing
def jacrev(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """The Jacobian of `fun`, row by row in reverse mode: best for more inputs than outputs. As
    `jacfwd` otherwise.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.jacrev(lambda x: x**2)(jnp.array([1.0, 2.0]))
        Array([[2., 0.],
               [0., 4.]], dtype=float32)
    """

    def blocks(flat: Flat, leaves: Sequence[Any]) -> Any:
        outs, linear = linearize_flat(flat, leaves, [True] * len(leaves))
        _check_outputs("jacrev", flat, outs, holomorphic)
        avals = [typeof(o) for o in outs[: flat.out_count]]
        cts, total = _basis(avals)
        rest = [Zero(a) for a in linear.out_avals[flat.out_count :]]

        def pull(*rows: Any) -> list[Any]:
            return cotangents_in(linear, [*rows, *rest])

        rows, dims = batch_flat(pull, Axis(total), cts, [0] * len(cts))
        first = [_first(r, d, total) for r, d in zip(rows, dims)]
        by_input = [_pieces(r, 0, avals) for r in first]
        return [list(row) for row in zip(*by_input)] if by_input else [[] for _ in avals], outs

    return _jacobian_of("jacrev", argnums, has_aux, holomorphic, allow_int, fun, blocks)


def _first(x: Any, dim: int | None, total: int) -> Any:
    if dim is None:
        return instantiate(Zero(typeof(x).update(shape=(total, *typeof(x).shape))))
    return moveaxis(x, dim, 0)


@user_facing
def hessian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """The second derivatives of `fun`: the forward Jacobian of the reverse one.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.hessian(lambda x: x[0] * x[1] ** 2)(jnp.array([1.0, 2.0]))
        Array([[0., 4.],
               [4., 2.]], dtype=float32)
    """
    inner = jacrev(fun, argnums, has_aux=has_aux, holomorphic=holomorphic)
    return jacfwd(inner, argnums, has_aux=has_aux, holomorphic=holomorphic)
