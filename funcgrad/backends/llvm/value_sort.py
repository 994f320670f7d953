"""Sorting numbers alone: nobody asks where they came from.

Numbers become signed integers of the same order. Up to `MOST` vectors of them are sorted in
registers; longer rows are divided by quicksort, a vector at a time: those below a pivot are packed
to the left, the others to the right in a second buffer, with no branch that depends on them. That
is worth it where the machine packs lanes in one instruction (AVX-512); elsewhere long rows are
sorted by digits (see `sorting`).

Zeros of both signs are equal, and NaN is the largest number: zeros are put back in the order in
which they came, if there were any negative ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from funcgrad.backends.llvm import memory
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Type, Value
from funcgrad.backends.llvm.register_sort import sorted_registers
from funcgrad.backends.llvm.sorting import Rows
from funcgrad.backends.llvm.target import host
from funcgrad.backends.llvm.tiles import whole
from funcgrad.core import dtypes
from funcgrad.core.jaxpr import Eqn

MOST = 16  # vectors that are sorted in registers
BASE = 256  # numbers, at most
WIDE = 64  # bytes of registers whose lanes are packed in one instruction
MANY = 512  # elements, of which a larger sample is worth it
AT_ONCE = 8  # vectors that are divided in one turn of a loop
PENDING = 80  # segments: the shorter ones are sorted first, so there are no more than log2(n)
MULTIPLIER, STEP = 0x5851F42D4C957F2D, 0x9E3779B97F4A7C15


def code_for(e: Eqn) -> tuple[Callable[..., None], int] | None:
    """What writes a sort of one array, and its scratch memory; None where keys are better sorted
    with their positions.
    """
    aval = e.args[0].aval
    dtype, target = aval.dtype, host()
    if len(e.args) > 1 or dtypes.is_complex(dtype) or dtype.itemsize < 4:
        return None
    rows = Rows.along(aval.shape, e.params["dimension"])
    lanes = target.lanes(dtype.itemsize)
    if rows.size > largest_base(lanes) and target.vector_bytes < WIDE:
        return None

    def write(b: Builder, x: Value, out: Value, *scratch: Value) -> None:
        sorter = _Sorter(b, rows, dtype, x, out)
        if rows.size <= largest_base(lanes):
            sorter.short_rows()
        else:
            sorter.long_rows(scratch[0])

    room = (1 if rows.step == 1 else 2) * (rows.size + 2 * lanes) * dtype.itemsize
    return write, 0 if rows.size <= largest_base(lanes) else room


def largest_base(lanes: int) -> int:
    """How many numbers are sorted in registers."""
    return min(MOST * lanes, BASE)


class _Sorter:
    """The rows of one array."""

    def __init__(self, b: Builder, rows: Rows, dtype: np.dtype, x: Value, out: Value) -> None:
        self.b, self.rows, self.dtype, self.x, self.out = b, rows, dtype, x, out
        self.bits = 8 * dtype.itemsize
        self.kind = f"i{self.bits}"
        self.lanes = b.module.target.lanes(dtype.itemsize)
        self.vector = Type(self.kind, self.lanes)
        self.places = Type("i64", self.lanes)
        self.is_float = dtype.kind == "f"
        self.top = (1 << (self.bits - 1)) - 1

    # ---- keys

    def key(self, x: Value) -> Value:
        """Signed integers in the order of numbers; -1 is -0.0."""
        b = self.b
        if not self.is_float:
            return b.xor(x, b.like(self.top + 1, x)) if self.dtype.kind == "u" else x
        x = b.select(b.fcmp("uno", x, x), b.like(math.nan, x), x)
        return self._folded(b.bits(x))

    def number(self, key: Value) -> Value:
        """The number of a key."""
        b = self.b
        if not self.is_float:
            return b.xor(key, b.like(self.top + 1, key)) if self.dtype.kind == "u" else key
        return b.from_bits(self._folded(key))

    def _folded(self, bits: Value) -> Value:
        b = self.b
        sign = b.ashr(bits, self.bits - 1)
        return b.xor(bits, b.and_(sign, b.like(self.top, bits)))

    # ---- memory

    def _mask(self, start: Value | int, count: Value | int) -> Value:
        """Lanes that stand before place `count`."""
        b = self.b
        here = b.add(b.splat(_value(start), self.lanes), b.iota(self.places))
        return b.icmp("slt", here, b.splat(_value(count), self.lanes))

    def _address(self, array: Value, start: Value, place: Value | int) -> Value:
        """Where the vector of a row's elements from a place on lies; or its addresses."""
        b, kind = self.b, memory.element(self.dtype)[0]
        if self.rows.step == 1:
            return b.element(array, b.add(start, _value(place)), kind)
        at = b.add(b.splat(_value(place), self.lanes), b.iota(self.places))
        far = b.mul(at, b.const(self.rows.step, self.places))
        return b.element(array, b.add(b.splat(start, self.lanes), far), kind)

    def read(self, start: Value, place: Value | int, mask: Value) -> Value:
        """Keys of a row; the largest one where there is none."""
        b = self.b
        step = 1 if self.rows.step == 1 else None
        at = self._address(self.x, start, place)
        x = memory.load(b, at, self.dtype, self.lanes, step, mask)
        return b.select(mask, self.key(x), b.const(self.top, self.vector))

    def write(self, keys: Value, start: Value, place: Value | int, mask: Value) -> None:
        step = 1 if self.rows.step == 1 else None
        at = self._address(self.out, start, place)
        memory.store(self.b, self.number(keys), at, self.dtype, self.lanes, step, mask)

    # ---- rows in registers

    def short_rows(self) -> None:
        """Each row at once."""
        b, size = self.b, self.rows.size
        count = 1
        while count * self.lanes < size:
            count *= 2

        def row(n: Value, _: list[Value]) -> None:
            start = self.rows.start(b, n, size)
            masks = [self._mask(v * self.lanes, size) for v in range(count)]
            keys = [self.read(start, v * self.lanes, mask) for v, mask in enumerate(masks)]
            negative = self._negative_zeros(keys)
            for v, found in enumerate(sorted_registers(b, keys)):
                if v * self.lanes < size:
                    self.write(found, start, v * self.lanes, masks[v])
            if self.is_float:
                b.when(b.any(negative), lambda: self._restore_zeros(start))

        b.loop(0, self.rows.number, 1, [], row)

    def _negative_zeros(self, keys: list[Value]) -> Value:
        b = self.b
        found = b.icmp("eq", keys[0], b.const(-1, self.vector))
        for x in keys[1:]:
            found = b.or_(found, b.icmp("eq", x, b.const(-1, self.vector)))
        return found

    def _restore_zeros(self, start: Value) -> None:
        """Zeros of a sorted row in the order in which they stand in the given one."""
        b, size = self.b, self.rows.size
        kind = memory.element(self.dtype)[0]
        zero = b.const(0.0, Type(kind))

        def place(array: Value, i: Value) -> Value:
            return b.element(array, b.add(start, b.mul(i, whole(self.rows.step))), kind)

        def below(i: Value, carried: list[Value]) -> list[Value]:
            less = b.fcmp("olt", b.load(place(self.x, i), Type(kind)), zero)
            return [b.add(carried[0], b.cast("zext", less, "i64"))]

        (first,) = b.loop(0, size, 1, [whole(0)], below)

        def put(i: Value, carried: list[Value]) -> list[Value]:
            x = b.load(place(self.x, i), Type(kind))
            is_zero = b.fcmp("oeq", x, zero)
            b.when(is_zero, lambda: b.store(x, place(self.out, carried[0])))
            return [b.add(carried[0], b.cast("zext", is_zero, "i64"))]

        b.loop(0, size, 1, [first], put)

    # ---- long rows

    def long_rows(self, scratch: Value) -> None:
        """Row by row, by quicksort between two buffers, of which one is the result if it can be."""
        b, rows = self.b, self.rows
        second = b.element(scratch, rows.size + 2 * self.lanes, self.kind)
        pending = b.alloca("i64", 3 * PENDING)

        def row(n: Value, _: list[Value]) -> None:
            start = rows.start(b, n, rows.size)
            if rows.step == 1:
                buffers = (b.element(self.out, start, self.kind), scratch)
            else:
                buffers = (scratch, second)
            _Quicksort(self, start, buffers, pending).run()
            if self.is_float:
                self._check_zeros(start)

        b.loop(0, rows.number, 1, [], row)

    def _check_zeros(self, start: Value) -> None:
        """Restores the order of zeros if the first one of a sorted row is negative."""
        b = self.b
        kind = memory.element(self.dtype)[0]

        def found(i: Value) -> Value:
            at = b.element(self.out, b.add(start, b.mul(i, whole(self.rows.step))), kind)
            return b.load(at, Type(kind))

        def narrow(carried: list[Value]) -> list[Value]:
            low, high = carried
            middle = b.lshr(b.add(low, high), 1)
            less = b.fcmp("olt", found(middle), b.const(0.0, Type(kind)))
            after = b.add(middle, whole(1))
            return [b.select(less, after, low), b.select(less, high, middle)]

        # The last place is looked at too: nothing is read behind it.
        last = whole(self.rows.size - 1)
        first, _ = b.while_([whole(0), last], lambda c: b.icmp("slt", c[0], c[1]), narrow)
        negative = b.icmp(
            "eq", b.bits(found(first)), b.const(1 << (self.bits - 1), Type(self.kind))
        )
        b.when(negative, lambda: self._restore_zeros(start))

    def base(self, start: Value, buffer: Value, low: Value, high: Value) -> None:
        """A segment that fits into registers, by the fewest of them."""
        b = self.b
        size = b.sub(high, low)
        counts = [1]
        while counts[-1] * self.lanes < largest_base(self.lanes):
            counts.append(2 * counts[-1])

        def sort(count: int) -> None:
            vectors = range(0, count * self.lanes, self.lanes)
            keys = []
            for v in vectors:
                at = b.element(buffer, b.add(low, whole(v)), self.kind)
                mask = self._mask(v, size)
                most = b.const(self.top, self.vector)
                keys.append(b.select(mask, b.load(at, self.vector, mask), most))
            for v, found in zip(vectors, sorted_registers(b, keys)):
                self.write(found, start, b.add(low, whole(v)), self._mask(v, size))

        def choose(counts: list[int]) -> list[Value]:
            if len(counts) == 1:
                sort(counts[0])
                return []
            fits = b.icmp("sle", size, whole(counts[0] * self.lanes))
            return b.branch(fits, lambda: choose(counts[:1]), lambda: choose(counts[1:]))

        choose(counts)

    def fill(self, start: Value, low: Value, high: Value, key: Value) -> None:
        """The same number at all places of a segment."""
        b = self.b
        keys = b.splat(key, self.lanes)
        some = lambda i, _: self.write(keys, start, i, self._mask(i, high))
        b.loop(low, high, self.lanes, [], some)  # type: ignore[arg-type]


