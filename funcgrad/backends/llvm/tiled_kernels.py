"""Kernels that end a matrix product or a convolution: tiles, and what is done with each vector of
results before it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.backends.llvm import convolution, convolution_plan, gemm
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.conversions import register_kind
from funcgrad.backends.llvm.convolution_plan import ConvolutionPlan
from funcgrad.backends.llvm.emit import Emitter
from funcgrad.backends.llvm.partial import PartEmitter, reduced_loop
from funcgrad.backends.llvm.splitting import Cut, Split, memory_of_part, sums_of_part
from funcgrad.backends.llvm.statements import Scope
from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.tiles import itemsize, plus, vector_type
from funcgrad.compiler.affine import Loop
from funcgrad.compiler.kernel import Accumulate, Buffer, Kernel, Store
from funcgrad.compiler.products import Convolution, Product


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """Memory that the kernel needs beside its buffers."""
    if kernel.tile is None:
        return 0
    kind, form = register_kind(kernel.tile.ref.dtype), kernel.tile.form
    if isinstance(form, Convolution):
        plan = plan_of(form)
        return convolution.scratch_bytes(plan, kind, form.lhs.strides, form.rhs.strides, target)
    row, column, k = form.along(form.row), form.along(form.column), form.summed
    strides = (row.lhs, k.lhs), (k.rhs, column.rhs)
    return gemm.scratch_bytes(kind, row.extent, column.extent, k.extent, *strides, target)


def plan_of(form: Convolution) -> ConvolutionPlan:
    """The plan of a convolution that was found to have one."""
    found = convolution_plan.plan(dict(form.parameters), *form.shapes[:2])
    assert found is not None
    return found


def cut_of(kernel: Kernel, target: Target) -> Cut | None:
    """How a product or convolution can be cut; None if it cannot."""
    assert kernel.tile is not None
    kind, form = register_kind(kernel.tile.ref.dtype), kernel.tile.form
    if isinstance(form, Convolution):
        strides = form.lhs.strides, form.rhs.strides
        along = convolution.cut_of(plan_of(form), kind, *strides, target)
        return None if along is None else Cut(*along[1:])
    outer = _outer(form)
    if outer:
        extent = form.dimensions[outer[0]].extent
        return Cut(extent, 1) if extent > 1 else None
    row, column, k = form.along(form.row), form.along(form.column), form.summed
    strides = (row.lhs, k.lhs), (k.rhs, column.rhs)
    found = gemm.cut_of(kind, row.extent, column.extent, k.extent, *strides, target)
    return None if found is None else Cut(*found[1:])


def _outer(form: Product) -> list[int]:
    """The dimensions of a product outside those of matrices."""
    return [d for d in range(len(form.dimensions)) if d not in (form.row, form.column)]


class TileEmitter(Emitter):
    """Writes a kernel that ends a product or a convolution. Subclasses run the tiles.

    `waiting` is where sums lie that wait for those of other parts.
    """

    waiting: Value | None = None

    def __init__(self, b: Builder, kernel: Kernel, pointers: dict[Buffer, Value]) -> None:
        super().__init__(b, kernel, pointers)
        assert kernel.tile is not None
        self.tile, self.form = kernel.tile, kernel.tile.form
        self.kind = register_kind(kernel.tile.ref.dtype)
        self.scratch: Value | None = None

    def write(self, scratch: Value | None) -> None:
        self.run_tiles(self._begin(scratch))

    def write_end(self) -> None:
        """What follows when all sums have been added up."""
        self.hand_out(self._begin(None))

    def _begin(self, scratch: Value | None) -> Scope:
        """The statements that are the same for all results, and what they know."""
        self.scratch, scope = scratch, Scope()
        statements = self.kernel.stages[0].statements
        writes = (Store, Accumulate)
        early = [
            s for s in statements
            if not (isinstance(s, writes) or s.ref.loops or s.ref.inside)
        ]  # fmt: skip
        self.emit(early, scope)
        self.rest = [s for s in statements if s not in early]
        return scope

    def run_tiles(self, scope: Scope) -> None:
        """Calls `end` for each vector of results."""
        raise AssertionError("a subclass says how")

    def hand_out(self, scope: Scope) -> None:
        """Calls `end` for each vector of sums that have waited."""
        raise AssertionError("a subclass says how")

    def operand(self, side: int) -> Value:
        """The address of element 0 of an operand."""
        view = (self.form.lhs, self.form.rhs)[side]
        base = self.pointers[self.tile.operands[side]]
        return self.b.element(base, view.offset, self.kind)

    def end(self, outer: Scope, sums: Value, places: dict[int, Value], mask: Value | None) -> None:
        """The statements for one vector of results at these places in the result's dimensions."""
        scope = Scope(outer, mask)
        for place, value in places.items():
            self._count(scope, place, value)
        across = self.form.across
        digits = self._digits(across) if across is not None else []
        self.lanes = sums.type.lanes
        self.vector = digits[-1] if digits else None
        scope.values[self.tile.ref] = sums if digits else self.b.extract(sums, 0)
        self.emit(self.rest, scope)

    def _digits(self, place: int) -> list[Loop]:
        """The loops that count a dimension of the result."""
        rest = list(self.kernel.rows)
        extents = self.form.extents
        for n in extents[:place]:
            product = 1
            while product < n:
                product *= rest.pop(0).extent
        found, product = [], 1
        while product < extents[place]:
            found.append(rest.pop(0))
            product *= found[-1].extent
        return found

    def _count(self, scope: Scope, place: int, value: Value) -> None:
        """A position in a dimension as the digits that the kernel counts it by."""
        b = self.b
        digits = self._digits(place)
        for loop in reversed(digits[1:]):
            n = b.const(loop.extent, I64)
            scope.loops[loop] = b.binary("urem", value, n)
            value = b.binary("udiv", value, n)
        if digits:
            scope.loops[digits[0]] = value


