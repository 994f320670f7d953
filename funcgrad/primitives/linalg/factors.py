"""Factorizations into triangular and orthogonal factors: cholesky, lu, qr.

Derivatives: Cholesky after Murray 2016, "Differentiation of the Cholesky decomposition", section
3.1; LU by splitting L^-1 dA U^-1 into its triangles; QR after Walter and Lehmann 2010,
"Algorithmic differentiation of linear algebra functions", section 3.2. Each is what one gets by
differentiating the product of the factors and solving for the tangents one triangle at a time.
"""

from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import Zero
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    full,
    mul,
    sub,
)
from funcgrad.primitives.linalg import values
from funcgrad.primitives.linalg.matrices import (
    adjoint,
    conjugated,
    diagonal_matrix_of,
    eye_like,
    half_lower,
    hermitian_from,
    leading_batch,
    lower_triangle,
    matmul,
    require_matrices,
    upper_triangle,
)
from funcgrad.primitives.linalg.solving import triangular_solve
from funcgrad.primitives.logic import eq
from funcgrad.primitives.shape import broadcasted_iota
from funcgrad.primitives.slicing import pad, slice_in_dim

__all__ = ["cholesky", "lu", "lu_pivots_to_permutation", "qr"]


def _zero(x):
    return Zero(typeof(x).tangent())


# ---------------------------------------------------------------- cholesky


def _cholesky_abstract(x):
    require_matrices("cholesky", x, square=True)
    return ShapedArray(x.shape, x.dtype)


def _cholesky_value(xp, x):
    (factor,) = values.factorized(xp, xp.linalg.cholesky, x, [_cholesky_abstract(x)])
    # Where there is no factor, NaN belongs into its triangle alone.
    return xp.tril(factor) if xp.isnan(factor[..., :1, :1]).any() else factor


def _cholesky_jvp(primals, tangents):
    """dL = L phi(L^-1 dA L^-H), phi halving the diagonal of the lower triangle."""
    (x,), (x_dot,) = primals, tangents
    factor = cholesky_p.bind(x)
    inner = hermitian_from(x_dot, lower=True)
    inner = triangular_solve(factor, inner, lower=True, transpose_a=True, conjugate_a=True)
    inner = triangular_solve(factor, inner, left_side=True, lower=True)
    return factor, matmul(factor, half_lower(inner))


cholesky_p = Primitive(
    "cholesky",
    abstract=_cholesky_abstract,
    value=_cholesky_value,
    jvp=_cholesky_jvp,
    loops=lambda x: loops.Opaque("LAPACK: potrf", "cholesky"),
)
cholesky_p.batch = leading_batch(cholesky_p)


def cholesky(x: Any, *, symmetrize_input: bool = True) -> Any:
    """Lower triangular L with x = L L^H, for positive definite matrices; NaN for others.

    Only the lower triangle of `x` is read, after it was replaced by (x + x^H) / 2 if
    `symmetrize_input`.
    """
    return cholesky_p.bind(symmetrized("cholesky", x) if symmetrize_input else x)


def symmetrized(name: str, x: Any) -> Any:
    """(x + x^H) / 2, for square matrices; the error for others names the caller."""
    require_matrices(name, typeof(x), square=True)
    return mul(add(x, adjoint(x)), 0.5)


# ---------------------------------------------------------------- lu


def _lu_abstract(x):
    require_matrices("lu", x)
    *batch, m, n = x.shape
    return [
        ShapedArray(x.shape, x.dtype),
        ShapedArray((*batch, min(m, n)), dtypes.int32),
        ShapedArray((*batch, m), dtypes.int32),
    ]


def _lu_value(xp, x):
    _lu_abstract(x)
    factors, pivots = values.lu(xp, x)
    return [factors, pivots, values.permutation(xp, pivots, x.shape[-2])]


