"""Changing the resolution of signals, images and volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import Sizes
from funcgrad_nn.module import Module

RANKS = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}
CUBIC = -0.75  # the slope parameter of the cubic kernel (Keys, 1981) that PyTorch uses


class Upsample(Module):
    """Resamples the axes after (N, C) to `size`, or by `scale_factor`.

    `mode`: "nearest", "nearest-exact" (pixel centres), "linear" (N, C, L), "bilinear" or "bicubic"
    (N, C, H, W), "trilinear" (N, C, D, H, W). `align_corners=True` makes the outermost pixels
    coincide, otherwise the outermost edges do, as in PyTorch.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> nn.Upsample(scale_factor=2).apply({}, {}, fg.numpy.array([[[1.0, 2.0]]]))[0].tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ):
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample: give either size or scale_factor.")
        if mode not in RANKS:
            raise ValueError(f"Upsample: mode is one of {', '.join(RANKS)}, but got {mode!r}.")
        if align_corners is not None and mode.startswith("nearest"):
            raise ValueError(f"Upsample: align_corners has no meaning with mode={mode!r}.")
        self.size, self.scale_factor = size, scale_factor
        self.mode, self.align_corners = mode, bool(align_corners)

    def forward(self, x):
        rank = x.ndim - 2
        if rank not in RANKS[self.mode]:
            wanted = " or ".join(str(n + 2) for n in RANKS[self.mode])
            raise ValueError(
                f"Upsample: mode={self.mode!r} needs an input of rank {wanted}, but its shape is "
                f"{tuple(x.shape)}."
            )
        for axis, (size, scale) in enumerate(self._targets(x.shape[2:]), start=2):
            x = self._resampled(x, axis, size, scale)
        return x

    def _targets(self, sizes: tuple[int, ...]) -> list[tuple[int, float]]:
        """For each axis the new size, and how many old pixels one new pixel spans."""
        if self.size is not None:
            new = _each(self.size, len(sizes), "size")
            return [(n, old / n) for n, old in zip(new, sizes, strict=True)]
        factors = _each(self.scale_factor, len(sizes), "scale_factor")
        return [(math.floor(old * f), 1 / f) for f, old in zip(factors, sizes, strict=True)]

    def _resampled(self, x, axis: int, size: int, step: float):
        old = x.shape[axis]
        if self.mode.startswith("nearest"):
            half = 0.5 if self.mode == "nearest-exact" else 0.0
            nearest = np.minimum(((np.arange(size) + half) * step).astype(np.int32), old - 1)
            return jnp.take(x, nearest, axis=axis)
        places = self._places(old, size, step)
        taps = _cubic_taps(places) if self.mode == "bicubic" else _linear_taps(places)
        return _combined(x, axis, taps)

    def _places(self, old: int, size: int, step: float) -> np.ndarray:
        """Where the new pixels lie among the old ones."""
        if self.align_corners:
            return np.arange(size) * ((old - 1) / (size - 1) if size > 1 else 0.0)
        places = (np.arange(size) + 0.5) * step - 0.5
        return places if self.mode == "bicubic" else np.maximum(places, 0.0)


def _each(value, rank: int, name: str) -> tuple:
    values = (value,) * rank if isinstance(value, (int, float)) else tuple(value)
    if len(values) != rank:
        raise ValueError(
            f"Upsample: {name} must be one number or {rank} of them, but got {len(values)}."
        )
    return values


def _linear_taps(places: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(old pixels, their weights) for each of the two neighbours."""
    left = np.floor(places)
    share = places - left
    return [(left, 1 - share), (left + 1, share)]


def _cubic_taps(places: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(old pixels, their weights) for each of the four neighbours."""
    left = np.floor(places)
    return [(left + i, _cubic(np.abs(places - left - i))) for i in (-1, 0, 1, 2)]


def _cubic(distance: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel with parameter `CUBIC` (Keys, 1981, equation 15)."""
    d, a = distance, CUBIC
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    return np.where(d <= 1, near, a * (d**3 - 5 * d**2 + 8 * d - 4))


def _combined(x, axis: int, taps: list[tuple[np.ndarray, np.ndarray]]):
    """The weighted sum of the taps along one axis; pixels beyond the ends repeat the last ones."""
    beside = (-1, *(1,) * (x.ndim - axis - 1))
    parts = []
    for pixels, weights in taps:
        inside = np.clip(pixels, 0, x.shape[axis] - 1).astype(np.int32)
        factors = jnp.asarray(weights.astype(np.float32)).astype(x.dtype).reshape(beside)
        parts.append(jnp.take(x, inside, axis=axis) * factors)
    return sum(parts[1:], parts[0])
