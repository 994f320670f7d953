"""`checkpoint` (also `remat`): a function whose derivative computes its intermediate values
again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.api.compile import closed_over_static
from funcgrad.api.flat import Flat, call_leaves, check_callable
from funcgrad.control.checkpoint import (
    checkpoint_p,
    dots_saveable,
    dots_with_no_batch_dims_saveable,
    everything_saveable,
    nothing_saveable,
    save_any_names_but_these,
    save_anything_except_these_names,
    save_from_both_policies,
    save_only_these_names,
)
from funcgrad.core.avals import typeof
from funcgrad.core.stage import stage
from funcgrad.errors import user_facing


@user_facing
def checkpoint(
    fun: Callable[..., Any] | None = None,
    *,
    prevent_cse: bool = True,
    policy: Callable[..., bool] | None = None,
    static_argnums: int | Sequence[int] = (),
    concrete: bool = False,
) -> Callable[..., Any]:
    """`fun` unchanged, except that differentiating it keeps only its arguments and recomputes the
    rest.

    Memory for time: the intermediate values of `fun` live only while its own part of the backward
    pass runs.

    Args:
        fun: any function of trees of arrays.
        prevent_cse: written into programs; without effect, since recomputations are never shared
        with the first computation.
        policy: says which intermediate results may be kept, for example
        `checkpoint_policies.dots_saveable`. static_argnums: arguments that are settings, not
        arrays. concrete: accepted for compatibility; must be False.

    Example:
        >>> import funcgrad as fg
        >>> import funcgrad.numpy as jnp
        >>> fg.grad(fg.checkpoint(lambda x: jnp.sin(jnp.sin(x))))(1.0)
        Array(0.3600..., dtype=float32, weak_type=True)
    """
    if fun is None:
        return functools.partial(
            checkpoint,
            prevent_cse=prevent_cse,
            policy=policy,
            static_argnums=static_argnums,
            concrete=concrete,
        )
    check_callable(fun, "checkpoint")
    if concrete:
        raise ValueError("checkpoint: concrete=True is no longer possible; use static_argnums.")

    @user_facing
    @functools.wraps(fun)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        inner, dynamic = closed_over_static(fun, static_argnums, args)
        leaves, in_tree = call_leaves("checkpoint", dynamic, kwargs)
        flat = Flat(inner, in_tree, "checkpoint")
        jaxpr, captured = stage(flat, [typeof(x) for x in leaves])
        outs = checkpoint_p.bind(
            *captured, *leaves, jaxpr=jaxpr, policy=policy, prevent_cse=prevent_cse
        )
        return flat.output(outs)

    return recomputed


remat = checkpoint


class checkpoint_policies:
    """What a checkpoint may keep beside its arguments:
    `checkpoint(f, policy=checkpoint_policies.dots_saveable)`.
    """

    nothing_saveable = staticmethod(nothing_saveable)
    everything_saveable = staticmethod(everything_saveable)
    dots_saveable = staticmethod(dots_saveable)
    checkpoint_dots = staticmethod(dots_saveable)
    dots_with_no_batch_dims_saveable = staticmethod(dots_with_no_batch_dims_saveable)
    checkpoint_dots_with_no_batch_dims = staticmethod(dots_with_no_batch_dims_saveable)
    save_only_these_names = staticmethod(save_only_these_names)
    save_anything_except_these_names = staticmethod(save_anything_except_these_names)
    save_any_names_but_these = staticmethod(save_any_names_but_these)
    save_from_both_policies = staticmethod(save_from_both_policies)
