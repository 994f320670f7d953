"""Factorizations by eigenvalues and singular values: eigh, svd, eig.

Derivatives after Giles 2008, "Collected matrix derivative results", sections 3.1 and 3.2: those of
vectors divide by the differences of values, hence exist only where these are distinct; equal
values give infinities or NaN.
"""

from typing import Any

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.primitives.basis import (
    add,
    broadcast_in_dim,
    convert_element_type,
    div,
    full,
    mul,
    reduce_sum,
    sub,
)
from funcgrad.primitives.linalg import values
from funcgrad.primitives.linalg.factors import symmetrized
from funcgrad.primitives.linalg.matrices import (
    adjoint,
    columns_scaled,
    conjugated,
    diagonal_matrix_of,
    diagonal_of,
    hermitian_from,
    leading_batch,
    matmul,
    real_part,
    reciprocal_differences,
    require_matrices,
    rows_scaled,
)
from funcgrad.primitives.linalg.solving import linear_solve

__all__ = ["eig", "eigh", "svd"]


# ---------------------------------------------------------------- eigh


def _eigh_abstract(x, *, lower):
    require_matrices("eigh", x, square=True)
    real = dtypes.real_part(x.dtype)
    return [ShapedArray(x.shape, x.dtype), ShapedArray(x.shape[:-1], real)]


def _eigh_value(xp, x, *, lower):
    triangle = "L" if lower else "U"

    def call(x):
        w, v = xp.linalg.eigh(x, triangle)
        return v, w

    return values.factorized(xp, call, x, _eigh_abstract(x, lower=lower))


def _eigh_jvp(primals, tangents, *, lower):
    """dw = diag(V^H dA V); dV = V (F * V^H dA V), F the reciprocal differences of w."""
    (x,), (x_dot,) = primals, tangents
    v, w = eigh_p.bind(x, lower=lower)
    inner = matmul(adjoint(v), matmul(hermitian_from(x_dot, lower), v))
    factors = convert_element_type(reciprocal_differences(w), typeof(x).dtype)
    return [v, w], [matmul(v, mul(factors, inner)), real_part(diagonal_of(inner))]


eigh_p = Primitive(
    "eigh",
    abstract=_eigh_abstract,
    value=_eigh_value,
    jvp=_eigh_jvp,
    loops=lambda x, *, lower: loops.Opaque("LAPACK: heevd", "eigh"),
    multiple_results=True,
)
eigh_p.batch = leading_batch(eigh_p)


def eigh(
    x: Any, *, lower: bool = True, symmetrize_input: bool = True, sort_eigenvalues: bool = True
) -> tuple[Any, Any]:
    """Eigenvectors and eigenvalues (V, w) of Hermitian matrices: x V = V diag(w).

    Eigenvalues ascend, whether `sort_eigenvalues` asks for it or not; vectors are columns. Only
    the `lower` (or upper) triangle is read, after it was replaced by (x + x^H) / 2 if
    `symmetrize_input`.
    """
    return tuple(eigh_p.bind(symmetrized("eigh", x) if symmetrize_input else x, lower=lower))


# ---------------------------------------------------------------- svd


def _svd_abstract(x, *, full_matrices, compute_uv):
    require_matrices("svd", x)
    *batch, m, n = x.shape
    k = min(m, n)
    s = ShapedArray((*batch, k), dtypes.real_part(x.dtype))
    if not compute_uv:
        return [s]
    u = ShapedArray((*batch, m, m if full_matrices else k), x.dtype)
    return [s, u, ShapedArray((*batch, n if full_matrices else k, n), x.dtype)]


def _svd_value(xp, x, *, full_matrices, compute_uv):
    def call(x):
        if not compute_uv:
            return xp.linalg.svd(x, compute_uv=False)
        u, s, vh = xp.linalg.svd(x, full_matrices=full_matrices)
        return s, u, vh

    avals = _svd_abstract(x, full_matrices=full_matrices, compute_uv=compute_uv)
    return values.factorized(xp, call, x, avals)


