"""Linear algebra on the last two dimensions: systems, factorizations, norms, as `numpy.linalg`.

Integers are computed as floats of the default width. What has no result (a singular or indefinite
matrix) is infinite or NaN, never an exception, so that programs can be traced. Nothing here is
rounded through lower precision.
"""

from collections.abc import Sequence
from operator import index
from typing import Any, NamedTuple

import numpy as np

from funcgrad.control.custom import custom_jvp
from funcgrad.core import dtypes
from funcgrad.core.array import Array
from funcgrad.numpy import contractions, reductions, ufuncs
from funcgrad.numpy.axes import axis_index
from funcgrad.numpy.contractions import dot, matmul, vecdot
from funcgrad.numpy.creation import arange, eye, zeros
from funcgrad.numpy.diagonals import diagonal as _diagonal, trace as _trace
from funcgrad.numpy.norms import matrix_norm, norm, squared_size, vector_norm
from funcgrad.numpy.promote import as_array, promote_dtypes_inexact
from funcgrad.numpy.selection import take_along_axis, where
from funcgrad.numpy.shaping import (
    broadcast_shapes,
    broadcast_to,
    expand_dims,
    flip,
    matrix_transpose,
    reshape,
    transpose,
)
from funcgrad.numpy.sorting import argsort
from funcgrad.primitives import linalg as primitives
from funcgrad.primitives.basis import convert_element_type

__all__ = [
    "cholesky", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv",
    "lstsq", "matmul", "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose",
    "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
    "tensorinv", "tensorsolve", "trace", "vecdot", "vector_norm",
]  # fmt: skip


