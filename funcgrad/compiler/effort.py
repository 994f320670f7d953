"""How long a kernel runs, roughly: enough to tell microseconds from milliseconds.

From that follows whether a call lets other threads of Python run meanwhile, and whether a kernel is
worth several threads. The choice depends on sizes alone, never on the clock.
"""

from __future__ import annotations

import math

from funcgrad.compiler.graph import COSTS
from funcgrad.compiler.kernel import Accumulate, Compute, Kernel, Load, Stage, Store
from funcgrad.compiler.products import Convolution, Product

STATEMENT = 4e-11  # seconds for one operation on one number, in vectors
MULTIPLICATION = 1e-11  # seconds for a multiplication and an addition of a matrix product
BYTE = 2e-11  # seconds for a byte read or written


def duration(kernel: Kernel) -> float:
    """An estimate in seconds, on one thread."""
    rows = math.prod(loop.extent for loop in kernel.rows)
    found = sum(rows * _stage(stage) for stage in kernel.stages)
    if kernel.tile is not None:
        found += MULTIPLICATION * multiplications(kernel.tile.form)
    return found


def multiplications(form: Product | Convolution) -> int:
    """How many products of two numbers a matrix product or convolution adds up."""
    if isinstance(form, Product):
        return math.prod(form.extents) * form.summed.extent
    kernel = form.shapes[1]
    features = dict(form.parameters)["dimension_numbers"].rhs_spec[0]
    return math.prod(form.extents) * math.prod(kernel) // max(kernel[features], 1)


def _stage(stage: Stage) -> float:
    turns = math.prod(loop.extent for loop in stage.loops)
    return turns * sum(map(_statement, (*stage.statements, *stage.reductions)))


def _statement(s: object) -> float:
    if isinstance(s, (Load, Store, Accumulate)):
        dtype = s.ref.dtype if isinstance(s, Load) else s.buffer.dtype
        return BYTE * dtype.itemsize
    return STATEMENT * (COSTS.get(s.name, 1) if isinstance(s, Compute) else 1)
