"""Dense layers and layers without parameters that only move data around."""

from __future__ import annotations

import math
from collections.abc import Callable

import funcgrad.numpy as jnp
from funcgrad_nn.init import Initializer, draw
from funcgrad_nn.module import Module


class Linear(Module):
    """y = x W + b on the last axis: (..., in_features) -> (..., out_features).

    W has shape (in_features, out_features) and is drawn by `weight_init` (Glorot uniform), b has
    shape (out_features,) and starts by `bias_init` (zeros). There is no activation in it.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> params, state = nn.Linear(3, 2).init(fg.random.key(0))
    >>> {name: value.shape for name, value in params.items()}
    {'weight': (3, 2), 'bias': (2,)}
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        weight_init: str | float | Initializer = "glorot_uniform",
        bias_init: str | float | Initializer = "zeros",
    ):
        self.in_features = positive("Linear", "in_features", in_features)
        self.out_features = positive("Linear", "out_features", out_features)
        self.bias = bias
        self.weight_init, self.bias_init = weight_init, bias_init

    def parameters(self, key) -> dict:
        shape = (self.in_features, self.out_features)
        weight = draw(self.weight_init, key, shape)
        if not self.bias:
            return {"weight": weight}
        return {"weight": weight, "bias": draw(self.bias_init, key, (self.out_features,))}

    def forward(self, x):
        return _affine(self, x)


class LazyLinear(Module):
    """A `Linear` whose number of inputs is the last size of its first input.

    `init` needs an example input, or its shape: `model.init(key, (32, 784))`.
    """

    open = True

    def __init__(
        self,
        out_features: int,
        *,
        bias: bool = True,
        weight_init: str | float | Initializer = "glorot_uniform",
        bias_init: str | float | Initializer = "zeros",
    ):
        self.out_features = positive("LazyLinear", "out_features", out_features)
        self.bias = bias
        self.weight_init, self.bias_init = weight_init, bias_init

    def infer(self, x) -> Linear:
        return Linear(
            x.shape[-1],
            self.out_features,
            bias=self.bias,
            weight_init=self.weight_init,
            bias_init=self.bias_init,
        )

    def forward(self, x):
        return _affine(self, x)


def _affine(layer: Module, x):
    weight = layer.p.weight
    if x.ndim == 0 or x.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"{type(layer).__name__}: the last size of the input must be "
            f"{weight.shape[0]}, but its shape is {tuple(x.shape)}."
        )
    y = x @ weight
    return y + layer.p.bias if layer.bias else y


class Identity(Module):
    """Returns its input."""

    def forward(self, x):
        return x


class Flatten(Module):
    """Joins the axes from `start` (1: all but the batch) through `stop` (the last) into one."""

    def __init__(self, start: int = 1, stop: int = -1):
        self.start, self.stop = start, stop

    def forward(self, x):
        start, stop = (axis % x.ndim for axis in (self.start, self.stop))
        if start > stop:
            raise ValueError(
                f"Flatten: start={self.start} lies behind stop={self.stop} for an "
                f"input of shape {tuple(x.shape)}."
            )
        joined = math.prod(x.shape[start : stop + 1])
        return x.reshape(*x.shape[:start], joined, *x.shape[stop + 1 :])


class Reshape(Module):
    """Reshapes each row: (batch, ...) -> (batch, *shape); one size may be -1."""

    def __init__(self, *shape: int):
        self.shape = shape

    def forward(self, x):
        return x.reshape(x.shape[0], *self.shape)


class Lambda(Module):
    """A function of arrays as a layer; one from funcgrad's namespaces can be written as JSON.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> layer = nn.Lambda(fg.numpy.square)
    >>> layer.apply({}, {}, fg.numpy.array([3.0]))[0].tolist()
    [9.0]
    """

    def __init__(self, function: Callable):
        if not callable(function):
            raise TypeError(f"Lambda: needs a function, but got {type(function).__name__}.")
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def positive(owner: str, name: str, value: int) -> int:
    """`value`, if it is a size that a layer can have."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{owner}: {name} must be an integer, but got {type(value).__name__}.")
    if value < 1:
        raise ValueError(f"{owner}: {name} must be at least 1, but got {value}.")
    return value


def row_axes(x, count: int) -> tuple[int, ...]:
    """The last `count` axes of x, counted from the front."""
    return tuple(range(jnp.ndim(x) - count, jnp.ndim(x)))
