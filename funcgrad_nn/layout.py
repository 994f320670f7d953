"""Where each module of a description lives, and nested dictionaries that follow those paths."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import funcgrad as fg
from funcgrad_nn.description import Described, children, is_array

Path = tuple[str, ...]


def layout_of(module: Described) -> list[tuple[Path, Any]]:
    """(path, module) for every distinct module, outermost first; a shared one at its first path."""
    cache = module._record.cache
    if "layout" not in cache:
        found: dict[int, tuple[Path, Described]] = {}
        _walk(module, (), found)
        cache["layout"] = list(found.values())
        _require_distinct(module, cache["layout"])
    return cache["layout"]


def _walk(module: Described, path: Path, found: dict[int, tuple[Path, Described]]) -> None:
    if id(module) in found:
        return
    found[id(module)] = (path, module)
    for steps, child in children(module):
        _walk(child, (*path, *steps), found)


def _require_distinct(module: Described, layout: list[tuple[Path, Described]]) -> None:
    seen: set[Path] = set()
    for path, _ in layout:
        if path in seen:
            raise ValueError(
                f"{type(module).__name__}: two submodules are both named "
                f"'{'/'.join(path)}'. Rename one."
            )
        seen.add(path)


def key_at(key, path: Path):
    """The key of the module at `path`: 31 bits of a checksum of the path are folded in."""
    return fg.random.fold_in(key, zlib.crc32("/".join(path).encode()) & 0x7FFFFFFF)


def parameters_at(module: Described, key, path: Path, had_inputs: bool) -> dict:
    if module.open:
        where = f" at '{'/'.join(path)}'" if path else ""
        why = (
            "forward did not call it on the example input."
            if had_inputs
            else "Pass an example input or its shape: model.init(key, (1, 784))."
        )
        raise ValueError(
            f"init: the input size of {type(module).__name__}{where} is unknown. {why}"
        )
    return module.parameters(key_at(key, path))


def place(tree: dict, path: Path, entries: Mapping) -> None:
    """Put a module's entries into the nested dictionary; modules without any leave no trace."""
    if not entries:
        return
    for name in path:
        tree = tree.setdefault(name, {})
        if is_array(tree):
            raise ValueError(
                f"init: '{'/'.join(path)}' is both a parameter and a submodule. Rename one."
            )
    tree.update(entries)


def updated(tree: Mapping, path: Path, entries: Mapping) -> dict:
    if not path:
        return {**tree, **entries}
    head, *rest = path
    return {**tree, head: updated(tree.get(head, {}), tuple(rest), entries)}
