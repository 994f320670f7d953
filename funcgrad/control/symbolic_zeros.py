"""Rules that are told which tangents are zero: with `symbolic_zeros` they see a `SymbolicZero` in
their place.

Which those are is known only when the call is differentiated, so such a rule is a program for each
choice, made when it is first asked for. A rule may refuse a choice by raising.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.control.custom_rules import Lazy
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.trace import Axis
from funcgrad.transforms.batching import batch_jaxpr

Mask = tuple[bool, ...]


class SymbolicZero:
    """A tangent that is zero, with the shape and dtype that it would have."""

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray) -> None:
        self.aval = aval

    shape = property(lambda self: self.aval.shape)
    dtype = property(lambda self: self.aval.dtype)
    ndim = property(lambda self: self.aval.ndim)

    @staticmethod
    def from_primal_value(val: Any) -> SymbolicZero:
        """The zero tangent of a value."""
        return SymbolicZero(typeof(val).tangent())

    def __repr__(self) -> str:
        return f"SymbolicZero({self.aval.strong()})"


class CustomVJPPrimal:
    """An argument as a forward rule with `symbolic_zeros` sees it: `value`, and whether it is
    `perturbed`, that is, whether the call is being differentiated with respect to it.
    """

    __slots__ = ("perturbed", "value")

    def __init__(self, value: Any, perturbed: bool) -> None:
        self.value, self.perturbed = value, perturbed

    def __repr__(self) -> str:
        return f"CustomVJPPrimal({self.value}, perturbed={self.perturbed})"


def with_symbolic_zeros(
    avals: Sequence[ShapedArray], given: Sequence[Any], mask: Sequence[bool]
) -> list[Any]:
    """Tangents of all leaves: those given where the mask says, SymbolicZeros elsewhere."""
    rest, live = iter(given), iter(mask)
    return [
        next(rest) if a.has_tangent and next(live) else SymbolicZero(a.tangent()) for a in avals
    ]


class ByMask(Lazy):
    """A rule's program for every choice of zero tangents; as a `Lazy`, that for none.

    `zero_rows` are the tangents that the rule itself returns as zero, for each choice made.
    """

    __slots__ = ("_at", "_by_mask", "zero_rows")

    def __init__(
        self, full: Lazy, at: Callable[[Mask], Jaxpr], zero_rows: dict[Mask, Mask] | None = None
    ) -> None:
        super().__init__(full.get)
        self._at = at
        self.zero_rows = {} if zero_rows is None else zero_rows
        self._by_mask: dict[Mask, Jaxpr] = {}

    def at(self, mask: Mask) -> Jaxpr:
        """The program on the tangents that the mask marks."""
        if all(mask):
            return self.get()
        if mask not in self._by_mask:
            self._by_mask[mask] = self._at(mask)
        return self._by_mask[mask]

    def derived(self, key: Any, function: Callable[[Jaxpr], Jaxpr]) -> Lazy:
        if key not in self._derived:
            full = Lazy(lambda: function(self.get()))
            self._derived[key] = ByMask(full, lambda mask: function(self.at(mask)), self.zero_rows)
        return self._derived[key]


def batched_rule(rule: Lazy, axis: Axis, mapped: Sequence[bool], rows: Sequence[bool]) -> Lazy:
    """The rule on lanes: `mapped` are the primals, `rows` the tangents that have lanes."""
    primals, tangents = tuple(mapped), tuple(rows)

    def lanes(jaxpr: Jaxpr, own: Mask) -> Jaxpr:
        return batch_jaxpr(jaxpr, axis, primals + own, (True,) * len(jaxpr.outputs))[0]

    if not isinstance(rule, ByMask):
        return rule.derived((axis, primals), lambda jaxpr: lanes(jaxpr, tangents))
    key = (axis, primals)
    if key not in rule._derived:
        rule._derived[key] = ByMask(
            Lazy(lambda: lanes(rule.get(), tangents)),
            lambda mask: lanes(rule.at(mask), tuple(m for m, live in zip(tangents, mask) if live)),
            rule.zero_rows,
        )
    return rule._derived[key]
