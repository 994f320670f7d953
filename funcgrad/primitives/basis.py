"""The longhand primitives: what derived rules are written in.

Beside those that move and sum (`movement`), what all elementwise operations share, then arithmetic,
selection and conversion. The factories in `kinds` build everything else on these.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core import dtypes, loops
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.dtypes import DType, short_name
from funcgrad.core.primitive import Primitive, minus_one, one
from funcgrad.core.tangent import Zero, is_linear, is_zero
from funcgrad.core.trace import Axis
from funcgrad.primitives.movement import (
    batched as batched,
    broadcast_in_dim as broadcast_in_dim,
    broadcast_in_dim_p as broadcast_in_dim_p,
    check_axes as check_axes,
    check_shape as check_shape,
    moveaxis as moveaxis,
    reduce_sum as reduce_sum,
    reduce_sum_p as reduce_sum_p,
    reduced as reduced,
    reduction_batch as reduction_batch,
    reshape as reshape,
    reshape_p as reshape_p,
    sorted_axes as sorted_axes,
    transpose as transpose,
    transpose_p as transpose_p,
    unreduce as unreduce,
)

# ---- what elementwise operations share ----------------------------------------------------------

ANY = frozenset(dtypes.ALL)
NUMBERS = ANY - {dtypes.bool_}
INTEGERS = frozenset(dtypes.SIGNED + dtypes.UNSIGNED)
INTEGERS_BOOL = INTEGERS | {dtypes.bool_}
FLOATS = frozenset(dtypes.FLOATS)
COMPLEX = frozenset(dtypes.COMPLEX)
INEXACT = FLOATS | COMPLEX
REALS = FLOATS | INTEGERS
ORDERED = REALS | {dtypes.bool_}


def _dtype_words(accepts: frozenset[Any]) -> str:
    names = {
        ANY: "any", NUMBERS: "numbers", INTEGERS: "integers", INTEGERS_BOOL: "integers or bools",
        FLOATS: "floats", COMPLEX: "complex numbers", INEXACT: "floats or complex numbers",
        REALS: "real numbers", ORDERED: "real numbers or bools",
    }  # fmt: skip
    return names.get(accepts, ", ".join(sorted(map(short_name, accepts))))


def common_shape(name: str, avals: Sequence[ShapedArray]) -> tuple[Any, ...]:
    """The shape of an elementwise result: operands agree, or have rank 0."""
    shape: tuple[Any, ...] = ()
    for aval in avals:
        if aval.shape != shape:
            if shape == ():
                shape = aval.shape
            elif aval.shape != ():
                shapes = ", ".join(str(a.shape) for a in avals)
                raise ValueError(
                    f"{name}: operands must have equal shapes, or rank 0, but got shapes {shapes}."
                )
    return shape


def elementwise_abstract(
    name: str, accepts: frozenset[Any], result: Any = None
) -> Callable[..., ShapedArray]:
    """The abstract rule of an elementwise operation; `result` is a dtype, or a function of the
    operands' dtype.
    """

    def rule(*avals: ShapedArray, **params: Any) -> ShapedArray:
        dtype = avals[0].dtype
        for aval in avals:
            if aval.dtype != dtype:
                kinds = ", ".join(map(str, avals))
                raise TypeError(
                    f"{name}: operands must have equal dtypes, but got {kinds}. Convert with "
                    "astype."
                )
        if dtype not in accepts:
            raise TypeError(
                f"{name}: accepts {_dtype_words(accepts)}, but got {', '.join(map(str, avals))}."
            )
        out = dtype if result is None else result(dtype) if callable(result) else result
        return ShapedArray(common_shape(name, avals), out)

    return rule


def elementwise_batch(primitive: Primitive) -> Callable[..., Any]:
    """The batch rule of an elementwise operation: mapped dimensions are lined up, rank 0 stays."""

    def rule(axis: Axis, args: Sequence[Any], dims: Sequence[int | None], **params: Any) -> Any:
        ranks = [typeof(a).ndim - (d is not None) for a, d in zip(args, dims)]
        rank = max(ranks)
        to = next((d for d, r in zip(dims, ranks) if d is not None and r == rank), 0)
        lined = [
            _lined_up(axis, a, d, r, rank, to, args, dims) for a, d, r in zip(args, dims, ranks)
        ]
        return primitive.bind(*lined, **params), to

    return rule


def _lined_up(
    axis: Axis, x: Any, dim: int | None, own: int, rank: int, to: int, args: Any, dims: Any
) -> Any:
    """One operand of an elementwise operation with its mapped dimension at `to`."""
    if own == rank and (own or dim is not None):
        return batched(axis, x, dim, to)
    if dim is None:
        return x
    # a mapped operand of rank 0 beside arrays: every element of its row is the same
    like, at = next((a, d) for a, d in zip(args, dims) if typeof(a).ndim - (d is not None) == rank)
    shape = [size for d, size in enumerate(typeof(like).shape) if d != at]
    shape.insert(to, axis.size)
    return broadcast_in_dim(x, shape, (to,))


def elementwise_loops(scalar: Callable[..., Any], ufunc: str | None) -> Callable[..., loops.Map]:
    """The loop form of an elementwise operation, with its parameters bound to the scalar rule."""

    def rule(*avals: ShapedArray, **params: Any) -> loops.Map:
        if not params:
            return loops.Map(scalar, ufunc)
        return loops.Map(lambda k, *xs: scalar(k, *xs, **params), ufunc)

    return rule


_NUMBERS = frozenset((int, float, complex, bool))
_DTYPES = (np.dtype, dtypes.KeyDtype)


def operands(*args: Any) -> Sequence[Any]:
    """The operands of an elementwise call, Python numbers brought to their partner's dtype."""
    for a in args:
        if type(a) in _NUMBERS:
            break
    else:
        return args
    partner = next((typeof(a) for a in args if type(a) not in _NUMBERS), None)
    if partner is None:
        return args
    return [literal(a, partner) if type(a) in _NUMBERS else a for a in args]


