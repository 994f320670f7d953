"""Scans whose number of turns is a value of the program, as reverse mode makes them of `while`.

Their stacks have no known size, so no arena holds them: the loop runs in Python, each turn as
native code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import backend
from funcgrad.core.jaxpr import Eqn

Run = Callable[[Sequence[Any]], Sequence[Any]]


def is_counted(e: Eqn) -> bool:
    """Is it a scan whose first operand is the number of turns?"""
    return e.primitive.name == "scan" and e.params["length"] is None and not e.effects


def counted_scan(e: Eqn, body: Run) -> Run:
    """The scan as a function of buffers; `body` runs one turn."""
    p = e.params
    consts, ncarry = p["num_consts"], p["num_carry"]
    rows = [v.aval.update(shape=v.aval.shape[1:]) for v in e.outs[ncarry:]]

    def run(buffers: Sequence[Any]) -> Sequence[Any]:
        length, held = int(buffers[0]), buffers[1 : 1 + consts]
        carry, xs = buffers[1 + consts :][:ncarry], buffers[1 + consts + ncarry :]
        stacks = [
            np.empty((length, *backend.physical_shape(a)), backend.physical_dtype(a)) for a in rows
        ]
        for i in reversed(range(length)) if p["reverse"] else range(length):
            outs = body([*held, *carry, *(x[i] for x in xs)])
            carry = outs[:ncarry]
            for stack, row in zip(stacks, outs[ncarry:]):
                stack[i] = row
        return [*carry, *stacks]

    return run
