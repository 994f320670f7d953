"""Python numbers handed to `funcgrad.lax`, and how single numbers print."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import funcgrad.numpy as jnp
from funcgrad import lax, random

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle

REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "int and float": lambda lax, jnp: lax.add(1, 1.0),
    "bool and int": lambda lax, jnp: lax.mul(True, 2),
    "integers and a float": lambda lax, jnp: lax.add(jnp.arange(3), 1.5),
    "floats and a complex number": lambda lax, jnp: lax.sub(jnp.ones(3), 1j),
    "comparison": lambda lax, jnp: lax.lt(1, 2.5),
    "cases of select": lambda lax, jnp: lax.select(True, 1, 2.0),
    "bounds of clamp": lambda lax, jnp: lax.clamp(0, jnp.arange(3), 1.5),
    "update": lambda lax, jnp: lax.dynamic_update_slice(jnp.arange(3), jnp.ones(1), (0,)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_kinds_that_would_lose_something_are_refused(name: str) -> None:
    with pytest.raises(TypeError):
        REFUSED[name](jax.lax, jax.numpy)
    with pytest.raises(TypeError, match="must have one dtype, but got"):
        REFUSED[name](lax, jnp)


def test_a_number_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(OverflowError, match="add: the integer 300 does not fit into i8"):
        lax.add(jnp.arange(3, dtype=jnp.int8), 300)


@pytest.mark.parametrize("value", [0.1, 3, True, 1 + 1j])
def test_numbers_print_as_numbers_of_python(value: Any) -> None:
    assert f"{jnp.array(value)}" == f"{jax.numpy.array(value)}"


def test_a_form_for_numbers_refuses_arrays() -> None:
    with pytest.raises(TypeError, match=r"format: '\.2f' is for single numbers, but got f32\[2\]"):
        format(jnp.ones(2), ".2f")


def test_keys_print_with_shape_and_dtype() -> None:
    assert repr(random.split(random.key(0))) == repr(jax.random.split(jax.random.key(0)))
    assert f"{random.key(0)}" == f"{jax.random.key(0)}"


def test_unknown_padding_names_the_function() -> None:
    with pytest.raises(ValueError, match="^conv_general_dilated: padding must be"):
        lax.conv_general_dilated(jnp.ones((1, 1, 4)), jnp.ones((1, 1, 2)), (1,), "SAMEISH")
    with pytest.raises(TypeError, match="^conv_general_dilated: padding must be a name or one"):
        lax.conv_general_dilated(jnp.ones((1, 1, 4)), jnp.ones((1, 1, 2)), (1,), 3)
