"""Activation functions, softmax and its relatives, and one-hot encoding, as in `jax.nn`.

Pure functions of arrays of any shape; they work under every transformation. Attention is in
`attention`, initial values of weights in `initializers`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from funcgrad import lax, numpy as jnp
from funcgrad.core import dtypes
from funcgrad.numpy.axes import axis_index, axis_indices, integer
from funcgrad.numpy.promote import as_array
from funcgrad.primitives import activation

Axis = int | Sequence[int] | None
tanh = jnp.tanh


def _inexact(name: str, x: Any) -> Any:
    """An array of floats: integers become floats of the default width."""
    x = as_array(name, x)
    return x if dtypes.is_inexact(x.dtype) else x.astype(dtypes.to_inexact(x.dtype))


# ---- piecewise linear and quadratic --------------------------------------------------------------


def identity(x: Any) -> Any:
    """x itself, as an array."""
    return as_array("identity", x)


def relu(x: Any) -> Any:
    """max(x, 0), with derivative 0 at 0.

    >>> from funcgrad import nn, numpy as jnp
    >>> nn.relu(jnp.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    return activation.relu(as_array("relu", x))


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6), with derivative 0 at both bends."""
    x = _inexact("relu6", x)
    return lax.clamp(0.0, x, 6.0)


def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Any:
    """x for x >= 0, negative_slope * x below."""
    x = as_array("leaky_relu", x)
    return jnp.where(x >= 0, x, negative_slope * x)


def hard_tanh(x: Any) -> Any:
    """x limited to [-1, 1]."""
    x = as_array("hard_tanh", x)
    return jnp.where(x > 1, 1, jnp.where(x < -1, -1, x))


def hard_sigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6."""
    return relu6(as_array("hard_sigmoid", x) + 3.0) / 6.0


def hard_silu(x: Any) -> Any:
    """x * hard_sigmoid(x); also called hard_swish."""
    x = as_array("hard_silu", x)
    return x * hard_sigmoid(x)


hard_swish = hard_silu


def sparse_plus(x: Any) -> Any:
    """0 below -1, x above 1, the parabola (x + 1)**2 / 4 between."""
    x = as_array("sparse_plus", x)
    return jnp.where(x <= -1.0, 0.0, jnp.where(x >= 1.0, x, (x + 1.0) ** 2 / 4))


def sparse_sigmoid(x: Any) -> Any:
    """(x + 1) / 2 limited to [0, 1]: the derivative of sparse_plus."""
    return 0.5 * jnp.clip(as_array("sparse_sigmoid", x) + 1.0, 0.0, 2.0)


# ---- smooth --------------------------------------------------------------------------------------


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); no x overflows."""
    return lax.logistic(_inexact("sigmoid", x))


def silu(x: Any) -> Any:
    """x * sigmoid(x); also called swish."""
    x = as_array("silu", x)
    return x * sigmoid(x)


swish = silu


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    return jnp.logaddexp(as_array("softplus", x), 0)


def log_sigmoid(x: Any) -> Any:
    """log(sigmoid(x)) = -softplus(-x), accurate where the sigmoid underflows."""
    return -softplus(-as_array("log_sigmoid", x))


def soft_sign(x: Any) -> Any:
    """x / (1 + |x|)."""
    x = as_array("soft_sign", x)
    return x / (jnp.abs(x) + 1)


def squareplus(x: Any, b: Any = 4) -> Any:
    """(x + sqrt(x**2 + b)) / 2: a softplus of algebraic operations."""
    x = as_array("squareplus", x)
    return (x + jnp.sqrt(jnp.square(x) + b)) / 2


def mish(x: Any) -> Any:
    """x * tanh(softplus(x))."""
    x = as_array("mish", x)
    return x * jnp.tanh(softplus(x))


def elu(x: Any, alpha: Any = 1.0) -> Any:
    """x for x > 0, alpha * (exp(x) - 1) below."""
    x = as_array("elu", x)
    below = jnp.where(x > 0, 0.0, x)  # what is not used must not overflow
    return jnp.where(x > 0, x, alpha * jnp.expm1(below))


def celu(x: Any, alpha: Any = 1.0) -> Any:
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0), which is smooth for every alpha."""
    x = as_array("celu", x)
    return jnp.maximum(x, 0.0) + alpha * jnp.expm1(jnp.minimum(x, 0.0) / alpha)


