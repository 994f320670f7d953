"""Activations as layers: `functional.py` says what each computes."""

from __future__ import annotations

import funcgrad.numpy as jnp
from funcgrad_nn import functional
from funcgrad_nn.layers.checks import positive
from funcgrad_nn.module import Module


class ReLU(Module):
    """max(x, 0); the derivative at 0 is 0.

    >>> print(nn.ReLU().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0])
    [0. 0. 2.]
    """

    def forward(self, x):
        return functional.relu(x)


class ReLU6(Module):
    """min(max(x, 0), 6) (Krizhevsky, 2010).

    >>> print(nn.ReLU6().apply({}, {}, jnp.array([-2.0, 3.0, 8.0]))[0])
    [0. 3. 6.]
    """

    def forward(self, x):
        return functional.relu6(x)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x (Maas et al., 2013).

    >>> print(nn.LeakyReLU(0.1).apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0])
    [-0.2  0.   2. ]
    """

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def forward(self, x):
        return functional.leaky_relu(x, self.negative_slope)


class PReLU(Module):
    """x where x > 0, else weight * x with trained weights (He et al., 2015).

    There is one weight, or one for each of `num_parameters` channels (axis 1); it starts at `init`.

    >>> layer = nn.PReLU()
    >>> params, state = layer.init(fg.random.key(0))
    >>> print(layer.apply(params, state, jnp.array([-2.0, 0.0, 2.0]))[0])
    [-0.5  0.   2. ]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25):
        self.num_parameters = positive("PReLU", "num_parameters", num_parameters)
        self.start = init

    def parameters(self, key) -> dict:
        return {"weight": jnp.full((self.num_parameters,), self.start, jnp.float32)}

    def forward(self, x):
        return functional.prelu(x, self.p.weight)


class RReLU(Module):
    """Leaky ReLU with a slope from U(lower, upper) for each entry while training (Xu et al., 2015).

    Otherwise the slope is the mean of the two. Draws from the key given to `apply`.

    >>> print(nn.RReLU(0.0, 0.5).apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0])
    [-0.5  0.   2. ]
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3):
        if lower > upper:
            raise ValueError(f"RReLU: lower={lower} must not be greater than upper={upper}.")
        self.lower, self.upper = lower, upper

    def forward(self, x):
        return functional.rrelu(x, self.lower, self.upper, self.key() if self.train else None)


class Threshold(Module):
    """x where x > threshold, else value.

    >>> print(nn.Threshold(1.0, 5.0).apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0])
    [5. 5. 2.]
    """

    def __init__(self, threshold: float, value: float):
        self.threshold, self.value = threshold, value

    def forward(self, x):
        return functional.threshold(x, self.threshold, self.value)


class Hardtanh(Module):
    """x between min_val and max_val.

    >>> print(nn.Hardtanh(-1.0, 0.5).apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0])
    [-1.   0.   0.5]
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0):
        if min_val >= max_val:
            raise ValueError(f"Hardtanh: min_val={min_val} must be below max_val={max_val}.")
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x):
        return functional.hardtanh(x, self.min_val, self.max_val)


class Hardsigmoid(Module):
    """relu6(x + 3) / 6 (Howard et al., 2019).

    >>> print(jnp.round(nn.Hardsigmoid().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [0.167 0.5   0.833]
    """

    def forward(self, x):
        return functional.hardsigmoid(x)


class Hardswish(Module):
    """x * hardsigmoid(x) (Howard et al., 2019).

    >>> print(jnp.round(nn.Hardswish().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-0.333  0.     1.667]
    """

    def forward(self, x):
        return functional.hardswish(x)


class Hardshrink(Module):
    """x where |x| > lambd, else 0.

    >>> print(nn.Hardshrink().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0])
    [-2.  0.  2.]
    """

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd

    def forward(self, x):
        return functional.hardshrink(x, self.lambd)


class Softshrink(Module):
    """x - lambd above lambd, x + lambd below -lambd, 0 between.

    >>> print(nn.Softshrink().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0])
    [-1.5  0.   1.5]
    """

    def __init__(self, lambd: float = 0.5):
        if lambd < 0:
            raise ValueError(f"Softshrink: lambd must not be negative, but got {lambd}.")
        self.lambd = lambd

    def forward(self, x):
        return functional.softshrink(x, self.lambd)


class Tanhshrink(Module):
    """x - tanh(x).

    >>> print(jnp.round(nn.Tanhshrink().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-1.036  0.     1.036]
    """

    def forward(self, x):
        return functional.tanhshrink(x)


