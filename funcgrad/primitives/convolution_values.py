"""How convolutions are computed with NumPy and CuPy: as matrix products over views of windows.

Every convolution is first seen in one form, whatever its dimension numbers: elements x[n, *s, g,
f], kernel w[*k, f, g, o], result out[n, *p, g, o], all of them views. What happens then depends on
where the work is: windows copied block by block into a matrix (the usual case), products scattered
to the places that a tap reaches (dilated input), or plain multiplications (few features per group).
"""

import itertools
import math

from funcgrad.primitives import products
from funcgrad.primitives.windowing import tap_slices, window_taps

# Elements of a block of copied windows: large enough for BLAS, small enough for the second cache.
_BLOCK = 1 << 19
# On devices blocks only bound the memory.
_DEVICE_BLOCK = 1 << 27
# Runs of fewer elements are slow to copy one by one.
_RUN = 16


class Geometry:
    """The spatial side of a convolution: one entry per spatial dimension in each field."""

    __slots__ = ("sizes", "counts", "kernel", "strides", "padding", "lhs_dilation", "rhs_dilation")

    def __init__(self, sizes, counts, kernel, strides, padding, lhs_dilation, rhs_dilation):
        self.sizes, self.counts, self.kernel = sizes, counts, kernel
        self.strides, self.padding = strides, padding
        self.lhs_dilation, self.rhs_dilation = lhs_dilation, rhs_dilation

    def taps(self):
        """Each tap of the kernel, with the windows and the elements it joins; none if it joins
        none.
        """
        for tap in window_taps(self.kernel):
            pairs = [
                tap_slices(size, count, k * dilation - low, stride, lhs_dilation)
                for size, count, k, dilation, (low, _), stride, lhs_dilation in zip(
                    self.sizes, self.counts, tap, self.rhs_dilation, self.padding, self.strides,
                    self.lhs_dilation, strict=True,
                )
            ]  # fmt: skip
            if None not in pairs:
                yield tap, tuple(o for o, _ in pairs), tuple(i for _, i in pairs)

    def positions(self):
        """Each place of the window, with the taps and the elements that meet there."""
        for place in window_taps(self.counts):
            pairs = [
                tap_slices(size, taps, o * stride - low, dilation, lhs_dilation)
                for size, taps, o, stride, (low, _), dilation, lhs_dilation in zip(
                    self.sizes, self.kernel, place, self.strides, self.padding, self.rhs_dilation,
                    self.lhs_dilation, strict=True,
                )
            ]  # fmt: skip
            if None not in pairs:
                yield place, tuple(k for k, _ in pairs), tuple(i for _, i in pairs)


