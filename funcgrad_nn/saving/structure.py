"""A tree as JSON: its containers, its static values, and for each array where its bytes are.

Rebuilding imports nothing and calls nothing but the constructors of containers that are already
known here as nodes of trees, and `Module.from_json` for descriptions. So a hostile text can build
containers of arrays, and nothing else.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import tree_util
from funcgrad.dtypes import issubdtype, prng_key
from funcgrad_nn.description import Described
from funcgrad_nn.module import Module
from funcgrad_nn.saving.safetensors import METADATA

STATIC = (bool, int, float, complex, str, bytes)
FACTORIES = {"list": list, "dict": dict, "int": int, "float": float, "set": set}
COMPLEX = {"complex64": "float32", "complex128": "float64"}

# -- names -----------------------------------------------------------------------------------------


def step_name(key) -> str:
    """One step of a path as text: a dictionary's key, a field's name or a position.

    Steps are joined by "/", so that character is escaped, as in JSON pointers (RFC 6901).
    """
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return escaped(str(getattr(key, attribute)))
    return str(key)


def escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def joined(path: tuple[str, ...]) -> str:
    """`encoder/0/weight`: the name under which a leaf is stored and spoken of."""
    name = "/".join(path)
    return "~2" if name == METADATA else name


# -- leaves ----------------------------------------------------------------------------------------


def is_array(leaf) -> bool:
    return isinstance(leaf, (np.ndarray, np.generic, fg.Array))


def array_leaf(leaf, name: str) -> tuple[dict, np.ndarray]:
    """How an array is described, and its bytes as an array of a dtype that files know."""
    if isinstance(leaf, fg.Array) and issubdtype(leaf.dtype, prng_key):
        implementation = str(fg.random.key_impl(leaf))
        return {"array": name, "key": implementation}, np.asarray(fg.random.key_data(leaf))
    array = np.asarray(leaf)
    described: dict[str, Any] = {"array": name, "dtype": array.dtype.name}
    if isinstance(leaf, fg.Array):
        if leaf.weak_type:
            described["weak"] = True
    else:
        described["host"] = "scalar" if isinstance(leaf, np.generic) else "array"
    if array.dtype.name in COMPLEX:
        parts = np.stack([array.real, array.imag], axis=-1)
        return described, parts.astype(COMPLEX[array.dtype.name])
    return described, array


def restored(described: Mapping, stored: np.ndarray) -> Any:
    """The array, NumPy array, NumPy scalar or key that `array_leaf` described."""
    if "key" in described:
        return fg.random.wrap_key_data(jnp.asarray(stored), impl=described["key"])
    dtype = described["dtype"]
    if dtype in COMPLEX:
        if stored.dtype.name != COMPLEX[dtype] or stored.shape[-1] != 2:
            raise ValueError(f"{dtype} needs pairs of {COMPLEX[dtype]}")
        stored = np.ascontiguousarray(stored).view(dtype)[..., 0]
    if stored.dtype.name != dtype:
        raise ValueError(f"described as {dtype}, stored as {stored.dtype.name}")
    host = described.get("host")
    if host is not None:
        return stored[()] if host == "scalar" and stored.ndim == 0 else stored
    array = jnp.asarray(stored, dtype=stored.dtype)
    return _weakened(array) if described.get("weak") is True else array


def _weakened(array):
    """The same values as a weak array, which gives way to the dtype of what it meets."""
    zero = jnp.asarray(stand_in(array.dtype))
    if zero.dtype != array.dtype:
        return array  # weak under another default width; it stays what it is
    return jnp.broadcast_to(zero, array.shape).at[...].set(array)


def stand_in(dtype) -> bool | int | float | complex:
    """A Python number of the kind of a dtype."""
    return {"i": 0, "u": 0, "c": 0j, "b": False}.get(np.dtype(dtype).kind, 0.0)


def static_leaf(leaf, name: str) -> Any:
    """A number, text or description as JSON; anything else has no safe form."""
    if isinstance(leaf, Module):
        return {"module": leaf.to_json(indent=None)}
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return {"float": repr(leaf)}
    if isinstance(leaf, complex):
        return {"complex": [static_leaf(part, name) for part in (leaf.real, leaf.imag)]}
    if isinstance(leaf, bytes):
        return {"bytes": leaf.hex()}
    if type(leaf) in STATIC:
        return leaf
    raise TypeError(
        f"save: {name or 'the tree'!r} is a {type(leaf).__name__}, which has no safe form in a "
        "file. A tree to be saved has arrays, keys, numbers, text and modules as leaves."
    )


# -- writing ---------------------------------------------------------------------------------------


class Writer:
    """Turns a tree into JSON and collects its arrays by name."""

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}

    def write(self, node, path: tuple[str, ...] = ()) -> Any:
        kind = type(node)
        if node is None:
            return None
        if isinstance(node, Described) or not tree_util.is_tree_node(kind):
            return self._leaf(node, joined(path))
        pairs, _ = tree_util.flatten_one_level_with_keys(node)
        children = [self.write(child, (*path, step_name(key))) for key, child in pairs]
        if kind in (list, tuple):
            return {kind.__name__: children}
        if isinstance(node, dict):
            return self._dictionary(node, dict(zip(_keys(pairs), children)), joined(path))
        return self._named(node, pairs, children, joined(path))

    def _leaf(self, leaf, name: str) -> Any:
        if not is_array(leaf):
            return static_leaf(leaf, name)
        described, self.tensors[name] = array_leaf(leaf, name)
        return described

    def _dictionary(self, node: dict, children: dict, name: str) -> dict:
        entries: Any = [[static_leaf(key, name), children[key]] for key in node]  # its own order
        if all(isinstance(key, str) for key in node):
            entries = dict(entries)
        if isinstance(node, collections.defaultdict):
            return {"defaultdict": entries, "factory": _factory_name(node, name)}
        return {"OrderedDict" if isinstance(node, collections.OrderedDict) else "dict": entries}

    def _named(self, node, pairs, children: list, name: str) -> dict:
        """A namedtuple or another registered node: its class's name and its children by name."""
        kind = type(node)
        fields = {step_name(key): child for (key, _), child in zip(pairs, children, strict=True)}
        written = {"class": f"{kind.__module__}:{kind.__qualname__}", "fields": fields}
        if is_namedtuple(kind):
            return written
        if not dataclasses.is_dataclass(kind):
            return {**written, "opaque": True}
        others = (f.name for f in dataclasses.fields(kind) if f.init and f.name not in fields)
        return {**written, "static": {n: self._static(getattr(node, n), name) for n in others}}

    def _static(self, value, name: str) -> Any:
        if isinstance(value, (tuple, list)):
            return {type(value).__name__: [self._static(part, name) for part in value]}
        return None if value is None else static_leaf(value, name)


