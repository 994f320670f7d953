"""The only place for promotion and broadcasting: operands of any kind become operands that
primitives accept.

Types come first (the lattice of core/dtypes.py, Python numbers being weak), then shapes. All shapes
become equal, except that rank 0 stays as it is. Messages name the public function that was called.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.config import config
from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.core.inputs import as_input, from_number
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.primitives.basis import broadcast_in_dim, convert_element_type, select_n

_NUMBERS = (bool, int, float, complex)


def as_array(name: str, x: Any, position: int | None = None) -> Array:
    """`x` as an Array or tracer, its type kept; Python numbers are weak, NumPy's 64 bits become the
    default width.

    Raises TypeError, naming the public function `name`, for lists, None, strings, and NumPy arrays
    of objects or text.
    """
    return as_input(name, x, position)


def as_numbers(name: str, x: Any) -> Array:
    """As `as_array`, and TypeError for random keys, of which no sum or order exists."""
    x = as_array(name, x)
    if dtypes.is_key(x.dtype):
        raise TypeError(
            f"{name}: random keys are not numbers. Use random.key_data(key) for their bits."
        )
    return x


# ---- dtypes ------------------------------------------------------------------------------------


def promote_dtypes(name: str, *args: Any) -> Sequence[Array]:
    """The operands, converted to their common type."""
    return _promoted(name, args, _same)


def promote_dtypes_inexact(name: str, *args: Any) -> Sequence[Array]:
    """The operands, converted to their common type, or to a float if that is integer or bool."""
    return _promoted(name, args, dtypes.to_inexact)


def promote_dtypes_numeric(name: str, *args: Any) -> Sequence[Array]:
    """The operands, converted to their common type, or to the default integer if that is bool."""
    return _promoted(name, args, _to_numeric)


def _same(dtype: Any) -> Any:
    return dtype


def _to_numeric(dtype: Any) -> Any:
    return dtypes.default_int() if dtype == dtypes.bool_ else dtype


def _promoted(name: str, args: tuple[Any, ...], adjust: Callable[[Any], Any]) -> Sequence[Array]:
    quick = args if len(args) == 1 else _agreeing(name, *args) if len(args) == 2 else None
    if quick is not None and isinstance(quick[0], Array):
        dtype = quick[0].dtype
        if not dtypes.is_key(dtype) and adjust(dtype) == dtype:
            return quick
    kept = current_trace() is not EVAL  # a program keeps its operands, an evaluation does not
    numbers = [type(x) in _NUMBERS for x in args]
    arrays = [
        x if number else as_input(name, x, i, copy=kept)
        for i, (x, number) in enumerate(zip(args, numbers, strict=True))
    ]
    dtype, weak = _common_type(name, arrays, numbers)
    wanted = adjust(dtype)
    return [
        from_number(name, x, wanted, weak) if number else converted(x, wanted, weak)
        for x, number in zip(arrays, numbers, strict=True)
    ]


def _agreeing(name: str, x: Any, y: Any) -> tuple[Array, Array] | None:
    """The most frequent pairs at once: two arrays of one dtype, or an array and a number that
    takes its dtype.
    """
    if isinstance(x, Array):
        if isinstance(y, Array):
            return (x, y) if x.dtype == y.dtype else None
        return (x, from_number(name, y, x.dtype, x.weak_type)) if _takes(x.dtype, y) else None
    if isinstance(y, Array) and _takes(y.dtype, x):
        return from_number(name, x, y.dtype, y.weak_type), y
    return None


def _takes(dtype: Any, number: Any) -> bool:
    """Is a float or integer from Python of no higher kind than arrays of `dtype`?"""
    if type(number) is float:
        return dtypes.is_inexact(dtype)
    return type(number) is int and dtype.kind in "iufcV"


_NUMBER_TYPES = {
    bool: lambda: (dtypes.bool_, False),
    int: lambda: (dtypes.default_int(), True),
    float: lambda: (dtypes.default_float(), True),
    complex: lambda: (dtypes.default_complex(), True),
}


def _common_type(name: str, operands: list[Any], numbers: list[bool]) -> tuple[Any, bool]:
    pairs = tuple(
        _NUMBER_TYPES[type(x)]() if number else (x.dtype, x.weak_type)
        for x, number in zip(operands, numbers, strict=True)
    )
    try:
        if any(dtypes.is_key(dtype) for dtype, _ in pairs):
            raise TypeError(
                "random keys take part in no arithmetic. Use random.key_data for their bits."
            )
        return dtypes.promote(pairs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def converted(x: Array, dtype: Any, weak: bool = False) -> Array:
    """`x` in another type. Equal types stay, whether weak or not: a result is weak only if all
    operands are.
    """
    return x if x.dtype == dtype else convert_element_type(x, dtype, weak)


# ---- shapes ------------------------------------------------------------------------------------


def promote_shapes(name: str, *arrays: Array) -> Sequence[Array]:
    """The arrays, broadcast to one shape; those of rank 0 stay as they are."""
    if len(arrays) == 2 and arrays[0].shape == arrays[1].shape:
        return arrays
    first = next((x.shape for x in arrays if x.shape), ())
    if all(not x.shape or x.shape == first for x in arrays):
        return arrays
    shape = broadcast_shapes(name, *(x.shape for x in arrays))
    return [broadcast_to_shape(x, shape) if x.shape else x for x in arrays]


def broadcast_shapes(name: str, *shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """The shape to which all `shapes` broadcast; ValueError, naming the public function, if
    there is none.
    """
    _check_ranks(name, shapes)
    rank = max(map(len, shapes))
    return tuple(
        _common_size(name, shapes, [s[d - rank] for s in shapes if d - rank >= -len(s)])
        for d in range(rank)
    )


def _common_size(name: str, shapes: tuple[tuple[Any, ...], ...], sizes: list[Any]) -> Any:
    wide = [size for size in sizes if not size == 1]
    if all(size == wide[0] for size in wide):
        return wide[0] if wide else 1
    raise ValueError(
        f"{name}: shapes {_listed(shapes)} do not broadcast. Sizes are matched from the last "
        "dimension backwards "
        "and must be equal or 1: reshape an operand, or insert a dimension with x[:, None]."
    )


def _listed(shapes: tuple[tuple[Any, ...], ...]) -> str:
    texts = [f"({','.join(map(str, s))}{',' if len(s) == 1 else ''})" for s in shapes]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _check_ranks(name: str, shapes: tuple[tuple[Any, ...], ...]) -> None:
    """Applies the setting numpy_rank_promotion to shapes of different nonzero rank."""
    setting = config.current().numpy_rank_promotion
    if setting == "allow" or len({len(s) for s in shapes if s}) < 2:
        return
    text = (
        f"{name}: broadcasts over ranks, from shapes {_listed(shapes)}, and "
        f"numpy_rank_promotion is '{setting}'."
    )
    if setting == "raise":
        raise ValueError(f"{text} Insert the missing dimensions with x[None].")
    warnings.warn(text, UserWarning, stacklevel=6)


def broadcast_to_shape(x: Array, shape: tuple[Any, ...]) -> Array:
    """`x` repeated to `shape`, to which it is known to broadcast."""
    if x.shape == shape:
        return x
    lead = len(shape) - x.ndim
    return broadcast_in_dim(x, shape, tuple(range(lead, len(shape))))


# ---- both --------------------------------------------------------------------------------------


def promote_args(name: str, *args: Any) -> Sequence[Array]:
    """The operands of the public function `name`, in one type and one shape (or rank 0)."""
    return promote_shapes(name, *_promoted(name, args, _same))


def promote_args_inexact(name: str, *args: Any) -> Sequence[Array]:
    """As `promote_args`, in a float or complex type."""
    return promote_shapes(name, *_promoted(name, args, dtypes.to_inexact))


def promote_args_numeric(name: str, *args: Any) -> Sequence[Array]:
    """As `promote_args`, with bools as integers."""
    return promote_shapes(name, *_promoted(name, args, _to_numeric))


def choose(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y; all of them already promoted (numbers take their
    partner's dtype).
    """
    return select_n(condition, y, x)