Load = Callable[[Value, Value | None], Value]


class _Quicksort:
    """The segments of one row: each lies in one of two buffers, at its places in the row."""

    def __init__(
        self, sorter: _Sorter, start: Value, buffers: tuple[Value, Value], pending: Value
    ) -> None:
        self.sorter, self.b, self.start, self.buffers = sorter, sorter.b, start, buffers
        self.pending = pending
        self.size, self.lanes, self.kind = sorter.rows.size, sorter.lanes, sorter.kind

    def run(self) -> None:
        """The row as it is given is divided first, into both buffers."""
        b = self.b
        low, high, seed = whole(0), whole(self.size), whole(STEP)
        pivot = self._pivot(self._given, low, high, seed)
        load = lambda i, mask: self._given(i, mask)
        middle = _partitioned(self.sorter, b, load, self.buffers, (low, high), pivot)
        first = (low, high, whole(0))
        count = self._push_parts(whole(0), first, middle, pivot)
        more = lambda carried: b.icmp("sgt", carried[0], whole(0))
        b.while_([count, seed], more, self._turn)

    def _given(self, i: Value, mask: Value | None) -> Value:
        """Keys of the row as it is given; of places in each lane if there are such."""
        b, sorter = self.b, self.sorter
        if i.type.lanes > 1:
            far = b.mul(i, b.const(sorter.rows.step, i.type))
            kind = memory.element(sorter.dtype)[0]
            at = b.element(sorter.x, b.add(b.splat(self.start, self.lanes), far), kind)
            return sorter.key(memory.load(b, at, sorter.dtype, self.lanes, None, None))
        inside = mask or b.const(1, sorter.vector.of("i1"))
        return sorter.read(self.start, i, inside)

    # ---- what is to be done

    def _entry(self, n: Value, part: int) -> Value:
        b = self.b
        return b.element(self.pending, b.add(b.mul(n, whole(3)), whole(part)), "i64")

    def _push(self, n: Value, segment: Sequence[Value]) -> None:
        for part, x in enumerate(segment):
            self.b.store(x, self._entry(n, part))

    def _turn(self, carried: list[Value]) -> list[Value]:
        """The latest segment: sorted if it is short, else divided."""
        b = self.b
        n, seed = b.sub(carried[0], whole(1)), carried[1]
        low, high, side = (b.load(self._entry(n, part), I64) for part in range(3))
        here, there = self._sides(side)
        short = b.icmp("sle", b.sub(high, low), whole(largest_base(self.lanes)))

        def finish() -> list[Value]:
            self.sorter.base(self.start, here, low, high)
            return [n, seed]

        def cut() -> list[Value]:
            turned = b.add(b.mul(seed, whole(MULTIPLIER)), whole(STEP))
            load = lambda at, _: b.gather(b.element(here, at, self.kind), self.kind)
            pivot = self._pivot(load, low, high, turned)
            middle = self._partition(here, there, low, high, pivot)
            return [self._push_parts(n, (low, high, side), middle, pivot), turned]

        return b.branch(short, finish, cut)

    def _sides(self, side: Value) -> tuple[Value, Value]:
        """The buffer of that number, and the other one."""
        b = self.b
        second = b.icmp("ne", side, whole(0))
        one, other = self.buffers
        return b.select(second, other, one), b.select(second, one, other)

    def _push_parts(
        self, n: Value, segment: tuple[Value, Value, Value], middle: Value, pivot: Value
    ) -> Value:
        """What a division leaves to do, in place of entry n; how many entries there are then."""
        b = self.b
        low, high, side = segment
        others = b.sub(whole(1), side)

        def both() -> list[Value]:
            parts = (low, middle, side), (middle, high, others)
            longer = b.icmp("sgt", b.sub(middle, low), b.sub(high, middle))
            for place, pair in ((n, parts), (b.add(n, whole(1)), parts[::-1])):
                self._push(place, [b.select(longer, x, y) for x, y in zip(*pair)])
            return [b.add(n, whole(2))]

        def take_equal() -> list[Value]:
            """Nothing is below the pivot: all are in the other buffer now."""
            there, here = self._sides(side)
            most = b.const(self.sorter.top, Type(self.kind))
            following = b.add(pivot, b.like(1, pivot))
            again = lambda: [self._partition(here, there, low, high, following)]
            (end,) = b.branch(b.icmp("eq", pivot, most), lambda: [high], again)
            self.sorter.fill(self.start, low, end, pivot)
            self._push(n, (end, high, side))
            return [b.add(n, whole(1))]

        return b.branch(b.icmp("eq", middle, low), take_equal, both)[0]

    # ---- division

    def _pivot(self, load: Load, low: Value, high: Value, seed: Value) -> Value:
        """The middle one of some random elements, of more where there are many."""
        b, sorter = self.b, self.sorter
        size = b.splat(b.sub(high, low), self.lanes)

        def sample(count: int) -> list[Value]:
            found = []
            for n in range(count):
                lane = b.add(b.iota(sorter.places), b.const(n * self.lanes, sorter.places))
                turns = b.mul(lane, b.const(STEP, sorter.places))
                mixed = b.xor(b.splat(seed, self.lanes), turns)
                mixed = b.lshr(b.mul(mixed, b.const(MULTIPLIER, sorter.places)), 33)
                far = b.lshr(b.mul(mixed, size), 31)
                found.append(load(b.add(b.splat(low, self.lanes), far), None))
            sorted_ones = sorted_registers(b, found)
            middle = count * self.lanes // 2
            return [b.extract(sorted_ones[middle // self.lanes], middle % self.lanes)]

        many = b.icmp("sgt", b.sub(high, low), whole(MANY))
        return b.branch(many, lambda: sample(4), lambda: sample(1))[0]

    def _partition(self, here: Value, there: Value, low: Value, high: Value, bound: Value) -> Value:
        """`_partitioned` as a function, which is called from several places."""
        b, sorter, kind = self.b, self.sorter, self.kind

        def write(
            inner: Builder, here: Value, there: Value, low: Value, high: Value, bound: Value
        ) -> Value:
            load = lambda i, mask: inner.load(inner.element(here, i, kind), sorter.vector, mask)
            return _partitioned(sorter, inner, load, (here, there), (low, high), bound)

        arguments = [PTR, PTR, I64, I64, Type(kind)]
        name = b.module.function(f"partition_{kind}_{self.lanes}", arguments, I64, write)
        return b.call(name, I64, [here, there, low, high, bound])


def _partitioned(
    sorter: _Sorter, b: Builder, load: Load, buffers: tuple[Value, Value],
    places: tuple[Value, Value], bound: Value,
) -> Value:  # fmt: skip
    """Keys below the bound to the left of a segment of the first buffer, the others to the right of
    that of the second one; returns where the others begin. What is loaded may lie in the first.
    """
    lanes, kind = sorter.lanes, sorter.kind
    (here, there), (low, high) = buffers, places
    bounds = b.splat(bound, lanes)
    end = b.sub(high, b.and_(b.sub(high, low), whole(lanes - 1)))
    backwards = list(range(lanes))[::-1]

    def vectors(i: Value, carried: list[Value], count: int) -> list[Value]:
        left, right = carried
        # All are read before anything is written: what is written may cover them.
        found = [load(b.add(i, whole(n * lanes)), None) for n in range(count)]
        for x in found:
            below = b.icmp("slt", x, bounds)
            b.store(_packed(b, x, below), b.element(here, left, kind))
            above = _packed(b, x, b.xor(below, b.like(1, below)))
            # Behind those are whatever lanes, at places that are still free.
            right = b.sub(right, whole(lanes))
            b.store(b.shuffle(above, above, backwards), b.element(there, right, kind))
            size = _count(b, below)
            left, right = b.add(left, size), b.add(right, size)
        return [left, right]

    several = AT_ONCE * lanes
    most = b.add(low, b.and_(b.sub(end, low), whole(-several)))
    held = b.loop(low, most, several, [low, high], lambda i, c: vectors(i, c, AT_ONCE))
    left, right = b.loop(most, end, lanes, held, lambda i, c: vectors(i, c, 1))
    rest, lane = b.splat(b.sub(high, end), lanes), b.iota(sorter.places)
    inside = b.icmp("slt", lane, rest)
    x = load(end, inside)
    below = b.and_(b.icmp("slt", x, bounds), inside)
    above = b.and_(b.xor(below, b.like(1, below)), inside)
    count, others = _count(b, below), _count(b, above)
    first, second = (b.icmp("slt", lane, b.splat(n, lanes)) for n in (count, others))
    b.store(_packed(b, x, below), b.element(here, left, kind), first)
    b.store(_packed(b, x, above), b.element(there, b.sub(right, others), kind), second)
    return b.add(left, count)


def _packed(b: Builder, x: Value, mask: Value) -> Value:
    """The chosen lanes first."""
    name = f"llvm.experimental.vector.compress.{x.type.suffix}"
    rest = Value("poison", x.type)
    return b.call(name, x.type, [x, mask, rest])


def _count(b: Builder, mask: Value) -> Value:
    """How many lanes are true."""
    bits = f"i{mask.type.lanes}"
    word = b.emit(f"bitcast {mask} to {bits}", Type(bits))
    return b.cast("zext", b.intrinsic("ctpop", word), "i64")


def _value(i: Value | int) -> Value:
    return whole(i) if isinstance(i, int) else i
