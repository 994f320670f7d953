"""Rows for bitcast, stop_gradient and reduce_precision."""

from __future__ import annotations

import numpy as np

from funcgrad.primitives import convert
from tests.primitives.cases import Case, bools, exactly, integers, normal

bitcast = convert.bitcast_convert_type_p
SAME_WIDTH = [("float32", "int32"), ("float32", "uint32"), ("bfloat16", "uint16"),
              ("float16", "bfloat16"), ("float64", "int64"), ("int8", "uint8")]  # fmt: skip
NARROWER = [("float32", "uint8"), ("float32", "int16"), ("float64", "float32"), ("int16", "uint8")]
BITS = {"derivative": "a step of numbers is no step of their bits"}
BYTES = {**BITS, "loops": "each element becomes several, or several become one"}
ROUNDS = dict.fromkeys(("derivative", "transpose", "second"), "rounded: see test_convert.py")

CASES = [
    *(
        Case(bitcast, [normal(2, 3, dtype=old)], dict(new_dtype=np.dtype(new)), skip=skip)
        for pairs, skip in ((SAME_WIDTH, BITS), (NARROWER, BYTES))
        for old, new in pairs
    ),
    Case(bitcast, [normal()], dict(new_dtype=np.dtype("uint8")), skip=BYTES),
    Case(
        bitcast,
        [integers(0, 255, 2, 3, 4, dtype="uint8")],
        [dict(new_dtype=np.dtype(new)) for new in ("int32", "uint32")],
        skip=BYTES,
    ),
    Case(
        bitcast, [integers(0, 9, 2, dtype="int16")], dict(new_dtype=np.dtype("uint32")), skip=BYTES
    ),
    *(
        Case(convert.stop_gradient_p, [maker], skip={"derivative": "it is there to have none"})
        for maker in (normal(2, 3), normal(dtype="complex64"), integers(0, 9, 3), bools(2))
    ),
    *(
        Case(
            convert.reduce_precision_p,
            [normal(3, 4, dtype=dtype)],
            [dict(exponent_bits=e, mantissa_bits=m) for e, m in ((5, 10), (8, 7), (4, 3), (5, 0))],
            skip=ROUNDS,
        )
        for dtype in ("float32", "float64", "bfloat16", "float16")
    ),
    Case(
        convert.reduce_precision_p,
        [exactly([70000.0, -65520.0, 65519.0, 1e-6, -1e-6, np.inf, np.nan, 0.0], "float32")],
        dict(exponent_bits=5, mantissa_bits=10),
        skip=ROUNDS,
    ),
]
