"""Choosing elements by function: where, take, take_along_axis, nonzero, select and their relatives.

Functions whose result's size depends on values need concrete arrays, or a `size`: then the result
has that many entries, cut off or filled up. Next: `index_grids.py`, which makes indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.api.vectorize import vmap
from funcgrad.config import config
from funcgrad.core import dtypes
from funcgrad.core.array import Array, ConcreteArray
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.numpy.axes import axis_index, concrete, refuse
from funcgrad.numpy.index_addressing import from_front, index_dtype
from funcgrad.numpy.index_grids import nonzero, truth, within
from funcgrad.numpy.index_parsing import known_values
from funcgrad.numpy.indexing import at, check_positions, getitem, is_eager, static_scalar
from funcgrad.numpy.promote import (
    as_array,
    broadcast_shapes,
    broadcast_to_shape,
    converted,
    promote_dtypes,
    promote_shapes,
)
from funcgrad.numpy.ufuncs.arithmetic import remainder
from funcgrad.numpy.ufuncs.shortcut import broadcasts
from funcgrad.primitives.basis import (
    broadcast_in_dim,
    convert_element_type,
    full,
    reshape,
    select_n,
    sub,
)
from funcgrad.primitives.cumulative import cumsum
from funcgrad.primitives.gather import gather
from funcgrad.primitives.index_maps import (
    GatherDimensionNumbers,
    GatherScatterMode,
)
from funcgrad.primitives.shape import concatenate, expand_dims, squeeze

# ---------------------------------------------------------------- where, select


def where(
    condition: Any,
    x: Any = None,
    y: Any = None,
    /,
    *,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """`x` where the condition holds, else `y`; with the condition alone, where it holds.

    The three operands broadcast together; `x` and `y` are promoted to one dtype. With one operand
    the result is `nonzero(condition, size=size, fill_value=fill_value)`.

    >>> import funcgrad.numpy as np
    >>> np.where(np.array([True, False, True]), np.arange(3.0), -1.0)
    Array([ 0., -1.,  2.], dtype=float32)
    """
    if x is None and y is None:
        return nonzero(condition, size=size, fill_value=fill_value)
    if x is None or y is None:
        raise TypeError("where: needs both x and y, or neither.")
    if size is not None or fill_value is not None:
        raise ValueError("where: size and fill_value belong to the form with one operand.")
    found = _where_at_once(condition, x, y)
    return found if found is not None else _where(condition, x, y)


def _where(condition: Any, x: Any, y: Any) -> Array:
    condition = truth("where", condition)
    if not (isinstance(x, Array) and dtypes.is_key(x.dtype)):
        x, y = promote_dtypes("where", x, y)
    condition, x, y = promote_shapes("where", condition, x, y)
    return select_n(condition, y, x)


def _where_at_once(condition: Any, x: Any, y: Any) -> Array | None:
    """NumPy's own answer for float32 arrays and numbers when nothing is traced, else None."""
    if current_trace() is not EVAL or type(condition) is not ConcreteArray:
        return None
    mask = condition._buffer
    operands: list[Any] = [o._buffer if type(o) is ConcreteArray else o for o in (x, y)]
    arrays = [o for o in operands if type(o) is np.ndarray]
    numbers = [o for o in operands if type(o) is float or type(o) is int]
    if not arrays or len(arrays) + len(numbers) < 2 or mask.dtype is not dtypes.bool_:
        return None
    if any(a.dtype is not dtypes.float32 or not broadcasts(mask, a) for a in arrays):
        return None
    if not broadcasts(arrays[0], arrays[-1]):
        return None
    weak = all(o._weak for o in (x, y) if type(o) is ConcreteArray)
    return ConcreteArray(np.where(mask, *operands), weak)


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Array:
    """Elements of the first choice whose condition holds, or `default` where none does."""
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(
            f"select: needs as many choices as conditions, at least one, but got {len(condlist)} "
            f"conditions and {len(choicelist)} choices."
        )
    *choices, result = promote_dtypes("select", *choicelist, default)
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        result = _where(condition, choice, result)
    return result


