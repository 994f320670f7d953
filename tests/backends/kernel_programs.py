"""Programs of kernels run in ways that show their mistakes: by the interpreter of kernels, which
checks each access, and as native code with a guarded array of its own for every value.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.backends import reference
from funcgrad.backends.llvm.assembly import is_native, native_unit
from funcgrad.backends.llvm.block import Block, Frame, Workshop
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.engine import compiled
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.interpret_kernel import run_kernel
from funcgrad.compiler.pipeline import prepared
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal, Var
from funcgrad.primitives.convolution import conv_general_dilated_p

GUARD = 256  # bytes on both sides of every array
POISON = 0xFF  # NaN in every float, and numbers far outside as indices


def block_of(jaxpr: Jaxpr) -> Block:
    """The program as units, optimised."""
    shop = Workshop(Module(host()), is_native, native_unit)
    return Block(prepared(jaxpr), shop)


def _given(jaxpr: Jaxpr, buffers: Sequence[np.ndarray]) -> dict[Any, np.ndarray]:
    constants = [np.asarray(c._buffer) for c in jaxpr.consts]
    return dict(zip(jaxpr.inputs, [*constants, *buffers], strict=True))


def _literal(a: Any) -> np.ndarray:
    return np.asarray(getattr(a.value, "_buffer", a.value), a.aval.dtype)


def run_alone(e: Eqn, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One equation by the reference."""
    inputs = [Var(a.aval) for a in e.args]
    outs = [Var(o.aval) for o in e.outs]
    found = reference.compile(Jaxpr(inputs, [Eqn(e.primitive, inputs, e.params, outs)], outs))
    return [np.asarray(x) for x in found(list(operands))]


def interpreted(block: Block, buffers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs, kernels by the interpreter and everything else by the reference."""
    env = _given(block.jaxpr, buffers)
    for unit in block.units:
        if unit.eqn is not None:
            operands = [_found(a, env) for a in unit.eqn.args]
            env.update(zip(unit.eqn.outs, run_alone(unit.eqn, operands)))
            continue
        for v in unit.results():
            env[v] = np.zeros(v.aval.shape, v.aval.dtype)
        kernel = block.kernels[unit]
        arrays = {b.key: env[b.key] for b in kernel.buffers if not b.local}
        run_kernel(kernel, arrays, conv_general_dilated_p.value)
    return [_found(o, env) for o in block.jaxpr.outputs]


def _found(o: Any, env: dict[Any, np.ndarray]) -> np.ndarray:
    """An output. Empty ones are made by nobody."""
    if type(o) is Literal:
        return _literal(o)
    return env[o] if 0 not in o.aval.shape else np.zeros(o.aval.shape, o.aval.dtype)


class Guarded:
    """Bytes between guards; all are poison to begin with."""

    def __init__(self, size: int, value: np.ndarray | None = None) -> None:
        room = -(-size // 64) * 64 + 2 * GUARD + 64
        whole = np.full(room, POISON, np.uint8)
        start = -whole.ctypes.data % 64 + GUARD
        self.whole, self.start, self.size = whole, start, size
        self.bytes = whole[start : start + size]
        if value is not None:
            self.bytes[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)

    def intact(self) -> bool:
        """Is nothing written outside?"""
        around = (self.whole[: self.start], self.whole[self.start + self.size :])
        return all((part == POISON).all() for part in around)


def guarded(block: Block, buffers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs by native code; nothing but results is written, and only inside."""
    program = GuardedProgram(block)
    return program.run(buffers)


class GuardedProgram:
    """Native code of all units, each value and each unit's scratch memory by itself."""

    def __init__(self, block: Block) -> None:
        self.block = block
        assert block.is_native, "some equation has no native form"
        made = [v for u in block.units for v in u.results()]
        self.values = list(dict.fromkeys([*block.jaxpr.inputs, *made]))
        self.scratch = [block.scratch_of(u) for u in block.units]
        module = block.shop.module
        name = module.function("whole", [PTR], None, self._write)
        text = module.text().replace(f"internal void @{name}(", f"void @{name}(")
        self.code = compiled(text, (name,), host())
        self.function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.code.addresses[name])

    def _write(self, b: Builder, table: Value) -> None:
        def entry(n: int) -> Value:
            return b.load(b.element(table, n, "ptr"), PTR)

        first = len(self.values) + len(self.scratch)
        frame = Frame(b, lambda array: entry(first + self.block.shop.constant(array)))
        addresses = {v: entry(n) for n, v in enumerate(self.values)}
        for n, unit in enumerate(self.block.units):
            own = b.element(entry(len(self.values) + n), Value("0", I64), "i8")
            self.block.emit_unit(frame, unit, addresses, own, {})

    def run(self, buffers: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs. Operands and guards must be as they were."""
        given = _given(self.block.jaxpr, buffers)
        held = [Guarded(_bytes(v), given.get(v)) for v in self.values]
        held += [Guarded(size) for size in self.scratch]
        constants = self.block.shop.constants
        held += [Guarded(c.nbytes, c) for c in constants]
        table = (ctypes.c_void_p * max(len(held), 1))()
        for n, g in enumerate(held):
            table[n] = g.whole.ctypes.data + g.start
        self.function(ctypes.addressof(table))
        for v, g in zip(self.values, held):
            assert g.intact(), f"written outside of {v.aval}"
            if v in given:
                same = np.ascontiguousarray(given[v]).reshape(-1).view(np.uint8)
                assert (g.bytes == same).all(), f"an operand was written to: {v.aval}"
        assert all(g.intact() for g in held), "written outside of scratch memory or constants"
        found = {
            v: g.bytes.view(v.aval.dtype).reshape(v.aval.shape) for v, g in zip(self.values, held)
        }
        return [_found(o, found) for o in self.block.jaxpr.outputs]


def _bytes(v: Any) -> int:
    return int(np.prod(v.aval.shape, dtype=np.int64)) * v.aval.dtype.itemsize
