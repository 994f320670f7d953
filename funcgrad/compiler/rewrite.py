"""How a pass writes the next program: equations are kept, replaced or added; what is kept costs a
look-up.

A visitor sees each equation once, in order, its operands already in terms of the new program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.avals import ShapedArray
from funcgrad.core.dtypes import is_key
from funcgrad.core.jaxpr import NO_EFFECTS, Atom, Eqn, Jaxpr, Literal, Var
from funcgrad.core.primitive import Primitive
from funcgrad.core.source import Source


class Rewriter:
    """The new program while it is written."""

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.old = jaxpr
        self.eqns: list[Eqn] = []
        self.constants: dict[Var, Any] = dict(zip(jaxpr.constvars, jaxpr.consts))
        self.definitions: dict[Var, Eqn] = {}
        self.replaced: dict[Var, Atom] = {}
        self.notes: dict[Any, Any] = {}  # what a pass's rules tell each other
        self.source: Source | None = None
        self.changed = False

    def atom(self, old: Atom) -> Atom:
        """What stands for an atom of the old program."""
        return self.replaced.get(old, old)  # type: ignore[arg-type]

    def current(self, e: Eqn) -> Eqn:
        """The equation on operands of the new program."""
        replaced = self.replaced
        if not replaced or not any(a in replaced for a in e.args):
            return e
        args = [replaced.get(a, a) for a in e.args]  # type: ignore[arg-type]
        return Eqn(e.primitive, args, e.params, e.outs, e.effects, e.source)

    def keep(self, e: Eqn) -> None:
        """Adds an equation whose variables are known to fit."""
        self.eqns.append(e)
        for out in e.outs:
            self.definitions[out] = e

    def emit(self, primitive: Primitive, *args: Atom, **params: Any) -> Var:
        """Adds an equation with one result, which is returned."""
        return self.emit_all(primitive, args, params)[0]

    def emit_all(
        self, primitive: Primitive, args: Sequence[Atom], params: dict[str, Any]
    ) -> list[Var]:
        """Adds an equation. Returns the variables of its results."""
        outs = [Var(aval) for aval in primitive.results(args, params)]
        effects = primitive.effects(params) if primitive.effects is not None else NO_EFFECTS
        self.keep(Eqn(primitive, list(args), params, outs, effects, self.source))
        return outs

    def constant(self, value: Any, aval: ShapedArray) -> Atom:
        """An atom for an array known now: written into equations if it has rank 0."""
        if not aval.shape and not is_key(aval.dtype):
            return Literal(value, aval)
        var = Var(aval)
        self.constants[var] = value
        return var

    def splice(self, body: Jaxpr, args: Sequence[Atom]) -> list[Atom]:
        """Adds a copy of the body's equations, under new variables. Returns its outputs."""
        held = [self.constant(c, v.aval) for v, c in zip(body.constvars, body.consts)]
        env: dict[Any, Atom] = dict(zip(body.inputs, [*held, *args], strict=True))
        for e in body.eqns:
            outs = [Var(v.aval) for v in e.outs]
            operands = [env.get(a, a) for a in e.args]
            self.keep(Eqn(e.primitive, operands, e.params, outs, e.effects, e.source))
            env.update(zip(e.outs, outs))
        return [env.get(o, o) for o in body.outputs]

    def definition(self, atom: Atom, primitive: Primitive) -> Eqn | None:
        """The equation that computes `atom`, if it is of this primitive."""
        e = self.definitions.get(atom)  # type: ignore[arg-type]
        return e if e is not None and e.primitive is primitive else None

    def close(self) -> Jaxpr:
        """The new program; the old one if nothing was replaced."""
        if not self.changed:
            return self.old
        outputs = [self.atom(o) for o in self.old.outputs]
        inputs = [*self.constants, *self.old.args]
        return Jaxpr(inputs, self.eqns, outputs, list(self.constants.values()))


Visitor = Callable[[Rewriter, Eqn], Sequence[Atom] | None]


def rewrite(jaxpr: Jaxpr, visit: Visitor) -> Jaxpr:
    """The program with each equation offered to `visit`, which returns atoms for its results, or
    None to keep it.
    """
    program = Rewriter(jaxpr)
    for old in jaxpr.eqns:
        e = program.current(old)
        program.source = e.source
        found = visit(program, e)
        if found is None:
            program.keep(e)
            continue
        program.changed = True
        program.replaced.update(zip(e.outs, found, strict=True))
    return program.close()
