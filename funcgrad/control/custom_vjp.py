"""`custom_vjp`: a function with a derivative rule in reverse mode.

Differentiated, the call becomes its forward function and a linear operation whose transpose is the
backward function; there is no other way to evaluate that operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad import tree
from funcgrad.control.custom_rules import (
    CustomRule,
    Lazy,
    RuleCall,
    Staged,
    check_not_captured,
    check_same_types,
    inexact_tangents,
    tangent_leaves,
)
from funcgrad.control.symbolic_zeros import CustomVJPPrimal
from funcgrad.core.avals import ShapedArray, described, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct
from funcgrad.core.stage import stage
from funcgrad.core.tangent import Zero, is_linear
from funcgrad.core.trace import EVAL, Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import batched, instantiate
from funcgrad.transforms.batching import batch_jaxpr


def _custom_vjp_run(args: Any, *, call_jaxpr: Jaxpr, **params: Any) -> list[Any]:
    return eval_jaxpr(call_jaxpr, args, EVAL)


def _custom_vjp_jvp(
    primals: Any,
    tangents: Any,
    *,
    call_jaxpr: Jaxpr,
    fwd: Lazy,
    bwd: Lazy,
    num_consts: int,
    name: str,
) -> Any:
    check_not_captured(name, tangents[:num_consts])
    count = len(call_jaxpr.outputs)
    outs = eval_jaxpr(fwd.get(), primals, current_trace())
    residuals = [*primals[:num_consts], *outs[count:]]
    avals = call_jaxpr.in_avals[num_consts:]
    rows = [instantiate(t) for t, a in zip(tangents[num_consts:], avals) if a.has_tangent]
    inexact = tuple(a.tangent() for a in call_jaxpr.out_avals if a.has_tangent)
    found = iter(
        custom_lin_p.bind(
            *residuals, *rows, bwd=bwd, num_residuals=len(residuals), out_avals=inexact, name=name
        )
        if inexact
        else ()
    )
    return outs[:count], [
        next(found) if a.has_tangent else Zero(a.tangent()) for a in call_jaxpr.out_avals
    ]


def _custom_vjp_batch(
    axis: Axis,
    args: Any,
    dims: Any,
    *,
    call_jaxpr: Jaxpr,
    fwd: Lazy,
    bwd: Lazy,
    num_consts: int,
    name: str,
) -> Any:
    """Maps all operands first, so that the sum for a shared one is the transpose of its
    broadcast.
    """
    rows = [batched(axis, a, d) for a, d in zip(args, dims)]
    outs = custom_vjp_call_p.bind(
        *rows,
        call_jaxpr=_all_mapped(call_jaxpr, axis),
        fwd=_lazily_mapped(fwd, axis),
        bwd=_lazily_mapped(bwd, axis),
        num_consts=num_consts,
        name=name,
    )
    return outs, [0] * len(outs)


def _all_mapped(jaxpr: Jaxpr, axis: Axis) -> Jaxpr:
    return batch_jaxpr(jaxpr, axis, (True,) * len(jaxpr.args), (True,) * len(jaxpr.outputs))[0]


def _lazily_mapped(program: Lazy, axis: Axis) -> Lazy:
    return program.derived(axis, lambda jaxpr: _all_mapped(jaxpr, axis))


custom_vjp_call_p = Construct(
    "custom_vjp_call",
    run=_custom_vjp_run,
    abstract=lambda *avals, call_jaxpr, **params: call_jaxpr.out_avals,
    jvp=_custom_vjp_jvp,
    batch=_custom_vjp_batch,
    loops=lambda *avals, **params: Call("call", ("call_jaxpr",)),
    effects=lambda params: params["call_jaxpr"].effects,
    names=program_names,
)


def _custom_lin_run(args: Any, *, name: str, **params: Any) -> Any:
    raise TypeError(
        f"{name}: forward-mode differentiation (jvp, jacfwd, hessian) of a function with a "
        "custom_vjp rule is not "
        "possible: the rule is for reverse mode only. Use custom_jvp, or reverse mode."
    )


def _custom_lin_transpose(
    cts: Any, *args: Any, bwd: Lazy, num_residuals: int, out_avals: Any, name: str
) -> Any:
    results = eval_jaxpr(
        bwd.get(), [*args[:num_residuals], *map(instantiate, cts)], current_trace()
    )
    rest = args[num_residuals:]
    return [None] * num_residuals + [c if is_linear(a) else None for c, a in zip(results, rest)]


def _custom_lin_batch(
    axis: Axis, args: Any, dims: Any, *, bwd: Lazy, num_residuals: int, out_avals: Any, name: str
) -> Any:
    rows = [batched(axis, a, d) for a, d in zip(args, dims)]
    avals = tuple(a.update(shape=(axis.size, *a.shape)) for a in out_avals)
    outs = custom_lin_p.bind(
        *rows,
        bwd=_lazily_mapped(bwd, axis),
        num_residuals=num_residuals,
        out_avals=avals,
        name=name,
    )
    return outs, [0] * len(outs)


custom_lin_p = Construct(
    "custom_lin",
    run=_custom_lin_run,
    abstract=lambda *avals, out_avals, **params: list(out_avals),
    jvp=lambda primals, tangents, **params: _custom_lin_run(primals, **params),
    transpose=_custom_lin_transpose,
    batch=_custom_lin_batch,
)


class custom_vjp(CustomRule):
    """A function with a derivative of your own in reverse mode.

    `fwd(*args)` returns the result and whatever the backward pass needs; `bwd(*nondiff, residuals,
    cotangent)` returns a tuple with one cotangent per argument, of its structure and type; None
    stands for zero.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> @fg.custom_vjp
        ... def clipped(x):
        ...     return x
        >>> def fwd(x):
        ...     return x, None
        >>> def bwd(_, ct):
        ...     return (jnp.clip(ct, -1, 1),)
        >>> clipped.defvjp(fwd, bwd)
        >>> float(fg.grad(lambda x: 5 * clipped(x))(3.0))
        1.0
    """

    kind = "custom_vjp"
    rule_count = 2
    fwd: Callable[..., Any] | None = None
    bwd: Callable[..., Any] | None = None
    symbolic_zeros = False

    def defvjp(
        self,
        fwd: Callable[..., Any],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Sets the forward and the backward function.

        With `symbolic_zeros`, `fwd` gets a `custom_derivatives.CustomVJPPrimal` for each array: its
        `value`, and whether it is `perturbed` (here: whether it is floating or complex).
        `optimize_remat`: accepted for compatibility; calls are recomputed as they are.
        """
        self.fwd, self.bwd, self.symbolic_zeros = fwd, bwd, bool(symbolic_zeros)

    @user_facing
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fwd is None:
            raise AttributeError(
                f"custom_vjp: {self.__name__} has no rule yet. Set it with "
                f"{self.__name__}.defvjp(fwd, bwd)."
            )
        if current_trace() is EVAL:
            return self.fun(*args, **kwargs)
        call = self._begin(args, kwargs)
        staged = _VjpRules(self, call)
        call_jaxpr, (fwd, bwd), captured = self._unified(call, staged.stage)
        outs = custom_vjp_call_p.bind(
            *captured,
            *call.take_leaves(),
            call_jaxpr=call_jaxpr,
            fwd=fwd,
            bwd=bwd,
            num_consts=len(captured),
            name=call.name,
        )
        return tree.unflatten(call.out_tree, outs)


