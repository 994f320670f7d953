"""Derivatives of functions: `grad`, `value_and_grad`, `vjp`, `jvp`, `linearize`,
`linear_transpose`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.api.flat import Flat, FlatOfSome, argument_leaves, check_callable, name_of
from funcgrad.core import dtypes
from funcgrad.core.array import ConcreteArray
from funcgrad.core.avals import ShapedArray, described, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Literal, eval_jaxpr
from funcgrad.core.stage import stage
from funcgrad.core.tangent import Zero, is_zero
from funcgrad.core.trace import current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import convert_element_type, literal, zeros
from funcgrad.transforms.autodiff import Linearized, jvp_flat, linearize_flat
from funcgrad.transforms.dce import drop_dead
from funcgrad.transforms.transpose import accumulate, backward_pass, pull_back

# ---- reverse mode
# ------------------------------------------------------------------------------------


def cotangents_in(linear: Linearized, cts: Sequence[Any]) -> list[Any]:
    """Cotangents of the inputs of a linearized function from those of its outputs; zeros are
    arrays.
    """
    found: dict[Any, Any] = {}
    for out, ct in zip(linear.outputs, cts):
        if (
            out is not None
            and type(out) is not Literal
            and out not in linear.residuals
            and not is_zero(ct)
        ):
            accumulate(found, out, ct)
    pull_back(linear.eqns, linear.residuals, found)
    return [_typed(found[v] if v in found else zeros(v.aval), v.aval) for v in linear.inputs]


def _typed(ct: Any, aval: ShapedArray) -> Any:
    """A cotangent that is as weakly typed as what it belongs to."""
    if type(ct) is not ConcreteArray:
        weak = typeof(ct).weak_type
        return (
            ct if weak == aval.weak_type else convert_element_type(ct, aval.dtype, aval.weak_type)
        )
    return ct if ct._weak == aval.weak_type else ConcreteArray(ct._buffer, aval.weak_type)


@user_facing
def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
) -> Callable[..., Any]:
    """A function that returns the value of `fun` and its gradient.

    Args:
        fun: returns a scalar (shape `()`); with `has_aux`, a pair of a scalar and anything else.
        argnums: the positions of the arguments to differentiate with respect to, any trees of
        arrays. has_aux: the second part of the pair is returned unchanged beside the value.
        holomorphic: `fun` is a holomorphic function of complex arguments. allow_int: arguments may
        hold integers, whose gradients are zeros of dtype float0. reduce_axes: accepted for
        compatibility; must be empty.

    Returns:
        A function with the arguments of `fun` that returns `(value, gradient)`, or `((value, aux),
        gradient)`. The gradient has the structure, shapes and dtypes of the argument; it is a tuple
        of those if `argnums` is one.

    Raises:
        TypeError: the value is not a scalar, or an argument to differentiate is not floating (or
        complex).

    Example:
        >>> import funcgrad as fg
        >>> fg.value_and_grad(lambda x, y: x * y**2)(3.0, 2.0)
        (Array(12., dtype=float32, weak_type=True), Array(4., dtype=float32, weak_type=True))
    """
    return _differentiator(
        "value_and_grad", fun, argnums, has_aux, holomorphic, allow_int, reduce_axes, _both
    )


@user_facing
def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
) -> Callable[..., Any]:
    """A function that returns the gradient of `fun`, which returns a scalar. Arguments as in
    `value_and_grad`.

    With `has_aux` it returns `(gradient, aux)`.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.grad(lambda x: jnp.sum(x**2))(jnp.array([1.0, 2.0]))
        Array([2., 4.], dtype=float32)
        >>> fg.grad(fg.grad(jnp.tanh))(0.5)
        Array(-0.7268..., dtype=float32, weak_type=True)
    """
    return _differentiator(
        "grad", fun, argnums, has_aux, holomorphic, allow_int, reduce_axes, _gradient_only
    )


def _both(value: Any, gradient: Any, has_aux: bool, aux: Any) -> Any:
    return ((value, aux), gradient) if has_aux else (value, gradient)


def _gradient_only(value: Any, gradient: Any, has_aux: bool, aux: Any) -> Any:
    return (gradient, aux) if has_aux else gradient


def _differentiator(
    name: str,
    fun: Callable[..., Any],
    argnums: Any,
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    reduce_axes: Sequence[Any],
    finish: Callable[..., Any],
) -> Callable[..., Any]:
    check_callable(fun, name)
    _check_no_reduction(name, reduce_axes)
    positions = _positions(argnums, name)

    @user_facing
    @functools.wraps(fun)
    def derivative(*args: Any, **kwargs: Any) -> Any:
        chosen = [args[i] for i in _within(positions, args, name, fun)]
        leaves, in_tree = argument_leaves(name, chosen)
        flat = FlatOfSome(fun, in_tree, name, has_aux, positions, args, kwargs)
        varied = _differentiable(name, leaves, holomorphic, allow_int, args, positions)
        outs, linear = linearize_flat(flat, leaves, varied)
        value = _scalar(name, fun, flat, outs, holomorphic)
        cts = [literal(1, typeof(value))] + [Zero(a) for a in linear.out_avals[1:]]
        gradients = _with_float0(cotangents_in(linear, cts), leaves, varied)
        trees = tree.unflatten(in_tree, gradients)
        gradient = trees[0] if isinstance(argnums, (int, np.integer)) else tuple(trees)
        return finish(value, gradient, has_aux, flat.aux(outs) if has_aux else None)

    return derivative


def _check_no_reduction(name: str, reduce_axes: Sequence[Any]) -> None:
    if reduce_axes:
        raise ValueError(
            f"{name}: reduce_axes must be empty, but got {reduce_axes!r:.60}. "
            "Use lax.psum in the function."
        )


def _positions(argnums: Any, name: str) -> tuple[int, ...]:
    positions = (argnums,) if isinstance(argnums, (int, np.integer)) else tuple(argnums)
    if not all(isinstance(i, (int, np.integer)) for i in positions):
        raise TypeError(
            f"{name}: argnums must be an integer or a tuple of integers, but got {argnums!r}."
        )
    return positions


def _within(positions: Sequence[int], args: Sequence[Any], name: str, fun: Any) -> Sequence[int]:
    for i in positions:
        if not -len(args) <= i < len(args):
            raise TypeError(
                f"{name}: argnums {i} needs at least {i + 1 if i >= 0 else -i} positional "
                "arguments, "
                f"but {name_of(fun)} was called with {len(args)}."
            )
    return positions


def _differentiable(
    name: str, leaves: Sequence[Any], holomorphic: bool, allow_int: bool, args: Any, positions: Any
) -> list[bool]:
    """Which leaves have tangents; TypeError for one that may not be differentiated."""
    varied = []
    for k, leaf in enumerate(leaves):
        aval = typeof(leaf)
        varied.append(aval.has_tangent)
        if holomorphic and not dtypes.is_complex(aval.dtype):
            raise TypeError(
                f"{name}: with holomorphic=True arguments must be complex, but got {aval.strong()}."
            )
        if not aval.has_tangent and not allow_int:
            raise TypeError(
                f"{name}: can only differentiate with respect to floating-point arguments, but got "
                f"{aval.strong()}{_where(args, positions, k)}. Convert it with astype, choose "
                "others with argnums, "
                "or pass allow_int=True."
            )
        if name == "jacfwd" and not holomorphic and dtypes.is_complex(aval.dtype):
            raise TypeError(
                f"{name}: arguments must be real, but got {aval.strong()}"
                f"{_where(args, positions, k)}. "
                "Pass holomorphic=True, or use jacrev or vjp."
            )
    return varied


def _where(args: Sequence[Any], positions: Sequence[int], k: int) -> str:
    path, _ = tree.leaves_with_path([args[i] for i in positions])[k]
    return f" (argument {positions[path[0].idx]}{tree.keystr(path[1:])})"


def _scalar(name: str, fun: Any, flat: Flat, outs: Sequence[Any], holomorphic: bool) -> Any:
    """The function's value, checked to be one real scalar (complex if holomorphic)."""
    if flat.out_tree.num_leaves != 1 or flat.out_tree != tree.structure(0):
        raise TypeError(
            f"{name}: the function must return a scalar, but {name_of(fun)} returned "
            f"{flat.out_tree}. "
            "Return one number, and the rest beside it with has_aux=True."
        )
    aval = typeof(outs[0])
    if aval.shape != ():
        raise TypeError(
            f"{name}: the function must return a scalar, but {name_of(fun)} returned "
            f"{aval.strong()}. "
            "Reduce it, for example with .mean(), or use jacrev for the whole Jacobian."
        )
    if holomorphic and not dtypes.is_complex(aval.dtype):
        raise TypeError(
            f"{name}: with holomorphic=True the function must return a complex number, but it "
            f"returned {aval.strong()}."
        )
    if not holomorphic and dtypes.is_complex(aval.dtype):
        raise TypeError(
            f"{name}: the function must return a real number, but {name_of(fun)} returned "
            f"{aval.strong()}. "
            "Take the real part, or pass holomorphic=True."
        )
    if not aval.has_tangent:
        raise TypeError(
            f"{name}: the function must return a floating-point number, but {name_of(fun)} "
            f"returned {aval.strong()}."
        )
    return outs[0]


