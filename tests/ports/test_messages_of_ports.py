"""Mistakes that ported scripts make: each message begins with the function that was called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from funcgrad import lax, nn, numpy as jnp, random

X = jnp.ones((2, 3))
MISTAKES: dict[str, tuple[type[Exception], Callable[[], Any]]] = {
    "sin: \\[1.0, 2.0\\] of type list is not an array": (TypeError, lambda: lax.sin([1.0, 2.0])),
    "reduce_max:": (TypeError, lambda: lax.reduce_max(X, "a")),
    "expand_dims: ": (TypeError, lambda: lax.expand_dims(X, 1.5)),
    "softmax: axis 5": (ValueError, lambda: nn.softmax(X, axis=5)),
    "log_softmax: axis must": (TypeError, lambda: nn.log_softmax(X, axis=1.0)),
    "logsumexp: axis": (ValueError, lambda: nn.logsumexp(X, axis=-3)),
    "relu: needs arrays": (TypeError, lambda: nn.relu([1.0])),
    "gelu: needs arrays": (TypeError, lambda: nn.gelu(None)),
    "softplus: needs arrays": (TypeError, lambda: nn.softplus("a")),
    "one_hot: num_classes must be an integer": (TypeError, lambda: nn.one_hot(0, 2.5)),
    "glu: axis 2": (ValueError, lambda: nn.glu(X, 2)),
    "dtype: needs a type of numbers": (TypeError, lambda: jnp.ones(2, "foo")),
    "dtype: needs a type of numbers, .*got \\[1\\]": (TypeError, lambda: jnp.ones(2, [1])),
    "zeros: a size must be an integer": (TypeError, lambda: jnp.zeros(float)),
    "max: random keys are not numbers": (TypeError, lambda: jnp.max(random.split(random.key(0)))),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_message_begins_with_the_public_name(message: str) -> None:
    kind, call = MISTAKES[message]
    with pytest.raises(kind, match="^(" + message + ")"):
        call()


def test_errors_of_functions_given_by_users_are_left_alone() -> None:
    def broken(x: Any) -> Any:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="^mine$"):
        lax.map(broken, X)


KEYS = random.split(random.key(0))


@pytest.mark.parametrize("name", ["sum", "any", "argmax", "cumsum", "unique", "mean", "var", "max"])
def test_random_keys_are_not_numbers(name: str) -> None:
    """One key has rank 0: reducing it over no axis must not hand it back."""
    for keys in (KEYS, KEYS[0]):
        with pytest.raises(TypeError, match="random keys"):
            getattr(jnp, name)(keys)


@pytest.mark.parametrize("shape", [b"ab", KEYS[0], "ab"])
def test_what_is_no_shape(shape: Any) -> None:
    with pytest.raises(TypeError, match="^zeros: "):
        jnp.zeros(shape)


@pytest.mark.parametrize("name", ["eye", "identity", "tri"])
def test_sizes_of_matrices_are_single_integers(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}: N and M must be single integers"):
        getattr(jnp, name)((2, 3))


def test_axes_may_be_integers_of_numpy() -> None:
    assert jnp.unique(jnp.ones((2, 2)), axis=np.int64(0)).shape == (1, 2)
    assert jnp.roll(jnp.arange(3), jnp.zeros(0, int)).tolist() == [0, 1, 2]
