"""What the native engine makes of a program, told: which kernel holds which equations, and why two
kernels are not one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from funcgrad.backends.llvm.assembly import Assembly
from funcgrad.backends.llvm.block import Block
from funcgrad.backends.llvm.loops import BlockLoop, RegisterLoop
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.analysis import StepSummary
from funcgrad.compiler.fusion import Unit
from funcgrad.compiler.graph import variables
from funcgrad.compiler.pipeline import prepared
from funcgrad.compiler.products import Convolution
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Var

MENTIONED = 3  # neighbours of a kernel whose distance is explained


@dataclass(frozen=True)
class Explained:
    """The steps of a program, and for each argument whether a result takes its memory."""

    steps: tuple[StepSummary, ...]
    reused: tuple[bool, ...]


def explain(jaxpr: Jaxpr, donated: tuple[bool, ...]) -> Explained:
    """The explanation of a program under the configuration in force."""
    made = Assembly(prepared(jaxpr), donated, host())
    taken = set(made.shared.values())
    given = [v for v, d in zip(made.jaxpr.args, donated) if d]
    return Explained(tuple(steps_of(made.block)), tuple(v in taken for v in given))


def steps_of(block: Block) -> list[StepSummary]:
    """A block's kernels, loops, and what others run, in order."""
    number = {v: n for n, u in enumerate(block.units, 1) for v in u.results()}
    return [_step(block, unit, number) for unit in block.units]


def _step(block: Block, unit: Unit, number: dict[Var, int]) -> StepSummary:
    if unit.eqn is None:
        names = tuple(e.primitive.name for e in equations_of(block, unit))
        return StepSummary(_kind(unit), names, _shape(unit), (), _apart(block, unit, number))
    e, loop = unit.eqn, block.loops[unit]
    blocks = [inner.block for inner in loop.blocks] if isinstance(loop, BlockLoop) else []
    inner = tuple(step for found in blocks for step in steps_of(found))
    kind = "outside" if loop is None else "loop" if blocks else "routine"
    kind = "registers" if isinstance(loop, RegisterLoop) else kind
    shape = _largest((*e.outs, *e.args))
    return StepSummary(kind, (e.primitive.name,), shape, inner)


def _kind(unit: Unit) -> str:
    tiled = next((r for r in unit.roots if r.is_tiled), None)
    if tiled is None:
        return "kernel"
    return "conv" if isinstance(tiled.definition.form, Convolution) else "product"


def _shape(unit: Unit) -> tuple[Any, ...]:
    """What the kernel goes over: the largest array that it makes or reduces."""
    read = [a for r in unit.roots if r.reduces for a in variables(r.definition.eqn.args)]
    return _largest((*(r.var for r in unit.roots), *read))


def _largest(atoms: Iterable[Atom]) -> tuple[Any, ...]:
    """The shape with the most elements; unknown sizes, of which there may be many, go first."""
    shapes = [a.aval.shape for a in atoms]
    unknown = [s for s in shapes if not all(isinstance(n, int) for n in s)]
    return max(unknown, key=len) if unknown else max(shapes, key=math.prod, default=())


def equations_of(block: Block, unit: Unit) -> list[Eqn]:
    """The equations that a kernel computes, in the program's order; some are in several kernels."""
    definitions, stored = block.graph.definitions, block.fusion.stored
    found: set[Eqn] = set()
    pending = [root.var for root in unit.roots]
    while pending:
        e = definitions[pending.pop()].eqn
        if e not in found:
            found.add(e)
            inside = [a for a in variables(e.args) if a in definitions and a not in stored]
            pending += inside
    return [e for e in block.jaxpr.eqns if e in found]


def _apart(block: Block, unit: Unit, number: dict[Var, int]) -> tuple[str, ...]:
    """Why the kernel is not one with those whose results it reads."""
    own = number[unit.roots[0].var]
    told: dict[int, str] = {}
    for source in sorted(unit.sources, key=lambda v: number.get(v, 0)):
        before = number.get(source, own)
        if before != own:
            reason = _reason(block, source, [root.var for root in unit.roots])
            told.setdefault(before, reason)
    lines = [f"not in step {n}: {reason}" for n, reason in told.items() if reason]
    return tuple(lines[:MENTIONED])


def _reason(block: Block, source: Var, readers: Sequence[Var]) -> str:
    refused = block.fusion.refused
    return next((refused[source, r] for r in readers if refused.get((source, r))), "")
