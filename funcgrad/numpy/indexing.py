"""x[...] and x.at[...]: reading and updating parts of arrays.

Integers and slices become views (slice, rev, squeeze, expand_dims), a computed integer becomes a
dynamic slice, integer arrays and masks a gather; updates become scatters. With concrete arrays and
no transformation running, NumPy's own indexing does the work. Next: `selection.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import EllipsisType, NoneType
from typing import Any, NamedTuple, NoReturn

import numpy as np

from funcgrad.config import config
from funcgrad.control.loop import fori_loop
from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray, Tracer
from funcgrad.core.backend import quiet
from funcgrad.core.stage import StagingTrace
from funcgrad.core.trace import EVAL, Trace, current_trace
from funcgrad.numpy.index_addressing import (
    Addressing,
    addressing,
    forward,
    from_front,
    index_dtype,
    require_positions,
)
from funcgrad.numpy.index_parsing import (
    Entry,
    ParsedIndex,
    Picks,
    Point,
    Span,
    known_values,
    parse,
)
from funcgrad.numpy.promote import as_array, converted, promote_dtypes
from funcgrad.numpy.ufuncs.arithmetic import power, true_divide
from funcgrad.primitives.basis import (
    broadcast_in_dim,
    convert_element_type,
    full,
    reshape,
    select_n,
)
from funcgrad.primitives.dynamic_slice import dynamic_slice_p
from funcgrad.primitives.gather import gather, scatter_add, scatter_sub
from funcgrad.primitives.index_maps import (
    GatherScatterMode,
    mirror_of_gather,
)
from funcgrad.primitives.logic import gt
from funcgrad.primitives.reduce import reduce_max
from funcgrad.primitives.scatter import scatter, scatter_max, scatter_min, scatter_mul
from funcgrad.primitives.shape import expand_dims, rev, squeeze
from funcgrad.primitives.slicing import slice as static_slice

_FILL = GatherScatterMode.FILL_OR_DROP

# ---------------------------------------------------------------- reading


def getitem(x: Array, index: Any) -> Array:
    """`x[index]`, with NumPy's meaning.

    Out of bounds: IndexError if the index is known and nothing is being compiled (unless the
    setting eager_bounds_check is off), otherwise positions are clipped, as in JAX.
    """
    if type(x) is ConcreteArray and current_trace() is EVAL:
        found = _read_at_once(x, index)
        if found is not None:
            return found
    parsed = parse(index, x.shape)
    if is_eager() and config.current().eager_bounds_check:
        check_bounds(parsed)
    return read(x, parsed)


_BASIC = (int, slice, NoneType, EllipsisType)


def _numpy_index(index: Any) -> Any:
    """The index in NumPy's own terms, if it holds nothing but known values; else _UNKNOWN."""
    kind = type(index)
    if kind in _BASIC:
        return index
    if kind is tuple:
        items = tuple(map(_numpy_index, index))
        return _UNKNOWN if any(item is _UNKNOWN for item in items) else items
    if kind is ConcreteArray:
        index = index._buffer
    if type(index) is np.ndarray and index.dtype.kind in "iub":
        return index
    return int(index) if isinstance(index, np.integer) else _UNKNOWN


_UNKNOWN: Any = object()


def _read_at_once(x: ConcreteArray, index: Any) -> ConcreteArray | None:
    """NumPy's own answer, where that is the same; None leaves the question to the general way."""
    item, buffer = _numpy_index(index), x._buffer
    if item is _UNKNOWN or type(buffer) is not np.ndarray:
        return None
    try:
        if type(item) is np.ndarray and item.dtype.kind != "b" and buffer.ndim:
            return ConcreteArray(buffer.take(item, axis=0), x._weak)  # faster than buffer[item]
        return ConcreteArray(buffer[item], x._weak)
    except (IndexError, TypeError, ValueError):
        return None  # the general way knows the settings, and says what is wrong


def is_eager() -> bool:
    """Is no program being written, so that a user stands right behind this operation?"""
    trace: Trace | None = current_trace()
    while trace is not None:
        if isinstance(trace, StagingTrace):
            return False
        trace = trace.parent
    return True