def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Array:
    """Each element by the function (or constant) of the last condition that holds for it.

    With one function more than conditions it is used where none holds, else 0 is. Functions are
    called on the whole of `x` as f(x, *args, **kw); the result has the dtype of `x`.
    """
    x = as_array("piecewise", x)
    conditions = _condition_list(condlist, x)
    functions = list(funclist)
    if len(functions) not in (len(conditions), len(conditions) + 1):
        raise ValueError(
            f"piecewise: needs {len(conditions)} functions, or one more, for {len(conditions)} "
            f"conditions, but got {len(functions)}."
        )
    default = functions.pop() if len(functions) > len(conditions) else 0
    values = [f(x, *args, **kw) if callable(f) else f for f in (default, *functions)]
    result, *pieces = [converted(as_array("piecewise", value), x.dtype) for value in values]
    result = broadcast_to_shape(result, x.shape)
    for condition, piece in zip(conditions, pieces, strict=True):
        result = _where(condition, piece, result)
    return result


def _condition_list(condlist: Any, x: Array) -> list[Any]:
    """Conditions as a list; one alone, or rows of an array, are accepted too."""
    if isinstance(condlist, (Array, np.ndarray)):
        array = as_array("piecewise", condlist)
        return [array] if array.ndim == x.ndim else [getitem(array, i) for i in range(len(array))]
    return list(condlist)


def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Array:
    """Elements of the choice that `a` numbers; all broadcast together.

    Numbers out of range raise ValueError, for which they must be known; `mode="wrap"` and "clip"
    bring them into range.
    """
    refuse("choose", out=out)
    a, *arrays = promote_shapes(
        "choose", as_array("choose", a), *promote_dtypes("choose", *_rows(choices))
    )
    if not dtypes.is_integer(a.dtype):
        raise TypeError(f"choose: the numbers of the choices must be integers, but got {a.dtype}.")
    which = within("choose", a, len(arrays), mode)
    shape = broadcast_shapes("choose", a.shape, *(x.shape for x in arrays))
    stacked = concatenate([expand_dims(_spread(x, shape), (0,)) for x in arrays], 0)
    which = expand_dims(_spread(which, shape), (0,))
    return squeeze(take_along_axis(stacked, which, 0, mode="promise_in_bounds"), (0,))


def _rows(choices: Any) -> list[Any]:
    if isinstance(choices, (Array, np.ndarray)):
        array = as_array("choose", choices)
        return [getitem(array, i) for i in range(len(array))]
    return list(choices)


def _spread(x: Array, shape: tuple[Any, ...]) -> Array:
    return broadcast_to_shape(x, shape) if x.ndim or not shape else broadcast_in_dim(x, shape, ())


# ---------------------------------------------------------------- take


def take(
    a: Any,
    indices: Any,
    axis: int | None = None,
    out: None = None,
    mode: str | None = None,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    fill_value: Any = None,
) -> Array:
    """The entries of `a` at `indices` along `axis`, or of the flattened array.

    Negative indices count from the end. Out of bounds: `mode="fill"` gives `fill_value` (default
    NaN, the smallest signed or largest unsigned integer), "clip" the nearest entry, "wrap" counts
    around. Without a mode, known indices raise IndexError while nothing is being compiled, and
    otherwise fill.
    """
    refuse("take", out=out)
    a, indices = as_array("take", a), as_array("take", indices)
    if axis is None:
        a, axis = reshape(a, (math.prod(a.shape),)), 0
    axis = axis_index("take", axis, a.ndim)
    if not dtypes.is_integer(indices.dtype):
        raise TypeError(f"take: indices must be integers, but got {indices.dtype}. Convert them.")
    found = _take_at_once(a, indices, axis) if mode is None else None
    if found is not None:
        return found
    return _gathered_entries(
        a,
        indices,
        axis,
        mode,
        fill_value=static_scalar("take", fill_value),
        unique_indices=unique_indices,
        indices_are_sorted=indices_are_sorted,
    )


