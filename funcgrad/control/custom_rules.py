"""What `custom_jvp` and `custom_vjp` share: staging a function together with its derivative rules.

The function and its rules are staged when the function is called, under one union of what they
close over: the rules run later, when the traces of the call may be gone. A rule that calls its own
function would be staged for ever; in there, the rule is a `Lazy` program, staged only if the rule
itself is differentiated.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.core import dtypes
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.inputs import as_input
from funcgrad.core.jaxpr import Jaxpr, Var
from funcgrad.core.stage import stage
from funcgrad.core.tangent import is_zero

# ---- staging several programs over the same operands
# ------------------------------------------------


Staged = tuple[Jaxpr, list[Any]]
# From the function's program, and tracers that rules may close over whatever became of their traces
StageRules = Callable[[Jaxpr, Sequence[Any]], list[Staged]]


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


class RuleCall:
    """One call of a function with custom rules: its arguments, flat, without the
    non-differentiable ones.
    """

    def __init__(
        self, name: str, fun: Callable[..., Any], nondiff: tuple[int, ...], args: Any
    ) -> None:
        self.name, self.fun = name, fun
        self.nondiff = {i: args[i] for i in nondiff}
        self.count = len(args)
        differentiable = [a for i, a in enumerate(args) if i not in self.nondiff]
        leaves, self.treedef = tree.flatten(differentiable)
        self.arity = len(differentiable)
        self.leaves = [as_input(name, leaf) for leaf in leaves]
        self.avals = [typeof(leaf) for leaf in self.leaves]
        self.out_tree: Any = None
        self.out_avals: list[ShapedArray] = []
        # With symbolic zeros: which tangents of results are zero, for each choice of arguments'.
        self.zero_rows: dict[tuple[bool, ...], tuple[bool, ...]] = {}

    def take_leaves(self) -> list[Any]:
        """The arguments' leaves, given away: rules that are staged later hold on to the call, and
        must not keep its traced values alive.
        """
        leaves, self.leaves = self.leaves, []
        return leaves

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


class CustomRule:
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

    def _begin(self, args: Any, kwargs: Any) -> RuleCall:
        resolved = self._resolve(args, kwargs)
        nondiff = tuple(
            sorted(i % len(resolved) for i in self.nondiff_argnums if i < len(resolved))
        )
        return RuleCall(f"{self.kind} {self.__name__}", self.fun, nondiff, resolved)

    def _unified(
        self, call: RuleCall, stage_rules: StageRules
    ) -> tuple[Jaxpr, list[Lazy], list[Any]]:
        """The function's program, its rules' programs, and the tracers that any of them closed
        over.
        """
        function = stage(call.flat, call.avals)
        if _staging.get():  # or rules in rules would be staged 2**depth times
            return function[0], self._deferred(call, function, stage_rules), function[1]
        with self.staging_rules():
            rules = stage_rules(function[0], ())
        (jaxpr, *programs), captured = unified([function, *rules])
        return jaxpr, [_given(p) for p in programs], captured

    def _unified_lazily(
        self, call: RuleCall, stage_rules: StageRules
    ) -> tuple[Jaxpr, list[Lazy] | None, list[Any]]:
        """As `_unified`, for rules that depend on which tangents are zero: they may refuse to be
        staged for none being zero, and then are None; only their captures are needed now.
        """
        function = stage(call.flat, call.avals)
        rules: list[Staged] = []
        if not _staging.get():
            # The user's error is raised if a differentiation asks for what it refuses.
            with contextlib.suppress(Exception), self.staging_rules():
                rules = stage_rules(function[0], ())
        (jaxpr, *programs), captured = unified([function, *rules])
        return jaxpr, [_given(p) for p in programs] or None, captured

    def _staged_with(
        self, name: str, rule: Callable[..., list[Any]], avals: Any, captured: list[Any]
    ) -> Jaxpr:
        """A rule's program, staged after the call, whose first arguments are `captured`."""
        with self.staging_rules():
            jaxpr, found = stage(rule, avals, captured)
        if len(found) > len(captured):
            raise TypeError(
                f"{name}: a rule with symbolic_zeros closes over traced values that it does not "
                "read where no tangent is zero. Pass them as arguments."
            )
        return jaxpr

    @contextlib.contextmanager
    def staging_rules(self) -> Iterator[None]:
        """In the block, calls of the function itself leave their rules for later."""
        token = _staging.set((*_staging.get(), self))
        try:
            yield
        finally:
            _staging.reset(token)

    def _deferred(self, call: RuleCall, function: Staged, stage_rules: StageRules) -> list[Lazy]:
        """Rules of a call in the function's own rule: staged together when the first of them is
        needed.
        """
        made: list[Jaxpr] = []

        def make(i: int) -> Jaxpr:
            if not made:
                with self.staging_rules():
                    rules = stage_rules(function[0], function[1])
                (_, *programs), captured = unified([function, *rules])
                if len(captured) > len(function[1]):
                    raise TypeError(
                        f"{call.name}: called in a derivative rule, its own rule cannot close over "
                        "traced values that it does not. Pass them as arguments."
                    )
                made.extend(programs)
            return made[i]

        return [Lazy(functools.partial(make, i)) for i in range(self.rule_count)]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)  # type: ignore[misc, operator, arg-type]


def tangent_leaves(avals: Sequence[ShapedArray], given: Sequence[Any]) -> list[Any]:
    """Tangents of all leaves: those given for inexact ones, float0 zeros for the others."""
    rest = iter(given)
    return [next(rest) if a.has_tangent else np.zeros(a.shape, dtypes.float0) for a in avals]


def inexact_tangents(avals: Sequence[ShapedArray]) -> list[ShapedArray]:
    return [a.tangent() for a in avals if a.has_tangent]


def check_not_captured(what: str, tangents: Sequence[Any]) -> None:
    if not all(map(is_zero, tangents)):
        raise TypeError(
            f"{what}: differentiated with respect to a value that the function closes over. "
            "Pass it as an argument, so that the rule can give its derivative."
        )


def check_same_types(
    name: str, what: str, outs: Sequence[Any], avals: Sequence[ShapedArray]
) -> None:
    """TypeError unless a rule computes what the function does, as far as types say."""
    for out, aval in zip(outs, avals):
        if typeof(out).strong() != aval.strong():
            raise TypeError(
                f"{name}: {what} must have the type of the function's, {aval.strong()}, "
                f"but has {typeof(out).strong()}."
            )
