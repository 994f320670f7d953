"""What the formulas of special functions are evaluated with: polynomials, cache-sized blocks,
and parts of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes

BLOCK = (
    1 << 14
)  # elements at a time: the handful of intermediates stay in a core's second-level cache


class Lanes:
    """What stands in for NumPy where a formula is turned into code, for the lanes of a register:
    then the functions below, which look at values, are methods of it.
    """

    def polynomial(self, coefficients: Sequence[float], x: Any) -> Any:
        """As the function."""
        raise TypeError("Lanes: needs a subclass that writes code.")

    def fill(self, out: Any, where: Any, function: Callable[..., Any], *xs: Any) -> None:
        """As the function."""
        raise TypeError("Lanes: needs a subclass that writes code.")

    def until_converged(self, state: Sequence[Any], step: Callable[..., Any], limit: int) -> Any:
        """As the function."""
        raise TypeError("Lanes: needs a subclass that writes code.")


def polynomial(xp: Any, coefficients: Sequence[float], x: Any) -> Any:
    """The polynomial with the lowest power first, by Horner's rule, in x's dtype and one buffer."""
    if isinstance(xp, Lanes):
        return xp.polynomial(coefficients, x)
    constants = [x.dtype.type(c) for c in coefficients]
    result = x * constants[-1]
    for c in constants[-2:0:-1]:
        xp.add(result, c, out=result)
        xp.multiply(result, x, out=result)
    return xp.add(result, constants[0], out=result)


def in_blocks(function: Callable[..., Any], dtype: Any = None) -> Callable[..., Any]:
    """A `value` rule from a function of vectors: operands of equal shape or rank 0, taken a block
    at a time.

    The function is given arrays of rank 1 in `dtype` (default: their own, bfloat16 and float16 as
    float32), and its result is rounded to the operands' dtype. The rule's `of_vectors` is the
    function, for those who turn it into code.
    """

    def value(xp, *xs, **params):
        shape, own = max((x.shape for x in xs), key=len), xs[0].dtype
        working = dtype or (own if own.itemsize >= 4 else dtypes.float32)
        flat = [xp.broadcast_to(x, shape).reshape(-1) for x in xs]
        if flat[0].size <= BLOCK:
            out = function(xp, *(x.astype(working, copy=False) for x in flat), **params)
            return out.astype(own, copy=False).reshape(shape)
        out = xp.empty(flat[0].shape, own)
        for start in range(0, out.size, BLOCK):
            here = slice(start, start + BLOCK)
            block = (x[here].astype(working, copy=False) for x in flat)
            out[here] = function(xp, *block, **params)
        return out.reshape(shape)

    value.of_vectors = function  # type: ignore[attr-defined]
    return value


def fill(xp: Any, out: Any, where: Any, function: Callable[..., Any], *xs: Any) -> None:
    """out[where] = function(xp, *xs[where]): a formula is evaluated where it is needed, and
    nowhere else.
    """
    if isinstance(xp, Lanes):
        return xp.fill(out, where, function, *xs)
    positions = xp.flatnonzero(where)
    if positions.size == out.size:
        out[...] = function(xp, *xs)
    elif positions.size:
        out[positions] = function(xp, *(x[positions] for x in xs))


def until_converged(
    xp: Any, state: Sequence[Any], step: Callable[..., Any], limit: int
) -> Sequence[Any]:
    """Repeats `step(xp, count, *state) -> (state, unfinished)` until all have been finished once.

    A state is a list of vectors. What an element has when it is finished is its result; it is
    taken out when a quarter of all are finished, and what further steps make of it does not count.
    At most `limit` steps are made; what has not converged then stays.
    """
    if isinstance(xp, Lanes):
        return xp.until_converged(state, step, limit)
    result, positions = [xp.empty_like(part) for part in state], xp.arange(state[0].size)
    unfinished = xp.ones(positions.shape, bool)
    for count in range(1, limit + 1):
        state, change = step(xp, count, *state)
        _put(xp, result, positions, state, unfinished & ~change)
        unfinished = unfinished & change
        left = int(xp.count_nonzero(unfinished))
        if left == 0:
            break
        if 4 * left < 3 * positions.size:
            kept = xp.flatnonzero(unfinished)
            positions, unfinished = positions[kept], unfinished[kept]
            state = [part[kept] for part in state]
    _put(xp, result, positions, state, unfinished)
    return result


def _put(xp: Any, result: Sequence[Any], positions: Any, state: Sequence[Any], where: Any) -> None:
    chosen = xp.flatnonzero(where)
    if chosen.size:
        for whole, part in zip(result, state, strict=True):
            whole[positions[chosen]] = part[chosen]


def poles(xp: Any, x: Any) -> Any:
    """Where x is zero or a negative integer."""
    return (x <= 0) & (x == xp.floor(x))


FLOAT64 = np.dtype(np.float64)
