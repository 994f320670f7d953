"""From LLVM's text to addresses of functions in this process."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from funcgrad.backends.llvm.target import Target, llvm

_names = itertools.count()
_lock = threading.Lock()
_linkers: dict[Target, Any] = {}


class Compiled:
    """Functions of one module, by name; their code lives as long as this object."""

    def __init__(self, tracker: Any, names: tuple[str, ...]) -> None:
        self._tracker = tracker
        self.addresses = {name: tracker[name] for name in names}


def machine(target: Target) -> Any:
    """LLVM's description of the target."""
    return (
        llvm()
        .Target.from_triple(target.triple)
        .create_target_machine(
            cpu=target.cpu, features=target.features, opt=2, jit=True, codemodel="jitdefault",
            reloc="pic",
        )
    )  # fmt: skip


def object_code(text: str, target: Target) -> bytes:
    """The module compiled to an object file."""
    binding = llvm()
    module = binding.parse_assembly(text)
    module.triple = target.triple
    at = machine(target)
    module.data_layout = str(at.target_data)
    module.verify()
    return at.emit_object(module)


def assembly(text: str, target: Target) -> str:
    """The module in the language of the machine."""
    module = llvm().parse_assembly(text)
    module.triple = target.triple
    return machine(target).emit_assembly(module)


def link(code: bytes, names: tuple[str, ...], target: Target) -> Compiled:
    """An object file in this process."""
    binding = llvm()
    with _lock:
        if target not in _linkers:
            _linkers[target] = binding.create_lljit_compiler(machine(target))
        library = binding.JITLibraryBuilder().add_object_img(code).add_current_process()
        for name in names:
            library = library.export_symbol(name)
        return Compiled(library.link(_linkers[target], f"funcgrad{next(_names)}"), names)


def compiled(text: str, names: tuple[str, ...], target: Target) -> Compiled:
    """The named functions of a module."""
    return link(object_code(text, target), names, target)