def selu(x: Any) -> Any:
    """The scaled elu whose activations keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    return 1.0507009873554805 * elu(as_array("selu", x), 1.6732632423543772)


def gelu(x: Any, approximate: bool = True) -> Any:
    """x times the normal cumulative distribution at x; by a tanh formula if `approximate`
    (Hendrycks, Gimpel 2016).
    """
    x = _inexact("gelu", x)
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return x * (0.5 * (1.0 + jnp.tanh(inner)))
    return 0.5 * x * lax.erfc(-x * math.sqrt(0.5))


def glu(x: Any, axis: int = -1) -> Any:
    """The first half of x along `axis`, gated by the sigmoid of the second half."""
    x = as_array("glu", x)
    axis = axis_index("glu", axis, x.ndim)
    if x.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} must have an even size, but the shape is {x.shape}.")
    values, gates = jnp.split(x, 2, axis)
    return values * sigmoid(gates)


def log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)) for x > 0, accurate at both ends (Maechler 2012)."""
    x = _inexact("log1mexp", x)
    near = x < math.log(2)
    # each branch sees only arguments that it is good for, so that neither gradient is NaN
    small = jnp.log(-jnp.expm1(-jnp.where(near, x, 1.0)))
    return jnp.where(near, small, jnp.log1p(-jnp.exp(-jnp.where(near, 1.0, x))))


# ---- sums of exponentials ------------------------------------------------------------------------


def logsumexp(
    a: Any,
    axis: Axis = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: Any = None,
) -> Any:
    """log(sum(b * exp(a))) along `axis` (all of it if None), without overflow; -inf if all of `a`
    is -inf.

    Args:
        b: factors; where the sum is negative the result is NaN, unless `return_sign`.
        keepdims: leave reduced dimensions in, with size 1.
        return_sign: return (log of the absolute sum, sign of the sum).
        where: which elements take part.
    """
    a = _inexact("logsumexp", a)
    axis = axis_indices("logsumexp", axis, a.ndim)
    if b is not None:
        dtype = dtypes.to_inexact(jnp.promote_types(a.dtype, as_array("logsumexp", b).dtype))
        a, b = a.astype(dtype), jnp.asarray(b, dtype=dtype)
        a = jnp.where(b != 0, a, -math.inf)  # 0 * exp(inf) counts nothing
    if where is not None:
        a = jnp.where(where, a, 0.0)
    real = jnp.real(a) if dtypes.is_complex(a.dtype) else a
    top = jnp.max(real, axis=axis, keepdims=True, where=where, initial=-math.inf)
    top = lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0.0))
    terms = jnp.exp(a - top) if b is None else b * jnp.exp(a - top)
    total = jnp.sum(terms, axis=axis, keepdims=keepdims, where=where)
    return _log_of_sum(total, top.reshape(total.shape), b is not None, return_sign)


def _log_of_sum(total: Any, top: Any, signed: bool, return_sign: bool) -> Any:
    complex_ = dtypes.is_complex(total.dtype)
    size = jnp.abs(total) if return_sign or (signed and not complex_) else total
    result = jnp.log(size) + top
    if return_sign:
        return result, jnp.sign(total)
    return jnp.where(total < 0, math.nan, result) if signed and not complex_ else result


