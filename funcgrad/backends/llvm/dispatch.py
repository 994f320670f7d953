"""The native entry of compiled programs: one function, for all programs, that Python calls with
arrays and that returns arrays.

It compares each argument with what the program was compiled for, takes memory for results from the
pool, runs the program and wraps the results. Whatever does not fit makes it return None, with
nothing changed, and the call goes through Python.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm import objects
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Value
from funcgrad.backends.llvm.call_records import (
    ALLOCATE,
    ARENA,
    BLOCK_BYTES,
    BYTES,
    CLASS,
    CREW,
    DECREF,
    DONATED,
    DTYPE,
    ENTRY,
    HANDLER,
    INCREF,
    INPUT_SPECS,
    INPUTS,
    KERNEL,
    KEY,
    NDARRAY,
    NEW_ARRAY,
    NEW_TUPLE,
    NO_MEMORY,
    NONE,
    OUTPUT_SPECS,
    OUTPUTS,
    OWNDATA,
    POOL,
    PYTHON,
    RANK,
    READABLE,
    RELEASES,
    RESTORE_THREAD,
    SAVE_THREAD,
    SET_ITEM,
    SHAPE,
    SINGLE,
    SOURCE,
    SPEC,
    TAKES,
    TEMPLATE,
    TEMPLATE_BYTES,
    WEAK,
    WRITEABLE,
    decref,
    each_spec,
    entry,
    incref,
    pinned,
)
from funcgrad.backends.llvm.matching import emit_matching
from funcgrad.backends.llvm.objects import Offsets
from funcgrad.backends.llvm.pool import emit_handler, emit_pool
from funcgrad.backends.llvm.records import (
    I32,
    NULL,
    address,
    call,
    is_null,
    pointer,
    word,
)


def emit_dispatcher(module: Module, at: Offsets) -> tuple[str, ...]:
    """Adds everything, and returns the names that are called from outside."""
    emit_pool(module)
    emit_handler(module)
    emit_matching(module, at)
    module.function("pin", [PTR, PTR, PTR], None, lambda b, *a: _pin(b, at, *a))
    module.function("provide", [PTR, PTR], I64, _provide)
    module.function("withdraw", [PTR, PTR], None, _withdraw)
    module.function("execute", [PTR, PTR, PTR], None, _execute)
    module.function("wrap", [PTR, PTR, PTR, PTR], PTR, lambda b, *a: _wrap(b, at, *a))
    module.function("results", [PTR, PTR], PTR, _results)
    module.function("finished", [PTR, PTR], None, _finished)
    module.function("dispatch", [PTR, PTR, I64], PTR, _dispatch)
    return ("dispatch", "pool_take", "pool_give", "pool_flush", "array_malloc", "array_calloc",
            "array_realloc", "array_free")  # fmt: skip


# ---- running


def _provide(b: Builder, record: Value, table: Value) -> Value:
    """Memory for the results, in the table; 0 if there was none left."""
    pool = pointer(b, record, POOL)
    specs, count = pointer(b, record, OUTPUT_SPECS), word(b, record, OUTPUTS)
    zero, one = b.const(0, I64), b.const(1, I64)

    def turn(i: Value, held: list[Value]) -> list[Value]:
        spec = b.element(specs, b.mul(i, b.const(SPEC, I64)), "i64")

        def fresh() -> list[Value]:
            block = b.call("pool_take", PTR, [pool, word(b, spec, BYTES)])
            b.store(block, entry(b, table, word(b, spec, ENTRY)))
            return [b.select(is_null(b, block), zero, held[0])]

        def taken() -> list[Value]:
            given = b.load(entry(b, table, word(b, spec, SOURCE)), PTR)
            b.store(given, entry(b, table, word(b, spec, ENTRY)))
            return [held[0]]

        return b.branch(b.icmp("slt", word(b, spec, TAKES), zero), fresh, taken)

    return b.loop(0, count, 1, [one], turn)[0]


def _withdraw(b: Builder, record: Value, table: Value) -> None:
    """Gives back what there was for results, as there was not enough for all."""
    pool = pointer(b, record, POOL)

    def each(i: Value, spec: Value) -> None:
        block = b.load(entry(b, table, word(b, spec, ENTRY)), PTR)
        own = b.icmp("slt", word(b, spec, TAKES), b.const(0, I64))
        there = b.and_(own, b.icmp("ne", block, NULL))
        b.when(there, lambda: b.call("pool_give", None, [pool, block]))

    each_spec(b, pointer(b, record, OUTPUT_SPECS), word(b, record, OUTPUTS), each)


def _pin(b: Builder, at: Offsets, record: Value, table: Value, change: Value) -> None:
    """Calls `change` (one more, or one fewer reference) on the buffers of arguments that stay
    their owners'.
    """

    def each(i: Value, spec: Value) -> None:
        def one() -> None:
            call(b, change, None, [b.load(pinned(b, record, table, i), PTR)])

        b.when(b.icmp("eq", word(b, spec, DONATED), b.const(0, I64)), one)

    each_spec(b, pointer(b, record, INPUT_SPECS), word(b, record, INPUTS), each)


def _execute(b: Builder, record: Value, table: Value, python: Value) -> None:
    """Runs the program; a long one without the interpreter's lock."""
    kernel = pointer(b, record, KERNEL)

    def short() -> list[Value]:
        call(b, kernel, None, [table])
        return []

    def long() -> list[Value]:
        b.call("pin", None, [record, table, pointer(b, python, INCREF)])
        state = call(b, pointer(b, python, SAVE_THREAD), PTR, [])
        call(b, kernel, None, [table])
        call(b, pointer(b, python, RESTORE_THREAD), None, [state])
        b.call("pin", None, [record, table, pointer(b, python, DECREF)])
        return []

    b.branch(b.icmp("eq", word(b, record, RELEASES), b.const(0, I64)), short, long)


