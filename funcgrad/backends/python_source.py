"""Writes a Program as the source of one Python function over NumPy: a statement a step.

Names stand for buffers: a result that takes a dead operand's memory takes its name too. Constants,
functions and dtypes are globals of the generated code.
"""

from __future__ import annotations

import builtins
import contextlib
import keyword
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from funcgrad.backends import step_source
from funcgrad.compiler.buffers import Plan
from funcgrad.compiler.program import Program, Step
from funcgrad.compiler.rules import literal_value
from funcgrad.core.jaxpr import Atom, Literal, Var
from funcgrad.core.loops import Contract
from funcgrad.core.pretty import letters

SMALL = 1 << 12  # bytes; below, freeing memory early costs more than it saves
TAKEN = (
    frozenset(keyword.kwlist)
    | frozenset(dir(builtins))
    | (frozenset(dir(np)) - {"e"})
    | {"xp", "own", "lo", "hi"}
)


class Writer:
    """The source of one program while it is written."""

    def __init__(self, program: Program, plan: Plan) -> None:
        self.program, self.plan = program, plan
        self.lines: list[str] = []
        self.indent = "    "
        self.globals: dict[str, Any] = {}
        self.names: dict[Var, str] = {}
        self.letters = letters()
        self.constants: dict[Any, str] = {}

    # ---- names

    def fresh(self) -> str:
        """A name that nothing has yet."""
        return next(name for name in self.letters if name not in TAKEN)

    def name(self, v: Var) -> str:
        """The name of a variable's buffer."""
        found = self.names.get(v)
        if found is None:
            found = self.names[v] = self.fresh()
        return found

    def atom(self, a: Atom) -> str:
        """The expression for an operand."""
        return self.constant(literal_value(a)) if type(a) is Literal else self.name(a)  # type: ignore[arg-type]

    def constant(self, value: Any) -> str:
        """A number as an array of rank 0, which ufuncs take faster than a scalar."""
        key = (value.dtype, value.tobytes())
        if key not in self.constants:
            array = np.array(value)
            array.flags.writeable = False
            self.constants[key] = self.bind("k", array)
        return self.constants[key]

    def bind(self, prefix: str, value: Any) -> str:
        """A global of the generated code."""
        name = f"{prefix.replace('-', '_')}{len(self.globals)}"
        self.globals[name] = value
        return name

    def numpy(self, function: str) -> str:
        """NumPy's function of that name, as a global; `add.reduce` becomes `add_reduce`."""
        name = function.replace(".", "_")
        if name not in self.globals:
            found: Any = np
            for part in function.split("."):
                found = getattr(found, part)
            self.globals[name] = found
        return name

    def dtype(self, dtype: Any) -> str:
        """A dtype, as a global."""
        name = f"{dtype}_t"
        self.globals.setdefault(name, dtype)
        return name

    # ---- lines

    def line(self, text: str) -> None:
        """Adds a statement."""
        self.lines.append(self.indent + text)

    @contextlib.contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Statements inside the block are indented under `head`."""
        self.line(head)
        self.indent += "    "
        yield
        self.indent = self.indent[:-4]

    def empty(self, shape: Sequence[Any], dtype: Any) -> str:
        """The expression for new memory."""
        return f"{self.numpy('empty')}({tuple(shape)}, {self.dtype(dtype)})"


def write(
    program: Program, plan: Plan, calls: Callable[[Step], Any]
) -> tuple[str, dict[str, Any], bool]:
    """The source of `def program(buffers)`, its globals, and whether it has steps that must run
    outside of it all.

    `calls(step)` is what runs a step that is not NumPy: a function of buffers, and whether it is a
    leaf.
    """
    writer = Writer(program, plan)
    writer.lines.append("def program(buffers):")
    jaxpr = program.jaxpr
    for v, c in zip(jaxpr.constvars, jaxpr.consts):
        writer.names[v] = writer.bind("c", in_order(c._buffer))
    if jaxpr.args:
        writer.line(f"{', '.join(map(writer.name, jaxpr.args))}, = buffers")
    for v in merged_inputs(program):
        name = writer.name(v)
        writer.line(f"{name} = {writer.numpy('ascontiguousarray')}({name})")
    hosted = step_source.write_steps(writer, calls)
    writer.line(f"return [{', '.join(step_source.outputs(writer))}]")
    return "\n".join(writer.lines) + "\n", writer.globals, hosted


def in_order(buffer: Any) -> Any:
    """A constant in C order."""
    return np.ascontiguousarray(buffer) if buffer.ndim > 1 else buffer


def merged_inputs(program: Program) -> list[Var]:
    """Arguments that must be in C order: kernels over blocks merge dimensions, which moves nothing
    then. Only what goes into products may lie otherwise; without such kernels no order matters.
    """
    if not any(step.kind == "kernel" and len(step.eqns) > 1 for step in program.steps):
        return []
    read = {
        v for step in program.steps if not isinstance(step.forms[0], Contract) for v in step.reads()
    }
    return [v for v in program.jaxpr.args if v in read and v.aval.ndim > 1]
