"""Rows for dot_general: every kind of dimension numbers, and the types that take roads of their
own.
"""

import numpy as np

from funcgrad.core import dtypes
from funcgrad.primitives.contract import Precision, dot_general_p
from tests.primitives.cases import Case, bools, integers, normal


def numbers(lhs_contract, rhs_contract, lhs_batch=(), rhs_batch=(), precision=None, preferred=None):
    """The parameters of one product."""
    return {
        "dimension_numbers": ((lhs_contract, rhs_contract), (lhs_batch, rhs_batch)),
        "precision": precision,
        "preferred_element_type": preferred,
    }


MATMUL = numbers((1,), (0,))

CASES = [
    Case(dot_general_p, [normal(3, 4), normal(4, 2)], MATMUL),
    Case(dot_general_p, [normal(4, 3), normal(2, 4)], numbers((0,), (1,))),
    Case(dot_general_p, [normal(4), normal(4)], numbers((0,), (0,))),
    Case(dot_general_p, [normal(4), normal(4, 3)], numbers((0,), (0,))),
    Case(dot_general_p, [normal(3), normal(2)], numbers((), ())),
    Case(dot_general_p, [normal(), normal(2)], numbers((), ())),
    Case(dot_general_p, [normal(3, 2, 4), normal(4, 5, 3)], numbers((0, 2), (2, 0))),
    Case(dot_general_p, [normal(3, 2, 4), normal(3, 5, 4)], numbers((2,), (2,), (0,), (0,))),
    Case(dot_general_p, [normal(2, 3, 4), normal(4, 5, 2)], numbers((2,), (0,), (0,), (2,))),
    Case(dot_general_p, [normal(2, 3, 4), normal(4, 3, 2)], numbers((1,), (1,), (2, 0), (0, 2))),
    Case(dot_general_p, [normal(2, 3, 4, 5), normal(5, 4, 2)], numbers((3, 2), (0, 1))),
    Case(dot_general_p, [normal(4, 2, 3), normal(2, 4, 5)], numbers((0,), (1,), (1,), (0,))),
    Case(dot_general_p, [normal(3, 2), normal(3, 2)], numbers((), (), (0,), (0,))),
    Case(dot_general_p, [normal(3, 1), normal(1, 2)], MATMUL),
    Case(dot_general_p, [normal(3, 1), normal(1, 2)],
         numbers((1,), (0,), preferred=dtypes.float64)),
    Case(dot_general_p, [normal(3, 0), normal(0, 2)], MATMUL),
    Case(dot_general_p, [normal(3, 4), normal(4, 2)],
         numbers((1,), (0,), precision=(Precision.HIGHEST, None))),
    Case(dot_general_p, [normal(3, 4), normal(4, 2)],
         numbers((1,), (0,), preferred=dtypes.float64)),
    Case(dot_general_p, [normal(3, 4, dtype="bfloat16"), normal(4, 2, dtype="bfloat16")],
         [MATMUL, numbers((1,), (0,), preferred=dtypes.float32)]),
    Case(dot_general_p, [normal(3, 4, dtype="float16"), normal(4, 2, dtype="float16")], MATMUL),
    Case(dot_general_p, [normal(3, 4, dtype="complex64"), normal(4, 2, dtype="complex64")], MATMUL),
    Case(dot_general_p, [bools(3, 4), bools(4, 2)], MATMUL),
    Case(dot_general_p, [integers(-99, 99, 4, 4, dtype="int8")] * 2,
         [MATMUL, numbers((1,), (0,), preferred=dtypes.int32)]),
    Case(dot_general_p, [integers(0, np.iinfo("int64").max, 40, 40, dtype="uint64")] * 2, MATMUL),
]  # fmt: skip
