"""Convolution: conv_general_dilated, with any number of spatial dimensions, and what is made of it.

The operation is linear in each operand, and both cotangents are convolutions again: that of the
input slides the reversed kernel over the result's cotangent, that of the kernel slides the
cotangent over the input. Batches fold their dimension into batch, feature or group dimensions.
How values are computed stands in `convolution_values`.
"""

from collections.abc import Sequence
from operator import index
from typing import Any, NamedTuple

from funcgrad.core import loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import is_linear
from funcgrad.primitives import convolution_values
from funcgrad.primitives.basis import (
    convert_element_type,
    full,
    moveaxis,
    reshape,
    transpose,
)
from funcgrad.primitives.contract import (
    canonical_precision,
    canonical_result_type,
    check_result_type,
)
from funcgrad.primitives.shape import rev
from funcgrad.primitives.windowing import (
    dilated,
    explicit_pads,
    positive_tuple,
    window_count,
)

__all__ = [
    "ConvDimensionNumbers", "conv", "conv_dimension_numbers", "conv_general_dilated",
    "conv_transpose", "conv_with_general_padding",
]  # fmt: skip


class ConvDimensionNumbers(NamedTuple):
    """Which dimension of each array means what in a convolution.

    `lhs_spec` and `out_spec` are (batch, feature, *spatial) dimensions, `rhs_spec` is
    (output feature, input feature, *spatial).
    """

    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]


def conv_dimension_numbers(
    lhs_shape: Sequence[Any], rhs_shape: Sequence[Any], dimension_numbers: Any
) -> ConvDimensionNumbers:
    """The `ConvDimensionNumbers` that `dimension_numbers` means for operands of these shapes.

    `dimension_numbers` is None (batch and feature lead: "NCHW", "OIHW", "NCHW"), a triple of
    strings that name the dimensions of input, kernel and result, or a `ConvDimensionNumbers`.

    >>> conv_dimension_numbers((1, 8, 8, 3), (5, 5, 3, 4), ("NHWC", "HWIO", "NHWC"))
    ConvDimensionNumbers(lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2))
    """
    rank = len(lhs_shape)
    if len(rhs_shape) != rank or rank < 2:
        raise ValueError(
            "conv_general_dilated: input and kernel must have the same rank, at least 2, but have "
            f"shapes {tuple(lhs_shape)} and {tuple(rhs_shape)}."
        )
    if dimension_numbers is None:
        order = tuple(range(rank))
        return ConvDimensionNumbers(order, order, order)
    if isinstance(dimension_numbers, ConvDimensionNumbers):
        specs = [tuple(map(index, spec)) for spec in dimension_numbers]
    else:
        specs = _specs_of_strings(dimension_numbers, rank)
    if any(sorted(spec) != list(range(rank)) for spec in specs):
        raise ValueError(
            f"conv_general_dilated: each spec of dimension_numbers must name each of {rank} "
            "dimensions once, "
            f"but got {dimension_numbers}."
        )
    return ConvDimensionNumbers(*specs)


def _specs_of_strings(dimension_numbers, rank):
    if not (
        len(dimension_numbers) == 3
        and all(isinstance(s, str) and len(s) == len(set(s)) == rank for s in dimension_numbers)
    ):
        raise ValueError(
            "conv_general_dilated: dimension_numbers must be None, a ConvDimensionNumbers or "
            "three strings of "
            f"{rank} distinct letters, such as ('NHWC', 'HWIO', 'NHWC'), but got "
            f"{dimension_numbers!r}."
        )
    lhs, rhs, out = dimension_numbers
    spatial = [letter for letter in rhs if letter not in "OI"]
    leads = ((lhs, "NC"), (rhs, "OI"), (out, "NC"))
    if any(set(text) != {*lead, *spatial} for text, lead in leads):
        raise ValueError(
            "conv_general_dilated: dimension_numbers must have the letters N, C for input and "
            "result, O, I for the kernel, and the same spatial letters in each, but got "
            f"{dimension_numbers!r}."
        )
    return [tuple(text.index(letter) for letter in (*lead, *spatial)) for text, lead in leads]


# ---------------------------------------------------------------- the primitive


def _sizes(aval, dims):
    return tuple(aval.shape[d] for d in dims)


