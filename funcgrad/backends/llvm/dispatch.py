"""The native entry of compiled programs: one function, for all programs, that Python calls with
arrays and that returns arrays.

It compares each argument with what the program was compiled for, takes memory for results from the
pool, runs the program and wraps the results. Whatever does not fit makes it return None, with
nothing changed, and the call goes through Python.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm import objects
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Type, Value
from funcgrad.backends.llvm.objects import Offsets
from funcgrad.backends.llvm.pool import (
    I32,
    NULL,
    address,
    call,
    emit_handler,
    emit_pool,
    is_null,
    pointer,
    word,
)

# Words of a program's record.
(
    KERNEL, INPUTS, OUTPUTS, INPUT_SPECS, OUTPUT_SPECS, TEMPLATE, TEMPLATE_BYTES, BLOCK_BYTES,
    ARENA, PINNED, RELEASES, SINGLE, POOL, PYTHON, RECORD,
) = range(15)  # fmt: skip

# Words of the specification of an argument or result, and of a result alone.
(
    CLASS, WEAK, KEY, DTYPE, RANK, SHAPE, ENTRY, ARGUMENT, DONATED, PLAIN, SCALAR, SPEC,
) = range(12)  # fmt: skip
BYTES, SOURCE, TAKES = ARGUMENT, DONATED, PLAIN

# Words of the table of Python's functions and objects.
(
    INCREF, DECREF, ALLOCATE, NEW_TUPLE, SET_ITEM, NEW_ARRAY, SAVE_THREAD, RESTORE_THREAD,
    NO_MEMORY, CREW, NDARRAY, NONE, DELETED, HANDLER, PYTHON_WORDS,
) = range(15)  # fmt: skip

C_CONTIGUOUS, OWNDATA, ALIGNED, WRITEABLE = 0x1, 0x4, 0x100, 0x400
READABLE = C_CONTIGUOUS | ALIGNED
I1 = Type("i1")


def emit_dispatcher(module: Module, at: Offsets) -> tuple[str, ...]:
    """Adds everything, and returns the names that are called from outside."""
    emit_pool(module)
    emit_handler(module)
    module.function("same_shape", [PTR, PTR, I64], I64, _same_shape)
    module.function("matched", [PTR, PTR, PTR], PTR, lambda b, *a: _matched(b, at, *a))
    module.function("fits", [PTR, PTR, PTR], I64, lambda b, *a: _fits(b, at, *a))
    module.function("undo", [PTR, PTR, PTR, I64], None, lambda b, *a: _undo(b, at, *a))
    module.function("pin", [PTR, PTR, PTR], None, lambda b, *a: _pin(b, at, *a))
    module.function("provide", [PTR, PTR], I64, _provide)
    module.function("execute", [PTR, PTR, PTR], None, _execute)
    module.function("wrap", [PTR, PTR, PTR, PTR], PTR, lambda b, *a: _wrap(b, at, *a))
    module.function("results", [PTR, PTR], PTR, _results)
    module.function("finished", [PTR, PTR], None, _finished)
    module.function("dispatch", [PTR, PTR, I64], PTR, _dispatch)
    return ("dispatch", "pool_take", "pool_give", "pool_flush", "array_malloc", "array_calloc",
            "array_realloc", "array_free")  # fmt: skip


# ---- small parts


def _incref(b: Builder, python: Value, x: Value) -> None:
    call(b, pointer(b, python, INCREF), None, [x])


def _decref(b: Builder, python: Value, x: Value) -> None:
    call(b, pointer(b, python, DECREF), None, [x])


def _entry(b: Builder, table: Value, n: Value) -> Value:
    return b.element(table, n, "i64")


def _each(b: Builder, specs: Value, count: Value, do: Callable[[Value, Value], None]) -> None:
    """`do(i, spec)` for each specification."""

    def turn(i: Value, _: list[Value]) -> None:
        do(i, b.element(specs, b.mul(i, b.const(SPEC, I64)), "i64"))

    b.loop(0, count, 1, [], turn)


def _pinned(b: Builder, record: Value, table: Value, i: Value) -> Value:
    """Where the buffer of argument `i` is kept during the call."""
    return b.element(address(b, table, word(b, record, PINNED)), i, "i64")


def _holds(b: Builder, conditions: list[Value]) -> Value:
    result = conditions[0]
    for c in conditions[1:]:
        result = b.and_(result, c)
    return result


# ---- arguments


def _same_shape(b: Builder, shape: Value, wanted: Value, rank: Value) -> Value:
    one = b.const(1, I64)

    def going(held: list[Value]) -> Value:
        i, same = held
        return b.and_(b.icmp("slt", i, rank), b.icmp("eq", same, one))

    def turn(held: list[Value]) -> list[Value]:
        i, _ = held
        equal = b.icmp(
            "eq", b.load(_entry(b, shape, i), I64), b.load(_entry(b, wanted, i), I64)
        )  # fmt: skip
        return [b.add(i, one), b.cast("zext", equal, "i64")]

    return b.while_([b.const(0, I64), one], going, turn)[1]


def _matched(b: Builder, at: Offsets, python: Value, spec: Value, argument: Value) -> Value:
    """The buffer of an argument if its class, flag and key type are those that are wanted, else
    null.
    """
    kind = b.load(address(b, argument, objects.TYPE), PTR)
    is_array = b.icmp("eq", kind, pointer(b, spec, CLASS))
    ndarray = pointer(b, python, NDARRAY)
    plain = b.and_(
        b.icmp("eq", kind, ndarray), b.icmp("ne", word(b, spec, PLAIN), b.const(0, I64))
    )  # fmt: skip

    def slots() -> list[Value]:
        weak = b.load(address(b, argument, at.weak), PTR)
        same = b.icmp("eq", weak, pointer(b, spec, WEAK))
        keyless = is_null(b, pointer(b, spec, KEY))
        key = b.select(keyless, b.element(spec, KEY, "i64"), address(b, argument, at.key))
        same = b.and_(same, b.icmp("eq", b.load(key, PTR), pointer(b, spec, KEY)))
        return [b.select(same, b.load(address(b, argument, at.buffer), PTR), NULL)]

    (found,) = b.branch(is_array, slots, lambda: [b.select(plain, argument, NULL)])
    return found


def _fits(b: Builder, at: Offsets, record: Value, args: Value, table: Value) -> Value:
    """Writes the addresses of arguments into the table; how many fitted before one did not."""
    python, specs = pointer(b, record, PYTHON), pointer(b, record, INPUT_SPECS)
    count, one, zero = word(b, record, INPUTS), b.const(1, I64), b.const(0, I64)

    def going(held: list[Value]) -> Value:
        i, good = held
        return b.and_(b.icmp("slt", i, count), b.icmp("eq", good, one))

    def turn(held: list[Value]) -> list[Value]:
        i, _ = held
        spec = b.element(specs, b.mul(i, b.const(SPEC, I64)), "i64")
        argument = b.load(_entry(b, args, word(b, spec, ARGUMENT)), PTR)
        buffer = b.call("matched", PTR, [python, spec, argument])

        def check() -> list[Value]:
            return [_accepted(b, at, record, spec, (i, argument, buffer), table)]

        (data,) = b.branch(is_null(b, buffer), lambda: [NULL], check)
        b.store(data, _entry(b, table, word(b, spec, ENTRY)))
        good = b.cast("zext", b.icmp("ne", data, NULL), "i64")
        return [b.add(i, good), good]

    return b.while_([zero, one], going, turn)[0]


def _accepted(
    b: Builder, at: Offsets, record: Value, spec: Value, found: tuple[Value, ...], table: Value
) -> Value:
    """Where a buffer's numbers lie; null if it is not what is wanted."""
    i, argument, buffer = found
    python = pointer(b, record, PYTHON)
    kind = b.load(address(b, buffer, objects.TYPE), PTR)

    def array() -> list[Value]:
        return [_array_data(b, record, spec, (i, buffer), table)]

    def scalar() -> list[Value]:
        is_scalar = b.icmp("eq", kind, pointer(b, spec, SCALAR))
        return [b.select(is_scalar, address(b, buffer, objects.SCALAR), NULL)]

    (data,) = b.branch(b.icmp("eq", kind, pointer(b, python, NDARRAY)), array, scalar)
    b.store(buffer, _pinned(b, record, table, i))
    donated = b.icmp("ne", word(b, spec, DONATED), b.const(0, I64))
    gives = b.and_(donated, b.icmp("ne", data, NULL))

    def take() -> list[Value]:
        return [_taken(b, at, python, argument, buffer, data)]

    (data,) = b.branch(gives, take, lambda: [data])
    return data


