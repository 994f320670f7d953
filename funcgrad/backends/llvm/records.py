"""Records in memory as generated code reads and writes them: words of 64 bits, addresses, calls
through addresses.
"""

from __future__ import annotations

from collections.abc import Callable

from funcgrad.backends.llvm.builder import I64, PTR, Builder, Type, Value

I32 = Type("i32")


def word(b: Builder, base: Value, n: int) -> Value:
    """An integer of a record."""
    return b.load(b.element(base, n, "i64"), I64)


def pointer(b: Builder, base: Value, n: int) -> Value:
    """An address of a record."""
    return b.load(b.element(base, n, "i64"), PTR)


def put(b: Builder, x: Value, base: Value, n: int) -> None:
    """Writes a word of a record."""
    b.store(x, b.element(base, n, "i64"))


def call(b: Builder, function: Value, result: Type | None, args: list[Value]) -> Value:
    """A call through an address."""
    listed = ", ".join(map(str, args))
    if result is None:
        b.do(f"call void {function.text}({listed})")
        return Value("void", I64)
    return b.emit(f"call {result.text} {function.text}({listed})", result)


NULL = Value("null", PTR)


def is_null(b: Builder, x: Value) -> Value:
    return b.icmp("eq", x, NULL)


def address(b: Builder, base: Value, offset: int | Value) -> Value:
    """An address some bytes behind another."""
    return b.element(base, offset, "i8")


def either(
    b: Builder, condition: Value, yes: Callable[[], object], no: Callable[[], object]
) -> None:
    """One of two pieces of code, without results."""

    def run(code: Callable[[], object]) -> list[Value]:
        code()
        return []

    b.branch(condition, lambda: run(yes), lambda: run(no))
