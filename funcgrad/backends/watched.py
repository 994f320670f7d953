"""The engine of `debug_nans` and `debug_infs`: a program runs as fast as ever, and what it returns
is looked at.

If there is a NaN where none may be, the program runs again equation by equation, and the first one
that makes a NaN raises, naming itself and the user's line. A program with effects is run that way
at once, so that they happen once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core import backend, watch
from funcgrad.core.jaxpr import Jaxpr, eval_eqn
from funcgrad.core.primitive import result_buffer, wrap_buffer
from funcgrad.core.source import inherited
from funcgrad.core.trace import EVAL, running


def compile(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Callable[[Sequence[Any]], list[Any]]:
    """The program as a function of buffers. Donated ones are kept: the program may run twice."""
    if jaxpr.effects:
        return lambda buffers: _step_by_step(jaxpr, buffers)
    fast = backend.load(backend.engine_name()).compile(jaxpr)

    def run(buffers: Sequence[Any]) -> list[Any]:
        outs = fast(buffers)
        if any(watch.unwanted(o) for o in outs):
            _step_by_step(jaxpr, buffers)
            watch.refuse("a compiled function, though none of its operations alone", outs)
        return outs

    return run


def _step_by_step(jaxpr: Jaxpr, buffers: Sequence[Any]) -> list[Any]:
    """Runs the program on arrays; operations are watched one by one."""
    arrays = [wrap_buffer(b, aval) for b, aval in zip(buffers, jaxpr.in_avals)]
    env: dict[Any, Any] = dict(zip(jaxpr.inputs, (*jaxpr.consts, *arrays), strict=True))
    token = inherited.set(None)
    try:
        with running(EVAL):
            for e in jaxpr.eqns:
                inherited.set(e.source)
                eval_eqn(e, env, EVAL)
    finally:
        inherited.reset(token)
    outs = [env.get(o, getattr(o, "value", None)) for o in jaxpr.outputs]
    return [result_buffer(o, aval) for o, aval in zip(outs, jaxpr.out_avals)]
