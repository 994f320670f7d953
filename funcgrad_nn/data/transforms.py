"""Transforms of batches on the host: scaling, labels, augmentation of images.

A transform is a function `transform(values, rng)` of NumPy arrays with a leading batch axis; `rng`
is a `numpy.random.Generator`. In a `DataLoader` it applies to the inputs of a batch (inputs,
targets), or to the part that `on` says. Images are (batch, channels, height, width) or
(batch, height, width); `layout="NHWC"` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LAYOUTS = {"NCHW": (-2, -1), "NHWC": (-3, -2)}


class Transform:
    """Base of transforms; write `__call__(self, values, rng)`.

    `on`: which part of a batch it changes, by position or name; None for the whole batch. `random`
    says whether it draws from `rng`.

    >>> import numpy as np
    >>> from funcgrad_nn.data import DataLoader
    >>> class Invert(Transform):
    ...     def __call__(self, values, rng=None):
    ...         return 255 - values
    >>> loader = DataLoader((np.array([0, 255]), np.array([7, 8])), 2, transform=Invert())
    >>> [part.tolist() for part in next(iter(loader))]
    [[255, 0], [7, 8]]
    """

    on: int | str | None = 0
    random = False
    __call__: Callable[..., Any]

    def on_batch(self, batch, rng: np.random.Generator) -> Any:
        """The batch with its part changed. A batch that is one array is that part."""
        if self.on is None or not isinstance(batch, (tuple, list, dict)):
            return self(batch, rng)
        if isinstance(batch, dict):
            name = next(iter(batch)) if self.on == 0 else self.on
            return {**batch, name: self(batch[name], rng)}
        parts = [self(part, rng) if place == self.on else part for place, part in enumerate(batch)]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)


class Compose(Transform):
    """Several transforms, one after the other.

    >>> import numpy as np
    >>> scale = Compose([Normalize(1.0, 2.0), Normalize(0.0, 0.5)])
    >>> scale(np.array([[5.0]])).tolist()
    [[4.0]]
    """

    on = None

    def __init__(self, transforms: Sequence[Transform]):
        self.transforms = tuple(transforms)
        self.random = any(transform.random for transform in self.transforms)

    def __call__(self, values, rng=None) -> Any:
        for transform in self.transforms:
            values = transform(values, rng)
        return values

    def on_batch(self, batch, rng: np.random.Generator) -> Any:
        for transform in self.transforms:
            batch = transform.on_batch(batch, rng)
        return batch


def composed(transform: Transform | Sequence[Transform] | None) -> Transform | None:
    """One transform from what a user gives."""
    if transform is None or isinstance(transform, Transform):
        return transform
    return Compose(transform)


class Normalize(Transform):
    """(values - mean) / std in float32; one number for all, or one for each channel.

    Channels are the second axis of (batch, channels, height, width), the last for `layout="NHWC"`
    and for rows (batch, features).

    >>> import numpy as np
    >>> Normalize(127.5, 127.5)(np.array([[0, 255]], np.uint8)).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, mean, std, *, layout: str = "NCHW"):
        spatial_axes(layout)
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        if not (self.std > 0).all():
            raise ValueError(f"Normalize: std must be positive, but got {std}.")
        self.layout = layout

    @classmethod
    def fit(cls, values) -> Normalize:
        """The transform that gives each feature of rows (n, features) mean 0 and deviation 1.

        A feature that never changes is only shifted.
        """
        values = np.asarray(values, np.float64)
        std = values.std(0)
        return cls(values.mean(0), np.where(std > 0, std, 1.0))

    def __call__(self, values, rng=None):
        values = np.asarray(values)
        shape = (-1,) + (1, 1) * (values.ndim == 4 and self.layout == "NCHW")
        mean, std = (a.reshape(shape) if a.ndim else a for a in (self.mean, self.std))
        return ((values - mean) / std).astype(np.float32)


