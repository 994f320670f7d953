"""Kernels as ufunc calls: over whole arrays where they are small, else over blocks that stay in the
cache.

Temporaries are registers: a call writes into an operand that dies there, into the memory the plan
chose for the result, or into new memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from funcgrad.backends.ufuncs import Call, calls_of
from funcgrad.compiler.program import Step
from funcgrad.compiler.scalar import Constant
from funcgrad.core.jaxpr import Literal, Var

if TYPE_CHECKING:
    from funcgrad.backends.python_source import Writer

BLOCK = 1 << 17  # bytes of one operand that a kernel over large arrays works on at a time
CHEAP = 1 << 16  # bytes; below, `where` into new memory beats masked copies into old
SMALL = 1 << 12  # bytes; below, freeing memory early costs more than it saves


class Value:
    """A result of one call inside a kernel that is not a variable of the program."""

    __slots__ = ()


class Line:
    """One call with its operands resolved: variables, values, or text (constants)."""

    __slots__ = ("function", "args", "out", "dtype")

    def __init__(self, function: str, args: Sequence[Any], out: Any, dtype: Any) -> None:
        self.function, self.args, self.out, self.dtype = function, args, out, dtype


def lines_of(writer: Writer, step: Step) -> list[Line]:
    """The calls of all equations, in order."""
    lines: list[Line] = []
    for e, form in zip(step.eqns, step.forms):
        known: list[Any] = [writer.atom(a) if type(a) is Literal else a for a in e.args]
        calls: Sequence[Call] = calls_of(e, form) or ()
        for i, call in enumerate(calls):
            args = [
                writer.constant(a.value) if isinstance(a, Constant) else known[a] for a in call.args
            ]
            out = e.outs[0] if i == len(calls) - 1 else Value()
            lines.append(Line(call.function, args, out, call.dtype))
            known.append(out)
    return lines


def write_kernel(writer: Writer, step: Step) -> None:
    """The statements of one kernel."""
    (Blocked if len(step.eqns) > 1 else Registers)(writer, step).write()


class Registers:
    """Calls over whole arrays, with their results in as little memory as possible."""

    def __init__(self, writer: Writer, step: Step) -> None:
        self.writer, self.step = writer, step
        self.lines = lines_of(writer, step)
        self.shape = step.eqns[0].outs[0].aval.shape
        self.last = {
            a: i for i, line in enumerate(self.lines) for a in line.args if type(a) is not str
        }
        self.names: dict[Any, str] = {}
        self.dtypes: dict[Any, Any] = {}
        self.free: list[tuple[str, Any]] = []
        self.full: set[Any] = {v for v in step.reads() if self.is_full(v)} if self.shape else set()
        self.compact = all(v in writer.plan.compact for v in self.full)

    def is_full(self, v: Var) -> bool:
        """Has the variable's buffer the kernel's shape?"""
        return v.aval.shape == self.shape and v not in self.writer.program.expanded

    def nbytes(self, dtype: Any) -> int:
        """Bytes of a result of this type."""
        return math.prod(self.shape) * dtype.itemsize

    def text(self, a: Any) -> str:
        """The expression for an operand."""
        if type(a) is str:
            return a
        return self.names[a] if a in self.names else self.writer.name(a)

    def write(self) -> None:
        """The statements, in order."""
        for i, line in enumerate(self.lines):
            self.call(i, line)
        if self.free and self.nbytes(self.free[0][1]) >= SMALL:
            self.writer.line(f"del {', '.join(name for name, _ in self.free)}")

    def call(self, i: int, line: Line) -> None:
        """One statement; registers of operands that die here are free for its result."""
        target = None
        if any(a in self.full for a in line.args):
            self.full.add(line.out)
            self.release(i, line)
            target = self.target(i, line)
        self.assign(line, target)

    def release(self, i: int, line: Line) -> None:
        """Frees the registers of operands that nobody reads after line `i`."""
        for a in dict.fromkeys(line.args):
            if (
                a in self.dtypes
                and a in self.full
                and self.last[a] == i
                and a not in self.step.stored
            ):
                self.free.append((self.names[a], self.dtypes[a]))

    def target(self, i: int, line: Line) -> str | None:
        """Memory for a result: what the plan chose, or a free register; None for new memory."""
        dead = self.step.into.get(line.out)
        if dead is not None and self.last.get(dead, -1) <= i:
            return self.writer.name(dead)
        return self.free_register(line)

    def free_register(self, line: Line) -> str | None:
        """A register of the right dtype. `where` in place needs its other operands to lie
        elsewhere.
        """
        taken = list(map(self.text, line.args[:2])) if line.function == "where" else []
        for k, (name, dtype) in enumerate(self.free):
            if dtype == line.dtype and name not in taken:
                del self.free[k]
                return name
        return None

    def new_name(self, out: Any) -> str:
        """The name of a result in new memory."""
        return self.writer.name(out) if type(out) is Var else self.writer.fresh()

    def assign(self, line: Line, target: str | None) -> None:
        """Writes the statement that puts a call's result into `target`, or into new memory."""
        args = [self.text(a) for a in line.args]
        name = target or self.new_name(line.out)
        self.names[line.out], self.dtypes[line.out] = name, line.dtype
        if type(line.out) is Var and line.out not in self.writer.names:
            self.writer.names[line.out] = name
        if line.function == "where":
            self.where(args, name, target, line.dtype)
        elif line.function == "astype":
            self.astype(args, name, target, line.dtype)
        else:
            self.ufunc(line, args, name, target)

    def ufunc(self, line: Line, args: Sequence[str], name: str, target: str | None) -> None:
        """`add(a, b, out)` or `c = add(a, b)`; new memory is in C order even if operands are
        not.
        """
        function = self.writer.numpy(line.function)
        if target is not None:
            self.writer.line(f"{function}({', '.join(args)}, {out_is(function)}{target})")
            return
        ordered = self.compact or line.out not in self.full
        new = [] if ordered else [out_is(function) + self.writer.empty(self.shape, line.dtype)]
        self.writer.line(f"{name} = {function}({', '.join([*args, *new])})")

    def where(self, args: Sequence[str], name: str, target: str | None, dtype: Any) -> None:
        """A choice by mask."""
        condition, yes, no = args
        if (
            target is None
            or target in (condition, yes)
            or (target != no and self.nbytes(dtype) < CHEAP)
        ):
            self.writer.line(f"{name} = {self.writer.numpy('where')}({condition}, {yes}, {no})")
            return
        copyto = self.writer.numpy("copyto")
        if target != no:
            self.writer.line(f"{copyto}({target}, {no})")
        self.writer.line(f"{copyto}({target}, {yes}, where={condition})")

    def astype(self, args: Sequence[str], name: str, target: str | None, dtype: Any) -> None:
        """A conversion."""
        if target is None:
            self.writer.line(f"{name} = {args[0]}.astype({self.writer.dtype(dtype)})")
        else:
            self.writer.line(f'{self.writer.numpy("copyto")}({target}, {args[0]}, "unsafe")')


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
        """Memory for one result: a dead operand's only if nothing reads that after the result is
        written.
        """
        dead = self.step.into.get(out)
        defined = next(i for i, line in enumerate(self.lines) if line.out is out)
        if dead is not None and self.last.get(dead, -1) <= defined:
            name = self.writer.names[out] = self.writer.name(dead)
        else:
            name = self.writer.name(out)
            self.writer.line(f"{name} = {self.writer.empty(self.shape, out.aval.dtype)}")
        self.outs[out] = self.writer.fresh()
        return self.as_rows(name, self.shape), self.outs[out]

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


def out_is(function: str) -> str:
    """NumPy takes the result's memory by position, which is faster, except where that could be
    another operand.
    """
    return "out=" if function in ("maximum", "minimum") else ""


def _uniform(shape: Sequence[int], full: Sequence[int], count: int) -> bool:
    """Is an operand repeated along all of the first `count` dimensions, or along none?"""
    repeated = [a != b for a, b in zip(shape[:count], full)]
    return all(repeated) or not any(repeated)