def _with_float0(
    gradients: Sequence[Any], leaves: Sequence[Any], varied: Sequence[bool]
) -> list[Any]:
    given = iter(gradients)
    return [
        next(given) if v else np.zeros(typeof(x).shape, dtypes.float0)
        for x, v in zip(leaves, varied)
    ]


@user_facing
def vjp(
    fun: Callable[..., Any], *primals: Any, has_aux: bool = False, reduce_axes: Sequence[Any] = ()
) -> Any:
    """The value of `fun` at `primals`, and the function that carries cotangents back.

    Returns:
        `(out, vjp_fun)`, with `has_aux` `(out, vjp_fun, aux)`. `vjp_fun(ct)` takes a cotangent of
        the structure, shapes and dtypes of `out`, and returns a tuple with one cotangent for each
        of `primals`. It may be called often.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> x, y = jnp.array([1.0, 2.0]), jnp.array([4.0, 5.0])
        >>> out, pull_back = fg.vjp(lambda x, y: x * y, x, y)
        >>> pull_back(jnp.ones(2))
        (Array([4., 5.], dtype=float32), Array([1., 2.], dtype=float32))
    """
    check_callable(fun, "vjp")
    _check_no_reduction("vjp", reduce_axes)
    leaves, in_tree = argument_leaves("vjp", primals)
    flat = Flat(fun, _positional_tree(primals), "vjp", has_aux)
    varied = [typeof(x).has_tangent for x in leaves]
    outs, linear = linearize_flat(flat, leaves, varied)
    out_avals = [typeof(o) for o in outs[: flat.out_count]]
    out_tree, count = flat.out_tree, flat.out_count

    @user_facing
    def vjp_fun(cotangent: Any) -> Any:
        cts = _check_cotangents("vjp", cotangent, out_tree, out_avals)
        cts += [Zero(a) for a in linear.out_avals[count:]]
        return tuple(
            tree.unflatten(in_tree, _with_float0(cotangents_in(linear, cts), leaves, varied))
        )

    return (flat.output(outs), vjp_fun, flat.aux(outs)) if has_aux else (flat.output(outs), vjp_fun)


