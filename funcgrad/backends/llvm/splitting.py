"""Which kernels run in parts, on several threads, and how they are cut.

The cut depends on sizes alone, and parts write different elements: results are the same whatever
the number of threads, and whoever takes which part.
"""

from __future__ import annotations

from typing import NamedTuple

from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.crew import RUN, THREADS
from funcgrad.compiler.affine import Sum
from funcgrad.compiler.effort import duration
from funcgrad.compiler.kernel import Accumulate, Kernel, Load, Ref, Store
from funcgrad.compiler.schedule import vector_loops

WORTH = 4e-5  # seconds of work below which one thread is enough
PART = 1.5e-5  # seconds of work in a part
PARTS = 64  # at most
ROWS_OF_VECTORS = 64  # a cut falls between vectors, of any width


class Split(NamedTuple):
    """The outermost loop, of `extent` turns, in parts of `grain`."""

    extent: int
    grain: int


def split_of(kernel: Kernel, tiled: tuple[int, int] | None) -> Split | None:
    """How a kernel is cut, if it is; `tiled` are the extent of the loop that a product or
    convolution can be cut along, and between how many turns.
    """
    work = duration(kernel)
    if work < WORTH or not _is_independent(kernel):
        return None
    if kernel.tile is None:
        extent, unit = kernel.rows[0].extent, 1
        if any(v is kernel.rows[0] for v in vector_loops(kernel).values()):
            unit = ROWS_OF_VECTORS
    elif tiled is None:
        return None
    else:
        extent, unit = tiled
    parts = min(int(work / PART), PARTS)
    grain = -(-extent // (parts * unit)) * unit
    return Split(extent, grain) if grain < extent else None


def _is_independent(kernel: Kernel) -> bool:
    """Does each turn of the outermost loop write elements of its own, and read of what is written
    only those?
    """
    if not kernel.rows:
        return False
    written: dict[int, list[Sum]] = {}
    for stage in kernel.stages:
        for s in stage.statements:
            if isinstance(s, Accumulate):
                return False
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

    def alone() -> list[Value]:
        b.do(f"call void {function.text}({context}, {scratch}, i64 0, {extent})")
        return []

    def together() -> list[Value]:
        run = b.load(b.element(threads, RUN, "i64"), PTR)
        listed = (threads, function, context, scratch, extent, grain, memory)
        b.do(f"call void {run.text}({', '.join(map(str, listed))})")
        return []

    b.branch(b.icmp("sgt", count, b.const(1, I64)), together, alone)


def emit_part(module: Module, kernel: str, arguments: int, scratch: bool) -> str:
    """Adds the kernel as a function of a list of addresses, scratch memory, and bounds."""

    def write(b: Builder, context: Value, memory: Value, begin: Value, end: Value) -> None:
        pointers = [b.load(b.element(context, n, "ptr"), PTR) for n in range(arguments)]
        b.call(kernel, None, [*pointers, *[memory] * scratch, begin, end])

    return module.function(f"{kernel}_part", [PTR, PTR, I64, I64], None, write)


def call_split(
    b: Builder, threads: Value, kernel: str, pointers: list[Value], split: Split, memory: int,
    scratch: Value,
) -> None:  # fmt: skip
    """Runs a kernel that may be cut."""
    part = emit_part(b.module, kernel, len(pointers), memory > 0)
    emit_spread(b.module)
    context = b.alloca("ptr", max(len(pointers), 1), 8)
    for n, pointer in enumerate(pointers):
        b.store(pointer, b.element(context, n, "ptr"))
    sizes = [b.const(n, I64) for n in (split.extent, split.grain, memory)]
    b.call("spread", None, [threads, Value(f"@{part}", PTR), context, scratch, *sizes])
