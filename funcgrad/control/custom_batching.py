"""`custom_vmap`: a function with a rule of its own for `vmap`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import tree
from funcgrad.control.call import nonzero, with_zeros
from funcgrad.control.mapping import map as map_rows
from funcgrad.core.avals import described, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Jaxpr, eval_jaxpr, program_effects, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct
from funcgrad.core.stage import stage
from funcgrad.core.tangent import Zero
from funcgrad.core.trace import EVAL, Axis, current_trace
from funcgrad.errors import user_facing
from funcgrad.primitives.basis import batched, instantiate
from funcgrad.transforms.autodiff import jvp_flat, jvp_jaxpr, nonzero_mask
from funcgrad.transforms.batching import leading


class _Rule:
    """The user's rule on and to flat lists."""

    def __init__(self, name: str, rule: Callable[..., Any], in_tree: Any, out_tree: Any) -> None:
        self.name, self.rule = name, rule
        self.in_tree, self.out_tree = in_tree, out_tree

    def __call__(
        self, size: Any, mapped: Sequence[bool], args: Sequence[Any]
    ) -> tuple[list[Any], list[bool]]:
        marks = tree.unflatten(self.in_tree, list(mapped))
        result = self.rule(size, list(marks), *tree.unflatten(self.in_tree, args))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(
                f"custom_vmap: the rule of {self.name} must return a pair (out, out_batched), but "
                f"returned {described(result)}."
            )
        outs, structure = tree.flatten(result[0])
        if structure != self.out_tree:
            raise TypeError(
                f"custom_vmap: the rule of {self.name} must return the function's structure "
                f"{self.out_tree}, but returned {structure}."
            )
        where = f"custom_vmap: out_batched of {self.name}"
        out_mapped = tree.prefix_leaves(result[1], structure, where)
        return [as_input("custom_vmap", o) for o in outs], [bool(m) for m in out_mapped]


class _TangentRule:
    """The rule of the function's jvp: the jvp of its rule. A primal and its tangent are mapped
    together.
    """

    def __init__(self, rule: Any, nonzero: tuple[bool, ...], out_nonzero: tuple[bool, ...]) -> None:
        self.rule, self.nonzero, self.out_nonzero = rule, nonzero, out_nonzero

    def __call__(
        self, size: Any, mapped: Sequence[bool], args: Sequence[Any]
    ) -> tuple[list[Any], list[bool]]:
        count, axis = len(self.nonzero), Axis(size)
        rows = iter(zip(args[count:], mapped[count:]))
        primals, tangents, marks = [], [], []
        for x, m, live in zip(args, mapped, self.nonzero):
            t, t_mapped = next(rows) if live else (Zero(typeof(x).tangent()), m)
            if m != t_mapped:
                x, t = batched(axis, x, 0 if m else None), batched(axis, t, 0 if t_mapped else None)
            primals.append(x)
            tangents.append(t)
            marks.append(m or t_mapped)
        found: list[bool] = []

        def function(*values: Any) -> list[Any]:
            outs, found[:] = self.rule(size, marks, values)
            return outs

        outs, touts = jvp_flat(function, primals, tangents)
        live_out = [(t, m) for t, m, z in zip(touts, found, self.out_nonzero) if z]
        return outs + [instantiate(t) for t, _ in live_out], found + [m for _, m in live_out]


def _vmap_jvp(primals: Any, tangents: Any, *, call_jaxpr: Jaxpr, rule: Any) -> Any:
    mask = nonzero_mask(tangents)
    derived, out_nonzero = jvp_jaxpr(call_jaxpr, mask)
    own = _TangentRule(rule, mask, out_nonzero)
    outs = custom_vmap_call_p.bind(*primals, *nonzero(tangents), call_jaxpr=derived, rule=own)
    count = len(out_nonzero)
    return outs[:count], with_zeros(out_nonzero, outs[count:], call_jaxpr.out_avals)


def _vmap_split(trace: Any, args: Any, *, call_jaxpr: Jaxpr, rule: Any) -> list[Any]:
    """Written out: halves of the function have no rule."""
    return eval_jaxpr(call_jaxpr, args, trace)


