"""What is known of a compiled program: enough to run it, small and plain enough to keep on disk.

A later process that meets the same program reads this, and neither plans nor writes any code.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from funcgrad.backends.llvm import cache, engine
from funcgrad.backends.llvm.canonical import Canonical, Unwritable, numbered
from funcgrad.backends.llvm.engine import Compiled
from funcgrad.backends.llvm.target import Target
from funcgrad.config import config
from funcgrad.core import backend
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var
from funcgrad.util import LOADED

ROOMS = ("core", "primitives", "control", "transforms", "compiler", "backends")


class Slot(NamedTuple):
    """An entry of the table of addresses, and an offset in bytes from there; entry 0 is the
    arena.
    """

    entry: int
    offset: int = 0


class Recipe(NamedTuple):
    """Where values lie, and what runs in which order.

    `parts` are names of native functions and equations for others. `constants` are arrays of inner
    programs, which the code reaches through the table of addresses, behind its `entries`.
    """

    slots: dict[Var, Slot]
    entries: int
    bytes: int  # of the arena
    allocated: list[Var]  # results that need memory
    shared: dict[Var, Var]  # results that take the memory of an argument
    parts: list[str | Eqn]
    constants: list[Any]
    is_long: bool  # other threads should run meanwhile

    @property
    def names(self) -> tuple[str, ...]:
        """The native functions."""
        return tuple(part for part in self.parts if isinstance(part, str))

    def described(self, jaxpr: Jaxpr, arrays: Sequence[Any]) -> dict[str, Any] | None:
        """By numbers: of variables, equations and arrays. None if a constant is none of these."""
        number = {v: n for n, v in enumerate(numbered(jaxpr))}
        equation = {e: n for n, e in enumerate(jaxpr.eqns)}
        place = {id(a): n for n, a in enumerate(arrays)}
        if not all(id(c) in place for c in self.constants):
            return None
        return {
            "slots": [[number[v], *slot] for v, slot in self.slots.items()],
            "entries": self.entries,
            "bytes": self.bytes,
            "allocated": [number[v] for v in self.allocated],
            "shared": [[number[v], number[given]] for v, given in self.shared.items()],
            "parts": [p if isinstance(p, str) else equation[p] for p in self.parts],
            "constants": [place[id(c)] for c in self.constants],
            "is_long": self.is_long,
        }


def recovered(found: dict[str, Any], jaxpr: Jaxpr, arrays: Sequence[Any]) -> Recipe:
    """The recipe that was described."""
    v = numbered(jaxpr)
    return Recipe(
        slots={v[n]: Slot(entry, offset) for n, entry, offset in found["slots"]},
        entries=found["entries"],
        bytes=found["bytes"],
        allocated=[v[n] for n in found["allocated"]],
        shared={v[n]: v[given] for n, given in found["shared"]},
        parts=[p if isinstance(p, str) else jaxpr.eqns[p] for p in found["parts"]],
        constants=[arrays[n] for n in found["constants"]],
        is_long=found["is_long"],
    )


def known(jaxpr: Jaxpr, donated: Sequence[bool], target: Target) -> tuple[Recipe, Compiled]:
    """The program as it lies on disk, else compiled."""
    shelf = Shelf(jaxpr, donated, target)
    found = shelf.find()
    if found is None:
        found = backend.load("assembly").assembled(jaxpr, donated, target)
        shelf.put(*found)
    return found


class Shelf:
    """The place on disk for one program; there is none for programs that cannot be written down, or
    if nothing is to be kept.
    """

    def __init__(self, jaxpr: Jaxpr, donated: Sequence[bool], target: Target) -> None:
        self.jaxpr, self.target, self.key = jaxpr, target, ""
        if not config.current().enable_compilation_cache:
            return
        try:
            written = Canonical(jaxpr)
        except Unwritable:
            return
        settings = repr(config.current().trace_key.values)
        parts = ("program", compiler(), settings, tuple(donated), written.text)
        if compiler():
            self.key, self.arrays = engine.key_of(target, *parts), written.arrays

    def find(self) -> tuple[Recipe, Compiled] | None:
        """What an earlier process has put there."""
        data = cache.get(self.key) if self.key else None
        if data is None:
            return None
        found = json.loads(data)
        recipe = recovered(found, self.jaxpr, self.arrays)
        code = engine.from_disk(found["code"], recipe.names, self.target)
        return None if code is None else (recipe, code)

    def put(self, recipe: Recipe, code: Compiled) -> None:
        """Leaves a program there for others."""
        found = recipe.described(self.jaxpr, self.arrays) if self.key else None
        if found is not None and state_of_files() == compiler():
            cache.put(self.key, json.dumps({**found, "code": code.key}).encode())


@functools.lru_cache(maxsize=1)
def compiler() -> str:
    """What stands for this version of the compiler; "" if that cannot be told."""
    return state_of_files()


def state_of_files() -> str:
    """A digest of what the files of the compiler are; "" if they were written after they had been
    loaded, or if there are none, as in an archive.
    """
    try:
        found = list(_files())
        times = {changed for _, _, changed in found}
        if not found or max(times) > LOADED:
            return ""
        alike = len(times) == 1  # by a build that sets all times, for this version and the next
        return cache.key_of((*found, *(_content(path) for path, _, _ in found if alike)))
    except OSError:
        return ""


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _files() -> Iterator[tuple[str, int, int]]:
    """Path, size and time of each."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    pending = [os.path.join(package, room) for room in ROOMS]
    while pending:
        with os.scandir(pending.pop()) as listed:
            for file in sorted(listed, key=lambda file: file.name):
                if file.name.endswith(".py"):
                    found = file.stat()
                    yield file.path, found.st_size, found.st_mtime_ns
                elif "." not in file.name and file.is_dir():
                    pending.append(file.path)