def _array_data(
    b: Builder, record: Value, spec: Value, found: tuple[Value, ...], table: Value
) -> Value:
    """Where an ndarray's numbers lie, if its dtype, shape and layout are as wanted; else null."""
    _, buffer = found
    dtype = b.load(address(b, buffer, objects.DTYPE), PTR)
    rank = b.cast("zext", b.load(address(b, buffer, objects.RANK), I32), "i64")
    flags = b.load(address(b, buffer, objects.FLAGS), I32)
    good = _holds(b, [
        b.icmp("eq", dtype, pointer(b, spec, DTYPE)),
        b.icmp("eq", rank, word(b, spec, RANK)),
        b.icmp("eq", b.and_(flags, b.like(READABLE, flags)), b.like(READABLE, flags)),
    ])  # fmt: skip

    def compare() -> list[Value]:
        shape = b.load(address(b, buffer, objects.SHAPE), PTR)
        same = b.call("same_shape", I64, [shape, pointer(b, spec, SHAPE), rank])
        data = b.load(address(b, buffer, objects.DATA), PTR)
        return [b.select(b.icmp("eq", same, b.const(1, I64)), data, NULL)]

    (data,) = b.branch(good, compare, lambda: [NULL])
    return data


def _taken(
    b: Builder, at: Offsets, python: Value, argument: Value, buffer: Value, data: Value
) -> Value:
    """Takes a donated buffer out of its Array, if nobody else can see it; else null."""
    references = b.load(buffer, I32)  # the low half counts, in all versions
    base = b.load(address(b, buffer, objects.BASE), PTR)
    flags = b.load(address(b, buffer, objects.FLAGS), I32)
    kind = b.load(address(b, argument, objects.TYPE), PTR)
    wanted = WRITEABLE | OWNDATA
    alone = _holds(b, [
        b.icmp("eq", references, b.like(1, references)),
        is_null(b, base),
        b.icmp("eq", b.and_(flags, b.like(wanted, flags)), b.like(wanted, flags)),
        b.icmp("ne", kind, pointer(b, python, NDARRAY)),
    ])  # fmt: skip

    def take() -> list[Value]:
        deleted = pointer(b, python, DELETED)
        _incref(b, python, deleted)
        b.store(deleted, address(b, argument, at.buffer))
        return [data]

    (found,) = b.branch(alone, take, lambda: [NULL])
    return found


