"""Which functions are rules: what stands in the fields of primitives, and what these call."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from funcgrad import control, primitives
from funcgrad.core.primitive import Primitive, registry

FIELDS = (
    "abstract", "value", "partials", "jvp", "transpose", "pull", "batch", "loops", "split", "run",
    "weak",
)  # fmt: skip
HOMES = ("funcgrad.primitives.", "funcgrad.control.")
DEPTH = 3  # a rule, its helpers, and theirs


@dataclass
class Target:
    """One piece of code, the primitives whose rule it is (or is part of), and in which field."""

    functions: list[FunctionType]  # all that share the code: a factory makes many
    primitives: list[str]
    field: str


def targets() -> list[Target]:
    """All pieces of code, each once, in the order of primitives' names."""
    for home in (primitives, control):  # some modules are read only when they are needed
        for module in pkgutil.walk_packages(home.__path__, home.__name__ + "."):
            importlib.import_module(module.name)
    found: dict[Any, Target] = {}
    for primitive in sorted(registry, key=lambda p: p.name):
        for field, rule in rules_of(primitive):
            for function in functions_of(rule):
                target = found.setdefault(function.__code__, Target([], [], field))
                if not any(function is f for f in target.functions):
                    target.functions.append(function)
                if primitive.name not in target.primitives:
                    target.primitives.append(primitive.name)
    return list(found.values())


def rules_of(primitive: Primitive) -> Iterator[tuple[str, Any]]:
    """The functions in a primitive's fields, with the field's name."""
    for field in FIELDS:
        value = getattr(primitive, field, None)
        for rule in value if isinstance(value, tuple) else (value,):
            if callable(rule):
                yield field, rule


def functions_of(rule: Any) -> list[FunctionType]:
    """The rule itself and the functions of the same modules that it calls or closes over."""
    found: dict[int, FunctionType] = {}
    _collect(rule, DEPTH, found)
    return list(found.values())


def _collect(value: Any, depth: int, found: dict[int, Any]) -> None:
    value = inspect.unwrap(value) if callable(value) and not isinstance(value, type) else value
    if isinstance(value, functools.partial):
        return _collect(value.func, depth, found)
    if not isinstance(value, FunctionType) or id(value) in found or depth == 0:
        return None
    if not (value.__module__ or "").startswith(HOMES):
        return None
    found[id(value)] = value
    for cell in value.__closure__ or ():
        _collect(cell.cell_contents, depth, found)
    module = sys.modules[value.__module__]
    for name in value.__code__.co_names:
        helper = getattr(module, name, None)
        if name.startswith("_") and getattr(helper, "__module__", None) == value.__module__:
            _collect(helper, depth - 1, found)
    return None
