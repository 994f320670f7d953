"""Traces: who interprets the operations that a function performs.

The current trace is context, not data. A tracer belongs to a trace if and only if its `trace` *is*
that one; whatever else a trace meets is a constant to it, and its `parent` knows what to do with
it. There are no levels and no search for a top trace.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from funcgrad import errors

if TYPE_CHECKING:
    from funcgrad.core.array import Tracer
    from funcgrad.core.primitive import Primitive
    from funcgrad.core.source import Source


class Trace:
    """Interprets operations: `process` is given a primitive with its operands and returns its
    results.
    """

    __slots__ = ("parent", "__weakref__")

    parent: Trace | None
    origin: Source | None = None  # the user's function that it traces, where tracers have no line

    @abc.abstractmethod
    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """What the primitive gives for these operands: an array or tracer, or a list of them."""

    def descends_from(self, other: Trace) -> bool:
        """Is `other` a live ancestor, so that its tracers may be used here?"""
        ancestor = self.parent
        while ancestor is not None:
            if ancestor is other:
                return True
            ancestor = ancestor.parent
        return False


class EvalTrace(Trace):
    """Computes: arrays in, arrays out. The ancestor of all traces."""

    __slots__ = ()

    def __init__(self) -> None:
        self.parent = None

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        return primitive.evaluate(args, params)


EVAL = EvalTrace()

_current: ContextVar[Trace] = ContextVar("funcgrad_trace", default=EVAL)
current_trace = _current.get
set_trace, reset_trace = _current.set, _current.reset  # for hot paths; elsewhere `running`


class running:
    """`with running(trace):` makes it the current trace."""

    __slots__ = ("_trace", "_token")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        self._token = _current.set(self._trace)

    def __exit__(self, *exc: object) -> None:
        _current.reset(self._token)


def escaped(tracer: Tracer, where: str) -> errors.UnexpectedTracerError:
    """The error for a tracer whose trace has ended, saying where it was made."""
    origin = tracer.source if tracer.source is not None else tracer._trace.origin
    made = f", made at {origin}" if origin is not None else ""
    return errors.UnexpectedTracerError(
        f"{where} got a traced value {tracer.aval} (traced by {tracer.traced_by}){made}, "
        "whose function has already returned. "
        "Return such values from the function; do not store them elsewhere."
    )


# ---- named axes
# --------------------------------------------------------------------------------------


class Axis:
    """A mapped axis: its size, and the name that collectives know it by (None for most). With
    `together`, branches and loops with a predicate per lane are run for all lanes and selected.
    """

    __slots__ = ("size", "name", "together")

    def __init__(self, size: Any, name: Any = None, together: bool = False) -> None:
        self.size, self.name, self.together = size, name, together

    def _key(self) -> tuple[Any, ...]:
        return self.size, self.name, self.together

    def __eq__(self, other: object) -> bool:
        return type(other) is Axis and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Axis({self.size}, {self.name!r})"


_named_axes: ContextVar[tuple[Axis, ...]] = ContextVar("funcgrad_named_axes", default=())
named_axes = _named_axes.get


@contextlib.contextmanager
def binding_axis(axis: Axis) -> Iterator[None]:
    """The axis's name can be used in the block; an outer axis of the same name is an error."""
    if any(axis.name == outer.name for outer in named_axes()):
        raise ValueError(f"vmap: the axis name {axis.name!r} is already used by an enclosing vmap.")
    token = _named_axes.set((*named_axes(), axis))
    try:
        yield
    finally:
        _named_axes.reset(token)


def axis_size(name: Any) -> Any:
    """The size of a named axis; NameError if no enclosing vmap binds the name."""
    for axis in named_axes():
        if axis.name == name:
            return axis.size
    known = ", ".join(repr(axis.name) for axis in named_axes()) or "none"
    raise NameError(
        f"unbound axis name: {name!r}. Names bound here: {known}. Bind one with vmap(..., "
        f"axis_name={name!r})."
    )
