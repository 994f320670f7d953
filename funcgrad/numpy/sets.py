"""Arrays as sets: unique elements, membership, intersection, union, difference.

Without `size` the number of results depends on values, which must then be concrete. With `size`
there are exactly that many: surplus ones are cut off, and missing ones are filled in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy.axes import axis_index, concrete, integer
from funcgrad.numpy.joining import taken
from funcgrad.numpy.promote import (
    as_array,
    as_numbers,
    broadcast_to_shape,
    promote_dtypes,
)
from funcgrad.numpy.reductions import constant
from funcgrad.numpy.shaping import moveaxis, ravel
from funcgrad.numpy.sorting import searchsorted
from funcgrad.numpy.ufuncs import isnan
from funcgrad.primitives import sort as primitives
from funcgrad.primitives.basis import (
    broadcast_in_dim,
    convert_element_type,
    full,
    reshape,
    select_n,
    sub,
)
from funcgrad.primitives.cumulative import cumsum
from funcgrad.primitives.logic import (
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    lt,
    ne,
)
from funcgrad.primitives.reduce import reduce_or
from funcgrad.primitives.shape import concatenate, index_in_dim, iota, slice_in_dim


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Array
    inverse_indices: Array


# ---- selecting by a mask -------------------------------------------------------------------------


def _places(name: str, chosen: Array, size: int | None) -> tuple[Array, Array]:
    """Positions at which a mask holds, in order, `size` of them, and which of these are real.

    Missing positions repeat the first.
    """
    if size is None:
        size = int(concrete(name, "the values", chosen).sum())
    length = chosen.shape[0]
    size = integer(name, "size", size)
    position = iota(dtypes.int32, length)
    beyond = constant(length, dtypes.int32)
    ordered = primitives.sort(select_n(chosen, full((length,), beyond, dtypes.int32), position))
    if size > length:
        ordered = concatenate([ordered, full((size - length,), beyond, dtypes.int32)], 0)
    ordered = slice_in_dim(ordered, 0, size)
    real = lt(ordered, full((size,), beyond, dtypes.int32))
    if size == 0:
        return ordered, real
    first = broadcast_in_dim(index_in_dim(ordered, 0), (size,), (0,))
    return select_n(real, first, ordered), real


def _selected(name: str, x: Array, places: Array, real: Array, fill_value: Any) -> Array:
    """The rows of `x` at `places`, and `fill_value` where these are not real."""
    if x.shape[0] == 0:
        if fill_value is None and places.shape[0]:
            raise ValueError(f"{name}: an empty array with a nonzero size needs a fill_value.")
        return _filled(name, (places.shape[0], *x.shape[1:]), fill_value, x.dtype)
    rows = taken(x, places, 0)
    if fill_value is None:
        return rows
    return select_n(_per_row(real, rows), _filled(name, rows.shape, fill_value, x.dtype), rows)


def _filled(name: str, shape: tuple[Any, ...], fill_value: Any, dtype: Any) -> Array:
    value = as_array(name, 0 if fill_value is None else fill_value)
    return broadcast_to_shape(convert_element_type(value, dtype), shape)


def _per_row(real: Array, rows: Array) -> Array:
    return broadcast_in_dim(real, rows.shape, (0,))


# ---- unique --------------------------------------------------------------------------------------


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    size: int | None = None,
    fill_value: Any = None,
    sorted: bool = True,
) -> Any:
    """The distinct elements in ascending order, or the distinct slices along `axis`.

    On request, also the position of the first of each, the number of the value that each element
    has, and how often each occurs. With `size` (needed under jit) there are so many; missing ones
    are `fill_value`, or repeat the smallest. The result is always sorted.

    >>> unique(jnp.array([3, 1, 1])).tolist()
    [1, 3]
    """
    x = as_numbers("unique", ar)
    axis = None if axis is None else axis_index("unique", axis, x.ndim)
    rows = ravel(x) if axis is None else moveaxis(x, axis, 0)
    order, starts = _grouped(rows, equal_nan)
    places, real = _places("unique", starts, size)
    values = _selected("unique", taken(rows, order, 0), places, real, fill_value)
    results = [values if axis is None else moveaxis(values, 0, axis)]
    index = dtypes.default_int()
    if return_index:
        results.append(convert_element_type(_selected("unique", order, places, real, None), index))
    if return_inverse:
        inverse = _inverse(order, starts)
        inverse = reshape(inverse, x.shape) if axis is None else inverse
        results.append(convert_element_type(inverse, index))
    if return_counts:
        results.append(convert_element_type(_counts(places, real, rows.shape[0], starts), index))
    return results[0] if len(results) == 1 else tuple(results)


def _grouped(rows: Array, equal_nan: bool) -> tuple[Array, Array]:
    """An order that brings equal rows together, and where in it a new row begins."""
    length = rows.shape[0]
    position = iota(dtypes.int32, length)
    if rows.size == 0:
        return position, _first_only(length)
    flat = reshape(rows, (length, rows.size // length))
    columns = [index_in_dim(flat, i, 1, False) for i in range(flat.shape[1])]
    *columns, order = primitives.sort([*columns, position], 0, num_keys=len(columns))
    if length == 1:
        return order, _first_only(1)
    changes = _changed(columns[0], equal_nan)
    for column in columns[1:]:
        changes = bitwise_or(changes, _changed(column, equal_nan))
    return order, concatenate([_first_only(1), changes], 0)


def _first_only(length: int) -> Array:
    return lt(iota(dtypes.int32, length), full((length,), 1, dtypes.int32))


def _changed(column: Array, equal_nan: bool) -> Array:
    """Where an element of a sorted column differs from the one before."""
    before, after = slice_in_dim(column, 0, -1), slice_in_dim(column, 1, None)
    changed = ne(before, after)
    if not equal_nan or not dtypes.is_inexact(column.dtype):
        return changed
    return bitwise_and(changed, bitwise_not(bitwise_and(isnan(before), isnan(after))))


def _inverse(order: Array, starts: Array) -> Array:
    """For each element, the number of the group that it is in."""
    if starts.shape[0] == 0:
        return order
    number = sub(cumsum(convert_element_type(starts, dtypes.int32)), constant(1, dtypes.int32))
    return taken(number, primitives.argsort(order), 0)


def _counts(places: Array, real: Array, length: int, starts: Array) -> Array:
    """How many elements each group has: the distance to where the next begins."""
    if places.shape[0] == 0 or length == 0:
        return full(places.shape, 0, dtypes.int32)
    after, after_real = _places("unique", starts, places.shape[0] + 1)
    end = select_n(after_real, full(after.shape, length, dtypes.int32), after)
    counts = sub(slice_in_dim(end, 1, None), places)
    return select_n(real, full(counts.shape, 0, dtypes.int32), counts)


def unique_all(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueAll:
    """The distinct elements, with first positions, inverse and counts."""
    options = {"equal_nan": False, "size": size, "fill_value": fill_value}
    return UniqueAll(*unique(x, True, True, True, **options))


def unique_counts(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueCounts:
    """The distinct elements, and how often each occurs."""
    options = {"equal_nan": False, "size": size, "fill_value": fill_value}
    return UniqueCounts(*unique(x, return_counts=True, **options))


def unique_inverse(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueInverse:
    """The distinct elements, and for each element the number of the one it equals."""
    options = {"equal_nan": False, "size": size, "fill_value": fill_value}
    return UniqueInverse(*unique(x, return_inverse=True, **options))


def unique_values(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> Array:
    """The distinct elements; each NaN is distinct."""
    return unique(x, equal_nan=False, size=size, fill_value=fill_value)


# ---- membership ----------------------------------------------------------------------------------

# Up to so many pairs, comparing all of them is faster than searching.
_FEW_PAIRS = 1 << 16


def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    method: str = "auto",
) -> Array:
    """For each element, whether it is among `test_elements`; the opposite with `invert`.

    `method` is auto, compare_all, binary_search or sort. `assume_unique` has no effect here. NaN is
    not among anything.
    """
    if method not in ("auto", "compare_all", "binary_search", "sort"):
        raise ValueError(
            f"isin: method must be auto, compare_all, binary_search or sort, but got {method!r}."
        )
    x, tests = promote_dtypes("isin", element, test_elements)
    found = reshape(_found(ravel(x), ravel(tests), method), x.shape)
    return bitwise_not(found) if invert else found


def _found(x: Array, tests: Array, method: str) -> Array:
    if x.size == 0 or tests.size == 0:
        return full(x.shape, constant(False, dtypes.bool_), dtypes.bool_)
    few = method == "auto" and x.size * tests.size <= _FEW_PAIRS
    if few or method == "compare_all" or dtypes.is_complex(x.dtype):
        shape = (x.shape[0], tests.shape[0])
        pairs = eq(broadcast_in_dim(x, shape, (0,)), broadcast_in_dim(tests, shape, (1,)))
        return reduce_or(pairs, (1,))
    tests = primitives.sort(tests)
    search = "sort" if method == "sort" else "scan"
    left, right = (searchsorted(tests, x, side, method=search) for side in ("left", "right"))
    return bitwise_and(lt(left, right), eq(x, x))


# ---- operations on sets --------------------------------------------------------------------------


def _sorted_set(name: str, x: Array) -> tuple[Array, Array, Array]:
    """The elements in order, the order, and where a new value begins."""
    x = ravel(x)
    order, starts = _grouped(x, equal_nan=True)
    return (taken(x, order, 0) if x.size else x), order, starts


def intersect1d(
    ar1: Any,
    ar2: Any,
    assume_unique: bool = False,
    return_indices: bool = False,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The distinct elements that both arrays have; with `return_indices`, where they first are."""
    x, y = map(ravel, promote_dtypes("intersect1d", ar1, ar2))
    values, order, starts = _sorted_set("intersect1d", x)
    chosen = bitwise_and(starts, _found(values, y, "auto"))
    places, real = _places("intersect1d", chosen, size)
    common = _selected("intersect1d", values, places, real, fill_value)
    if not return_indices:
        return common
    other, other_order, _ = _sorted_set("intersect1d", y)
    where = searchsorted(other, taken(values, places, 0)) if x.size else places
    found = [taken(order, places, 0), taken(other_order, where, 0) if y.size else places]
    lengths = (x.shape[0], y.shape[0])
    return common, *(
        convert_element_type(
            select_n(real, full(real.shape, length, dtypes.int32), index), dtypes.default_int()
        )
        for index, length in zip(found, lengths, strict=True)
    )


