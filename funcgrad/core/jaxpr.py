"""Programs. The grammar of the intermediate representation, its classes, and its evaluator.

    jaxpr ::= { lambda const* ; input* . let eqn* in ( atom* ) }
    eqn   ::= var* = primitive[ parameter* ] atom*
    atom  ::= var | literal

A program is straight-line code; each variable is bound once. Constants are leading inputs with
values attached. Programs are compared by identity; everything derived from one is memoised on it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, final

from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.source import Source, inherited
from funcgrad.core.trace import EVAL, Trace

F = TypeVar("F", bound=Callable[..., Any])


class Var:
    """A variable: bound once, known by identity."""

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray) -> None:
        self.aval = aval

    def __repr__(self) -> str:
        return f"Var({self.aval})"


@final
class Literal:
    """A rank-0 constant, written in the equation that uses it."""

    __slots__ = ("value", "aval")

    def __init__(self, value: Any, aval: ShapedArray | None = None) -> None:
        self.value = value
        self.aval = aval if aval is not None else typeof(value)

    def __repr__(self) -> str:
        return f"Literal({self.value})"


Atom = Var | Literal
NO_EFFECTS: frozenset[Any] = frozenset()


class Eqn:
    """One operation: `outs = primitive[params] args`. `source` is the user's line it came from."""

    __slots__ = ("primitive", "args", "params", "outs", "effects", "source")

    def __init__(
        self,
        primitive: Primitive,
        args: Sequence[Atom],
        params: dict[str, Any],
        outs: Sequence[Var],
        effects: frozenset[Any] = NO_EFFECTS,
        source: Source | None = None,
    ) -> None:
        self.primitive, self.args, self.params = primitive, args, params
        self.outs, self.effects, self.source = outs, effects, source

    def replace(self, **changes: Any) -> Eqn:
        """A copy with some fields replaced."""
        kept = {name: getattr(self, name) for name in Eqn.__slots__}
        return Eqn(**{**kept, **changes})

    def __repr__(self) -> str:
        return f"Eqn({self.primitive})"


class Jaxpr:
    """A program. `inputs` are all its inputs, those of `consts` first; callers supply the
    others, `args`.
    """

    __slots__ = ("consts", "inputs", "eqns", "outputs", "effects", "names", "_memo", "__weakref__")

    def __init__(
        self,
        inputs: Sequence[Var],
        eqns: Sequence[Eqn],
        outputs: Sequence[Atom],
        consts: Sequence[Any] = (),
    ) -> None:
        self.consts, self.inputs = tuple(consts), tuple(inputs)
        self.eqns, self.outputs = tuple(eqns), tuple(outputs)
        self.effects = frozenset().union(*(e.effects for e in eqns if e.effects))
        self.names = _free_names(eqns)
        self._memo: dict[Any, Any] = {}

    @property
    def constvars(self) -> tuple[Var, ...]:
        """The inputs whose values are in `consts`."""
        return self.inputs[: len(self.consts)]

    @property
    def args(self) -> tuple[Var, ...]:
        """The inputs that a caller supplies."""
        return self.inputs[len(self.consts) :]

    @property
    def in_avals(self) -> list[ShapedArray]:
        """Abstract values of `args`."""
        return [v.aval for v in self.args]

    @property
    def out_avals(self) -> list[ShapedArray]:
        """Abstract values of the outputs."""
        return [v.aval for v in self.outputs]

    def replace(self, **changes: Any) -> Jaxpr:
        """A copy with some of inputs, eqns, outputs, consts replaced."""
        kept = {name: getattr(self, name) for name in ("inputs", "eqns", "outputs", "consts")}
        return Jaxpr(**{**kept, **changes})

    def __str__(self) -> str:
        return printer(self)

    __repr__ = __str__


def printer(jaxpr: Jaxpr) -> str:
    """Replaced by `core.pretty` when that is imported, which stands above this module."""
    return f"Jaxpr({len(jaxpr.eqns)} equations)"


def subjaxprs(params: dict[str, Any]) -> list[Jaxpr]:
    """The programs among an equation's parameters."""
    found: list[Jaxpr] = []
    for value in params.values():
        if isinstance(value, Jaxpr):
            found.append(value)
        elif type(value) is tuple and value and isinstance(value[0], Jaxpr):
            found.extend(value)
    return found


def constants(jaxpr: Jaxpr) -> Iterator[Any]:
    """The constants of a program and of all programs inside it."""
    pending = [jaxpr]
    while pending:
        program = pending.pop()
        yield from program.consts
        for e in program.eqns:
            pending += subjaxprs(e.params)


def is_static(jaxpr: Jaxpr) -> bool:
    """Are all sizes known?"""
    atoms = [*jaxpr.inputs, *(v for e in jaxpr.eqns for v in (*e.args, *e.outs))]
    return all(isinstance(n, int) for v in atoms for n in v.aval.shape)


def is_settled(jaxpr: Jaxpr) -> bool:
    """Are the sizes of all operands and results known? Those of values between may not be."""
    return all(isinstance(n, int) for v in (*jaxpr.inputs, *jaxpr.outputs) for n in v.aval.shape)


def _free_names(eqns: Sequence[Eqn]) -> frozenset[Any]:
    """Names of mapped axes that the equations use and do not bind themselves."""
    names: frozenset[Any] = NO_EFFECTS
    for e in eqns:
        if e.primitive.names is not None:
            names = names.union(e.primitive.names(e.params))
    return names


def program_names(params: dict[str, Any]) -> frozenset[Any]:
    """The `names` rule of constructs: what their programs use freely."""
    return frozenset().union(*(j.names for j in subjaxprs(params)))


def program_effects(params: dict[str, Any]) -> frozenset[Any]:
    """The `effects` rule of constructs: those of their programs."""
    return frozenset().union(*(j.effects for j in subjaxprs(params)))


def memoised(function: F) -> F:
    """Keeps what a function derives from a program on that program: a second call returns the same
    object.

    Caches downstream go by identity, so an equal but new program would make every one of them miss.
    """

    @functools.wraps(function)
    def wrapper(jaxpr: Jaxpr, *key: Any) -> Any:
        entry = (function, *key)
        found = jaxpr._memo.get(entry)
        if found is None:
            found = jaxpr._memo[entry] = function(jaxpr, *key)
        return found

    return wrapper  # type: ignore[return-value]


def eval_jaxpr(jaxpr: Jaxpr, args: Sequence[Any], trace: Trace) -> list[Any]:
    """Runs the program with `trace` interpreting each equation. The current trace plays no part."""
    env: dict[Any, Any] = dict(zip(jaxpr.inputs, jaxpr.consts + tuple(args), strict=True))
    token = inherited.set(None)
    try:
        for e in jaxpr.eqns:
            if trace is not EVAL:
                inherited.set(e.source)
            eval_eqn(e, env, trace)
    finally:
        inherited.reset(token)
    return [env[o] if type(o) is Var else o.value for o in jaxpr.outputs]  # type: ignore[union-attr]


def eval_eqn(e: Eqn, env: dict[Any, Any], trace: Trace) -> None:
    """Interprets one equation and records its results in `env`."""
    operands = [env[a] if type(a) is Var else a.value for a in e.args]  # type: ignore[union-attr]
    out = trace.process(e.primitive, operands, e.params)
    if e.primitive.multiple_results:
        env.update(zip(e.outs, out))
    else:
        env[e.outs[0]] = out