class ConvolutionEmitter(TileEmitter):
    """Writes one convolution with its end."""

    def run_tiles(self, scope: Scope) -> None:
        convolution.convolution(
            **self._arguments(scope), scratch=self.scratch, bounds=self.bounds,
            waiting=self.waiting,
        )  # fmt: skip

    def hand_out(self, scope: Scope) -> None:
        assert self.waiting is not None
        convolution.hand_out(**self._arguments(scope), waiting=self.waiting)

    def _arguments(self, scope: Scope) -> dict[str, Any]:
        form: Convolution = self.form
        batch, feature, *spatial = dict(form.parameters)["dimension_numbers"].out_spec
        order = (batch, *spatial, feature)

        def end(sums: Value, place: tuple[Value, ...], mask: Value | None) -> None:
            self.end(scope, sums, dict(zip(order, place)), mask)

        lhs = convolution.Array(self.operand(0), form.lhs.strides)
        rhs = convolution.Array(self.operand(1), form.rhs.strides)
        plan = plan_of(form)
        return {
            "b": self.b, "kind": self.kind, "plan": plan, "lhs": lhs, "rhs": rhs, "epilogue": end,
        }  # fmt: skip


class ProductEmitter(TileEmitter):
    """Writes one product with its end."""

    def run_tiles(self, scope: Scope) -> None:
        self._outside(_outer(self.form), scope, {})

    def _outside(self, places: list[int], scope: Scope, known: dict[int, Value]) -> None:
        """Loops over the dimensions that are not those of matrices."""
        if not places:
            self._product(scope, known)
            return
        first, *rest = places

        def turn(i: Value, _: list[Value]) -> None:
            self._outside(rest, scope, {**known, first: i})

        extent = self.form.dimensions[first].extent
        begin, end = (0, extent) if known or self.bounds is None else self.bounds
        self.b.loop(begin, end, 1, [], turn)

    def hand_out(self, scope: Scope) -> None:
        assert self.waiting is not None
        gemm.hand_out(**self._arguments(scope, {}), waiting=self.waiting)

    def _product(self, scope: Scope, known: dict[int, Value]) -> None:
        bounds = None if known else self.bounds
        gemm.product(
            **self._arguments(scope, known), scratch=self.scratch, bounds=bounds,
            waiting=self.waiting,
        )  # fmt: skip

    def _arguments(self, scope: Scope, known: dict[int, Value]) -> dict[str, Any]:
        form = self.form
        row, column, k = form.along(form.row), form.along(form.column), form.summed

        def end(sums: Value, i: Value, j: Value, mask: Value | None) -> None:
            places = {**known, form.row: i, form.column: j}
            places.pop(None, None)
            self.end(scope, sums, places, mask)

        lhs = gemm.Matrix(self._matrix(0, known), row.lhs, k.lhs)
        rhs = gemm.Matrix(self._matrix(1, known), k.rhs, column.rhs)
        return {
            "b": self.b, "kind": self.kind, "m": row.extent, "n": column.extent, "k": k.extent,
            "lhs": lhs, "rhs": rhs, "epilogue": end,
        }  # fmt: skip

    def _matrix(self, side: int, known: dict[int, Value]) -> Value:
        """The address of a matrix, for these places in the outer dimensions."""
        b, pointer = self.b, self.operand(side)
        for place, i in known.items():
            dimension = self.form.dimensions[place]
            stride = dimension.rhs if side else dimension.lhs
            if stride:
                pointer = b.element(pointer, b.mul(i, b.const(stride, I64)), self.kind)
        return pointer


