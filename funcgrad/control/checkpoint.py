"""`checkpoint_p`: a call whose derivative recomputes the program instead of keeping its
intermediate values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.control.call import call_batch, call_jvp, call_split, call_transpose
from funcgrad.core.jaxpr import Eqn, Jaxpr, eval_jaxpr, program_effects, program_names
from funcgrad.core.loops import Call
from funcgrad.core.primitive import Construct
from funcgrad.core.trace import EVAL


def nothing_saveable(eqn: Eqn) -> bool:
    """Keep only the arguments; compute everything else again."""
    return False


def everything_saveable(eqn: Eqn) -> bool:
    """Keep everything, as without checkpoint."""
    return True


def dots_saveable(eqn: Eqn) -> bool:
    """Keep the results of products; compute the rest again."""
    return eqn.primitive.name == "dot_general"


def dots_with_no_batch_dims_saveable(eqn: Eqn) -> bool:
    """Keep the results of products without batch dimensions: those of weights with activations."""
    return dots_saveable(eqn) and not any(eqn.params["dimension_numbers"][1])


def _run(args: Sequence[Any], *, jaxpr: Jaxpr, policy: Any, prevent_cse: bool) -> list[Any]:
    return eval_jaxpr(jaxpr, args, EVAL)


checkpoint_p = Construct(
    "checkpoint",
    run=_run,
    abstract=lambda *avals, jaxpr, policy, prevent_cse: jaxpr.out_avals,
    loops=lambda *avals, jaxpr, policy, prevent_cse: Call("checkpoint", ("jaxpr",)),
    effects=program_effects,
    names=program_names,
)
checkpoint_p.jvp = call_jvp(checkpoint_p)
# Both halves stay checkpoints: or the outer gradient of a gradient would keep everything.
checkpoint_p.split = call_split(checkpoint_p, lambda policy, **params: policy or nothing_saveable)
checkpoint_p.transpose = call_transpose(checkpoint_p, separate=True)
checkpoint_p.batch = call_batch(checkpoint_p)
