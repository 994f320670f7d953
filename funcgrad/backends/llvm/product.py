"""Kernels that end a matrix product: the product's tiles, and what is done with each vector of
results before it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from funcgrad.backends.llvm import gemm
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.conversions import register_kind
from funcgrad.backends.llvm.emit import Emitter, Scope
from funcgrad.backends.llvm.target import Target
from funcgrad.compiler.affine import Loop
from funcgrad.compiler.kernel import Accumulate, Kernel, Store
from funcgrad.compiler.products import Dimension, Product, Strided


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """Memory that the kernel needs beside its buffers."""
    if kernel.tile is None or not isinstance(kernel.tile.form, Product):
        return 0
    kind, form = register_kind(kernel.tile.ref.dtype), kernel.tile.form
    row, column, k = form.along(form.row), form.along(form.column), form.summed
    strides = (row.lhs, k.lhs), (k.rhs, column.rhs)
    return gemm.scratch_bytes(kind, row.extent, column.extent, k.extent, *strides, target)


class ProductEmitter(Emitter):
    """Writes one product with its end."""

    def write(self, scratch: Value | None) -> None:
        tile = self.kernel.tile
        assert tile is not None
        self.scratch = scratch
        self.form: Product = tile.form
        self.kind = register_kind(tile.ref.dtype)
        scope = Scope()
        statements = self.kernel.stages[0].statements
        writes = (Store, Accumulate)
        early = [s for s in statements if not isinstance(s, writes) and not s.ref.loops]
        self._statements(early, scope)
        self.rest = [s for s in statements if s not in early]
        self._outside(self._outer(), scope, [])

    def _outer(self) -> list[int]:
        tiled = (self.form.row, self.form.column)
        return [d for d in range(len(self.form.dimensions)) if d not in tiled]

    def _outside(self, places: list[int], scope: Scope, known: list[tuple[int, Value]]) -> None:
        if not places:
            self._product(scope, dict(known))
            return
        first, *rest = places
        extent = self.form.dimensions[first].extent

        def turn(i: Value, _: list[Value]) -> None:
            self._outside(rest, scope, [*known, (first, i)])

        self.b.loop(0, extent, 1, [], turn)

    def _product(self, scope: Scope, known: dict[int, Value]) -> None:
        form = self.form
        row, column, k = form.along(form.row), form.along(form.column), form.summed
        lhs = self._operand(0, form.lhs, known)
        rhs = self._operand(1, form.rhs, known)

        def end(sums: Value, i: Value, j: Value, mask: Value | None) -> None:
            inner = Scope(scope, mask)
            places = dict(known)
            if form.row is not None:
                places[form.row] = i
            if form.column is not None:
                places[form.column] = j
            self._end(inner, sums, places)

        gemm.product(
            self.b, self.kind, row.extent, column.extent, k.extent,
            gemm.Matrix(lhs, row.lhs, k.lhs), gemm.Matrix(rhs, k.rhs, column.rhs), end,
            self.scratch,
        )  # fmt: skip

    def _operand(self, side: int, operand: Strided, known: dict[int, Value]) -> Value:
        """The address of a matrix, for these places in the outer dimensions."""
        b = self.b
        assert self.kernel.tile is not None
        pointer = b.element(
            self.pointers[self.kernel.tile.operands[side]], operand.offset, self.kind
        )
        for place, i in known.items():
            stride = self._stride(self.form.dimensions[place], side)
            if stride:
                pointer = b.element(pointer, b.mul(i, b.const(stride, I64)), self.kind)
        return pointer

    def _stride(self, dimension: Dimension, side: int) -> int:
        return dimension.rhs if side else dimension.lhs

    def _end(self, scope: Scope, sums: Value, places: dict[int, Value]) -> None:
        """The statements for one vector of results."""
        form = self.form
        across = form.row if form.column is None else form.column
        for place, dimension in enumerate(form.dimensions):
            del dimension
            self._count(scope, place, places[place])
        self.lanes = sums.type.lanes
        self.vector = self._digits(across)[-1] if across is not None else None
        assert self.kernel.tile is not None
        scope.values[self.kernel.tile.ref] = sums
        self._statements(self.rest, scope)

    def _digits(self, place: int) -> list[Loop]:
        """The loops that count a dimension of the result."""
        rest = list(self.kernel.rows)
        for d in self.form.dimensions[:place]:
            product = 1
            while product < d.extent:
                product *= rest.pop(0).extent
        found, product = [], 1
        while product < self.form.dimensions[place].extent:
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
        scope.loops[digits[0]] = value


def emit(module: Module, kernel: Kernel, name: str, places: Sequence[int], scratch: bool) -> str:
    """Adds the kernel as a function of addresses: `places` says which argument holds each buffer
    that is not local, in order; the last argument is its scratch memory, if it needs any.
    """
    outer = [b for b in kernel.buffers if not b.local]

    def write(b: Builder, *pointers: Value) -> None:
        named = {buffer: pointers[i] for buffer, i in zip(outer, places)}
        if kernel.tile is None:
            Emitter(b, kernel, named).run()
        else:
            ProductEmitter(b, kernel, named).write(pointers[-1] if scratch else None)

    count = max(places, default=-1) + 1 + scratch
    return module.function(name, [PTR] * count, None, write)