def check_bounds(parsed: ParsedIndex) -> None:
    """IndexError for a known position outside the array."""
    dim = 0
    for entry in parsed.entries:
        if entry is None:
            continue
        if isinstance(entry, Point):
            check_positions(entry.position, entry.position, dim, parsed.shape[dim])
        elif isinstance(entry, Picks) and known_values(entry.positions) and entry.positions.size:
            lowest, highest = entry.positions.min(), entry.positions.max()
            check_positions(int(lowest), int(highest), dim, parsed.shape[dim])
        dim += 1


def check_positions(lowest: int, highest: int, dim: int, size: Any) -> None:
    """IndexError if one of two positions lies outside a dimension."""
    for position in (lowest, highest):
        if not -size <= position < size:
            raise IndexError(
                f"index: position {position} is out of bounds for dimension {dim} of size {size}. "
                "Use x.at[index].get(mode='clip') or mode='fill' to allow it."
            )


class _Lookup(NamedTuple):
    """How positions outside the array, and negative ones, are treated."""

    mode: GatherScatterMode = GatherScatterMode.PROMISE_IN_BOUNDS
    fill_value: Any = None
    wrap: bool = True
    indices_are_sorted: bool = False
    unique_indices: bool = False


_PROMISED = _Lookup()


def read(x: Array, parsed: ParsedIndex, lookup: _Lookup = _PROMISED) -> Array:
    """The elements that the entries address."""
    x = expand_dims(x, parsed.added)
    x, entries = _sliced(x, _without_outside_points(parsed, lookup), lookup.wrap)
    if any(isinstance(entry, Picks) for entry in entries):
        return _picked(x, entries, parsed.adjacent, lookup)
    return expand_dims(x, [i for i, entry in enumerate(entries) if entry is None])


def _without_outside_points(parsed: ParsedIndex, lookup: _Lookup) -> tuple[Entry, ...]:
    """The entries; static positions that would be filled are left to the gather."""
    if lookup.mode is not _FILL:
        return parsed.entries
    sizes = iter(parsed.shape)
    return tuple(
        Picks(np.asarray(entry.position))
        if entry is not None
        and (size := next(sizes)) is not None
        and isinstance(entry, Point)
        and not (-size if lookup.wrap else 0) <= entry.position < size
        else entry
        for entry in parsed.entries
    )


def _sliced(x: Array, entries: tuple[Entry, ...], wrap: bool) -> tuple[Array, list[Entry]]:
    """Takes slices and static positions as a view; what is left are whole dimensions and picks."""
    spans: list[Span] = []
    reverse, gone = [], []
    for entry in entries:
        if entry is None:
            continue
        dim = len(spans)
        span = _as_span(entry, x.shape[dim], wrap)
        if span.step < 0:
            reverse.append(dim)
            span = forward(span)
        if isinstance(entry, Point):
            gone.append(dim)
        spans.append(span)
    starts, limits = [span.start for span in spans], [_limit(span) for span in spans]
    x = static_slice(x, starts, limits, [span.step for span in spans])
    x = squeeze(rev(x, reverse), gone)
    return x, _remaining(entries, x.shape)


def _limit(span: Span) -> Any:
    """One past the last position."""
    if span.step == 1 or span.size == 0:
        return span.start + span.size
    return span.start + (span.size - 1) * span.step + 1


def _as_span(entry: Entry, size: Any, wrap: bool) -> Span:
    if isinstance(entry, Span):
        return entry
    if isinstance(entry, Point):
        if size == 0:
            raise IndexError("index: a dimension of size 0 has no positions.")
        position = entry.position + size if wrap and entry.position < 0 else entry.position
        return Span(min(max(position, 0), size - 1), 1, 1)
    return Span(0, size, 1)


def _remaining(entries: tuple[Entry, ...], shape: tuple[Any, ...]) -> list[Entry]:
    """The entries for the sliced array, where static positions are gone."""
    sizes = iter(shape)
    remaining: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Span):
            remaining.append(Span(0, next(sizes), 1))
        elif not isinstance(entry, Point):
            if entry is not None:
                next(sizes)
            remaining.append(entry)
    return remaining


