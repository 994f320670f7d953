"""Collectives: what lanes of a named axis (`vmap(..., axis_name="i")`) tell each other.

Each is a primitive that names its axes. Mapping the axis turns it into an ordinary operation on
whole arrays; an axis that nobody maps is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.core import dtypes
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.loops import Opaque
from funcgrad.core.primitive import Primitive
from funcgrad.core.trace import Axis, axis_size as _axis_size
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import (
    batched,
    convert_element_type,
    div,
    full,
    moveaxis,
    mul,
    reduce_sum,
    reshape,
    transpose,
)
from funcgrad.primitives.logic import eq
from funcgrad.primitives.reduce import reduce_max, reduce_min
from funcgrad.primitives.shape import concatenate, iota
from funcgrad.primitives.slicing import slice as slice_of


def _names(axis_name: Any) -> tuple[Any, ...]:
    return tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)


def _outside(name: str) -> Callable[..., Any]:
    def value(xp: Any, *args: Any, **params: Any) -> Any:
        raise NameError(
            f"{name}: unbound axis name in {params}. Bind it with vmap(..., axis_name=...)."
        )

    return value


def _collective(name: str, **rules: Any) -> Primitive:
    return Primitive(
        name, value=_outside(name), loops=lambda *avals, **params: Opaque("collective"), **rules
    )


# ---- reductions over lanes
# -----------------------------------------------------------------------------


def _reduce_batch(
    primitive: Primitive, reduce: Callable[..., Any], alone: Callable[..., Any]
) -> Callable[..., Any]:
    """Reduces over the axis if it is named; `alone` is the result for a value that is the same
    in all lanes.
    """

    def rule(axis: Axis, args: Any, dims: Any, *, axes: Any) -> Any:
        (x,), (dim,) = args, dims
        if axis.name not in axes:
            return primitive.bind(x, axes=axes), dim
        out = alone(x, axis.size) if dim is None else reduce(x, (dim,))
        rest = tuple(a for a in axes if a != axis.name)
        return (primitive.bind(out, axes=rest) if rest else out), None

    return rule


def _times(x: Any, size: Any) -> Any:
    return mul(x, full((), size, typeof(x).dtype))


psum_p: Primitive = _collective(
    "psum",
    abstract=lambda x, *, axes: x,
    linear=(0,),
    transpose=lambda ct, x, *, axes: [psum_p.bind(ct, axes=axes)],
    names=lambda params: frozenset(params["axes"]),
)
psum_p.batch = _reduce_batch(psum_p, reduce_sum, _times)


def _extreme_jvp(primitive: Primitive) -> Callable[..., Any]:
    """Lanes that hold the extreme value share the tangent, as ties of reduce_max do."""

    def rule(primals: Any, tangents: Any, *, axes: Any) -> Any:
        (x,), (t,) = primals, tangents
        out = primitive.bind(x, axes=axes)
        holds = convert_element_type(eq(x, out), typeof(t).dtype)
        share = div(holds, psum_p.bind(holds, axes=axes))
        return out, psum_p.bind(mul(t, share), axes=axes)

    return rule


def _extreme(name: str, reduce: Callable[..., Any]) -> Primitive:
    primitive = _collective(
        name, abstract=lambda x, *, axes: x, names=lambda params: frozenset(params["axes"])
    )
    primitive.jvp = _extreme_jvp(primitive)
    primitive.batch = _reduce_batch(primitive, reduce, lambda x, size: x)
    return primitive


pmax_p = _extreme("pmax", reduce_max)
pmin_p = _extreme("pmin", reduce_min)


def _bound(axis_name: Any, groups: Any, what: str) -> tuple[Any, ...]:
    """The names, all of them bound; groups of lanes are not supported on one device."""
    if groups is not None:
        raise ValueError(f"{what}: axis_index_groups is not supported; use several named axes.")
    names = _names(axis_name)
    for name in names:
        _axis_size(name)
    return names


def _over_leaves(what: str, x: Any, function: Callable[..., Any]) -> Any:
    return tree.map(lambda leaf: function(as_input(what, leaf)), x)


def _number(x: Any) -> Any:
    """Bools are summed as integers."""
    return convert_element_type(x, dtypes.default_int()) if typeof(x).dtype == dtypes.bool_ else x


@user_facing
def psum(x: Any, axis_name: Any, *, axis_index_groups: Any = None) -> Any:
    """The sum over the lanes of the named axis (or axes) of each leaf of `x`; NameError for an
    unbound name.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.vmap(lambda x: x / psum(x, "i"), axis_name="i")(jnp.array([1.0, 3.0]))
        Array([0.25, 0.75], dtype=float32)
    """
    names = _bound(axis_name, axis_index_groups, "psum")
    if type(x) in (int, float):  # a constant: no equation is needed
        return x * int(np.prod([_axis_size(name) for name in names]))
    return _over_leaves("psum", x, lambda leaf: psum_p.bind(_number(leaf), axes=names))


@user_facing
def pmean(x: Any, axis_name: Any, *, axis_index_groups: Any = None) -> Any:
    """The mean over the lanes of the named axis (or axes) of each leaf of `x`."""
    names = _bound(axis_name, axis_index_groups, "pmean")
    count = int(np.prod([_axis_size(name) for name in names]))

    def mean(leaf: Any) -> Any:
        aval = typeof(leaf)
        value = leaf if aval.has_tangent else convert_element_type(leaf, dtypes.default_float())
        total = psum_p.bind(value, axes=names)
        return div(total, full((), count, typeof(total).dtype))

    return _over_leaves("pmean", x, mean)


@user_facing
def pmax(x: Any, axis_name: Any, *, axis_index_groups: Any = None) -> Any:
    """The largest value over the lanes of the named axis (or axes)."""
    names = _bound(axis_name, axis_index_groups, "pmax")
    return _over_leaves("pmax", x, lambda leaf: pmax_p.bind(leaf, axes=names))


@user_facing
def pmin(x: Any, axis_name: Any, *, axis_index_groups: Any = None) -> Any:
    """The smallest value over the lanes of the named axis (or axes)."""
    names = _bound(axis_name, axis_index_groups, "pmin")
    return _over_leaves("pmin", x, lambda leaf: pmin_p.bind(leaf, axes=names))


# ---- where a lane is
# -----------------------------------------------------------------------------------


axis_index_p = _collective(
    "axis_index",
    abstract=lambda *, axis_name: ShapedArray((), dtypes.int32),
    constant=True,
    batch=lambda axis, args, dims, *, axis_name: (iota(dtypes.int32, axis.size), 0),
    names=lambda params: frozenset({params["axis_name"]}),
)


@user_facing
def axis_index(axis_name: Any) -> Any:
    """The number of the lane along the named axis; over several names, in row-major order."""
    index: Any = None
    for name in _names(axis_name):
        size, own = _axis_size(name), axis_index_p.bind(axis_name=name)
        index = own if index is None else index * size + own
    return index


@user_facing
def axis_size(axis_name: Any) -> int:
    """The number of lanes of the named axis (or axes)."""
    return int(np.prod([_axis_size(name) for name in _names(axis_name)]))


# ---- moving values between lanes
# -----------------------------------------------------------------------


def _one_name(params: dict[str, Any]) -> frozenset[Any]:
    return frozenset({params["axis_name"]})


def _moves(
    primitive: Primitive, on_axis: Callable[..., Any], position: Callable[..., dict[str, Any]]
) -> Callable[..., Any]:
    """`on_axis(axis, x with lanes first, **params)` if the axis is the named one; else
    parameters are shifted by one.
    """

    def rule(axis: Axis, args: Any, dims: Any, **params: Any) -> Any:
        (x,), (dim,) = args, dims
        if axis.name == params["axis_name"]:
            return on_axis(axis, batched(axis, x, dim), **params)
        return primitive.bind(moveaxis(x, dim, 0), **{**params, **position(params)}), 0

    return rule


def _all_gather_abstract(
    x: ShapedArray, *, axis_name: Any, axis_size: Any, dimension: int, tiled: bool
) -> ShapedArray:
    shape = list(x.shape)
    if tiled:
        shape[dimension] = shape[dimension] * axis_size
    else:
        shape.insert(dimension, axis_size)
    return x.update(shape=tuple(shape))


def _all_gather_on_axis(axis: Axis, x: Any, *, dimension: int, tiled: bool, **params: Any) -> Any:
    gathered = moveaxis(x, 0, dimension)
    return (_merged(gathered, dimension) if tiled else gathered), None


def _merged(x: Any, dimension: int) -> Any:
    """Dimensions `dimension` and the next as one."""
    shape = typeof(x).shape
    return reshape(
        x, (*shape[:dimension], shape[dimension] * shape[dimension + 1], *shape[dimension + 2 :])
    )


all_gather_p = _collective(
    "all_gather",
    abstract=_all_gather_abstract,
    linear=(0,),
    transpose=lambda ct, x, **params: [psum_scatter_p.bind(ct, **params)],
    names=_one_name,
)
all_gather_p.batch = _moves(
    all_gather_p, _all_gather_on_axis, lambda p: {"dimension": p["dimension"] + 1}
)


@user_facing
def all_gather(
    x: Any, axis_name: Any, *, axis_index_groups: Any = None, axis: int = 0, tiled: bool = False
) -> Any:
    """The values of all lanes, stacked along a new dimension `axis`, or with `tiled` joined
    along an existing one.
    """
    (name,) = _bound(axis_name, axis_index_groups, "all_gather")
    size = _axis_size(name)

    def gather(leaf: Any) -> Any:
        rank = typeof(leaf).ndim + (not tiled)
        return all_gather_p.bind(
            leaf, axis_name=name, axis_size=size, dimension=axis % max(rank, 1), tiled=tiled
        )

    return _over_leaves("all_gather", x, gather)


def _psum_scatter_abstract(
    x: ShapedArray, *, axis_name: Any, axis_size: Any, dimension: int, tiled: bool
) -> ShapedArray:
    shape = list(x.shape)
    if shape[dimension] % axis_size or (not tiled and shape[dimension] != axis_size):
        raise ValueError(
            f"psum_scatter: dimension {dimension} of {x} must be divided among {axis_size} lanes"
            f"{'' if tiled else ', one row each; or use tiled=True'}."
        )
    if tiled:
        shape[dimension] = shape[dimension] // axis_size
    else:
        del shape[dimension]
    return x.update(shape=tuple(shape))


def _psum_scatter_on_axis(axis: Axis, x: Any, *, dimension: int, tiled: bool, **params: Any) -> Any:
    total = reduce_sum(x, (0,))
    if not tiled:
        return total, dimension
    shape = typeof(total).shape
    rows = (*shape[:dimension], axis.size, shape[dimension] // axis.size, *shape[dimension + 1 :])
    return reshape(total, rows), dimension


psum_scatter_p: Primitive = _collective(
    "reduce_scatter",
    abstract=_psum_scatter_abstract,
    linear=(0,),
    transpose=lambda ct, x, **params: [all_gather_p.bind(ct, **params)],
    names=_one_name,
)
psum_scatter_p.batch = _moves(
    psum_scatter_p, _psum_scatter_on_axis, lambda p: {"dimension": p["dimension"] + 1}
)


@user_facing
def psum_scatter(
    x: Any,
    axis_name: Any,
    *,
    scatter_dimension: int = 0,
    axis_index_groups: Any = None,
    tiled: bool = False,
) -> Any:
    """The sum over lanes, of which lane `j` keeps row `j` (with `tiled` the `j`-th block) of
    `scatter_dimension`.
    """
    (name,) = _bound(axis_name, axis_index_groups, "psum_scatter")
    size = _axis_size(name)

    def scatter(leaf: Any) -> Any:
        dimension = scatter_dimension % max(typeof(leaf).ndim, 1)
        settings = {"axis_name": name, "axis_size": size, "dimension": dimension, "tiled": tiled}
        _psum_scatter_abstract(typeof(leaf), **settings)  # refuses before lanes are seen
        return psum_scatter_p.bind(leaf, **settings)

    return _over_leaves("psum_scatter", x, scatter)


def _ppermute_on_axis(axis: Axis, x: Any, *, perm: Any, **params: Any) -> Any:
    sources = {destination: source for source, destination in perm}
    rows = [_lane(x, sources[lane]) if lane in sources else None for lane in range(axis.size)]
    nothing = full(typeof(_lane(x, 0)).shape, 0, typeof(x).dtype)
    return concatenate([nothing if row is None else row for row in rows], 0), 0


def _lane(x: Any, lane: int) -> Any:
    shape = typeof(x).shape
    rest = len(shape) - 1
    return slice_of(x, (lane,) + (0,) * rest, (lane + 1, *shape[1:]))


ppermute_p: Primitive = _collective(
    "ppermute",
    abstract=lambda x, *, axis_name, perm: x,
    linear=(0,),
    transpose=lambda ct, x, *, axis_name, perm: [
        ppermute_p.bind(ct, axis_name=axis_name, perm=tuple((d, s) for s, d in perm))
    ],
    names=_one_name,
)
ppermute_p.batch = _moves(ppermute_p, _ppermute_on_axis, lambda params: {})


@user_facing
def ppermute(x: Any, axis_name: Any, perm: Sequence[tuple[int, int]]) -> Any:
    """Sends lanes' values along `(source, destination)` pairs; lanes that nobody sends to get
    zeros.
    """
    (name,) = _bound(axis_name, None, "ppermute")
    pairs = tuple((int(s), int(d)) for s, d in perm)
    size = _axis_size(name)
    for column, what in ((0, "sources"), (1, "destinations")):
        lanes = [pair[column] for pair in pairs]
        if len(set(lanes)) != len(lanes) or any(not 0 <= lane < size for lane in lanes):
            raise ValueError(
                f"ppermute: {what} must be different lanes of 0 to {size - 1}, but got {lanes}."
            )
    return _over_leaves(
        "ppermute", x, lambda leaf: ppermute_p.bind(leaf, axis_name=name, perm=pairs)
    )


def pshuffle(x: Any, axis_name: Any, perm: Sequence[int]) -> Any:
    """Lane `i` gets the value of lane `perm[i]`; `perm` is a permutation."""
    if sorted(perm) != list(range(_axis_size(axis_name))):
        raise ValueError(
            f"pshuffle: {perm} is not a permutation of the {_axis_size(axis_name)} lanes."
        )
    return ppermute(x, axis_name, list(zip(perm, range(len(perm)))))


def _all_to_all_abstract(
    x: ShapedArray, *, axis_name: Any, axis_size: Any, split_axis: int, concat_axis: int
) -> ShapedArray:
    if x.shape[split_axis] != axis_size:
        raise ValueError(
            f"all_to_all: dimension {split_axis} of {x} must have the axis's size, {axis_size}."
        )
    shape = list(x.shape)
    del shape[split_axis]
    shape.insert(concat_axis, axis_size)
    return x.update(shape=tuple(shape))


def _all_to_all_on_axis(
    axis: Axis, x: Any, *, split_axis: int, concat_axis: int, **params: Any
) -> Any:
    """Lanes and the split dimension change places; then the old lanes go where they are wanted."""
    rank = typeof(x).ndim
    rest = [d for d in range(1, rank) if d != split_axis + 1]
    rest.insert(concat_axis, 0)
    return transpose(x, (split_axis + 1, *rest)), 0


def _all_to_all_transpose(
    ct: Any, x: Any, *, split_axis: int, concat_axis: int, **params: Any
) -> list[Any]:
    return [all_to_all_p.bind(ct, split_axis=concat_axis, concat_axis=split_axis, **params)]


all_to_all_p = _collective(
    "all_to_all",
    abstract=_all_to_all_abstract,
    linear=(0,),
    transpose=_all_to_all_transpose,
    names=_one_name,
)
all_to_all_p.batch = _moves(
    all_to_all_p,
    _all_to_all_on_axis,
    lambda p: {"split_axis": p["split_axis"] + 1, "concat_axis": p["concat_axis"] + 1},
)


@user_facing
def all_to_all(
    x: Any,
    axis_name: Any,
    split_axis: int,
    concat_axis: int,
    *,
    axis_index_groups: Any = None,
    tiled: bool = False,
) -> Any:
    """Lane `j` gets row `j` of `split_axis` from every lane, stacked along `concat_axis`.

    `split_axis` has the axis's size; with `tiled` it is a multiple, and blocks are joined instead
    of stacked.
    """
    (name,) = _bound(axis_name, axis_index_groups, "all_to_all")
    size = _axis_size(name)

    def exchange(leaf: Any) -> Any:
        rank = typeof(leaf).ndim
        split, concat = split_axis % rank, concat_axis % rank
        settings = {"axis_name": name, "axis_size": size}
        if not tiled:
            settings |= {"split_axis": split, "concat_axis": concat}
            _all_to_all_abstract(typeof(leaf), **settings)  # refuses before lanes are seen
            return all_to_all_p.bind(leaf, **settings)
        shape = typeof(leaf).shape
        if shape[split] % size:
            raise ValueError(
                f"all_to_all: dimension {split} of {typeof(leaf)} must be divided among {size} "
                "lanes."
            )
        blocks = reshape(leaf, (*shape[:split], size, shape[split] // size, *shape[split + 1 :]))
        # the split dimension disappears, and a new one stands in front of the one to be joined
        stacked = all_to_all_p.bind(blocks, split_axis=split, concat_axis=concat, **settings)
        return _merged(stacked, concat)

    return _over_leaves("all_to_all", x, exchange)
