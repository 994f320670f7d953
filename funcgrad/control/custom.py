"""Custom derivative rules: `custom_jvp` and `custom_vjp`.

The function and its rules are staged when the function is called, under one union of what they
close over: the rules run later, when the traces of the call may be gone. Outside of any trace the
function is simply called. A rule that calls its own function would be staged for ever; in there,
the rule is a `Lazy` program, staged only if the rule itself is differentiated.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.core import dtypes
from funcgrad.core.avals import ShapedArray, described, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Jaxpr, Var, eval_jaxpr, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct
from funcgrad.core.stage import stage
from funcgrad.core.tangent import Zero, is_linear, is_zero
from funcgrad.core.trace import EVAL, Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import batched, instantiate
from funcgrad.transforms.batching import batch_jaxpr
from funcgrad.transforms.partial import LinearTrace

# ---- staging several programs over the same operands
# ------------------------------------------------


Staged = tuple[Jaxpr, list[Any]]


def unified(staged: Sequence[Staged]) -> tuple[list[Jaxpr], list[Any]]:
    """Programs over one set of leading arguments: the tracers that any of them closed over.
    Returns these too.
    """
    union = {id(t): t for _, captured in staged for t in captured}
    return [_with_captures(jaxpr, captured, union) for jaxpr, captured in staged], list(
        union.values()
    )


def _with_captures(jaxpr: Jaxpr, captured: Sequence[Any], union: dict[int, Any]) -> Jaxpr:
    own = {id(t): v for t, v in zip(captured, jaxpr.args)}
    leading = [own[i] if i in own else Var(typeof(t)) for i, t in union.items()]
    return jaxpr.replace(inputs=[*jaxpr.constvars, *leading, *jaxpr.args[len(captured) :]])


class Lazy:
    """A program that is made when it is first needed. What is derived from it is kept on it, and
    is lazy too.
    """

    __slots__ = ("_make", "_made", "_derived")

    def __init__(self, make: Callable[[], Jaxpr]) -> None:
        self._make = make
        self._made: Jaxpr | None = None
        self._derived: dict[Any, Lazy] = {}

    def get(self) -> Jaxpr:
        """The program."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def derived(self, key: Any, function: Callable[[Jaxpr], Jaxpr]) -> Lazy:
        """Another program made from this one, the same for the same key."""
        if key not in self._derived:
            self._derived[key] = Lazy(lambda: function(self.get()))
        return self._derived[key]

    def __repr__(self) -> str:
        return "rule"


def _given(jaxpr: Jaxpr) -> Lazy:
    return Lazy(lambda: jaxpr)


# Functions whose rules are being staged here.
_staging: ContextVar[tuple[Any, ...]] = ContextVar("funcgrad_custom_rules", default=())


# ---- what both decorators share
# ----------------------------------------------------------------------


class _Call:
    """One call of a function with custom rules: its arguments, flat, without the
    non-differentiable ones.
    """

    def __init__(
        self, name: str, fun: Callable[..., Any], nondiff: tuple[int, ...], args: Any
    ) -> None:
        self.name, self.fun = name, fun
        self.nondiff = {i: args[i] for i in nondiff}
        self.count = len(args)
        self.differentiable = [a for i, a in enumerate(args) if i not in self.nondiff]
        leaves, self.treedef = tree.flatten(self.differentiable)
        self.leaves = [as_input(name, leaf) for leaf in leaves]
        self.avals = [typeof(leaf) for leaf in self.leaves]
        self.out_tree: Any = None
        self.out_avals: list[ShapedArray] = []

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """All arguments in their places, with these leaves."""
        given = iter(tree.unflatten(self.treedef, leaves))
        return [self.nondiff[i] if i in self.nondiff else next(given) for i in range(self.count)]

    def flat(self, *leaves: Any) -> list[Any]:
        """The function itself, on and to flat lists."""
        return self.flattened(self.fun(*self.arguments(leaves)), remember=True)

    def flattened(self, out: Any, remember: bool = False) -> list[Any]:
        found, structure = tree.flatten(out)
        leaves = [as_input(self.name, leaf) for leaf in found]
        if remember:
            self.out_tree, self.out_avals = structure, [typeof(leaf) for leaf in leaves]
        return leaves


