"""Initializers: functions (key, shape, dtype) -> array, and their names.

A layer's `weight_init` takes a name from `INITIALIZERS`, a number (a constant), or such a function.
For a weight of shape (..., in, out) the leading sizes are a receptive field: fan_in is their
product times `in`, fan_out their product times `out`. Variances: glorot 2/(fan_in + fan_out)
(Glorot and Bengio, 2010), he 2/fan_in (He et al., 2015), lecun 1/fan_in. The normal ones are
truncated at two standard deviations, with the variance corrected for the cut.
"""

from __future__ import annotations

from collections.abc import Callable

import funcgrad as fg
from funcgrad_nn import names

__all__ = ["INITIALIZERS", "draw"]

Initializer = Callable[..., fg.Array]
_library = fg.nn.initializers

INITIALIZERS: dict[str, Initializer] = {
    "zeros": _library.zeros,
    "ones": _library.ones,
    "uniform": _library.uniform(),
    "normal": _library.normal(),
    "truncated_normal": _library.truncated_normal(),
    "glorot_uniform": _library.glorot_uniform(),
    "glorot_normal": _library.glorot_normal(),
    "he_uniform": _library.he_uniform(),
    "he_normal": _library.he_normal(),
    "lecun_uniform": _library.lecun_uniform(),
    "lecun_normal": _library.lecun_normal(),
    "orthogonal": _library.orthogonal(),
}


def draw(initializer: str | float | Initializer, key, shape: tuple[int, ...], dtype=None):
    """An array of `shape` from an initializer, its name, or a constant; float32 by default.

    >>> import funcgrad as fg
    >>> draw("zeros", fg.random.key(0), (2,)).tolist()
    [0.0, 0.0]
    """
    dtype = fg.numpy.float32 if dtype is None else dtype
    if isinstance(initializer, (int, float)):
        return fg.numpy.full(shape, initializer, dtype)
    return checked(initializer)(key, shape, dtype)


def checked(initializer: str | float | Initializer) -> Initializer:
    """The function that an initializer or its name means; raises for unknown names."""
    if isinstance(initializer, str):
        if initializer not in INITIALIZERS:
            raise ValueError(
                f"initializer {initializer!r} is not known. Use one of "
                f"{', '.join(INITIALIZERS)}, a number, or a function "
                "(key, shape, dtype) -> array."
            )
        return INITIALIZERS[initializer]
    if not callable(initializer):
        raise TypeError(
            "an initializer is a name, a number or a function (key, shape, dtype) -> "
            f"array, but got {type(initializer).__name__}."
        )
    return initializer


for _name, _function in INITIALIZERS.items():
    names.register_function(f"{names.PACKAGE}.init.{_name}", _function)
