"""Wherever `funcgrad.lax` takes a dtype, every way to write one is understood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad.numpy as jnp
from funcgrad import lax

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

SPELLINGS = {
    "numpy-face": lambda jnp: jnp.float32,
    "narrow": lambda jnp: jnp.bfloat16,
    "dtype": lambda jnp: jnp.dtype("bfloat16"),
    "numpy": lambda jnp: np.float16,
    "text": lambda jnp: "int8",
    "python": lambda jnp: float,
}
USES = {
    "convert": lambda lax, jnp, dtype: lax.convert_element_type(jnp.arange(3), dtype),
    "convert a number": lambda lax, jnp, dtype: lax.convert_element_type(1.5, dtype),
    "full": lambda lax, jnp, dtype: lax.full((2,), 1, dtype),
    "iota": lambda lax, jnp, dtype: lax.iota(dtype, 3),
    "broadcasted_iota": lambda lax, jnp, dtype: lax.broadcasted_iota(dtype, (2, 2), 0),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("use", USES)
def test_spellings_of_a_dtype(use: str, spelling: str) -> None:
    ours = USES[use](lax, jnp, SPELLINGS[spelling](jnp))
    theirs = USES[use](jax.lax, jax.numpy, SPELLINGS[spelling](jax.numpy))
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("value", [1, 1.5, True, np.float32(2)])
def test_full_takes_the_type_of_its_value(value: Any) -> None:
    assert lax.full((2,), value).dtype == jax.lax.full((2,), value).dtype


@pytest.mark.parametrize("position", ["argmax", "argmin"])
def test_positions_are_integers(position: str) -> None:
    with pytest.raises(TypeError, match=f"{position}: index_dtype must be an integer type"):
        getattr(lax, position)(jnp.ones(3), 0, jnp.float32)
