"""Layers without parameters that only move values around."""

from __future__ import annotations

import math

import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import Sizes, positive, sizes_of
from funcgrad_nn.module import Module


class Flatten(Module):
    """Joins the axes from `start_dim` (1: all but the batch) through `end_dim` (the last) into one.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> nn.Flatten().apply({}, {}, fg.numpy.ones((2, 3, 4)))[0].shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        start, end = (_axis("Flatten", axis, x) for axis in (self.start_dim, self.end_dim))
        if start > end:
            raise ValueError(
                f"Flatten: start_dim={self.start_dim} lies behind end_dim={self.end_dim} for an "
                f"input of shape {tuple(x.shape)}."
            )
        joined = math.prod(x.shape[start : end + 1])
        return x.reshape(*x.shape[:start], joined, *x.shape[end + 1 :])


class Unflatten(Module):
    """Splits the axis `dim` into axes of the sizes `unflattened_size`; one of them may be -1.

    >>> nn.Unflatten(1, (2, -1)).apply({}, {}, jnp.ones((5, 6)))[0].shape
    (5, 2, 3)
    """

    def __init__(self, dim: int, unflattened_size: Sizes):
        self.dim, self.unflattened_size = dim, sizes_of(unflattened_size)

    def forward(self, x):
        axis = _axis("Unflatten", self.dim, x)
        known = math.prod(size for size in self.unflattened_size if size != -1)
        open_sizes = self.unflattened_size.count(-1)
        if open_sizes > 1 or (x.shape[axis] % known if open_sizes else x.shape[axis] != known):
            raise ValueError(
                f"Unflatten: axis {axis} of an input of shape {tuple(x.shape)} cannot be split "
                f"into {self.unflattened_size}."
            )
        return x.reshape(*x.shape[:axis], *self.unflattened_size, *x.shape[axis + 1 :])


class Reshape(Module):
    """Reshapes each row: (batch, ...) -> (batch, *shape); one size may be -1.

    >>> nn.Reshape(1, 28, 28).apply({}, {}, jnp.ones((5, 784)))[0].shape
    (5, 1, 28, 28)
    """

    def __init__(self, *shape: int):
        self.shape = shape

    def forward(self, x):
        return x.reshape(x.shape[0], *self.shape)


class PixelShuffle(Module):
    """(..., C r^2, H, W) -> (..., C, H r, W r): channels become finer pixels (Shi et al., 2016).

    >>> nn.PixelShuffle(2).apply({}, {}, jnp.ones((1, 12, 4, 5)))[0].shape
    (1, 3, 8, 10)
    """

    def __init__(self, upscale_factor: int):
        self.upscale_factor = positive("PixelShuffle", "upscale_factor", upscale_factor)

    def forward(self, x):
        factor = self.upscale_factor
        _require_image("PixelShuffle", x)
        *batch, channels, height, width = x.shape
        if channels % factor**2:
            raise ValueError(
                f"PixelShuffle: the number of channels must be a multiple of {factor**2}, but the "
                f"input's shape is {tuple(x.shape)}."
            )
        split = x.reshape(*batch, channels // factor**2, factor, factor, height, width)
        moved = jnp.moveaxis(split, (-4, -3), (-3, -1))
        return moved.reshape(*batch, channels // factor**2, height * factor, width * factor)


class PixelUnshuffle(Module):
    """(..., C, H r, W r) -> (..., C r^2, H, W): the inverse of `PixelShuffle`.

    >>> nn.PixelUnshuffle(2).apply({}, {}, jnp.ones((1, 3, 8, 10)))[0].shape
    (1, 12, 4, 5)
    """

    def __init__(self, downscale_factor: int):
        self.downscale_factor = positive("PixelUnshuffle", "downscale_factor", downscale_factor)

    def forward(self, x):
        factor = self.downscale_factor
        _require_image("PixelUnshuffle", x)
        *batch, channels, height, width = x.shape
        if height % factor or width % factor:
            raise ValueError(
                f"PixelUnshuffle: height and width must be multiples of {factor}, but the input's "
                f"shape is {tuple(x.shape)}."
            )
        split = x.reshape(*batch, channels, height // factor, factor, width // factor, factor)
        moved = jnp.moveaxis(split, (-3, -1), (-4, -3))
        return moved.reshape(*batch, channels * factor**2, height // factor, width // factor)


class ChannelShuffle(Module):
    """Interleaves `groups` groups of channels of (N, C, ...) (Zhang et al., 2018).

    >>> x = jnp.arange(4).reshape(1, 4, 1)
    >>> print(nn.ChannelShuffle(2).apply({}, {}, x)[0].ravel())
    [0 2 1 3]
    """

    def __init__(self, groups: int):
        self.groups = positive("ChannelShuffle", "groups", groups)

    def forward(self, x):
        if x.ndim < 2 or x.shape[1] % self.groups:
            raise ValueError(
                f"ChannelShuffle: axis 1 must be a multiple of groups={self.groups}, but the "
                f"input's shape is {tuple(x.shape)}."
            )
        split = x.reshape(x.shape[0], self.groups, x.shape[1] // self.groups, *x.shape[2:])
        return jnp.swapaxes(split, 1, 2).reshape(x.shape)


def _axis(owner: str, axis: int, x) -> int:
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{owner}: an input of shape {tuple(x.shape)} has no axis {axis}.")
    return axis % x.ndim


def _require_image(owner: str, x) -> None:
    if x.ndim < 3:
        raise ValueError(
            f"{owner}: needs an input (..., C, H, W), but its shape is {tuple(x.shape)}."
        )
