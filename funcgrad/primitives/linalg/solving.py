"""Linear systems: triangular_solve for triangular matrices, linear_solve for square ones.

Both are linear in the right-hand side; in the matrix, d(A^-1 b) = -A^-1 dA A^-1 b
(Giles 2008, "Collected matrix derivative results", section 2.3).
"""

from typing import Any

from funcgrad.core import loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import is_zero
from funcgrad.primitives.basis import add, batched, moveaxis, neg, reshape, sub
from funcgrad.primitives.linalg import values
from funcgrad.primitives.linalg.matrices import (
    conjugated,
    lower_triangle,
    matmul,
    require_matrices,
    transposed,
    upper_triangle,
)

__all__ = ["linear_solve", "triangular_solve"]


def _check_right_hand_side(name, a, b, left_side):
    if a.dtype != b.dtype:
        raise TypeError(f"{name}: both operands must have the same dtype, but got {a} and {b}.")
    size = b.shape[-2 if left_side else -1] if b.ndim >= 2 else None
    if a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2] or size != a.shape[-1]:
        side = "rows" if left_side else "columns"
        raise ValueError(
            f"{name}: the right-hand side must have the leading dimensions of the matrices and as "
            f"many {side} as they have, but the shapes are {a.shape} and {b.shape}."
        )


# ---------------------------------------------------------------- triangular_solve


def _triangular_abstract(a, b, *, left_side, **flags):
    require_matrices("triangular_solve", a, square=True)
    _check_right_hand_side("triangular_solve", a, b, left_side)
    return ShapedArray(b.shape, b.dtype)


def _triangular_value(xp, a, b, **flags):
    _triangular_abstract(a, b, **flags)
    return values.triangular_solve(xp, a, b, **flags)


def _applied(a, lower, transpose_a, conjugate_a, unit_diagonal):
    """A tangent of the matrix as the system reads it: one triangle, transposed or conjugated."""
    offset = 1 if unit_diagonal else 0
    a = lower_triangle(a, -offset) if lower else upper_triangle(a, offset)
    a = transposed(a) if transpose_a else a
    return conjugated(a) if conjugate_a else a


def _triangular_jvp(primals, tangents, *, left_side, **flags):
    (a, b), (a_dot, b_dot) = primals, tangents
    x = triangular_solve_p.bind(a, b, left_side=left_side, **flags)
    right = None if is_zero(b_dot) else b_dot
    if not is_zero(a_dot):
        moved = _applied(a_dot, **flags)
        moved = matmul(moved, x) if left_side else matmul(x, moved)
        right = neg(moved) if right is None else sub(right, moved)
    return x, triangular_solve_p.bind(a, right, left_side=left_side, **flags)


def _triangular_transpose(ct, a, b, *, transpose_a, **flags):
    return [None, triangular_solve_p.bind(a, ct, transpose_a=not transpose_a, **flags)]


def _triangular_batch(axis, args, dims, *, left_side, **flags):
    """A mapped right-hand side of one matrix is a wider right-hand side."""
    (a, b), (a_dim, b_dim) = args, dims
    params = {"left_side": left_side, **flags}
    if a_dim is not None or typeof(b).ndim != 3:
        a, b = batched(axis, a, a_dim), batched(axis, b, b_dim)
        return triangular_solve_p.bind(a, b, **params), 0
    place = 2 if left_side else 0  # the mapped dimension beside the one that is free
    b = moveaxis(b, b_dim, place)
    shape = typeof(b).shape
    wide = (shape[0], shape[1] * shape[2]) if left_side else (shape[0] * shape[1], shape[2])
    return reshape(triangular_solve_p.bind(a, reshape(b, wide), **params), shape), place


triangular_solve_p = Primitive(
    "triangular_solve",
    abstract=_triangular_abstract,
    value=_triangular_value,
    jvp=_triangular_jvp,
    transpose=_triangular_transpose,
    batch=_triangular_batch,
    loops=lambda *avals, **flags: loops.Opaque("BLAS: trsm", "solve triangle"),
)


def triangular_solve(
    a: Any,
    b: Any,
    *,
    left_side: bool = False,
    lower: bool = False,
    transpose_a: bool = False,
    conjugate_a: bool = False,
    unit_diagonal: bool = False,
) -> Any:
    """X with op(a) X = b, or X op(a) = b unless `left_side`, for triangular matrices `a`.

    Only one triangle of `a` is read: the `lower` or the upper one, without its diagonal if
    `unit_diagonal` says that this is all ones. op transposes and conjugates as told. `b` may lack
    its free dimension: a vector per matrix. A zero on the diagonal gives infinities or NaN.
    """
    is_vector = typeof(b).ndim == typeof(a).ndim - 1
    if is_vector:
        shape = typeof(b).shape
        b = reshape(b, (*shape, 1) if left_side else (*shape[:-1], 1, shape[-1]))
    out = triangular_solve_p.bind(
        a, b, left_side=left_side, lower=lower, transpose_a=transpose_a, conjugate_a=conjugate_a,
        unit_diagonal=unit_diagonal,
    )  # fmt: skip
    return reshape(out, shape) if is_vector else out


# ---------------------------------------------------------------- linear_solve


def _solve_abstract(a, b):
    require_matrices("solve", a, square=True)
    _check_right_hand_side("solve", a, b, True)
    return ShapedArray(b.shape, b.dtype)


def _solve_value(xp, a, b):
    _solve_abstract(a, b)
    return values.solve(xp, a, b)


def _solve_jvp(primals, tangents):
    (a, b), (a_dot, b_dot) = primals, tangents
    x = linear_solve(a, b)
    right = None if is_zero(b_dot) else b_dot
    if not is_zero(a_dot):
        moved = neg(matmul(a_dot, x))
        right = moved if right is None else add(right, moved)
    return x, linear_solve(a, right)


def _solve_batch(axis, args, dims):
    (a, b), (a_dim, b_dim) = args, dims
    if a_dim is not None or typeof(b).ndim != 3:
        return linear_solve(batched(axis, a, a_dim), batched(axis, b, b_dim)), 0
    b = moveaxis(b, b_dim, 2)
    rows, columns, lanes = typeof(b).shape
    out = linear_solve(a, reshape(b, (rows, columns * lanes)))
    return reshape(out, (rows, columns, lanes)), 2


linear_solve_p = Primitive(
    "linear_solve",
    abstract=_solve_abstract,
    value=_solve_value,
    jvp=_solve_jvp,
    transpose=lambda ct, a, b: [None, linear_solve(transposed(a), ct)],
    batch=_solve_batch,
    loops=lambda a, b: loops.Opaque("LAPACK: gesv", "solve"),
)


def linear_solve(a: Any, b: Any) -> Any:
    """X with a X = b, for square matrices `a` and matrices `b` with the same leading dimensions."""
    return linear_solve_p.bind(a, b)
