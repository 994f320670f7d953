"""How an element is computed: a walk from a value back to what lies in memory, along loop forms.

`read(v, at)` writes the statements that compute one element of `v`; views only change the position,
maps apply their scalar rule, whatever lies in memory is loaded. Equal elements are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.compiler.affine import ZERO, At, Loop, Misaligned, Sum, counter
from funcgrad.compiler.graph import Definition, Graph, Same
from funcgrad.compiler.kernel import Buffer, Compute, Load, Operand, Position, Ref, Statement
from funcgrad.compiler.scalar import Constant
from funcgrad.core import dtypes, loops
from funcgrad.core.backend import NARROW
from funcgrad.core.dtypes import bool_, int64

SCALAR = At((), ())
NO_LOOPS: frozenset[Loop] = frozenset()

# What happens at a leaf: load it, or use what the kernel has computed.
Leaf = Callable[["Reader", Any, At, "Ref | None"], "Operand | None"]


class Reader:
    """Writes statements into `statements`; `leaf` is asked first about every variable."""

    def __init__(self, graph: Graph, leaf: Leaf, numbers: Any) -> None:
        self.graph, self.leaf = graph, leaf
        self.statements: list[Statement] = []
        self._numbers = numbers
        self._memo: dict[Any, Any] = {}

    # ---- statements, each written once

    def new(self, dtype: np.dtype, deps: Sequence[Any], extent: int = 0) -> Ref:
        """A value that depends on these values and loops."""
        found: frozenset[Loop] = frozenset()
        inside = False
        for d in deps:
            if isinstance(d, Ref):
                found, inside = found | d.loops, inside or d.inside
            elif isinstance(d, Loop):
                found = found | {d}
            elif isinstance(d, Sum):
                for variable, _ in d.terms:
                    if isinstance(variable, Loop):
                        found = found | {variable}
                    else:
                        found, inside = found | variable.loops, inside or variable.inside
        return Ref(next(self._numbers), dtype, found, inside, extent)

    def compute(self, name: str, args: Sequence[Operand], dtype: np.dtype, extent: int = 0) -> Ref:
        """The result of a scalar operation."""
        key = (name, dtype, extent, *[a if isinstance(a, Ref) else _bits(a) for a in args])
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self.new(dtype, args, extent)
            self.statements.append(Compute(found, name, tuple(args)))
        return found

    def load(self, buffer: Buffer, index: Sum, guard: Ref | None, inside: bool) -> Ref:
        """An element of a buffer."""
        key = (buffer, index, guard)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self.new(buffer.dtype, [index, *([guard] if guard else [])])
            found.inside = found.inside or inside
            self.statements.append(Load(found, buffer, index, guard))
        return found

    def position(self, index: Sum) -> Operand:
        """A sum as a number."""
        if not index.terms:
            return Constant(np.int64(index.constant))
        found = self._memo.get(index)
        if found is None:
            found = self._memo[index] = self.new(int64, [index])
            self.statements.append(Position(found, index))
        return found

    # ---- elements

    def read(self, v: Any, at: At, guard: Ref | None = None) -> Operand:
        """One element of a variable or a literal."""
        if not hasattr(v, "value"):
            found = self.leaf(self, v, at, guard)
            if found is not None:
                return found
            try:
                return self._pulled(v, at, guard)
            except Misaligned as error:
                error.value = error.value or v
                raise
        return Constant(v.aval.dtype.type(np.asarray(_plain(v.value))))

    def _pulled(self, v: Any, at: At, guard: Ref | None) -> Operand:
        definition = self.graph.definitions[v]
        if isinstance(definition.form, loops.Map):
            results = self._map(definition, at, guard)
            return results[definition.number]
        return READ[type(definition.form)](self, definition, at, guard)

    def _map(self, definition: Definition, at: At, guard: Ref | None) -> Sequence[Operand]:
        e = definition.eqn
        key = (e, at.flat, guard)
        found = self._memo.get(key)
        if found is None:
            operands = [self.read(a, at if a.aval.shape else SCALAR, guard) for a in e.args]
            found = self._memo[key] = self.apply(e, operands)
        return found

    def apply(self, e: Any, operands: Sequence[Operand]) -> list[Operand]:
        """The scalar rule of an equation on these operands."""
        rule = self.graph.rules[e]
        lanes = list(operands)
        for op in rule.ops:
            args = [lanes[a] if isinstance(a, int) else a for a in op.args]
            lanes.append(self.compute(op.name, args, op.dtype))
        results = [lanes[r] if isinstance(r, int) else r for r in rule.results]
        return [self._rounded(r, o.aval.dtype) for r, o in zip(results, e.outs)]

    def _rounded(self, x: Operand, dtype: np.dtype) -> Operand:
        """16-bit floats are computed in float32 and rounded once for each equation."""
        return self.compute("narrow", [x], dtype) if dtype in NARROW else x

    # ---- conditions

    def within(self, index: Sum, low: int, high: int) -> Ref | bool:
        """Is low <= index < high? Known, or to be computed."""
        least, most = index.span()
        if least >= low and most < high:
            return True
        if most < low or least >= high:
            return False
        value = self.position(index)
        tests = []
        if least < low:
            tests.append(self.compute("ge", [value, Constant(np.int64(low))], bool_))
        if most >= high:
            tests.append(self.compute("lt", [value, Constant(np.int64(high))], bool_))
        return self.all(tests)

    def all(self, tests: Sequence[Ref | bool | None]) -> Ref | bool:
        """Do all hold?"""
        found: Ref | bool = True
        for test in tests:
            if test is False:
                return False
            if isinstance(test, Ref):
                joined = isinstance(found, Ref)
                found = self.compute("and_", [found, test], bool_) if joined else test  # type: ignore[list-item]
        return found


class Walker(Reader):
    """A reader that only finds out what is read: it asks `leaf`, and writes as little as it can."""

    def __init__(self, graph: Graph, leaf: Leaf, numbers: Any) -> None:
        super().__init__(graph, leaf, numbers)
        self._elements: dict[Any, Ref] = {}

    def element(self, v: Any, at: At) -> tuple[Ref, bool]:
        """What stands for an element in memory, and whether this is the first time."""
        key = (v, at.flat)
        found = self._elements.get(key)
        if found is not None:
            return found, False
        found = self._elements[key] = Ref(-1, v.aval.dtype, NO_LOOPS, False)
        return found, True

    def _map(self, definition: Definition, at: At, guard: Ref | None) -> Sequence[Operand]:
        e = definition.eqn
        if not self.graph.rules[e].ops:
            return super()._map(definition, at, guard)
        key = (e, at.flat, guard)
        found = self._memo.get(key)
        if found is None:
            for a in e.args:
                if not hasattr(a, "value"):
                    self.read(a, at if a.aval.shape else SCALAR, guard)
            found = self._memo[key] = [Ref(-1, o.aval.dtype, NO_LOOPS, False) for o in e.outs]
        return found


def _plain(value: Any) -> Any:
    return getattr(value, "_buffer", value)


def _bits(x: Any) -> Any:
    return (str(x.value.dtype), x.value.tobytes())


# ---- one rule for each form that moves elements


def _view(reader: Reader, definition: Definition, at: At, guard: Ref | None) -> Operand:
    (x,) = definition.eqn.args
    out = at.indices
    indices = []
    for dim in definition.form.dims:
        index = Sum(dim.offset)
        for d, step in dim.terms:
            index = index + out[d] * step
        indices.append(index)
    return reader.read(x, At(x.aval.shape, indices), guard)


def _reshape(reader: Reader, definition: Definition, at: At, guard: Ref | None) -> Operand:
    (x,) = definition.eqn.args
    return reader.read(x, at.reshaped(x.aval.shape), guard)


def _same(reader: Reader, definition: Definition, at: At, guard: Ref | None) -> Operand:
    return reader.read(definition.eqn.args[definition.form.operand], at, guard)


def _index(reader: Reader, definition: Definition, at: At, guard: Ref | None) -> Operand:
    dtype = definition.eqn.outs[0].aval.dtype
    value = reader.position(at.indices[definition.form.dim])
    if not isinstance(value, Ref):
        return Constant(dtype.type(value.value))
    return value if dtype == int64 else reader.compute("convert", [value], dtype)


def _guarded(reader: Reader, definition: Definition, at: At, guard: Ref | None) -> Operand:
    e, form = definition.eqn, definition.form
    result = None if form.fill is None else reader.read(e.args[form.fill], At((), ()), guard)
    for part in reversed(form.parts):
        operand = e.args[part.operand]
        tests, indices = [], []
        for index, start, stride, extent in zip(at.indices, part.start, part.stride, part.extent):
            moved = index + -start
            if stride != 1:
                moved, rest = strided(reader, moved, stride)
                tests.append(rest)
            tests.append(reader.within(moved, 0, extent))
            indices.append(moved)
        holds = reader.all(tests)
        if holds is False or 0 in part.extent:
            continue
        if holds is True:
            result = reader.read(operand, At(operand.aval.shape, indices), guard)
            continue
        both = reader.all([holds, guard])
        assert isinstance(both, Ref) and isinstance(holds, Ref)
        value = reader.read(operand, At(operand.aval.shape, indices), both)
        dtype = e.outs[0].aval.dtype
        result = (
            value if result is None else reader.compute("select", [holds, value, result], dtype)
        )
    if result is None:
        return Constant(e.outs[0].aval.dtype.type(0))
    return result


def strided(reader: Reader, moved: Sum, stride: int) -> tuple[Sum, Ref | bool]:
    """The position among every stride-th one, and whether it is one of them."""
    try:
        quotient, rest = moved.divide(stride)
    except Misaligned:
        return _divided(reader, moved, stride)
    if not rest.terms:
        return quotient, rest.constant == 0
    value = reader.position(rest)
    return quotient, reader.compute("eq", [value, Constant(np.int64(0))], bool_)


def _divided(reader: Reader, moved: Sum, stride: int) -> tuple[Sum, Ref | bool]:
    """As numbers. Positions before the first one are moved up by whole strides, to divide as
    natural ones.
    """
    low, high = moved.span()
    lift = max(-(low // stride), 0)
    value = reader.position(moved + lift * stride)
    n = Constant(np.int64(stride))
    quotient = reader.compute("div", [value, n], int64, extent=high // stride + lift + 1)
    rest = reader.compute("rem", [value, n], int64)
    fits = reader.compute("eq", [rest, Constant(np.int64(0))], bool_)
    return Sum(-lift, ((quotient, 1),)), fits


def _gather(reader: Reader, definition: Definition, at: At, guard: Ref | None) -> Operand:
    p = definition.form.params
    if "dimension_numbers" not in p:
        x, *starts = definition.eqn.args
        indices = []
        for index, start, size, window in zip(at.indices, starts, x.aval.shape, p["slice_sizes"]):
            first = clamped(reader, reader.read(start, At((), ()), guard), size - window)
            indices.append(index + first)
        return reader.read(x, At(x.aval.shape, indices), guard)
    return _general_gather(reader, definition, at, guard)


def _general_gather(reader: Reader, definition: Definition, at: At, guard: Ref | None) -> Operand:
    p, e = definition.form.params, definition.eqn
    x, indices = e.args
    numbers = p["dimension_numbers"]
    offsets = [at.indices[d] for d in numbers.offset_dims]
    batch = [i for d, i in enumerate(at.indices) if d not in numbers.offset_dims]
    windows = Windows(
        x.aval.shape, p["slice_sizes"], p["mode"], numbers.start_index_map,
        numbers.operand_batching_dims, numbers.start_indices_batching_dims,
    )  # fmt: skip
    place, tests = windows.start(reader, indices, batch, guard)
    window = iter(offsets)
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    full = [s if d in dropped else s + next(window) for d, s in enumerate(place)]
    inside = reader.all(tests)
    dtype = e.outs[0].aval.dtype
    if inside is False:
        return Constant(dtype.type(fill_value(p, dtype)))
    both = reader.all([inside, guard])
    value = reader.read(x, At(x.aval.shape, full), both if isinstance(both, Ref) else None)
    if inside is True:
        return value
    fill = Constant(dtype.type(fill_value(p, dtype)))
    return reader.compute("select", [inside, value, fill], dtype)


class Windows(NamedTuple):
    """How gathers and scatters place their windows: `columns` are the dimensions that an index
    vector addresses, `batching` those that walk along with the indices' `index_batching`.
    """

    shape: Sequence[int]
    sizes: Sequence[int]
    mode: Any
    columns: Sequence[int]
    batching: Sequence[int]
    index_batching: Sequence[int]
    clips_promised: bool = True

    def start(
        self, reader: Reader, indices: Any, batch: Sequence[Sum], guard: Ref | None
    ) -> tuple[list[Sum], list[Ref | bool]]:
        """Where the window of one index vector starts, kept inside, and the tests that it was
        inside.
        """
        place = [ZERO] * len(self.shape)
        tests: list[Ref | bool] = []
        promised = self.mode.name == "PROMISE_IN_BOUNDS" and self.clips_promised
        for column, d in enumerate(self.columns):
            where = At(indices.aval.shape, [*batch, Sum(column)])
            value = reader.read(indices, where, guard)
            limit = self.shape[d] - self.sizes[d]
            place[d] = clamped(reader, value, limit)
            if not (promised or self.mode.name == "CLIP"):
                tests.append(between(reader, value, limit))
        for d, i in zip(self.batching, self.index_batching):
            place[d] = batch[i]
        return place, tests


def between(reader: Reader, value: Operand, limit: int) -> Ref | bool:
    """Is 0 <= value <= limit?"""
    wide = as_int64(reader, value)
    if not isinstance(wide, Ref):
        return bool(0 <= wide.value <= limit)
    low = reader.compute("ge", [wide, Constant(np.int64(0))], bool_)
    high = reader.compute("le", [wide, Constant(np.int64(limit))], bool_)
    return reader.compute("and_", [low, high], bool_)


def clamped(reader: Reader, value: Operand, limit: int) -> Sum:
    """An index moved to 0 .. limit."""
    if limit <= 0:
        return ZERO
    if not isinstance(value, Ref):
        return Sum(min(max(int(value.value), 0), limit))
    wide = as_int64(reader, value)
    low = reader.compute("max", [wide, Constant(np.int64(0))], int64)
    found = reader.compute("min", [low, Constant(np.int64(limit))], int64, extent=limit + 1)
    return counter(found)


def as_int64(reader: Reader, value: Operand) -> Operand:
    """An index as int64; unsigned ones that do not fit become the largest."""
    if not isinstance(value, Ref):
        return Constant(np.int64(min(int(value.value), 2**63 - 1)))
    if value.dtype == dtypes.uint64:
        top = Constant(np.uint64(2**63 - 1))
        value = reader.compute("min", [value, top], dtypes.uint64)
    return value if value.dtype == int64 else reader.compute("convert", [value], int64)


def fill_value(p: Any, dtype: np.dtype) -> Any:
    """What elements outside are, by the parameters of a gather."""
    if p.get("fill_value") is not None:
        return p["fill_value"]
    if dtypes.is_inexact(dtype):
        return math.nan
    if dtype == bool_:
        return True
    info = np.iinfo(dtype)
    return info.max if dtype.kind == "u" else info.min


READ: dict[type, Callable[..., Operand]] = {
    loops.View: _view,
    loops.Reshape: _reshape,
    loops.Index: _index,
    Same: _same,
    loops.Guarded: _guarded,
    loops.Gather: _gather,
}
