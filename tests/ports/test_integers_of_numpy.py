"""Sizes, axes and positions may be integers of NumPy or arrays of rank 0.

`np.prod(x.shape)` is such an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcgrad as fg

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

TWO = np.int64(2)
USES: dict[str, Callable[[Any], Any]] = {
    "argmax": lambda jax: jax.lax.argmax(jax.numpy.ones((2, 3)), np.int64(0), jax.numpy.int32),
    "top_k": lambda jax: jax.lax.top_k(jax.numpy.arange(3.0), TWO)[1],
    "iota": lambda jax: jax.lax.iota(jax.numpy.int32, TWO),
    "ones": lambda jax: jax.numpy.ones((TWO, jax.numpy.array(2))),
    "normal": lambda jax: jax.random.normal(jax.random.key(0), (TWO, jax.numpy.array(2))),
    "split": lambda jax: jax.random.key_data(jax.random.split(jax.random.key(0), TWO)),
    "full": lambda jax: jax.lax.full(np.array([2, 3]), 1.0),
    "broadcast": lambda jax: jax.lax.broadcast(jax.numpy.ones(3), np.array([2])),
    "one_hot": lambda jax: jax.nn.one_hot(jax.numpy.arange(3), TWO),
    "argnums": lambda jax: jax.grad(lambda x, y: x * y, argnums=np.int64(1))(1.0, 3.0),
    "static_argnums": lambda jax: jax.jit(lambda x, n: x * n, static_argnums=TWO - 1)(1.0, 2),
    "length of scan": lambda jax: jax.lax.scan(lambda c, _: (c + 1, None), 0, None, TWO)[0],
}


@pytest.mark.parametrize("use", USES)
def test_integers_of_numpy(use: str) -> None:
    ours, theirs = USES[use](fg), USES[use](jax)
    assert not isinstance(ours, tuple)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    # draws of the normal distribution agree to a few units in the last place
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-6)


def test_a_size_that_is_no_integer_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"^normal: a size must be an integer, but got 3\.5"):
        fg.random.normal(fg.random.key(0), (3.5,))
