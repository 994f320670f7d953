"""Rows for sort and top_k; keys are distinct, so that a difference does not reorder them."""

from funcgrad.primitives import sort as s
from tests.primitives.cases import Case, bools, distinct, integers, normal


def order(dimension, num_keys=1, is_stable=True):
    return {"dimension": dimension, "is_stable": is_stable, "num_keys": num_keys}


CASES = [
    Case(s.sort_p, [distinct(3, 5)], [order(0), order(1), order(1, is_stable=False)]),
    Case(s.sort_p, [distinct(3, 5), normal(3, 5)], [order(0), order(1)]),
    Case(s.sort_p, [integers(0, 2, 3, 5), distinct(3, 5), normal(3, 5)], order(1, num_keys=2)),
    Case(s.sort_p, [integers(0, 3, 9), integers(0, 9, 9, dtype="uint8")], order(0)),
    Case(s.sort_p, [bools(7)], order(0)),
    Case(s.sort_p, [normal(6, dtype="bfloat16")], order(0)),
    Case(s.sort_p, [normal(5, dtype="complex64")], order(0), tolerance=1e-4),
    Case(s.sort_p, [normal(2, 0)], order(1)),
    Case(s.sort_p, [distinct(2, 700), integers(0, 9, 2, 700)], order(1), name="packed"),
    Case(
        s.top_k_p,
        [distinct(3, 5)],
        [{"k": k, "axis": a} for k, a in ((2, 1), (3, 0), (5, 1), (0, 1))],
    ),
    Case(s.top_k_p, [integers(0, 4, 2, 9)], {"k": 4, "axis": 1}),
    Case(s.top_k_p, [normal(9, dtype="bfloat16")], {"k": 4, "axis": 0}),
    Case(s.top_k_p, [bools(6)], {"k": 3, "axis": 0}),
]
