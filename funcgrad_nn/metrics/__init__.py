"""Metrics: what a person wants to know about predictions; nothing here is differentiated.

The functions measure one batch. The classes are descriptions without arrays that also accumulate
over batches: `init() -> state`, `update(state, predictions, targets) -> state`, `compute(state) ->
value`, all pure; called directly they measure one batch, so either kind fits wherever a metric is
asked for.
"""

from funcgrad_nn.metrics.base import Mean, Metric
from funcgrad_nn.metrics.classification import (
    F1,
    Accuracy,
    ConfusionMatrix,
    PerClassAccuracy,
    Precision,
    Recall,
)
from funcgrad_nn.metrics.counts import (
    accuracy,
    confusion_matrix,
    per_class_accuracy,
    top_k_accuracy,
)
from funcgrad_nn.metrics.ranking import AUROC, auroc
from funcgrad_nn.metrics.regression import (
    MeanAbsoluteError,
    MeanSquaredError,
    R2Score,
    RootMeanSquaredError,
)

__all__ = [
    "AUROC",
    "Accuracy",
    "ConfusionMatrix",
    "F1",
    "Mean",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "PerClassAccuracy",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "accuracy",
    "auroc",
    "confusion_matrix",
    "per_class_accuracy",
    "top_k_accuracy",
]
