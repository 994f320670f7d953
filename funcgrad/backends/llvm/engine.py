"""From LLVM's text to addresses of functions in this process."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

from funcgrad.backends.llvm import cache, elf
from funcgrad.backends.llvm.target import Target, llvm

FORMAT = 2  # of how functions are compiled and called; a part of every key

# Passes of LLVM that take a third of its time and gain a few hundredths of the program's, so that
# they are left out unless that runs long (`thorough`). Loops are written with the multiples that
# they need (`Builder.loop`); processors reorder instructions themselves.
DEAR_PASSES = ("disable-lsr", "disable-post-ra")
KNOWN_LLVM = range(20, 23)  # an option that LLVM does not know ends the process

_names = itertools.count()
_lock = threading.Lock()
_linkers: dict[Target, Any] = {}


class Compiled:
    """Functions of one module, by name; their code lives as long as this object.

    `key` is their name on disk, `from_disk` says that an earlier process has compiled them.
    """

    def __init__(self, tracker: Any, names: tuple[str, ...]) -> None:
        self._tracker = tracker
        self.addresses = {name: tracker[name] for name in names}
        self.key, self.from_disk = "", False


def machine(target: Target) -> Any:
    """LLVM's description of the target.

    Code and tables may come to lie gigabytes apart. On ARM with ELF only code for known addresses
    can bridge that: code for any place reaches 4 GB, and the linker would not complain.
    """
    apart = target.is_arm and "linux" in target.triple
    return (
        llvm()
        .Target.from_triple(target.triple)
        .create_target_machine(
            cpu=target.cpu, features=target.features, opt=2, jit=True, codemodel="jitdefault",
            reloc="static" if apart else "pic",
        )
    )  # fmt: skip


def object_code(text: str, target: Target, thorough: bool = False) -> bytes:
    """The module compiled to an object file."""
    binding = llvm()
    module = binding.parse_assembly(text)
    module.triple = target.triple
    at = machine(target)
    module.data_layout = str(at.target_data)
    module.verify()
    with contextlib.nullcontext() if thorough else _few_passes(target):
        return at.emit_object(module)


def assembly(text: str, target: Target, thorough: bool = False) -> str:
    """The module in the language of the machine."""
    module = llvm().parse_assembly(text)
    module.triple = target.triple
    with contextlib.nullcontext() if thorough else _few_passes(target):
        return machine(target).emit_assembly(module)


@contextlib.contextmanager
def _few_passes(target: Target) -> Iterator[None]:
    """Without the passes that pay for little, as measured on x86. Options are LLVM's own and hold
    for all of the process, so they are set back at once.
    """
    binding = llvm()
    if not target.is_x86 or binding.llvm_version_info[0] not in KNOWN_LLVM:
        yield
        return
    with _lock:
        try:
            for name in DEAR_PASSES:
                binding.set_option("funcgrad", f"-{name}=true")
            yield
        finally:
            for name in DEAR_PASSES:
                binding.set_option("funcgrad", f"-{name}=false")


def link(code: bytes, names: tuple[str, ...], target: Target) -> Compiled:
    """An object file in this process."""
    binding = llvm()
    with _lock:
        library = binding.JITLibraryBuilder().add_object_img(code).add_current_process()
        for name in names:
            library = library.export_symbol(name)
        if target not in _linkers:
            _linkers[target] = binding.create_lljit_compiler(machine(target))
        return Compiled(library.link(_linkers[target], f"funcgrad{next(_names)}"), names)


def linker(target: Target) -> Any:
    """What holds the code that LLVM has linked for a target; None if it has linked none."""
    return _linkers.get(target)


def key_of(target: Target, *parts: object) -> str:
    """The name on disk of what these parts become on this machine, with this compiler."""
    return cache.key_of((FORMAT, *target, *parts))


def from_disk(key: str, names: tuple[str, ...], target: Target) -> Compiled | None:
    """The named functions of an object file that is kept under this key, if there is one."""
    code = cache.get(key)
    if code is None:
        return None
    try:
        found = _loaded(code, names, target)
    except RuntimeError:  # it lacks a function: not what it should be
        return None
    found.key, found.from_disk = key, True
    return found


def _loaded(code: bytes, names: tuple[str, ...], target: Target) -> Compiled:
    """An object file in this process: without LLVM, which takes long to load, where possible."""
    if elf.PLATFORM and target.is_x86:
        try:
            return Compiled(elf.Object(code), names)
        except elf.Unsupported:
            pass
    return link(code, names, target)


def compiled(text: str, names: tuple[str, ...], target: Target, thorough: bool = False) -> Compiled:
    """The named functions of a module; from disk if it was compiled before."""
    key = key_of(target, "thorough object" if thorough else "object", text)
    found = from_disk(key, names, target)
    if found is None:
        code = object_code(text, target, thorough)
        cache.put(key, code)
        found = link(code, names, target)
        found.key = key
    return found
