"""What the elements of reductions are made of: for each form, the value that is combined, turn by
turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.compiler.affine import At, Sum, unflatten
from funcgrad.compiler.forms import identity_of
from funcgrad.compiler.graph import Definition
from funcgrad.compiler.kernel import Operand, Ref
from funcgrad.compiler.reader import Reader, strided
from funcgrad.compiler.scalar import Constant
from funcgrad.core import loops
from funcgrad.core.dtypes import bool_


def reduced_size(definition: Definition) -> int:
    """How many elements each element of the result is made of."""
    form, e = definition.form, definition.eqn
    if isinstance(form, loops.Reduce):
        return math.prod(e.args[0].aval.shape[d] for d in form.axes)
    if isinstance(form, loops.ArgReduce):
        return e.args[0].aval.shape[form.axis]
    if isinstance(form, loops.Contract):
        return math.prod(e.args[0].aval.shape[d] for d in form.lhs_contract)
    if isinstance(form, loops.Window):
        return math.prod(form.dimensions)
    return 1


def operation(form: Any) -> str:
    """What a reduction combines with."""
    if isinstance(form, loops.ArgReduce):
        return f"arg{form.op}"
    return "add" if isinstance(form, loops.Contract) else form.op


def _merged(out: Sequence[Sum], axes: Sequence[int], inner: Sequence[Sum], rank: int) -> list[Sum]:
    """Indices of an operand: those of the result where they are kept, the others from within."""
    kept, summed = iter(out), dict(zip(axes, inner))
    return [summed[d] if d in summed else next(kept) for d in range(rank)]


def _reduce(reader: Reader, definition: Definition, out: At, turn: Sum) -> Operand:
    (x,) = definition.eqn.args
    shape, axes = x.aval.shape, definition.form.axes
    if tuple(sorted(axes)) == tuple(range(len(shape) - len(axes), len(shape))):
        count = math.prod(shape[d] for d in axes)
        return reader.read(x, At(shape, flat=out.flat * count + turn))
    inner = unflatten(turn, [shape[d] for d in axes])
    return reader.read(x, At(shape, _merged(out.indices, axes, inner, len(shape))))


def _arg_reduce(reader: Reader, definition: Definition, out: At, turn: Sum) -> Operand:
    x = definition.eqn.args[0]
    shape, axis = x.aval.shape, definition.form.axis
    return reader.read(x, At(shape, _merged(out.indices, [axis], [turn], len(shape))))


def _contract(reader: Reader, definition: Definition, out: At, turn: Sum) -> Operand:
    lhs, rhs = definition.eqn.args
    form, dtype = definition.form, definition.eqn.outs[0].aval.dtype
    inner = unflatten(turn, [lhs.aval.shape[d] for d in form.lhs_contract])
    batch = list(zip(form.lhs_batch, form.rhs_batch))
    indices = out.indices
    free = lhs.aval.ndim - len(batch) - len(form.lhs_contract)
    values = []
    for x, contracted, batched, own in (
        (lhs, form.lhs_contract, form.lhs_batch, indices[len(batch) : len(batch) + free]),
        (rhs, form.rhs_contract, form.rhs_batch, indices[len(batch) + free :]),
    ):
        known = {**dict(zip(contracted, inner)), **dict(zip(batched, indices))}
        rest = iter(own)
        at = [known[d] if d in known else next(rest) for d in range(x.aval.ndim)]
        value = reader.read(x, At(x.aval.shape, at))
        wide = value.dtype if value.dtype == dtype else dtype
        values.append(value if value.dtype == wide else reader.compute("convert", [value], wide))
    if dtype == bool_:
        return reader.compute("and_", values, dtype)
    return reader.compute("mul", values, dtype)


def _window(reader: Reader, definition: Definition, out: At, turn: Sum) -> Operand:
    (x,) = definition.eqn.args[:1]
    form = definition.form
    shape = x.aval.shape
    inner = unflatten(turn, form.dimensions)
    tests, indices = [], []
    for o, k, size, stride, (low, _), base, dilation in zip(
        out.indices, inner, shape, form.strides, form.padding, form.base_dilation,
        form.window_dilation,
    ):  # fmt: skip
        index = o * stride + k * dilation + -low
        if base > 1:
            index, between = strided(reader, index, base)
            tests.append(between)
        tests.append(reader.within(index, 0, size))
        indices.append(index)
    holds = reader.all(tests)
    identity = Constant(identity_of(form.op, x.aval.dtype))
    if holds is False:
        return identity
    if holds is True:
        return reader.read(x, At(shape, indices))
    assert isinstance(holds, Ref)
    value = reader.read(x, At(shape, indices), holds)
    return reader.compute("select", [holds, value, identity], x.aval.dtype)


ITERATION: dict[type, Callable[..., Operand]] = {
    loops.Reduce: _reduce,
    loops.ArgReduce: _arg_reduce,
    loops.Contract: _contract,
    loops.Window: _window,
}