class EigResult(NamedTuple):
    """What `eig` returns."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Array
    S: Array
    Vh: Array


# ---------------------------------------------------------------- operands


def _matrices(name, a, square=False):
    """The operand as matrices of floats."""
    (x,) = promote_dtypes_inexact(name, a)
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        kind = "square matrices" if square else "matrices"
        raise ValueError(f"{name}: needs {kind} (rank 2 or more), but got shape {x.shape}.")
    if x.dtype.itemsize == 2:
        raise TypeError(
            f"{name}: {x.dtype} is too narrow for factorizations. Convert with astype('float32')."
        )
    return x


def _eps(x):
    return float(np.finfo(x.dtype).eps)


def _adjoint(x):
    x = matrix_transpose(x)
    return ufuncs.conj(x) if dtypes.is_complex(x.dtype) else x


# ---------------------------------------------------------------- systems


def solve(a: Any, b: Any) -> Array:
    """X with a X = b, for square matrices; leading dimensions broadcast.

    `b` of rank 1 is one vector, otherwise matrices. Singular matrices give infinities or NaN.

    >>> a, b = np.diag(np.float32([2, 4])), np.float32([2, 2])
    >>> solve(a, b)
    Array([1. , 0.5], dtype=float32)
    """
    a, b = promote_dtypes_inexact("solve", a, b)
    a = _matrices("solve", a, square=True)
    is_vector = b.ndim == 1
    columns = expand_dims(b, 1) if is_vector else b
    if columns.ndim < 2 or columns.shape[-2] != a.shape[-1]:
        raise ValueError(
            f"solve: b must have as many rows as the matrices a, but the shapes are {a.shape} and "
            f"{b.shape}."
        )
    if is_vector and a.ndim > 2:
        # One vector for many matrices: it is solved with each.
        columns = broadcast_to(columns, (*a.shape[:-2], *columns.shape))
    batch = broadcast_shapes(a.shape[:-2], columns.shape[:-2])
    a = broadcast_to(a, (*batch, *a.shape[-2:]))
    columns = broadcast_to(columns, (*batch, *columns.shape[-2:]))
    out = primitives.linear_solve(a, columns)
    return reshape(out, out.shape[:-1]) if is_vector else out


def inv(a: Any) -> Array:
    """The inverse of square matrices; infinities or NaN for singular ones."""
    x = _matrices("inv", a, square=True)
    identity = broadcast_to(eye(x.shape[-1], dtype=x.dtype), x.shape)
    return primitives.linear_solve(x, identity)


def _pinv_value(a, rtol, hermitian):
    u, s, vh = svd(a, full_matrices=False, hermitian=hermitian)
    cutoff = ufuncs.multiply(expand_dims(rtol, -1), s[..., :1])
    s = where(ufuncs.greater(s, cutoff), s, np.inf)
    s = convert_element_type(s, u.dtype)
    return matmul(_adjoint(vh), ufuncs.divide(_adjoint(u), expand_dims(s, -1)))


@custom_jvp
def _pinv(a, rtol):
    return _pinv_value(a, rtol, False)


@_pinv.defjvp
def _pinv_jvp(primals, tangents):
    """Golub and Pereyra 1973, theorem 4.3: no differences of singular values are divided by."""
    (a, rtol), (a_dot, _) = primals, tangents
    p = _pinv(a, rtol)
    p_adjoint, dot_adjoint = _adjoint(p), _adjoint(a_dot)
    inside = -matmul(p, matmul(a_dot, p))
    image = matmul(p, matmul(p_adjoint, dot_adjoint))
    kernel = matmul(matmul(dot_adjoint, p_adjoint), p)
    outside = image - matmul(matmul(image, a), p) + kernel - matmul(p, matmul(a, kernel))
    return p, inside + outside


def pinv(a: Any, rtol: Any = None, hermitian: bool = False, *, rcond: Any = None) -> Array:
    """The Moore-Penrose pseudo-inverse, by singular values.

    Those below `rtol` (or `rcond`) times the largest count as zero; by default 10 max(m, n) eps.
    """
    x = _matrices("pinv", a)
    rtol = rcond if rtol is None else rtol
    if rtol is None:
        rtol = 10.0 * max(x.shape[-2:]) * _eps(x)
    rtol = convert_element_type(as_array("pinv", rtol), dtypes.real_part(x.dtype))
    if x.shape[-1] == 0 or x.shape[-2] == 0:
        return matrix_transpose(x)
    return _pinv_value(x, rtol, True) if hermitian else _pinv(x, rtol)


def lstsq(
    a: Any, b: Any, rcond: float | None = None, *, numpy_resid: bool = False
) -> tuple[Array, Array, Array, Array]:
    """The least-squares solution of a x = b: (x, residuals, rank, singular values).

    Singular values below `rcond` (default: eps max(m, n)) times the largest count as zero.
    `residuals` are squared sums per column of `b`; with `numpy_resid` empty where NumPy's are.
    """
    a, b = promote_dtypes_inexact("lstsq", a, b)
    is_vector = b.ndim == 1
    b = expand_dims(b, 1) if is_vector else b
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[0]:
        raise ValueError(
            f"lstsq: needs a matrix and a vector or matrix with as many rows, but got shapes "
            f"{a.shape} and {b.shape}."
        )
    m, n = a.shape
    if a.size == 0:
        empty = zeros((0,), dtypes.real_part(a.dtype))
        s, rank, x = empty, as_array("lstsq", np.int32(0)), zeros((n, b.shape[1]), a.dtype)
    else:
        s, rank, x = _least_squares(a, b, _eps(a) * max(m, n) if rcond is None else rcond)
    if numpy_resid and (m <= n or int(rank) < n):
        residuals = zeros((0,), dtypes.real_part(a.dtype))
    else:
        residuals = reductions.sum(squared_size(b - matmul(a, x)), axis=0)
    return (x[:, 0] if is_vector else x), residuals, rank, s


def _least_squares(a, b, rcond):
    u, s, vh = svd(a, full_matrices=False)
    kept = ufuncs.greater_equal(s, s[0] * rcond)
    inverse = where(kept, 1 / where(kept, s, 1), 0)
    inverse = convert_element_type(inverse, u.dtype)
    x = matmul(_adjoint(vh), expand_dims(inverse, 1) * matmul(_adjoint(u), b))
    return s, reductions.sum(kept, dtype="int32"), x


def tensorsolve(a: Any, b: Any, axes: tuple[int, ...] | None = None) -> Array:
    """X with tensordot(a, X, X.ndim) = b; `axes` of `a` are moved to its end first."""
    a, b = promote_dtypes_inexact("tensorsolve", a, b)
    if axes is not None:
        last = [axis_index("tensorsolve", axis, a.ndim) for axis in axes]
        a = transpose(a, [d for d in range(a.ndim) if d not in last] + last)
    sizes = a.shape[b.ndim :]
    return reshape(solve(reshape(a, (b.size, -1)), reshape(b, (b.size,))), sizes)


def tensorinv(a: Any, ind: int = 2) -> Array:
    """The inverse of `a` as a linear map from its last dimensions to its first `ind` ones."""
    (x,) = promote_dtypes_inexact("tensorinv", a)
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be positive, but is {ind}.")
    rows, columns = x.shape[:ind], x.shape[ind:]
    inverse = inv(reshape(x, (int(np.prod(rows)), -1)))
    return reshape(inverse, (*columns, *rows))


# ---------------------------------------------------------------- factorizations


def cholesky(a: Any, *, upper: bool = False, symmetrize_input: bool = True) -> Array:
    """Lower triangular L with a = L L^H, or with `upper` its adjoint; NaN if not positive definite.

    `a` is replaced by (a + a^H) / 2 first, if `symmetrize_input`.
    """
    x = _matrices("cholesky", a, square=True)
    if upper and not symmetrize_input:
        x = _adjoint(x)
    factor = primitives.cholesky(x, symmetrize_input=symmetrize_input)
    return _adjoint(factor) if upper else factor


def qr(a: Any, mode: str = "reduced") -> Any:
    """Q and R with a = Q R: "reduced", "complete" (Q square), or R alone ("r")."""
    x = _matrices("qr", a)
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode must be 'reduced', 'complete' or 'r', but got {mode!r}.")
    q, r = primitives.qr(x, full_matrices=mode == "complete")
    return r if mode == "r" else QRResult(q, r)


def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Singular values, descending, and vectors: SVDResult(U, S, Vh) with a = U diag(S) Vh.

    Without `compute_uv` the values alone. `hermitian` promises Hermitian matrices and goes through
    their eigenvalues. Derivatives of vectors need distinct values and `full_matrices=False` for
    matrices that are not square.
    """
    x = _matrices("svd", a)
    if hermitian:
        return _hermitian_svd(x, compute_uv)
    out = primitives.svd(x, full_matrices=full_matrices, compute_uv=compute_uv)
    return SVDResult(*out) if compute_uv else out


