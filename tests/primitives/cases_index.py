"""Rows for gather, the scatters, and dynamic slices."""

from __future__ import annotations

import numpy as np

from funcgrad.primitives.dynamic_slice import dynamic_slice_p, dynamic_update_slice_p
from funcgrad.primitives.gather import gather_p, scatter_add_p, scatter_sub_p
from funcgrad.primitives.index_maps import (
    GatherDimensionNumbers,
    GatherScatterMode,
    ScatterDimensionNumbers,
)
from funcgrad.primitives.scatter import scatter_max_p, scatter_min_p, scatter_mul_p, scatter_p
from tests.primitives.cases import Case, bools, exactly, integers, normal, uniform

CLIP = GatherScatterMode.CLIP
FILL = GatherScatterMode.FILL_OR_DROP
PROMISE = GatherScatterMode.PROMISE_IN_BOUNDS


def different(count, below):
    """Index vectors of one entry that differ from each other."""
    return lambda rng: np.asarray(rng.permutation(below)[:count], np.int32).reshape(count, 1)


def reading(numbers, sizes, mode=PROMISE, fill_value=None, **promises):
    """The parameters of a gather; `numbers` are (offset, collapsed, start map, batching dims)."""
    return {
        "dimension_numbers": GatherDimensionNumbers(*numbers),
        "slice_sizes": sizes,
        "unique_indices": promises.get("unique", False),
        "indices_are_sorted": promises.get("ordered", False),
        "mode": mode,
        "fill_value": fill_value,
    }


def writing(numbers, mode=FILL, unique=False):
    """The parameters of a scatter; `numbers` are (window, inserted, dims map, batching dims)."""
    return {
        "dimension_numbers": ScatterDimensionNumbers(*numbers),
        "indices_are_sorted": False,
        "unique_indices": unique,
        "mode": mode,
    }


ROWS = ((1,), (0,), (0,))  # whole rows of a matrix
COLUMNS = ((0,), (1,), (1,))  # whole columns, the batch last
POINTS = ((), (0, 1), (0, 1))  # single elements
SWAPPED = ((), (0, 1), (1, 0))  # the same, columns first in the index vectors
BLOCKS = ((1, 2), (), (0, 1))  # windows smaller than the matrix
LEADING = ((0, 1), (), (1, 0))  # windows before the batch
LINES = ((), (1,), (1,), (0,), (0,))  # one element of each row, in lockstep
ONE_SIDED = ((1, 2), (), (1,))  # a window that is cut in a dimension without an index
PADDED = ((0, 2), (1,), (1,))  # the batch between two whole dimensions

_inside = integers(0, 3, 4, 1)
_outside = integers(-2, 6, 4, 1)
_points = integers(0, 3, 5, 2)
_anywhere = integers(-2, 6, 5, 2)

