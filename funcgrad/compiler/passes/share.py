"""Common subexpressions: equal equations on equal operands are computed once.

Equations are hashed as they come, so that equal chains of any length fall together in one walk.
What has effects is never shared, and neither is a checkpoint, whose purpose is to be computed
again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.core.array import ConcreteArray, to_host
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal
from funcgrad.core.primitive import Construct


def literal_key(literal: Literal) -> Hashable:
    """Equal for literals of the same type and bits: 0.0 and -0.0 differ, NaN equals itself."""
    value = literal.value
    host = to_host(value._buffer) if isinstance(value, ConcreteArray) else value
    return literal.aval.dtype, np.asarray(host, literal.aval.dtype).tobytes()


def equation_key(e: Eqn) -> Hashable:
    """Equal for equations that compute the same."""
    args = tuple([literal_key(a) if type(a) is Literal else a for a in e.args])
    return e.primitive, args, tuple(e.params.items())


def share_common(jaxpr: Jaxpr) -> Jaxpr:
    """Computes equal equations once."""
    seen: dict[Hashable, Sequence[Atom]] = {}

    def visit(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
        if e.effects or isinstance(e.primitive, Construct):
            return None
        key = equation_key(e)
        found = seen.get(key)
        if found is None:
            seen[key] = e.outs
        return found

    return rewrite(jaxpr, visit)