def _picked(x: Array, entries: list[Entry], adjacent: bool, lookup: _Lookup) -> Array:
    """The elements at computed positions; all other dimensions are whole."""
    scalars = all(np.ndim(e.positions) == 0 for e in entries if isinstance(e, Picks))
    if scalars and lookup.mode is not _FILL:
        return _dynamically_sliced(x, entries, lookup.wrap)
    plan = addressing(tuple(entries), x.shape, adjacent, lookup.wrap)
    out = gather(
        x,
        plan.indices,
        plan.numbers,
        plan.window,
        mode=lookup.mode,
        fill_value=lookup.fill_value,
        unique_indices=lookup.unique_indices,
        indices_are_sorted=lookup.indices_are_sorted,
    )
    return expand_dims(out, plan.new_dims)


def _dynamically_sliced(x: Array, entries: list[Entry], wrap: bool) -> Array:
    """Elements at one computed position in some dimensions."""
    dims = [entry for entry in entries if entry is not None]
    dtype = index_dtype(x.shape)
    zero = full((), 0, dtype)
    starts, sizes, gone = [], [], []
    for dim, entry in enumerate(dims):
        if isinstance(entry, Picks):
            require_positions(entry.positions, dim, x.shape[dim])
            starts.append(from_front(entry.positions, x.shape[dim], wrap, dtype))
            gone.append(dim)
        else:
            starts.append(zero)
        sizes.append(1 if isinstance(entry, Picks) else x.shape[dim])
    window = squeeze(dynamic_slice_p.bind(x, *starts, slice_sizes=tuple(sizes)), gone)
    kept = [entry for entry in entries if not isinstance(entry, Picks)]
    return expand_dims(window, [i for i, entry in enumerate(kept) if entry is None])


# ---------------------------------------------------------------- updating


def update(
    x: Array,
    index: Any,
    y: Any,
    combine: Callable[..., Array],
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
    mode: Any = None,
    wrap_negative_indices: bool = True,
) -> Array:
    """`x` with `y`, broadcast to the shape of `x[index]`, combined into these elements."""
    if mode is None and wrap_negative_indices and current_trace() is EVAL:
        found = _update_at_once(x, index, y, combine)
        if found is not None:
            return found
    parsed = parse(index, x.shape)
    plan = addressing(parsed.entries, parsed.shape, parsed.adjacent, wrap_negative_indices)
    if 0 in plan.shape:
        return x
    operand, y = _common_operands(x, y, combine)
    y = _updates(y, plan)
    regular = parsed.is_regular
    out = combine(
        expand_dims(operand, parsed.added),
        plan.indices,
        y,
        mirror_of_gather(plan.numbers),
        indices_are_sorted=indices_are_sorted or regular,
        unique_indices=unique_indices or regular,
        mode=mode,
    )
    return _as_before(squeeze(out, parsed.added), x)


_UFUNCS = {
    scatter: None,
    scatter_add: np.add,
    scatter_sub: np.subtract,
    scatter_mul: np.multiply,
    scatter_min: np.minimum,
    scatter_max: np.maximum,
}


def _update_at_once(x: Array, index: Any, y: Any, combine: Callable[..., Array]) -> Array | None:
    """NumPy's own update of a copy, where its meaning is the same; else None."""
    if type(x) is not ConcreteArray or type(x._buffer) is not np.ndarray or not x._buffer.ndim:
        return None
    item, value, ufunc = _numpy_index(index), _plain_update(y, x._buffer.dtype), _UFUNCS[combine]
    if item is _UNKNOWN or value is None:
        return None
    basic = all(type(i) in _BASIC for i in (item if type(item) is tuple else (item,)))
    if not basic and ufunc is not None:
        return None  # positions may repeat: scatter knows how to accumulate them fast
    out = x._buffer.copy()
    try:
        quiet.run(_combine_at, out, item, value, ufunc)
    except (IndexError, TypeError, ValueError, OverflowError):
        return None  # the general way drops what is outside, and says what is wrong
    return ConcreteArray(out, x._weak)


def _combine_at(out: np.ndarray, item: Any, value: Any, ufunc: Any) -> None:
    out[item] = value if ufunc is None else ufunc(out[item], value)


