"""The passes in their order. `optimise` runs them all; each can be printed, checked and switched
off by name.

`config.show` names passes whose result is printed (or `all`), `config.disabled_passes` those that
are skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from funcgrad.compiler.passes.dead import drop_dead
from funcgrad.compiler.passes.empty import settle_empty
from funcgrad.compiler.passes.fold import fold_constants
from funcgrad.compiler.passes.inline import inline_calls, recomputing
from funcgrad.compiler.passes.keys import physical_keys
from funcgrad.compiler.passes.layouts import channels_last
from funcgrad.compiler.passes.outer import multiply_outer
from funcgrad.compiler.passes.residuals import choose_residuals
from funcgrad.compiler.passes.scans import split_scans
from funcgrad.compiler.passes.share import share_common
from funcgrad.compiler.passes.simplify import simplify
from funcgrad.compiler.passes.turn import sink_transposes
from funcgrad.compiler.passes.widen import widen_products
from funcgrad.compiler.rewrite import Rewriter, rewrite
from funcgrad.config import config
from funcgrad.core.jaxpr import Atom, Eqn, Jaxpr
from funcgrad.core.stage import checked, collector_paused

Pass = Callable[[Jaxpr], Jaxpr]


def optimise_bodies(jaxpr: Jaxpr) -> Jaxpr:
    """The programs inside scans after all passes, so that later passes see them as they are run."""
    return rewrite(jaxpr, _with_optimised_body)


def _with_optimised_body(program: Rewriter, e: Eqn) -> Sequence[Atom] | None:
    if e.primitive.name != "scan":
        return None
    body = optimise(e.params["jaxpr"])
    if body is e.params["jaxpr"]:
        return None
    return program.emit_all(e.primitive, e.args, {**e.params, "jaxpr": body})


PIPELINE: tuple[Pass, ...] = (
    inline_calls,
    physical_keys,
    settle_empty,
    drop_dead,
    fold_constants,
    simplify,
    fold_constants,
    share_common,
    optimise_bodies,
    split_scans,
    sink_transposes,
    simplify,
    drop_dead,
)


def optimise(jaxpr: Jaxpr) -> Jaxpr:
    """The program after all passes. Kept on the program, per configuration."""
    state = config.current()
    key = ("optimised", state.trace_key)
    found = jaxpr._memo.get(key)
    if found is None or state.show:
        with collector_paused():
            found = jaxpr._memo[key] = run_passes(jaxpr, PIPELINE)
    return found


# What compilers add that share nothing afterwards.
PREPARATION: tuple[Pass, ...] = (
    recomputing,
    channels_last,
    multiply_outer,
    widen_products,
    choose_residuals,
)


def prepared(jaxpr: Jaxpr) -> Jaxpr:
    """The program after all passes, as compilers of kernels take it."""
    return run_passes(optimise(jaxpr), PREPARATION)


def run_passes(jaxpr: Jaxpr, passes: tuple[Pass, ...]) -> Jaxpr:
    """The program after those of `passes` that are not switched off."""
    disabled = words(config.current().disabled_passes)
    for step in passes:
        if step.__name__ not in disabled:
            jaxpr = observed(step.__name__, checked(step(jaxpr)))
    return jaxpr


def observed(name: str, jaxpr: Jaxpr) -> Jaxpr:
    """Prints the program if `config.show` names the pass it came from."""
    shown = words(config.current().show)
    if name in shown or "all" in shown:
        print(f"after {name}:\n{jaxpr}", file=sys.stderr)
    return jaxpr


def words(text: str) -> set[str]:
    """The names in a comma-separated list."""
    return {word.strip() for word in text.split(",") if word.strip()}
