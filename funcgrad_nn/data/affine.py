"""Random affine maps of images, by bilinear interpolation."""

from __future__ import annotations

import numpy as np

from funcgrad_nn.data.transforms import Transform, axes_of, spatial_axes


class RandomAffine(Transform):
    """Each image turned, shifted, scaled and sheared about its centre by random amounts.

    `degrees`: the angle is uniform in [-degrees, degrees]. `translate` = (down, right): shifts up
    to these shares of height and width. `scale` = (least, most). `shear`: degrees, as the angle.
    Pixels in between are interpolated bilinearly, those from outside are `fill`. Integer images are
    rounded.

    >>> import numpy as np
    >>> shift = RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1))
    >>> shift(np.ones((5, 1, 28, 28), np.float32), np.random.default_rng(0)).shape
    (5, 1, 28, 28)
    """

    random = True

    def __init__(
        self,
        degrees: float = 0.0,
        *,
        translate: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        fill: float = 0.0,
        layout: str = "NCHW",
    ):
        if min(scale) <= 0:
            raise ValueError(f"RandomAffine: scale must be positive, but got {scale}.")
        self.degrees, self.translate, self.scale = degrees, translate, scale
        self.shear, self.fill, self.axes = shear, fill, spatial_axes(layout)

    def __call__(self, values, rng):
        values = np.asarray(values)
        axes = axes_of(values, self.axes)
        images = np.moveaxis(values, axes, (-2, -1))
        matrices, shifts = self._drawn(len(values), images.shape[-2:], rng)
        return np.moveaxis(warped(images, matrices, shifts, self.fill), (-2, -1), axes)

    def _drawn(self, count: int, size: tuple[int, int], rng) -> tuple[np.ndarray, np.ndarray]:
        """For each image, the inverse map's matrix (count, 2, 2) and its shift (count, 2)."""
        angle = np.radians(rng.uniform(-self.degrees, self.degrees, count))
        shear = np.tan(np.radians(rng.uniform(-self.shear, self.shear, count)))
        scale = rng.uniform(*self.scale, count)
        limits = np.multiply(self.translate, size)
        shifts = rng.uniform(-limits, limits, (count, 2))
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
        slant = np.broadcast_to(np.eye(2), (count, 2, 2)).copy()
        slant[:, 1, 0] = shear
        return np.linalg.inv(scale[:, None, None] * turn @ slant), shifts


def warped(
    images: np.ndarray, matrices: np.ndarray, shifts: np.ndarray, fill: float = 0.0
) -> np.ndarray:
    """Images (count, ..., height, width), each read at matrix (place - centre - shift) + centre."""
    height, width = images.shape[-2:]
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    origins = centre - np.einsum("nij,nj->ni", matrices, centre + shifts)
    row, column = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    weights = np.concatenate([matrices, origins[..., None]], -1).astype(np.float32)
    down, right = (
        line[:, 0, None, None] * row + line[:, 1, None, None] * column + line[:, 2, None, None]
        for line in (weights[:, 0], weights[:, 1])
    )
    out = _bilinear(images, down, right, fill)
    if images.dtype.kind in "iu":
        out = np.rint(out)
    return out.astype(images.dtype)


def _bilinear(images: np.ndarray, down: np.ndarray, right: np.ndarray, fill: float) -> np.ndarray:
    """The images at places (count, height, width); beyond their edges they go on as `fill`."""
    pixels, size = _with_border(images, fill)
    low_down, share_down = _below(down, images.shape[-2])
    low_right, share_right = _below(right, images.shape[-1])
    corner = (np.arange(len(images))[:, None, None] * size[0] + low_down) * size[1] + low_right
    upper = _between(pixels, corner, corner + 1, share_right)
    lower = _between(pixels, corner + size[1], corner + size[1] + 1, share_right)
    mixed = upper + (lower - upper) * share_down[..., None]
    channels_first = np.moveaxis(mixed, -1, 1)
    return channels_first.reshape(images.shape)


def _with_border(images: np.ndarray, fill: float) -> tuple[np.ndarray, tuple[int, int]]:
    """All pixels, one row of channels each, with a border of `fill` of 1 before and 2 behind."""
    height, width = images.shape[-2:]
    size = height + 3, width + 3
    channels = images.reshape(len(images), -1, height, width)
    bordered = np.full((len(images), *size, channels.shape[1]), fill, np.float32)
    bordered[:, 1:-2, 1:-2] = np.moveaxis(channels, 1, -1)
    return bordered.reshape(-1, channels.shape[1]), size


def _below(places: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole place at or below each, counted from the border, and how far it is above that."""
    inside = np.clip(places, -1, length)
    low = np.floor(inside)
    return low.astype(np.int64) + 1, inside - low


def _between(pixels: np.ndarray, first, second, share: np.ndarray) -> np.ndarray:
    start = pixels.take(first, axis=0)
    return start + (pixels.take(second, axis=0) - start) * share[..., None]