def _counts(lhs, rhs, numbers, window_strides, padding, lhs_dilation, rhs_dilation):
    """The spatial sizes of the result."""
    return tuple(
        window_count(dilated(size, ld), dilated(taps, rd), stride, low, high)
        for size, taps, stride, (low, high), ld, rd in zip(
            _sizes(lhs, numbers.lhs_spec[2:]), _sizes(rhs, numbers.rhs_spec[2:]),
            window_strides, padding, lhs_dilation, rhs_dilation, strict=True,
        )
    )  # fmt: skip


def _check_features(lhs, rhs, numbers, feature_group_count, batch_group_count):
    batch, features = _sizes(lhs, numbers.lhs_spec[:2])
    outputs, inputs = _sizes(rhs, numbers.rhs_spec[:2])
    problem = None
    if feature_group_count < 1 or batch_group_count < 1:
        problem = "group counts must be at least 1"
    elif feature_group_count > 1 and batch_group_count > 1:
        problem = "only one of the two group counts may exceed 1"
    elif features % feature_group_count or features // feature_group_count != inputs:
        problem = f"the input's {features} features must be the kernel's {inputs} times the groups"
    elif outputs % feature_group_count or outputs % batch_group_count:
        problem = f"the groups must divide the kernel's {outputs} output features"
    elif batch % batch_group_count:
        problem = f"the groups must divide the batch size {batch}"
    if problem:
        raise ValueError(
            f"conv_general_dilated: {problem}; got input {lhs}, kernel {rhs}, "
            f"feature_group_count={feature_group_count}, batch_group_count={batch_group_count}, "
            f"{numbers}."
        )


def _check_padding(lhs, numbers, padding, lhs_dilation):
    sizes = _sizes(lhs, numbers.lhs_spec[2:])
    for size, (low, high), dilation in zip(sizes, padding, lhs_dilation, strict=True):
        room = dilated(size, dilation) + low + high
        if type(room) is int and room < 0:
            raise ValueError(
                f"conv_general_dilated: negative padding {padding} cuts off more than there is "
                "of the "
                f"input's spatial sizes {sizes}. Cut off less."
            )


def _conv_abstract(
    lhs, rhs, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
    feature_group_count, batch_group_count, precision, preferred_element_type,
):  # fmt: skip
    numbers = dimension_numbers
    if lhs.dtype != rhs.dtype:
        raise TypeError(
            f"conv_general_dilated: input and kernel must have the same dtype, but got {lhs} and "
            f"{rhs}. "
            "Convert one with astype."
        )
    check_result_type("conv_general_dilated", lhs.dtype, preferred_element_type)
    _check_features(lhs, rhs, numbers, feature_group_count, batch_group_count)
    shape = [0] * lhs.ndim
    shape[numbers.out_spec[0]] = lhs.shape[numbers.lhs_spec[0]] // batch_group_count
    shape[numbers.out_spec[1]] = rhs.shape[numbers.rhs_spec[0]]
    _check_padding(lhs, numbers, padding, lhs_dilation)
    counts = _counts(lhs, rhs, numbers, window_strides, padding, lhs_dilation, rhs_dilation)
    for d, count in zip(numbers.out_spec[2:], counts, strict=True):
        shape[d] = count
    return ShapedArray(tuple(shape), preferred_element_type or lhs.dtype)


def _conv_value(xp, lhs, rhs, **params):
    numbers = params["dimension_numbers"]
    out = _conv_abstract(lhs, rhs, **params)
    geometry = convolution_values.Geometry(
        _sizes(lhs, numbers.lhs_spec[2:]), _sizes(out, numbers.out_spec[2:]),
        _sizes(rhs, numbers.rhs_spec[2:]), params["window_strides"], params["padding"],
        params["lhs_dilation"], params["rhs_dilation"],
    )  # fmt: skip
    groups = params["feature_group_count"], params["batch_group_count"]
    return convolution_values.convolve(
        xp, lhs, rhs, out.shape, out.dtype, numbers, geometry, *groups
    )


# ---------------------------------------------------------------- dimensions folded into others


def _fold(x, source, into):
    """Removes dimension `source` by making it the slow part of dimension `into` of the rest."""
    x = moveaxis(x, source, into)
    shape = typeof(x).shape
    return reshape(x, (*shape[:into], shape[into] * shape[into + 1], *shape[into + 2 :]))


