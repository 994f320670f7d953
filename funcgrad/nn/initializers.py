"""Initial values of weights: functions `(key, shape, dtype) -> array`, and makers of such
functions.

The variance-scaling family keeps the size of activations or gradients the same from layer to layer:
the variance of a weight is scale / fan, where the fan is the number of inputs or outputs (or their
mean) that a unit has. The same key gives the same numbers as in `jax.nn.initializers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import numpy as jnp, random
from funcgrad.core import dtypes

Initializer = Callable[..., Any]
Axes = int | Sequence[int]


def _dtype(dtype: Any) -> np.dtype:
    return dtypes.as_dtype(float if dtype is None else dtype)


def zeros(key: Any, shape: Sequence[int], dtype: Any = None) -> Any:
    """All zero; the key is not used."""
    return jnp.zeros(shape, _dtype(dtype))


def ones(key: Any, shape: Sequence[int], dtype: Any = None) -> Any:
    """All one; the key is not used."""
    return jnp.ones(shape, _dtype(dtype))


def constant(value: Any, dtype: Any = None) -> Initializer:
    """All equal to `value`, which broadcasts."""

    def init(key, shape, dtype=dtype):
        return jnp.full(shape, value, dtype=_dtype(dtype))

    return init


def uniform(scale: Any = 0.01, dtype: Any = None) -> Initializer:
    """Uniform on [0, scale)."""

    def init(key, shape, dtype=dtype):
        dtype = _dtype(dtype)
        return random.uniform(key, shape, dtype) * jnp.asarray(scale, dtype=dtype)

    return init


def normal(stddev: Any = 0.01, dtype: Any = None) -> Initializer:
    """Normal with mean 0 and the given standard deviation."""

    def init(key, shape, dtype=dtype):
        dtype = _dtype(dtype)
        return random.normal(key, shape, dtype) * jnp.asarray(stddev, dtype=dtype)

    return init


def truncated_normal(
    stddev: Any = 0.01, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0
) -> Initializer:
    """`stddev` times a standard normal number that lies in (lower, upper).

    For the default bounds the standard deviation of the result is 0.8796 * stddev.
    """

    def init(key, shape, dtype=dtype):
        dtype = _dtype(dtype)
        return random.truncated_normal(key, lower, upper, shape, dtype) * jnp.asarray(
            stddev, dtype=dtype
        )

    return init


# ---- variance scaling ----------------------------------------------------------------------------


def _size(shape: Sequence[int], axes: Axes) -> int:
    return shape[axes] if isinstance(axes, int) else math.prod(shape[axis] for axis in axes)


def _fans(
    shape: Sequence[int], in_axis: Axes, out_axis: Axes, batch_axis: Axes
) -> tuple[float, float]:
    """Inputs and outputs of a unit; what is neither input, output nor batch is the window of a
    convolution.
    """
    if len(shape) <= 1 and in_axis == -2:
        raise ValueError(
            f"variance_scaling: needs weights of rank 2 or more, but got shape {tuple(shape)}. "
            "Give in_axis for others."
        )
    inputs, outputs = _size(shape, in_axis), _size(shape, out_axis)
    window = math.prod(shape) / inputs / outputs / _size(shape, batch_axis)
    return inputs * window, outputs * window


_MODES = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
    "fan_geo_avg": lambda fan_in, fan_out: (fan_in * fan_out) ** 0.5,
}

# standard deviation of a standard normal number within (-2, 2), and of a complex one within radius
# 2
_TRUNCATED, _TRUNCATED_COMPLEX = 0.8796256610342398, 0.9531116438049121


def _truncated_normal_of(key: Any, shape: Any, dtype: np.dtype, variance: Any) -> Any:
    if dtypes.is_complex(dtype):
        return _complex_disc(key, shape, dtype, 2.0) * (
            jnp.sqrt(variance) / jnp.asarray(_TRUNCATED_COMPLEX, dtype=dtype)
        )
    return random.truncated_normal(key, -2, 2, shape, dtype) * (
        jnp.sqrt(variance) / jnp.asarray(_TRUNCATED, dtype=dtype)
    )


def _uniform_of(key: Any, shape: Any, dtype: np.dtype, variance: Any) -> Any:
    if dtypes.is_complex(dtype):
        return _complex_disc(key, shape, dtype, None) * jnp.sqrt(variance)
    return random.uniform(key, shape, dtype, -1) * jnp.sqrt(3 * variance)


def _complex_disc(key: Any, shape: Any, dtype: np.dtype, upper: float | None) -> Any:
    """Random direction, and a radius of mean square 1: uniform on the disc, or normal up to
    radius `upper`.
    """
    radius_key, angle_key = random.split(key)
    u = random.uniform(radius_key, shape, dtypes.real_part(dtype))
    if upper is None:
        radius = jnp.sqrt(2 * u).astype(dtype)
    else:
        radius = jnp.sqrt(-jnp.log(1 - (1 - math.exp(-(upper**2))) * u)).astype(dtype)
    angle = 2 * math.pi * random.uniform(angle_key, shape, dtypes.real_part(dtype))
    return radius * jnp.exp(1j * angle.astype(dtype))


_DISTRIBUTIONS = {
    "truncated_normal": _truncated_normal_of,
    "normal": lambda key, shape, dtype, variance: (
        random.normal(key, shape, dtype) * jnp.sqrt(variance)
    ),
    "uniform": _uniform_of,
}


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """Weights with mean 0 and variance scale / fan.

    Args:
        mode: which fan: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
        distribution: "truncated_normal" (at two standard deviations, and corrected for it),
        "normal" or "uniform". in_axis, out_axis, batch_axis: dimensions of inputs, of outputs, and
        of weights that belong to different
            units; the rest is the window of a convolution.

    >>> from funcgrad import nn, random
    >>> init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    >>> init(random.key(0), (3, 4)).shape
    (3, 4)
    """
    for what, given, known in (
        ("mode", mode, _MODES),
        ("distribution", distribution, _DISTRIBUTIONS),
    ):
        if given not in known:
            raise ValueError(
                f"variance_scaling: {what} is one of {', '.join(known)}, but got {given!r}."
            )

    def init(key, shape, dtype=dtype):
        dtype, shape = _dtype(dtype), tuple(shape)
        if 0 in shape:
            return jnp.zeros(shape, dtype)  # no weights, and no fan to divide by
        fan = _MODES[mode](*_fans(shape, in_axis, out_axis, batch_axis))
        return _DISTRIBUTIONS[distribution](
            key, shape, dtype, jnp.asarray(scale / fan, dtype=dtype)
        )

    return init


def _family(
    name: str, scale: float, mode: str, distribution: str, doc: str
) -> Callable[..., Initializer]:
    def maker(
        in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None
    ) -> Initializer:
        return variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)

    maker.__name__ = maker.__qualname__ = name
    maker.__doc__ = doc
    return maker


glorot_uniform = _family(
    "glorot_uniform",
    1.0,
    "fan_avg",
    "uniform",
    "Uniform with variance 2 / (inputs + outputs) (Glorot, Bengio 2010); also xavier_uniform.",
)
glorot_normal = _family(
    "glorot_normal",
    1.0,
    "fan_avg",
    "truncated_normal",
    "Truncated normal with variance 2 / (inputs + outputs); also xavier_normal.",
)
lecun_uniform = _family(
    "lecun_uniform", 1.0, "fan_in", "uniform", "Uniform with variance 1 / inputs."
)
lecun_normal = _family(
    "lecun_normal", 1.0, "fan_in", "truncated_normal", "Truncated normal with variance 1 / inputs."
)
he_uniform = _family(
    "he_uniform",
    2.0,
    "fan_in",
    "uniform",
    "Uniform with variance 2 / inputs, for relu (He et al. 2015); also kaiming_uniform.",
)
he_normal = _family(
    "he_normal",
    2.0,
    "fan_in",
    "truncated_normal",
    "Truncated normal with variance 2 / inputs, for relu; also kaiming_normal.",
)
xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


# ---- orthogonal ----------------------------------------------------------------------------------


def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """`scale` times a uniformly distributed orthogonal matrix, whose columns lie along
    `column_axis`.

    Weights of higher rank are one matrix whose rows are all other dimensions.
    """

    def init(key, shape, dtype=dtype):
        dtype = _dtype(dtype)
        if len(shape) < 2:
            raise ValueError(
                f"orthogonal: needs weights of rank 2 or more, but got shape {tuple(shape)}."
            )
        if 0 in shape:
            return jnp.zeros(shape, dtype)
        columns = shape[column_axis]
        q = random.orthogonal(key, math.prod(shape) // columns, (), dtype, columns)
        q = q.reshape((*np.delete(shape, column_axis).tolist(), columns))
        return jnp.asarray(scale, dtype=dtype) * jnp.moveaxis(q, -1, column_axis)

    return init


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """Convolution weights (window..., inputs, outputs): orthogonal at the window's centre, zero
    elsewhere.

    Xiao et al. 2018. Needs at least as many outputs as inputs.
    """
    matrix = orthogonal(scale, column_axis, dtype)

    def init(key, shape, dtype=dtype):
        if len(shape) not in (3, 4, 5):
            raise ValueError(
                f"delta_orthogonal: needs weights of rank 3, 4 or 5, but got shape {tuple(shape)}."
            )
        if shape[-1] < shape[-2]:
            raise ValueError(
                "delta_orthogonal: needs at least as many outputs as inputs, but got "
                f"{shape[-2]} inputs and {shape[-1]} outputs."
            )
        centre = tuple((k - 1) // 2 for k in shape[:-2])
        return (
            jnp.zeros(shape, _dtype(dtype)).at[centre].set(matrix(key, shape[-2:], _dtype(dtype)))
        )

    return init