def _take_at_once(a: Array, indices: Array, axis: int) -> Array | None:
    """NumPy's own answer if nothing is traced and all is in bounds, else None."""
    if not (type(a) is ConcreteArray is type(indices) and current_trace() is EVAL):
        return None
    if not (known_values(a) and known_values(indices)):
        return None
    try:
        return ConcreteArray(a._buffer.take(indices._buffer, axis=axis), a._weak)
    except IndexError:
        return None


def _gathered_entries(
    a: Array, indices: Array, axis: int, mode: str | None, **options: Any
) -> Array:
    size = a.shape[axis]
    if mode == "wrap":
        indices, mode = remainder(indices, size), "promise_in_bounds"
    elif mode in (None, "raise"):
        _refuse_outside(indices, axis, size, required=mode == "raise")
    elif mode not in ("fill", "clip"):
        raise ValueError(f"take: mode must be 'fill', 'clip', 'wrap' or 'raise', but got {mode!r}.")
    if isinstance(size, int) and size == 0 and math.prod(indices.shape) != 0:
        raise IndexError(f"take: axis {axis} has size 0, so that nothing can be taken from it.")
    positions = from_front(_values(indices), size, mode != "clip", index_dtype(a.shape))
    before, rank = tuple(range(axis)), indices.ndim
    numbers = GatherDimensionNumbers(
        offset_dims=before + tuple(range(axis + rank, a.ndim + rank - 1)),
        collapsed_slice_dims=(axis,),
        start_index_map=(axis,),
    )
    window = tuple(1 if dim == axis else n for dim, n in enumerate(a.shape))
    vectors = expand_dims(positions, (rank,))
    return gather(a, vectors, numbers, window, mode=mode or "fill", **options)


def _values(indices: Array) -> Any:
    """Known indices as NumPy's array, so that counting from the end costs no operation."""
    return np.asarray(indices) if known_values(indices) else indices


def _refuse_outside(indices: Array, axis: int, size: Any, required: bool) -> None:
    """IndexError for known indices out of bounds, where these are looked at."""
    if required:
        concrete("take", "with mode='raise', the indices", indices)
    if not (known_values(indices) and indices.size and isinstance(size, int)):
        return
    if required or (is_eager() and config.current().eager_bounds_check):
        values = np.asarray(indices)
        check_positions(int(values.min()), int(values.max()), axis, size)


def take_along_axis(
    arr: Any,
    indices: Any,
    axis: int | None = -1,
    mode: str | GatherScatterMode | None = None,
    fill_value: Any = None,
    *,
    wrap_negative_indices: bool | None = None,
) -> Array:
    """Entries along `axis`, chosen for each line separately: what argsort and argmax point at.

    `indices` has the rank of `arr` and broadcasts with it except along `axis`. Out of bounds as in
    `take`.
    """
    arr, indices = as_array("take_along_axis", arr), as_array("take_along_axis", indices)
    if not dtypes.is_integer(indices.dtype):
        raise TypeError(f"take_along_axis: indices must be integers, but got {indices.dtype}.")
    if axis is None:
        if indices.ndim != 1:
            raise ValueError("take_along_axis: with axis=None the indices must have rank 1.")
        arr, axis = reshape(arr, (math.prod(arr.shape),)), 0
    if arr.ndim != indices.ndim:
        raise ValueError(
            f"take_along_axis: array and indices must have equal rank, but got shapes {arr.shape} "
            f"and {indices.shape}. Insert dimensions, as in indices[:, None]."
        )
    axis = axis_index("take_along_axis", axis, arr.ndim)
    size = arr.shape[axis]
    if mode is None:
        _refuse_outside(indices, axis, size, required=False)
    mode = GatherScatterMode.from_any(mode)
    if wrap_negative_indices is None:
        wrap_negative_indices = mode is not GatherScatterMode.PROMISE_IN_BOUNDS
    positions = from_front(_values(indices), size, wrap_negative_indices, index_dtype(arr.shape))
    return _gathered_lines(arr, positions, axis, mode, static_scalar("take_along_axis", fill_value))