GATHERS = [
    Case(
        gather_p,
        [normal(3, 4), _inside],
        [reading(ROWS, (1, 4)), reading(ROWS, (1, 3)), reading(((), (0, 1), (0,)), (1, 1))],
    ),
    Case(
        gather_p,
        [normal(3, 4), _outside],
        [
            reading(ROWS, (1, 4), CLIP),
            reading(ROWS, (1, 4), FILL, 0.5),
            reading(COLUMNS, (3, 1), FILL, 0.5),
            reading(ONE_SIDED, (2, 2), CLIP),
        ],
        name="outside",
    ),
    Case(
        gather_p,
        [normal(3, 4), _points],
        [reading(POINTS, (1, 1)), reading(SWAPPED, (1, 1), CLIP)],
        name="points",
    ),
    Case(
        gather_p,
        [normal(3, 4), _anywhere],
        [
            reading(POINTS, (1, 1), FILL, 0.5),
            reading(BLOCKS, (2, 3), CLIP),
            reading(BLOCKS, (2, 3), FILL, 0.5),
            reading(LEADING, (2, 3), FILL, 0.5),
            reading(LEADING, (3, 2), CLIP),
        ],
        name="blocks",
    ),
    Case(gather_p, [normal(3, 4), integers(0, 4, 3, 1)], reading(LINES, (1, 1)), name="lines"),
    Case(gather_p, [normal(3, 4), integers(-2, 6, 3, 1)], reading(LINES, (1, 1), FILL, 0.5)),
    Case(
        gather_p,
        [normal(4, 3, 2), integers(0, 2, 4, 5, 1)],
        reading(((2,), (2,), (2,), (0,), (0,)), (1, 3, 1)),
        name="lockstep and window",
    ),
    Case(gather_p, [normal(2, 3, 4), _inside], reading(PADDED, (2, 1, 4)), name="between"),
    Case(gather_p, [normal(3, 4), integers(-1, 5, 2)], reading(((0, 1), (), (0, 1)), (2, 2), CLIP)),
    Case(gather_p, [normal(3, 4), integers(-1, 5, 2)], reading(((), (0, 1), (0, 1)), (1, 1), CLIP)),
    Case(gather_p, [normal(3, 4), integers(0, 9, 5, 0)], reading(((0, 1), (), ()), (3, 2))),
    Case(gather_p, [normal(3, 4), integers(0, 9, 0, 1)], reading(ROWS, (1, 4)), name="nothing"),
    Case(gather_p, [normal(3, 4, dtype="complex64"), _outside], reading(ROWS, (1, 4), FILL, 0.5)),
    Case(gather_p, [bools(3, 4), _outside], reading(ROWS, (1, 4), FILL, True)),
    Case(gather_p, [integers(-9, 9, 3, 4, dtype="int8"), _outside], reading(ROWS, (1, 4), FILL, 7)),
    Case(
        gather_p,
        [normal(3, 4, dtype="float16"), integers(0, 6, 4, 1, dtype="uint8")],
        reading(ROWS, (1, 4), CLIP),
    ),
    Case(
        gather_p,
        [normal(3, 4), exactly([[2**63], [1]], np.uint64)],
        [reading(ROWS, (1, 4), FILL, 0.5), reading(ROWS, (1, 4), CLIP)],
        name="huge",
    ),
    Case(
        gather_p,
        [normal(5, 4), different(3, 5)],
        reading(ROWS, (1, 4), unique=True),
        name="promised unique",
    ),
]


def sums(primitive, values=normal):
    """Rows for a scatter whose updates may meet in one place."""
    return [
        Case(primitive, [values(3, 4), _inside, values(4, 4)], writing(ROWS)),
        Case(
            primitive,
            [values(3, 4), _outside, values(4, 4)],
            [writing(ROWS), writing(ROWS, CLIP)],
            name="outside",
        ),
        Case(primitive, [values(3, 4), _outside, values(3, 4)], writing(COLUMNS)),
        Case(primitive, [values(3, 4), _points, values(5)], [writing(POINTS), writing(SWAPPED)]),
        Case(
            primitive,
            [values(3, 4), _anywhere, values(5, 2, 3)],
            [writing(BLOCKS), writing(BLOCKS, CLIP)],
            name="blocks",
        ),
        Case(primitive, [values(3, 4), _anywhere, values(2, 3, 5)], writing(LEADING)),
        Case(primitive, [values(3, 4), integers(-2, 6, 3, 1), values(3)], writing(LINES)),
        Case(
            primitive,
            [values(4, 3, 2), integers(0, 2, 4, 5, 1), values(4, 5, 3)],
            writing(((2,), (2,), (2,), (0,), (0,))),
            name="lockstep and window",
        ),
        Case(primitive, [values(2, 3, 4), _outside, values(2, 4, 4)], writing(PADDED)),
        Case(
            primitive,
            [values(3, 4), integers(-1, 5, 2), values(2, 2)],
            [writing(((0, 1), (), (0, 1))), writing(((0, 1), (), (0, 1)), CLIP)],
            name="one window",
        ),
        Case(primitive, [values(3, 4), integers(0, 9, 0, 1), values(0, 4)], writing(ROWS)),
        Case(primitive, [values(5, 4), different(3, 5), values(3, 4)], writing(ROWS, unique=True)),
        Case(
            primitive,
            [values(3, 4, dtype="float16"), _inside, values(4, 4, dtype="float16")],
            writing(ROWS),
            name="half",
        ),
    ]