def _vmap_batch(axis: Axis, args: Any, dims: Any, *, call_jaxpr: Jaxpr, rule: Any) -> Any:
    outs, mapped = rule(axis.size, [d is not None for d in dims], leading(args, dims))
    for o, m, aval in zip(outs, mapped, call_jaxpr.out_avals):
        expected = (axis.size, *aval.shape) if m else aval.shape
        if typeof(o).shape != expected or typeof(o).dtype != aval.dtype:
            raise TypeError(
                f"custom_vmap: the rule must return {aval.update(shape=expected).strong()}, but "
                f"returned {typeof(o).strong()}."
            )
    return outs, [0 if m else None for m in mapped]


custom_vmap_call_p = Construct(
    "custom_vmap_call",
    run=lambda args, *, call_jaxpr, rule: eval_jaxpr(call_jaxpr, args, EVAL),
    abstract=lambda *avals, call_jaxpr, rule: call_jaxpr.out_avals,
    jvp=_vmap_jvp,
    split=_vmap_split,
    batch=_vmap_batch,
    loops=lambda *avals, **params: Call("call", ("call_jaxpr",)),
    effects=program_effects,
    names=program_names,
)


class custom_vmap:
    """A function with a rule of your own for `vmap`.

    The rule `rule(axis_size, in_batched, *args)` gets the whole arguments, those marked in
    `in_batched` with a leading dimension, and returns `(out, out_batched)`. The function's
    derivatives, mapped, use the derivatives of the rule.

    Example:
        >>> import funcgrad as fg
        >>> @fg.custom_batching.custom_vmap
        ... def f(x):
        ...     return 2 * x
        >>> @f.def_vmap
        ... def rule(axis_size, in_batched, x):
        ...     return x + x + 1, in_batched[0]      # the 1 shows that the rule was used
        >>> fg.vmap(f)(fg.numpy.arange(3.0))
        Array([1., 3., 5.], dtype=float32)
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.rule: Callable[..., Any] | None = None

    def def_vmap(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Sets the rule; can be used as a decorator."""
        self.rule = rule
        return rule

    @user_facing
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = getattr(self.fun, "__name__", "function")
        if self.rule is None:
            raise AttributeError(
                f"custom_vmap: {name} has no rule yet. Set one with @{name}.def_vmap."
            )
        if current_trace() is EVAL:
            return self.fun(*args, **kwargs)
        fun = functools.partial(self.fun, **kwargs) if kwargs else self.fun
        leaves, in_tree = tree.flatten(args)
        leaves = [as_input("custom_vmap", leaf) for leaf in leaves]
        out_tree: list[Any] = []

        def flat(*values: Any) -> list[Any]:
            found, structure = tree.flatten(fun(*tree.unflatten(in_tree, values)))
            out_tree[:] = [structure]
            return [as_input("custom_vmap", leaf) for leaf in found]

        jaxpr, captured = stage(flat, [typeof(x) for x in leaves])
        rule = _WithCaptured(len(captured), _Rule(name, self.rule, in_tree, out_tree[0]))
        outs = custom_vmap_call_p.bind(*captured, *leaves, call_jaxpr=jaxpr, rule=rule)
        return tree.unflatten(out_tree[0], outs)


class _WithCaptured:
    """The rule of a function that closes over traced values, which lead the operands."""

    def __init__(self, count: int, rule: _Rule) -> None:
        self.count, self.rule = count, rule

    def __call__(self, size: Any, mapped: Sequence[bool], args: Sequence[Any]) -> Any:
        if any(mapped[: self.count]):
            raise TypeError(
                f"custom_vmap: {self.rule.name} closes over a value that vmap maps. Pass it as an "
                "argument, so that the rule sees it."
            )
        return self.rule(size, mapped[self.count :], args[self.count :])


def sequential_vmap(fun: Callable[..., Any]) -> custom_vmap:
    """The function with a rule that maps it by a loop, one lane after the other (`lax.map`).

    Example:
        >>> import funcgrad as fg
        >>> f = fg.custom_batching.sequential_vmap(lambda x: x + 1)
        >>> fg.vmap(f)(fg.numpy.arange(3))
        Array([1, 2, 3], dtype=int32)
    """
    function = custom_vmap(fun)

    def rule(axis_size: Any, in_batched: Any, *args: Any) -> Any:
        leaves, structure = tree.flatten(args)
        marks = tree.leaves(in_batched)
        rows = [x for x, m in zip(leaves, marks) if m]

        def lane(own: Any) -> Any:
            given = iter(own)
            full = [next(given) if m else x for x, m in zip(leaves, marks)]
            return fun(*tree.unflatten(structure, full))

        out = map_rows(lane, rows)
        return out, tree.map(lambda _: True, out)

    function.def_vmap(rule)
    return function
