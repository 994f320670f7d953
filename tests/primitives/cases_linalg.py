"""Rows for factorizations and linear systems. Matrices are kept away from singular ones."""

import itertools

import numpy as np

from funcgrad.primitives import linalg as p
from tests.primitives.cases import Case, exactly, normal

# Laws that fail for complex matrices for good reasons; test_linalg.py has what holds instead.
REAL_PART = {"transpose": "not holomorphic: the pairing agrees in its real part alone"}
FREE_PHASE = REAL_PART | dict.fromkeys(
    ("derivative", "second", "batch"), "vectors have a free phase"
)


def regular(*shape, dtype="float32"):
    """Square matrices with a dominant diagonal."""

    def make(rng):
        x = normal(*shape, dtype=dtype)(rng)
        return np.asarray(x + 3 * np.eye(shape[-1]), dtype)

    return make


def definite(*shape, dtype="float32"):
    """Hermitian positive definite matrices."""

    def make(rng):
        x = normal(*shape, dtype=dtype)(rng)
        return np.asarray(x @ np.conj(np.swapaxes(x, -1, -2)) + 2 * np.eye(shape[-1]), dtype)

    return make


def spread(*shape, dtype="float32"):
    """Matrices with singular values (or eigenvalues) well apart."""

    def make(rng):
        k = min(shape[-2:])
        u, _, vh = np.linalg.svd(normal(*shape, dtype=dtype)(rng), full_matrices=False)
        return np.asarray(u * (1.0 + np.arange(k)) @ vh, dtype)

    return make


def symmetric(*shape):
    """Symmetric matrices with eigenvalues well apart."""

    def make(rng):
        q, _ = np.linalg.qr(rng.normal(size=shape))
        return np.asarray(q * (np.arange(shape[-1]) - 0.7) @ np.swapaxes(q, -1, -2), "float32")

    return make


FLAGS = ("left_side", "lower", "transpose_a", "unit_diagonal")
TRIANGULAR = [
    {**dict(zip(FLAGS, flags, strict=True)), "conjugate_a": False}
    for flags in itertools.product((False, True), repeat=4)
]
QR = [
    {"pivoting": pivoting, "full_matrices": full}
    for pivoting in (False, True)
    for full in (False, True)
]

CASES = [
    Case(p.cholesky_p, [definite(3, 3)]),
    Case(p.cholesky_p, [definite(2, 3, 3, dtype="complex64")], skip=REAL_PART),
    Case(p.triangular_solve_p, [regular(3, 3), normal(3, 3)], TRIANGULAR),
    Case(p.triangular_solve_p, [regular(4, 4), normal(2, 4)], TRIANGULAR[:8:3]),
    Case(p.triangular_solve_p, [regular(4, 4), normal(4, 2)], TRIANGULAR[8::3]),
    Case(p.triangular_solve_p, [regular(2, 3, 3), normal(2, 3, 4)],
         {**TRIANGULAR[-2], "transpose_a": False}),
    Case(p.triangular_solve_p, [regular(3, 3, dtype="complex64"), normal(3, 2, dtype="complex64")],
         {**TRIANGULAR[-2], "conjugate_a": True}, skip=REAL_PART),
    Case(p.linear_solve_p, [regular(3, 3), normal(3, 2)]),
    Case(p.linear_solve_p,
         [regular(2, 3, 3, dtype="complex64"), normal(2, 3, 1, dtype="complex64")]),
    Case(p.lu_p, [regular(3, 3)]),
    Case(p.lu_p, [normal(2, 4, 2)]),
    Case(p.lu_p, [normal(2, 4)]),
    Case(p.lu_pivots_to_permutation_p, [exactly([2, 1, 3], "int32")], {"permutation_size": 5}),
    Case(p.lu_pivots_to_permutation_p, [exactly([[2, 1, 3], [0, 4, 2]], "int32")],
         {"permutation_size": 5}),
    Case(p.qr_p, [spread(3, 3)], QR),
    Case(p.qr_p, [spread(3, 4, 2)], QR[::2]),
    Case(p.qr_p, [spread(2, 3, 3)], QR[2:]),
    Case(p.qr_p, [spread(1, 3, 3)], QR[:1]),
    Case(p.qr_p, [spread(2, 5, 3)], QR, skip=dict.fromkeys(
        ("derivative", "second", "transpose"), "rows of full factors have no unique derivative")),
    Case(p.qr_p, [spread(2, 4)], QR[:1]),
    Case(p.qr_p, [normal(4, 3, dtype="complex64")], QR[:1],
         skip={"transpose": "not linear over the complex numbers", "second": "the same"}),
    Case(p.eigh_p, [symmetric(3, 3)], [{"lower": True}, {"lower": False}]),
    Case(p.eigh_p, [symmetric(2, 3, 3)], {"lower": True}),
    Case(p.eigh_p, [definite(3, 3, dtype="complex64")], {"lower": True},
         skip=FREE_PHASE),
    Case(p.svd_p, [spread(3, 3)], {"full_matrices": True, "compute_uv": True}),
    *(
        Case(p.svd_p, [spread(*shape)], [{"full_matrices": False, "compute_uv": True},
                                         {"full_matrices": False, "compute_uv": False}])
        for shape in ((2, 4, 2), (2, 4))
    ),
    Case(p.svd_p, [spread(3, 2, dtype="complex64")], {"full_matrices": False, "compute_uv": True},
         skip=FREE_PHASE),
    Case(p.eig_p, [exactly(np.float32([[1, 2, 0], [0.5, 3, 1], [0, 1, 6]]))],
         {"compute_left_eigenvectors": False, "compute_right_eigenvectors": False}, skip=REAL_PART),
    Case(p.eig_p, [exactly(np.float32([[1, 2, 0], [0.5, 3, 1], [0, 1, 6]]))],
         {"compute_left_eigenvectors": False, "compute_right_eigenvectors": True}, skip=FREE_PHASE),
    Case(p.eig_p, [exactly(np.float32([[1, 2, 0], [0.5, 3, 1], [0, 1, 6]]))],
         {"compute_left_eigenvectors": True, "compute_right_eigenvectors": True},
         skip=dict.fromkeys(("derivative", "second", "transpose"), "left vectors have none")),
    Case(p.eig_p, [exactly(np.float32([[[1, 2, 0], [0.5, 3, 1], [0, 1, 6]]] * 2))],
         [{"compute_left_eigenvectors": True, "compute_right_eigenvectors": False},
          {"compute_left_eigenvectors": False, "compute_right_eigenvectors": True},
          {"compute_left_eigenvectors": False, "compute_right_eigenvectors": False}],
         skip=dict.fromkeys(("derivative", "second", "transpose"), "left vectors have none")),
]  # fmt: skip
