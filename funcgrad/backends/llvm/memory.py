"""Between memory and registers: loads, stores and constants of every dtype.

A number in registers is a value, or two for the parts of a complex one, which lie side by side in
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from funcgrad.backends.llvm.builder import I64, Builder, Type, Value
from funcgrad.backends.llvm.scalar import (
    NARROW,
    Number,
    constant_of,
    from_memory,
    memory_kind,
    register_kind,
    to_memory,
)
from funcgrad.backends.llvm.values import chosen_lanes
from funcgrad.core import dtypes

constant = constant_of


def is_narrow(dtype: np.dtype) -> bool:
    """Is it a float of 16 bits, which registers hold as one of 32?"""
    return dtype in NARROW


def is_complex(dtype: np.dtype) -> bool:
    """Is it a pair of numbers?"""
    return dtypes.is_complex(dtype)


def parts(x: Number) -> list[Value]:
    """The values that hold a number."""
    return [x] if isinstance(x, Value) else list(x)


def joined(values: list[Value], dtype: np.dtype) -> Number:
    """The number that values hold."""
    return (values[0], values[1]) if dtypes.is_complex(dtype) else values[0]


def splat(b: Builder, x: Number, lanes: int) -> Any:
    """The number in every lane."""
    if isinstance(x, Value):
        return b.splat(x, lanes)
    return b.splat(x[0], lanes), b.splat(x[1], lanes)


def element(dtype: np.dtype) -> tuple[str, int]:
    """The kind of scalar in memory, and how many of them make one element."""
    if dtypes.is_complex(dtype):
        return register_kind(dtypes.real_part(dtype)), 2
    return memory_kind(dtype), 1


def allocate(b: Builder, dtype: np.dtype, size: int) -> Value:
    """Memory on the stack, with room for a vector beyond its end."""
    kind, width = element(dtype)
    return b.alloca(kind, size * width + 64)


def load(
    b: Builder, address: Value, dtype: np.dtype, lanes: int, step: int | None, mask: Value | None
) -> Any:
    """One element, or one a lane: so many elements apart, or at an address for each if `step` is
    None.
    """
    kind, width = element(dtype)
    if step in (-1, 2) and lanes > 1 and width == 1 and mask is None:
        return from_memory(b, _shuffled(b, address, Type(kind, lanes), step), dtype)
    if _apart(step, lanes):
        address, step = _addresses(b, address, kind, lanes, step * width), None
    if width == 2:
        return _load_pair(b, address, kind, lanes, step, mask)
    if step is None:
        return from_memory(b, b.gather(address, kind, mask), dtype)
    if mask is not None and mask.type.lanes != lanes:
        mask = None
    return from_memory(b, b.load(address, Type(kind, lanes), mask), dtype)


def _load_pair(
    b: Builder, address: Value, kind: str, lanes: int, step: int | None, mask: Value | None
) -> tuple[Value, Value]:
    if step is None or lanes == 1 or mask is not None:
        if step is not None and lanes > 1:
            address = _addresses(b, address, kind, lanes)
        second = b.element(address, _ones(b, address.type.lanes), kind)
        if address.type.lanes == 1:
            type = Type(kind)
            mask = mask if mask is not None and mask.type.lanes == 1 else None
            return b.load(address, type, mask), b.load(second, type, mask)
        return b.gather(address, kind, mask), b.gather(second, kind, mask)
    both = b.load(address, Type(kind, 2 * lanes))
    real = b.shuffle(both, both, range(0, 2 * lanes, 2))
    return real, b.shuffle(both, both, range(1, 2 * lanes, 2))


def _apart(step: int | None, lanes: int) -> TypeGuard[int]:
    """Do the elements of lanes lie apart, at equal distances?"""
    return step is not None and step not in (0, 1) and lanes > 1


def _shuffled(b: Builder, address: Value, type: Type, step: int) -> Value:
    """Elements backwards, or every second one: whole vectors, none beyond the last element."""
    lanes = type.lanes
    if step == -1:
        return _reversed(b, b.load(b.element(address, 1 - lanes, type.kind), type))
    first = b.load(address, type)
    second = b.load(b.element(address, lanes - 1, type.kind), type)
    return b.shuffle(first, second, [i if i < lanes else i + 1 for i in range(0, 2 * lanes, 2)])


def _store_apart(b: Builder, x: Value, address: Value, step: int, chosen: Sequence[int]) -> None:
    """One store for each lane, which is what a scatter takes, and a processor's scatter more."""
    lanes, kind = x.type.lanes, x.type.kind
    if step == -1 and len(chosen) == lanes:
        b.store(_reversed(b, x), b.element(address, 1 - lanes, kind))
        return
    for lane in chosen:
        b.store(b.extract(x, lane), b.element(address, lane * step, kind))


