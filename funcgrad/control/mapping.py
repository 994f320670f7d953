"""`map` and `associative_scan`: rows one after the other, and prefixes of any monoid in
logarithmic depth.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.control.bodies import enter_leaves
from funcgrad.control.scan import scan
from funcgrad.core.avals import typeof
from funcgrad.core.trace import Axis
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import batched, reshape
from funcgrad.primitives.shape import concatenate, rev
from funcgrad.primitives.slicing import slice as slice_of
from funcgrad.transforms.batching import batch_flat


@user_facing
def map(f: Callable[..., Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """`f` of each row of `xs` in turn, and the results stacked: less memory than `vmap`, more time.

    With `batch_size`, so many rows at once by `vmap`.

    Example:
        >>> import funcgrad.numpy as jnp
        >>> map(lambda x: x**2, jnp.array([1.0, 2.0, 3.0]))
        Array([1., 4., 9.], dtype=float32)
    """
    leaves, treedef = enter_leaves("map", xs)
    if not leaves:
        raise ValueError("map: xs has no arrays, so there are no rows.")
    if batch_size is None:
        return scan(lambda carry, x: (carry, f(x)), (), tree.unflatten(treedef, leaves))[1]
    if batch_size < 1:
        raise ValueError(f"map: batch_size must be positive, but got {batch_size}.")
    total = typeof(leaves[0]).shape[0]
    whole = total // batch_size
    parts = []
    if whole or not total:
        blocks = [
            reshape(_rows(x, 0, whole * batch_size), (whole, batch_size, *typeof(x).shape[1:]))
            for x in leaves
        ]
        _, ys = scan(
            lambda carry, x: (carry, _mapped(f, x, batch_size)), (), tree.unflatten(treedef, blocks)
        )
        parts.append(tree.map(lambda y: reshape(y, (whole * batch_size, *typeof(y).shape[2:])), ys))
    if total % batch_size:
        rest = [_rows(x, whole * batch_size, total) for x in leaves]
        parts.append(_mapped(f, tree.unflatten(treedef, rest), total % batch_size))
    return parts[0] if len(parts) == 1 else tree.map(lambda a, b: concatenate([a, b], 0), *parts)


def _rows(x: Any, start: int, stop: int) -> Any:
    shape = typeof(x).shape
    return slice_of(x, (start,) + (0,) * (len(shape) - 1), (stop, *shape[1:]))


def _mapped(f: Callable[..., Any], xs: Any, size: int) -> Any:
    """`f` over the leading dimension of all leaves at once."""
    leaves, treedef = tree.flatten(xs)
    structure: list[Any] = []

    def flat(*rows: Any) -> list[Any]:
        outs, out_tree = enter_leaves("map", f(tree.unflatten(treedef, rows)))
        structure.append(out_tree)
        return outs

    axis = Axis(size)
    outs, dims = batch_flat(flat, axis, leaves, [0] * len(leaves))
    return tree.unflatten(structure[0], [batched(axis, o, d) for o, d in zip(outs, dims)])


@user_facing
def associative_scan(
    fn: Callable[..., Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """All prefixes of `elems` combined by an associative `fn(a, b)`, which works on whole blocks of
    elements.

    Element `i` of the result is `fn(...fn(fn(e0, e1), e2)..., ei)`, computed in a tree of
    logarithmic depth (Blelloch, 1990).

    Example:
        >>> import funcgrad.numpy as jnp
        >>> associative_scan(jnp.add, jnp.arange(5))
        Array([ 0,  1,  3,  6, 10], dtype=int32)
    """
    leaves, treedef = enter_leaves("associative_scan", elems)
    if not leaves:
        return elems
    axes = [axis % typeof(x).ndim if typeof(x).ndim else 0 for x in leaves]
    sizes = {typeof(x).shape[d] for x, d in zip(leaves, axes)}
    if len(sizes) != 1:
        raise ValueError(
            f"associative_scan: all elements must have one size along axis {axis}, but got "
            f"{sorted(sizes)}."
        )
    if reverse:
        leaves = [rev(x, (d,)) for x, d in zip(leaves, axes)]

    def combine(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
        out = fn(tree.unflatten(treedef, left), tree.unflatten(treedef, right))
        return enter_leaves("associative_scan", out)[0]

    prefixes = _prefixes(combine, leaves, axes, next(iter(sizes)))
    if reverse:
        prefixes = [rev(x, (d,)) for x, d in zip(prefixes, axes)]
    return tree.unflatten(treedef, prefixes)


def _prefixes(
    combine: Callable[..., Any], elems: Sequence[Any], axes: Sequence[int], size: int
) -> list[Any]:
    """Pairs are combined, their prefixes found in turn; those are every second result, the rest
    one step from them.
    """
    if size < 2:
        return list(elems)
    pairs = combine(_strided(elems, axes, 0, size - 1, 2), _strided(elems, axes, 1, size, 2))
    odd = _prefixes(combine, pairs, axes, size // 2)
    kept = odd if size % 2 else _strided(odd, axes, 0, size // 2 - 1, 1)
    rest = _strided(elems, axes, 2, size, 2)
    even = combine(kept, rest) if size > 2 else rest
    first = _strided(elems, axes, 0, 1, 1)
    evens = [concatenate([a, b], d) for a, b, d in zip(first, even, axes)] if size > 2 else first
    return [_interleaved(e, o, d, size) for e, o, d in zip(evens, odd, axes)]


def _strided(xs: Sequence[Any], axes: Sequence[int], start: int, stop: int, step: int) -> list[Any]:
    cuts = []
    for x, d in zip(xs, axes):
        shape = typeof(x).shape
        begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
        begin[d], end[d], stride[d] = (
            builtins.min(start, shape[d]),
            builtins.min(stop, shape[d]),
            step,
        )
        cuts.append(slice_of(x, begin, end, stride))
    return cuts


def _interleaved(even: Any, odd: Any, d: int, size: int) -> Any:
    """e0 o0 e1 o1 ..., `size` of them, along dimension `d`."""
    shape = typeof(odd).shape
    count = shape[d]
    paired = _strided([even], [d], 0, count, 1)[0]
    columns = [reshape(x, (*shape[: d + 1], 1, *shape[d + 1 :])) for x in (paired, odd)]
    woven = reshape(concatenate(columns, d + 1), (*shape[:d], 2 * count, *shape[d + 1 :]))
    if size % 2 == 0:
        return woven
    return concatenate([woven, _strided([even], [d], count, count + 1, 1)[0]], d)
