"""Checks inside programs: `check_p`, the assertion that `checkify` collects, and what is looked for
by itself: NaN, division by zero, indices out of bounds.

Each automatic check is a function of an equation with its operands and results, and yields
`(Check, ok, payload)`: whether it holds, as bool[], and the values its message speaks of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from funcgrad.control.callback import Effect
from funcgrad.core import dtypes
from funcgrad.core.avals import typeof
from funcgrad.core.jaxpr import Eqn
from funcgrad.core.loops import Map
from funcgrad.core.primitive import Construct
from funcgrad.core.trace import Axis
from funcgrad.primitives.basis import batched, convert_element_type, div_p, full, reshape
from funcgrad.primitives.dynamic_slice import (
    dynamic_index_in_dim,
    dynamic_slice_p,
    dynamic_update_slice_p,
)
from funcgrad.primitives.elementwise.arithmetic import rem_p
from funcgrad.primitives.gather import gather_p, scatter_add_p, scatter_sub_p
from funcgrad.primitives.index_maps import window_sizes
from funcgrad.primitives.logic import bitwise_and, eq, ge, le, ne
from funcgrad.primitives.reduce import argmin, reduce_and, reduce_max, reduce_min
from funcgrad.primitives.scatter import scatter_max_p, scatter_min_p, scatter_mul_p, scatter_p


class CheckError(ValueError):
    """A check has failed: the first that did says so."""


class Check:
    """One check of a program: its category and its message, a function of its payload. Compared by
    identity.
    """

    __slots__ = ("category", "source", "text")

    def __init__(self, category: str, text: Callable[..., str], source: Any) -> None:
        self.category, self.text, self.source = category, text, source

    def message(self, payload: Sequence[Any]) -> str:
        """The message for these values, with the user's line."""
        where = f" At {self.source}." if self.source is not None else ""
        return self.text(*payload) + where

    def __repr__(self) -> str:
        return f"check of {self.category}"


# ---- the user's checks --------------------------------------------------------------------------


def _check_run(args: Sequence[Any], *, check: Check, debug: bool) -> list[Any]:
    ok, *payload = args
    if not debug and not bool(ok):
        raise CheckError(check.message(payload))
    return []


def _check_batch(axis: Axis, args: Any, dims: Any, **params: Any) -> Any:
    """The check for all lanes, with the values of the first in which it fails."""
    ok, *payload = [batched(axis, a, d) for a, d in zip(args, dims)]
    lane = argmin(ok, 0)
    rows = [dynamic_index_in_dim(p, lane, 0, False) for p in payload]
    return check_p.bind(reduce_and(ok, (0,)), *rows, **params), []


def _check_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    return check_p.bind(*primals, **params), []


CHECK_EFFECT = frozenset({Effect("check", False)})
check_p = Construct(
    "check",
    run=_check_run,
    abstract=lambda *avals, **params: [],
    jvp=_check_jvp,
    batch=_check_batch,
    effects=lambda params: CHECK_EFFECT,
)


# ---- what is looked for by itself ---------------------------------------------------------------

Found = Iterator[tuple[Check, Any, list[Any]]]


def _all(ok: Any) -> Any:
    """One truth value of many."""
    return reduce_and(ok, tuple(range(typeof(ok).ndim))) if typeof(ok).ndim else ok


class _Place:
    """Where an array of truth values has its first False. Its number is part of the payload."""

    def __init__(self, ok: Any) -> None:
        self.shape, self.payload = typeof(ok).shape, []
        if self.shape:
            self.payload = [argmin(reshape(ok, (math.prod(self.shape),)), 0)]

    def value_in(self, x: Any) -> Any:
        """The element of an array of this shape."""
        flat = reshape(x, (math.prod(self.shape),))
        return dynamic_index_in_dim(flat, self.payload[0], 0, False)

    def text(self, number: Any) -> str:
        """The place as an index: `[0, 1]`."""
        return str([int(i) for i in np.unravel_index(int(number), self.shape)])


def _reported(
    category: str, what: str, e: Eqn, operands: Sequence[Any], ok: Any
) -> Iterator[tuple[Check, Any, list[Any]]]:
    """The check that all of `ok` holds. Its message has the operands: those of rank 0 by their
    values, those of elementwise operations by the values where it first fails, others by their
    range, or their type.
    """
    if 0 in typeof(ok).shape:
        return
    place, together = _Place(ok), _is_elementwise(e)
    parts: list[str] = []
    payload = list(place.payload)
    for x in operands:
        part, values = _operand(x, place if together else None, len(payload))
        parts.append(part)
        payload += values
    template = f"{what} Operands: {', '.join(parts)}."

    def text(*values: Any) -> str:
        first = f" First at {place.text(values[0])}." if place.payload else ""
        return template.format(*values) + first

    yield Check(category, text, e.source), _all(ok), payload


