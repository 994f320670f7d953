"""Sparse derivatives: the pattern is found from the program, and one product computes many columns
at once.

Columns that share no row get one colour; the derivative along the sum of the basis vectors of a
colour holds all their entries, each in a row of its own. A Jacobian of bandwidth b takes b
products, whatever its size. Sizes of matrices are those of all outputs by all inputs, raveled and
joined in the order of their trees.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.api.autodiff import grad, jvp, vjp
from funcgrad.api.compile import jit
from funcgrad.api.flat import Flat, call_leaves, check_callable, name_of
from funcgrad.api.vectorize import vmap
from funcgrad.config import config
from funcgrad.core import backend, dtypes
from funcgrad.core.array import ConcreteArray, Tracer
from funcgrad.core.avals import typeof
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr
from funcgrad.core.stage import stage
from funcgrad.core.trace import current_trace
from funcgrad.errors import user_facing
from funcgrad.numpy.joining import concatenate
from funcgrad.numpy.shaping import ravel
from funcgrad.util import optional

__all__ = ["SparseDerivative", "sparse_hessian", "sparse_jacobian"]


class SparseDerivative:
    """A function that returns a sparse matrix of derivatives, and what is known of its pattern.

    Called with arrays it returns a `scipy.sparse.csr_array`. Under a transformation (`jit`, `vmap`,
    `grad`) it returns the vector of that matrix's values, in the order of `pattern`.
    """

    def __init__(self, name: str, fun: Callable[..., Any], plan_of: Callable[..., Plan]) -> None:
        functools.update_wrapper(self, fun)
        self._name, self._fun, self._plan_of = name, fun, plan_of
        self._plans: dict[Any, Plan] = {}
        self._last: tuple[Any, int] | None = None  # pattern and products

    @user_facing
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plan, leaves = self._planned(args, kwargs)
        values = plan.values(leaves)
        return values if isinstance(values, Tracer) else plan.matrix(np.asarray(values))

    @user_facing
    def values(self, *args: Any, **kwargs: Any) -> Any:
        """The entries of the matrix alone, in the order of `pattern`: an array of rank 1."""
        plan, leaves = self._planned(args, kwargs)
        return plan.values(leaves)

    @property
    def pattern(self) -> Any:
        """Where entries may be nonzero, for the shapes last seen: a boolean
        `scipy.sparse.csr_array`.
        """
        return self._last_seen()[0]

    @property
    def products(self) -> int:
        """How many derivatives along one direction each evaluation takes, for the shapes last
        seen.
        """
        return self._last_seen()[1]

    def _last_seen(self) -> tuple[Any, int]:
        if self._last is None:
            raise ValueError(
                f"{self._name}: the pattern is found at the first call; {name_of(self._fun)} has "
                "not been called yet."
            )
        return self._last

    def _planned(self, args: Any, kwargs: Any) -> tuple[Plan, list[Any]]:
        leaves, in_tree = call_leaves(self._name, args, kwargs)
        key = (
            in_tree,
            tuple(typeof(x) for x in leaves),
            tuple(_fixed_bytes(x) for x in leaves),
            config.current().trace_key,
        )
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plan_of(self._fun, args, leaves, in_tree)
            if not plan.captured:
                self._plans[key] = plan
        self._last = plan.pattern, plan.products
        return plan, leaves


def _is_fixed(x: Any) -> bool:
    """May the pattern rely on the argument's value? Integers and bools are indices and masks."""
    return type(x) is ConcreteArray and not typeof(x).has_tangent


def _fixed_bytes(x: Any) -> bytes | None:
    return np.asarray(x).tobytes() if _is_fixed(x) else None


# ---- public functions
# --------------------------------------------------------------------------------


@user_facing
def sparse_jacobian(
    fun: Callable[..., Any], mode: str | None = None, sparsity: Any = None, argnums: int = 0
) -> SparseDerivative:
    """A function that returns the Jacobian of `fun` as a sparse matrix.

    Args:
        fun: a function of trees of real arrays that returns a tree of real arrays.
        mode: "fwd" computes columns by jvp, "rev" rows by vjp; None chooses what takes fewer
        products. sparsity: a matrix (scipy.sparse, or boolean) whose nonzeros are where the
        Jacobian may be nonzero; None finds it from the program. argnums: the argument to
        differentiate with respect to.

    Returns:
        A `SparseDerivative`; its matrices have shape `(size of the outputs, size of the argument)`.

    Raises:
        TypeError: arguments or results are not real floating-point arrays. ValueError: an unknown
        mode, or a `sparsity` of the wrong shape. ImportError: scipy is not installed.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> jacobian = fg.sparse.sparse_jacobian(lambda x: x[1:] - x[:-1])
        >>> jacobian(jnp.array([1.0, 2.0, 4.0])).toarray()
        array([[-1.,  1.,  0.],
               [ 0., -1.,  1.]], dtype=float32)
        >>> jacobian.products
        2
    """
    check_callable(fun, "sparse_jacobian")
    if mode not in (None, "fwd", "rev"):
        raise ValueError(f'sparse_jacobian: mode is "fwd", "rev" or None, but got {mode!r}.')

    def plan_of(fun: Any, args: Any, leaves: Any, in_tree: Any) -> Plan:
        found = _traced("sparse_jacobian", fun, argnums, args, leaves, in_tree)
        pattern = _pattern("sparse_jacobian", found, leaves, sparsity)
        return _jacobian_plan(found, pattern, mode)

    return SparseDerivative("sparse_jacobian", fun, plan_of)


