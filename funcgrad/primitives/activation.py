"""The rectifier, a primitive because it is in every network and none of its compositions is as
cheap.

One pass forward; its derivative is read from the result, so nothing else is kept; and that
derivative is 0 at 0, where `max(x, 0)` has 1/2.
"""

from __future__ import annotations

from typing import Any

from funcgrad.core.avals import typeof
from funcgrad.primitives.basis import convert_element_type
from funcgrad.primitives.kinds import REALS, elementwise
from funcgrad.primitives.logic import gt

relu_p = elementwise(
    "relu",
    accepts=REALS,
    value=lambda xp, x: xp.maximum(x, x.dtype.type(0)),
    partials=[lambda y, x: convert_element_type(gt(y, 0), typeof(y).dtype)],
    scalar=lambda k, x: k.max(x, k.const(0, k.dtype(x))),
)


def relu(x: Any) -> Any:
    """max(x, 0), elementwise, with derivative 0 at 0; NaN stays NaN."""
    return relu_p.bind(x)
