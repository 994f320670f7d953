"""How window reductions are computed: by whole-array operations on strided slices, one per tap.

A window of several dimensions is slid along one dimension after the other where the reduction
allows it. Nothing is padded: a tap touches exactly the windows in which it meets an element.
"""

from funcgrad.core import dtypes
from funcgrad.primitives.windowing import dilated, tap_slices, window_count, window_taps


class Windows:
    """Windows over an array of some shape: one entry per dimension in each field."""

    __slots__ = ("shape", "counts", "dimensions", "strides", "padding", "base", "dilation")

    def __init__(
        self, shape, window_dimensions, window_strides, padding, base_dilation, window_dilation
    ):
        self.shape, self.dimensions, self.strides = shape, window_dimensions, window_strides
        self.padding, self.base, self.dilation = padding, base_dilation, window_dilation
        self.counts = tuple(self._count(d) for d in range(len(shape)))

    def _count(self, d):
        window = dilated(self.dimensions[d], self.dilation[d])
        return window_count(
            dilated(self.shape[d], self.base[d]), window, self.strides[d], *self.padding[d]
        )

    def tap_along(self, d, k):
        """The windows and elements that tap `k` joins in dimension `d`, or None."""
        offset = k * self.dilation[d] - self.padding[d][0]
        return tap_slices(self.shape[d], self.counts[d], offset, self.strides[d], self.base[d])

    def taps(self):
        """For each tap, row-major, what it joins: (number, slices of windows, of elements)."""
        along = [[self.tap_along(d, k) for k in range(n)] for d, n in enumerate(self.dimensions)]
        for number, tap in enumerate(window_taps(self.dimensions)):
            pairs = [along[d][k] for d, k in enumerate(tap)]
            if None not in pairs:
                yield number, tuple(w for w, _ in pairs), tuple(e for _, e in pairs)

    def is_trivial(self, d):
        """Is dimension `d` left as it is?"""
        return self.dimensions[d] == self.strides[d] == self.base[d] == 1 and not any(
            self.padding[d]
        )

    def are_apart(self):
        """Does every element belong to at most one window?"""
        return all(
            stride >= dilated(window, dilation)
            for window, stride, dilation in zip(
                self.dimensions, self.strides, self.dilation, strict=True
            )
        )


def _widened(x):
    """Narrow floats as float32: NumPy is slow with them, and sums need the width."""
    return x.astype(dtypes.float32) if dtypes.is_float(x.dtype) and x.dtype.itemsize == 2 else x


def reduced_windows(xp, x, windows, combine, reduce, identity):
    """Every window of `x` reduced by the ufunc `combine`, `reduce` being its full reduction."""
    wide = _widened(x)
    out = wide
    for d in range(x.ndim):
        if not windows.is_trivial(d):
            out = _slide(xp, out, windows, d, combine, reduce, identity)
    return out.copy() if out is x else out.astype(x.dtype, copy=False)


def _slide(xp, x, windows, d, combine, reduce, identity):
    """Windows along one dimension."""
    count = windows.counts[d]
    index = [slice(None)] * x.ndim

    def part(array, along):
        index[d] = along
        return array[tuple(index)]

    pairs = [windows.tap_along(d, k) for k in range(windows.dimensions[d])]
    pairs = [pair for pair in pairs if pair is not None]
    full = [pair for pair in pairs if pair[0].stop - pair[0].start == count and pair[0].step == 1]
    if count == 1 and len(full) > 4:  # one window over all of them, as in global pooling
        elements = slice(full[0][1].start, full[-1][1].stop, full[1][1].start - full[0][1].start)
        return reduce(part(x, elements), axis=d, keepdims=True, dtype=x.dtype)
    if full:
        pairs.remove(full[0])
        out = part(x, full[0][1])
        if len(full) > 1:
            pairs.remove(full[1])
            out = combine(out, part(x, full[1][1]))
        else:
            out = out.copy()
    else:
        shape = (*x.shape[:d], count, *x.shape[d + 1 :])
        out = xp.full(shape, identity, x.dtype)
    for places, elements in pairs:
        goal = part(out, places)
        combine(goal, part(x, elements), out=goal)
    return out


def _winners(xp, x, windows, extreme):
    """For each tap, what it joins and where its element is the first of its window to be `extreme`.

    Yields (slices of windows, slices of elements, bools). A NaN is more extreme than any number.
    """
    remaining = xp.ones(extreme.shape, bool)
    has_nan = bool(xp.isnan(extreme).any())
    for _, places, elements in windows.taps():
        candidate, left = x[elements], remaining[places]
        wins = xp.equal(candidate, extreme[places])
        if has_nan:
            wins |= xp.isnan(candidate)
        wins &= left
        left ^= wins  # a view: each window has one winner
        yield places, elements, wins


def _bits(x):
    """Floats as integers of the same bits: times a bool these are chosen or zero, even NaN."""
    return x.view(dtypes.int64 if x.dtype.itemsize == 8 else dtypes.int32)


def selected(xp, values, x, windows, extreme):
    """For each window of `x`, the element of `values` where the window's `extreme` one stands."""
    values_type = values.dtype
    values, x, extreme = _widened(values), _widened(x), _widened(extreme)
    out = xp.zeros(windows.counts, values.dtype)
    for places, elements, wins in _winners(xp, x, windows, extreme):
        chosen = _bits(out)[places]
        chosen |= _bits(values)[elements] * wins
    return out.astype(values_type, copy=False)


def scattered(xp, values, x, windows, extreme):
    """Zeros like `x`, with each of `values` added where its window's `extreme` element stands."""
    values_type = values.dtype
    values, x, extreme = _widened(values), _widened(x), _widened(extreme)
    out = xp.zeros(windows.shape, values.dtype)
    apart = windows.are_apart()
    for places, elements, wins in _winners(xp, x, windows, extreme):
        if apart:
            xp.multiply(_bits(values)[places], wins, out=_bits(out)[elements])
        else:
            goal = out[elements]
            goal += (_bits(values)[places] * wins).view(values.dtype)
    return out.astype(values_type, copy=False)