_integer_values = [integers(-9, 9, 3, 4), _outside, integers(-9, 9, 4, 4)]
_complex_values = [normal(3, 4, dtype="complex64"), _outside, normal(4, 4, dtype="complex64")]


def apart(*shape, dtype="float32"):
    """Values that do not tie, neither among themselves nor with those of another operand."""
    return uniform(-2, 2, *shape, dtype=dtype)


REPEATED = {
    "derivative": "the derivative in repeated factors is refused; numpy/test_indexing.py",
    "transpose": "the same",
    "second": "the same",
}

SCATTERS = [
    *sums(scatter_p),
    *sums(scatter_add_p),
    *sums(scatter_sub_p),
    *sums(scatter_min_p, apart),
    *sums(scatter_max_p, apart),
    *[Case(p, _integer_values, writing(ROWS)) for p in (scatter_p, scatter_add_p, scatter_max_p)],
    *[Case(p, _complex_values, writing(ROWS)) for p in (scatter_p, scatter_add_p, scatter_sub_p)],
    *[
        Case(p, [bools(3, 4), _outside, bools(4, 4)], writing(ROWS))
        for p in (scatter_p, scatter_min_p, scatter_max_p)
    ],
    Case(
        scatter_mul_p,
        [normal(5, 4), different(3, 5), normal(3, 4)],
        [writing(ROWS, unique=True), writing(ROWS, CLIP, unique=True)],
    ),
    Case(
        scatter_mul_p,
        [normal(3, 4), integers(-1, 5, 2), normal(2, 2)],
        [writing(((0, 1), (), (0, 1)), unique=True), writing(((0, 1), (), (0, 1)), CLIP, True)],
        name="one window",
    ),
    Case(scatter_mul_p, [normal(3, 4), _outside, normal(4, 4)], writing(ROWS), skip=REPEATED),
    Case(scatter_mul_p, [normal(3, 4), _points, normal(5)], writing(POINTS), skip=REPEATED),
]

_start = integers(-2, 6)

DYNAMIC_SLICES = [
    Case(dynamic_slice_p, [normal(5), _start], [{"slice_sizes": (n,)} for n in (0, 1, 3, 5)]),
    Case(
        dynamic_slice_p,
        [normal(3, 4), _start, _start],
        [{"slice_sizes": (1, 4)}, {"slice_sizes": (2, 2)}],
    ),
    Case(dynamic_slice_p, [normal()], {"slice_sizes": ()}, name="rank 0"),
    Case(dynamic_slice_p, [bools(5), integers(0, 9, dtype="uint8")], {"slice_sizes": (2,)}),
    Case(dynamic_slice_p, [normal(5, dtype="complex64"), _start], {"slice_sizes": (2,)}),
    Case(dynamic_update_slice_p, [normal(5), normal(2), _start]),
    Case(dynamic_update_slice_p, [normal(3, 4), normal(2, 4), _start, _start]),
    Case(dynamic_update_slice_p, [normal(3, 4), normal(1, 2), _start, _start]),
    Case(dynamic_update_slice_p, [normal(3), normal(0), _start], name="nothing"),
    Case(
        dynamic_update_slice_p,
        [integers(0, 9, 5), integers(0, 9, 2), integers(0, 9, dtype="int64")],
    ),
]

CASES = [*GATHERS, *SCATTERS, *DYNAMIC_SLICES]
