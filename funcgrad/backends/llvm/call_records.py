"""What the dispatcher knows of a program, its arguments and results, and of Python: the words of
records that `direct` fills in, and small pieces of code that read them.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm.builder import I64, Builder, Value
from funcgrad.backends.llvm.records import address, call, pointer, word

# Words of a program's record.
(
    KERNEL, INPUTS, OUTPUTS, INPUT_SPECS, OUTPUT_SPECS, TEMPLATE, TEMPLATE_BYTES, BLOCK_BYTES,
    ARENA, PINNED, RELEASES, SINGLE, POOL, PYTHON, RECORD,
) = range(15)  # fmt: skip

# Words of the specification of an argument or result, and of a result alone.
(
    CLASS, WEAK, KEY, DTYPE, RANK, SHAPE, ENTRY, ARGUMENT, DONATED, PLAIN, SCALAR, NUMBER, SPEC,
) = range(13)  # fmt: skip
BYTES, SOURCE, TAKES = ARGUMENT, DONATED, PLAIN

# Words of the table of Python's functions and objects.
(
    INCREF, DECREF, ALLOCATE, NEW_TUPLE, SET_ITEM, NEW_ARRAY, SAVE_THREAD, RESTORE_THREAD,
    NO_MEMORY, AS_INTEGER, CREW, NDARRAY, NONE, DELETED, HANDLER, FLOAT, INTEGER, PYTHON_WORDS,
) = range(18)  # fmt: skip

C_CONTIGUOUS, OWNDATA, ALIGNED, WRITEABLE = 0x1, 0x4, 0x100, 0x400
READABLE = C_CONTIGUOUS | ALIGNED

# What `NUMBER` says: which of Python's numbers an argument may be, and what it becomes.
KINDS = {"f32": 1, "f64": 2, "i32": 3, "i64": 4}


def incref(b: Builder, python: Value, x: Value) -> None:
    call(b, pointer(b, python, INCREF), None, [x])


def decref(b: Builder, python: Value, x: Value) -> None:
    call(b, pointer(b, python, DECREF), None, [x])


def entry(b: Builder, table: Value, n: Value) -> Value:
    return b.element(table, n, "i64")


def each_spec(b: Builder, specs: Value, count: Value, do: Callable[[Value, Value], None]) -> None:
    """`do(i, spec)` for each specification."""

    def turn(i: Value, _: list[Value]) -> None:
        do(i, b.element(specs, b.mul(i, b.const(SPEC, I64)), "i64"))

    b.loop(0, count, 1, [], turn)


def pinned(b: Builder, record: Value, table: Value, i: Value) -> Value:
    """Where the buffer of argument `i` is kept during the call; so many words behind, the value of
    a number.
    """
    return b.element(address(b, table, word(b, record, PINNED)), i, "i64")
