"""What a derivative keeps and what it computes again: `checkpoint`, its policies, and names for
values.
"""

from funcgrad.api.checkpoint import checkpoint, checkpoint_policies
from funcgrad.api.residuals import print_saved_residuals, saved_residuals
from funcgrad.control.checkpoint import checkpoint_name

__all__ = [
    "checkpoint", "checkpoint_name", "checkpoint_policies", "print_saved_residuals",
    "saved_residuals",
]  # fmt: skip