def _hermitian_svd(x, compute_uv):
    v, w = primitives.eigh(x)
    s = ufuncs.abs(w)
    order = flip(argsort(s), -1)
    s = take_along_axis(s, order)
    if not compute_uv:
        return s
    columns = broadcast_to(expand_dims(order, -2), v.shape)
    u = take_along_axis(v, columns)
    signs = convert_element_type(ufuncs.sign(take_along_axis(w, order)), v.dtype)
    return SVDResult(u, s, _adjoint(u * expand_dims(signs, -2)))


def svdvals(x: Any, /) -> Array:
    """The singular values of matrices, descending."""
    return svd(x, compute_uv=False)


def eigh(a: Any, UPLO: str | None = None, symmetrize_input: bool = True) -> EighResult:
    """Eigenvalues, ascending, and eigenvectors (columns) of Hermitian matrices.

    `UPLO` says which triangle is read, "L" or "U"; it matters only without `symmetrize_input`.
    """
    if UPLO not in (None, "L", "U"):
        raise ValueError(f"eigh: UPLO must be 'L' or 'U', but got {UPLO!r}.")
    x = _matrices("eigh", a, square=True)
    v, w = primitives.eigh(x, lower=UPLO != "U", symmetrize_input=symmetrize_input)
    return EighResult(w, v)


def eigvalsh(a: Any, UPLO: str | None = "L", *, symmetrize_input: bool = True) -> Array:
    """The eigenvalues of Hermitian matrices, ascending."""
    return eigh(a, UPLO, symmetrize_input).eigenvalues


def eig(a: Any) -> EigResult:
    """Eigenvalues and right eigenvectors (columns) of square matrices, always complex.

    The phase of a vector is free, so only what does not depend on it has a meaningful derivative.
    """
    x = _matrices("eig", a, square=True)
    return EigResult(*primitives.eig(x, compute_left_eigenvectors=False))