def _split(x, dim, size):
    """Makes dimension `dim` two: `size` and what is left."""
    shape = typeof(x).shape
    return reshape(x, (*shape[:dim], size, shape[dim] // size, *shape[dim + 1 :]))


def _fold_inside(x, source, into, groups):
    """As `_fold`, but inside the `groups` that are the slow part of dimension `into` of the
    rest.
    """
    if groups == 1:
        return _fold(x, source, into)
    x = moveaxis(x, source, 0)
    x = _split(x, into + 1, groups)
    x = _fold(x, 0, into + 1)
    return _merge(x, into)


def _merge(x, dim):
    """Makes dimensions `dim` and `dim + 1` one."""
    shape = typeof(x).shape
    return reshape(x, (*shape[:dim], shape[dim] * shape[dim + 1], *shape[dim + 2 :]))


def _groups_from(x, source, into, groups):
    """Moves `groups`, the slow part of dimension `source`, to be the slow part of `into`."""
    if groups == 1:
        return x
    x = _split(x, source, groups)
    return _fold(x, source, into)


# ---------------------------------------------------------------- its cotangents


def _swapped(spec):
    """The spec with batch and feature (or output and input feature) exchanged."""
    return (spec[1], spec[0], *spec[2:])


def _conv_transpose(ct, lhs, rhs, **params):
    ct_dtype = typeof(ct).dtype
    operand = rhs if is_linear(lhs) else lhs
    if typeof(operand).dtype != ct_dtype:
        operand = convert_element_type(operand, ct_dtype)
    if is_linear(lhs):
        return [_as_type(_lhs_cotangent(ct, lhs.aval, operand, **params), lhs.aval.dtype), None]
    return [None, _as_type(_rhs_cotangent(ct, operand, rhs.aval, **params), rhs.aval.dtype)]


def _as_type(x, dtype):
    return x if typeof(x).dtype == dtype else convert_element_type(x, dtype)


def _lhs_cotangent(
    ct, lhs, rhs, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
    feature_group_count, batch_group_count, precision, preferred_element_type,
):  # fmt: skip
    """The result's cotangent, dilated by the strides, convolved with the reversed kernel."""
    numbers = dimension_numbers
    groups = max(feature_group_count, batch_group_count)
    # Per group, output features become input features of the kernel and vice versa.
    rhs = _groups_from(rhs, numbers.rhs_spec[0], numbers.rhs_spec[1], groups)
    pads = []
    for size, taps, count, stride, (low, _), ld, rd in zip(
        _sizes(lhs, numbers.lhs_spec[2:]), _sizes(typeof(rhs), numbers.rhs_spec[2:]),
        _sizes(typeof(ct), numbers.out_spec[2:]), window_strides, padding, lhs_dilation,
        rhs_dilation, strict=True,
    ):  # fmt: skip
        before = dilated(taps, rd) - low - 1
        pads.append(
            (before, dilated(size, ld) + dilated(taps, rd) - 1 - dilated(count, stride) - before)
        )
    if typeof(ct).size == 0:
        return full(lhs.shape, 0, typeof(ct).dtype)
    out = _bind(
        ct, rev(rhs, numbers.rhs_spec[2:]), lhs_dilation, tuple(pads), window_strides, rhs_dilation,
        ConvDimensionNumbers(numbers.out_spec, _swapped(numbers.rhs_spec), numbers.lhs_spec),
        groups, 1, precision,
    )  # fmt: skip
    return _groups_from(out, numbers.lhs_spec[1], numbers.lhs_spec[0], batch_group_count)


def _rhs_cotangent(
    ct, lhs, rhs, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
    feature_group_count, batch_group_count, precision, preferred_element_type,
):  # fmt: skip
    """The input convolved with the result's cotangent, which is dilated by the strides."""
    numbers = dimension_numbers
    pads = []
    for size, taps, count, stride, (low, _), ld, rd in zip(
        _sizes(typeof(lhs), numbers.lhs_spec[2:]), _sizes(rhs, numbers.rhs_spec[2:]),
        _sizes(typeof(ct), numbers.out_spec[2:]), window_strides, padding, lhs_dilation,
        rhs_dilation, strict=True,
    ):  # fmt: skip
        # What the windows never reached at the end is cut off by negative padding.
        pads.append((low, dilated(count, stride) + dilated(taps, rd) - dilated(size, ld) - low - 1))
    if typeof(ct).size == 0 or typeof(lhs).size == 0:
        return full(rhs.shape, 0, typeof(ct).dtype)
    return _bind(
        lhs, ct, rhs_dilation, tuple(pads), lhs_dilation, window_strides,
        ConvDimensionNumbers(*map(_swapped, (numbers.lhs_spec, numbers.out_spec,
        numbers.rhs_spec))), batch_group_count, feature_group_count, precision, )  # fmt: skip


# ---------------------------------------------------------------- its batches


def _conv_batch(axis, args, dims, **params):
    lhs, rhs = args
    lhs_dim, rhs_dim = dims
    if lhs_dim is not None and rhs_dim is not None:
        return _batch_both(axis, lhs, rhs, lhs_dim, rhs_dim, params)
    numbers = params["dimension_numbers"]
    if lhs_dim is not None:
        groups = params["batch_group_count"]
        lhs = _fold_inside(lhs, lhs_dim, numbers.lhs_spec[0], groups)
        out = conv_general_dilated_p.bind(lhs, rhs, **params)
        return _split(out, numbers.out_spec[0], axis.size), numbers.out_spec[0]
    groups = max(params["feature_group_count"], params["batch_group_count"])
    rhs = _fold_inside(rhs, rhs_dim, numbers.rhs_spec[0], groups)
    out = conv_general_dilated_p.bind(lhs, rhs, **params)
    feature = numbers.out_spec[1]
    if groups == 1:
        return _split(out, feature, axis.size), feature
    out = _split(_split(out, feature, groups), feature + 1, axis.size)
    return _merge(moveaxis(out, feature + 1, 0), feature + 1), 0


def _batch_both(axis, lhs, rhs, lhs_dim, rhs_dim, params):
    """Each lane is one more group: of batches if there are such groups, else of features."""
    numbers = params["dimension_numbers"]
    kind, place = (
        ("batch_group_count", 0) if params["batch_group_count"] > 1 else ("feature_group_count", 1)
    )
    lhs = _fold(lhs, lhs_dim, numbers.lhs_spec[place])
    rhs = _fold(rhs, rhs_dim, numbers.rhs_spec[0])
    out = conv_general_dilated_p.bind(lhs, rhs, **{**params, kind: params[kind] * axis.size})
    return _split(out, numbers.out_spec[1], axis.size), numbers.out_spec[1]


conv_general_dilated_p = Primitive(
    "conv_general_dilated",
    abstract=_conv_abstract,
    value=_conv_value,
    multilinear=(0, 1),
    transpose=_conv_transpose,
    batch=_conv_batch,
    loops=lambda lhs, rhs, **params: loops.Convolve(tuple(sorted(params.items()))),
)


def _bind(
    lhs, rhs, strides, padding, lhs_dilation, rhs_dilation, numbers, features, batches, precision
):
    return conv_general_dilated_p.bind(
        lhs, rhs, window_strides=strides, padding=padding, lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation, dimension_numbers=numbers, feature_group_count=features,
        batch_group_count=batches, precision=precision, preferred_element_type=None,
    )  # fmt: skip


# ---------------------------------------------------------------- public faces


def conv_general_dilated(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """Slides the kernel `rhs` over the input `lhs`: sums of products over taps and input features.

    The kernel is not reversed (cross-correlation, as everywhere in machine learning). Any number
    of spatial dimensions, their places given by `dimension_numbers` (see `conv_dimension_numbers`).
    `padding` is "SAME", "SAME_LOWER", "VALID" or a (low, high) pair for each spatial dimension,
    negative ones cut off; `lhs_dilation` puts gaps into the input, `rhs_dilation` into the kernel.
    With `feature_group_count` groups, each group of output features sees its group of input
    features alone; with `batch_group_count`, its group of the batch. `precision` is kept in
    programs; CPUs compute at full precision. The result's type is `preferred_element_type`, else
    the operands'; bfloat16 and float16 are accumulated in float32 and rounded once.

    Raises `TypeError` for unequal dtypes, `ValueError` for shapes that do not fit.

    >>> import numpy as np
    >>> image, kernel = np.ones((1, 1, 5, 7), np.float32), np.ones((2, 1, 3, 3), np.float32)
    >>> conv_general_dilated(image, kernel, (2, 2), "SAME").shape
    (1, 2, 3, 4)
    """
    name = "conv_general_dilated"
    lhs_type, rhs_type = typeof(lhs), typeof(rhs)
    numbers = conv_dimension_numbers(lhs_type.shape, rhs_type.shape, dimension_numbers)
    n = lhs_type.ndim - 2
    strides = positive_tuple(name, "window_strides", window_strides, n)
    lhs_dilation = positive_tuple(name, "lhs_dilation", lhs_dilation, n)
    rhs_dilation = positive_tuple(name, "rhs_dilation", rhs_dilation, n)
    if isinstance(padding, str) and max(lhs_dilation, default=1) > 1:
        raise ValueError(
            f"{name}: padding by name ({padding!r}) has no meaning with lhs_dilation "
            f"{lhs_dilation}. "
            "Give (low, high) pairs, or use conv_transpose."
        )
    windows = [
        dilated(k, d)
        for k, d in zip(_sizes(rhs_type, numbers.rhs_spec[2:]), rhs_dilation, strict=True)
    ]
    sizes = _sizes(lhs_type, numbers.lhs_spec[2:])
    return conv_general_dilated_p.bind(
        lhs, rhs, window_strides=strides,
        padding=explicit_pads(name, padding, sizes, windows, strides),
        lhs_dilation=lhs_dilation, rhs_dilation=rhs_dilation, dimension_numbers=numbers,
        feature_group_count=index(feature_group_count), batch_group_count=index(batch_group_count),
        precision=canonical_precision(name, precision),
        preferred_element_type=canonical_result_type(preferred_element_type),
    )  # fmt: skip


def conv(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """A convolution of an input (N, C, *spatial) with a kernel (O, I, *spatial)."""
    return conv_general_dilated(
        lhs, rhs, window_strides, padding, precision=precision,
        preferred_element_type=preferred_element_type,
    )  # fmt: skip


def conv_with_general_padding(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None,
    rhs_dilation: Sequence[int] | None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """A convolution of an input (N, C, *spatial) with a kernel (O, I, *spatial), with dilations."""
    return conv_general_dilated(
        lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, precision=precision,
        preferred_element_type=preferred_element_type,
    )  # fmt: skip


_CHANNELS_LAST = {2: "", 3: "H", 4: "HW", 5: "HWD"}


def conv_transpose(
    lhs: Any,
    rhs: Any,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    transpose_kernel: bool = False,
    precision: Any = None,
    preferred_element_type: Any = None,
    use_consistent_padding: bool = False,
) -> Any:
    """A convolution that enlarges its input: `strides` are the gaps put between its elements.

    "SAME" and "VALID" mean the padding of the convolution that this one undoes, so that the spatial
    sizes are multiplied by the strides ("SAME"); pairs are the padding of the enlarged input, or
    with `use_consistent_padding` that of the convolution undone, as in PyTorch. Without
    `dimension_numbers` features are last ("NHWC", "HWIO", "NHWC"). With `transpose_kernel` the
    kernel is reversed and its features exchanged: the result is the gradient of a convolution.
    """
    lhs_type, rhs_type = typeof(lhs), typeof(rhs)
    if dimension_numbers is None:
        if lhs_type.ndim not in _CHANNELS_LAST:
            raise ValueError(
                f"conv_transpose: an input of rank {lhs_type.ndim} needs explicit "
                "dimension_numbers."
            )
        spatial = _CHANNELS_LAST[lhs_type.ndim]
        dimension_numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    numbers = conv_dimension_numbers(lhs_type.shape, rhs_type.shape, dimension_numbers)
    n = lhs_type.ndim - 2
    strides = positive_tuple("conv_transpose", "strides", strides, n)
    dilations = positive_tuple("conv_transpose", "rhs_dilation", rhs_dilation, n)
    if use_consistent_padding or padding in ("SAME", "VALID"):
        windows = [
            dilated(k, d)
            for k, d in zip(_sizes(rhs_type, numbers.rhs_spec[2:]), dilations, strict=True)
        ]
        each = [padding] * n if isinstance(padding, str) else padding
        padding = [_undone_padding(*one) for one in zip(windows, strides, each, strict=True)]
    if transpose_kernel:
        order = list(range(rhs_type.ndim))
        o, i = numbers.rhs_spec[:2]
        order[o], order[i] = i, o
        rhs = transpose(rev(rhs, numbers.rhs_spec[2:]), order)
    return conv_general_dilated(
        lhs, rhs, (1,) * n, padding, strides, dilations, numbers, precision=precision,
        preferred_element_type=preferred_element_type,
    )  # fmt: skip


def _undone_padding(window, stride, padding):
    """The padding of an enlarged dimension that undoes a convolution with `padding`."""
    if padding == "SAME":
        total = window + stride - 2
        low = window - 1 if stride > window - 1 else -(-total // 2)
        return low, total - low
    if padding == "VALID":
        return window - 1, stride - 1 + max(window - stride, 0)
    low, high = padding
    return window - 1 - low, window - 1 - high