def _plain_update(y: Any, dtype: np.dtype) -> Any:
    """The update as a value of the array's dtype, or a number that adapts to it; else None."""
    if type(y) is ConcreteArray:
        y = y._buffer
    if type(y) is np.ndarray or isinstance(y, np.generic):
        return y if y.dtype == dtype else None
    fits = (type(y) is float or type(y) is int) if dtype.kind == "f" else type(y) is int
    return y if fits and dtype.kind in "fiu" else None


def _as_before(out: Array, x: Array) -> Array:
    if out.dtype == x.dtype and out.weak_type == x.weak_type:
        return out
    return convert_element_type(out, x.dtype, x.weak_type)


def _common_operands(x: Array, y: Any, combine: Callable[..., Array]) -> tuple[Array, Array]:
    """Array and updates in one dtype: the array's when they replace, else the promoted one."""
    if isinstance(y, int) and not isinstance(y, bool) and dtypes.is_integer(x.dtype):
        y = _integer_update(y, x.dtype)
    if isinstance(y, (list, tuple)):
        y = _array_of_values(y)
    y = as_array("x.at[...]", y)
    if x.dtype == y.dtype:
        return x, y
    operand, promoted = promote_dtypes("x.at[...]", x, y)
    if operand.dtype != x.dtype:
        warnings.warn(
            f"x.at[...]: an update of {y.dtype} loses something in an array of {x.dtype}. "
            "Convert it with astype, or convert the array first.",
            FutureWarning,
            stacklevel=4,
        )
    if combine is scatter:
        return x, converted(y, x.dtype)
    return operand, promoted


def _integer_update(y: int, dtype: np.dtype) -> Any:
    info = np.iinfo(dtype)
    if not info.min <= y <= info.max:
        raise OverflowError(f"x.at[...]: the integer {y} does not fit into {dtype}.")
    return ConcreteArray(dtype.type(y))


def _array_of_values(values: Any) -> np.ndarray:
    """A list of numbers, in their default type."""
    array = np.asarray(values)
    dtype = dtypes.narrowed(array.dtype)
    assert isinstance(dtype, np.dtype)  # a list holds no keys
    return array.astype(dtype)


def _updates(y: Array, plan: Addressing) -> Array:
    """The updates in the shape and order in which the scatter wants them."""
    if y.shape != plan.shape:
        excess = y.shape[: max(0, y.ndim - len(plan.shape))]
        if all(size == 1 for size in excess):
            y = reshape(y, y.shape[len(excess) :])
        y = _broadcast_updates(y, plan.shape)
    return rev(squeeze(y, plan.new_dims), plan.reversed_dims)


