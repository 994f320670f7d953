"""Running reductions along one axis: cumsum, cumprod, cummax, cummin, cumlogsumexp.

cumsum is linear. The others differentiate through a parallel prefix scan over values and tangents:
its log2(n) steps are built from products, selections and sums alone, so that derivatives of every
order are exact, at zeros, ties and infinities too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import add, div, full, mul, neg, select_n, sub
from funcgrad.primitives.elementwise.exponential import exp, log1p, logistic
from funcgrad.primitives.logic import eq, ge, gt, lt, ne
from funcgrad.primitives.shape import concatenate, rev, slice_in_dim
from funcgrad.primitives.slicing import nonnegative

Parts = tuple[Any, ...]


# ---------------------------------------------------------------- what all five share


def _cumulation(name: str, *, run, op: str, accepts, tangent=None) -> Primitive:
    """A running reduction as a primitive.

    `run(xp, x, axis)` computes it from the left, `op` is its monoid for kernels, and
    `tangent(x, t, axis)` its derivative from the left; without one it is linear.
    """

    def cumulate(x, axis, reverse):
        return primitive.bind(x, axis=axis, reverse=reverse)

    def abstract(x, *, axis, reverse):
        if not accepts(x.dtype):
            raise TypeError(f"{name}: does not accept {x.dtype}. Convert with astype first.")
        return ShapedArray(x.shape, x.dtype)

    def value(xp, x, *, axis, reverse):
        abstract(x, axis=axis, reverse=reverse)
        return xp.flip(run(xp, xp.flip(x, axis), axis), axis) if reverse else run(xp, x, axis)

    def jvp(primals, tangents, *, axis, reverse):
        (x,), (t,) = primals, tangents
        out = cumulate(x, axis, reverse)
        if reverse:
            return out, rev(tangent(rev(x, (axis,)), rev(t, (axis,)), axis), (axis,))
        return out, tangent(x, t, axis)

    def batch(mapped, args, dims, /, *, axis, reverse):
        (x,), (dim,) = args, dims
        return cumulate(x, axis + (axis >= dim), reverse), dim

    primitive = Primitive(
        name,
        abstract=abstract,
        value=value,
        batch=batch,
        loops=lambda x, *, axis, reverse: loops.Cumulate(op, axis, reverse),
        **(
            {"jvp": jvp}
            if tangent
            else {
                "linear": (0,),
                "transpose": lambda ct, x, *, axis, reverse: [cumulate(ct, axis, not reverse)],
            }
        ),
    )
    return primitive


def _bind(primitive: Primitive, x: Any, axis: int, reverse: bool) -> Any:
    axis = nonnegative(axis, len(typeof(x).shape), primitive.name)
    return primitive.bind(x, axis=axis, reverse=bool(reverse))


def _prefix_scan(combine: Callable[[Parts, Parts], Parts], parts: Parts, axis: int) -> Parts:
    """All prefixes of `parts` combined, in log2(n) steps that each double what is covered."""
    size, step = typeof(parts[0]).shape[axis], 1
    while step < size:
        earlier = tuple(slice_in_dim(p, 0, size - step, axis=axis) for p in parts)
        later = tuple(slice_in_dim(p, step, size, axis=axis) for p in parts)
        parts = tuple(
            concatenate([slice_in_dim(p, 0, step, axis=axis), c], axis)
            for p, c in zip(parts, combine(earlier, later), strict=True)
        )
        step *= 2
    return parts


def _number(dtype):
    return dtype != dtypes.bool_


def _run_ufunc(name: str) -> Callable[..., Any]:
    """`name.accumulate`; where the module has none, the same in log2(n) whole-array steps."""

    def run(xp, x, axis):
        ufunc = getattr(xp, name)
        try:
            return ufunc.accumulate(x, axis)
        except (AttributeError, NotImplementedError):
            return _run_doubling(xp, ufunc, x, axis)

    return run


def _run_doubling(xp, combine, x, axis):
    out, step = xp.moveaxis(x.copy(), axis, 0), 1
    while step < out.shape[0]:
        out[step:] = combine(out[:-step], out[step:])
        step *= 2
    return xp.moveaxis(out, 0, axis)


# ---------------------------------------------------------------- cumsum, cumprod


def _own_integer(x):
    """NumPy widens small integers unless told their type; of narrow floats it is not told."""
    return x.dtype if dtypes.is_integer(x.dtype) else None


cumsum_p = _cumulation(
    "cumsum",
    run=lambda xp, x, axis: xp.cumsum(x, axis, dtype=_own_integer(x)),
    op="add",
    accepts=_number,
)


def cumsum(x: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running sum along `axis`; with `reverse`, of what follows instead of what precedes."""
    return _bind(cumsum_p, x, axis, reverse)


