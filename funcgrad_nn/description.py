"""What a module is before it meets any parameters: its class, its options, its parts.

A description is immutable, compared and hashed by content, and printed as nested text. It keeps the
arguments of its constructor, from which `json_form.py` writes it, and holds no arrays. `module.py`
builds `Module` on it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import funcgrad as fg
from funcgrad_nn import names

SCALARS = (bool, int, float, str, type(None))
# What `labels.max() + 1` and the like give; the scalars of ml_dtypes are none of these.
NUMPY_SCALARS = (np.integer, np.floating, np.bool_)


class FrozenDict(Mapping):
    """An immutable, hashable dictionary that keeps its order: what a dict attribute becomes."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping):
        self._entries = dict(entries)

    def __getitem__(self, key):
        return self._entries[key]

    def __iter__(self) -> Iterator:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __hash__(self) -> int:
        return hash(tuple(self._entries.items()))

    def __reduce__(self):
        return FrozenDict, (self._entries,)

    def __repr__(self) -> str:
        return repr(self._entries)


class Unwritable:
    """Stands for a constructor argument that a description must not keep, such as an array."""

    def __init__(self, kind: str):
        self.kind = kind


class Record:
    """What a description keeps about itself, apart from the attributes that its author set."""

    __slots__ = ("arguments", "keywords", "sealed", "fingerprint", "cache")

    def __init__(self, arguments: tuple, keywords: dict):
        self.arguments = arguments
        self.keywords = keywords
        self.sealed = False
        self.fingerprint = None
        self.cache: dict[str, Any] = {}


class Described:
    """Base of `Module`: remembers its constructor's arguments and cannot be changed afterwards."""

    __slots__ = ("__dict__", "__weakref__", "_record")
    _record: Any
    inline: tuple[str, ...] = ()  # attributes whose modules take no name from the attribute
    open = False  # True in layers that learn a size from their first input
    full_precision = False  # True in layers whose parameters stay float32 in mixed precision
    reserved: frozenset[str] = frozenset(
        {
            "inline",
            "open",
            "full_precision",
            "reserved",
            "itself",
            "parameters",
            "initial_state",
            "infer",
        }
    )

    def __new__(cls, *arguments, **keywords):
        self = super().__new__(cls)
        kept = {name: _kept(value) for name, value in keywords.items()}
        object.__setattr__(self, "_record", Record(tuple(map(_kept, arguments)), kept))
        return self

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        names.register(cls)
        if "__init__" in cls.__dict__:
            setattr(cls, "__init__", _sealing(cls.__init__))  # noqa: B010, mypy guards __init__

    def __setattr__(self, name: str, value) -> None:
        owner = type(self).__name__
        if self._record.sealed:
            raise AttributeError(
                f"{owner}.{name}: a module cannot be changed after its __init__. Build a new one; "
                "values that change during training belong to the parameters or the state."
            )
        if name in self.reserved:
            raise AttributeError(
                f"{owner}.{name}: this name belongs to Module. Choose another attribute name."
            )
        object.__setattr__(self, name, frozen(value, f"{owner}.{name}"))

    def __delattr__(self, name: str) -> None:
        raise AttributeError(
            f"{type(self).__name__}.{name}: a module's attributes stay as they are."
        )

    def __eq__(self, other) -> bool:
        if self is other:
            return True
        if not isinstance(other, Described):
            return NotImplemented
        if self.itself() is not self or other.itself() is not other:
            return False  # a view computes with its run's parameters: caches must tell it apart
        return _fingerprint(self) == _fingerprint(other)

    def __hash__(self) -> int:
        return hash(_fingerprint(self)) if self.itself() is self else id(self)

    def __reduce__(self):
        record = self.itself()._record
        return _construct, (type(self), record.arguments, record.keywords)

    def __repr__(self) -> str:
        return "\n".join(_lines(self.itself(), "", {}, ()))

    def parameters(self, key) -> dict:
        """This module's own parameters, by name, drawn from `key`; submodules have theirs."""
        return {}

    def initial_state(self) -> dict:
        """This module's own state before training, by name."""
        return {}

    def infer(self, *inputs) -> Described:
        """For layers with `open = True`: the same layer with its sizes taken from `inputs`."""
        return self

    def itself(self):
        """The description; for a view of one (see `Module`) the one that it shows."""
        return self


def _sealing(init):
    """`init`, after which the object is immutable if this was its class's own constructor."""

    @functools.wraps(init)
    def wrapper(self, *arguments, **keywords):
        init(self, *arguments, **keywords)
        if type(self).__init__ is wrapper:
            self._record.sealed = True

    return wrapper


def _construct(cls, arguments, keywords):
    return cls(*arguments, **keywords)


# -- values that a description may hold ----------------------------------------------------------


