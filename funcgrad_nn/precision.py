"""Mixed precision: computing in a narrow type while the parameters stay in float32.

bfloat16 has float32's range and needs nothing else. float16 has not: small gradients become zero in
it, so the loss is multiplied by a large number before differentiating and the gradients are divided
by it afterwards (Micikevicius et al., 2017).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module
from funcgrad_nn.optim.transform import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    updater,
)
from funcgrad_nn.optim.wrappers import all_finite
from funcgrad_nn.run import bound_record, cast_floating


class MixedPrecision(Module):
    """`inner` with its parameters and inputs in `compute_dtype`, its outputs in `output_dtype`.

    The parameters stay in their own dtype, and so do their gradients; they are cast at each use.
    Normalisation layers keep their parameters and statistics in float32. Only floating arrays are
    cast. The parameters of `inner` lie under "inner".

    >>> import funcgrad as fg, funcgrad_nn as nn
    >>> model = nn.MixedPrecision(nn.Linear(3, 2))
    >>> params, state = model.init(fg.random.key(0))
    >>> output, state = model.apply(params, state, fg.numpy.ones((1, 3)))
    >>> params["inner"]["weight"].dtype.name, output.dtype.name
    ('float32', 'float32')
    """

    def __init__(
        self, inner: Module, compute_dtype: Any = jnp.bfloat16, output_dtype: Any = jnp.float32
    ):
        if not isinstance(inner, Module):
            raise TypeError(f"MixedPrecision: needs a module, but got {type(inner).__name__}.")
        self.inner = inner
        self.compute_dtype = _floating("compute_dtype", compute_dtype)
        self.output_dtype = _floating("output_dtype", output_dtype)

    def forward(self, *inputs, **named):
        inputs, named = _cast((inputs, named), self.compute_dtype)
        with bound_record(self, "forward").run.computing_in(self.compute_dtype):
            output = self.inner(*inputs, **named)
        return _cast(output, self.output_dtype)


class LossScaleState(NamedTuple):
    """The number that the loss is multiplied by, steps since it last changed, the inner state."""

    loss_scale: Any
    good_steps: Any
    inner: Any


def dynamic_loss_scale(
    inner: GradientTransformation,
    initial_scale: float = 2.0**16,
    growth_factor: float = 2.0,
    backoff_factor: float = 0.5,
    growth_interval: int = 2000,
) -> GradientTransformationExtraArgs:
    """`inner` for gradients of `loss * state.loss_scale`, where state is this optimizer's own.

    The gradients are divided by the scale first. If one is not finite, the step is skipped
    (updates of zero, `inner`'s state as it was) and the scale multiplied by `backoff_factor`; after
    `growth_interval` good steps in a row it is multiplied by `growth_factor`, unless that would be
    infinite. The defaults are those of PyTorch's `GradScaler`. `fit` and `make_train_step` scale
    the loss by themselves.

    >>> import funcgrad as fg, funcgrad.numpy as jnp, funcgrad_nn as nn
    >>> optimizer = nn.dynamic_loss_scale(nn.optim.sgd(0.5), initial_scale=8.0)
    >>> w = jnp.array(3.0)
    >>> state = optimizer.init(w)
    >>> scaled = fg.grad(lambda w: w**2 * state.loss_scale)(w)
    >>> updates, state = optimizer.update(scaled, state, w)
    >>> float(scaled), float(updates)
    (48.0, -3.0)
    """
    if not (growth_factor > 1 > backoff_factor > 0 and initial_scale > 0 and growth_interval >= 1):
        raise ValueError(
            "dynamic_loss_scale: needs initial_scale > 0, growth_factor > 1, "
            "0 < backoff_factor < 1 and growth_interval >= 1."
        )

    update_inner = updater("dynamic_loss_scale", inner)

    def init(params):
        scale = jnp.asarray(initial_scale, jnp.float32)
        return LossScaleState(scale, jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates, state, params=None, **extra):
        unscaled = fg.tree.map(lambda g: _divided(g, state.loss_scale), updates)
        finite = all_finite(unscaled)
        new, inner_state = update_inner(unscaled, state.inner, params, **extra)
        new = fg.tree.map(lambda u: jnp.where(finite, u, jnp.zeros_like(u)), new)
        kept = fg.tree.map(lambda a, b: jnp.where(finite, a, b), inner_state, state.inner)
        scale, steps = adapted(state, finite)
        return new, LossScaleState(scale, steps, kept)

    def adapted(state, finite):
        grows = state.good_steps + 1 >= growth_interval
        factor = jnp.where(finite, jnp.where(grows, growth_factor, 1.0), backoff_factor)
        scale = (state.loss_scale * factor).astype(jnp.float32)
        scale = jnp.where(jnp.isinf(scale), state.loss_scale, scale)  # no way leads back from there
        steps = jnp.where(finite & ~grows, state.good_steps + 1, 0)
        return scale, steps.astype(jnp.int32)

    return GradientTransformationExtraArgs(init, update)


def loss_scale_of(optimizer_state):
    """What the loss must be multiplied by for this optimizer: 1 if nothing in it asks for more."""
    found = fg.tree.leaves(optimizer_state, is_leaf=_is_loss_scale)
    return next((leaf.loss_scale for leaf in found if _is_loss_scale(leaf)), 1)


def _divided(gradient, scale):
    """In float32, so that a narrow gradient does not underflow when it is made small again."""
    narrow = gradient.dtype.itemsize < 4
    return (gradient.astype(jnp.float32) if narrow else gradient) / scale


def _is_loss_scale(value) -> bool:
    return isinstance(value, LossScaleState)


def _cast(tree, dtype):
    return fg.tree.map(lambda leaf: cast_floating(leaf, dtype), tree)


def _floating(name: str, dtype) -> Any:
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"MixedPrecision: {name} must be a floating dtype, but got {dtype}.")
    return dtype
