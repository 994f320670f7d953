"""Layers that are random while training and the identity otherwise.

They draw from the key given to `apply`, each from its own part of it.
"""

from __future__ import annotations

import math

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import probability
from funcgrad_nn.module import Module

SELU_FLOOR = -1.0507009873554805 * 1.6732632423543772  # what SELU tends to for x -> -infinity


class Dropout(Module):
    """While training, zeroes each entry with probability `p` and divides the rest by 1 - p.

    The mean is kept, so nothing is scaled afterwards (Srivastava et al., 2014). `p` is the share
    that is dropped: 0 is the identity, 1 gives zeros. Draws from the key given to `apply`.

    >>> key = fg.random.key(0)
    >>> y, _ = nn.Dropout(0.5).apply({}, {}, jnp.ones(6), train=True, key=key)
    >>> print(y)
    [2. 0. 2. 0. 2. 2.]
    """

    def __init__(self, p: float = 0.5):
        self.rate = probability(type(self).__name__, "p", p)

    def forward(self, x):
        if not self.train or self.rate == 0:
            return x
        if self.rate == 1:
            return jnp.zeros_like(x)
        kept = fg.random.bernoulli(self.key(), 1 - self.rate, self._mask_shape(x))
        return self._dropped(x, kept)

    def _mask_shape(self, x) -> tuple[int, ...]:
        return tuple(x.shape)

    def _dropped(self, x, kept):
        """x where `kept`, else what stands for nothing, so scaled that the statistics stay."""
        return jnp.where(kept, jnp.divide(x, 1 - self.rate), 0)


class ChannelDropout(Dropout):
    """Abstract: while training, zeroes whole channels of (N, C, ...) or (C, ...) at once."""

    rank = 0

    def _mask_shape(self, x) -> tuple[int, ...]:
        if x.ndim not in (self.rank + 1, self.rank + 2):
            raise ValueError(
                f"{type(self).__name__}: the input must have rank {self.rank + 1} or "
                f"{self.rank + 2}, but its shape is {tuple(x.shape)}."
            )
        return (*x.shape[: x.ndim - self.rank], *(1,) * self.rank)


class Dropout1d(ChannelDropout):
    """`Dropout` of whole channels of signals: (N, C, L) or (C, L) (Tompson et al., 2015).

    >>> key = fg.random.key(0)
    >>> y, _ = nn.Dropout1d(0.5).apply({}, {}, jnp.ones((1, 4, 3)), train=True, key=key)
    >>> print(y[0])
    [[2. 2. 2.]
     [0. 0. 0.]
     [2. 2. 2.]
     [0. 0. 0.]]
    """

    rank = 1


class Dropout2d(ChannelDropout):
    """`Dropout` of whole channels of images: (N, C, H, W) or (C, H, W) (Tompson et al., 2015).

    >>> key = fg.random.key(0)
    >>> y, _ = nn.Dropout2d(0.5).apply({}, {}, jnp.ones((1, 4, 2, 2)), train=True, key=key)
    >>> print(y[0, :, 0, 0])
    [2. 0. 2. 0.]
    """

    rank = 2


class Dropout3d(ChannelDropout):
    """`Dropout` of whole channels of volumes: (N, C, D, H, W) or (C, D, H, W).

    >>> key = fg.random.key(0)
    >>> y, _ = nn.Dropout3d(0.5).apply({}, {}, jnp.ones((1, 4, 2, 2, 2)), train=True, key=key)
    >>> print(y[0, :, 0, 0, 0])
    [2. 0. 2. 0.]
    """

    rank = 3


class AlphaDropout(Dropout):
    """While training, sets entries to SELU's lowest value with probability `p`, then rescales.

    Mean 0 and variance 1 are kept, as `SELU` networks need (Klambauer et al., 2017). `p=1` gives
    zeros.

    >>> key = fg.random.key(0)
    >>> y, _ = nn.AlphaDropout(0.5).apply({}, {}, jnp.ones(6), train=True, key=key)
    >>> print(jnp.round(y, 3))
    [ 1.666 -0.779  1.666 -0.779  1.666  1.666]
    """

    def _dropped(self, x, kept):
        scale = 1 / math.sqrt((1 - self.rate) * (1 + self.rate * SELU_FLOOR**2))
        shift = -scale * self.rate * SELU_FLOOR
        return scale * jnp.where(kept, x, SELU_FLOOR) + shift


class FeatureAlphaDropout(AlphaDropout):
    """`AlphaDropout` of whole channels: each (n, c) of (N, C, ...) is kept or not as one.

    >>> key = fg.random.key(0)
    >>> y, _ = nn.FeatureAlphaDropout(0.5).apply({}, {}, jnp.ones((1, 4, 2)), train=True, key=key)
    >>> print(jnp.round(y[0, :, 0], 3))
    [ 1.666 -0.779  1.666 -0.779]
    """

    def _mask_shape(self, x) -> tuple[int, ...]:
        return (*x.shape[:2], *(1,) * (x.ndim - 2))


class GaussianNoise(Module):
    """While training, adds normal noise of standard deviation `std` to each entry.

    >>> key = fg.random.key(0)
    >>> y, _ = nn.GaussianNoise(0.1).apply({}, {}, jnp.ones(10000), train=True, key=key)
    >>> print(jnp.round(y.mean(), 2), jnp.round(y.std(), 2))
    1.0 0.1
    """

    def __init__(self, std: float):
        if std < 0:
            raise ValueError(f"GaussianNoise: std must not be negative, but got {std}.")
        self.std = std

    def forward(self, x):
        if not self.train or self.std == 0:
            return x
        return x + self.std * fg.random.normal(self.key(), x.shape, x.dtype)
