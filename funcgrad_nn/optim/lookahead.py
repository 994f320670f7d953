"""Two kinds of step on two copies: lookahead and sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.moments import no_steps
from funcgrad_nn.optim.transform import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    apply_updates,
    require_params,
    updater,
)


class LookaheadParams(NamedTuple):
    """The parameters that move at every step, and those that follow them now and then."""

    fast: Any
    slow: Any

    @classmethod
    def init_synced(cls, params) -> LookaheadParams:
        """Both copies at `params`."""
        return cls(params, params)


class LookaheadState(NamedTuple):
    """The fast optimizer's state and the number of steps since slow met fast."""

    fast_state: Any
    steps_since_sync: Any


class SAMState(NamedTuple):
    """Position within a period, both optimizers' states, the parameters it started from."""

    steps_since_sync: Any
    opt_state: Any
    adv_state: Any
    cache: Any


@validated
def lookahead(
    fast_optimizer: GradientTransformation,
    sync_period: int,
    slow_step_size: float,
    reset_state: bool = False,
) -> GradientTransformationExtraArgs:
    """k steps forward, one step back (Zhang et al., 2019).

    The parameters are `LookaheadParams.init_synced(params)`, the gradients those of `.fast`. At
    every `sync_period`-th step slow <- slow + slow_step_size (fast - slow) and fast <- slow;
    `reset_state` then starts the fast optimizer anew. Evaluate with `.slow`.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> optimizer = lookahead(optim.sgd(1.0), sync_period=2, slow_step_size=0.5)
    >>> params = LookaheadParams.init_synced(jnp.array(0.0))
    >>> state = optimizer.init(params)
    >>> for _ in range(2):
    ...     updates, state = optimizer.update(jnp.array(1.0), state, params)
    ...     params = optim.apply_updates(params, updates)
    >>> float(params.fast), float(params.slow)
    (-1.0, -1.0)
    """
    run = updater("lookahead", fast_optimizer)

    def init(params):
        fast = params.fast if isinstance(params, LookaheadParams) else params
        return LookaheadState(fast_optimizer.init(fast), no_steps())

    def update(updates, state, params=None, **extra):
        if not isinstance(params, LookaheadParams):
            raise TypeError(
                "lookahead: update needs the parameters as LookaheadParams, but got "
                f"{type(params).__name__}. Start from LookaheadParams.init_synced(params)."
            )
        updates, fast_state = run(updates, state.fast_state, params.fast, **extra)
        meets = state.steps_since_sync == sync_period - 1
        ahead = fg.tree.map(lambda f, u, s: f + u - s, params.fast, updates, params.slow)
        slow = fg.tree.map(lambda d: jnp.where(meets, slow_step_size * d, 0), ahead)
        fast = fg.tree.map(
            lambda u, d: jnp.where(meets, u - (1 - slow_step_size) * d, u), updates, ahead
        )
        if reset_state:
            fast_state = _picked(meets, fast_optimizer.init(params.fast), fast_state)
        count = (state.steps_since_sync + 1) % sync_period
        return LookaheadParams(fast, slow), LookaheadState(fast_state, count)

    return GradientTransformationExtraArgs(init, update)


@validated
def sam(
    optimizer: GradientTransformation,
    adv_optimizer: GradientTransformation,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
) -> GradientTransformationExtraArgs:
    """Sharpness-aware minimisation (Foret et al., 2021): the gradient of the worst point nearby.

    `adv_optimizer` climbs for `sync_period` - 1 steps, usually `chain(normalize_by_update_norm(),
    sgd(rho))`; the last step is `optimizer`'s, with the gradient found there, from the parameters
    where the climb began. So parameters are worth evaluating after every `sync_period`-th call.

    With `opaque_mode` one call does all of it: `update(..., grad_fn=)` then needs
    `grad_fn(params, i)`, the gradient at other parameters for i = 0, 1, ...

    >>> import funcgrad as fg, funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> climb = optim.chain(optim.normalize_by_update_norm(), optim.sgd(0.1))
    >>> optimizer, w = sam(optim.sgd(0.5), climb, opaque_mode=True), jnp.array([1.0])
    >>> gradient = fg.grad(lambda w: (w**2).sum())
    >>> at = dict(grad_fn=lambda params, i: gradient(params))
    >>> updates, _ = optimizer.update(gradient(w), optimizer.init(w), w, **at)
    >>> round(float(updates[0]), 4)
    -1.1
    """
    run, climb = updater("sam", optimizer), updater("sam", adv_optimizer)

    def init(params):
        cache = None if opaque_mode else params
        return SAMState(no_steps(), optimizer.init(params), adv_optimizer.init(params), cache)

    def update(updates, state, params=None, *, grad_fn: Callable | None = None, **extra):
        require_params("sam", params)
        if opaque_mode:
            return all_steps(updates, state, params, grad_fn, extra)
        return one_step(updates, state, params, extra)

    def all_steps(gradients, state, params, grad_fn, extra):
        if grad_fn is None:
            raise ValueError("sam: with opaque_mode, update needs grad_fn=f, f(params, i).")
        adversary, adv_state = params, state.adv_state
        for i in range(sync_period - 1):
            step, adv_state = climb(gradients, adv_state, adversary)
            adversary = apply_updates(adversary, fg.tree.map(lambda x: -x, step))
            gradients = grad_fn(adversary, i)
        adv_state = adv_optimizer.init(params) if reset_state else adv_state
        updates, opt_state = run(gradients, state.opt_state, params, **extra)
        return updates, SAMState(no_steps(), opt_state, adv_state, None)

    def one_step(gradients, state, params, extra):
        first, last = state.steps_since_sync == 0, state.steps_since_sync == sync_period - 1
        start = _picked(first, params, state.cache)
        ascent, adv_state = climb(gradients, state.adv_state, params)
        descent, opt_state = run(gradients, state.opt_state, start, **extra)
        back_and_down = fg.tree.map(lambda c, p, u: c - p + u, start, params, descent)
        updates = _picked(last, back_and_down, fg.tree.map(lambda x: -x, ascent))
        kept = adv_optimizer.init(params) if reset_state else state.adv_state
        count = (state.steps_since_sync + 1) % sync_period
        return updates, SAMState(
            count,
            _picked(last, opt_state, state.opt_state),
            _picked(last, kept, adv_state),
            start,
        )

    return GradientTransformationExtraArgs(init, update)


def _picked(condition, if_true, if_false):
    return fg.tree.map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
