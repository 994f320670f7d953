"""Primitives, eager code and jit on device arrays: with a stand-in for the cupy module, and on a
real card where there is one.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax, util
from funcgrad.backends.cupy import device
from funcgrad.core import dtypes
from funcgrad.primitives import linalg
from tests.backends import cupy_facts as facts
from tests.backends.cards import A_REAL_ONE, KINDS, Card, cards
from tests.primitives.cases import Case, all_cases
from tests.primitives.test_laws import arrays, flat

CASES = all_cases()


@pytest.fixture(params=KINDS)
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """One graphics card."""
    yield from cards(request.param, monkeypatch)


@pytest.mark.skipif(A_REAL_ONE, reason="there is a real card")
def test_without_a_real_card_only_the_stand_in_is_tested() -> None:
    pytest.skip("CuPy or a graphics card is missing")


def test_put_and_get(card: Card) -> None:
    x = card.put(np.arange(3.0, dtype=np.float32))
    assert card.holds(x) and x.device == card.device
    np.testing.assert_array_equal(np.asarray(x), [0, 1, 2])
    assert isinstance(fg.device_put(x, fg.devices("cpu")[0])._buffer, np.ndarray)
    assert isinstance(fg.device_get({"a": x})["a"], np.ndarray)


def test_what_python_asks_of_an_array(card: Card) -> None:
    host = jnp.arange(6.0).reshape(2, 3)
    x = card.put(host)
    assert (repr(x), str(x)) == (repr(host), str(host))
    assert f"{x[1, 2]:.1f}" == "5.0" and float(x[0, 1]) == 1.0 and int(x[1, 0]) == 3
    assert bool(x[0, 1] > 0) and len(x) == 2 and x.tolist() == host.tolist()
    assert [float(row.sum()) for row in x] == [3.0, 12.0]
    assert x.block_until_ready() is x and (x[0, 2].item(), x.nbytes) == (2.0, 24)
    for again in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        np.testing.assert_array_equal(np.asarray(again), np.asarray(host))


def test_transfers_are_guarded(card: Card) -> None:
    x, host = card.put(np.ones(3, np.float32)), np.ones(3, np.float32)
    implicit = {
        "host_to_device": lambda: x + host,
        "device_to_host": lambda: (np.asarray(x), float(x[0]), str(x)),
    }
    explicit = {
        "host_to_device": lambda: fg.device_put(host, card.device),
        "device_to_host": lambda: (fg.device_get(x), fg.device_put(x, "cpu")),
    }
    for direction, copied in implicit.items():
        setting = getattr(fg, f"transfer_guard_{direction}")
        with setting("disallow"), pytest.raises(RuntimeError, match="transfer_guard: a copy from"):
            copied()
        with setting("disallow"):
            explicit[direction]()
        with setting("disallow_explicit"), pytest.raises(RuntimeError, match="disallow_explicit"):
            explicit[direction]()


def test_operations_stay_where_their_operands_are(card: Card) -> None:
    x = card.put(np.ones((2, 3), np.float32))
    for y in (
        x + 1.0,
        2.0 * x,
        jnp.sin(x) @ x.T,
        jnp.sum(x),
        x[0],
        jnp.where(x > 0, x, 0.0),
        x + np.ones(3, np.float32),
    ):
        assert card.holds(y)


def test_cpu_work_after_device_work_is_cpu_work(card: Card) -> None:  # D47
    card.put(np.ones(3, np.float32)) + 1
    assert isinstance((jnp.ones(3) * 2)._buffer, (np.ndarray, np.generic))


def test_default_device(card: Card) -> None:
    with fg.default_device(card.device):
        assert card.holds(jnp.zeros(3))
        assert card.holds(jnp.arange(3))
        assert card.holds(jnp.array([1.0, 2.0]))
    assert isinstance(jnp.zeros(3)._buffer, np.ndarray)


def test_bfloat16_stays_on_the_cpu(card: Card) -> None:
    with pytest.raises(TypeError, match="device_put: bfloat16 stays on the CPU"):
        card.put(jnp.ones(3, jnp.bfloat16))


def test_transformations_and_jit(card: Card) -> None:
    def loss(w: Any, x: Any) -> Any:
        return jnp.mean(jnp.tanh(x @ w) ** 2)

    w, x = np.ones((3, 2), np.float32) * 0.1, np.arange(12.0, dtype=np.float32).reshape(4, 3)
    expected = fg.grad(loss)(w, x)
    for gradient in (fg.grad(loss), fg.jit(fg.grad(loss))):
        for _ in range(4):  # after a few calls other code runs
            got = gradient(card.put(w), card.put(x))
            assert card.holds(got)
            np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=1e-5)
    rows = fg.vmap(fg.grad(loss), in_axes=(None, 0))(card.put(w), card.put(x))
    assert card.holds(rows) and rows.shape == (4, 3, 2)


def test_branches_per_lane_are_selected(card: Card) -> None:
    f = lambda v: lax.cond(v > 0, jnp.log, lambda u: u * 2.0, v)
    x = np.asarray([0.5, -1.0, 2.0], np.float32)
    for transform in (fg.vmap, lambda f: fg.jit(fg.vmap(f)), lambda f: fg.vmap(fg.grad(f))):
        found = transform(f)(card.put(x))
        assert card.holds(found)
        np.testing.assert_allclose(np.asarray(found), transform(f)(x), rtol=1e-6)


LOOPS: dict[str, Callable[..., Any]] = {
    "scan": lambda x: lax.scan(lambda c, row: (c * 0.5 + row, c.sum()), jnp.zeros(3), x)[0],
    "while": lambda x: lax.while_loop(lambda c: c.sum() < 100.0, lambda c: c * 2 + 1, x[0]),
    "fori": lambda x: lax.fori_loop(0, 4, lambda i, c: c + jnp.take(x, i % 2, 0), x[0]),
    "cond": lambda x: lax.cond(x.sum() > 0, jnp.exp, jnp.cos, x[0]),
    "switch": lambda x: lax.switch(x[0, 1].astype(int), [jnp.exp, jnp.cos, jnp.sin], x[0]),
    "associative": lambda x: lax.associative_scan(jnp.add, x, axis=1),
}


@pytest.mark.parametrize("name", LOOPS)
def test_control_flow(name: str, card: Card) -> None:
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    for transform in (lambda f: f, fg.jit):
        found = transform(LOOPS[name])(card.put(x))
        assert card.holds(found)
        card.agree(found, LOOPS[name](x))


@pytest.mark.parametrize("draw", ["bits", "uniform", "normal", "randint", "permutation", "gamma"])
def test_random_numbers_are_the_same(draw: str, card: Card) -> None:
    def numbers(key: Any) -> Any:
        match draw:
            case "permutation":
                return fg.random.permutation(key, 7)
            case "randint":
                return fg.random.randint(key, (9,), -3, 12)
            case "gamma":
                return fg.random.gamma(key, 2.5, (9,))
        return getattr(fg.random, draw)(key, (9,))

    expected = numbers(fg.random.key(0))
    with fg.default_device(card.device):
        key = fg.device_put(fg.random.key(0), card.device)
        card.agree(numbers(key), expected)


UPDATES = [
    (method, dtype)
    for method in ("set", "add", "multiply", "min", "max", "subtract")
    for dtype in ("float16", "float32", "int8", "int32", "complex64")
    if dtype != "complex64" or method not in ("min", "max")  # complex numbers have no order
]


@pytest.mark.parametrize("method, dtype", UPDATES)
@pytest.mark.parametrize("width", [1, 5])
def test_updates_of_one_place_are_combined(method: str, dtype: str, width: int, card: Card) -> None:
    rng = np.random.default_rng(0)
    places = np.array([3, 0, 3, 3, 1, 0, 3, 3])
    x = rng.integers(-3, 4, (5, width)).astype(dtype)
    updates = rng.integers(-3, 4, (8, width)).astype(dtype)
    update = lambda x, places, updates: getattr(x.at[places], method)(updates)
    expected = update(jnp.asarray(x), places, updates)
    card.agree(update(card.put(x), card.put(places), card.put(updates)), expected)


def test_narrow_sums_are_rounded_once(card: Card) -> None:
    updates = np.array([2048, 1, 1, 1, 1, 1, 1, 1], np.float16)  # 2048 + 1 is 2048 in float16
    add = lambda updates: jnp.zeros(2, jnp.float16).at[np.zeros(8, int)].add(updates)
    assert float(add(updates)[0]) == float(add(card.put(updates))[0]) == 2056


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "int8"])
def test_integer_division_is_exact(dtype: str, card: Card) -> None:
    top = np.iinfo(dtype).max
    x = np.array([top, top - 1, 7, 0, 9, top], dtype)
    y = np.array([3, 7, top, 5, 0, top - 2], dtype)
    if dtype[0] == "i":
        x, y = np.concatenate([x, -x, x, -x]), np.concatenate([y, y, -y, -y])
    x, y = jnp.array(x, dtype), jnp.array(y, dtype)
    for f in (lax.rem, lax.div, jnp.fmod, jnp.mod, jnp.floor_divide):
        card.agree(f(card.put(x), card.put(y)), f(x, y))


def test_matrices_without_a_factor_give_nan_on_the_card_too(card: Card) -> None:
    singular = np.array([[[1, 2], [2, 4]], [[2, 0], [0, 1]]], np.float32)
    b = np.ones((2, 2, 1), np.float32)
    negative = -np.eye(2, dtype=np.float32)
    for f in (jnp.linalg.cholesky, lambda a: jnp.linalg.solve(a, b)):
        card.agree(f(card.put(singular)), f(singular))
    assert np.isnan(np.asarray(jnp.linalg.cholesky(card.put(negative))).diagonal()).all()


def test_qr_with_pivoting_says_where_it_works(card: Card) -> None:
    with pytest.raises(TypeError, match="pivoting=True needs an array on the CPU"):
        linalg.qr(card.put(np.eye(3, dtype=np.float32)), pivoting=True)


# What is free in a factorization (signs, order) is left out; the rest must be as on the CPU.
FREE: dict[str, Callable[[list[Any]], list[Any]]] = {
    "eigh": lambda outs: [outs[1]],
    "svd": lambda outs: [outs[0]],
    "qr": lambda outs: [np.abs(np.asarray(outs[1]))],
    "eig": lambda outs: [np.sort(np.round(np.asarray(outs[0]), 3), -1)],
}


def _runs(case: Case, params: dict[str, Any]) -> bool:
    if "value" in case.skip or params.get("pivoting"):  # operands that are keys; has its own test
        return False
    return not any(v.dtype == dtypes.bfloat16 for v in case.operands())


ROWS = [pytest.param(c, p, id=label) for label, c, p in CASES if _runs(c, p)]


@pytest.mark.parametrize("case, params", ROWS)
def test_value_rules_use_the_namespace(case: Case, params: dict[str, Any], card: Card) -> None:
    values = case.operands()
    function = flat(case, params)
    expected = function(*arrays(values))
    operands = [fg.device_put(x, card.device) for x in arrays(values)]
    determined = FREE.get(case.primitive.name, list)
    for found in (function(*operands), fg.jit(function)(*operands)):
        assert all(card.holds(x) for x in found) or not values
        for got, wanted in zip(determined(found), determined(expected), strict=True):
            # factorizations are as exact as their matrices are well conditioned
            card.agree(got, wanted, slack=16.0)


def test_without_cupy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(device, "_namespace", None)
    util.optional.cache_clear()
    with pytest.raises(ImportError, match=r"funcgrad\[cuda13\]"):
        fg.devices("gpu")
    util.optional.cache_clear()


# ---- the tables that the stand-in obeys, against the module itself


def _parameters(signature: inspect.Signature) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def test_the_tables_are_true_of_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    for functions, module in ((facts.FUNCTIONS, cupy), (facts.LINEAR_ALGEBRA, cupy.linalg)):
        for name, signature in functions.items():
            real = inspect.signature(getattr(module, name))
            assert _parameters(real) == _parameters(signature), name
    for name in facts.UFUNCS:
        ufunc = getattr(cupy, name)
        assert isinstance(ufunc, cupy.ufunc), name
        assert (ufunc._scatter_op is not None) == (name in facts.AT), name
    for name, signature in facts.METHODS.items():
        described = getattr(cupy.ndarray, name).__doc__ or ""
        shown = ", ".join(str(p) for p in signature.parameters.values())
        assert name == "view" or f".{name}(self" in described, name
        plain = described.split("\n")[0].replace("int axis", "axis").replace("Py_ssize_t ", "")
        assert name == "view" or f"(self{', ' * bool(shown)}{shown})" in plain, (name, plain)
