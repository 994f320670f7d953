"""Reductions over segments: rows that share a number are summed, multiplied or compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import funcgrad.numpy as jnp
from funcgrad.errors import user_facing
from funcgrad.primitives.kinds import dtype_limits


def _segments(name: str, data: Any, segment_ids: Any, num_segments: int | None) -> Any:
    data, ids = jnp.asarray(data), jnp.asarray(segment_ids)
    if ids.ndim != 1 or data.ndim == 0 or data.shape[0] != ids.shape[0]:
        raise ValueError(
            f"{name}: segment_ids must number the rows of data, but got shapes {ids.shape} and "
            f"{data.shape}."
        )
    if num_segments is None:
        num_segments = int(ids.max()) + 1 if ids.size else 0
    return data, ids, num_segments


def _reduction(
    name: str, start: Callable[[Any], Any], combine: str, words: str
) -> Callable[..., Any]:
    def function(
        data: Any,
        segment_ids: Any,
        num_segments: int | None = None,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        bucket_size: int | None = None,
        mode: str | None = None,
    ) -> Any:
        rows, ids, count = _segments(name, data, segment_ids, num_segments)
        out = jnp.full((count, *rows.shape[1:]), start(rows.dtype), rows.dtype)
        update = getattr(out.at[ids], combine)
        return update(
            rows, indices_are_sorted=indices_are_sorted, unique_indices=unique_indices, mode=mode
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{words} of the rows of `data` that have the same number in `segment_ids`.

    `data` has shape `(n, ...)`, `segment_ids` holds n integers; the result has shape
    `(num_segments, ...)`. Rows with a number outside of it are dropped. Under `jit`, `num_segments`
    must be given. `bucket_size` is accepted for compatibility and has no effect.
    """
    return user_facing(function)


segment_sum = _reduction("segment_sum", lambda dtype: 0, "add", "Sums")
segment_prod = _reduction("segment_prod", lambda dtype: 1, "multiply", "Products")
segment_max = _reduction("segment_max", lambda dtype: dtype_limits(dtype)[0], "max", "Maxima")
segment_min = _reduction("segment_min", lambda dtype: dtype_limits(dtype)[1], "min", "Minima")

__all__ = ["segment_max", "segment_min", "segment_prod", "segment_sum"]
