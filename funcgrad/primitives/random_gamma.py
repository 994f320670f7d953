"""Gamma numbers by rejection: each element draws with a key of its own until a draw is accepted.

Marsaglia and Tsang, "A simple method for generating gamma variables" (2000). A primitive, so that
its derivative can be implicit: the number moves with its parameter while its quantile is held.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad.core import dtypes, loops
from funcgrad.core.avals import ShapedArray, typeof
from funcgrad.core.primitive import Primitive
from funcgrad.core.tangent import Zero, is_zero
from funcgrad.primitives import threefry
from funcgrad.primitives.basis import batched, div, full, mul, select_n
from funcgrad.primitives.elementwise.exponential import exp
from funcgrad.primitives.kinds import FLOATS
from funcgrad.primitives.logic import eq
from funcgrad.primitives.special import error_functions, random_gamma_grad

_MANTISSA_BITS = {dtypes.bfloat16: 7, dtypes.float16: 10, dtypes.float32: 23, dtypes.float64: 52}


def _uniform(xp, keys, dtype):
    """One number in [0, 1) for each key of a u32[n, 2], as `random.uniform` draws it."""
    nmant, width = _MANTISSA_BITS[dtype], 8 * dtype.itemsize
    drawn = 8 if nmant < 8 else width
    words = threefry.random_words(xp, keys, drawn, ()).astype(f"uint{width}")
    one = dtype.type(1)
    return ((words >> words.dtype.type(drawn - nmant)) | one.view(words.dtype)).view(dtype) - one


def _normal(xp, keys, dtype):
    """One standard normal number for each key, as `random.normal` draws it."""
    low = dtype.type(-1) + dtype.type(2.0 ** -(_MANTISSA_BITS[dtype] + 1))
    u = xp.maximum(_uniform(xp, keys, dtype) * (dtype.type(1) - low) + low, low)
    return error_functions.erf_inv_value(xp, u) * dtype.type(math.sqrt(2))


def _positive_cube(xp, keys, c):
    """x and (1 + c x)**3, with x drawn again until the cube is positive."""
    x, v = xp.empty_like(c), xp.empty_like(c)
    todo = xp.arange(c.size)
    while todo.size:
        keys, draw_keys = _split(xp, keys, 2)
        x[todo] = _normal(xp, draw_keys, c.dtype)
        v[todo] = c.dtype.type(1) + x[todo] * c[todo]
        again = v[todo] <= 0
        todo, keys = todo[again], keys[again]
    return x, v * v * v


def _split(xp, keys, count):
    """`count` arrays of keys from one."""
    return [part[:, 0] for part in xp.split(threefry.split_keys(xp, keys, (count,)), count, axis=1)]


def _accepted_cubes(xp, keys, d, c):
    """For each element the first cube that is accepted, with probability in proportion to the
    gamma density.
    """
    number = c.dtype.type
    cubes, todo = xp.ones_like(c), xp.arange(c.size)
    while todo.size:
        keys, x_keys, u_keys = _split(xp, keys, 3)
        x, v = _positive_cube(xp, x_keys, c[todo])
        square, u = x * x, _uniform(xp, u_keys, c.dtype)
        cubes[todo] = v
        refused = u >= number(1) - number(0.0331) * (square * square)
        refused &= xp.log(u) >= square * number(0.5) + d[todo] * (number(1) - v + xp.log(v))
        todo, keys = todo[refused], keys[refused]
    return cubes


def _gamma_vector(xp, keys, a, log_space):
    """One gamma number, or its logarithm, for each key and parameter; below 1 by way of a + 1."""
    number = a.dtype.type
    at_least_1 = a >= 1
    d = xp.where(at_least_1, a, a + number(1)) - number(1 / 3)
    keys, boost_keys = _split(xp, keys, 2)
    v = _accepted_cubes(xp, keys, d, number(1 / 3) / xp.sqrt(d))
    u = _uniform(xp, boost_keys, a.dtype)
    if log_space:
        log_u = xp.log1p(-u)
        boost = xp.where(at_least_1 | (log_u == 0), number(0), log_u * (number(1) / a))
        return xp.log(d) + xp.log(v) + boost
    return d * v * xp.where(at_least_1, number(1), (number(1) - u) ** (number(1) / a))


def _random_gamma_value(xp, keys, a, *, log_space):
    lanes = keys.reshape(-1, 2)
    each = a.size // max(1, len(lanes))
    own = threefry.split_keys(xp, lanes, (each,)).reshape(-1, 2)
    return _gamma_vector(xp, own, a.reshape(-1), log_space).reshape(a.shape)


def _random_gamma_abstract(keys, a, *, log_space):
    physical = keys.dtype == dtypes.uint32  # in compiled programs keys are their words
    if not (physical or dtypes.is_key(keys.dtype)) or a.dtype not in FLOATS:
        raise TypeError(
            f"random.gamma: needs keys and a floating parameter, but got {keys} and {a}."
        )
    shape = keys.shape[:-1] if physical else keys.shape
    if a.shape[: len(shape)] != shape:
        raise ValueError(
            f"random.gamma: the shape of {a} must begin with that of the keys, {shape}."
        )
    return ShapedArray(a.shape, a.dtype)


def _random_gamma_jvp(primals, tangents, *, log_space):
    (keys, a), (_, t) = primals, tangents
    out = random_gamma(keys, a, log_space=log_space)
    if is_zero(t):
        return out, Zero(typeof(out).tangent())
    return out, mul(t, _slope(out, a, log_space))


def _slope(sample, a, log_space):
    """The derivative of the number, or of its logarithm, in the parameter."""
    if not log_space:
        return random_gamma_grad(a, sample)
    sample, aval = exp(sample), typeof(sample)
    tiny = full(
        aval.shape,
        float(np.finfo(aval.dtype).tiny) if aval.dtype != dtypes.bfloat16 else 1e-38,
        aval.dtype,
    )
    sample = select_n(eq(sample, 0), sample, tiny)
    return div(random_gamma_grad(a, sample), sample)


def _random_gamma_batch(axis, args, dims, *, log_space):
    keys, a = (batched(axis, x, d) for x, d in zip(args, dims, strict=True))
    return random_gamma(keys, a, log_space=log_space), 0


random_gamma_p = Primitive(
    "random_gamma",
    abstract=_random_gamma_abstract,
    value=_random_gamma_value,
    jvp=_random_gamma_jvp,
    batch=_random_gamma_batch,
    loops=lambda *avals, log_space: loops.Opaque("rejection"),
    keys=True,
)


def random_gamma(keys: Any, a: Any, *, log_space: bool = False) -> Any:
    """Gamma numbers, or their logarithms, of parameters a; the shape of `a` begins with that of
    the keys.
    """
    return random_gamma_p.bind(keys, a, log_space=log_space)