def _permuted_rows(x, order):
    """Rows of `x` in the given order: a product with a permutation matrix."""
    *batch, m = typeof(order).shape
    lead = tuple(range(len(batch)))
    wanted = broadcast_in_dim(order, (*batch, m, m), (*lead, len(batch)))
    columns = broadcasted_iota(dtypes.int32, (*batch, m, m), len(batch) + 1)
    return matmul(convert_element_type(eq(wanted, columns), typeof(x).dtype), x)


def _lu_jvp(primals, tangents):
    """With P dA = dL U + L dU: the triangles of L^-1 P dA U^-1 are L^-1 dL and dU U^-1."""
    (x,), (x_dot,) = primals, tangents
    factors, pivots, order = lu_p.bind(x)
    m, n = typeof(x).shape[-2:]
    k = min(m, n)
    # Both factors completed to square matrices, by ones on the diagonal.
    lower = _squared(lower_triangle(_columns(factors, k), -1), m)
    lower = add(lower, eye_like(lower))
    upper = _squared(upper_triangle(_rows(factors, k)), n)
    if n > k:
        upper = add(upper, _identity_from(upper, k))
    inner = triangular_solve(
        lower, _permuted_rows(x_dot, order), left_side=True, lower=True, unit_diagonal=True
    )
    inner = triangular_solve(upper, inner, lower=False)
    lower_dot = matmul(lower, _fitted(lower_triangle(inner, -1), m, m))
    upper_dot = matmul(_fitted(upper_triangle(inner), n, n), upper)
    factors_dot = add(_fitted(lower_dot, m, n), _fitted(upper_dot, m, n))
    return [factors, pivots, order], [factors_dot, _zero(pivots), _zero(order)]


def _rows(x, count):
    return slice_in_dim(x, 0, count, axis=typeof(x).ndim - 2)


def _columns(x, count):
    return slice_in_dim(x, 0, count, axis=typeof(x).ndim - 1)


def _squared(x, size):
    return _fitted(x, size, size)


def _fitted(x, rows, columns):
    """The leading part of the matrices, or the matrices with zeros appended."""
    shape = typeof(x).shape
    config = [(0, 0, 0)] * (len(shape) - 2) + [
        (0, rows - shape[-2], 0),
        (0, columns - shape[-1], 0),
    ]
    if (rows, columns) == tuple(shape[-2:]):
        return x
    return pad(x, full((), 0, typeof(x).dtype), config)


def _identity_from(x, start):
    """Ones on the diagonal from position `start` on."""
    eye = eye_like(x)
    return sub(eye, _squared(_rows(_columns(eye, start), start), typeof(x).shape[-1]))


lu_p = Primitive(
    "lu",
    abstract=_lu_abstract,
    value=_lu_value,
    jvp=_lu_jvp,
    loops=lambda x: loops.Opaque("LAPACK: getrf", "lu"),
    multiple_results=True,
)
lu_p.batch = leading_batch(lu_p)


def lu(x: Any) -> tuple[Any, Any, Any]:
    """The LU factorization with exchanged rows: (factors, pivots, permutation).

    `factors` holds L below the diagonal, whose own is all ones, and U from it upwards. `pivots`
    says with which row each was exchanged in turn, `permutation` the order that this leads to:
    x[permutation] = L U.
    """
    return tuple(lu_p.bind(x))


def _permutation_abstract(pivots, *, permutation_size):
    if not dtypes.is_integer(pivots.dtype) or pivots.ndim < 1:
        raise TypeError(f"lu_pivots_to_permutation: needs vectors of integers, but got {pivots}.")
    return ShapedArray((*pivots.shape[:-1], permutation_size), pivots.dtype)


lu_pivots_to_permutation_p = Primitive(
    "lu_pivots_to_permutation",
    abstract=_permutation_abstract,
    value=lambda xp, pivots, *, permutation_size: values.permutation(
        xp, pivots, permutation_size
    ).astype(pivots.dtype, copy=False),
    constant=True,
    loops=lambda pivots, *, permutation_size: loops.Opaque("exchanges in turn", "permutation"),
)
lu_pivots_to_permutation_p.batch = leading_batch(lu_pivots_to_permutation_p)