def _keys(pairs) -> list:
    return [key.key for key, _ in pairs]


def _factory_name(node: collections.defaultdict, name: str) -> str | None:
    if node.default_factory is None:
        return None
    for known, factory in FACTORIES.items():
        if node.default_factory is factory:
            return known
    raise TypeError(
        f"save: {name or 'the tree'!r} is a defaultdict whose factory has no safe form in a file; "
        f"known are {', '.join(FACTORIES)}. Save dict(...) of it."
    )


def is_namedtuple(kind: type) -> bool:
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


# -- reading ---------------------------------------------------------------------------------------


class Reader:
    """Turns JSON back into a tree; `leaf(described)` gives each array, from wherever it is."""

    def __init__(self, where: str, leaf: Callable[[Mapping], Any], functions=None):
        self.where, self.leaf, self.functions = where, leaf, functions

    def read(self, node) -> Any:
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if not isinstance(node, dict):
            raise self._refusal("a list stands where a value should")
        for form in FORMS:
            if form in node:
                return FORMS[form](self, node)
        raise self._refusal(f"an unknown form: {sorted(node)[:3]}")

    def _refusal(self, why: str) -> ValueError:
        return ValueError(f"{self.where}: the structure has {why}.")

    def _array(self, node: dict) -> Any:
        if not isinstance(node["array"], str) or not isinstance(
            node.get("key", node.get("dtype")), str
        ):
            raise self._refusal("an array without name or dtype")
        try:
            return self.leaf(node)
        except (TypeError, ValueError, IndexError) as error:
            raise self._refusal(f"an array that does not fit its bytes: {error}") from None

    def _list(self, node: dict) -> list:
        return [self.read(child) for child in self._of(node, "list", list)]

    def _tuple(self, node: dict) -> tuple:
        return tuple(self.read(child) for child in self._of(node, "tuple", list))

    def _dict(self, node: dict) -> dict:
        return self._entries(node["dict"])

    def _ordered(self, node: dict) -> dict:
        return collections.OrderedDict(self._entries(node["OrderedDict"]))

    def _default(self, node: dict) -> dict:
        factory = node.get("factory")
        if factory is not None and (not isinstance(factory, str) or factory not in FACTORIES):
            raise self._refusal("an unknown factory")
        made = FACTORIES[factory] if factory is not None else None
        return collections.defaultdict(made, self._entries(node["defaultdict"]))

    def _entries(self, entries) -> dict:
        if isinstance(entries, dict):
            return {key: self.read(child) for key, child in entries.items()}
        if not isinstance(entries, list) or not all(
            isinstance(pair, list) and len(pair) == 2 for pair in entries
        ):
            raise self._refusal("a dictionary that is none")
        keys = [self.read(key) for key, _ in entries]
        if not all(isinstance(key, STATIC) for key in keys) or len(set(keys)) != len(keys):
            raise self._refusal("a dictionary with odd or repeated keys")
        return {key: self.read(child) for key, (_, child) in zip(keys, entries, strict=True)}

    def _class(self, node: dict) -> Any:
        kind = class_named(self._of(node, "class", str), self.where)
        fields = {name: self.read(child) for name, child in self._of(node, "fields", dict).items()}
        if is_namedtuple(kind):
            if tuple(fields) != kind._fields:  # type: ignore[attr-defined]
                raise self._refusal(f"other fields than {kind.__name__} has here: {list(fields)}")
            return tuple.__new__(kind, fields.values())
        if node.get("opaque") or not dataclasses.is_dataclass(kind):
            raise ValueError(
                f"{self.where}: a {kind.__name__} is no dataclass and no namedtuple, so a file "
                "cannot rebuild it. Pass like= a tree of the same structure."
            )
        static = self._of(node, "static", dict)
        return self._dataclass(kind, {**fields, **{n: self.read(v) for n, v in static.items()}})

    def _dataclass(self, kind: type, fields: dict) -> Any:
        """A dataclass registered as a node; its own constructor judges the fields."""
        try:
            return kind(**fields)
        except (TypeError, ValueError) as error:
            raise self._refusal(f"a {kind.__name__} that its class refuses ({error})") from error

    def _module(self, node: dict) -> Module:
        try:
            return Module.from_json(self._of(node, "module", str), self.functions)
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from error

    def _float(self, node: dict) -> float:
        if node["float"] not in ("inf", "-inf", "nan"):
            raise self._refusal("a float that is none")
        return float(node["float"])

    def _complex(self, node: dict) -> complex:
        parts = [self.read(part) for part in self._of(node, "complex", list)]
        if len(parts) != 2 or not all(isinstance(part, float) for part in parts):
            raise self._refusal("a complex number that is none")
        return complex(*parts)

    def _bytes(self, node: dict) -> bytes:
        try:
            return bytes.fromhex(self._of(node, "bytes", str))
        except ValueError:
            raise self._refusal("bytes that are not hexadecimal") from None

    def _of(self, node: dict, name: str, kind: type) -> Any:
        if not isinstance(node.get(name), kind):
            raise self._refusal(f"{name!r} that is not a {kind.__name__}")
        return node[name]


