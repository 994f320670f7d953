"""Losses: functions of predictions and targets.

Every loss takes `reduction`: "mean" over all its values (the default, so that the size of a batch
does not change the size of a step), "sum", or "none". Shapes must match exactly; nothing is
broadcast. Losses of probabilities start from logits, where they are exact for logits of any size.
"""

from funcgrad_nn.losses.classification import (
    binary_cross_entropy,
    cross_entropy,
    hinge,
    kl_divergence,
    multi_margin,
    nll,
)
from funcgrad_nn.losses.ctc import ctc
from funcgrad_nn.losses.penalties import elastic_penalty, l1_penalty, l2_penalty
from funcgrad_nn.losses.regression import huber, mae, mse, rmse, smooth_l1
from funcgrad_nn.losses.similarity import cosine_embedding, cosine_similarity

__all__ = [
    "binary_cross_entropy",
    "cosine_embedding",
    "cosine_similarity",
    "cross_entropy",
    "ctc",
    "elastic_penalty",
    "hinge",
    "huber",
    "kl_divergence",
    "l1_penalty",
    "l2_penalty",
    "mae",
    "mse",
    "multi_margin",
    "nll",
    "rmse",
    "smooth_l1",
]
