"""Kernels that end a matrix product or a convolution: tiles, and what is done with each vector of
results before it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from funcgrad.backends.llvm import convolution, convolution_plan, gemm
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.conversions import register_kind
from funcgrad.backends.llvm.convolution_plan import ConvolutionPlan
from funcgrad.backends.llvm.emit import Emitter
from funcgrad.backends.llvm.partial import PartEmitter, reduced_loop
from funcgrad.backends.llvm.splitting import Split, sums_of_part
from funcgrad.backends.llvm.statements import Scope
from funcgrad.backends.llvm.target import Target
from funcgrad.compiler.affine import Loop
from funcgrad.compiler.kernel import Accumulate, Kernel, Store
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


def cut_of(kernel: Kernel, target: Target) -> tuple[int, int] | None:
    """The extent of the loop along which a product or convolution can be cut, and between how many
    turns; None if it cannot.
    """
    assert kernel.tile is not None
    kind, form = register_kind(kernel.tile.ref.dtype), kernel.tile.form
    if isinstance(form, Convolution):
        images = convolution.images_of(
            plan_of(form), kind, form.lhs.strides, form.rhs.strides, target
        )
        return (images, 1) if images > 1 else None
    outer = _outer(form)
    if outer:
        extent = form.dimensions[outer[0]].extent
        return (extent, 1) if extent > 1 else None
    row, column, k = form.along(form.row), form.along(form.column), form.summed
    strides = (row.lhs, k.lhs), (k.rhs, column.rhs)
    found = gemm.cut_of(kind, row.extent, column.extent, k.extent, *strides, target)
    return None if found is None else (found.extent, found.unit)


def _outer(form: Product) -> list[int]:
    """The dimensions of a product outside those of matrices."""
    return [d for d in range(len(form.dimensions)) if d not in (form.row, form.column)]


class TileEmitter(Emitter):
    """Writes a kernel that ends a product or a convolution. Subclasses run the tiles."""

    def write(self, scratch: Value | None) -> None:
        tile = self.kernel.tile
        assert tile is not None
        self.scratch, self.form = scratch, tile.form
        self.kind = register_kind(tile.ref.dtype)
        scope = Scope()
        statements = self.kernel.stages[0].statements
        writes = (Store, Accumulate)
        early = [
            s for s in statements
            if not (isinstance(s, writes) or s.ref.loops or s.ref.inside)
        ]  # fmt: skip
        self.emit(early, scope)
        self.rest = [s for s in statements if s not in early]
        self.run_tiles(scope)

    def run_tiles(self, scope: Scope) -> None:
        """Calls `end` for each vector of results."""
        raise AssertionError("a subclass says how")

    def operand(self, side: int) -> Value:
        """The address of element 0 of an operand."""
        assert self.kernel.tile is not None
        view = (self.form.lhs, self.form.rhs)[side]
        base = self.pointers[self.kernel.tile.operands[side]]
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
        assert self.kernel.tile is not None
        scope.values[self.kernel.tile.ref] = sums if digits else self.b.extract(sums, 0)
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
        form: Convolution = self.form
        batch, feature, *spatial = dict(form.parameters)["dimension_numbers"].out_spec
        order = (batch, *spatial, feature)

        def end(sums: Value, place: tuple[Value, ...], mask: Value | None) -> None:
            self.end(scope, sums, dict(zip(order, place)), mask)

        lhs = convolution.Array(self.operand(0), form.lhs.strides)
        rhs = convolution.Array(self.operand(1), form.rhs.strides)
        plan = plan_of(form)
        convolution.convolution(self.b, self.kind, plan, lhs, rhs, end, self.scratch, self.bounds)


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

    def _product(self, scope: Scope, known: dict[int, Value]) -> None:
        form = self.form
        row, column, k = form.along(form.row), form.along(form.column), form.summed

        def end(sums: Value, i: Value, j: Value, mask: Value | None) -> None:
            places = {**known, form.row: i, form.column: j}
            places.pop(None, None)
            self.end(scope, sums, places, mask)

        gemm.product(
            self.b, self.kind, row.extent, column.extent, k.extent,
            gemm.Matrix(self._matrix(0, known), row.lhs, k.lhs),
            gemm.Matrix(self._matrix(1, known), k.rhs, column.rhs), end, self.scratch,
            None if known else self.bounds,
        )  # fmt: skip

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
    that is not local, in order. Then comes its scratch memory, if it needs any, and, if it is
    `cut`, where its outermost loop begins and ends.
    """
    outer = [b for b in kernel.buffers if not b.local]
    count = max(places, default=-1) + 1

    def write(b: Builder, *arguments: Value) -> None:
        named = {buffer: arguments[i] for buffer, i in zip(outer, places)}
        bounds = (arguments[-2], arguments[-1]) if cut else None
        if kernel.tile is None:
            if cut and cut.sums:
                named |= sums_of_part(b, cut, arguments[count], arguments[-2])
            is_reduced = cut is not None and reduced_loop(kernel) is not None
            emitter = (PartEmitter if is_reduced else Emitter)(b, kernel, named)
            emitter.bounds, emitter.grain = bounds, cut.grain if cut else 0
            emitter.run()
            return
        tiles = ConvolutionEmitter if isinstance(kernel.tile.form, Convolution) else ProductEmitter
        tile = tiles(b, kernel, named)
        tile.bounds = bounds
        tile.write(arguments[count] if scratch else None)

    return module.function(name, [PTR] * (count + scratch) + [I64] * (2 if cut else 0), None, write)
