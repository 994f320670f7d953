"""What each form of equation does to sets of inputs, one sparse boolean row per element.

What only moves elements is run on the numbers of the elements instead of their values: wherever a
number comes out, its set comes along. Sums unite sets. What has no rule here may mix everything.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from funcgrad.core import loops
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import Eqn
from funcgrad.core.trace import EVAL, running
from funcgrad.primitives.basis import mul_p, select_n_p
from funcgrad.primitives.dynamic_slice import dynamic_slice_p, dynamic_update_slice_p
from funcgrad.primitives.gather import gather_p, gather_updates
from funcgrad.primitives.linalg.solving import linear_solve_p, triangular_solve_p
from funcgrad.primitives.window import select_and_gather_add_p, select_and_scatter_add_p
from funcgrad.util import optional

MANY = 1 << 24  # entries of a matrix of links; beyond, zeros of constants are not looked at


class Value:
    """What is known of a variable: the sets of its elements, if it depends on the inputs; else
    perhaps its value.
    """

    __slots__ = ("aval", "deps", "known")

    def __init__(self, aval: ShapedArray, deps: Any = None, known: Any = None) -> None:
        self.aval, self.deps, self.known = aval, deps, known

    def host(self) -> np.ndarray:
        """The known value."""
        return np.asarray(self.known)


class Rows:
    """Boolean sparse matrices with one column per input, and what is done with them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sparse = optional("scipy.sparse")

    def none(self, size: int) -> Any:
        """Empty sets."""
        return self.sparse.csr_array((size, self.count), dtype=bool)

    def block(self, start: int, size: int) -> Any:
        """Element k depends on input start + k."""
        columns, ends = np.arange(start, start + size), np.arange(size + 1)
        return self.sparse.csr_array((np.ones(size, bool), columns, ends), (size, self.count))

    def stacked(self, blocks: Sequence[Any]) -> Any:
        """One matrix below the other."""
        blocks = [b for b in blocks if b.shape[0]]
        return self.sparse.vstack(blocks, format="csr") if blocks else self.none(0)

    def union(self, found: Sequence[Any]) -> Any:
        """The union, element by element, of matrices (or None, which is empty)."""
        present = [d for d in found if d is not None]
        return sum(present[1:], present[0]) if present else None

    def link(self, deps: Any, size: int, to: np.ndarray, source: np.ndarray) -> Any:
        """Of `size` results, result to[k] takes the set of element source[k]; several unite."""
        shape = (size, deps.shape[0])
        links = self.sparse.csr_array((np.ones(len(to), bool), (to, source)), shape, dtype=bool)
        return links @ deps

    def take(self, deps: Any, source: np.ndarray) -> Any:
        """Result k takes the set of element source[k]; none if that is negative."""
        source = source.ravel()
        to = np.flatnonzero(source >= 0)
        return self.link(deps, source.size, to, source[to])

    def masked(self, deps: Any, mask: np.ndarray) -> Any:
        """The sets where the mask holds, else empty ones."""
        return self.take(deps, np.where(mask.ravel(), np.arange(mask.size), -1))

    def grouped(self, deps: Any, groups: np.ndarray, count: int) -> Any:
        """The union of each group; groups[k] is that of element k."""
        return self.link(deps, count, groups.ravel(), np.arange(groups.size))

    def whole(self, values: Sequence[Value]) -> Any:
        """The union of all sets, as one row."""
        found = [v.deps for v in values if v.deps is not None]
        return self.union([self.grouped(d, np.zeros(d.shape[0], int), 1) for d in found])

    def repeated(self, row: Any, size: int) -> Any:
        """The same set for each element."""
        return None if row is None else self.take(row, np.zeros(size, int))

    def over_leading(self, x: Value) -> Any:
        """The union along the first dimension."""
        if x.deps is None:
            return None
        size = math.prod(x.aval.shape[1:])
        return self.grouped(x.deps, np.arange(x.aval.size) % max(1, size), size)

    def same(self, value: Value, other: Value) -> bool:
        """Are the sets equal, given that one contains the other?"""
        return _entries(value) == _entries(other)


def _entries(value: Value) -> int:
    return 0 if value.deps is None else value.deps.nnz