def union1d(ar1: Any, ar2: Any, *, size: int | None = None, fill_value: Any = None) -> Array:
    """The distinct elements of both arrays together."""
    both = concatenate([ravel(x) for x in promote_dtypes("union1d", ar1, ar2)], 0)
    return unique(both, size=size, fill_value=fill_value)


def setdiff1d(
    ar1: Any,
    ar2: Any,
    assume_unique: bool = False,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Array:
    """The distinct elements of the first array that the second does not have; filled up with 0.

    With `assume_unique` they keep the order of the first array.
    """
    x, y = map(ravel, promote_dtypes("setdiff1d", ar1, ar2))
    values, _, starts = _sorted_set("setdiff1d", x)
    if assume_unique:
        values, starts = x, full(x.shape, constant(True, dtypes.bool_), dtypes.bool_)
    chosen = bitwise_and(starts, bitwise_not(_found(values, y, "auto")))
    places, real = _places("setdiff1d", chosen, size)
    fill_value = 0 if fill_value is None else fill_value
    return _selected("setdiff1d", values, places, real, fill_value)


def setxor1d(
    ar1: Any,
    ar2: Any,
    assume_unique: bool = False,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Array:
    """The distinct elements that exactly one of the arrays has."""
    x, y = map(ravel, promote_dtypes("setxor1d", ar1, ar2))
    values, _, starts = _sorted_set("setxor1d", concatenate([x, y], 0))
    one = bitwise_xor(_found(values, x, "auto"), _found(values, y, "auto"))
    places, real = _places("setxor1d", bitwise_and(starts, one), size)
    return _selected("setxor1d", values, places, real, fill_value)
