"""One program per lane: how a branch or a loop with a predicate of its own for each lane is mapped.

It becomes a scan over the lanes without a carry: mapped operands are its inputs, the others
constants. No rule of its own is needed, each lane takes exactly its own branch or number of trips,
and derivatives are those of single lanes. The parameter `lanes` tells engines that the steps have
no order (see `compiler/lanes.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.control.checks import CHECK_EFFECT
from funcgrad.control.scan import scan_p
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.trace import Axis
from funcgrad.primitives.basis import moveaxis
from funcgrad.transforms.dce import derive


def over_lanes(
    axis: Axis, args: Sequence[Any], dims: Sequence[int | None], run: Callable[..., Any]
) -> Any:
    """`run` on each lane; results and where their mapped dimension is."""
    mapped = [d is not None for d in dims]
    fixed = [a for a, m in zip(args, mapped) if not m]
    rows = [moveaxis(a, d, 0) for a, d in zip(args, dims) if d is not None]
    avals = [typeof(a) for a in fixed] + [_row(typeof(a)) for a in rows]

    def lane(*operands: Any) -> Any:
        shared, own = iter(operands[: len(fixed)]), iter(operands[len(fixed) :])
        return run(*(next(own) if m else next(shared) for m in mapped))

    outs = scan_p.bind(
        *fixed,
        *rows,
        jaxpr=derive(lane, avals),
        length=axis.size,
        reverse=False,
        unroll=1,
        num_consts=len(fixed),
        num_carry=0,
        lanes=True,
    )
    return outs, [0] * len(outs)


def needs_all_lanes(jaxpr: Jaxpr, axis: Axis) -> bool:
    """Must every lane run the program at once? So it is if lanes talk to one another, or to the
    world, as with JAX's selects. A check is the lane's own: it counts only where the lane goes.
    """
    return axis.together or axis.name in jaxpr.names or not jaxpr.effects <= CHECK_EFFECT


def _row(aval: ShapedArray) -> ShapedArray:
    return aval.update(shape=aval.shape[1:])