def _positional_tree(args: Sequence[Any]) -> Any:
    return tree.structure((tuple(args), {}))


def _check_cotangents(
    name: str, cotangent: Any, out_tree: Any, avals: Sequence[ShapedArray]
) -> list[Any]:
    """Leaves of a cotangent, checked against the output; TypeError or ValueError where they
    differ.
    """
    leaves, treedef = tree.flatten(cotangent)
    if treedef != out_tree:
        raise TypeError(
            f"{name}: the cotangent must have the structure of the function's output, {out_tree}, "
            f"but has {treedef}."
        )
    return [
        _check_tangent(name, "cotangent", "output", ct, aval) for ct, aval in zip(leaves, avals)
    ]


def _check_tangent(name: str, what: str, of: str, t: Any, aval: ShapedArray) -> Any:
    """A tangent or cotangent as an array of its partner's type; Zero for integers."""
    if not aval.has_tangent:
        return _check_float0(name, what, of, t, aval)
    t = as_input(name, t)
    own = typeof(t)
    if own.shape != aval.shape or (own.dtype != aval.dtype and not own.weak_type):
        raise TypeError(
            f"{name}: the {what} must have the type of its {of}, {aval.strong()}, but got "
            f"{own.strong()}. "
            "Convert it with astype or reshape."
        )
    return t if own.dtype == aval.dtype else t.astype(aval.dtype)


def _check_float0(name: str, what: str, of: str, t: Any, aval: ShapedArray) -> Zero:
    if getattr(t, "dtype", None) != dtypes.float0:
        raise TypeError(
            f"{name}: the {of} of type {aval.strong()} has no derivative, so its {what} must have "
            "dtype float0, "
            f"but got {typeof(as_input(name, t)).strong()}. Use numpy.zeros(shape, float0)."
        )
    return Zero(aval.tangent())


# ---- forward mode
# ------------------------------------------------------------------------------------


