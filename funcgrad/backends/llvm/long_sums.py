"""Long sums in blocks, so that they keep their digits.

Adding n numbers one after the other loses up to n roundings. In blocks of blocks each partial
result takes in few numbers: the error grows with the logarithm of n (Higham, Accuracy and
Stability of Numerical Algorithms, section 4.2). The blocks are fixed: the same bits every time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I64, Builder, Value
from funcgrad.backends.llvm.scalar import render
from funcgrad.compiler.kernel import Accumulate, Buffer, Kernel, Reduction

BLOCK = 64  # turns that add to one partial result
LARGEST = 1 << 16  # bytes on the stack for the partial sums of rows

Join = Callable[[list[Value], list[Value]], list[Value]]
Run = Callable[[Any, Any, list[Value]], list[Value]]


def loses_digits(reductions: Sequence[Reduction]) -> bool:
    """Is any of them a sum or product of floats?"""
    return any(r.op in ("add", "mul") and r.value.dtype.kind in "fcV" for r in reductions)


def in_blocks(
    b: Builder, stop: int, step: int, carried: list[Value], run: Run,
    join: tuple[Join, list[Value]] | None,
) -> list[Value]:  # fmt: skip
    """`run(start, stop, carried)` from 0 to `stop`, by blocks; `join` has what combines partial
    results, and what these begin with. None: all at once.
    """
    sizes = block_sizes(stop, step) if join is not None else []
    if not sizes or join is None:
        return run(0, stop, carried)
    combine, fresh = join

    def block(first: Any, last: Any, sizes: list[int]) -> list[Value]:
        if not sizes:
            return run(first, last, fresh)
        *smaller, size = sizes

        def turn(i: Value, held: list[Value]) -> list[Value]:
            return combine(held, block(i, end_of(b, i, size, last), smaller))

        return b.loop(first, last, size, fresh, turn)

    return combine(carried, block(0, stop, sizes))


def block_sizes(stop: int, step: int) -> list[int]:
    """Turns in a block, in a block of blocks, and so on."""
    sizes, size = [], BLOCK * step
    while size < stop:
        sizes.append(size)
        size *= BLOCK
    return sizes


def end_of(b: Builder, start: Value, size: int, last: int | Value) -> Value:
    """Where a block ends: the last one may be shorter."""
    end = b.add(start, b.const(size, I64))
    limit = b.const(last, I64) if isinstance(last, int) else last
    return b.select(b.icmp("slt", end, limit), end, limit)


# ---- sums over rows, which lie in memory


class RowSums:
    """The buffers that rows add to, and memory for their partial sums."""

    def __init__(self, b: Builder, kernel: Kernel, pointers: dict[Buffer, Value]) -> None:
        self.b, self.pointers = b, pointers
        self.ops: dict[Buffer, str] = {}
        for stage in kernel.stages:
            for s in stage.statements:
                if isinstance(s, Accumulate) and s.op in ("add", "mul"):
                    if s.buffer.dtype.kind in "fcV" and kernel.rows:
                        self.ops[s.buffer] = s.op
        self.bytes = sum(f.size * f.dtype.itemsize for f in self.ops)

    def sizes(self, extent: int) -> list[int]:
        """Rows in a block, and so on, as far as there is memory for partial sums."""
        found = block_sizes(extent, 1) if self.ops else []
        return found[: LARGEST // max(self.bytes, 1)]

    def run(self, extent: int, body: Callable[[Any, Any], Any]) -> None:
        """`body(start, stop)` from 0 to `extent`, by blocks."""
        self._block(0, extent, self.sizes(extent), body)

    def run_part(self, bounds: tuple[Value, Value], most: int, body: Callable[..., Any]) -> None:
        """`body(start, stop)` within bounds that are at most so many turns apart, by blocks."""
        self._block(*bounds, self.sizes(most), body)

    def _block(
        self, first: Any, last: Any, sizes: list[int], body: Callable[[Any, Any], Any]
    ) -> None:
        if not sizes:
            body(first, last)
            return
        *smaller, size = sizes
        b, totals = self.b, {f: self.pointers[f] for f in self.ops}
        partial = {f: memory.allocate(b, f.dtype, f.size) for f in self.ops}

        def turn(i: Value, _: list[Value]) -> None:
            for buffer, op in self.ops.items():
                memory.fill(b, partial[buffer], buffer.dtype, buffer.size, identity(op, buffer))
            self.pointers.update(partial)
            self._block(i, end_of(b, i, size, last), smaller, body)
            self.pointers.update(totals)
            for buffer, op in self.ops.items():
                combine(b, buffer, op, partial[buffer], totals[buffer])

        b.loop(first, last, size, [], turn)


def combine(b: Builder, buffer: Buffer, op: str, partial: Value, total: Value) -> None:
    """Combines partial sums into a buffer's."""
    dtype = buffer.dtype
    kind, width = memory.element(dtype)
    lanes = b.module.target.lanes(max(dtype.itemsize // width, 4)) if width == 1 else 1
    whole = buffer.size // lanes * lanes

    def some(i: Value, count: int) -> None:
        place = i if width == 1 else b.mul(i, b.const(2, I64))
        at = b.element(total, place, kind)
        new = memory.load(b, b.element(partial, place, kind), dtype, count, 1, None)
        old = memory.load(b, at, dtype, count, 1, None)
        memory.store(b, render(b, op, [old, new], [dtype, dtype], dtype, count), at, dtype,
                     count, 1, None)  # fmt: skip

    b.loop(0, whole, lanes, [], lambda i, _: some(i, lanes))
    if whole < buffer.size:
        b.loop(whole, buffer.size, 1, [], lambda i, _: some(i, 1))


def identity(op: str, buffer: Buffer) -> Any:
    """What changes nothing when combined."""
    return buffer.dtype.type(op == "mul")
