"""Linear algebra under SciPy's names: factorisations to solve with, and matrix functions."""

from __future__ import annotations

from typing import Any

import numpy as np

import funcgrad.numpy as jnp
from funcgrad.core.array import Array
from funcgrad.errors import user_facing
from funcgrad.numpy import linalg
from funcgrad.numpy.promote import promote_dtypes_inexact
from funcgrad.primitives.linalg import factors
from funcgrad.primitives.linalg.matrices import require_matrices
from funcgrad.primitives.linalg.solving import triangular_solve


def _matrix(name: str, a: Any, square: bool = True) -> Array:
    (x,) = promote_dtypes_inexact(name, a)
    require_matrices(name, x, square)
    return x


def _columns(a: Any, b: Any, solve_columns: Any) -> Array:
    """Solves for one vector, or for the columns of a matrix."""
    if b.ndim == a.ndim - 1:
        return solve_columns(b[..., None])[..., 0]
    return solve_columns(b)


@user_facing
def cholesky(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Array:
    """The triangular factor of a positive definite matrix: upper as in SciPy, unless `lower`.

    >>> cholesky(jnp.array([[4.0, 2.0], [2.0, 3.0]]), lower=True).round(3)
    Array([[2.   , 0.   ],
           [1.   , 1.414]], dtype=float32)
    """
    return linalg.cholesky(_matrix("cholesky", a), upper=not lower)


@user_facing
def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Array, bool]:
    """The triangular factor and which one it is, for `cho_solve`."""
    return cholesky(a, lower=lower), lower