def eigvals(a: Any) -> Array:
    """The eigenvalues of square matrices, always complex."""
    x = _matrices("eigvals", a, square=True)
    (w,) = primitives.eig(x, compute_left_eigenvectors=False, compute_right_eigenvectors=False)
    return w


# ---------------------------------------------------------------- determinants and powers


def slogdet(a: Any, *, method: str | None = None) -> SlogdetResult:
    """The sign (or phase) of the determinant and the logarithm of its absolute value.

    `method` is accepted as None or "lu", which is what is done. Of a singular matrix the sign is 0
    and the logarithm -inf.
    """
    if method not in (None, "lu"):
        raise ValueError(f"slogdet: method must be None or 'lu', but got {method!r}.")
    x = _matrices("slogdet", a, square=True)
    factors, pivots, _ = primitives.lu(x)
    diagonal = _diagonal(factors, axis1=-2, axis2=-1)
    size = ufuncs.abs(diagonal)
    sign = reductions.prod(_phase(diagonal, size), axis=-1) * _parity(pivots, x.dtype)
    return SlogdetResult(sign, reductions.sum(ufuncs.log(size), axis=-1))


def _phase(x, size):
    """The sign of each number; for complex ones x / |x|, for zero zero."""
    if not dtypes.is_complex(x.dtype):
        return ufuncs.sign(x)
    is_zero = ufuncs.equal(size, 0)
    return where(is_zero, 0, x / convert_element_type(where(is_zero, 1, size), x.dtype))


def _parity(pivots, dtype):
    """-1 for an odd number of exchanged rows, else 1."""
    exchanged = ufuncs.not_equal(pivots, arange(pivots.shape[-1], dtype="int32"))
    odd = ufuncs.remainder(reductions.sum(exchanged, axis=-1), 2)
    return convert_element_type(1 - 2 * odd, dtype)


def det(a: Any) -> Array:
    """The determinant of square matrices.

    Up to 3 by 3 by its polynomial, differentiable everywhere; larger ones by LU factors, whose
    derivatives need regular matrices.
    """
    x = _matrices("det", a, square=True)
    n = x.shape[-1]
    if n <= 3:
        rows = [[x[..., i, j] for j in range(n)] for i in range(n)]
        return _minor(rows, x)
    factors, pivots, _ = primitives.lu(x)
    diagonal = _diagonal(factors, axis1=-2, axis2=-1)
    return reductions.prod(diagonal, axis=-1) * _parity(pivots, x.dtype)


def _minor(rows, x):
    """The determinant of up to three rows, expanded along the first."""
    if not rows:
        return convert_element_type(broadcast_to(1, x.shape[:-2]), x.dtype)
    if len(rows) == 1:
        return rows[0][0]
    if len(rows) == 2:
        (p, q), (r, s) = rows
        return p * s - q * r
    (p, q, r), *rest = rows
    first, second, third = (_minor([[row[k] for k in range(3) if k != j] for row in rest], x)
                            for j in range(3))  # fmt: skip
    return p * first - q * second + r * third


def matrix_power(a: Any, n: int) -> Array:
    """Square matrices to an integer power, by repeated squaring; negative ones of the inverse."""
    x = as_array("matrix_power", a)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power: needs square matrices, but got shape {x.shape}.")
    n = index(n)
    if n < 0:
        x, n = inv(x), -n
    if n == 0:
        return broadcast_to(eye(x.shape[-1], dtype=x.dtype), x.shape)
    power = None
    while n:
        if n % 2:
            power = x if power is None else matmul(power, x)
        n //= 2
        x = matmul(x, x) if n else x
    assert power is not None, "n is not 0"
    return power


