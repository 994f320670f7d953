"""Object files of Linux on x86-64 as code in this process, without LLVM.

A process that finds its code on disk needs nothing of a compiler but this: sections are copied
into memory and addresses are filled in, as the System V ABI's supplement for AMD64 says (section
4.4, relocation). What is not known here raises `Unsupported`, and LLVM's linker takes over.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little endian
X86_64 = 62
PLATFORM = sys.platform == "linux" and platform.machine() == "x86_64"
PROGBITS, SYMBOLS, RELOCATIONS, NO_BITS = 1, 2, 4, 8
X86_64_UNWIND = 0x70000001
ALLOCATED = 2
GLOBAL = 16  # of a symbol's info, the bits for binding

# Relocations of code for any place in memory: how far something is from the table of addresses, its
# entry there, and the table from the code.
GOTOFF64, GOT64, GOTPC64 = 25, 27, 29


class Unsupported(Exception):
    """An object file that this linker does not understand."""


class Section(NamedTuple):
    """A section header: where its content lies in the file, and what it is for."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class Symbol(NamedTuple):
    """A name of the file: its section and its place there; in section 0 it is somebody else's."""

    name: str
    info: int
    section: int
    value: int


class Object:
    """An object file in memory; the code lives as long as this object."""

    def __init__(self, data: bytes) -> None:
        if data[:7] != MAGIC or struct.unpack_from("<HH", data, 16) != (1, X86_64):
            raise Unsupported("no object file of this machine")
        self.data = data
        start, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
        self.sections = [
            Section(*struct.unpack_from("<IIQQQQIIQQ", data, start + 64 * n)) for n in range(count)
        ]
        self.symbols = self._symbols()
        self.relocations = list(self._relocations())
        self.places = self._places()
        kind, allowed = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE
        self.memory = mmap.mmap(-1, self.size, flags=kind, prot=allowed)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self._fill()
        self._protect()

    def __getitem__(self, name: str) -> int:
        """The address of a function; raises Unsupported if there is none."""
        for symbol in self.symbols:
            if symbol.name == name and symbol.section in self.places and symbol.info & GLOBAL:
                return self.base + self.places[symbol.section] + symbol.value
        raise Unsupported(f"there is no function {name}")

    # ---- reading

    def _symbols(self) -> list[Symbol]:
        tables = [s for s in self.sections if s.kind == SYMBOLS]
        if len(tables) != 1:
            raise Unsupported("no table of symbols")
        (table,) = tables
        texts = self.sections[table.link].offset
        found = []
        for at in range(table.offset, table.offset + table.size, 24):
            name, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", self.data, at)
            end = self.data.index(b"\0", texts + name)
            found.append(Symbol(self.data[texts + name : end].decode(), info, section, value))
        return found

    def _is_loaded(self, section: Section) -> bool:
        if section.kind == X86_64_UNWIND or not section.flags & ALLOCATED:
            return False
        if section.kind not in (PROGBITS, NO_BITS):
            raise Unsupported(f"a section of kind {section.kind}")
        return not self._is_unwinding(section)

    def _is_unwinding(self, section: Section) -> bool:
        texts = self.sections[struct.unpack_from("<H", self.data, 62)[0]].offset
        return self.data[texts + section.name :].startswith(b".eh_frame\0")

    def _relocations(self) -> Sequence[tuple[int, int, int, int, int]]:
        """Section, place in it, type, number of the symbol, addend."""
        found = []
        for section in self.sections:
            if section.kind == RELOCATIONS and self._is_loaded(self.sections[section.info]):
                for at in range(section.offset, section.offset + section.size, 24):
                    place, info, addend = struct.unpack_from("<QQq", self.data, at)
                    found.append((section.info, place, info & 0xFFFFFFFF, info >> 32, addend))
        return found

    # ---- placing

    def _places(self) -> dict[int, int]:
        """Offsets of sections; then comes the table of addresses of the symbols that are used."""
        offset, places = 0, {}
        for n, section in enumerate(self.sections):
            if self._is_loaded(section):
                offset = -(-offset // max(section.alignment, 1)) * max(section.alignment, 1)
                places[n] = offset
                offset += section.size
        used = list(dict.fromkeys(symbol for _, _, _, symbol, _ in self.relocations))
        self.table = -(-offset // 16) * 16
        self.entries = {symbol: self.table + 8 * n for n, symbol in enumerate(used)}
        self.size = max(self.table + 8 * len(used), 1)
        return places

    def _address(self, number: int) -> int:
        symbol = self.symbols[number]
        if symbol.section in self.places:
            return self.base + self.places[symbol.section] + symbol.value
        if symbol.name == "_GLOBAL_OFFSET_TABLE_":
            return self.base + self.table
        if symbol.section != 0:
            raise Unsupported(f"the symbol {symbol.name}")
        return address_of(symbol.name)

    def _fill(self) -> None:
        for n, at in self.places.items():
            section = self.sections[n]
            if section.kind != NO_BITS:
                content = self.data[section.offset : section.offset + section.size]
                self.memory[at : at + section.size] = content
        addresses = {symbol: self._address(symbol) for symbol in self.entries}
        for symbol, address in addresses.items():
            struct.pack_into("<Q", self.memory, self.entries[symbol], address)
        for target, place, kind, symbol, addend in self.relocations:
            at = self.places[target] + place
            value = self._value(kind, symbol, addresses[symbol], at) + addend
            struct.pack_into("<Q", self.memory, at, value & (1 << 64) - 1)

    def _value(self, kind: int, symbol: int, address: int, at: int) -> int:
        """What a relocation says, without its addend."""
        if kind == GOTOFF64:
            return address - (self.base + self.table)
        if kind == GOT64:
            return self.entries[symbol] - self.table
        if kind == GOTPC64:
            return self.table - at
        raise Unsupported(f"a relocation of kind {kind}")

    def _protect(self) -> None:
        """From now on the memory can be run, and not written."""
        function = ctypes.CDLL(None).mprotect
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        size = -(-self.size // mmap.PAGESIZE) * mmap.PAGESIZE
        if function(self.base, size, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            raise Unsupported("memory that can be run is not allowed")


def address_of(name: str) -> int:
    """The address of a function of C's library in this process."""
    for library in (None, "libm.so.6"):
        try:
            found = getattr(ctypes.CDLL(library), name)
        except (AttributeError, OSError):
            continue
        return ctypes.cast(found, ctypes.c_void_p).value or 0
    raise Unsupported(f"nobody defines {name}")
