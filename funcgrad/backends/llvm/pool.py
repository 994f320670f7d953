"""Memory for results and for arenas: blocks that begin at multiples of 64 bytes, kept when they
are given back.

Fresh memory of megabytes is dear, since the system clears every page at its first use; a block that
was used before has its pages. The code runs while the interpreter's lock is held, so it takes none.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.objects import function
from funcgrad.backends.llvm.records import NULL, address, call, is_null, pointer, put, word

LIMIT = 1 << 29  # bytes that are kept; beyond, everything that is kept goes back to the system
CLASSES = 512  # sizes of blocks: eight between a power of two and the next
HEADER = 64  # bytes before each block

# words of the pool
MALLOC, FREE, KEPT, BOUND, LENT, LISTS = range(6)
# words of a block's header
RAW, CLASS, CAPACITY, NEXT = range(4)


def emit_pool(module: Module) -> None:
    """Adds `pool_take(pool, size)`, which returns null if there is no memory left, and
    `pool_give(pool, block)`.
    """
    module.function("pool_fresh", [PTR, I64, I64], PTR, _fresh)
    module.function("pool_take", [PTR, I64], PTR, _take)
    module.function("pool_flush", [PTR], None, _flush)
    module.function("pool_give", [PTR, PTR], None, _give)


def _size_class(b: Builder, size: Value) -> tuple[Value, Value]:
    """The number of the smallest class that has room for so many bytes, and that room."""
    one = b.const(1, I64)
    size = b.select(b.icmp("sgt", size, b.const(0, I64)), size, one)
    units = b.lshr(b.sub(size, one), 6)
    zeros = b.emit(f"call i64 @llvm.ctlz.i64(i64 {b.or_(units, one).text}, i1 true)", I64)
    b.module.declare("llvm.ctlz.i64", "i64", "i64, i1")
    shift = b.sub(b.const(60, I64), zeros)
    shift = b.select(b.icmp("sgt", shift, b.const(0, I64)), shift, b.const(0, I64))
    digit = b.lshr(units, shift)
    room = b.shl(b.shl(b.add(digit, one), shift), 6)
    return b.add(b.shl(shift, 3), digit), room


def _take(b: Builder, pool: Value, size: Value) -> Value:
    which, room = _size_class(b, size)
    head = b.element(pool, b.add(which, b.const(LISTS, I64)), "i64")
    first = b.load(head, PTR)

    def kept() -> list[Value]:
        header = address(b, first, -HEADER)
        b.store(pointer(b, header, NEXT), head)
        put(b, b.sub(word(b, pool, KEPT), room), pool, KEPT)
        return [first]

    def fresh() -> list[Value]:
        return [b.call("pool_fresh", PTR, [pool, which, room])]

    (found,) = b.branch(is_null(b, first), fresh, kept)
    one = b.cast("zext", b.icmp("ne", found, NULL), "i64")
    put(b, b.add(word(b, pool, LENT), one), pool, LENT)
    return found


def _fresh(b: Builder, pool: Value, which: Value, room: Value) -> Value:
    total = b.add(room, b.const(2 * HEADER, I64))
    raw = call(b, pointer(b, pool, MALLOC), PTR, [total])

    def made() -> list[Value]:
        start = b.emit(f"ptrtoint {raw} to i64", I64)
        block = b.and_(b.add(start, b.const(2 * HEADER - 1, I64)), b.const(-64, I64))
        header = address(b, raw, b.sub(b.sub(block, start), b.const(HEADER, I64)))
        put(b, raw, header, RAW)
        put(b, which, header, CLASS)
        put(b, room, header, CAPACITY)
        return [address(b, header, HEADER)]

    (found,) = b.branch(is_null(b, raw), lambda: [NULL], made)
    return found


def _give(b: Builder, pool: Value, block: Value) -> None:
    header = address(b, block, -HEADER)
    room, bound = word(b, header, CAPACITY), word(b, pool, BOUND)
    put(b, b.sub(word(b, pool, LENT), b.const(1, I64)), pool, LENT)
    full = b.icmp("sgt", b.add(word(b, pool, KEPT), room), bound)
    b.when(full, lambda: b.call("pool_flush", None, [pool]))

    def keep() -> list[Value]:
        head = b.element(pool, b.add(word(b, header, CLASS), b.const(LISTS, I64)), "i64")
        put(b, b.load(head, PTR), header, NEXT)
        b.store(block, head)
        put(b, b.add(word(b, pool, KEPT), room), pool, KEPT)
        return []

    def release() -> list[Value]:
        call(b, pointer(b, pool, FREE), None, [pointer(b, header, RAW)])
        return []

    b.branch(b.icmp("sgt", room, bound), release, keep)


def _flush(b: Builder, pool: Value) -> None:
    def each(i: Value, _: list[Value]) -> None:
        head = b.element(pool, b.add(i, b.const(LISTS, I64)), "i64")

        def filled(held: list[Value]) -> Value:
            return b.icmp("ne", held[0], NULL)

        def release(held: list[Value]) -> list[Value]:
            header = address(b, held[0], -HEADER)
            following = pointer(b, header, NEXT)
            call(b, pointer(b, pool, FREE), None, [pointer(b, header, RAW)])
            return [following]

        b.while_([b.load(head, PTR)], filled, release)
        b.store(NULL, head)

    b.loop(0, CLASSES, 1, [], each)
    put(b, b.const(0, I64), pool, KEPT)


# ---- NumPy's memory


def emit_handler(module: Module) -> None:
    """Adds what NumPy calls for the memory of arrays that lie in the pool."""
    module.function(
        "array_malloc", [PTR, I64], PTR, lambda b, p, n: b.call("pool_take", PTR, [p, n])
    )
    module.function("array_calloc", [PTR, I64, I64], PTR, _calloc)
    module.function("array_realloc", [PTR, PTR, I64], PTR, _realloc)
    module.function("array_free", [PTR, PTR, I64], None, _free)


def _calloc(b: Builder, pool: Value, count: Value, size: Value) -> Value:
    total = b.mul(count, size)
    block = b.call("pool_take", PTR, [pool, total])
    name = "llvm.memset.p0.i64"
    b.module.declare(name, "void", "ptr, i8, i64, i1")

    def clear() -> None:
        b.do(f"call void @{name}({block}, i8 0, {total}, i1 false)")

    b.when(b.icmp("ne", block, NULL), clear)
    return block


def _realloc(b: Builder, pool: Value, old: Value, size: Value) -> Value:
    block = b.call("pool_take", PTR, [pool, size])
    name = "llvm.memcpy.p0.p0.i64"
    b.module.declare(name, "void", "ptr, ptr, i64, i1")

    def move() -> None:
        room = word(b, address(b, old, -HEADER), CAPACITY)
        count = b.select(b.icmp("slt", room, size), room, size)
        b.do(f"call void @{name}({block}, {old}, {count}, i1 false)")
        b.call("pool_give", None, [pool, old])

    both = b.and_(b.icmp("ne", block, NULL), b.icmp("ne", old, NULL))
    b.when(both, move)
    return block


def _free(b: Builder, pool: Value, block: Value, size: Value) -> None:
    b.when(b.icmp("ne", block, NULL), lambda: b.call("pool_give", None, [pool, block]))


HANDLER = ("array_malloc", "array_calloc", "array_realloc", "array_free")
NAME = b"funcgrad_pool"


class _Allocator(ctypes.Structure):
    """NumPy's PyDataMemAllocator."""

    _fields_ = [(n, ctypes.c_void_p) for n in ("ctx", "malloc", "calloc", "realloc", "free")]


