"""Partial evaluation: what can be computed now, and a program for what cannot.

A `LinearTrace` is the trace of unknowns. An operation on known values goes to its parent; one with
an unknown operand is recorded. Under `linearize` the unknowns are tangents and what is recorded is
a linear program; under `partial_eval` they are whatever is not known yet. It is one mechanism.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.array import Tracer
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import NO_EFFECTS, Atom, Eqn, Jaxpr, Var, eval_jaxpr, memoised
from funcgrad.core.primitive import Primitive
from funcgrad.core.source import user_source
from funcgrad.core.stage import (
    StagingTrace,
    StagingTracer,
    checked,
    collector_paused,
    frozen,
    is_literal,
    literal,
)
from funcgrad.core.trace import EVAL, Trace
from funcgrad.transforms.dce import drop_dead

Policy = Callable[[Eqn], bool]


class LinearTracer(Tracer):
    """Stands for an unknown value: a variable of the recorded program."""

    __slots__ = ("_var",)
    traced_by = "linearization"

    def __init__(self, trace: LinearTrace, var: Var) -> None:
        self._trace, self._var, self.source = trace, var, None

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return self._var.aval


class LinearTrace(Trace):
    """Records operations that have an unknown operand; the others are its parent's.

    `known` holds the values of the parent that recorded equations mention: the residuals, each
    once. With `strict` the unknowns are tangents, and an operation that cannot be transposed is
    refused at once.
    """

    __slots__ = ("eqns", "known", "strict")

    def __init__(self, parent: Trace, strict: bool = False) -> None:
        self.parent: Trace = parent
        self.strict = strict
        self.eqns: list[Eqn] = []
        self.known: dict[int, tuple[Any, Var]] = {}

    def input(self, aval: ShapedArray) -> LinearTracer:
        """A new unknown."""
        return LinearTracer(self, Var(aval))

    def owns(self, x: Any) -> bool:
        """Is `x` unknown?"""
        return type(x) is LinearTracer and x._trace is self

    def atom(self, x: Any) -> Atom:
        """What stands for `x` in the recorded program."""
        if type(x) is LinearTracer and x._trace is self:
            return x._var
        if not isinstance(x, Tracer) and is_literal(x):
            return literal(x)
        if id(x) not in self.known:
            # In a partial evaluation the known program's own variable serves for both programs.
            shared = type(x) is StagingTracer and x._trace is self.parent
            self.known[id(x)] = (x, x._var if shared else Var(typeof(x)))
        return self.known[id(x)][1]

    def record_one(
        self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any], aval: ShapedArray
    ) -> LinearTracer:
        """`record` for one result whose type is known already."""
        if self.strict and primitive.transpose is None:
            return self.record(primitive, args, params)
        out = Var(aval)
        source = None if self.parent is EVAL else user_source()
        atoms = [self.atom(a) for a in args]
        self.eqns.append(Eqn(primitive, atoms, params, (out,), NO_EFFECTS, source))
        return LinearTracer(self, out)

    def record(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """Writes the operation down; its results are unknown."""
        if self.strict and not self._is_linear(primitive, args):
            raise TypeError(
                f"a derivative rule computes {primitive.name} of a tangent, which is not linear. "
                "Tangents out must be linear in tangents in."
            )
        outs = [Var(aval) for aval in primitive.results(args, params)]
        effects = primitive.effects(params) if primitive.effects is not None else NO_EFFECTS
        source = None if self.parent is EVAL else user_source()
        self.eqns.append(
            Eqn(primitive, [self.atom(a) for a in args], params, outs, effects, source)
        )
        if primitive.multiple_results:
            return [LinearTracer(self, v) for v in outs]
        return LinearTracer(self, outs[0])

    def _is_linear(self, primitive: Primitive, args: Sequence[Any]) -> bool:
        """Is the operation linear in those of its operands that are unknown?"""
        if primitive.multilinear is not None:
            return sum(map(self.owns, args)) == 1
        return primitive.linear is not None or primitive.transpose is not None

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        for a in args:
            if type(a) is LinearTracer and a._trace is self:
                if primitive.split is None:
                    return self.record(primitive, args, params)
                return primitive.split(self, args, **params)
        return self.parent.process(primitive, args, params)


class Split:
    """A program split in two. The known half computes some outputs and the residuals; the unknown
    half the rest.

    Residuals are variables of the known half, possibly its inputs (those a caller has already).
    Equal requests return the same program, or every cache downstream would miss.
    """

    def __init__(
        self,
        staged: StagingTrace,
        known_inputs: Sequence[Var],
        known_outputs: Sequence[Atom],
        residuals: Sequence[Var],
        unknown_inputs: Sequence[Var],
        unknown_eqns: Sequence[Eqn],
        unknown_outputs: Sequence[Atom],
        constants: dict[Var, Any],
        out_known: tuple[bool, ...],
    ) -> None:
        self.known_inputs, self.known_outputs = list(known_inputs), list(known_outputs)
        self.known_eqns = staged.eqns
        self.residuals, self.constants = list(residuals), constants
        self.unknown_inputs, self.unknown_eqns = list(unknown_inputs), list(unknown_eqns)
        self.unknown_outputs, self.out_known = list(unknown_outputs), out_known
        self._made: dict[Any, Jaxpr] = {}

    def known(self, extra: Sequence[Var] = ()) -> Jaxpr:
        """The known half, which returns its outputs and then the variables in `extra`."""
        outputs = [*self.known_outputs, *extra]
        return self._once(("known", *extra), self.known_inputs, self.known_eqns, outputs)

    def unknown(self, inputs: Sequence[Var]) -> Jaxpr:
        """The unknown half as a program of `inputs`: residuals and unknown inputs in any order."""
        return self._once(("unknown", *inputs), inputs, self.unknown_eqns, self.unknown_outputs)

    def _once(self, key: Any, inputs: Any, eqns: Any, outputs: Any) -> Jaxpr:
        if key not in self._made:
            given = set(inputs)
            constants = {v: c for v, c in self.constants.items() if v not in given}
            whole = Jaxpr([*constants, *inputs], eqns, outputs, list(constants.values()))
            self._made[key] = checked(drop_dead(whole))
        return self._made[key]


def constants_of(staged: StagingTrace, unknowns: LinearTrace) -> dict[Var, Any]:
    """The arrays that either half closed over."""
    held = [*staged.captured.values(), *unknowns.known.values()]
    return {var: frozen(x) for x, var in held if not isinstance(x, Tracer)}


def residuals_of(unknowns: LinearTrace) -> list[Var]:
    """The known values that the recorded program reads."""
    return [var for x, var in unknowns.known.values() if isinstance(x, Tracer)]


@memoised
def partial_eval(
    jaxpr: Jaxpr,
    known: tuple[bool, ...],
    force_unknown: tuple[bool, ...] | None = None,
    policy: Policy | None = None,
) -> Split:
    """Splits a program by which of its arguments are known.

    `force_unknown` marks outputs that are wanted from the unknown half even if known. `policy(eqn)`
    says whether the results of an equation may be kept as residuals; what may not is computed again
    in the unknown half.
    """
    staged = StagingTrace(None)
    unknowns = LinearTrace(staged)
    inputs = [
        StagingTracer(staged, v) if k else LinearTracer(unknowns, v)
        for v, k in zip(jaxpr.args, known)
    ]
    with collector_paused():
        outs = eval_jaxpr(jaxpr, inputs, unknowns)
    forced = force_unknown or (False,) * len(outs)
    out_known = tuple(not unknowns.owns(o) and not f for o, f in zip(outs, forced))
    unknown_outputs = [unknowns.atom(o) for o, k in zip(outs, out_known) if not k]
    known_outputs = [staged.atom(o) for o, k in zip(outs, out_known) if k]
    constants = constants_of(staged, unknowns)
    residuals, again = _pull(staged.eqns, residuals_of(unknowns), constants, policy)
    return Split(
        staged,
        [v for v, k in zip(jaxpr.args, known) if k],
        known_outputs,
        residuals,
        [v for v, k in zip(jaxpr.args, known) if not k],
        [*again, *unknowns.eqns],
        unknown_outputs,
        constants,
        out_known,
    )


def _pull(
    eqns: Sequence[Eqn], residuals: list[Var], constants: dict[Var, Any], policy: Policy | None
) -> tuple[list[Var], list[Eqn]]:
    """Residuals that the policy allows, and the equations to compute the others from those
    again.
    """
    if policy is None:
        return residuals, []
    needed, again = dict.fromkeys(residuals), []
    for e in reversed(eqns):
        if any(o in needed for o in e.outs) and not e.effects and not policy(e):
            again.append(e)
            for o in e.outs:
                needed.pop(o, None)
            needed.update((a, None) for a in e.args if type(a) is Var and a not in constants)
    return list(needed), again[::-1]
