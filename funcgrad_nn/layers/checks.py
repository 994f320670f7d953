"""What layers check about their options and inputs, and options given as one number or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp

Sizes = int | Sequence[int]


def positive(owner: str, name: str, value: int) -> int:
    """`value`, if it is a size that a layer can have."""
    if not is_integer(value):
        raise TypeError(f"{owner}: {name} must be an integer, but got {type(value).__name__}.")
    if value < 1:
        raise ValueError(f"{owner}: {name} must be at least 1, but got {value}.")
    return int(value)


def is_integer(value) -> bool:
    """Whether a number counts something: Python's or NumPy's integers, but not True or False."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def probability(owner: str, name: str, value: float) -> float:
    """`value`, if it lies between 0 and 1."""
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner}: {name} must be a number, but got {type(value).__name__}.")
    if not 0 <= value <= 1:
        raise ValueError(f"{owner}: {name} must be between 0 and 1, but got {value}.")
    return value


def per_axis(owner: str, name: str, value: Sizes, rank: int, least: int = 1) -> tuple[int, ...]:
    """One number for each of `rank` axes: a single number counts for all of them."""
    if rank == 0:
        raise TypeError(f"{owner} is abstract: use one with a number of dimensions, such as 2d.")
    sizes = (value,) * rank if not isinstance(value, Sequence) else tuple(value)
    if len(sizes) != rank:
        raise ValueError(
            f"{owner}: {name} must be one number or {rank} of them, but got {len(sizes)}."
        )
    for size in sizes:
        if not is_integer(size):
            raise TypeError(f"{owner}: {name} must be integers, but got {value!r}.")
        if size < least:
            raise ValueError(f"{owner}: {name} must be at least {least}, but got {value!r}.")
    return tuple(map(int, sizes))


def sizes_of(value: Sizes) -> tuple[int, ...]:
    """A shape from one number or several."""
    return tuple(value) if isinstance(value, Sequence) else (int(value),)


def row_axes(x, count: int) -> tuple[int, ...]:
    """The last `count` axes of x, counted from the front."""
    return tuple(range(jnp.ndim(x) - count, jnp.ndim(x)))


def require_array(owner: str, x) -> None:
    """Raise for lists and plain numbers, which would fail somewhere inside."""
    if not hasattr(x, "ndim"):
        raise TypeError(
            f"{owner}: the input must be an array, but got {type(x).__name__}. "
            "Make one with numpy.asarray(x)."
        )


def require_rank(owner: str, x, *ranks: int) -> None:
    """Raise unless the input is an array of one of these ranks."""
    require_array(owner, x)
    if x.ndim not in ranks:
        raise ValueError(
            f"{owner}: the input must have rank {' or '.join(map(str, ranks))}, "
            f"but its shape is {tuple(x.shape)}."
        )


def require_windows_fit(owner: str, x, sizes, pads, spans) -> None:
    """Raise for an image (with its padding) that is smaller than a window: there is no output."""
    for size, (before, after), span in zip(sizes, pads, spans, strict=True):
        if size + before + after < span:
            raise ValueError(
                f"{owner}: a window of {tuple(spans)} does not fit into an input of shape "
                f"{tuple(x.shape)} with padding {tuple(pads)}. Use a smaller kernel_size or "
                "dilation, or more padding."
            )


def on_batch(owner: str, x, rank: int, function: Callable[[Any], Any]):
    """`function(x)` for an input of `rank` axes; one without a batch axis gets it for the call.

    The result may be a tuple of arrays.
    """
    require_array(owner, x)
    if x.ndim == rank - 1:
        return fg.tree.map(lambda part: part[0], function(x[None]))
    require_rank(owner, x, rank, rank - 1)
    return function(x)