@user_facing
def jvp(
    fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> Any:
    """The value of `fun` at `primals`, and its derivative there in the direction `tangents`.

    Both are tuples (or lists) with one entry per argument; tangents have the structure, shapes and
    dtypes of the primals (dtype float0 for integers).

    Returns:
        `(out, tangent_out)`, with `has_aux` `(out, tangent_out, aux)`.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.jvp(jnp.sin, (0.0,), (2.0,))
        (Array(0., dtype=float32, weak_type=True), Array(2., dtype=float32, weak_type=True))
    """
    check_callable(fun, "jvp")
    for what, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, (tuple, list)):
            raise TypeError(
                f"jvp: {what} must be a tuple or a list, but got {described(value)}. Write "
                f"({what[:-1]},)."
            )
    leaves, in_tree = argument_leaves("jvp", tuple(primals))
    rows, tangent_tree = tree.flatten(tuple(tangents))
    if in_tree != tangent_tree:
        raise TypeError(
            f"jvp: primals and tangents must have one structure, but have {in_tree} and "
            f"{tangent_tree}."
        )
    checked = [
        _check_tangent("jvp", "tangent", "primal", t, typeof(p)) for p, t in zip(leaves, rows)
    ]
    flat = Flat(fun, _positional_tree(primals), "jvp", has_aux)
    outs, out_tangents = jvp_flat(flat, leaves, checked)
    tangent = tree.unflatten(flat.out_tree, [_dense(t) for t in out_tangents[: flat.out_count]])
    return (flat.output(outs), tangent, flat.aux(outs)) if has_aux else (flat.output(outs), tangent)


def _dense(tangent: Any) -> Any:
    return zeros(tangent.aval) if is_zero(tangent) else tangent


@user_facing
def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `fun` at `primals`, and its derivative there as a linear function of tangents.

    `fun` runs once; the linear function can then be applied often.

    Returns:
        `(out, jvp_fun)`, with `has_aux` `(out, jvp_fun, aux)`.

    Example:
        >>> import funcgrad as fg
        >>> out, derivative = fg.linearize(lambda x: x**3, 2.0)
        >>> derivative(1.0)
        Array(12., dtype=float32, weak_type=True)
    """
    check_callable(fun, "linearize")
    leaves, in_tree = argument_leaves("linearize", primals)
    flat = Flat(fun, _positional_tree(primals), "linearize", has_aux)
    varied = [typeof(x).has_tangent for x in leaves]
    outs, linear = linearize_flat(flat, leaves, varied)
    out_tree, count = flat.out_tree, flat.out_count
    whole, residuals = linear.program()
    jaxpr = drop_dead(whole)

    @user_facing
    def jvp_fun(*tangents: Any) -> Any:
        rows, treedef = tree.flatten(tangents)
        if treedef != in_tree:
            raise TypeError(
                f"linearize: tangents must have the primals' structure, {in_tree}, but have "
                f"{treedef}."
            )
        checked = [
            _check_tangent("linearize", "tangent", "primal", t, typeof(p))
            for p, t in zip(leaves, rows)
        ]
        given = [t for t, v in zip(checked, varied) if v]
        found = iter(eval_jaxpr(jaxpr, residuals + given, current_trace()))
        results = [
            zeros(aval) if out is None else next(found)
            for out, aval in zip(linear.outputs, linear.out_avals)
        ]
        return tree.unflatten(out_tree, results[:count])

    return (flat.output(outs), jvp_fun, flat.aux(outs)) if has_aux else (flat.output(outs), jvp_fun)


@user_facing
def linear_transpose(fun: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """The transpose of a linear function: from cotangents of its output to those of its arguments.

    `primals` only give shapes and dtypes: arrays, or `ShapeDtypeStruct`s.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> transposed = fg.linear_transpose(lambda x: 3.0 * x, jnp.zeros(2))
        >>> transposed(jnp.array([1.0, 2.0]))
        (Array([3., 6.], dtype=float32),)
    """
    check_callable(fun, "linear_transpose")
    leaves, in_tree = tree.flatten(primals)
    avals = [
        ShapedArray(tuple(x.shape), x.dtype) if hasattr(x, "dtype") else typeof(x) for x in leaves
    ]
    flat = Flat(fun, _positional_tree(primals), "linear_transpose")
    jaxpr, captured = stage(flat, avals)
    out_tree = flat.out_tree

    @user_facing
    def transposed(cotangent: Any) -> Any:
        cts = _check_cotangents("linear_transpose", cotangent, out_tree, jaxpr.out_avals)
        mask = [False] * len(captured) + [True] * len(avals)
        results = backward_pass(jaxpr, mask, captured, cts)
        return tuple(tree.unflatten(in_tree, [_dense(c) for c in results]))

    return transposed