def is_array(value) -> bool:
    return isinstance(value, (np.ndarray, fg.Array))


def frozen(value, where: str):
    """`value` with lists as tuples and dicts as FrozenDicts; arrays and unhashables are errors."""
    if is_array(value):
        raise TypeError(
            f"{where}: a module is a description and holds no arrays, but got one of shape "
            f"{tuple(value.shape)}. Return trainable arrays from parameters(self, key), others "
            "from initial_state(self), or compute them in forward."
        )
    if isinstance(value, (list, tuple)):
        parts = [frozen(part, f"{where}[{i}]") for i, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, Mapping):
        return FrozenDict({k: frozen(part, f"{where}[{k!r}]") for k, part in value.items()})
    if isinstance(value, NUMPY_SCALARS):  # before Python's: np.float64 is a float
        return value.item()
    if isinstance(value, (Described, *SCALARS)):
        return value
    _require_hashable(value, where)
    dtype = names.name_of_dtype(value)
    return value if dtype is None else names.dtype_of_name(dtype)  # jnp.float32 and its like


def _require_hashable(value, where: str) -> None:
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{where}: a module's attributes must be hashable, but got {type(value).__name__}. "
            "Use numbers, text, tuples, dictionaries, functions or other modules."
        ) from None


def _kept(argument):
    """A constructor argument as the description remembers it; it may be anything."""
    try:
        return frozen(argument, "")
    except TypeError:
        return Unwritable("an array" if is_array(argument) else f"a {type(argument).__name__}")


# -- identity by content ---------------------------------------------------------------------------


def _fingerprint(described: Described) -> tuple:
    record = described._record
    if record.fingerprint is None:
        record.fingerprint = _content(described, {})
    return record.fingerprint


def _content(value, seen: dict[int, int]):
    """A hashable form in which two descriptions are equal iff they behave alike.

    A module met before is a number: whether two parts are one module or two equal ones decides
    how many parameters there are. The type stands beside a scalar since 1 == 1.0 == True.
    """
    if isinstance(value, Described):
        if id(value) in seen:
            return ("same", seen[id(value)])
        seen[id(value)] = len(seen)
        parts = tuple((name, _content(part, seen)) for name, part in value.__dict__.items())
        return (type(value), parts)
    if isinstance(value, tuple):
        return (type(value), tuple(_content(part, seen) for part in value))
    if isinstance(value, FrozenDict):
        return (FrozenDict, tuple((key, _content(part, seen)) for key, part in value.items()))
    return (type(value), value)


# -- parts and printed form ------------------------------------------------------------------------


def parts(value, path: tuple[str, ...] = ()):
    """Each (path, module) directly inside an attribute's value: itself, or within containers."""
    if isinstance(value, Described):
        yield path, value
    elif isinstance(value, tuple):
        for i, part in enumerate(value):
            yield from parts(part, (*path, str(i)))
    elif isinstance(value, FrozenDict):
        for key, part in value.items():
            yield from parts(part, (*path, str(key)))


def children(described: Described) -> list[tuple[tuple[str, ...], Described]]:
    """Each direct submodule with its path; the attributes named in `inline` add no name."""
    found = []
    for name, value in described.__dict__.items():
        found.extend(parts(value, () if name in described.inline else (name,)))
    return found


def bound_arguments(described: Described) -> inspect.BoundArguments:
    record = described._record
    signature = inspect.signature(type(described).__init__)
    return signature.bind(described, *record.arguments, **record.keywords)


def _headline(described: Described) -> str:
    """The constructor call, without the arguments that are modules."""
    shown: list[str] = []
    bound = bound_arguments(described)
    for name, value in list(bound.arguments.items())[1:]:
        parameter = bound.signature.parameters[name]
        if parameter.kind is parameter.VAR_KEYWORD:
            shown.extend(
                f"{key}={_short(part)}" for key, part in value.items() if not any(parts(part))
            )
        elif not (any(parts(value)) or value is parameter.default):
            required = parameter.default is inspect.Parameter.empty
            shown.append(_short(value) if required else f"{name}={_short(value)}")
    return f"{type(described).__name__}({', '.join(shown)})"


def _short(value) -> str:
    """A function by its name, a dtype as float32, anything else as it prints."""
    return names.name_of_dtype(value) or getattr(value, "__name__", None) or repr(value)


def _lines(described, indent: str, seen: dict[int, str], path: tuple[str, ...], label: str = ""):
    if id(described) in seen:
        yield f"{indent}{label}the same as {seen[id(described)]}"
        return
    seen[id(described)] = "/".join(path) or "the whole"
    yield indent + label + _headline(described)
    for steps, child in children(described):
        yield from _lines(child, indent + "  ", seen, (*path, *steps), "/".join(steps) + ": ")
