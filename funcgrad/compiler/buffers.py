"""The plan of memory: how long each buffer lives, which dead one a result takes, and what must be
copied out.

A result of a kernel takes the memory of an operand that dies there, if shape and dtype agree and
nobody else can see it, or of one that died before; donated arguments die like temporaries. Only
memory that the program allocated itself, or was given, is ever written to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from funcgrad.compiler.program import Program, Step
from funcgrad.compiler.views import FRESH, Aliases
from funcgrad.core import loops
from funcgrad.core.jaxpr import Eqn, Var


class Plan:
    """What is known of the variables' memory."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.aliases = Aliases()
        # Arrays of our own that fill their memory, so that they may be written to, and arrays in C
        # order.
        self.owned: set[Var] = set()
        self.compact: set[Var] = set()
        # The last step that reads a piece of memory (by its representative), and a variable.
        self.last: dict[Var, int] = {}
        self.last_read: dict[Var, int] = {}
        self.sharers: Counter[Var] = Counter()
        self._held: dict[Var, list[Var]] = {}
        self._inspect()
        self._find_last_uses()

    # ---- what may be written to

    def _inspect(self) -> None:
        jaxpr = self.program.jaxpr
        self.compact.update(jaxpr.inputs)
        for v, given in zip(jaxpr.args, self.program.donated):
            if given and v.aval.shape:
                self.owned.add(v)
        for step in self.program.steps:
            self._inspect_step(step)

    def _inspect_step(self, step: Step) -> None:
        for e, form in zip(step.eqns, step.forms):
            fresh = step.kind in ("kernel", "call") or isinstance(form, FRESH)
            self.aliases.add(e, form, fresh)
            if fresh:
                self._add_fresh(e.outs, in_order=step.kind == "kernel" or self._in_order(e, form))
            elif isinstance(form, loops.Reshape) and e.args[0] in self.compact:
                self.compact.update(e.outs)
                if e.args[0] in self.owned and e.outs[0].aval.shape:
                    self.owned.update(e.outs)

    def _in_order(self, e: Eqn, form: Any) -> bool:
        """Is the result of a library call in C order? NumPy's reductions keep their operand's."""
        return isinstance(form, loops.Contract) or all(
            a in self.compact for a in e.args if type(a) is Var
        )

    def _add_fresh(self, outs: Sequence[Var], in_order: bool) -> None:
        self.owned.update(v for v in outs if v.aval.shape)
        if in_order:
            self.compact.update(outs)

    # ---- how long memory lives

    def _find_last_uses(self) -> None:
        inputs = self.program.jaxpr.inputs
        self.sharers.update(map(self.aliases.find, inputs))
        for i, step in enumerate(self.program.steps):
            outs = [o for e in step.eqns for o in e.outs]
            self.sharers.update(map(self.aliases.find, outs))
            for v in [*step.reads(), *outs]:
                self._read(v, i)
        for o in self.program.jaxpr.outputs:
            if type(o) is Var:
                self._read(o, len(self.program.steps))

    def _read(self, v: Var, i: int) -> None:
        self.last[self.aliases.find(v)] = self.last_read[v] = i
        source = self.program.expanded_from.get(v)
        if source is not None:  # they have one name
            self._read(source, i)

    def held(self, root: Var) -> list[Var]:
        """Inputs over this piece of memory that are not ours to give away: constants, and
        arguments not donated.
        """
        if not self._held:
            given = dict(zip(self.program.jaxpr.args, self.program.donated))
            for v in self.program.jaxpr.inputs:
                if not given.get(v):
                    self._held.setdefault(self.aliases.find(v), []).append(v)
        return self._held.get(root, [])

    def may_hold(self, v: Var) -> bool:
        """Can a result be written where `v` lies?"""
        return v in self.owned and v in self.compact

    def dies_at(self, v: Var, step: int) -> bool:
        """Does nobody read the memory of `v` after this step?"""
        return self.last.get(self.aliases.find(v)) == step


def plan_buffers(program: Program) -> Plan:
    """Decides, for each step, whose memory its results take, and what is freed after it."""
    plan = Plan(program)
    pool = _Pool()
    arguments = set(program.jaxpr.inputs)
    for i, step in enumerate(program.steps):
        taken: set[Var] = set()
        if step.kind == "kernel":
            outs = [o for e in step.eqns for o in e.outs]
            step.stored = [o for o in outs if plan.last_read[o] > i]
            for out in step.stored if outs[0].aval.shape else ():
                found = _dying_operand(plan, step, out, i, taken) or pool.take(out)
                if found is not None:
                    step.into[out] = found
                    taken.add(found)
        for v in _dead_variables(plan, step, i):
            if v in taken or v in program.expanded_from:
                continue
            if plan.may_hold(v) and plan.sharers[plan.aliases.find(v)] == 1:
                pool.put(v, step)
            elif v not in arguments:
                step.frees.append(v)
    pool.forget()
    return plan


def _dying_operand(plan: Plan, step: Step, out: Var, i: int, taken: set[Var]) -> Var | None:
    """An operand whose memory the result may take."""
    for v in step.reads():
        root = plan.aliases.find(v)
        if v in taken or not plan.may_hold(v) or v in plan.program.expanded:
            continue
        fits = v.aval.shape == out.aval.shape and v.aval.dtype == out.aval.dtype
        alone = all(plan.aliases.find(w) is not root for w in step.reads() if w is not v)
        if fits and alone and plan.dies_at(v, i):
            return v
    return None


def _dead_variables(plan: Plan, step: Step, i: int) -> Iterator[Var]:
    """The variables, other than temporaries inside a kernel, that nobody reads after this step."""
    outs = [] if step.kind == "kernel" else [o for e in step.eqns for o in e.outs]
    return (v for v in dict.fromkeys([*step.reads(), *outs]) if plan.last_read[v] == i)


class _Pool:
    """Dead buffers by shape and dtype. One that is never taken is freed where it died."""

    def __init__(self) -> None:
        self.idle: dict[Any, list[tuple[Var, Step]]] = {}

    def put(self, v: Var, step: Step) -> None:
        self.idle.setdefault((v.aval.shape, v.aval.dtype), []).append((v, step))

    def take(self, like: Var) -> Var | None:
        """The buffer of this size that died last, which is the likeliest to be in the cache."""
        found = self.idle.get((like.aval.shape, like.aval.dtype))
        return found.pop()[0] if found else None

    def forget(self) -> None:
        for found in self.idle.values():
            for v, step in found:
                step.frees.append(v)
