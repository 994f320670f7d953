"""`vmap`: a function of one example becomes a function of many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.api.flat import Flat, call_leaves, call_name, check_callable, name_of
from funcgrad.core.avals import typeof
from funcgrad.core.trace import Axis, binding_axis
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import batched, moveaxis
from funcgrad.transforms.batching import batch_flat


@user_facing
def vmap(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
) -> Callable[..., Any]:
    """Maps `fun` over an axis of its arguments, without a loop.

    Args:
        fun: a function of single examples.
        in_axes: which axis of each argument is mapped: an integer, None (not mapped), or a tree of
        these that is a
            prefix of the arguments. Keyword arguments are mapped over their first axis.
        out_axes: where the mapped axis appears in the results, likewise; None for a result that is
        the same for all. axis_name: a name under which collectives (`lax.psum`, `lax.pmean`, ...)
        know the axis. axis_size: its size, needed only if no argument is mapped. spmd_axis_name:
        accepted for compatibility; one device has nothing to partition.

    Raises:
        ValueError: sizes of mapped axes differ, an axis is out of range, `in_axes` does not fit the
        arguments.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> matrix, rows = jnp.eye(2), jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        >>> fg.vmap(jnp.dot, in_axes=(None, 0))(matrix, rows).shape
        (3, 2)
    """
    check_callable(fun, "vmap")
    in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    if not isinstance(in_axes, (int, tuple, type(None), dict)):
        raise TypeError(
            f"vmap: in_axes must be an integer, None or a tree of these, but got {in_axes!r}."
        )
    if in_axes is None and axis_size is None:
        raise ValueError(
            "vmap: with in_axes=None nothing is mapped. Map an argument, or give axis_size."
        )

    @user_facing
    @functools.wraps(fun)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        if isinstance(in_axes, tuple) and len(in_axes) != len(args):
            raise ValueError(
                f"vmap: in_axes {in_axes} has {len(in_axes)} entries, "
                f"but {name_of(fun)} was called with {len(args)} positional arguments."
            )
        leaves, in_tree = call_leaves("vmap", args, kwargs)
        dims = _argument_axes(in_axes, args, kwargs)
        dims = [_checked_axis(d, x, k, args, kwargs) for k, (d, x) in enumerate(zip(dims, leaves))]
        axis = Axis(_mapped_size(leaves, dims, axis_size, args, kwargs), axis_name)
        flat = Flat(fun, in_tree, "vmap")
        outs, out_dims = _run(flat, axis, leaves, dims)
        targets = tree.prefix_leaves(_as_tuple(out_axes), flat.out_tree, "vmap: out_axes")
        placed = [_placed(axis, o, d, to, fun) for o, d, to in zip(outs, out_dims, targets)]
        return tree.unflatten(flat.out_tree, placed)

    return mapped


def _as_tuple(axes: Any) -> Any:
    return tuple(axes) if isinstance(axes, list) else axes


def _run(flat: Flat, axis: Axis, leaves: Sequence[Any], dims: Sequence[int | None]) -> Any:
    if axis.name is None:
        return batch_flat(flat, axis, leaves, dims)
    with binding_axis(axis):
        return batch_flat(flat, axis, leaves, dims)


def _argument_axes(in_axes: Any, args: Any, kwargs: Any) -> list[int | None]:
    positional = tree.prefix_leaves(in_axes, tree.structure(args), "vmap: in_axes")
    return positional + [0] * tree.structure(kwargs).num_leaves


def _leaf_name(k: int, args: Any, kwargs: Any) -> str:
    path, _ = tree.leaves_with_path((args, kwargs))[k]
    return call_name(path)


def _checked_axis(dim: Any, x: Any, k: int, args: Any, kwargs: Any) -> int | None:
    if dim is None:
        return None
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise TypeError(
            f"vmap: in_axes must hold integers and None, but holds {dim!r} for "
            f"{_leaf_name(k, args, kwargs)}."
        )
    aval = typeof(x)
    if not -aval.ndim <= dim < aval.ndim:
        hint = " Use in_axes=None for arguments that are not mapped." if aval.ndim == 0 else ""
        raise ValueError(
            f"vmap: in_axes maps axis {dim} of {_leaf_name(k, args, kwargs)}, whose type is "
            f"{aval.strong()}.{hint}"
        )
    return dim % aval.ndim


def _mapped_size(leaves: Any, dims: Any, given: int | None, args: Any, kwargs: Any) -> int:
    sizes = {k: typeof(x).shape[d] for k, (x, d) in enumerate(zip(leaves, dims)) if d is not None}
    distinct = dict.fromkeys([*sizes.values(), *([given] if given is not None else [])])
    if not distinct:
        raise ValueError(
            "vmap: no argument is mapped. Map at least one with in_axes, or give axis_size."
        )
    if len(distinct) > 1:
        lines = [
            f"  {_leaf_name(k, args, kwargs)}: axis {dims[k]} of {typeof(leaves[k]).strong()} has "
            f"size {size}"
            for k, size in sizes.items()
        ]
        also = f"\n  axis_size: {given}" if given is not None else ""
        raise ValueError(
            "vmap: mapped axes must have one size, but got:\n" + "\n".join(lines) + also
        )
    return next(iter(distinct))


def _placed(axis: Axis, out: Any, dim: int | None, to: Any, fun: Any) -> Any:
    """A result with its mapped axis where `out_axes` wants it."""
    if to is None:
        if dim is not None:
            raise ValueError(
                f"vmap: out_axes is None for a result of {name_of(fun)} that depends on the mapped "
                "axis. Use an integer."
            )
        return out
    rank = typeof(out).ndim + (dim is None)
    if not isinstance(to, int) or not -rank <= to < rank:
        raise ValueError(
            f"vmap: out_axes {to!r} does not fit a result of rank {rank} (mapped axis included)."
        )
    return batched(axis, out, None, to % rank) if dim is None else moveaxis(out, dim, to % rank)
