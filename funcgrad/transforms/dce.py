"""Dead code: equations and constants that no output needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import Eqn, Jaxpr, Var, memoised, subjaxprs
from funcgrad.core.stage import stage_rule


def live_eqns(eqns: Sequence[Eqn], outputs: Sequence[Any]) -> tuple[list[Eqn], set[Var]]:
    """The equations needed for `outputs` or for their effects, and all variables that those and
    `outputs` read.
    """
    live = {o for o in outputs if type(o) is Var}
    kept = []
    for e in reversed(eqns):
        if e.effects or any(o in live for o in e.outs):
            kept.append(e)
            live.update(a for a in e.args if type(a) is Var)
    return kept[::-1], live


def drop_dead(jaxpr: Jaxpr) -> Jaxpr:
    """The program without what its outputs do not need; its arguments stay."""
    eqns, live = live_eqns(jaxpr.eqns, jaxpr.outputs)
    constants = [(v, c) for v, c in zip(jaxpr.constvars, jaxpr.consts) if v in live]
    if len(eqns) == len(jaxpr.eqns) and len(constants) == len(jaxpr.consts):
        return jaxpr
    inputs = [v for v, _ in constants] + list(jaxpr.args)
    return Jaxpr(inputs, eqns, jaxpr.outputs, [c for _, c in constants])


def derive(function: Callable[..., Sequence[Any]], avals: Sequence[ShapedArray]) -> Jaxpr:
    """The program of a rule, without dead code."""
    return drop_dead(stage_rule(function, avals))


@memoised
def without_effects(jaxpr: Jaxpr) -> Jaxpr:
    """The program without what is there for its effect alone, inner programs included: computed
    again, it must not act again. TypeError if an effect's result is needed.
    """
    if not jaxpr.effects:
        return jaxpr
    eqns = [_without_effects(e) if e.effects else e for e in jaxpr.eqns]
    return drop_dead(jaxpr.replace(eqns=[e for e in eqns if e is not None and e.outs]))


def _without_effects(e: Eqn) -> Eqn | None:
    if not subjaxprs(e.params):
        if e.outs:
            raise TypeError(
                f"reverse mode: a loop is computed again, but {e.primitive} in it must happen only "
                "once. Move it out of the loop, or use lax.scan, which keeps its results."
            )
        return None
    params = {name: _programs_without_effects(value) for name, value in e.params.items()}
    effects = e.primitive.effects(params) if e.primitive.effects is not None else frozenset()
    return e.replace(params=params, effects=effects)


def _programs_without_effects(param: Any) -> Any:
    if isinstance(param, Jaxpr):
        return without_effects(param)
    if type(param) is tuple and param and isinstance(param[0], Jaxpr):
        return tuple(map(without_effects, param))
    return param
