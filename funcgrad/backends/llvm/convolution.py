"""Direct convolutions as inline code that ends in the caller's epilogue.

Output features are the lanes of vectors, so kernels (and, for gradients of weights, cotangents) are
packed by panels of them where they do not lie so. The input is read number by number and may lie in
any order; where windows leave it, one image at a time is copied with zeros around it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from funcgrad.backends.llvm.builder import PTR, Builder, Value
from funcgrad.backends.llvm.convolution_plan import (
    ConvolutionPlan,
    LhsStrides,
    Phase,
    RhsStrides,
    combined,
)
from funcgrad.backends.llvm.convolution_schedule import (
    BATCH,
    FEATURE,
    padded_image,
    schedule_of,
)
from funcgrad.backends.llvm.gemm_plan import LARGEST_STACK
from funcgrad.backends.llvm.packing import copy_block, fill, merged, nested, pack_function
from funcgrad.backends.llvm.target import Target
from funcgrad.backends.llvm.tiles import (
    Tile,
    address,
    each,
    each_within,
    lanes_mask,
    lanes_of,
    load_whole,
    tile_end,
    tile_start,
    tile_step,
    vector_type,
    whole,
)

Index = Value | int
Epilogue = Callable[[Value, tuple[Value, ...], Value | None], None]
FEW_IMAGES = 4


class Cut(NamedTuple):
    """A convolution can run in parts: over `extent` images or output features, "outputs", between
    multiples of `unit`. Sums of parts wait in so many bytes each, if images add up.
    """

    along: str
    extent: int
    unit: int = 1
    waiting: int = 0


def cut_of(
    plan: ConvolutionPlan, kind: str, lhs: Sequence[int], rhs: Sequence[int], target: Target
) -> Cut | None:
    """How a convolution can be cut: between images, or, if there are few, between panels of
    outputs.
    """
    strides = plan.lhs_strides(lhs), plan.rhs_strides(rhs)
    choices = combined(plan.phases)
    schedules = [schedule_of(plan, phases, kind, *strides, target) for phases in choices]
    deep = any(s.deep for s in schedules)
    if plan.groups > 1 and plan.groups_of_features == deep:
        return None
    if deep:
        alone = len(schedules) == 1 and plan.features > 1
        return Cut("images", plan.features, 1, schedules[0].sums_bytes) if alone else None
    apart = all(s.copied or BATCH not in s.row for s in schedules)
    widths = {s.vectors * lanes_of(kind, target) for s in schedules}
    if len(widths) == 1 and plan.groups == 1 and (plan.batch < FEW_IMAGES or not apart):
        (width,) = widths
        if plan.outputs > width:
            return Cut("outputs", plan.outputs, width)
    return Cut("images", plan.batch) if apart and plan.batch > 1 else None


class Array(NamedTuple):
    """An operand: its address and the strides of its dimensions, in elements."""

    pointer: Value
    strides: tuple[int, ...]


def scratch_bytes(
    plan: ConvolutionPlan, kind: str, lhs: Sequence[int], rhs: Sequence[int], target: Target
) -> int:
    """How much memory, aligned to 64 bytes, `convolution` needs from its caller; 0 for none.

    `lhs` and `rhs` are the strides of the operands' dimensions.
    """
    needed = sum(_buffers(plan, kind, plan.lhs_strides(lhs), plan.rhs_strides(rhs), target))
    return needed if needed > LARGEST_STACK else 0


def _buffers(
    plan: ConvolutionPlan, kind: str, lhs: LhsStrides, rhs: RhsStrides, target: Target
) -> tuple[int, ...]:
    """Bytes for a padded image, packed weights and sums: the most that any phases need."""
    schedules = [
        schedule_of(plan, phases, kind, lhs, rhs, target) for phases in combined(plan.phases)
    ]
    return tuple(max(sizes) for sizes in zip(*(s[-3:] for s in schedules)))


def convolution(
    b: Builder, kind: str, plan: ConvolutionPlan, lhs: Array, rhs: Array, epilogue: Epilogue,
    scratch: Value | None = None, bounds: tuple[Value, Value] | None = None,
    waiting: Value | None = None,
) -> None:  # fmt: skip
    """Emits the convolution; `epilogue(sums, place, mask)` stores what is wanted.

    It is called once for each piece of finished outputs: `place` are the indices (batch, *spatial,
    feature) of the first lane, lanes run over features, `mask` says which exist (None: all).
    `scratch` points to `scratch_bytes(...)` bytes where that is not 0; `bounds` are those of a
    part, as `cut_of` says; `waiting` is where it leaves its sums, if images add up: then nothing is
    stored before `hand_out`.
    """
    strides = plan.lhs_strides(lhs.strides), plan.rhs_strides(rhs.strides)
    image, packed, sums = _memory(b, _buffers(plan, kind, *strides, b.module.target), scratch)
    memory = image, packed, sums if waiting is None else waiting
    cut = cut_of(plan, kind, lhs.strides, rhs.strides, b.module.target)
    within = {} if bounds is None or cut is None else {cut.along: bounds}
    for phases in combined(plan.phases):
        _Phases(b, kind, plan, phases, lhs, rhs, epilogue, memory, within).write()


def hand_out(
    b: Builder, kind: str, plan: ConvolutionPlan, lhs: Array, rhs: Array, epilogue: Epilogue,
    waiting: Value,
) -> None:  # fmt: skip
    """Emits the end of a convolution whose images have been added up: `epilogue` for all sums."""
    (phases,) = combined(plan.phases)
    memory = waiting, waiting, waiting
    all_of_it = _Phases(b, kind, plan, phases, lhs, rhs, epilogue, memory, {})
    nested(b, [plan.groups], all_of_it.hand_out)


def _memory(b: Builder, sizes: tuple[int, ...], scratch: Value | None) -> list[Value]:
    """Addresses of the buffers: on the stack, or in the caller's memory if they are large."""
    if sum(sizes) <= LARGEST_STACK or scratch is None:
        return [b.alloca("i8", size) if size else Value("null", PTR) for size in sizes]
    return [b.element(scratch, sum(sizes[:n]), "i8") for n in range(len(sizes))]


