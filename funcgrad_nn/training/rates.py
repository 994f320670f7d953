"""The learning rate, for people to see: from the optimizer's state, or from the schedule given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Rate = float | Callable[[Any], Any]


def rate_of(optimizer_state, step, given: Rate | None) -> float | None:
    """The rate of the last step, or None where nothing tells it.

    An optimizer of `inject_hyperparams` holds "learning_rate" in its state, and `reduce_on_plateau`
    its scale; `given`, a number or a schedule of the step, comes before the first.
    """
    known = dict(_told(optimizer_state))
    rate = known.get("learning_rate")
    if given is not None:
        rate = given(max(int(step) - 1, 0)) if callable(given) else given
    if rate is None:
        return None
    return float(rate) * float(known.get("scale", 1.0))


def _told(state) -> Iterator[tuple[str, Any]]:
    """What the parts of an optimizer's state say of rates, at any depth of chains and wrappers."""
    hyperparams = getattr(state, "hyperparams", None)
    if isinstance(hyperparams, dict) and "learning_rate" in hyperparams:
        yield "learning_rate", hyperparams["learning_rate"]
    if hasattr(state, "plateau_count"):
        yield "scale", state.scale
    if isinstance(state, tuple):
        for part in state:
            yield from _told(part)
