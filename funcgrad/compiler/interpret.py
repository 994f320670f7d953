"""Loop forms executed element by element, independently of any `value` rule.

The living definition of each form: tests compare it with `value` for every primitive, and compiled
kernels with it. Nothing here is fast.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.scalar_values import computed
from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray
from funcgrad.core.backend import NARROW, quiet

MONOIDS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[np.dtype], Any]]] = {
    "add": (np.add, lambda t: 0),
    "mul": (np.multiply, lambda t: 1),
    "max": (np.maximum, lambda t: _limits(t)[0]),
    "min": (np.minimum, lambda t: _limits(t)[1]),
    "and": (
        np.bitwise_and,
        lambda t: True if t == dtypes.bool_ else -1 if t.kind == "i" else np.iinfo(t).max,
    ),
    "or": (np.bitwise_or, lambda t: 0),
    "xor": (np.bitwise_xor, lambda t: 0),
    "logaddexp": (np.logaddexp, lambda t: -np.inf),
}
UPDATES: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda old, new: new,
    "add": np.add,
    "subtract": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def run(form: Any, operands: Sequence[Any], avals: Sequence[ShapedArray]) -> list[np.ndarray]:
    """Results of one equation from its form, the operands' buffers and the results' types."""
    return quiet.run(_run, form, list(map(np.asarray, operands)), list(avals))


def _run(form: Any, operands: list[np.ndarray], avals: list[ShapedArray]) -> list[np.ndarray]:
    if isinstance(form, (list, tuple)):
        return [_run(f, operands, [aval])[0] for f, aval in zip(form, avals, strict=True)]
    if isinstance(form, loops.Map):
        results = computed(form.scalar, operands)
        return [
            np.broadcast_to(r, a.shape).astype(a.dtype) for r, a in zip(results, avals, strict=True)
        ]
    (aval,) = avals
    return [np.asarray(RUN[type(form)](form, operands, aval), aval.dtype).reshape(aval.shape)]


def _limits(dtype: np.dtype) -> tuple[Any, Any]:
    if dtype == dtypes.bool_:
        return False, True
    if dtypes.is_integer(dtype):
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return -np.inf, np.inf


def _wide(x: np.ndarray) -> np.ndarray:
    """The operand as sums and products are taken of it: 16-bit floats in float32."""
    return x.astype(np.float32) if x.dtype in NARROW else x


def _positions(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, shape))


# ---- moving elements
# -----------------------------------------------------------------------------------


def _view(form: loops.View, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    index = np.indices(aval.shape)
    (x,) = operands
    where = [np.asarray(a.offset) + sum(step * index[d] for d, step in a.terms) for a in form.dims]
    return np.broadcast_to(x[tuple(np.broadcast_to(w, aval.shape) for w in where)], aval.shape)


def _guarded(form: loops.Guarded, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    out = np.zeros(aval.shape, aval.dtype)
    if form.fill is not None:
        out[...] = operands[form.fill]
    for part in reversed(form.parts):
        for i in _positions(part.extent):
            at = tuple(start + stride * k for start, stride, k in zip(part.start, part.stride, i))
            if all(0 <= k < size for k, size in zip(at, aval.shape)):
                out[at] = operands[part.operand][i]
    return out


# ---- combining elements
# --------------------------------------------------------------------------------


def _reduce(form: loops.Reduce, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    (x,) = operands
    combine, identity = MONOIDS[form.op]
    wide = _wide(x)
    out = np.full(aval.shape, identity(wide.dtype), wide.dtype)
    kept = [d for d in range(x.ndim) if d not in form.axes]
    for i in _positions(x.shape):
        at = tuple(i[d] for d in kept)
        out[at] = combine(out[at], wide[i])
    return out


def _arg_reduce(form: loops.ArgReduce, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    rows = np.moveaxis(operands[0], form.axis, -1)
    better = (lambda a, b: a > b) if form.op == "max" else (lambda a, b: a < b)
    out = np.zeros(rows.shape[:-1], np.int64)
    for at in _positions(out.shape):
        row = rows[at].tolist()
        for k, value in enumerate(row):
            best = row[out[at]]
            if best == best and (better(value, best) or value != value):
                out[at] = k
    return out


def _cumulate(form: loops.Cumulate, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    combine, _ = MONOIDS[form.op]
    out = np.moveaxis(_wide(operands[0]).copy(), form.axis, 0)
    rows = out[::-1] if form.reverse else out
    for k in range(1, len(rows)):
        rows[k] = combine(rows[k - 1], rows[k])
    return np.moveaxis(out, 0, form.axis)


def _exact(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The operand of a product, so wide that only the result is rounded."""
    if dtypes.is_complex(x.dtype):
        return x.astype(np.complex128)
    return (
        x.astype(np.float64)
        if dtypes.is_inexact(x.dtype) or dtypes.is_inexact(dtype)
        else x.astype(object)
    )


