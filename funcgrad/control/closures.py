"""Derivatives given together with the function: `custom_gradient`, `closure_convert`,
`linear_call`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.control.call import merge
from funcgrad.control.custom_rules import inexact_tangents, tangent_leaves, unified
from funcgrad.control.custom_vjp import custom_vjp
from funcgrad.core.avals import described, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr, program_effects, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct
from funcgrad.core.stage import stage
from funcgrad.core.tangent import Zero, is_linear, is_zero
from funcgrad.core.trace import EVAL, Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import batched, instantiate
from funcgrad.transforms.batching import batch_jaxpr

# ---- custom_gradient ----------------------------------------------------------------------------


def custom_gradient(fun: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns its result together with its derivative in reverse mode.

    `fun(*args)` returns `(out, vjp)`, where `vjp` takes a cotangent of `out` and returns a tuple of
    cotangents, one for each argument (for a single argument, the cotangent itself will do). `vjp`
    may close over anything that `fun` has computed.

    Example:
        >>> import funcgrad as fg
        >>> @fg.custom_gradient
        ... def clipped_square(x):
        ...     return x**2, lambda ct: fg.numpy.clip(2 * x * ct, -1.0, 1.0)
        >>> float(fg.grad(clipped_square)(3.0))
        1.0
    """

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = functools.partial(fun, **kwargs)
        rules = _GradientRules(given, getattr(fun, "__name__", "function"))
        function = custom_vjp(lambda *arguments: rules.pair(arguments)[0])
        function.__name__ = rules.name
        function.defvjp(rules.fwd, rules.bwd)
        return function(*args)

    return user_facing(call)


class _GradientRules:
    """Forward and backward function of one call: what `vjp` closes over are the residuals."""

    def __init__(self, fun: Callable[..., Any], name: str) -> None:
        self.fun, self.name = fun, name
        self.program: Jaxpr | None = None
        self.arguments: Any = None  # their structure, and which leaves have cotangents

    def pair(self, args: Sequence[Any]) -> Any:
        result = self.fun(*args)
        if not isinstance(result, (tuple, list)) or len(result) != 2 or not callable(result[1]):
            raise TypeError(
                f"custom_gradient: {self.name} must return a pair (out, vjp function), but "
                f"returned {described(result)}."
            )
        return result

    def fwd(self, *args: Any) -> Any:
        out, vjp = self.pair(args)
        leaves, structure = tree.flatten(out)
        avals = [typeof(as_input(self.name, leaf)) for leaf in leaves]

        def flat(*cts: Any) -> list[Any]:
            found = vjp(tree.unflatten(structure, tangent_leaves(avals, cts)))
            single = len(args) == 1 and not (isinstance(found, (tuple, list)) and len(found) == 1)
            return self._cotangents((found,) if single else found, args)

        self.program, captured = stage(flat, inexact_tangents(avals))
        return out, tuple(captured)

    def _cotangents(self, found: Any, args: Any) -> list[Any]:
        """One cotangent for each inexact leaf of the arguments."""
        if not isinstance(found, (tuple, list)) or len(found) != len(args):
            raise TypeError(
                f"custom_gradient: the vjp function of {self.name} must return one cotangent for "
                f"each of the {len(args)} arguments, but returned {described(found)}."
            )
        where = f"custom_gradient: the cotangents of {self.name}"
        leaves = tree.prefix_leaves(list(found), tree.structure(list(args)), where)
        given, structure = tree.flatten(tuple(args))
        avals = [typeof(as_input(self.name, a)) for a in given]
        self.arguments = structure, [a.has_tangent for a in avals]
        return [
            instantiate(Zero(a.tangent())) if c is None else as_input(self.name, c)
            for c, a in zip(leaves, avals)
            if a.has_tangent
        ]

    def bwd(self, residuals: Any, ct: Any) -> Any:
        assert self.program is not None, "the backward function is staged after the forward one"
        cts = [c for c in tree.leaves(ct) if typeof(c).has_tangent]
        found = iter(eval_jaxpr(self.program, [*residuals, *cts], current_trace()))
        structure, inexact = self.arguments
        return tree.unflatten(structure, [next(found) if m else None for m in inexact])


# ---- closure_convert ----------------------------------------------------------------------------


@user_facing
def closure_convert(
    fun: Callable[..., Any], *example_args: Any
) -> tuple[Callable[..., Any], list[Any]]:
    """The function with the traced values that it closes over as further arguments, and those.

    `converted(*args, *values)` computes `fun(*args)` for arguments of the examples' types, so that
    a custom rule can differentiate with respect to `values`. Integers stay closed over.

    Example:
        >>> import funcgrad as fg
        >>> def f(x):
        ...     converted, values = fg.closure_convert(lambda y: x * y, 2.0)
        ...     return converted(3.0, *values)
        >>> float(fg.grad(f)(1.0))
        3.0
    """
    leaves, in_tree = tree.flatten(example_args)
    out_tree: list[Any] = []

    def flat(*values: Any) -> list[Any]:
        found, structure = tree.flatten(fun(*tree.unflatten(in_tree, values)))
        out_tree[:] = [structure]
        return [as_input("closure_convert", leaf) for leaf in found]

    avals = [typeof(as_input("closure_convert", leaf)) for leaf in leaves]
    jaxpr, captured = stage(flat, avals)
    moved = [typeof(t).has_tangent for t in captured]
    fixed = [t for t, m in zip(captured, moved) if not m]
    count = len(example_args)

    def converted(*args: Any) -> Any:
        own, structure = tree.flatten(args[:count])
        if structure != in_tree:
            raise TypeError(
                f"closure_convert: the converted function takes arguments of the examples' "
                f"structure {in_tree}, but got {structure}."
            )
        operands = [as_input("closure_convert", leaf) for leaf in own]
        outs = eval_jaxpr(jaxpr, [*merge(moved, args[count:], fixed), *operands], current_trace())
        return tree.unflatten(out_tree[0], outs)

    return converted, [t for t, m in zip(captured, moved) if m]


