"""Normalisation: over the features of a row, or over the rows of a batch."""

from __future__ import annotations

import math

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.layers.linear import positive, row_axes
from funcgrad_nn.module import Module


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes (Ba et al., 2016).

    `shape`: the sizes of the axes that are normalised together, or one size; the variance is the
    biased one. `affine=False` leaves out weight and bias, `bias=False` only the bias.
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
    ):
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.eps, self.affine, self.bias = eps, affine, affine and bias

    def parameters(self, key) -> dict:
        made = {"weight": jnp.ones(self.shape, jnp.float32)} if self.affine else {}
        return {**made, "bias": jnp.zeros(self.shape, jnp.float32)} if self.bias else made

    def forward(self, x):
        axes = row_axes(x, len(self.shape))
        if tuple(x.shape[len(x.shape) - len(self.shape) :]) != self.shape:
            raise ValueError(
                f"LayerNorm: the last sizes of the input must be {self.shape}, but its "
                f"shape is {tuple(x.shape)}."
            )
        centred = x - x.mean(axes, keepdims=True)
        y = centred * fg.lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + self.eps)
        y = y * self.p.weight if self.affine else y
        return y + self.p.bias if self.bias else y


class BatchNorm(Module):
    """Abstract: normalises each channel over the batch and all positions (Ioffe and Szegedy, 2015).

    Training uses the batch's mean and biased variance, and moves the running ones:
    running <- (1 - momentum) * running + momentum * batch, with the unbiased variance, as PyTorch.
    Otherwise the running values are used, and the batch has no influence. They are state, not
    parameters: neither trained nor decayed. Channels lie on axis 1, or last with
    `channels_last=True`.
    """

    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        channels_last: bool = False,
    ):
        if not self.ranks:
            raise TypeError("BatchNorm is abstract: use BatchNorm1d, BatchNorm2d or BatchNorm3d.")
        self.num_features = positive(type(self).__name__, "num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.affine, self.channels_last = affine, channels_last

    def parameters(self, key) -> dict:
        shape = (self.num_features,)
        if not self.affine:
            return {}
        return {"weight": jnp.ones(shape, jnp.float32), "bias": jnp.zeros(shape, jnp.float32)}

    def initial_state(self) -> dict:
        shape = (self.num_features,)
        return {"mean": jnp.zeros(shape, jnp.float32), "var": jnp.ones(shape, jnp.float32)}

    def forward(self, x):
        channel = self._channel_axis(x)
        axes = tuple(axis for axis in range(x.ndim) if axis != channel)
        mean, var = (
            self._batch_statistics(x, axes) if self.train else (self.state.mean, self.state.var)
        )
        scale = fg.lax.rsqrt(var + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.p.weight, shift * self.p.weight + self.p.bias
        return x * jnp.expand_dims(scale, axes) + jnp.expand_dims(shift, axes)

    def _channel_axis(self, x) -> int:
        channel = x.ndim - 1 if self.channels_last else 1
        name = type(self).__name__
        if x.ndim not in self.ranks:
            raise ValueError(
                f"{name}: the input must have rank {' or '.join(map(str, self.ranks))}, "
                f"but its shape is {tuple(x.shape)}."
            )
        if x.shape[channel] != self.num_features:
            raise ValueError(
                f"{name}: axis {channel} must have size {self.num_features}, but the "
                f"input's shape is {tuple(x.shape)}."
            )
        return channel

    def _batch_statistics(self, x, axes: tuple[int, ...]):
        count = math.prod(x.shape[axis] for axis in axes)
        if count < 2:
            raise ValueError(
                f"{type(self).__name__}: training needs more than one value per "
                f"channel, but the input's shape is {tuple(x.shape)}."
            )
        mean, var = x.mean(axes), x.var(axes)
        held_mean, held_var = fg.lax.stop_gradient((mean, var * (count / (count - 1))))
        self.set_state(
            mean=self._moved(self.state.mean, held_mean), var=self._moved(self.state.var, held_var)
        )
        return mean, var

    def _moved(self, running, batch):
        return ((1 - self.momentum) * running + self.momentum * batch).astype(running.dtype)


class BatchNorm1d(BatchNorm):
    """Batch normalisation of (batch, channels) or (batch, channels, length)."""

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch normalisation of (batch, channels, height, width)."""

    ranks = (4,)


class BatchNorm3d(BatchNorm):
    """Batch normalisation of (batch, channels, depth, height, width)."""

    ranks = (5,)
