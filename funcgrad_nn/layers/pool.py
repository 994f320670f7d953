"""Pooling: one value for each window of an image."""

from __future__ import annotations

import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad_nn.layers.conv import Pair, pair
from funcgrad_nn.module import Module


class _Pool2d(Module):
    """Abstract: windows of `kernel_size` every `stride` (the kernel's size if None)."""

    def __init__(
        self,
        kernel_size: Pair,
        *,
        stride: Pair | None = None,
        padding: Pair = 0,
        channels_last: bool = False,
    ):
        self.kernel_size = pair(kernel_size)
        self.stride = self.kernel_size if stride is None else pair(stride)
        self.padding = tuple((size, size) for size in pair(padding))
        self.channels_last = channels_last

    def _windows(self, x, initial, combine):
        """`combine` over each window; what is padded on is `initial`."""
        if x.ndim != 4:
            raise ValueError(
                f"{type(self).__name__}: needs an input of rank 4, but its shape is "
                f"{tuple(x.shape)}."
            )
        return lax.reduce_window(
            x,
            initial,
            combine,
            self._spatial(self.kernel_size, 1),
            self._spatial(self.stride, 1),
            self._spatial(self.padding, (0, 0)),
        )

    def _spatial(self, sizes: tuple, other):
        return (other, *sizes, other) if self.channels_last else (other, other, *sizes)


class MaxPool2d(_Pool2d):
    """The largest value of each window: (N, C, H, W) -> (N, C, H', W').

    Padding is -infinity, so that it is never chosen. H' = (H + 2 padding - kernel) // stride + 1.
    """

    def forward(self, x):
        lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
        return self._windows(x, lowest, lax.max)


class AvgPool2d(_Pool2d):
    """The mean of each window; zeros that were padded on count, as in PyTorch's default."""

    def forward(self, x):
        height, width = self.kernel_size
        return self._windows(x, 0.0, lax.add) / (height * width)