def _gathered_lines(arr: Array, positions: Any, axis: int, mode: Any, fill_value: Any) -> Array:
    """The gather of take_along_axis: lines walk in lockstep, or whole, or are the same for all."""
    around = [n for dim, n in enumerate(arr.shape) if dim != axis]
    lines = [n for dim, n in enumerate(positions.shape) if dim != axis]
    shape = list(broadcast_shapes("take_along_axis", tuple(around), tuple(lines)))
    shape.insert(axis, positions.shape[axis])
    if isinstance(arr.shape[axis], int) and arr.shape[axis] == 0:
        return full(shape, 0, arr.dtype)
    whole = [d for d, n in enumerate(positions.shape) if d != axis and n == 1]
    shared = [d for d, n in enumerate(arr.shape) if n == 1 and d != axis and d not in whole]
    operand_dims = [d for d in range(arr.ndim) if d not in shared]
    index_dims = [d for d in range(arr.ndim) if d not in whole]
    lockstep = [d for d in operand_dims if d in index_dims and d != axis]
    numbers = GatherDimensionNumbers(
        offset_dims=tuple(whole),
        collapsed_slice_dims=(operand_dims.index(axis),),
        start_index_map=(operand_dims.index(axis),),
        operand_batching_dims=tuple(map(operand_dims.index, lockstep)),
        start_indices_batching_dims=tuple(map(index_dims.index, lockstep)),
    )
    window = [arr.shape[d] if d in whole else _window_size(arr.shape[d]) for d in operand_dims]
    vectors = reshape(positions, [positions.shape[d] for d in index_dims] + [1])
    return gather(squeeze(arr, shared), vectors, numbers, window, mode=mode, fill_value=fill_value)


def _window_size(size: Any) -> int:
    """The extent of a window of one element: 0 in an empty dimension."""
    return 0 if isinstance(size, int) and size == 0 else 1


# ---------------------------------------------------------------- put


def _refuse_inplace(name: str, inplace: bool) -> None:
    if inplace:
        raise ValueError(
            f"{name}: arrays are immutable. Pass inplace=False, and use the array it returns."
        )


def put_along_axis(
    arr: Any, indices: Any, values: Any, axis: int | None, inplace: bool = True, *, mode: Any = None
) -> Array:
    """`arr` with `values` at the entries that take_along_axis(arr, indices, axis) reads.

    Needs `inplace=False`: the result is a new array.
    """
    _refuse_inplace("put_along_axis", inplace)
    arr, indices = as_array("put_along_axis", arr), as_array("put_along_axis", indices)
    shape = arr.shape
    if axis is None:
        arr, axis = reshape(arr, (math.prod(shape),)), 0
    axis = axis_index("put_along_axis", axis, arr.ndim)
    if arr.ndim != indices.ndim:
        raise ValueError(
            f"put_along_axis: array and indices must have equal rank, but got shapes {arr.shape} "
            f"and {indices.shape}."
        )
    lines = np.ogrid[tuple(map(slice, arr.shape))]
    index = tuple(indices if d == axis else line for d, line in enumerate(lines))
    return reshape(at(arr)[index].set(values, mode=mode), shape)


def put(a: Any, ind: Any, v: Any, mode: str | None = None, *, inplace: bool = True) -> Array:
    """`a` with `v`, repeated as needed, at the positions `ind` of the flattened array.

    Needs `inplace=False`. `mode` is "clip" (the default), or "wrap".
    """
    _refuse_inplace("put", inplace)
    a, ind, v = as_array("put", a), as_array("put", ind), as_array("put", v)
    total, count = math.prod(a.shape), math.prod(ind.shape)
    if count == 0 or math.prod(v.shape) == 0:
        return a
    if mode not in (None, "clip", "wrap"):
        raise ValueError(f"put: mode must be 'clip' or 'wrap', but got {mode!r}.")
    ind = reshape(ind, (count,))
    ind = remainder(ind, total) if mode == "wrap" else ind
    values = getitem(reshape(v, (math.prod(v.shape),)), _cycle(v, count))
    out = at(reshape(a, (total,)))[ind].set(converted(values, a.dtype), mode="clip")
    return reshape(out, a.shape)


def _cycle(v: Array, count: int) -> np.ndarray:
    """Positions that walk around `v` until there are `count`."""
    return np.arange(count) % math.prod(v.shape)


