"""Names and constants of LLVM's language, with their types."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

FLOATS = {"f16": "half", "f32": "float", "f64": "double"}
WIDTH = {
    "i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "i128": 128, "f16": 16, "f32": 32, "f64": 64,
    "ptr": 64,
}  # fmt: skip
BITS = {"f16": "i16", "f32": "i32", "f64": "i64"}
FLOAT_OF = {16: "f16", 32: "f32", 64: "f64"}


class Type(NamedTuple):
    """A scalar kind (i1 i8 i16 i32 i64 i128 f16 f32 f64 ptr) and a number of lanes (1: scalar)."""

    kind: str
    lanes: int = 1

    @property
    def is_float(self) -> bool:
        return self.kind in FLOATS

    @property
    def bits(self) -> int:
        return WIDTH[self.kind]

    @property
    def text(self) -> str:
        scalar = FLOATS.get(self.kind, self.kind)
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    @property
    def suffix(self) -> str:
        """How intrinsics name this type."""
        kind = "p0" if self.kind == "ptr" else self.kind
        return kind if self.lanes == 1 else f"v{self.lanes}{kind}"

    def of(self, kind: str) -> Type:
        """As many lanes of another kind."""
        return Type(kind, self.lanes)


class Value(NamedTuple):
    """A name or constant of the language, and its type."""

    text: str
    type: Type

    def __str__(self) -> str:
        return f"{self.type.text} {self.text}"


I64 = Type("i64")
I1 = Type("i1")
PTR = Type("ptr")


def constant(value: Any, type: Type) -> Value:
    """A number, the same in every lane."""
    text = literal(value, type.kind)
    if type.lanes == 1:
        return Value(text, type)
    return Value(f"splat ({FLOATS.get(type.kind, type.kind)} {text})", type)


def literal(value: Any, kind: str) -> str:
    """One number as text: floats by their bits, rounded to their type."""
    if kind == "f16":
        return f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    if kind in FLOATS:
        return f"0x{struct.unpack('<Q', struct.pack('<d', _rounded(float(value), kind)))[0]:016X}"
    if kind == "i1":
        return "true" if value else "false"
    if kind == "ptr":
        return "null"
    return str(_wrapped(int(value), WIDTH[kind]))


def _rounded(value: float, kind: str) -> float:
    if kind != "f32" or math.isinf(value) or math.isnan(value):
        return value
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def _wrapped(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def chosen_lanes(mask: Value | None, lanes: int) -> Sequence[int] | None:
    """The lanes that a constant mask chooses; all of them without one. None if only the program
    knows.
    """
    if mask is None:
        return range(lanes)
    if not mask.text.startswith("<"):
        return None
    bits = mask.text[1:-1].split(", ")
    return [i for i, bit in enumerate(bits) if bit in ("i1 1", "i1 true")]


def only_lane(mask: Value) -> int | None:
    """The lane that a constant mask chooses, if it is a single one.

    LLVM 22 makes of a masked store of one lane a plain one, of too many bytes if what is stored was
    truncated before. So these stores are written as plain ones.
    """
    chosen = chosen_lanes(mask, mask.type.lanes)
    return chosen[0] if chosen is not None and len(chosen) == 1 else None
