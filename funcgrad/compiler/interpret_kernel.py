"""Kernels executed statement by statement in NumPy, with checks: what compiled ones are tested
against.

Every access must be inside its buffer; an element is written once in a stage and by one row (unless
it is combined into, or its place is computed); what is read was written before. Nothing is fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.affine import Loop, Sum
from funcgrad.compiler.forms import identity_of
from funcgrad.compiler.interpret import MONOIDS
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
from funcgrad.compiler.products import Convolution, Strided
from funcgrad.compiler.scalar_values import ScalarValues
from funcgrad.core import backend
from funcgrad.core.backend import NARROW

Convolve = Callable[..., Any]
UPDATES = "u"  # the group of the loop over the updates of a scatter
BITWISE = frozenset(("bitcast", "nextafter"))  # see the operand's own type, also 16-bit floats


class KernelError(Exception):
    """A kernel that reads or writes what it must not."""


def run_kernel(kernel: Kernel, arrays: dict[Any, np.ndarray], convolve: Convolve) -> None:
    """Runs a kernel on arrays by the keys of its buffers; results are written into the arrays.

    `convolve` computes the convolutions of tiles, as the primitive's `value` does. Raises
    KernelError.
    """
    backend.quiet.run(_Run(kernel, arrays, convolve).run)


class _Run:
    """One kernel, its memory, and which elements have been written."""

    def __init__(self, kernel: Kernel, arrays: dict[Any, Any], convolve: Convolve) -> None:
        self.kernel, self.convolve = kernel, convolve
        self.memory: dict[Buffer, np.ndarray] = {}
        self.known: dict[Buffer, np.ndarray] = {}
        self.writer: dict[Buffer, np.ndarray] = {}  # the row and the stage that wrote last
        for buffer in kernel.buffers:
            local = buffer.local
            held = np.empty(buffer.size, buffer.dtype) if local else arrays[buffer.key].reshape(-1)
            if held.size != buffer.size or held.dtype != buffer.dtype:
                raise KernelError(f"{buffer}: {held.dtype}[{held.size}] in {kernel}")
            self.memory[buffer] = held
            given = kernel.updates or buffer not in kernel.written
            self.known[buffer] = np.full(buffer.size, given)
            self.writer[buffer] = np.full((2, buffer.size), -1)
        self.k = ScalarValues()
        self.tiles: np.ndarray | None = None

    def run(self) -> None:
        kernel = self.kernel
        if not kernel.updates:
            self._start_sums()
        if kernel.tile is not None:
            self.tiles = self._tiles(kernel.tile)
        for number, turn in enumerate(_turns(kernel.rows)):
            values: dict[Ref, Any] = {}
            counters: dict[Any, Any] = dict(zip(kernel.rows, turn))
            for buffer in kernel.buffers:
                if buffer.local:
                    self.known[buffer][:] = False
                    self.writer[buffer][:] = -1
            if self.tiles is not None and kernel.tile is not None:
                values[kernel.tile.ref] = self.tiles[number]
            for place, stage in enumerate(kernel.stages):
                _StageRun(self, stage, (number, place), counters, values).run()
        for buffer in kernel.written:
            if not buffer.local and not self.known[buffer].all():
                raise KernelError(f"{buffer} is not written everywhere by {kernel}")

    def _start_sums(self) -> None:
        """What sums are combined into begins as what changes nothing, unless it is stored first."""
        stored: set[Buffer] = set()
        for stage in self.kernel.stages:
            stored |= {s.buffer for s in stage.statements if isinstance(s, Store)}
            for s in stage.statements:
                if isinstance(s, Accumulate) and s.buffer not in stored:
                    self.memory[s.buffer][:] = identity_of(s.op, s.buffer.dtype)
                    self.known[s.buffer][:] = True

    # ---- tiles

    def _tiles(self, tile: Any) -> np.ndarray:
        """All results of a product or convolution, in row-major order."""
        form = tile.form
        lhs, rhs = (self.memory[b] for b in tile.operands)
        if isinstance(form, Convolution):
            left, right = (
                self._view(x, view, shape)
                for x, view, shape in zip((lhs, rhs), (form.lhs, form.rhs), form.shapes)
            )
            params = dict(form.parameters)
            return np.asarray(self.convolve(backend.NUMPY, left, right, **params)).ravel()
        places = np.indices([d.extent for d in form.dimensions]).reshape(len(form.dimensions), -1)
        k, summed = np.arange(form.summed.extent), form.summed
        steps = [(d.lhs, d.rhs) for d in form.dimensions]
        at = [
            sum((p * s[side] for p, s in zip(places, steps)), np.zeros(1, int)) for side in (0, 1)
        ]
        left = lhs[self._inside(form.lhs.offset + at[0][:, None] + k * summed.lhs, lhs)]
        right = rhs[self._inside(form.rhs.offset + at[1][:, None] + k * summed.rhs, rhs)]
        return np.sum(left * right, -1, dtype=left.dtype)

    def _view(self, x: np.ndarray, view: Strided, shape: Sequence[int]) -> np.ndarray:
        places = np.zeros(shape, int) + view.offset
        for d, step in enumerate(view.strides):
            places += (
                np.arange(shape[d]).reshape([-1 if i == d else 1 for i in range(len(shape))]) * step
            )
        return x[self._inside(places, x)]

    def _inside(self, places: np.ndarray, x: np.ndarray) -> np.ndarray:
        if places.size and (places.min() < 0 or places.max() >= x.size):
            raise KernelError(f"operand of {self.kernel} is read outside")
        return places


class _StageRun:
    """One stage in one row: each statement for all turns of the stage's loops at once."""

    def __init__(
        self, run: _Run, stage: Stage, at: tuple[int, int], rows: dict[Any, Any],
        values: dict[Ref, Any],
    ) -> None:  # fmt: skip
        self.all, self.stage, self.at, self.values = run, stage, at, values
        self.shape = tuple(loop.extent for loop in stage.loops)
        self.counters = dict(rows)
        for d, loop in enumerate(stage.loops):
            along = [-1 if i == d else 1 for i in range(len(stage.loops))]
            self.counters[loop] = np.arange(loop.extent).reshape(along)

    def run(self) -> None:
        for s in self.stage.statements:
            RUN[type(s)](self, s)
        for r in self.stage.reductions:
            self._reduce(r)

    # ---- numbers

    def value(self, x: Operand) -> Any:
        """An operand; 16-bit floats are held in float32."""
        if isinstance(x, Ref):
            if x not in self.values:
                raise KernelError(f"{x} is read before it is known in {self.all.kernel}")
            return self.values[x]
        return np.asarray(x.value, np.float32) if x.dtype in NARROW else np.asarray(x.value)

    def place(self, index: Sum) -> np.ndarray:
        total = np.asarray(index.constant)
        for variable, coefficient in index.terms:
            if isinstance(variable, Ref):
                held = self.value(variable)
                if held.size and (held.min() < 0 or held.max() >= variable.extent):
                    raise KernelError(f"{variable} is not in 0 .. {variable.extent - 1}")
                total = total + held.astype(np.int64) * coefficient
            else:
                total = total + self.counters[variable] * coefficient
        return total

    def compute(self, s: Compute) -> None:
        dtype = s.ref.dtype
        wide = np.dtype(np.float32) if dtype in NARROW else dtype
        args = [self.value(a) for a in s.args]
        if s.name in BITWISE:
            args = [x.astype(a.dtype) for x, a in zip(args, s.args)]
        if s.name == "narrow" or (s.name == "convert" and dtype in NARROW):
            found = self._converted(args[0], dtype)
        elif s.name == "convert":
            found = self.all.k.convert(args[0], dtype)
        elif s.name == "bitcast":
            found = args[0].view(dtype)
        else:
            found = getattr(self.all.k, s.name)(*args)
        self.values[s.ref] = np.asarray(found).astype(wide)

    def _converted(self, x: Any, dtype: np.dtype) -> Any:
        """Rounded once: wide numbers to 16 bits."""
        return np.asarray(x).astype(dtype)

    def position(self, s: Position) -> None:
        self.values[s.ref] = self.place(s.index)

    # ---- memory

    def _where(self, s: Any) -> tuple[np.ndarray, np.ndarray]:
        """Places, moved inside where the guard does not hold, and where it does."""
        place = self.place(s.index)
        if s.guard is None:
            guard = np.ones(place.shape, bool)
        else:
            place, guard = np.broadcast_arrays(place, self.value(s.guard))
        outside = guard & ((place < 0) | (place >= s.buffer.size))
        if outside.any():
            raise KernelError(f"{s} is outside of {s.buffer.size} elements in {self.all.kernel}")
        return np.where(guard, place, 0), guard

    def load(self, s: Load) -> None:
        memory, known = self.all.memory[s.buffer], self.all.known[s.buffer]
        place, guard = self._where(s)
        if not (known[place] | ~guard).all():
            raise KernelError(f"{s} comes before its elements are written in {self.all.kernel}")
        found = np.where(guard, memory[place], memory.dtype.type(0))
        self.values[s.ref] = found.astype(np.float32) if memory.dtype in NARROW else found

    def store(self, s: Store) -> None:
        place, guard = self._where(s)
        self._write(s.buffer, place, guard, self.value(s.value), self._may_write_again(s))

    def _may_write_again(self, s: Store) -> bool:
        """Is it one of the updates of a scatter, whose places may meet?"""
        return _computed(s.index) or any(loop.group == UPDATES for loop in self.stage.loops)

    def _write(self, buffer: Buffer, place: Any, guard: Any, value: Any, again: bool) -> None:
        memory, known = self.all.memory[buffer], self.all.known[buffer]
        place, guard, value = np.broadcast_arrays(place, guard, value)
        chosen = place[guard]
        row, stage = self.all.writer[buffer]
        twice = (row[chosen] == self.at[0]) & (stage[chosen] == self.at[1])
        others = (row[chosen] >= 0) & (row[chosen] != self.at[0])
        if not again and ((twice | others).any() or np.unique(chosen).size < chosen.size):
            raise KernelError(f"{buffer} is written twice by {self.all.kernel}")
        row[chosen], stage[chosen] = self.at
        memory[chosen] = value[guard].astype(memory.dtype)
        known[chosen] = True

    def accumulate(self, s: Accumulate) -> None:
        place, guard = self._where(s)
        memory, combine = self.all.memory[s.buffer], MONOIDS[s.op][0]
        place, guard, value = np.broadcast_arrays(
            *(np.broadcast_to(x, self.shape) for x in (place, guard, self.value(s.value)))
        )
        for at, new in zip(place[guard].tolist(), value[guard]):
            memory[at] = combine(memory[at], memory.dtype.type(new))

    # ---- reductions

    def _reduce(self, r: Reduction) -> None:
        kept = self.shape[: len(self.shape) - self.stage.reduced]
        dtype = np.dtype(np.float32) if r.value.dtype in NARROW else r.value.dtype
        flat = np.broadcast_to(self.value(r.value), self.shape).reshape((*kept, -1))
        if r.position is not None:
            places = np.broadcast_to(self.value(r.position), self.shape).reshape((*kept, -1))
            found = _best(r.op, flat, places).astype(r.ref.dtype)
        else:
            ufunc: Any = MONOIDS[r.op][0]
            found = ufunc.reduce(flat, -1, dtype=dtype)
            if r.ref.dtype in NARROW:
                found = np.asarray(found).astype(r.ref.dtype).astype(np.float32)
        found = np.asarray(found).reshape((*kept, *[1] * (len(self.shape) - len(kept))))
        self.values[r.ref] = found if found.size > 1 else found.reshape(())
        if r.buffer is not None:
            assert r.index is not None
            place, guard = self._where(Store(r.buffer, r.index, r.ref))
            self._write(r.buffer, place, guard, found.reshape(place.shape), False)


def _best(op: str, values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The positions of the best values: the first of equal ones, NaN before all."""
    order = np.argsort(places, -1, kind="stable")
    values, places = (np.take_along_axis(x, order, -1) for x in (values, places))
    best = np.argmax(values, -1) if op == "argmax" else np.argmin(values, -1)
    return np.take_along_axis(places, best[..., None], -1)[..., 0]


def _computed(index: Sum) -> bool:
    return any(isinstance(v, Ref) for v, _ in index.terms)


def _turns(loops: Sequence[Loop]) -> Any:
    return itertools.product(*(range(loop.extent) for loop in loops))


RUN: dict[type[Statement], Callable[[_StageRun, Any], None]] = {
    Load: _StageRun.load,
    Compute: _StageRun.compute,
    Position: _StageRun.position,
    Store: _StageRun.store,
    Accumulate: _StageRun.accumulate,
}
