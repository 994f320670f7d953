"""The reference engine: a program evaluated equation by equation, by each primitive's `value`, and
nothing else.

What the other engines are tested against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr
from funcgrad.core.primitive import result_buffer, wrap_buffer
from funcgrad.core.trace import EVAL


def compile(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Callable[[Sequence[Any]], list[Any]]:
    """The program as a function of buffers. Donated buffers are left alone."""
    avals, out_avals = jaxpr.in_avals, jaxpr.out_avals

    def run(buffers: Sequence[Any]) -> list[Any]:
        arrays = [wrap_buffer(b, aval) for b, aval in zip(buffers, avals)]
        outs = eval_jaxpr(jaxpr, arrays, EVAL)
        return [result_buffer(o, aval) for o, aval in zip(outs, out_avals)]

    return run
