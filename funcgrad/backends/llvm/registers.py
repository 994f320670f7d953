"""Programs over few numbers, computed in registers: bodies of loops over states of a few scalars.

An array of up to `LARGEST` elements is a list of numbers in row-major order. Moving elements costs
nothing, and nothing is loaded or stored.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import Builder
from funcgrad.backends.llvm.narrow import round_narrow
from funcgrad.backends.llvm.scalar import Number, render
from funcgrad.compiler.forms import identity_of, scalar_of
from funcgrad.compiler.graph import COSTS
from funcgrad.compiler.scalar import record
from funcgrad.compiler.views import form_of
from funcgrad.core import dtypes, loops
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal, Var

LARGEST = 32  # elements of one array
MOST_WORK = 6000  # operations in one program, so that compilation stays short

Numbers = list[Number]
REDUCTIONS = frozenset(("add", "mul", "max", "min", "and", "or", "xor"))


def fits(jaxpr: Jaxpr, inner: Callable[[Eqn, loops.Call], bool]) -> bool:
    """Can the whole program run in registers? `inner` says so of loops inside."""
    variables = [*jaxpr.inputs, *(o for e in jaxpr.eqns for o in e.outs)]
    if not all(_is_small(v.aval) for v in variables) or jaxpr.effects:
        return False
    work = 0
    for e in jaxpr.eqns:
        form = form_of(e)
        if isinstance(form, loops.Call):
            if not inner(e, form):
                return False
            continue
        forms = form if isinstance(form, (list, tuple)) else [form]
        if not all(_is_supported(e, f) for f in forms):
            return False
        work += sum(_work(e, f) for f in forms)
    return work <= MOST_WORK


def _is_small(aval: Any) -> bool:
    known = all(isinstance(n, int) for n in aval.shape)
    real = not dtypes.is_key(aval.dtype) and not dtypes.is_complex(aval.dtype)
    return known and real and math.prod(aval.shape) <= LARGEST


def _is_supported(e: Eqn, form: Any) -> bool:
    if e.primitive.name == "optimization_barrier":
        return True
    if isinstance(form, (loops.Reduce, loops.Contract)):
        return not isinstance(form, loops.Reduce) or form.op in REDUCTIONS
    return isinstance(form, (loops.Map, loops.View, loops.Reshape, loops.Guarded, loops.Index))


def _work(e: Eqn, form: Any) -> int:
    size = math.prod(e.outs[0].aval.shape)
    if isinstance(form, loops.Map):
        ops, _ = record(form.scalar, [a.aval.dtype for a in e.args])
        return size * sum(COSTS.get(op.name, 1) for op in ops)
    if isinstance(form, loops.Reduce):
        return math.prod(e.args[0].aval.shape)
    if isinstance(form, loops.Contract):
        return 2 * size * math.prod(e.args[0].aval.shape[d] for d in form.lhs_contract)
    return 0


class Registers:
    """Runs programs in registers; `call` runs the loops inside."""

    def __init__(
        self, b: Builder, call: Callable[[Eqn, Any, list[Numbers]], list[Numbers]]
    ) -> None:
        self.b, self.call = b, call

    def run(self, jaxpr: Jaxpr, inputs: Sequence[Numbers]) -> list[Numbers]:
        """The outputs of a program."""
        env: dict[Any, Numbers] = dict(zip(jaxpr.inputs, inputs, strict=True))
        for e in jaxpr.eqns:
            operands = [self.numbers(a, env) for a in e.args]
            env.update(zip(e.outs, self._equation(e, operands)))
        return [self.numbers(o, env) for o in jaxpr.outputs]

    def numbers(self, a: Any, env: dict[Any, Numbers]) -> Numbers:
        """The elements of an atom."""
        if type(a) is Literal:
            return constants(getattr(a.value, "_buffer", a.value), a.aval.dtype)
        return env[a]

    def _equation(self, e: Eqn, operands: list[Numbers]) -> list[Numbers]:
        if e.primitive.name == "optimization_barrier":
            return operands
        form = form_of(e)
        if isinstance(form, loops.Call):
            return self.call(e, form, operands)
        if isinstance(form, loops.Map):
            return self._map(e, form, operands)
        forms = form if isinstance(form, (list, tuple)) else [form]
        return [RUN[type(f)](self, e, f, o, operands) for f, o in zip(forms, e.outs)]

    # ---- one rule for each form

    def _map(self, e: Eqn, form: loops.Map, operands: list[Numbers]) -> list[Numbers]:
        kinds = [a.aval.dtype for a in e.args]
        ops, results = record(form.scalar, kinds)
        size = math.prod(e.outs[0].aval.shape)
        found: list[Numbers] = [[] for _ in results]
        for i in range(size):
            lanes: list[Any] = [
                (x[i if a.aval.shape else 0], a.aval.dtype) for a, x in zip(e.args, operands)
            ]
            for op in ops:
                args = [lanes[a] if isinstance(a, int) else _constant(a) for a in op.args]
                lanes.append((self.op(op.name, args, op.dtype), op.dtype))
            for out, r, v in zip(found, results, e.outs):
                value, _ = lanes[r] if isinstance(r, int) else _constant(r)
                out.append(self._rounded(value, v.aval.dtype))
        return found

    def op(self, name: str, args: Sequence[tuple[Number, np.dtype]], dtype: np.dtype) -> Number:
        """One scalar operation on numbers with their dtypes."""
        return render(self.b, name, [x for x, _ in args], [t for _, t in args], dtype, 1)

    def _rounded(self, value: Any, dtype: np.dtype) -> Number:
        return round_narrow(self.b, value, dtype) if memory.is_narrow(dtype) else value

    def fold(self, name: str, values: Sequence[Number], dtype: np.dtype) -> Number:
        """All values combined: by halves, so that they do not wait for each other."""
        name = scalar_of(name)
        values = list(values)
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2])
            rest = values[-1:] if len(values) % 2 else []
            values = [self.op(name, [(x, dtype), (y, dtype)], dtype) for x, y in pairs] + rest
        return values[0]


def _constant(c: Any) -> tuple[Number, np.dtype]:
    return memory.constant(c.value, c.dtype, 1), c.dtype


def constants(array: Any, dtype: np.dtype) -> Numbers:
    """The elements of an array as numbers in the code."""
    return [memory.constant(x, dtype, 1) for x in np.asarray(array, dtype).ravel()]


def _positions(shape: Sequence[int]) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape)


def _view(r: Registers, e: Eqn, form: loops.View, out: Var, operands: list[Numbers]) -> Numbers:
    at = np.indices(out.aval.shape)
    where = [np.asarray(a.offset) + sum(step * at[d] for d, step in a.terms) for a in form.dims]
    index = tuple(np.broadcast_to(w, out.aval.shape) for w in where)
    places = np.broadcast_to(_positions(e.args[0].aval.shape)[index], out.aval.shape)
    return [operands[0][p] for p in places.ravel()]


def _guarded(
    r: Registers, e: Eqn, form: loops.Guarded, out: Var, operands: list[Numbers]
) -> Numbers:
    fill = None if form.fill is None else operands[form.fill][0]
    found: Any = [fill] * math.prod(out.aval.shape)
    places = _positions(out.aval.shape)
    for part in reversed(form.parts):
        for n, i in enumerate(itertools.product(*map(range, part.extent))):
            at = tuple(s + step * k for s, step, k in zip(part.start, part.stride, i))
            if all(0 <= k < size for k, size in zip(at, out.aval.shape)):
                found[places[at]] = operands[part.operand][n]
    return found


def _index(r: Registers, e: Eqn, form: loops.Index, out: Var, operands: list[Numbers]) -> Numbers:
    return constants(np.indices(out.aval.shape)[form.dim], out.aval.dtype)


def _reduce(r: Registers, e: Eqn, form: loops.Reduce, out: Var, operands: list[Numbers]) -> Numbers:
    x = e.args[0].aval
    rows = np.moveaxis(_positions(x.shape), form.axes, range(-len(form.axes), 0))
    rows = rows.reshape(math.prod(out.aval.shape), -1)
    identity = memory.constant(identity_of(form.op, x.dtype), x.dtype, 1)
    return [
        r._rounded(
            r.fold(form.op, [operands[0][p] for p in row] or [identity], x.dtype), out.aval.dtype
        )
        for row in rows
    ]


def _contract(
    r: Registers, e: Eqn, form: loops.Contract, out: Var, operands: list[Numbers]
) -> Numbers:
    dtype = out.aval.dtype
    left = _arranged(e.args[0].aval.shape, form.lhs_batch, form.lhs_contract, last=True)
    right = _arranged(e.args[1].aval.shape, form.rhs_batch, form.rhs_contract, last=True)
    wide = [
        [r.op("convert", [(x, a.aval.dtype)], dtype) for x in xs] if a.aval.dtype != dtype else xs
        for a, xs in zip(e.args, operands)
    ]
    found = []
    for lhs, rhs in zip(left, right):
        for row, column in itertools.product(lhs, rhs):
            terms = [
                r.op("mul", [(wide[0][p], dtype), (wide[1][q], dtype)], dtype)
                for p, q in zip(row, column)
            ]
            zero = memory.constant(dtype.type(0), dtype, 1)
            found.append(r._rounded(r.fold("add", terms or [zero], dtype), dtype))
    return found


def _arranged(
    shape: Sequence[int], batch: Sequence[int], contracted: Sequence[int], last: bool
) -> np.ndarray:
    """Positions as (batch, free, contracted)."""
    free = [d for d in range(len(shape)) if d not in (*batch, *contracted)]
    places = _positions(shape).transpose(*batch, *free, *contracted)
    sizes = [math.prod(shape[d] for d in dims) for dims in (batch, free, contracted)]
    return places.reshape(sizes)


RUN: dict[type, Callable[..., Numbers]] = {
    loops.View: _view,
    loops.Reshape: lambda r, e, form, out, operands: operands[0],
    loops.Guarded: _guarded,
    loops.Index: _index,
    loops.Reduce: _reduce,
    loops.Contract: _contract,
}