@user_facing
def sparse_hessian(
    fun: Callable[..., Any], sparsity: Any = None, argnums: int = 0
) -> SparseDerivative:
    """A function that returns the second derivatives of `fun`, which returns a scalar, as a sparse
    symmetric matrix.

    Columns are computed by forward-over-reverse products. Symmetry lets entries be read from the
    column of either index, so that some patterns (arrows) take fewer products than columns in one
    row. Arguments and errors as in `sparse_jacobian`.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> hessian = fg.sparse.sparse_hessian(lambda x: jnp.sum((x[1:] - x[:-1]) ** 2))
        >>> hessian(jnp.zeros(4)).toarray()
        array([[ 2., -2.,  0.,  0.],
               [-2.,  4., -2.,  0.],
               [ 0., -2.,  4., -2.],
               [ 0.,  0., -2.,  2.]], dtype=float32)
        >>> hessian(jnp.zeros(10_000)).nnz, hessian.products
        (29998, 3)
    """
    check_callable(fun, "sparse_hessian")
    gradient = grad(fun, argnums)

    def plan_of(fun: Any, args: Any, leaves: Any, in_tree: Any) -> Plan:
        found = _traced("sparse_hessian", gradient, argnums, args, leaves, in_tree)
        return _hessian_plan(found, _pattern("sparse_hessian", found, leaves, sparsity))

    return SparseDerivative("sparse_hessian", fun, plan_of)


# ---- the program and its pattern
# ---------------------------------------------------------------------


class Traced:
    """A program, what it closed over, and which of its arguments are differentiated."""

    def __init__(self, jaxpr: Jaxpr, captured: list[Any], varied: tuple[bool, ...]) -> None:
        self.jaxpr, self.captured, self.varied = jaxpr, captured, varied

    @property
    def shape(self) -> tuple[int, int]:
        """Sizes of all outputs and of all varied inputs."""
        inputs = [a for a, v in zip(self.jaxpr.in_avals, self.varied) if v]
        return sum(a.size for a in self.jaxpr.out_avals), sum(a.size for a in inputs)


def _traced(
    name: str, fun: Callable[..., Any], argnums: int, args: Any, leaves: Any, in_tree: Any
) -> Traced:
    if not isinstance(argnums, int) or not -len(args) <= argnums < len(args):
        raise TypeError(
            f"{name}: argnums must be the position of one argument, but got {argnums!r} for "
            f"{len(args)} positional arguments."
        )
    counts = [tree.structure(a).num_leaves for a in args]
    start = sum(counts[: argnums % len(args)])
    chosen = range(start, start + counts[argnums])
    for k in chosen:
        _check_real(name, "can only differentiate with respect to", typeof(leaves[k]))
    jaxpr, captured = stage(Flat(fun, in_tree, name), [typeof(x) for x in leaves])
    for aval in jaxpr.out_avals:
        _check_real(name, f"{name_of(fun)} must return", aval)
    varied = [False] * len(captured) + [k in chosen for k in range(len(leaves))]
    return Traced(jaxpr, list(captured), tuple(varied))


def _check_real(name: str, need: str, aval: Any) -> None:
    if not aval.has_tangent or dtypes.is_complex(aval.dtype):
        raise TypeError(
            f"{name}: {need} real floating-point arrays, but got {aval.strong()}. Convert with "
            "astype, or take real and imaginary parts."
        )


def _pattern(name: str, traced: Traced, leaves: Sequence[Any], given: Any) -> Any:
    """The pattern as a boolean CSR matrix with sorted indices: the one given, or what is
    found.
    """
    if given is None:
        known = [None] * len(traced.captured) + [x if _is_fixed(x) else None for x in leaves]
        found = backend.load("sparsity").jacobian_pattern(traced.jaxpr, traced.varied, known)
    else:
        found = optional("scipy.sparse").csr_array(given) != 0
        if found.shape != traced.shape:
            raise ValueError(
                f"{name}: sparsity must have shape {traced.shape}, outputs by inputs, but got "
                f"{found.shape}."
            )
    found.sum_duplicates()
    found.eliminate_zeros()
    found.sort_indices()
    return found


