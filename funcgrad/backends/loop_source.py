"""Loops and branches as generated Python: the inner program's statements stand inside the loop.

A step costs its NumPy calls and little else: carries are local names, rows of inputs are indexed
where they are read, outputs are written into their stacks. Inner programs never write to what they
are given, so that carries need no copies between steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from funcgrad.backends.python_source import Writer, in_order, merged_inputs
from funcgrad.backends.step_source import write_steps
from funcgrad.compiler.buffers import Plan, plan_buffers
from funcgrad.compiler.program import Program, Step
from funcgrad.core.backend import physical_dtype, physical_shape
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal

KINDS = ("scan", "while", "cond")


class LoopWriter:
    """The source of one loop or branch. `build` makes programs of jaxprs, `calls` runs their steps
    that are not NumPy, `compiled` makes functions of inner programs that cannot be written out, or
    of all, if none is to be `written`.
    """

    def __init__(
        self,
        e: Eqn,
        build: Callable[[Jaxpr], Program],
        calls: Callable[[Step], Any],
        compiled: Callable[[Jaxpr], Any],
        written: bool = True,
    ) -> None:
        self.eqn, self.compiled = e, compiled
        self.lines = ["def program(buffers):"]
        self.indent = "    "
        self.globals: dict[str, Any] = {}
        self.constants: dict[Any, str] = {}
        self.held: list[str] = []  # names of buffers that are not the loop's to give away
        self.plans: dict[Jaxpr, Plan] = {}
        self.inner: dict[int, Any] = {}
        for body in dict.fromkeys(_bodies(e) if written else ()):
            program = build(body)
            self.plans[body] = plan_buffers(program)
            called = [s for s in program.steps if s.kind in ("call", "host")]
            self.inner.update((id(s), calls(s)) for s in called)
        # One statement that must run where NumPy's warnings are on takes all out of the quiet state
        leaves = (executable.leaf for executable in self.inner.values())
        self.hosted = not written or not all(leaves)

    def line(self, text: str) -> None:
        """Adds a statement."""
        self.lines.append(self.indent + text)

    def body(self, jaxpr: Jaxpr, args: Sequence[str]) -> list[str]:
        """Statements of an inner program on these operands; expressions of its results."""
        if self.hosted:
            return self._called(jaxpr, args)
        program = self.plans[jaxpr].program
        writer = self._writer(self.plans[jaxpr])
        if args:
            names = [writer.name(v) for v in program.jaxpr.args]
            writer.line(f"{', '.join(names)}, = {', '.join(args)},")
        for v in merged_inputs(program):
            name = writer.name(v)
            writer.line(f"{name} = {writer.numpy('ascontiguousarray')}({name})")
        write_steps(writer, lambda step: self.inner[id(step)])
        return [
            f"{writer.atom(o)}[()]" if type(o) is Literal else writer.atom(o)
            for o in program.jaxpr.outputs
        ]

    def _called(self, jaxpr: Jaxpr, args: Sequence[str]) -> list[str]:
        name = f"call_{len(self.globals)}"
        self.globals[name] = self.compiled(jaxpr)
        results = [f"{name}_{i}" for i in range(len(jaxpr.outputs))]
        left = f"{', '.join(results)}, = " if results else ""
        self.line(f"{left}{name}([{', '.join(args)}])")
        return results

    def _writer(self, plan: Plan) -> Writer:
        program = plan.program
        writer = Writer(program, plan)
        writer.lines, writer.indent = self.lines, self.indent
        writer.globals, writer.constants = self.globals, self.constants
        for v, c in zip(program.jaxpr.constvars, program.jaxpr.consts):
            writer.names[v] = writer.bind("c", in_order(c._buffer))
            self.held.append(writer.names[v])
        return writer

    # ---- the constructs

    def write(self, kind: str) -> str:
        """The whole function."""
        operands = _names("in", self.eqn.args)
        if operands:
            self.line(f"{', '.join(operands)}, = buffers")
        for name, a in zip(operands, self.eqn.args):
            if not a.aval.shape:  # NumPy computes faster with scalars than with arrays of rank 0
                self.line(f"{name} = {name}[()]")
        self.held += operands
        results = getattr(self, f"write_{kind}")(operands, **self.eqn.params)
        self.line(f"return [{', '.join(self._owned(results))}]")
        return "\n".join(self.lines) + "\n"

    def write_scan(
        self, operands: list[str], *, jaxpr: Jaxpr, length: Any, reverse: bool,
        num_consts: int, num_carry: int, **params: Any,
    ) -> list[str]:  # fmt: skip
        """A loop over rows."""
        if length is None:
            length = f"int({operands.pop(0)})"
        start = num_consts + num_carry
        rows = [f"{x}[row_]" for x in operands[start:]]
        carry = self._carries(operands[num_consts:start])
        stacks = self._stacks(jaxpr.out_avals[num_carry:], length)
        steps = f"range({length} - 1, -1, -1)" if reverse else f"range({length})"
        self._begin(f"for row_ in {steps}:")
        results = self.body(jaxpr, [*operands[:num_consts], *carry, *rows])
        for stack, row in zip(stacks, results[num_carry:]):
            self.line(f"{stack}[row_] = {row}")
        self._assign(carry, results[:num_carry])
        self._end()
        return carry + stacks

    def write_while(
        self, operands: list[str], *, cond_jaxpr: Jaxpr, body_jaxpr: Jaxpr,
        cond_nconsts: int, body_nconsts: int, **params: Any,
    ) -> list[str]:  # fmt: skip
        """A loop until the condition fails."""
        start = cond_nconsts + body_nconsts
        carry = self._carries(operands[start:])
        self._begin("while True:")
        (holds,) = self.body(cond_jaxpr, [*operands[:cond_nconsts], *carry])
        self.line(f"if not {holds}: break")
        self._assign(carry, self.body(body_jaxpr, [*operands[cond_nconsts:start], *carry]))
        self._end()
        return carry

    def write_cond(self, operands: list[str], *, branches: Sequence[Jaxpr]) -> list[str]:
        """One branch of several."""
        index, *given = operands
        results = _names("out", branches[0].outputs)
        for i, branch in enumerate(branches):
            last = i == len(branches) - 1
            self._begin("else:" if last else f"{'elif' if i else 'if'} {index} == {i}:")
            self._assign(results, self.body(branch, given))
            self.line("pass")
            self._end()
        return results

    # ---- parts of them

    def _carries(self, initial: Sequence[str]) -> list[str]:
        carry = _names("carry", initial)
        self._assign(carry, initial)
        return carry

    def _stacks(self, avals: Sequence[Any], length: Any) -> list[str]:
        stacks = _names("stack", avals)
        self.globals.setdefault("empty", np.empty)
        for stack, aval in zip(stacks, avals):
            dtype, shape = physical_dtype(aval), physical_shape(aval)
            self.globals.setdefault(f"{dtype}_t", dtype)
            self.line(f"{stack} = empty(({', '.join(map(str, (length, *shape)))},), {dtype}_t)")
        return stacks

    def _assign(self, names: Sequence[str], values: Sequence[str]) -> None:
        pairs = [(n, v) for n, v in zip(names, values) if n != v]
        if pairs:
            self.line(f"{', '.join(n for n, _ in pairs)} = {', '.join(v for _, v in pairs)}")

    def _begin(self, head: str) -> None:
        self.line(head)
        self.indent += "    "

    def _end(self) -> None:
        self.indent = self.indent[:-4]

    def _owned(self, results: Sequence[str]) -> Iterable[str]:
        """Results that share memory with nothing else; stacks do not anyway."""
        for i, name in enumerate(results):
            others = dict.fromkeys([name, *self.held, *results[:i]])
            yield name if name.startswith("stack") else f"own({', '.join(others)})"


def _bodies(e: Eqn) -> list[Jaxpr]:
    found = [p for p in e.params.values() if isinstance(p, Jaxpr)]
    return [*found, *e.params.get("branches", ())]


def _names(prefix: str, items: Sequence[Any]) -> list[str]:
    """Names that no inner program has: theirs are letters alone."""
    return [f"{prefix}_{i}" for i in range(len(items))]
