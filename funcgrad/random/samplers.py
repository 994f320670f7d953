"""The samplers that everything else is built from: bits, uniform, normal, integers, permutations,
choices.

Each turns a key, a shape and a dtype into an array, by JAX's formulas, so that the same key gives
the same numbers. `distributions` has the others.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import lax, numpy as jnp
from funcgrad.core import dtypes
from funcgrad.numpy.axes import axis_index
from funcgrad.primitives.bits import random_bits, random_split
from funcgrad.random.arguments import (
    as_shape,
    broadcast_to_shape,
    float_dtype,
    integer_dtype,
    sample_shape,
)
from funcgrad.random.keys import typed_key

UNSIGNED = {8 * t.itemsize: t for t in dtypes.UNSIGNED}
_MODES = ("highest", "high", "low")


def bits(key: Any, shape: Any = (), dtype: Any = None) -> Any:
    """Uniform random bits as unsigned integers, of 32 bits (64 with `enable_x64`) unless `dtype`
    says otherwise.
    """
    typed, _ = typed_key("bits", key)
    dtype = dtypes.narrowed(dtypes.uint64) if dtype is None else dtypes.as_dtype(dtype)
    if dtype not in dtypes.UNSIGNED:
        raise ValueError(f"bits: dtype must be an unsigned integer type, but got {dtype}.")
    return random_bits(typed, bit_width=8 * dtype.itemsize, shape=as_shape("bits", shape))


# ---- floats --------------------------------------------------------------------------------------


def _unit_interval(key: Any, shape: tuple, dtype: np.dtype) -> Any:
    """Uniform on [0, 1): random bits become the mantissa of a number in [1, 2), and 1 is taken
    away.
    """
    info = jnp.finfo(dtype)
    width = 8 if info.nmant < 8 else info.bits  # bfloat16 needs 7 bits only
    words = random_bits(key, bit_width=width, shape=shape)
    if width != info.bits:
        words = lax.convert_element_type(words, UNSIGNED[info.bits])
    mantissa = lax.shift_right_logical(words, width - info.nmant)
    one = int(np.array(1, dtype).view(UNSIGNED[info.bits]))
    return lax.sub(lax.bitcast_convert_type(lax.bitwise_or(mantissa, one), dtype), 1.0)


def _is_number(value: Any, number: float) -> bool:
    return type(value) in (int, float) and value == number


def uniform(
    key: Any, shape: Any = (), dtype: Any = None, minval: Any = 0.0, maxval: Any = 1.0
) -> Any:
    """Uniform on [minval, maxval), which broadcast against `shape`. Differentiable in both.

    >>> from funcgrad import random
    >>> random.uniform(random.key(0), (2,), minval=-1.0).shape
    (2,)
    """
    typed, _ = typed_key("uniform", key)
    dtype, shape = float_dtype("uniform", dtype), as_shape("uniform", shape)
    unit = _unit_interval(typed, shape, dtype)
    if _is_number(minval, 0) and _is_number(maxval, 1):
        return unit  # the same bits, without three passes over them
    if type(minval) in (int, float) and type(maxval) in (int, float):
        low, high = dtype.type(minval), dtype.type(maxval)
        return _scaled(unit, float(high - low), float(low))  # exact: these are numbers of `dtype`
    low, high = jnp.asarray(minval, dtype=dtype), jnp.asarray(maxval, dtype=dtype)
    if not broadcast_to_shape(shape, low.shape, high.shape):
        raise ValueError(
            f"uniform: minval of shape {low.shape} and maxval of shape {high.shape} must broadcast "
            f"to the shape argument {shape}. Give the larger shape."
        )
    low, span = (jnp.broadcast_to(x, shape) if x.ndim else x for x in (low, high - low))
    return _scaled(unit, span, low)


def _scaled(unit: Any, span: Any, low: Any) -> Any:
    """low + span * unit, which rounding must not carry below `low`."""
    return lax.max(low, lax.add(lax.mul(unit, span), low))


def _standard_normal(key: Any, shape: tuple, dtype: np.dtype) -> Any:
    """The normal quantile of a uniform number on the open interval (-1, 1)."""
    open_end = -1.0 + float(jnp.finfo(dtype).epsneg)
    return lax.mul(lax.erf_inv(uniform(key, shape, dtype, open_end, 1.0)), math.sqrt(2))


def normal(key: Any, shape: Any = (), dtype: Any = None) -> Any:
    """Standard normal numbers: mean 0, variance 1. Complex ones have the variance split between
    their parts.

    >>> from funcgrad import random
    >>> random.normal(random.key(0), (2, 3)).dtype
    dtype('float32')
    """
    typed, _ = typed_key("normal", key)
    shape, dtype = as_shape("normal", shape), float_dtype("normal", dtype, or_complex=True)
    if not dtypes.is_complex(dtype):
        return _standard_normal(typed, shape, dtype)
    real_key, imaginary_key = random_split(typed, shape=(2,))
    part = dtypes.real_part(dtype)
    both = lax.complex(
        _standard_normal(real_key, shape, part), _standard_normal(imaginary_key, shape, part)
    )
    return lax.div(both, math.sqrt(2))


def truncated_normal(key: Any, lower: Any, upper: Any, shape: Any = None, dtype: Any = None) -> Any:
    """Standard normal numbers, given that they lie in (lower, upper): every draw does."""
    typed, _ = typed_key("truncated_normal", key)
    dtype, shape = (
        float_dtype("truncated_normal", dtype),
        sample_shape("truncated_normal", shape, lower, upper),
    )
    lower, upper = jnp.asarray(lower, dtype=dtype), jnp.asarray(upper, dtype=dtype)
    root = math.sqrt(2)
    u = uniform(typed, shape, dtype, lax.erf(lower / root), lax.erf(upper / root))
    above = jnp.nextafter(lax.stop_gradient(lower), jnp.asarray(math.inf, dtype=dtype))
    below = jnp.nextafter(lax.stop_gradient(upper), jnp.asarray(-math.inf, dtype=dtype))
    return jnp.clip(root * lax.erf_inv(u), above, below)


def bernoulli(key: Any, p: Any = 0.5, shape: Any = None, mode: str = "low") -> Any:
    """True with probability `p`, in the shape of `p` unless given.

    `mode="high"` uses twice the bits, so that it is exact for p below 1e-7 as well.
    """
    if mode not in ("high", "low"):
        raise ValueError(f"bernoulli: mode is 'high' or 'low', but got {mode!r}.")
    typed, _ = typed_key("bernoulli", key)
    p = jnp.asarray(p)
    if not dtypes.is_float(p.dtype):
        raise TypeError(f"bernoulli: p must be floating, but got {p.dtype}.")
    shape = sample_shape("bernoulli", shape, p)
    if mode == "low":
        return uniform(typed, shape, p.dtype) < p
    first, second = uniform(typed, (2, *shape), p.dtype)
    return second * 2.0 ** -jnp.finfo(p.dtype).nmant < p - first


# ---- integers ------------------------------------------------------------------------------------


def _bound(value: Any, dtype: np.dtype) -> tuple[Any, Any]:
    """A bound in `dtype`, clipped to its range, and whether it lay above that range."""
    info = jnp.iinfo(dtype)
    if isinstance(value, int):
        return jnp.asarray(min(max(value, info.min), info.max), dtype=dtype), value > info.max
    value = jnp.asarray(value)
    if not dtypes.is_integer(value.dtype):
        value = value.astype(dtypes.default_int())
    own = jnp.iinfo(value.dtype)
    low, high = map(value.dtype.type, (max(info.min, own.min), min(info.max, own.max)))
    return jnp.clip(value, low, high).astype(dtype), value > high


def randint(key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = None) -> Any:
    """Integers in [minval, maxval), which broadcast against `shape`.

    The bias toward small values is below (maxval - minval) / 2**64 for 32-bit types and narrower
    ones.

    >>> from funcgrad import random
    >>> bool((random.randint(random.key(0), (100,), 3, 6) < 6).all())
    True
    """
    typed, _ = typed_key("randint", key)
    dtype, shape = integer_dtype("randint", dtype), sample_shape("randint", shape, minval, maxval)
    if dtype.itemsize >= 4:
        return _integers(typed, shape, _bound(minval, dtype), _bound(maxval, dtype), dtype)
    info = jnp.iinfo(dtype)  # narrow types draw 32 bits, which keeps the bias small
    low, _ = _bound(minval, dtypes.int32)
    high, _ = _bound(maxval, dtypes.int32)
    low, high = jnp.clip(low, info.min, info.max), jnp.clip(high, info.min, info.max + 1)
    return _integers(typed, shape, (low, False), (high, False), dtypes.int32).astype(dtype)


def _integers(key: Any, shape: tuple, low: tuple, high: tuple, dtype: np.dtype) -> Any:
    """(2**n * high bits + low bits) modulo the span, for n-bit words: two words keep the bias
    small.
    """
    (minval, _), (maxval, beyond) = low, high
    width = 8 * dtype.itemsize
    unsigned = UNSIGNED[width]
    first, second = random_split(key, shape=(2,))
    high_bits, low_bits = (random_bits(k, bit_width=width, shape=shape) for k in (first, second))
    empty = maxval <= minval  # then all results are minval
    span = jnp.where(empty, 1, (maxval - minval).astype(unsigned)).astype(unsigned)
    span = jnp.where(
        jnp.logical_and(beyond, ~empty), span + 1, span
    )  # maxval was clipped to one less
    if span.ndim:
        span = jnp.broadcast_to(span, shape)
    # all words are allowed if the span has wrapped to 0: by lax.rem, x modulo 0 is x
    half = jnp.broadcast_to(jnp.asarray(1 << width // 2, dtype=unsigned), span.shape)
    multiplier = lax.rem(half, span)
    multiplier = lax.rem(multiplier * multiplier, span)  # 2**n modulo the span
    offset = lax.rem(high_bits, span) * multiplier + lax.rem(low_bits, span)
    return minval + lax.rem(offset, span).astype(dtype)


# ---- permutations and choices --------------------------------------------------------------------


def _shuffle(key: Any, x: Any, axis: int) -> Any:
    """Sort along `axis` by random words; rounds enough that ties in the words do not matter."""
    rounds = math.ceil(3 * math.log(max(1, x.size)) / math.log((1 << 32) - 1))
    for _ in range(rounds):
        key, subkey = random_split(key, shape=(2,))
        words = random_bits(subkey, bit_width=32, shape=x.shape)
        _, x = lax.sort((words, x), dimension=axis, num_keys=1, is_stable=True)
    return x


def permutation(key: Any, x: Any, axis: int = 0, independent: bool = False) -> Any:
    """`arange(x)` in random order, or the array `x` with its slices along `axis` in random order.

    With `independent`, each vector along `axis` gets an order of its own.

    >>> from funcgrad import random
    >>> sorted(random.permutation(random.key(0), 4).tolist())
    [0, 1, 2, 3]
    """
    typed, _ = typed_key("permutation", key)
    rank = np.ndim(x) or 1
    if not -rank <= axis < rank:
        raise ValueError(f"permutation: axis {axis} is out of bounds for an array of rank {rank}.")
    axis %= rank
    if not np.ndim(x):
        if not jnp.issubdtype(jnp.asarray(x).dtype, np.integer):
            raise TypeError(
                f"permutation: needs an integer or an array of rank 1 or more, but got {x!r}."
            )
        return _shuffle(typed, jnp.arange(operator.index(x)), axis)
    x = jnp.asarray(x)
    if independent or x.ndim == 1:
        return _shuffle(typed, x, axis)
    return jnp.take(x, _shuffle(typed, jnp.arange(x.shape[axis]), 0), axis=axis)


def choice(
    key: Any,
    a: Any,
    shape: Any = (),
    replace: bool = True,
    p: Any = None,
    axis: int = 0,
    mode: str | None = None,
) -> Any:
    """A random sample from `arange(a)`, or of the slices of the array `a` along `axis`.

    Args:
        shape: how many to draw; in the result it stands in the place of `axis`.
        replace: may a slice be drawn twice?
        p: the probability of each; equal if None.
        mode: as in `gumbel`, for draws without replacement with `p`.
    """
    typed, _ = typed_key("choice", key)
    if not isinstance(shape, Sequence):
        raise TypeError(f"choice: shape is a tuple of integers, but got {shape!r}.")
    shape = as_shape("choice", shape)
    if not np.ndim(a):
        return _chosen_indices(typed, operator.index(a), shape, replace, p, mode)
    a = jnp.asarray(a)
    axis = operator.index(axis) % a.ndim
    result_shape = (*a.shape[:axis], *shape, *a.shape[axis + 1 :])
    if 0 in shape:
        return jnp.zeros(result_shape, a.dtype)
    if p is None and not replace:
        _check_population(a.shape[axis], math.prod(shape), replace)
        drawn = lax.slice_in_dim(permutation(typed, a, axis), 0, math.prod(shape), axis=axis)
        return drawn.reshape(result_shape)
    return jnp.take(a, _chosen_indices(typed, a.shape[axis], shape, replace, p, mode), axis=axis)


def _check_population(size: int, draws: int, replace: bool) -> None:
    if size <= 0:
        raise ValueError(
            "choice: there is nothing to choose from: a must be greater than 0, or not empty."
        )
    if not replace and draws > size:
        raise ValueError(
            f"choice: cannot draw {draws} of {size} without replacement. Draw fewer, or use "
            "replace=True."
        )


def _chosen_indices(
    key: Any, size: int, shape: tuple, replace: bool, p: Any, mode: str | None
) -> Any:
    draws, index = math.prod(shape), dtypes.default_int()
    if draws == 0:
        return jnp.zeros(shape, index)
    _check_population(size, draws, replace)
    if p is None:
        return (
            randint(key, shape, 0, size)
            if replace
            else permutation(key, size)[:draws].reshape(shape)
        )
    p = jnp.asarray(p)
    p = p.astype(dtypes.to_inexact(p.dtype))
    if p.shape != (size,):
        raise ValueError(
            f"choice: p needs one probability for each of the {size} choices, but has shape "
            f"{p.shape}."
        )
    if replace:
        cumulative = jnp.cumsum(p)
        level = cumulative[-1] * (1 - uniform(key, shape, p.dtype))
        return jnp.searchsorted(cumulative, level).astype(index)
    scores = gumbel(key, (size,), p.dtype, mode) + jnp.log(p)
    return lax.top_k(scores, draws)[1].astype(index).reshape(shape)


# ---- Gumbel numbers and categories ---------------------------------------------------------------


def gumbel(key: Any, shape: Any = (), dtype: Any = None, mode: str | None = None) -> Any:
    """Gumbel numbers, with density exp(-(x + exp(-x))).

    `mode` is "low", which is the default, "high" or "highest": how far the upper tail reaches, for
    probabilities below 1e-7.
    """
    typed, _ = typed_key("gumbel", key)
    dtype, shape, mode = float_dtype("gumbel", dtype), as_shape("gumbel", shape), mode or "low"
    if mode not in _MODES:
        raise ValueError(f"gumbel: mode is one of {', '.join(_MODES)}, but got {mode!r}.")
    tiny = float(jnp.finfo(dtype).tiny)
    if mode == "low":
        return -jnp.log(-jnp.log(uniform(typed, shape, dtype, tiny, 1.0)))
    if mode == "highest" and dtype == dtypes.float32:
        return _gumbel_of_64_bits(typed, shape)
    high, low = uniform(typed, (2, *shape), dtype)
    x = jnp.where(high >= 0.5, high, high + 2.0 ** -jnp.finfo(dtype).nmant * low + tiny)
    return -jnp.log(-jnp.log1p(-x))


def _gumbel_of_64_bits(key: Any, shape: tuple) -> Any:
    """Both tails to 2**-64: the smaller of u and 1 - u is taken from 64 bits and fits float32
    exactly enough.
    """
    high, low = random_bits(key, bit_width=32, shape=(2, *shape))
    below_half = high < np.uint32(1 << 31)
    flipped_low = ~low + np.uint32(1)  # 1 - u is the two's complement of the 64 bits
    flipped_high = ~high + (low == 0).astype(dtypes.uint32)
    x = _fraction(
        jnp.where(below_half, high, flipped_high), jnp.where(below_half, low, flipped_low)
    )
    return jnp.where(below_half, -jnp.log(-jnp.log1p(-x)), -jnp.log(-jnp.log(x)))


def _fraction(high: Any, low: Any) -> Any:
    """(high * 2**32 + low) / 2**64 in float32, cut off after 24 significant bits."""
    zeros = lax.clz(high)
    empty = zeros == np.uint32(32)
    leading = jnp.where(empty, low, (high << zeros) | (low >> (np.uint32(32) - zeros)))
    shift = jnp.where(empty, lax.clz(low), np.uint32(0))
    mantissa = ((leading << shift) >> np.uint32(8)) & np.uint32((1 << 23) - 1)
    exponent = (np.uint32(126) - zeros - shift) << np.uint32(23)
    return lax.bitcast_convert_type(exponent | mantissa, dtypes.float32)


def categorical(
    key: Any,
    logits: Any,
    axis: int = -1,
    shape: Any = None,
    replace: bool = True,
    mode: str | None = None,
) -> Any:
    """Indices along `axis`, drawn with probabilities softmax(logits).

    Args:
        logits: unnormalised log probabilities.
        shape: the result's; it ends in the shape of `logits` without `axis`, which is also the
            default.
        replace: if False, the draws along the leading dimensions of `shape` are distinct.
        mode: as in `gumbel`.

    >>> from funcgrad import random
    >>> random.categorical(random.key(0), [[0.0, 100.0], [100.0, 0.0]]).tolist()
    [1, 0]
    """
    typed, _ = typed_key("categorical", key)
    logits = jnp.asarray(logits)
    if not dtypes.is_float(logits.dtype):
        raise TypeError(
            f"categorical: logits must be floating, but got {logits.dtype}. Convert them with "
            "astype."
        )
    axis = axis_index("categorical", axis, logits.ndim) - logits.ndim
    batch = tuple(np.delete(logits.shape, axis).tolist())
    shape = _categorical_shape(shape, batch)
    prefix = shape[: len(shape) - len(batch)]
    if replace:
        drawn = list(shape[len(prefix) :])
        drawn.insert(axis % logits.ndim, logits.shape[axis])
        return jnp.argmax(gumbel(typed, (*prefix, *drawn), logits.dtype, mode) + logits, axis=axis)
    return _distinct_categories(
        logits + gumbel(typed, logits.shape, logits.dtype, mode), axis, prefix, shape
    )


def _categorical_shape(shape: Any, batch: tuple) -> tuple:
    shape = batch if shape is None else as_shape("categorical", shape)
    if not broadcast_to_shape(shape, batch):
        raise ValueError(
            f"categorical: shape must end in {batch}, the shape of logits without axis, but got "
            f"{shape}."
        )
    return shape


def _distinct_categories(scores: Any, axis: int, prefix: tuple, shape: tuple) -> Any:
    draws, categories = math.prod(prefix), scores.shape[axis]
    if draws > categories:
        raise ValueError(
            f"categorical: cannot draw {draws} of {categories} categories without replacement."
        )
    indices = lax.top_k(jnp.moveaxis(scores, axis, -1), draws)[1]
    return jnp.moveaxis(indices, -1, 0).reshape(shape)
