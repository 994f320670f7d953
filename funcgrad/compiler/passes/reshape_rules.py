"""Rules of `simplify` for what moves elements: all are exact, since nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from funcgrad.compiler.rewrite import Rewriter
from funcgrad.compiler.rules import fill_value, rule
from funcgrad.core.jaxpr import Atom, Eqn, Literal
from funcgrad.primitives.basis import broadcast_in_dim_p, reduce_sum_p, reshape_p, transpose_p
from funcgrad.primitives.reduce import (
    reduce_and_p,
    reduce_max_p,
    reduce_min_p,
    reduce_or_p,
    reduce_prod_p,
    reduce_xor_p,
)
from funcgrad.primitives.shape import concatenate_p, copy_p, pad_p, rev_p, slice_p, squeeze_p


def _shape(e: Eqn) -> tuple[Any, ...]:
    return e.outs[0].aval.shape


def _without_ones(shape: Sequence[Any]) -> list[Any]:
    return [size for size in shape if not size == 1]


def _reshaped(program: Rewriter, x: Atom, shape: tuple[Any, ...]) -> Atom:
    return x if x.aval.shape == shape else program.emit(reshape_p, x, new_sizes=shape)


# ---- reshape, squeeze, transpose
# -----------------------------------------------------------------------


@rule(reshape_p, squeeze_p)
def reshape_once(program: Rewriter, e: Eqn) -> Atom | None:
    """reshape(reshape x) -> reshape x; squeeze is a reshape; a reshape to its own shape is
    nothing
    """
    x = e.args[0]
    inner = program.definition(x, reshape_p)
    if inner is not None:
        return _reshaped(program, inner.args[0], _shape(e))
    if e.primitive is reshape_p and x.aval.shape != _shape(e):
        return None
    return _reshaped(program, x, _shape(e))


@rule(reshape_p, squeeze_p, transpose_p, slice_p, rev_p)
def moves_equal_elements(program: Rewriter, e: Eqn) -> Atom | None:
    """reshape, transpose, slice, rev of a filled array -> an array filled with the same"""
    if fill_value(program, e.args[0]) is None or not e.args[0].aval.shape:
        return None
    filled = program.definition(e.args[0], broadcast_in_dim_p)
    assert filled is not None, "its fill value is known"
    if not _shape(e):
        return filled.args[0]
    return program.emit(
        broadcast_in_dim_p, filled.args[0], shape=_shape(e), broadcast_dimensions=()
    )


@rule(transpose_p)
def transpose_once(program: Rewriter, e: Eqn) -> Atom | None:
    """transpose(transpose x) -> transpose x, or x"""
    (x,), permutation = e.args, e.params["permutation"]
    if program.definition(x, transpose_p) is None and not _is_identity(permutation):
        return None
    return turned(program, x, permutation)


def turned(program: Rewriter, x: Atom, permutation: Sequence[int]) -> Atom:
    """The dimensions in another order, by one transpose or none."""
    inner = program.definition(x, transpose_p)
    if inner is not None:
        first = inner.params["permutation"]
        x, permutation = inner.args[0], [first[d] for d in permutation]
    if _is_identity(permutation):
        return x
    return program.emit(transpose_p, x, permutation=tuple(permutation))


def _is_identity(permutation: Sequence[int]) -> bool:
    return tuple(permutation) == tuple(range(len(permutation)))


@rule(transpose_p)
def transpose_moves_ones(program: Rewriter, e: Eqn) -> Atom | None:
    """a transpose that moves only dimensions of extent 1 -> reshape"""
    x = e.args[0]
    moved = [d for d in e.params["permutation"] if not x.aval.shape[d] == 1]
    return _reshaped(program, x, _shape(e)) if moved == sorted(moved) else None


# ---- broadcast
# -----------------------------------------------------------------------------------------


@rule(broadcast_in_dim_p)
def broadcast_once(program: Rewriter, e: Eqn) -> Atom | None:
    """broadcast(broadcast x) -> broadcast x"""
    inner = program.definition(e.args[0], broadcast_in_dim_p)
    if inner is None:
        return None
    outer = e.params["broadcast_dimensions"]
    dims = tuple(outer[d] for d in inner.params["broadcast_dimensions"])
    return program.emit(
        broadcast_in_dim_p, inner.args[0], shape=_shape(e), broadcast_dimensions=dims
    )


@rule(broadcast_in_dim_p)
def broadcast_of_reshape(program: Rewriter, e: Eqn) -> Atom | None:
    """broadcast(reshape x) -> broadcast x, where the reshape only put in dimensions of extent 1"""
    inner = program.definition(e.args[0], reshape_p)
    if inner is None:
        return None
    source, middle = inner.args[0].aval.shape, inner.outs[0].aval.shape
    kept = [d for d, size in enumerate(middle) if not size == 1]
    if [middle[d] for d in kept] != list(source):
        return None
    dims = tuple(e.params["broadcast_dimensions"][d] for d in kept)
    return program.emit(
        broadcast_in_dim_p, inner.args[0], shape=_shape(e), broadcast_dimensions=dims
    )


@rule(broadcast_in_dim_p)
def broadcast_repeats_nothing(program: Rewriter, e: Eqn) -> Atom | None:
    """a broadcast that only puts in dimensions of extent 1 -> reshape"""
    x, dims = e.args[0], e.params["broadcast_dimensions"]
    if (
        type(x) is Literal
        or list(dims) != sorted(dims)
        or _without_ones(x.aval.shape) != _without_ones(_shape(e))
    ):
        return None
    return _reshaped(program, x, _shape(e))


# ---- reductions over dimensions of extent 1
# ------------------------------------------------------------


@rule(
    reduce_sum_p, reduce_max_p, reduce_min_p, reduce_prod_p, reduce_and_p, reduce_or_p, reduce_xor_p
)
def reduce_over_ones(program: Rewriter, e: Eqn) -> Atom | None:
    """a reduction over extents of 1 -> reshape; such axes leave a longer reduction. A sum of one
    -0.0 keeps its sign
    """
    (x,), axes = e.args, e.params["axes"]
    ones = [d for d in axes if x.aval.shape[d] == 1]
    if not ones:
        return None
    smaller = _reshaped(program, x, tuple(s for d, s in enumerate(x.aval.shape) if d not in ones))
    if len(ones) == len(axes):
        return smaller
    rest = tuple(d - sum(one < d for one in ones) for d in axes if d not in ones)
    return program.emit(e.primitive, smaller, **{**e.params, "axes": rest})


# ---- slices, joins, copies
# -----------------------------------------------------------------------------


@rule(slice_p)
def slice_everything(program: Rewriter, e: Eqn) -> Atom | None:
    """a slice of everything -> x"""
    return e.args[0] if e.args[0].aval.shape == _shape(e) else None


@rule(slice_p)
def slice_of_one_part(program: Rewriter, e: Eqn) -> Atom | None:
    """slice(concatenate xs) -> slice of the x that it lies in"""
    joined = program.definition(e.args[0], concatenate_p)
    if joined is None:
        return None
    d = joined.params["dimension"]
    start, limit = e.params["start_indices"], e.params["limit_indices"]
    begin = 0
    for part, end in zip(joined.args, accumulate(x.aval.shape[d] for x in joined.args)):
        if begin <= start[d] and limit[d] <= end:
            return _sliced(program, part, e, _moved(start, d, begin), _moved(limit, d, begin))
        begin = end
    return None


def _moved(indices: tuple[int, ...], d: int, begin: int) -> tuple[int, ...]:
    return (*indices[:d], indices[d] - begin, *indices[d + 1 :])


def _sliced(
    program: Rewriter, x: Atom, e: Eqn, start: tuple[int, ...], limit: tuple[int, ...]
) -> Atom:
    if limit == x.aval.shape and not any(start) and e.params["strides"] is None:
        return x
    return program.emit(
        slice_p, x, start_indices=start, limit_indices=limit, strides=e.params["strides"]
    )


@rule(concatenate_p)
def join_one(program: Rewriter, e: Eqn) -> Atom | None:
    """concatenate(x) -> x"""
    return e.args[0] if len(e.args) == 1 else None


@rule(pad_p)
def pad_nothing(program: Rewriter, e: Eqn) -> Atom | None:
    """pad by nothing -> x"""
    return e.args[0] if not any(map(any, e.params["padding_config"])) else None


@rule(rev_p)
def reverse_twice(program: Rewriter, e: Eqn) -> Atom | None:
    """rev(rev x) -> x, along the same dimensions"""
    inner = program.definition(e.args[0], rev_p)
    same = inner is not None and inner.params["dimensions"] == e.params["dimensions"]
    return inner.args[0] if same else None  # type: ignore[union-attr]


@rule(copy_p)
def copy_nothing(program: Rewriter, e: Eqn) -> Atom:
    """copy x -> x: values never change, and results are copied where they leave"""
    return e.args[0]
