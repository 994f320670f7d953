"""Rows for reductions and running reductions.

Operands of extrema are well apart, so that a difference quotient does not cross a tie; ties and
zeros, where derivatives are subtle, are in test_reduce.py.
"""

from funcgrad.core import dtypes
from funcgrad.primitives import cumulative as c, reduce as r
from tests.primitives.cases import Case, bools, distinct, integers, normal

AXES = [{"axes": axes} for axes in ((0,), (1,), (0, 2), (0, 1, 2), ())]
RUNS = [{"axis": axis, "reverse": reverse} for axis in (0, 1) for reverse in (False, True)]
INDEX = {"axes": (1,), "index_dtype": dtypes.int32}

CASES = [
    *(
        Case(p, args, params)
        for p in (r.reduce_max_p, r.reduce_min_p)
        for args, params in (
            ([distinct(2, 3, 4)], AXES),
            ([integers(-9, 9, 3, 4, dtype="int8")], {"axes": (0,)}),
            ([bools(3, 4)], {"axes": (1,)}),
            ([normal(3, 4, dtype="bfloat16")], {"axes": (1,)}),
            ([normal(0, 3)], {"axes": (1,)}),
        )
    ),
    Case(r.reduce_prod_p, [normal(2, 3, 4)], AXES),
    Case(r.reduce_prod_p, [normal(1, 3)], {"axes": (0,)}),
    Case(r.reduce_prod_p, [normal(5, 1)], {"axes": (0,)}),
    Case(r.reduce_prod_p, [normal(0, 3)], {"axes": (0,)}),
    Case(r.reduce_prod_p, [integers(1, 9, 3, 4, dtype="uint8")], {"axes": (0,)}),
    Case(r.reduce_prod_p, [normal(3, 2, dtype="complex64")], {"axes": (0,)}, tolerance=1e-4),
    Case(r.reduce_prod_p, [normal(3, 4, dtype="bfloat16")], {"axes": (1,)}),
    *(
        Case(p, [make], [{"axes": axes} for axes in ((0,), (0, 1))])
        for p in (r.reduce_and_p, r.reduce_or_p, r.reduce_xor_p)
        for make in (bools(3, 4), integers(0, 99, 3, 4), integers(0, 200, 3, 0, dtype="uint8"))
    ),
    *(
        Case(p, [make], INDEX)
        for p in (r.argmax_p, r.argmin_p)
        for make in (
            normal(3, 5),
            integers(0, 3, 3, 9),
            bools(2, 3),
            normal(3, 4, dtype="bfloat16"),
        )
    ),
    Case(r.argmax_p, [normal(4)], {"axes": (0,), "index_dtype": dtypes.uint8}),
    *(
        Case(p, [make(3, 5)], RUNS)
        for p, make in (
            (c.cumsum_p, normal),
            (c.cumprod_p, normal),
            (c.cummax_p, distinct),
            (c.cummin_p, distinct),
            (c.cumlogsumexp_p, normal),
        )
    ),
    *(
        Case(p, [make], {"axis": 0, "reverse": True})
        for p in (c.cumsum_p, c.cumprod_p, c.cummax_p, c.cummin_p)
        for make in (integers(-3, 3, 4, dtype="int8"), normal(4, dtype="bfloat16"), normal(0))
    ),
    Case(c.cumsum_p, [normal(3, 2, dtype="complex64")], {"axis": 0, "reverse": False}),
    Case(
        c.cumprod_p,
        [normal(3, 2, dtype="complex64")],
        {"axis": 0, "reverse": False},
        tolerance=1e-4,
    ),
    Case(c.cumlogsumexp_p, [normal(4, dtype="bfloat16")], {"axis": 0, "reverse": False}),
    Case(c.cumlogsumexp_p, [normal(1, 3)], {"axis": 0, "reverse": False}),
]
