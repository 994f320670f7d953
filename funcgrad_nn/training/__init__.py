"""Training: one compiled step, and the loop around it for those who want one."""

from funcgrad_nn.training.fit import Epoch, Fitted, fit
from funcgrad_nn.training.plot import plot
from funcgrad_nn.training.step import TrainState, evaluate, make_train_step, predict, start

__all__ = [
    "Epoch",
    "Fitted",
    "TrainState",
    "evaluate",
    "fit",
    "make_train_step",
    "plot",
    "predict",
    "start",
]