def multi_dot(arrays: Sequence[Any], *, precision: Any = None) -> Array:
    """The product of several matrices in the order that needs the fewest multiplications.

    The first and the last may be vectors.
    """
    operands = [as_array("multi_dot", x) for x in arrays]
    if len(operands) < 2:
        raise ValueError(f"multi_dot: needs at least two arrays, but got {len(operands)}.")
    first, last = operands[0], operands[-1]
    if any(x.ndim != 2 for x in operands[1:-1]) or {first.ndim, last.ndim} - {1, 2}:
        raise ValueError(
            "multi_dot: needs matrices (the first and last may be vectors), but the shapes are "
            f"{[x.shape for x in operands]}."
        )
    rows, columns = (1 if x.ndim == 1 else x.shape[k] for x, k in ((first, 0), (last, 1)))
    sizes = [rows, *(x.shape[0] for x in operands[1:]), columns]
    splits = _chain_order(sizes)

    def product(i, j):
        if i == j:
            return operands[i]
        split = splits[i, j]
        return dot(product(i, split), product(split + 1, j), precision=precision)

    return product(0, len(operands) - 1)


def _chain_order(sizes):
    """Where the best product of factors i to j is split, for all i < j (dynamic programming)."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    splits = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j], splits[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return splits


def matrix_rank(M: Any, rtol: Any = None, *, hermitian: bool = False, tol: Any = None) -> Array:
    """How many singular values exceed `rtol` times the largest, or `tol`.

    The default is rtol = max(m, n) eps. Of a scalar or vector: 1 if an element is not zero.
    """
    (x,) = promote_dtypes_inexact("matrix_rank", M)
    if rtol is not None and tol is not None:
        raise ValueError("matrix_rank: only one of rtol and tol may be given.")
    if x.ndim < 2:
        return convert_element_type(reductions.any(ufuncs.not_equal(x, 0)), dtypes.default_int())
    s = svd(x, full_matrices=False, compute_uv=False, hermitian=hermitian)
    if tol is None:
        rtol = max(x.shape[-2:]) * _eps(x) if rtol is None else rtol
        tol = as_array("matrix_rank", rtol) * reductions.max(s, axis=-1, initial=0)
    cutoff = expand_dims(as_array("matrix_rank", tol), -1)
    return reductions.sum(ufuncs.greater(s, cutoff), axis=-1)


def cond(x: Any, p: Any = None) -> Array:
    """The condition number in the norm `p`: by default largest by smallest singular value."""
    x = _matrices("cond", x)
    if p in (None, 2, -2):
        s = svd(x, compute_uv=False)
        ratio = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    else:
        x = _matrices("cond", x, square=True)
        ratio = norm(x, ord=p, axis=(-2, -1)) * norm(inv(x), ord=p, axis=(-2, -1))
    input_is_nan = reductions.any(ufuncs.isnan(x), axis=(-2, -1))
    return where(ufuncs.isnan(ratio) & ~input_is_nan, np.inf, ratio)


# ---------------------------------------------------------------- the same as in funcgrad.numpy


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """The cross product of vectors of size 3 along `axis`."""
    first, second = as_array("cross", x1), as_array("cross", x2)
    if first.shape[axis] != 3 or second.shape[axis] != 3:
        raise ValueError(
            f"cross: vectors must have size 3 along axis {axis}, but the shapes are {first.shape} "
            f"and {second.shape}."
        )
    return contractions.cross(first, second, axis=axis)


def diagonal(x: Any, /, *, offset: int = 0) -> Array:
    """The diagonals of matrices in the last two dimensions."""
    return _diagonal(x, offset, axis1=-2, axis2=-1)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """The sums of the diagonals of matrices in the last two dimensions."""
    return _trace(x, offset, axis1=-2, axis2=-1, dtype=dtype)


def outer(x1: Any, x2: Any, /) -> Array:
    """All products of elements of two vectors."""
    first, second = as_array("outer", x1), as_array("outer", x2)
    if first.ndim != 1 or second.ndim != 1:
        raise ValueError(
            f"outer: operands must be vectors, but have shapes {first.shape} and {second.shape}."
        )
    return contractions.outer(first, second)


def tensordot(
    x1: Any,
    x2: Any,
    /,
    *,
    axes: Any = 2,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """The sum over pairs of dimensions; see `funcgrad.numpy.tensordot`."""
    return contractions.tensordot(
        x1, x2, axes, precision=precision, preferred_element_type=preferred_element_type
    )
