"""Convolutions and transposed convolutions of signals, images and volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad_nn.init import Initializer, draw
from funcgrad_nn.layers.checks import (
    Sizes,
    on_batch,
    per_axis,
    positive,
    require_array,
    require_windows_fit,
)
from funcgrad_nn.module import Module
from funcgrad_nn.state_dict import TorchEntry

LETTERS = {1: "W", 2: "HW", 3: "DHW"}
PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class ConvolutionBase(Module):
    """Abstract: the options, weights and checks that convolutions of any rank share."""

    rank = 0
    in_channels: Any  # None in a layer that is still open

    def parameters(self, key) -> dict:
        weight = draw(self.weight_init, key, self._weight_shape())
        if not self.bias:
            return {"weight": weight}
        return {"weight": weight, "bias": draw(self.bias_init, key, (self.out_channels,))}

    def _set_channels(self, in_channels: int | None, out_channels: int, groups: int) -> None:
        name = type(self).__name__
        if in_channels is not None:
            positive(name, "in_channels", in_channels)
        self.in_channels = in_channels
        self.out_channels = positive(name, "out_channels", out_channels)
        self.groups = positive(name, "groups", groups)
        if (in_channels or 0) % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}."
            )

    def _weight_shape(self) -> tuple[int, ...]:
        """The kernel's sizes, then those of its channels."""
        raise TypeError(f"{type(self).__name__} is abstract.")

    def _layout(self) -> str:
        letters = LETTERS[self.rank]
        return f"N{letters}C" if self.channels_last else f"NC{letters}"

    def _checked(self, x, in_channels: int, function: Callable[[Any], Any]):
        """`function(x)` plus the bias, for an input that has the channels that the weights need."""
        layout, name = self._layout(), type(self).__name__
        require_array(name, x)
        if x.ndim - layout.count("N") in (self.rank, self.rank + 1):
            channels = x.shape[-1] if self.channels_last else x.shape[-1 - self.rank]
            if channels == in_channels:
                return self._with_bias(on_batch(name, x, self.rank + 2, function))
        raise ValueError(
            f"{name}: needs an input {layout} (or without N) with {in_channels} channels, "
            f"but its shape is {tuple(x.shape)}."
        )

    def _with_bias(self, y):
        if not self.bias:
            return y
        return y + (
            self.p.bias if self.channels_last else self.p.bias.reshape(-1, *(1,) * self.rank)
        )


