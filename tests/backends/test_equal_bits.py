"""A value has the same bits in whichever kernel it is computed: with others in lanes, alone, in the
rest of a row, or read the other way round. Where an element is its row's maximum depends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax, nn
from funcgrad.config import config

NAMES = (
    "exp exp2 expm1 log log1p sin cos tan sinh cosh tanh logistic asin acos atan asinh acosh atanh "
    "erf erfc erf_inv cbrt sqrt rsqrt lgamma digamma"
).split()
FUNCTIONS: list[Callable[..., Any]] = [
    *(getattr(lax, name) for name in NAMES), nn.gelu, jnp.log2,
    lambda x: lax.integer_pow(x, 7), lambda x: jnp.abs(x) ** 1.7, lambda x: (x * x + x) * x - x / 3,
    lambda x: lax.rem(x * 7, 0.7 + 0 * x), lambda x: lax.atan2(x, x * x - 1),
]  # fmt: skip
SIZE = 255


def alone(x: Any) -> Any:
    return lax.scan(lambda c, number: (c, all_of(number)), 0, x)[1]


def rows_of(length: int) -> Callable[[Any], Any]:
    """By a loop over rows of that many numbers."""

    def function(x: Any) -> Any:
        found = lax.scan(lambda c, row: (c, all_of(row)), 0, x.reshape(-1, length))[1]
        return [y.reshape(-1) for y in found]

    return function


def transposed(x: Any) -> Any:
    return [y.T.reshape(-1) for y in all_of(x.reshape(15, 17).T)]


def all_of(x: Any) -> list[Any]:
    return [f(x) for f in FUNCTIONS]


WAYS = {"alone": alone, "fives": rows_of(5), "seventeens": rows_of(17), "transposed": transposed}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_functions_of_numbers(dtype: str, way: str) -> None:
    with config.override(engine="llvm", enable_x64=True):
        x = jnp.asarray(np.random.default_rng(0).standard_normal(SIZE), dtype)
        expected, found = fg.jit(all_of)(x), fg.jit(WAYS[way])(x)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_array_equal(*(np.asarray(y, np.float64) for y in (a, b)), str(number))
