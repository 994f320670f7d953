"""Outer products: a product of arrays that adds nothing up is a multiplication of elements, which
kernels compute where it is read.

Late, since a scan that adds outer products up is one product of matrices (`split_scans`).
"""

from __future__ import annotations

from collections.abc import Sequence

from funcgrad.compiler.passes.reshape_rules import turned
from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.core import dtypes
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr
from funcgrad.primitives.basis import broadcast_in_dim_p, mul_p, reshape_p
from funcgrad.primitives.contract import dot_general_p


def multiply_outer(jaxpr: Jaxpr) -> Jaxpr:
    """Products over extents of 1 become multiplications. A product of -0.0 keeps its sign."""
    return rewrite(jaxpr, _visit)


def _visit(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    if e.primitive is not dot_general_p:
        return None
    (out,), (lhs, rhs) = e.outs, e.args
    contracted, batch = e.params["dimension_numbers"]
    is_number = dtypes.is_integer(out.aval.dtype) or dtypes.is_inexact(out.aval.dtype)
    if not is_number or lhs.aval.dtype != out.aval.dtype:
        return None
    if any(not lhs.aval.shape[d] == 1 for d in contracted[0]):
        return None
    x, y = (_arranged(program, a, c, b) for a, c, b in zip((lhs, rhs), contracted, batch))
    shared, rank = len(batch[0]), len(out.aval.shape)
    rows = len(x.aval.shape)
    behind = (*range(shared), *range(rows, rank))
    return [program.emit(mul_p, _spread(program, x, out, tuple(range(rows))),
                         _spread(program, y, out, behind))]  # fmt: skip


def _arranged(program: Rewriter, x: Atom, ones: Sequence[int], batch: Sequence[int]) -> Atom:
    """The operand with its batch dimensions in front and without those of extent 1 that are
    contracted.
    """
    rest = [d for d in range(len(x.aval.shape)) if d not in batch and d not in ones]
    x = turned(program, x, (*batch, *rest, *ones))
    kept = x.aval.shape[: len(batch) + len(rest)]
    return program.emit(reshape_p, x, new_sizes=kept) if ones else x


def _spread(program: Rewriter, x: Atom, out: Atom, dimensions: tuple[int, ...]) -> Atom:
    shape = out.aval.shape
    if x.aval.shape in (shape, ()):
        return x
    return program.emit(broadcast_in_dim_p, x, shape=shape, broadcast_dimensions=dimensions)
