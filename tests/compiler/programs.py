"""Random programs: elementwise, shape and reduction operations on a few arrays, drawn by
hypothesis.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import funcgrad.numpy as jnp
from funcgrad import lax

SHAPES = [(), (1,), (5,), (3, 4), (4, 3), (2, 3, 4), (3, 1), (1, 4), (0, 4), (17, 33)]

UNARY: list[Callable[[Any], Any]] = [
    jnp.exp, jnp.sin, jnp.tanh, jnp.abs, jnp.negative, jnp.square, jnp.sqrt, jnp.floor,
    lax.logistic, lax.rsqrt, jnp.sign, jnp.isfinite, jnp.log1p, lambda x: x**3, lambda x: x**-2,
    lambda x: jnp.clip(x, -1, 1), lambda x: -(-x), lambda x: x * 1 + 0, lambda x: x / 4, lambda x: 2
    * x - 1, lambda x: jnp.maximum(x, 0), lambda x: jnp.maximum(x, 0) > 0, lambda x: jnp.where(x >
    0, x, 0), lambda x: x.astype(jnp.bfloat16), lambda x: x.astype(jnp.float32), lambda x:
    jnp.round(x), lambda x: x.astype(jnp.int32), lambda x: x + x, lambda x: x - x, lambda x:
    lax.stop_gradient(x),
]  # fmt: skip
BINARY: list[Callable[[Any, Any], Any]] = [
    jnp.add, jnp.subtract, jnp.multiply, jnp.divide, jnp.maximum, jnp.minimum, jnp.greater,
    jnp.equal, jnp.arctan2, lambda x, y: jnp.where(x > y, x, y), lambda x, y: x * y + y, lambda x,
    y: x + -y, lambda x, y: jnp.fmod(x, y),
]  # fmt: skip
MOVES: list[Callable[[Any], Any]] = [
    jnp.transpose, jnp.ravel, lambda x: x[None], lambda x: x[..., None], lambda x: jnp.squeeze(x),
    lambda x: x[::-1], lambda x: x[1:], lambda x: x[..., :2], lambda x: jnp.concatenate([x, x]),
    lambda x: jnp.stack([x, x], -1), lambda x: jnp.pad(x, 1), lambda x: jnp.broadcast_to(x, (2,
    *x.shape)), lambda x: jnp.swapaxes(x, 0, -1), lambda x: jnp.sum(x), lambda x: jnp.sum(x, 0),
    lambda x: jnp.sum(x, -1, keepdims=True), lambda x: jnp.max(x, 0), lambda x: jnp.mean(x, -1),
    lambda x: jnp.cumsum(x, 0), lambda x: jnp.sort(x), lambda x: x @ x.T, lambda x: jnp.argmax(x),
    lambda x: jnp.flip(x), lambda x: jnp.tile(x, 2), lambda x: x.at[0].set(1),
    lambda x: jnp.full_like(x, 2), lambda x: x - jnp.max(x, -1, keepdims=True),
    lambda x: jnp.exp(x) / jnp.sum(jnp.exp(x), -1, keepdims=True),
    lambda x: x * jnp.sum(x, (-1, -2), keepdims=True) + jnp.min(x, -1, keepdims=True),
]  # fmt: skip


def arrays() -> st.SearchStrategy[np.ndarray]:
    """Arguments: ordinary numbers, with a few special ones among them."""

    def make(shape: tuple[int, ...], seed: int, kind: str) -> np.ndarray:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(shape).astype(np.float32)
        special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3e38], np.float32)
        x = np.where(rng.random(shape) < 0.1, rng.choice(special, shape), x).astype(np.float32)
        if kind == "integers":
            return rng.integers(-5, 5, shape).astype(np.int32)
        if kind == "strided":
            return np.repeat(x, 2, -1)[..., ::2] if shape else x
        return np.asfortranarray(x) if kind == "columns first" else x

    kinds = st.sampled_from(["plain", "plain", "integers", "columns first", "strided"])
    return st.builds(make, st.sampled_from(SHAPES), st.integers(0, 1000), kinds)


class RandomProgram:
    """A function made of drawn steps: each reads values made before; unfit steps are left out."""

    def __init__(self, steps: list[tuple[int, int, int, int]], outputs: list[int]) -> None:
        self.steps, self.outputs = steps, outputs

    def __call__(self, *args: Any) -> list[Any]:
        values = list(args)
        for kind, which, a, b in self.steps:
            x, y = values[a % len(values)], values[b % len(values)]
            try:
                if kind == 0:
                    out = UNARY[which % len(UNARY)](x)
                elif kind == 1:
                    out = BINARY[which % len(BINARY)](x, y)
                else:
                    out = MOVES[which % len(MOVES)](x)
            except (TypeError, ValueError, IndexError):
                continue
            if out.size <= 5000:
                values.append(out)
        return [values[-1 - o % len(values)] for o in self.outputs]

    def __repr__(self) -> str:
        return f"RandomProgram({self.steps}, {self.outputs})"


def programs(longest: int = 12) -> st.SearchStrategy[RandomProgram]:
    """Programs of up to `longest` steps with one to three results."""
    number = st.integers(0, 200)
    step = st.tuples(st.sampled_from([0, 0, 0, 1, 1, 1, 2]), number, number, number)
    return st.builds(
        RandomProgram,
        st.lists(step, min_size=1, max_size=longest),
        st.lists(st.integers(0, 3), min_size=1, max_size=3),
    )


def bits(x: Any) -> tuple[Any, ...]:
    """Shape, dtype and contents, with every NaN alike."""
    host = np.asarray(x)
    if host.dtype.kind not in "iub":
        host = np.where(np.isnan(host), np.nan, host).astype(host.dtype)
    return host.shape, host.dtype, host.tobytes()