def emit(
    module: Module, kernel: Kernel, name: str, places: Sequence[int], scratch: bool,
    cut: Split | None = None,
) -> str:  # fmt: skip
    """Adds the kernel as a function of addresses: `places` says which argument holds each buffer
    that is not local, in order. Then come the memory for sums of parts and its scratch memory, if
    it needs any, and, if it is `cut`, where its outermost loop begins and ends.
    """
    count = max(places, default=-1) + 1
    in_parts = cut is not None and cut.memory > 0

    def write(b: Builder, *arguments: Value) -> None:
        named = _named(kernel, places, arguments)
        bounds = (arguments[-2], arguments[-1]) if cut else None
        if kernel.tile is None:
            if cut and cut.sums:
                named |= sums_of_part(b, cut, arguments[count], arguments[-2])
            is_reduced = cut is not None and reduced_loop(kernel) is not None
            emitter = (PartEmitter if is_reduced else Emitter)(b, kernel, named)
            emitter.bounds, emitter.grain = bounds, cut.grain if cut else 0
            emitter.run()
            return
        tile = _tile_emitter(kernel)(b, kernel, named)
        tile.bounds = bounds
        if cut and cut.waiting:
            tile.waiting = memory_of_part(b, cut, arguments[count], arguments[-2])
        tile.write(arguments[count + in_parts] if scratch else None)

    pointers, sizes = count + in_parts + scratch, 2 if cut else 0
    return module.function(name, [PTR] * pointers + [I64] * sizes, None, write)


def emit_end(module: Module, kernel: Kernel, name: str, places: Sequence[int], cut: Split) -> str:
    """Adds what follows when all parts of a product or convolution are done: a function of the same
    addresses, then of the memory in which their sums wait.
    """
    count = max(places, default=-1) + 1

    def write(b: Builder, *arguments: Value) -> None:
        tile = _tile_emitter(kernel)(b, kernel, _named(kernel, places, arguments))
        tile.waiting = arguments[count]
        _add_parts(b, tile.kind, cut, arguments[count])
        tile.write_end()

    return module.function(f"{name}_end", [PTR] * (count + 1), None, write)


def _named(
    kernel: Kernel, places: Sequence[int], arguments: Sequence[Value]
) -> dict[Buffer, Value]:
    outer = [b for b in kernel.buffers if not b.local]
    return {buffer: arguments[i] for buffer, i in zip(outer, places)}


def _tile_emitter(kernel: Kernel) -> type[TileEmitter]:
    assert kernel.tile is not None
    return ConvolutionEmitter if isinstance(kernel.tile.form, Convolution) else ProductEmitter


def _add_parts(b: Builder, kind: str, cut: Split, sums: Value) -> None:
    """Adds the sums of all parts, in order, to those of the first one."""
    type = vector_type(b, kind)
    count = cut.waiting // itemsize(kind)

    def vector(j: Value, _: list[Value]) -> None:
        first = b.element(sums, j, kind)

        def part(i: Value, held: list[Value]) -> list[Value]:
            here = b.element(first, b.mul(i, b.const(cut.stride, I64)), "i8")
            return [plus(b, held[0], b.load(here, type))]

        (total,) = b.loop(1, cut.parts, 1, [b.load(first, type)], part)
        b.store(total, first)

    b.loop(0, count, type.lanes, [], vector)