class OneHot(Transform):
    """Integer labels (batch, ...) as float32 (batch, ..., classes), by default of the targets.

    Raises `ValueError` for a label outside of 0 <= label < classes.

    >>> import numpy as np
    >>> OneHot(3)(np.array([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, classes: int, *, on: int | str = 1):
        self.classes, self.on = classes, on

    def __call__(self, values, rng=None):
        labels = np.asarray(values)
        if labels.size and (labels.min() < 0 or labels.max() >= self.classes):
            raise ValueError(
                f"OneHot: labels must be 0 to {self.classes - 1}, but some are "
                f"{labels.min()} to {labels.max()}."
            )
        return np.eye(self.classes, dtype=np.float32)[labels]


class RandomFlip(Transform):
    """Each image mirrored left to right with probability `p`; `vertical=True`: top to bottom.

    >>> import numpy as np
    >>> RandomFlip(1.0)(np.array([[[[1, 2, 3]]]]), np.random.default_rng(0)).tolist()
    [[[[3, 2, 1]]]]
    """

    random = True

    def __init__(self, p: float = 0.5, *, vertical: bool = False, layout: str = "NCHW"):
        self.p, self.axes = _probability("RandomFlip", p), spatial_axes(layout)
        self.vertical = vertical

    def __call__(self, values, rng):
        flipped = rng.random(len(values)) < self.p
        out = np.array(values)
        down, right = axes_of(out, self.axes)
        out[flipped] = np.flip(out[flipped], down if self.vertical else right)
        return out


class RandomCrop(Transform):
    """A window of `size` = (height, width) at a random place of each image, padded first by zeros.

    `padding` rows and columns are added on every side, so that `RandomCrop((32, 32), 4)` shifts
    images of 32 x 32 by up to 4 pixels. Raises `ValueError` for images smaller than `size`.

    >>> import numpy as np
    >>> RandomCrop((24, 24))(np.ones((5, 3, 28, 28)), np.random.default_rng(0)).shape
    (5, 3, 24, 24)
    """

    random = True

    def __init__(self, size: tuple[int, int], padding: int = 0, *, layout: str = "NCHW"):
        self.size, self.padding, self.axes = tuple(size), padding, spatial_axes(layout)

    def __call__(self, values, rng):
        values, axes = np.asarray(values), axes_of(values, self.axes)
        pads = [(self.padding,) * 2 if axis in axes else (0, 0) for axis in range(values.ndim)]
        values = np.pad(values, pads) if self.padding else values
        room = [values.shape[axis] - size for axis, size in zip(axes, self.size, strict=True)]
        if min(room) < 0:
            raise ValueError(f"RandomCrop: images {values.shape[1:]} are smaller than {self.size}.")
        windows = np.lib.stride_tricks.sliding_window_view(values, self.size, axis=tuple(axes))
        # Window axes come last: pick one corner for each image, then put its axes back in place.
        corners = [rng.integers(0, space + 1, len(values)) for space in room]
        moved = np.moveaxis(windows, axes, (1, 2))[np.arange(len(values)), corners[0], corners[1]]
        return np.ascontiguousarray(np.moveaxis(moved, (-2, -1), axes))


class Cutout(Transform):
    """A square of `size` pixels of each image set to zero (DeVries and Taylor, 2017).

    Its centre is anywhere in the image, so that it may lie partly outside.

    >>> import numpy as np
    >>> out = Cutout(2)(np.ones((1, 1, 4, 4)), np.random.default_rng(0))
    >>> bool((out == 0).any()), out.shape
    (True, (1, 1, 4, 4))
    """

    random = True

    def __init__(self, size: int, *, layout: str = "NCHW"):
        self.size, self.axes = size, spatial_axes(layout)

    def __call__(self, values, rng):
        values = np.asarray(values)
        inside = []
        for axis in axes_of(values, self.axes):
            length = values.shape[axis]
            begin = rng.integers(0, length, (len(values), 1)) - self.size // 2
            place = np.arange(length)
            shape = [1] * values.ndim
            shape[0], shape[axis] = len(values), length
            inside.append(((place >= begin) & (place < begin + self.size)).reshape(shape))
        return np.where(inside[0] & inside[1], np.zeros((), values.dtype), values)


class Mixup(Transform):
    """Each row mixed with another: l a + (1 - l) b, inputs and targets alike (Zhang et al., 2017).

    One l for each batch from Beta(alpha, alpha). Targets must be floats, such as those of `OneHot`.

    >>> import numpy as np
    >>> x, y = Mixup(0.4)((np.eye(4), np.eye(4)), np.random.default_rng(0))
    >>> y.sum(1).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    on, random = None, True

    def __init__(self, alpha: float = 0.2):
        if alpha <= 0:
            raise ValueError(f"Mixup: alpha must be positive, but got {alpha}.")
        self.alpha = alpha

    def __call__(self, values, rng):
        inputs, targets = values
        if np.asarray(targets).dtype.kind != "f":
            raise TypeError(
                f"Mixup: targets must be floats, but got {np.asarray(targets).dtype}. Put OneHot "
                "before it."
            )
        share = rng.beta(self.alpha, self.alpha)
        other = rng.permutation(len(inputs))
        return tuple(_mixed(np.asarray(part), other, share) for part in (inputs, targets))


def _mixed(part: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    mixed = share * part + (1 - share) * part[other]
    return mixed.astype(part.dtype if part.dtype.kind == "f" else np.float32)


def spatial_axes(layout: str) -> tuple[int, int]:
    """The axes of height and width, counted from the back."""
    if layout not in LAYOUTS:
        raise ValueError(f'layout must be "NCHW" or "NHWC", but got {layout!r}.')
    return LAYOUTS[layout]


def axes_of(images, axes: tuple[int, int]) -> tuple[int, int]:
    """The same axes counted from the front. Raises for images that lack one: axis 0 is the batch's.

    With `layout="NHWC"` images have a last axis of channels, also if there is a single one.
    """
    down, right = (np.ndim(images) + axis for axis in axes)
    if down < 1:
        raise ValueError(
            f"images of shape {np.shape(images)} have no axes {axes} of height and width behind "
            'that of the batch. With layout="NHWC" they are (batch, height, width, channels).'
        )
    return down, right


def _probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be between 0 and 1, but got {p}.")
    return p
