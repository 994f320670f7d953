"""What several recipes share."""

from __future__ import annotations

from typing import Any

from funcgrad_nn.optim.scale import Schedule, trace
from funcgrad_nn.optim.transform import GradientTransformation, identity

Rate = float | Schedule


def momentum_of(decay: float | None, nesterov: bool, dtype: Any = None) -> GradientTransformation:
    """The part for a momentum that may be None, which means none."""
    return identity() if decay is None else trace(decay, nesterov, dtype)
