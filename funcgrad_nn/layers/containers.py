"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Callable

import funcgrad.numpy as jnp
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
        _require_modules("Sequential", layers)
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
    """shortcut(x) + inner(x) (He et al., 2015); without a shortcut, `inner` must keep the shape.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> nn.Residual(nn.ReLU()).apply({}, {}, fg.numpy.array([-1.0, 2.0]))[0].tolist()
    [-1.0, 4.0]
    """

    def __init__(self, inner: Module, shortcut: Module | None = None):
        _require_modules("Residual", (inner,) if shortcut is None else (inner, shortcut))
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x):
        kept = x if self.shortcut is None else self.shortcut(x)
        y = self.inner(x)
        if y.shape != kept.shape:
            raise ValueError(
                f"Residual: the inner module gives shape {tuple(y.shape)}, but the shortcut "
                f"{tuple(kept.shape)}. Give a shortcut module that changes the shape alike."
            )
        return kept + y


class Parallel(Module):
    """Several modules on the same input, named "0", "1", ... in the parameters.

    `combine` says what becomes of their outputs: None (a tuple), "add", "multiply", "concatenate"
    or "stack" (along `dim`), or a function of the outputs.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> both = nn.Parallel(nn.Linear(4, 2), nn.Linear(4, 3), combine="concatenate")
    >>> params, state = both.init(fg.random.key(0))
    >>> both.apply(params, state, fg.numpy.ones((1, 4)))[0].shape
    (1, 5)
    """

    inline = ("branches",)

    def __init__(self, *branches: Module, combine: str | Callable | None = None, dim: int = 1):
        _require_modules("Parallel", branches)
        if isinstance(combine, str) and combine not in COMBINATIONS:
            raise ValueError(
                f"Parallel: combine is None, a function or one of {', '.join(COMBINATIONS)}, but "
                f"got {combine!r}."
            )
        self.branches, self.combine, self.dim = branches, combine, dim

    def forward(self, x):
        outputs = tuple(branch(x) for branch in self.branches)
        if self.combine is None:
            return outputs
        if isinstance(self.combine, str):
            return COMBINATIONS[self.combine](outputs, self.dim)
        return self.combine(*outputs)


def _sum(outputs: tuple, dim: int):
    return sum(outputs[1:], outputs[0])


def _product(outputs: tuple, dim: int):
    result = outputs[0]
    for output in outputs[1:]:
        result = result * output
    return result


COMBINATIONS: dict[str, Callable] = {
    "add": _sum,
    "multiply": _product,
    "concatenate": lambda outputs, dim: jnp.concatenate(outputs, dim),
    "stack": lambda outputs, dim: jnp.stack(outputs, dim),
}


def _require_modules(owner: str, modules: tuple) -> None:
    for module in modules:
        if not isinstance(module, Module):
            raise TypeError(
                f"{owner}: needs modules, but got {type(module).__name__}. {_repair(module)}"
            )


def _repair(given) -> str:
    if isinstance(given, (list, tuple)):
        return "Pass the modules one by one: (*modules)."
    if isinstance(given, type) and issubclass(given, Module):
        return f"Make one: {given.__name__}(...)."
    return "Wrap a function as nn.Lambda(function)."