# ---- linear_call --------------------------------------------------------------------------------


def _linear_run(args: Any, *, callee: Jaxpr, adjoint: Jaxpr, num_residuals: int) -> list[Any]:
    return eval_jaxpr(callee, args, EVAL)


def _linear_jvp(primals: Any, tangents: Any, *, num_residuals: int, **params: Any) -> Any:
    if not all(map(is_zero, tangents[:num_residuals])):
        raise TypeError(
            "linear_call: differentiated with respect to residual_args, in which it need not be "
            "linear. Put stop_gradient around them, or use custom_jvp."
        )
    params["num_residuals"] = num_residuals
    outs = linear_call_p.bind(*primals, **params)
    rows = map(instantiate, tangents[num_residuals:])
    return outs, linear_call_p.bind(*primals[:num_residuals], *rows, **params)


def _linear_transpose(
    cts: Any, *args: Any, callee: Jaxpr, adjoint: Jaxpr, num_residuals: int
) -> list[Any]:
    residuals, operands = args[:num_residuals], args[num_residuals:]
    rows = map(instantiate, cts)
    found = linear_call_p.bind(
        *residuals, *rows, callee=adjoint, adjoint=callee, num_residuals=num_residuals
    )
    return [None] * num_residuals + [c if is_linear(a) else None for c, a in zip(found, operands)]


def _linear_batch(
    axis: Axis, args: Any, dims: Any, *, callee: Jaxpr, adjoint: Jaxpr, num_residuals: int
) -> Any:
    rows = [batched(axis, a, d) for a, d in zip(args, dims)]
    both = [
        batch_jaxpr(j, axis, (True,) * len(j.args), (True,) * len(j.outputs))[0]
        for j in (callee, adjoint)
    ]
    outs = linear_call_p.bind(*rows, callee=both[0], adjoint=both[1], num_residuals=num_residuals)
    return outs, [0] * len(outs)


linear_call_p = Construct(
    "linear_call",
    run=_linear_run,
    abstract=lambda *avals, callee, **params: callee.out_avals,
    jvp=_linear_jvp,
    transpose=_linear_transpose,
    batch=_linear_batch,
    loops=lambda *avals, **params: Call("call", ("callee",)),
    effects=program_effects,
    names=program_names,
)


@user_facing
def linear_call(
    fun: Callable[..., Any],
    fun_transpose: Callable[..., Any],
    residual_args: Any,
    linear_args: Any,
) -> Any:
    """`fun(residual_args, linear_args)`, a function linear in its second argument, with its
    transpose stated: `fun_transpose(residual_args, cotangent)` returns what is like `linear_args`.

    Raises:
        TypeError: it is differentiated with respect to `residual_args`, or `fun_transpose` returns
        another type.

    Example:
        >>> import funcgrad as fg
        >>> def scaled(x, by):
        ...     return fg.custom_derivatives.linear_call(
        ...         lambda r, v: v / r, lambda r, ct: ct / r, by, x)
        >>> float(fg.grad(scaled)(3.0, 4.0))
        0.25
    """
    residuals, residual_tree = tree.flatten(residual_args)
    operands, linear_tree = tree.flatten(linear_args)
    residuals = [as_input("linear_call", r) for r in residuals]
    operands = [as_input("linear_call", x) for x in operands]
    trees: list[Any] = []

    def flat(function: Callable[..., Any], in_tree: Any, *leaves: Any) -> list[Any]:
        split = len(residuals)
        first = tree.unflatten(residual_tree, leaves[:split])
        found, structure = tree.flatten(function(first, tree.unflatten(in_tree, leaves[split:])))
        trees.append(structure)
        return [as_input("linear_call", leaf) for leaf in found]

    kept = [typeof(r) for r in residuals]
    avals = [typeof(x) for x in operands]
    forward = stage(functools.partial(flat, fun, linear_tree), kept + avals)
    out_avals = [a.tangent() for a in forward[0].out_avals]
    backward = stage(functools.partial(flat, fun_transpose, trees[0]), kept + out_avals)
    _check_adjoint(linear_tree, avals, trees[1], backward[0].out_avals)
    (callee, adjoint), captured = unified([forward, backward])
    outs = linear_call_p.bind(
        *captured,
        *residuals,
        *operands,
        callee=callee,
        adjoint=adjoint,
        num_residuals=len(captured) + len(residuals),
    )
    return tree.unflatten(trees[0], outs)


def _check_adjoint(in_tree: Any, avals: Any, out_tree: Any, out_avals: Any) -> None:
    types = [str(a.strong()) for a in avals], [str(a.strong()) for a in out_avals]
    if in_tree != out_tree or types[0] != types[1]:
        raise TypeError(
            f"linear_call: fun_transpose must return what is like linear_args, {in_tree} of "
            f"{', '.join(types[0])}, but returned {out_tree} of {', '.join(types[1])}."
        )