class Convolution(ConvolutionBase):
    """Abstract: cross-correlation with kernels, shared by Conv1d, Conv2d and Conv3d."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        channels_last: bool = False,
        weight_init: str | float | Initializer = "glorot_uniform",
        bias_init: str | float | Initializer = "zeros",
    ):
        name = type(self).__name__
        self._set_channels(in_channels, out_channels, groups)
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.rank)
        self.stride = per_axis(name, "stride", stride, self.rank)
        self.dilation = per_axis(name, "dilation", dilation, self.rank)
        self.padding = _padding(name, padding, self.rank)
        self.padding_mode = _padding_mode(name, padding_mode)
        self.bias, self.channels_last = bias, channels_last
        self.weight_init, self.bias_init = weight_init, bias_init

    def _weight_shape(self) -> tuple[int, ...]:
        return (*self.kernel_size, self.in_channels // self.groups, self.out_channels)

    def torch_layout(self) -> dict[str, TorchEntry]:
        return {"weight": TorchEntry("weight", (self.rank + 1, self.rank, *range(self.rank)))}

    def forward(self, x):
        return self._checked(x, self.p.weight.shape[-2] * self.groups, self._correlate)

    def _correlate(self, x):
        padding = self._pads(x)
        require_windows_fit(type(self).__name__, x, self._image(x), padding, self._spans())
        if self.padding_mode != "zeros":
            x, padding = self._padded(x, padding), ((0, 0),) * self.rank
        return lax.conv_general_dilated(
            x,
            self.p.weight,
            window_strides=self.stride,
            padding=padding,
            rhs_dilation=self.dilation,
            dimension_numbers=(self._layout(), f"{LETTERS[self.rank]}IO", self._layout()),
            feature_group_count=self.groups,
        )

    def _pads(self, x) -> tuple[tuple[int, int], ...]:
        """(before, after) for each axis of the image."""
        if self.padding == "valid":
            return ((0, 0),) * self.rank
        if not isinstance(self.padding, str):
            return tuple((size, size) for size in self.padding)
        return tuple(map(_same, self._image(x), self._spans(), self.stride))

    def _image(self, x) -> tuple[int, ...]:
        return x.shape[1:-1] if self.channels_last else x.shape[2:]

    def _spans(self) -> tuple[int, ...]:
        """How far a kernel reaches along each axis."""
        pairs = zip(self.kernel_size, self.dilation, strict=True)
        return tuple((kernel - 1) * step + 1 for kernel, step in pairs)

    def _padded(self, x, padding):
        rest = ((0, 0),)
        widths = (*rest, *padding, *rest) if self.channels_last else (*rest, *rest, *padding)
        return jnp.pad(x, widths, mode=PAD_MODES[self.padding_mode])


class Conv1d(Convolution):
    """Cross-correlation of signals with kernels: (N, C, L) -> (N, out_channels, L').

    L' = (L + 2 padding - dilation (kernel - 1) - 1) // stride + 1; padding may be "same"
    (L' = ceil(L / stride)) or "valid" (0). `padding_mode`: "zeros", "reflect", "replicate" or
    "circular". `channels_last=True` takes and returns (N, L, C). Weights have shape
    (kernel, in_channels // groups, out_channels) in both layouts. N may be left out of the input.

    >>> layer = nn.Conv1d(2, 4, 3, stride=2)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, jnp.ones((1, 2, 9)))[0].shape
    (1, 4, 4)
    """

    rank = 1


class Conv2d(Convolution):
    """Cross-correlation of images with kernels: (N, C, H, W) -> (N, out_channels, H', W').

    H' = (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1, and likewise W'; padding may be
    "same" (H' = ceil(H / stride)) or "valid" (0). Sizes are one number or (height, width).
    `padding_mode`: "zeros", "reflect", "replicate" or "circular". `channels_last=True` takes and
    returns (N, H, W, C). Weights have shape (height, width, in_channels // groups, out_channels)
    in both layouts. N may be left out of the input.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> layer = nn.Conv2d(3, 16, 5, padding=2)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, fg.numpy.ones((1, 3, 32, 32)))[0].shape
    (1, 16, 32, 32)
    """

    rank = 2


class Conv3d(Convolution):
    """Cross-correlation of volumes with kernels: (N, C, D, H, W) -> (N, out_channels, D', H', W').

    Options, sizes and weights as in `Conv2d`, with three numbers (depth, height, width).

    >>> layer = nn.Conv3d(1, 4, 3, padding="same")
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, jnp.ones((1, 1, 4, 5, 6)))[0].shape
    (1, 4, 4, 5, 6)
    """

    rank = 3


class TransposedConvolution(ConvolutionBase):
    """Abstract: the transpose of a convolution, shared by ConvTranspose1d, 2d and 3d."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        *,
        channels_last: bool = False,
        weight_init: str | float | Initializer = "glorot_uniform",
        bias_init: str | float | Initializer = "zeros",
    ):
        name = type(self).__name__
        self._set_channels(in_channels, out_channels, groups)
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.rank)
        self.stride = per_axis(name, "stride", stride, self.rank)
        self.dilation = per_axis(name, "dilation", dilation, self.rank)
        self.padding = per_axis(name, "padding", padding, self.rank, least=0)
        self.output_padding = per_axis(name, "output_padding", output_padding, self.rank, least=0)
        for extra, *steps in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if extra >= max(steps):
                raise ValueError(
                    f"{name}: output_padding={extra} must be smaller than stride or dilation."
                )
        self.bias, self.channels_last = bias, channels_last
        self.weight_init, self.bias_init = weight_init, bias_init

    def _weight_shape(self) -> tuple[int, ...]:
        return (*self.kernel_size, self.in_channels, self.out_channels // self.groups)

    def torch_layout(self) -> dict[str, TorchEntry]:
        return {"weight": TorchEntry("weight", (self.rank, self.rank + 1, *range(self.rank)))}

    def forward(self, x):
        return self._checked(x, self.p.weight.shape[-2], self._spread)

    def _spread(self, x):
        """A convolution of x with zeros between its entries, by the kernel turned around."""
        return lax.conv_general_dilated(
            x,
            self._turned_kernel(),
            window_strides=(1,) * self.rank,
            padding=self._pads(),
            lhs_dilation=self.stride,
            rhs_dilation=self.dilation,
            dimension_numbers=(self._layout(), f"{LETTERS[self.rank]}IO", self._layout()),
            feature_group_count=self.groups,
        )

    def _turned_kernel(self):
        """(..., in, out // groups) reversed in space, as (..., in // groups, out)."""
        kernel = jnp.flip(self.p.weight, tuple(range(self.rank)))
        if self.groups == 1:
            return kernel
        *field, inputs, outputs = kernel.shape
        split = kernel.reshape(*field, self.groups, inputs // self.groups, outputs)
        return jnp.swapaxes(split, -3, -2).reshape(*field, inputs // self.groups, self.out_channels)

    def _pads(self) -> tuple[tuple[int, int], ...]:
        options = (self.kernel_size, self.dilation, self.padding, self.output_padding)
        return tuple(
            (d * (k - 1) - p, d * (k - 1) - p + extra)
            for k, d, p, extra in zip(*options, strict=True)
        )


class ConvTranspose1d(TransposedConvolution):
    """Transposed convolution of signals: (N, C, L) -> (N, out_channels, L').

    Options, sizes and weights as in `ConvTranspose2d`, with one number.

    >>> layer = nn.ConvTranspose1d(4, 2, 4, stride=2, padding=1)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, jnp.ones((1, 4, 5)))[0].shape
    (1, 2, 10)
    """

    rank = 1


class ConvTranspose2d(TransposedConvolution):
    """Transposed convolution of images: (N, C, H, W) -> (N, out_channels, H', W').

    The gradient of a `Conv2d` with the same options with respect to its input, as a layer; it
    undoes the change of shape (Zeiler et al., 2010):
    H' = (H - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1, and likewise W'.
    `output_padding` chooses among the sizes that a strided convolution maps to H. Weights have
    shape (height, width, in_channels, out_channels // groups); `channels_last` as in `Conv2d`.

    >>> layer = nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, jnp.ones((1, 16, 7, 7)))[0].shape
    (1, 3, 14, 14)
    """

    rank = 2


class ConvTranspose3d(TransposedConvolution):
    """Transposed convolution of volumes (N, C, D, H, W); see ConvTranspose2d.

    >>> layer = nn.ConvTranspose3d(4, 2, 2, stride=2)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, jnp.ones((1, 4, 2, 3, 4)))[0].shape
    (1, 2, 4, 6, 8)
    """

    rank = 3


def _padding(owner: str, padding: Sizes | str, rank: int) -> tuple[int, ...] | str:
    if not isinstance(padding, str):
        return per_axis(owner, "padding", padding, rank, least=0)
    if padding.lower() not in ("same", "valid"):
        raise ValueError(f'{owner}: padding is sizes, "same" or "valid", but got {padding!r}.')
    return padding.lower()


def _padding_mode(owner: str, mode: str) -> str:
    if mode not in PAD_MODES:
        raise ValueError(
            f"{owner}: padding_mode is one of {', '.join(PAD_MODES)}, but got {mode!r}."
        )
    return mode


def _same(size: int, span: int, stride: int) -> tuple[int, int]:
    """Padding (before, after) with which the output has ceil(size / stride) entries."""
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2