class _VjpRules:
    """The forward and backward functions of one call, on and to flat lists."""

    def __init__(self, function: custom_vjp, call: RuleCall) -> None:
        self.function, self.call = function, call
        self.residual_tree: Any = None
        self.out_avals: list[ShapedArray] = []

    def stage(self, call_jaxpr: Jaxpr) -> list[Staged]:
        """Both programs: the forward one first, since the backward one takes what it keeps."""
        fwd = stage(self.fwd, self.call.avals)
        residuals = fwd[0].out_avals[len(call_jaxpr.outputs) :]
        return [fwd, stage(self.bwd, residuals + inexact_tangents(call_jaxpr.out_avals))]

    def fwd(self, *leaves: Any) -> list[Any]:
        given = list(map(_as_primal, leaves)) if self.function.symbolic_zeros else leaves
        result = self.function.fwd(*self.call.arguments(given))  # type: ignore[misc]
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(
                f"{self.call.name}: fwd must return a pair (out, residuals), but returned "
                f"{described(result)}."
            )
        outs, structure = tree.flatten(result[0])
        if structure != self.call.out_tree:
            raise TypeError(
                f"{self.call.name}: fwd's result must have the function's structure "
                f"{self.call.out_tree}, "
                f"but has {structure}."
            )
        residuals, self.residual_tree = tree.flatten(result[1])
        outs = [as_input(self.call.name, o) for o in outs]
        check_same_types(self.call.name, "fwd's result", outs, self.call.out_avals)
        self.out_avals = [typeof(o) for o in outs]
        return outs + [as_input(self.call.name, r) for r in residuals]

    def bwd(self, *leaves: Any) -> list[Any]:
        count = self.residual_tree.num_leaves
        residuals = tree.unflatten(self.residual_tree, leaves[:count])
        cts = tangent_leaves(self.out_avals, leaves[count:])
        ct = tree.unflatten(self.call.out_tree, cts)
        result = self.function.bwd(*self.call.nondiff.values(), residuals, ct)  # type: ignore[misc]
        return self._cotangents(result)

    def _cotangents(self, result: Any) -> list[Any]:
        """One cotangent per inexact leaf of the arguments; None, for an argument or a subtree,
        is zero.
        """
        arity = self.call.arity
        if not isinstance(result, (tuple, list)) or len(result) != arity:
            raise TypeError(
                f"{self.call.name}: bwd must return a tuple with one cotangent for each of the "
                f"{arity} arguments, but returned {described(result)}."
            )
        leaves = tree.prefix_leaves(
            list(result), self.call.treedef, f"{self.call.name}: the result of bwd"
        )
        return [
            instantiate(Zero(a.tangent()))
            if c is None
            else _checked_cotangent(self.call.name, c, a)
            for c, a in zip(leaves, self.call.avals)
            if a.has_tangent
        ]


def _as_primal(x: Any) -> CustomVJPPrimal:
    return CustomVJPPrimal(x, typeof(x).has_tangent)


def _checked_cotangent(name: str, ct: Any, aval: ShapedArray) -> Any:
    ct = as_input(name, ct)
    own = typeof(ct)
    if own.shape != aval.shape or own.dtype != aval.dtype:
        raise ValueError(
            f"{name}: bwd's cotangent must have its argument's type {aval.strong()}, but has "
            f"{own.strong()}."
        )
    return ct
