"""Activations as functions, with PyTorch's names, options, and derivatives where a curve has kinks.

All work on arrays of any shape and keep their dtype; the layers of the same name in CamelCase are
in `activations.py`. Where the slope jumps, the derivative is stated in the docstring.
"""

from __future__ import annotations

import funcgrad as fg
import funcgrad.nn as functions
import funcgrad.numpy as jnp

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
]

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def relu(x):
    """max(x, 0); the derivative at 0 is 0.

    >>> print(nn.functional.relu(jnp.array([-2.0, 0.0, 2.0])))
    [0. 0. 2.]
    """
    return functions.relu(x)


def relu6(x):
    """min(max(x, 0), 6) (Krizhevsky, 2010); the derivative at 0 and 6 is 0.

    >>> print(nn.functional.relu6(jnp.array([-2.0, 3.0, 8.0])))
    [0. 3. 6.]
    """
    return hardtanh(x, 0.0, 6.0)


def leaky_relu(x, negative_slope: float = 0.01):
    """x where x > 0, else negative_slope * x (Maas et al., 2013).

    >>> print(nn.functional.leaky_relu(jnp.array([-2.0, 0.0, 2.0])))
    [-0.02  0.    2.  ]
    """
    return jnp.where(x > 0, x, negative_slope * x)


def prelu(x, weight):
    """x where x > 0, else weight * x (He et al., 2015); one weight, or one for each channel.

    Channels are on axis 1. Raises `ValueError` for another number of weights.

    >>> print(nn.functional.prelu(jnp.array([-2.0, 0.0, 2.0]), jnp.array([0.25])))
    [-0.5  0.   2. ]
    """
    if weight.size != 1:
        if x.ndim < 2 or x.shape[1] != weight.size:
            raise ValueError(
                f"prelu: {weight.size} weights need as many channels on axis 1, but the input's "
                f"shape is {tuple(x.shape)}."
            )
        weight = weight.reshape(-1, *(1,) * (x.ndim - 2))
    return jnp.where(x > 0, x, weight * x)


def rrelu(x, lower: float = 1 / 8, upper: float = 1 / 3, key=None):
    """Leaky ReLU with slopes drawn from U(lower, upper), one for each entry (Xu et al., 2015).

    Without a key the slope is the mean of the two.

    >>> print(nn.functional.rrelu(jnp.array([-2.0, 0.0, 2.0]), 0.0, 0.5))
    [-0.5  0.   2. ]
    """
    if key is None:
        return leaky_relu(x, (lower + upper) / 2)
    return leaky_relu(x, fg.random.uniform(key, x.shape, x.dtype, lower, upper))


def threshold(x, threshold: float, value: float):
    """x where x > threshold, else value.

    >>> print(nn.functional.threshold(jnp.array([-2.0, 0.0, 2.0]), 1.0, 5.0))
    [5. 5. 2.]
    """
    return jnp.where(x > threshold, x, jnp.full_like(x, value))


def hardtanh(x, min_val: float = -1.0, max_val: float = 1.0):
    """x between min_val and max_val; the derivative at both is 0.

    >>> print(nn.functional.hardtanh(jnp.array([-2.0, 0.0, 2.0]), -1.0, 0.5))
    [-1.   0.   0.5]
    """
    above = jnp.where(x > min_val, x, jnp.full_like(x, min_val))
    return jnp.where(x < max_val, above, jnp.full_like(x, max_val))


def hardsigmoid(x):
    """relu6(x + 3) / 6 (Howard et al., 2019).

    >>> print(jnp.round(nn.functional.hardsigmoid(jnp.array([-2.0, 0.0, 2.0])), 3))
    [0.167 0.5   0.833]
    """
    return relu6(x + 3) / 6


def hardswish(x):
    """x * hardsigmoid(x) (Howard et al., 2019).

    >>> print(jnp.round(nn.functional.hardswish(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-0.333  0.     1.667]
    """
    return x * hardsigmoid(x)


def hardshrink(x, lambd: float = 0.5):
    """x where |x| > lambd, else 0; the derivative at both ends is 0.

    >>> print(nn.functional.hardshrink(jnp.array([-2.0, 0.0, 2.0])))
    [-2.  0.  2.]
    """
    return jnp.where(jnp.abs(x) > lambd, x, jnp.zeros_like(x))


def softshrink(x, lambd: float = 0.5):
    """x - lambd above lambd, x + lambd below -lambd, 0 between; the derivative at the ends is 0.

    >>> print(nn.functional.softshrink(jnp.array([-2.0, 0.0, 2.0])))
    [-1.5  0.   1.5]
    """
    zeros = jnp.zeros_like(x)
    return jnp.where(x > lambd, x - lambd, jnp.where(x < -lambd, x + lambd, zeros))


