"""Habits of NumPy users that mean something else here: kinds of NumPy values whose rules would be
lost, and what tracers, keys and `x.at` say to those who treat them as arrays of NumPy.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from tests.errors.raising import refused

X = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])

# ways in, each with the public name that its errors speak for
ENTRANCES = {
    "asarray": jnp.asarray,
    "array": lambda v: jnp.array(v, "float32"),
    "multiply": lambda v: jnp.multiply(v, X),
    "multiply from the right": lambda v: X * v,
    "jit": lambda v: fg.jit(lambda x: x * 1)(v),
    "multiply, closed over": lambda v: fg.jit(lambda x: x * v)(X),
    "grad": lambda v: fg.grad(lambda x: (x * x).sum() / 2)(v),
    "vmap": lambda v: fg.vmap(lambda x: x)(v),
    "device_put": fg.device_put,
    "x.at[...]": lambda v: X.at[:].set(v),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_masks_are_not_lost_without_a_word(entrance: str) -> None:
    masked = np.ma.masked_array(np.ones((2, 2), np.float32), mask=[[True, False], [False, False]])
    name = entrance.partition(" from")[0].partition(",")[0]
    refused(lambda: ENTRANCES[entrance](masked), TypeError, f"{name}: ", "x.filled(value)")


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("kind", ["matrix", "recarray", "of the user"])
def test_subclasses_of_ndarray_are_arrays(entrance: str, kind: str) -> None:
    """A matrix multiplies by `*` as matrices do, and its sums have rank 2."""

    class Own(np.ndarray):
        def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("the buffer is still the user's")

    value = np.asarray([[1, 2], [3, 4]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix(value)
    given = {"matrix": matrix, "recarray": value.view(np.recarray), "of the user": value.view(Own)}
    if kind == "of the user" and entrance == "multiply from the right":
        pytest.skip("the user's class takes the operator over")
    out = ENTRANCES[entrance](given[kind])
    assert type(out._buffer) is np.ndarray
    squared = "multiply" in entrance
    np.testing.assert_array_equal(out, value * value if squared else value)
    assert jnp.sum(out).shape == ()


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is double here")
@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble])
def test_long_doubles_are_refused_at_the_door(dtype: Any) -> None:
    value = np.ones((2, 2), dtype)
    for entrance in ("asarray", "multiply", "jit", "grad", "vmap"):
        call = ENTRANCES[entrance]
        refused(lambda c=call: c(value), TypeError, f"{entrance}: ", value.dtype.name, "astype")
    refused(lambda: jnp.asarray([value, value]), TypeError, value.dtype.name)
    refused(lambda: jnp.zeros(2, dtype), TypeError, "needs a type of numbers")
    assert jnp.asarray(value, "complex64").dtype == np.complex64


def test_narrowed_data_warns_by_its_own_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("funcgrad.core.inputs._warned", False)
    with pytest.warns(fg.errors.NarrowingWarning, match="float64 becomes float32"):
        jnp.asarray(np.ones(3))


def delete(x: Any) -> None:
    del x[0]


def assign_at(x: Any) -> None:
    x.at[0] = 1.0


def reshape_in_place(x: Any) -> None:
    x.shape = (4,)


@pytest.mark.parametrize(
    ("change", "kind", "repair"),
    [
        (delete, TypeError, "numpy.delete(x, i)"),
        (assign_at, TypeError, "x.at[i].set(v)"),
        (reshape_in_place, AttributeError, "x.reshape((4,))"),
    ],
)
def test_changes_in_place_are_refused_of_values_and_of_tracers(
    change: Any, kind: Any, repair: str
) -> None:
    transforms = (lambda f: f, fg.jit, fg.vmap, lambda f: lambda x: fg.jvp(f, (x,), (x,)))
    for transform in transforms:
        refused(lambda t=transform: t(change)(X), kind, "arrays are immutable", repair)


def test_formats_need_values() -> None:
    def show(x: Any) -> Any:
        seen.append(f"{x} {x.sum():.2f}")
        return x.sum()

    seen: list[str] = []
    show(X)
    fg.grad(show)(X)  # the values are there
    assert [text.rpartition(" ")[2] for text in seen] == ["10.00", "10.00"]
    refused(lambda: fg.jit(show)(X), fg.errors.ConcretizationTypeError, "'.2f'", "debug.print")


def test_keys_name_the_function_that_needs_them() -> None:
    refused(lambda: fg.random.normal(X, (2,)), TypeError, "normal: needs a key", "float32")
    refused(lambda: fg.random.key("seed"), TypeError, "key: needs an integer seed", "'seed'")
    key = fg.random.key(0)
    refused(lambda: fg.random.split(key, -1), ValueError, "split: sizes must not be negative")
    refused(lambda: fg.random.split(key, 2.0), TypeError, "split: a size must be an integer")


def test_loops_speak_for_themselves() -> None:
    """`fori_loop` and `map` are scans and while loops of pairs; nobody wants to hear of those."""
    known = lambda body, init: fg.lax.fori_loop(0, 3, body, init)
    traced = lambda body, init: fg.jit(lambda n: fg.lax.fori_loop(0, n, body, init))(3)
    for loop in (known, traced):
        refused(lambda f=loop: f(lambda i, c: (c, c), 0.0), TypeError, "fori_loop: the body must")
        for wrong in (lambda i, c: X, lambda i, c: c > 0):
            with pytest.raises(TypeError, match=r"fori_loop: the carry.*\n  carry: f32\[2\] given"):
                loop(wrong, X[0])
        assert float(loop(lambda i, c: c + i * 0.5, 0)) == 1.5  # a weak type gives way
    refused(lambda: fg.lax.map(X, jnp.sin), TypeError, "map: needs arrays or numbers")
    refused(lambda: fg.lax.map(jnp.sin, ()), ValueError, "map: xs has no arrays")


def test_sizes_that_no_memory_has() -> None:
    for make in (lambda: jnp.ones((1 << 40, 1 << 30)), lambda: jnp.zeros(1 << 62)):
        for call in (make, fg.jit(make)):
            refused(call, ValueError, "more elements than there are addresses", "shape (")


def test_axes_and_steps_are_checked() -> None:
    key = fg.random.key(0)
    refused(lambda: fg.random.categorical(key, X, axis=5), ValueError, "categorical: axis 5")
    refused(lambda: X[::0], ValueError, "index: the step of a slice must not be 0")
