"""Element types: questions and rules."""

from __future__ import annotations

from typing import Any

from funcgrad.core.dtypes import (
    as_dtype as _as_dtype,
    bfloat16 as bfloat16,
    float0 as float0,
    narrowed as _narrowed,
    prng_key as prng_key,
)
from funcgrad.numpy.types import issubdtype as issubdtype, result_type as result_type


def canonicalize_dtype(dtype: Any, allow_extended_dtype: bool = False) -> Any:
    """The type that data of `dtype` gets by default: 64 bits become 32 unless `enable_x64`.

    >>> canonicalize_dtype("float64")
    dtype('float32')
    """
    return _narrowed(_as_dtype(dtype))


__all__ = ["bfloat16", "canonicalize_dtype", "float0", "issubdtype", "prng_key", "result_type"]
