"""Padding of signals, images and volumes by a constant, by reflection, by repetition, around.

`padding` is one number for all sides, or (left, right, top, bottom, front, back): the last axis
comes first, as in PyTorch. Negative numbers cut off. The leading axes stay as they are.
"""

from __future__ import annotations

import sys

import funcgrad.numpy as jnp
from funcgrad_nn.layers.checks import Sizes, per_axis
from funcgrad_nn.module import Module


class Padding(Module):
    """Abstract: pads the last `rank` axes; `mode` is `jnp.pad`'s."""

    rank = 0
    mode = ""

    def __init__(self, padding: Sizes):
        self.padding = _sides(type(self).__name__, padding, self.rank)

    def forward(self, x):
        if x.ndim < self.rank:
            raise ValueError(
                f"{type(self).__name__}: needs at least {self.rank} axes, but the input's shape is "
                f"{tuple(x.shape)}."
            )
        still = ((0, 0),) * (x.ndim - self.rank)
        widths = (*still, *((max(before, 0), max(after, 0)) for before, after in self.padding))
        padded = jnp.pad(x, widths, **self._how())
        return padded[(..., *(_kept(before, after) for before, after in self.padding))]

    def _how(self) -> dict:
        """The keyword arguments of `jnp.pad`."""
        return {"mode": self.mode}


class ConstantPadding(Padding):
    """Abstract: pads with the number `value`."""

    mode = "constant"

    def __init__(self, padding: Sizes, value: float):
        self.padding = _sides(type(self).__name__, padding, self.rank)
        self.value = value

    def _how(self) -> dict:
        return {"mode": self.mode, "constant_values": self.value}


class ZeroPadding(Padding):
    """Abstract: pads with zeros."""

    mode = "constant"


class ReflectionPadding(Padding):
    """Abstract: pads by reflection at the edges, which are not repeated."""

    mode = "reflect"


class ReplicationPadding(Padding):
    """Abstract: pads with the values at the edges."""

    mode = "edge"


class CircularPadding(Padding):
    """Abstract: pads with the values of the other side."""

    mode = "wrap"


class ConstantPad1d(ConstantPadding):
    """Pads the last axis with the number `value`.

    >>> print(nn.ConstantPad1d((1, 2), 9.0).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0]]]))[0])
    [[[9. 1. 2. 3. 9. 9.]]]
    """

    rank = 1


class ConstantPad2d(ConstantPadding):
    """Pads the last two axes with the number `value`.

    >>> nn.ConstantPad2d((1, 0, 2, 1), 9.0).apply({}, {}, jnp.ones((1, 1, 4, 5)))[0].shape
    (1, 1, 7, 6)
    """

    rank = 2


class ConstantPad3d(ConstantPadding):
    """Pads the last three axes with the number `value`.

    >>> nn.ConstantPad3d(1, 9.0).apply({}, {}, jnp.ones((1, 1, 2, 3, 4)))[0].shape
    (1, 1, 4, 5, 6)
    """

    rank = 3


class ZeroPad1d(ZeroPadding):
    """Pads the last axis with zeros.

    >>> print(nn.ZeroPad1d((1, -1)).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0]]]))[0])
    [[[0. 1. 2.]]]
    """

    rank = 1


class ZeroPad2d(ZeroPadding):
    """Pads the last two axes with zeros.

    >>> nn.ZeroPad2d((1, 0, 2, 1)).apply({}, {}, jnp.ones((1, 1, 4, 5)))[0].shape
    (1, 1, 7, 6)
    """

    rank = 2


class ZeroPad3d(ZeroPadding):
    """Pads the last three axes with zeros.

    >>> nn.ZeroPad3d(1).apply({}, {}, jnp.ones((1, 1, 2, 3, 4)))[0].shape
    (1, 1, 4, 5, 6)
    """

    rank = 3


class ReflectionPad1d(ReflectionPadding):
    """Pads the last axis by reflection at the edges, which are not repeated.

    >>> print(nn.ReflectionPad1d(2).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0]]]))[0])
    [[[3. 2. 1. 2. 3. 2. 1.]]]
    """

    rank = 1


class ReflectionPad2d(ReflectionPadding):
    """Pads the last two axes by reflection at the edges, which are not repeated.

    >>> nn.ReflectionPad2d((1, 0, 2, 1)).apply({}, {}, jnp.ones((1, 1, 4, 5)))[0].shape
    (1, 1, 7, 6)
    """

    rank = 2


class ReflectionPad3d(ReflectionPadding):
    """Pads the last three axes by reflection at the edges, which are not repeated.

    >>> nn.ReflectionPad3d(1).apply({}, {}, jnp.ones((1, 1, 2, 3, 4)))[0].shape
    (1, 1, 4, 5, 6)
    """

    rank = 3


class ReplicationPad1d(ReplicationPadding):
    """Pads the last axis with the values at the edges.

    >>> print(nn.ReplicationPad1d(2).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0]]]))[0])
    [[[1. 1. 1. 2. 3. 3. 3.]]]
    """

    rank = 1


class ReplicationPad2d(ReplicationPadding):
    """Pads the last two axes with the values at the edges.

    >>> nn.ReplicationPad2d((1, 0, 2, 1)).apply({}, {}, jnp.ones((1, 1, 4, 5)))[0].shape
    (1, 1, 7, 6)
    """

    rank = 2


class ReplicationPad3d(ReplicationPadding):
    """Pads the last three axes with the values at the edges.

    >>> nn.ReplicationPad3d(1).apply({}, {}, jnp.ones((1, 1, 2, 3, 4)))[0].shape
    (1, 1, 4, 5, 6)
    """

    rank = 3


class CircularPad1d(CircularPadding):
    """Pads the last axis with the values of the other side.

    >>> print(nn.CircularPad1d(2).apply({}, {}, jnp.array([[[1.0, 2.0, 3.0]]]))[0])
    [[[2. 3. 1. 2. 3. 1. 2.]]]
    """

    rank = 1


class CircularPad2d(CircularPadding):
    """Pads the last two axes with the values of the other side.

    >>> nn.CircularPad2d((1, 0, 2, 1)).apply({}, {}, jnp.ones((1, 1, 4, 5)))[0].shape
    (1, 1, 7, 6)
    """

    rank = 2


class CircularPad3d(CircularPadding):
    """Pads the last three axes with the values of the other side.

    >>> nn.CircularPad3d(1).apply({}, {}, jnp.ones((1, 1, 2, 3, 4)))[0].shape
    (1, 1, 4, 5, 6)
    """

    rank = 3


def _sides(owner: str, padding: Sizes, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) for each of the last `rank` axes, in their order."""
    flat = per_axis(owner, "padding", padding, 2 * rank, least=-sys.maxsize)
    return tuple(zip(flat[::2], flat[1::2], strict=True))[::-1]


def _kept(before: int, after: int) -> slice:
    """What negative padding leaves of an axis."""
    return slice(max(-before, 0) or None, min(after, 0) or None)