FORMS: dict[str, Callable[[Reader, dict], Any]] = {
    "array": Reader._array,
    "dict": Reader._dict,
    "list": Reader._list,
    "tuple": Reader._tuple,
    "class": Reader._class,
    "OrderedDict": Reader._ordered,
    "defaultdict": Reader._default,
    "module": Reader._module,
    "float": Reader._float,
    "complex": Reader._complex,
    "bytes": Reader._bytes,
}


def leaves_by_path(node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The leaves of a written tree, still written, each with its path."""
    if node is None:
        return
    children = _written_children(node)
    if children is None:
        yield path, node
        return
    for name, child in children:
        yield from leaves_by_path(child, (*path, name))


def _written_children(node) -> Iterable[tuple[str, Any]] | None:
    """The named children of a written container, or None for a leaf."""
    if not isinstance(node, dict):
        return None
    for form in ("list", "tuple"):
        if isinstance(node.get(form), list):
            return [(str(i), child) for i, child in enumerate(node[form])]
    for form in ("dict", "OrderedDict", "defaultdict", "fields"):
        entries = node.get(form)
        if isinstance(entries, dict):
            return [(escaped(name), child) for name, child in entries.items()]
        if isinstance(entries, list):
            return [(escaped(str(key)), child) for key, child in entries]
    return None


def class_named(name: str, where: str) -> type:
    """A class of nodes that some module already imported defines; nothing is imported or run.

    Names are looked up in dictionaries alone: a module's `__getattr__` might do anything.
    """
    module, _, qualified = name.partition(":")
    found: Any = sys.modules.get(module)
    for step in qualified.split("."):
        found = getattr(found, "__dict__", {}).get(step)
    if isinstance(found, type) and (is_namedtuple(found) or tree_util.is_tree_node(found)):
        return found
    raise ValueError(
        f"{where}: the tree has a node of class {name[:120]!r}, which is not defined here. Import "
        "the module that defines it first, or pass like= a tree of the same structure."
    )
