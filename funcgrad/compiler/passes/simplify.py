"""Local algebra: a table of rules by primitive, each offered an equation of the program being
written.

A rule returns what stands for the equation's result, or None. Unless its line says otherwise it is
exact in IEEE arithmetic, for NaN, infinities and the sign of zero too. Rules on shapes are in
`reshape_rules`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.passes import pad_rules, reshape_rules
from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.compiler.rules import RULES, fill_value, is_fill, rule
from funcgrad.compiler.views import form_of
from funcgrad.core import dtypes
from funcgrad.core.array import ConcreteArray
from funcgrad.core.backend import NARROW
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr, Literal, Var
from funcgrad.core.loops import Map
from funcgrad.primitives.activation import relu_p
from funcgrad.primitives.basis import (
    add_p,
    broadcast_in_dim_p,
    convert_element_type_p,
    div_p,
    mul_p,
    neg_p,
    select_n_p,
    sub_p,
)
from funcgrad.primitives.convert import stop_gradient_p
from funcgrad.primitives.elementwise import conj_p, integer_pow_p, max_p, min_p, square_p
from funcgrad.primitives.logic import and_p, gt_p, not_p, or_p

__all__ = ["RULES", "pad_rules", "reshape_rules", "simplify"]


def simplify(jaxpr: Jaxpr) -> Jaxpr:
    """Offers each equation to the rules of its primitive, in order of evaluation."""
    return rewrite(jaxpr, _visit)


def _visit(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    if e.primitive.multiple_results:
        return None
    for simpler in RULES.get(e.primitive, ()):
        found = simpler(program, e)
        if found is not None and _fits(found, e.outs[0]):
            return [found]
    shrunk = _shrink(program, e)
    return None if shrunk is None else [shrunk]


def _fits(found: Atom, out: Var) -> bool:
    return found.aval.shape == out.aval.shape and found.aval.dtype == out.aval.dtype


def _is_complex(x: Atom) -> bool:
    return dtypes.is_complex(x.aval.dtype)


def _is_float(x: Atom) -> bool:
    return dtypes.is_float(x.aval.dtype)


def _negated(program: Rewriter, x: Atom) -> Atom | None:
    """y where x is -y."""
    e = program.definition(x, neg_p)
    return None if e is None else e.args[0]


# ---- sums
# ----------------------------------------------------------------------------------------------


@rule(add_p)
def plus_zero(program: Rewriter, e: Eqn) -> Atom | None:
    """x + 0 -> x for integers; for floats only -0.0 may go: x + 0.0 turns -0.0 into 0.0"""
    x, y = e.args
    if _is_complex(x):
        return None
    zero = -0.0 if _is_float(x) else 0
    return x if is_fill(program, y, zero) else y if is_fill(program, x, zero) else None


@rule(add_p)
def plus_negative(program: Rewriter, e: Eqn) -> Atom | None:
    """x + (-y) -> x - y"""
    x, y = e.args
    if (minus_y := _negated(program, y)) is not None:
        return program.emit(sub_p, x, minus_y)
    if (minus_x := _negated(program, x)) is not None:
        return program.emit(sub_p, y, minus_x)
    return None


@rule(add_p)
def plus_itself(program: Rewriter, e: Eqn) -> Atom | None:
    """x + x -> 2 x"""
    x, y = e.args
    if x is not y or _is_complex(x):
        return None
    return program.emit(mul_p, x, number(2, x))


@rule(sub_p)
def minus_zero(program: Rewriter, e: Eqn) -> Atom | None:
    """x - 0 -> x"""
    x, y = e.args
    return x if not _is_complex(x) and is_fill(program, y, 0) else None


@rule(sub_p)
def minus_negative(program: Rewriter, e: Eqn) -> Atom | None:
    """x - (-y) -> x + y"""
    y = _negated(program, e.args[1])
    return None if y is None else program.emit(add_p, e.args[0], y)


@rule(neg_p)
def negative_twice(program: Rewriter, e: Eqn) -> Atom | None:
    """-(-x) -> x"""
    return _negated(program, e.args[0])


# ---- products
# ------------------------------------------------------------------------------------------


def number(value: Any, like: Atom) -> Literal:
    """A rank-0 constant of the dtype of `like`."""
    aval = like.aval.update(shape=())
    return Literal(ConcreteArray(aval.dtype.type(value), aval.weak_type), aval)


@rule(mul_p)
def times_one(program: Rewriter, e: Eqn) -> Atom | None:
    """x * 1 -> x; not for complex x, whose infinite parts would become NaN"""
    x, y = e.args
    if _is_complex(x):
        return None
    return x if is_fill(program, y, 1) else y if is_fill(program, x, 1) else None


@rule(mul_p)
def times_minus_one(program: Rewriter, e: Eqn) -> Atom | None:
    """x * -1 -> -x"""
    x, y = e.args
    if _is_complex(x) or x.aval.dtype.kind == "u":
        return None
    other = x if is_fill(program, y, -1) else y if is_fill(program, x, -1) else None
    return None if other is None else program.emit(neg_p, other)


@rule(mul_p)
def times_zero(program: Rewriter, e: Eqn) -> Atom | None:
    """x * 0 -> 0 for integers; for floats it may be NaN or -0.0"""
    x, y = e.args
    if not dtypes.is_integer(x.aval.dtype):
        return None
    return y if is_fill(program, y, 0) else x if is_fill(program, x, 0) else None


@rule(div_p)
def divided_by_one(program: Rewriter, e: Eqn) -> Atom | None:
    """x / 1 -> x"""
    x, y = e.args
    return x if not _is_complex(x) and is_fill(program, y, 1) else None


@rule(div_p)
def divided_by_power_of_two(program: Rewriter, e: Eqn) -> Atom | None:
    """x / 2**k -> x * 2**-k, where both powers are normal numbers of the type"""
    x, y = e.args
    divisor = fill_value(program, y)
    if divisor is None or not _is_float(x):
        return None
    mantissa, exponent = math.frexp(float(divisor))
    if abs(mantissa) != 0.5 or not -13 < exponent < 14:  # normal in every type, float16 too
        return None
    return program.emit(mul_p, x, number(1 / float(divisor), x))


@rule(integer_pow_p)
def small_power(program: Rewriter, e: Eqn) -> Atom | None:
    """x**1 -> x, x**2 -> square x, x**3 -> x * square x: the same products in the same order"""
    (x,), y = e.args, e.params["y"]
    if y == 1:
        return x
    if y == 2:
        return program.emit(square_p, x)
    if y == 3 and x.aval.dtype not in NARROW:  # narrow floats are rounded once, at the end
        return program.emit(mul_p, x, program.emit(square_p, x))
    return None


# ---- selection and order
# -------------------------------------------------------------------------------


@rule(select_n_p)
def known_choice(program: Rewriter, e: Eqn) -> Atom | None:
    """select(constant, cases) -> the case it numbers"""
    which, *cases = e.args
    number_of = fill_value(program, which)
    if number_of is None:
        return None
    return cases[min(max(int(number_of), 0), len(cases) - 1)]


@rule(select_n_p)
def equal_cases(program: Rewriter, e: Eqn) -> Atom | None:
    """select(which, x, x) -> x"""
    _, first, *rest = e.args
    return first if all(case is first for case in rest) else None


@rule(max_p, min_p, and_p, or_p)
def with_itself(program: Rewriter, e: Eqn) -> Atom | None:
    """max(x, x) -> x, and so for min, and, or"""
    return e.args[0] if e.args[0] is e.args[1] else None


@rule(max_p, relu_p)
def remember_rectified(program: Rewriter, e: Eqn) -> Atom | None:
    """Notes y = max(x, 0) for `sign_of_rectified`; changes nothing"""
    if e.primitive is relu_p or is_fill(program, e.args[1], 0):
        program.notes[e.args[0]] = e.outs[0]
    return None


@rule(gt_p)
def sign_of_rectified(program: Rewriter, e: Eqn) -> Atom | None:
    """x > 0 -> y > 0 where y = max(x, 0) is computed anyway: x itself may be forgotten. NaN
    agrees
    """
    x, y = e.args
    rectified = program.atom(program.notes[x]) if x in program.notes else None
    if rectified is None or not is_fill(program, y, 0):
        return None
    return program.emit(gt_p, rectified, y)


@rule(not_p)
def not_twice(program: Rewriter, e: Eqn) -> Atom | None:
    """not not x -> x"""
    inner = program.definition(e.args[0], not_p)
    return None if inner is None else inner.args[0]


# ---- identities and conversions
# ------------------------------------------------------------------------


@rule(stop_gradient_p)
def only_for_derivatives(program: Rewriter, e: Eqn) -> Atom:
    """stop_gradient x -> x, once nothing is differentiated any more"""
    return e.args[0]


@rule(conj_p)
def conjugate_twice(program: Rewriter, e: Eqn) -> Atom | None:
    """conj conj x -> x"""
    inner = program.definition(e.args[0], conj_p)
    return None if inner is None else inner.args[0]


@rule(convert_element_type_p)
def to_its_own_type(program: Rewriter, e: Eqn) -> Atom | None:
    """convert x to its own dtype -> x"""
    return e.args[0] if e.args[0].aval.dtype == e.params["new_dtype"] else None


@rule(convert_element_type_p)
def convert_twice(program: Rewriter, e: Eqn) -> Atom | None:
    """convert(convert x) -> convert x, where the first conversion loses nothing"""
    inner = program.definition(e.args[0], convert_element_type_p)
    if inner is None:
        return None
    x, middle, final = inner.args[0], inner.params["new_dtype"], e.params["new_dtype"]
    if not holds(middle, x.aval.dtype) or _is_complex(x):
        return None
    if x.aval.dtype == final:
        return x
    # a float beyond an integer type's range is clamped, an integer wraps
    clamped = (
        dtypes.is_inexact(middle)
        and dtypes.is_integer(final)
        and not dtypes.is_inexact(x.aval.dtype)
    )
    if clamped and not holds(final, x.aval.dtype):
        return None
    return program.emit(convert_element_type_p, x, **e.params)


def holds(wide: np.dtype, narrow: np.dtype) -> bool:
    """Is every value of type `narrow` one of type `wide`?"""
    if dtypes.is_key(wide) or dtypes.is_key(narrow):
        return False
    if narrow == dtypes.bfloat16:
        return wide in (narrow, dtypes.float32, dtypes.float64)
    if wide == dtypes.bfloat16:
        return narrow in (dtypes.bool_, dtypes.int8, dtypes.uint8)
    return np.can_cast(narrow, wide, "safe")


# ---- operands that repeat a smaller one
# ----------------------------------------------------------------


def _shrink(program: Rewriter, e: Eqn) -> Atom | None:
    """map(broadcast x, y) -> map(x, y) for x of rank 0; map(broadcast x, broadcast y) ->
    broadcast map(x, y)
    """
    repeated = [_broadcast_of(program, a) for a in e.args]
    if all(r is None for r in repeated) or not isinstance(form_of(e), Map):
        return None
    if not any(
        r is None and a.aval.shape == e.outs[0].aval.shape for a, r in zip(e.args, repeated)
    ):
        return _map_first(program, e, [r for r in repeated if r is not None])
    smaller = [
        a if r is None or r.args[0].aval.shape else r.args[0] for a, r in zip(e.args, repeated)
    ]
    if all(a is b for a, b in zip(smaller, e.args)) or not _accepts(e, smaller):
        return None
    return program.emit(e.primitive, *smaller, **e.params)


def _accepts(e: Eqn, args: Sequence[Atom]) -> bool:
    """Is the equation legal on these operands? Some primitives want certain operands of full
    shape.
    """
    try:
        return e.primitive.results(args, e.params)[0].shape == e.outs[0].aval.shape
    except (TypeError, ValueError):
        return False


def _map_first(program: Rewriter, e: Eqn, repeated: Sequence[Eqn]) -> Atom | None:
    """All operands repeat arrays of one smaller shape, the same way: computes there."""
    like = repeated[0]
    if len(e.args) > len(repeated) + sum(not a.aval.shape for a in e.args):
        return None
    how = [(r.args[0].aval.shape, r.params["broadcast_dimensions"]) for r in repeated]
    if any(h != how[0] for h in how):
        return None
    inner = [a if not a.aval.shape else program.definitions[a].args[0] for a in e.args]  # type: ignore[index]
    result = program.emit(e.primitive, *inner, **e.params)
    return program.emit(broadcast_in_dim_p, result, **like.params)


def _broadcast_of(program: Rewriter, atom: Atom) -> Eqn | None:
    return program.definition(atom, broadcast_in_dim_p)
