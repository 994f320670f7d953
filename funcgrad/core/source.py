"""Which line of the user's program an equation came from.

Only the code object and the instruction's offset are taken while tracing, by a short walk up the
frames; file and line are looked up when somebody asks.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import CodeType
from typing import Any, NamedTuple

from funcgrad.errors import is_ours


class Source(NamedTuple):
    """A place in the user's code, and the names given to this part of the program."""

    code: CodeType
    offset: int
    scope: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def line(self) -> int:
        lines = [line for start, end, line in self.code.co_lines() if start <= self.offset < end]
        return (lines[0] if lines else None) or self.code.co_firstlineno

    def __str__(self) -> str:
        named = f" in {'/'.join(self.scope)}" if self.scope else ""
        return f"{self.file}:{self.line} ({self.code.co_name}){named}"


def source_of(fun: Any) -> Source | None:
    """Where a function begins; None for builtins and callable objects."""
    while hasattr(fun, "__wrapped__"):
        fun = fun.__wrapped__
    code = getattr(fun, "__code__", None)
    return Source(code, -1) if code is not None else None


# While a program is transformed, what is derived from an equation keeps that equation's line.
inherited: ContextVar[Source | None] = ContextVar("funcgrad_source", default=None)

# Names that the user has given to what is being traced, outermost first (named_scope).
scope: ContextVar[tuple[str, ...]] = ContextVar("funcgrad_scope", default=())


def user_source() -> Source | None:
    """The line being traced: inherited from an equation, else the nearest frame that is not
    ours.
    """
    if (source := inherited.get()) is not None:
        return source
    frame = sys._getframe(1)
    while frame is not None:
        if not is_ours(frame.f_code.co_filename):
            return Source(frame.f_code, frame.f_lasti, scope.get())
        frame = frame.f_back  # type: ignore[assignment]
    return None
