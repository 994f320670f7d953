"""What a program costs: operations, bytes moved, memory over time, copies, and what became of
donated arguments.

All of it is read off the steps and their plan of buffers, without running anything. Loops count
their body once per trip if the number of trips is known, else once; branches count as the dearest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from funcgrad.compiler.buffers import Plan, plan_buffers
from funcgrad.compiler.program import Program, Step, work
from funcgrad.compiler.views import form_of
from funcgrad.core import backend, loops
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal, Var


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimated arithmetic operations, bytes read and written, and bytes of memory.

    `temporaries` is the most that lives at one time and is no result; `peak` counts arguments and
    constants too.
    """

    flops: int
    bytes: int
    arguments: int
    constants: int
    results: int
    temporaries: int
    peak: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A value that is copied: always, or only if at run time it turns out to share its memory."""

    what: str
    reason: str
    certain: bool


def planned(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> tuple[Program, Plan]:
    """The program in steps as the engine in force runs it, and its plan of buffers."""
    engine = backend.load(backend.engine_name())
    if not hasattr(engine, "program_of"):  # one that runs equations as they stand
        engine = backend.load("numpy")
    program = engine.program_of(jaxpr, donated)
    return program, plan_buffers(program)


def size_of(v: Atom) -> int:
    """Bytes of a variable's values; symbolic sizes count as one."""
    aval = v.aval
    shape = backend.physical_shape(aval)
    count = math.prod(n for n in shape if isinstance(n, int))
    return count * backend.physical_dtype(aval).itemsize


# ---- memory
# ------------------------------------------------------------------------------------------


class Allocation:
    """One piece of memory: the steps between which it is needed, and whether the caller gave it."""

    __slots__ = ("size", "born", "dies", "given", "is_result", "rewritten")

    def __init__(self, size: int, born: int, given: bool) -> None:
        self.size, self.born, self.dies, self.given = size, born, born, given
        self.is_result = self.rewritten = False


def allocations(program: Program) -> dict[Var, Allocation]:
    """Where each variable lies, by a program whose buffers are planned."""
    found = {v: Allocation(size_of(v), -1, True) for v in program.jaxpr.inputs}
    for i, step in enumerate(program.steps):
        stored = _stored(step)
        for out in stored:
            held = found.get(_lies_in(step, out))  # type: ignore[arg-type]
            found[out] = held if held is not None else Allocation(size_of(out), i, False)
        for dead in step.into.values():
            found[dead].rewritten = True
        for v in (*step.reads(), *stored):
            found[v].dies = i
    for o in program.jaxpr.outputs:
        if type(o) is Var:
            found[o].dies, found[o].is_result = len(program.steps), True
    return found


def _stored(step: Step) -> list[Var]:
    """The results that are written to memory."""
    return step.stored if step.kind == "kernel" else [o for e in step.eqns for o in e.outs]


def _lies_in(step: Step, out: Var) -> Var | None:
    """The variable whose memory a result takes or looks at."""
    if step.kind == "view":
        source = step.eqn.args[0]
        return source if type(source) is Var else None
    return step.into.get(out)


def _live(held: list[Allocation], step: int) -> int:
    return sum(a.size for a in held if a.born <= step <= a.dies)


# ---- operations and bytes
# ----------------------------------------------------------------------------


