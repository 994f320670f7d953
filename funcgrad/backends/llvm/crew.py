"""The code of threads that run parts of kernels: what a program calls, and what a worker does.

Whoever is free takes the next part, so that one that is held up delays no more than its part. A
program that finds the crew busy, or nobody awake, does all parts itself. Where other processes want
the cores, a worker may be held up for milliseconds; the crew then rests for a while, twice as long
each time.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Type, Value
from funcgrad.backends.llvm.records import I32, NULL, call, either, is_null, pointer, put, word

# Words of the record; those that all threads write have a line of the cache each.
LINE = 8
THREADS, RUN = 0, 1  # those that programs read
ACQUIRE, RELEASE, NAP, MALLOC, FREE, NAPPING = range(2, 8)
BUSY, OPEN, INSIDE, NEXT = (LINE * n for n in range(1, 5))
JOB, CONTEXT, EXTENT, GRAIN, MEMORY, REST, PATIENCE = range(5 * LINE, 5 * LINE + 7)
WORKERS = 6 * LINE  # a line for each
PARKED, LOCK, SCRATCH, SIZE = range(4)

SPINS = 3000  # looks at the record before a thread sleeps
WAIT = 50  # microseconds
PATIENT = 8  # naps: a worker that takes longer was held up by something else
SHORTEST_REST, LONGEST_REST = 16, 1 << 12  # kernels that one thread runs after that
I1 = Type("i1")


def emit_crew(module: Module) -> tuple[str, str]:
    """Adds `run_parts` and `work`, and returns their names."""
    module.function("take_parts", [PTR, PTR, PTR, PTR, I64, I64], None, _take_parts)
    module.function("scratch_of", [PTR, PTR], PTR, _scratch_of)
    module.function("enter", [PTR, PTR], None, _enter)
    module.function("park", [PTR, PTR, I64], None, _park)
    arguments = [PTR, PTR, PTR, PTR, I64, I64, I64]
    run = module.function("run_parts", arguments, None, _run_parts)
    return run, module.function("work", [PTR, I64], None, _work)


# ---- what threads share


def _look(b: Builder, base: Value, n: int) -> Value:
    place = b.element(base, n, "i64")
    return b.emit(f"load atomic i64, {place} seq_cst, align 8", I64)


def _set(b: Builder, base: Value, n: int, value: int) -> None:
    place = b.element(base, n, "i64")
    b.do(f"store atomic i64 {value}, {place} seq_cst, align 8")


def _change(b: Builder, how: str, base: Value, n: int, by: Value | int) -> Value:
    """An atomic change; the value before."""
    place, value = b.element(base, n, "i64"), by if isinstance(by, int) else by.text
    return b.emit(f"atomicrmw {how} {place}, i64 {value} seq_cst", I64)


def _pause(b: Builder) -> None:
    """Tells the core that this is a loop that waits."""
    target = b.module.target
    if target.is_x86:
        b.call("llvm.x86.sse2.pause", None, [])
    elif target.is_arm:
        b.call("llvm.aarch64.hint", None, [Value("1", I32)])


def _is(b: Builder, x: Value, n: int) -> Value:
    return b.icmp("eq", x, b.const(n, I64))


def _spin(b: Builder, done: Callable[[], Value]) -> None:
    """Looks again and again, but not for long."""

    def going(held: list[Value]) -> Value:
        found = b.cast("zext", done(), "i64")
        return b.and_(_is(b, found, 0), b.icmp("slt", held[0], b.const(SPINS, I64)))

    def turn(held: list[Value]) -> list[Value]:
        _pause(b)
        return [b.add(held[0], b.const(1, I64))]

    b.while_([b.const(0, I64)], going, turn)


def memory_of_parts(memory: int) -> int:
    """So many bytes for each thread, marked: parts must be run one by one in any case."""
    return ~memory


def run_alone(
    b: Builder, function: Value, pointers: tuple[Value, Value], extent: Value, grain: Value,
    memory: Value,
) -> None:  # fmt: skip
    """All of it at once; part by part if `memory` says so, see `memory_of_parts`."""
    step = b.select(b.icmp("slt", memory, b.const(0, I64)), grain, extent)
    listed = ", ".join(map(str, pointers))

    def turn(held: list[Value]) -> list[Value]:
        end = b.add(held[0], step)
        bound = b.select(b.icmp("slt", end, extent), end, extent)
        b.do(f"call void {function.text}({listed}, {held[0]}, {bound})")
        return [end]

    b.while_([b.const(0, I64)], lambda held: b.icmp("slt", held[0], extent), turn)


def _take_parts(
    b: Builder, crew: Value, function: Value, context: Value, scratch: Value, extent: Value,
    grain: Value,
) -> None:  # fmt: skip
    """Parts, until none is left."""

    def left(held: list[Value]) -> Value:
        return b.icmp("slt", held[0], extent)

    def turn(held: list[Value]) -> list[Value]:
        begin = held[0]
        end = b.add(begin, grain)
        end = b.select(b.icmp("slt", end, extent), end, extent)
        b.do(f"call void {function.text}({context}, {scratch}, {begin}, {end})")
        return [_change(b, "add", crew, NEXT, grain)]

    b.while_([_change(b, "add", crew, NEXT, grain)], left, turn)


# ---- the program's side


def _run_parts(
    b: Builder, crew: Value, function: Value, context: Value, scratch: Value, extent: Value,
    grain: Value, memory: Value,
) -> None:  # fmt: skip
    before = _change(b, "xchg", crew, BUSY, 1)

    def alone() -> None:
        run_alone(b, function, (context, scratch), extent, grain, memory)

    def together() -> None:
        for n, x in ((JOB, function), (CONTEXT, context)):
            put(b, x, crew, n)
        for n, x in ((EXTENT, extent), (GRAIN, grain), (MEMORY, memory)):
            put(b, x, crew, n)
        _set(b, crew, NEXT, 0)
        _set(b, crew, OPEN, 1)
        _wake(b, crew, extent, grain)
        b.call("take_parts", None, [crew, function, context, scratch, extent, grain])
        _set(b, crew, OPEN, 0)
        _remember(b, crew, _join(b, crew))

    def ours() -> list[Value]:
        rest = word(b, crew, REST)
        put(b, b.sub(rest, b.const(1, I64)), crew, REST)
        either(b, b.icmp("sgt", rest, b.const(0, I64)), alone, together)
        _set(b, crew, BUSY, 0)
        return []

    either(b, _is(b, before, 0), ours, alone)


def _remember(b: Builder, crew: Value, naps: Value) -> None:
    """How long the crew rests: twice as long each time, unless all went well for as long."""
    patience, zero = word(b, crew, PATIENCE), b.const(0, I64)
    longer = b.add(b.shl(patience, 1), b.const(SHORTEST_REST, I64))
    most = b.const(LONGEST_REST, I64)
    longer = b.select(b.icmp("slt", longer, most), longer, most)
    shorter = b.sub(patience, b.const(1, I64))
    shorter = b.select(b.icmp("sgt", shorter, zero), shorter, zero)
    held_up = b.icmp("sgt", naps, b.const(PATIENT, I64))
    put(b, b.select(held_up, longer, shorter), crew, PATIENCE)
    put(b, b.select(held_up, longer, zero), crew, REST)


def _wake(b: Builder, crew: Value, extent: Value, grain: Value) -> None:
    """Wakes sleeping workers, as many as there are parts for."""
    threads = word(b, crew, THREADS)
    parts = b.emit(f"sdiv {b.add(extent, b.sub(grain, b.const(1, I64)))}, {grain.text}", I64)
    count = b.select(b.icmp("slt", parts, threads), parts, threads)

    def each(i: Value, _: list[Value]) -> None:
        worker = _worker(b, crew, i)
        before = _change(b, "xchg", worker, PARKED, 0)

        def release() -> None:
            call(b, pointer(b, crew, RELEASE), None, [pointer(b, worker, LOCK)])

        b.when(_is(b, before, 1), release)

    b.loop(1, count, 1, [], each)


def _worker(b: Builder, crew: Value, i: Value) -> Value:
    offset = b.add(b.const(WORKERS, I64), b.mul(i, b.const(LINE, I64)))
    return b.element(crew, offset, "i64")


def _join(b: Builder, crew: Value) -> Value:
    """Waits for workers that are inside: first awake, then by naps. How many naps it took."""

    def empty() -> Value:
        return _is(b, _look(b, crew, INSIDE), 0)

    def occupied(_: list[Value]) -> Value:
        _spin(b, empty)
        return b.icmp("ne", _look(b, crew, INSIDE), b.const(0, I64))

    def nap(held: list[Value]) -> list[Value]:
        lock, wait = pointer(b, crew, NAPPING), b.const(WAIT, I64)
        call(b, pointer(b, crew, NAP), I32, [lock, wait, Value("0", I32)])
        return [b.add(held[0], b.const(1, I64))]

    return b.while_([b.const(0, I64)], occupied, nap)[0]


# ---- the worker's side


def _work(b: Builder, crew: Value, i: Value) -> None:
    """The life of a worker: it ends with the process."""
    worker = _worker(b, crew, i)

    def wanted() -> Value:
        return _is_wanted(b, crew, i)

    def turn(_: list[Value]) -> list[Value]:
        _spin(b, wanted)

        def enter() -> None:
            b.call("enter", None, [crew, worker])

        def park() -> None:
            b.call("park", None, [crew, worker, i])

        either(b, wanted(), enter, park)
        return []

    b.while_([], lambda _: Value("true", I1), turn)


def _is_wanted(b: Builder, crew: Value, i: Value) -> Value:
    """Are there parts left for worker `i`?"""
    is_open = _is(b, _look(b, crew, OPEN), 1)
    left = b.icmp("slt", _look(b, crew, NEXT), _look(b, crew, EXTENT))
    return b.and_(b.and_(is_open, left), b.icmp("slt", i, _look(b, crew, THREADS)))


def _enter(b: Builder, crew: Value, worker: Value) -> None:
    """Takes parts, if the job is still open once everybody can see that we are inside."""
    _change(b, "add", crew, INSIDE, 1)

    def run() -> None:
        scratch = b.call("scratch_of", PTR, [crew, worker])
        job, context = pointer(b, crew, JOB), pointer(b, crew, CONTEXT)
        sizes = [word(b, crew, n) for n in (EXTENT, GRAIN)]

        def take() -> None:
            b.call("take_parts", None, [crew, job, context, scratch, *sizes])

        b.when(b.icmp("ne", scratch, NULL), take)

    b.when(_is(b, _look(b, crew, OPEN), 1), run)
    _change(b, "sub", crew, INSIDE, 1)


def _park(b: Builder, crew: Value, worker: Value, i: Value) -> None:
    """Sleeps until somebody wakes us. Who finds us parked takes the mark away and wakes us."""
    _set(b, worker, PARKED, 1)

    def withdraw() -> list[Value]:
        return [b.cast("zext", _is(b, _change(b, "xchg", worker, PARKED, 0), 0), "i64")]

    (sleeps,) = b.branch(_is_wanted(b, crew, i), withdraw, lambda: [b.const(1, I64)])

    def sleep() -> None:
        call(b, pointer(b, crew, ACQUIRE), I32, [pointer(b, worker, LOCK), Value("1", I32)])

    b.when(_is(b, sleeps, 1), sleep)


def _scratch_of(b: Builder, crew: Value, worker: Value) -> Value:
    """The worker's own memory, as much as the job needs; null if there is none left."""
    memory = word(b, crew, MEMORY)
    memory = b.xor(memory, b.ashr(memory, 63))  # that of parts is marked
    needed = b.add(memory, b.const(64, I64))
    enough = b.icmp("sge", word(b, worker, SIZE), needed)

    def grown() -> list[Value]:
        call(b, pointer(b, crew, FREE), None, [pointer(b, worker, SCRATCH)])
        found = call(b, pointer(b, crew, MALLOC), PTR, [needed])
        put(b, found, worker, SCRATCH)
        put(b, b.select(is_null(b, found), b.const(0, I64), needed), worker, SIZE)
        return [found]

    (raw,) = b.branch(enough, lambda: [pointer(b, worker, SCRATCH)], grown)
    start = b.emit(f"ptrtoint {raw} to i64", I64)
    behind = b.and_(b.sub(b.const(0, I64), start), b.const(63, I64))
    return b.select(is_null(b, raw), NULL, b.element(raw, behind, "i8"))
