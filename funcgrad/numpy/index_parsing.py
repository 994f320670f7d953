"""What stands between the brackets of `x[...]`, made explicit: one entry per dimension.

Ellipses are spelled out, masks become positions, slices are resolved against sizes. Everything a
user can get wrong about the index itself is found here. Next: `indexing.py`, which reads and
updates arrays by these entries.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray, Tracer, to_host
from funcgrad.errors import NonConcreteBooleanIndexError


class Span(NamedTuple):
    """A slice: positions start, start + step, ..., `size` of them."""

    start: Any
    size: Any
    step: int


class Point(NamedTuple):
    """One static position, as the user wrote it (perhaps negative); the dimension disappears."""

    position: int


class Picks(NamedTuple):
    """Positions in an integer array: NumPy's, with known values, or a traced or device array."""

    positions: Any


Entry = Span | Point | Picks | None  # None inserts a new dimension


class ParsedIndex(NamedTuple):
    """The entries, in order. `shape` is that of the array once `added` dimensions are in it.

    `adjacent`: do all positions that broadcast together stand side by side? Then the dimensions
    they make take their place, otherwise they come first.
    """

    entries: tuple[Entry, ...]
    shape: tuple[Any, ...]
    added: tuple[int, ...]
    adjacent: bool

    @property
    def is_regular(self) -> bool:
        """Are there only single positions and slices, so that no element is addressed twice?"""
        return all(
            np.ndim(entry.positions) == 0 for entry in self.entries if isinstance(entry, Picks)
        )


# ---------------------------------------------------------------- single items


class _Mask(NamedTuple):
    values: np.ndarray


def is_static_integer(item: Any) -> bool:
    """Is it a Python or NumPy integer, and not a bool?"""
    return isinstance(item, (int, np.integer)) and not isinstance(item, (bool, np.bool_))


def known_values(x: Any) -> bool:
    """Is it an array in host memory whose values can be looked at?"""
    if isinstance(x, ConcreteArray):
        x = x._buffer
    return isinstance(x, (np.ndarray, np.generic))


