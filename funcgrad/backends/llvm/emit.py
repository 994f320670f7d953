"""Kernels as LLVM's text.

A kernel becomes a function of the addresses of its buffers. One loop of each nest runs over lanes:
what depends on it is a vector, everything else a scalar, computed as far outside as it can be. The
last, incomplete vector is masked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I64, Builder, Type, Value
from funcgrad.backends.llvm.extremes import better
from funcgrad.backends.llvm.long_sums import RowSums, in_blocks, loses_digits
from funcgrad.backends.llvm.scalar import render, round_narrow
from funcgrad.backends.llvm.tiles import lanes_mask
from funcgrad.compiler.affine import Loop, Sum
from funcgrad.compiler.graph import COSTS
from funcgrad.compiler.iteration import identity_of
from funcgrad.compiler.kernel import (
    Accumulate,
    Buffer,
    Compute,
    Kernel,
    Load,
    Operand,
    Position,
    Reduction,
    Ref,
    Stage,
    Statement,
    Store,
)
from funcgrad.compiler.schedule import vector_loops

Registers = Any  # a Value, or the real and the imaginary part
UNROLLED = 40  # statements; longer bodies run one vector at a time
MOST_INLINE = 24  # functions of numbers; kernels with more of them call them
ONE_BODY = 160  # statements; longer bodies are not written twice for the last vector


class Scope:
    """What is known at one point of the code: values, loops, and the lanes in force."""

    __slots__ = ("values", "loops", "offsets", "mask")

    def __init__(self, parent: Scope | None = None, mask: Value | None = None) -> None:
        self.values: dict[Ref, Registers] = dict(parent.values) if parent else {}
        self.loops: dict[Loop, Value] = dict(parent.loops) if parent else {}
        self.offsets: dict[Any, Value] = dict(parent.offsets) if parent else {}
        self.mask: Value | None = mask if mask is not None or parent is None else parent.mask


class Emitter:
    """Writes one kernel."""

    def __init__(self, b: Builder, kernel: Kernel, pointers: dict[Buffer, Value]) -> None:
        self.b, self.kernel = b, kernel
        self.pointers = pointers
        self.vector: Loop | None = None
        self.lanes = 1
        self.bounds: tuple[Value, Value] | None = None  # of the outermost loop; None: all of it
        self.grain = 0  # how far apart they are, at most
        self.chosen = vector_loops(kernel)
        self.sums = RowSums(b, kernel, pointers)
        self.longest = max(kernel.rows, key=lambda v: v.extent, default=None)
        dear = [s for stage in kernel.stages for s in stage.statements if _is_dear(s)]
        self.outlined = len(dear) > MOST_INLINE
        for buffer in kernel.buffers:
            if buffer.local:
                self.pointers[buffer] = memory.allocate(b, buffer.dtype, buffer.size)

    def run(self) -> None:
        rows = self.kernel.rows
        if not self.kernel.updates:
            self._start_sums()
        shared = {id(v) for v in self.chosen.values()}
        row_vector = next((v for v in rows if {id(v)} == shared), None)
        if row_vector is not None:
            self.vector, self.lanes = row_vector, self._lanes(self.kernel.stages, row_vector)
        self._rows(0, Scope())

    def _lanes(self, stages: Sequence[Stage], loop: Loop) -> int:
        """Lanes of a loop: as many of the widest values as fit into a register, and no more than
        there are turns.
        """
        widths = [4]
        for stage in stages:
            for s in stage.statements:
                if isinstance(s, (Load, Compute)) and s.ref.dtype.kind in "fcV":
                    widths.append(_component(s.ref.dtype))
        full = self.b.module.target.lanes(max(widths))
        return min(full, 1 << max(loop.extent - 1, 1).bit_length())

    def _start_sums(self) -> None:
        """Sums over rows begin with what changes nothing."""
        started: set[Buffer] = set()
        for stage in self.kernel.stages:
            started |= {s.buffer for s in stage.statements if isinstance(s, Store)}
            for s in stage.statements:
                if isinstance(s, Accumulate) and s.buffer not in started:
                    started.add(s.buffer)
                    self._fill(s)

    def _fill(self, s: Accumulate) -> None:
        buffer = s.buffer
        identity = identity_of(s.op, buffer.dtype)
        memory.fill(self.b, self.pointers[buffer], buffer.dtype, buffer.size, identity)

    # ---- rows and stages

    def _rows(self, depth: int, scope: Scope) -> None:
        """Code before the row loop of this depth, and the loop."""
        rows = self.kernel.rows
        for stage in self.kernel.stages:
            self._statements(self._at_row_level(stage, depth), scope)
        if depth == len(rows):
            for number, stage in enumerate(self.kernel.stages):
                self._stage(number, stage, scope)
            return
        body = lambda inner, _: self._continue(depth, inner)
        if depth == 0 and self.bounds is not None:
            self._part(rows[depth], scope, [], body, 1)
        elif rows[depth] is self.longest and self.sums.sizes(rows[depth].extent):
            self._in_blocks(rows[depth], scope, body)
        else:
            self._loop(rows[depth], scope, [], body, 1)

    def _in_blocks(self, loop: Loop, scope: Scope, body: Any) -> None:
        """A loop whose rows add to sums in memory: each block adds to sums of its own first."""
        assert loop is not self.vector  # rows that add to the same sums run one after the other
        some = functools.partial(self._counted, loop, scope, body, 1)
        self.sums.run(loop.extent, lambda start, stop: some(start, stop, []))

    def _continue(self, depth: int, scope: Scope) -> list[Value]:
        self._rows(depth + 1, scope)
        return []

    def _at_row_level(self, stage: Stage, depth: int) -> list[Statement]:
        """Statements that can run as soon as the first `depth` row loops are known."""
        rows, own = self.kernel.rows, set(stage.loops)
        found: list[Statement] = []
        for s in stage.statements:
            if not isinstance(s, (Load, Compute, Position)) or s.ref.inside:
                continue
            if not s.ref.loops & own and _deepest(s.ref.loops, rows) == depth:
                found.append(s)
        return found

    def _stage(self, number: int, stage: Stage, scope: Scope) -> None:
        before = (self.vector, self.lanes)
        chosen = self.chosen[number]
        if chosen in stage.loops:
            self.vector, self.lanes = chosen, self._lanes([stage], chosen)
        levels = self._levels(stage)
        self._nest(stage, 0, levels, scope)
        self.vector, self.lanes = before

    def _levels(self, stage: Stage) -> list[list[Statement]]:
        """The statements of each depth of the stage's loops."""
        levels: list[list[Statement]] = [[] for _ in range(len(stage.loops) + 1)]
        own = set(stage.loops)
        for s in stage.statements:
            if isinstance(s, (Load, Compute, Position)):
                if s.ref.inside or s.ref.loops & own:
                    levels[_deepest(s.ref.loops, stage.loops)].append(s)
            else:
                levels[-1].append(s)
        return levels

    def _nest(self, stage: Stage, depth: int, levels: list[list[Statement]], scope: Scope) -> None:
        """The loops over the elements, around those that each is made of."""
        self._statements(levels[depth], scope)
        kept = len(stage.loops) - stage.reduced
        if depth < kept:
            statements = sum(map(len, levels[depth + 1 :]))

            def body(inner: Scope, carried: list[Any]) -> list[Any]:
                self._nest(stage, depth + 1, levels, inner)
                return []

            self._loop(stage.loops[depth], scope, [], body, statements)
        elif stage.reductions:
            starts = [self._start(r) for r in stage.reductions]
            flat = [v for parts in starts for v in parts]
            found = self._reduced(stage, depth, levels, scope, flat)
            self._finish(stage, scope, _grouped(found, starts))
        elif depth == kept and stage.reduced:
            self._reduced(stage, depth, levels, scope, [])

    def _reduced(
        self, stage: Stage, depth: int, levels: list[list[Statement]], scope: Scope,
        carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        if depth == len(stage.loops):
            return self._combined(stage, scope, carried)
        statements = sum(map(len, levels[depth + 1 :]))

        def body(inner: Scope, held: list[Value]) -> list[Value]:
            self._statements(levels[depth + 1], inner)
            return self._reduced(stage, depth + 1, levels, inner, held)

        starts = [v for r in stage.reductions for v in self._start(r)]
        join = (self._joiner(stage), starts)
        in_parts = loses_digits(stage.reductions)
        return self._loop(stage.loops[depth], scope, carried, body, statements, join, in_parts)

    # ---- reductions

    def _start(self, r: Reduction) -> list[Value]:
        dtype, lanes = _dtype(r.value), self.lanes if self.vector is not None else 1
        if r.position is not None:
            best = memory.parts(memory.constant(_worst(r.op, dtype), dtype, lanes))
            return [*best, self.b.const(-1, Type("i64", lanes))]
        return memory.parts(memory.constant(identity_of(r.op, dtype), dtype, lanes))

    def _joiner(self, stage: Stage) -> Callable[[list[Value], list[Value]], list[Value]]:
        """Joins two sets of partial results."""

        def join(one: list[Value], other: list[Value]) -> list[Value]:
            found: list[Value] = []
            for r in stage.reductions:
                count = _width(r)
                left, one = one[:count], one[count:]
                right, other = other[:count], other[count:]
                found += self._combine(r, left, right)
            return found

        return join

    def _combine(self, r: Reduction, old: list[Value], new: list[Value]) -> list[Value]:
        dtype = _dtype(r.value)
        lanes = old[0].type.lanes
        if r.position is not None:
            return better(self.b, r.op, dtype, old, new)
        name = {"and": "and_", "or": "or_"}.get(r.op, r.op)
        combined = render(
            self.b, name, [memory.joined(old, dtype), memory.joined(new, dtype)], [dtype, dtype],
            dtype, lanes,
        )  # fmt: skip
        return memory.parts(combined)

    def _combined(self, stage: Stage, scope: Scope, carried: list[Value]) -> list[Value]:
        """The partial results with one more element taken in."""
        found: list[Value] = []
        for r in stage.reductions:
            count = _width(r)
            old, carried = carried[:count], carried[count:]
            lanes = old[0].type.lanes
            new = memory.parts(self._value(r.value, scope, lanes))
            if r.position is not None:
                new.append(memory.splat(self.b, self._value(r.position, scope, lanes), lanes))
            combined = self._combine(r, old, new)
            if scope.mask is not None and lanes > 1:
                combined = [self.b.select(scope.mask, c, o) for c, o in zip(combined, old)]
            found += combined
        return found

    def _finish(self, stage: Stage, scope: Scope, results: list[list[Value]]) -> None:
        """The results of a stage: lanes joined if they were parts of one result, and stored."""
        across = self.vector in stage.loops[len(stage.loops) - stage.reduced :]
        for r, parts in zip(stage.reductions, results):
            value: Registers
            if across:
                parts = self._folded(r, parts)
            dtype = r.ref.dtype
            if r.position is not None:
                value = render(
                    self.b, "convert", [parts[1]], [np.dtype(np.int64)], dtype, parts[1].type.lanes
                )
            else:
                value = memory.joined(parts, dtype)
                if memory.is_narrow(dtype):
                    value = round_narrow(self.b, value, dtype)
            scope.values[r.ref] = value
            if r.buffer is not None:
                assert r.index is not None
                self._store(Store(r.buffer, r.index, r.ref), scope)

    def _folded(self, r: Reduction, parts: list[Value]) -> list[Value]:
        """All lanes combined, by halves: the same order on every machine."""
        b = self.b
        while parts[0].type.lanes > 1:
            half = parts[0].type.lanes // 2

            def piece(x: Value, first: int, half: int = half) -> Value:
                if half == 1:
                    return b.extract(x, first)
                return b.shuffle(x, x, range(first, first + half))

            parts = self._combine(r, [piece(x, 0) for x in parts], [piece(x, half) for x in parts])
        return parts

    # ---- loops

    def _loop(
        self, loop: Loop, scope: Scope, carried: list[Value], body: Any, statements: int,
        join: Any = None, in_parts: bool = False, extent: int | None = None,
    ) -> list[Value]:  # fmt: skip
        """One loop: over numbers, or over vectors with a masked rest; long sums in blocks. `extent`
        are its turns, if they are not all.
        """
        blocks, lanes = join if in_parts else None, self.lanes
        extent = loop.extent if extent is None else extent
        if loop is not self.vector or lanes == 1:
            whole_loop = functools.partial(self._counted, loop, scope, body, 1)
            return in_blocks(self.b, extent, 1, carried, whole_loop, blocks)
        whole = extent // lanes * lanes
        if whole < extent and statements > ONE_BODY:
            masked = functools.partial(self._masked, loop, scope, body, extent)
            return in_blocks(self.b, extent, lanes, carried, masked, blocks)
        unrolled = 4 if carried and statements <= UNROLLED and extent >= 8 * lanes else 1
        wide = whole // (lanes * unrolled) * lanes * unrolled
        if wide and unrolled > 1:
            some = functools.partial(self._unrolled, loop, scope, body, unrolled, join)
            carried = in_blocks(self.b, wide, lanes * unrolled, carried, some, blocks)
        else:
            wide = 0
        if whole and not wide:
            every = functools.partial(self._counted, loop, scope, body, lanes)
            carried = in_blocks(self.b, whole, lanes, carried, every, blocks)
        elif wide < whole:
            carried = self._counted(loop, scope, body, lanes, wide, whole, carried)
        if whole < extent:
            carried = self._rest(loop, scope, body, (whole, extent), carried)
        return carried

    def _part(
        self, loop: Loop, scope: Scope, carried: list[Value], body: Any, statements: int
    ) -> list[Value]:
        """A part of the outermost loop. It begins between vectors, and only the last one ends
        within one.
        """
        assert self.bounds is not None
        b, (begin, end) = self.b, self.bounds

        def turn(i: Value, held: list[Value]) -> list[Value]:
            inner = Scope(scope)
            inner.loops[loop] = i
            return body(inner, held)

        if loop is self.longest and self.sums.sizes(self.grain):
            some = functools.partial(self._counted, loop, scope, body, 1)
            self.sums.run_part(self.bounds, self.grain, lambda i, stop: some(i, stop, []))
            return []
        if loop is not self.vector or self.lanes == 1:
            return b.loop(begin, end, 1, [], turn)
        whole = loop.extent // self.lanes * self.lanes
        if whole == loop.extent:
            return b.loop(begin, end, self.lanes, [], turn)
        bound = b.const(whole, I64)
        inside = b.icmp("sle", end, bound)
        b.loop(begin, b.select(inside, end, bound), self.lanes, [], turn)
        span = (whole, loop.extent)
        b.when(b.icmp("sgt", end, bound), lambda: self._rest(loop, scope, body, span, []))
        return []

    def _rest(
        self, loop: Loop, scope: Scope, body: Any, span: tuple[int, int], carried: list[Value]
    ) -> list[Value]:
        """The last, incomplete vector."""
        inner = Scope(scope, lanes_mask(span[1] - span[0], self.lanes))
        inner.loops[loop] = Value(str(span[0]), I64)
        return list(body(inner, carried))

    def _counted(
        self, loop: Loop, scope: Scope, body: Any, step: int, start: int | Value,
        stop: int | Value, carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        if isinstance(start, int) and isinstance(stop, int) and stop - start == step:
            inner = Scope(scope)
            inner.loops[loop] = Value(str(start), I64)
            return list(body(inner, carried))

        def turn(i: Value, held: list[Value]) -> list[Value]:
            inner = Scope(scope)
            inner.loops[loop] = i
            return body(inner, held)

        return self.b.loop(start, stop, step, carried, turn)

    def _masked(
        self, loop: Loop, scope: Scope, body: Any, extent: int, start: int | Value,
        stop: int | Value, carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        """Every vector under a mask: one body for all."""
        b, lanes = self.b, self.lanes
        type = Type("i64", lanes)

        def turn(i: Value, held: list[Value]) -> list[Value]:
            here = b.add(b.splat(i, lanes), b.iota(type))
            inner = Scope(scope, b.icmp("slt", here, b.const(extent, type)))
            inner.loops[loop] = i
            return body(inner, held)

        return b.loop(start, stop, lanes, carried, turn)

    def _unrolled(
        self, loop: Loop, scope: Scope, body: Any, times: int, join: Any, start: int | Value,
        stop: int | Value, carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        """Several vectors a turn, each with partial results of its own."""
        b, count = self.b, len(carried)
        combine, fresh = join

        def turn(i: Value, held: list[Value]) -> list[Value]:
            out: list[Value] = []
            for n in range(times):
                inner = Scope(scope)
                inner.loops[loop] = b.add(i, b.const(n * self.lanes, I64)) if n else i
                out += body(inner, held[n * count : (n + 1) * count])
            return out

        starts = [*carried, *fresh * (times - 1)]
        out = b.loop(start, stop, times * self.lanes, starts, turn)
        sets = [out[n * count : (n + 1) * count] for n in range(times)]
        while len(sets) > 1:
            sets = [combine(x, y) for x, y in zip(sets[::2], sets[1::2])]
        return sets[0]

    # ---- statements

    def _statements(self, statements: Sequence[Statement], scope: Scope) -> None:
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
        types = [_dtype(a) for a in s.args]
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
        if self.lanes > 1 and (varying or step not in (0, 1)):
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
        lanes = self.lanes if step is None or step == 1 else 1
        value = self._value(s.value, scope, lanes)
        memory.store(
            self.b, value, address, s.buffer.dtype, lanes, step, self._mask(s.guard, scope, lanes)
        )

    def _accumulate(self, s: Accumulate, scope: Scope) -> None:
        address, step = self._address(s.buffer, s.index, scope)
        dtype = s.buffer.dtype
        lanes = self.lanes if step is None or step == 1 else 1
        mask = self._mask(s.guard, scope, lanes)
        old = memory.load(self.b, address, dtype, lanes, step, mask)
        new = self._value(s.value, scope, lanes)
        name = {"and": "and_", "or": "or_"}.get(s.op, s.op)
        combined = render(self.b, name, [old, new], [dtype, dtype], dtype, lanes)
        memory.store(self.b, combined, address, dtype, lanes, step, mask)


def _is_dear(s: Statement) -> bool:
    return isinstance(s, Compute) and COSTS.get(s.name, 1) >= 8


def _deepest(found: frozenset[Loop], order: Sequence[Loop]) -> int:
    """How many of the loops must be open."""
    return max((n + 1 for n, loop in enumerate(order) if loop in found), default=0)


def _dtype(x: Operand) -> np.dtype:
    return x.dtype


def _component(dtype: np.dtype) -> int:
    return max(dtype.itemsize // (2 if dtype.kind == "c" else 1), 4)


def _width(r: Reduction) -> int:
    return 2 if r.position is not None or _dtype(r.value).kind == "c" else 1


def _grouped(values: list[Value], like: list[list[Value]]) -> list[list[Value]]:
    found, rest = [], values
    for parts in like:
        found.append(rest[: len(parts)])
        rest = rest[len(parts) :]
    return found


def _worst(op: str, dtype: np.dtype) -> Any:
    return identity_of("max" if op == "argmax" else "min", dtype)
