"""funcgrad_nn: models, losses, optimizers, data and training on top of funcgrad.

A module is a description without arrays; its parameters and state are plain nested dictionaries, so
every transformation of funcgrad works on models as it does on any function.
"""

from funcgrad_nn import data, init, losses, metrics, optim, saving, training
from funcgrad_nn.activations import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from funcgrad_nn.layers.containers import Residual, Sequential
from funcgrad_nn.layers.conv import Conv2d
from funcgrad_nn.layers.dropout import Dropout, GaussianNoise
from funcgrad_nn.layers.embedding import Embedding
from funcgrad_nn.layers.linear import Flatten, Identity, Lambda, LazyLinear, Linear, Reshape
from funcgrad_nn.layers.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, LayerNorm
from funcgrad_nn.layers.pool import AvgPool2d, MaxPool2d
from funcgrad_nn.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from funcgrad_nn.metrics import accuracy, confusion_matrix, per_class_accuracy
from funcgrad_nn.module import Module
from funcgrad_nn.names import register_function
from funcgrad_nn.saving import CheckpointManager, load, load_model, save, save_model
from funcgrad_nn.training import TrainState, evaluate, fit, make_train_step, plot, predict

from_json = Module.from_json

__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "CheckpointManager",
    "Conv2d",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "GELU",
    "GaussianNoise",
    "Identity",
    "Lambda",
    "LayerNorm",
    "LazyLinear",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Module",
    "ReLU",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "TrainState",
    "accuracy",
    "binary_cross_entropy",
    "confusion_matrix",
    "cross_entropy",
    "data",
    "evaluate",
    "fit",
    "from_json",
    "huber",
    "init",
    "load",
    "load_model",
    "losses",
    "mae",
    "make_train_step",
    "metrics",
    "mse",
    "optim",
    "per_class_accuracy",
    "plot",
    "predict",
    "register_function",
    "save",
    "save_model",
    "saving",
    "training",
]