def tanhshrink(x):
    """x - tanh(x).

    >>> print(jnp.round(nn.functional.tanhshrink(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-1.036  0.     1.036]
    """
    return x - jnp.tanh(x)


def tanh(x):
    """The hyperbolic tangent.

    >>> print(jnp.round(nn.functional.tanh(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-0.964  0.     0.964]
    """
    return jnp.tanh(x)


def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow.

    >>> print(jnp.round(nn.functional.sigmoid(jnp.array([-2.0, 0.0, 2.0])), 3))
    [0.119 0.5   0.881]
    """
    return functions.sigmoid(x)


def logsigmoid(x):
    """log(sigmoid(x)), without overflow.

    >>> print(jnp.round(nn.functional.logsigmoid(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-2.127 -0.693 -0.127]
    """
    return functions.log_sigmoid(x)


def silu(x):
    """x * sigmoid(x), also called swish (Elfwing et al., 2017).

    >>> print(jnp.round(nn.functional.silu(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-0.238  0.     1.762]
    """
    return functions.silu(x)


def mish(x):
    """x * tanh(softplus(x)) (Misra, 2019).

    >>> print(jnp.round(nn.functional.mish(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-0.253  0.     1.944]
    """
    return functions.mish(x)


def softplus(x, beta: float = 1.0, threshold: float = 20.0):
    """log(1 + exp(beta x)) / beta, without overflow; x itself where beta x > threshold.

    >>> print(jnp.round(nn.functional.softplus(jnp.array([-2.0, 0.0, 2.0])), 3))
    [0.127 0.693 2.127]
    """
    scaled = beta * x
    return jnp.where(scaled > threshold, x, functions.softplus(scaled) / beta)


def softsign(x):
    """x / (1 + |x|); the derivative at 0 is 1.

    >>> print(jnp.round(nn.functional.softsign(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-0.667  0.     0.667]
    """
    return x / (1 + jnp.abs(x))


def elu(x, alpha: float = 1.0):
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2015).

    >>> print(jnp.round(nn.functional.elu(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-0.865  0.     2.   ]
    """
    return functions.elu(x, alpha)


def celu(x, alpha: float = 1.0):
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (Barron, 2017).

    >>> print(jnp.round(nn.functional.celu(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-0.865  0.     2.   ]
    """
    below = jnp.where(x > 0, jnp.zeros_like(x), x)
    return jnp.where(x > 0, x, alpha * jnp.expm1(below / alpha))


def selu(x):
    """1.0507 * elu(x, 1.6733): keeps mean 0 and variance 1 (Klambauer et al., 2017).

    >>> print(jnp.round(nn.functional.selu(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-1.52   0.     2.101]
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


def gelu(x, approximate: str | bool = "none"):
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016).

    `approximate="tanh"` (or True) takes the form with tanh, which differs by up to 5e-4.

    >>> print(jnp.round(nn.functional.gelu(jnp.array([-2.0, 0.0, 2.0])), 3))
    [-0.046  0.     1.954]
    """
    if approximate not in ("none", "tanh", False, True):
        raise ValueError(f'gelu: approximate is "none" or "tanh", but got {approximate!r}.')
    return functions.gelu(x, approximate=approximate in ("tanh", True))


def glu(x, dim: int = -1):
    """a * sigmoid(b), a and b the halves of x along `dim` (Dauphin et al., 2016).

    >>> print(jnp.round(nn.functional.glu(jnp.array([1.0, 2.0, 0.0, 2.0])), 3))
    [0.5   1.762]
    """
    if x.shape[dim] % 2:
        raise ValueError(
            f"glu: axis {dim} must have an even size, but the input's shape is {tuple(x.shape)}."
        )
    return functions.glu(x, axis=dim)


def softmax(x, dim: int = -1):
    """exp(x) / sum(exp(x)) along `dim`, without overflow.

    >>> print(jnp.round(nn.functional.softmax(jnp.array([1.0, 2.0, 3.0])), 3))
    [0.09  0.245 0.665]
    """
    return functions.softmax(x, axis=dim)


def softmin(x, dim: int = -1):
    """softmax(-x) along `dim`.

    >>> print(jnp.round(nn.functional.softmin(jnp.array([1.0, 2.0, 3.0])), 3))
    [0.665 0.245 0.09 ]
    """
    return functions.softmax(-x, axis=dim)


def log_softmax(x, dim: int = -1):
    """x - log(sum(exp(x))) along `dim`, without overflow.

    >>> print(jnp.round(nn.functional.log_softmax(jnp.array([1.0, 2.0, 3.0])), 3))
    [-2.408 -1.408 -0.408]
    """
    return functions.log_softmax(x, axis=dim)
