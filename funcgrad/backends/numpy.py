"""The NumPy engine: an optimised program as one generated Python function over NumPy calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.backends import reference
from funcgrad.compiler.pipeline import optimise
from funcgrad.core import backend
from funcgrad.core.array import ConcreteArray, KeyArray
from funcgrad.core.dtypes import is_key
from funcgrad.core.jaxpr import Eqn, Jaxpr, Literal
from funcgrad.core.primitive import Primitive, result_buffer
from funcgrad.core.trace import EVAL, running

Run = Callable[[Sequence[Any]], list[Any]]


def compile(jaxpr: Jaxpr, donated: tuple[bool, ...] = ()) -> Run:  # noqa: A001
    program = optimise(jaxpr)
    fallback: list[Run] = []
    steps = [_step(e) for e in program.eqns]
    consts = [c._buffer for c in program.consts]
    index = {}
    for v in program.inputs:
        index[v] = len(index)

    def run(buffers: Sequence[Any]) -> list[Any]:
        if not all(isinstance(b, (np.ndarray, np.generic)) for b in buffers):
            if not fallback:
                fallback.append(reference.compile(jaxpr))
            return fallback[0](buffers)
        env = dict(zip(program.inputs, [*consts, *buffers], strict=True))
        read = lambda a: _literal(a) if type(a) is Literal else env[a]
        for e, step in zip(program.eqns, steps):
            env.update(zip(e.outs, step([read(a) for a in e.args])))
        held = [*consts, *buffers]
        outs = []
        for o in program.outputs:
            x = read(o)
            if isinstance(x, np.ndarray) and (x.base is not None or any(x is h for h in held)):
                x = x.copy()
            held.append(x)
            outs.append(x)
        return outs

    return run


def _literal(a: Literal) -> Any:
    return np.asarray(a.value._buffer if isinstance(a.value, ConcreteArray) else a.value, a.aval.dtype)


def _step(e: Eqn) -> Any:
    p = e.primitive
    if type(p).evaluate is not Primitive.evaluate or any(is_key(a.aval.dtype) for a in e.args if not p.keys):
        return lambda args: _evaluate(e, args)
    many = p.multiple_results

    def step(args: Any) -> Any:
        out = backend.quiet.run(p.value, backend.NUMPY, *args, **e.params)
        return out if many else [out]

    return step


def _evaluate(e: Eqn, args: Sequence[Any]) -> Any:
    arrays = [
        KeyArray(b, a.aval.dtype) if is_key(a.aval.dtype) else ConcreteArray(b, a.aval.weak_type)
        for b, a in zip(args, e.args)
    ]
    with running(EVAL):
        out = e.primitive.evaluate(arrays, e.params)
    outs = out if e.primitive.multiple_results else [out]
    return [result_buffer(o, v.aval) for o, v in zip(outs, e.outs)]


def as_text(jaxpr: Jaxpr, dialect: str) -> str:
    return str(optimise(jaxpr))
