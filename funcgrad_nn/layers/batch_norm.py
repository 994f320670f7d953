"""Normalisation of each channel, over the batch or over one example, with running statistics.

The running values are state, not parameters: neither trained nor decayed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import positive, require_rank
from funcgrad_nn.layers.norm import (
    channel_axis,
    channel_parameters,
    narrowed,
    scaled,
    standardized,
    widened,
)
from funcgrad_nn.module import Module
from funcgrad_nn.state_dict import TorchEntry


class ChannelNorm(Module):
    """Abstract: the options and parameters of layers that normalise each channel."""

    full_precision = True
    num_features: Any  # None in a layer that is still open

    def _set_options(
        self, num_features, eps, momentum, affine, track_running_stats, bias, channels_last
    ) -> None:
        if num_features is not None:
            positive(type(self).__name__, "num_features", num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.bias = affine, affine and bias
        self.track_running_stats, self.channels_last = track_running_stats, channels_last

    def parameters(self, key) -> dict:
        return channel_parameters(self, self.num_features)

    def _channels(self, x) -> int:
        """The number of channels; an open layer learned it from its first input."""
        if self.num_features is not None:
            return self.num_features
        if self.affine:
            return self.p.weight.shape[0]
        return x.shape[-1 if self.channels_last else 1]


class BatchNorm(ChannelNorm):
    """Abstract: normalises each channel over the batch and all positions (Ioffe and Szegedy, 2015).

    Training uses the batch's mean and biased variance, and moves the running ones:
    running <- (1 - momentum) * running + momentum * batch, with the unbiased variance, as PyTorch;
    `momentum=None` keeps the plain average over all batches. Otherwise the running values are
    used, and the batch has no influence. `track_running_stats=False` keeps none and always uses
    the batch's. `affine=False` leaves out weight and bias, `bias=False` only the bias.
    Channels lie on axis 1, or last with `channels_last=True`.
    """

    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        channels_last: bool = False,
    ):
        if not self.ranks:
            raise TypeError("BatchNorm is abstract: use BatchNorm1d, BatchNorm2d or BatchNorm3d.")
        options = (eps, momentum, affine, track_running_stats, bias, channels_last)
        self._set_options(num_features, *options)

    def initial_state(self) -> dict:
        if not self.track_running_stats:
            return {}
        return {**_running(self.num_features), "count": jnp.zeros((), jnp.int32)}

    def torch_layout(self) -> dict[str, TorchEntry]:
        return {**RUNNING_IN_TORCH, "count": TorchEntry("num_batches_tracked")}

    def to_torch(self, entries: Mapping) -> dict[str, np.ndarray]:
        named = super().to_torch(entries)
        if "num_batches_tracked" in named:
            named["num_batches_tracked"] = named["num_batches_tracked"].astype(np.int64)
        return named

    def forward(self, x):
        require_rank(type(self).__name__, x, *self.ranks)
        channel = channel_axis(self, x, self._channels(x))
        axes = tuple(axis for axis in range(x.ndim) if axis != channel)
        wide = widened(x)
        if self.train or not self.track_running_stats:
            return narrowed(self._by_batch(wide, axes), x)
        scale = fg.lax.rsqrt(self.state.var + self.eps)
        scale = scale * self.p.weight if self.affine else scale
        shift = self.p.bias - self.state.mean * scale if self.bias else -self.state.mean * scale
        return narrowed(wide * jnp.expand_dims(scale, axes) + jnp.expand_dims(shift, axes), x)

    def _by_batch(self, x, axes: tuple[int, ...]):
        """Normalised by the statistics of this batch, which the running ones follow."""
        count = values_per_channel(self, x, axes)
        mean = x.mean(axes, keepdims=True)
        centred = x - mean
        var = jnp.square(centred).mean(axes, keepdims=True)
        if self.track_running_stats:
            unbiased = var * (count / (count - 1))
            self._move(*(fg.lax.stop_gradient(v).squeeze(axes) for v in (mean, unbiased)))
        scale = fg.lax.rsqrt(var + self.eps)
        y = centred * (scale * jnp.expand_dims(self.p.weight, axes) if self.affine else scale)
        return y + jnp.expand_dims(self.p.bias, axes) if self.bias else y

    def _move(self, mean, var) -> None:
        """Let the running statistics follow those of this batch."""
        count = self.state.count + 1
        rate = 1.0 / count.astype(jnp.float32) if self.momentum is None else self.momentum
        moved = {"mean": moved_to(mean, self.state.mean, rate)}
        self.set_state(**moved, var=moved_to(var, self.state.var, rate), count=count)


class BatchNorm1d(BatchNorm):
    """Batch normalisation of (batch, channels) or (batch, channels, length).

    >>> layer = nn.BatchNorm1d(3)
    >>> params, state = layer.init(fg.random.key(0))
    >>> y, state = layer.apply(params, state, jnp.ones((8, 3)), train=True)
    >>> print(state["mean"], state["count"])
    [0.1 0.1 0.1] 1
    """

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch normalisation of (batch, channels, height, width).

    >>> layer = nn.BatchNorm2d(3)
    >>> params, state = layer.init(fg.random.key(0))
    >>> y, state = layer.apply(params, state, jnp.ones((8, 3, 5, 5)), train=True)
    >>> print(state["mean"], state["count"])
    [0.1 0.1 0.1] 1
    """

    ranks = (4,)


