"""The language of kernels: loops over rows, and stages of loops within a row, over straight-line
statements.

    kernel    ::= for row loops { stage* }
    stage     ::= for loops { statement* } reductions over the innermost loops
    statement ::= v = load b[sum] | v = op(v*) | v = position(sum) | store b[sum] v
                | accumulate b[sum] v

Values are bound once. A reduction's value may be read by later stages of the same row. Buffers are
in row-major order without gaps, so that one sum names an element. Nothing here knows a backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad.compiler.affine import Loop, Sum
from funcgrad.compiler.scalar import Constant


class Ref:
    """A value: what it depends on, and, if it is used as an index, how far it reaches.

    `inside` says whether it depends on what the kernel itself has stored or reduced before.
    """

    __slots__ = ("number", "dtype", "loops", "inside", "extent")

    def __init__(
        self, number: int, dtype: np.dtype, loops: frozenset[Loop], inside: bool, extent: int = 0
    ) -> None:
        self.number, self.dtype, self.loops = number, dtype, loops
        self.inside, self.extent = inside, extent

    def __repr__(self) -> str:
        return f"v{self.number}"


Operand = Ref | Constant


@dataclass(slots=True, eq=False, repr=False)
class Buffer:
    """An array that a kernel reads or writes. `local` ones hold one row, for the kernel's own
    use.
    """

    key: Any
    dtype: np.dtype
    size: int
    local: bool = False
    name: str = ""

    def __repr__(self) -> str:
        return self.name or f"b{id(self) % 9973}"


@dataclass(slots=True, eq=False, repr=False)
class Load:
    """An element; zero, and nothing is read, where the guard does not hold."""

    ref: Ref
    buffer: Buffer
    index: Sum
    guard: Ref | None = None

    def __str__(self) -> str:
        guarded = f" if {self.guard}" if self.guard else ""
        return f"{self.ref} = load {self.buffer}[{self.index}]{guarded}"


@dataclass(slots=True, eq=False, repr=False)
class Compute:
    """A scalar operation."""

    ref: Ref
    name: str
    args: tuple[Operand, ...]

    def __str__(self) -> str:
        return f"{self.ref}:{self.ref.dtype} = {self.name} {', '.join(map(_operand, self.args))}"


@dataclass(slots=True, eq=False, repr=False)
class Position:
    """A sum of loops as a number."""

    ref: Ref
    index: Sum

    def __str__(self) -> str:
        return f"{self.ref}:{self.ref.dtype} = position {self.index}"


@dataclass(slots=True, eq=False, repr=False)
class Store:
    """Writes an element, where the guard holds."""

    buffer: Buffer
    index: Sum
    value: Operand
    guard: Ref | None = None

    def __str__(self) -> str:
        guarded = f" if {self.guard}" if self.guard else ""
        return f"store {self.buffer}[{self.index}] {_operand(self.value)}{guarded}"


@dataclass(slots=True, eq=False, repr=False)
class Accumulate:
    """Combines a value into an element that started as the identity of `op`."""

    op: str
    buffer: Buffer
    index: Sum
    value: Operand
    guard: Ref | None = None

    def __str__(self) -> str:
        guarded = f" if {self.guard}" if self.guard else ""
        return f"accumulate({self.op}) {self.buffer}[{self.index}] {_operand(self.value)}{guarded}"


Statement = Load | Compute | Position | Store | Accumulate


@dataclass(slots=True, eq=False, repr=False)
class Reduction:
    """Combines `value` over the innermost loops of a stage into `ref`, which may be stored.

    argmax and argmin yield the `position` of the best value.
    """

    ref: Ref
    op: str
    value: Operand
    buffer: Buffer | None = None
    index: Sum | None = None
    position: Operand | None = None

    def __str__(self) -> str:
        stored = f" -> {self.buffer}[{self.index}]" if self.buffer else ""
        return f"{self.ref} = reduce({self.op}) {_operand(self.value)}{stored}"


@dataclass(slots=True, eq=False, repr=False)
class Stage:
    """Loops within a row; the last `reduced` of them are those that the reductions run over."""

    loops: list[Loop]
    reduced: int = 0
    statements: list[Statement] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Tile:
    """The kernel is the end of a product or convolution: its only stage is run for each vector of
    results, whose value is `ref`.
    """

    form: Any
    ref: Ref
    operands: tuple[Buffer, ...]

    def __str__(self) -> str:
        return f"{self.ref} = tile {self.form}"


@dataclass(slots=True, eq=False, repr=False)
class Kernel:
    """Stages run in order for each row. Sums begin with what changes nothing, or, if the kernel
    `updates`, with what lies there.
    """

    rows: list[Loop]
    stages: list[Stage]
    buffers: list[Buffer]
    written: list[Buffer]
    tile: Tile | None = None
    updates: bool = False

    def __str__(self) -> str:
        for number, buffer in enumerate(self.buffers):
            buffer.name = f"b{number}"
        lines = [
            "kernel("
            + ", ".join(
                f"{b}: {'out ' if b in self.written else ''}{b.dtype}[{b.size}]"
                for b in self.buffers
            )
            + (") updates" if self.updates else ")")
        ]
        lines.append(f"for {_loops(self.rows)} {{")
        lines += [f"  {self.tile}"] if self.tile else []
        for stage in self.stages:
            lines.append(f"  for {_loops(stage.loops)} {{")
            lines += [f"    {s}" for s in stage.statements]
            lines.append("  }" + "".join(f" {r};" for r in stage.reductions))
        return "\n".join([*lines, "}"])


def _loops(loops: Sequence[Loop]) -> str:
    return ", ".join(f"{loop} in {loop.extent}" for loop in loops) or "once"


def _operand(x: Operand) -> str:
    return repr(x) if isinstance(x, Ref) else str(x.value)
