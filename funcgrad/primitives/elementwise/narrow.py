"""Formulas of several steps on bfloat16 and float16: evaluated in float32, rounded once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from funcgrad.core import dtypes
from funcgrad.core.backend import NARROW


def in_float32(value: Callable[..., Any]) -> Callable[..., Any]:
    """A `value` rule that widens 16-bit floats, applies `value`, and rounds its result once."""

    @functools.wraps(value)
    def widened(xp: Any, *buffers: Any, **params: Any) -> Any:
        dtype = buffers[0].dtype
        if dtype not in NARROW:
            return value(xp, *buffers, **params)
        wide = [buffer.astype(dtypes.float32) for buffer in buffers]
        return value(xp, *wide, **params).astype(dtype)

    return widened
