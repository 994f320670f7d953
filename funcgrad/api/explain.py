"""Why a jitted function was compiled, and what came of it: `f.explain()`.

Everything is worked out when somebody asks, from the signatures and programs that the function
keeps.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from funcgrad import tree
from funcgrad.api.entry import Entry
from funcgrad.config import State, config
from funcgrad.core import backend
from funcgrad.core.avals import ShapedArray
from funcgrad.core.jaxpr import Jaxpr

if TYPE_CHECKING:
    from funcgrad.compiler.analysis import PassEffect, StepSummary
    from funcgrad.compiler.cost import Copy, Cost

TRACED = tuple(f.name for f in fields(State) if f.metadata.get("traced"))


class Donation(NamedTuple):
    """A donated argument (one leaf), and whether anything took its memory."""

    argument: str
    reused: bool


class Compilation(NamedTuple):
    """One program of a jitted function.

    `reasons` say what differs from `nearest`, the number of the earlier compilation that differs
    least; `traced` and `optimized` are the programs before and after the `passes`; `cost` holds
    estimates of operations, bytes moved and bytes of memory; `history` says of native code how long
    it took, and whether it came from disk.
    """

    number: int
    signature: str
    reasons: tuple[str, ...]
    nearest: int | None
    traced: Jaxpr
    optimized: Jaxpr
    passes: tuple[PassEffect, ...]
    steps: tuple[StepSummary, ...]
    copies: tuple[Copy, ...]
    donations: tuple[Donation, ...]
    cost: Cost
    history: str = ""

    def __str__(self) -> str:
        cost = self.cost
        memory = (
            f"{cost.peak} bytes at most (arguments {cost.arguments}, constants {cost.constants}, "
            f"results {cost.results}, temporaries {cost.temporaries})"
        )
        rows = [
            ("because", [_because(self.reasons, self.nearest)]),
            ("passes", [_steps_of_passes(self.passes)]),
            *([("code", [self.history])] if self.history else []),
            ("steps", [line for step in self.steps for line in step.lines()] or ["none"]),
            ("copies", [_copied(c) for c in self.copies] or ["none"]),
            ("donated", [_given(d) for d in self.donations] or ["nothing"]),
            ("work", [f"{cost.flops} operations, {cost.bytes} bytes moved"]),
            ("memory", [memory]),
        ]
        return f"{self.number}. {self.signature}\n" + "\n".join(_indented(*row) for row in rows)


class Explanation(NamedTuple):
    """All compilations of one function, in order."""

    name: str
    compilations: tuple[Compilation, ...]

    def __str__(self) -> str:
        if not self.compilations:
            return f"{self.name} has not been compiled yet."
        head = f"{self.name} was compiled {_times(len(self.compilations))}."
        return "\n\n".join([head, *map(str, self.compilations)])


def _because(reasons: Sequence[str], nearest: int | None) -> str:
    told = "; ".join(reasons)
    return told if nearest is None else f"{told} (compared with {nearest})"


def _steps_of_passes(effects: Sequence[PassEffect]) -> str:
    if not effects:
        return "none"
    changes = [f"{e.name} {e.before} -> {e.after}" for e in effects if e.before != e.after]
    count = effects[0].before
    total = f"{count} equation{'s' if count != 1 else ''}"
    return "; ".join([total, *(changes or ["none changes that"])])


def _copied(copy: Copy) -> str:
    return f"{copy.what}: {copy.reason}" + ("" if copy.certain else " (seen at run time)")


def _given(donation: Donation) -> str:
    return f"{donation.argument}: " + ("reused" if donation.reused else "not reused")


def _indented(title: str, lines: Sequence[str]) -> str:
    first, *rest = lines
    return "\n".join([f"   {title:8} {first}", *(" " * 12 + line for line in rest)])


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


# ---- signatures
# --------------------------------------------------------------------------------------


class Signature:
    """What a compilation belongs to: types of leaves, static values and settings, by name."""

    def __init__(
        self,
        fun: Callable[..., Any],
        structure: tree.PyTreeDef,
        fixed: Sequence[tuple[Any, Any]],
        avals: Sequence[ShapedArray],
        state: State,
    ) -> None:
        names = _parameter_names(fun)
        self.structure = structure
        self.leaves = dict(zip(_leaf_names(structure, fixed, names), avals))
        self.fixed = {_argument_name(k, names): v for k, v in fixed}
        self.settings = {name: getattr(state, name) for name in TRACED}

    @classmethod
    def of(cls, fun: Callable[..., Any], entry: Entry) -> Signature:
        """The signature of something compiled."""
        return cls(fun, entry.in_tree, entry.statics, entry.avals, entry.state)

    def __str__(self) -> str:
        typed = [f"{name}: {aval}" for name, aval in self.leaves.items()]
        return ", ".join([*typed, *(f"{n}={v!r:.60}" for n, v in self.fixed.items())])

    def differences(self, earlier: Signature) -> list[str]:
        """What is no longer as it was, one text for each leaf, static value or setting."""
        found = [
            *_changed_leaves(earlier.leaves, self.leaves),
            *_changed(earlier.fixed, self.fixed, "static argument {}"),
            *_changed(earlier.settings, self.settings, "config.{}"),
        ]
        if not found and self.structure != earlier.structure:
            found.append(f"structure: {earlier.structure} -> {self.structure}")
        return found or ["arrays on another device"]


def _parameter_names(fun: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):  # some builtins have none
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _argument_name(where: Any, names: Sequence[str]) -> str:
    """The name of a parameter, given by position or by name."""
    if isinstance(where, str):
        return where
    return names[where] if where < len(names) else f"argument {where}"


def _leaf_names(structure: Any, fixed: Any, names: Sequence[str]) -> list[str]:
    """What users call each leaf: `params['w']`; positions count static arguments too."""
    static = {k for k, _ in fixed if isinstance(k, int)}
    numbered = tree.unflatten(structure, list(range(structure.num_leaves)))
    dynamic = [i for i in range(len(numbered[0]) + len(static)) if i not in static]
    found = {}
    for path, k in tree.leaves_with_path(numbered):
        where = dynamic[path[1].idx] if path[0].idx == 0 else path[1].key
        found[k] = _argument_name(where, names) + tree.keystr(path[2:])
    return [found[k] for k in range(len(found))]


def _changed_leaves(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = [f"{n}: a new leaf, {a}" for n, a in now.items() if n not in was]
    found += [f"{n}: no longer there" for n in was if n not in now]
    return found + [_changed_leaf(n, was[n], a) for n, a in now.items() if n in was and was[n] != a]


def _changed_leaf(name: str, was: Any, now: Any) -> str:
    parts = []
    if was.shape != now.shape:
        parts.append(f"shape {was.shape} -> {now.shape}")
    if was.dtype != now.dtype:
        parts.append(f"dtype {was.dtype} -> {now.dtype}")
    if was.weak_type != now.weak_type:
        weak = {True: "weak", False: "strong"}
        parts.append(f"weak type {weak[was.weak_type]} -> {weak[now.weak_type]}")
    return f"{name}: {', '.join(parts)}"


def _changed(was: dict[str, Any], now: dict[str, Any], title: str) -> list[str]:
    names = dict.fromkeys([*was, *now])

    def shown(values: dict[str, Any], name: str) -> str:
        return f"{values[name]!r:.60}" if name in values else "not given"

    return [
        f"{title.format(n)}: {shown(was, n)} -> {shown(now, n)}"
        for n in names
        if n not in was or n not in now or type(was[n]) is not type(now[n]) or was[n] != now[n]
    ]


def causes(signatures: Sequence[Signature]) -> list[tuple[tuple[str, ...], int | None]]:
    """For each compilation, why, and the number of the earlier one that differs least."""
    found: list[tuple[tuple[str, ...], int | None]] = []
    for i, signature in enumerate(signatures):
        compared = [(signature.differences(s), k + 1) for k, s in enumerate(signatures[:i])]
        if not compared:
            found.append((("the first call",), None))
            continue
        told, nearest = min(compared, key=lambda c: (len(c[0]), -c[1]))
        found.append((tuple(told), nearest))
    return found


def refusal(name: str, fun: Callable[..., Any], entries: Sequence[Entry], wanted: Signature) -> str:
    """The message for a compilation that is one more than `max_compiles` allows."""
    signatures = [*(Signature.of(fun, entry) for entry in entries), wanted]
    limit = len(entries)
    lines = [
        f"  {i + 1}. {signature}\n     because {_because(*cause)}"
        for i, (signature, cause) in enumerate(zip(signatures, causes(signatures)))
    ]
    return (
        f"jit: {name} may be compiled {_times(limit)} (max_compiles={limit}), but these arguments "
        "need another program. Keep shapes, dtypes and static values the same, or raise the "
        "limit.\n" + "\n".join(lines)
    )


# ---- what became of it
# -------------------------------------------------------------------------------


def explain(name: str, fun: Callable[..., Any], entries: Sequence[Entry]) -> Explanation:
    """The explanation of a jitted function from what was compiled for it."""
    signatures = [Signature.of(fun, entry) for entry in entries]
    told = enumerate(zip(signatures, causes(signatures), entries))
    return Explanation(name, tuple(_compilation(i + 1, *found) for i, found in told))


def _compilation(number: int, signature: Signature, cause: Any, entry: Entry) -> Compilation:
    with config.override(**signature.settings, show=""):
        found = backend.load("analysis").analyse(entry.jaxpr, entry.donated)
        steps, reused = found.steps, found.reused
        history = getattr(backend.compiled(entry.jaxpr, entry.donated), "history", "")
        if history:
            native = backend.load("explained").explain(entry.jaxpr, entry.donated)
            steps, reused = native.steps, native.reused
    given = [name for name, donated in zip(signature.leaves, entry.donated) if donated]
    return Compilation(
        number,
        str(signature),
        reasons=cause[0],
        nearest=cause[1],
        traced=entry.jaxpr,
        optimized=found.optimized,
        passes=found.passes,
        steps=steps,
        copies=found.copies,
        donations=tuple(map(Donation, given, reused)),
        cost=found.cost,
        history=history,
    )
