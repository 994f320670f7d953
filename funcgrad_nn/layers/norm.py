"""Normalisation over the features of each row: layers that treat every example by itself.

Statistics are computed in float32 at least, whatever the input's dtype, and the result has the
input's dtype. `batch_norm.py` holds the layers that look at the whole batch.
"""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import Sizes, positive, row_axes, sizes_of
from funcgrad_nn.module import Module


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes (Ba et al., 2016).

    `normalized_shape`: the sizes of the axes that are normalised together, or one size; the
    variance is the biased one. `elementwise_affine=False` leaves out weight and bias, `bias=False`
    only the bias.

    >>> layer = nn.LayerNorm(4)
    >>> params, state = layer.init(fg.random.key(0))
    >>> print(jnp.round(layer.apply(params, state, jnp.array([1.0, 2.0, 3.0, 4.0]))[0], 3))
    [-1.342 -0.447  0.447  1.342]
    """

    full_precision = True

    def __init__(
        self,
        normalized_shape: Sizes,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ):
        self.normalized_shape = sizes_of(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.bias = elementwise_affine and bias

    def parameters(self, key) -> dict:
        shape = self.normalized_shape
        made = {"weight": jnp.ones(shape, jnp.float32)} if self.elementwise_affine else {}
        return {**made, "bias": jnp.zeros(shape, jnp.float32)} if self.bias else made

    def forward(self, x):
        axes = _last_axes(self, x)
        wide = widened(x)
        centred = wide - wide.mean(axes, keepdims=True)
        y = centred * fg.lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + self.eps)
        y = y * self.p.weight if self.elementwise_affine else y
        return narrowed(y + self.p.bias if self.bias else y, x)


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last axes (Zhang and Sennrich, 2019).

    `eps=None` takes the input dtype's machine epsilon, as PyTorch.

    >>> layer = nn.RMSNorm(2)
    >>> params, state = layer.init(fg.random.key(0))
    >>> print(jnp.round(layer.apply(params, state, jnp.array([3.0, 4.0]))[0], 3))
    [0.849 1.131]
    """

    full_precision = True

    def __init__(
        self, normalized_shape: Sizes, eps: float | None = None, elementwise_affine: bool = True
    ):
        self.normalized_shape = sizes_of(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine

    def parameters(self, key) -> dict:
        if not self.elementwise_affine:
            return {}
        return {"weight": jnp.ones(self.normalized_shape, jnp.float32)}

    def forward(self, x):
        axes = _last_axes(self, x)
        wide = widened(x)
        eps = float(jnp.finfo(x.dtype).eps) if self.eps is None else self.eps
        y = wide * fg.lax.rsqrt(jnp.square(wide).mean(axes, keepdims=True) + eps)
        return narrowed(y * self.p.weight if self.elementwise_affine else y, x)


class GroupNorm(Module):
    """Normalises each group of channels of each example (Wu and He, 2018): (N, C, ...).

    The C = `num_channels` channels, on axis 1 (or last with `channels_last=True`), are split into
    `num_groups`; mean and biased variance run over a group's channels and all positions.
    `affine=False` leaves out weight and bias, `bias=False` only the bias.

    >>> layer = nn.GroupNorm(2, 6)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, jnp.ones((1, 6, 4, 4)))[0].shape
    (1, 6, 4, 4)
    """

    full_precision = True

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        channels_last: bool = False,
    ):
        self.num_groups = positive("GroupNorm", "num_groups", num_groups)
        self.num_channels = positive("GroupNorm", "num_channels", num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}."
            )
        self.eps, self.affine, self.bias = eps, affine, affine and bias
        self.channels_last = channels_last

    def parameters(self, key) -> dict:
        return channel_parameters(self, self.num_channels)

    def forward(self, x):
        channel = channel_axis(self, x, self.num_channels)
        shape = (*x.shape[:channel], self.num_groups, -1, *x.shape[channel + 1 :])
        grouped = widened(x).reshape(shape)
        y = standardized(grouped, _but(grouped, 0, channel), self.eps).reshape(x.shape)
        return narrowed(scaled(self, y, channel), x)


class LocalResponseNorm(Module):
    """x / (k + alpha * m)^beta, m the mean of x^2 over `size` neighbouring channels of (N, C, ...).

    Channels beyond the ends count as zeros (Krizhevsky et al., 2012).

    >>> nn.LocalResponseNorm(3).apply({}, {}, jnp.ones((1, 6, 4, 4)))[0].shape
    (1, 6, 4, 4)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        self.size = positive("LocalResponseNorm", "size", size)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, x):
        ones = (1,) * (x.ndim - 2)
        pads = ((0, 0), (self.size // 2, (self.size - 1) // 2), *((0, 0) for _ in ones))
        window = (1, self.size, *ones)
        total = fg.lax.reduce_window(jnp.square(x), 0.0, fg.lax.add, window, None, pads)
        return x / (self.k + self.alpha * total / self.size) ** self.beta


# -- shared with batch_norm.py ---------------------------------------------------------------------


def widened(x):
    """x in float32, or as it is if its dtype is at least as wide."""
    wide = jnp.issubdtype(x.dtype, jnp.inexact) and x.dtype.itemsize >= 4
    return x if wide else x.astype(jnp.float32)


def narrowed(y, x):
    """y in the dtype of x, if that is a floating one."""
    fits = y.dtype == x.dtype or not jnp.issubdtype(x.dtype, jnp.floating)
    return y if fits else y.astype(x.dtype)


def channel_parameters(layer: Module, count: int) -> dict:
    """A scale of one and a shift of zero for each channel, as far as the layer wants them."""
    made = {"weight": jnp.ones((count,), jnp.float32)} if layer.affine else {}
    return {**made, "bias": jnp.zeros((count,), jnp.float32)} if layer.bias else made


def channel_axis(layer: Module, x, channels: int) -> int:
    """The axis of the channels, whose size is checked."""
    channel = x.ndim - 1 if layer.channels_last else 1
    if x.ndim < 2 or x.shape[channel] != channels:
        raise ValueError(
            f"{type(layer).__name__}: axis {channel} must have size {channels}, but the "
            f"input's shape is {tuple(x.shape)}."
        )
    return channel


def standardized(x, axes: tuple[int, ...], eps: float):
    """x without its mean and divided by its standard deviation, over `axes`."""
    centred = x - x.mean(axes, keepdims=True)
    return centred * fg.lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + eps)


def scaled(layer: Module, x, channel: int):
    """x times the layer's weight plus its bias, one of each per channel."""
    axes = _but(x, channel)
    y = x * jnp.expand_dims(layer.p.weight, axes) if layer.affine else x
    return y + jnp.expand_dims(layer.p.bias, axes) if layer.bias else y


def _but(x, *kept: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.ndim) if axis not in kept)


def _last_axes(layer: Module, x) -> tuple[int, ...]:
    shape = layer.normalized_shape
    if tuple(x.shape[max(x.ndim - len(shape), 0) :]) != shape:
        raise ValueError(
            f"{type(layer).__name__}: the last sizes of the input must be {shape}, but its "
            f"shape is {tuple(x.shape)}."
        )
    return row_axes(x, len(shape))
