"""Dense layers, and layers around a function of arrays."""

from __future__ import annotations

from collections.abc import Callable

import funcgrad.numpy as jnp
from funcgrad_nn.init import Initializer, draw
from funcgrad_nn.layers.checks import positive, require_array
from funcgrad_nn.module import Module
from funcgrad_nn.state_dict import TorchEntry


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
        bias: bool = True,
        *,
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

    def torch_layout(self) -> dict[str, TorchEntry]:
        return {"weight": TorchEntry("weight", (1, 0))}

    def forward(self, x):
        return _affine(self, x)


class LazyLinear(Module):
    """A `Linear` whose number of inputs is the last size of its first input.

    `init` needs an example input, or its shape: `model.init(key, (32, 784))`.

    >>> params, state = nn.LazyLinear(10).init(fg.random.key(0), (32, 784))
    >>> params["weight"].shape
    (784, 10)
    """

    open = True

    def __init__(
        self,
        out_features: int,
        bias: bool = True,
        *,
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
            self.bias,
            weight_init=self.weight_init,
            bias_init=self.bias_init,
        )

    def torch_layout(self) -> dict[str, TorchEntry]:
        return {"weight": TorchEntry("weight", (1, 0))}

    def forward(self, x):
        return _affine(self, x)


def _affine(layer: Module, x):
    require_array(type(layer).__name__, x)
    weight = layer.p.weight
    if x.ndim == 0 or x.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"{type(layer).__name__}: the last size of the input must be "
            f"{weight.shape[0]}, but its shape is {tuple(x.shape)}."
        )
    y = x @ weight
    return y + layer.p.bias if layer.bias else y


class Bilinear(Module):
    """y_k = x1^T W_k x2 + b_k: (..., in1_features), (..., in2_features) -> (..., out_features).

    The leading sizes of both inputs are the same. W has shape (in1, in2, out) and is drawn by
    `weight_init` (Glorot uniform, with in1 * in2 as its fan in).

    >>> layer = nn.Bilinear(3, 4, 2)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer.apply(params, state, jnp.ones((5, 3)), jnp.ones((5, 4)))[0].shape
    (5, 2)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: str | float | Initializer = "glorot_uniform",
        bias_init: str | float | Initializer = "zeros",
    ):
        self.in1_features = positive("Bilinear", "in1_features", in1_features)
        self.in2_features = positive("Bilinear", "in2_features", in2_features)
        self.out_features = positive("Bilinear", "out_features", out_features)
        self.bias = bias
        self.weight_init, self.bias_init = weight_init, bias_init

    def parameters(self, key) -> dict:
        shape = (self.in1_features, self.in2_features, self.out_features)
        weight = draw(self.weight_init, key, shape)
        if not self.bias:
            return {"weight": weight}
        return {"weight": weight, "bias": draw(self.bias_init, key, (self.out_features,))}

    def torch_layout(self) -> dict[str, TorchEntry]:
        return {"weight": TorchEntry("weight", (2, 0, 1))}

    def forward(self, left, right):
        sizes = (self.in1_features, self.in2_features)
        if (left.shape[-1], right.shape[-1]) != sizes or left.shape[:-1] != right.shape[:-1]:
            raise ValueError(
                f"Bilinear: needs inputs (..., {sizes[0]}) and (..., {sizes[1]}) with equal "
                f"leading sizes, but got {tuple(left.shape)} and {tuple(right.shape)}."
            )
        y = jnp.einsum("...i,ijo,...j->...o", left, self.p.weight, right)
        return y + self.p.bias if self.bias else y


class Identity(Module):
    """Returns its input.

    >>> print(nn.Identity().apply({}, {}, jnp.array([1.0, 2.0]))[0])
    [1. 2.]
    """

    def forward(self, x):
        return x


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