def _is_elementwise(e: Eqn) -> bool:
    """Does an element of the result depend on the operands' elements in its place alone?"""
    form = e.primitive.loops
    return form is not None and isinstance(form(*(a.aval for a in e.args), **e.params), Map)


def _operand(x: Any, place: _Place | None, position: int) -> tuple[str, list[Any]]:
    """How an operand reads in a message, and the values that are put into it from `position` on."""
    aval = typeof(x)
    if dtypes.is_key(aval.dtype):
        return str(aval.strong()), []
    if aval.shape == ():
        return f"{{{position}}}", [x]
    if place is not None and aval.shape == place.shape:
        return f"{{{position}}} in {aval.strong()}", [place.value_in(x)]
    if dtypes.is_float(aval.dtype) and 0 not in aval.shape:
        axes = tuple(range(aval.ndim))
        ends = [reduce_min(x, axes), reduce_max(x, axes)]
        return f"{aval.strong()} from {{{position}}} to {{{position + 1}}}", ends
    return str(aval.strong()), []


def nan_check(e: Eqn, operands: Sequence[Any], outs: Sequence[Any]) -> Found:
    """No result has a NaN."""
    what = f"nan generated by primitive: {e.primitive.name}."
    for out in outs:
        if dtypes.is_inexact(typeof(out).dtype):
            yield from _reported("nan", what, e, operands, eq(out, out))


def division_check(e: Eqn, operands: Sequence[Any], outs: Sequence[Any]) -> Found:
    """No divisor is zero."""
    if e.primitive in (div_p, rem_p):
        what = f"division by zero in primitive: {e.primitive.name}."
        zero = full((), 0, typeof(operands[1]).dtype)
        yield from _reported("div", what, e, operands, ne(operands[1], zero))


_SCATTERS = (scatter_p, scatter_add_p, scatter_sub_p, scatter_mul_p, scatter_min_p, scatter_max_p)


def index_check(e: Eqn, operands: Sequence[Any], outs: Sequence[Any]) -> Found:
    """Every window that is read or written lies inside the array."""
    shape = typeof(operands[0]).shape if operands else ()
    if e.primitive is gather_p:
        numbers = e.params["dimension_numbers"]
        sizes = e.params["slice_sizes"]
        yield from _vectors(e, shape, operands[1], numbers.start_index_map, sizes)
    elif e.primitive in _SCATTERS:
        numbers = e.params["dimension_numbers"]
        sizes = window_sizes(shape, typeof(operands[2]).shape, numbers)
        yield from _vectors(e, shape, operands[1], numbers.scatter_dims_to_operand_dims, sizes)
    elif e.primitive is dynamic_slice_p:
        yield from _starts(e, shape, operands[1:], e.params["slice_sizes"])
    elif e.primitive is dynamic_update_slice_p:
        yield from _starts(e, shape, operands[2:], typeof(operands[1]).shape)


def _starts(e: Eqn, shape: Any, starts: Sequence[Any], sizes: Sequence[Any]) -> Found:
    for axis, (start, size) in enumerate(zip(starts, sizes)):
        if size == shape[axis]:
            continue  # the whole extent is moved inside whatever the start: there is one place
        ok = bitwise_and(ge(start, 0), le(start, shape[axis] - size))
        yield Check("index", _out_of_bounds(shape, (axis,)), e.source), ok, [start]


def _vectors(e: Eqn, shape: Any, indices: Any, dims: Sequence[int], sizes: Sequence[int]) -> Found:
    aval = typeof(indices)
    if 0 in aval.shape or not dims:
        return
    flat = reshape(indices, (math.prod(aval.shape[:-1]), len(dims)))
    wide = convert_element_type(flat, dtypes.int32 if aval.dtype.itemsize < 4 else aval.dtype)
    last = [shape[d] - sizes[d] for d in dims]
    columns = [dynamic_index_in_dim(wide, i, 1, False) for i in range(len(dims))]
    for d, limit, column in zip(dims, last, columns):
        inside = bitwise_and(ge(column, 0), le(column, limit))
        worst = dynamic_index_in_dim(column, argmin(inside, 0), 0, False)
        yield Check("index", _out_of_bounds(shape, (d,)), e.source), _all(inside), [worst]


def _out_of_bounds(shape: Any, dims: Sequence[int]) -> Callable[..., str]:
    text = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")

    def message(index: Any) -> str:
        return (
            f"out-of-bounds indexing for array of shape ({text}): index {index} is out of bounds "
            f"for axis {dims[0]} with size {shape[dims[0]]}."
        )

    return message


# In the order in which one equation is looked at: what was wrong with operands comes first.
AUTOMATIC = {"index": index_check, "div": division_check, "nan": nan_check}
CATEGORIES = frozenset({"user", *AUTOMATIC})
