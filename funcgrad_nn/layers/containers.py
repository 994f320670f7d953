"""Modules made of modules."""

from __future__ import annotations

from funcgrad_nn.module import Module


class Sequential(Module):
    """Each layer on the output of the one before; without layers, the identity.

    The layers are named "0", "1", ... in the parameters. A Sequential can be indexed and sliced;
    a layer listed twice shares its parameters.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> model
    Sequential()
      0: Linear(4, 8)
      1: ReLU()
      2: Linear(8, 2)
    >>> params, state = model.init(fg.random.key(0))
    >>> sorted(params)
    ['0', '2']
    """

    inline = ("layers",)

    def __init__(self, *layers: Module):
        for layer in layers:
            if not isinstance(layer, Module):
                raise TypeError(
                    "Sequential: needs modules, but got "
                    f"{type(layer).__name__}. Wrap a function as nn.Lambda(function)."
                )
        self.layers = layers

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index: int | slice):
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]


class Residual(Module):
    """x + inner(x) (He et al., 2015); `inner` must keep the shape."""

    def __init__(self, inner: Module):
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)
