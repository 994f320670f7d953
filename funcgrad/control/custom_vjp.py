"""`custom_vjp`: a function with a derivative rule in reverse mode.

Differentiated, the call becomes its forward function and a linear operation whose transpose is the
backward function; there is no other way to evaluate that operation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.control.call import nonzero
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
from funcgrad.control.symbolic_zeros import (
    ByMask,
    CustomVJPPrimal,
    SymbolicZero,
    with_symbolic_zeros,
)
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
from funcgrad.transforms.autodiff import nonzero_mask
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
    avals = call_jaxpr.in_avals[num_consts:]
    own = [t for t, a in zip(tangents[num_consts:], avals) if a.has_tangent]
    perturbed, rows = nonzero_mask(own), list(map(instantiate, own))
    program = fwd.at(perturbed) if isinstance(fwd, ByMask) else fwd.get()
    outs = eval_jaxpr(program, primals, current_trace())
    residuals = [*primals[:num_consts], *outs[count:]]
    inexact = tuple(a.tangent() for a in call_jaxpr.out_avals if a.has_tangent)
    found = iter(
        custom_lin_p.bind(
            *residuals,
            *rows,
            bwd=bwd,
            num_residuals=len(residuals),
            perturbed=perturbed,
            out_avals=inexact,
            name=name,
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
    cts: Any,
    *args: Any,
    bwd: Lazy,
    num_residuals: int,
    perturbed: tuple[bool, ...],
    out_avals: Any,
    name: str,
) -> Any:
    if isinstance(bwd, ByMask):
        program, rows = bwd.at(perturbed + nonzero_mask(cts)), nonzero(cts)
    else:
        program, rows = bwd.get(), list(map(instantiate, cts))
    results = eval_jaxpr(program, [*args[:num_residuals], *rows], current_trace())
    rest = args[num_residuals:]
    return [None] * num_residuals + [c if is_linear(a) else None for c, a in zip(results, rest)]


def _custom_lin_batch(
    axis: Axis, args: Any, dims: Any, *, bwd: Lazy, out_avals: Any, **params: Any
) -> Any:
    rows = [batched(axis, a, d) for a, d in zip(args, dims)]
    avals = tuple(a.update(shape=(axis.size, *a.shape)) for a in out_avals)
    outs = custom_lin_p.bind(*rows, bwd=_lazily_mapped(bwd, axis), out_avals=avals, **params)
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
        `value`, and whether it is `perturbed`, that is, being differentiated; `bwd` gets a
        `custom_derivatives.SymbolicZero` for each cotangent that is zero, and may return some.
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
        if self.symbolic_zeros:
            call_jaxpr, fwd, bwd, captured = self._symbolic(call)
        else:
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

    def _symbolic(self, call: RuleCall) -> tuple[Jaxpr, Lazy, Lazy, list[Any]]:
        """The function's program, and its rules' for every choice of what is zero."""
        arguments = (True,) * len(inexact_tangents(call.avals))
        staged = _VjpRules(self, call, arguments)
        call_jaxpr, full, captured = self._unified_lazily(call, staged.stage)
        rules = _SymbolicRules(self, call, list(captured))
        results = (True,) * len(inexact_tangents(call_jaxpr.out_avals))
        fwd, bwd = full or (
            Lazy(lambda: rules.fwd(arguments)),
            Lazy(lambda: rules.bwd(arguments + results)),
        )
        return call_jaxpr, ByMask(fwd, rules.fwd), ByMask(bwd, rules.bwd), captured


PYTHON_NUMBERS = (bool, int, float, complex)


class _VjpRules:
    """The forward and backward functions of one call, on and to flat lists. `perturbed` says for
    each inexact argument whether it is being differentiated, if the rules want to know.
    """

    def __init__(
        self, function: custom_vjp, call: RuleCall, perturbed: tuple[bool, ...] | None = None
    ) -> None:
        self.function, self.call, self.perturbed = function, call, perturbed
        self.residual_tree: Any = None
        self.fixed: list[Any] = []
        self.out_avals: list[ShapedArray] = []

    def stage(self, call_jaxpr: Jaxpr, given: Sequence[Any]) -> list[Staged]:
        """Both programs: the forward one first, since the backward one takes what it keeps."""
        fwd = stage(self.fwd, self.call.avals, given)
        residuals = fwd[0].out_avals[len(call_jaxpr.outputs) :]
        cts = inexact_tangents(call_jaxpr.out_avals)
        return [fwd, stage(self.bwd, residuals + cts, given)]

    def _as_given(self, leaves: Sequence[Any]) -> Sequence[Any]:
        if self.perturbed is None:
            return leaves
        live = iter(self.perturbed)
        return [CustomVJPPrimal(x, typeof(x).has_tangent and next(live)) for x in leaves]

    def fwd(self, *leaves: Any) -> list[Any]:
        result = self.function.fwd(*self.call.arguments(self._as_given(leaves)))  # type: ignore[misc]
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
        leaves_kept, self.residual_tree = tree.flatten(result[1])
        # Numbers of Python (sizes, flags) stay what they are: they may be needed as such.
        self.fixed = [r if isinstance(r, PYTHON_NUMBERS) else None for r in leaves_kept]
        residuals = [r for r in leaves_kept if not isinstance(r, PYTHON_NUMBERS)]
        outs = [as_input(self.call.name, o) for o in outs]
        check_same_types(self.call.name, "fwd's result", outs, self.call.out_avals)
        self.out_avals = [typeof(o) for o in outs]
        return outs + [as_input(self.call.name, r) for r in residuals]

    def bwd(self, *leaves: Any, mask: tuple[bool, ...] | None = None) -> list[Any]:
        """`mask` says which cotangents are given; the others are zero."""
        count = sum(f is None for f in self.fixed)
        given = iter(leaves[:count])
        kept = [next(given) if f is None else f for f in self.fixed]
        residuals = tree.unflatten(self.residual_tree, kept)
        if self.perturbed is None:
            cts = tangent_leaves(self.out_avals, leaves[count:])
        else:
            every = (True,) * len(inexact_tangents(self.out_avals))
            cts = with_symbolic_zeros(self.out_avals, leaves[count:], mask or every)
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
            if c is None or type(c) is SymbolicZero
            else _checked_cotangent(self.call.name, c, a)
            for c, a in zip(leaves, self.call.avals)
            if a.has_tangent
        ]


class _SymbolicRules:
    """The programs of one call's rules for each choice of perturbed arguments and of cotangents
    that are not zero.
    """

    def __init__(self, function: custom_vjp, call: RuleCall, captured: list[Any]) -> None:
        self.function, self.call, self.captured = function, call, captured
        self._made: dict[tuple[bool, ...], tuple[_VjpRules, Jaxpr]] = {}

    def _at(self, perturbed: tuple[bool, ...]) -> tuple[_VjpRules, Jaxpr]:
        if perturbed not in self._made:
            rules = _VjpRules(self.function, self.call, perturbed)
            program = self._staged(rules.fwd, self.call.avals)
            self._made[perturbed] = rules, program
        return self._made[perturbed]

    def _staged(self, rule: Callable[..., list[Any]], avals: Sequence[ShapedArray]) -> Jaxpr:
        return self.function._staged_with(self.call.name, rule, avals, self.captured)

    def fwd(self, perturbed: tuple[bool, ...]) -> Jaxpr:
        """The forward program."""
        return self._at(perturbed)[1]

    def bwd(self, mask: tuple[bool, ...]) -> Jaxpr:
        """The backward program; the mask is that of the arguments and that of the cotangents."""
        count = len(inexact_tangents(self.call.avals))
        rules, fwd = self._at(mask[:count])
        outs = self.call.out_avals
        residuals = fwd.out_avals[len(outs) :]
        rows = [a for a, live in zip(inexact_tangents(outs), mask[count:]) if live]
        return self._staged(functools.partial(rules.bwd, mask=mask[count:]), [*residuals, *rows])


def _checked_cotangent(name: str, ct: Any, aval: ShapedArray) -> Any:
    ct = as_input(name, ct)
    own = typeof(ct)
    if own.shape != aval.shape or own.dtype != aval.dtype:
        raise ValueError(
            f"{name}: bwd's cotangent must have its argument's type {aval.strong()}, but has "
            f"{own.strong()}."
        )
    return ct