def _classified(item: Any) -> Any:
    """One item of the index: None, Ellipsis, a slice, an int, an integer array, or a mask."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if is_static_integer(item):
        return operator.index(item)
    if isinstance(item, (list, tuple)):
        item = _array_of_list(item)
    if isinstance(item, (bool, np.bool_)):
        return _Mask(np.asarray(item))
    if isinstance(item, (np.ndarray, Array)):
        return _classified_array(item)
    raise _not_an_index(item)


def _array_of_list(items: Sequence[Any]) -> Any:
    """A list inside a tuple as an array; an empty one holds integers."""
    if any(isinstance(item, Tracer) for item in items):
        raise TypeError(
            "index: a list of traced values cannot be an index. Stack them first: "
            "x[numpy.stack(list)]."
        )
    array = np.asarray([to_host(i._buffer) if isinstance(i, ConcreteArray) else i for i in items])
    return array.astype(np.int32) if array.size == 0 and array.dtype == np.float64 else array


def _classified_array(array: Any) -> Any:
    dtype = array.dtype
    if dtype == dtypes.bool_:
        if isinstance(array, Tracer):
            raise NonConcreteBooleanIndexError(
                f"index: the shape of x[mask] depends on the mask's values, but got {array.aval}. "
                "Use numpy.where(mask, x, fill), numpy.nonzero(mask, size=n), or a sum over "
                "numpy.where(mask, x, 0)."
            )
        return _Mask(np.asarray(array))
    if not dtypes.is_integer(dtype):
        raise _not_an_index(array)
    if not known_values(array):
        return array
    values = np.asarray(array)
    return int(values) if values.ndim == 0 else values


def _not_an_index(item: Any) -> Exception:
    """The error for an item of the wrong kind."""
    if isinstance(item, str):
        return TypeError(f"index: arrays have no fields, but got the string {item!r}.")
    if hasattr(item, "dtype") or isinstance(item, (float, complex)):
        dtype = getattr(item, "dtype", type(item).__name__)
        return TypeError(
            f"index: an index must be of integer or bool type, but got {dtype}. "
            "Convert it with astype(int), or use // instead of /."
        )
    return IndexError(
        "index: only integers, slices, ... , None, and integer or bool arrays are indices, but "
        f"got {item!r:.60} of type {type(item).__name__}."
    )


# ---------------------------------------------------------------- the whole index


def _as_tuple(index: Any) -> tuple:
    if isinstance(index, tuple):
        return index
    if isinstance(index, list):
        raise TypeError(
            f"index: a list is not an index, but got {index!r:.60}. Use x[numpy.array(list)] to "
            "pick positions, or x[tuple(list)] to index several dimensions."
        )
    return (index,)


def _consumed(item: Any) -> int:
    """How many dimensions of the array an item stands for."""
    if item is None or item is Ellipsis:
        return 0
    return item.values.ndim if isinstance(item, _Mask) else 1


def _spelled_out(items: list[Any], rank: int) -> list[Any]:
    """The items with Ellipsis, or the missing end, replaced by full slices."""
    ellipses = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError("index: an index can hold only one ellipsis ('...').")
    missing = rank - sum(map(_consumed, items))
    if missing < 0:
        raise IndexError(
            f"index: too many indices: the array has {rank} dimensions, but "
            f"{rank - missing} were indexed."
        )
    at = ellipses[0] if ellipses else len(items)
    return items[:at] + [slice(None)] * missing + items[at + len(ellipses) :]


def _is_advanced(item: Any) -> bool:
    return not (item is None or item is Ellipsis or isinstance(item, slice))


def _side_by_side(items: list[Any]) -> bool:
    """Do the integers and arrays of the index form one run?"""
    places = [i for i, item in enumerate(items) if _is_advanced(item)]
    return not places or places[-1] - places[0] + 1 == len(places)


def parse(index: Any, shape: tuple[Any, ...]) -> ParsedIndex:
    """The entries of `index` for an array of `shape`.

    Raises IndexError for too many indices, masks of the wrong shape and dynamic slices, TypeError
    for items that are no integers, and NonConcreteBooleanIndexError for traced masks.
    """
    items = [_classified(item) for item in _as_tuple(index)]
    entries: list[Entry] = []
    full_shape, added = list(shape), []
    dim = 0
    for item in _spelled_out(items, len(shape)):
        if isinstance(item, _Mask) and item.values.ndim == 0:
            added.append(dim)
            full_shape.insert(dim, 1)
            entries.append(Picks(np.zeros(int(item.values), np.int32)))
            dim += 1
        elif isinstance(item, _Mask):
            entries.extend(_mask_entries(item.values, full_shape, dim))
            dim += item.values.ndim
        else:
            entries.append(_entry(item, full_shape[dim] if dim < len(full_shape) else 0))
            dim += item is not None
    return ParsedIndex(tuple(entries), tuple(full_shape), tuple(added), _side_by_side(items))


def _entry(item: Any, size: Any) -> Entry:
    if item is None:
        return None
    if isinstance(item, slice):
        return _span(item, size)
    return Point(item) if isinstance(item, int) else Picks(item)


def _mask_entries(mask: np.ndarray, shape: list[Any], dim: int) -> list[Picks]:
    """A mask picks the positions at which it is true, in each of its dimensions."""
    covered = tuple(shape[dim : dim + mask.ndim])
    if any(size not in (0, full) for size, full in zip(mask.shape, covered, strict=True)):
        raise IndexError(
            f"index: a mask must have the shape of the dimensions it masks, {covered}, but got "
            f"{mask.shape}."
        )
    return [Picks(positions) for positions in np.nonzero(mask)]


def _span(item: slice, size: Any) -> Span:
    """A slice resolved against the size of its dimension."""
    if item == slice(None):
        return Span(0, size, 1)
    bounds = (item.start, item.stop, item.step)
    if any(isinstance(bound, Tracer) for bound in bounds):
        raise IndexError(
            f"index: slices must be static, but got {item}. Use lax.dynamic_slice_in_dim for a "
            "window of fixed size at a computed start."
        )
    if type(item.step) is int and item.step == 0:
        raise ValueError(f"index: the step of a slice must not be 0, but got {item}.")
    try:
        start, stop, step = slice(*map(_bound, bounds)).indices(size)
    except TypeError:
        raise TypeError(f"index: slices must be made of integers, but got {item}.") from None
    if step > 0:
        return Span(start, max(0, -((start - stop) // step)), step)
    return Span(start, max(0, -((stop - start) // -step)), step)


def _bound(bound: Any) -> Any:
    return None if bound is None else operator.index(bound)