def convolve(xp, lhs, rhs, out_shape, dtype, numbers, geometry, feature_groups, batch_groups):
    """The convolution of `lhs` with `rhs`, as an array of `out_shape` and `dtype`."""
    x = lhs.transpose(numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1])
    w = rhs.transpose(*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0])
    x, w = products.computable(x, w, dtype, math.prod(w.shape[:-1]))
    out = xp.empty(out_shape, x.dtype)
    target = out.transpose(numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1])
    groups = feature_groups * batch_groups
    if batch_groups > 1:
        x = x.reshape(batch_groups, x.shape[0] // batch_groups, *x.shape[1:])
        x = x.transpose(*range(1, x.ndim - 1), 0, x.ndim - 1)
    else:
        x = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    w = w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups)
    target = target.reshape(*target.shape[:-1], groups, target.shape[-1] // groups)
    _fill(xp, target, x, w, geometry)
    return products.rounded(out, dtype)


def _fill(xp, target, x, w, geometry):
    """Chooses how `target` is computed."""
    if target.size == 0:
        return
    if x.size == 0 or w.size == 0:
        target[...] = 0
        return
    groups, group_outputs = w.shape[-2:]
    few_taps = math.prod(geometry.kernel) <= math.prod(geometry.counts)
    thin = groups > 1 and group_outputs <= 2 and (w.shape[-3] <= 2 or not few_taps)
    is_dilated = any(d > 1 for d in geometry.lhs_dilation)
    if thin and few_taps:
        _multiply_taps(xp, target, x, w, geometry)
    elif thin:
        _sum_at_positions(xp, target, x, w, geometry)
    elif few_taps and (is_dilated or 2 * group_outputs <= w.shape[-3]):
        _scatter_taps(xp, target, x, w, geometry)
    elif is_dilated:
        _contract_at_positions(xp, target, x, w, geometry)
    else:
        _contract_windows(xp, target, x, w, geometry)


def _block_size(xp):
    return _BLOCK if xp.module.__name__ == "numpy" else _DEVICE_BLOCK


def _leading_blocks(xp, size, elements):
    """Slices of a leading dimension of `size`, so that a part of the `elements` fits in a block."""
    step = max(1, size * _block_size(xp) // max(elements, 1))
    return [slice(start, start + step) for start in range(0, size, step)]


# ---------------------------------------------------------------- windows copied into a matrix


def _contract_windows(xp, target, x, w, geometry):
    """Windows as a strided view, copied block by block into a matrix that meets the kernel once."""
    n = len(geometry.sizes)
    x = _padded(xp, x, geometry.padding, _memory_order(x, geometry))
    spatial = x.strides[1 : n + 1]
    windows = xp.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *geometry.counts, *geometry.kernel, *x.shape[-2:]),
        (
            x.strides[0],
            *(s * stride for s, stride in zip(spatial, geometry.strides, strict=True)),
            *(s * dilation for s, dilation in zip(spatial, geometry.rhs_dilation, strict=True)),
            *x.strides[-2:],
        ),
    )
    by_stride = lambda axis: -windows.strides[axis]
    rows = sorted(range(n + 1), key=by_stride)
    summed = sorted((*range(n + 1, 2 * n + 1), 2 * n + 2), key=by_stride)
    feature = 2 * n + 2
    outer = [feature, *rows] if windows.strides[feature] > windows.strides[rows[0]] else rows
    kernel = None
    for place in _blocks(windows.shape, outer, windows.size, _block_size(xp)):
        row_slices = tuple(place.get(axis, slice(None)) for axis in range(n + 1))
        features = place.get(feature, slice(None))
        block = windows[(*row_slices, *(slice(None),) * (n + 1), features)]
        # Features in several blocks are parts of one sum; all but the first are added.
        add = features.start not in (None, 0)
        if kernel is None or feature in place:
            kernel = _kernel_matrix(w[(*(slice(None),) * n, features)], summed)
        _contract_block(xp, target[row_slices], block, kernel, rows, summed, add)


def _memory_order(x, geometry):
    """The dimensions of `x` (n, *s, g, f), outermost first, as windows should be read from memory.

    That is as they lie, unless neither rows of windows nor rows of taps would be copied in runs
    worth the name; then features go innermost, or for few windows of many taps the batch.
    """
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    n = len(geometry.sizes)
    innermost = order[-1]
    few_taps = math.prod(geometry.kernel) <= math.prod(geometry.counts)
    channels = (n + 2, n + 1, 0) if few_taps else (0, n + 1, n + 2)
    longest = next((axis for axis in channels if x.shape[axis] >= _RUN), channels[0])
    if innermost in channels and x.shape[innermost] > 1:
        run = x.shape[innermost]
    elif n and geometry.strides[-1] == 1 and geometry.counts[-1] >= geometry.kernel[-1]:
        run = geometry.counts[-1]
    elif n and geometry.rhs_dilation[-1] == 1:
        run = geometry.kernel[-1]
    else:
        run = 1
    if run >= min(_RUN, x.shape[longest]):
        return order
    return [axis for axis in order if axis != longest] + [longest]


def _padded(xp, x, padding, order):
    """`x` with zeros around its spatial dimensions, or without what negative padding cuts off.

    A copy lies in memory in the given order of dimensions.
    """
    sizes = x.shape[1 : len(padding) + 1]
    padded_sizes = [size + low + high for size, (low, high) in zip(sizes, padding, strict=True)]
    kept = [
        slice(max(-low, 0), max(min(size, size + high), 0))
        for size, (low, high) in zip(sizes, padding, strict=True)
    ]
    x = x[(slice(None), *kept)]
    as_it_lies = all(x.strides[a] >= x.strides[b] for a, b in itertools.pairwise(order))
    if x.shape[1 : len(padding) + 1] == tuple(padded_sizes) and as_it_lies:
        return x
    shape = (x.shape[0], *padded_sizes, *x.shape[-2:])
    result = xp.zeros([shape[axis] for axis in order], x.dtype)
    result = result.transpose([order.index(axis) for axis in range(x.ndim)])
    if x.size:
        starts = (max(low, 0) for low, _ in padding)
        inner = (
            slice(start, start + size) for start, size in zip(starts, x.shape[1:], strict=False)
        )
        result[(slice(None), *inner)] = x
    return result


