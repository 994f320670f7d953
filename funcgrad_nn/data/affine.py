"""Random affine maps of images, by bilinear interpolation."""

from __future__ import annotations

import numpy as np

from funcgrad_nn.data.transforms import Transform, spatial_axes


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
        axes = [axis % values.ndim for axis in self.axes]
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
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    moved = grid[None] - centre - shifts[:, None, None, :]
    places = np.einsum("nij,nhwj->nhwi", matrices, moved) + centre
    out = _bilinear(images.astype(np.float32), places, fill)
    if images.dtype.kind in "iu":
        out = np.rint(out)
    return out.astype(images.dtype)


def _bilinear(images: np.ndarray, places: np.ndarray, fill: float) -> np.ndarray:
    low = np.floor(places).astype(np.int64)
    share = (places - low).astype(np.float32)
    out = np.zeros(images.shape, np.float32)
    for down in (0, 1):
        for right in (0, 1):
            corner = low + (down, right)
            weight = _side(share[..., 0], down) * _side(share[..., 1], right)
            out += _across(weight, images) * _read(images, corner, fill)
    return out


def _side(share: np.ndarray, upper: int) -> np.ndarray:
    return share if upper else 1 - share


def _read(images: np.ndarray, corner: np.ndarray, fill: float) -> np.ndarray:
    """The pixels at whole places, `fill` outside of the image."""
    height, width = images.shape[-2:]
    row, column = corner[..., 0], corner[..., 1]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    flat = images.reshape(*images.shape[:-2], height * width)
    index = np.where(inside, row * width + column, 0).reshape(len(images), -1)
    index = index.reshape(len(images), *[1] * (images.ndim - 3), height * width)
    found = np.take_along_axis(flat, np.broadcast_to(index, flat.shape), -1).reshape(images.shape)
    return np.where(_across(inside, images), found, np.float32(fill))


def _across(per_pixel: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(count, height, width) with axes for the channels of the images."""
    return per_pixel.reshape(len(images), *[1] * (images.ndim - 3), *images.shape[-2:])