def _narrowed(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A product as the result's type; integers wrap."""
    if x.dtype != object:
        return x.astype(dtype)
    if dtype == dtypes.bool_:
        return x.astype(bool)
    bits = 8 * dtype.itemsize
    wrapped = [int(v) & (1 << bits) - 1 for v in x.ravel()]
    return np.array(wrapped, f"u{dtype.itemsize}").view(dtype).reshape(x.shape)


def _contract(form: loops.Contract, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    lhs, rhs = (_exact(x, aval.dtype) for x in operands)
    free = [d for d in range(lhs.ndim) if d not in (*form.lhs_contract, *form.lhs_batch)]
    columns = [d for d in range(rhs.ndim) if d not in (*form.rhs_contract, *form.rhs_batch)]
    lhs = lhs.transpose(*form.lhs_batch, *free, *form.lhs_contract)
    rhs = rhs.transpose(*form.rhs_batch, *columns, *form.rhs_contract)
    batch, summed = len(form.lhs_batch), tuple(range(-len(form.lhs_contract), 0))
    left = lhs.reshape(
        *lhs.shape[: batch + len(free)], *[1] * len(columns), *lhs.shape[batch + len(free) :]
    )
    right = rhs.reshape(*rhs.shape[:batch], *[1] * len(free), *rhs.shape[batch:])
    return _narrowed(np.asarray((left * right).sum(summed)), aval.dtype)


# ---- windows
# -------------------------------------------------------------------------------------------


def _taps(
    o: int, size: int, count: int, stride: int, low: int, base: int, dilation: int
) -> Iterator[tuple[int, int]]:
    """(position in the window, position in the operand) for window `o` of one dimension."""
    for k in range(count):
        place = o * stride - low + k * dilation
        if place >= 0 and place % base == 0 and place // base < size:
            yield k, place // base


def _window(form: loops.Window, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    x = _wide(operands[0])
    combine, identity = MONOIDS[form.op]
    out = np.full(aval.shape, identity(x.dtype), x.dtype)
    lows = [low for low, _ in form.padding]
    geometry = list(
        zip(x.shape, form.dimensions, form.strides, lows, form.base_dilation, form.window_dilation)
    )
    for o in _positions(aval.shape):
        for taps in itertools.product(*(_taps(p, *g) for p, g in zip(o, geometry))):
            out[o] = combine(out[o], x[tuple(i for _, i in taps)])
    return out


def _convolve(form: loops.Convolve, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    p = dict(form.params)
    numbers = p["dimension_numbers"]
    x, kernel = (
        _exact(operand, aval.dtype).transpose(spec) for operand, spec in zip(operands, numbers)
    )
    shape = [aval.shape[d] for d in numbers.out_spec]
    out = np.zeros(shape, x.dtype)
    lows = [low for low, _ in p["padding"]]
    geometry = list(
        zip(
            x.shape[2:],
            kernel.shape[2:],
            p["window_strides"],
            lows,
            p["lhs_dilation"],
            p["rhs_dilation"],
        )
    )
    groups, batches = p["feature_group_count"], p["batch_group_count"]
    per_group, inputs = shape[1] // (groups * batches), kernel.shape[1]
    for n, f, *o in _positions(shape):
        group = f // per_group
        image = n + (group * shape[0] if batches > 1 else 0)
        first = group * inputs if groups > 1 else 0
        for taps in itertools.product(*(_taps(q, *g) for q, g in zip(o, geometry))):
            at, inside = tuple(i for _, i in taps), tuple(k for k, _ in taps)
            window: tuple[Any, ...] = (image, slice(first, first + inputs), *at)
            weights: tuple[Any, ...] = (f, slice(None), *inside)
            out[(n, f, *o)] += (x[window] * kernel[weights]).sum()
    return _narrowed(out, aval.dtype).transpose(np.argsort(numbers.out_spec))


# ---- gather and scatter
# --------------------------------------------------------------------------------


class _Windows:
    """Where the windows of a gather or scatter begin, one for each index vector."""

    def __init__(
        self,
        shape: Sequence[int],
        indices: np.ndarray,
        numbers: Any,
        sizes: Sequence[int],
        mode: Any,
    ) -> None:
        self.shape, self.indices, self.sizes, self.mode = shape, indices, sizes, mode
        (_, self.dropped, self.columns, self.batching, self.index_batching) = numbers
        self.window = [d for d in range(len(shape)) if d not in (*self.dropped, *self.batching)]

    def start(self, batch: tuple[int, ...]) -> tuple[int, ...] | None:
        """The first element of one window; None if it lies outside and is left out."""
        start = [0] * len(self.shape)
        for column, d in enumerate(self.columns):
            start[d] = int(self.indices[batch][column])
        for d, i in zip(self.batching, self.index_batching):
            start[d] = batch[i]
        limits = [size - window for size, window in zip(self.shape, self.sizes)]
        inside = all(0 <= s <= limit for s, limit in zip(start, limits))
        if self.mode.name == "CLIP" or (
            self.mode.name == "PROMISE_IN_BOUNDS" and self.clips_promised
        ):
            return tuple(min(max(s, 0), limit) for s, limit in zip(start, limits))
        return tuple(start) if inside else None

    clips_promised = True

    def elements(self, start: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(position in the window, position in the operand) for each element."""
        for offset in _positions([self.sizes[d] for d in self.window]):
            at = list(start)
            for d, k in zip(self.window, offset):
                at[d] += k
            yield offset, tuple(at)


def _placed(
    batch: Sequence[int], offset: Sequence[int], window_dims: Sequence[int]
) -> tuple[int, ...]:
    """The position in the result: window dimensions where they are said to be, the others in
    order.
    """
    rest, inside = iter(batch), iter(offset)
    return tuple(
        next(inside) if d in window_dims else next(rest) for d in range(len(batch) + len(offset))
    )


def _gather(form: loops.Gather, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    p = form.params
    if "dimension_numbers" not in p:
        x, *starts = operands
        return x[_clamped(x.shape, starts, p["slice_sizes"])]
    x, indices = operands
    numbers = p["dimension_numbers"]
    windows = _Windows(x.shape, indices, numbers, p["slice_sizes"], p["mode"])
    out = np.full(aval.shape, _fill_value(p, x.dtype), x.dtype)
    for batch in _positions(indices.shape[:-1]):
        start = windows.start(batch)
        for offset, at in windows.elements(start) if start is not None else ():
            out[_placed(batch, offset, numbers.offset_dims)] = x[at]
    return out


def _fill_value(p: Any, dtype: np.dtype) -> Any:
    if p.get("fill_value") is not None:
        return p["fill_value"]
    if dtypes.is_inexact(dtype):
        return np.nan
    return _limits(dtype)[1] if dtype.kind in "ub" else _limits(dtype)[0]


def _scatter(form: loops.Scatter, operands: list[np.ndarray], aval: ShapedArray) -> Any:
    p, combine = form.params, UPDATES[form.op]
    if "dimension_numbers" not in p:
        x, update, *starts = operands
        out = x.copy()
        out[_clamped(x.shape, starts, update.shape)] = update
        return out
    x, indices, updates = operands
    numbers = p["dimension_numbers"]
    sizes = iter([updates.shape[d] for d in numbers.update_window_dims])
    dropped = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    extent = [1 if d in dropped else next(sizes) for d in range(x.ndim)]
    windows = _Windows(x.shape, indices, numbers, extent, p["mode"])
    windows.clips_promised = False
    out = _wide(x).copy() if form.op in ("add", "subtract", "mul") else x.copy()
    for batch in _positions(indices.shape[:-1]):
        start = windows.start(batch)
        for offset, at in windows.elements(start) if start is not None else ():
            new = updates[_placed(batch, offset, numbers.update_window_dims)]
            out[at] = combine(out[at], new.astype(out.dtype))
    return out


def _clamped(
    shape: Sequence[int], starts: Sequence[Any], sizes: Sequence[int]
) -> tuple[slice, ...]:
    begins = [min(max(int(s), 0), size - window) for s, size, window in zip(starts, shape, sizes)]
    return tuple(slice(b, b + window) for b, window in zip(begins, sizes))


RUN: dict[type, Callable[..., Any]] = {
    loops.View: _view,
    loops.Reshape: lambda form, operands, aval: operands[0].reshape(aval.shape),
    loops.Guarded: _guarded,
    loops.Index: lambda form, operands, aval: (
        np.indices(aval.shape)[form.dim] if math.prod(aval.shape) else np.empty(aval.shape)
    ),
    loops.Reduce: _reduce,
    loops.ArgReduce: _arg_reduce,
    loops.Cumulate: _cumulate,
    loops.Contract: _contract,
    loops.Window: _window,
    loops.Convolve: _convolve,
    loops.Gather: _gather,
    loops.Scatter: _scatter,
}
