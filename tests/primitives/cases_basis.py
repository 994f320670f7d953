"""Rows for the longhand primitives."""

import numpy as np

from funcgrad.core import dtypes
from funcgrad.primitives import basis as b
from tests.primitives.cases import Case, bools, exactly, integers, normal, positive, uniform

CASES = [
    Case(b.broadcast_in_dim_p, [normal()], [dict(shape=(2, 3), broadcast_dimensions=())]),
    Case(
        b.broadcast_in_dim_p,
        [normal(3, 1)],
        [
            dict(shape=(3, 2), broadcast_dimensions=(0, 1)),
            dict(shape=(4, 3, 2), broadcast_dimensions=(1, 2)),
            dict(shape=(3, 2, 1), broadcast_dimensions=(0, 2)),
        ],
    ),
    Case(
        b.broadcast_in_dim_p,
        [integers(0, 9, 2, dtype="uint8")],
        dict(shape=(2, 0, 2), broadcast_dimensions=(2,)),
    ),
    Case(
        b.reshape_p,
        [normal(2, 6)],
        [dict(new_sizes=(3, 4)), dict(new_sizes=(12,)), dict(new_sizes=(2, 1, 6, 1))],
    ),
    Case(b.reshape_p, [normal()], dict(new_sizes=(1, 1))),
    Case(b.reshape_p, [normal(0, 3, dtype="bfloat16")], dict(new_sizes=(3, 0))),
    Case(
        b.transpose_p,
        [normal(2, 3, 4)],
        [
            dict(permutation=p)
            for p in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        ],
    ),
    Case(b.transpose_p, [bools(2, 3)], dict(permutation=(1, 0))),
    Case(
        b.reduce_sum_p,
        [normal(2, 3, 4)],
        [dict(axes=a) for a in ((0,), (1,), (2,), (0, 2), (0, 1, 2), ())],
    ),
    Case(b.reduce_sum_p, [integers(-99, 99, 3, 4, dtype="int8")], dict(axes=(1,))),
    Case(b.reduce_sum_p, [normal(3, 4, dtype="complex64")], dict(axes=(0,))),
    Case(b.reduce_sum_p, [normal(3, 400, dtype="bfloat16")], dict(axes=(1,))),
    Case(b.reduce_sum_p, [normal(0, 3)], dict(axes=(0,))),
    *(
        Case(p, args)
        for p in (b.add_p, b.sub_p, b.mul_p)
        for args in (
            [normal(2, 3), normal(2, 3)],
            [normal(), normal(2, 3)],
            [normal(2, 3), normal()],
            [normal(), normal()],
            [normal(3, dtype="complex64"), normal(3, dtype="complex64")],
            [integers(0, 250, 4, dtype="uint8"), integers(0, 250, 4, dtype="uint8")],
            [normal(4, dtype="bfloat16"), normal(4, dtype="bfloat16")],
        )
    ),
    Case(b.neg_p, [normal(2, 3)]),
    Case(b.neg_p, [integers(-5, 5, 4)]),
    Case(b.neg_p, [normal(3, dtype="complex64")]),
    Case(b.div_p, [normal(2, 3), positive(2, 3)]),
    Case(b.div_p, [normal(2, 3), positive()]),
    Case(b.div_p, [normal(), positive(2, 3)]),
    Case(b.div_p, [normal(3, dtype="complex64"), normal(3, dtype="complex64")], tolerance=1e-4),
    Case(b.div_p, [integers(-9, 9, 6), exactly([3, -2, 0, 5, -1, 4], np.int32)]),
    Case(b.div_p, [integers(0, 99, 4, dtype="uint16"), exactly([3, 0, 7, 1], np.uint16)]),
    Case(b.select_n_p, [bools(2, 3), normal(2, 3), normal(2, 3)]),
    Case(b.select_n_p, [bools(), normal(2, 3), normal(2, 3)]),
    Case(b.select_n_p, [bools(2, 3), normal(2, 3), normal()]),
    Case(b.select_n_p, [bools(3), integers(0, 9, 3), integers(0, 9, 3)]),
    Case(b.select_n_p, [integers(0, 3, 4), normal(4), normal(4), normal(4)]),
    Case(b.select_n_p, [exactly([0, 1, -1, 3], "int32"), normal(4), normal(4)]),
    Case(b.select_n_p, [exactly([0, 2, 5, -1], "int32"), normal(4), normal(4), normal(4)]),
    Case(b.select_n_p, [bools(4), normal(4)]),
    *(
        Case(b.convert_element_type_p, [arg], [dict(new_dtype=t, weak_type=False) for t in types])
        for arg, types in (
            (
                normal(3),
                (dtypes.float64, dtypes.float16, dtypes.bfloat16, dtypes.complex64, dtypes.bool_),
            ),
            (uniform(-300, 300, 5), (dtypes.int8, dtypes.uint8, dtypes.int32)),
            (
                exactly([np.nan, np.inf, -np.inf, 1e20], np.float32),
                (dtypes.int32, dtypes.int64, dtypes.uint16),
            ),
            (integers(-300, 300, 5), (dtypes.int8, dtypes.uint8, dtypes.float32, dtypes.bool_)),
            (bools(4), (dtypes.int32, dtypes.float32, dtypes.complex64)),
            (
                exactly([-128, -129, -127, 126, 127, 127.5, 128, 255, 256], np.float32),
                (dtypes.int8, dtypes.uint8),
            ),
            (
                exactly([-1, 0, 2.0**63, 2.0**64, np.inf], dtypes.bfloat16),
                (dtypes.int64, dtypes.uint64),
            ),
            (normal(3, dtype="complex64"), (dtypes.float32, dtypes.complex128)),
            (exactly([0, 1j, 2, -1.5], np.complex64), (dtypes.bool_, dtypes.int32)),
        )
    ),
]

# Narrow results have steps that a difference quotient falls through.
for case in CASES:
    if case.primitive is b.convert_element_type_p:
        case.skip = {"derivative": "rounds", "second": "rounds", "transpose": "rounds"}
CASES.append(
    Case(b.convert_element_type_p, [normal(3)], dict(new_dtype=dtypes.float64, weak_type=False))
)