def _undo(b: Builder, at: Offsets, record: Value, args: Value, table: Value, count: Value) -> None:
    """Gives donated buffers back to their Arrays."""
    python = pointer(b, record, PYTHON)

    def each(i: Value, spec: Value) -> None:
        def restore() -> None:
            argument = b.load(_entry(b, args, word(b, spec, ARGUMENT)), PTR)
            b.store(b.load(_pinned(b, record, table, i), PTR), address(b, argument, at.buffer))
            _decref(b, python, pointer(b, python, DELETED))

        b.when(b.icmp("ne", word(b, spec, DONATED), b.const(0, I64)), restore)

    _each(b, pointer(b, record, INPUT_SPECS), count, each)


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
            b.store(block, _entry(b, table, word(b, spec, ENTRY)))
            return [b.select(is_null(b, block), zero, held[0])]

        def taken() -> list[Value]:
            given = b.load(_entry(b, table, word(b, spec, SOURCE)), PTR)
            b.store(given, _entry(b, table, word(b, spec, ENTRY)))
            return [held[0]]

        return b.branch(b.icmp("slt", word(b, spec, TAKES), zero), fresh, taken)

    return b.loop(0, count, 1, [one], turn)[0]


def _pin(b: Builder, at: Offsets, record: Value, table: Value, change: Value) -> None:
    """Calls `change` (one more, or one fewer reference) on the buffers of arguments that stay
    their owners'.
    """

    def each(i: Value, spec: Value) -> None:
        def one() -> None:
            call(b, change, None, [b.load(_pinned(b, record, table, i), PTR)])

        b.when(b.icmp("eq", word(b, spec, DONATED), b.const(0, I64)), one)

    _each(b, pointer(b, record, INPUT_SPECS), word(b, record, INPUTS), each)


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
        return [b.load(_pinned(b, record, table, takes), PTR)]

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
    dtype, data = pointer(b, spec, DTYPE), b.load(_entry(b, table, word(b, spec, ENTRY)), PTR)
    source = word(b, spec, SOURCE)
    name = "llvm.memcpy.p0.p0.i64"
    b.module.declare(name, "void", "ptr, ptr, i64, i1")

    def copy() -> None:
        held = b.load(_entry(b, table, source), PTR)
        b.do(f"call void @{name}({data}, {held}, {word(b, spec, BYTES)}, i1 false)")

    b.when(b.icmp("sge", source, b.const(0, I64)), copy)
    _incref(b, python, dtype)
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
        _incref(b, python, handler)
        b.store(handler, address(b, array, at.memory))

    b.when(b.icmp("ne", array, NULL), own)
    return array


