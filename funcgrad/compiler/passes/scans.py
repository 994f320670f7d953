"""Work moved out of scans: what does not change, products of inputs alone, and sums.

    hoist   what depends on constants only is computed once; a product of rows of the inputs with
            constants becomes one large product before the loop
    sink    a carry that only sums up products or sums is left out: what they are made of is kept
            for all steps, and summed once after the loop

The order of summation changes, which the stated tolerance of sums allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.compiler.views import form_of
from funcgrad.core import loops
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal, Var, memoised, subjaxprs
from funcgrad.core.primitive import Primitive
from funcgrad.core.trace import Axis
from funcgrad.primitives.basis import add_p
from funcgrad.primitives.contract import dot_general_p
from funcgrad.primitives.movement import reduce_sum_p, transpose_p
from funcgrad.transforms.batching import batch_jaxpr
from funcgrad.transforms.dce import drop_dead

LARGE = 1 << 10  # operations in one step; what is less is not worth an array of all steps


class Scan(NamedTuple):
    """The parts of a scan: operands of the equation, and the body."""

    consts: list[Atom]
    carry: list[Atom]
    xs: list[Atom]
    body: Jaxpr
    params: dict[str, Any]

    @property
    def length(self) -> int:
        return self.params["length"]

    def body_parts(self) -> tuple[list[Var], list[Var], list[Var]]:
        """The body's arguments in the same parts."""
        args, first = list(self.body.args), len(self.consts)
        last = first + len(self.carry)
        return args[:first], args[first:last], args[last:]


@memoised
def split_scans(jaxpr: Jaxpr) -> Jaxpr:
    """The program with less work in its scans."""
    return rewrite(jaxpr, _visit)


