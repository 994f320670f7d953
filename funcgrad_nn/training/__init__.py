"""Training: one compiled step, and the loop around it for those who want one."""

from funcgrad_nn.training.callbacks import Callback, EarlyStopping, Epoch, Step
from funcgrad_nn.training.evaluate import evaluate, predict
from funcgrad_nn.training.fit import Fitted, fit
from funcgrad_nn.training.plot import plot
from funcgrad_nn.training.step import TrainState, make_train_step, start

__all__ = [
    "Callback",
    "EarlyStopping",
    "Epoch",
    "Fitted",
    "Step",
    "TrainState",
    "evaluate",
    "fit",
    "make_train_step",
    "plot",
    "predict",
    "start",
]
