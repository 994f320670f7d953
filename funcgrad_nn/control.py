"""Loops, branches and recomputation around modules, inside `forward`.

`lax.scan`, `lax.cond` and `checkpoint` trace a function by itself, and what a module does to its
state in there would be lost, and a random key drawn in there would serve all steps of a loop: both
raise `RuntimeError`. These carry state in and out, and give each step of a loop random keys of its
own. Parameters are shared by all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module
from funcgrad_nn.run import Run, Sizing, bound_record, run_method


def scan(
    module: Module, step: Callable, carry, xs=None, length: int | None = None, **options
) -> tuple[Any, Any]:
    """`lax.scan(step, carry, xs, length)` in `module.forward`, where `step` may call submodules.

    `step(carry, x) -> (carry, y)`. The state of all modules goes from step to step. `options` are
    those of `lax.scan` (`reverse`, `unroll`). Returns the last carry and the stacked ys.

    >>> import funcgrad as fg, funcgrad.numpy as jnp, funcgrad_nn as nn
    >>> class Unrolled(nn.Module):
    ...     def __init__(self):
    ...         self.cell = nn.Linear(3, 3)
    ...     def forward(self, h, steps=4):
    ...         return nn.scan(self, lambda h, _: (jnp.tanh(self.cell(h)), h), h, length=steps)
    >>> model = Unrolled()
    >>> params, state = model.init(fg.random.key(0))
    >>> (last, path), state = model.apply(params, state, jnp.ones((2, 3)))
    >>> last.shape, path.shape
    ((2, 3), (4, 2, 3))
    """
    run = bound_record(module, "scan").run
    if isinstance(run, Sizing):
        return _once(step, carry, xs, length)
    before, key, draws = run.new_state(), run.key, dict(run.draws)

    def body(loop, x):
        carry, state, index = loop
        own_key = None if key is None else fg.random.fold_in(key, index)
        with run.looking_at(state, own_key, draws):
            carry, y = step(carry, x)
            state = run.new_state()
        return (carry, state, index + 1), y

    start = (carry, before, jnp.zeros((), jnp.int32))
    (carry, state, _), ys = fg.lax.scan(body, start, xs, length, **options)
    _keep(run, state)
    return carry, ys


def cond(module: Module, pred, true_fun: Callable, false_fun: Callable, *operands):
    """`lax.cond(pred, true_fun, false_fun, *operands)` in `module.forward`, around submodules.

    The state is that which the branch taken leaves behind.

    >>> import funcgrad as fg, funcgrad.numpy as jnp, funcgrad_nn as nn
    >>> class Early(nn.Module):
    ...     def __init__(self):
    ...         self.more = nn.Linear(3, 3)
    ...     def forward(self, x):
    ...         return nn.cond(self, x.sum() > 1, lambda x: x, self.more, x)
    >>> params, state = Early().init(fg.random.key(0))
    >>> Early().apply(params, state, jnp.array([1.0, 2.0, 3.0]))[0].tolist()
    [1.0, 2.0, 3.0]
    """
    run = bound_record(module, "cond").run
    if isinstance(run, Sizing):
        true_fun(*operands)
        return false_fun(*operands)
    before, draws = run.new_state(), dict(run.draws)

    def keeping(branch: Callable) -> Callable:
        def body(state, key, *operands):
            with run.looking_at(state, key, draws):
                output = branch(*operands)
                return output, run.new_state()

        return body

    branches = (keeping(true_fun), keeping(false_fun))
    output, state = fg.lax.cond(pred, *branches, before, run.key, *operands)
    _keep(run, state)
    return output


def remat(module: Module, **options) -> Callable:
    """`module`, a submodule in `forward`, recomputed in the backward pass instead of stored.

    `options` are those of `checkpoint` (`policy`, `prevent_cse`). Random layers draw the same
    numbers again.

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> class Cheap(nn.Module):
    ...     def __init__(self):
    ...         self.block = nn.Sequential(nn.Linear(3, 9), nn.GELU(), nn.Linear(9, 3))
    ...     def forward(self, x):
    ...         return x + nn.remat(self.block)(x)
    >>> model = Cheap()
    >>> params, state = model.init(fg.random.key(0))
    >>> model.apply(params, state, fg.numpy.ones((2, 3)))[0].shape
    (2, 3)
    """
    run = bound_record(module, "remat").run

    def call(*inputs, **named):
        if isinstance(run, Sizing):
            return run_method(module, "forward", inputs, named)
        draws = dict(run.draws)

        def body(state, key, inputs):
            with run.looking_at(state, key, draws):
                output = run_method(module, "forward", inputs, named)
                return output, run.new_state()

        output, state = fg.checkpoint(body, **options)(run.new_state(), run.key, inputs)
        _keep(run, state)
        return output

    return call


def _keep(run: Run, state) -> None:
    """From here on the run's state is this one."""
    if fg.tree.leaves(state):
        run.trees = {**run.trees, "state": state}
        run.updates.clear()


def _once(step: Callable, carry, xs, length: int | None) -> tuple[Any, Any]:
    """One step, to see sizes: shapes are those of all the steps."""
    count = length if length is not None else fg.tree.leaves(xs)[0].shape[0]
    carry, y = step(carry, fg.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), xs))
    return carry, fg.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), y)