class _CustomRule:
    """Base of the decorators: signature, argument positions, and use as a method."""

    kind = "custom"
    rule_count = 1

    def __init__(
        self,
        fun: Callable[..., Any],
        nondiff_argnums: Sequence[int] = (),
        nondiff_argnames: Sequence[str] = (),
    ) -> None:
        self.fun = fun
        functools.update_wrapper(self, fun, updated=())  # type: ignore[arg-type]  # subclasses call
        self.__name__ = getattr(fun, "__name__", type(fun).__name__)
        self.nondiff_argnums = self._positions(nondiff_argnums, nondiff_argnames)

    def _positions(self, argnums: Sequence[int], argnames: Sequence[str]) -> tuple[int, ...]:
        argnums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        if not argnames:
            return argnums
        names = list(inspect.signature(self.fun).parameters)
        argnames = (argnames,) if isinstance(argnames, str) else argnames
        return tuple(sorted({*argnums, *(names.index(n) for n in argnames)}))

    def _resolve(self, args: Any, kwargs: Any) -> tuple[Any, ...]:
        """All arguments by position, defaults filled in."""
        try:
            bound = inspect.signature(self.fun).bind(*args, **kwargs)
        except ValueError:  # a builtin without a signature
            return args
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(
                f"{self.kind}: {self.__name__} has keyword-only arguments, which cannot be "
                "differentiated: "
                f"{', '.join(bound.kwargs)}. Make them positional."
            )
        return bound.args

    def _begin(self, args: Any, kwargs: Any) -> _Call:
        resolved = self._resolve(args, kwargs)
        nondiff = tuple(
            sorted(i % len(resolved) for i in self.nondiff_argnums if i < len(resolved))
        )
        return _Call(f"{self.kind} {self.__name__}", self.fun, nondiff, resolved)

    def _unified(
        self, call: _Call, stage_rules: Callable[[Jaxpr], list[Staged]]
    ) -> tuple[Jaxpr, list[Lazy], list[Any]]:
        """The function's program, its rules' programs, and the tracers that any of them closed
        over.
        """
        function = stage(call.flat, call.avals)
        if self in _staging.get():
            return function[0], self._deferred(call, function, stage_rules), function[1]
        token = _staging.set((*_staging.get(), self))
        try:
            rules = stage_rules(function[0])
        finally:
            _staging.reset(token)
        (jaxpr, *programs), captured = unified([function, *rules])
        return jaxpr, [_given(p) for p in programs], captured

    def _deferred(
        self, call: _Call, function: Staged, stage_rules: Callable[[Jaxpr], list[Staged]]
    ) -> list[Lazy]:
        """Rules of a call in the function's own rule: staged together when the first of them is
        needed.
        """
        made: list[Jaxpr] = []

        def make(i: int) -> Jaxpr:
            if not made:
                rules = stage_rules(function[0])
                (_, *programs), captured = unified([function, *rules])
                if len(captured) > len(function[1]):
                    raise TypeError(
                        f"{call.name}: a higher derivative of a rule that calls its own function "
                        "cannot close over "
                        "traced values. Pass them as arguments."
                    )
                made.extend(programs)
            return made[i]

        return [Lazy(functools.partial(make, i)) for i in range(self.rule_count)]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)  # type: ignore[misc, operator, arg-type]


def _tangent_leaves(avals: Sequence[ShapedArray], given: Sequence[Any]) -> list[Any]:
    """Tangents of all leaves: those given for inexact ones, float0 zeros for the others."""
    rest = iter(given)
    return [next(rest) if a.has_tangent else np.zeros(a.shape, dtypes.float0) for a in avals]


def _inexact(avals: Sequence[ShapedArray]) -> list[ShapedArray]:
    return [a.tangent() for a in avals if a.has_tangent]


def _check_not_captured(what: str, tangents: Sequence[Any]) -> None:
    if not all(map(is_zero, tangents)):
        raise TypeError(
            f"{what}: differentiated with respect to a value that the function closes over. "
            "Pass it as an argument, so that the rule can give its derivative."
        )


# ---- custom_jvp
# ------------------------------------------------------------------------------------------


def _custom_jvp_run(
    args: Any, *, call_jaxpr: Jaxpr, jvp: Lazy, num_consts: int, name: str
) -> list[Any]:
    return eval_jaxpr(call_jaxpr, args, EVAL)


def _custom_jvp_jvp(
    primals: Any, tangents: Any, *, call_jaxpr: Jaxpr, jvp: Lazy, num_consts: int, name: str
) -> Any:
    _check_not_captured(name, tangents[:num_consts])
    trace, avals = current_trace(), call_jaxpr.in_avals[num_consts:]
    rows = [instantiate(t) for t, a in zip(tangents[num_consts:], avals) if a.has_tangent]
    outs = eval_jaxpr(jvp.get(), [*primals, *rows], trace)
    count = len(call_jaxpr.outputs)
    if isinstance(trace, LinearTrace) and any(map(trace.owns, outs[:count])):
        raise TypeError(
            f"{name}: the rule's primal result depends on a tangent. Compute it from the primals "
            "alone."
        )
    given = iter(outs[count:])
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
    rule = jvp.derived(
        (axis, mapped), lambda j: batch_jaxpr(j, axis, mapped + rows, (True,) * len(j.outputs))[0]
    )
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


