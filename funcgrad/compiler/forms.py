"""What follows from loop forms alone, for passes and kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad.core import loops
from funcgrad.core.dtypes import bool_


def updates_operand(form: loops.Scatter) -> int:
    """The number of the operand that holds the updates."""
    return 2 if "dimension_numbers" in form.params else 1


def scalar_of(op: str) -> str:
    """The operation of two numbers that a reduction combines with."""
    return {"and": "and_", "or": "or_"}.get(op, op)


def identity_of(op: str, dtype: np.dtype) -> Any:
    """What changes nothing when combined."""
    if op in ("add", "or", "xor"):
        return dtype.type(0)
    if op == "mul":
        return dtype.type(1)
    if dtype == bool_:
        return dtype.type(op in ("and", "min"))
    if op == "and":
        return np.bitwise_not(dtype.type(0))
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return dtype.type(info.min if op == "max" else info.max)
    return dtype.type(-math.inf if op == "max" else math.inf)
