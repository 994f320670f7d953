"""Straight-line programs of kernels and loops, as code inside one function.

A block knows its kernels and where its temporaries lie in the scratch memory it is given; the
addresses of inputs and outputs come from whoever emits it. Loops hold blocks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.arena import Layout
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.splitting import Split, call_split, emit_totals, split_of
from funcgrad.backends.llvm.tiled_kernels import cut_of, emit, emit_end, scratch_bytes
from funcgrad.compiler.affine import Misaligned
from funcgrad.compiler.build import build
from funcgrad.compiler.donation import shared_memory, without_copy
from funcgrad.compiler.fusion import Fusion, Unit
from funcgrad.compiler.graph import Graph, bytes_of, size_of
from funcgrad.compiler.kernel import Buffer, Kernel
from funcgrad.compiler.pipeline import prepared
from funcgrad.compiler.tiling import tiled
from funcgrad.core.jaxpr import Jaxpr, Literal, Var
from funcgrad.util import blake2b

Addresses = dict[Any, Value]
Shared = dict[Any, Any]


class Frame:
    """Where code is written: the builder, how constants are reached, and the record of threads,
    None if there are none.
    """

    def __init__(
        self, b: Builder, constant: Callable[[Any], Value], threads: Value | None = None
    ) -> None:
        self.b, self.constant, self.threads = b, constant, threads


class Workshop:
    """What all blocks of a program share: the module, its kernels and constants."""

    def __init__(self, module: Module, native: Any, loop: Any) -> None:
        self.module, self.native, self.loop = module, native, loop
        self.kernels: list[Kernel] = []
        self.constants: list[Any] = []
        self.originals: list[Any] = []  # the constants as they were given
        self._known: dict[int, int] = {}
        self._blocks: dict[Jaxpr, Block] = {}

    def block(self, jaxpr: Jaxpr) -> Block:
        """The block of an inner program."""
        if jaxpr not in self._blocks:
            self._blocks[jaxpr] = Block(prepared(jaxpr), self)
        return self._blocks[jaxpr]

    def constant(self, array: Any) -> int:
        """The number of an array among the constants of all blocks."""
        if id(array) in self._known:
            return self._known[id(array)]
        self._known[id(array)] = len(self.constants)
        self.constants.append(np.ascontiguousarray(array))
        self.originals.append(array)
        return len(self.constants) - 1


class Block:
    """One program. `outside` are equations that have no native form."""

    def __init__(self, jaxpr: Jaxpr, shop: Workshop) -> None:
        self.jaxpr, self.shop = jaxpr, shop
        self.graph = Graph(jaxpr, shop.native)
        self.fusion = Fusion(self.graph)
        self._buffers: dict[Var, Buffer] = {}
        self.units: list[Unit] = []
        self.kernels: dict[Unit, Kernel] = {}
        for unit in self.fusion.run():
            self._add(unit)
        self.loops = {u: shop.loop(u.eqn, shop) for u in self.units if u.eqn is not None}
        self.shop.kernels += self.kernels.values()
        self._names: dict[Any, str] = {}
        self._splits: dict[Unit, Split | None] = {}

    @property
    def is_native(self) -> bool:
        """Can all of it run without the outside?"""
        return all(loop is not None for loop in self.loops.values())

    def _add(self, unit: Unit) -> None:
        """A unit and its kernel. Roots that fit together one by one, but whose loops are cut up in
        different ways, become kernels of their own.
        """
        if unit.eqn is None:
            stored = self.fusion.stored.__contains__
            try:
                kernel = build(self.graph, unit.rows, unit.roots, self._buffer, stored)
                self.kernels[unit] = tiled(kernel)
            except Misaligned:
                if len(unit.roots) == 1:
                    raise
                for part in self.fusion.divided(unit):
                    self._add(part)
                return
        self.units.append(unit)

    def _buffer(self, v: Var) -> Buffer:
        if v not in self._buffers:
            self._buffers[v] = Buffer(v, v.aval.dtype, size_of(v))
        return self._buffers[v]

    def _split(self, unit: Unit) -> Split | None:
        """How a kernel is cut into parts for threads, if it is."""
        if unit not in self._splits:
            kernel = self.kernels[unit]
            tiled = None if kernel.tile is None else cut_of(kernel, self.shop.module.target)
            self._splits[unit] = split_of(kernel, tiled)
        return self._splits[unit]

    def _function(self, unit: Unit, shared: Shared) -> tuple[str, list[Var], int]:
        """The kernel's function, the variables whose addresses it takes, and its scratch memory."""
        kernel = self.kernels[unit]
        outer = [b for b in kernel.buffers if not b.local]
        keys = [shared.get(b.key, b.key) for b in outer]
        arguments = list(dict.fromkeys(keys))
        places = tuple(map(arguments.index, keys))
        needed = self._own_memory(unit)
        if (unit, places) not in self._names:
            text = f"{kernel}{places}{needed}"
            name = f"kernel_{blake2b(text.encode(), digest_size=10).hexdigest()}"
            self._names[unit, places] = name
            self._emit(without_copy(kernel, shared), name, places, needed > 0, self._split(unit))
        return self._names[unit, places], arguments, needed

    def _emit(
        self, kernel: Kernel, name: str, places: tuple[int, ...], scratch: bool, split: Split | None
    ) -> None:
        """The functions of a kernel."""
        emit(self.shop.module, kernel, name, places, scratch, split)
        if split is not None and split.waiting:
            emit_end(self.shop.module, kernel, name, places, split)

    def _own_memory(self, unit: Unit) -> int:
        """Memory that a kernel needs while it runs, or each part of it."""
        return scratch_bytes(self.kernels[unit], self.shop.module.target)

    def scratch_of(self, unit: Unit) -> int:
        """Memory that a unit needs while it runs."""
        if unit.eqn is None:
            split = self._split(unit)
            return self._own_memory(unit) + (0 if split is None else split.memory)
        loop = self.loops[unit]
        return 0 if loop is None else loop.scratch

    def layout(self, own: Sequence[Var]) -> Layout:
        """Places for everything but the variables in `own`, whose addresses are given."""
        return Layout(self.units, self.fusion.stored, own, self.scratch_of)

    # ---- code

    def emit_unit(
        self, frame: Frame, unit: Unit, addresses: Addresses, scratch: Value, shared: Shared
    ) -> None:
        """One unit's code; `scratch` is its own memory, `shared` says who takes whose."""
        if unit.eqn is None:
            name, variables, needed = self._function(unit, shared)
            pointers = [addresses[v] for v in variables]
            split = self._split(unit)
            if split is None:
                frame.b.call(name, None, [*pointers, *[scratch] * (needed > 0)])
                return
            call_split(frame.b, frame.threads, name, pointers, split, needed, scratch)
            if split.waiting:
                frame.b.call(f"{name}_end", None, [*pointers, scratch])
            elif split.sums:
                totals = emit_totals(self.shop.module, name, split)
                sums = [addresses[shared.get(b.key, b.key)] for b, _ in split.sums]
                frame.b.call(totals, None, [*sums, scratch])
        else:
            e = unit.eqn
            operands = [self._operand(frame, a, addresses) for a in e.args]
            self.loops[unit].emit(frame, operands, [addresses[o] for o in e.outs], scratch)

    def _operand(self, frame: Frame, a: Any, addresses: Addresses) -> Value:
        if type(a) is Literal:
            value = np.asarray(getattr(a.value, "_buffer", a.value), a.aval.dtype)
            return literal(frame.b, value)
        if size_of(a) == 0 and a not in addresses:
            return Value("null", PTR)
        return addresses[a]