def _broadcast_updates(y: Array, shape: tuple[Any, ...]) -> Array:
    lead = len(shape) - y.ndim
    fits = lead >= 0 and all(
        size in (1, wanted) for size, wanted in zip(y.shape, shape[lead:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"x.at[...]: updates of shape {y.shape} do not broadcast to the shape of x[index], "
            f"{shape}."
        )
    return broadcast_in_dim(y, shape, tuple(range(lead, len(shape))))


class IndexUpdate:
    """`x.at[index]`: the elements of `x` that an index addresses, to be read or replaced.

    All methods return a new array; `x` stays as it is. Where several updates meet in one place
    all of them take part, except that of those that `set` the last one stays. Updates out of
    bounds are dropped, or with `mode="clip"` moved inside. `indices_are_sorted` and
    `unique_indices` are promises that may save time; the latter also permits derivatives in the
    updates of `multiply`, `divide` and `power`. `wrap_negative_indices=False` makes negative
    positions out of bounds.

    >>> import funcgrad.numpy as np
    >>> np.zeros(4).at[np.array([0, 2, 2])].add(1.0)
    Array([1., 0., 2., 0.], dtype=float32)
    """

    __slots__ = ("_array", "_index")

    def __init__(self, array: Array, index: Any) -> None:
        self._array, self._index = array, index

    def __repr__(self) -> str:
        return f"IndexUpdate({self._array!r}, {self._index!r})"

    def get(
        self,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | GatherScatterMode | None = None,
        fill_value: Any = None,
        wrap_negative_indices: bool = True,
    ) -> Array:
        """`x[index]`; positions out of bounds are clipped, or with `mode="fill"` give `fill_value`.

        The default `fill_value` is NaN, the smallest signed or the largest unsigned integer.
        """
        promised = GatherScatterMode.PROMISE_IN_BOUNDS
        lookup = _Lookup(
            promised if mode is None else GatherScatterMode.from_any(mode),
            static_scalar("x.at[...].get", fill_value),
            wrap_negative_indices,
            indices_are_sorted,
            unique_indices,
        )
        return read(self._array, parse(self._index, self._array.shape), lookup)

    def set(self, values: Any, **options: Any) -> Array:
        """`x` with `values` at the index. Options as in the class's description, and `mode`."""
        return update(self._array, self._index, values, scatter, **options)

    def add(self, values: Any, **options: Any) -> Array:
        """`x` with `values` added at the index."""
        return update(self._array, self._index, values, scatter_add, **options)

    def subtract(self, values: Any, **options: Any) -> Array:
        """`x` with `values` subtracted at the index."""
        return update(self._array, self._index, values, scatter_sub, **options)

    def multiply(self, values: Any, **options: Any) -> Array:
        """`x` multiplied by `values` at the index."""
        return update(self._array, self._index, values, scatter_mul, **options)

    mul = multiply

    def divide(self, values: Any, **options: Any) -> Array:
        """`x` divided by `values` at the index; the result is a float or complex array."""
        return true_divide(self._array, self._factors(values, options))

    def power(self, values: Any, **options: Any) -> Array:
        """`x` raised to the power `values` at the index."""
        return power(self._array, self._factors(values, options))

    def _factors(self, values: Any, options: dict[str, Any]) -> Array:
        ones = full(self._array.shape, 1, self._array.dtype)
        return update(as_array("x.at[...]", ones), self._index, values, scatter_mul, **options)

    def min(self, values: Any, **options: Any) -> Array:
        """The smaller of `x` and `values` at the index."""
        return update(self._array, self._index, values, scatter_min, **options)

    def max(self, values: Any, **options: Any) -> Array:
        """The larger of `x` and `values` at the index."""
        return update(self._array, self._index, values, scatter_max, **options)

    def apply(self, function: Callable[[Array], Array], **options: Any) -> Array:
        """`x` with an elementwise `function` applied at the index, once for each repetition."""
        x, index = self._array, self._index
        once = _applied(x, index, function, None, options)
        if options.get("unique_indices") or parse(index, x.shape).is_regular:
            return once
        none = as_array("x.at[...]", full(x.shape, 0, dtypes.int32))
        counts = update(none, index, 1, scatter_add, **options)
        most = reduce_max(counts, range(counts.ndim))
        if known_values(most) and int(most) < 2:
            return once
        return fori_loop(
            1,
            int(most) if known_values(most) else most,
            lambda i, x: _applied(x, index, function, gt(counts, i), options),
            once,
        )


def _applied(
    x: Array, index: Any, function: Callable[[Array], Array], where: Any, options: dict[str, Any]
) -> Array:
    """`x` with `function` applied once at the index, only where `where` (of x's shape) holds."""
    wrap = {"wrap_negative_indices": options.get("wrap_negative_indices", True)}
    old = IndexUpdate(x, index).get(**wrap)
    new = converted(as_array("x.at[...].apply", function(old)), x.dtype)
    if where is not None:
        new = select_n(IndexUpdate(where, index).get(**wrap), old, new)
    return update(x, index, new, scatter, **options)


class _Updater:
    """What `x.at` is: waits for an index."""

    __slots__ = ("_array",)

    def __init__(self, array: Array) -> None:
        self._array = array

    def __getitem__(self, index: Any) -> IndexUpdate:
        return IndexUpdate(self._array, index)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "arrays are immutable: x.at[i] = v is not possible. Use x = x.at[i].set(v), which "
            "returns a new array."
        )

    def __repr__(self) -> str:
        return f"{self._array!r}.at"


def at(x: Array) -> _Updater:
    """The value of the property `x.at`: `at(x)[index].set(y)`."""
    return _Updater(x)


def static_scalar(name: str, value: Any) -> Any:
    """A parameter that must be known while tracing, as a Python or NumPy number; None stays."""
    if isinstance(value, (np.ndarray, Array)):
        if isinstance(value, Tracer) or value.ndim:
            raise TypeError(f"{name}: fill_value must be a known scalar, but got {value!r:.60}.")
        return np.asarray(value).item()
    return value
