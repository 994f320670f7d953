"""Kernels of many equations as ufunc calls over blocks of rows: a block passes through all calls
before the next one is touched, so that what passes between calls stays in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from funcgrad.backends.kernel_source import CHEAP, Line, Registers
from funcgrad.compiler.program import Step
from funcgrad.core.jaxpr import Var

if TYPE_CHECKING:
    from funcgrad.backends.python_source import Writer

BLOCK = 1 << 17  # bytes of one operand that is worked on at a time


class Blocked(Registers):
    """Calls over blocks of rows: a block passes through all calls before the next one is touched.

    Leading dimensions are merged into rows as far as operands allow; temporaries are scratch of one
    block.
    """

    def __init__(self, writer: Writer, step: Step) -> None:
        super().__init__(writer, step)
        self.rows, self.tail = self.split()
        self.scratch: list[tuple[str, Any]] = []
        self.outs: dict[Var, str] = {}

    # ---- rows

    def split(self) -> tuple[int, tuple[int, ...]]:
        """Number of rows and shape of one: all dimensions are rows if every operand has all of
        them.
        """
        small = [self.padded(v) for v in self.step.reads() if v not in self.full and v.aval.shape]
        merged = 1
        if self.compact:
            while merged < len(self.shape) and all(
                _uniform(s, self.shape, merged + 1) for s in small
            ):
                merged += 1
        return math.prod(self.shape[:merged]), self.shape[merged:]

    def padded(self, v: Var) -> tuple[int, ...]:
        """The shape of an operand that is repeated, with ones where it is."""
        return self.writer.program.expanded[v]

    def height(self) -> int:
        """Rows in one block."""
        width = math.prod(self.tail) * max(line.dtype.itemsize for line in self.lines)
        return min(self.rows, max(1, BLOCK // max(1, width)))

    def as_rows(self, name: str, shape: tuple[int, ...]) -> str:
        """The array with its leading dimensions merged."""
        merged = len(self.shape) - len(self.tail)
        if merged == 1 and len(shape) == len(self.shape):
            return name
        view = self.writer.fresh()
        self.writer.line(f"{view} = {name}.reshape({(math.prod(shape[:merged]), *shape[merged:])})")
        return view

    # ---- writing

    def write(self) -> None:
        """Everything of rank below the kernel's first, then memory, then the loop."""
        for i, line in enumerate(self.lines):
            if self.is_invariant(line):
                super().call(i, line)
        sliced = self.prepare()
        height, before = self.height(), self.writer.lines
        self.writer.lines = []
        self.writer.indent += "    "
        for whole, part in sliced:
            self.writer.line(f"{part} = {whole}[lo:hi]")
        for i, line in enumerate(self.lines):
            if line.out not in self.names:
                self.call(i, line)
        body, self.writer.lines = self.writer.lines, before
        self.writer.indent = self.writer.indent[:-4]
        self.loop(height, body)

    def is_invariant(self, line: Line) -> bool:
        """Does the call read nothing that differs between blocks?"""
        for a in line.args:
            if type(a) is str or a in self.names:
                continue
            if type(a) is not Var or a not in self.writer.names or a.aval.shape:
                return False
        return True

    def prepare(self) -> list[tuple[str, str]]:
        """Memory for the results. Returns names of arrays, and of their parts inside the loop."""
        sliced = []
        for v in self.step.reads():
            if not v.aval.shape:
                continue
            shape = self.shape if v in self.full else self.padded(v)
            rows = self.as_rows(self.writer.name(v), shape)
            merged = len(self.shape) - len(self.tail)
            if math.prod(shape[:merged]) == self.rows:
                sliced.append((rows, self.writer.fresh()))
                self.names[v] = sliced[-1][1]
            else:
                self.names[v] = rows
        return sliced + [self.result(o) for o in self.step.stored]

    def result(self, out: Var) -> tuple[str, str]:
        """Memory for one result, and the name of its part inside the loop."""
        dead = self.step.into.get(out)
        if dead is not None and self.can_overwrite(dead, out):
            name = self.writer.names[out] = self.writer.name(dead)
        else:
            name = self.writer.name(out)
            self.writer.line(f"{name} = {self.writer.empty(self.shape, out.aval.dtype)}")
        self.outs[out] = self.writer.fresh()
        return self.as_rows(name, self.shape), self.outs[out]

    def can_overwrite(self, dead: Var, out: Var) -> bool:
        """Does nothing read an operand after the result is written, nor between two steps of
        writing it?
        """
        defined, line = next((i, n) for i, n in enumerate(self.lines) if n.out is out)
        two_steps = line.function == "where" and dead in line.args[:2]
        return self.last.get(dead, -1) <= defined and not two_steps

    def call(self, i: int, line: Line) -> None:
        """One statement; every result has its place."""
        self.full.add(line.out)
        self.release(i, line)
        target = self.outs.get(line.out) or self.free_register(line) or self.new_scratch(line.dtype)
        self.assign(line, target)

    def new_scratch(self, dtype: Any) -> str:
        """One more temporary of one block."""
        self.scratch.append((self.writer.fresh(), dtype))
        return self.scratch[-1][0]

    def nbytes(self, dtype: Any) -> int:
        """In a loop results always go where they belong."""
        return CHEAP

    def loop(self, height: int, body: Sequence[str]) -> None:
        """The loop over blocks around `body`; the last block may be shorter."""
        writer = self.writer
        for name, dtype in self.scratch:
            writer.line(f"{name} = {writer.empty((height, *self.tail), dtype)}")
        with writer.block(f"for lo in range(0, {self.rows}, {height}):"):
            writer.line(f"hi = lo + {height}")
            if self.rows % height and self.scratch:
                names = [name for name, _ in self.scratch]
                cut = ", ".join(f"{name}[:{self.rows % height}]" for name in names)
                writer.line(f"if hi > {self.rows}: {', '.join(names)} = {cut}")
            writer.lines += body


def _uniform(shape: Sequence[int], full: Sequence[int], count: int) -> bool:
    """Is an operand repeated along all of the first `count` dimensions, or along none?"""
    repeated = [a != b for a, b in zip(shape[:count], full)]
    return all(repeated) or not any(repeated)
