"""Optimizers as pairs of pure functions, in optax's shape and names.

A `GradientTransformation` turns gradients into updates and carries its own state; `chain` puts
several after each other, `apply_updates` adds the result to the parameters.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from funcgrad_nn import hints as _hints
from funcgrad_nn.optim.adam import (
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_lion,
    scale_by_nadam,
    scale_by_radam,
)
from funcgrad_nn.optim.clip import clip, clip_by_block_rms, clip_by_global_norm, global_norm
from funcgrad_nn.optim.cycles import (
    cosine_onecycle_schedule,
    cosine_restarts_schedule,
    linear_onecycle_schedule,
    piecewise_interpolate_schedule,
    sgdr_schedule,
)
from funcgrad_nn.optim.factored import scale_by_factored_rms
from funcgrad_nn.optim.inject import inject_hyperparams
from funcgrad_nn.optim.lookahead import LookaheadParams, lookahead, sam
from funcgrad_nn.optim.masks import path_labels, path_mask
from funcgrad_nn.optim.minimize import MinimizeResult, minimize
from funcgrad_nn.optim.orthogonal import orthogonalize, scale_by_muon, scale_by_shape
from funcgrad_nn.optim.partition import masked, multi_transform, partition
from funcgrad_nn.optim.plateau import reduce_on_plateau
from funcgrad_nn.optim.proximal import proximal_l1, soft_threshold
from funcgrad_nn.optim.recipes import (
    adadelta,
    adafactor,
    adagrad,
    adam,
    adamax,
    adamw,
    amsgrad,
    lamb,
    lars,
    lion,
    momentum,
    muon,
    nadam,
    proximal_sgd,
    radam,
    rmsprop,
    sgd,
)
from funcgrad_nn.optim.rms import (
    scale_by_adadelta,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
)
from funcgrad_nn.optim.scale import (
    add_decayed_weights,
    dampened_trace,
    normalize_by_update_norm,
    scale,
    scale_by_learning_rate,
    scale_by_param_block_rms,
    scale_by_schedule,
    scale_by_trust_ratio,
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
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
)
from funcgrad_nn.optim.transform import (
    EmptyState,
    GradientTransformation,
    GradientTransformationExtraArgs,
    apply_updates,
    chain,
    identity,
    set_to_zero,
    stateless,
)
from funcgrad_nn.optim.wrappers import MultiSteps, all_finite, apply_every, apply_if_finite, ema

__all__ = [
    "EmptyState",
    "GradientTransformation",
    "GradientTransformationExtraArgs",
    "LookaheadParams",
    "MinimizeResult",
    "MultiSteps",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "add_decayed_weights",
    "all_finite",
    "amsgrad",
    "apply_every",
    "apply_if_finite",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "cosine_restarts_schedule",
    "dampened_trace",
    "ema",
    "exponential_decay",
    "global_norm",
    "identity",
    "inject_hyperparams",
    "join_schedules",
    "lamb",
    "lars",
    "linear_onecycle_schedule",
    "linear_schedule",
    "lion",
    "lookahead",
    "masked",
    "minimize",
    "momentum",
    "multi_transform",
    "muon",
    "nadam",
    "normalize_by_update_norm",
    "orthogonalize",
    "partition",
    "path_labels",
    "path_mask",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "proximal_l1",
    "proximal_sgd",
    "radam",
    "reduce_on_plateau",
    "rmsprop",
    "sam",
    "scale",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_amsgrad",
    "scale_by_factored_rms",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_muon",
    "scale_by_nadam",
    "scale_by_param_block_rms",
    "scale_by_radam",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_schedule",
    "scale_by_shape",
    "scale_by_stddev",
    "scale_by_trust_ratio",
    "set_to_zero",
    "sgd",
    "sgdr_schedule",
    "soft_threshold",
    "stateless",
    "trace",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]

if not _TYPE_CHECKING:

    def __getattr__(name: str):
        """Called for names that are not here."""
        raise _hints.missing(__name__, name, _hints.OF_OPTIMIZERS, {"nn.optim": __all__})
