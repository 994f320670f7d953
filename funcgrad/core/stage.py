"""Staging: running a function on tracers and writing down what it does, as a program.

What the function closes over becomes inputs of its program: arrays as constants, tracers of live
ancestor traces as operands which the caller passes on. Rank-0 constants are written into the
equations.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from funcgrad.config import config
from funcgrad.core.array import ConcreteArray, Tracer
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.check import check_jaxpr
from funcgrad.core.jaxpr import NO_EFFECTS, Atom, Eqn, Jaxpr, Literal, Var
from funcgrad.core.leaks import leak_checked
from funcgrad.core.primitive import Primitive
from funcgrad.core.source import inherited, user_source
from funcgrad.core.trace import Trace, current_trace, escaped, running


class StagingTracer(Tracer):
    """Stands for a variable of the program being written."""

    __slots__ = ("_var",)
    traced_by = "jit, scan or the like"

    def __init__(self, trace: Trace, var: Var, source: Any = None) -> None:
        self._trace, self._var, self.source = trace, var, source

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return self._var.aval


class StagingTrace(Trace):
    """Records every operation as an equation."""

    __slots__ = ("eqns", "captured")

    def __init__(self, parent: Trace | None) -> None:
        self.parent = parent
        self.eqns: list[Eqn] = []
        self.captured: dict[int, tuple[Any, Var]] = {}

    def input(self, aval: ShapedArray) -> StagingTracer:
        """A new input variable."""
        return StagingTracer(self, Var(aval), user_source())

    def atom(self, x: Any) -> Atom:
        """What stands for `x` in the program; UnexpectedTracerError for a tracer whose trace has
        ended.
        """
        if isinstance(x, StagingTracer) and x._trace is self:
            return x._var
        if isinstance(x, Tracer):
            if not (self.descends_from(x._trace) or self._was_given(x)):
                raise escaped(x, "a traced function")
        elif is_literal(x):
            return literal(x)
        return self.capture(x)

    def capture(self, x: Any) -> Var:
        """The variable for something closed over, the same for the same object."""
        if id(x) not in self.captured:
            self.captured[id(x)] = (x, Var(typeof(x)))
        return self.captured[id(x)][1]

    def _was_given(self, x: Tracer) -> bool:
        """Has this trace or an enclosing one `x` for an operand, whatever became of its trace?"""
        trace: Trace | None = self
        while trace is not None:
            if isinstance(trace, StagingTrace) and id(x) in trace.captured:
                return True
            trace = trace.parent
        return False

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        outs = [Var(aval) for aval in primitive.results(args, params)]
        effects = primitive.effects(params) if primitive.effects is not None else NO_EFFECTS
        source = user_source()
        self.eqns.append(
            Eqn(primitive, [self.atom(a) for a in args], params, outs, effects, source)
        )
        tracers = [StagingTracer(self, v, source) for v in outs]
        return tracers if primitive.multiple_results else tracers[0]

    def close(
        self, inputs: Sequence[StagingTracer], outs: Sequence[Any]
    ) -> tuple[Jaxpr, list[Tracer]]:
        """The finished program, and the tracers it closed over, which are its first arguments."""
        outputs = [self.atom(o) for o in outs]
        held = list(self.captured.values())
        arrays = [(frozen(x), v) for x, v in held if not isinstance(x, Tracer)]
        tracers = [(x, v) for x, v in held if isinstance(x, Tracer)]
        variables = [v for _, v in arrays] + [v for _, v in tracers] + [t._var for t in inputs]
        jaxpr = Jaxpr(variables, self.eqns, outputs, [x for x, _ in arrays])
        return checked(jaxpr), [x for x, _ in tracers]


def is_literal(x: Any) -> bool:
    """Is this a constant of rank 0, to be written into equations?"""
    if type(x) is ConcreteArray:
        return x._buffer.ndim == 0
    if isinstance(x, ConcreteArray):  # keys, and arrays on a device, which would have to be fetched
        return False
    return not isinstance(x, np.ndarray) or x.ndim == 0


def literal(x: Any) -> Literal:
    """The constant of rank 0 as an atom; its value is an Array, whatever it came from."""
    if type(x) is not ConcreteArray:
        aval = typeof(x)
        x = ConcreteArray(aval.dtype.type(x), aval.weak_type)
    return Literal(x)


def frozen(x: Any) -> Any:
    """A constant as an Array of our own: NumPy's may be changed by the user later."""
    return ConcreteArray(x.copy()) if isinstance(x, np.ndarray) else x


def checked(jaxpr: Jaxpr) -> Jaxpr:
    """The program, checked if `config.check_jaxprs` is on."""
    return check_jaxpr(jaxpr) if config.current().check_jaxprs else jaxpr


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Tracing makes many objects that live on; the collector would walk them again and again, in
    vain.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _run(
    function: Callable[..., Sequence[Any]],
    trace: StagingTrace,
    avals: Sequence[ShapedArray],
    given: Sequence[Tracer] = (),
) -> Any:
    with running(trace), collector_paused():
        for x in given:
            trace.capture(x)
        inputs = [trace.input(aval) for aval in avals]
        return trace.close(inputs, function(*inputs))


@leak_checked
def stage(
    function: Callable[..., Sequence[Any]],
    avals: Sequence[ShapedArray],
    given: Sequence[Tracer] = (),
) -> tuple[Jaxpr, list[Tracer]]:
    """The program of `function`, which takes one tracer per aval and returns a list.

    Also returns the tracers that it closed over; their variables are the program's first arguments.
    Those `given` come first among them, used or not, and may be of traces that have ended.
    """
    token = inherited.set(None)  # a user's function has lines of its own
    try:
        return _run(function, StagingTrace(current_trace()), avals, given)
    finally:
        inherited.reset(token)


def stage_rule(function: Callable[..., Sequence[Any]], avals: Sequence[ShapedArray]) -> Jaxpr:
    """The program of a rule: it may close over arrays, never over tracers."""
    jaxpr, _ = _run(function, StagingTrace(None), avals)
    return jaxpr


Visitor = Callable[[Eqn, list[Any]], Any]


def rebuild(jaxpr: Jaxpr, visit: Visitor) -> Jaxpr:
    """The program traced anew, each equation offered to `visit(eqn, operands)` first.

    The visitor returns the results (one value, or a list for several), computed with the operands
    it is given, or None to keep the equation. The result is well formed by construction; lines of
    origin are kept.
    """
    trace = StagingTrace(None)
    tracers = [StagingTracer(trace, v) for v in jaxpr.args]
    env: dict[Any, Any] = dict(zip(jaxpr.inputs, (*jaxpr.consts, *tracers), strict=True))
    token = inherited.set(None)
    try:
        with running(trace), collector_paused():
            for e in jaxpr.eqns:
                inherited.set(e.source)
                operands = [env[a] if type(a) is Var else a.value for a in e.args]  # type: ignore[union-attr]
                out = visit(e, operands)
                if out is None:
                    out = trace.process(e.primitive, operands, e.params)
                outs = out if e.primitive.multiple_results else [out]
                env.update(zip(e.outs, outs, strict=True))
    finally:
        inherited.reset(token)
    outputs = [env[o] if type(o) is Var else o.value for o in jaxpr.outputs]  # type: ignore[union-attr]
    return trace.close(tracers, outputs)[0]