def literal(number: Any, like: ShapedArray) -> Any:
    """A Python number as a rank-0 constant of the same dtype and weakness as `like`."""
    value = like.dtype.type(number)
    return ConcreteArray(value, True) if like.weak_type else value


# ---- arithmetic
# ------------------------------------------------------------------------------------


def _arithmetic(
    name: str, ufunc: str, scalar: Any, accepts: frozenset[Any] = NUMBERS, **rules: Any
) -> Primitive:
    primitive = Primitive(
        name,
        abstract=elementwise_abstract(name, accepts),
        value=lambda xp, *xs: getattr(xp, ufunc)(*xs),
        loops=elementwise_loops(scalar, ufunc),
        **rules,
    )
    primitive.batch = elementwise_batch(primitive)
    return primitive


neg_p = _arithmetic(
    "neg", "negative", lambda k, x: k.neg(x), linear=(0,), transpose=lambda ct, x: [neg(ct)]
)


def neg(x: Any) -> Any:
    """-x, elementwise."""
    return neg_p.bind(x)


add_p = _arithmetic(
    "add",
    "add",
    lambda k, x, y: k.add(x, y),
    partials=[one, one],
    transpose=lambda ct, x, y: [ct if is_linear(x) else None, ct if is_linear(y) else None],
)


def add(x: Any, y: Any) -> Any:
    """x + y, elementwise."""
    return add_p.bind(*operands(x, y))


sub_p = _arithmetic(
    "sub",
    "subtract",
    lambda k, x, y: k.sub(x, y),
    partials=[one, minus_one],
    transpose=lambda ct, x, y: [ct if is_linear(x) else None, neg(ct) if is_linear(y) else None],
)


def sub(x: Any, y: Any) -> Any:
    """x - y, elementwise."""
    return sub_p.bind(*operands(x, y))


def _mul_transpose(ct: Any, x: Any, y: Any) -> list[Any]:
    return [mul(ct, y), None] if is_linear(x) else [None, mul(x, ct)]


mul_p = _arithmetic(
    "mul",
    "multiply",
    lambda k, x, y: k.mul(x, y),
    multilinear=(0, 1),
    transpose=_mul_transpose,
)


def mul(x: Any, y: Any) -> Any:
    """x * y, elementwise."""
    return mul_p.bind(*operands(x, y))


def _div_value(xp: Any, x: Any, y: Any) -> Any:
    if x.dtype.kind not in "iu":
        return xp.divide(x, y)
    # integers: toward zero, and x / 0 is -1, as XLA defines it
    safe = xp.where(y == 0, xp.ones_like(y), y)
    quotient = xp.floor_divide(x, safe)
    remainder = x - quotient * safe
    quotient = xp.where(
        (remainder != 0) & ((x < 0) != (safe < 0)), quotient + quotient.dtype.type(1), quotient
    )
    return xp.where(y == 0, ~xp.zeros_like(quotient), quotient)


