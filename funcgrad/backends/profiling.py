"""The profiling engine: programs equation by equation, as the reference engine runs them, with a
stopwatch at each.

Constructs run their programs by the engine in force, so nested programs are measured too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from funcgrad.backends import reference
from funcgrad.compiler.pipeline import optimise
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal
from funcgrad.core.primitive import result_buffer, wrap_buffer


class Measured:
    """The times of one equation: for each round its own seconds, those with nested programs, and
    calls.
    """

    __slots__ = ("eqn", "program", "depth", "own", "total", "calls")

    def __init__(self, eqn: Eqn, program: Jaxpr, depth: int) -> None:
        self.eqn, self.program, self.depth = eqn, program, depth
        self.own: list[float] = []
        self.total: list[float] = []
        self.calls: list[int] = []


class Recorder:
    """Times of all equations over some rounds, in the order in which they first ran."""

    def __init__(self, optimized: bool) -> None:
        self.optimized = optimized
        self.found: dict[Eqn, Measured] = {}
        self._programs: dict[Jaxpr, Jaxpr] = {}
        self._round = 0
        self._depth = 0
        self._nested = 0.0  # seconds spent in programs inside the equation that is running

    def run(self, jaxpr: Jaxpr, buffers: Sequence[Any], rounds: int) -> None:
        """Measures the program: one round that does not count, then `rounds` that do."""
        token = active.set(self)
        try:
            compile(jaxpr)(buffers)
            for measured in self.found.values():
                measured.own.clear()
                measured.total.clear()
                measured.calls.clear()
            for self._round in range(rounds):
                compile(jaxpr)(buffers)
        finally:
            active.reset(token)

    def program(self, jaxpr: Jaxpr) -> Jaxpr:
        """What runs in a program's place."""
        if not self.optimized:
            return jaxpr
        found = self._programs.get(jaxpr)
        if found is None:
            found = self._programs[jaxpr] = optimise(jaxpr)
        return found

    def evaluate(self, program: Jaxpr, args: Sequence[Any]) -> list[Any]:
        """The program's results; the times of its equations are noted."""
        env: dict[Any, Any] = dict(zip(program.inputs, (*program.consts, *args)))
        for e in program.eqns:
            operands = [a.value if type(a) is Literal else env[a] for a in e.args]
            out = self._timed(e, program, operands)
            env.update(zip(e.outs, out if e.primitive.multiple_results else [out]))
        return [o.value if type(o) is Literal else env[o] for o in program.outputs]

    def _timed(self, e: Eqn, program: Jaxpr, operands: Sequence[Any]) -> Any:
        outside, self._nested = self._nested, 0.0
        self._depth += 1
        start = perf_counter()
        try:
            out = e.primitive.evaluate(operands, e.params)
        finally:
            spent = perf_counter() - start
            self._depth -= 1
            own, self._nested = spent - self._nested, outside + spent
        self._note(self.found.setdefault(e, Measured(e, program, self._depth)), own, spent)
        return out

    def _note(self, measured: Measured, own: float, total: float) -> None:
        missing = self._round + 1 - len(measured.own)
        measured.own += [0.0] * missing
        measured.total += [0.0] * missing
        measured.calls += [0] * missing
        measured.own[-1] += own
        measured.total[-1] += total
        measured.calls[-1] += 1


active: ContextVar[Recorder | None] = ContextVar("funcgrad_recorder", default=None)


def compile(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Callable[[Sequence[Any]], list[Any]]:
    """The program as a function of buffers. Donated buffers are left alone; with nobody to
    record, nothing is measured.
    """
    unmeasured = reference.compile(jaxpr)

    def run(buffers: Sequence[Any]) -> list[Any]:
        recorder = active.get()
        if recorder is None:
            return unmeasured(buffers)
        arrays = [wrap_buffer(b, aval) for b, aval in zip(buffers, jaxpr.in_avals)]
        outs = recorder.evaluate(recorder.program(jaxpr), arrays)
        return [result_buffer(o, aval) for o, aval in zip(outs, jaxpr.out_avals)]

    return run
