"""Elements chosen by sliding windows, as derivatives of their reductions need them: inline code.

Lanes run over the dimension that is contiguous in the operand: features where they are last, else
the innermost dimension that windows slide along. Windows are cut off at the borders by the bounds
of loops, along the lanes by masks; nothing is padded.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from funcgrad.backends.llvm.builder import Builder, Type, Value
from funcgrad.backends.llvm.convolution_plan import Phase, combined, phases_of
from funcgrad.backends.llvm.tiles import (
    address,
    each,
    lanes_mask,
    load_evenly,
    plus,
    store_evenly,
    vector_type,
    whole,
)

Index = Value | int
UNROLLED = 16  # taps


class Slide(NamedTuple):
    """Windows along one dimension; `low` zeros stand before it, `base` and `dilation` are gaps."""

    size: int
    windows: int
    taps: int
    stride: int
    low: int
    base: int
    dilation: int

    @property
    def trivial(self) -> bool:
        """Is every element its own window?"""
        return self.taps == self.stride == self.base == 1 and not self.low

    @property
    def inside(self) -> bool:
        """Does no tap leave the dimension?"""
        last = (self.windows - 1) * self.stride - self.low + (self.taps - 1) * self.dilation
        return self.low <= 0 and last <= (self.size - 1) * self.base

    @property
    def tiled(self) -> bool:
        """Is every element in exactly one window?"""
        even = self.taps == self.stride and self.dilation == self.base == 1 and self.low == 0
        return even and self.size == self.windows * self.taps

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The outputs as runs without gaps."""
        return tuple(
            phases_of(self.windows, self.taps, self.stride, (self.low, 0), self.base, self.dilation)
        )


class WindowPlan(NamedTuple):
    """Windows over all dimensions of an array."""

    slides: tuple[Slide, ...]

    @property
    def tiled(self) -> bool:
        """Is every element in exactly one window?"""
        return all(s.tiled for s in self.slides)


class Array(NamedTuple):
    """An operand: its address and the strides of its dimensions, in elements."""

    pointer: Value
    strides: tuple[int, ...]