def _div_jvp(primals: Any, tangents: Any) -> Any:
    (x, y), (tx, ty) = primals, tangents
    out = div(x, y)
    terms = [] if is_zero(tx) else [div(tx, y)]
    if not is_zero(ty):
        terms.append(mul(neg(div(out, y)), ty))
    return out, add(*terms) if len(terms) == 2 else terms[0]


def _div_loops(x: ShapedArray, y: ShapedArray) -> loops.Map:
    return loops.Map(lambda k, x, y: k.div(x, y), "divide" if dtypes.is_inexact(x.dtype) else None)


div_p = Primitive(
    "div",
    abstract=elementwise_abstract("div", NUMBERS),
    value=_div_value,
    jvp=_div_jvp,
    transpose=lambda ct, x, y: [div(ct, y), None],
    loops=_div_loops,
)
div_p.batch = elementwise_batch(div_p)


def div(x: Any, y: Any) -> Any:
    """x / y, elementwise; integers are divided toward zero."""
    return div_p.bind(*operands(x, y))


# ---- selection
# -------------------------------------------------------------------------------------


def _select_n_abstract(which: ShapedArray, *cases: ShapedArray) -> ShapedArray:
    if which.dtype not in (dtypes.bool_, dtypes.int32) or (
        which.dtype == dtypes.bool_ and len(cases) > 2
    ):
        raise TypeError(
            f"select_n: `which` must be bool (two cases) or int32, but got {which} for "
            f"{len(cases)} cases."
        )
    if any(case.dtype != cases[0].dtype for case in cases):
        raise TypeError(
            f"select_n: the cases must have one dtype, but got {', '.join(map(str, cases))}."
        )
    shape = common_shape("select_n", [which, *cases])
    return ShapedArray(shape, cases[0].dtype)


def _select_n_value(xp: Any, which: Any, *cases: Any) -> Any:
    if len(cases) == 1:
        return cases[0]
    if which.dtype == np.bool_ and len(cases) == 2:
        return xp.where(which, cases[1], cases[0])
    if which.dtype != np.int32:
        raise TypeError("`which` numbers no case")
    selected = cases[0]  # by all indices below 1, also negative ones
    for i, case in enumerate(cases[1:], start=1):
        selected = xp.where(which >= i, case, selected)
    return selected


def _select_n_transpose(ct: Any, which: Any, *cases: Any) -> list[Any]:
    nothing = zeros(typeof(ct))
    return [None] + [
        select_n(which, *(ct if j == i else nothing for j in range(len(cases))))
        if is_linear(case)
        else None
        for i, case in enumerate(cases)
    ]


def _select_n_jvp(primals: Any, tangents: Any) -> Any:
    """Jointly linear in the cases; stated longhand because their number varies."""
    which, *cases = primals
    out = select_n(which, *cases)
    shape = typeof(out).shape
    rows = [_stretched(instantiate(t), shape) for t in tangents[1:]]
    return out, select_n(which, *rows)


def _stretched(x: Any, shape: Any) -> Any:
    return x if typeof(x).shape == shape else broadcast_in_dim(x, shape, ())


def _select_scalar(k: Any, which: Any, *cases: Any) -> Any:
    result = cases[0]
    for i, case in enumerate(cases[1:], 1):
        chosen = which if k.dtype(which) == dtypes.bool_ else k.ge(which, k.const(i, dtypes.int32))
        result = k.select(chosen, case, result)
    return result


select_n_p = Primitive(
    "select_n",
    abstract=_select_n_abstract,
    value=_select_n_value,
    jvp=_select_n_jvp,
    transpose=_select_n_transpose,
    loops=lambda which, *cases: loops.Map(_select_scalar),
    weak=lambda flags, params: all(flags[1:]),
)
select_n_p.batch = elementwise_batch(select_n_p)


def select_n(which: Any, *cases: Any) -> Any:
    """The case that `which` numbers, elementwise; False and 0 mean the first."""
    return select_n_p.bind(which, *operands(*cases))


# ---- conversion
# --------------------------------------------------------------------------------------


