"""Dropping from kernels what no store and no reduction needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.compiler.kernel import Accumulate, Ref, Stage, Store


def without_dead(stages: Sequence[Stage]) -> list[Stage]:
    """The stages with nothing in them that no store or reduction needs."""
    needed: set[Ref] = set()
    for stage in reversed(stages):
        live = []
        for r in stage.reductions:
            needed.update(v for v in (r.value, r.position) if isinstance(v, Ref))
        for s in reversed(stage.statements):
            if isinstance(s, (Store, Accumulate)) or s.ref in needed:
                needed.update(_read_by(s))
                live.append(s)
        stage.statements = live[::-1]
    return [s for s in stages if s.reductions or s.statements]


def _read_by(s: Any) -> list[Ref]:
    """The values that a statement reads."""
    index = getattr(s, "index", None)
    terms = [v for v, _ in index.terms if isinstance(v, Ref)] if index is not None else []
    args = getattr(s, "args", None) or (getattr(s, "value", None), getattr(s, "guard", None))
    return [*terms, *(a for a in args if isinstance(a, Ref))]
