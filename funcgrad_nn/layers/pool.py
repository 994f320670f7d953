"""Pooling: one value for each window of a signal, an image or a volume.

Inputs are (N, C, ...) or (C, ...), or have C last with `channels_last=True`.
"""

from __future__ import annotations

import numpy as np

import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad_nn.layers.checks import Sizes, on_batch, per_axis, require_windows_fit
from funcgrad_nn.layers.unpool import largest_with_places
from funcgrad_nn.module import Module

Pads = tuple[tuple[int, int], ...]


class Pool(Module):
    """Abstract: windows of `kernel_size` every `stride` (the kernel's size if None).

    An axis of size H becomes (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1, rounded up
    with `ceil_mode=True`, where a window may reach over the end but must begin before it.
    """

    rank = 0
    dilation: tuple[int, ...]

    def _set_windows(self, kernel_size, stride, padding, ceil_mode, channels_last) -> None:
        name = type(self).__name__
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.rank)
        self.stride = per_axis(
            name, "stride", self.kernel_size if stride is None else stride, self.rank
        )
        self.padding = per_axis(name, "padding", padding, self.rank, least=0)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"{name}: padding may be at most half of kernel_size, but got padding="
                f"{self.padding} for kernel_size={self.kernel_size}."
            )
        self.ceil_mode, self.channels_last = ceil_mode, channels_last

    def forward(self, x):
        return on_batch(type(self).__name__, x, self.rank + 2, self._pooled)

    def _pooled(self, x):
        """The result for an input with a batch axis."""
        raise TypeError(f"{type(self).__name__} is abstract.")

    def _image_sizes(self, x) -> tuple[int, ...]:
        return x.shape[1:-1] if self.channels_last else x.shape[2:]

    def _pads(self, x) -> Pads:
        """(before, after) for each axis; `ceil_mode` adds behind what its last window lacks."""
        spans = _spans(self)
        options = (self._image_sizes(x), spans, self.stride, self.padding)
        return tuple(
            (p, p + (_overhang(size + 2 * p, span, step, size + p) if self.ceil_mode else 0))
            for size, span, step, p in zip(*options, strict=True)
        )

    def _windows(self, x, initial, combine, pads: Pads):
        """`combine` over each window; what is padded on is `initial`."""
        require_windows_fit(type(self).__name__, x, self._image_sizes(x), pads, _spans(self))
        return lax.reduce_window(
            x,
            initial,
            combine,
            self._spatial(self.kernel_size, 1),
            self._spatial(self.stride, 1),
            self._spatial(pads, (0, 0)),
            window_dilation=self._spatial(_dilation(self), 1),
        )

    def _spatial(self, sizes: tuple, other):
        return (other, *sizes, other) if self.channels_last else (other, other, *sizes)


class MaxPool(Pool):
    """Abstract: the largest value of each window."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        channels_last: bool = False,
    ):
        self._set_windows(kernel_size, stride, padding, ceil_mode, channels_last)
        self.dilation = per_axis(type(self).__name__, "dilation", dilation, self.rank)
        self.return_indices = return_indices

    def _pooled(self, x):
        if self.return_indices:
            return self._with_places(x)
        lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
        return self._windows(x, lowest, lax.max, self._pads(x))

    def _with_places(self, x):
        pads = self._pads(x)
        require_windows_fit(type(self).__name__, x, self._image_sizes(x), pads, _spans(self))
        options = (self.kernel_size, self.stride, self.dilation, pads)
        if not self.channels_last:
            return tuple(largest_with_places(x, *options))
        found = largest_with_places(jnp.moveaxis(x, -1, 1), *options)
        return tuple(jnp.moveaxis(part, 1, -1) for part in found)


class MaxPool1d(MaxPool):
    """The largest value of each window: (N, C, L) -> (N, C, L'); see MaxPool2d.

    >>> print(nn.MaxPool1d(2).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0, 6.0]]]))[0])
    [[[2. 6.]]]
    """

    rank = 1


class MaxPool2d(MaxPool):
    """The largest value of each window: (N, C, H, W) -> (N, C, H', W').

    Padding is -infinity, so that it is never chosen; the gradient goes to the first of equal
    values. With `return_indices=True` the output is a pair: with each value its place in its
    channel, counted row by row, as int32; `MaxUnpool2d` takes them.

    H' = (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1, rounded up with
    `ceil_mode=True`, and likewise W'.

    >>> nn.MaxPool2d(3, stride=2, padding=1).apply({}, {}, jnp.ones((1, 8, 28, 28)))[0].shape
    (1, 8, 14, 14)
    """

    rank = 2


class MaxPool3d(MaxPool):
    """The largest value of each window: (N, C, D, H, W) -> (N, C, D', H', W'); see MaxPool2d.

    >>> nn.MaxPool3d(2).apply({}, {}, jnp.ones((1, 2, 4, 4, 6)))[0].shape
    (1, 2, 2, 2, 3)
    """

    rank = 3


class AvgPool(Pool):
    """Abstract: the mean of each window."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        channels_last: bool = False,
    ):
        self._set_windows(kernel_size, stride, padding, ceil_mode, channels_last)
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def _pooled(self, x):
        pads = self._pads(x)
        return self._windows(x, 0.0, lax.add, pads) / self._divisors(x, pads)

    def _divisors(self, x, pads: Pads):
        """How many entries each window counts: a number, or an array to broadcast."""
        if self.divisor_override is not None:
            return float(self.divisor_override)
        counts = [self._counts(i, size, pads) for i, size in enumerate(self._image_sizes(x))]
        if all((count == count[:1]).all() for count in counts):
            return float(np.prod([count[0] for count in counts if count.size]))
        divisors = np.ones((), np.float32)
        for count in counts:
            divisors = divisors[..., None] * count.astype(np.float32)
        return jnp.asarray(divisors[..., None] if self.channels_last else divisors).astype(x.dtype)

    def _counts(self, axis: int, size: int, pads: Pads) -> np.ndarray:
        """For each window along one axis, the entries in it: those padded on count or not."""
        kernel, step, padding = (
            sizes[axis] for sizes in (self.kernel_size, self.stride, self.padding)
        )
        starts = np.arange(0, size + sum(pads[axis]) - kernel + 1, step) - padding
        first, last = (-padding, size + padding) if self.count_include_pad else (0, size)
        return np.minimum(starts + kernel, last) - np.maximum(starts, first)