def _svd_jvp(primals, tangents, *, full_matrices, compute_uv):
    (x,), (x_dot,) = primals, tangents
    m, n = typeof(x).shape[-2:]
    if compute_uv and full_matrices and m != n:
        raise ValueError(
            f"svd: the derivative of singular vectors needs full_matrices=False for matrices that "
            f"are not square, such as these, {m} by {n}."
        )
    s, u, vh = svd_p.bind(x, full_matrices=False, compute_uv=True)
    inner = matmul(adjoint(u), matmul(x_dot, adjoint(vh)))  # U^H dA V
    s_dot = real_part(diagonal_of(inner))
    if not compute_uv:
        return [s], [s_dot]
    u_dot, vh_dot = _svd_vector_tangents(x_dot, s, u, vh, inner)
    return [s, u, vh], [s_dot, u_dot, vh_dot]


def _svd_vector_tangents(x_dot, s, u, vh, inner):
    """From dA = dU S V^H + U dS V^H + U S dV^H, by parts along and across U and V."""
    dtype = typeof(u).dtype
    scale = convert_element_type(s, dtype)
    # 1 / (s_j^2 - s_i^2), as a product so that neither square overflows.
    factors = mul(reciprocal_differences(s), _reciprocal_sums(s))
    factors = convert_element_type(factors, dtype)
    right, left = columns_scaled(inner, scale), rows_scaled(scale, inner)
    along_u = mul(factors, add(right, adjoint(right)))  # U^H dU
    along_v = mul(factors, add(left, adjoint(left)))  # V^H dV
    inverse = div(full(typeof(s).shape, 1, typeof(s).dtype), s)
    inverse = convert_element_type(inverse, dtype)
    if dtypes.is_complex(dtype):
        # The phase of each pair of vectors is free; the one of U takes all of it.
        diagonal = diagonal_matrix_of(inner)
        phase = mul(sub(diagonal, conjugated(diagonal)), 0.5)
        along_u = add(along_u, columns_scaled(phase, inverse))
    v = adjoint(vh)
    u_dot, v_dot = matmul(u, along_u), matmul(v, along_v)
    m, n, k = typeof(u).shape[-2], typeof(v).shape[-2], typeof(s).shape[-1]
    if m > k:
        image = matmul(x_dot, v)
        across = sub(image, matmul(u, matmul(adjoint(u), image)))
        u_dot = add(u_dot, columns_scaled(across, inverse))
    if n > k:
        image = matmul(adjoint(x_dot), u)
        across = sub(image, matmul(v, matmul(adjoint(v), image)))
        v_dot = add(v_dot, columns_scaled(across, inverse))
    return u_dot, adjoint(v_dot)


def _reciprocal_sums(s):
    """1 / (s_i + s_j); off the diagonal alone it matters, so zeros there are replaced by ones."""
    *batch, k = typeof(s).shape
    lead = tuple(range(len(batch)))
    shape = (*batch, k, k)
    rows = broadcast_in_dim(s, shape, (*lead, len(batch)))
    columns = broadcast_in_dim(s, shape, (*lead, len(batch) + 1))
    sums = add(rows, columns)
    diagonal = diagonal_matrix_of(sums)
    ones = diagonal_matrix_of(full(shape, 1, typeof(s).dtype))
    return div(full(shape, 1, typeof(s).dtype), add(sub(sums, diagonal), ones))


svd_p = Primitive(
    "svd",
    abstract=_svd_abstract,
    value=_svd_value,
    jvp=_svd_jvp,
    loops=lambda x, **params: loops.Opaque("LAPACK: gesdd", "svd"),
    multiple_results=True,
)
svd_p.batch = leading_batch(svd_p)


