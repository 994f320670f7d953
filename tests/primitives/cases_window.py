"""Rows for convolutions and window reductions."""

from funcgrad.core import dtypes
from funcgrad.primitives.convolution import ConvDimensionNumbers, conv_general_dilated_p
from funcgrad.primitives.logic import ge_p, le_p
from funcgrad.primitives.window import (
    reduce_window_max_p,
    reduce_window_min_p,
    reduce_window_sum_p,
    select_and_gather_add_p,
    select_and_scatter_add_p,
)
from tests.primitives.cases import Case, bools, distinct, integers, normal

CHANNELS_LAST = ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
MIXED = ConvDimensionNumbers((0, 1, 2, 3), (3, 2, 0, 1), (0, 3, 1, 2))


def convolution(spatial=2, numbers=None, **changes):
    """The parameters of a convolution, plain where not said otherwise."""
    order = tuple(range(spatial + 2))
    return {
        "window_strides": (1,) * spatial,
        "padding": ((0, 0),) * spatial,
        "lhs_dilation": (1,) * spatial,
        "rhs_dilation": (1,) * spatial,
        "dimension_numbers": numbers or ConvDimensionNumbers(order, order, order),
        "feature_group_count": 1,
        "batch_group_count": 1,
        "precision": None,
        "preferred_element_type": None,
        **changes,
    }


def windows(*dimensions, **changes):
    """The parameters of a window reduction."""
    ones = (1,) * len(dimensions)
    return {
        "window_dimensions": dimensions,
        "window_strides": ones,
        "padding": ((0, 0),) * len(dimensions),
        "base_dilation": ones,
        "window_dilation": ones,
        **changes,
    }


IMAGE, KERNEL = normal(2, 3, 5, 6), normal(4, 3, 3, 2)
GEOMETRIES = [
    convolution(),
    convolution(window_strides=(2, 3), padding=((1, 1), (2, 0))),
    convolution(padding=((-1, 2), (3, -2))),
    convolution(rhs_dilation=(2, 3), padding=((2, 1), (1, 1))),
    convolution(lhs_dilation=(2, 3), padding=((1, 2), (0, 1))),
    convolution(lhs_dilation=(3, 2), window_strides=(2, 1), rhs_dilation=(1, 2),
                padding=((2, 2), (2, 1))),
    convolution(preferred_element_type=dtypes.float64),
    convolution(window_strides=(3, 5)),  # one window
]  # fmt: skip
WINDOWS = [
    windows(2, 3),
    windows(2, 2, window_strides=(2, 2)),
    windows(3, 1, window_strides=(2, 1), padding=((1, 1), (0, 0))),
    windows(2, 2, base_dilation=(2, 1), window_dilation=(1, 2), padding=((0, 1), (1, 0))),
    windows(4, 6),
]

CASES = [
    Case(conv_general_dilated_p, [IMAGE, KERNEL], GEOMETRIES),
    Case(conv_general_dilated_p, [normal(2, 5, 6, 3), normal(3, 2, 3, 4)],
         convolution(numbers=CHANNELS_LAST, padding=((1, 1), (0, 1)))),
    Case(conv_general_dilated_p, [normal(2, 4, 5, 4), normal(6, 2, 2, 3)],
         convolution(feature_group_count=2)),
    Case(conv_general_dilated_p, [normal(2, 3, 5, 4), normal(3, 1, 2, 3)],
         [convolution(feature_group_count=3, lhs_dilation=d) for d in ((1, 1), (2, 1))]),
    Case(conv_general_dilated_p, [normal(4, 3, 5, 4), normal(6, 3, 2, 3)],
         convolution(batch_group_count=2, window_strides=(2, 1))),
    Case(conv_general_dilated_p, [normal(2, 3, 7), normal(4, 3, 3)],
         convolution(1, window_strides=(2,), padding=((1, 2),))),
    Case(conv_general_dilated_p, [normal(2, 3), normal(4, 3)], convolution(0)),
    *(Case(conv_general_dilated_p, [normal(2, 3, *sizes), normal(4, 3, 2, 2)], convolution())
      for sizes in ((1, 4), (4, 1))),  # no window
    Case(conv_general_dilated_p, [normal(1, 1, 2), normal(1, 1, 2)], convolution(1)),
    Case(conv_general_dilated_p, [normal(1, 1, 1), normal(2, 1, 1)], convolution(1)),
    Case(conv_general_dilated_p, [normal(2, 3, 0), normal(4, 3, 1)],
         convolution(1, padding=((1, 0),))),
    Case(conv_general_dilated_p, [normal(2, 3, 5, 6), normal(3, 2, 3, 4)],
         convolution(numbers=MIXED, window_strides=(2, 1))),
    Case(conv_general_dilated_p, [normal(1, 2, 3, 4, 3), normal(2, 2, 2, 2, 3)],
         convolution(3, padding=((1, 0), (0, 0), (0, 1)))),
    *(
        Case(conv_general_dilated_p, [normal(2, 1, 4, dtype=dtype), normal(2, 1, 2, dtype=dtype)],
             convolution(1))
        for dtype in ("bfloat16", "complex64")
    ),
    Case(conv_general_dilated_p, [integers(-99, 99, 2, 2, 4, dtype="int8")] * 2, convolution(1)),
    Case(conv_general_dilated_p, [bools(2, 2, 4), bools(2, 2, 3)], convolution(1)),
    *(
        Case(p, args, params)
        for p in (reduce_window_max_p, reduce_window_min_p)
        for args, params in (
            ([distinct(4, 6)], WINDOWS),
            ([integers(-9, 9, 4, 5, dtype="int8")], windows(2, 2)),
            ([bools(4, 5)], windows(2, 2)),
            ([distinct(4, 5, dtype="bfloat16")], windows(2, 2)),
        )
    ),
    Case(reduce_window_sum_p, [normal(4, 6)], WINDOWS),
    Case(reduce_window_sum_p, [normal(4, 6)], windows(2, 2, window_strides=(3, 3))),
    Case(reduce_window_sum_p, [normal(2, 4)], windows(3, 2)),  # no window
    Case(reduce_window_sum_p, [normal(4, 5, dtype="float16")], windows(2, 2)),
    Case(reduce_window_sum_p, [integers(-9, 9, 4, 5)], windows(2, 2)),
    Case(reduce_window_sum_p, [normal(4, 5, dtype="complex64")], windows(2, 2)),
    *(
        Case(select_and_gather_add_p, [normal(4, 6), distinct(4, 6)],
             [{**w, "select_prim": select} for w in WINDOWS])
        for select in (ge_p, le_p)
    ),
    *(
        Case(select_and_scatter_add_p, [normal(2, 3), distinct(4, 6)],
             {**windows(2, 2, window_strides=(2, 2)), "select_prim": select})
        for select in (ge_p, le_p)
    ),
    Case(select_and_scatter_add_p, [normal(3, 5), distinct(4, 6)],
         {**windows(2, 2), "select_prim": ge_p}),
]  # fmt: skip