@user_facing
def cho_solve(
    c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Array:
    """The solution of `a x = b` from `cho_factor(a)`; `b` is a vector or a matrix of columns."""
    factor, lower = c_and_lower
    first = solve_triangular(factor, b, trans=0 if lower else 2, lower=lower)
    return solve_triangular(factor, first, trans=2 if lower else 0, lower=lower)


_TRANSPOSITIONS = {0: (False, False), "N": (False, False), 1: (True, False), "T": (True, False),
                   2: (True, True), "C": (True, True)}  # fmt: skip


@user_facing
def solve_triangular(
    a: Any,
    b: Any,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Array:
    """The solution of `a x = b` for triangular `a`; `trans` 1 ("T") transposes it, 2 ("C") takes
    its adjoint. `b` is a vector or a matrix of columns.

    >>> solve_triangular(jnp.array([[2.0, 0.0], [1.0, 1.0]]), jnp.array([2.0, 3.0]), lower=True)
    Array([1., 2.], dtype=float32)
    """
    if trans not in _TRANSPOSITIONS:
        raise ValueError(f"solve_triangular: trans must be 0, 1 or 2 (N, T, C), but got {trans!r}.")
    matrix, right = promote_dtypes_inexact("solve_triangular", a, b)
    require_matrices("solve_triangular", matrix, True)
    transpose, conjugate = _TRANSPOSITIONS[trans]

    def columns(c: Array) -> Array:
        batch = jnp.broadcast_shapes(matrix.shape[:-2], c.shape[:-2])
        return triangular_solve(
            jnp.broadcast_to(matrix, batch + matrix.shape[-2:]),
            jnp.broadcast_to(c, batch + c.shape[-2:]),
            left_side=True,
            lower=lower,
            transpose_a=transpose,
            conjugate_a=conjugate,
            unit_diagonal=unit_diagonal,
        )

    return _columns(matrix, right, columns)


@user_facing
def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: str = "gen",
) -> Array:
    """The solution of `a x = b`; with `assume_a="pos"` through the Cholesky factor."""
    if assume_a == "pos":
        return cho_solve(cho_factor(a, lower=lower), b)
    if assume_a not in ("gen", "sym", "her"):
        raise ValueError(f"solve: assume_a must be gen, sym, her or pos, but got {assume_a!r}.")
    return linalg.solve(a, b)


@user_facing
def lu(
    a: Any, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    """The factors of `a = p l u`; with `permute_l` of `a = (p l) u`."""
    matrix = _matrix("lu", a, square=False)
    packed, _, permutation = factors.lu(matrix)
    rows, columns = matrix.shape[-2:]
    k = min(rows, columns)
    unit = jnp.tril(packed, -1)[..., :, :k] + jnp.eye(rows, k, dtype=matrix.dtype)
    upper = jnp.triu(packed)[..., :k, :]
    p = jnp.swapaxes(jnp.eye(rows, dtype=matrix.dtype)[permutation], -1, -2)
    return (p @ unit, upper) if permute_l else (p, unit, upper)


@user_facing
def lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, Array]:
    """Both factors in one matrix, and the row exchanges, for `lu_solve`."""
    packed, pivots, _ = factors.lu(_matrix("lu_factor", a, square=False))
    return packed, pivots


@user_facing
def lu_solve(
    lu_and_piv: tuple[Any, Any],
    b: Any,
    trans: int = 0,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Array:
    """The solution of `a x = b` (`trans` 1: of the transpose, 2: of the adjoint) from
    `lu_factor(a)`.
    """
    packed, pivots = lu_and_piv
    packed, right = promote_dtypes_inexact("lu_solve", packed, b)
    order = factors.lu_pivots_to_permutation(pivots, packed.shape[-1])

    def columns(c: Array) -> Array:
        if trans == 0:
            c = jnp.take_along_axis(c, order[..., None], axis=-2)
            c = solve_triangular(packed, c, lower=True, unit_diagonal=True)
            return solve_triangular(packed, c)
        c = solve_triangular(packed, c, trans=trans)
        c = solve_triangular(packed, c, trans=trans, lower=True, unit_diagonal=True)
        return jnp.take_along_axis(c, jnp.argsort(order, axis=-1)[..., None], axis=-2)

    return _columns(packed, right, columns)


@user_facing
def qr(
    a: Any,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> Any:
    """The factors of `a = q r`; `mode` is full, economic or r. With `pivoting`, the order too."""
    if mode not in ("full", "economic", "r"):
        raise ValueError(f"qr: mode must be full, economic or r, but got {mode!r}.")
    full = mode == "full"
    found = factors.qr(_matrix("qr", a, square=False), pivoting=pivoting, full_matrices=full)
    return tuple(found[1:]) if mode == "r" else tuple(found)


@user_facing
def svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    """Singular vectors and values, `(u, s, vh)`; only the values without `compute_uv`."""
    found = linalg.svd(a, full_matrices=full_matrices, compute_uv=compute_uv)
    return tuple(found) if compute_uv else found


@user_facing
def eigh(
    a: Any,
    b: Any = None,
    lower: bool = True,
    eigvals_only: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    turbo: bool = True,
    eigvals: None = None,
    type: int = 1,
    check_finite: bool = True,
) -> Any:
    """Eigenvalues, and eigenvectors, of a Hermitian matrix: all of them (`eigvals` is None)."""
    if eigvals is not None:
        raise ValueError("eigh: eigvals must be None; take a part of the result.")
    if b is not None or type != 1:
        raise ValueError(
            "eigh: the generalised problem is not supported; reduce it by cholesky(b)."
        )
    values, vectors = linalg.eigh(a, UPLO="L" if lower else "U")
    return values if eigvals_only else (values, vectors)


def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The determinant."""
    return linalg.det(a)


def inv(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The inverse."""
    return linalg.inv(a)


# Coefficients of the [13/13] Pade approximant of exp (Higham, 2005, "The scaling and squaring
# method for the matrix exponential revisited", equation 3.2), which float32 needs only the [7/7]
# of.
_PADE7 = (17297280.0, 8648640.0, 1995840.0, 277200.0, 25200.0, 1512.0, 56.0, 1.0)
_PADE13 = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0,
    960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip


@user_facing
def expm(A: Any, *, upper_triangular: bool = False, max_squarings: int = 16) -> Array:
    """The exponential of square matrices, by scaling and squaring (Higham, 2005).

    NaN where more than `max_squarings` squarings would be needed.

    >>> expm(jnp.zeros((2, 2)))
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    matrix = _matrix("expm", A)
    wide = matrix.dtype in (np.float64, np.complex128)
    coefficients, limit = (_PADE13, 5.371920351148152) if wide else (_PADE7, 3.925724783138660)
    norm = jnp.max(jnp.sum(jnp.abs(matrix), axis=-2), axis=-1)
    wanted = jnp.ceil(jnp.log2(jnp.maximum(norm, limit) / limit))
    squarings = jnp.clip(wanted, 0, max_squarings)
    scaled = matrix / (2.0**squarings)[..., None, None].astype(matrix.dtype)
    result = _pade(scaled, coefficients)
    for i in range(max_squarings):
        again = (i < squarings)[..., None, None]
        result = jnp.where(again, result @ result, result)
    return jnp.where((wanted > max_squarings)[..., None, None], jnp.nan, result)


def _pade(a: Array, coefficients: tuple[float, ...]) -> Array:
    """The quotient of the approximant's polynomials, which share even and odd parts."""
    power = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    square = a @ a
    even, odd = jnp.zeros_like(a), jnp.zeros_like(a)
    for i in range(0, len(coefficients), 2):
        even = even + coefficients[i] * power
        odd = odd + coefficients[i + 1] * power
        power = power @ square
    odd = a @ odd
    return linalg.solve(even - odd, even + odd)


@user_facing
def block_diag(*arrs: Any) -> Array:
    """The matrices along the diagonal of a larger one, zeros elsewhere.

    >>> block_diag(jnp.ones((1, 2)), 3.0)
    Array([[1., 1., 0.],
           [0., 0., 3.]], dtype=float32)
    """
    blocks = [jnp.atleast_2d(b) for b in (arrs or (jnp.zeros((1, 0)),))]
    if any(b.ndim > 2 for b in blocks):
        raise ValueError(f"block_diag: needs matrices, but got shapes {[b.shape for b in blocks]}.")
    dtype = jnp.result_type(*blocks)
    width, before, rows = sum(b.shape[1] for b in blocks), 0, []
    for b in blocks:
        after = width - before - b.shape[1]
        rows.append(jnp.pad(b.astype(dtype), ((0, 0), (before, after))))
        before += b.shape[1]
    return jnp.concatenate(rows, axis=0)


@user_facing
def toeplitz(c: Any, r: Any = None) -> Array:
    """The matrix with constant diagonals, of first column `c` and first row `r` (default: its
    conjugate; `r[0]` is not used).
    """
    column = jnp.ravel(c)
    row = jnp.conj(column) if r is None else jnp.ravel(r)
    values = jnp.concatenate([column[::-1], row[1:].astype(jnp.result_type(column, row))])
    index = np.arange(column.size)[::-1, None] + np.arange(row.size)
    return values[index]


__all__ = [
    "block_diag", "cho_factor", "cho_solve", "cholesky", "det", "eigh", "expm", "inv", "lu",
    "lu_factor", "lu_solve", "qr", "solve", "solve_triangular", "svd", "toeplitz",
]  # fmt: skip
