"""Kernels of one equation as ufunc calls over whole arrays; those of many are in `blocked_source`.

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

CHEAP = 1 << 16  # bytes; below, `where` into new memory beats masked copies into old
SMALL = 1 << 12  # bytes; below, freeing memory early costs more than it saves
# Python's operators on NumPy's scalars take a tenth of the time of the ufuncs, with equal results.
OPERATORS = {
    "add": "+", "subtract": "-", "multiply": "*", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
FLOAT_OPERATORS = {"divide": "/"}


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


class Registers:
    """Calls over whole arrays, with their results in as little memory as possible."""

    def __init__(self, writer: Writer, step: Step) -> None:
        self.writer, self.step = writer, step
        self.lines = lines_of(writer, step)
        self.shape = step.eqns[0].outs[0].aval.shape
        self.sized = all(isinstance(n, int) for n in self.shape)
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
        """Bytes of a result of this type; many if that is known only at run time."""
        if not self.sized:
            return CHEAP
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
        if not self.shape and self.on_scalars(line, args, name):
            return
        if line.function == "where":
            self.where(args, name, target, line.dtype)
        elif line.function == "astype":
            self.astype(args, name, target, line.dtype)
        else:
            self.ufunc(line, args, name, target)

    def on_scalars(self, line: Line, args: Sequence[str], name: str) -> bool:
        """Writes a call on operands of rank 0 in Python's operators, where NumPy's scalars have
        them.
        """
        if line.function == "where":
            condition, yes, no = args
            self.writer.line(f"{name} = ({yes} if {condition} else {no})[()]")
            return True
        kinds = {self.dtype_of(a).kind for a in line.args}
        operator = OPERATORS.get(line.function)
        if operator is None and kinds == {"f"}:
            operator = FLOAT_OPERATORS.get(line.function)
        if operator is None or len(args) != 2 or not kinds <= {"f", "i", "u"}:
            return False
        left, right = (self.scalar(a) if type(a) is str else self.text(a) for a in line.args)
        self.writer.line(f"{name} = {left} {operator} {right}")
        return True

    def dtype_of(self, a: Any) -> Any:
        """The type of an operand."""
        if type(a) is str:
            return self.writer.globals[a].dtype
        return self.dtypes[a] if a in self.dtypes else a.aval.dtype

    def scalar(self, constant: str) -> str:
        """A constant as a NumPy scalar: `k3` becomes `k3s`."""
        self.writer.globals[f"{constant}s"] = self.writer.globals[constant][()]
        return f"{constant}s"

    def ufunc(self, line: Line, args: Sequence[str], name: str, target: str | None) -> None:
        """`add(a, b, out)` or `c = add(a, b)`; new memory is in C order even if operands are
        not.
        """
        function = self.writer.numpy(line.function)
        if target is not None:
            self.writer.line(f"{function}({', '.join(args)}, {out_is(function)}{target})")
            return
        ordered = self.compact or line.out not in self.full or not self.sized
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


def out_is(function: str) -> str:
    """NumPy takes the result's memory by position, which is faster, except where that could be
    another operand.
    """
    return "out=" if function in ("maximum", "minimum") else ""
