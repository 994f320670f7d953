"""Convolutions."""

from __future__ import annotations

from funcgrad import lax
from funcgrad_nn.init import Initializer, draw
from funcgrad_nn.layers.linear import positive
from funcgrad_nn.module import Module

Pair = int | tuple[int, int]


class Conv2d(Module):
    """Cross-correlation of images with kernels: (N, C, H, W) -> (N, out_channels, H', W').

    H' = (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1, and likewise W'; padding may be
    "same" (H' = ceil(H / stride)) or "valid" (0). Sizes are one number or (height, width).
    `channels_last=True` takes and returns (N, H, W, C). Weights have shape
    (height, width, in_channels // groups, out_channels) in both layouts.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        channels_last: bool = False,
        weight_init: str | float | Initializer = "glorot_uniform",
        bias_init: str | float | Initializer = "zeros",
    ):
        self.in_channels = positive("Conv2d", "in_channels", in_channels)
        self.out_channels = positive("Conv2d", "out_channels", out_channels)
        self.kernel_size, self.stride, self.dilation = map(pair, (kernel_size, stride, dilation))
        self.padding = _padding(padding)
        self.groups = positive("Conv2d", "groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}."
            )
        self.bias, self.channels_last = bias, channels_last
        self.weight_init, self.bias_init = weight_init, bias_init

    def parameters(self, key) -> dict:
        shape = (*self.kernel_size, self.in_channels // self.groups, self.out_channels)
        weight = draw(self.weight_init, key, shape)
        if not self.bias:
            return {"weight": weight}
        return {"weight": weight, "bias": draw(self.bias_init, key, (self.out_channels,))}

    def forward(self, x):
        layout = "NHWC" if self.channels_last else "NCHW"
        if x.ndim != 4 or x.shape[layout.index("C")] != self.in_channels:
            raise ValueError(
                f"Conv2d: needs an input {layout} with {self.in_channels} channels, "
                f"but its shape is {tuple(x.shape)}."
            )
        y = lax.conv_general_dilated(
            x,
            self.p.weight,
            window_strides=self.stride,
            padding=self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=(layout, "HWIO", layout),
            feature_group_count=self.groups,
        )
        if not self.bias:
            return y
        return y + (self.p.bias if self.channels_last else self.p.bias[:, None, None])


def pair(value: Pair) -> tuple[int, int]:
    """(value, value) for a number; a pair stays a pair."""
    if isinstance(value, int):
        return (value, value)
    first, second = value
    return (first, second)


def _padding(padding: Pair | str):
    if isinstance(padding, str):
        if padding.lower() not in ("same", "valid"):
            raise ValueError(f'Conv2d: padding is sizes, "same" or "valid", but got {padding!r}.')
        return padding.upper()
    return tuple((size, size) for size in pair(padding))
