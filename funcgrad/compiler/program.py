"""A program as it runs: steps in order, with a plan of which memory each result takes.

Backends turn steps into code. What a backend can put into a kernel it says itself (`fuses`);
everything else here is common to all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from funcgrad.compiler.cluster import clusters
from funcgrad.compiler.views import form_of, is_view
from funcgrad.core import loops
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal, Var
from funcgrad.core.pretty import Names, print_eqn, used_variables
from funcgrad.core.primitive import Primitive

LARGE = 1 << 18  # bytes; chains over smaller arrays stay in the cache by themselves


@dataclass(slots=True)
class Step:
    """One or more equations that run as one.

    `kind`: "kernel" (maps over one shape), "view" (other strides, no work), "library" (one call of
    `value`), "call" (a program) or "host" (evaluated on arrays, outside of any kernel). `into`
    names the dead variable whose memory a result takes, `frees` the variables whose memory nobody
    needs after the step, `stored` the results that others read.
    """

    kind: str
    eqns: Sequence[Eqn]
    forms: Sequence[Any]
    into: dict[Var, Var] = field(default_factory=dict)
    frees: list[Var] = field(default_factory=list)
    stored: list[Var] = field(default_factory=list)

    @property
    def eqn(self) -> Eqn:
        """The only equation."""
        (e,) = self.eqns
        return e

    def reads(self) -> list[Var]:
        """The variables read from outside, each once, in order."""
        own = {o for e in self.eqns for o in e.outs}
        args = [a for e in self.eqns for a in e.args if type(a) is Var and a not in own]
        return list(dict.fromkeys(args))


@dataclass(slots=True)
class Program:
    """Steps in order.

    `expanded` are variables that only repeat a smaller array for kernels, which do that by
    themselves: their buffers have the shape given there, with ones.
    """

    jaxpr: Jaxpr
    donated: tuple[bool, ...]
    steps: list[Step]
    uses: dict[Var, int]
    expanded: dict[Var, tuple[int, ...]] = field(default_factory=dict)
    expanded_from: dict[Var, Var] = field(default_factory=dict)

    def __str__(self) -> str:
        names = Names(used_variables(self.jaxpr))
        for v in self.jaxpr.inputs:
            names(v)
        lines = [line for step in self.steps for line in _described(step, names)]
        flops, moved = self.flops(), self.bytes()
        total = f"{len(self.steps)} steps, {flops} flops, {moved} bytes"
        return "\n".join([*lines, f"return {', '.join(map(names, self.jaxpr.outputs))}", total])

    def flops(self) -> int:
        """An estimate of the arithmetic operations of one run."""
        return sum(work(e, f) for s in self.steps for e, f in zip(s.eqns, s.forms))

    def bytes(self) -> int:
        """An estimate of the bytes that one run reads and writes."""
        return sum(self._moved(s) for s in self.steps)

    def _moved(self, step: Step) -> int:
        if step.kind == "view":
            return 0
        inner = {o for e in step.eqns for o in e.outs}
        read_inside: dict[Var, int] = {}
        for e in step.eqns:
            for a in e.args:
                if a in inner:
                    read_inside[a] = read_inside.get(a, 0) + 1  # type: ignore[index, arg-type]
        stored = [o for o in inner if self.uses.get(o, 0) > read_inside.get(o, 0)]
        return sum(_size(v) * v.aval.dtype.itemsize for v in [*step.reads(), *stored])


def _size(v: Atom) -> int:
    return math.prod(s for s in v.aval.shape if isinstance(s, int))


def work(e: Eqn, form: Any) -> int:
    """Arithmetic operations of one equation, roughly: one for each element that is computed or
    combined.
    """
    if isinstance(form, loops.Contract):
        lhs, out = e.args[0].aval, e.outs[0].aval
        return 2 * math.prod(out.shape) * math.prod(lhs.shape[d] for d in form.lhs_contract)
    if isinstance(form, loops.Convolve):
        return _convolution_work(e)
    if is_view(form) or isinstance(form, loops.Call):
        return 0
    return max(map(_size, [*e.args, *e.outs]), default=0)


def _convolution_work(e: Eqn) -> int:
    """Two for each tap of each output; zeros that dilate the input cost nothing, padding does."""
    kernel, out = e.args[1].aval, e.outs[0].aval
    taps = _size(e.args[1]) // max(1, kernel.shape[e.params["dimension_numbers"].rhs_spec[0]])
    return 2 * math.prod(out.shape) * taps // math.prod(e.params["lhs_dilation"])


def _described(step: Step, names: Names) -> list[str]:
    """Lines of text: the kind, the equations, and where their results lie."""
    notes = [f"{names(out)} in {names(dead)}" for out, dead in step.into.items()]
    freed = [names(v) for v in step.frees]
    if freed:
        notes.append("free " + " ".join(freed))
    note = f"    # {'; '.join(notes)}" if notes else ""
    texts = [print_eqn(e, names, "    ") for e in step.eqns]
    if len(texts) == 1:
        return [f"{step.kind:8}{texts[0]}{note}"]
    return [f"{step.kind}{note}", *("    " + t for t in texts)]


# ---- building
# ------------------------------------------------------------------------------------------


def build(jaxpr: Jaxpr, donated: tuple[bool, ...], fuses: Callable[[Eqn, Any], bool]) -> Program:
    """The program's steps, without a plan of memory yet. `fuses(e, form)`: can the backend make
    a kernel of it?
    """
    forms = {id(e): form_of(e) for e in jaxpr.eqns}

    def joins(e: Eqn) -> bool:
        form = forms[id(e)]
        return isinstance(form, loops.Map) and not e.effects and fuses(e, form)

    units = clusters(jaxpr.eqns, joins, LARGE)
    steps = []
    for unit in units:
        kind = "kernel" if len(unit) > 1 else _kind(unit[0], forms[id(unit[0])], joins)
        steps.append(Step(kind, unit, [forms[id(e)] for e in unit]))
    program = Program(jaxpr, donated, steps, count_uses(jaxpr))
    program.expanded = expanded(program)
    views = [step.eqn for step in steps if step.kind == "view"]
    sources = [(e.args[0], o) for e in views for o in e.outs if o in program.expanded]
    program.expanded_from = {o: x for x, o in sources if type(x) is not Literal}
    return program


def expanded(program: Program) -> dict[Var, tuple[int, ...]]:
    """Variables that repeat a smaller array, all of whose readers are kernels with an operand of
    full shape.
    """
    found = {}
    for step in program.steps:
        if step.kind == "view" and (shape := _repeats(step.eqn, step.forms[0])) is not None:
            found[step.eqn.outs[0]] = shape
    if not found:
        return found
    unfit = {o for o in program.jaxpr.outputs if o in found}
    for step in program.steps:
        for e in step.eqns:
            repeated = [a for a in e.args if a in found]
            if repeated and not (step.kind == "kernel" and _has_full_operand(e, found)):
                unfit.update(repeated)
    return {v: shape for v, shape in found.items() if v not in unfit}


def _repeats(e: Eqn, form: Any) -> tuple[int, ...] | None:
    """The shape, with ones, of an operand that the view only repeats along other dimensions."""
    new = e.outs[0].aval.shape
    if not isinstance(form, loops.View) or type(e.args[0]) is Literal or not e.args[0].aval.shape:
        return None
    kept = [affine.terms[0][0] for affine in form.dims if affine.terms]
    plain = all(
        affine == loops.Affine(0, ((d, 1),))
        for d, affine in zip(kept, (a for a in form.dims if a.terms))
    )
    whole = math.prod(e.args[0].aval.shape) == math.prod(new[d] for d in kept)
    if not plain or not whole or kept != sorted(kept) or len(kept) == len(new):
        return None
    return tuple(size if d in kept else 1 for d, size in enumerate(new))


def _has_full_operand(e: Eqn, repeated: dict[Var, Any]) -> bool:
    return any(a.aval.shape == e.outs[0].aval.shape and a not in repeated for a in e.args)


def _kind(e: Eqn, form: Any, joins: Callable[[Eqn], bool]) -> str:
    if type(e.primitive).evaluate is not Primitive.evaluate:
        is_call = (
            isinstance(form, loops.Call) and form.kind in ("call", "checkpoint") and not e.effects
        )
        return "call" if is_call else "host"
    if e.effects or (not e.primitive.keys and any(a.aval.dtype.kind == "K" for a in e.args)):
        return "host"
    if joins(e):
        return "kernel"
    return "view" if form is not None and is_view(form) else "library"


def count_uses(jaxpr: Jaxpr) -> dict[Var, int]:
    """How often each variable is read, by equations and as an output."""
    uses: dict[Var, int] = {}
    for atoms in (*(e.args for e in jaxpr.eqns), jaxpr.outputs):
        for a in atoms:
            if type(a) is not Literal:
                uses[a] = uses.get(a, 0) + 1  # type: ignore[index]
    return uses
