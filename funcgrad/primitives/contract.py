"""Contractions: dot_general, the one primitive behind every product of arrays that sums over
dimensions.

`dot`, `batch_matmul` and, above, `matmul`, `tensordot` and `einsum` only choose its dimension
numbers. Derivatives and batches of a dot_general are dot_generals again.
"""

import enum
import functools
import math
from operator import index
from typing import Any

from funcgrad.config import config
from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import is_linear
from funcgrad.primitives import products
from funcgrad.primitives.basis import convert_element_type, transpose

__all__ = ["Precision", "dot_general", "dot", "batch_matmul"]


class Precision(enum.Enum):
    """How exact a product must be. On CPUs every product is computed at the full width of its type,
    whatever is asked.

    >>> Precision("high")
    <Precision.HIGH: 1>
    """

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2

    @classmethod
    def _missing_(cls, value):
        return _PRECISION_NAMES.get(value.lower()) if isinstance(value, str) else None


_PRECISION_NAMES = {
    "default": Precision.DEFAULT, "fastest": Precision.DEFAULT, "bfloat16": Precision.DEFAULT,
    "high": Precision.HIGH, "bfloat16_3x": Precision.HIGH, "tensorfloat32": Precision.HIGH,
    "highest": Precision.HIGHEST, "float32": Precision.HIGHEST,
}  # fmt: skip


def canonical_precision(name: str, precision: Any) -> Any:
    """`precision` as a static parameter: None, or one `Precision` per operand.

    None means what `config.default_matmul_precision` says.
    """
    if precision is None:
        precision = config.current().default_matmul_precision
    if precision is None:
        return None
    pair = precision if isinstance(precision, (tuple, list)) else (precision, precision)
    try:
        lhs, rhs = (None if p is None else Precision(p) for p in pair)
    except ValueError:
        raise ValueError(
            f"{name}: precision must be None, a Precision, one of its names, or a pair of these, "
            "but got "
            f"{precision!r}. Names are: {', '.join(_PRECISION_NAMES)}."
        ) from None
    return (lhs, rhs)


def canonical_result_type(preferred_element_type: Any) -> Any:
    """`preferred_element_type` as a static parameter: None or a dtype."""
    return None if preferred_element_type is None else dtypes.as_dtype(preferred_element_type)


# ---------------------------------------------------------------- dot_general: what it computes


def _canonical_dimension_numbers(dimension_numbers):
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    as_ints = lambda dims: tuple(map(index, dims))
    return (
        (as_ints(lhs_contract), as_ints(rhs_contract)),
        (as_ints(lhs_batch), as_ints(rhs_batch)),
    )


def _free(rank, *taken):
    """The dimensions that are neither contracted nor batched, in order."""
    used = {d for dims in taken for d in dims}
    return tuple(d for d in range(rank) if d not in used)


def _check_dims(side, x, contract, batch):
    dims = contract + batch
    if any(not 0 <= d < x.ndim for d in dims) or len(set(dims)) != len(dims):
        raise TypeError(
            f"dot_general: dimensions of the {side} operand must be distinct and lie in [0, "
            f"{x.ndim}), but it "
            f"contracts {contract} and batches {batch}. Name each dimension once, counted from "
            "the front."
        )


def _check_sizes(what, lhs, rhs, lhs_dims, rhs_dims):
    lhs_sizes = tuple(lhs.shape[d] for d in lhs_dims)
    rhs_sizes = tuple(rhs.shape[d] for d in rhs_dims)
    if lhs_sizes != rhs_sizes:
        raise TypeError(
            f"dot_general: {what} dimensions must have equal sizes, but {lhs} has {lhs_sizes} in "
            "dimensions "
            f"{lhs_dims} and {rhs} has {rhs_sizes} in dimensions {rhs_dims}. Transpose or "
            "reshape an operand."
        )


def check_result_type(name, operand_dtype, preferred):
    """Refuses a `preferred_element_type` that cannot hold what products of `operand_dtype` are."""
    if preferred is None or preferred == operand_dtype:
        return
    if dtypes.is_complex(operand_dtype) and not dtypes.is_complex(preferred):
        problem = "is not complex"
    elif dtypes.is_integer(preferred) and preferred.itemsize < operand_dtype.itemsize:
        problem = "is narrower"
    else:
        return
    raise TypeError(
        f"{name}: preferred_element_type {preferred} {problem}, but the operands are "
        f"{operand_dtype}. "
        "Leave it out and convert the result with astype."
    )


