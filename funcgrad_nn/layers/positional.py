"""Where in a sequence a vector stands: added to it, learned, or turned into its direction.

Each of these takes `start`, the position of the first vector, so that a sequence can be given piece
by piece while it is being generated.
"""

from __future__ import annotations

import funcgrad.numpy as jnp
from funcgrad_nn.init import Initializer, draw
from funcgrad_nn.layers.checks import positive
from funcgrad_nn.module import Module


class SinusoidalPositions(Module):
    """x + PE, waves of wavelengths from 2 pi to 2 pi * base (Vaswani et al., 2017, section 3.5).

    PE[p, 2i] = sin(p / base^(2i / features)) and PE[p, 2i + 1] = cos of the same. x has shape
    (..., length, features); with `axis` the length is another axis than the last but one, such as 0
    where sequences come first. `start` is the position of the first vector, a number or an integer
    scalar. Raises `ValueError` if the last size of x is not `features`.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> encoded, _ = nn.SinusoidalPositions(4).apply({}, {}, fg.numpy.zeros((2, 4)))
    >>> [round(value, 2) for value in encoded[1].tolist()]  # sin 1, cos 1, sin 0.01, cos 0.01
    [0.84, 0.54, 0.01, 1.0]
    """

    def __init__(self, features: int, *, base: float = 10000.0, axis: int = -2):
        self.features = positive("SinusoidalPositions", "features", features)
        self.base, self.axis = base, axis

    def forward(self, x, start=0):
        _require_features(self, x)
        length = x.shape[self.axis]
        half = jnp.arange(0, self.features, 2, dtype=jnp.float32)
        angles = _angles(length, start, self.base ** (-half / self.features))
        waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(length, -1)
        return x + _along(x, self.axis, waves[:, : self.features].astype(x.dtype))


class LearnedPositions(Module):
    """x + W[position], a trained vector for each of `max_length` positions (Gehring et al., 2017).

    x has shape (..., length, features), or its length at `axis`; W has shape
    (max_length, features). Raises `ValueError` for sequences longer than `max_length`; positions
    beyond it that come from a traced `start` give NaN.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> layer = nn.LearnedPositions(16, 4)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, fg.numpy.zeros((2, 3, 4)))[0].shape
    (2, 3, 4)
    """

    def __init__(
        self,
        max_length: int,
        features: int,
        *,
        axis: int = -2,
        weight_init: str | float | Initializer = "normal",
    ):
        self.max_length = positive("LearnedPositions", "max_length", max_length)
        self.features = positive("LearnedPositions", "features", features)
        self.axis, self.weight_init = axis, weight_init

    def parameters(self, key) -> dict:
        return {"weight": draw(self.weight_init, key, (self.max_length, self.features))}

    def forward(self, x, start=0):
        _require_features(self, x)
        length = x.shape[self.axis]
        end = length + (start if isinstance(start, int) else 0)
        if end > self.max_length:
            raise ValueError(
                f"LearnedPositions: there are {self.max_length} positions, but the sequence needs "
                f"{end}. Shorten it, or build the layer with a larger max_length."
            )
        positions = jnp.arange(length) + start
        rows = jnp.take(self.p.weight, positions, axis=0, mode="fill", fill_value=jnp.nan)
        return x + _along(x, self.axis, rows.astype(x.dtype))


class RotaryPositions(Module):
    """Turns pairs of entries by angles that grow with the position (RoFormer, Su et al., 2021).

    For queries and keys of attention, shape (..., length, features): entry pair i at position p
    turns by p * base^(-2i / features), so that a query's product with a key depends on their
    distance alone. The pairs are entries (i, i + features / 2), as in Llama's and GPT-NeoX's code,
    or neighbours (2i, 2i + 1), as in the paper, with `interleaved=True`. There are no parameters.
    Pass one as `MultiheadAttention(..., rotary=RotaryPositions(head_size))`.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> rotary, x = nn.RotaryPositions(4), fg.numpy.ones((1, 4))
    >>> at = lambda position: rotary.apply({}, {}, x, position)[0]
    >>> bool(fg.numpy.isclose((at(3) * at(1)).sum(), (at(12) * at(10)).sum(), atol=1e-5))
    True
    """

    def __init__(self, features: int, *, base: float = 10000.0, interleaved: bool = False):
        self.features = positive("RotaryPositions", "features", features)
        if features % 2:
            raise ValueError(f"RotaryPositions: features must be even, but got {features}.")
        self.base, self.interleaved = base, interleaved

    def forward(self, x, start=0):
        _require_features(self, x)
        rates = self.base ** (-jnp.arange(0, self.features, 2, dtype=jnp.float32) / self.features)
        angles = _angles(x.shape[-2], start, rates)
        cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
        if self.interleaved:
            first, second = x[..., 0::2], x[..., 1::2]
        else:
            first, second = jnp.split(x, 2, axis=-1)
        turned = first * cos - second * sin, second * cos + first * sin
        if self.interleaved:
            return jnp.stack(turned, axis=-1).reshape(x.shape)
        return jnp.concatenate(turned, axis=-1)


def _angles(length: int, start, rates):
    """position * rate in float32: (length, rates)."""
    positions = (jnp.arange(length) + start).astype(jnp.float32)
    return positions[:, None] * rates


def _along(x, axis: int, rows):
    """(length, features) as an array that broadcasts against x with its length at `axis`."""
    shape = [1] * x.ndim
    shape[axis], shape[-1] = rows.shape
    return rows.reshape(shape)


def _require_features(layer: Module, x) -> None:
    if x.ndim < 2 or x.shape[-1] != layer.features:
        raise ValueError(
            f"{type(layer).__name__}: the input must have shape (..., length, {layer.features}), "
            f"but has {tuple(x.shape)}."
        )
