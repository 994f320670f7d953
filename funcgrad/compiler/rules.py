"""The table of local rewrites, and what their conditions are written in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.compiler.rewrite import Rewriter
from funcgrad.core.array import ConcreteArray, KeyArray, to_host
from funcgrad.core.jaxpr import Atom, Eqn, Literal
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import broadcast_in_dim_p

Rule = Callable[[Rewriter, Eqn], Atom | None]

RULES: dict[Primitive, list[Rule]] = {}


def rule(*primitives: Primitive) -> Callable[[Rule], Rule]:
    """Puts a function into the table, under each of these primitives."""

    def register(function: Rule) -> Rule:
        for primitive in primitives:
            RULES.setdefault(primitive, []).append(function)
        return function

    return register


def literal_value(literal: Literal) -> Any:
    """The NumPy scalar that a literal is, of exactly its dtype."""
    value = literal.value
    host = to_host(value._buffer) if isinstance(value, ConcreteArray) else value
    return np.asarray(host, literal.aval.dtype)[()]


def fill_value(program: Rewriter, atom: Atom) -> Any:
    """The one value of all elements, if it is known: of a literal, or of one that was broadcast."""
    e = program.definition(atom, broadcast_in_dim_p)
    source = atom if e is None else e.args[0]
    if type(source) is not Literal or isinstance(source.value, KeyArray):
        return None
    return literal_value(source)


def is_fill(program: Rewriter, atom: Atom, value: Any) -> bool:
    """Are all elements known to equal `value`, sign of zero included?"""
    found = fill_value(program, atom)
    return (
        found is not None
        and bool(found == value)
        and bool(np.signbit(_real(found)) == np.signbit(value))
    )


def _real(found: Any) -> Any:
    return np.float64(found.real)
