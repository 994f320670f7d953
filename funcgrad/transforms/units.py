"""Operations met again and again outside of jit: linearized and transposed once for their types.

Reverse mode on arrays spends most of its time not on numbers but on asking rules. An operation (a
primitive, or a public function with its promotion and broadcasting) that comes for the third time
with the same parameters and types becomes a `Unit`: its forward half (result and residuals) and its
transpose as two compiled functions of buffers. Everything that traces sees ordinary equations:
`expand` writes them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.config import config
from funcgrad.core import backend
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal, Var, eval_jaxpr
from funcgrad.core.primitive import Primitive
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.transforms.partial import LinearTracer, Split
from funcgrad.transforms.transpose import transpose_jaxpr

_AFTER = 2  # encounters before an operation is worth compiling
_LIMIT = 4096  # signatures kept per operation
NEVER = -(2**60)  # a count that does not get there


class Unit:
    """One operation for one set of parameters and types: compiled forward and backward halves."""

    __slots__ = ("_backward", "aval", "forward", "given", "linear", "weak")

    def __init__(self, known: Jaxpr, linear: Jaxpr, given: Sequence[int]) -> None:
        self.forward = backend.compiled_briefly(known)
        self.linear, self.given = linear, given
        self.aval: ShapedArray = linear.out_avals[0]
        self.weak: bool = known.out_avals[0].weak_type
        self._backward: Any = None

    def residuals(self, buffers: Sequence[Any], outs: Sequence[Any]) -> list[Any]:
        """What the backward half needs: operands (those numbered from 0) and further results
        (from -1 down).
        """
        return [buffers[i] if i >= 0 else outs[-i] for i in self.given]

    def backward(self, residuals: Sequence[Any], ct: Any) -> list[Any]:
        """Cotangents of the operands that have tangents, from the result's."""
        if current_trace() is not EVAL or type(ct) is not ConcreteArray:
            arrays = [ConcreteArray(r) for r in residuals]
            return eval_jaxpr(self._transposed(), [*arrays, ct], current_trace())
        if self._backward is None:
            self._backward = backend.compiled_briefly(self._transposed())
        return [ConcreteArray(b, ct._weak) for b in self._backward([*residuals, ct._buffer])]

    def _transposed(self) -> Jaxpr:
        count = len(self.given)
        mask = (False,) * count + (True,) * (len(self.linear.args) - count)
        return transpose_jaxpr(self.linear, mask, (True,), True)[0]


def make(split: Split) -> Unit | None:
    """The Unit of a linearized operation; None if its derivative is no plain linear program of
    its tangents.
    """
    plain = split.out_known == (True,) and split.unknown_eqns and not split.constants
    if not plain or split.unknown_outputs[0] in split.unknown_inputs:
        return None
    position = {v: i for i, v in enumerate(split.known_inputs)}
    extra = [r for r in split.residuals if r not in position]
    position.update((r, -1 - k) for k, r in enumerate(extra))
    linear = split.unknown([*split.residuals, *split.unknown_inputs])
    return Unit(split.known(extra), linear, [position[r] for r in split.residuals])


def _pull(ct: Any, *, unit: Unit, residuals: Sequence[Any]) -> list[Any]:
    return unit.backward(residuals, ct)


unit_p = Primitive("unit", pull=_pull)


Table = dict[Any, Any]  # signature -> Unit, or how often it was met


def find(table: Table, key: list[Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """`look_up` for an operation with these operands; `key` holds its parameters, hashable."""
    for p, t in zip(primals, tangents):
        if type(p) is not ConcreteArray or (t is not None and type(t) is not LinearTracer):
            return None
        key.append(operand_key(p, t))
    return look_up(table, (config.current().trace_key, *key))


def operand_key(primal: ConcreteArray, tangent: Any) -> tuple[Any, ...]:
    """What of an operand a Unit depends on."""
    buffer = primal._buffer
    return buffer.shape, buffer.dtype, primal._weak, tangent is None


def look_up(table: Table, signature: tuple[Any, ...]) -> Any:
    """The operation's Unit; its signature if one should be made now; None if it should go the
    general way.
    """
    found = table.get(signature, 0)
    if type(found) is Unit:
        return found
    if found < _AFTER:
        if len(table) > _LIMIT:  # numbers that differ at every call leave entries that nobody reads
            table.clear()
        table[signature] = found + 1
        return None
    return signature


def record(
    trace: Any, unit: Unit, primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    """The operation's result, and its tangent as a variable of the linear trace."""
    buffers = [p._buffer for p in primals]
    outs = unit.forward(buffers)
    var = Var(unit.aval)
    params = {"unit": unit, "residuals": unit.residuals(buffers, outs)}
    trace.eqns.append(Eqn(unit_p, [t._var for t in tangents if t is not None], params, (var,)))
    return ConcreteArray(outs[0], unit.weak), var


def expand(eqns: Sequence[Eqn], residuals: dict[Var, Any]) -> list[Eqn]:
    """The equations with units written out; their residuals are added to `residuals`."""
    written: list[Eqn] = []
    for e in eqns:
        if e.primitive is unit_p:
            written += _written_out(e, residuals)
        else:
            written.append(e)
    return written


def _written_out(e: Eqn, residuals: dict[Var, Any]) -> list[Eqn]:
    unit: Unit = e.params["unit"]
    linear, count = unit.linear, len(unit.given)
    env: dict[Var, Any] = {}
    for var, buffer in zip(linear.args[:count], e.params["residuals"]):
        env[var] = Var(var.aval)
        residuals[env[var]] = ConcreteArray(buffer, var.aval.weak_type)
    for var, const in zip(linear.constvars, linear.consts):
        env[var] = Var(var.aval)
        residuals[env[var]] = const
    env.update(zip(linear.args[count:], e.args))
    env.update((o, Var(o.aval)) for inner in linear.eqns for o in inner.outs)
    (out,) = linear.outputs
    assert type(out) is Var
    env[out] = e.outs[0]
    return [
        inner.replace(
            args=[a if type(a) is Literal else env[a] for a in inner.args],
            outs=[env[o] for o in inner.outs],
        )
        for inner in linear.eqns
    ]
