"""Optimizers by name, each a chain of parts. `learning_rate` is a number or a schedule.

Arguments, defaults and values are optax's where it has the name; options that reproduce PyTorch
are keywords. A number outside its domain raises `ValueError` with its name.
"""

from funcgrad_nn.optim.recipes.adams import (
    adam,
    adamax,
    adamw,
    amsgrad,
    lamb,
    lion,
    nadam,
    radam,
)
from funcgrad_nn.optim.recipes.adaptive import adadelta, adafactor, adagrad, rmsprop
from funcgrad_nn.optim.recipes.descent import lars, momentum, muon, proximal_sgd, sgd

__all__ = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "lamb",
    "lars",
    "lion",
    "momentum",
    "muon",
    "nadam",
    "proximal_sgd",
    "radam",
    "rmsprop",
    "sgd",
]