def numbers(value: Value, start: int = 0) -> np.ndarray:
    """The numbers of a value's elements, in its shape."""
    return np.arange(start, start + value.aval.size).reshape(value.aval.shape)


def anything(rows: Rows, e: Eqn, form: Any, operands: Sequence[Value]) -> list[Any]:
    """Each element of the results may depend on each element of the operands."""
    whole = rows.whole(operands)
    return [rows.repeated(whole, v.aval.size) for v in e.outs]


# ---- elementwise
# -------------------------------------------------------------------------------------


def _map(rows: Rows, e: Eqn, form: loops.Map, operands: Sequence[Value]) -> list[Any]:
    if e.primitive is select_n_p and operands[0].known is not None:
        return _moved(rows, e, operands, range(1, len(operands)))
    size, shape = e.outs[0].aval.size, e.outs[0].aval.shape
    found = []
    for o in operands:
        if o.deps is not None:
            same = o.aval.shape == shape
            found.append(o.deps if same else rows.take(o.deps, np.zeros(size, int)))
    union = rows.union(found)
    if e.primitive is mul_p:
        for o in operands:
            if o.known is not None and not o.host().all():
                union = rows.masked(union, np.broadcast_to(o.host() != 0, shape))
    return [union] * len(e.outs)


# ---- movement
# ----------------------------------------------------------------------------------------


def _moved(rows: Rows, e: Eqn, operands: Sequence[Value], data: Sequence[int]) -> list[Any]:
    """Runs the operation on the numbers of the elements of its `data` operands; other operands
    must be known.
    """
    starts = dict(zip(data, itertools.accumulate((operands[i].aval.size for i in data), initial=0)))
    args = []
    for i, o in enumerate(operands):
        if i not in starts:
            args.append(o.known)
        elif o.deps is None:
            args.append(ConcreteArray(np.full(o.aval.shape, -1)))
        else:
            args.append(ConcreteArray(numbers(o, starts[i])))
    out = _evaluated(e, args)
    deps = rows.stacked([_sets(rows, operands[i]) for i in data])
    return [
        rows.take(deps, np.asarray(o)) for o in (out if e.primitive.multiple_results else [out])
    ]


def _sets(rows: Rows, value: Value) -> Any:
    return rows.none(value.aval.size) if value.deps is None else value.deps


def _evaluated(e: Eqn, args: Sequence[Any]) -> Any:
    params = e.params
    if params.get("fill_value") is not None:
        params = {**params, "fill_value": -1}
    with running(EVAL):
        return e.primitive.evaluate(args, params)


def _view(rows: Rows, e: Eqn, form: Any, operands: Sequence[Value]) -> list[Any]:
    return _moved(rows, e, operands, range(len(operands)))


def _views(rows: Rows, e: Eqn, form: Any, operands: Sequence[Value]) -> list[Any]:
    """A list of forms, one for each result."""
    if all(isinstance(f, loops.View | loops.Reshape) for f in form):
        return _view(rows, e, form, operands)
    return anything(rows, e, form, operands)


# ---- indices
# -----------------------------------------------------------------------------------------


def _gather(rows: Rows, e: Eqn, form: Any, operands: Sequence[Value]) -> list[Any]:
    """Exact where indices are known; else any window along the addressed dimensions may be read."""
    operand, *indices = operands
    if all(i.known is not None for i in indices):
        return _moved(rows, e, operands, (0,))
    sizes = e.params["slice_sizes"]
    addressed = range(operand.aval.ndim)
    if e.primitive is gather_p:
        addressed = e.params["dimension_numbers"].start_index_map
    shape = operand.aval.shape
    groups, count = _groups(shape, [d for d in addressed if sizes[d] != shape[d]])
    first = _evaluated(e, [ConcreteArray(groups), *map(_zeros, indices)])
    return [rows.take(rows.grouped(operand.deps, groups, count), np.asarray(first))]


def _zeros(value: Value) -> ConcreteArray:
    return ConcreteArray(np.zeros(value.aval.shape, value.aval.dtype))