def _visit(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    if e.primitive.name != "scan" or e.effects or not isinstance(e.params["length"], int):
        return None
    p = e.params
    first = p["num_consts"]
    last = first + p["num_carry"]
    args = list(e.args)
    scan = Scan(args[:first], args[first:last], args[last:], p["jaxpr"], p)
    if not all(_is_static(v) for eqn in scan.body.eqns for v in eqn.outs) or scan.length < 2:
        return None
    hoisted = _hoisted(program, scan)
    outputs = _sunk(program, e.primitive, hoisted or scan)
    if outputs is not None or hoisted is None:
        return outputs
    return _emitted(program, e.primitive, hoisted)


def _is_static(v: Var) -> bool:
    return all(isinstance(n, int) for n in v.aval.shape)


def _emitted(program: Rewriter, primitive: Primitive, scan: Scan) -> list[Var]:
    params = {
        **scan.params,
        "jaxpr": scan.body,
        "num_consts": len(scan.consts),
        "num_carry": len(scan.carry),
    }
    return program.emit_all(primitive, [*scan.consts, *scan.carry, *scan.xs], params)


# ---- hoisting
# -----------------------------------------------------------------------------------


def _hoisted(program: Rewriter, scan: Scan) -> Scan | None:
    """The scan without what can be computed before it; None if that is nothing."""
    scan, turned = _turned(scan)
    consts, _, xs = scan.body_parts()
    fixed = {*scan.body.constvars, *consts}
    rowwise = fixed | set(xs)
    once: list[Var] = []
    for_all: list[Var] = []
    for e in scan.body.eqns:
        kind = "other" if e.outs[0] in turned else _worth_moving(e)
        reads = {a for a in e.args if type(a) is Var}
        if reads <= fixed and not e.effects:
            fixed.update(e.outs)
            rowwise.update(e.outs)
            once += e.outs if kind else []
        elif reads <= rowwise and not e.effects and not subjaxprs(e.params):
            # Branches are left alone: over all rows at once, both sides of one would run.
            rowwise.update(e.outs)
            for_all += e.outs if kind == "product" else []
    if not once and not for_all:
        return None
    return _with_inputs(program, scan, once, for_all)


def _turned(scan: Scan) -> tuple[Scan, set[Var]]:
    """The scan with constants that products read by columns transposed, and the new values."""
    fixed = {*scan.body.constvars, *scan.body_parts()[0]}
    found: dict[Any, Eqn] = {}
    eqns: list[Eqn] = []
    for e in scan.body.eqns:
        if e.primitive is dot_general_p and e.args[1] in fixed and _reads_columns(e):
            matrix = e.args[1]
            if matrix not in found:
                m, n = matrix.aval.shape
                out = Var(matrix.aval.update(shape=(n, m)))
                found[matrix] = Eqn(transpose_p, [matrix], {"permutation": (1, 0)}, [out])
                eqns.append(found[matrix])
            numbers = (((1,), (0,)), ((), ()))
            params = {**e.params, "dimension_numbers": numbers}
            e = e.replace(args=[e.args[0], found[matrix].outs[0]], params=params)
        eqns.append(e)
    if not found:
        return scan, set()
    body = scan.body.replace(eqns=eqns)
    return scan._replace(body=body), {e.outs[0] for e in found.values()}


def _reads_columns(e: Eqn) -> bool:
    numbers = e.params["dimension_numbers"]
    return tuple(map(tuple, numbers[0])) == ((1,), (1,)) and not any(numbers[1])


def _worth_moving(e: Eqn) -> str | None:
    """Products and other expensive work; maps are computed where they are read."""
    form = form_of(e) if e.primitive.loops is not None else None
    if isinstance(form, (loops.Contract, loops.Convolve)):
        return "product" if _work(e) >= LARGE else None
    if (
        isinstance(form, (loops.Reduce, loops.Opaque))
        and e.primitive.name != "optimization_barrier"
    ):
        return "other" if math.prod(e.args[0].aval.shape) >= LARGE else None
    return None


def _work(e: Eqn) -> int:
    return math.prod(e.outs[0].aval.shape) * max(math.prod(a.aval.shape) for a in e.args)


def _with_inputs(
    program: Rewriter, scan: Scan, once: Sequence[Var], for_all: Sequence[Var]
) -> Scan:
    """The scan with values computed before it as further constants and inputs."""
    consts, carry, xs = scan.body_parts()
    before = _part(scan.body, consts, once)
    values = program.splice(before, scan.consts) if once else []
    stacks: list[Atom] = []
    if for_all:
        rows = _part(scan.body, [*consts, *xs], for_all)
        mapped = (False,) * len(consts) + (True,) * len(xs)
        batched, marks = batch_jaxpr(rows, Axis(scan.length), mapped, (True,) * len(for_all))
        stacks = program.splice(batched, [*scan.consts, *scan.xs])
    constants = list(zip(scan.body.constvars, scan.body.consts))
    inputs = [v for v, _ in constants] + [*consts, *once, *carry, *xs, *for_all]
    moved = {*once, *for_all}
    eqns = [e for e in scan.body.eqns if not moved.issuperset(e.outs)]
    body = Jaxpr(inputs, eqns, scan.body.outputs, [c for _, c in constants])
    return _pruned(
        Scan([*scan.consts, *values], scan.carry, [*scan.xs, *stacks], drop_dead(body), scan.params)
    )


def _part(body: Jaxpr, args: Sequence[Var], outputs: Sequence[Var]) -> Jaxpr:
    """The part of the body that computes these values."""
    inputs = [*body.constvars, *args]
    return drop_dead(Jaxpr(inputs, body.eqns, outputs, body.consts))


def _pruned(scan: Scan) -> Scan:
    """The scan without constants and inputs that its body does not read."""
    read = {a for e in scan.body.eqns for a in e.args} | set(scan.body.outputs)
    consts, carry, xs = scan.body_parts()
    kept_consts = [(a, v) for a, v in zip(scan.consts, consts) if v in read]
    kept_xs = [(a, v) for a, v in zip(scan.xs, xs) if v in read]
    inputs = [
        *scan.body.constvars, *(v for _, v in kept_consts), *carry, *(v for _, v in kept_xs),
    ]  # fmt: skip
    body = Jaxpr(inputs, scan.body.eqns, scan.body.outputs, scan.body.consts)
    return Scan([a for a, _ in kept_consts], scan.carry, [a for a, _ in kept_xs], body, scan.params)


# ---- sinking
# ------------------------------------------------------------------------------------


class Summed(NamedTuple):
    """Carry number `place` sums up the result of an equation."""

    place: int
    eqn: Eqn


def _sunk(program: Rewriter, primitive: Primitive, scan: Scan) -> list[Atom] | None:
    """The outputs, with sums taken after the loop; None if there are none to take."""
    found = _sums(scan)
    if not found:
        return None
    _, carry, xs = scan.body_parts()
    places = {s.place for s in found}
    stacked = list(dict.fromkeys(a for s in found for a in s.eqn.args if type(a) is Var))
    yielded = [v for v in stacked if v not in xs]
    ncarry = len(scan.carry)
    outputs = [o for n, o in enumerate(scan.body.outputs[:ncarry]) if n not in places]
    kept_carry = [v for n, v in enumerate(carry) if n not in places]
    ys = list(scan.body.outputs[ncarry:])
    consts = scan.body_parts()[0]
    inputs = [*scan.body.constvars, *consts, *kept_carry, *xs]
    body = drop_dead(Jaxpr(inputs, scan.body.eqns, [*outputs, *ys, *yielded], scan.body.consts))
    init = [a for n, a in enumerate(scan.carry) if n not in places]
    smaller = _pruned(Scan(scan.consts, init, scan.xs, body, scan.params))
    results: list[Atom] = list(_emitted(program, primitive, smaller))
    stacks = dict(zip(yielded, results[len(outputs) + len(ys) :]))
    stacks.update((v, a) for v, a in zip(xs, scan.xs))
    rest = iter(results[: len(outputs)])
    sums = {s.place: _total(program, s.eqn, scan.carry[s.place], stacks) for s in found}
    carried = [sums[n] if n in sums else next(rest) for n in range(ncarry)]
    return [*carried, *results[len(outputs) : len(outputs) + len(ys)]]


def _sums(scan: Scan) -> list[Summed]:
    """The carries that can be left out."""
    consts, carry, _ = scan.body_parts()
    readers = _readers(scan.body)
    makers = {o: e for e in scan.body.eqns for o in e.outs}
    fixed = {*scan.body.constvars, *consts}
    found = []
    for place, v in enumerate(carry):
        out = scan.body.outputs[place]
        e = makers.get(out)  # type: ignore[arg-type]
        if e is None or e.primitive is not add_p or readers.get(v) != 1 or readers.get(out) != 1:
            continue
        other = next((a for a in e.args if a is not v), None)
        made = makers.get(other)  # type: ignore[arg-type]
        if v in e.args and made is not None and _can_wait(made, v, fixed):
            found.append(Summed(place, made))
    return found


def _readers(body: Jaxpr) -> dict[Any, int]:
    count: dict[Any, int] = {}
    for atoms in (*(e.args for e in body.eqns), body.outputs):
        for a in atoms:
            count[a] = count.get(a, 0) + 1
    return count


def _can_wait(e: Eqn, total: Var, fixed: set[Any]) -> bool:
    """Is it a product, or a sum, of values that change, and less to keep than the total to update?

    What is kept costs a store and a load, the total a load and a store at each step.
    """
    if e.primitive not in (dot_general_p, reduce_sum_p):
        return False
    if any(type(a) is Literal or a in fixed for a in e.args):
        return False
    kept = sum(math.prod(a.aval.shape) for a in e.args)
    size = math.prod(total.aval.shape)
    return size > 1 and kept <= (16 if e.primitive is reduce_sum_p else 2) * size


def _total(program: Rewriter, e: Eqn, initial: Atom, stacks: dict[Any, Atom]) -> Atom:
    """The sum over all steps, from stacks of what the equation reads."""
    operands = [stacks[a] for a in e.args]
    if e.primitive is reduce_sum_p:
        axes = (0, *(d + 1 for d in e.params["axes"]))
        total: Atom = program.emit(reduce_sum_p, *operands, **{**e.params, "axes": axes})
    else:
        total = program.emit(dot_general_p, *operands, **_over_steps(e.params))
    return program.emit(add_p, initial, total)


def _over_steps(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a product that also sums over a leading dimension of both operands."""
    (lhs, rhs), (lhs_batch, rhs_batch) = params["dimension_numbers"]
    contracted = ((0, *_shifted(lhs)), (0, *_shifted(rhs)))
    batch = (tuple(_shifted(lhs_batch)), tuple(_shifted(rhs_batch)))
    return {**params, "dimension_numbers": (contracted, batch)}


def _shifted(dims: Iterable[int]) -> list[int]:
    return [d + 1 for d in dims]
