"""Layers that are random while training and the identity otherwise."""

from __future__ import annotations

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module


class Dropout(Module):
    """While training, zeroes each entry with probability `rate` and divides the rest by 1 - rate.

    The mean is kept, so nothing is scaled afterwards (Srivastava et al., 2014). `rate` is the share
    that is dropped: 0 is the identity, 1 gives zeros. Draws from the key given to `apply`.
    """

    def __init__(self, rate: float = 0.5):
        if not 0 <= rate <= 1:
            raise ValueError(f"Dropout: rate must be between 0 and 1, but got {rate}.")
        self.rate = rate

    def forward(self, x):
        if not self.train or self.rate == 0:
            return x
        if self.rate == 1:
            return jnp.zeros_like(x)
        kept = fg.random.bernoulli(self.key(), 1 - self.rate, x.shape)
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros_like(x))


class GaussianNoise(Module):
    """While training, adds normal noise of standard deviation `std` to each entry."""

    def __init__(self, std: float):
        if std < 0:
            raise ValueError(f"GaussianNoise: std must not be negative, but got {std}.")
        self.std = std

    def forward(self, x):
        if not self.train or self.std == 0:
            return x
        return x + self.std * fg.random.normal(self.key(), x.shape, x.dtype)