def _groups(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[np.ndarray, int]:
    """For each element the number of its group, which runs along `axes`; and how many there are."""
    kept = tuple(1 if d in axes else n for d, n in enumerate(shape))
    count = math.prod(kept)
    return np.broadcast_to(np.arange(count).reshape(kept), shape), count


def _scatter(rows: Rows, e: Eqn, form: loops.Scatter, operands: Sequence[Value]) -> list[Any]:
    windowed = e.primitive is dynamic_update_slice_p
    operand, updates = operands[0], operands[1 if windowed else 2]
    indices = operands[2:] if windowed else operands[1:2]
    known = all(i.known is not None for i in indices)
    if form.op == "set" and known:
        return _moved(rows, e, operands, (0, 1) if windowed else (0, 2))
    found = [operand.deps]
    if updates.deps is not None:
        starts = [i.known if known else _zeros(i) for i in indices]
        place = numbers(operand) if known else _groups(*_written(e, operand, updates, windowed))[0]
        targets = _targets(e, place, starts, updates, windowed)
        to = np.flatnonzero(targets >= 0)
        count = int(place.max(initial=-1)) + 1
        landed = rows.link(updates.deps, count, targets[to], to)
        found.append(rows.take(landed, place))
    return [rows.union(found)]


def _written(e: Eqn, operand: Value, updates: Value, windowed: bool) -> tuple[Any, list[int]]:
    """The operand's shape, and the dimensions along which an unknown index moves a window."""
    shape = operand.aval.shape
    if windowed:
        return shape, [d for d, n in enumerate(shape) if updates.aval.shape[d] != n]
    return shape, list(e.params["dimension_numbers"].scatter_dims_to_operand_dims)


def _targets(
    e: Eqn, place: np.ndarray, starts: Sequence[Any], updates: Value, windowed: bool
) -> np.ndarray:
    """Where each update goes, as a number in `place`; negative for what is dropped."""
    shape = updates.aval.shape
    numbered = ConcreteArray(place + 1)
    with running(EVAL):
        if windowed:
            found = dynamic_slice_p.bind(numbered, *starts, slice_sizes=shape)
        else:
            found = gather_updates(numbered, starts[0], shape, **e.params)
    return np.asarray(found).ravel() - 1


# ---- reductions
# --------------------------------------------------------------------------------------


def _reduce(rows: Rows, e: Eqn, form: loops.Reduce, operands: Sequence[Value]) -> list[Any]:
    groups, count = _groups(operands[0].aval.shape, form.axes)
    return [rows.grouped(operands[0].deps, groups, count)]


def _cumulate(rows: Rows, e: Eqn, form: loops.Cumulate, operands: Sequence[Value]) -> list[Any]:
    (x,) = operands
    lines = np.moveaxis(numbers(x), form.axis, -1)
    later, earlier = np.tril_indices(lines.shape[-1])
    if form.reverse:
        later, earlier = earlier, later
    to, source = lines[..., later].ravel(), lines[..., earlier].ravel()
    return [rows.link(x.deps, x.aval.size, to, source)]


def _contract(rows: Rows, e: Eqn, form: loops.Contract, operands: Sequence[Value]) -> list[Any]:
    """out[b, i, j] depends on lhs[b, i, k] and rhs[b, k, j], where the other factor is not known
    to be zero.
    """
    lhs, rhs = operands
    left = _as_matrices(lhs, form.lhs_batch, form.lhs_contract)
    right = _as_matrices(rhs, form.rhs_batch, form.rhs_contract)
    shape = (left.shape[0], left.shape[1], right.shape[1])
    found = []
    if lhs.deps is not None:
        found.append(
            _factor(rows, lhs, left, rhs, right, np.arange(math.prod(shape)).reshape(shape))
        )
    if rhs.deps is not None:
        out = np.arange(math.prod(shape)).reshape(shape).transpose(0, 2, 1)
        found.append(_factor(rows, rhs, right, lhs, left, out))
    return [rows.union(found)]


def _as_matrices(x: Value, batch: Sequence[int], contracted: Sequence[int]) -> np.ndarray:
    """The numbers of the elements as (batch, free, contracted)."""
    shape = x.aval.shape
    free = [d for d in range(len(shape)) if d not in (*batch, *contracted)]
    sizes = [math.prod(shape[d] for d in dims) for dims in (batch, free, contracted)]
    return numbers(x).transpose(*batch, *free, *contracted).reshape(sizes)


def _factor(
    rows: Rows, x: Value, own: np.ndarray, other: Value, others: np.ndarray, out: np.ndarray
) -> Any:
    """The sets that a product takes from its factor `x`; `out` numbers (batch, own free, other
    free).
    """
    if other.known is not None:
        b, j, k = np.nonzero(other.host().ravel()[others])
        if len(b) * own.shape[1] <= MANY:
            source, to = own[b, :, k], out[b, :, j]
            return rows.link(x.deps, out.size, to.ravel(), source.ravel())
    lines = np.empty(x.aval.size, int)
    count = own.shape[0] * own.shape[1]
    lines[own.reshape(count, -1)] = np.arange(count)[:, None]
    taken = np.empty(out.size, int)
    taken[out.reshape(count, -1)] = np.arange(count)[:, None]
    return rows.take(rows.grouped(x.deps, lines, count), taken)


# ---- windows
# -----------------------------------------------------------------------------------------


def _window(rows: Rows, e: Eqn, form: loops.Window, operands: Sequence[Value]) -> list[Any]:
    (x,) = operands
    geometry = form.strides, form.padding, form.base_dilation, form.window_dilation
    pieces = [p.ravel() for _, p in seen(numbers(x), form.dimensions, *geometry)]
    return [_united(rows, x.deps, pieces, np.arange(e.outs[0].aval.size), e.outs[0].aval.size)]


def _chosen(rows: Rows, e: Eqn, form: loops.Opaque, operands: Sequence[Value]) -> list[Any]:
    """The rule of windows from which another array chooses an element, or into which: any one."""
    x, operand = operands
    params = e.params
    scatters = e.primitive is select_and_scatter_add_p
    geometry = params["window_strides"], params["padding"]
    dilation = params["base_dilation"], params["window_dilation"]
    places = numbers(operand if scatters else x)
    size = e.outs[0].aval.size
    pieces = [p.ravel() for _, p in seen(places, params["window_dimensions"], *geometry, *dilation)]
    windows = np.arange(pieces[0].size if pieces else 0)
    if not scatters:
        return [_united(rows, x.deps, pieces, windows, size)]
    to, source = np.concatenate([*pieces, windows[:0]]), np.tile(windows, len(pieces))
    return [rows.link(x.deps, size, to[to >= 0], source[to >= 0])]


def _united(rows: Rows, deps: Any, pieces: Sequence[np.ndarray], to: np.ndarray, size: int) -> Any:
    """Result to[k] takes what any of the pieces has in place k."""
    source = np.concatenate([*pieces, np.empty(0, int)])
    targets = np.tile(to, len(pieces))
    real = source >= 0
    return rows.link(deps, size, targets[real], source[real])


def seen(
    x: np.ndarray, window: Any, strides: Any, padding: Any, dilation: Any, window_dilation: Any
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """For each place in a window, what lies there in all windows; -1 in the padding."""
    spread = np.full([max(0, (n - 1) * d + 1) for n, d in zip(x.shape, dilation)], -1)
    spread[tuple(slice(None, None, d) for d in dilation)] = x
    padded = np.pad(spread, [(max(0, a), max(0, b)) for a, b in padding], constant_values=-1)
    ends = zip(padded.shape, padding)
    padded = padded[tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in ends)]
    reach = [(w - 1) * d + 1 for w, d in zip(window, window_dilation)]
    counts = [max(0, (n - r) // s + 1) for n, r, s in zip(padded.shape, reach, strides)]
    for place in itertools.product(*map(range, window)):
        begins = [p * d for p, d in zip(place, window_dilation)]
        yield place, padded[
            tuple(slice(b, b + (c - 1) * s + 1 if c else b, s)
                  for b, c, s in zip(begins, counts, strides))
        ]  # fmt: skip


def _convolve(rows: Rows, e: Eqn, form: loops.Convolve, operands: Sequence[Value]) -> list[Any]:
    """out[n, o, p] depends on lhs[n, c, ...] in its window for the channels c of its group, and on
    rhs[o, ...].
    """
    lhs, rhs = operands
    params, out = dict(form.params), e.outs[0].aval
    if params["batch_group_count"] != 1:
        return anything(rows, e, form, operands)
    spec = params["dimension_numbers"]
    placed = np.arange(out.size).reshape(out.shape).transpose(spec.out_spec)
    found = []
    if lhs.deps is not None:
        found.append(_of_image(rows, lhs, rhs, params, placed))
    if rhs.deps is not None:
        kernels = numbers(rhs).transpose(spec.rhs_spec).reshape(placed.shape[1], -1)
        lines, taken = np.empty(rhs.aval.size, int), np.empty(out.size, int)
        lines[kernels] = np.arange(len(kernels))[:, None]
        taken[np.moveaxis(placed, 1, 0).reshape(len(kernels), -1)] = np.arange(len(kernels))[
            :, None
        ]
        found.append(rows.take(rows.grouped(rhs.deps, lines, len(kernels)), taken))
    return [rows.union(found)]


def _tap(weights: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
    """The weights of all channels at one place of the kernel."""
    return weights.reshape(*weights.shape[:2], -1)[
        :, :, np.ravel_multi_index(place, weights.shape[2:]) if place else 0
    ]


def _of_image(
    rows: Rows, lhs: Value, rhs: Value, params: dict[str, Any], placed: np.ndarray
) -> Any:
    spec, groups = params["dimension_numbers"], params["feature_group_count"]
    image = numbers(lhs).transpose(spec.lhs_spec)
    window = [rhs.aval.shape[d] for d in spec.rhs_spec[2:]]
    weights = None if rhs.known is None else rhs.host().transpose(spec.rhs_spec)
    geometry = (
        (1, 1, *params["window_strides"]),
        ((0, 0), (0, 0), *params["padding"]),
        (1, 1, *params["lhs_dilation"]),
        (1, 1, *params["rhs_dilation"]),
    )
    pieces = []
    for place, piece in seen(image, (1, 1, *window), *geometry):
        if weights is None or _tap(weights, place[2:]).any():
            grouped = piece.reshape(piece.shape[0], groups, -1, *piece.shape[2:])
            pieces += list(np.moveaxis(grouped, 2, 0))
    batch, channels, *places = placed.shape
    shape = (batch, groups, *places)
    count = math.prod(shape)
    united = _united(rows, lhs.deps, [p.ravel() for p in pieces], np.arange(count), count)
    of_group = np.repeat(np.arange(count).reshape(shape), channels // groups, axis=1)
    taken = np.empty(placed.size, int)
    taken[placed.ravel()] = of_group.ravel()
    return rows.take(united, taken)


# ---- library calls
# ---------------------------------------------------------------------------------------


def _solved(rows: Rows, e: Eqn, form: loops.Opaque, operands: Sequence[Value]) -> list[Any]:
    """A system solved: each right-hand side by itself; of a triangular one, from one end on."""
    matrix, right = operands
    if matrix.deps is not None:
        return anything(rows, e, form, operands)
    left = e.params.get("left_side", True)
    axis = right.aval.ndim - (2 if left else 1)
    if e.primitive is not triangular_solve_p:
        groups, count = _groups(right.aval.shape, (axis,))
        return [rows.take(rows.grouped(right.deps, groups, count), groups)]
    downward = e.params["lower"] != e.params["transpose_a"]
    return _cumulate(rows, e, loops.Cumulate("add", axis, downward != left), [right])


def _opaque(rows: Rows, e: Eqn, form: loops.Opaque, operands: Sequence[Value]) -> list[Any]:
    rule = _OF_LIBRARY_CALLS.get(e.primitive, anything)
    return rule(rows, e, form, operands)


_OF_LIBRARY_CALLS: dict[Any, Callable[..., list[Any]]] = {
    linear_solve_p: _solved,
    triangular_solve_p: _solved,
    select_and_gather_add_p: _chosen,
    select_and_scatter_add_p: _chosen,
}

RULES: dict[type, Callable[..., list[Any]]] = {
    loops.Map: _map,
    loops.View: _view,
    loops.Reshape: _view,
    loops.Guarded: _view,
    list: _views,
    tuple: _views,
    loops.Gather: _gather,
    loops.Scatter: _scatter,
    loops.Reduce: _reduce,
    loops.Cumulate: _cumulate,
    loops.Contract: _contract,
    loops.Window: _window,
    loops.Convolve: _convolve,
    loops.Opaque: _opaque,
}
