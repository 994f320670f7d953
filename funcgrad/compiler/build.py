"""Kernels from values: what belongs into one kernel is given as roots and a number of rows.

Every root is cut into that many equal parts, one for each row. A root may read another root of its
kernel if it needs no more than the part of its own row: values and sums of a row are read where
they are, in registers or in cache. `Misaligned` says that roots do not fit together like this.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.compiler.affine import (
    ZERO,
    At,
    Loop,
    Misaligned,
    NeedsSplit,
    Sum,
    counted,
)
from funcgrad.compiler.dead_statements import without_dead
from funcgrad.compiler.graph import Definition, Graph, size_of
from funcgrad.compiler.iteration import ITERATION, operation, reduced_size
from funcgrad.compiler.kernel import (
    Accumulate,
    Buffer,
    Kernel,
    Operand,
    Reduction,
    Ref,
    Stage,
    Store,
    Tile,
)
from funcgrad.compiler.products import TILED
from funcgrad.compiler.reader import Reader, Walker
from funcgrad.compiler.scattering import COMBINATIONS, update, updates_of
from funcgrad.core import loops

LARGEST_LOCAL = 1 << 15  # bytes of one row
RECOMPUTED = 8  # a value that costs less is computed again in a later stage, not kept


class Root:
    """A value that a kernel makes.

    `own` elements lie in each row, each made of `reduced` ones. A root that `accumulates` sums over
    rows, and is complete when the kernel ends.
    """

    __slots__ = ("var", "definition", "accumulates", "reduced", "size")

    def __init__(self, var: Any, definition: Definition, accumulates: bool = False) -> None:
        self.var, self.definition, self.accumulates = var, definition, accumulates
        self.reduced = reduced_size(definition)
        self.size = size_of(var)

    @property
    def is_tiled(self) -> bool:
        """Is it a product, whose elements come from tiles?"""
        return isinstance(self.definition.form, TILED)

    def parts(self, rows: int) -> list[Any]:
        """The parts of a concatenation whose rows are made of rows of each part; else nothing."""
        form = self.definition.form
        if not isinstance(form, loops.Guarded) or form.fill is not None or len(form.parts) < 2:
            return []
        shape, product = self.var.aval.shape, 1
        for d, n in enumerate(shape):
            whole = all(p.extent[d] == n and p.stride[d] == 1 for p in form.parts)
            if product == rows:
                break
            if not whole:
                return []
            product *= n
        return [p for p in form.parts if 0 not in p.extent] if product == rows else []

    @property
    def scatters(self) -> bool:
        """Is it a copy with updates?"""
        return isinstance(self.definition.form, loops.Scatter)

    @property
    def reduces(self) -> bool:
        return isinstance(self.definition.form, tuple(ITERATION))

    @property
    def total(self) -> int:
        """The elements that are visited."""
        return self.size * self.reduced

    def divides(self, rows: int) -> bool:
        """Can the root be cut into that many rows?"""
        return (self.total if self.accumulates else self.size) % rows == 0

    def __repr__(self) -> str:
        return f"Root({self.definition.eqn.primitive})"


def build(
    graph: Graph, rows: int, roots: Sequence[Root], buffer_of: Callable[[Any], Buffer],
    stored: Callable[[Any], bool],
) -> Kernel:  # fmt: skip
    """The kernel that makes these roots, given in order; raises Misaligned.

    `buffer_of` names the memory of leaves and of what is `stored`.
    """
    splits: dict[Any, list[int]] = {}
    for _ in range(64):
        try:
            return _Build(graph, rows, roots, buffer_of, stored, splits).run()
        except NeedsSplit as needed:
            factors = splits[needed.loop.group]
            at = needed.loop.place
            factors[at : at + 1] = [needed.loop.extent // needed.inner, needed.inner]
    raise Misaligned("loops would be split without end")


def footprint(
    graph: Graph, rows: int, root: Root, stored: Callable[[Any], bool]
) -> dict[Any, bool] | Misaligned | None:
    """What a root reads, and whether each row reads nothing but its own part.

    None if the root has no such rows; an error if some value could be read only from memory.
    """
    splits: dict[Any, list[int]] = {}
    for _ in range(64):
        try:
            return _Build(graph, rows, [root], None, stored, splits).footprint(root)
        except NeedsSplit as needed:
            factors = splits[needed.loop.group]
            at = needed.loop.place
            factors[at : at + 1] = [needed.loop.extent // needed.inner, needed.inner]
        except Misaligned as error:
            return None if error.value is None else error
    return None


class _Build:
    """One attempt, with loops split as known so far."""

    def __init__(
        self, graph: Graph, rows: int, roots: Sequence[Root], buffer_of: Any, stored: Any,
        splits: dict[Any, list[int]],
    ) -> None:  # fmt: skip
        self.graph, self.count, self.roots = graph, rows, roots
        self.buffer_of, self.stored, self.splits = buffer_of, stored, splits
        self.mine = {root.var: root for root in roots}
        self.numbers = itertools.count()
        self.tiled = next((r for r in roots if r.is_tiled), None)
        if self.tiled is not None:
            form = self.tiled.definition.form
            splits.setdefault("r", [n for n in form.extents if n > 1])
        self.rows = self.loops("r", rows)
        self.row = counted(self.rows)
        self._shared: dict[Any, tuple[list[Loop], list[Loop]]] = {}
        self.levels: dict[Root, int] = {}
        self.values: dict[Root, Operand] = {}
        self.stages: dict[Any, Stage] = {}
        self.joined: dict[Root, Stage] = {}
        self.readers: dict[Any, Reader] = {}
        self.buffers: dict[Buffer, None] = {}
        self.written: dict[Buffer, None] = {}
        self.locals: dict[Root, Buffer] = {}
        self.current: tuple[Any, Root] | None = None
        self.tile: Tile | None = None

    def run(self) -> Kernel:
        if self.roots[0].scatters:
            return self._scatter_kernel(self.roots[0])
        for root in self.roots:
            self.levels[root] = self._level(root)
        for root in sorted(self.roots, key=self.levels.__getitem__):
            self._write(root)
        stages = [self.stages[key] for key in sorted(self.stages, key=lambda key: key[0])]
        stages = without_dead(stages)
        if self.tiled is not None:
            self._check_lanes(self.tiled.definition.form)
        buffers, written = list(self.buffers), list(self.written)
        return Kernel(self.rows, stages, buffers, written, self.tile)

    def _scatter_kernel(self, root: Root) -> Kernel:
        """A copy of the operand, then a loop over the updates."""
        out, definition = self.out(root), root.definition
        stages = []
        for group, extent in (("copy", root.size), ("u", size_of(updates_of(definition)))):
            found = self.loops(group, extent)
            self.readers[group] = Reader(self.graph, self._leaf, self.numbers)
            self.current = (group, root)
            stages.append(Stage(found, 0, self.readers[group].statements))
        copied, updated = counted(stages[0].loops), counted(stages[1].loops)
        operand = definition.eqn.args[0]
        value = self.readers["copy"].read(operand, At(operand.aval.shape, flat=copied))
        stages[0].statements.append(Store(out, copied, value))
        found_update = update(self.readers["u"], definition, updated)
        if found_update.dropped:
            return Kernel([], stages[:1], list(self.buffers), list(self.written))
        index, value, guard, _ = found_update
        combination = COMBINATIONS[definition.form.op]
        if combination == "set":
            stages[1].statements.append(Store(out, index, value, guard))
        else:
            stages[1].statements.append(Accumulate(combination, out, index, value, guard))
        return Kernel([], stages, list(self.buffers), list(self.written))

    def _check_lanes(self, form: Any) -> None:
        """Vectors of results must not be cut by the digits of the dimension that they run along."""
        across, extents = form.across, form.extents
        if across is None or extents[across] == 1:
            return
        inside = math.prod(extents[across + 1 :])
        last, count = None, 1
        for loop in reversed(self.rows):
            if count >= inside and last is None:
                last = loop.extent
            count *= loop.extent
        if last is not None and last != extents[across] and last % 16:
            raise Misaligned("vectors of a product cut across rows")

    # ---- loops

    def loops(self, group: Any, extent: int) -> list[Loop]:
        """The loops of a group, in the digits that it has been split into."""
        factors = self.splits.setdefault(group, [extent] if extent > 1 else [])
        return [Loop(n, group, i) for i, n in enumerate(factors)]

    def inner(self, root: Root) -> tuple[list[Loop], list[Loop]]:
        """The loops of a root within its row: over its elements, and over what each is made of."""
        return self._loops_of(self._key(root))

    def _loops_of(self, key: tuple[int, int]) -> tuple[list[Loop], list[Loop]]:
        if key not in self._shared:
            kept, reduced = key
            self._shared[key] = (
                self.loops(f"k{kept}x{reduced}_", kept),
                self.loops(f"c{kept}x{reduced}_", reduced),
            )
        return self._shared[key]

    def _key(self, root: Root) -> tuple[int, int]:
        if root.accumulates:
            visits = root.total // self.count
            return (1, visits) if root.size == 1 else (visits, 1)
        return root.size // self.count, root.reduced

    def _own(self, root: Root) -> int:
        """Elements of the root in one row."""
        return root.size // self.count

    def position(self, root: Root) -> Sum:
        """Where the element stands that the loops are at."""
        if root.accumulates:
            return self._visited(root)
        return self.row * self._own(root) + counted(self.inner(root)[0])

    # ---- stages

    def _level(self, root: Root) -> int:
        """The stage that a root must wait for: one more than those it reads from memory, or sums
        of.
        """
        if not root.divides(self.count):
            raise Misaligned(f"{root} has no {self.count} rows")
        if root.is_tiled:
            return 0
        level = 0

        def leaf(reader: Any, v: Any, at: At, guard: Any) -> Operand | None:
            nonlocal level
            other = self.mine.get(v)
            if other is root or (other is None and not self.stored_elsewhere(v)):
                return None
            if other is not None:
                level = max(level, self.levels[other] + self._waits(root, other, at))
            return reader.element(v, at)[0]

        self._element(Walker(self.graph, leaf, self.numbers), root)
        return level

    def footprint(self, root: Root) -> dict[Any, bool]:
        """The variables in memory, or made by kernels, that a root reads: in its own row?"""
        if not root.divides(self.count):
            raise Misaligned(f"{root} has no {self.count} rows")
        if root.is_tiled:
            return dict.fromkeys(root.definition.form.operands, False)
        if root.scatters:
            return self._scatter_footprint(root)
        found: dict[Any, bool] = {}

        def leaf(reader: Any, v: Any, at: At, guard: Any) -> Operand | None:
            if v is root.var or not self.stored(v):
                return None
            element, is_new = reader.element(v, at)
            if is_new:
                found[v] = found.get(v, True) and self._in_row(v, at)
            return element

        self._element(Walker(self.graph, leaf, self.numbers), root)
        if root.accumulates:
            self._sum_place(root)
        return found

    def _scatter_footprint(self, root: Root) -> dict[Any, bool]:
        found: dict[Any, bool] = {}

        def leaf(reader: Any, v: Any, at: At, guard: Any) -> Operand | None:
            if not self.stored(v):
                return None
            found[v] = False
            return reader.element(v, at)[0]

        reader = Walker(self.graph, leaf, self.numbers)
        operand = root.definition.eqn.args[0]
        copied = counted(self.loops("copy", root.size))
        reader.read(operand, At(operand.aval.shape, flat=copied))
        updates = self.loops("u", size_of(updates_of(root.definition)))
        update(reader, root.definition, counted(updates))
        return found

    def _in_row(self, v: Any, at: At) -> bool:
        own, rest = divmod(size_of(v), self.count)
        if rest:
            return False
        place = at.flat.plus(self.row, -own)
        low, high = place.span()
        return low >= 0 and high < own and not self._depends_on_row(place)

    def _depends_on_row(self, place: Sum) -> bool:
        return any(v in self.rows for v, _ in place.terms)

    def stored_elsewhere(self, v: Any) -> bool:
        return v not in self.mine and self.stored(v)

    def _waits(self, root: Root, other: Root, at: At) -> int:
        if other.accumulates:
            raise Misaligned("a sum over rows is complete only after the kernel")
        self.check_row(other, at)
        return 0 if self.is_here(root, other, at) else 1

    def is_here(self, root: Root, other: Root, at: At) -> bool:
        """Is it the very element that the loops of both are at?"""
        return (
            not other.reduces
            and not other.parts(self.count)
            and (self._key(other) == self._key(root) or self._visits(root) == self._own(other))
            and at.flat - self._visited(root) == ZERO
        )

    def _visits(self, root: Root) -> int:
        kept, reduced = self._key(root)
        return kept * reduced

    def _visited(self, root: Root) -> Sum:
        """The number of the visit, row by row: where a map with the same loops would stand."""
        stage = self.joined.get(root)
        kept, reduced = self.inner(root)
        inner = stage.loops if stage else [*kept, *reduced]
        return self.row * self._visits(root) + counted(inner)

    def check_row(self, other: Root, at: At) -> Sum:
        """The place of an element within the row; it must be the row we are in."""
        own = self._own(other)
        place = at.flat - self.row * own
        low, high = place.span()
        if low < 0 or high >= own or self._depends_on_row(place):
            raise Misaligned(f"{other} is read across rows")
        return place

    def _stage(self, root: Root) -> tuple[Any, Stage, Reader]:
        """The stage of a root and its reader; maps join reductions that visit as many elements."""
        joins = not root.reduces or (root.accumulates and root.size > 1)
        found = self._stage_of(self.levels[root], self._key(root), joins)
        self.joined[root] = found[1]
        return found

    def _stage_of(
        self, level: int, wanted: tuple[int, int], joins: bool = True
    ) -> tuple[Any, Stage, Reader]:
        key = (level, wanted)
        if joins:
            visits = math.prod(wanted)
            fitting = [k for k in self.stages if k[0] == level and math.prod(k[1]) == visits]
            key = fitting[0] if fitting else key
        if key not in self.stages:
            kept, reduced = self._loops_of(wanted)
            self.stages[key] = Stage([*kept, *reduced], len(reduced))
            self.readers[key] = Reader(self.graph, self._leaf, self.numbers)
        return key, self.stages[key], self.readers[key]

    # ---- statements

    def _write(self, root: Root) -> None:
        key, stage, reader = self._stage(root)
        self.current = (key, root)
        reader.statements = stage.statements
        if parts := self.stored(root.var) and root.parts(self.count):
            self._write_parts(root, parts)
        elif root.is_tiled:
            self._write_tile(root, stage)
        elif root.reduces:
            self._write_reduction(root, stage, reader)
        else:
            value = self.values[root] = reader.read(
                root.var, At(root.var.aval.shape, flat=self.at(root, stage))
            )
            if self.stored(root.var):
                stage.statements.append(Store(self.out(root), self.at(root, stage), value))

    def _write_parts(self, root: Root, parts: Sequence[Any]) -> None:
        """Each part of a concatenation goes where it belongs, in a stage of its own or of maps that
        visit as many elements.
        """
        out = self.out(root)
        for part in parts:
            key, stage, reader = self._stage_of(self.levels[root], self._part_key(part))
            self.current = (key, root)
            reader.statements = stage.statements
            place = self.row * math.prod(self._part_key(part)) + counted(stage.loops)
            indices = At(part.extent, flat=place).indices
            value = reader.read(root.definition.eqn.args[part.operand], At(part.extent, indices))
            moved = [i * s + first for i, s, first in zip(indices, part.stride, part.start)]
            index = At(root.var.aval.shape, moved).flat
            stage.statements.append(Store(out, index, value))

    def _part_key(self, part: Any) -> tuple[int, int]:
        return math.prod(part.extent) // self.count, 1

    def _write_tile(self, root: Root, stage: Stage) -> None:
        """Its elements are there when the stage begins."""
        form = root.definition.form
        operands = tuple(self.buffer_of(v) for v in form.operands)
        self.buffers.update(dict.fromkeys(operands))
        ref = Ref(next(self.numbers), root.var.aval.dtype, frozenset(self.rows), True)
        self.values[root] = ref
        self.tile = Tile(form, ref, operands)
        if self.stored(root.var):
            stage.statements.append(Store(self.out(root), self.at(root, stage), ref))

    def at(self, root: Root, stage: Stage) -> Sum:
        """The element of a map that the loops of its stage are at."""
        return self.row * self._own(root) + counted(stage.loops)

    def out(self, root: Root) -> Buffer:
        """The memory of a root that others read."""
        buffer = self.buffer_of(root.var)
        self.buffers[buffer] = self.written[buffer] = None
        return buffer

    def _element(self, reader: Reader, root: Root) -> Any:
        """The value of a map, or what a reduction combines, at the loops."""
        if parts := self.stored(root.var) and root.parts(self.count):
            for part in parts:
                key = self._part_key(part)
                place = self.row * key[0] + counted(self._loops_of(key)[0])
                operand = root.definition.eqn.args[part.operand]
                reader.read(operand, At(part.extent, flat=place))
            return None
        if not root.reduces:
            return reader.read(root.var, At(root.var.aval.shape, flat=self.position(root)))
        _, reduced = self.inner(root)
        iterate = ITERATION[type(root.definition.form)]
        if root.accumulates:
            (x,) = root.definition.eqn.args
            return reader.read(x, At(x.aval.shape, flat=self.position(root)))
        out = At(root.var.aval.shape, flat=self.position(root))
        return iterate(reader, root.definition, out, counted(reduced))

    def _write_reduction(self, root: Root, stage: Stage, reader: Reader) -> None:
        value = self._element(reader, root)
        if root.accumulates:
            self._write_accumulation(root, stage, reader, value)
            return
        form = root.definition.form
        _, reduced = self.inner(root)
        kept = frozenset(self.rows) | frozenset(self.inner(root)[0])
        ref = Ref(next(self.numbers), root.var.aval.dtype, kept, True)
        self.values[root] = ref
        found = Reduction(ref, operation(form), value)
        if isinstance(form, loops.ArgReduce):
            found.position = reader.position(counted(reduced))
        if self.stored(root.var) or self._own(root) > 1:
            self._store_reduction(root, found)
        stage.reductions.append(found)

    def _store_reduction(self, root: Root, found: Reduction) -> None:
        place = self.position(root)
        if self.stored(root.var):
            found.buffer, found.index = self.out(root), place
        else:
            found.buffer, found.index = self._local(root), place - self.row * self._own(root)

    def _local(self, root: Root) -> Buffer:
        """Memory for one row of a root, on the stack."""
        if self._own(root) * root.var.aval.dtype.itemsize > LARGEST_LOCAL:
            raise Misaligned("a row too long for the stack")
        if root not in self.locals:
            buffer = Buffer(("local", root.var), root.var.aval.dtype, self._own(root), local=True)
            self.locals[root] = buffer
            self.buffers[buffer] = self.written[buffer] = None
        return self.locals[root]

    def _write_accumulation(self, root: Root, stage: Stage, reader: Reader, value: Any) -> None:
        form = root.definition.form
        place = self._sum_place(root)
        if root.size > 1 or not self.inner(root)[1]:
            stage.statements.append(Accumulate(form.op, self.out(root), place, value))
            return
        ref = Ref(next(self.numbers), root.var.aval.dtype, frozenset(self.rows), True)
        stage.reductions.append(Reduction(ref, form.op, value))
        key = (self.levels[root] + 1, (1, 1))
        after = self.stages.setdefault(key, Stage([], 0))
        self.readers.setdefault(key, Reader(self.graph, self._leaf, self.numbers))
        after.statements.append(Accumulate(form.op, self.out(root), place, ref))

    def _sum_place(self, root: Root) -> Sum:
        """The element of a sum over rows; it must be the same in every row."""
        (x,) = root.definition.eqn.args
        indices = At(x.aval.shape, flat=self.position(root)).indices
        kept = [i for d, i in enumerate(indices) if d not in root.definition.form.axes]
        place = At(root.var.aval.shape, kept).flat
        if self._depends_on_row(place):
            raise Misaligned("a sum over rows that moves with the rows")
        return place

    def _leaf(self, reader: Reader, v: Any, at: At, guard: Ref | None) -> Operand | None:
        """How the stage at hand gets at a variable; None if it is to be computed here."""
        assert self.current is not None
        key, root = self.current
        other = self.mine.get(v)
        if other is None:
            if not self.stored(v):
                return None
            buffer = self.buffer_of(v)
            self.buffers[buffer] = None
            return reader.load(buffer, at.flat, guard, False)
        if other is root:
            return None
        return self._own_value(reader, key, other, at, guard)

    def _own_value(
        self, reader: Reader, key: Any, other: Root, at: At, guard: Ref | None
    ) -> Operand | None:
        """A root of this kernel, from registers or from memory."""
        earlier = self.levels[other] < key[0]
        if other.is_tiled or (earlier and self._own(other) == 1):
            return self.values[other]
        assert self.current is not None
        same = not other.reduces and at.flat - self._visited(self.current[1]) == ZERO
        cheap = self.graph.cost(other.definition.eqn) < RECOMPUTED and not other.parts(self.count)
        if not earlier and same and self.joined.get(other) is self.stages[key]:
            return self.values.get(other)
        if not earlier or (same and cheap):
            return None
        place = self.check_row(other, at)
        if self.stored(other.var):
            return reader.load(self.buffer_of(other.var), at.flat, guard, True)
        kept = other in self.locals
        buffer = self._local(other)
        if not kept and not other.reduces:
            stage = next(s for k, s in self.stages.items() if self._made_in(k, other))
            within = self.at(other, stage) - self.row * self._own(other)
            stage.statements.append(Store(buffer, within, self.values[other]))
        return reader.load(buffer, place, guard, True)

    def _made_in(self, key: Any, other: Root) -> bool:
        return key[0] == self.levels[other] and math.prod(key[1]) == self._own(other)
