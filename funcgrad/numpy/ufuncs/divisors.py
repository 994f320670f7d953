"""Greatest common divisors and least common multiples, by Euclid's algorithm on all pairs at
once.
"""

from __future__ import annotations

from typing import Any

from funcgrad.control.loop import while_loop
from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.core.dtypes import short_name
from funcgrad.numpy.promote import (
    broadcast_shapes,
    broadcast_to_shape,
    choose,
    promote_args,
    promote_dtypes,
)
from funcgrad.numpy.ufuncs.arithmetic import absolute, floor_divide
from funcgrad.primitives import elementwise as P, logic
from funcgrad.primitives.basis import mul
from funcgrad.primitives.reduce import reduce_or


def gcd(x1: Any, x2: Any) -> Array:
    """Greatest common divisor of integers, never negative; gcd(0, 0) is 0."""
    x1, x2 = _integers("gcd", x1, x2)
    shape = broadcast_shapes("gcd", x1.shape, x2.shape)
    state = [broadcast_to_shape(absolute(x), shape) for x in (x1, x2)]
    return while_loop(_some_remainder, _euclid, tuple(state))[0]


def _some_remainder(state):
    return reduce_or(logic.ne(state[1], 0), tuple(range(state[1].ndim)))


def _euclid(state):
    """One step of Euclid's algorithm for each pair that is not finished."""
    a, b = state
    going = logic.ne(b, 0)
    return choose(going, b, a), choose(going, P.rem(a, b), b)


def lcm(x1: Any, x2: Any) -> Array:
    """Least common multiple of integers, never negative; 0 if either is 0."""
    x1, x2 = _integers("lcm", x1, x2)
    x1, x2 = absolute(x1), absolute(x2)
    divisor = gcd(x1, x2)
    x1, x2 = promote_args("lcm", x1, floor_divide(x2, choose(logic.eq(divisor, 0), 1, divisor)))
    return mul(x1, x2)


def _integers(name, x1, x2):
    x1, x2 = promote_dtypes(name, x1, x2)
    if not dtypes.is_integer(x1.dtype):
        raise TypeError(
            f"{name}: needs integers, but got {short_name(x1.dtype)}. Convert with astype."
        )
    return x1, x2
