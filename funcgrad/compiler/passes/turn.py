"""Transposes move behind what is computed element by element, where they meet each other, results,
and products, which read any order.

The other operands must come in the turned order for free: numbers, transposes of the same kind, and
products that nothing else reads, whose operands change places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.compiler.views import form_of
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr
from funcgrad.core.loops import Map
from funcgrad.primitives.basis import transpose_p
from funcgrad.primitives.contract import dot_general_p

Permutation = tuple[int, ...]


def sink_transposes(jaxpr: Jaxpr) -> Jaxpr:
    """map(transpose x, y z) -> transpose map(x, z' y')"""
    if not any(e.primitive is transpose_p for e in jaxpr.eqns):
        return jaxpr
    reads = Counter(a for atoms in (*(e.args for e in jaxpr.eqns), jaxpr.outputs) for a in atoms)
    return rewrite(jaxpr, lambda program, e: _visit(program, e, reads))


def _visit(program: Rewriter, e: Eqn, reads: Counter[Atom]) -> Sequence[Atom] | None:
    turned = [t for a in e.args if (t := program.definition(a, transpose_p)) is not None]
    if not turned or e.primitive.multiple_results or not isinstance(form_of(e), Map):
        return None
    permutation = turned[0].params["permutation"]
    if not all(_turns(program, a, permutation, reads) for a in e.args):
        return None
    args = [_unturned(program, a) for a in e.args]
    result = program.emit(e.primitive, *args, **e.params)
    return [program.emit(transpose_p, result, permutation=permutation)]


def _turns(program: Rewriter, a: Atom, permutation: Permutation, reads: Counter[Atom]) -> bool:
    """Is the operand one that costs nothing more before the transpose?"""
    if not a.aval.shape:
        return True
    e = program.definitions.get(a)  # type: ignore[arg-type]
    if e is not None and e.primitive is transpose_p:
        return e.params["permutation"] == permutation
    if e is None or e.primitive is not dot_general_p or reads[a] > 1:
        return False
    return e.params["dimension_numbers"][1] == ((), ()) and permutation == _exchange(e)


def _exchange(product: Eqn) -> Permutation:
    """How the result with exchanged operands is transposed to the one that there is."""
    rank = len(product.outs[0].aval.shape)
    (contracted, _), _ = product.params["dimension_numbers"]
    columns = rank - (len(product.args[0].aval.shape) - len(contracted))
    return (*range(columns, rank), *range(columns))


def _unturned(program: Rewriter, a: Atom) -> Atom:
    if not a.aval.shape:
        return a
    e = program.definitions[a]  # type: ignore[index]
    if e.primitive is transpose_p:
        return e.args[0]
    contracted, batch = e.params["dimension_numbers"]
    numbers = ((contracted[1], contracted[0]), batch)
    params = {**e.params, "dimension_numbers": numbers, "precision": _reversed(e)}
    return program.emit(dot_general_p, e.args[1], e.args[0], **params)


def _reversed(product: Eqn) -> tuple[object, ...] | None:
    precision = product.params["precision"]
    return None if precision is None else tuple(reversed(precision))
