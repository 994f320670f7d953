"""Transformations around transformations: accumulation, averages, guards against NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.optim.hyperparameters import check, validated
from funcgrad_nn.optim.moments import (
    cast_tree,
    missing_share,
    moving_mean,
    next_count,
    no_steps,
    unbiased,
    zeros,
)
from funcgrad_nn.optim.transform import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    cast,
    cast_like,
    updater,
)


class EmaState(NamedTuple):
    """Number of updates and their running mean."""

    count: Any
    ema: Any


class ApplyEveryState(NamedTuple):
    """Updates since the last that was passed on, and their sum."""

    count: Any
    grad_acc: Any


class MultiStepsState(NamedTuple):
    """Position within a group of gradients, number of groups, inner state, the group's mean."""

    mini_step: Any
    gradient_step: Any
    inner_opt_state: Any
    acc_grads: Any


class ApplyIfFiniteState(NamedTuple):
    """Rejected updates in a row, whether the last was finite, all rejected, the inner state."""

    notfinite_count: Any
    last_finite: Any
    total_notfinite: Any
    inner_state: Any


@validated
def ema(decay: float, debias: bool = True, accumulator_dtype: Any = None) -> GradientTransformation:
    """The running mean of updates: e <- decay e + (1 - decay) u, divided by 1 - decay^t.

    On parameters in place of updates it averages weights. `debias=False` leaves the division out.

    >>> import funcgrad.numpy as jnp
    >>> mean = ema(0.9)
    >>> averaged, state = mean.update(jnp.array(2.0), mean.init(jnp.array(0.0)))
    >>> round(float(averaged), 5)
    2.0
    """

    def init(params):
        return EmaState(no_steps(), zeros(params, accumulator_dtype))

    def update(updates, state, params=None):
        mean, count = moving_mean(updates, state.ema, decay), next_count(state.count)
        out = unbiased(mean, missing_share(decay, count)) if debias else mean
        return out, EmaState(count, cast_tree(mean, accumulator_dtype))

    return GradientTransformation(init, update)


@validated
def apply_every(k: int = 1) -> GradientTransformation:
    """Sum updates, pass the sum on at every k-th, zeros in between.

    Place it last. For gradients of parts of a batch `MultiSteps` is right: it lets the optimizer
    see one mean gradient, where here its moments see every part.

    >>> import funcgrad.numpy as jnp
    >>> part = apply_every(2)
    >>> state, seen = part.init(jnp.array(0.0)), []
    >>> for _ in range(4):
    ...     updates, state = part.update(jnp.array(1.0), state)
    ...     seen.append(float(updates))
    >>> seen
    [0.0, 2.0, 0.0, 2.0]
    """

    def init(params):
        return ApplyEveryState(no_steps(), zeros(params))

    def update(updates, state, params=None):
        first, last = state.count == 0, state.count == k - 1
        total = fg.tree.map(lambda g, s: jnp.where(first, g, s + g), updates, state.grad_acc)
        out = fg.tree.map(lambda s: jnp.where(last, s, jnp.zeros_like(s)), total)
        return out, ApplyEveryState((state.count + 1) % k, total)

    return GradientTransformation(init, update)