class _Panel(NamedTuple):
    """Output features of a group from `j` on: `vectors` vectors, the last one with `tail` lanes."""

    j: Index
    vectors: int
    tail: int


class _Phases:
    """The code for one choice of phases."""

    def __init__(
        self, b: Builder, kind: str, plan: ConvolutionPlan, phases: tuple[Phase, ...], lhs: Array,
        rhs: Array, epilogue: Epilogue, memory: tuple[Value, Value, Value],
        bounds: dict[str, tuple[Value, Value]],
    ) -> None:  # fmt: skip
        self.b, self.kind, self.plan, self.phases = b, kind, plan, phases
        self.lhs, self.own = lhs.pointer, plan.lhs_strides(lhs.strides)
        self.rhs, self.rhs_strides = rhs.pointer, plan.rhs_strides(rhs.strides)
        target = b.module.target
        self.s = schedule_of(plan, phases, kind, self.own, self.rhs_strides, target)
        self.epilogue, self.bounds = epilogue, bounds
        self.image, self.packed, self.sums = memory
        self.type = vector_type(b, kind)
        self.lanes = lanes_of(kind, target)
        self.outputs = -(-plan.outputs // self.lanes) * self.lanes
        extents = {BATCH: plan.batch, **{1 + d: p.extent for d, p in enumerate(phases)}}
        self.extents = extents
        self.row_extent = math.prod(extents[d] for d in self.s.row)
        self.places = math.prod(extents.values())
        self.depth = math.prod(p.taps for p in phases) * (1 if self.s.deep else plan.features)

    # ---- the order of the loops

    def write(self) -> None:
        """Images and groups, then the tiles of each."""
        if self.s.copied:
            _, elements, _ = padded_image(self.plan, self.own, self.s.deep)
            fill(self.b, self.kind, elements, self.image)
        if self.s.deep:
            self.write_deep()
            return
        nested(self.b, [self.plan.groups], lambda g: self.pack(g, 0))
        self.each_image(self.plan.batch, lambda g, n: self.all_tiles(g, {BATCH: n}, {}))

    def write_deep(self) -> None:
        """Clears all sums, adds images to them, and hands them out if these are all images."""
        plan, s = self.plan, self.s
        fill(self.b, self.kind, plan.groups * self.places * self.outputs, self.sums)

        def image(g: Index, n: Index) -> None:
            if s.packed:
                self.pack(g, n)

            def block(*indices: Index) -> None:
                starts = {t.dimension: (i, t.step) for t, i in zip(s.outer, indices)}
                self.all_tiles(g, {}, {FEATURE: (n, 1), **starts})

            nested(self.b, [t.extent for t in s.outer], block)

        self.each_image(plan.features, image)
        if "images" not in self.bounds:
            nested(self.b, [plan.groups], self.hand_out)

    def each_image(self, count: int, body: Callable[[Index, Index], None]) -> None:
        """`body(group, n)` for each image, copied with zeros around it where that is needed.

        One image has all groups, or each group has its own images.
        """
        groups = self.plan.groups

        def image(g: Index, n: Index) -> None:
            self.fetch(g, n, count)
            body(g, n)

        def shared_image(n: Index) -> None:
            self.fetch(0, n, count)
            nested(self.b, [groups], lambda g: body(g, n))

        if "images" in self.bounds:
            self.b.loop(*self.bounds["images"], 1, [], lambda n, _: shared_image(n))
        elif not self.s.copied and not self.s.deep and BATCH in self.s.row:
            nested(self.b, [groups], lambda g: body(g, 0))
        elif self.s.deep == self.plan.groups_of_features:
            nested(self.b, [groups, count], image)
        else:
            nested(self.b, [count], shared_image)

    def fetch(self, g: Index, n: Index, count: int) -> None:
        """Copies an image between the zeros."""
        if not self.s.copied:
            return
        plan, own, s = self.plan, self.own, self.s
        _, _, terms = padded_image(plan, own, s.deep)
        stride = own.feature if s.deep else own.batch
        source = address(self.b, self.lhs, self.kind, (g, count * stride), (n, stride))
        inside = sum(low * step for low, step in zip(plan.low, s.image.spatial))
        copy_block(
            self.b, self.kind, terms, source, address(self.b, self.image, self.kind, (inside, 1))
        )

    def panels(self, body: Callable[[_Panel], None]) -> None:
        """Each panel of a group's output features."""
        width, outputs = self.s.vectors * self.lanes, self.plan.outputs
        full = outputs // width * width
        rest = _Panel(full, -(-(outputs - full) // self.lanes), (outputs - full) % self.lanes)
        each_within(
            self.b, self.bounds.get("outputs"), (full, outputs), width,
            lambda j: body(_Panel(j, self.s.vectors, 0)), lambda: body(rest),
        )  # fmt: skip

    # ---- weights

    def pack(self, g: Index, n: Index) -> None:
        """Packs the weights of a group (deep: at one feature) by panels."""
        b, kind, s, r = self.b, self.kind, self.s, self.rhs_strides
        terms = [(p.taps, p.tap_step * step) for p, step in zip(self.phases, r.spatial)]
        if not s.deep:
            terms.append((self.plan.features, r.feature))
        if self.depth == 0:
            return
        *outer, (rows, step) = merged(terms) or [(1, 1)]
        first = sum(p.tap * step for p, step in zip(self.phases, r.spatial))

        def panel(p: _Panel) -> None:
            width = p.vectors * self.lanes
            columns = width - (self.lanes - p.tail if p.tail else 0)
            name = pack_function(
                b, kind, step, r.output, columns, p.vectors, rows if rows < self.lanes else 0
            )
            starts = [(g, r.group), (n, r.feature), (p.j, r.output), (first, 1)]
            source = address(b, self.rhs, kind, *starts)
            to = self.weights(g, p)

            def rows_of(*indices: Index) -> None:
                places, inside = [], rows * width
                for i, (extent, _) in zip(reversed(indices), reversed(outer)):
                    places.append((i, inside))
                    inside *= extent
                one = address(b, source, kind, *zip(indices, (t[1] for t in outer)))
                b.call(name, None, [one, whole(rows), address(b, to, kind, *places)])

            nested(b, [t[0] for t in outer], rows_of)

        self.panels(panel)

    def weights(self, g: Index, p: _Panel) -> Value:
        """The address of a packed panel."""
        group = 0 if self.s.deep else self.depth * self.outputs
        return address(self.b, self.packed, self.kind, (g, group), (p.j, self.depth))

    # ---- tiles

    def all_tiles(
        self, g: Index, rows: dict[int, Index], taps: dict[int, tuple[Index, int]]
    ) -> None:
        """All tiles of a group, at fixed places of some rows and contracted dimensions."""
        loose = [d for d in self.extents if d not in rows and d not in self.s.row]

        def at(p: _Panel, *indices: Index) -> None:
            fixed = {**{d: i for d, i in rows.items() if d not in self.s.row},
                     **dict(zip(loose, indices))}  # fmt: skip
            each(
                self.b, 0, self.row_extent, self.s.rows,
                lambda r: self.tile(g, p, fixed, r, taps),
            )  # fmt: skip

        self.panels(
            lambda p: nested(self.b, [self.extents[d] for d in loose], functools.partial(at, p))
        )

    def tile(
        self, g: Index, p: _Panel, fixed: dict[int, Index], r: Index,
        taps: dict[int, tuple[Index, int]],
    ) -> None:  # fmt: skip
        """One register tile: rows from `r` on, everything inside contracted."""
        b, s = self.b, self.s
        left, right = self.left(g, p, fixed, r, taps), self.right(g, p, taps)
        out = self.waiting(g, p, fixed, r) if s.deep else self.sums
        tile = Tile(self.kind, s.rows, p.vectors, self.row_stride(), 0, 0, 0, s.deep)
        tile = tile._replace(lanewise=self.plan.lanewise)
        if not s.packed or self.plan.lanewise:
            tile = tile._replace(tail=p.tail)

        def run(height: int) -> list[Value]:
            name = _nest_function(b, tile._replace(rows=height), self.terms(p))
            b.call(name, None, [left, right, out])
            return [whole(height)]

        rest = self.row_extent % s.rows
        if isinstance(r, int):
            (height,) = run(min(s.rows, self.row_extent - r))
        elif rest == 0:
            (height,) = run(s.rows)
        else:
            inside = b.icmp("sle", r, whole(self.row_extent - s.rows))
            (height,) = b.branch(inside, lambda: run(s.rows), lambda: run(rest))
        if not s.deep:
            self.finish(g, p, fixed, r, height, out)

    def row_stride(self) -> int:
        innermost = self.s.row[-1]
        if innermost == BATCH:
            return self.s.image.batch
        return self.phases[innermost - 1].stride * self.s.image.spatial[innermost - 1]

    def left(
        self,
        g: Index,
        p: _Panel,
        fixed: dict[int, Index],
        r: Index,
        taps: dict[int, tuple[Index, int]],
    ) -> Value:
        """The address of the first row's first element."""
        plan, image = self.plan, self.s.image
        pointer = self.image if self.s.copied else self.lhs
        steps: list[tuple[Index, int]] = [(g, image.group), (r, self.row_stride())]
        if plan.lanewise:
            steps.append((p.j, 1))
        for d, i in fixed.items():
            stride = image.batch if d == BATCH else image.spatial[d - 1] * self.phases[d - 1].stride
            steps.append((i, stride))
        for d, (i, step) in taps.items():
            dilation = 0 if d == FEATURE else self.phases[d - 1].dilation * image.spatial[d - 1]
            steps.append((i, image.feature if d == FEATURE else dilation * step))
        for phase, low, stride in zip(self.phases, plan.low, image.spatial):
            steps.append((phase.start + low, stride))
        return address(self.b, pointer, self.kind, *steps)

    def right(self, g: Index, p: _Panel, taps: dict[int, tuple[Index, int]]) -> Value:
        """The address of the first row of weights."""
        b, kind, r = self.b, self.kind, self.rhs_strides
        if self.s.packed:
            strides = self.packed_strides(p)
            steps = [(i, strides[d] * step) for d, (i, step) in taps.items() if d != FEATURE]
            return address(b, self.weights(g, p), kind, *steps)
        steps = [(g, r.group), (p.j, r.output)]
        for d, (i, step) in taps.items():
            stride = r.feature if d == FEATURE else self.phases[d - 1].tap_step * r.spatial[d - 1]
            steps.append((i, stride * step))
        first = sum(p.tap * step for p, step in zip(self.phases, r.spatial))
        return address(b, self.rhs, kind, *steps, (first, 1))

    def packed_strides(self, p: _Panel) -> dict[int, int]:
        """Elements between neighbours in a packed panel, by contracted dimension."""
        inside = p.vectors * self.lanes
        found = {FEATURE: inside}
        inside *= 1 if self.s.deep else self.plan.features
        for d in range(len(self.phases), 0, -1):
            found[d] = inside
            inside *= self.phases[d - 1].taps
        return found

    def terms(self, p: _Panel) -> tuple[tuple[int, ...], ...]:
        """What a tile contracts: extents and strides of both operands."""
        image, r = self.s.image, self.rhs_strides
        packed = self.packed_strides(p)
        found = []
        for d, extent, _ in self.s.inner:
            if d == FEATURE:
                found.append((extent, image.feature, packed[d]))
                continue
            phase = self.phases[d - 1]
            own = packed[d] if self.s.packed else phase.tap_step * r.spatial[d - 1]
            found.append((extent, phase.dilation * image.spatial[d - 1], own))
        return tuple(merged(found))

    # ---- results

    def waiting(self, g: Index, p: _Panel, fixed: dict[int, Index], r: Index) -> Value:
        """The address of sums that wait: group, panel, rows in the order of a tile's, columns."""
        width, inside = p.vectors * self.lanes, self.row_extent * p.vectors * self.lanes
        steps = [(g, self.places * self.outputs), (p.j, self.places), (r, width)]
        for d, i in reversed(fixed.items()):
            steps.append((i, inside))
            inside *= self.extents[d]
        return address(self.b, self.sums, self.kind, *steps)

    def hand_out(self, g: Index) -> None:
        """The epilogue of everything that waits."""
        loose = [d for d in self.extents if d not in self.s.row]

        def at(p: _Panel, *indices: Index) -> None:
            fixed = dict(zip(loose, indices))
            out = self.waiting(g, p, fixed, 0)
            self.finish(g, p, fixed, 0, whole(self.row_extent), out)

        self.panels(
            lambda p: nested(self.b, [self.extents[d] for d in loose], functools.partial(at, p))
        )

    def finish(
        self, g: Index, p: _Panel, fixed: dict[int, Index], r: Index, height: Value, out: Value
    ) -> None:
        """The epilogue of `height` rows of sums."""
        b = self.b

        def row(i: Value, _: list[Value]) -> None:
            place = self.place(fixed, b.add(i, _value(r)))
            for v in range(p.vectors):
                held = address(b, out, self.kind, (i, p.vectors * self.lanes))
                mask = lanes_mask(p.tail, self.lanes) if v == p.vectors - 1 else None
                feature = self.feature(g, p.j, v * self.lanes)
                self.epilogue(load_whole(b, self.type, held, v), (*place, feature), mask)

        b.loop(0, height, 1, [], row)

    def feature(self, g: Index, j: Index, further: int) -> Value:
        b, outputs = self.b, self.plan.outputs
        if isinstance(g, int) and isinstance(j, int):
            return whole(g * outputs + j + further)
        first = b.mul(_value(g), whole(outputs)) if not g == 0 else whole(0)
        return b.add(b.add(first, _value(j)), whole(further))

    def place(self, fixed: dict[int, Index], r: Value) -> tuple[Value, ...]:
        """The indices (batch, *spatial) of a row."""
        b, found = self.b, dict(fixed)
        for d in reversed(self.s.row):
            extent = whole(self.extents[d])
            if d == self.s.row[0]:
                found[d] = r
            else:
                found[d], r = b.binary("urem", r, extent), b.binary("udiv", r, extent)
        spatial = []
        for d, phase in enumerate(self.phases):
            q = _value(found[1 + d])
            spatial.append(
                q if phase.step == 1 and phase.first == 0
                else b.add(b.mul(q, whole(phase.step)), whole(phase.first))
            )  # fmt: skip
        return _value(found[BATCH]), *spatial


def _value(i: Index) -> Value:
    return whole(i) if isinstance(i, int) else i


UNROLLED = 4


def _nest_function(b: Builder, tile: Tile, terms: tuple[tuple[int, ...], ...]) -> str:
    """A function of (lhs, rhs, out): a tile contracted over nested dimensions."""
    listed = "_".join(str(n).replace("-", "n") for term in terms for n in term)

    def nest(
        b: Builder, terms: tuple[tuple[int, ...], ...], left: Value, right: Value,
        sums: list[Value],
    ) -> list[Value]:  # fmt: skip
        if not terms:
            return tile_step(b, tile, left, right, sums)
        (extent, *strides), rest = terms[0], terms[1:]

        def step(i: Index, sums: list[Value]) -> list[Value]:
            one = address(b, left, tile.kind, (i, strides[0]))
            other = address(b, right, tile.kind, (i, strides[1]))
            return nest(b, rest, one, other, sums)

        if extent <= UNROLLED and not rest:
            for i in range(extent):
                sums = step(i, sums)
            return sums
        return b.loop(0, extent, 1, sums, step)

    def write(b: Builder, left: Value, right: Value, out: Value) -> None:
        tile_end(b, tile, nest(b, terms, left, right, tile_start(b, tile)), out)

    return b.module.function(f"window_{tile.name}_{listed}", [PTR] * 3, None, write)
