"""How factorizations are computed: NumPy's where it has them, LAPACK through SciPy where not.

What LAPACK cannot factorize becomes NaN instead of an exception, matrix by matrix. On devices the
same calls go to CuPy.
"""

import functools
import itertools
import math
import warnings

from numpy.linalg import LinAlgError

from funcgrad.util import optional

# From this many small matrices on, one batched solve is faster than a call for each.
_MANY = 16


def on_device(xp):
    """Are these CuPy's functions?"""
    return xp.module.__name__ != "numpy"


def scipy_linalg(xp):
    """The module with SciPy's linear algebra for arrays of `xp`."""
    return optional("cupyx.scipy.linalg" if on_device(xp) else "scipy.linalg")


def factorized(xp, call, x, avals):
    """`call(x)` as a list; NaN in place of the results for matrices that it refuses.

    `avals` describe the results: their last dimensions belong to the matrices.
    """
    try:
        return _as_list(call(x))
    except LinAlgError:
        outs = [xp.full(aval.shape, math.nan, aval.dtype) for aval in avals]
        lead = x.ndim - 2
        for place in itertools.product(*map(range, x.shape[:lead])):
            if lead:
                parts = factorized(xp, call, x[place], [_part_of(aval, lead) for aval in avals])
                for out, part in zip(outs, parts, strict=True):
                    out[place] = part
        return outs


def _as_list(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _part_of(aval, lead):
    return aval.update(shape=aval.shape[lead:])


def triangular_solve(xp, a, b, *, left_side, lower, transpose_a, conjugate_a, unit_diagonal):
    """X with op(a) X = b or X op(a) = b, reading one triangle; zeros on it give infinities."""
    if conjugate_a and a.dtype.kind == "c":
        a = a.conj()
    if on_device(xp):
        return _solved_on_device(xp, a, b, left_side, lower, transpose_a, unit_diagonal)
    if math.prod(a.shape[:-2]) >= _MANY and a.shape[-1] <= 64:
        try:
            return _solved_as_general(xp, a, b, left_side, lower, transpose_a, unit_diagonal)
        except LinAlgError:
            pass
    return _solved_by_blas(xp, a, b, left_side, lower, transpose_a, unit_diagonal)


def _solved_as_general(xp, a, b, left_side, lower, transpose_a, unit_diagonal):
    """All matrices in one call: elimination of triangular matrices eliminates nothing."""
    a = xp.tril(a) if lower else xp.triu(a)
    if unit_diagonal:
        diagonal = xp.arange(a.shape[-1])
        a[..., diagonal, diagonal] = 1
    if transpose_a == left_side:
        a = a.swapaxes(-1, -2)
    if left_side:
        return xp.linalg.solve(a, b)
    return xp.linalg.solve(a, b.swapaxes(-1, -2)).swapaxes(-1, -2)


def _solved_on_device(xp, a, b, left_side, lower, transpose_a, unit_diagonal):
    """All matrices in one call. X op(a) = b is op(a)^T X^T = b^T."""
    if b.size == 0:
        return xp.empty(b.shape, b.dtype)
    solve = scipy_linalg(xp).solve_triangular
    flags = {"lower": lower, "unit_diagonal": unit_diagonal, "check_finite": False}
    if left_side:
        return solve(a, b, trans="T" if transpose_a else "N", **flags)
    rows = b.swapaxes(-1, -2)
    return solve(a, rows, trans="N" if transpose_a else "T", **flags).swapaxes(-1, -2)


def _solved_by_blas(xp, a, b, left_side, lower, transpose_a, unit_diagonal):
    """Matrix by matrix. BLAS sees row-major arrays as transposed, so the side and triangle swap."""
    out = xp.empty(b.shape, b.dtype)
    if out.size == 0:
        return out
    (solve,) = optional("scipy.linalg").blas.get_blas_funcs(("trsm",), (a, b))
    for place in itertools.product(*map(range, a.shape[:-2])):
        out[place] = solve(
            1.0, a[place].T, b[place].T, side=left_side, lower=not lower,
            trans_a=transpose_a, diag=unit_diagonal,
        ).T  # fmt: skip
    return out


def lu(xp, x):
    """LU factors in one matrix, and pivots: rows exchanged in turn, counted from 0."""
    m, n = x.shape[-2:]
    factors = xp.empty(x.shape, x.dtype)
    pivots = xp.empty((*x.shape[:-2], min(m, n)), "int32")
    if x.size == 0:
        pivots[...] = xp.arange(min(m, n))
        return factors, pivots
    factorize = _lu_function(xp, x)
    for place in itertools.product(*map(range, x.shape[:-2])):
        factors[place], pivots[place] = factorize(x[place])
    return factors, pivots


def _lu_function(xp, x):
    if on_device(xp):
        return functools.partial(_lu_of_one, scipy_linalg(xp).lu_factor)
    (getrf,) = optional("scipy.linalg").lapack.get_lapack_funcs(("getrf",), (x,))
    return lambda matrix: getrf(matrix)[:2]


def _lu_of_one(factor, matrix):
    """CuPy's factors; that a pivot is zero can be seen in them, and needs no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return factor(matrix, check_finite=False)


def permutation(xp, pivots, size):
    """The order of rows that exchanging row i with row pivots[i], in turn, leads to."""
    order = xp.empty((*pivots.shape[:-1], size), "int32")
    order[...] = xp.arange(size, dtype="int32")
    rows = order.reshape(math.prod(pivots.shape[:-1]), size)
    exchanges = pivots.reshape(len(rows), pivots.shape[-1])
    lanes = xp.arange(len(rows))
    for i in range(pivots.shape[-1]):
        other = exchanges[:, i]
        kept = rows[:, i].copy()
        rows[:, i] = rows[lanes, other]
        rows[lanes, other] = kept
    return rows.reshape(order.shape)


def solve(xp, a, b):
    """X with a X = b; for singular matrices what elimination yields, infinities and NaN."""
    try:
        return xp.linalg.solve(a, b)
    except LinAlgError:
        factors, pivots = lu(xp, a)
        order = permutation(xp, pivots, a.shape[-1])
        b = xp.take_along_axis(b, order[..., None].astype("int64"), axis=-2)
        triangular = _solved_on_device if on_device(xp) else _solved_by_blas
        for lower in (True, False):
            b = triangular(xp, factors, b, True, lower, False, lower)
        return b


def qr_with_pivoting(xp, x, full_matrices):
    """Q, R and the order of columns, matrix by matrix."""
    if on_device(xp):
        raise TypeError(
            "qr: pivoting=True needs an array on the CPU, since CuPy cannot pivot, but got one on "
            "a device. Move it with device_put(x, 'cpu')."
        )
    m, n = x.shape[-2:]
    inner = m if full_matrices else min(m, n)
    q, r = xp.empty((*x.shape[:-1], inner), x.dtype), xp.empty((*x.shape[:-2], inner, n), x.dtype)
    order = xp.empty((*x.shape[:-2], n), "int32")
    mode = "full" if full_matrices else "economic"
    factorize = scipy_linalg(xp).qr
    for place in itertools.product(*map(range, x.shape[:-2])):
        q[place], r[place], order[place] = factorize(
            x[place], mode=mode, pivoting=True, check_finite=False
        )
    return q, r, order
