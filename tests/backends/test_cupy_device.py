"""Primitives, eager code and jit on device arrays, with a stand-in for the cupy module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax, util
from funcgrad.backends.cupy import device
from funcgrad.core import backend, dtypes
from funcgrad.core.array import ConcreteArray
from funcgrad.core.primitive import wrap_buffer
from tests.backends.stand_in_cupy import StandIn, ndarray
from tests.primitives.cases import Case, all_cases
from tests.primitives.test_laws import arrays

CASES = all_cases()


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[fg.Device]:
    """One graphics card, made of NumPy arrays in boxes."""
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    monkeypatch.setattr(device, "optional", lambda name: stand_in)
    yield fg.devices("gpu")[0]
    device._namespace = None
    backend.register_device_namespace(None)


def on(card: fg.Device, x: Any) -> Any:
    return fg.device_put(jnp.asarray(x), card)


def test_put_and_get(card: fg.Device) -> None:
    x = on(card, np.arange(3.0, dtype=np.float32))
    assert isinstance(x._buffer, ndarray) and x.device == card
    np.testing.assert_array_equal(np.asarray(x), [0, 1, 2])
    assert isinstance(fg.device_put(x, fg.devices("cpu")[0])._buffer, np.ndarray)
    assert isinstance(fg.device_get({"a": x})["a"], np.ndarray)


def test_transfers_are_guarded(card: fg.Device) -> None:
    x, host = on(card, np.ones(3, np.float32)), np.ones(3, np.float32)
    implicit = {
        "host_to_device": lambda: x + host,
        "device_to_host": lambda: (np.asarray(x), float(x[0]), str(x)),
    }
    explicit = {
        "host_to_device": lambda: fg.device_put(host, card),
        "device_to_host": lambda: (fg.device_get(x), fg.device_put(x, "cpu")),
    }
    for direction, copy in implicit.items():
        setting = getattr(fg, f"transfer_guard_{direction}")
        with setting("disallow"), pytest.raises(RuntimeError, match="transfer_guard: a copy from"):
            copy()
        with setting("disallow"):
            explicit[direction]()
        with setting("disallow_explicit"), pytest.raises(RuntimeError, match="disallow_explicit"):
            explicit[direction]()


def test_operations_stay_where_their_operands_are(card: fg.Device) -> None:
    x = on(card, np.ones((2, 3), np.float32))
    for y in (
        x + 1.0,
        2.0 * x,
        jnp.sin(x) @ x.T,
        jnp.sum(x),
        x[0],
        jnp.where(x > 0, x, 0.0),
        x + np.ones(3, np.float32),
    ):
        assert isinstance(y._buffer, ndarray)


def test_cpu_work_after_device_work_is_cpu_work(card: fg.Device) -> None:  # D47
    on(card, np.ones(3, np.float32)) + 1
    assert isinstance((jnp.ones(3) * 2)._buffer, (np.ndarray, np.generic))


def test_default_device(card: fg.Device) -> None:
    with fg.default_device(card):
        assert isinstance(jnp.zeros(3)._buffer, ndarray)
        assert isinstance(jnp.arange(3)._buffer, ndarray)
        assert isinstance(jnp.array([1.0, 2.0])._buffer, ndarray)
    assert isinstance(jnp.zeros(3)._buffer, np.ndarray)


def test_transformations_and_jit(card: fg.Device) -> None:
    def loss(w: Any, x: Any) -> Any:
        return jnp.mean(jnp.tanh(x @ w) ** 2)

    w, x = np.ones((3, 2), np.float32) * 0.1, np.arange(12.0, dtype=np.float32).reshape(4, 3)
    expected = fg.grad(loss)(w, x)
    for gradient in (fg.grad(loss), fg.jit(fg.grad(loss))):
        for _ in range(4):  # after a few calls other code runs
            got = gradient(on(card, w), on(card, x))
            assert isinstance(got._buffer, ndarray)
            np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=1e-6)
    rows = fg.vmap(fg.grad(loss), in_axes=(None, 0))(on(card, w), on(card, x))
    assert isinstance(rows._buffer, ndarray) and rows.shape == (4, 3, 2)


def test_branches_per_lane_are_selected(card: fg.Device) -> None:
    f = lambda v: lax.cond(v > 0, jnp.log, lambda u: u * 2.0, v)
    x = np.asarray([0.5, -1.0, 2.0], np.float32)
    for transform in (fg.vmap, lambda f: fg.jit(fg.vmap(f)), lambda f: fg.vmap(fg.grad(f))):
        found = transform(f)(on(card, x))
        assert isinstance(found._buffer, ndarray)
        np.testing.assert_allclose(np.asarray(found), transform(f)(x), rtol=1e-6)


def test_random_numbers_are_the_same(card: fg.Device) -> None:
    expected = fg.random.normal(fg.random.key(0), (5,))
    with fg.default_device(card):
        key = fg.device_put(fg.random.key(0), card)
        np.testing.assert_array_equal(np.asarray(fg.random.normal(key, (5,))), np.asarray(expected))


def boxed(x: ConcreteArray) -> ConcreteArray:
    """The same array on the device."""
    return wrap_buffer(ndarray(np.array(x._buffer)), x.aval)


def _runs(case: Case) -> bool:
    if "value" in case.skip:  # operands that are keys
        return False
    return not any(v.dtype == dtypes.bfloat16 for v in case.operands())


HOST_LIBRARY = {
    "lu",
    "triangular_solve",
    "eig",
    "cholesky",
    "qr",
    "eigh",
    "svd",
}  # scipy's LAPACK on the CPU


@pytest.mark.parametrize(
    "case, params",
    [
        pytest.param(c, p, id=label)
        for label, c, p in CASES
        if _runs(c) and c.primitive.name not in HOST_LIBRARY
    ],
)
def test_value_rules_use_the_namespace(case: Case, params: dict[str, Any], card: fg.Device) -> None:
    values = case.operands()
    expected = case.primitive.bind(*arrays(values), **params)
    got = case.primitive.bind(*(boxed(x) for x in arrays(values)), **params)
    if not case.primitive.multiple_results:
        expected, got = [expected], [got]
    for e, g in zip(expected, got, strict=True):
        if values:
            assert isinstance(g._buffer, ndarray)
        host = g._buffer.get() if isinstance(g._buffer, ndarray) else np.asarray(g._buffer)
        assert host.dtype == e._buffer.dtype and host.shape == e._buffer.shape
        np.testing.assert_array_equal(host, np.asarray(e._buffer))


def test_without_cupy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(device, "optional", util.optional)
    with pytest.raises(ImportError, match=r"funcgrad\[cuda13\]"):
        fg.devices("gpu")