def place(arr: Any, mask: Any, vals: Any, *, inplace: bool = True) -> Array:
    """`arr` with `vals`, in order and repeated as needed, where `mask` holds.

    Needs `inplace=False`.
    """
    _refuse_inplace("place", inplace)
    arr, mask, vals = as_array("place", arr), truth("place", mask), as_array("place", vals)
    total, count = math.prod(arr.shape), math.prod(vals.shape)
    if math.prod(mask.shape) != total:
        raise ValueError(f"place: the mask must have {total} elements, but has shape {mask.shape}.")
    if count == 0:
        raise ValueError("place: needs at least one value to insert.")
    flat_mask = reshape(mask, (total,))
    order = sub(cumsum(convert_element_type(flat_mask, dtypes.int32)), 1)
    values = take(reshape(vals, (count,)), remainder(order, count), mode="clip")
    out = select_n(flat_mask, reshape(arr, (total,)), converted(values, arr.dtype))
    return reshape(out, arr.shape)


def fill_diagonal(a: Any, val: Any, wrap: bool = False, *, inplace: bool = True) -> Array:
    """`a` with `val`, repeated as needed, on its main diagonal. Needs `inplace=False`.

    With more than two dimensions all must have the same size. `wrap=True` is not supported.
    """
    _refuse_inplace("fill_diagonal", inplace)
    if wrap:
        raise ValueError("fill_diagonal: wrap=True is not supported; leave it out.")
    a, val = as_array("fill_diagonal", a), as_array("fill_diagonal", val)
    if a.ndim < 2 or (a.ndim > 2 and len(set(a.shape)) > 1):
        raise ValueError(
            f"fill_diagonal: needs a matrix, or more dimensions of equal size, but got {a.shape}."
        )
    length = min(a.shape)
    line = np.arange(length)
    flat = reshape(val, (math.prod(val.shape),))
    chosen = val if val.ndim == 0 else getitem(flat, _cycle(val, length))
    return at(a)[(line,) * a.ndim].set(chosen)


# ---------------------------------------------------------------- what a condition leaves


def compress(
    condition: Any,
    a: Any,
    axis: int | None = None,
    *,
    size: int | None = None,
    fill_value: Any = 0,
    out: None = None,
) -> Array:
    """The entries along `axis` (or of the flattened array) for which the condition holds.

    With `size` there are that many, cut off or filled up with `fill_value`; without it the
    condition must be concrete.
    """
    refuse("compress", out=out)
    a, condition = as_array("compress", a), truth("compress", condition)
    if condition.ndim != 1:
        raise ValueError(f"compress: the condition must have rank 1, but got {condition.shape}.")
    if axis is None:
        a, axis = reshape(a, (math.prod(a.shape),)), 0
    axis = axis_index("compress", axis, a.ndim)
    length = a.shape[axis]
    if condition.shape[0] > length:
        if known_values(condition) and np.asarray(condition)[length:].any():
            raise ValueError("compress: the condition holds for entries beyond the array's end.")
        condition = getitem(condition, slice(length))
    (positions,) = nonzero(condition, size=size, fill_value=length)
    return take(a, positions, axis, mode="fill", fill_value=fill_value)


def extract(condition: Any, arr: Any, *, size: int | None = None, fill_value: Any = 0) -> Array:
    """The elements for which the condition, of the same shape, holds; `size` as in `compress`."""
    condition = as_array("extract", condition)
    flat = reshape(condition, (math.prod(condition.shape),))
    return compress(flat, arr, size=size, fill_value=fill_value)


def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Array:
    """`func1d(line, *args, **kwargs)` for each line of `arr` along `axis`, whose place it takes."""
    arr = as_array("apply_along_axis", arr)
    axis = axis_index("apply_along_axis", axis, arr.ndim)

    def function(line: Array) -> Any:
        return func1d(line, *args, **kwargs)

    for dim in range(1, arr.ndim - axis):
        function = vmap(function, in_axes=dim, out_axes=-1)
    for _ in range(axis):
        function = vmap(function, in_axes=0, out_axes=0)
    return function(arr)
