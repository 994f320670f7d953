"""What a loop keeps for the loop that runs its derivative backwards: as little as it can.

A stack that only another scan reads, row by row, is not kept if the row can be computed again there
by cheap maps from what is kept anyway: `1 - t**2` from `t`, `tanh(c)` from gates and the state
before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from funcgrad.compiler.graph import COSTS, PULLED
from funcgrad.compiler.scalar import record
from funcgrad.compiler.views import form_of
from funcgrad.core import dtypes, loops
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal, Var, memoised
from funcgrad.primitives.logic import eq_p, ge_p, gt_p, le_p, lt_p, ne_p
from funcgrad.transforms.dce import drop_dead

COMPARISONS = frozenset((eq_p, ne_p, lt_p, le_p, gt_p, ge_p))
DEAREST = 60  # additions for each element that is computed again


class Pair(NamedTuple):
    """A scan, and the one that reads its stacks."""

    forward: Eqn
    backward: Eqn


@memoised
def choose_residuals(jaxpr: Jaxpr) -> Jaxpr:
    """The program with fewer stacks between scans."""
    for pair in _pairs(jaxpr):
        jaxpr = _thinned(jaxpr, pair)
    return jaxpr


def _is_scan(e: Eqn) -> bool:
    return e.primitive.name == "scan" and isinstance(e.params["length"], int) and not e.effects


def _pairs(jaxpr: Jaxpr) -> list[Pair]:
    scans = [e for e in jaxpr.eqns if _is_scan(e)]
    makers = {o: e for e in scans for o in e.outs[e.params["num_carry"] :]}
    found = []
    for e in scans:
        for maker in dict.fromkeys(makers[a] for a in _xs(e) if a in makers):
            if maker.params["length"] == e.params["length"]:
                found.append(Pair(maker, e))
    return found


def _xs(e: Eqn) -> Sequence[Atom]:
    return e.args[e.params["num_consts"] + e.params["num_carry"] :]


def _thinned(jaxpr: Jaxpr, pair: Pair) -> Jaxpr:
    """The program with what the pair need not hand over left out."""
    eqns = {id(e): e for e in jaxpr.eqns}
    if id(pair.forward) not in eqns or id(pair.backward) not in eqns:
        return jaxpr  # an earlier pair has replaced it
    dropped = _Choice(jaxpr, pair).run()
    if not dropped:
        return jaxpr
    backward = _recomputing(pair, dropped)
    replaced = [backward if e is pair.backward else e for e in jaxpr.eqns]
    return _without_unread(jaxpr.replace(eqns=replaced))


def _without_unread(jaxpr: Jaxpr) -> Jaxpr:
    """Outputs of scans that nobody reads are no longer made."""
    read = {a for e in jaxpr.eqns for a in e.args} | set(jaxpr.outputs)
    eqns = [_narrowed(e, read) if _is_scan(e) else e for e in jaxpr.eqns]
    return jaxpr.replace(eqns=eqns)


def _narrowed(e: Eqn, read: set[Any]) -> Eqn:
    ncarry = e.params["num_carry"]
    kept = [n for n, o in enumerate(e.outs) if n < ncarry or o in read]
    if len(kept) == len(e.outs):
        return e
    body = e.params["jaxpr"]
    body = drop_dead(body.replace(outputs=[body.outputs[n] for n in kept]))
    return e.replace(params={**e.params, "jaxpr": body}, outs=[e.outs[n] for n in kept])


class _Choice:
    """Decides which stacks are not kept."""

    def __init__(self, jaxpr: Jaxpr, pair: Pair) -> None:
        self.pair = pair
        forward = pair.forward
        self.body: Jaxpr = forward.params["jaxpr"]
        ncarry, nconsts = forward.params["num_carry"], forward.params["num_consts"]
        args = self.body.args
        self.fixed = {*self.body.constvars, *args[:nconsts]}
        self.makers = {o: e for e in self.body.eqns for o in e.outs}
        self.stacks: dict[Any, Var] = {}  # of the body's values that are handed over or given
        self.stacks.update(zip(args[nconsts + ncarry :], _xs(forward)))  # type: ignore[arg-type]
        handed = list(zip(self.body.outputs[ncarry:], forward.outs[ncarry:]))
        self.stacks.update(handed)
        own = {o for _, o in handed}
        readers = _reader_counts(jaxpr)
        once = {a for a in _xs(pair.backward) if a in own and readers[a] == _times(pair, a)}
        self.candidates = [(v, o) for v, o in handed if o in once and type(v) is Var]

    def run(self) -> list[tuple[Var, Var]]:
        """Pairs of the body's value and its stack, for those that are computed again."""
        dropped: list[tuple[Var, Var]] = []
        order = {o: n for n, o in enumerate(self.makers)}
        derived = sorted((c for c in self.candidates if c[0] in order), key=lambda c: -order[c[0]])
        for v, stack in derived:
            held = {k: s for k, s in self.stacks.items() if k is not v}
            if self._cost(v, held) <= DEAREST:
                self.stacks = held
                dropped.append((v, stack))
        return dropped

    def _cost(self, v: Var, held: dict[Any, Var]) -> float:
        """Of computing an element again from what is held; infinite if that is not possible."""
        seen: set[Any] = set()
        pending: list[Any] = [v]
        cost = 0.0
        while pending and cost <= DEAREST:
            x = pending.pop()
            if x in seen or type(x) is Literal or x in self.fixed or x in held:
                continue
            seen.add(x)
            e = self.makers.get(x)
            if e is None:
                return math.inf  # a carry that is not handed over
            cost += _element_cost(e)
            pending += e.args
        return cost


