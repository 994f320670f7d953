"""The statements of a kernel as LLVM's text: what one turn of its loops does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I64, Builder, Type, Value
from funcgrad.backends.llvm.scalar import render, round_narrow
from funcgrad.compiler.affine import Loop, Sum
from funcgrad.compiler.forms import scalar_of
from funcgrad.compiler.graph import COSTS
from funcgrad.compiler.kernel import (
    Accumulate,
    Buffer,
    Compute,
    Load,
    Operand,
    Position,
    Ref,
    Statement,
    Store,
)

Registers = Any  # a Value, or the real and the imaginary part


class Scope:
    """What is known at one point of the code: values, loops, and the lanes in force."""

    __slots__ = ("values", "loops", "offsets", "mask")

    def __init__(self, parent: Scope | None = None, mask: Value | None = None) -> None:
        self.values: dict[Ref, Registers] = dict(parent.values) if parent else {}
        self.loops: dict[Loop, Value] = dict(parent.loops) if parent else {}
        self.offsets: dict[Any, Value] = dict(parent.offsets) if parent else {}
        self.mask: Value | None = mask if mask is not None or parent is None else parent.mask


class StatementEmitter:
    """Writes statements: in lanes where they depend on the loop that runs over lanes."""

    def __init__(self, b: Builder, pointers: dict[Buffer, Value], outlined: bool) -> None:
        self.b, self.pointers = b, pointers
        self.vector: Loop | None = None
        self.lanes = 1
        self.outlined = outlined  # are functions of numbers called?

    def emit(self, statements: Sequence[Statement], scope: Scope) -> None:
        for s in statements:
            if isinstance(s, Compute):
                scope.values[s.ref] = self._computed(s, scope)
            elif isinstance(s, Load):
                scope.values[s.ref] = self._loaded(s, scope)
            elif isinstance(s, Position):
                scope.values[s.ref] = self._position(s.index, scope, self._lanes_of(s.ref))
            elif isinstance(s, Store):
                self._store(s, scope)
            else:
                self._accumulate(s, scope)

    def _lanes_of(self, ref: Ref) -> int:
        return self.lanes if self.vector in ref.loops else 1

    def _computed(self, s: Compute, scope: Scope) -> Registers:
        lanes = self._lanes_of(s.ref)
        args = [self._value(a, scope, lanes) for a in s.args]
        if s.name == "narrow":
            return round_narrow(self.b, args[0], s.ref.dtype)
        types = [a.dtype for a in s.args]
        if self.outlined and s.name in COSTS and not memory.is_complex(types[0]):
            return self._called(s, args, types, lanes)
        return render(self.b, s.name, args, types, s.ref.dtype, lanes)

    def _called(
        self, s: Compute, args: Sequence[Value], types: Sequence[np.dtype], lanes: int
    ) -> Value:
        """An operation as a call, which long kernels have: code is made once for all of them."""
        kinds = [a.type for a in args]
        result = Type(memory.register_kind(s.ref.dtype), lanes)
        name = "_".join([s.name, *(f"{t}x{lanes}" for t in types), str(s.ref.dtype)])

        def write(b: Builder, *operands: Value) -> Any:
            return render(b, s.name, operands, types, s.ref.dtype, lanes)

        function = self.b.module.function(f"op_{name}", kinds, result, write)
        return self.b.call(function, result, args)

    def _value(self, x: Operand, scope: Scope, lanes: int) -> Registers:
        """An operand in that many lanes."""
        if not isinstance(x, Ref):
            return memory.constant(x.value, x.dtype, lanes)
        return memory.splat(self.b, scope.values[x], lanes)

    def _position(self, index: Sum, scope: Scope, lanes: int) -> Value:
        """A sum as an integer, in lanes if the vector's loop is part of it."""
        b = self.b
        value = memory.splat(b, self._offset(index, scope), lanes)
        if lanes == 1:
            return value
        type = Type("i64", lanes)
        step = index.coefficient(self.vector)
        if step:
            steps = Value(f"<{', '.join(f'i64 {i * step}' for i in range(lanes))}>", type)
            value = b.add(value, steps)
        for variable, coefficient in index.terms:
            if isinstance(variable, Ref) and self.vector in variable.loops:
                scaled = self._scaled(scope.values[variable], coefficient)
                value = b.add(value, scaled)
        return value

    def _offset(self, index: Sum, scope: Scope) -> Value:
        """The part of a sum that all lanes share, with the first lane's of the vector's loop."""
        key = (index.constant, index.terms)
        if key in scope.offsets:
            return scope.offsets[key]
        b = self.b
        total: Value | None = None
        constant = index.constant
        for variable, coefficient in index.terms:
            if isinstance(variable, Ref):
                if self.vector in variable.loops and self.lanes > 1:
                    continue
                value = scope.values[variable]
            else:
                value = scope.loops[variable]
                if not value.text.startswith("%"):
                    constant += int(value.text) * coefficient
                    continue
            scaled = self._scaled(value, coefficient)
            total = scaled if total is None else b.add(total, scaled)
        if total is None:
            total = b.const(constant, I64)
        elif constant:
            total = b.add(total, b.const(constant, I64))
        scope.offsets[key] = total
        return total

    def _scaled(self, value: Value, factor: int) -> Value:
        return value if factor == 1 else self.b.mul(value, self.b.like(factor, value))

    def _address(self, buffer: Buffer, index: Sum, scope: Scope) -> tuple[Value, int | None]:
        """Where an element lies: an address and the step between lanes, or one address a lane."""
        kind, width = memory.element(buffer.dtype)
        varying = [v for v, _ in index.terms if isinstance(v, Ref) and self.vector in v.loops]
        step = index.coefficient(self.vector) if self.vector is not None else 0
        if self.lanes > 1 and varying:
            position = self._position(index, scope, self.lanes)
            return self.b.element(self.pointers[buffer], self._scaled(position, width), kind), None
        offset = self._scaled(self._offset(index, scope), width)
        return self.b.element(self.pointers[buffer], offset, kind), step

    def _loaded(self, s: Load, scope: Scope) -> Registers:
        lanes = self._lanes_of(s.ref)
        address, step = self._address(s.buffer, s.index, scope)
        mask = self._mask(s.guard, scope, lanes)
        if step == 0 and lanes > 1:  # only the guard differs from lane to lane
            address, step = memory.splat(self.b, address, lanes), None
        return memory.load(self.b, address, s.buffer.dtype, lanes if step != 0 else 1, step, mask)

    def _mask(self, guard: Ref | None, scope: Scope, lanes: int) -> Value | None:
        held = scope.mask if lanes > 1 else None
        if guard is None:
            return held
        value = self._value(guard, scope, lanes)
        return value if held is None else self.b.and_(value, held)

    def _store(self, s: Store, scope: Scope) -> None:
        address, step = self._address(s.buffer, s.index, scope)
        lanes = self.lanes if step != 0 else 1
        value = self._value(s.value, scope, lanes)
        memory.store(
            self.b, value, address, s.buffer.dtype, lanes, step, self._mask(s.guard, scope, lanes)
        )

    def _accumulate(self, s: Accumulate, scope: Scope) -> None:
        address, step = self._address(s.buffer, s.index, scope)
        dtype = s.buffer.dtype
        lanes = self.lanes if step != 0 else 1
        mask = self._mask(s.guard, scope, lanes)
        old = memory.load(self.b, address, dtype, lanes, step, mask)
        new = self._value(s.value, scope, lanes)
        combined = render(self.b, scalar_of(s.op), [old, new], [dtype, dtype], dtype, lanes)
        memory.store(self.b, combined, address, dtype, lanes, step, mask)