def svd(x: Any, *, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition: (U, s, V^H) with x = U diag(s) V^H, s descending.

    `full_matrices` makes U and V square; without `compute_uv` the singular values come alone.
    """
    outs = svd_p.bind(x, full_matrices=full_matrices, compute_uv=compute_uv)
    if not compute_uv:
        return outs[0]
    s, u, vh = outs
    return u, s, vh


# ---------------------------------------------------------------- eig


def _eig_abstract(x, *, compute_left_eigenvectors, compute_right_eigenvectors):
    require_matrices("eig", x, square=True)
    is_narrow = x.dtype.itemsize <= 4 or x.dtype == dtypes.complex64
    dtype = dtypes.complex64 if is_narrow else dtypes.complex128
    vectors = compute_left_eigenvectors + compute_right_eigenvectors
    return [ShapedArray(x.shape[:-1], dtype)] + [ShapedArray(x.shape, dtype)] * vectors


def _eig_value(xp, x, *, compute_left_eigenvectors, compute_right_eigenvectors):
    avals = _eig_abstract(
        x,
        compute_left_eigenvectors=compute_left_eigenvectors,
        compute_right_eigenvectors=compute_right_eigenvectors,
    )

    def call(x):
        if not compute_right_eigenvectors and not compute_left_eigenvectors:
            return xp.linalg.eigvals(x)
        w, v = xp.linalg.eig(x)
        left = [_left_vectors(xp, v)] if compute_left_eigenvectors else []
        return [w, *left, *([v] if compute_right_eigenvectors else [])]

    outs = values.factorized(xp, call, x, avals)
    return [out.astype(aval.dtype, copy=False) for out, aval in zip(outs, avals, strict=True)]


def _left_vectors(xp, v):
    """Columns u with u^H x = w u^H, of length one: the adjoint of the inverse, scaled."""
    left = xp.linalg.inv(v).conj().swapaxes(-1, -2)
    return left / xp.sqrt(xp.sum(abs(left) ** 2, axis=-2, keepdims=True))


def _eig_jvp(primals, tangents, *, compute_left_eigenvectors, compute_right_eigenvectors):
    """dw = diag(V^-1 dA V); dV = V (F * V^-1 dA V), less its part along each vector itself.

    The phase of a vector is free, so its tangent is taken orthogonal to it: what does not depend
    on phases has the right derivative.
    """
    (x,), (x_dot,) = primals, tangents
    if compute_left_eigenvectors:
        raise ValueError(
            "eig: left eigenvectors are not differentiable. Use the right eigenvectors of the "
            "adjoint, or eigh for Hermitian matrices."
        )
    w, v = eig_p.bind(x, compute_left_eigenvectors=False, compute_right_eigenvectors=True)
    inner = linear_solve(v, matmul(convert_element_type(x_dot, typeof(v).dtype), v))
    w_dot = diagonal_of(inner)
    if not compute_right_eigenvectors:
        return [w], [w_dot]
    v_dot = matmul(v, mul(reciprocal_differences(w), inner))
    along = reduce_sum(mul(conjugated(v), v_dot), (typeof(v).ndim - 2,))
    return [w, v], [w_dot, sub(v_dot, columns_scaled(v, along))]


eig_p = Primitive(
    "eig",
    abstract=_eig_abstract,
    value=_eig_value,
    jvp=_eig_jvp,
    loops=lambda x, **params: loops.Opaque("LAPACK: geev", "eig"),
    multiple_results=True,
)
eig_p.batch = leading_batch(eig_p)


def eig(
    x: Any, *, compute_left_eigenvectors: bool = True, compute_right_eigenvectors: bool = True
) -> list[Any]:
    """Eigenvalues of square matrices, with left and right eigenvectors as asked for (CPU only).

    Returns [w], [w, left], [w, right] or [w, left, right], complex even for real matrices:
    x right = right diag(w) and left^H x = diag(w) left^H, columns of length one. Values and right
    vectors are differentiable; as the phase of a vector is free, only what does not depend on it
    has a meaningful derivative.
    """
    return eig_p.bind(
        x,
        compute_left_eigenvectors=compute_left_eigenvectors,
        compute_right_eigenvectors=compute_right_eigenvectors,
    )
