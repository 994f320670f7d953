"""Arrays without elements: whatever makes one is replaced, and so is what is made of nothing else.

Later passes and kernels need not think of them then, beyond handing them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.compiler.forms import identity_of, updates_operand
from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.compiler.views import form_of
from funcgrad.core import dtypes, loops
from funcgrad.core.array import ConcreteArray
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import broadcast_in_dim_p


def settle_empty(jaxpr: Jaxpr) -> Jaxpr:
    """Empty results become a number that is broadcast no times, sums of nothing a constant."""
    return rewrite(jaxpr, _visit)


def _visit(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    avals = [v.aval for v in (*e.args, *e.outs)]
    if e.effects or not any(0 in aval.shape for aval in avals) or e.primitive is broadcast_in_dim_p:
        return None
    if not all(_is_plain(o.aval) for o in e.outs):
        return None
    if e.outs and all(0 in o.aval.shape for o in e.outs):
        return [_fill(program, o, 0) for o in e.outs]
    if len(e.outs) != 1 or type(e.primitive).evaluate is not Primitive.evaluate:
        return None
    found = _of_nothing(program, e)
    return None if found is None else [found]


def _of_nothing(program: Rewriter, e: Eqn) -> Atom | None:
    """What an equation with an empty operand makes, where that is known."""
    form, (out,) = form_of(e), e.outs
    if isinstance(form, loops.Reduce):
        return _fill(program, out, identity_of(form.op, out.aval.dtype))
    if isinstance(form, (loops.Contract, loops.Convolve)):
        return _fill(program, out, 0)
    if isinstance(form, loops.Scatter) and 0 in e.args[updates_operand(form)].aval.shape:
        return e.args[0]
    return None


def _fill(program: Rewriter, out: Any, value: Any) -> Atom:
    """An array of one number."""
    aval = out.aval.update(shape=())
    number = Literal(ConcreteArray(aval.dtype.type(value), aval.weak_type), aval)
    if not out.aval.shape:
        return number
    return program.emit(broadcast_in_dim_p, number, shape=out.aval.shape, broadcast_dimensions=())


def _is_plain(aval: Any) -> bool:
    known = all(isinstance(n, int) for n in aval.shape)
    return known and not dtypes.is_key(aval.dtype) and aval.dtype.kind != "O"
