"""Constants computed once: equations without variable operands, where the result is small enough
to keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Var
from funcgrad.core.primitive import Construct
from funcgrad.core.trace import EVAL, running

SMALL = 1024  # elements; a larger constant costs more memory than its computation costs time


def fold_constants(jaxpr: Jaxpr) -> Jaxpr:
    """Evaluates what depends on constants alone, unless it is large or has effects."""
    return rewrite(jaxpr, _visit)


def _visit(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    if e.effects or isinstance(e.primitive, Construct) or not _is_foldable(program, e):
        return None
    operands = [program.constants[a] if type(a) is Var else a.value for a in e.args]  # type: ignore[union-attr]
    with running(EVAL):
        out = EVAL.process(e.primitive, operands, e.params)
    outs = out if e.primitive.multiple_results else [out]
    return [program.constant(o, v.aval) for o, v in zip(outs, e.outs)]


def _is_foldable(program: Rewriter, e: Eqn) -> bool:
    constants: Any = program.constants
    if any(type(a) is Var and a not in constants for a in e.args) or _repeats_one_value(e):
        return False
    return all(_elements(o) <= SMALL for o in e.outs)


def _repeats_one_value(e: Eqn) -> bool:
    """A scalar in a larger shape: better left, since its readers can take the scalar."""
    return len(e.args) == 1 and not e.args[0].aval.shape and _elements(e.outs[0]) > 1


def _elements(var: Var) -> int:
    size = 1
    for extent in var.aval.shape:
        if not isinstance(extent, int):
            return SMALL + 1
        size *= extent
    return size
