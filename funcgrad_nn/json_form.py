"""Descriptions as JSON: a module is its class's name and the arguments of its constructor.

A module that occurs twice is written once, with a number, and referred to afterwards. Reading
imports nothing and calls nothing but the constructors of modules; see `names.py`.
"""

from __future__ import annotations

import inspect
import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from funcgrad_nn import names
from funcgrad_nn.description import (
    SCALARS,
    Described,
    FrozenDict,
    Unwritable,
    bound_arguments,
    frozen,
)

FORMAT = "funcgrad_nn.Module"
VERSION = 1


def write(described: Described, indent: int | None) -> str:
    """The text from which `read` rebuilds a description."""
    written = _Writer(_occurring_twice(described)).write(described, type(described).__name__)
    return json.dumps({"format": FORMAT, "version": VERSION, "model": written}, indent=indent)


def _occurring_twice(described: Described) -> set[int]:
    """Identities of the modules that the constructors' arguments mention more than once."""
    counts: dict[int, int] = {}

    def visit(value):
        if isinstance(value, Described):
            counts[id(value)] = counts.get(id(value), 0) + 1
            if counts[id(value)] == 1:
                visit(value._record.arguments)
                visit(tuple(value._record.keywords.values()))
        elif isinstance(value, tuple):
            for part in value:
                visit(part)
        elif isinstance(value, FrozenDict):
            visit(tuple(value.values()))

    visit(described)
    return {identity for identity, count in counts.items() if count > 1}


class _Writer:
    """Turns descriptions into JSON values; remembers which shared modules it has written."""

    def __init__(self, shared: set[int]):
        self.shared = shared
        self.numbers: dict[int, int] = {}

    def write(self, value, where: str):
        if isinstance(value, Described):
            return self._module(value, where)
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}
        if isinstance(value, SCALARS):
            return value
        if isinstance(value, tuple):
            return [self.write(part, f"{where}[{i}]") for i, part in enumerate(value)]
        if isinstance(value, FrozenDict):
            return {"dict": self._entries(value, where)}
        return self._named(value, where)

    def _module(self, module: Described, where: str):
        if id(module) in self.numbers:
            return {"same_as": self.numbers[id(module)]}
        written: dict[str, Any] = {"module": names.name_of_class(type(module))}
        if id(module) in self.shared:
            written["number"] = self.numbers[id(module)] = len(self.numbers) + 1
        given = list(bound_arguments(module).arguments.items())[1:]
        arguments = {
            name: self.write(frozen(value, ""), f"{where}.{name}") for name, value in given
        }
        return {**written, "arguments": arguments} if arguments else written

    def _entries(self, entries: Mapping, where: str) -> dict:
        if not all(isinstance(key, str) for key in entries):
            raise TypeError(f"to_json: {where} has keys that are not text.")
        return {key: self.write(part, f"{where}[{key!r}]") for key, part in entries.items()}

    def _named(self, value, where: str):
        dtype = names.name_of_dtype(value)
        if dtype is not None:
            return {"dtype": dtype}
        function = names.name_of_function(value)
        if function is not None:
            return {"function": function}
        what = value.kind if isinstance(value, Unwritable) else repr(value)
        raise TypeError(
            f"to_json: {where} is {what}, which has no name to be written by. Use numbers, text, "
            "modules, functions of funcgrad's namespaces, or nn.register_function(name, function)."
        )


def read(text: str, functions: Mapping[str, Any] | None = None) -> Described:
    """The description that `text` (from `to_json`) holds; see `Described.from_json`."""
    try:
        whole = json.loads(text)
        if not (isinstance(whole, dict) and whole.get("format") == FORMAT and "model" in whole):
            raise ValueError(f"from_json: the text is not a {FORMAT} description.")
        if whole.get("version") != VERSION:
            raise ValueError(
                f"from_json: version {whole.get('version')!r} is not known; "
                f"this library reads version {VERSION}."
            )
        model = _Reader(functions or {}).read(whole["model"], "model")
    except RecursionError:
        raise ValueError("from_json: the text is nested too deeply.") from None
    if not isinstance(model, Described):
        raise ValueError("from_json: model must be a module.")
    return model


class _Reader:
    """Turns JSON values back; every error names the place."""

    def __init__(self, functions: Mapping[str, Any]):
        self.functions = functions
        self.numbered: dict[int, Described] = {}

    def read(self, value, where: str):
        if isinstance(value, SCALARS):
            return value
        if isinstance(value, list):
            return tuple(self.read(part, f"{where}[{i}]") for i, part in enumerate(value))
        for kind in ("module", "same_as", "function", "dtype", "float", "dict"):
            if kind in value:
                return getattr(self, f"_{kind}")(value, where)
        raise ValueError(f"from_json: {where} has none of the known forms: {sorted(value)[:5]}.")

    def _module(self, value, where: str) -> Described:
        cls = names.class_of_name(_text(value["module"], where))
        arguments = value.get("arguments", {})
        if cls is None or not isinstance(arguments, dict):
            raise ValueError(
                f"from_json: {where} is of class {value['module']!r}, which is not defined here. "
                "Import the Python module that defines it first."
            )
        given = {name: self.read(part, f"{where}.{name}") for name, part in arguments.items()}
        try:
            module = _call_by_name(cls, given)
        except Exception as error:  # whatever a constructor makes of arguments of the wrong kind
            raise ValueError(
                f"from_json: {where}: {cls.__name__} does not accept its arguments: {error}"
            ) from error
        if isinstance(value.get("number"), int):
            self.numbered[value["number"]] = module
        return module

    def _same_as(self, value, where: str) -> Described:
        number = value["same_as"]
        if not isinstance(number, int) or number not in self.numbered:
            raise ValueError(
                f"from_json: {where} refers to module {number!r}, which does not come before it."
            )
        return self.numbered[number]

    def _function(self, value, where: str):
        name = _text(value["function"], where)
        found = self.functions.get(name) or names.function_of_name(name)
        if found is None:
            raise ValueError(
                f"from_json: {where} names the function {name!r}, which is not known. "
                f"Pass functions={{{name!r}: ...}}."
            )
        return found

    def _dtype(self, value, where: str):
        found = names.dtype_of_name(_text(value["dtype"], where))
        if found is None:
            raise ValueError(f"from_json: {where} names no dtype: {value['dtype']!r}.")
        return found

    def _float(self, value, where: str) -> float:
        if value["float"] not in ("inf", "-inf", "nan"):
            raise ValueError(f"from_json: {where} must be inf, -inf or nan.")
        return float(value["float"])

    def _dict(self, value, where: str) -> dict:
        if not isinstance(value["dict"], dict):
            raise ValueError(f"from_json: {where} must hold a dictionary.")
        return {key: self.read(part, f"{where}[{key!r}]") for key, part in value["dict"].items()}


def _text(value, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"from_json: {where} needs a name, but got {type(value).__name__}.")
    return value


def _call_by_name(cls, given: dict[str, Any]):
    """`cls(...)` from arguments by parameter name, *args and **kwargs included."""
    signature = inspect.signature(cls.__init__)
    unknown = set(given) - set(list(signature.parameters)[1:])
    if unknown:
        raise TypeError(f"unknown arguments {sorted(unknown)}")
    this = next(iter(signature.parameters))
    bound = inspect.BoundArguments(signature, OrderedDict({this: None, **given}))
    return cls(*bound.args[1:], **bound.kwargs)
