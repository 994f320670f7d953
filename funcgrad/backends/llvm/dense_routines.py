"""Factorizations and solutions of batches of small matrices as routines, matrix by matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from funcgrad.backends.llvm import eigen, hermitian, memory, orthogonal
from funcgrad.backends.llvm.arena import ALIGNMENT
from funcgrad.backends.llvm.builder import Builder, Value
from funcgrad.backends.llvm.dense import Dense, Matrix, is_small, permutation
from funcgrad.backends.llvm.planes import Panel, Scratch, room
from funcgrad.backends.llvm.singular import Decomposition
from funcgrad.backends.llvm.tiles import whole
from funcgrad.core.jaxpr import Eqn

Code = tuple[Callable[..., None], int]  # what writes the body, and its scratch memory in bytes


def _each(e: Eqn, b: Builder, pointers: Any, ranks: tuple[int, ...], body: Any) -> None:
    """`body(*pointers)` for each matrix (or vector, by `ranks`) of the batch."""
    avals = [v.aval for v in (*e.args, *e.outs)]
    count = math.prod(avals[0].shape[: avals[0].ndim - ranks[0]])

    def one(n: Value, _: list[Value]) -> None:
        moved = []
        for pointer, aval, rank in zip(pointers, avals, ranks):
            kind, width = memory.element(aval.dtype)
            size = math.prod(aval.shape[aval.ndim - rank :]) * width
            moved.append(b.element(pointer, b.mul(n, whole(size)), kind))
        body(*moved, *pointers[len(avals) :])

    b.loop(0, count, 1, [], one)


def _bytes(aval: Any) -> int:
    size = math.prod(aval.shape[-2:]) * aval.dtype.itemsize
    return -(-size // ALIGNMENT) * ALIGNMENT


def _cholesky(e: Eqn) -> Code | None:
    aval = e.args[0].aval
    if not is_small(aval):
        return None
    n = aval.shape[-1]

    def write(b: Builder, *pointers: Value) -> None:
        def body(x: Value, out: Value, scratch: Value) -> None:
            Dense(b, aval.dtype).cholesky(Matrix(x, n), Matrix(scratch, n), Matrix(out, n))

        _each(e, b, pointers, (2, 2), body)

    return write, _bytes(aval)


def _nothing(*_: Any) -> None:
    """Nobody else follows the rows."""


def _lu(e: Eqn) -> Code | None:
    aval = e.args[0].aval
    rows, columns = aval.shape[-2:]
    if not is_small(aval):
        return None

    def write(b: Builder, *pointers: Value) -> None:
        def body(x: Value, out: Value, pivots: Value, order: Value) -> None:
            dense, factors = Dense(b, aval.dtype), Matrix(out, columns)

            def note(k: Value, p: Value) -> None:
                b.store(b.cast("trunc", p, "i32"), b.element(pivots, k, "i32"))

            dense.copy(Matrix(x, columns), factors, rows)
            dense.eliminate(factors, rows, note, _nothing)
            permutation(b, pivots, min(rows, columns), order, rows)

        _each(e, b, pointers, (2, 2, 1, 1), body)

    return write, 0


def _permutation(e: Eqn) -> Code:
    count, size = e.args[0].aval.shape[-1], e.params["permutation_size"]

    def write(b: Builder, *pointers: Value) -> None:
        _each(
            e, b, pointers, (1, 1),
            lambda pivots, order: permutation(b, pivots, count, order, size),
        )  # fmt: skip

    return write, 0


def _solve(e: Eqn) -> Code | None:
    a, right = (v.aval for v in e.args)
    if not is_small(a):
        return None
    n, columns = a.shape[-1], right.shape[-1]

    def write(b: Builder, *pointers: Value) -> None:
        def body(matrix: Value, given: Value, out: Value, scratch: Value) -> None:
            dense, factors, x = Dense(b, a.dtype), Matrix(scratch, n), Matrix(out, columns)
            dense.copy(Matrix(matrix, n), factors, n)
            dense.copy(Matrix(given, columns), x, n)
            dense.solve(factors, x)

        _each(e, b, pointers, (2, 2, 2), body)

    return write, _bytes(a)


def _solve_triangle(e: Eqn) -> Code | None:
    a, right = (v.aval for v in e.args)
    if not is_small(a):
        return None
    p, n = e.params, a.shape[-1]
    rows, columns = right.shape[-2:]
    flags = {"lower": p["lower"], "conjugated": p["conjugate_a"], "unit": p["unit_diagonal"]}

    def write(b: Builder, *pointers: Value) -> None:
        def left(matrix: Value, given: Value, out: Value) -> None:
            dense, x = Dense(b, a.dtype), Matrix(out, columns)
            dense.copy(Matrix(given, columns), x, rows)
            dense.solve_triangle(Matrix(matrix, n), x, transposed=p["transpose_a"], **flags)

        def right_side(matrix: Value, given: Value, out: Value, scratch: Value) -> None:
            dense, x = Dense(b, a.dtype), Matrix(scratch, rows)
            dense.transpose(Matrix(given, columns), x)
            dense.solve_triangle(Matrix(matrix, n), x, transposed=not p["transpose_a"], **flags)
            dense.transpose(x, Matrix(out, columns))

        _each(e, b, pointers, (2, 2, 2), left if p["left_side"] else right_side)

    return write, 0 if p["left_side"] else _bytes(right)


def _qr(e: Eqn) -> Code | None:
    x, q = e.args[0].aval, e.outs[0].aval
    if not is_small(x):
        return None
    (rows, columns), inner = x.shape[-2:], q.shape[-1]
    pivoting, count = e.params["pivoting"], min(rows, columns)
    shapes = [(rows, columns), (1, columns), (count, rows), (rows, inner)]
    size = room(x.dtype, shapes, 2 * count)

    def write(b: Builder, *pointers: Value) -> None:
        def body(given: Value, q: Value, r: Value, *rest: Value) -> None:
            panel = Panel(b, x.dtype, Scratch(b, rest[-1], size))
            order = rest[0] if pivoting else None
            orthogonal.qr(panel, given, q, r, order, rows, columns, inner)

        _each(e, b, pointers, (2, 2, 2, 1)[: 3 + pivoting], body)

    return write, size


def _eigh(e: Eqn) -> Code | None:
    x = e.args[0].aval
    if not is_small(x):
        return None
    n, lower = x.shape[-1], e.params["lower"]
    size = room(x.dtype, [(n, n)] * 2 + [(n, n + 2), (1, n)], 4 * n)

    def write(b: Builder, *pointers: Value) -> None:
        def body(given: Value, vectors: Value, values: Value, scratch: Value) -> None:
            panel = Panel(b, x.dtype, Scratch(b, scratch, size))
            hermitian.eigh(panel, given, vectors, values, n, lower)

        _each(e, b, pointers, (2, 2, 1), body)

    return write, size


def _svd(e: Eqn) -> Code | None:
    x = e.args[0].aval
    if not is_small(x):
        return None
    rows, columns = x.shape[-2:]
    full, vectors = e.params["full_matrices"], e.params["compute_uv"]
    long = max(rows, columns)
    size = room(x.dtype, [(long, long + 1)] * 8, 8 * long)

    def write(b: Builder, *pointers: Value) -> None:
        def body(given: Value, values: Value, *rest: Value) -> None:
            panel = Panel(b, x.dtype, Scratch(b, rest[-1], size))
            found = Decomposition(panel, rows, columns, full, vectors)
            found.run(given, values, *(rest[:2] if vectors else (None, None)))

        _each(e, b, pointers, (2, 1, 2, 2)[: 4 if vectors else 2], body)

    return write, size


def _eig(e: Eqn) -> Code | None:
    x, w = e.args[0].aval, e.outs[0].aval
    if not is_small(x):
        return None
    n, results = x.shape[-1], len(e.outs)
    sides = [e.params[f"compute_{side}_eigenvectors"] for side in ("left", "right")]
    size = room(w.dtype, [(n + 2, n + 2)] * 8, 8 * n)

    def write(b: Builder, *pointers: Value) -> None:
        def body(given: Value, values: Value, *rest: Value) -> None:
            found = iter(rest)
            left, right = (next(found) if side else None for side in sides)
            scratch = Scratch(b, rest[-1], size)
            eigen.eig(b, x.dtype, w.dtype, given, values, left, right, scratch, n)

        _each(e, b, pointers, (2, 1, 2, 2)[: 1 + results], body)

    return write, size


# By the names that forms give them.
DENSE: dict[str, Callable[[Eqn], Code | None]] = {
    "cholesky": _cholesky,
    "eig": _eig,
    "eigh": _eigh,
    "lu": _lu,
    "permutation": _permutation,
    "qr": _qr,
    "solve": _solve,
    "solve triangle": _solve_triangle,
    "svd": _svd,
}
