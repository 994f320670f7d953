"""Forward differentiation and linearization: one trace serves both.

An `AutodiffTrace` carries (primal, tangent) pairs. Primal work runs in its parent, tangent work in
`tangents`: for `jvp` that is the parent too; for `linearize` it is a LinearTrace on the parent,
which records what depends on a tangent. Reverse mode is linearization followed by transposition.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from funcgrad.config import config
from funcgrad.core.array import ConcreteArray, Tracer, immutable
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr, memoised
from funcgrad.core.leaks import leak_checked
from funcgrad.core.primitive import Primitive, minus_one, one
from funcgrad.core.stage import StagingTrace, StagingTracer, collector_paused, stage_rule
from funcgrad.core.tangent import Zero, is_zero
from funcgrad.core.trace import EVAL, Trace, current_trace, reset_trace, running, set_trace
from funcgrad.errors import missing_rule
from funcgrad.primitives.basis import add_p, broadcast_in_dim, instantiate, mul_p, neg_p
from funcgrad.transforms import units
from funcgrad.transforms.dce import derive
from funcgrad.transforms.partial import (
    LinearTrace,
    LinearTracer,
    Split,
    constants_of,
    residuals_of,
)


class AutodiffTracer(Tracer):
    """A primal value with its tangent, which is never a Zero."""

    __slots__ = ("primal", "tangent")
    traced_by = "differentiation"

    def __init__(self, trace: AutodiffTrace, primal: Any, tangent: Any) -> None:
        self._trace, self.primal, self.tangent, self.source = trace, primal, tangent, None

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return typeof(self.primal)

    shape = property(attrgetter("primal.shape"), immutable("shape", "reshape"))
    dtype = property(attrgetter("primal.dtype"))
    weak_type = property(attrgetter("primal.weak_type"))

    def concrete(self) -> ConcreteArray | None:
        primal = self.primal
        return primal.concrete() if isinstance(primal, Tracer) else primal


class AutodiffTrace(Trace):
    """Differentiates: each operation on pairs becomes the operation and its derivative."""

    __slots__ = ("origin", "tangents")

    def __init__(self, parent: Trace, tangents: Trace, function: Any = None) -> None:
        self.parent: Trace = parent
        self.tangents = tangents
        self.origin = getattr(function, "source", None)

    def split(self, x: Any) -> tuple[Any, Any]:
        """The primal and the tangent of anything."""
        if type(x) is AutodiffTracer and x._trace is self:
            return x.primal, x.tangent
        return x, Zero(typeof(x).tangent())

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        primals, tangents, live = [], [], False
        for a in args:
            if type(a) is AutodiffTracer and a._trace is self:
                primals.append(a.primal)
                tangents.append(a.tangent)
                live = True
            else:
                primals.append(a)
                tangents.append(None)
        if not live or primitive.constant:
            return self.parent.process(primitive, primals, params)
        if self.parent is EVAL and self.tangents is not EVAL and primitive.units is not None:
            unit = units.find(primitive.units, list(params.items()), primals, tangents)
            if type(unit) is tuple:
                function = functools.partial(primitive.bind, **params)
                unit = _make_unit(primitive.units, unit, function, primals, tangents)
            if unit is not None:
                return self._by_unit(unit, primals, tangents)
        if primitive.jvp is not None:
            return self._by_rule(primitive, primals, tangents, params)
        out = self.parent.process(primitive, primals, params)
        if primitive.partials is not None:
            tangent = self._by_partials(primitive, out, primals, tangents, params)
        elif primitive.multilinear is not None:
            tangent = self._separately(primitive, out, primals, tangents, params)
        elif primitive.linear is not None:
            tangent = self._jointly(primitive, out, primals, tangents, params)
        else:
            missing_rule(primitive.name, "differentiation")
        if tangent is None:
            return out
        if primitive.multiple_results:
            return [AutodiffTracer(self, o, t) for o, t in zip(out, tangent)]
        return AutodiffTracer(self, out, tangent)

    def _by_unit(self, unit: units.Unit, primals: Any, tangents: Any) -> AutodiffTracer:
        out, var = units.record(self.tangents, unit, primals, tangents)
        return AutodiffTracer(self, out, LinearTracer(self.tangents, var))  # type: ignore[arg-type]

    def composite(self, function: Any, args: Sequence[Any], settings: Any = ()) -> Any:
        """The result of a public function of arrays and Python numbers, through its Unit; None if
        it has none (yet). `settings` are its other arguments, (name, value) pairs, hashable.
        """
        if self.parent is not EVAL or self.tangents is EVAL:
            return None
        key = [config.current().trace_key, function, *settings]
        primals, tangents, live = [], [], False
        for a in args:
            kind = type(a)
            if kind is float or kind is int:
                key += (a, kind)
                continue
            if kind is AutodiffTracer and a._trace is self:
                p, t, live = a.primal, a.tangent, True
                if type(t) is not LinearTracer:
                    return None
            else:
                p, t = a, None
            if type(p) is not ConcreteArray:
                return None
            key.append(units.operand_key(p, t))
            primals.append(p)
            tangents.append(t)
        unit = units.look_up(_composites, tuple(key)) if live else None
        if type(unit) is tuple:
            fixed = functools.partial(_with_numbers, function, args, dict(settings))
            unit = _make_unit(_composites, unit, fixed, primals, tangents)
        return None if unit is None else self._by_unit(unit, primals, tangents)

    def _by_rule(self, primitive: Primitive, primals: Any, tangents: Any, params: Any) -> Any:
        rows = [Zero(typeof(p).tangent()) if t is None else t for p, t in zip(primals, tangents)]
        with running(self.tangents):
            out, tangent = primitive.jvp(primals, rows, **params)  # type: ignore[misc]
        if primitive.multiple_results:
            return [o if is_zero(t) else AutodiffTracer(self, o, t) for o, t in zip(out, tangent)]
        return out if is_zero(tangent) else AutodiffTracer(self, out, tangent)

    def _by_partials(
        self, primitive: Primitive, out: Any, primals: Any, tangents: Any, params: Any
    ) -> Any:
        """The sum over operands of partial derivative times tangent."""
        total = None
        for partial, t in zip(primitive.partials, tangents):  # type: ignore[arg-type]
            if t is None or partial is None:
                continue
            if partial is one:
                term = t
            elif partial is minus_one:
                term = self._tangent(neg_p, (t,), {}, t)
            else:
                factor = self._factor(partial, out, primals, params)
                term = self._tangent(mul_p, (t, factor), {}, out if t.shape == out.shape else None)
            total = term if total is None else self._tangent(add_p, (total, term), {}, None)
        return total if total is None else self._stretch(total, out)

    def _factor(self, partial: Any, out: Any, primals: Any, params: Any) -> Any:
        """A partial derivative, computed in the parent."""
        token = set_trace(self.parent)
        try:
            return partial(out, *primals, **params)
        finally:
            reset_trace(token)

    def _tangent(self, primitive: Primitive, args: Any, params: dict[str, Any], like: Any) -> Any:
        """A linear operation on tangents, whose result has the type of `like` if that is given."""
        trace = self.tangents
        if like is not None and type(trace) is LinearTrace and not primitive.multiple_results:
            return trace.record_one(primitive, args, params, typeof(like))
        return trace.process(primitive, args, params)

    def _stretch(self, tangent: Any, out: Any) -> Any:
        """The tangent of a rank-0 operand beside arrays, at the result's shape."""
        if tangent.shape == out.shape:
            return tangent
        with running(self.tangents):
            return broadcast_in_dim(tangent, out.shape, ())

    def _separately(
        self, primitive: Primitive, out: Any, primals: Any, tangents: Any, params: Any
    ) -> Any:
        """Linear in each operand with the others held: one term per tangent."""
        total = None
        for i in primitive.multilinear:  # type: ignore[union-attr]
            if tangents[i] is not None:
                varied = [*primals[:i], tangents[i], *primals[i + 1 :]]
                term = self._tangent(primitive, varied, params, out)
                total = term if total is None else self._tangent(add_p, (total, term), {}, out)
        return total

    def _jointly(
        self, primitive: Primitive, out: Any, primals: Any, tangents: Any, params: Any
    ) -> Any:
        """Linear in a group of operands together: the operation on their tangents."""
        if len(primals) == 1:
            return self._tangent(primitive, tangents, params, out)
        if all(tangents[i] is None for i in primitive.linear):  # type: ignore[union-attr]
            return None
        operands = list(primals)
        with running(self.parent):
            for i in primitive.linear:  # type: ignore[union-attr]
                t = tangents[i]
                operands[i] = instantiate(Zero(typeof(primals[i]).strong())) if t is None else t
        return self._tangent(primitive, operands, params, out)