def plan(params: dict[str, Any], shape: Sequence[int]) -> WindowPlan | None:
    """The plan of `reduce_window` and its kin with these parameters; None for empty arrays."""
    fields = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    slides = []
    for size, taps, stride, (low, high), base, dilation in zip(
        shape, *(params[f] for f in fields), strict=True
    ):
        room = (size - 1) * base + 1 + low + high - (taps - 1) * dilation - 1
        slides.append(Slide(size, room // stride + 1, taps, stride, low, base, dilation))
    if any(s.windows < 1 or s.size < 1 for s in slides):
        return None
    return WindowPlan(tuple(slides))


def lane_dimension(plan: WindowPlan, strides: Sequence[int]) -> int:
    """The dimension that lanes run over: contiguous, and longer than one."""
    order = sorted(range(len(strides)), key=lambda d: (plan.slides[d].windows == 1, strides[d]))
    return order[0]


# ---------------------------------------------------------------- what is done with windows


def gather_windows(
    b: Builder, kind: str, plan: WindowPlan, operation: str, tangents: Array, x: Array,
    epilogue: Callable[[Value, tuple[Value, ...], Value | None], None],
) -> None:  # fmt: skip
    """Emits the element of `tangents` at the first max (min) of each window of `x`."""
    walk = _Walk(b, kind, plan, x.strides)

    def window(at: _Window) -> None:
        extreme = _extreme(walk, at, x, operation)

        def tap(taps: tuple[Index, ...], carried: list[Value]) -> list[Value]:
            held, remaining = carried
            wins, remaining = _winner(walk, at, x, taps, extreme, remaining)
            t, _ = walk.load(at, tangents, taps)
            return [b.select(wins, t, held), remaining]

        zero = b.const(0, extreme.type)
        found, _ = walk.taps(at, [zero, b.const(1, extreme.type.of("i1"))], tap)
        epilogue(found, at.place, at.mask)

    walk.write(window)


def scatter_windows(
    b: Builder, kind: str, plan: WindowPlan, operation: str, source: Array, x: Array,
    deliver: Callable[[Value, tuple[Value, ...], Value | None, int], None],
) -> None:  # fmt: skip
    """Emits the gradient of a max (min) over windows of `x`: to its first extreme element goes the
    element of `source` that belongs to the window, to others zero.

    `deliver(values, place, mask, step)` gets this for each element of each window: lane l belongs
    to the element `place` moved by l * step along `lane_dimension(plan, x.strides)`. With
    `plan.tiled` that is once for each element of `x`; else the caller adds to zeros (`adding`).
    """
    walk = _Walk(b, kind, plan, x.strides)

    def window(at: _Window) -> None:
        extreme = _extreme(walk, at, x, operation)
        given = walk.load_at(source, at.place, at.mask)

        def tap(taps: tuple[Index, ...], carried: list[Value]) -> list[Value]:
            wins, remaining = _winner(walk, at, x, taps, extreme, carried[0])
            value = b.select(wins, given, b.const(0, given.type))
            place, mask, step = walk.element(at, taps)
            deliver(value, place, mask, step)
            return [remaining]

        walk.taps(at, [b.const(1, extreme.type.of("i1"))], tap)

    walk.write(window)


def adding(
    b: Builder, kind: str, out: Array, lane: int
) -> Callable[[Value, tuple[Value, ...], Value | None, int], None]:
    """A `deliver` that adds to an array, whose `lane` is that of the windows."""

    def deliver(values: Value, place: tuple[Value, ...], mask: Value | None, step: int) -> None:
        at = address(b, out.pointer, kind, *zip(place, out.strides))
        step *= out.strides[lane]
        held = load_evenly(b, at, step, values.type, mask)
        store_evenly(b, plus(b, held, values), at, step, mask)

    return deliver


def _extreme(walk: _Walk, at: _Window, x: Array, operation: str) -> Value:
    """The max or min of a window. NaN is more extreme than numbers."""
    b = walk.b
    lowest = _lowest(b, operation, walk.type)

    def tap(taps: tuple[Index, ...], carried: list[Value]) -> list[Value]:
        value, valid = walk.load(at, x, taps)
        if valid is not None:
            value = b.select(valid, value, lowest)
        return [_more_extreme(b, operation, value, carried[0])]

    return walk.taps(at, [lowest], tap)[0]


def _winner(
    walk: _Walk, at: _Window, x: Array, taps: tuple[Index, ...], extreme: Value, remaining: Value
) -> tuple[Value, Value]:
    """Where an element is the first that equals its window's extreme one; where none was yet."""
    b = walk.b
    value, valid = walk.load(at, x, taps)
    wins = b.or_(b.fcmp("oeq", value, extreme), b.fcmp("uno", value, value))
    wins = b.and_(wins, remaining)
    if valid is not None:
        wins = b.and_(wins, valid)
    return wins, b.xor(remaining, wins)


def _lowest(b: Builder, operation: str, type: Type) -> Value:
    """What no number is less extreme than."""
    return b.const(-math.inf if operation == "max" else math.inf, type)


def _more_extreme(b: Builder, operation: str, x: Value, y: Value) -> Value:
    """The more extreme one of two values; NaN if either is."""
    first = b.fcmp("ogt" if operation == "max" else "olt", x, y)
    return b.select(b.or_(first, b.fcmp("uno", x, x)), x, y)


# ---------------------------------------------------------------- walking over windows


class _Window(NamedTuple):
    """A vector of windows: their place, which exist, and by dimension the first element met and
    the bounds of the taps that meet one.
    """

    phases: dict[int, Phase]
    place: tuple[Value, ...]
    mask: Value | None
    starts: dict[int, Index]
    bounds: dict[int, tuple[Index, Index]]
    present: int  # lanes that exist


class _Walk:
    """Loops over the windows of an array, and over the taps of each."""

    def __init__(self, b: Builder, kind: str, plan: WindowPlan, strides: Sequence[int]) -> None:
        self.b, self.kind, self.plan = b, kind, plan
        self.type = vector_type(b, kind)
        self.lane = lane_dimension(plan, strides)
        self.across = plan.slides[self.lane]
        rest = [d for d in range(len(strides)) if d != self.lane]
        self.rest = sorted(rest, key=lambda d: -strides[d])

    def write(self, body: Callable[[_Window], None]) -> None:
        """`body` for each vector of windows."""
        for phases in combined([self.plan.slides[d].phases for d in self.rest]):
            self._down(dict(zip(self.rest, phases)), self.rest, {}, {}, {}, body)

    def _down(
        self, phases: dict[int, Phase], dims: list[int], places: dict[int, Value],
        starts: dict[int, Index], bounds: dict[int, tuple[Index, Index]],
        body: Callable[[_Window], None],
    ) -> None:  # fmt: skip
        """The loops over all dimensions but that of the lanes."""
        if not dims:
            self._along(phases, places, starts, bounds, body)
            return
        d, b, phase = dims[0], self.b, phases[dims[0]]

        def turn(q: Index) -> None:
            place = _sum(b, _product(b, q, phase.step), phase.first)
            start = _sum(b, _product(b, q, phase.stride), phase.start)
            self._down(
                phases, dims[1:], {**places, d: _value(place)}, {**starts, d: start},
                {**bounds, d: self._bounds(d, phase, start)}, body,
            )  # fmt: skip

        each(b, 0, phase.extent, 1, turn)

    def _bounds(self, d: int, phase: Phase, start: Index) -> tuple[Index, Index]:
        """The first tap that meets an element and the one after the last."""
        b, size, gap = self.b, self.plan.slides[d].size, phase.dilation
        if phase.taps == 0 or (phase.start >= 0 and phase.last < size):
            return 0, phase.taps
        start = _value(start)
        zero, all_taps = whole(0), whole(phase.taps)
        low = b.binary("sdiv", b.sub(whole(gap - 1), start), whole(gap))
        low = b.select(b.icmp("sgt", start, zero), zero, low)
        room = b.add(b.sub(whole(size - 1), start), whole(gap))
        high = b.select(b.icmp("sgt", room, zero), b.binary("sdiv", room, whole(gap)), zero)
        return low, b.select(b.icmp("slt", high, all_taps), high, all_taps)

    def _along(
        self, phases: dict[int, Phase], places: dict[int, Value], starts: dict[int, Index],
        bounds: dict[int, tuple[Index, Index]], body: Callable[[_Window], None],
    ) -> None:  # fmt: skip
        """The loop over vectors of windows."""
        lanes, count = self.type.lanes, self.across.windows
        full = count // lanes * lanes

        def turn(j: Index, present: int) -> None:
            place = {**places, self.lane: _value(j)}
            listed = tuple(place[d] for d in range(len(place)))
            mask = lanes_mask(present, lanes)
            body(_Window(phases, listed, mask, starts, bounds, present))

        each(self.b, 0, full, lanes, lambda j: turn(j, lanes))
        if full < count:
            turn(full, count - full)

    def taps(
        self, at: _Window, carried: list[Value],
        body: Callable[[tuple[Index, ...], list[Value]], list[Value]],
    ) -> list[Value]:  # fmt: skip
        """`body(taps, carried)` for each tap of the windows that may meet an element, row-major."""
        bounds = [at.bounds.get(d, (0, self.across.taps)) for d in range(len(at.place))]
        static = all(isinstance(high, int) for _, high in bounds)
        few = static and math.prod(high for _, high in bounds if isinstance(high, int)) <= UNROLLED
        return self._nest(bounds, few, (), carried, body)

    def _nest(
        self, bounds: list[tuple[Index, Index]], few: bool, taps: tuple[Index, ...],
        carried: list[Value], body: Callable[[tuple[Index, ...], list[Value]], list[Value]],
    ) -> list[Value]:  # fmt: skip
        if not bounds:
            return body(taps, carried)
        low, high = bounds[0]
        inside = functools.partial(self._nest, bounds[1:], few)
        if isinstance(high, int) and (few or high == 1):
            for t in range(high):
                carried = inside((*taps, t), carried, body)
            return carried
        return self.b.loop(low, high, 1, carried, lambda t, held: inside((*taps, t), held, body))

    # ---- elements

    def load(self, at: _Window, x: Array, taps: tuple[Index, ...]) -> tuple[Value, Value | None]:
        """The elements that a tap meets, and where it meets one (None: wherever windows exist)."""
        b, lane = self.b, self.lane
        pointer, step = x.pointer, x.strides[lane]
        for d in self.rest:
            start = address(b, pointer, self.kind, (at.starts[d], x.strides[d]))
            gap = at.phases[d].dilation * x.strides[d]
            pointer = address(b, start, self.kind, (taps[d], gap))
        first, mask = self._first(at, taps[lane])
        if self.across.base > 1:
            met = b.binary("sdiv", self._reached(first), self._lanes(self.across.base))
            found = b.gather(self._elements(pointer, met, step), self.kind, mask)
            return found, mask
        pointer = address(b, pointer, self.kind, (first, step))
        if step == 1 and self.across.stride == 2:
            found = self._every_other(pointer, self._pair_masks(at, first))
            return found, None if self.across.inside else mask
        found = load_evenly(b, pointer, step * self.across.stride, self.type, mask)
        return found, None if self.across.inside else mask

    def _every_other(self, pointer: Value, masks: list[Value | None]) -> Value:
        """Every other element of those that lie side by side: two loads and a shuffle."""
        b, lanes = self.b, self.type.lanes
        low = b.load(pointer, self.type, masks[0])
        high = b.load(b.element(pointer, lanes, self.kind), self.type, masks[1])
        return b.shuffle(low, high, range(0, 2 * lanes, 2))

    def _pair_masks(self, at: _Window, first: Index) -> list[Value | None]:
        """What exists of two vectors of neighbours from `first` on; no more than is needed."""
        b, lanes = self.b, self.type.lanes
        if not self.across.inside:
            type = Type("i64", lanes)
            place = b.add(b.splat(_value(first), lanes), b.iota(type))
            size = self._lanes(self.across.size)
            both = [place, b.add(place, self._lanes(lanes))]
            return [b.icmp("ult", x, size) for x in both]  # as unsigned, negative ones are large
        needed = 2 * at.present - 1
        nothing = b.const(0, Type("i1", lanes))
        low = lanes_mask(min(needed, lanes), lanes)
        return [low, lanes_mask(needed - lanes, lanes) if needed > lanes else nothing]

    def _first(self, at: _Window, tap: Index) -> tuple[Index, Value | None]:
        """The place (between gaps) that the first lane meets; the lanes that meet an element."""
        b, s = self.b, self.across
        if s.trivial:
            return at.place[self.lane], at.mask
        first = _sum(b, _product(b, at.place[self.lane], s.stride), -s.low)
        first = _sum(b, first, _product(b, tap, s.dilation))
        if s.inside and s.base == 1:
            return first, at.mask
        reached, zero = self._reached(first), self._lanes(0)
        mask = b.and_(
            b.icmp("sge", reached, zero),
            b.icmp("sle", reached, self._lanes((s.size - 1) * s.base)),
        )
        if s.base > 1:
            met = b.icmp("eq", b.binary("srem", reached, self._lanes(s.base)), zero)
            mask = b.and_(mask, met)
        return first, mask if at.mask is None else b.and_(mask, at.mask)

    def _reached(self, first: Index) -> Value:
        b, type = self.b, Type("i64", self.type.lanes)
        steps = b.mul(b.iota(type), b.const(self.across.stride, type))
        return b.add(b.splat(_value(first), type.lanes), steps)

    def _lanes(self, n: int) -> Value:
        return self.b.const(n, Type("i64", self.type.lanes))

    def _elements(self, pointer: Value, indices: Value, stride: int) -> Value:
        return self.b.element(pointer, self.b.mul(indices, self._lanes(stride)), self.kind)

    def load_at(self, x: Array, place: tuple[Value, ...], mask: Value | None) -> Value:
        """The elements of an array at the place of windows."""
        pointer = address(self.b, x.pointer, self.kind, *zip(place, x.strides))
        return load_evenly(self.b, pointer, x.strides[self.lane], self.type, mask)

    def element(
        self, at: _Window, taps: tuple[Index, ...]
    ) -> tuple[tuple[Value, ...], Value | None, int]:
        """The indices of what a tap meets in the first lane, lanes that meet, and their step."""
        b = self.b
        if self.across.base > 1:
            raise ValueError("windows whose elements are scattered to have no gaps in the operand.")
        first, mask = self._first(at, taps[self.lane])
        found = {self.lane: _value(first)}
        for d in self.rest:
            further = _product(b, taps[d], at.phases[d].dilation)
            found[d] = _value(_sum(b, at.starts[d], further))
        return tuple(found[d] for d in range(len(found))), mask, self.across.stride


def _product(b: Builder, i: Index, n: int) -> Index:
    if isinstance(i, int):
        return i * n
    return i if n == 1 else b.mul(i, whole(n))


def _sum(b: Builder, i: Index, j: Index) -> Index:
    if isinstance(i, int) and isinstance(j, int):
        return i + j
    if i == 0 or j == 0:
        return j if i == 0 else i
    return b.add(_value(i), _value(j))


def _value(i: Index) -> Value:
    return whole(i) if isinstance(i, int) else i
