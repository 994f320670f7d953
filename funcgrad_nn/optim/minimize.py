"""Minimisation of a function of all parameters at once, without batches or learning rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.flatten_util import ravel_pytree
from funcgrad_nn.optim.hyperparameters import validated
from funcgrad_nn.optim.linesearch import Point, strong_wolfe

CONVERGED, OUT_OF_ITERATIONS, NO_PROGRESS = 0, 1, 2


class MinimizeResult(NamedTuple):
    """What `minimize` found. All are arrays, so that it can be returned from `jit` and `vmap`.

    `status` is 0 if the gradient became small enough, 1 if the iterations were used up, 2 if the
    last step was no larger than a rounding: then this is as far as these floats go.
    """

    params: Any
    value: Any
    gradient: Any
    iterations: Any
    evaluations: Any
    status: Any

    @property
    def converged(self):
        """Whether the largest entry of the gradient is at most the tolerance."""
        return self.status == CONVERGED


class _History(NamedTuple):
    """The last steps s and changes of the gradient y as rows, 1 / s.y (0: unused), how many."""

    steps: Any
    changes: Any
    weights: Any
    count: Any


class _State(NamedTuple):
    x: Any
    value: Any
    gradient: Any
    history: _History
    iterations: Any
    evaluations: Any
    status: Any


@validated
def minimize(
    fun: Callable[..., Any],
    params: Any,
    *args: Any,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
    history: int = 10,
) -> MinimizeResult:
    """Make `fun(params, *args)`, a float scalar, small: L-BFGS with a strong Wolfe line search.

    (Liu and Nocedal, 1989; Nocedal and Wright, 2006, chapters 3 and 7.) For problems whose value
    and gradient are computed from all of the data, with up to millions of parameters; `params` is
    any tree of floats. It ends when the largest entry of the gradient is at most `tolerance`.
    `history` is the number of past steps from which the curvature is estimated. float64 parameters
    reach further than float32 ones. Works under `jit` and `vmap`.

    Raises `TypeError` for parameters that are not floats and for a value that is not a float
    scalar.

    >>> import funcgrad.numpy as jnp
    >>> def rosenbrock(p):
    ...     return (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2
    >>> found = minimize(rosenbrock, {"x": jnp.float64(-1.2), "y": jnp.float64(1.0)})
    >>> bool(found.converged), {name: round(float(v), 5) for name, v in found.params.items()}
    (True, {'x': 1.0, 'y': 1.0})
    """
    _require_floats(params)
    flat, unravel = ravel_pytree(params)

    def objective(x):
        value = fun(unravel(x), *args)
        _require_scalar(value)
        return value.astype(x.dtype)

    state = _descend(fg.value_and_grad(objective), flat, tolerance, max_iterations, history)
    return MinimizeResult(
        unravel(state.x),
        state.value,
        unravel(state.gradient),
        state.iterations,
        state.evaluations,
        state.status,
    )


def _descend(value_and_grad, x, tolerance, max_iterations: int, history: int) -> _State:
    running = -1

    def body(now: _State) -> _State:
        direction, first_step = _direction(now)

        def along(step) -> Point:
            value, gradient = value_and_grad(now.x + step * direction)
            return Point(step, value, gradient @ direction, gradient)

        zero = jnp.zeros((), now.x.dtype)
        here = Point(zero, now.value, now.gradient @ direction, now.gradient)
        found, evaluations = strong_wolfe(along, here, first_step)
        # a direction that is not finite leads nowhere
        step = jnp.where(found.step == 0, 0, found.step * direction)
        change = found.gradient - now.gradient
        iterations = now.iterations + 1
        status = jnp.where(
            iterations >= max_iterations, OUT_OF_ITERATIONS, jnp.full_like(now.status, running)
        )
        status = jnp.where(_is_below_resolution(step, now.x), NO_PROGRESS, status)
        status = jnp.where(_size(found.gradient) <= tolerance, CONVERGED, status)
        return _State(
            now.x + step,
            found.value,
            found.gradient,
            _remembered(now.history, step, change),
            iterations,
            now.evaluations + evaluations,
            status,
        )

    value, gradient = value_and_grad(x)
    none = jnp.zeros((), jnp.int32)
    begin = _State(
        x,
        value,
        gradient,
        _nothing_known(x, history),
        none,
        none + 1,
        jnp.where(_size(gradient) <= tolerance, CONVERGED, jnp.int32(running)),
    )
    return fg.lax.while_loop(lambda now: now.status == running, body, begin)


def _direction(now: _State):
    """Minus the inverse Hessian times the gradient, and the first step to try along it.

    Without a past, or should rounding have spoilt it, the direction is steepest descent.
    """
    known = _times_inverse_hessian(now.history, now.gradient)
    usable = (now.history.count > 0) & (known @ now.gradient > 0)
    steepest_step = jnp.minimum(1.0, 1 / jnp.sum(jnp.abs(now.gradient)))
    direction = -jnp.where(usable, known, now.gradient)
    return direction, jnp.where(usable, 1.0, steepest_step)


def _nothing_known(x, history: int) -> _History:
    rows = jnp.zeros((history, x.size), x.dtype)
    return _History(rows, rows, jnp.zeros(history, x.dtype), jnp.zeros((), jnp.int32))


def _remembered(past: _History, step, change) -> _History:
    """The past with one more pair in place of the oldest, unless it shows no curvature."""
    product = step @ change
    keep = product > jnp.finfo(step.dtype).eps * (change @ change)
    row = past.count % past.weights.size
    return _History(
        past.steps.at[row].set(jnp.where(keep, step, past.steps[row])),
        past.changes.at[row].set(jnp.where(keep, change, past.changes[row])),
        past.weights.at[row].set(jnp.where(keep, 1 / product, past.weights[row])),
        past.count + keep,
    )


def _times_inverse_hessian(past: _History, gradient):
    """The two loops over the past (Nocedal and Wright, 2006, algorithm 7.4)."""
    size = past.weights.size
    newest_first = (past.count - 1 - jnp.arange(size)) % size

    def backward(q, row):
        share = past.weights[row] * (past.steps[row] @ q)
        return q - share * past.changes[row], share

    def forward(r, row_and_share):
        row, share = row_and_share
        back = past.weights[row] * (past.changes[row] @ r)
        return r + past.steps[row] * (share - back), None

    q, shares = fg.lax.scan(backward, gradient, newest_first)
    last = past.changes[newest_first[0]]
    scale = 1 / (past.weights[newest_first[0]] * (last @ last))
    r = q * jnp.where(past.count > 0, scale, 1.0)
    return fg.lax.scan(forward, r, (newest_first, shares), reverse=True)[0]


def _is_below_resolution(step, x):
    """Whether a step changes no entry by more than a rounding or two."""
    return jnp.all(jnp.abs(step) <= 2 * jnp.finfo(x.dtype).eps * jnp.abs(x))


def _size(gradient):
    return jnp.max(jnp.abs(gradient), initial=0)


def _require_floats(params) -> None:
    for leaf in fg.tree.leaves(params):
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            raise TypeError(
                f"minimize: parameters must be floats, but one is {jnp.asarray(leaf).dtype}."
            )


def _require_scalar(value) -> None:
    value = jnp.asarray(value)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            "minimize: fun must return a float scalar, but returned "
            f"{value.dtype}{list(value.shape)}. Reduce it, for example with .mean()."
        )