def _fill(b: Builder, at: Offsets, python: Value, spec: Value, array: Value, buffer: Value) -> None:
    weak, key = pointer(b, spec, WEAK), pointer(b, spec, KEY)
    _incref(b, python, weak)
    b.store(buffer, address(b, array, at.buffer))
    b.store(weak, address(b, array, at.weak))

    def typed() -> None:
        _incref(b, python, key)
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
        b.when(b.icmp("ne", found, NULL), lambda: _decref(b, python, found))
        return [NULL]

    (result,) = b.branch(b.icmp("eq", good, one), lambda: [found], failed)
    return result


def _finished(b: Builder, record: Value, table: Value) -> None:
    """Lets go of donated buffers that no result has taken."""
    python = pointer(b, record, PYTHON)

    def each(i: Value, spec: Value) -> None:
        def drop() -> None:
            _decref(b, python, b.load(_pinned(b, record, table, i), PTR))

        b.when(b.icmp("eq", word(b, spec, DONATED), b.const(1, I64)), drop)

    _each(b, pointer(b, record, INPUT_SPECS), word(b, record, INPUTS), each)


# ---- the entry


def _dispatch(b: Builder, self: Value, args: Value, count: Value) -> Value:
    """What Python calls: `self` is an ndarray that holds the record."""
    record = b.load(address(b, self, objects.DATA), PTR)
    python = pointer(b, record, PYTHON)

    def miss() -> list[Value]:
        none = pointer(b, python, NONE)
        _incref(b, python, none)
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
        return [_run(b, record, table)]

    def undo() -> list[Value]:
        b.call("undo", None, [record, args, table, fitted])
        return miss()

    (found,) = b.branch(b.icmp("eq", fitted, word(b, record, INPUTS)), run, undo)
    b.call("pool_give", None, [pool, table])
    return found


def _run(b: Builder, record: Value, table: Value) -> Value:
    python = pointer(b, record, PYTHON)
    enough = b.call("provide", I64, [record, table])

    def go() -> list[Value]:
        b.call("execute", None, [record, table, python])
        found = b.call("results", PTR, [record, table])
        b.call("finished", None, [record, table])
        return [found]

    def no_memory() -> list[Value]:
        return [call(b, pointer(b, python, NO_MEMORY), PTR, [])]

    (found,) = b.branch(b.icmp("eq", enough, b.const(1, I64)), go, no_memory)
    return found