def cost_of(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Cost:
    """What one run of the compiled program costs."""
    return program_cost(planned(jaxpr, donated)[0])


def program_cost(program: Program) -> Cost:
    """What one run of a program with planned buffers costs."""
    jaxpr = program.jaxpr
    inner = {i: _nested(e, f) for i, e, f in _calls(program)}
    own = [a for a in set(allocations(program).values()) if not a.given]
    temporary = [a for a in own if not a.is_result]
    spent = [(i, inner[i].temporaries if i in inner else 0) for i in range(len(program.steps))]
    arguments = sum(map(size_of, jaxpr.args))
    constants = sum(map(size_of, jaxpr.constvars))
    top = max((_live(own, i) + extra for i, extra in spent), default=0)
    return Cost(
        flops=program.flops() + sum(c.flops for c in inner.values()),
        bytes=program.bytes() + sum(c.bytes for c in inner.values()),
        arguments=arguments,
        constants=constants,
        results=sum(map(size_of, jaxpr.outputs)),
        temporaries=max((_live(temporary, i) + extra for i, extra in spent), default=0),
        peak=arguments + constants + top,
    )


def _calls(program: Program) -> Iterator[tuple[int, Eqn, loops.Call]]:
    for i, step in enumerate(program.steps):
        for e, form in zip(step.eqns, step.forms):
            if isinstance(form, loops.Call):
                yield i, e, form


def programs_of(e: Eqn, form: loops.Call) -> list[Jaxpr]:
    """The programs that an equation runs."""
    found = [e.params[name] for name in form.jaxprs]
    return [j for value in found for j in (value if isinstance(value, tuple) else (value,))]


def trips(e: Eqn, form: loops.Call) -> int:
    """How often a loop runs its body, if that is known; else 1."""
    length = e.params.get("length") if form.kind == "scan" else 1
    return length if isinstance(length, int) else 1


def _carried(e: Eqn, form: loops.Call) -> int:
    """A loop holds the last carry while it computes the next; its outputs count where it stands."""
    if form.kind == "while":
        return sum(map(size_of, e.outs))
    return sum(map(size_of, e.outs[: e.params["num_carry"]])) if form.kind == "scan" else 0


def _nested(e: Eqn, form: loops.Call) -> Cost:
    """What the programs of a construct add to the program that they stand in."""
    inner = [cost_of(j) for j in programs_of(e, form)]
    together = max if form.kind == "cond" else sum
    times = trips(e, form)
    return Cost(
        flops=times * together(c.flops for c in inner),
        bytes=times * together(c.bytes for c in inner),
        arguments=0,
        constants=sum(c.constants for c in inner),
        results=0,
        temporaries=_carried(e, form) + max((c.temporaries for c in inner), default=0),
        peak=0,
    )


def unfused_cost(jaxpr: Jaxpr) -> tuple[int, int]:
    """Operations and bytes of the program as it stands, each equation by itself."""
    flops = moved = 0
    for e in jaxpr.eqns:
        form = form_of(e)
        if isinstance(form, loops.Call):
            inner = [unfused_cost(j) for j in programs_of(e, form)]
            together: Callable[..., Any] = max if form.kind == "cond" else sum
            times = trips(e, form)
            flops += times * together(f for f, _ in inner)
            moved += times * together(b for _, b in inner)
        else:
            flops += work(e, form)
            moved += sum(map(size_of, [a for a in e.args if type(a) is Var] + list(e.outs)))
    return flops, moved


# ---- copies, donation
# --------------------------------------------------------------------------------


def copies(program: Program, plan: Plan) -> list[Copy]:
    """Values that are copied, although nothing is computed on the way."""
    return [*_reordered(program, plan), *_copied_results(program, plan)]


def _reordered(program: Program, plan: Plan) -> Iterator[Copy]:
    for step in program.steps:
        if step.kind == "view" and isinstance(step.forms[0], loops.Reshape):
            source = step.eqn.args[0]
            if type(source) is Var and source not in plan.compact:
                yield Copy(str(source.aval), "reshaped while not in row-major order", False)


def _copied_results(program: Program, plan: Plan) -> Iterator[Copy]:
    """Results belong to the caller: one that is an argument, a constant or another result too is
    copied.
    """
    outputs = program.jaxpr.outputs
    roots = [plan.aliases.find(o) for o in outputs if type(o) is Var]
    earlier: list[Var] = []
    for k, o in enumerate(outputs):
        if type(o) is Literal:
            continue
        root = plan.aliases.find(o)  # type: ignore[arg-type]
        others = [*plan.held(root), *(v for v in earlier if plan.aliases.find(v) is root)]
        earlier.append(o)  # type: ignore[arg-type]
        what = f"result {k} ({o.aval})"
        if o in others:
            yield Copy(what, "it is an argument, a constant or another result", True)
        elif others or roots.count(root) > 1:
            yield Copy(what, "it may share memory with an argument or another result", False)
        elif o not in plan.compact:
            yield Copy(what, "it may not be in row-major order", False)


def reused_donations(program: Program) -> list[bool]:
    """For each donated argument: did anything take its memory?"""
    found = allocations(program)
    marks = zip(program.jaxpr.args, program.donated)
    return [found[v].rewritten or found[v].is_result for v, given in marks if given]
