"""Windows as arrays: the elements under each tap of a sliding window, by ordinary slices.

Whatever is built from these is differentiated and batched by the rules of pad and slice.
"""

from collections.abc import Sequence
from typing import Any

from funcgrad.core.avals import typeof
from funcgrad.primitives.basis import convert_element_type, full, reshape, transpose
from funcgrad.primitives.contract import canonical_precision, canonical_result_type
from funcgrad.primitives.convolution import conv_dimension_numbers
from funcgrad.primitives.shape import concatenate, expand_dims
from funcgrad.primitives.slicing import pad, slice
from funcgrad.primitives.windowing import (
    dilated,
    explicit_pads,
    positive_tuple,
    window_count,
    window_taps,
)

__all__ = ["conv_general_dilated_patches"]


def window_elements(
    x: Any,
    fill: Any,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> list[Any]:
    """For each tap of the window, in row-major order, the elements it meets: one per window.

    Padding and gaps of the dilated operand are `fill`, an array of rank 0.
    """
    config = [(low, high, gap - 1) for (low, high), gap in zip(padding, base_dilation, strict=True)]
    if any(entry != (0, 0, 0) for entry in config):
        x = pad(x, fill, config)
    sizes = typeof(x).shape
    counts = [
        window_count(size, dilated(window, dilation), stride, 0, 0)
        for size, window, dilation, stride in zip(
            sizes, window_dimensions, window_dilation, window_strides, strict=True
        )
    ]
    elements = []
    for tap in window_taps(window_dimensions):
        starts, limits = [], []
        for d, k in enumerate(tap):
            start = k * window_dilation[d] if counts[d] else 0
            starts.append(start)
            limits.append(min(start + counts[d] * window_strides[d], sizes[d]) if counts[d] else 0)
        elements.append(slice(x, starts, limits, window_strides))
    return elements


def conv_general_dilated_patches(
    lhs: Any,
    filter_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """The windows themselves: all elements that a kernel of `filter_shape` would see, as features.

    The result is that of a convolution with as many output features as a window has elements;
    feature c * taps + t is tap t (row-major) of input feature c. The elements are moved, not
    multiplied: `precision` is accepted and has nothing to act on.
    """
    name = "conv_general_dilated_patches"
    canonical_precision(name, precision)
    x = typeof(lhs)
    n = x.ndim - 2
    filter_shape = positive_tuple(name, "filter_shape", filter_shape, n)
    numbers = conv_dimension_numbers(x.shape, (1,) * x.ndim, dimension_numbers)
    strides = positive_tuple(name, "window_strides", window_strides, n)
    base = positive_tuple(name, "lhs_dilation", lhs_dilation, n)
    dilations = positive_tuple(name, "rhs_dilation", rhs_dilation, n)
    windows = [dilated(k, d) for k, d in zip(filter_shape, dilations, strict=True)]
    sizes = [x.shape[d] for d in numbers.lhs_spec[2:]]
    pads = explicit_pads(name, padding, sizes, windows, strides)
    lhs = transpose(lhs, numbers.lhs_spec)
    zero = full((), 0, x.dtype)
    elements = window_elements(
        lhs, zero, (1, 1, *filter_shape), (1, 1, *strides), ((0, 0), (0, 0), *pads),
        (1, 1, *base), (1, 1, *dilations),
    )  # fmt: skip
    patches = concatenate([expand_dims(element, (2,)) for element in elements], 2)
    batch, features, taps, *counts = typeof(patches).shape
    patches = reshape(patches, (batch, features * taps, *counts))
    if preferred_element_type is not None:
        patches = convert_element_type(patches, canonical_result_type(preferred_element_type))
    return transpose(patches, [numbers.out_spec.index(d) for d in range(x.ndim)])