def _reversed(b: Builder, x: Value) -> Value:
    return b.shuffle(x, x, range(x.type.lanes - 1, -1, -1))


def _addresses(b: Builder, address: Value, kind: str, lanes: int, step: int = 2) -> Value:
    """Those of elements so far apart; of neighbouring pairs, if nothing is said."""
    type = Type("i64", lanes)
    steps = Value(f"<{', '.join(f'i64 {step * i}' for i in range(lanes))}>", type)
    return b.element(b.splat(address, lanes), steps, kind)


def _ones(b: Builder, lanes: int) -> Value:
    return b.const(1, Type("i64", lanes))


def store(
    b: Builder, x: Any, address: Value, dtype: np.dtype, lanes: int, step: int | None,
    mask: Value | None,
) -> None:  # fmt: skip
    """The counterpart of `load`."""
    kind, width = element(dtype)
    if _apart(step, lanes):
        chosen = chosen_lanes(mask, lanes)
        if width == 1 and chosen is not None:
            _store_apart(b, to_memory(b, x, dtype), address, step, chosen)
            return
        address, step = _addresses(b, address, kind, lanes, step * width), None
    if width == 2:
        _store_pair(b, x, address, kind, lanes, step, mask)
    elif step is None:
        b.scatter(to_memory(b, x, dtype), address, mask)
    else:
        held = mask if mask is not None and mask.type.lanes == x.type.lanes else None
        b.store(to_memory(b, x, dtype), address, held)


def _store_pair(
    b: Builder, x: Any, address: Value, kind: str, lanes: int, step: int | None, mask: Value | None
) -> None:
    real, imaginary = x
    if real.type.lanes == 1:
        b.store(real, address, mask)
        b.store(imaginary, b.element(address, 1, kind), mask)
        return
    if step is not None and mask is None:
        order = [i // 2 + (i % 2) * lanes for i in range(2 * lanes)]
        b.store(b.shuffle(real, imaginary, order), address)
        return
    if step is not None:
        address = _addresses(b, address, kind, lanes)
    b.scatter(real, address, mask)
    b.scatter(imaginary, b.element(address, _ones(b, address.type.lanes), kind), mask)


def fill(b: Builder, address: Value, dtype: np.dtype, size: int, value: Any) -> None:
    """The same number in every element of a buffer."""
    kind, width = element(dtype)
    stored = parts(constant(value, dtype, 1))
    if width == 1:
        stored = [to_memory(b, stored[0], dtype)]

    def one(i: Value, _: Any) -> None:
        place = i if width == 1 else b.mul(i, b.const(2, I64))
        at = b.element(address, place, kind)
        for n, part in enumerate(stored):
            b.store(part, b.element(at, n, kind))

    lanes = b.module.target.lanes(max(dtype.itemsize // width, 1))
    whole = size // lanes * lanes if width == 1 else 0
    if whole:
        wide = b.splat(stored[0], lanes)
        b.loop(0, whole, lanes, [], lambda i, _: b.store(wide, b.element(address, i, kind)))  # type: ignore[func-returns-value]
    if whole < size:
        b.loop(whole, size, 1, [], one)