def _reader_counts(jaxpr: Jaxpr) -> dict[Any, int]:
    count: dict[Any, int] = {}
    for atoms in (*(e.args for e in jaxpr.eqns), jaxpr.outputs):
        for a in atoms:
            count[a] = count.get(a, 0) + 1
    return count


def _times(pair: Pair, a: Any) -> int:
    return sum(x is a for x in _xs(pair.backward))


def _element_cost(e: Eqn) -> float:
    """Additions for each element; infinite for what is no map.

    A comparison of two computed numbers is kept: NumPy may run the one loop and native code the
    other, and what was a maximum in the one must be found by the other.
    """
    form = form_of(e)
    if e.primitive in COMPARISONS and not any(map(_is_exact, e.args)):
        return math.inf
    forms = form if isinstance(form, (list, tuple)) else [form]
    if e.effects or not all(
        isinstance(f, PULLED) and not isinstance(f, loops.Gather) for f in forms
    ):
        return math.inf
    if isinstance(form, loops.Map):
        ops, _ = record(form.scalar, [a.aval.dtype for a in e.args])
        return sum(COSTS.get(op.name, 1) for op in ops)
    return 0


def _is_exact(x: Atom) -> bool:
    """Does it have the same bits wherever it is computed?"""
    return type(x) is Literal or not dtypes.is_inexact(x.aval.dtype)


def _recomputing(pair: Pair, dropped: Sequence[tuple[Var, Var]]) -> Eqn:
    """The backward scan, which computes the dropped rows itself."""
    forward, backward = pair
    body: Jaxpr = forward.params["jaxpr"]
    values = [v for v, _ in dropped]
    gone = {o for _, o in dropped}
    ncarry, nconsts = forward.params["num_carry"], forward.params["num_consts"]
    given: list[tuple[Atom, Atom]] = [*zip(body.args[nconsts + ncarry :], _xs(forward))]
    given += [p for p in zip(body.outputs[ncarry:], forward.outs[ncarry:]) if p[1] not in gone]
    rows = {v: a for v, a in reversed(given) if type(v) is Var}
    part = _part(body, values, set(rows))
    extra_rows = [v for v in rows if v in part.read]
    extra_consts = [v for v in body.args[:nconsts] if v in part.read]
    return _extended(backward, part, gone, [rows[v] for v in extra_rows], extra_rows,
                     [forward.args[body.args.index(v)] for v in extra_consts], extra_consts,
                     {o: v for v, o in dropped})  # fmt: skip


class Part(NamedTuple):
    """Equations in order, what they read from outside, and constants with their values."""

    eqns: list[Eqn]
    read: set[Any]
    constants: list[tuple[Var, Any]]


def _part(body: Jaxpr, values: Sequence[Var], held: set[Any]) -> Part:
    needed, eqns, read = set(values), [], held.intersection(values)  # handed over twice
    for e in reversed(body.eqns):
        if any(o in needed and o not in held for o in e.outs):
            eqns.append(e)
            needed.update(a for a in e.args if type(a) is Var)
    made = {o for e in eqns for o in e.outs if o not in held}
    for e in eqns:
        read |= {a for a in e.args if type(a) is Var and a not in made}
    constants = [(v, c) for v, c in zip(body.constvars, body.consts) if v in read]
    return Part(eqns[::-1], read, constants)


def _extended(
    e: Eqn, part: Part, gone: set[Any], row_atoms: Sequence[Any], row_vars: Sequence[Any],
    const_atoms: Sequence[Any], const_vars: Sequence[Any], values: dict[Any, Var],
) -> Eqn:  # fmt: skip
    """The scan with the part's equations first in its body, under new names."""
    p, body = e.params, e.params["jaxpr"]
    nconsts, ncarry = p["num_consts"], p["num_carry"]
    first = nconsts + ncarry
    env: dict[Any, Any] = {}
    xs = list(zip(_xs(e), body.args[first:]))
    kept = [(a, v) for a, v in xs if a not in gone]
    known = {id(a): v for a, v in kept}
    added = []
    for a, v in zip(row_atoms, row_vars):
        env[v] = known.get(id(a)) or Var(v.aval)
        if id(a) not in known:
            added.append((a, env[v]))
    for v in [*const_vars, *(v for v, _ in part.constants)]:
        env[v] = Var(v.aval)
    eqns = _renamed(part.eqns, env, row_vars)
    stands = {v: env.get(values[a], values[a]) for a, v in xs if a in gone}
    later = [b.replace(args=[stands.get(a, a) for a in b.args]) for b in body.eqns]
    constants = [(env[v], c) for v, c in part.constants]
    inputs = [
        *(v for v, _ in constants), *body.constvars, *body.args[:nconsts],
        *(env[v] for v in const_vars), *body.args[nconsts:first], *(v for _, v in [*kept, *added]),
    ]  # fmt: skip
    outputs = [stands.get(o, o) for o in body.outputs]
    consts = [*(c for _, c in constants), *body.consts]
    args = [
        *e.args[:nconsts], *const_atoms, *e.args[nconsts:first], *(a for a, _ in [*kept, *added]),
    ]  # fmt: skip
    params = {
        **p,
        "jaxpr": Jaxpr(inputs, [*eqns, *later], outputs, consts),
        "num_consts": nconsts + len(const_atoms),
    }
    return e.replace(args=args, params=params)


def _renamed(eqns: Sequence[Eqn], env: dict[Any, Any], given: Sequence[Var]) -> list[Eqn]:
    """The equations under the names of `env`, which gains those of their results; what is `given`
    is not made again.
    """
    found = []
    for e in eqns:
        args = [env.get(a, a) for a in e.args]
        outs = [env.setdefault(o, Var(o.aval)) for o in e.outs]
        made = [Var(o.aval) if o in given else out for o, out in zip(e.outs, outs)]
        found.append(e.replace(args=args, outs=made))
    return found