class AvgPool1d(AvgPool):
    """The mean of each window: (N, C, L) -> (N, C, L'); see AvgPool2d.

    >>> print(nn.AvgPool1d(2).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0, 6.0]]]))[0])
    [[[1.5 4.5]]]
    """

    rank = 1


class AvgPool2d(AvgPool):
    """The mean of each window: (N, C, H, W) -> (N, C, H', W').

    Zeros that were padded on count unless `count_include_pad=False`; `divisor_override` is used
    instead of the count. Sizes as in `MaxPool2d`, without dilation.

    >>> nn.AvgPool2d(2).apply({}, {}, jnp.ones((1, 8, 7, 6)))[0].shape
    (1, 8, 3, 3)
    """

    rank = 2


class AvgPool3d(AvgPool):
    """The mean of each window: (N, C, D, H, W) -> (N, C, D', H', W'); see AvgPool2d.

    >>> nn.AvgPool3d(2).apply({}, {}, jnp.ones((1, 2, 4, 4, 6)))[0].shape
    (1, 2, 2, 2, 3)
    """

    rank = 3


class LPPool(AvgPool):
    """Abstract: the p-norm of each window."""

    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
        *,
        channels_last: bool = False,
    ):
        self._set_windows(kernel_size, stride, 0, ceil_mode, channels_last)
        self.norm_type = norm_type
        self.count_include_pad, self.divisor_override = True, None

    def _pooled(self, x):
        total = super()._pooled(x**self.norm_type) * float(np.prod(self.kernel_size))
        nonzero = total != 0
        return jnp.where(nonzero, jnp.where(nonzero, total, 1) ** (1 / self.norm_type), 0)


class LPPool1d(LPPool):
    """(sum of x^p)^(1/p) over each window: (N, C, L) -> (N, C, L'); see LPPool2d.

    >>> print(nn.LPPool1d(2, 2).apply({}, {}, jnp.array([[[3.0, 4.0, 0.0, 2.0]]]))[0])
    [[[5. 2.]]]
    """

    rank = 1


class LPPool2d(LPPool):
    """(sum of x^p)^(1/p) over each window, p = `norm_type`: (N, C, H, W) -> (N, C, H', W').

    A negative sum (odd p) gives NaN; the gradient at a sum of 0 is 0. With `ceil_mode=True` a
    window that reaches over the end counts as if its mean filled all of it, as in PyTorch.

    >>> nn.LPPool2d(2, 2).apply({}, {}, jnp.ones((1, 8, 6, 6)))[0].shape
    (1, 8, 3, 3)
    """

    rank = 2


class LPPool3d(LPPool):
    """(sum of x^p)^(1/p) over each window: (N, C, D, H, W) -> (N, C, D', H', W'); see LPPool2d.

    >>> nn.LPPool3d(2, 2).apply({}, {}, jnp.ones((1, 2, 4, 4, 6)))[0].shape
    (1, 2, 2, 2, 3)
    """

    rank = 3


def _dilation(pool: Pool) -> tuple[int, ...]:
    return pool.dilation if isinstance(pool, MaxPool) else (1,) * pool.rank


def _spans(pool: Pool) -> tuple[int, ...]:
    """How far a window reaches along each axis."""
    return tuple((k - 1) * d + 1 for k, d in zip(pool.kernel_size, _dilation(pool), strict=True))


def _overhang(padded: int, span: int, step: int, last_start: int) -> int:
    """How much is lacking behind for one more window, if one still begins before `last_start`."""
    count = -(-(padded - span) // step) + 1
    if (count - 1) * step >= last_start:
        count -= 1
    return max((count - 1) * step + span - padded, 0)
