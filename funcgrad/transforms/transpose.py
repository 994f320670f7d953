"""Transposition: from a linear program to the program of its adjoint, backward.

The backward pass is one loop over the recorded equations in reverse. It pops each result's
cotangent, asks the primitive for its operands', and adds those up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal, Var, eval_eqn, eval_jaxpr, memoised
from funcgrad.core.source import inherited
from funcgrad.core.tangent import Linear, Zero, is_zero
from funcgrad.core.trace import current_trace
from funcgrad.primitives.basis import add, instantiate, reduce_sum
from funcgrad.transforms.dce import derive
from funcgrad.transforms.partial import partial_eval


def pull_back(eqns: Sequence[Eqn], values: dict[Var, Any], cotangents: dict[Var, Any]) -> None:
    """Carries cotangents from the results of linear equations to what they came from.

    `values` holds the variables that are not linear; every other one is. On return `cotangents`
    holds those of the program's linear inputs that are not zero.
    """
    token = inherited.set(None)
    try:
        for e in reversed(eqns):
            ct = _cotangent_of(e, cotangents)
            if ct is not None:
                if e.source is not None:
                    inherited.set(e.source)
                _pull_back_eqn(e, ct, values, cotangents)
    finally:
        inherited.reset(token)


def _cotangent_of(e: Eqn, cotangents: dict[Var, Any]) -> Any:
    """What has come back to the equation's results, taken out; None if nothing has."""
    if not e.primitive.multiple_results:
        return cotangents.pop(e.outs[0], None)
    if any(o in cotangents for o in e.outs):
        return [cotangents.pop(o) if o in cotangents else Zero(o.aval) for o in e.outs]
    return None


def _pull_back_eqn(e: Eqn, ct: Any, values: dict[Var, Any], cotangents: dict[Var, Any]) -> None:
    if e.primitive.pull is not None:
        for a, c in zip(e.args, e.primitive.pull(ct, **e.params)):
            accumulate(cotangents, a, c)  # type: ignore[arg-type]
        return
    rule = e.primitive.transpose or e.primitive.rule("transpose", "transposition")
    args = [
        a.value if type(a) is Literal else values[a] if a in values else Linear(a.aval)
        for a in e.args
    ]
    if e.primitive.multilinear is not None and type(args[0]) is type(args[1]) is Linear:
        raise TypeError(
            f"transposition: {e.primitive.name} has several operands that depend on the input, "
            "so the function is not linear in it."
        )
    for a, operand, c in zip(e.args, args, rule(ct, *args, **e.params)):
        if c is not None and type(operand) is Linear and type(c) is not Zero:
            accumulate(cotangents, a, c)  # type: ignore[arg-type]


def accumulate(cotangents: dict[Var, Any], var: Var, ct: Any) -> None:
    """Adds a cotangent to a variable's; for an operand of rank 0 beside arrays, its sum."""
    if ct.shape and not var.aval.shape:
        ct = reduce_sum(ct, range(len(ct.shape)))
    cotangents[var] = add(cotangents[var], ct) if var in cotangents else ct


def backward_pass(
    jaxpr: Jaxpr, linear: Sequence[bool], values: Sequence[Any], cts: Sequence[Any]
) -> list[Any]:
    """Cotangents of the arguments marked `linear`, Zero where there is none; `values` are the other
    arguments'.

    Equations without a linear operand are evaluated first. Everything runs in the current trace.
    """
    trace, given = current_trace(), iter(values)
    env: dict[Var, Any] = dict(zip(jaxpr.constvars, jaxpr.consts))
    env.update((v, next(given)) for v, is_linear in zip(jaxpr.args, linear) if not is_linear)
    dependent = {v for v, is_linear in zip(jaxpr.args, linear) if is_linear}
    todo = []
    for e in jaxpr.eqns:
        if any(type(a) is Var and a in dependent for a in e.args):
            dependent.update(e.outs)
            todo.append(e)
        else:
            eval_eqn(e, env, trace)
    cotangents: dict[Var, Any] = {}
    for o, ct in zip(jaxpr.outputs, cts):
        if type(o) is Var and o in dependent and ct is not None and not is_zero(ct):
            accumulate(cotangents, o, ct)
    pull_back(todo, env, cotangents)
    return [
        cotangents.get(v, Zero(v.aval)) for v, is_linear in zip(jaxpr.args, linear) if is_linear
    ]


@memoised
def transpose_jaxpr(
    jaxpr: Jaxpr,
    linear: tuple[bool, ...],
    ct_nonzero: tuple[bool, ...],
    force: bool = False,
    separate: bool = False,
) -> tuple[Jaxpr, tuple[bool, ...]]:
    """(non-linear arguments, nonzero cotangents) -> cotangents of the linear arguments, and which
    of them are nonzero.

    `force` returns all of them. `separate` splits the program first: for bodies that mix
    recomputation with linear equations, as those of checkpoint.
    """
    count = sum(not is_linear for is_linear in linear)
    marks: list[Any] = []

    def function(*args: Any) -> list[Any]:
        given = iter(args[count:])
        cts = [next(given) if z else Zero(a) for z, a in zip(ct_nonzero, jaxpr.out_avals)]
        backward = _separated if separate else backward_pass
        out = backward(jaxpr, linear, args[:count], cts)
        marks[:] = [force or not is_zero(c) for c in out]
        return [instantiate(c) for c, m in zip(out, marks) if m]

    avals = [a for a, is_linear in zip(jaxpr.in_avals, linear) if not is_linear]
    avals += [a.strong() for a, z in zip(jaxpr.out_avals, ct_nonzero) if z]
    return derive(function, avals), tuple(marks)


def _separated(
    jaxpr: Jaxpr, linear: Sequence[bool], values: Sequence[Any], cts: Sequence[Any]
) -> list[Any]:
    """`backward_pass` for a program in which known work must be told from linear work first."""
    known = tuple(not is_linear for is_linear in linear)
    split = partial_eval(jaxpr, known, (True,) * len(jaxpr.outputs))
    residuals = eval_jaxpr(split.known(split.residuals), values, current_trace())
    inner = split.unknown([*split.residuals, *split.unknown_inputs])
    mask = [False] * len(split.residuals) + [True] * len(split.unknown_inputs)
    return backward_pass(inner, mask, residuals, cts)
