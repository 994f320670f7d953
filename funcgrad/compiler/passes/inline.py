"""Calls become their bodies: jit and custom rules, once differentiation is over, are only calls.

What recomputes on purpose (`checkpoint`) is another kind of call and stays one, so that no later
pass can merge the recomputation with what it repeats.
"""

from __future__ import annotations

from collections.abc import Sequence

from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, is_settled, memoised
from funcgrad.core.loops import Call


def body_of(e: Eqn) -> Jaxpr | None:
    """The program of a plain call, None for everything else."""
    if not e.primitive.multiple_results or e.primitive.loops is None:
        return None
    form = e.primitive.loops(*(a.aval for a in e.args), **e.params)
    return e.params[form.jaxprs[0]] if isinstance(form, Call) and form.kind == "call" else None


@memoised
def inline_calls(jaxpr: Jaxpr) -> Jaxpr:
    """Writes out the bodies of calls, to any depth."""
    return rewrite(jaxpr, _visit)


def _visit(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    body = body_of(e)
    return None if body is None else program.splice(inline_calls(body), e.args)


@memoised
def recomputing(jaxpr: Jaxpr) -> Jaxpr:
    """Writes out the bodies of `checkpoint`, at any depth of calls.

    For compilers that share nothing from here on: what is computed again stays computed again.
    """
    return rewrite(jaxpr, _recompute)


def _recompute(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    if e.primitive.loops is None or not e.primitive.multiple_results:
        return None
    form = e.primitive.loops(*(a.aval for a in e.args), **e.params)
    if not isinstance(form, Call) or form.kind != "checkpoint" or e.effects:
        return None
    body = e.params[form.jaxprs[0]]
    return program.splice(recomputing(body), e.args) if is_settled(body) else None
