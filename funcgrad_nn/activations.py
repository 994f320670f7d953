"""Activations as modules without parameters, each around a function of `funcgrad.nn`."""

from __future__ import annotations

import funcgrad.nn as functions
import funcgrad.numpy as jnp
from funcgrad_nn.module import Module


class ReLU(Module):
    """max(x, 0); the derivative at 0 is 0."""

    def forward(self, x):
        return functions.relu(x)


class LeakyReLU(Module):
    """x where x >= 0, else negative_slope * x (Maas et al., 2013)."""

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def forward(self, x):
        return functions.leaky_relu(x, self.negative_slope)


class ELU(Module):
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2015)."""

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def forward(self, x):
        return functions.elu(x, self.alpha)


class GELU(Module):
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016).

    `approximate=True` takes the form with tanh, which differs by up to 5e-4.
    """

    def __init__(self, approximate: bool = False):
        self.approximate = approximate

    def forward(self, x):
        return functions.gelu(x, approximate=self.approximate)


class SiLU(Module):
    """x * sigmoid(x), also called swish (Elfwing et al., 2017)."""

    def forward(self, x):
        return functions.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), without overflow."""

    def forward(self, x):
        return functions.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x):
        return jnp.tanh(x)


class Softplus(Module):
    """log(1 + exp(x)), without overflow."""

    def forward(self, x):
        return functions.softplus(x)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, x):
        return functions.soft_sign(x)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along `axis`."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, x):
        return functions.softmax(x, axis=self.axis)


class LogSoftmax(Module):
    """x - log(sum(exp(x))) along `axis`."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, x):
        return functions.log_softmax(x, axis=self.axis)
