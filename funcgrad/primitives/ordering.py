"""The order in which values are sorted, as unsigned integers, and stable sorting built on it.

Floats are mapped to integers that compare as the floats should: -0.0 equal to 0.0, NaN after all.
Up to 32 bits, value and position share one 64-bit word: sorting such words is a stable sort of the
values, several times faster than NumPy's, and its low half is the permutation. Next: sort.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad.core import dtypes

Buffer = Any


def comparable(xp: Any, x: Buffer) -> list[Buffer]:
    """Arrays of real types that NumPy compares correctly, the most significant first."""
    if dtypes.is_complex(x.dtype):
        return [x.real, x.imag]
    return [x.astype(np.float32) if x.dtype == dtypes.bfloat16 else x]


def ordered_bits(xp: Any, x: Buffer) -> Buffer:
    """Unsigned integers of 32 or 64 bits in the order of a `comparable` array.

    NaN, whatever its sign, is the largest number, and -0.0 comes before 0.0.
    """
    wide = x.dtype.itemsize > 4
    signed, unsigned = (np.int64, np.uint64) if wide else (np.int32, np.uint32)
    if x.dtype.kind in "bu":
        return x.astype(unsigned)
    top_bit = np.iinfo(signed).min
    if x.dtype.kind == "i":
        return (x.astype(signed) ^ signed(top_bit)).view(unsigned)
    number = np.float64 if wide else np.float32
    bits = xp.where(x == x, x, number(np.nan)).astype(number, copy=False).view(signed)
    # the sign bit is inverted in positive numbers, and every bit in negative ones
    return (bits ^ ((bits >> signed(8 * bits.dtype.itemsize - 1)) | signed(top_bit))).view(unsigned)


def _packed(xp: Any, bits: Buffer) -> Buffer:
    """Words that hold each value of 32 bits above its position along the last axis."""
    words = bits.astype(np.uint64) << np.uint64(32)
    words |= xp.arange(bits.shape[-1], dtype=np.uint64)
    return words


def _positions(words: Buffer) -> Buffer:
    return words.astype(np.uint32).view(np.int32)


# Below these sizes NumPy's own stable sort of the values beats packing them first.
_WORTH_PACKING, _WORTH_PACKING_ALONG = 512, 64


def stable_order(xp: Any, keys: list[Buffer], axis: int) -> Buffer:
    """The permutation along `axis` that sorts by `keys`, the first the most significant, stably."""
    *more_significant, key = keys
    order = _stable_order_of_one(xp, key, axis)
    for key in reversed(more_significant):
        order = take(xp, order, _stable_order_of_one(xp, take(xp, key, order, axis), axis), axis)
    return order


def _stable_order_of_one(xp, key, axis):
    large = key.size >= _WORTH_PACKING and key.shape[axis] >= _WORTH_PACKING_ALONG
    if key.dtype.itemsize > 4 or not large:
        return xp.argsort(key, axis, kind="stable")
    if key.dtype.kind == "f":
        key = key + np.float32(0)  # makes -0.0 equal to 0.0
    words = _packed(xp, ordered_bits(xp, xp.moveaxis(key, axis, -1)))
    words.sort(-1)
    return xp.moveaxis(_positions(words), -1, axis)


def take(xp: Any, x: Buffer, order: Buffer, axis: int) -> Buffer:
    """The elements of `x` at the positions `order` along `axis`."""
    if x.ndim == 1:
        return x[order]
    rows, order = xp.moveaxis(x, axis, -1), xp.moveaxis(order, axis, -1)
    size, lead = rows.shape[-1], rows.shape[:-1]
    first = xp.arange(math.prod(lead)).reshape((*lead, 1)) * size
    # one flat index is several times faster than take_along_axis, which makes one for each axis
    return xp.moveaxis(xp.take(rows.reshape(-1), order + first), -1, axis)


def sorted_values(xp: Any, x: Buffer, axis: int, is_stable: bool) -> Buffer:
    """`x` sorted along `axis`; stability can be seen only where -0.0 meets 0.0."""
    keys = comparable(xp, x)
    if len(keys) > 1:
        return take(xp, x, stable_order(xp, keys, axis), axis)
    (key,) = keys
    seen = is_stable and key.dtype.kind == "f" and xp.any(xp.signbit(key) & (key == 0))
    result = xp.sort(key, axis, kind="stable") if seen else xp.sort(key, axis)
    return result if key is x else result.astype(x.dtype)


def largest_positions(xp: Any, x: Buffer, k: int) -> Buffer:
    """Positions of the k largest along the last axis, largest first, equal ones in order."""
    descending = ~ordered_bits(xp, *comparable(xp, x))
    if descending.dtype.itemsize > 4:
        return xp.argsort(descending, -1, kind="stable")[..., :k]
    words = _packed(xp, descending)
    if k < x.shape[-1]:
        words = xp.partition(words, k, -1)[..., :k]
    return _positions(xp.sort(words, -1))