class BatchNorm3d(BatchNorm):
    """Batch normalisation of (batch, channels, depth, height, width).

    >>> layer = nn.BatchNorm3d(3)
    >>> params, state = layer.init(fg.random.key(0))
    >>> y, state = layer.apply(params, state, jnp.ones((8, 3, 5, 5, 5)), train=True)
    >>> print(state["mean"], state["count"])
    [0.1 0.1 0.1] 1
    """

    ranks = (5,)


class InstanceNorm(ChannelNorm):
    """Abstract: normalises each channel of each example over its positions (Ulyanov et al., 2016).

    The input is (N, C, ...) or (C, ...), or has C last with `channels_last=True`. By default there
    is neither weight nor running statistics; with `track_running_stats=True` the running values
    follow the mean over the batch of each example's own, as in `BatchNorm`, and are used outside
    training.
    """

    rank = 0

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        channels_last: bool = False,
    ):
        if not self.rank:
            raise TypeError("InstanceNorm is abstract: use InstanceNorm1d, 2d or 3d.")
        options = (eps, momentum, affine, track_running_stats, bias, channels_last)
        self._set_options(num_features, *options)

    def initial_state(self) -> dict:
        return _running(self.num_features) if self.track_running_stats else {}

    def torch_layout(self) -> dict[str, TorchEntry]:
        return RUNNING_IN_TORCH

    def to_torch(self, entries: Mapping) -> dict[str, np.ndarray]:
        """PyTorch lists a count of batches here too, which stays 0."""
        count = {"num_batches_tracked": np.zeros((), np.int64)} if "mean" in entries else {}
        return {**super().to_torch(entries), **count}

    def forward(self, x):
        require_rank(type(self).__name__, x, self.rank + 1, self.rank + 2)
        return self._normalised(x) if x.ndim == self.rank + 2 else self._normalised(x[None])[0]

    def _normalised(self, x):
        channel = channel_axis(self, x, self._channels(x))
        axes = tuple(axis for axis in range(1, x.ndim) if axis != channel)
        wide = widened(x)
        if self.track_running_stats and not self.train:
            others = (0, *axes)
            scale = fg.lax.rsqrt(jnp.expand_dims(self.state.var, others) + self.eps)
            y = (wide - jnp.expand_dims(self.state.mean, others)) * scale
        else:
            self._move(wide, axes)
            y = standardized(wide, axes, self.eps)
        return narrowed(scaled(self, y, channel), x)

    def _move(self, x, axes: tuple[int, ...]) -> None:
        values_per_channel(self, x, axes)
        if self.train and self.track_running_stats:
            held = fg.lax.stop_gradient(x)
            mean, var = held.mean(axes).mean(0), held.var(axes, ddof=1).mean(0)
            self.set_state(
                mean=moved_to(mean, self.state.mean, self.momentum),
                var=moved_to(var, self.state.var, self.momentum),
            )


class InstanceNorm1d(InstanceNorm):
    """Instance normalisation of (batch, channels, length) or (channels, length).

    >>> nn.InstanceNorm1d(3).apply({}, {}, jnp.ones((8, 3, 5)))[0].shape
    (8, 3, 5)
    """

    rank = 1


class InstanceNorm2d(InstanceNorm):
    """Instance normalisation of (batch, channels, height, width) or (channels, height, width).

    >>> nn.InstanceNorm2d(3).apply({}, {}, jnp.ones((8, 3, 5, 5)))[0].shape
    (8, 3, 5, 5)
    """

    rank = 2


class InstanceNorm3d(InstanceNorm):
    """Instance normalisation of (batch, channels, depth, height, width), or without the batch.

    >>> nn.InstanceNorm3d(3).apply({}, {}, jnp.ones((8, 3, 5, 5, 5)))[0].shape
    (8, 3, 5, 5, 5)
    """

    rank = 3


RUNNING_IN_TORCH = {"mean": TorchEntry("running_mean"), "var": TorchEntry("running_var")}


def _running(count: int) -> dict:
    return {"mean": jnp.zeros((count,), jnp.float32), "var": jnp.ones((count,), jnp.float32)}


def values_per_channel(layer: Module, x, axes: tuple[int, ...]) -> int:
    """How many values each mean is taken of; one alone has no variance."""
    count = math.prod(x.shape[axis] for axis in axes)
    if count < 2:
        raise ValueError(
            f"{type(layer).__name__}: training needs more than one value per "
            f"channel, but the input's shape is {tuple(x.shape)}."
        )
    return count


def moved_to(batch, running, rate):
    """The running value, moved towards the batch's by the share `rate`."""
    return ((1 - rate) * running + rate * batch).astype(running.dtype)