# ---- products
# ----------------------------------------------------------------------------------------


class Plan:
    """How the entries of one pattern are computed: by `products` of the derivative with `seeds`.

    Entry k of the pattern lies in product `color[k]`, place `place[k]`.
    """

    def __init__(
        self, traced: Traced, pattern: Any, seeds: np.ndarray, reverse: bool, color: Any, place: Any
    ) -> None:
        self.captured, self.pattern, self.products = traced.captured, pattern, len(seeds)
        self._traced, self._seeds, self._reverse = traced, seeds, reverse
        self._where = color, place
        self._compiled = jit(self._entries)

    def values(self, leaves: Sequence[Any]) -> Any:
        """The entries at these arguments, in the order of the pattern."""
        return self._compiled(self.captured, list(leaves))

    def matrix(self, values: np.ndarray) -> Any:
        """The pattern with these entries. Floats narrower than 32 bits, which scipy lacks, are
        widened.
        """
        if values.dtype in (dtypes.bfloat16, dtypes.float16):
            values = values.astype(np.float32)
        parts = (values, self.pattern.indices, self.pattern.indptr)
        return optional("scipy.sparse").csr_array(parts, shape=self.pattern.shape)

    def _entries(self, captured: Sequence[Any], leaves: Sequence[Any]) -> Any:
        args = [*captured, *leaves]
        varied = [x for x, v in zip(args, self._traced.varied) if v]

        def function(*own: Any) -> list[Any]:
            given = iter(own)
            full = [next(given) if v else x for x, v in zip(args, self._traced.varied)]
            return eval_jaxpr(self._traced.jaxpr, full, current_trace())

        color, place = self._where
        products = _pulled if self._reverse else _pushed
        return products(function, varied, self._seeds)[color, place]


def _pushed(function: Callable[..., Any], varied: Sequence[Any], seeds: np.ndarray) -> Any:
    """Derivatives along each row of `seeds`: shape `(rows, size of the outputs)`."""

    def push(*tangents: Any) -> Any:
        return _joined(jvp(function, tuple(varied), tangents)[1])

    return vmap(push)(*_cut(seeds, varied))


def _pulled(function: Callable[..., Any], varied: Sequence[Any], seeds: np.ndarray) -> Any:
    """Cotangents of the inputs for each row of `seeds`: shape `(rows, size of the inputs)`."""
    outs, pull_back = vjp(function, *varied)
    return vmap(lambda *cts: _joined(pull_back(list(cts))))(*_cut(seeds, outs))


def _joined(parts: Sequence[Any]) -> Any:
    return concatenate([ravel(p) for p in parts])


def _cut(seeds: np.ndarray, likes: Sequence[Any]) -> list[Any]:
    """The columns of `seeds` as arrays of the shapes and dtypes of `likes`, one row each."""
    pieces, start = [], 0
    for aval in map(typeof, likes):
        size = math.prod(aval.shape)
        piece = seeds[:, start : start + size].astype(aval.dtype)
        pieces.append(ConcreteArray(piece.reshape(len(seeds), *aval.shape)))
        start += size
    return pieces


def _seeds(colors: np.ndarray) -> np.ndarray:
    """For each colour the sum of its basis vectors; at least one row, so that shapes are seen."""
    count = int(colors.max(initial=0)) + 1
    return (colors == np.arange(count)[:, None]).astype(np.float32)


def _jacobian_plan(traced: Traced, pattern: Any, mode: str | None) -> Plan:
    coloring = backend.load("sparsity").column_colors
    rows, columns = pattern.nonzero() if pattern.nnz else (np.empty(0, int),) * 2
    options = []
    if mode != "rev":
        colors = coloring(pattern)
        options.append((colors, False, colors[columns], rows))
    if mode != "fwd":
        colors = coloring(pattern.T)
        options.append((colors, True, colors[rows], columns))
    colors, reverse, color, place = min(options, key=lambda o: o[0].max(initial=0))
    return Plan(traced, pattern, _seeds(colors), reverse, color, place)


def _hessian_plan(traced: Traced, pattern: Any) -> Plan:
    """Entry (i, j) is read in row i of the product of j's colour, if no other neighbour of i has
    it, else in row j of the product of i's colour.
    """
    pattern = (pattern + pattern.T).tocsr()
    pattern.sort_indices()
    colors = backend.load("sparsity").star_colors(pattern)
    rows, columns = pattern.nonzero() if pattern.nnz else (np.empty(0, int),) * 2
    count = int(colors.max(initial=0)) + 1
    pairs = rows * count + colors[columns]  # a row and a colour in it
    _, inverse, often = np.unique(pairs, return_inverse=True, return_counts=True)
    direct = often[inverse] == 1
    color = np.where(direct, colors[columns], colors[rows])
    return Plan(traced, pattern, _seeds(colors), False, color, np.where(direct, rows, columns))
