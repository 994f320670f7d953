"""`reduce`: any monoid over any dimensions, of one array or of a tree of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.control.bodies import Body, enter_leaves
from funcgrad.core.avals import typeof
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.trace import Axis
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import (
    add_p,
    batched,
    broadcast_in_dim,
    mul_p,
    reduce_sum,
    reshape,
    transpose,
)
from funcgrad.primitives.elementwise import max_p, min_p
from funcgrad.primitives.logic import and_p, or_p, xor_p
from funcgrad.primitives.reduce import (
    reduce_and,
    reduce_max,
    reduce_min,
    reduce_or,
    reduce_prod,
    reduce_xor,
)
from funcgrad.primitives.shape import concatenate
from funcgrad.primitives.slicing import slice as slice_of
from funcgrad.transforms.batching import batch_flat

MONOIDS = {
    add_p: reduce_sum, mul_p: reduce_prod, max_p: reduce_max, min_p: reduce_min,
    and_p: reduce_and, or_p: reduce_or, xor_p: reduce_xor,
}  # fmt: skip


@user_facing
def reduce(
    operands: Any,
    init_values: Any,
    computation: Callable[[Any, Any], Any],
    dimensions: Sequence[int],
) -> Any:
    """Combines the elements of `operands` along `dimensions` by an associative `computation`.

    Args:
        operands: a tree of arrays of one shape. init_values: a tree like it of scalars, neutral
        for `computation`; it starts the reduction. computation: `computation(a, b)` of two such
        trees of scalars. dimensions: what to reduce over.

    Raises:
        ValueError: shapes or structures differ. TypeError: dtypes differ, or `computation` returns
        other types than it is given.

    Example:
        >>> import funcgrad.numpy as jnp
        >>> reduce(jnp.array([[1, 5], [7, 2]]), -1, lambda a, b: jnp.maximum(a, b), [1])
        Array([5, 7], dtype=int32)
    """
    leaves, treedef = enter_leaves("reduce", operands)
    init, init_tree = enter_leaves("reduce", init_values)
    _check_operands(leaves, treedef, init, init_tree)
    axes = _checked_axes(dimensions, typeof(leaves[0]).ndim)
    if not axes:
        return tree.unflatten(treedef, leaves)
    scalars = [typeof(x).update(shape=()) for x in leaves]
    in_tree = tree.structure(tuple([tree.unflatten(treedef, [0] * len(leaves))] * 2))
    body = Body("reduce", computation, in_tree, scalars * 2)
    _check_results(body, treedef, scalars)

    def combine(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
        a, b = tree.unflatten(treedef, left), tree.unflatten(treedef, right)
        return _elementwise(lambda *xs: computation(*tree.unflatten(in_tree, xs)), a, b)

    starts = [_like(i, x) for i, x in zip(init, leaves)]
    monoid = None if len(leaves) > 1 else _monoid_of(body.jaxpr)
    if monoid is not None and math.prod(typeof(leaves[0]).shape[d] for d in axes):
        found = [monoid(leaves[0], axes)]
    else:
        found = _folded(combine, leaves, axes)
    kept = _kept_shape(typeof(leaves[0]).shape, axes)
    starts = [broadcast_in_dim(s, kept, ()) for s in starts]
    return tree.unflatten(treedef, combine(starts, found) if found else starts)


def _monoid_of(jaxpr: Jaxpr) -> Callable[..., Any] | None:
    """The reduction of a program that is one operation of its two arguments."""
    if len(jaxpr.eqns) != 1 or len(jaxpr.args) != 2:
        return None
    (e,) = jaxpr.eqns
    plain = set(e.args) == set(jaxpr.args) and jaxpr.outputs == tuple(e.outs)
    return MONOIDS.get(e.primitive) if plain and len(e.args) == 2 else None


def _folded(combine: Callable[..., Any], leaves: Sequence[Any], axes: Sequence[int]) -> list[Any]:
    """Neighbours are combined until one row is left: a tree of logarithmic depth, which keeps
    their order. Nothing for no elements.
    """
    rows = [_rows_first(x, axes) for x in leaves]
    count = typeof(rows[0]).shape[0]
    while count > 1:
        whole = count - count % 2
        pairs = combine(_every_second(rows, 0, whole), _every_second(rows, 1, whole))
        if count % 2:
            last = [_row_range(x, count - 1, count, 1) for x in rows]
            pairs = [concatenate([p, x], 0) for p, x in zip(pairs, last)]
        rows, count = pairs, (count + 1) // 2
    return [reshape(x, typeof(x).shape[1:]) for x in rows] if count else []


def _rows_first(x: Any, axes: Sequence[int]) -> Any:
    """All reduced dimensions as one, in front."""
    shape = typeof(x).shape
    kept = [d for d in range(len(shape)) if d not in axes]
    count = math.prod(shape[d] for d in axes)
    return reshape(transpose(x, (*axes, *kept)), (count, *(shape[d] for d in kept)))


def _every_second(rows: Sequence[Any], start: int, stop: int) -> list[Any]:
    return [_row_range(x, start, stop, 2) for x in rows]


def _row_range(x: Any, start: int, stop: int, step: int) -> Any:
    shape = typeof(x).shape
    rest = len(shape) - 1
    return slice_of(x, (start,) + (0,) * rest, (stop, *shape[1:]), (step,) + (1,) * rest)


def _elementwise(function: Callable[..., Any], *operands: Any) -> list[Any]:
    """A function of scalars on each element of arrays of one shape."""
    leaves = tree.leaves(operands)
    shape = typeof(leaves[0]).shape
    size = math.prod(shape)
    flat = [reshape(x, (size,)) for x in leaves]
    axis = Axis(size)
    outs, dims = batch_flat(
        lambda *xs: enter_leaves("reduce", function(*xs))[0], axis, flat, [0] * len(flat)
    )
    return [reshape(batched(axis, o, d), shape) for o, d in zip(outs, dims)]


def _like(start: Any, x: Any) -> Any:
    own, wanted = typeof(start), typeof(x)
    if own.dtype == wanted.dtype:
        return start
    if own.weak_type:
        return start.astype(wanted.dtype)
    raise TypeError(
        f"reduce: operands and init_values must have equal dtypes, but got {wanted} and {own}."
    )


def _kept_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for d, n in enumerate(shape) if d not in axes)


def _checked_axes(dimensions: Sequence[int], rank: int) -> tuple[int, ...]:
    axes = tuple(sorted(d.__index__() for d in dimensions))
    if len(set(axes)) != len(axes) or any(not 0 <= d < rank for d in axes):
        raise ValueError(
            f"reduce: dimensions must be different ones of 0 to {rank - 1}, but got "
            f"{tuple(dimensions)}."
        )
    return axes


def _check_operands(leaves: Any, treedef: Any, init: Any, init_tree: Any) -> None:
    if not leaves or treedef != init_tree:
        raise ValueError(
            f"reduce: operands and init_values must be trees of one structure, but got {treedef} "
            f"and {init_tree}."
        )
    shapes = {typeof(x).shape for x in leaves}
    if len(shapes) > 1 or any(typeof(i).ndim for i in init):
        raise ValueError(
            "reduce: operands must have one shape and init_values be scalars, but got "
            f"{', '.join(str(typeof(x).strong()) for x in [*leaves, *init])}."
        )


def _check_results(body: Body, treedef: Any, scalars: Any) -> None:
    found = [a.strong() for a in body.out_avals]
    if body.out_tree != treedef or found != [a.strong() for a in scalars]:
        raise TypeError(
            f"reduce: the computation must return {', '.join(str(a.strong()) for a in scalars)} "
            f"as it is given, but returned {', '.join(map(str, found))}."
        )
