"""The geometry of windows, shared by convolutions and window reductions.

A window slides over a padded, dilated dimension: tap k of window o meets element i where
i * base_dilation = o * stride - low + k * window_dilation. `tap_slices` solves that equation once
per tap, so that whole arrays of windows are handled by strided slices and nothing is ever padded
just to be read.
"""

import itertools
import math
from collections.abc import Sequence
from operator import index
from typing import Any


def dilated(size, dilation):
    """The size of a dimension after `dilation - 1` gaps are put between its elements."""
    return size if dilation == 1 or size == 0 else (size - 1) * dilation + 1


def window_count(size, window, stride, low, high):
    """How many windows fit a dimension of (dilated) `size` that is padded by `low` and `high`."""
    room = size + low + high - window
    if type(room) is int and room < 0:
        return 0
    return room // stride + 1


def tap_slices(size, count, offset, stride, dilation):
    """The windows o in [0, count) and elements i in [0, size) with i * dilation = o * stride +
    offset.

    Both progress evenly: a pair of slices of equal length, or None where no window meets an
    element.
    """
    common = math.gcd(stride, dilation)
    if offset % common:
        return None
    period, step = dilation // common, stride // common
    first = next(o for o in range(period) if (o * stride + offset) % dilation == 0)
    if first * stride + offset < 0:
        first += period * -(-(-offset - first * stride) // (stride * period))
    last = min(count - 1, ((size - 1) * dilation - offset) // stride)
    if first > last:
        return None
    steps = (last - first) // period
    start = (first * stride + offset) // dilation
    windows = slice(first, first + steps * period + 1, period)
    return windows, slice(start, start + steps * step + 1, step)


def window_taps(window):
    """The positions inside a window, row-major."""
    return itertools.product(*map(range, window))


def int_tuple(name: str, what: str, values: Any, length: int) -> tuple[int, ...]:
    """A static parameter that has one integer for each dimension; None means all ones."""
    if values is None:
        return (1,) * length
    result = tuple(map(index, values))
    if len(result) != length:
        raise ValueError(
            f"{name}: {what} needs one entry for each of {length} dimensions, but got {result}."
        )
    return result


def positive_tuple(name: str, what: str, values: Any, length: int) -> tuple[int, ...]:
    """As `int_tuple`, with entries of at least 1."""
    result = int_tuple(name, what, values, length)
    if any(v < 1 for v in result):
        raise ValueError(f"{name}: entries of {what} must be at least 1, but got {result}.")
    return result


def padtype_to_pads(
    in_shape: Sequence[Any],
    window_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: str,
) -> list[tuple[int, int]]:
    """The (low, high) padding of each dimension that "SAME", "SAME_LOWER" or "VALID" means.

    "SAME" gives ceil(size / stride) windows, and puts an odd element of padding at the end,
    "SAME_LOWER" at the start; "VALID" pads nothing.

    >>> padtype_to_pads((5, 6), (3, 2), (1, 2), "SAME")
    [(1, 1), (0, 0)]
    """
    return _named_pads("padtype_to_pads", in_shape, window_shape, window_strides, padding)


def _named_pads(name, in_shape, window_shape, window_strides, padding):
    kind = padding.upper() if isinstance(padding, str) else padding
    if kind == "VALID":
        return [(0, 0)] * len(in_shape)
    if kind not in ("SAME", "SAME_LOWER"):
        raise ValueError(
            f'{name}: padding must be "SAME", "SAME_LOWER", "VALID" or (low, high) pairs, but got '
            f"{padding!r}."
        )
    totals = [
        max((-(-size // stride) - 1) * stride + window - size, 0)
        for size, window, stride in zip(in_shape, window_shape, window_strides, strict=True)
    ]
    halves = [total // 2 for total in totals]
    pairs = [(half, total - half) for half, total in zip(halves, totals, strict=True)]
    return [pair[::-1] for pair in pairs] if kind == "SAME_LOWER" else pairs


def explicit_pads(name, padding, sizes, windows, strides):
    """Padding as pairs of ints, from pairs or from a name; `windows` are dilated sizes."""
    if isinstance(padding, str):
        return tuple(_named_pads(name, sizes, windows, strides, padding))
    try:
        pairs = tuple((index(low), index(high)) for low, high in padding)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: padding must be a name or one (low, high) pair of integers for each "
            f"dimension, but got {padding!r}."
        ) from None
    if len(pairs) != len(sizes):
        raise ValueError(
            f"{name}: padding needs one (low, high) pair for each of {len(sizes)} dimensions, "
            f"but got {pairs}."
        )
    return pairs
