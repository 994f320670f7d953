"""Where the largest values of windows stand, and putting values back to such places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import Sizes, per_axis, require_rank
from funcgrad_nn.module import Module

Pads = tuple[tuple[int, int], ...]


def largest_with_places(x, kernel_size: tuple, stride: tuple, dilation: tuple, pads: Pads):
    """The first largest entry of each window of x (N, C, ...), and its number in its channel.

    Entries of a channel are numbered row by row, as in PyTorch; int32.
    """
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    padded = jnp.pad(x, ((0, 0), (0, 0), *pads), constant_values=lowest)
    numbers = np.arange(math.prod(x.shape[2:]), dtype=np.int32).reshape(x.shape[2:])
    options = (padded.shape[2:], kernel_size, dilation, stride)
    ends = [size - (k - 1) * d for size, k, d, _ in zip(*options, strict=True)]
    corners = itertools.product(
        *(range(0, k * d, d) for k, d in zip(kernel_size, dilation, strict=True))
    )
    cuts: list[Any] = [
        (..., *(slice(c, c + end, s) for c, end, s in zip(corner, ends, stride, strict=True)))
        for corner in corners
    ]
    entries = jnp.stack([padded[cut] for cut in cuts])
    # Of entries that are all -infinity a padded one may come first; it stands for its neighbour.
    places = jnp.stack([np.pad(numbers, pads, mode="edge")[cut] for cut in cuts])
    first = jnp.argmax(entries, axis=0)[None]
    places = jnp.broadcast_to(places[:, None, None], entries.shape)
    return (jnp.take_along_axis(part, first, axis=0)[0] for part in (entries, places))


class MaxUnpool(Module):
    """Abstract: puts each value to its place, and zeros elsewhere."""

    rank = 0

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0):
        name = type(self).__name__
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.rank)
        stride = self.kernel_size if stride is None else stride
        self.stride = per_axis(name, "stride", stride, self.rank)
        self.padding = per_axis(name, "padding", padding, self.rank, least=0)

    def forward(self, x, indices, output_size: Sequence[int] | None = None):
        name = type(self).__name__
        require_rank(name, x, self.rank + 1, self.rank + 2)
        indices = jnp.asarray(indices)
        if indices.shape != x.shape or not jnp.issubdtype(indices.dtype, jnp.integer):
            raise ValueError(
                f"{name}: indices must be integers of the input's shape {tuple(x.shape)}, but got "
                f"{indices.dtype} of shape {tuple(indices.shape)}."
            )
        sizes = self._sizes(x.shape[-self.rank :], output_size)
        channels = math.prod(x.shape[: -self.rank])
        flat = jnp.zeros((channels, math.prod(sizes)), x.dtype)
        rows = jnp.arange(channels)[:, None]
        count = math.prod(x.shape[-self.rank :])
        places = indices.reshape(channels, count)
        return (
            flat.at[rows, places]
            .set(x.reshape(channels, count), mode="drop")
            .reshape(*x.shape[: -self.rank], *sizes)
        )

    def _sizes(self, sizes, output_size: Sequence[int] | None) -> tuple[int, ...]:
        if output_size is not None:
            return tuple(output_size)[-self.rank :]
        options = (sizes, self.kernel_size, self.stride, self.padding)
        return tuple((n - 1) * s - 2 * p + k for n, k, s, p in zip(*options, strict=True))


class MaxUnpool1d(MaxUnpool):
    """The partial inverse of `MaxPool1d`: (N, C, L) and indices -> (N, C, L'); see MaxUnpool2d.

    >>> x = jnp.array([[[1.0, 2.0, 6.0, 3.0]]])
    >>> values, indices = nn.MaxPool1d(2, return_indices=True).apply({}, {}, x)[0]
    >>> print(nn.MaxUnpool1d(2).apply({}, {}, values, indices)[0])
    [[[0. 2. 6. 0.]]]
    """

    rank = 1


class MaxUnpool2d(MaxUnpool):
    """The partial inverse of `MaxPool2d`: (N, C, H, W) and indices -> (N, C, H', W').

    `indices` come from `MaxPool2d(..., return_indices=True)` of the same options: each value goes
    back to its place and the rest is 0 (Zeiler and Fergus, 2014). H' = (H - 1) stride - 2 padding +
    kernel, unless `output_size` (of which the last sizes count) says which of the sizes that give H
    it was. Indices outside are dropped; of windows that chose one place, one gets its gradient.

    >>> x = jnp.arange(16.0).reshape(1, 1, 4, 4)
    >>> values, indices = nn.MaxPool2d(2, return_indices=True).apply({}, {}, x)[0]
    >>> print(nn.MaxUnpool2d(2).apply({}, {}, values, indices)[0][0, 0])
    [[ 0.  0.  0.  0.]
     [ 0.  5.  0.  7.]
     [ 0.  0.  0.  0.]
     [ 0. 13.  0. 15.]]
    """

    rank = 2


class MaxUnpool3d(MaxUnpool):
    """The partial inverse of `MaxPool3d`, for volumes (N, C, D, H, W); see MaxUnpool2d.

    >>> pool = nn.MaxPool3d(2, return_indices=True)
    >>> values, indices = pool.apply({}, {}, jnp.ones((1, 1, 2, 2, 4)))[0]
    >>> nn.MaxUnpool3d(2).apply({}, {}, values, indices)[0].shape
    (1, 1, 2, 2, 4)
    """

    rank = 3