class Tanh(Module):
    """The hyperbolic tangent.

    >>> print(jnp.round(nn.Tanh().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-0.964  0.     0.964]
    """

    def forward(self, x):
        return functional.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), without overflow.

    >>> print(jnp.round(nn.Sigmoid().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [0.119 0.5   0.881]
    """

    def forward(self, x):
        return functional.sigmoid(x)


class LogSigmoid(Module):
    """log(sigmoid(x)), without overflow.

    >>> print(jnp.round(nn.LogSigmoid().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-2.127 -0.693 -0.127]
    """

    def forward(self, x):
        return functional.logsigmoid(x)


class SiLU(Module):
    """x * sigmoid(x), also called swish (Elfwing et al., 2017).

    >>> print(jnp.round(nn.SiLU().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-0.238  0.     1.762]
    """

    def forward(self, x):
        return functional.silu(x)


class Mish(Module):
    """x * tanh(softplus(x)) (Misra, 2019).

    >>> print(jnp.round(nn.Mish().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-0.253  0.     1.944]
    """

    def forward(self, x):
        return functional.mish(x)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, without overflow; x itself where beta x > threshold.

    >>> print(jnp.round(nn.Softplus().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [0.127 0.693 2.127]
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta, self.threshold = beta, threshold

    def forward(self, x):
        return functional.softplus(x, self.beta, self.threshold)


class Softsign(Module):
    """x / (1 + |x|).

    >>> print(jnp.round(nn.Softsign().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-0.667  0.     0.667]
    """

    def forward(self, x):
        return functional.softsign(x)


class ELU(Module):
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2015).

    >>> print(jnp.round(nn.ELU().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-0.865  0.     2.   ]
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def forward(self, x):
        return functional.elu(x, self.alpha)


class CELU(Module):
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (Barron, 2017).

    >>> print(jnp.round(nn.CELU().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-0.865  0.     2.   ]
    """

    def __init__(self, alpha: float = 1.0):
        if alpha == 0:
            raise ValueError("CELU: alpha must not be 0.")
        self.alpha = alpha

    def forward(self, x):
        return functional.celu(x, self.alpha)


class SELU(Module):
    """1.0507 * elu(x, 1.6733): keeps mean 0 and variance 1 (Klambauer et al., 2017).

    >>> print(jnp.round(nn.SELU().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-1.52   0.     2.101]
    """

    def forward(self, x):
        return functional.selu(x)


class GELU(Module):
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016).

    `approximate="tanh"` (or True) takes the form with tanh, which differs by up to 5e-4.

    >>> print(jnp.round(nn.GELU().apply({}, {}, jnp.array([-2.0, 0.0, 2.0]))[0], 3))
    [-0.046  0.     1.954]
    """

    def __init__(self, approximate: str | bool = "none"):
        self.approximate = approximate

    def forward(self, x):
        return functional.gelu(x, self.approximate)


class GLU(Module):
    """a * sigmoid(b), a and b the halves of the input along `dim` (Dauphin et al., 2016).

    >>> print(jnp.round(nn.GLU().apply({}, {}, jnp.array([[1.0, 2.0, 0.0, 2.0]]))[0], 3))
    [[0.5   1.762]]
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x):
        return functional.glu(x, self.dim)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along `dim`.

    >>> print(jnp.round(nn.Softmax().apply({}, {}, jnp.array([1.0, 2.0, 3.0]))[0], 3))
    [0.09  0.245 0.665]
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x):
        return functional.softmax(x, self.dim)


class Softmin(Module):
    """softmax(-x) along `dim`.

    >>> print(jnp.round(nn.Softmin().apply({}, {}, jnp.array([1.0, 2.0, 3.0]))[0], 3))
    [0.665 0.245 0.09 ]
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x):
        return functional.softmin(x, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W).

    >>> y, _ = nn.Softmax2d().apply({}, {}, jnp.ones((1, 4, 2, 2)))
    >>> print(y[0, :, 0, 0])
    [0.25 0.25 0.25 0.25]
    """

    def forward(self, x):
        if x.ndim not in (3, 4):
            raise ValueError(
                "Softmax2d: needs an input (N, C, H, W) or (C, H, W), but its shape is "
                f"{tuple(x.shape)}."
            )
        return functional.softmax(x, -3)


class LogSoftmax(Module):
    """x - log(sum(exp(x))) along `dim`.

    >>> print(jnp.round(nn.LogSoftmax().apply({}, {}, jnp.array([1.0, 2.0, 3.0]))[0], 3))
    [-2.408 -1.408 -0.408]
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x):
        return functional.log_softmax(x, self.dim)
