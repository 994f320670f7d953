"""Which kernels run in parts, on several threads, and how they are cut.

The cut depends on sizes alone, and parts write different elements, or add to sums of their own,
which are added up in order: results are the same whatever the number of threads, and whoever takes
which part.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.crew import RUN, THREADS, memory_of_parts, run_alone
from funcgrad.backends.llvm.long_sums import combine
from funcgrad.backends.llvm.partial import reduced_loop
from funcgrad.backends.llvm.records import either
from funcgrad.compiler.affine import Sum
from funcgrad.compiler.effort import duration
from funcgrad.compiler.forms import identity_of, scalar_of
from funcgrad.compiler.kernel import Accumulate, Buffer, Kernel, Load, Ref, Store
from funcgrad.compiler.schedule import vector_loops

WORTH = 4e-5  # seconds of work below which one thread is enough
PART = 1.5e-5  # seconds of work in a part
PARTS = 64  # at most
PARTIAL_SUMS = 16  # parts of kernels whose rows add to the same elements, at most
ADDING = 4e-11  # seconds to clear a byte of sums and to add it to others
SHARE = 0.03  # of the work that adding up may cost
LARGEST = 1 << 25  # bytes of memory for the sums of all parts
ROWS_OF_VECTORS = 64  # a cut falls between vectors, of any width


class Cut(NamedTuple):
    """How a product or convolution can be cut: a loop of `extent` turns, between multiples of
    `unit`. What parts of it add up waits in memory, so many bytes each, until all are done.
    """

    extent: int
    unit: int
    waiting: int = 0


class Split(NamedTuple):
    """The outermost loop, of `extent` turns, in parts of `grain`. Each part has buffers of its own
    in place of `sums`, to which elements are added by these operations, or memory for the sums of
    its tiles, which are `waiting` for the end of all parts.
    """

    extent: int
    grain: int
    sums: tuple[tuple[Buffer, str], ...] = ()
    waiting: int = 0

    @property
    def parts(self) -> int:
        return -(-self.extent // self.grain)

    @property
    def offsets(self) -> list[int]:
        """Where a part's sums lie, in bytes; the last one is where the next part's begin."""
        found = [0]
        for buffer, _ in self.sums:
            found.append(found[-1] + -(-buffer.size * buffer.dtype.itemsize // 64) * 64 + 64)
        return found

    @property
    def stride(self) -> int:
        """Bytes for the sums of a part."""
        return self.waiting or self.offsets[-1]

    @property
    def memory(self) -> int:
        """Bytes for the sums of all parts."""
        return self.parts * self.stride


def parts_worth(work: float) -> int:
    """In how many parts so many seconds of work may run."""
    return max(int(work / PART), 1)


def split_of(kernel: Kernel, tiled: Cut | None) -> Split | None:
    """How a kernel is cut, if it is; `tiled` says how a product or convolution can be."""
    work, sums, whole = duration(kernel), _sums(kernel), reduced_loop(kernel)
    if work < WORTH or sums is None or (whole is None and not _is_independent(kernel)):
        return None
    if kernel.tile is None:
        outermost = kernel.rows[0] if whole is None else whole
        in_lanes = any(v is outermost for v in vector_loops(kernel).values())
        tiled = Cut(outermost.extent, ROWS_OF_VECTORS if in_lanes else 1)
    if tiled is None:
        return None
    extent, unit, waiting = tiled
    parts = min(parts_worth(work), PARTS)
    size = sum(buffer.size * buffer.dtype.itemsize for buffer, _ in sums) + waiting
    if size:
        parts = min(parts, PARTIAL_SUMS, int(SHARE * work / (ADDING * size)), LARGEST // size)
    grain = -(-extent // (max(parts, 1) * unit)) * unit
    return Split(extent, grain, sums, waiting) if grain < extent else None


def _sums(kernel: Kernel) -> tuple[tuple[Buffer, str], ...] | None:
    """The buffers that turns of the outermost loop add to; None if something else is done with
    them, too.
    """
    found: dict[int, tuple[Buffer, str]] = {}
    if reduced_loop(kernel) is not None:
        (stage,) = kernel.stages
        return tuple((r.buffer, r.op) for r in stage.reductions if r.buffer is not None)
    others: set[int] = set()
    for stage in kernel.stages:
        others |= {id(r.buffer) for r in stage.reductions}
        for s in stage.statements:
            if isinstance(s, Accumulate):
                if found.setdefault(id(s.buffer), (s.buffer, s.op))[1] != s.op:
                    return None
            elif isinstance(s, (Load, Store)):
                others.add(id(s.buffer))
    if found and kernel.tile is not None:
        return None
    return None if others & set(found) else tuple(found.values())


def _is_independent(kernel: Kernel) -> bool:
    """Does each turn of the outermost loop write elements of its own, and read of what is written
    only those?
    """
    if not kernel.rows:
        return False
    written: dict[int, list[Sum]] = {}
    for stage in kernel.stages:
        for s in stage.statements:
            if isinstance(s, Store) and not s.buffer.local:
                written.setdefault(id(s.buffer), []).append(s.index)
        for r in stage.reductions:
            if r.buffer is not None and r.index is not None and not r.buffer.local:
                written.setdefault(id(r.buffer), []).append(r.index)
    read = [
        s for stage in kernel.stages for s in stage.statements
        if isinstance(s, Load) and id(s.buffer) in written
    ]  # fmt: skip
    for s in read:
        written[id(s.buffer)].append(s.index)
    return all(
        _is_injective(kernel, indices) or (kernel.tile is None and _is_apart(kernel, indices))
        for indices in written.values()
    )


def _is_injective(kernel: Kernel, indices: list[Sum]) -> bool:
    """Are the indices of one buffer all the same, and different in different turns of all loops?

    As in a number system: each step is longer than everything smaller together.
    """
    first = indices[0]
    terms = [(v, abs(c)) for v, c in first.terms if v.extent > 1]
    counted = {id(v) for v, _ in terms}
    if any(i != first for i in indices) or any(isinstance(v, Ref) for v, _ in terms):
        return False
    if not all(id(loop) in counted for loop in kernel.rows if loop.extent > 1):
        return False
    reach = 0
    for loop, step in sorted(terms, key=lambda t: t[1]):
        if step <= reach:
            return False
        reach += step * (loop.extent - 1)
    return True


def _is_apart(kernel: Kernel, indices: list[Sum]) -> bool:
    """Do the indices of one buffer never meet in different turns of the outermost loop?"""
    outermost = kernel.rows[0]
    steps = {index.coefficient(outermost) for index in indices}
    known = not any(isinstance(v, Ref) for index in indices for v, _ in index.terms)
    if len(steps) != 1 or 0 in steps or not known:
        return False
    inside = [
        Sum(index.constant, tuple((v, c) for v, c in index.terms if v is not outermost)).span()
        for index in indices
    ]
    low, high = min(s[0] for s in inside), max(s[1] for s in inside)
    return high - low < abs(steps.pop())


# ---- code


def emit_spread(module: Module) -> str:
    """Adds what runs a function of (context, scratch, begin, end) over its whole range: at once, or
    in parts if there are threads.
    """
    arguments = [PTR, PTR, PTR, PTR, I64, I64, I64]
    return module.function("spread", arguments, None, _spread)


def _spread(
    b: Builder, threads: Value, function: Value, context: Value, scratch: Value, extent: Value,
    grain: Value, memory: Value,
) -> None:  # fmt: skip
    count = b.load(b.element(threads, THREADS, "i64"), I64)

    def together() -> None:
        run = b.load(b.element(threads, RUN, "i64"), PTR)
        listed = (threads, function, context, scratch, extent, grain, memory)
        b.do(f"call void {run.text}({', '.join(map(str, listed))})")

    def alone() -> None:
        run_alone(b, function, (context, scratch), extent, grain, memory)

    either(b, b.icmp("sgt", count, b.const(1, I64)), together, alone)


def emit_part(module: Module, kernel: str, arguments: int, scratch: bool) -> str:
    """Adds the kernel as a function of a list of addresses, scratch memory, and bounds."""

    def write(b: Builder, context: Value, memory: Value, begin: Value, end: Value) -> None:
        pointers = [b.load(b.element(context, n, "ptr"), PTR) for n in range(arguments)]
        b.call(kernel, None, [*pointers, *[memory] * scratch, begin, end])

    return module.function(f"{kernel}_part", [PTR, PTR, I64, I64], None, write)


def call_split(
    b: Builder, threads: Value | None, kernel: str, pointers: list[Value], split: Split,
    memory: int, scratch: Value,
) -> None:  # fmt: skip
    """Runs a kernel that may be cut. `scratch` has the sums of all parts, then `memory` bytes for
    one part at a time.
    """
    in_parts = split.memory > 0
    if in_parts:
        pointers, scratch = [*pointers, scratch], b.element(scratch, split.memory, "i8")
    if threads is None:
        _call_alone(b, kernel, [*pointers, *[scratch] * (memory > 0)], split)
        return
    part = emit_part(b.module, kernel, len(pointers), memory > 0)
    memory = memory_of_parts(memory) if in_parts else memory
    emit_spread(b.module)
    context = b.alloca("ptr", max(len(pointers), 1), 8)
    for n, pointer in enumerate(pointers):
        b.store(pointer, b.element(context, n, "ptr"))
    sizes = [b.const(n, I64) for n in (split.extent, split.grain, memory)]
    b.call("spread", None, [threads, Value(f"@{part}", PTR), context, scratch, *sizes])


def _call_alone(b: Builder, kernel: str, arguments: list[Value], split: Split) -> None:
    """All parts one after the other, where there are no threads."""
    step = split.grain if split.memory else split.extent
    for begin in range(0, split.extent, step):
        bounds = begin, min(begin + step, split.extent)
        b.call(kernel, None, [*arguments, *(b.const(n, I64) for n in bounds)])


def memory_of_part(b: Builder, split: Split, memory: Value, begin: Value) -> Value:
    """Where the sums of the part lie that begins at this turn."""
    part = b.binary("udiv", begin, b.const(split.grain, I64))
    return b.element(memory, b.mul(part, b.const(split.stride, I64)), "i8")


def sums_of_part(b: Builder, split: Split, memory: Value, begin: Value) -> dict[Buffer, Value]:
    """Where the part that begins at this turn adds to."""
    first = memory_of_part(b, split, memory, begin)
    return {
        buffer: b.element(first, offset, "i8")
        for (buffer, _), offset in zip(split.sums, split.offsets)
    }


def emit_totals(module: Module, kernel: str, split: Split) -> str:
    """Adds what adds up the sums of all parts, a function of where totals go and of the parts'
    memory.
    """

    def write(b: Builder, *arguments: Value) -> None:
        *totals, parts = arguments
        for n, (buffer, op) in enumerate(split.sums):
            identity = identity_of(op, buffer.dtype)
            memory.fill(b, totals[n], buffer.dtype, buffer.size, identity)
            add = functools.partial(_add_part, b, split, n, scalar_of(op), parts, totals[n])
            b.loop(0, split.parts, 1, [], add)

    return module.function(f"{kernel}_totals", [PTR] * (len(split.sums) + 1), None, write)


def _add_part(
    b: Builder, split: Split, n: int, op: str, parts: Value, total: Value, i: Value, _: list[Value]
) -> None:
    """Adds sum number `n` of part `i` to its total."""
    place = b.add(b.mul(i, b.const(split.stride, I64)), b.const(split.offsets[n], I64))
    combine(b, split.sums[n][0], op, b.element(parts, place, "i8"), total)
