"""The plan of memory: how long each buffer lives, which dead one a result takes, and what must be
copied out.

A result of a kernel takes the memory of an operand that dies there, if shape and dtype agree and
nobody else can see it, or of one that died before; donated arguments die like temporaries. Only
memory that the program allocated itself, or was given, is ever written to.
"""

from __future__ import annotations

from typing import Any

from funcgrad.compiler.program import Program, Step
from funcgrad.compiler.views import FRESH, Aliases
from funcgrad.core import loops
from funcgrad.core.jaxpr import Var


class Plan:
    """What is known of the variables' memory."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.aliases = Aliases()
        self.owned: set[Var] = (
            set()
        )  # arrays of our own that fill their memory: they may be written to
        self.compact: set[Var] = set()  # arrays in C order
        self.last: dict[Var, int] = {}
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
                self._add_fresh(e.outs)
            elif isinstance(form, loops.Reshape) and e.args[0] in self.compact:
                self.compact.update(e.outs)
                if e.args[0] in self.owned and e.outs[0].aval.shape:
                    self.owned.update(e.outs)

    def _add_fresh(self, outs: Any) -> None:
        self.compact.update(outs)
        self.owned.update(v for v in outs if v.aval.shape)

    # ---- how long memory lives

    def _find_last_uses(self) -> None:
        for i, step in enumerate(self.program.steps):
            for v in step.reads():
                self.last[self.aliases.find(v)] = i
            for e in step.eqns:
                for v in e.outs:
                    self.last.setdefault(self.aliases.find(v), i)
        for o in self.program.jaxpr.outputs:
            if type(o) is Var:
                self.last[self.aliases.find(o)] = len(self.program.steps)

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

    def dies_at(self, v: Var, step: int) -> bool:
        """Does nobody read the memory of `v` after this step?"""
        return self.last.get(self.aliases.find(v)) == step


def plan_buffers(program: Program) -> Plan:
    """Decides, for each step, whose memory its results take, and what is freed after it."""
    plan = Plan(program)
    pool = _Pool()
    members = _members(plan)
    arguments = set(program.jaxpr.inputs)
    for i, step in enumerate(program.steps):
        taken: set[Var] = set()
        if step.kind == "kernel":
            step.stored = [
                o for e in step.eqns for o in e.outs if plan.last[plan.aliases.find(o)] > i
            ]
            for out in step.stored if step.eqns[0].outs[0].aval.shape else ():
                found = _dying_operand(plan, step, out, i, taken) or pool.take(out)
                if found is not None:
                    step.into[out] = found
                    taken.add(plan.aliases.find(found))
        for root in _dead_roots(plan, step, i):
            if root in taken:
                continue
            _retire(plan, step, root, members.get(root, [root]), pool, arguments)
    pool.forget()
    return plan


def _dying_operand(plan: Plan, step: Step, out: Var, i: int, taken: set[Var]) -> Var | None:
    """An operand whose memory the result may take."""
    for v in step.reads():
        root = plan.aliases.find(v)
        if root in taken or v not in plan.owned or v in plan.program.expanded:
            continue
        fits = v.aval.shape == out.aval.shape and v.aval.dtype == out.aval.dtype
        alone = all(plan.aliases.find(w) is not root for w in step.reads() if w is not v)
        if fits and alone and plan.dies_at(v, i):
            return v
    return None


def _members(plan: Plan) -> dict[Var, list[Var]]:
    """All variables over each piece of memory."""
    members: dict[Var, list[Var]] = {}
    for step in plan.program.steps:
        for e in step.eqns:
            for v in e.outs:
                members.setdefault(plan.aliases.find(v), []).append(v)
    for v in plan.program.jaxpr.inputs:
        members.setdefault(plan.aliases.find(v), []).append(v)
    return members


def _dead_roots(plan: Plan, step: Step, i: int) -> list[Var]:
    """The pieces of memory that nobody reads after this step."""
    touched = [*step.reads(), *(o for e in step.eqns for o in e.outs)]
    roots = dict.fromkeys(plan.aliases.find(v) for v in touched)
    return [r for r in roots if plan.last[r] == i]


def _retire(
    plan: Plan, step: Step, root: Var, members: list[Var], pool: _Pool, arguments: set[Var]
) -> None:
    """Dead memory: kept for a later result of its size, or freed."""
    inside = {o for e in step.eqns for o in e.outs}
    named = [
        v for v in members if v not in arguments and not (step.kind == "kernel" and v in inside)
    ]
    if len(members) == 1 and members[0] in plan.owned and (named or members[0] in arguments):
        pool.put(members[0], step)
    elif named:
        step.frees += named


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
