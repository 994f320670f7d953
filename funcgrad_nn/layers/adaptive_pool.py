"""Pooling to a given size, whatever the size of the input.

Window i of n over an axis of size H begins at floor(i H / n) and ends before ceil((i + 1) H / n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import is_integer, on_batch
from funcgrad_nn.module import Module

OpenSizes = int | Sequence[int | None]


class AdaptivePool(Module):
    """Abstract: pools each axis of the image to `output_size`; None keeps an axis as it is."""

    rank = 0

    def __init__(self, output_size: OpenSizes, *, channels_last: bool = False):
        several = output_size if isinstance(output_size, Sequence) else (output_size,) * self.rank
        sizes = tuple(several)
        sound = all(size is None or (is_integer(size) and size >= 1) for size in sizes)
        if not self.rank or len(sizes) != self.rank or not sound:
            raise ValueError(
                f"{type(self).__name__}: output_size must be one positive number or {self.rank} of "
                f"them, but got {output_size!r}."
            )
        self.output_size, self.channels_last = sizes, channels_last

    def forward(self, x):
        return on_batch(type(self).__name__, x, self.rank + 2, self._pooled)

    def _pooled(self, x):
        first = 1 if self.channels_last else 2
        for axis, size in enumerate(self.output_size, start=first):
            if size is not None and size != x.shape[axis]:
                x = self._along(x, axis, size)
        return x

    def _along(self, x, axis: int, size: int):
        """One axis pooled to `size`; axes can be pooled one after another."""
        windows, counts = _windows_of(x, axis, size)
        return self._reduced(windows, axis + 1, counts)

    def _reduced(self, windows, axis: int, counts: np.ndarray | None):
        """Windows along `axis` reduced; with `counts`, only so many entries of each are its own."""
        raise TypeError(f"{type(self).__name__} is abstract.")


class AdaptiveAvgPool(AdaptivePool):
    """Abstract: the mean of each window."""

    def _reduced(self, windows, axis: int, counts: np.ndarray | None):
        if counts is None:
            return windows.mean(axis)
        shares = (np.arange(windows.shape[axis]) < counts[:, None]) / counts[:, None]
        beside = (*shares.shape, *(1,) * (windows.ndim - axis - 1))
        weights = jnp.asarray(shares.astype(np.float32)).astype(windows.dtype).reshape(beside)
        return (windows * weights).sum(axis)


class AdaptiveMaxPool(AdaptivePool):
    """Abstract: the largest value of each window, and with `return_indices` its place."""

    def __init__(
        self, output_size: OpenSizes, return_indices: bool = False, *, channels_last: bool = False
    ):
        AdaptivePool.__init__(self, output_size, channels_last=channels_last)
        self.return_indices = return_indices

    def _pooled(self, x):
        return self._with_places(x) if self.return_indices else AdaptivePool._pooled(self, x)

    def _with_places(self, x):
        """The first largest entry of each window, and its number in its channel, row by row."""
        first = 1 if self.channels_last else 2
        image = x.shape[first : first + self.rank]
        numbers = np.arange(math.prod(image), dtype=np.int32).reshape(image)
        numbers = numbers[..., None] if self.channels_last else numbers
        found = x, jnp.broadcast_to(jnp.asarray(numbers), x.shape)
        # The last axis first: then of equal entries the first in the order of rows is chosen.
        for axis, size in reversed(list(enumerate(self.output_size, start=first))):
            if size is not None and size != x.shape[axis]:
                found = _largest_along(*found, axis, size)
        return found

    def _reduced(self, windows, axis: int, counts: np.ndarray | None):
        return windows.max(axis)


class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """Means of as many windows as asked for: (N, C, L) -> (N, C, output_size).

    >>> print(nn.AdaptiveAvgPool1d(2).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0, 6.0]]]))[0])
    [[[1.5 4.5]]]
    """

    rank = 1


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """Means of as many windows as asked for: (N, C, H, W) -> (N, C, *output_size).

    `output_size=1` is global average pooling.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> nn.AdaptiveAvgPool2d((2, 1)).apply({}, {}, fg.numpy.ones((1, 3, 5, 7)))[0].shape
    (1, 3, 2, 1)
    """

    rank = 2


class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """Means of as many windows as asked for: (N, C, D, H, W) -> (N, C, *output_size).

    >>> nn.AdaptiveAvgPool3d((1, 2, 2)).apply({}, {}, jnp.ones((1, 3, 4, 5, 6)))[0].shape
    (1, 3, 1, 2, 2)
    """

    rank = 3


class AdaptiveMaxPool1d(AdaptiveMaxPool):
    """Maxima of as many windows as asked for: (N, C, L) -> (N, C, output_size).

    >>> print(nn.AdaptiveMaxPool1d(2).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0, 6.0]]]))[0])
    [[[2. 6.]]]
    """

    rank = 1


class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """Maxima of as many windows as asked for: (N, C, H, W) -> (N, C, *output_size).

    Equal largest values share the gradient. With `return_indices=True` the output is a pair, as in
    `MaxPool2d`, and the first of them gets it.

    >>> nn.AdaptiveMaxPool2d((2, 1)).apply({}, {}, jnp.ones((1, 3, 5, 7)))[0].shape
    (1, 3, 2, 1)
    """

    rank = 2


class AdaptiveMaxPool3d(AdaptiveMaxPool):
    """Maxima of as many windows as asked for: (N, C, D, H, W) -> (N, C, *output_size).

    >>> nn.AdaptiveMaxPool3d((1, 2, 2)).apply({}, {}, jnp.ones((1, 3, 4, 5, 6)))[0].shape
    (1, 3, 1, 2, 2)
    """

    rank = 3


def _windows_of(x, axis: int, size: int):
    """x with `axis` split into (windows, entries), and how many entries of each are its own.

    None, if all are.
    """
    old = x.shape[axis]
    if old % size == 0:
        return x.reshape(*x.shape[:axis], size, old // size, *x.shape[axis + 1 :]), None
    members, counts = _windows(old, size)
    return jnp.take(x, members, axis=axis), counts


def _largest_along(x, places, axis: int, size: int):
    """The first largest entry of each window along one axis, and what `places` has for it."""
    entries, theirs = (_windows_of(part, axis, size)[0] for part in (x, places))
    first = jnp.argmax(entries, axis=axis + 1, keepdims=True)
    return tuple(
        jnp.take_along_axis(part, first, axis=axis + 1).squeeze(axis + 1)
        for part in (entries, theirs)
    )


def _windows(old: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, longest) positions in each window, short ones filled with their last, and lengths."""
    starts = np.arange(size) * old // size
    ends = -(-(np.arange(size) + 1) * old // size)
    counts = ends - starts
    members = np.minimum(starts[:, None] + np.arange(counts.max()), ends[:, None] - 1)
    return members.astype(np.int32), counts
