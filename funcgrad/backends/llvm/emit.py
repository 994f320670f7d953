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

from funcgrad.backends.llvm import memory, strips
from funcgrad.backends.llvm.builder import I64, Builder, Type, Value
from funcgrad.backends.llvm.extremes import better
from funcgrad.backends.llvm.long_sums import RowSums, in_blocks, loses_digits
from funcgrad.backends.llvm.scalar import render, round_narrow
from funcgrad.backends.llvm.statements import Registers, Scope, StatementEmitter
from funcgrad.backends.llvm.tiles import lanes_mask
from funcgrad.compiler.affine import Loop
from funcgrad.compiler.forms import identity_of, scalar_of
from funcgrad.compiler.graph import COSTS
from funcgrad.compiler.kernel import (
    Accumulate,
    Buffer,
    Compute,
    Kernel,
    Load,
    Position,
    Reduction,
    Ref,
    Stage,
    Statement,
    Store,
)
from funcgrad.compiler.schedule import vector_loops

UNROLLED = 40  # statements; longer bodies run one vector at a time
MOST_INLINE = 24  # functions of numbers; kernels with more of them call them
ONE_BODY = 160  # statements; longer bodies are not written twice for the last vector


class Emitter(StatementEmitter):
    """Writes one kernel."""

    def __init__(self, b: Builder, kernel: Kernel, pointers: dict[Buffer, Value]) -> None:
        dear = [s for stage in kernel.stages for s in stage.statements if _is_dear(s)]
        super().__init__(b, pointers, outlined=len(dear) > MOST_INLINE)
        self.kernel = kernel
        self.bounds: tuple[Value, Value] | None = None  # of the outermost loop; None: all of it
        self.grain = 0  # how far apart they are, at most
        self.chosen = vector_loops(kernel)
        self.sums = RowSums(b, kernel, pointers)
        self.longest = max(kernel.rows, key=lambda v: v.extent, default=None)
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
            self.emit(self._at_row_level(stage, depth), scope)
        if depth == len(rows):
            for number, stage in enumerate(self.kernel.stages):
                self._stage(number, stage, scope)
            return
        body = self._innermost_row(depth) or (lambda inner, _: self._continue(depth, inner))
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

    def _innermost_row(self, depth: int) -> Straight | None:
        """The body of the row loop of this depth, if there is no other loop within."""
        stages = self.kernel.stages
        if depth + 1 < len(self.kernel.rows) or any(s.loops or s.reductions for s in stages):
            return None
        early = [self._at_row_level(stage, d) for stage in stages for d in range(depth + 1)]
        done = {id(s) for statements in early for s in statements}
        late = [s for stage in stages for s in stage.statements if id(s) not in done]
        return Straight(self, late, self.kernel.rows[depth])

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
        self.emit(levels[depth], scope)
        kept = len(stage.loops) - stage.reduced
        if depth < kept:
            statements = sum(map(len, levels[depth + 1 :]))
            body: Any = functools.partial(self._inner_nest, stage, depth + 1, levels)
            if depth + 1 == len(stage.loops) and not stage.reductions:
                body = Straight(self, levels[depth + 1], stage.loops[depth])
            self._loop(stage.loops[depth], scope, [], body, statements)
        elif stage.reductions:
            starts = [self._start(r) for r in stage.reductions]
            flat = [v for parts in starts for v in parts]
            found = self._reduced(stage, depth, levels, scope, flat)
            self._finish(stage, scope, _grouped(found, starts))
        elif depth == kept and stage.reduced:
            self._reduced(stage, depth, levels, scope, [])

    def _inner_nest(
        self, stage: Stage, depth: int, levels: list[list[Statement]], scope: Scope,
        carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        self._nest(stage, depth, levels, scope)
        return []

    def _reduced(
        self, stage: Stage, depth: int, levels: list[list[Statement]], scope: Scope,
        carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        if depth == len(stage.loops):
            return self._combined(stage, scope, carried)
        statements = sum(map(len, levels[depth + 1 :]))
        loop, end = stage.loops[depth], functools.partial(self._reduced, stage, depth + 1, levels)
        body: Any = functools.partial(self._reduced_turn, levels[depth + 1], end)
        if depth + 1 == len(stage.loops):
            body = Straight(self, levels[depth + 1], loop, end, _results(stage))
        starts = [v for r in stage.reductions for v in self._start(r)]
        join = (self._joiner(stage), starts)
        in_parts = loses_digits(stage.reductions)
        return self._loop(loop, scope, carried, body, statements, join, in_parts)

    def _reduced_turn(
        self, statements: list[Statement], end: Any, scope: Scope, carried: list[Value]
    ) -> list[Value]:
        self.emit(statements, scope)
        return end(scope, carried)

    # ---- reductions

    def _start(self, r: Reduction) -> list[Value]:
        dtype, lanes = r.value.dtype, self.lanes if self.vector is not None else 1
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
        dtype = r.value.dtype
        lanes = old[0].type.lanes
        if r.position is not None:
            return better(self.b, r.op, dtype, old, new)
        both = [memory.joined(old, dtype), memory.joined(new, dtype)]
        combined = render(self.b, scalar_of(r.op), both, [dtype, dtype], dtype, lanes)
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
        in_turn = statements > UNROLLED or (isinstance(body, Straight) and body.pieces)
        unrolled = 4 if carried and not in_turn and extent >= 8 * lanes else 1
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

        if loop is self.longest and self.sums.sizes(self.grain):
            some = functools.partial(self._counted, loop, scope, body, 1)
            self.sums.run_part(self.bounds, self.grain, lambda i, stop: some(i, stop, []))
            return []
        if loop is not self.vector or self.lanes == 1:
            return self._counted(loop, scope, body, 1, begin, end, [])
        every = functools.partial(self._counted, loop, scope, body, self.lanes, begin)
        whole = loop.extent // self.lanes * self.lanes
        if whole == loop.extent:
            return every(end, [])
        bound = b.const(whole, I64)
        inside = b.icmp("sle", end, bound)
        every(b.select(inside, end, bound), [])
        span = (whole, loop.extent)
        b.when(b.icmp("sgt", end, bound), lambda: self._rest(loop, scope, body, span, []))
        return []

    def _rest(
        self, loop: Loop, scope: Scope, body: Any, span: tuple[int, int], carried: list[Value]
    ) -> list[Value]:
        """The last, incomplete vector."""
        mask = lanes_mask(span[1] - span[0], self.lanes)
        scope_at = functools.partial(self._scope_at, loop, scope, mask)
        return list(body(scope_at(Value(str(span[0]), I64)), carried))

    def _counted(
        self, loop: Loop, scope: Scope, body: Any, step: int, start: int | Value,
        stop: int | Value, carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        scope_at = functools.partial(self._scope_at, loop, scope, None)
        if isinstance(start, int) and isinstance(stop, int) and stop - start == step:
            return list(body(scope_at(Value(str(start), I64)), carried))
        return self._turns(scope_at, body, step, start, stop, carried)

    def _masked(
        self, loop: Loop, scope: Scope, body: Any, extent: int, start: int | Value,
        stop: int | Value, carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        """Every vector under a mask: one body for all."""
        b, lanes = self.b, self.lanes
        type = Type("i64", lanes)

        def scope_at(i: Value) -> Scope:
            here = b.add(b.splat(i, lanes), b.iota(type))
            return self._scope_at(loop, scope, b.icmp("slt", here, b.const(extent, type)), i)

        return self._turns(scope_at, body, lanes, start, stop, carried)

    def _scope_at(self, loop: Loop, scope: Scope, mask: Value | None, i: Value) -> Scope:
        """A turn of a loop."""
        inner = Scope(scope, mask)
        inner.loops[loop] = i
        return inner

    def _turns(
        self, scope_at: Callable[[Value], Scope], body: Any, step: int, start: int | Value,
        stop: int | Value, carried: list[Value],
    ) -> list[Value]:  # fmt: skip
        """The turns of a loop, in strips if its body is long."""
        if isinstance(body, Straight) and body.pieces:
            span = (start, stop)
            return strips.run(
                self.b, body.pieces, step, span, scope_at, self.emit, carried, body.end
            )
        turn = lambda i, held: body(scope_at(i), held)
        return self.b.loop(start, stop, step, carried, turn)

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


class Straight:
    """The body of an innermost loop: statements and nothing else, in pieces if they are many; `end`
    takes the results of a turn in.
    """

    def __init__(
        self, emitter: Emitter, statements: Sequence[Statement], loop: Loop,
        end: Callable[[Scope, list[Value]], list[Value]] = lambda scope, carried: [],
        results: Sequence[Ref] = (),
    ) -> None:  # fmt: skip
        self.emitter, self.statements, self.end = emitter, statements, end
        lanes = emitter.lanes if loop is emitter.vector else 1
        many = lanes > 1 and loop.extent >= strips.FEWEST * lanes
        self.pieces = strips.pieces(statements, results) if many else []

    def __call__(self, scope: Scope, carried: list[Value]) -> list[Value]:
        self.emitter.emit(self.statements, scope)
        return self.end(scope, carried)


def _results(stage: Stage) -> list[Ref]:
    """The values that its reductions combine."""
    found = [x for r in stage.reductions for x in (r.value, r.position)]
    return [x for x in found if isinstance(x, Ref)]


def _is_dear(s: Statement) -> bool:
    return isinstance(s, Compute) and COSTS.get(s.name, 1) >= 8


def _deepest(found: frozenset[Loop], order: Sequence[Loop]) -> int:
    """How many of the loops must be open."""
    return max((n + 1 for n, loop in enumerate(order) if loop in found), default=0)


def _component(dtype: np.dtype) -> int:
    return max(dtype.itemsize // (2 if dtype.kind == "c" else 1), 4)


def _width(r: Reduction) -> int:
    return 2 if r.position is not None or r.value.dtype.kind == "c" else 1


def _grouped(values: list[Value], like: list[list[Value]]) -> list[list[Value]]:
    found, rest = [], values
    for parts in like:
        found.append(rest[: len(parts)])
        rest = rest[len(parts) :]
    return found


def _worst(op: str, dtype: np.dtype) -> Any:
    return identity_of("max" if op == "argmax" else "min", dtype)
