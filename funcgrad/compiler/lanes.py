"""Lanes at once: how engines without loops of their own run branches and loops whose predicate
differs from lane to lane.

Derivatives and maps see a scan over the lanes, each taking its own branch or number of trips, and
native code runs it so. NumPy would pay for its calls once per lane: where a lane's arrays are
small, all branches are computed for all lanes, loops run as long as any lane does, and results are
selected. Derivatives were taken before, lane by lane, so that what is not selected cannot spoil
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from funcgrad.compiler.passes.inline import inline_calls
from funcgrad.control.bodies import cut
from funcgrad.control.loop import while_p
from funcgrad.core.jaxpr import Jaxpr, Var, eval_jaxpr, memoised, subjaxprs
from funcgrad.core.trace import Axis, current_trace
from funcgrad.errors import MissingRuleError
from funcgrad.primitives.basis import add, add_p, reduce_sum
from funcgrad.transforms.batching import batch_jaxpr
from funcgrad.transforms.dce import derive

SMALL = 256  # elements of a lane's largest array: up to here, calls cost more than numbers
MANY = 1 << 24  # elements of all lanes' arrays together


def at_once(params: dict[str, Any]) -> Jaxpr | None:
    """The program of a scan over lanes, given by its parameters, for all lanes together; None if it
    is another loop or lanes must go one by one.
    """
    if not params.get("lanes"):
        return None
    return _together(params["jaxpr"], params["length"], params["num_consts"], params["num_carry"])


@memoised
def _together(body: Jaxpr, length: Any, nconsts: int, ncarry: int) -> Jaxpr | None:
    body = inline_calls(body)
    if not isinstance(length, int) or body.effects or not _is_safe(body, False):
        return None
    largest = max(_sizes(body), default=0)
    if largest > SMALL or largest * length > MANY:
        return None
    terms = _terms_of_sums(body, nconsts, ncarry)
    if terms is None:
        return None
    each = body.replace(outputs=[*terms, *body.outputs[ncarry:]])
    mapped = tuple(not 0 <= i < nconsts + ncarry for i in range(len(body.args)))
    try:
        lanes, _ = batch_jaxpr(each, Axis(length, None, True), mapped, (True,) * len(each.outputs))
    except MissingRuleError:
        return None
    kept = [term is v for term, v in zip(terms, body.args[nconsts:])]

    def function(*args: Any) -> list[Any]:
        _, carry, _ = cut(args, nconsts, ncarry)
        found, ys = cut(eval_jaxpr(lanes, args, current_trace()), ncarry)
        sums = [c if k else add(c, reduce_sum(t, (0,))) for c, t, k in zip(carry, found, kept)]
        return [*sums, *ys]

    avals = body.in_avals
    rows = [a.update(shape=(length, *a.shape)) for a in avals[nconsts + ncarry :]]
    return derive(function, [*avals[: nconsts + ncarry], *rows])


def _is_safe(jaxpr: Jaxpr, inside: bool) -> bool:
    """May lanes run what they do not choose? A loop in a branch or in another loop (`inside`) might
    not end there, and Python must not be called.
    """
    for e in jaxpr.eqns:
        deeper = inside or e.primitive.name in ("cond", "while")
        if "callback" in e.primitive.name or (inside and e.primitive is while_p):
            return False
        if not all(_is_safe(j, deeper) for j in subjaxprs(e.params)):
            return False
    return True


def _sizes(jaxpr: Jaxpr) -> Iterator[int]:
    """The sizes of all values, those of inner programs included, as far as they are known."""
    yield from (math.prod(n for n in a.shape if isinstance(n, int)) for a in jaxpr.in_avals)
    for e in jaxpr.eqns:
        yield from (math.prod(n for n in v.aval.shape if isinstance(n, int)) for v in e.outs)
        for inner in subjaxprs(e.params):
            yield from _sizes(inner)


def _terms_of_sums(body: Jaxpr, nconsts: int, ncarry: int) -> Sequence[Any] | None:
    """What each lane adds to each carry, or the carry itself if lanes leave it alone; None if a
    carry is anything else.
    """
    readers: dict[Any, int] = {}
    for a in (*(a for e in body.eqns for a in e.args), *body.outputs):
        if type(a) is Var:
            readers[a] = readers.get(a, 0) + 1
    made = {v: e for e in body.eqns for v in e.outs}
    terms: list[Any] = []
    for carry, out in zip(body.args[nconsts : nconsts + ncarry], body.outputs):
        if out is carry:
            terms.append(out)
            continue
        e = made.get(out)  # type: ignore[arg-type]
        if e is None or e.primitive is not add_p or readers.get(carry) != 1 or carry not in e.args:
            return None
        if e.args[0].aval.shape != e.args[1].aval.shape or readers[out] != 1:  # type: ignore[index]
            return None
        terms.append(e.args[1] if e.args[0] is carry else e.args[0])
    return terms