_composites: units.Table = {}


def _with_numbers(
    function: Any, args: Sequence[Any], settings: dict[str, Any], *arrays: Any
) -> Any:
    """The function with its Python numbers put back among its arrays."""
    given = iter(arrays)
    full = [a if type(a) is float or type(a) is int else next(given) for a in args]
    return function(*full, **settings)


def _make_unit(
    table: units.Table, signature: Any, function: Any, primals: Any, tangents: Any
) -> units.Unit | None:
    """Compiles the operation for these types; where that is not possible, it is never tried
    again.
    """
    jaxpr = stage_rule(lambda *args: [function(*args)], [typeof(p) for p in primals])
    unit = units.make(linearize_jaxpr(jaxpr, tuple(t is not None for t in tangents)))
    table[signature] = units.NEVER if unit is None else unit
    return unit


# ---- functions of flat lists ---------------------------------------------------------------------

FlatFunction = Callable[..., Sequence[Any]]


@leak_checked
def jvp_flat(function: FlatFunction, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Results and their tangents. Tangents may be Zero, in and out."""
    parent = current_trace()
    trace = AutodiffTrace(parent, parent, function)
    pairs = [p if is_zero(t) else AutodiffTracer(trace, p, t) for p, t in zip(primals, tangents)]
    with running(trace):
        outs = function(*pairs)
    split = [trace.split(o) for o in outs]
    return [p for p, _ in split], [t for _, t in split]


class Linearized:
    """The derivative of a function at a point: a recorded linear program and the values it
    mentions.
    """

    def __init__(self, trace: LinearTrace, inputs: Sequence[Any], tangents: Sequence[Any]) -> None:
        self.eqns = trace.eqns
        self.inputs = inputs
        self.outputs = [None if is_zero(t) else trace.atom(t) for t in tangents]
        self.out_avals = [t.aval if is_zero(t) else typeof(t) for t in tangents]
        self.residuals = {var: x for x, var in trace.known.values()}

    def program(self) -> tuple[Jaxpr, list[Any]]:
        """The program tangents -> tangents out (those that are not Zero), and the residuals, its
        first arguments.
        """
        residuals = dict(self.residuals)
        eqns = units.expand(self.eqns, residuals)
        outputs = [o for o in self.outputs if o is not None]
        return Jaxpr([*residuals, *self.inputs], eqns, outputs), list(residuals.values())


@leak_checked
def linearize_flat(function: FlatFunction, primals: Sequence[Any], varied: Sequence[bool]) -> Any:
    """Results, and the derivative with respect to the arguments marked in `varied`."""
    parent = current_trace()
    unknowns = LinearTrace(parent, strict=True)
    trace = AutodiffTrace(parent, unknowns, function)
    inputs = [unknowns.input(typeof(p).tangent()) if v else None for p, v in zip(primals, varied)]
    pairs = [p if t is None else AutodiffTracer(trace, p, t) for p, t in zip(primals, inputs)]
    with running(trace), collector_paused():
        outs = function(*pairs)
    split = [trace.split(o) for o in outs]
    variables = [t._var for t in inputs if t is not None]
    return [p for p, _ in split], Linearized(unknowns, variables, [t for _, t in split])


# ---- programs
# --------------------------------------------------------------------------------------


@memoised
def jvp_jaxpr(
    jaxpr: Jaxpr, nonzero: tuple[bool, ...], force: tuple[bool, ...] | None = None
) -> tuple[Jaxpr, tuple[bool, ...]]:
    """(arguments, their nonzero tangents) -> (outputs, their nonzero or forced tangents), and
    which those are.
    """
    count = len(jaxpr.args)
    marks: list[Any] = []

    def function(*args: Any) -> list[Any]:
        given = iter(args[count:])
        trace = AutodiffTrace(current_trace(), current_trace())
        pairs = [AutodiffTracer(trace, p, next(given)) if z else p for p, z in zip(args, nonzero)]
        split = [trace.split(o) for o in eval_jaxpr(jaxpr, pairs, trace)]
        marks[:] = [not is_zero(t) or bool(force and force[i]) for i, (_, t) in enumerate(split)]
        return [p for p, _ in split] + [instantiate(t) for (_, t), m in zip(split, marks) if m]

    avals = [a.tangent() for a, z in zip(jaxpr.in_avals, nonzero) if z]
    return derive(function, jaxpr.in_avals + avals), tuple(marks)


@memoised
def linearize_jaxpr(jaxpr: Jaxpr, nonzero: tuple[bool, ...]) -> Split:
    """`partial_eval` of `jvp_jaxpr` in one walk: primals are known, tangents are not.

    `out_known` of the result says which outputs have a nonzero tangent.
    """
    staged = StagingTrace(None)
    unknowns = LinearTrace(staged)
    trace = AutodiffTrace(staged, unknowns)
    primals = [StagingTracer(staged, v) for v in jaxpr.args]
    tangents = [unknowns.input(a.tangent()) for a, z in zip(jaxpr.in_avals, nonzero) if z]
    given = iter(tangents)
    pairs = [AutodiffTracer(trace, p, next(given)) if z else p for p, z in zip(primals, nonzero)]
    with collector_paused():
        split = [trace.split(o) for o in eval_jaxpr(jaxpr, pairs, trace)]
    out_nonzero = tuple(not is_zero(t) for _, t in split)
    unknown_outputs = [unknowns.atom(t) for _, t in split if not is_zero(t)]
    known_outputs = [staged.atom(p) for p, _ in split]
    return Split(
        staged,
        jaxpr.args,
        known_outputs,
        residuals_of(unknowns),
        [t._var for t in tangents],
        unknowns.eqns,
        unknown_outputs,
        constants_of(staged, unknowns),
        out_nonzero,
    )


def nonzero_mask(tangents: Sequence[Any]) -> tuple[bool, ...]:
    """Which tangents are not Zero."""
    return tuple(not is_zero(t) for t in tangents)