class MultiSteps:
    """Gradient accumulation: `opt` sees the mean of every k gradients, and moves once for them.

    `every_k_schedule` is k, or a function from the number of groups finished to k.
    `use_grad_mean=False` takes the sum. Updates in between are zeros. Has `init` and `update` as an
    optimizer; `has_updated(state)` says whether the last call finished a group.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> optimizer = optim.MultiSteps(optim.sgd(1.0), 2)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> first, state = optimizer.update(jnp.array(1.0), state)
    >>> second, state = optimizer.update(jnp.array(3.0), state)
    >>> float(first), float(second)
    (0.0, -2.0)
    """

    def __init__(
        self,
        opt: GradientTransformation,
        every_k_schedule: int | Callable[[Any], Any],
        use_grad_mean: bool = True,
        *,
        accumulator_dtype: Any = jnp.float32,
    ):
        check("MultiSteps", "every_k", every_k_schedule)
        self._every_k = (
            every_k_schedule if callable(every_k_schedule) else lambda step: every_k_schedule
        )
        self._opt, self._run = opt, updater("MultiSteps", opt)
        self._mean, self._dtype = use_grad_mean, accumulator_dtype

    def init(self, params) -> MultiStepsState:
        """No gradients yet, and the inner optimizer's first state."""
        return MultiStepsState(
            no_steps(), no_steps(), self._opt.init(params), zeros(params, self._dtype)
        )

    def update(self, updates, state: MultiStepsState, params=None, **extra):
        """Take one more gradient; a step of `opt` if it is the last of its group."""
        gathered = self._gathered(updates, state)
        last = state.mini_step + 1 >= self._every_k(state.gradient_step)

        def step(gathered, inner):
            out, inner = self._run(cast_like(gathered, updates), inner, params, **extra)
            inner = cast_like(inner, state.inner_opt_state)
            return out, inner, fg.tree.map(jnp.zeros_like, state.acc_grads)

        def wait(gathered, inner):
            out = fg.tree.map(jnp.zeros_like, fg.eval_shape(lambda: step(gathered, inner)[0]))
            return out, inner, cast_like(gathered, state.acc_grads)

        out, inner, gathered = fg.lax.cond(last, step, wait, gathered, state.inner_opt_state)
        mini_step = jnp.where(last, 0, state.mini_step + 1)
        finished = jnp.where(last, next_count(state.gradient_step), state.gradient_step)
        return out, MultiStepsState(mini_step, finished, inner, gathered)

    def _gathered(self, updates, state: MultiStepsState):
        """The sum or mean with one more gradient, not yet rounded to the accumulator's dtype."""
        if not self._mean:
            return fg.tree.map(jnp.add, state.acc_grads, updates)
        share = 1 / (state.mini_step + 1)

        def moved(g, m):
            difference = g - m
            return m + difference * cast(share, difference.dtype)

        return fg.tree.map(moved, updates, state.acc_grads)

    def has_updated(self, state: MultiStepsState):
        """Whether the call that returned `state` moved the parameters."""
        return (state.mini_step == 0) & (state.gradient_step > 0)

    def gradient_transformation(self) -> GradientTransformationExtraArgs:
        """The same as a plain transformation, to be chained."""
        return GradientTransformationExtraArgs(self.init, self.update)


@validated
def apply_if_finite(
    inner: GradientTransformation, max_consecutive_errors: int
) -> GradientTransformationExtraArgs:
    """`inner`, but gradients with NaN or infinity give zero updates and leave its state alone.

    After more than `max_consecutive_errors` of them in a row they are let through, so that a run
    that is lost is seen to be. The state counts the rejected ones.

    >>> import funcgrad.numpy as jnp
    >>> from funcgrad_nn import optim
    >>> optimizer = apply_if_finite(optim.sgd(1.0), max_consecutive_errors=5)
    >>> updates, state = optimizer.update(jnp.array(jnp.nan), optimizer.init(jnp.array(0.0)))
    >>> float(updates), int(state.total_notfinite)
    (0.0, 1)
    """
    run = updater("apply_if_finite", inner)

    def init(params):
        never = no_steps()
        return ApplyIfFiniteState(never, jnp.ones((), bool), never, inner.init(params))

    def update(updates, state, params=None, **extra):
        finite = all_finite(updates)
        in_a_row = jnp.where(finite, 0, next_count(state.notfinite_count))
        total = jnp.where(finite, state.total_notfinite, next_count(state.total_notfinite))

        def accept(updates, own):
            out, own = run(updates, own, params, **extra)
            return out, cast_like(own, state.inner_state)

        def reject(updates, own):
            out = fg.eval_shape(lambda: accept(updates, own)[0])
            return fg.tree.map(jnp.zeros_like, out), own

        accepted = finite | (in_a_row > max_consecutive_errors)
        out, own = fg.lax.cond(accepted, accept, reject, updates, state.inner_state)
        return out, ApplyIfFiniteState(in_a_row, finite, total, own)

    return GradientTransformationExtraArgs(init, update)


def all_finite(tree):
    """Whether no leaf of a tree holds NaN or infinity: a bool of rank 0.

    >>> import funcgrad.numpy as jnp
    >>> bool(all_finite([jnp.array(1.0), jnp.array([2.0, jnp.inf])]))
    False
    """
    finite = jnp.ones((), bool)
    for leaf in fg.tree.leaves(tree):
        finite = finite & jnp.all(jnp.isfinite(leaf))
    return finite
