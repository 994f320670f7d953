"""The NumPy engine: an optimised program as one generated Python function over NumPy calls.

Arrays of a device, if the program is given any, take the reference engine's way, equation by
equation.
"""

from __future__ import annotations

import builtins
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.backends import loop_source, reference
from funcgrad.backends.python_source import write
from funcgrad.backends.ufuncs import calls_of
from funcgrad.compiler.buffers import plan_buffers
from funcgrad.compiler.lanes import at_once
from funcgrad.compiler.pipeline import optimise
from funcgrad.compiler.program import Program, Step, build
from funcgrad.core import backend
from funcgrad.core.array import ConcreteArray, KeyArray
from funcgrad.core.avals import ShapedArray
from funcgrad.core.dtypes import is_key
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var, constants, subjaxprs
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Primitive, result_buffer
from funcgrad.core.stage import collector_paused
from funcgrad.core.trace import EVAL, running

Run = Callable[[Sequence[Any]], list[Any]]


class Executable(NamedTuple):
    """Generated code. A leaf calls NumPy only, and runs where NumPy's warnings are off; others
    switch them off inside. `parts` are the programs that it calls, by their names in the source.
    """

    function: Run
    leaf: bool
    source: str
    parts: dict[str, Executable]

    def text(self, name: str = "program") -> str:
        """The source, after that of the parts, whose names begin with that of their caller."""
        source, inner = self.source, []
        for called, part in self.parts.items():
            whole = called if name == "program" else f"{name}_{called}"
            source = re.sub(rf"\b{called}\b", whole, source)
            inner.append(part.text(whole))
        return "\n\n".join([*inner, source.replace("def program(", f"def {name}(", 1)])


def compile(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Run:
    """The program as a function of buffers; `donated` marks those that it may overwrite."""
    return _runnable(jaxpr, donated).function


def _runnable(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Executable:
    """The program's code as a function of buffers on any device, in its own quiet state."""
    by_equation = reference.compile(jaxpr, donated)
    namespace_of, numpy, quiet = backend.namespace_of, backend.NUMPY, backend.quiet
    if namespace_of([c._buffer for c in constants(jaxpr)]) is not numpy:
        return Executable(by_equation, False, "", {})
    code = executable_of(jaxpr, donated)
    function = code.function

    def run_leaf(buffers: Sequence[Any]) -> list[Any]:
        if namespace_of(buffers) is not numpy:
            return by_equation(buffers)
        return quiet.run(function, buffers)

    def run(buffers: Sequence[Any]) -> list[Any]:
        return function(buffers) if namespace_of(buffers) is numpy else by_equation(buffers)

    return code._replace(function=run_leaf if code.leaf else run, leaf=False)


def executable_of(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Executable:
    """The generated code of a program."""
    inner: list[Executable] = []

    def called(step: Step) -> Executable:
        inner.append(inner_call(step))
        return inner[-1]

    with collector_paused():
        program = program_of(jaxpr, donated)
        source, names, hosted = write(program, plan_buffers(program), called)
    return Executable(_executed(source, names), not hosted, source, _parts(names, inner))


def _parts(names: dict[str, Any], inner: Sequence[Executable]) -> dict[str, Executable]:
    """The generated programs among the names of a source."""
    written = {id(part.function): part for part in inner if part.source}
    return {name: written[id(value)] for name, value in names.items() if id(value) in written}


def program_of(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Program:
    """The optimised program in steps."""
    return build(optimise(jaxpr), donated or (False,) * len(jaxpr.args), fuses)


def fuses(e: Eqn, form: Any) -> bool:
    """Can the map be written as ufunc calls?"""
    return len(e.outs) == 1 and calls_of(e, form) is not None


def own(x: Any, *others: Any) -> Any:
    """The array itself if nobody else has it and it is in C order, else a copy."""
    if type(x) is not np.ndarray:
        return x
    alone = x.base is None and not any(x is other for other in others)
    return x if alone and x.flags.c_contiguous else x.copy()


# ---- steps that are not NumPy's
# ------------------------------------------------------------------------


def inner_call(step: Step) -> Executable:
    """What runs an inner program, or an operation that is evaluated on arrays."""
    e = step.eqn
    form = step.forms[0]
    if step.kind == "call":
        return executable_of(e.params[form.jaxprs[0]])
    if isinstance(form, Call) and form.kind in loop_source.KINDS:
        return _loop(e, form.kind)
    return Executable(functools.partial(evaluate, e), False, "", {})


def compile_loop(
    primitive: Primitive, avals: Sequence[ShapedArray], params: dict[str, Any]
) -> Run | None:
    """One loop as a function of buffers, outside of any program; None if its programs hold arrays
    of a device.
    """
    held = [c._buffer for j in subjaxprs(params) for c in constants(j)]
    if backend.namespace_of(held) is not backend.NUMPY:
        return None
    e = Eqn(primitive, [Var(a) for a in avals], params, ())
    form = primitive.rule("loops", "compilation")(*avals, **params)
    code = _loop(e, form.kind)
    function, quiet = code.function, backend.quiet
    return (lambda buffers: quiet.run(function, buffers)) if code.leaf else function


def _loop(e: Eqn, kind: str) -> Executable:
    """A loop or a branch, with its inner programs' statements inside; lanes all at once."""
    together = at_once(e.params)
    if together is not None:
        return executable_of(together)
    bodies: list[Executable] = []

    def compiled(jaxpr: Jaxpr) -> Run:
        bodies.append(_runnable(jaxpr))
        return bodies[-1].function

    writer = loop_source.LoopWriter(e, program_of, inner_call, compiled)
    source = writer.write(kind)
    parts = _parts(writer.globals, [*bodies, *writer.inner.values()])
    return Executable(_executed(source, writer.globals), not writer.hosted, source, parts)


def loop_of_calls(e: Eqn, kind: str, compiled: Callable[[Jaxpr], Run]) -> Run:
    """A loop or a branch whose inner programs are the functions that `compiled` makes of them."""
    together = at_once(e.params)
    if together is not None:
        return compiled(together)
    writer = loop_source.LoopWriter(e, program_of, inner_call, compiled, written=False)
    return _executed(writer.write(kind), writer.globals)


def _executed(source: str, names: dict[str, Any]) -> Run:
    """The generated function."""
    scope = {**names, "xp": backend.NUMPY, "own": own}
    exec(builtins.compile(source, "<funcgrad numpy>", "exec"), scope)
    return scope["program"]


def evaluate(e: Eqn, buffers: Sequence[Any]) -> list[Any]:
    """One operation on arrays instead of buffers."""
    arrays = [
        KeyArray(b, a.aval.dtype) if is_key(a.aval.dtype) else ConcreteArray(b, a.aval.weak_type)
        for b, a in zip(buffers, e.args)
    ]
    with running(EVAL):
        out = e.primitive.evaluate(arrays, e.params)
    outs = out if e.primitive.multiple_results else [out]
    return [result_buffer(o, v.aval) for o, v in zip(outs, e.outs)]


# ---- text
# ----------------------------------------------------------------------------------------------


def as_text(jaxpr: Jaxpr, dialect: str) -> str:
    """The program after the passes ("optimized"), as steps and buffers ("program"), or as
    generated code ("python").
    """
    if dialect == "optimized":
        return str(optimise(jaxpr))
    if dialect == "program":
        program = program_of(jaxpr)
        plan_buffers(program)
        return str(program)
    if dialect == "python":
        return executable_of(jaxpr).text()
    raise ValueError(
        "as_text: there are the dialects jaxpr, optimized, program, python, kernels, llvm and asm, "
        f"but got {dialect!r}."
    )
