"""Functions of `lax` that are short compositions of primitives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.core.avals import typeof
from funcgrad.primitives.basis import broadcast_in_dim, neg, reshape, select_n
from funcgrad.primitives.sort import top_k

_Pair = tuple[Sequence[int], Sequence[int]]
DotDimensionNumbers = tuple[_Pair, _Pair]


def select(pred: Any, on_true: Any, on_false: Any) -> Any:
    """`on_true` where `pred` holds, else `on_false`: arrays of one type and shape; `pred` may be
    a scalar.

    >>> import funcgrad.numpy as jnp
    >>> select(jnp.array([True, False]), jnp.array([1, 2]), jnp.array([3, 4]))
    Array([1, 4], dtype=int32)
    """
    return select_n(pred, on_false, on_true)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to; ValueError if they do not."""
    return np.broadcast_shapes(*map(tuple, shapes))


def broadcast(operand: Any, sizes: Sequence[int]) -> Any:
    """The operand repeated along new leading dimensions of the given sizes."""
    shape = typeof(operand).shape
    new = len(sizes)
    return broadcast_in_dim(operand, (*sizes, *shape), range(new, new + len(shape)))


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Any:
    """Dimensions `start_dimension` to `stop_dimension - 1` as one.

    >>> import funcgrad.numpy as jnp
    >>> collapse(jnp.zeros((2, 3, 4)), 1).shape
    (2, 12)
    """
    shape = typeof(operand).shape
    rank = len(shape)
    start = start_dimension + rank if start_dimension < 0 else start_dimension
    stop = rank if stop_dimension is None else stop_dimension
    stop = stop + rank if stop < 0 else stop
    return reshape(operand, (*shape[:start], math.prod(shape[start:stop]), *shape[stop:]))


def approx_max_k(
    operand: Any,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> Any:
    """The `k` largest elements and their indices. Exact here; the settings of the approximation
    (`recall_target`, `reduction_input_size_override`, `aggregate_to_topk`) have no effect.
    """
    _check_last(operand, reduction_dimension, "approx_max_k")
    return top_k(operand, k)


def approx_min_k(
    operand: Any,
    k: int,
    reduction_dimension: int = -1,
    recall_target: float = 0.95,
    reduction_input_size_override: int = -1,
    aggregate_to_topk: bool = True,
) -> list[Any]:
    """The `k` smallest elements and their indices, as `approx_max_k`."""
    _check_last(operand, reduction_dimension, "approx_min_k")
    values, indices = top_k(neg(operand), k)
    return [neg(values), indices]


def _check_last(operand: Any, dimension: int, name: str) -> None:
    rank = typeof(operand).ndim
    if dimension not in (-1, rank - 1):
        raise ValueError(
            f"{name}: reduction_dimension must be the last one, but got {dimension}. Use moveaxis."
        )


def with_sharding_constraint(x: Any, shardings: Any) -> Any:
    """`x` itself: on one device there is nothing to distribute."""
    return x
