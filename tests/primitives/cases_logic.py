"""Rows for comparisons, logic and bits."""

from __future__ import annotations

import numpy as np

from funcgrad.primitives import logic
from tests.primitives.cases import Case, Maker, bools, exactly, integers, normal

COMPARISONS = (logic.eq_p, logic.ne_p, logic.lt_p, logic.le_p, logic.gt_p, logic.ge_p)
BITWISE = (logic.and_p, logic.or_p, logic.xor_p)
SHIFTS = (logic.shift_left_p, logic.shift_right_logical_p, logic.shift_right_arithmetic_p)
COUNTS = (logic.population_count_p, logic.clz_p)
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def few(*shape: int, dtype="int32") -> Maker:
    """Small integers, among which equal ones are frequent."""
    return integers(0, 3, *shape, dtype=dtype)


def whole_range(dtype: str) -> Maker:
    """Integers from the whole range of a type, its ends among them."""
    limits = np.iinfo(dtype)

    def make(rng: np.random.Generator) -> np.ndarray:
        x = rng.integers(limits.min, limits.max, size=8, dtype=dtype, endpoint=True)
        x[:3] = limits.min, limits.max, 0
        return x

    return make


def amounts(dtype: str) -> Maker:
    """Shifts on both sides of the width, and a negative one where there are any."""
    width = np.iinfo(dtype).bits
    last = -1 if dtype.startswith("i") else 200
    return exactly([0, 1, 3, width - 1, width, width + 1, 2, last], dtype)


CASES = [
    *(Case(p, args) for p in COMPARISONS       for args in ([few(2, 3), few(2, 3)], [few(), few(2,
    3)], [few(4), few()], [few(0), few(0)])), *(Case(p, [few(6, dtype=dtype), few(6, dtype=dtype)],
    name=dtype) for p in COMPARISONS       for dtype in ("uint8", "float32", "bfloat16",
    "float64")), *(Case(p, [exactly([np.nan, 1, np.inf, -0.0], "float32"), exactly([np.nan, np.nan,
    np.inf, 0.0], "float32")], name="special") for p in COMPARISONS), *(Case(p, [bools(6),
    bools(6)], name="bool") for p in (*COMPARISONS, *BITWISE)), *(Case(p, [normal(3,
    dtype="complex64")] * 2, name="complex") for p in COMPARISONS[:2]), *(Case(p,
    [whole_range(dtype), whole_range(dtype)], name=dtype) for p in BITWISE for dtype in INTEGERS),
    *(Case(p, [integers(0, 9), integers(0, 9, 2, 3)], name="rank 0") for p in (*BITWISE, *SHIFTS)),
    Case(logic.not_p, [bools(4)]), *(Case(p, [whole_range(dtype)], name=dtype) for p in
    (logic.not_p, *COUNTS) for dtype in INTEGERS), *(Case(p, [whole_range(dtype), amounts(dtype)],
    name=dtype) for p in SHIFTS for dtype in INTEGERS),
]  # fmt: skip