def lu_pivots_to_permutation(pivots: Any, permutation_size: int) -> Any:
    """The order of rows that exchanging row i with row `pivots[i]`, in turn, leads to."""
    return lu_pivots_to_permutation_p.bind(pivots, permutation_size=int(permutation_size))


# ---------------------------------------------------------------- qr


def _qr_abstract(x, *, pivoting, full_matrices):
    require_matrices("qr", x)
    *batch, m, n = x.shape
    inner = m if full_matrices else min(m, n)
    outs = [ShapedArray((*batch, m, inner), x.dtype), ShapedArray((*batch, inner, n), x.dtype)]
    return outs + [ShapedArray((*batch, n), dtypes.int32)] if pivoting else outs


def _qr_value(xp, x, *, pivoting, full_matrices):
    avals = _qr_abstract(x, pivoting=pivoting, full_matrices=full_matrices)
    if pivoting:
        return list(values.qr_with_pivoting(xp, x, full_matrices))
    mode = "complete" if full_matrices else "reduced"
    return values.factorized(xp, lambda x: xp.linalg.qr(x, mode), x, avals)


def _qr_jvp(primals, tangents, *, pivoting, full_matrices):
    """With the leading square of R invertible: dQ = Q W + what leaves the span of Q, W skew.

    The part of W below the diagonal is that of Q^H dA R^-1, and dR = Q^H dA - W R.
    """
    (x,), (x_dot,) = primals, tangents
    q, r, *order = qr_p.bind(x, pivoting=pivoting, full_matrices=full_matrices)
    if pivoting:
        x_dot = _permuted_columns(x_dot, order[0])
    k = min(typeof(x).shape[-2:])
    right = triangular_solve(_rows(_columns(r, k), k), _columns(x_dot, k))  # dA R^-1
    projected = matmul(adjoint(q), right)
    size = typeof(q).shape[-1]
    lower = _squared(lower_triangle(projected, -1), size)
    skew = sub(lower, adjoint(lower))
    if dtypes.is_complex(typeof(x).dtype):
        diagonal = _squared(diagonal_matrix_of(projected), size)
        skew = add(skew, mul(sub(diagonal, conjugated(diagonal)), 0.5))
    q_dot = add(matmul(q, skew), sub(right, matmul(q, projected))) if size == k else matmul(q, skew)
    r_dot = sub(matmul(adjoint(q), x_dot), matmul(skew, r))
    return [q, r, *order], [q_dot, r_dot, *map(_zero, order)]


def _permuted_columns(x, order):
    *batch, n = typeof(order).shape
    lead = tuple(range(len(batch)))
    wanted = broadcast_in_dim(order, (*batch, n, n), (*lead, len(batch) + 1))
    rows = broadcasted_iota(dtypes.int32, (*batch, n, n), len(batch))
    return matmul(x, convert_element_type(eq(wanted, rows), typeof(x).dtype))


qr_p = Primitive(
    "qr",
    abstract=_qr_abstract,
    value=_qr_value,
    jvp=_qr_jvp,
    loops=lambda x, **params: loops.Opaque("LAPACK: geqrf, orgqr", "qr"),
    multiple_results=True,
)
qr_p.batch = leading_batch(qr_p)


def qr(x: Any, *, pivoting: bool = False, full_matrices: bool = True) -> tuple[Any, ...]:
    """The QR factorization: (Q, R) with x = Q R, Q orthonormal and R upper triangular.

    With `pivoting` also the order of columns, with x[:, order] = Q R and a diagonal of R that
    decreases. `full_matrices` makes Q square. Differentiable where the leading rows or columns,
    as many as there can be, are independent.
    """
    return tuple(qr_p.bind(x, pivoting=pivoting, full_matrices=full_matrices))