def _blocks(shape, axes, elements, limit):
    """Cuts `axes`, outermost first, until a block has at most `limit` elements: dicts axis ->
    slice.
    """
    cuts = {}
    for axis in axes:
        if elements <= limit:
            break
        size = shape[axis]
        step = max(1, size * limit // elements)
        cuts[axis] = [slice(start, min(start + step, size)) for start in range(0, size, step)]
        elements = -(-elements // len(cuts[axis]))
    for slices in itertools.product(*cuts.values()):
        yield dict(zip(cuts, slices, strict=True))


def _kernel_matrix(w, summed):
    """The kernel as (group, summed, output), summed in the order in which windows are."""
    n = w.ndim - 3
    group_axis = 2 * n + 1  # of the windows, whose axes are (n, *p, *k, g, f)
    axes = [axis - n - 1 if axis < group_axis else n for axis in summed]
    return w.transpose(n + 1, *axes, n + 2).reshape(w.shape[-2], -1, w.shape[-1])


def _contract_block(xp, target, block, kernel, rows, summed, add):
    """target (+)= windows times kernel, for one block. `rows` and `summed` are in order of
    memory.
    """
    n = len(rows) - 1
    group_axis = 2 * n + 1
    groups = block.shape[group_axis]
    row_sizes = [block.shape[axis] for axis in rows]
    matrix = _window_matrix(block, rows, summed, group_axis, row_sizes)
    ordered = target.transpose(n + 1, *rows, n + 2)
    product = None if add else _multiplied_into(xp, ordered, matrix, kernel)
    if product is not None:
        return
    product = xp.module.matmul(matrix.reshape(groups, -1, kernel.shape[1]), kernel)
    product = product.reshape(ordered.shape)
    if add:
        ordered += product
    else:
        ordered[...] = product


def _window_matrix(block, rows, summed, group_axis, row_sizes):
    """The windows as (group, first row axis, other rows, summed), copied along the longest runs."""
    head, rest = row_sizes[0], math.prod(row_sizes[1:])
    groups = block.shape[group_axis]
    if _run(block, rows) > _run(block, summed):
        matrix = block.transpose(group_axis, *summed, *rows).reshape(groups, -1, head, rest)
        return matrix.transpose(0, 2, 3, 1)
    return block.transpose(group_axis, *rows, *summed).reshape(groups, head, rest, -1)


def _run(x, axes):
    """How many elements lie side by side in memory when `axes` are walked in order."""
    run = 1
    for axis in reversed(axes):
        if x.shape[axis] > 1:
            if x.strides[axis] != run * x.itemsize:
                break
            run *= x.shape[axis]
    return run


def _multiplied_into(xp, ordered, matrix, kernel):
    """Multiplies straight into the result where its rows can be seen as one or two dimensions.

    Returns `ordered`, or None if its layout does not allow it.
    """
    if ordered.shape[0] != 1:
        return None
    target, matrix, kernel = ordered[0], matrix[0], kernel[0]
    outputs = target.shape[-1]
    strides = target.strides
    if not _is_even(target.shape[1:-1], strides[1:-1]):
        return None
    as_strided = xp.lib.stride_tricks.as_strided
    inner = next(
        (s for s, size in zip(strides[-2:0:-1], target.shape[-2:0:-1], strict=True) if size > 1),
        None,
    )
    if inner is None or _is_even(target.shape[:-1], strides[:-1]):
        step = inner if inner is not None else strides[0]
        flat = as_strided(target, (math.prod(target.shape[:-1]), outputs), (step, strides[-1]))
        xp.module.matmul(matrix.reshape(-1, matrix.shape[-1]), kernel, out=flat)
    else:
        shape = (target.shape[0], math.prod(target.shape[1:-1]), outputs)
        flat = as_strided(target, shape, (strides[0], inner, strides[-1]))
        xp.module.matmul(matrix, kernel, out=flat)
    return ordered


def _is_even(shape, strides):
    """Can these dimensions be walked with a single stride?"""
    steps = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size > 1]
    return all(outer[1] == inner[0] * inner[1] for outer, inner in itertools.pairwise(steps))


# ---------------------------------------------------------------- dilated input


def _scatter_taps(xp, target, x, w, geometry):
    """Each element times the whole kernel in one product, then added where each tap reaches.

    A dilated input is mostly zeros; this way none of them is multiplied.
    """
    n = len(geometry.sizes)
    groups, outputs = target.shape[-2:]
    channels_last = target.strides[-1] <= target.strides[n]
    if channels_last and groups == 1 and n and outputs < _RUN:
        # Too few outputs to be added side by side: collect them apart, bring them together once.
        apart = xp.zeros((target.shape[0], outputs, *target.shape[1 : n + 1]), target.dtype)
        apart = apart.transpose(0, *range(2, n + 2), 1)[..., None, :]
        _add_products(xp, apart, x, w, geometry, channels_last=False)
        target[...] = apart
    else:
        target[...] = 0
        _add_products(xp, target, x, w, geometry, channels_last)


def _add_products(xp, target, x, w, geometry, channels_last):
    """Adds to `target` block by block; products are laid out as it is."""
    n = len(geometry.sizes)
    kernel = w.reshape(-1, *w.shape[n:])  # (taps, f, g, o)
    elements = math.prod(x.shape[:-1]) * kernel.shape[0] * kernel.shape[-1]
    multiplied = _features_last if channels_last else _features_first
    for block in _leading_blocks(xp, len(x), elements):
        _add_taps(target[block], multiplied(xp, x[block], kernel), geometry)


def _features_last(xp, x, kernel):
    """Elements times kernel as (tap, n, *s, g, o), with outputs side by side in memory."""
    n = x.ndim - 3
    taps, features, groups, outputs = kernel.shape
    elements = x.transpose(0, n + 1, *range(1, n + 1), n + 2).reshape(len(x), groups, -1, features)
    matrix = kernel.transpose(2, 1, 0, 3).reshape(groups, features, -1)
    product = xp.module.matmul(elements, matrix)
    product = product.reshape(len(x), groups, *x.shape[1 : n + 1], taps, outputs)
    return product.transpose(n + 2, 0, *range(2, n + 2), 1, n + 3)


def _features_first(xp, x, kernel):
    """Elements times kernel as (tap, n, *s, g, o), with elements side by side in memory."""
    n = x.ndim - 3
    taps, features, groups, outputs = kernel.shape
    elements = x.transpose(0, n + 1, n + 2, *range(1, n + 1)).reshape(len(x), groups, features, -1)
    matrix = kernel.transpose(2, 0, 3, 1).reshape(groups, -1, features)
    product = xp.module.matmul(matrix, elements)
    product = product.reshape(len(x), groups, taps, outputs, *x.shape[1 : n + 1])
    return product.transpose(2, 0, *range(4, n + 4), 1, 3)


def _add_taps(target, product, geometry):
    """target[n, *p, g, o] += product[tap, n, *s, g, o] wherever a tap joins p and s."""
    for tap, windows, elements in geometry.taps():
        number = 0
        for k, size in zip(tap, geometry.kernel, strict=True):
            number = number * size + k
        target[(slice(None), *windows)] += product[(number, slice(None), *elements)]


def _contract_at_positions(xp, target, x, w, geometry):
    """For each place of the window one product of the elements and taps that meet there."""
    target[...] = 0
    n = len(geometry.sizes)
    groups, outputs = w.shape[-2:]
    for place, taps, elements in geometry.positions():
        rows = x[(slice(None), *elements)].transpose(n + 1, 0, *range(1, n + 1), n + 2)
        kernel = w[taps].transpose(n + 1, *range(n + 1), n + 2)
        product = xp.module.matmul(
            rows.reshape(groups, len(x), -1), kernel.reshape(groups, -1, outputs)
        )
        target[(slice(None), *place)] = product.transpose(1, 0, 2)


# ---------------------------------------------------------------- few features per group


def _multiply_taps(xp, target, x, w, geometry):
    """Depthwise convolutions: every tap is one multiplication of arrays, no product of matrices."""
    target[...] = 0
    combinations = list(itertools.product(range(w.shape[-3]), range(w.shape[-1])))
    for block in _leading_blocks(xp, len(x), 16 * target.size):
        part, goal = x[block], target[block]
        for tap, windows, elements in geometry.taps():
            seen, reached = part[(slice(None), *elements)], goal[(slice(None), *windows)]
            for feature, output in combinations:
                # Written back in place; `reached` is a view of the result.
                reached[..., output] += seen[..., feature] * w[tap][feature, :, output]


def _sum_at_positions(xp, target, x, w, geometry):
    """Depthwise with many taps and few places (weight gradients): one sum of products per place."""
    target[...] = 0
    n = len(geometry.sizes)
    spatial = [*range(1, n + 1)]
    group, feature = n + 1, n + 2
    for place, taps, elements in geometry.positions():
        seen, kernel = x[(slice(None), *elements)], w[taps]
        for output in range(w.shape[-1]):
            target[(slice(None), *place, slice(None), output)] = xp.module.einsum(
                seen, [0, *spatial, group, feature], kernel[..., output], [*spatial, feature,
                group], [0, group], )  # fmt: skip
