"""The first half of the native entry: do the arguments fit the program?

The addresses of their numbers are written into the program's table. Donated buffers are taken out
of their Arrays on the way, and put back if a later argument does not fit.
"""

from __future__ import annotations

from funcgrad.backends.llvm import objects
from funcgrad.backends.llvm.builder import I64, PTR, Builder, Module, Type, Value
from funcgrad.backends.llvm.call_records import (
    ARGUMENT,
    AS_INTEGER,
    CLASS,
    DELETED,
    DONATED,
    DTYPE,
    ENTRY,
    FLOAT,
    INPUT_SPECS,
    INPUTS,
    INTEGER,
    KEY,
    KINDS,
    NDARRAY,
    NUMBER,
    OWNDATA,
    PLAIN,
    PYTHON,
    RANK,
    READABLE,
    SCALAR,
    SHAPE,
    SPEC,
    WEAK,
    WRITEABLE,
    decref,
    each_spec,
    entry,
    incref,
    pinned,
)
from funcgrad.backends.llvm.objects import Offsets
from funcgrad.backends.llvm.records import (
    I32,
    NULL,
    address,
    call,
    either,
    is_null,
    pointer,
    word,
)

I1 = Type("i1")


def emit_matching(module: Module, at: Offsets) -> None:
    """Adds `fits(record, args, table)`, which returns how many arguments fit before one does not,
    and `undo`.
    """
    module.function("same_shape", [PTR, PTR, I64], I64, _same_shape)
    module.function("matched", [PTR, PTR, PTR], PTR, lambda b, *a: _matched(b, at, *a))
    module.function("number", [PTR, PTR, PTR, PTR], PTR, _number)
    module.function("fits", [PTR, PTR, PTR], I64, lambda b, *a: _fits(b, at, *a))
    module.function("undo", [PTR, PTR, PTR, I64], None, lambda b, *a: _undo(b, at, *a))


def _holds(b: Builder, conditions: list[Value]) -> Value:
    result = conditions[0]
    for c in conditions[1:]:
        result = b.and_(result, c)
    return result


def _same_shape(b: Builder, shape: Value, wanted: Value, rank: Value) -> Value:
    one = b.const(1, I64)

    def going(held: list[Value]) -> Value:
        i, same = held
        return b.and_(b.icmp("slt", i, rank), b.icmp("eq", same, one))

    def turn(held: list[Value]) -> list[Value]:
        i, _ = held
        equal = b.icmp(
            "eq", b.load(entry(b, shape, i), I64), b.load(entry(b, wanted, i), I64)
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
        argument = b.load(entry(b, args, word(b, spec, ARGUMENT)), PTR)
        buffer = b.call("matched", PTR, [python, spec, argument])

        def check() -> list[Value]:
            return [_accepted(b, at, record, spec, (i, argument, buffer), table)]

        def number() -> list[Value]:
            b.store(argument, pinned(b, record, table, i))
            place = pinned(b, record, table, b.add(i, count))
            return [b.call("number", PTR, [python, spec, argument, place])]

        (data,) = b.branch(is_null(b, buffer), number, check)
        b.store(data, entry(b, table, word(b, spec, ENTRY)))
        good = b.cast("zext", b.icmp("ne", data, NULL), "i64")
        return [b.add(i, good), good]

    return b.while_([zero, one], going, turn)[0]


def _number(b: Builder, python: Value, spec: Value, argument: Value, place: Value) -> Value:
    """Where the value of a number of Python's is put, if one is wanted; null for anything else."""
    kind, wanted = b.load(address(b, argument, objects.TYPE), PTR), word(b, spec, NUMBER)

    def is_(name: str) -> Value:
        return b.icmp("eq", wanted, b.const(KINDS[name], I64))

    is_float = b.and_(
        b.icmp("eq", kind, pointer(b, python, FLOAT)), b.or_(is_("f32"), is_("f64"))
    )  # fmt: skip
    is_integer = b.and_(
        b.icmp("eq", kind, pointer(b, python, INTEGER)), b.or_(is_("i32"), is_("i64"))
    )  # fmt: skip

    def put_float() -> list[Value]:
        value = b.load(address(b, argument, objects.SCALAR), Type("f64"))
        short = b.cast("fptrunc", value, "f32")
        either(b, is_("f32"), lambda: b.store(short, place), lambda: b.store(value, place))
        return [place]

    def put_integer() -> list[Value]:
        return [_integer(b, python, argument, is_("i32"), place)]

    def other() -> list[Value]:
        return b.branch(is_integer, put_integer, lambda: [NULL])

    (found,) = b.branch(is_float, put_float, other)
    return found


def _integer(b: Builder, python: Value, argument: Value, short: Value, place: Value) -> Value:
    """Puts an integer in its place; null if it does not fit."""
    overflow = b.alloca("i32", 1)
    as_integer = pointer(b, python, AS_INTEGER)
    value = call(b, as_integer, I64, [argument, overflow])
    narrow = b.cast("sext", b.cast("trunc", value, "i32"), "i64")
    good = b.icmp("eq", b.load(overflow, I32), Value("0", I32))
    kept = b.select(short, b.select(b.icmp("eq", narrow, value), short, Value("false", I1)), good)
    b.store(value, place)  # the low half comes first
    return b.select(b.and_(good, kept), place, NULL)


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
    b.store(buffer, pinned(b, record, table, i))
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
        incref(b, python, deleted)
        b.store(deleted, address(b, argument, at.buffer))
        return [data]

    (found,) = b.branch(alone, take, lambda: [NULL])
    return found


def _undo(b: Builder, at: Offsets, record: Value, args: Value, table: Value, count: Value) -> None:
    """Gives donated buffers back to their Arrays."""
    python = pointer(b, record, PYTHON)

    def each(i: Value, spec: Value) -> None:
        def restore() -> None:
            argument = b.load(entry(b, args, word(b, spec, ARGUMENT)), PTR)
            b.store(b.load(pinned(b, record, table, i), PTR), address(b, argument, at.buffer))
            decref(b, python, pointer(b, python, DELETED))

        b.when(b.icmp("ne", word(b, spec, DONATED), b.const(0, I64)), restore)

    each_spec(b, pointer(b, record, INPUT_SPECS), count, each)
