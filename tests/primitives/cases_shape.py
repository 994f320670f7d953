"""Rows for the operations that move elements: slice, pad, concatenate and relatives; and iota."""

import numpy as np

from funcgrad.core import dtypes
from funcgrad.primitives import shape as s
from tests.primitives.cases import Case, bools, integers, normal


def sliced(starts, limits, strides=None):
    return {"start_indices": starts, "limit_indices": limits, "strides": strides}


def padded(*config):
    return {"padding_config": config}


CASES = [
    Case(s.squeeze_p, [normal(1, 3, 1, 2)], [{"dimensions": d} for d in ((0,), (2,), (0, 2), ())]),
    Case(s.squeeze_p, [integers(0, 9, 1, dtype="int8")], {"dimensions": (0,)}),
    Case(
        s.slice_p,
        [normal(4, 5)],
        [
            sliced((0, 0), (4, 5)),
            sliced((1, 2), (3, 5)),
            sliced((1, 0), (4, 5), (2, 3)),
            sliced((0, 1), (4, 4), (3, 2)),
            sliced((2, 2), (2, 5)),
            sliced((3, 4), (4, 5), (7, 1)),
        ],
    ),
    Case(s.slice_p, [bools(6)], sliced((1,), (6,), (2,))),
    Case(s.slice_p, [normal(0, 2)], sliced((0, 0), (0, 1))),
    Case(
        s.pad_p,
        [normal(2, 3), normal()],
        [
            padded((1, 2, 0), (0, 3, 0)),
            padded((0, 0, 1), (0, 0, 2)),
            padded((1, 2, 1), (-1, 0, 2)),
            padded((-1, 0, 0), (0, -2, 0)),
            padded((-2, 3, 0), (1, -3, 1)),
            padded((0, 0, 0), (0, 0, 0)),
        ],
    ),
    Case(
        s.pad_p,
        [normal(6), normal()],
        [padded((-3, -4, 2)), padded((3, -5, 2)), padded((-7, 5, 1)), padded((-9, 9, 0))],
    ),
    Case(s.pad_p, [normal(0, 2), normal()], padded((1, 2, 3), (1, 0, 0))),
    Case(s.pad_p, [normal(1), normal()], padded((0, 2, 5))),
    Case(
        s.pad_p,
        [integers(0, 9, 3, dtype="uint8"), integers(0, 9, dtype="uint8")],
        padded((1, 1, 1)),
    ),
    Case(s.pad_p, [normal(3, dtype="bfloat16"), normal(dtype="bfloat16")], padded((2, -1, 1))),
    Case(s.pad_p, [normal(3, dtype="complex64"), normal(dtype="complex64")], padded((0, 1, 0))),
    Case(s.concatenate_p, [normal(2, 3), normal(2, 1), normal(2, 0)], {"dimension": 1}),
    Case(s.concatenate_p, [normal(1, 3), normal(2, 3)], {"dimension": 0}),
    Case(s.concatenate_p, [normal(2, 2, 2)], {"dimension": 1}),
    Case(s.concatenate_p, [bools(2), bools(3)], {"dimension": 0}),
    Case(
        s.concatenate_p,
        [normal(2, dtype="complex64"), normal(1, dtype="complex64")],
        {"dimension": 0},
    ),
    Case(s.split_p, [normal(2, 5)], [{"sizes": z, "axis": 1} for z in ((2, 3), (1, 0, 4), (5,))]),
    Case(s.split_p, [normal(4, 3)], {"sizes": (1, 3), "axis": 0}),
    Case(s.split_p, [integers(-9, 9, 4)], {"sizes": (2, 2), "axis": 0}),
    Case(s.rev_p, [normal(2, 3, 4)], [{"dimensions": d} for d in ((0,), (1,), (0, 2), ())]),
    Case(s.rev_p, [integers(0, 9, 0, 2, dtype="uint16")], {"dimensions": (0, 1)}),
    Case(s.copy_p, [normal(2, 3)]),
    Case(s.copy_p, [bools()]),
    *(
        Case(s.iota_p, [], [{"dtype": t, "shape": (3, 2), "dimension": d} for d in (0, 1)])
        for t in (dtypes.int32, dtypes.uint8, dtypes.float32, dtypes.bfloat16, dtypes.complex64)
    ),
    Case(s.iota_p, [], {"dtype": np.dtype("int8"), "shape": (300,), "dimension": 0}),
    *(
        Case(s.iota_p, [], {"dtype": t, "shape": (5000,), "dimension": 0})
        for t in (dtypes.bfloat16, dtypes.float16)
    ),
    Case(s.iota_p, [], {"dtype": np.dtype("float64"), "shape": (2, 0, 3), "dimension": 1}),
]