def _product_of_pairs(earlier, later):
    """The product and its derivative; there is no division, so zeros do no harm."""
    (a, da), (b, db) = earlier, later
    return mul(a, b), add(mul(a, db), mul(da, b))


cumprod_p = _cumulation(
    "cumprod",
    run=lambda xp, x, axis: xp.cumprod(x, axis, dtype=_own_integer(x)),
    op="mul",
    accepts=_number,
    tangent=lambda x, t, axis: _prefix_scan(_product_of_pairs, (x, t), axis)[1],
)


def cumprod(x: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running product along `axis`; with `reverse`, of what follows instead of what precedes."""
    return _bind(cumprod_p, x, axis, reverse)


# ---------------------------------------------------------------- cummax, cummin


def _extremum_of_triples(beats):
    """Combines (extremum, sum of the tangents of those that attain it, how many they are)."""

    def combine(earlier, later):
        (a, *of_a), (b, *of_b) = earlier, later
        first, tie = beats(a, b), eq(a, b)
        shared = [
            select_n(tie, select_n(first, y, x), add(x, y)) for x, y in zip(of_a, of_b, strict=True)
        ]
        return select_n(first, b, a), *shared

    return combine


def _extremum_tangent(beats):
    """The elements that attain the extremum share its derivative equally, as in reduce_max."""

    def tangent(x, t, axis):
        ones = full(typeof(t).shape, 1, typeof(t).dtype)
        _, total, count = _prefix_scan(_extremum_of_triples(beats), (x, t, ones), axis)
        return div(total, count)

    return tangent


cummax_p = _cumulation(
    "cummax",
    run=_run_ufunc("maximum"),
    op="max",
    accepts=_number,
    tangent=_extremum_tangent(gt),
)


def cummax(x: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running maximum along `axis`; NaN from the first NaN on."""
    return _bind(cummax_p, x, axis, reverse)


cummin_p = _cumulation(
    "cummin",
    run=_run_ufunc("minimum"),
    op="min",
    accepts=_number,
    tangent=_extremum_tangent(lt),
)


def cummin(x: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running minimum along `axis`; NaN from the first NaN on."""
    return _bind(cummin_p, x, axis, reverse)


# ---------------------------------------------------------------- cumlogsumexp


def _run_logaddexp(xp, x, axis):
    if x.dtype.itemsize >= 4:
        return _run_ufunc("logaddexp")(xp, x, axis)
    return _run_ufunc("logaddexp")(xp, x.astype(np.float32), axis).astype(x.dtype)


def _logaddexp_of_pairs(earlier, later):
    """log(exp a + exp b) and its derivative, whose weights are logistic(a - b) and logistic(b - a).

    The larger operand is chosen by selection, not by max and abs: both branches are smooth where
    a = b, so that higher derivatives are right there too.
    """
    (a, da), (b, db) = earlier, later
    difference = sub(a, b)
    equal_infinities = ne(difference, difference)
    difference = select_n(equal_infinities, difference, full(typeof(a).shape, 0, typeof(a).dtype))
    opposite = neg(difference)
    a_leads = ge(difference, full(typeof(a).shape, 0, typeof(a).dtype))
    larger = select_n(a_leads, b, a)
    total = add(larger, log1p(exp(select_n(a_leads, difference, opposite))))
    return total, add(mul(logistic(difference), da), mul(logistic(opposite), db))


cumlogsumexp_p = _cumulation(
    "cumlogsumexp",
    run=_run_logaddexp,
    op="logaddexp",
    accepts=dtypes.is_float,
    tangent=lambda x, t, axis: _prefix_scan(_logaddexp_of_pairs, (x, t), axis)[1],
)


def cumlogsumexp(x: Any, axis: int = 0, reverse: bool = False) -> Any:
    """Running log(sum(exp(x))) along `axis`, without overflow; with `reverse`, of what follows."""
    return _bind(cumlogsumexp_p, x, axis, reverse)
