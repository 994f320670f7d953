"""Training: one compiled step, and the loop around it for those who want one."""

from funcgrad_nn.training.callbacks import Callback, EarlyStopping, Epoch, Step
from funcgrad_nn.training.compiled import Compiled, compile
from funcgrad_nn.training.curves import LiveCurves, text_plot
from funcgrad_nn.training.evaluate import evaluate, predict
from funcgrad_nn.training.fit import Fitted, fit
from funcgrad_nn.training.loggers import CSVLogger, TensorBoardLogger
from funcgrad_nn.training.plot import plot
from funcgrad_nn.training.step import TrainState, make_train_step, start

__all__ = [
    "CSVLogger",
    "Callback",
    "Compiled",
    "EarlyStopping",
    "Epoch",
    "Fitted",
    "LiveCurves",
    "Step",
    "TensorBoardLogger",
    "TrainState",
    "compile",
    "evaluate",
    "fit",
    "make_train_step",
    "plot",
    "predict",
    "start",
    "text_plot",
]
