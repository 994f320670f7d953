"""What the rules of matrix factorizations are written in: products, adjoints and triangles.

All functions act on the last two dimensions and leave leading ones alone.
"""

from funcgrad.core import dtypes
from funcgrad.core.avals import typeof
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import (
    add,
    batched,
    broadcast_in_dim,
    div,
    full,
    mul,
    reduce_sum,
    select_n,
    sub,
    transpose,
)
from funcgrad.primitives.contract import Precision, dot_general
from funcgrad.primitives.elementwise import conj, real
from funcgrad.primitives.logic import eq, ge
from funcgrad.primitives.shape import broadcasted_iota

LINALG = frozenset({dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128})


def require_matrices(name, x, square=False):
    """Refuses operands that are no matrices of a type that factorizations know."""
    if x.dtype not in LINALG:
        raise TypeError(
            f"{name}: needs float32, float64, complex64 or complex128, but got {x}. Use astype."
        )
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        kind = "square matrices" if square else "matrices"
        raise ValueError(
            f"{name}: needs {kind} in the last two dimensions, but got shape {x.shape}."
        )


def leading_batch(primitive: Primitive):
    """The batch rule of operations that treat leading dimensions as batches already."""

    def rule(axis, args, dims, **params):
        lined = [batched(axis, x, dim) for x, dim in zip(args, dims, strict=True)]
        out = primitive.bind(*lined, **params)
        return (out, [0] * len(out)) if primitive.multiple_results else (out, 0)

    return rule


def matmul(a, b):
    """The matrix product; leading dimensions agree."""
    rank = typeof(a).ndim
    batch = tuple(range(rank - 2))
    return dot_general(a, b, (((rank - 1,), (rank - 2,)), (batch, batch)), Precision.HIGHEST)


def transposed(x):
    """The matrix transpose, without conjugation."""
    rank = typeof(x).ndim
    return transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def conjugated(x):
    return conj(x) if dtypes.is_complex(typeof(x).dtype) else x


def adjoint(x):
    """The conjugate transpose."""
    return conjugated(transposed(x))


def real_part(x):
    return real(x) if dtypes.is_complex(typeof(x).dtype) else x


def _positions(x):
    shape, rank = typeof(x).shape, typeof(x).ndim
    rows = broadcasted_iota(dtypes.int32, shape, rank - 2)
    return rows, broadcasted_iota(dtypes.int32, shape, rank - 1)


def _zeros_like(x):
    return full(typeof(x).shape, 0, typeof(x).dtype)


def lower_triangle(x, offset=0):
    """Elements at and below the diagonal, or `offset` above it; zeros elsewhere."""
    rows, columns = _positions(x)
    return select_n(ge(add(rows, offset), columns), _zeros_like(x), x)


def upper_triangle(x, offset=0):
    """Elements at and above the diagonal, or from `offset` above it; zeros elsewhere."""
    rows, columns = _positions(x)
    return select_n(ge(columns, add(rows, offset)), _zeros_like(x), x)


def diagonal_matrix_of(x):
    """The matrix with everything off its diagonal set to zero."""
    rows, columns = _positions(x)
    return select_n(eq(rows, columns), _zeros_like(x), x)


def diagonal_of(x):
    """The diagonals of square matrices."""
    return reduce_sum(diagonal_matrix_of(x), (typeof(x).ndim - 1,))


def eye_like(x):
    """Identity matrices of the shape and dtype of `x`."""
    rows, columns = _positions(x)
    return select_n(eq(rows, columns), _zeros_like(x), full(typeof(x).shape, 1, typeof(x).dtype))


def hermitian_from(x, lower):
    """Hermitian matrices whose lower (or upper) triangles are those of `x`."""
    strict = lower_triangle(x, -1) if lower else upper_triangle(x, 1)
    diagonal = diagonal_matrix_of(x)
    if dtypes.is_complex(typeof(x).dtype):
        diagonal = mul(add(diagonal, conj(diagonal)), 0.5)
    return add(add(strict, adjoint(strict)), diagonal)


def half_lower(x):
    """The lower triangle with its diagonal halved: what of a symmetric matrix makes the whole."""
    return sub(lower_triangle(x), mul(diagonal_matrix_of(x), 0.5))


def rows_scaled(scale, x):
    """diag(scale) @ x."""
    rank = typeof(x).ndim
    return mul(broadcast_in_dim(scale, typeof(x).shape, range(rank - 1)), x)


def columns_scaled(x, scale):
    """x @ diag(scale)."""
    rank = typeof(x).ndim
    return mul(x, broadcast_in_dim(scale, typeof(x).shape, (*range(rank - 2), rank - 1)))


def reciprocal_differences(values):
    """F[i, j] = 1 / (values[j] - values[i]) off the diagonal and 0 on it, for (..., n) values."""
    *batch, n = typeof(values).shape
    lead = tuple(range(len(batch)))
    columns = broadcast_in_dim(values, (*batch, n, n), (*lead, len(batch) + 1))
    rows = broadcast_in_dim(values, (*batch, n, n), (*lead, len(batch)))
    eye = eye_like(columns)
    return sub(
        div(full((*batch, n, n), 1, typeof(values).dtype), add(sub(columns, rows), eye)), eye
    )