class custom_jvp(_CustomRule):
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
        """
        self.rule, self.symbolic_zeros = jvp, symbolic_zeros
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
        rule = functools.partial(self._flat_rule, call)
        call_jaxpr, (jvp,), captured = self._unified(
            call, lambda _: [stage(rule, call.avals + _inexact(call.avals))]
        )
        outs = custom_jvp_call_p.bind(
            *captured,
            *call.leaves,
            call_jaxpr=call_jaxpr,
            jvp=jvp,
            num_consts=len(captured),
            name=call.name,
        )
        return tree.unflatten(call.out_tree, outs)

    def _flat_rule(self, call: _Call, *leaves: Any) -> list[Any]:
        count = len(call.avals)
        tangents = _tangent_leaves(call.avals, leaves[count:])
        primals = tuple(tree.unflatten(call.treedef, leaves[:count]))
        rows = tuple(tree.unflatten(call.treedef, tangents))
        result = self.rule(*call.nondiff.values(), primals, rows)  # type: ignore[misc]
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(
                f"{call.name}: the rule must return a pair (out, tangent_out), but returned "
                f"{described(result)}."
            )
        return self._checked_results(call, *result)

    def _checked_results(self, call: _Call, out: Any, tangent: Any) -> list[Any]:
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
        _check_same_types(call.name, "the rule's result", outs, call.out_avals)
        checked = [_checked_tangent(call.name, o, t) for o, t in zip(outs, rows)]
        return outs + [t for t in checked if t is not None]


def _checked_tangent(name: str, out: Any, tangent: Any) -> Any:
    """The tangent of an inexact result, which must be of its type; None for other results."""
    aval = typeof(out)
    if not aval.has_tangent:
        return None
    tangent = as_input(name, tangent)
    own = typeof(tangent)
    if own.shape != aval.shape or own.dtype != aval.dtype:
        raise TypeError(
            f"{name}: a tangent must have the type of its primal, {aval.strong()}, but got "
            f"{own.strong()}."
        )
    return tangent


def _check_same_types(
    name: str, what: str, outs: Sequence[Any], avals: Sequence[ShapedArray]
) -> None:
    """TypeError unless a rule computes what the function does, as far as types say."""
    for out, aval in zip(outs, avals):
        if typeof(out).strong() != aval.strong():
            raise TypeError(
                f"{name}: {what} must have the type of the function's, {aval.strong()}, "
                f"but has {typeof(out).strong()}."
            )


# ---- custom_vjp
# ------------------------------------------------------------------------------------------


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
    _check_not_captured(name, tangents[:num_consts])
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


class custom_vjp(_CustomRule):
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

    def defvjp(
        self,
        fwd: Callable[..., Any],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Sets the forward and the backward function."""
        self.fwd, self.bwd = fwd, bwd

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
            *call.leaves,
            call_jaxpr=call_jaxpr,
            fwd=fwd,
            bwd=bwd,
            num_consts=len(captured),
            name=call.name,
        )
        return tree.unflatten(call.out_tree, outs)


class _VjpRules:
    """The forward and backward functions of one call, on and to flat lists."""

    def __init__(self, function: custom_vjp, call: _Call) -> None:
        self.function, self.call = function, call
        self.residual_tree: Any = None
        self.out_avals: list[ShapedArray] = []

    def stage(self, call_jaxpr: Jaxpr) -> list[Staged]:
        """Both programs: the forward one first, since the backward one takes what it keeps."""
        fwd = stage(self.fwd, self.call.avals)
        residuals = fwd[0].out_avals[len(call_jaxpr.outputs) :]
        return [fwd, stage(self.bwd, residuals + _inexact(call_jaxpr.out_avals))]

    def fwd(self, *leaves: Any) -> list[Any]:
        result = self.function.fwd(*self.call.arguments(leaves))  # type: ignore[misc]
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
        _check_same_types(self.call.name, "fwd's result", outs, self.call.out_avals)
        self.out_avals = [typeof(o) for o in outs]
        return outs + [as_input(self.call.name, r) for r in residuals]

    def bwd(self, *leaves: Any) -> list[Any]:
        count = self.residual_tree.num_leaves
        residuals = tree.unflatten(self.residual_tree, leaves[:count])
        cts = _tangent_leaves(self.out_avals, leaves[count:])
        ct = tree.unflatten(self.call.out_tree, cts)
        result = self.function.bwd(*self.call.nondiff.values(), residuals, ct)  # type: ignore[misc]
        return self._cotangents(result)

    def _cotangents(self, result: Any) -> list[Any]:
        """One cotangent per inexact leaf of the arguments; None, for an argument or a subtree,
        is zero.
        """
        arguments = self.call.differentiable
        if not isinstance(result, (tuple, list)) or len(result) != len(arguments):
            raise TypeError(
                f"{self.call.name}: bwd must return a tuple with one cotangent for each of the "
                f"{len(arguments)} arguments, but returned {described(result)}."
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


def _checked_cotangent(name: str, ct: Any, aval: ShapedArray) -> Any:
    ct = as_input(name, ct)
    own = typeof(ct)
    if own.shape != aval.shape or own.dtype != aval.dtype:
        raise ValueError(
            f"{name}: bwd's cotangent must have its argument's type {aval.strong()}, but has "
            f"{own.strong()}."
        )
    return ct