def literal(b: Builder, value: np.ndarray) -> Value:
    """A number in memory."""
    at = memory.allocate(b, value.dtype, 1)
    memory.store(b, memory.constant(value[()], value.dtype, 1), at, value.dtype, 1, 1, None)
    return at


class InnerBlock:
    """A block inside a loop: emits all of its units, with temporaries in scratch memory."""

    def __init__(self, jaxpr: Jaxpr, shop: Workshop) -> None:
        self.block = shop.block(jaxpr)
        self.jaxpr = self.block.jaxpr
        outputs = [o for o in self.jaxpr.outputs if type(o) is Var]
        self.results = [o for o in dict.fromkeys(outputs) if o not in self.jaxpr.inputs]
        if self.block.is_native:
            self.plan = self.block.layout([*self.jaxpr.inputs, *self.results])
        self.scratch = self.plan.bytes if self.block.is_native else 0
        self.shared: Shared = {}

    def in_place(self, carries: Sequence[tuple[int, int]]) -> list[bool]:
        """Decides for pairs of an argument and an output, by number, whether the output takes the
        argument's memory.
        """
        return [self._takes_over(self.jaxpr.args[a], self.jaxpr.outputs[o]) for a, o in carries]

    def _takes_over(self, a: Var, o: Any) -> bool:
        if a is o:
            return self.jaxpr.outputs.count(a) == 1
        if a in self.jaxpr.outputs or o not in self.results or self.jaxpr.outputs.count(o) > 1:
            return False
        self.shared.update(shared_memory(self.block.units, self.block.kernels, [a], [o]))
        return self.shared.get(o) is a

    def emit(
        self, frame: Frame, inputs: Sequence[Value], outputs: Sequence[Value], scratch: Value
    ) -> None:
        """The code, from addresses to addresses. Outputs must not overlap inputs."""
        b = frame.b
        jaxpr = self.jaxpr
        consts = [frame.constant(c._buffer) for c in jaxpr.consts]
        addresses: Addresses = dict(zip(jaxpr.inputs, [*consts, *inputs], strict=True))
        again = []
        for o, place in zip(jaxpr.outputs, outputs, strict=True):
            if type(o) is Var and o not in addresses:
                addresses[o] = place
            elif o not in addresses or addresses[o].text != place.text:
                again.append((o, place))
        for v, slot in self.plan.slots.items():
            if slot.entry == 0:
                addresses[v] = b.element(scratch, Value(str(slot.offset), I64), "i8")
        for unit in self.block.units:
            own = b.element(scratch, Value(str(self.plan.scratch[unit]), I64), "i8")
            self.block.emit_unit(frame, unit, addresses, own, self.shared)
        for o, place in again:
            self._copy(frame, o, addresses, place)

    def _copy(self, frame: Frame, o: Any, addresses: Addresses, place: Value) -> None:
        source = self.block._operand(frame, o, addresses)
        copy(frame.b, place, source, bytes_of(o))


def copy(b: Builder, to: Value, source: Value, count: int) -> None:
    """Moves bytes between buffers that do not overlap."""
    if count:
        name = "llvm.memcpy.p0.p0.i64"
        b.module.declare(name, "void", "ptr, ptr, i64, i1")
        b.do(f"call void @{name}({to}, {source}, i64 {count}, i1 false)")
