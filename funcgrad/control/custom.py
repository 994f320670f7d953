"""`custom_jvp`: a function with a derivative rule in forward mode.

Outside of any trace the function is simply called.
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
    SymbolicZero,
    batched_rule,
    with_symbolic_zeros,
)
from funcgrad.core.avals import described, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct
from funcgrad.core.stage import stage
from funcgrad.core.tangent import Zero
from funcgrad.core.trace import EVAL, Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import batched, instantiate, zeros
from funcgrad.transforms.autodiff import nonzero_mask
from funcgrad.transforms.batching import batch_jaxpr
from funcgrad.transforms.partial import LinearTrace


def _custom_jvp_run(
    args: Any, *, call_jaxpr: Jaxpr, jvp: Lazy, num_consts: int, name: str
) -> list[Any]:
    return eval_jaxpr(call_jaxpr, args, EVAL)


def _custom_jvp_jvp(
    primals: Any, tangents: Any, *, call_jaxpr: Jaxpr, jvp: Lazy, num_consts: int, name: str
) -> Any:
    check_not_captured(name, tangents[:num_consts])
    trace, avals = current_trace(), call_jaxpr.in_avals[num_consts:]
    rows = [t for t, a in zip(tangents[num_consts:], avals) if a.has_tangent]
    zero_rows: tuple[bool, ...] = ()
    if isinstance(jvp, ByMask):
        mask = nonzero_mask(rows)
        program, rows = jvp.at(mask), nonzero(rows)
        zero_rows = jvp.zero_rows[mask]
    else:
        program, rows = jvp.get(), [instantiate(t) for t in rows]
    outs = eval_jaxpr(program, [*primals, *rows], trace)
    count = len(call_jaxpr.outputs)
    if isinstance(trace, LinearTrace) and any(map(trace.owns, outs[:count])):
        raise TypeError(
            f"{name}: the rule's primal result depends on a tangent. Compute it from the primals "
            "alone."
        )
    given: Any = iter(outs[count:])
    if any(zero_rows):
        given = iter([Zero(typeof(t)) if z else t for t, z in zip(outs[count:], zero_rows)])
    return outs[:count], [
        next(given) if a.has_tangent else Zero(a.tangent()) for a in call_jaxpr.out_avals
    ]


def _custom_jvp_batch(
    axis: Axis, args: Any, dims: Any, *, call_jaxpr: Jaxpr, jvp: Lazy, num_consts: int, name: str
) -> Any:
    mapped = tuple(d is not None for d in dims)
    rows = tuple(
        m for m, a in zip(mapped[num_consts:], call_jaxpr.in_avals[num_consts:]) if a.has_tangent
    )
    call, _ = batch_jaxpr(call_jaxpr, axis, mapped, (True,) * len(call_jaxpr.outputs))
    rule = batched_rule(jvp, axis, mapped, rows)
    moved = [a if d is None else batched(axis, a, d) for a, d in zip(args, dims)]
    outs = custom_jvp_call_p.bind(
        *moved, call_jaxpr=call, jvp=rule, num_consts=num_consts, name=name
    )
    return outs, [0] * len(outs)


custom_jvp_call_p = Construct(
    "custom_jvp_call",
    run=_custom_jvp_run,
    abstract=lambda *avals, call_jaxpr, **params: call_jaxpr.out_avals,
    jvp=_custom_jvp_jvp,
    batch=_custom_jvp_batch,
    loops=lambda *avals, **params: Call("call", ("call_jaxpr",)),
    effects=lambda params: params["call_jaxpr"].effects,
    names=program_names,
)


class custom_jvp(CustomRule):
    """A function with a derivative of your own in forward mode; reverse mode follows by
    transposition.

    The rule takes `primals` and `tangents`, tuples of the function's arguments and their tangents,
    and returns the result and its tangent, which must be linear in `tangents`. Arguments in
    `nondiff_argnums` come first, by themselves.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> @fg.custom_jvp
        ... def log1pexp(x):
        ...     return jnp.log1p(jnp.exp(x))
        >>> @log1pexp.defjvp
        ... def log1pexp_jvp(primals, tangents):
        ...     (x,), (t,) = primals, tangents
        ...     return log1pexp(x), t * (1 - 1 / (1 + jnp.exp(x)))
        >>> float(fg.grad(log1pexp)(100.0))
        1.0
    """

    kind = "custom_jvp"
    rule: Callable[..., Any] | None = None
    symbolic_zeros = False

    def defjvp(self, jvp: Callable[..., Any], symbolic_zeros: bool = False) -> Callable[..., Any]:
        """Sets the rule: `jvp(*nondiff, primals, tangents) -> out, tangent_out`. Can be used as
        a decorator.

        With `symbolic_zeros`, tangents that are zero, and those of integers, are
        `custom_derivatives.SymbolicZero`s; so may be `tangent_out`.
        """
        self.rule, self.symbolic_zeros = jvp, bool(symbolic_zeros)
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Sets one rule per argument: `jvp(tangent, out, *primals) -> tangent_out`; None where
        it is zero.
        """
        if self.nondiff_argnums:
            raise TypeError(
                "defjvps: functions with nondiff_argnums need one rule, set with defjvp."
            )

        def rule(primals: Any, tangents: Any) -> Any:
            out = self(*primals)
            terms = [jvp(t, out, *primals) for jvp, t in zip(jvps, tangents) if jvp is not None]
            total = functools.reduce(lambda a, b: tree.map(lambda x, y: x + y, a, b), terms)
            return out, total

        self.defjvp(rule)

    @user_facing
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.rule is None:
            raise AttributeError(
                f"custom_jvp: {self.__name__} has no rule yet. Set one with "
                f"@{self.__name__}.defjvp."
            )
        if current_trace() is EVAL:
            return self.fun(*args, **kwargs)
        call = self._begin(args, kwargs)
        stage_rule = functools.partial(self._stage_rule, call)
        if self.symbolic_zeros:
            call_jaxpr, full, captured = self._unified_lazily(call, stage_rule)
            at = functools.partial(self._program_at, call, list(captured))
            every = (True,) * len(inexact_tangents(call.avals))
            jvp: Lazy = ByMask(full[0] if full else Lazy(lambda: at(every)), at, call.zero_rows)
        else:
            call_jaxpr, (jvp,), captured = self._unified(call, stage_rule)
        outs = custom_jvp_call_p.bind(
            *captured,
            *call.take_leaves(),
            call_jaxpr=call_jaxpr,
            jvp=jvp,
            num_consts=len(captured),
            name=call.name,
        )
        return tree.unflatten(call.out_tree, outs)

    def _stage_rule(self, call: RuleCall, _: Jaxpr, given: Sequence[Any]) -> list[Staged]:
        rule = functools.partial(self._flat_rule, call)
        return [stage(rule, call.avals + inexact_tangents(call.avals), given)]

    def _program_at(self, call: RuleCall, captured: list[Any], mask: tuple[bool, ...]) -> Jaxpr:
        """The rule's program for tangents that are zero except where the mask says."""
        rule = functools.partial(self._flat_rule, call, mask=mask)
        rows = [a for a, live in zip(inexact_tangents(call.avals), mask) if live]
        return self._staged_with(call.name, rule, call.avals + rows, captured)

    def _flat_rule(
        self, call: RuleCall, *leaves: Any, mask: tuple[bool, ...] | None = None
    ) -> list[Any]:
        count = len(call.avals)
        if mask is None and not self.symbolic_zeros:
            tangents = tangent_leaves(call.avals, leaves[count:])
        else:
            mask = mask or (True,) * len(inexact_tangents(call.avals))
            tangents = with_symbolic_zeros(call.avals, leaves[count:], mask)
        primals = tuple(tree.unflatten(call.treedef, leaves[:count]))
        rows = tuple(tree.unflatten(call.treedef, tangents))
        result = self.rule(*call.nondiff.values(), primals, rows)  # type: ignore[misc]
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(
                f"{call.name}: the rule must return a pair (out, tangent_out), but returned "
                f"{described(result)}."
            )
        if mask is not None:
            rows_out = tree.leaves(result[1])
            call.zero_rows[mask] = tuple(
                type(t) is SymbolicZero
                for t, o in zip(rows_out, tree.leaves(result[0]))
                if typeof(o).has_tangent
            )
        return self._checked_results(call, *result)

    def _checked_results(self, call: RuleCall, out: Any, tangent: Any) -> list[Any]:
        """Flat primal results, then tangents of the inexact ones."""
        outs, structure = tree.flatten(out)
        rows, row_structure = tree.flatten(tangent)
        if structure != row_structure or structure != call.out_tree:
            raise TypeError(
                f"{call.name}: the rule's result and tangent must have the function's structure "
                f"{call.out_tree}, "
                f"but have {structure} and {row_structure}."
            )
        outs = [as_input(call.name, o) for o in outs]
        check_same_types(call.name, "the rule's result", outs, call.out_avals)
        checked = [_checked_tangent(call.name, o, t) for o, t in zip(outs, rows)]
        return outs + [t for t in checked if t is not None]


def _checked_tangent(name: str, out: Any, tangent: Any) -> Any:
    """The tangent of an inexact result, which must be of its type; None for other results."""
    aval = typeof(out)
    if not aval.has_tangent:
        return None
    if type(tangent) is SymbolicZero:
        tangent = zeros(aval.tangent())
    tangent = as_input(name, tangent)
    own = typeof(tangent)
    if own.shape != aval.shape or own.dtype != aval.dtype:
        raise TypeError(
            f"{name}: a tangent must have the type of its primal, {aval.strong()}, but got "
            f"{own.strong()}."
        )
    return tangent
