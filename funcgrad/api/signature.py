"""Which arguments are static and which are donated, and how a call's arguments are told apart."""

from __future__ import annotations

import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.api.flat import name_of


def as_tuple(value: Any) -> tuple[Any, ...]:
    """`static_argnums=1` means `(1,)`."""
    if value is None:
        return ()
    return (value,) if isinstance(value, (int, str, np.integer)) else tuple(value)


class Statics:
    """Positions and names of arguments that are settings, or that are given away, in a function's
    signature.

    What is known by position is known by name too, and the other way round, so that callers may use
    either.
    """

    def __init__(self, fun: Callable[..., Any], what: str, argnums: Any, argnames: Any) -> None:
        self.fun, self.what = fun, what
        names = _positional_names(fun)
        self.argnums = {self._position(i, names) for i in as_tuple(argnums)}
        self.argnames = {self._name(n) for n in as_tuple(argnames)}
        named = {names[i] for i in self.argnums if 0 <= i < len(names)}
        self.argnums |= {names.index(n) for n in self.argnames if n in names}
        self.argnames |= named

    def __bool__(self) -> bool:
        return bool(self.argnums or self.argnames)

    def _position(self, i: Any, names: Sequence[str]) -> int:
        if not isinstance(i, (int, np.integer)):
            raise TypeError(f"jit: {self.what}_argnums must hold integers, but holds {i!r}.")
        if names and _fixed_arity(self.fun) and not -len(names) <= i < len(names):
            raise ValueError(
                f"jit: {self.what}_argnums {i} does not exist: {name_of(self.fun)} has "
                f"{len(names)} positional arguments."
            )
        return int(i % len(names) if i < 0 and names else i)

    def _name(self, name: Any) -> str:
        if not isinstance(name, str):
            raise TypeError(f"jit: {self.what}_argnames must hold strings, but holds {name!r}.")
        parameters = _parameters(self.fun)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if parameters and name not in parameters and not takes_any:
            raise ValueError(
                f"jit: {self.what}_argnames {name!r} does not exist: {name_of(self.fun)} has "
                f"{', '.join(parameters)}."
            )
        return name

    def split(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Static arguments as a hashable key; the other positional ones; the other keyword ones.

        Raises ValueError for a static argument that cannot be hashed.
        """
        positions = {i if i >= 0 else i + len(args) for i in self.argnums}
        fixed: list[tuple[Any, Any]] = [(i, a) for i, a in enumerate(args) if i in positions]
        fixed += [(n, kwargs[n]) for n in sorted(kwargs) if n in self.argnames]
        for where, value in fixed:
            self._check_hashable(where, value)
        dynamic = tuple(a for i, a in enumerate(args) if i not in positions)
        return tuple(fixed), dynamic, {n: v for n, v in kwargs.items() if n not in self.argnames}

    def _check_hashable(self, where: Any, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            raise ValueError(
                f"jit: static argument {where!r} of {name_of(self.fun)} must be hashable, but got "
                f"{value!r:.60} of type {type(value).__name__}. Use a tuple instead of a list or "
                "an array, "
                "or do not mark it static."
            ) from None


def kind_of(value: Any) -> Any:
    """What distinguishes equal static values: 1, 1.0 and True give different programs."""
    return (tuple, *map(kind_of, value)) if type(value) is tuple else type(value)


def fix_static(fun: Callable[..., Any], fixed: Sequence[tuple[Any, Any]]) -> Callable[..., Any]:
    """The function of its dynamic arguments, the static ones put back in their places."""
    if not fixed:
        return fun
    by_position = dict(sorted((i, v) for i, v in fixed if isinstance(i, int)))
    by_name = {n: v for n, v in fixed if isinstance(n, str)}

    @functools.wraps(fun)
    def partial(*args: Any, **kwargs: Any) -> Any:
        full = list(args)
        for i, value in by_position.items():
            full.insert(i, value)
        return fun(*full, **kwargs, **by_name)

    return partial


# Weak, so that what a function closes over is not kept alive.
_known_parameters: weakref.WeakKeyDictionary[Any, dict[str, inspect.Parameter]] = (
    weakref.WeakKeyDictionary()
)


def _parameters(fun: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The function's parameters; none are known of some builtins."""
    try:
        return _known_parameters[fun]
    except (KeyError, TypeError):
        found = _inspected(fun)
    with contextlib.suppress(TypeError):  # not hashable, or no weak references to it
        _known_parameters[fun] = found
    return found


def _inspected(fun: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(fun).parameters)
    except (TypeError, ValueError):
        return {}


def _positional_names(fun: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in _parameters(fun).items() if p.kind in kinds]


def _fixed_arity(fun: Callable[..., Any]) -> bool:
    return not any(p.kind is p.VAR_POSITIONAL for p in _parameters(fun).values())
