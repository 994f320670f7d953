"""What the compiler did to a program: passes, steps, copies, reused memory, costs.

Loaded by name when somebody asks (see `core/backend.py`), so that importing the package stays
cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from funcgrad.compiler.cost import (
    Copy,
    Cost,
    copies,
    cost_of,
    planned,
    program_cost,
    reused_donations,
    size_of,
    unfused_cost,
)
from funcgrad.compiler.pipeline import PIPELINE, optimise, words
from funcgrad.compiler.program import Step
from funcgrad.config import config
from funcgrad.core.jaxpr import Jaxpr, subjaxprs

__all__ = ["Analysis", "PassEffect", "StepSummary", "analyse", "cost_of", "size_of", "unfused_cost"]


@dataclass(frozen=True)
class PassEffect:
    """One pass of the compiler: the number of equations before and after it, nested ones too."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class StepSummary:
    """What runs as one: a kernel of fused operations, a library call, a view or an inner program.

    `operations` are the names of its primitives in order, `shape` is what it works on; `inner` are
    the steps of a loop's body, of branches, or of a program that is called. `apart` says why it is
    not one with earlier steps whose results it reads.
    """

    kind: str
    operations: tuple[str, ...]
    shape: tuple[Any, ...]
    inner: tuple[StepSummary, ...] = ()
    apart: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A line for the step, and one for each step inside."""
        sizes = ",".join(map(str, self.shape))
        own = f"{self.kind:8}[{sizes}] {' '.join(self.operations)}"
        inner = [line for step in self.inner for line in step.lines()]
        return [own, *("  " + line for line in (*self.apart, *inner))]

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True)
class Analysis:
    """What became of one program. `reused` has an entry for each donated argument."""

    optimized: Jaxpr
    passes: tuple[PassEffect, ...]
    steps: tuple[StepSummary, ...]
    copies: tuple[Copy, ...]
    reused: tuple[bool, ...]
    cost: Cost


def analyse(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Analysis:
    """The analysis of a program under the configuration in force."""
    program, plan = planned(jaxpr, donated)
    return Analysis(
        optimized=optimise(jaxpr),
        passes=tuple(pass_effects(jaxpr)),
        steps=tuple(map(_summary, program.steps)),
        copies=tuple(copies(program, plan)),
        reused=tuple(reused_donations(program)),
        cost=program_cost(program),
    )


def pass_effects(jaxpr: Jaxpr) -> list[PassEffect]:
    """What each pass that is switched on does to the number of equations."""
    disabled = words(config.current().disabled_passes)
    found = []
    for step in PIPELINE:
        if step.__name__ not in disabled:
            before, jaxpr = jaxpr, step(jaxpr)
            found.append(PassEffect(step.__name__, equations(before), equations(jaxpr)))
    return found


def equations(jaxpr: Jaxpr) -> int:
    """The number of equations, those of nested programs included."""
    return sum(1 + sum(map(equations, subjaxprs(e.params))) for e in jaxpr.eqns)


def _summary(step: Step) -> StepSummary:
    arrays = [v for e in step.eqns for v in (*e.args, *e.outs)]
    shape = max(arrays, key=size_of).aval.shape if arrays else ()
    programs = [j for e in step.eqns if step.kind in ("call", "host") for j in subjaxprs(e.params)]
    inner = [_summary(s) for j in programs for s in planned(j)[0].steps]
    names = tuple(e.primitive.name for e in step.eqns)
    return StepSummary(step.kind, names, shape, tuple(inner))
