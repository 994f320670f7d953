"""Optimizers as pairs of pure functions, in optax's shape and names.

A `GradientTransformation` turns gradients into updates and carries its own state; `chain` puts
several after each other, `apply_updates` adds the result to the parameters.
"""

from funcgrad_nn.optim.clip import clip, clip_by_global_norm, global_norm
from funcgrad_nn.optim.recipes import adam, adamw, momentum, rmsprop, sgd
from funcgrad_nn.optim.scale import (
    add_decayed_weights,
    dampened_trace,
    scale,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_rms,
    scale_by_schedule,
    trace,
)
from funcgrad_nn.optim.schedules import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    join_schedules,
    linear_schedule,
    piecewise_constant_schedule,
    polynomial_schedule,
    warmup_cosine_decay_schedule,
)
from funcgrad_nn.optim.transform import (
    EmptyState,
    GradientTransformation,
    apply_updates,
    chain,
    identity,
)

__all__ = [
    "EmptyState",
    "GradientTransformation",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_global_norm",
    "constant_schedule",
    "cosine_decay_schedule",
    "dampened_trace",
    "exponential_decay",
    "global_norm",
    "identity",
    "join_schedules",
    "linear_schedule",
    "momentum",
    "piecewise_constant_schedule",
    "polynomial_schedule",
    "rmsprop",
    "scale",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_rms",
    "scale_by_schedule",
    "sgd",
    "trace",
    "warmup_cosine_decay_schedule",
]
