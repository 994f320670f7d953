"""Matrix factorizations and linear systems, on the last two dimensions of their operands."""

from funcgrad.primitives.linalg.factors import (
    cholesky,
    cholesky_p,
    lu,
    lu_p,
    lu_pivots_to_permutation,
    lu_pivots_to_permutation_p,
    qr,
    qr_p,
)
from funcgrad.primitives.linalg.solving import (
    linear_solve,
    linear_solve_p,
    triangular_solve,
    triangular_solve_p,
)
from funcgrad.primitives.linalg.spectral import eig, eig_p, eigh, eigh_p, svd, svd_p

__all__ = [
    "cholesky", "cholesky_p", "eig", "eig_p", "eigh", "eigh_p", "linear_solve", "linear_solve_p",
    "lu", "lu_p", "lu_pivots_to_permutation", "lu_pivots_to_permutation_p", "qr", "qr_p", "svd",
    "svd_p", "triangular_solve", "triangular_solve_p",
]  # fmt: skip
