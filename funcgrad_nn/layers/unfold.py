"""Windows of images laid out as columns, and summed back."""

from __future__ import annotations

import math

import funcgrad as fg
from funcgrad import lax
from funcgrad_nn.layers.checks import Sizes, on_batch, per_axis, require_windows_fit
from funcgrad_nn.module import Module


class Windows(Module):
    """Abstract: what `Unfold` and `Fold` share."""

    def _set_windows(self, kernel_size, dilation, padding, stride) -> None:
        name = type(self).__name__
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, 2)
        self.dilation = per_axis(name, "dilation", dilation, 2)
        self.padding = per_axis(name, "padding", padding, 2, least=0)
        self.stride = per_axis(name, "stride", stride, 2)

    def _columns(self, x):
        """(N, C, H, W) -> (N, C * kernel's size, windows)."""
        pads = tuple((size, size) for size in self.padding)
        pairs = zip(self.kernel_size, self.dilation, strict=True)
        spans = tuple((size - 1) * step + 1 for size, step in pairs)
        require_windows_fit(type(self).__name__, x, x.shape[2:], pads, spans)
        patches = lax.conv_general_dilated_patches(
            x, self.kernel_size, self.stride, pads, rhs_dilation=self.dilation
        )
        return patches.reshape(*patches.shape[:2], math.prod(patches.shape[2:]))


class Unfold(Windows):
    """Each window of an image as a column: (N, C, H, W) -> (N, C * kernel's size, windows).

    Windows are counted row by row; within a column the channel counts slowest, then the kernel's
    row. Options and the number of windows are those of `Conv2d`; N may be left out.

    >>> x = jnp.arange(9.0).reshape(1, 1, 3, 3)
    >>> print(nn.Unfold(2).apply({}, {}, x)[0][0])
    [[0. 1. 3. 4.]
     [1. 2. 4. 5.]
     [3. 4. 6. 7.]
     [4. 5. 7. 8.]]
    """

    def __init__(
        self, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
    ):
        self._set_windows(kernel_size, dilation, padding, stride)

    def forward(self, x):
        return on_batch("Unfold", x, 4, self._columns)


class Fold(Windows):
    """Columns summed where their windows lie: (N, C * kernel's size, windows) -> (N, C, H, W).

    (H, W) is `output_size`; the transpose of `Unfold` with the same options, not its inverse: where
    windows overlap, their entries are added. N may be left out.

    >>> columns = nn.Unfold(2).apply({}, {}, jnp.ones((1, 1, 3, 3)))[0]
    >>> print(nn.Fold(3, 2).apply({}, {}, columns)[0][0, 0])
    [[1. 2. 1.]
     [2. 4. 2.]
     [1. 2. 1.]]
    """

    def __init__(
        self,
        output_size: Sizes,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        padding: Sizes = 0,
        stride: Sizes = 1,
    ):
        self.output_size = per_axis("Fold", "output_size", output_size, 2)
        self._set_windows(kernel_size, dilation, padding, stride)

    def forward(self, x):
        return on_batch("Fold", x, 3, self._image)

    def _image(self, x):
        window = math.prod(self.kernel_size)
        image = fg.ShapeDtypeStruct((len(x), x.shape[1] // window, *self.output_size), x.dtype)
        expected = fg.eval_shape(self._columns, image).shape
        if x.shape != expected:
            raise ValueError(
                f"Fold: needs columns (N, C * {window}, {expected[2]}) for images of "
                f"{self.output_size}, but the input's shape is {tuple(x.shape)}."
            )
        return fg.linear_transpose(self._columns, image)(x)[0]