# ---- results


def _wrap(
    b: Builder, at: Offsets, record: Value, table: Value, spec: Value, python: Value
) -> Value:
    """The Array of a result; null, with an exception set, if there is no memory for it."""
    takes = word(b, spec, TAKES)

    def given() -> list[Value]:
        return [b.load(pinned(b, record, table, takes), PTR)]

    def made() -> list[Value]:
        return [_new_array(b, at, python, table, spec)]

    (buffer,) = b.branch(b.icmp("slt", takes, b.const(0, I64)), made, given)

    def filled() -> list[Value]:
        kind = pointer(b, spec, CLASS)
        array = call(b, pointer(b, python, ALLOCATE), PTR, [kind, b.const(0, I64)])
        b.when(b.icmp("ne", array, NULL), lambda: _fill(b, at, python, spec, array, buffer))
        return [array]

    (found,) = b.branch(is_null(b, buffer), lambda: [NULL], filled)
    return found


def _new_array(b: Builder, at: Offsets, python: Value, table: Value, spec: Value) -> Value:
    """An ndarray over a block of the pool, which it gives back when it dies."""
    dtype, data = pointer(b, spec, DTYPE), b.load(entry(b, table, word(b, spec, ENTRY)), PTR)
    source = word(b, spec, SOURCE)
    name = "llvm.memcpy.p0.p0.i64"
    b.module.declare(name, "void", "ptr, ptr, i64, i1")

    def copy() -> None:
        held = b.load(entry(b, table, source), PTR)
        b.do(f"call void @{name}({data}, {held}, {word(b, spec, BYTES)}, i1 false)")

    b.when(b.icmp("sge", source, b.const(0, I64)), copy)
    incref(b, python, dtype)
    rank = b.cast("trunc", word(b, spec, RANK), "i32")
    flags = Value(str(READABLE | WRITEABLE), I32)
    array = call(b, pointer(b, python, NEW_ARRAY), PTR, [
        pointer(b, python, NDARRAY), dtype, rank, pointer(b, spec, SHAPE), NULL, data, flags, NULL
    ])  # fmt: skip

    def own() -> None:
        place = address(b, array, objects.FLAGS)
        held = b.load(place, I32)
        b.store(b.or_(held, b.like(OWNDATA, held)), place)
        handler = pointer(b, python, HANDLER)
        incref(b, python, handler)
        b.store(handler, address(b, array, at.memory))

    b.when(b.icmp("ne", array, NULL), own)
    return array


def _fill(b: Builder, at: Offsets, python: Value, spec: Value, array: Value, buffer: Value) -> None:
    weak, key = pointer(b, spec, WEAK), pointer(b, spec, KEY)
    incref(b, python, weak)
    b.store(buffer, address(b, array, at.buffer))
    b.store(weak, address(b, array, at.weak))

    def typed() -> None:
        incref(b, python, key)
        b.store(key, address(b, array, at.key))

    b.when(b.icmp("ne", key, NULL), typed)


def _results(b: Builder, record: Value, table: Value) -> Value:
    """The only result, or a tuple of all."""
    python, specs = pointer(b, record, PYTHON), pointer(b, record, OUTPUT_SPECS)

    def one() -> list[Value]:
        return [b.call("wrap", PTR, [record, table, specs, python])]

    def many() -> list[Value]:
        return [_tuple(b, record, table, python)]

    (found,) = b.branch(b.icmp("ne", word(b, record, SINGLE), b.const(0, I64)), one, many)
    return found


