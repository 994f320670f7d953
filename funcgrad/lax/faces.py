"""From the primitives' strict functions to the public ones: NumPy values enter as Arrays, our
frames are hidden.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from funcgrad.core.inputs import as_input
from funcgrad.errors import trimmed

F = TypeVar("F", bound=Callable[..., Any])


def public(function: F) -> F:
    """The function, taking NumPy arrays too (64 bits become the default width)."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            entered = [_entered(function.__name__, a) for a in args]
            named = {name: _entered(function.__name__, a) for name, a in kwargs.items()}
            return function(*entered, **named)
        except Exception as error:
            __tracebackhide__ = True
            raise trimmed(error)

    return wrapper  # type: ignore[return-value]


def _entered(name: str, x: Any) -> Any:
    if isinstance(x, (np.ndarray, np.generic)):
        return as_input(name, x)
    if type(x) in (list, tuple) and any(isinstance(item, np.ndarray) for item in x):
        return type(x)(_entered(name, item) for item in x)
    return x