def _to_integer(xp: Any, x: Any, dtype: Any) -> Any:
    """Floats to integers as XLA does: toward zero, clamped to the range, NaN to 0."""
    info = np.iinfo(dtype)
    wide = x.astype(np.float64) if x.dtype.itemsize < 8 else x
    low, high = wide.dtype.type(info.min), wide.dtype.type(info.max)
    inside = xp.where((wide >= low) & (wide < high), wide, wide.dtype.type(0)).astype(dtype)
    return xp.where(  # NaN is neither inside nor beyond
        wide < low, dtype.type(info.min), xp.where(wide >= high, dtype.type(info.max), inside)
    )


def _convert_value(xp: Any, x: Any, *, new_dtype: Any, weak_type: bool) -> Any:
    if x.dtype == new_dtype:
        return x
    if x.dtype.kind == "c" and new_dtype.kind != "c":
        x = (x != 0) if new_dtype == np.bool_ else x.real
    if new_dtype.kind in "iu" and dtypes.is_inexact(x.dtype):
        return _to_integer(xp, x, new_dtype)
    return x.astype(new_dtype)


def _convert_abstract(x: ShapedArray, *, new_dtype: Any, weak_type: bool) -> ShapedArray:
    if dtypes.is_key(x.dtype) != dtypes.is_key(new_dtype):
        raise TypeError(
            f"astype: random keys are not numbers, but got {x} to {new_dtype}. Use random.key_data."
        )
    return ShapedArray(x.shape, new_dtype, weak_type)


def _convert_jvp(primals: Any, tangents: Any, *, new_dtype: Any, weak_type: bool) -> Any:
    (x,), (t,) = primals, tangents
    out = convert_element_type_p.bind(x, new_dtype=new_dtype, weak_type=weak_type)
    if not dtypes.is_inexact(new_dtype):
        return out, Zero(typeof(out).tangent())
    return out, convert_element_type_p.bind(t, new_dtype=new_dtype, weak_type=weak_type)


def _convert_transpose(ct: Any, x: Any, *, new_dtype: Any, weak_type: bool) -> list[Any]:
    return [convert_element_type(ct, x.aval.dtype, x.aval.weak_type)]


convert_element_type_p = Primitive(
    "convert_element_type",
    abstract=_convert_abstract,
    value=_convert_value,
    jvp=_convert_jvp,
    transpose=_convert_transpose,
    loops=lambda x, *, new_dtype, weak_type: loops.Map(lambda k, x: k.convert(x, new_dtype)),
    weak=lambda flags, params: params["weak_type"],
)
convert_element_type_p.batch = elementwise_batch(convert_element_type_p)


def convert_element_type(operand: Any, new_dtype: DType, weak_type: bool = False) -> Any:
    """The operand in another dtype. Floats become integers toward zero, clamped; complex numbers
    lose their imaginary part.
    """
    if not isinstance(new_dtype, _DTYPES):
        new_dtype = dtypes.as_dtype(new_dtype)
    aval = typeof(operand)
    if aval.dtype == new_dtype and aval.weak_type == weak_type and type(operand) not in _NUMBERS:
        return operand
    return convert_element_type_p.bind(operand, new_dtype=new_dtype, weak_type=weak_type)


# ---- constants
# ---------------------------------------------------------------------------------------


def full(shape: Sequence[Any], fill_value: Any, dtype: Any = None) -> Any:
    """An array whose elements all equal `fill_value`, of the value's own type without a dtype."""
    if not isinstance(dtype, _DTYPES):
        dtype = typeof(fill_value).dtype if dtype is None else dtypes.as_dtype(dtype)
    if type(fill_value) in _NUMBERS or isinstance(fill_value, np.generic):
        fill_value = ConcreteArray(dtype.type(fill_value))
    else:
        fill_value = convert_element_type(fill_value, dtype)
    shape = tuple(shape)
    return broadcast_in_dim(fill_value, shape, ()) if shape else fill_value


def zeros(aval: ShapedArray) -> Any:
    """Zeros of that shape and dtype; for tangents of integers, of dtype float0."""
    if aval.dtype == dtypes.float0:
        return np.zeros(aval.shape, dtypes.float0)
    return full(aval.shape, 0, aval.dtype)


def instantiate(tangent: Any) -> Any:
    """A tangent or cotangent as an array: `Zero` becomes zeros."""
    return zeros(tangent.aval) if is_zero(tangent) else tangent


def sum_of(terms: Sequence[Any]) -> Any:
    """The sum of at least one array."""
    total = terms[0]
    for term in terms[1:]:
        total = add(total, term)
    return total


def index_of(value: Any, what: str) -> int:
    """A static integer parameter; TypeError naming it otherwise."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, but got {value!r}.") from None