def _dot_general_abstract(lhs, rhs, *, dimension_numbers, precision, preferred_element_type):
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    if lhs.dtype != rhs.dtype:
        raise TypeError(
            f"dot_general: operands must have the same dtype, but got {lhs} and {rhs}. Convert "
            "one with astype."
        )
    _check_dims("left", lhs, lhs_contract, lhs_batch)
    _check_dims("right", rhs, rhs_contract, rhs_batch)
    _check_sizes("batch", lhs, rhs, lhs_batch, rhs_batch)
    _check_sizes("contracted", lhs, rhs, lhs_contract, rhs_contract)
    check_result_type("dot_general", lhs.dtype, preferred_element_type)
    shape = (
        *(lhs.shape[d] for d in lhs_batch),
        *(lhs.shape[d] for d in _free(lhs.ndim, lhs_contract, lhs_batch)),
        *(rhs.shape[d] for d in _free(rhs.ndim, rhs_contract, rhs_batch)),
    )
    return ShapedArray(shape, preferred_element_type or lhs.dtype)


class _Plan:
    """How operands of given ranks become (batch, rows, sum) and (batch, sum, columns).

    A permutation is None where the operand lies right already. Summed dimensions are taken in the
    order of the larger operand, which then is more often a view.
    """

    __slots__ = ("lhs", "rhs", "batch", "rows", "columns", "is_matmul")

    def __init__(self, lhs_rank, rhs_rank, dimension_numbers, follow_lhs):
        (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
        leader = lhs_contract if follow_lhs else rhs_contract
        order = sorted(range(len(leader)), key=leader.__getitem__)
        rows = _free(lhs_rank, lhs_contract, lhs_batch)
        columns = _free(rhs_rank, rhs_contract, rhs_batch)
        self.lhs = _permutation((*lhs_batch, *rows, *(lhs_contract[i] for i in order)))
        self.rhs = _permutation((*rhs_batch, *(rhs_contract[i] for i in order), *columns))
        self.batch, self.rows, self.columns = len(lhs_batch), len(rows), len(columns)
        self.is_matmul = len(rows) == len(columns) == len(order) == 1


def _permutation(dims):
    return None if dims == tuple(range(len(dims))) else dims


@functools.lru_cache(maxsize=4096)
def _plan(lhs, rhs, dimension_numbers, preferred_element_type):
    """The plan for operands of these shapes and dtypes, which it checks: NumPy would broadcast."""
    _dot_general_abstract(
        ShapedArray(*lhs),
        ShapedArray(*rhs),
        dimension_numbers=dimension_numbers,
        precision=None,
        preferred_element_type=preferred_element_type,
    )
    lhs_shape, rhs_shape = lhs[0], rhs[0]
    follow_lhs = math.prod(lhs_shape) >= math.prod(rhs_shape)
    return _Plan(len(lhs_shape), len(rhs_shape), dimension_numbers, follow_lhs)


def _dot_general_value(xp, lhs, rhs, *, dimension_numbers, precision, preferred_element_type):
    dtype = preferred_element_type or lhs.dtype
    plan = _plan(
        (lhs.shape, lhs.dtype), (rhs.shape, rhs.dtype), dimension_numbers, preferred_element_type
    )
    if plan.lhs is not None:
        lhs = lhs.transpose(plan.lhs)
    if plan.rhs is not None:
        rhs = rhs.transpose(plan.rhs)
    if plan.is_matmul:
        return products.matmul(xp, lhs, rhs, dtype)
    return _general_product(xp, lhs, rhs, plan, dtype)


def _general_product(xp, lhs, rhs, plan, dtype):
    """The product of operands already permuted, by reshaping groups of dimensions into single
    ones.
    """
    batch = lhs.shape[: plan.batch]
    split = plan.batch + plan.rows
    rows, summed = lhs.shape[plan.batch : split], math.prod(lhs.shape[split:])
    columns = rhs.shape[rhs.ndim - plan.columns :]
    lhs = lhs.reshape(*batch, math.prod(rows), summed)
    rhs = rhs.reshape(*batch, summed, math.prod(columns))
    if summed == 1 and lhs.dtype == dtype:
        return xp.multiply(lhs, rhs).reshape(batch + rows + columns)
    return products.matmul(xp, lhs, rhs, dtype).reshape(batch + rows + columns)


# ---------------------------------------------------------------- dot_general: its other rules


def _dot_general_transpose(ct, lhs, rhs, *, dimension_numbers, precision, preferred_element_type):
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    if is_linear(lhs):
        rows = len(lhs.aval.shape) - len(lhs_contract) - len(lhs_batch)
        first_column = len(lhs_batch) + rows
        summed = tuple(range(first_column, typeof(ct).ndim))
        lhs_ct = _operand_cotangent(
            ct, rhs, lhs.aval, (lhs_contract, lhs_batch), (rhs_contract, rhs_batch), summed,
            precision,
        )  # fmt: skip
        return [lhs_ct, None]
    first_row = len(rhs_batch)
    rows = typeof(lhs).ndim - len(lhs_contract) - len(lhs_batch)
    summed = tuple(range(first_row, first_row + rows))
    rhs_ct = _operand_cotangent(
        ct, lhs, rhs.aval, (rhs_contract, rhs_batch), (lhs_contract, lhs_batch), summed, precision
    )
    return [None, rhs_ct]


def _operand_cotangent(ct, other, aval, dims, other_dims, summed, precision):
    """The cotangent of one operand: `ct` times the `other` operand, summed over the latter's free
    dimensions.

    `summed` are those dimensions in `ct`. Of the two orders of the product the one is taken whose
    result needs no transposition, so that dW of x @ W is x^T @ ct.
    """
    (contract, batch), (other_contract, other_batch) = dims, other_dims
    ct_type, other_type = typeof(ct), typeof(other)
    if other_type.dtype != ct_type.dtype:
        other = convert_element_type(other, ct_type.dtype)
    other_free = _free(other_type.ndim, other_contract, other_batch)
    ct_batch = tuple(range(len(batch)))
    # The product keeps the contracted dimensions in the order they have in `other`.
    contract_order = sorted(range(len(contract)), key=other_contract.__getitem__)
    kept = tuple(contract[i] for i in contract_order)
    free = _free(aval.ndim, contract, batch)
    layout = (*batch, *free, *kept)
    if (*batch, *kept, *free) == tuple(range(aval.ndim)):
        numbers = ((other_free, summed), (other_batch, ct_batch))
        layout, product = (*batch, *kept, *free), dot_general(other, ct, numbers, precision)
    else:
        numbers = ((summed, other_free), (ct_batch, other_batch))
        product = dot_general(ct, other, numbers, precision)
    if layout != tuple(range(aval.ndim)):
        product = transpose(product, tuple(layout.index(d) for d in range(aval.ndim)))
    if ct_type.dtype != aval.dtype:
        product = convert_element_type(product, aval.dtype)
    return product


def _shifted(dims, mapped):
    """Where dimensions of one lane lie in an operand whose mapped dimension is `mapped`."""
    return dims if mapped is None else tuple(d + (d >= mapped) for d in dims)


def _dot_general_batch(axis, args, dims, *, dimension_numbers, precision, preferred_element_type):
    """Both operands mapped: one more batch dimension. One mapped: one more free dimension of it."""
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    lhs, rhs = args
    lhs_dim, rhs_dim = dims
    lhs_contract, lhs_batch = _shifted(lhs_contract, lhs_dim), _shifted(lhs_batch, lhs_dim)
    rhs_contract, rhs_batch = _shifted(rhs_contract, rhs_dim), _shifted(rhs_batch, rhs_dim)
    if lhs_dim is not None and rhs_dim is not None:
        lhs_batch, rhs_batch = (lhs_dim, *lhs_batch), (rhs_dim, *rhs_batch)
        out_dim = 0
    elif lhs_dim is not None:
        lhs_free = _free(typeof(lhs).ndim, lhs_contract, lhs_batch)
        out_dim = len(lhs_batch) + lhs_free.index(lhs_dim)
    else:
        lhs_free = _free(typeof(lhs).ndim, lhs_contract, lhs_batch)
        rhs_free = _free(typeof(rhs).ndim, rhs_contract, rhs_batch)
        out_dim = len(lhs_batch) + len(lhs_free) + rhs_free.index(rhs_dim)
    numbers = ((lhs_contract, rhs_contract), (lhs_batch, rhs_batch))
    return dot_general(lhs, rhs, numbers, precision, preferred_element_type), out_dim


def _dot_general_loops(lhs, rhs, *, dimension_numbers, precision, preferred_element_type):
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    return loops.Contract(lhs_contract, rhs_contract, lhs_batch, rhs_batch)


dot_general_p = Primitive(
    "dot_general",
    abstract=_dot_general_abstract,
    value=_dot_general_value,
    multilinear=(0, 1),
    transpose=_dot_general_transpose,
    batch=_dot_general_batch,
    loops=_dot_general_loops,
)


# ---------------------------------------------------------------- public faces


def common_dtype(*operands: Any) -> Any:
    """The operands, converted to their common type where types differ."""
    types = [typeof(x) for x in operands]
    if all(t.dtype == types[0].dtype for t in types):
        return operands
    dtype, _ = dtypes.promote(tuple((t.dtype, t.weak_type) for t in types))
    return tuple(convert_element_type(x, dtype) for x in operands)


def dot_general(
    lhs: Any,
    rhs: Any,
    dimension_numbers: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """Products of elements of two arrays, summed over contracted dimensions, for each batch index.

    `dimension_numbers` is ((lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch)), sequences
    of dimensions counted from the front. The result has the batch dimensions, then the other
    dimensions of `lhs`, then those of `rhs`. Its type is `preferred_element_type`, else the
    operands' common type; bfloat16 and float16 are accumulated in float32 and rounded once.
    `precision` is accepted and kept in programs; CPUs always compute at full precision.

    Raises `TypeError` for dimension numbers that do not fit the operands' shapes.

    >>> import numpy as np
    >>> a, b = np.ones((5, 2, 3), np.float32), np.ones((5, 3, 4), np.float32)
    >>> dot_general(a, b, (((2,), (1,)), ((0,), (0,)))).shape
    (5, 2, 4)
    """
    lhs, rhs = common_dtype(lhs, rhs)
    numbers = _canonical_dimension_numbers(dimension_numbers)
    return contract(lhs, rhs, numbers, precision, preferred_element_type)


def contract(
    lhs: Any, rhs: Any, numbers: Any, precision: Any = None, preferred_element_type: Any = None
) -> Any:
    """dot_general of operands of one dtype, by dimension numbers that are tuples already."""
    return dot_general_p.bind(
        lhs,
        rhs,
        dimension_numbers=numbers,
        precision=canonical_precision("dot_general", precision),
        preferred_element_type=canonical_result_type(preferred_element_type),
    )


def dot(
    lhs: Any,
    rhs: Any,
    *,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Any:
    """Vector by vector, matrix by vector, vector by matrix or matrix by matrix: sums over one
    dimension.

    With `dimension_numbers`, the same as `dot_general`.
    """
    if dimension_numbers is None:
        lhs_shape, rhs_shape = typeof(lhs).shape, typeof(rhs).shape
        ranks = len(lhs_shape), len(rhs_shape)
        if not (1 <= min(ranks) and max(ranks) <= 2 and lhs_shape[-1] == rhs_shape[0]):
            raise ValueError(
                "dot: operands must be vectors or matrices whose adjacent sizes agree, but have "
                "shapes "
                f"{lhs_shape} and {rhs_shape}. Give dimension_numbers for other products."
            )
        dimension_numbers = (((len(lhs_shape) - 1,), (0,)), ((), ()))
    return dot_general(lhs, rhs, dimension_numbers, precision, preferred_element_type)


def batch_matmul(lhs: Any, rhs: Any, precision: Any = None) -> Any:
    """Matrix products over the last two dimensions, one for each index of the leading ones,
    which must agree.
    """
    lhs_rank, rhs_rank = typeof(lhs).ndim, typeof(rhs).ndim
    if lhs_rank != rhs_rank or lhs_rank < 2:
        raise TypeError(
            "batch_matmul: operands must have the same rank, at least 2, but have shapes "
            f"{typeof(lhs).shape} and "
            f"{typeof(rhs).shape}. Use numpy.matmul, which broadcasts."
        )
    batch = tuple(range(lhs_rank - 2))
    return dot_general(lhs, rhs, (((lhs_rank - 1,), (rhs_rank - 2,)), (batch, batch)), precision)