def _tuple(b: Builder, record: Value, table: Value, python: Value) -> Value:
    count, one = word(b, record, OUTPUTS), b.const(1, I64)
    specs = pointer(b, record, OUTPUT_SPECS)
    found = call(b, pointer(b, python, NEW_TUPLE), PTR, [count])
    start = b.cast("zext", b.icmp("ne", found, NULL), "i64")

    def going(held: list[Value]) -> Value:
        i, good = held
        return b.and_(b.icmp("slt", i, count), b.icmp("eq", good, one))

    def turn(held: list[Value]) -> list[Value]:
        i, _ = held
        spec = b.element(specs, b.mul(i, b.const(SPEC, I64)), "i64")
        array = b.call("wrap", PTR, [record, table, spec, python])
        call(b, pointer(b, python, SET_ITEM), I32, [found, i, array])
        return [b.add(i, one), b.cast("zext", b.icmp("ne", array, NULL), "i64")]

    good = b.while_([b.const(0, I64), start], going, turn)[1]

    def failed() -> list[Value]:
        b.when(b.icmp("ne", found, NULL), lambda: decref(b, python, found))
        return [NULL]

    (result,) = b.branch(b.icmp("eq", good, one), lambda: [found], failed)
    return result


def _finished(b: Builder, record: Value, table: Value) -> None:
    """Lets go of donated buffers that no result has taken."""
    python = pointer(b, record, PYTHON)

    def each(i: Value, spec: Value) -> None:
        def drop() -> None:
            decref(b, python, b.load(pinned(b, record, table, i), PTR))

        b.when(b.icmp("eq", word(b, spec, DONATED), b.const(1, I64)), drop)

    each_spec(b, pointer(b, record, INPUT_SPECS), word(b, record, INPUTS), each)


# ---- the entry


def _dispatch(b: Builder, self: Value, args: Value, count: Value) -> Value:
    """What Python calls: `self` is an ndarray that holds the record."""
    record = b.load(address(b, self, objects.DATA), PTR)
    python = pointer(b, record, PYTHON)

    def miss() -> list[Value]:
        none = pointer(b, python, NONE)
        incref(b, python, none)
        return [none]

    def enter() -> list[Value]:
        return [_entered(b, record, args, miss)]

    (found,) = b.branch(b.icmp("eq", count, word(b, record, INPUTS)), enter, miss)
    return found


def _entered(b: Builder, record: Value, args: Value, miss: Callable[[], list[Value]]) -> Value:
    pool, python = pointer(b, record, POOL), pointer(b, record, PYTHON)
    table = b.call("pool_take", PTR, [pool, word(b, record, BLOCK_BYTES)])

    def start() -> list[Value]:
        return [_with_table(b, record, args, table, miss)]

    def no_memory() -> list[Value]:
        return [call(b, pointer(b, python, NO_MEMORY), PTR, [])]

    (found,) = b.branch(is_null(b, table), no_memory, start)
    return found


def _with_table(
    b: Builder, record: Value, args: Value, table: Value, miss: Callable[[], list[Value]]
) -> Value:
    pool = pointer(b, record, POOL)
    name = "llvm.memcpy.p0.p0.i64"
    b.module.declare(name, "void", "ptr, ptr, i64, i1")
    size = word(b, record, TEMPLATE_BYTES)
    b.do(f"call void @{name}({table}, {pointer(b, record, TEMPLATE)}, {size}, i1 false)")
    b.store(address(b, table, word(b, record, ARENA)), table)
    b.store(word(b, pointer(b, record, PYTHON), CREW), b.element(table, -1, "i64"))
    fitted = b.call("fits", I64, [record, args, table])

    def run() -> list[Value]:
        return [_run(b, record, args, table)]

    def undo() -> list[Value]:
        b.call("undo", None, [record, args, table, fitted])
        return miss()

    (found,) = b.branch(b.icmp("eq", fitted, word(b, record, INPUTS)), run, undo)
    b.call("pool_give", None, [pool, table])
    return found


def _run(b: Builder, record: Value, args: Value, table: Value) -> Value:
    python = pointer(b, record, PYTHON)
    enough = b.call("provide", I64, [record, table])

    def go() -> list[Value]:
        b.call("execute", None, [record, table, python])
        found = b.call("results", PTR, [record, table])
        b.call("finished", None, [record, table])
        return [found]

    def no_memory() -> list[Value]:
        b.call("withdraw", None, [record, table])
        b.call("undo", None, [record, args, table, word(b, record, INPUTS)])
        return [call(b, pointer(b, python, NO_MEMORY), PTR, [])]

    (found,) = b.branch(b.icmp("eq", enough, b.const(1, I64)), go, no_memory)
    return found
