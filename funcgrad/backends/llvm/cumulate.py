"""Running reductions along one axis as inline code.

Along the last axis each vector is scanned in registers, in log2(lanes) steps, so that vectors wait
for each other only once. Along other axes whole rows are combined with the row before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I64, Builder, Value
from funcgrad.backends.llvm.scalar import NARROW, Number, constant_of, render, round_narrow
from funcgrad.compiler.forms import identity_of
from funcgrad.core import dtypes, loops


def cumulate(
    b: Builder, form: loops.Cumulate, shape: Sequence[int], dtype: np.dtype, x: Value, out: Value
) -> None:
    """Emits the running reduction of the array at `x` into the one at `out`."""
    inner = math.prod(shape[form.axis + 1 :])
    line = _Line(b, form, dtype, shape[form.axis], inner, x, out)

    def row(o: Value, _: list[Value]) -> None:
        first = b.mul(o, b.const(shape[form.axis] * inner, I64))
        if dtype in NARROW:
            b.loop(0, inner, 1, [], lambda j, _: line.numbers(b.add(first, j)))  # type: ignore[func-returns-value]
        elif inner > 1:
            line.rows(first)
        elif line.scans_vectors:
            line.vectors(first)
        else:
            line.numbers(first)

    b.loop(0, math.prod(shape[: form.axis]), 1, [], row)


class _Line:
    """`size` rows of `inner` numbers; addresses count in numbers."""

    def __init__(
        self, b: Builder, form: loops.Cumulate, dtype: np.dtype, size: int, inner: int, x: Value,
        out: Value,
    ) -> None:  # fmt: skip
        self.b, self.op, self.reverse, self.dtype = b, form.op, form.reverse, dtype
        self.size, self.inner, self.x, self.out = size, inner, x, out
        self.kind, self.width = memory.element(dtype)
        self.scans_vectors = self.width == 1
        self.lanes = b.module.target.lanes(max(dtype.itemsize // self.width, 4))

    # ---- one row after the other

    def rows(self, first: Value) -> None:
        """Each row is the row before combined with the operand's."""
        b = self.b

        step, wide = -self.inner if self.reverse else self.inner, b.const(self.inner, I64)

        def row(i: Value) -> Value:
            return b.add(first, b.mul(self._place(i), wide))

        def start(at: Value, lanes: int) -> None:
            self._store(self._load(self.x, at, lanes), at, lanes)

        def further(at: Value, lanes: int) -> None:
            held = self._load(self.out, b.sub(at, b.const(step, I64)), lanes)
            self._store(self._combined(held, self._load(self.x, at, lanes), lanes), at, lanes)

        self._along(row(b.const(0, I64)), start)
        b.loop(1, self.size, 1, [], lambda i, _: self._along(row(i), further))  # type: ignore[func-returns-value]

    def _along(self, first: Value, body: Callable[[Value, int], None]) -> None:
        """`body(place, lanes)` for all numbers of a row."""
        b, lanes = self.b, self.lanes
        whole = self.inner // lanes * lanes

        def part(start: int, stop: int, step: int) -> None:
            b.loop(start, stop, step, [], lambda j, _: body(b.add(first, j), step))  # type: ignore[func-returns-value]

        part(0, whole, lanes)
        part(whole, self.inner, 1)

    # ---- along the last axis

    def numbers(self, first: Value) -> None:
        """One number after the other, the last one in registers, where 16-bit floats are not
        rounded.
        """
        b = self.b

        def turn(i: Value, carried: list[Value]) -> list[Value]:
            at = b.add(first, self._step(i))
            held = memory.joined(carried, self.dtype)
            found = self._combined(held, self._load(self.x, at, 1), 1)
            self._store(found, at, 1)
            return memory.parts(found)

        at = b.add(first, self._step(b.const(0, I64)))
        start = self._load(self.x, at, 1)
        self._store(start, at, 1)
        b.loop(1, self.size, 1, memory.parts(start), turn)

    def vectors(self, first: Value) -> None:
        """Whole vectors scanned in registers, then what is left."""
        b, lanes = self.b, self.lanes
        whole = self.size // lanes * lanes
        identity = constant_of(_identity(self.op, self.dtype), self.dtype, 1)
        assert isinstance(identity, Value)

        def turn(i: Value, carried: list[Value]) -> list[Value]:
            last = b.add(i, b.const(lanes - 1, I64)) if self.reverse else i
            at = b.add(first, self._place(last))
            found = self._scanned(self._load(self.x, at, lanes))
            found = self._combined(b.splat(carried[0], lanes), found, lanes)
            assert isinstance(found, Value)
            self._store(found, at, lanes)
            return [b.extract(found, 0 if self.reverse else lanes - 1)]

        def single(i: Value, carried: list[Value]) -> list[Value]:
            at = b.add(first, self._place(i))
            found = self._combined(carried[0], self._load(self.x, at, 1), 1)
            self._store(found, at, 1)
            return memory.parts(found)

        b.loop(whole, self.size, 1, b.loop(0, whole, lanes, [identity], turn), single)

    def _scanned(self, x: Number) -> Number:
        """The running reduction within a vector."""
        b, lanes, step = self.b, self.lanes, 1
        assert isinstance(x, Value)
        identity = constant_of(_identity(self.op, self.dtype), self.dtype, lanes)
        while step < lanes:
            order = [i - step if i >= step else lanes + i for i in range(lanes)]
            if self.reverse:
                order = [i + step if i + step < lanes else lanes + i for i in range(lanes)]
            shifted = b.shuffle(x, identity, order)  # type: ignore[arg-type]
            x = self._combined(shifted, x, lanes)  # type: ignore[assignment]
            step *= 2
        return x

    # ---- numbers

    def _place(self, i: Value) -> Value:
        return self.b.sub(self.b.const(self.size - 1, I64), i) if self.reverse else i

    def _step(self, i: Value) -> Value:
        """Where turn `i` stands in a line of numbers, which may be a column."""
        return self.b.mul(self._place(i), self.b.const(self.inner, I64))

    def _address(self, base: Value, at: Value) -> Value:
        place = at if self.width == 1 else self.b.mul(at, self.b.const(self.width, I64))
        return self.b.element(base, place, self.kind)

    def _load(self, base: Value, at: Value, lanes: int) -> Number:
        return memory.load(self.b, self._address(base, at), self.dtype, lanes, 1, None)

    def _store(self, x: Number, at: Value, lanes: int) -> None:
        if self.dtype in NARROW:
            x = round_narrow(self.b, x, self.dtype)  # type: ignore[arg-type]
        memory.store(self.b, x, self._address(self.out, at), self.dtype, lanes, 1, None)

    def _combined(self, x: Number, y: Number, lanes: int) -> Number:
        b, dtype = self.b, self.dtype
        if self.op == "logaddexp":
            return _logaddexp(b, x, y, dtype, lanes)
        return render(b, self.op, [x, y], [dtype, dtype], dtype, lanes)


def _identity(op: str, dtype: np.dtype) -> object:
    if op == "logaddexp":
        return dtype.type(-math.inf)
    return dtype.type(-0.0) if op == "add" and dtypes.is_inexact(dtype) else identity_of(op, dtype)


def _logaddexp(b: Builder, x: Number, y: Number, dtype: np.dtype, lanes: int) -> Value:
    """log(exp x + exp y): the larger one, plus log1p of the ratio. Equal infinities stay."""

    def op(name: str, *args: Number) -> Value:
        found = render(b, name, args, [dtype] * len(args), dtype, lanes)
        assert isinstance(found, Value)
        return found

    zero = constant_of(dtype.type(0), dtype, lanes)
    distance = op("abs", b.select(op("eq", x, y), zero, op("sub", x, y)))  # type: ignore[arg-type]
    return op("add", op("max", x, y), op("log1p", op("exp", op("neg", distance))))