class _Handler(ctypes.Structure):
    """NumPy's PyDataMem_Handler."""

    _fields_ = [
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", _Allocator)
    ]  # fmt: skip


class Pool:
    """The pool of this process: its words, and the object by which NumPy knows whose memory an
    array has.
    """

    def __init__(self, addresses: dict[str, int]) -> None:
        self.words = np.zeros(LISTS + CLASSES, np.int64)
        self.address = self.words.ctypes.data
        for n, name in ((MALLOC, "PyMem_RawMalloc"), (FREE, "PyMem_RawFree")):
            self.words[n] = function(name)
        self.words[BOUND] = LIMIT
        functions = [addresses[name] for name in HANDLER]
        self._handler = _Handler(NAME, 1, _Allocator(self.address, *functions))
        self.capsule = _capsule(ctypes.addressof(self._handler))

    @property
    def kept(self) -> int:
        """Bytes that wait to be used again."""
        return int(self.words[KEPT])

    @property
    def lent(self) -> int:
        """Blocks in use."""
        return int(self.words[LENT])

    def bound(self, limit: int) -> None:
        """Sets how many bytes may be kept."""
        self.words[BOUND] = limit


_CAPSULE = b"mem_handler"  # the name that NumPy asks for


def _capsule(address: int) -> Any:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
    )
    return new(address, _CAPSULE, None)