def logmeanexp(x: Any, axis: Axis = None, where: Any = None, keepdims: bool = False) -> Any:
    """log(mean(exp(x))) along `axis`, without overflow."""
    x = _inexact("logmeanexp", x)
    axis = axis_indices("logmeanexp", axis, x.ndim)
    taken = jnp.ones_like(x) if where is None else jnp.broadcast_to(where, x.shape).astype(x.dtype)
    count = jnp.sum(taken, axis=axis, keepdims=keepdims)
    return logsumexp(x, axis=axis, where=where, keepdims=keepdims) - jnp.log(count)


def _shifted(x: Any, axis: Axis, where: Any) -> Any:
    """x minus its largest element along `axis`, and -inf for elements that do not take part."""
    top = jnp.max(x, axis, where=where, initial=-math.inf, keepdims=True)
    taken = x if where is None else jnp.where(where, x, -math.inf)
    return taken - lax.stop_gradient(top)


def softmax(x: Any, axis: Axis = -1, where: Any = None) -> Any:
    """exp(x) / sum(exp(x)) along `axis`, without overflow; 0 where `where` is False.

    >>> from funcgrad import nn, numpy as jnp
    >>> nn.softmax(jnp.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    x = _inexact("softmax", x)
    axis = axis_indices("softmax", axis, x.ndim)
    weights = jnp.exp(_shifted(x, axis, where))
    result = weights / jnp.sum(weights, axis, where=where, keepdims=True)
    return result if where is None else jnp.where(where, result, 0.0)


def log_softmax(x: Any, axis: Axis = -1, where: Any = None) -> Any:
    """log(softmax(x)), accurate where the softmax underflows; -inf where `where` is False."""
    x = _inexact("log_softmax", x)
    axis = axis_indices("log_softmax", axis, x.ndim)
    shifted = _shifted(x, axis, where)
    result = shifted - jnp.log(jnp.sum(jnp.exp(shifted), axis, where=where, keepdims=True))
    return result if where is None else jnp.where(where, result, -math.inf)


# ---- others --------------------------------------------------------------------------------------


def standardize(
    x: Any,
    axis: Axis = -1,
    mean: Any = None,
    variance: Any = None,
    epsilon: Any = 1e-5,
    where: Any = None,
    *,
    algorithm: str = "fast",
) -> Any:
    """(x - mean) / sqrt(variance + epsilon), both taken along `axis` unless given.

    `algorithm` says how the variance is computed: "fast" as mean(x**2) - mean(x)**2, "stable" from
    the deviations.
    """
    if algorithm not in ("fast", "stable"):
        raise ValueError(f"standardize: algorithm is 'fast' or 'stable', but got {algorithm!r}.")
    x = _inexact("standardize", x)
    axis = axis_indices("standardize", axis, x.ndim)
    if mean is None:
        mean = jnp.mean(x, axis, keepdims=True, where=where)
    if variance is None and algorithm == "stable":
        variance = jnp.mean(jnp.square(x - mean), axis, keepdims=True, where=where)
    elif variance is None:
        spread = jnp.mean(jnp.square(x), axis, keepdims=True, where=where) - jnp.square(mean)
        variance = jnp.maximum(spread, 0.0)  # rounding can leave a little less than nothing
    return (x - mean) * lax.rsqrt(_inexact("standardize", variance + epsilon))


def one_hot(x: Any, num_classes: int, *, dtype: Any = None, axis: int = -1) -> Any:
    """1 at the index that x holds and 0 elsewhere, along a new dimension at `axis`; all 0 for
    indices out of range.

    >>> from funcgrad import nn, numpy as jnp
    >>> nn.one_hot(jnp.array([0, 2]), 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x = jnp.asarray(x)
    rank = x.ndim + 1
    axis = axis_index("one_hot", axis, rank)
    num_classes = integer("one_hot", "num_classes", num_classes)
    shape = [1] * rank
    shape[axis] = num_classes
    classes = jnp.arange(num_classes, dtype=x.dtype).reshape(shape)
    return (jnp.expand_dims(x, axis) == classes).astype(
        dtypes.as_dtype(float if dtype is None else dtype)
    )
