"""Steps of a native program between its segments: equations that have no native form. NumPy runs
them, but of loops that make large arrays only the loop; their bodies are programs again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.backends import numpy as numpy_engine
from funcgrad.backends.llvm.counted import counted_scan, is_counted
from funcgrad.backends.llvm.native import plain
from funcgrad.backends.loop_source import KINDS
from funcgrad.compiler.passes import scans
from funcgrad.compiler.program import Step
from funcgrad.compiler.views import form_of
from funcgrad.core import backend, dtypes, loops
from funcgrad.core.jaxpr import Eqn, subjaxprs
from funcgrad.core.primitive import Primitive

# Elements; for less, NumPy is as fast as a call of native code. No more than what passes take a
# maximum of before the loop (`scans.LARGE`): NumPy would not find native code's again.
LARGE = scans.LARGE


class Outside:
    """A step on arrays: one equation, by NumPy or by an engine of its own."""

    def __init__(self, e: Eqn, function: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self.e, self.function = e, function

    def __call__(self, program: Any, arrays: list[Any], table: Any) -> None:
        operands = [program.array(a, arrays) for a in self.e.args]
        results = self.function(operands)
        for v, x in zip(self.e.outs, results):
            entry = program.layout.slots[v].entry
            x = numpy_engine.own(plain(x), *operands)
            arrays[entry] = x
            table[entry] = x.ctypes.data


def outside(e: Eqn) -> Outside:
    """What runs one equation on arrays."""
    form = form_of(e)
    if type(e.primitive).evaluate is not Primitive.evaluate:
        is_call = isinstance(form, loops.Call) and form.kind in ("call", "checkpoint")
        if is_call and not e.effects:
            return Outside(e, backend.load("llvm").compile(e.params[form.jaxprs[0]]))  # type: ignore[union-attr]
        if is_counted(e):
            return Outside(e, counted_scan(e, backend.load("llvm").compile(e.params["jaxpr"])))
        if isinstance(form, loops.Call) and form.kind in KINDS and _is_large(e.params):
            compiled = backend.load("llvm").compile
            return Outside(e, numpy_engine.loop_of_calls(e, form.kind, compiled))
        return Outside(e, numpy_engine.inner_call(Step("host", [e], [form])).function)
    if e.effects or (not e.primitive.keys and any(dtypes.is_key(a.aval.dtype) for a in e.args)):
        return Outside(e, lambda buffers: numpy_engine.evaluate(e, buffers))
    value = e.primitive.rule("value", "evaluation")
    quiet = backend.quiet

    def run(buffers: Sequence[Any]) -> Sequence[Any]:
        out = quiet.run(value, backend.NUMPY, *buffers, **e.params)
        return out if e.primitive.multiple_results else [out]

    return Outside(e, run)


def _is_large(params: dict[str, Any]) -> bool:
    """Do inner programs make arrays for which native code pays?"""
    return any(
        any(_elements(v.aval.shape) >= LARGE for v in e.outs) or _is_large(e.params)
        for inner in subjaxprs(params)
        for e in inner.eqns
    )


def _elements(shape: Sequence[Any]) -> int:
    """How many there are; sizes that are not known count as one."""
    return math.prod(n for n in shape if isinstance(n, int))
