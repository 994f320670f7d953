"""Which derivatives can be nonzero: the sparsity pattern of a program's Jacobian.

The derivative program (its jvp) is walked once. Each of its values has, for every element, the set
of inputs whose tangents it may contain: a row of a boolean sparse matrix. Values that do not depend
on the inputs at all are computed on the way, so that indices and masks made of them are exact.
Next: `sparsity_rules.py`, what each form of equation does to the sets; `coloring.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.coloring import column_colors, star_colors
from funcgrad.compiler.passes.inline import inline_calls
from funcgrad.compiler.sparsity_rules import RULES, Rows, Value, anything
from funcgrad.compiler.views import form_of
from funcgrad.core import loops
from funcgrad.core.array import ConcreteArray, KeyArray
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal
from funcgrad.core.primitive import wrap_buffer
from funcgrad.core.stage import literal
from funcgrad.core.trace import EVAL, running
from funcgrad.transforms.autodiff import jvp_jaxpr

__all__ = ["column_colors", "jacobian_pattern", "star_colors"]

STEPS = 2000  # a longer scan is walked to a fixpoint instead of step by step
ROUNDS = 64  # after so many a fixpoint is given up: everything may depend on everything


def jacobian_pattern(jaxpr: Jaxpr, varied: tuple[bool, ...], known: Sequence[Any]) -> Any:
    """The pattern of all outputs, raveled and joined, by the inputs that `varied` marks: a sparse
    boolean matrix.

    `known` has the Array of each input whose value may be relied on, else None.
    """
    sizes = [a.size for a, v in zip(jaxpr.in_avals, varied) if v]
    rows = Rows(sum(sizes))
    derived, nonzero = jvp_jaxpr(jaxpr, varied)
    primals = [Value(a, known=k) for a, k in zip(jaxpr.in_avals, known)]
    starts = itertools.accumulate(sizes, initial=0)
    avals = [a for a, v in zip(jaxpr.in_avals, varied) if v]
    tangents = [Value(a, rows.block(start, size)) for a, start, size in zip(avals, starts, sizes)]
    outs = walk(rows, inline_calls(derived), [*primals, *tangents])
    moved = iter(outs[len(jaxpr.outputs) :])
    blocks = []
    for aval, m in zip(jaxpr.out_avals, nonzero):
        found = next(moved).deps if m else None
        blocks.append(rows.none(aval.size) if found is None else found)
    return rows.stacked(blocks)


def walk(rows: Rows, jaxpr: Jaxpr, args: Sequence[Value]) -> list[Value]:
    """The outputs of a program from its arguments."""
    consts = [Value(v.aval, known=c) for v, c in zip(jaxpr.constvars, jaxpr.consts)]
    env: dict[Any, Value] = dict(zip(jaxpr.inputs, [*consts, *args], strict=True))

    def read(atom: Any) -> Value:
        return _constant(atom) if type(atom) is Literal else env[atom]

    for e in jaxpr.eqns:
        env.update(zip(e.outs, _results(rows, e, list(map(read, e.args))), strict=True))
    return list(map(read, jaxpr.outputs))


def _constant(atom: Literal) -> Value:
    value = atom.value
    return Value(
        atom.aval, known=value if isinstance(value, ConcreteArray) else literal(value).value
    )


def _results(rows: Rows, e: Eqn, operands: list[Value]) -> list[Value]:
    if all(o.known is not None for o in operands) and not e.effects:
        with running(EVAL):
            out = e.primitive.evaluate([o.known for o in operands], e.params)
        return [
            Value(v.aval, known=o)
            for v, o in zip(e.outs, out if e.primitive.multiple_results else [out])
        ]
    if all(o.deps is None for o in operands):
        return [Value(v.aval) for v in e.outs]
    form = form_of(e)
    if isinstance(form, loops.Call):
        outs = CALLS.get(form.kind, _unknown_call)(rows, e, form, operands)
    else:
        found = RULES.get(type(form), anything)(rows, e, form, operands)
        outs = [Value(v.aval, d) for v, d in zip(e.outs, found)]
    return [o if o.aval.has_tangent else Value(o.aval, known=o.known) for o in outs]


# ---- constructs
# --------------------------------------------------------------------------------------


def _unknown_call(rows: Rows, e: Eqn, form: Any, operands: list[Value]) -> list[Value]:
    return [Value(v.aval, d) for v, d in zip(e.outs, anything(rows, e, form, operands))]


def _call(rows: Rows, e: Eqn, form: Any, operands: list[Value]) -> list[Value]:
    return walk(rows, inline_calls(e.params[form.jaxprs[0]]), operands)


def _cond(rows: Rows, e: Eqn, form: Any, operands: list[Value]) -> list[Value]:
    index, *rest = operands
    branches = e.params["branches"]
    if index.known is not None:
        return walk(rows, inline_calls(branches[int(index.known)]), rest)
    found = [walk(rows, inline_calls(b), rest) for b in branches]
    return [_joined(rows, outs) for outs in zip(*found)]


def _joined(rows: Rows, values: Sequence[Value]) -> Value:
    """What is one of these values."""
    return Value(values[0].aval, rows.union([v.deps for v in values]))


def _scan(rows: Rows, e: Eqn, form: Any, operands: list[Value]) -> list[Value]:
    params = e.params
    counted = params["length"] is None
    nconsts, ncarry = params["num_consts"], params["num_carry"]
    operands = operands[counted:]
    consts, carry = operands[:nconsts], operands[nconsts : nconsts + ncarry]
    xs = operands[nconsts + ncarry :]
    body = inline_calls(params["jaxpr"])
    if counted or params["length"] > STEPS:
        return _scan_fixpoint(rows, e, body, consts, carry, xs)
    order = range(params["length"])
    stacks: list[list[Value]] = [[] for _ in e.outs[ncarry:]]
    for i in reversed(order) if params["reverse"] else order:
        outs = walk(rows, body, [*consts, *carry, *(_row(rows, x, i) for x in xs)])
        carry = outs[:ncarry]
        for stack, row in zip(stacks, outs[ncarry:]):
            stack.append(row)
    if params["reverse"]:
        stacks = [stack[::-1] for stack in stacks]
    carry = [Value(v.aval, c.deps, c.known) for v, c in zip(e.outs, carry)]
    return carry + [_stack(rows, v.aval, s) for v, s in zip(e.outs[ncarry:], stacks)]


def _row(rows: Rows, x: Value, i: int) -> Value:
    aval = x.aval.update(shape=x.aval.shape[1:])
    deps = None if x.deps is None else x.deps[i * aval.size : (i + 1) * aval.size]
    known = None if x.known is None else wrap_buffer(x.known._buffer[i], aval)
    return Value(aval, deps, known)


def _stack(rows: Rows, aval: Any, values: Sequence[Value]) -> Value:
    if all(v.deps is None for v in values):
        buffers = [v.known._buffer for v in values if v.known is not None]
        whole = len(buffers) == len(values) > 0 and not isinstance(values[0].known, KeyArray)
        return Value(aval, known=wrap_buffer(np.stack(buffers), aval) if whole else None)
    return Value(
        aval, rows.stacked([rows.none(v.aval.size) if v.deps is None else v.deps for v in values])
    )


def _scan_fixpoint(
    rows: Rows, e: Eqn, body: Jaxpr, consts: list[Value], carry: list[Value], xs: list[Value]
) -> list[Value]:
    """Every step may read any row; every row of the outputs may come from any step."""
    inputs = [Value(v.aval, rows.over_leading(x)) for v, x in zip(body.args[-len(xs) :], xs)]
    inputs = inputs if xs else []
    carry, outs = _fixpoint(rows, body, consts, carry, inputs)
    ys = []
    for v, y in zip(e.outs[len(carry) :], outs):
        trips = v.aval.size // max(1, y.aval.size)
        ys.append(Value(v.aval, None if y.deps is None else rows.stacked([y.deps] * trips)))
    return carry + ys


def _fixpoint(
    rows: Rows, body: Jaxpr, consts: list[Value], carry: list[Value], xs: list[Value]
) -> tuple[list[Value], list[Value]]:
    """The carry after any number of steps, and the other outputs of such a step."""
    carry = [Value(c.aval, c.deps) for c in carry]
    for _ in range(ROUNDS):
        outs = walk(rows, body, [*consts, *carry, *xs])
        grown = [_joined(rows, pair) for pair in zip(carry, outs)]
        if all(map(rows.same, grown, carry)):
            return carry, outs[len(carry) :]
        carry = grown
    whole = rows.whole([*consts, *carry, *xs])
    carry = [Value(c.aval, rows.repeated(whole, c.aval.size)) for c in carry]
    return carry, walk(rows, body, [*consts, *carry, *xs])[len(carry) :]


def _while(rows: Rows, e: Eqn, form: Any, operands: list[Value]) -> list[Value]:
    """Trip by trip while the condition is known, else to a fixpoint."""
    test, nconsts = e.params["cond_nconsts"], e.params["body_nconsts"]
    cond_consts, consts, start = (
        operands[:test],
        operands[test:][:nconsts],
        operands[test:][nconsts:],
    )
    condition, body = inline_calls(e.params["cond_jaxpr"]), inline_calls(e.params["body_jaxpr"])
    carry = start
    for _ in range(STEPS):
        (holds,) = walk(rows, condition, [*cond_consts, *carry])
        if holds.known is None:
            break
        if not bool(holds.host()):
            return carry
        carry = walk(rows, body, [*consts, *carry])
    return _fixpoint(rows, body, consts, start, [])[0]


CALLS: dict[str, Callable[..., list[Value]]] = {
    "call": _call,
    "checkpoint": _call,
    "cond": _cond,
    "scan": _scan,
    "while": _while,
}
