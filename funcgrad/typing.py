"""Types for annotations."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from funcgrad.core.array import Array


class SupportsDType(Protocol):
    """Anything with a `dtype`."""

    @property
    def dtype(self) -> np.dtype: ...


#: What functions accept as an array.
ArrayLike = Array | np.ndarray | np.bool_ | np.number | bool | int | float | complex
#: What functions accept as a dtype.
DTypeLike = str | type[Any] | np.dtype | SupportsDType

__all__ = ["ArrayLike", "DTypeLike", "SupportsDType"]
