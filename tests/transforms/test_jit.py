"""jit: how often functions are traced, static and donated arguments, forms, stages, threads."""

from __future__ import annotations

import functools
import gc
import logging
import threading
from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.config import config


class Counted:
    """A function that counts how often it is run, which under jit is how often it is traced."""

    def __init__(self, function: Any) -> None:
        self.function, self.count = function, 0
        self.__wrapped__ = function  # whose signature jit reads

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return self.function(*args, **kwargs)


def traces(function: Any, *calls: Any, **options: Any) -> int:
    """How often a function is traced in these calls: tuples of positional arguments, or dicts."""
    counted = Counted(function)
    jitted = fg.jit(counted, **options)
    for call in calls:
        jitted(**call) if isinstance(call, dict) else jitted(*call)
    return counted.count


X, Y = jnp.ones(3), jnp.zeros(3)
I32, F64 = jnp.arange(3), jnp.ones(3, "float64")
WEAK = jnp.full(3, 1.0)

SIGNATURES = {
    "same array": ([(X,), (X,), (Y,)], 1),
    "NumPy array of the same type": ([(X,), (np.ones(3, np.float32),)], 1),
    "another shape": ([(X,), (jnp.ones(4),), (X,)], 2),
    "another rank": ([(X,), (jnp.ones((1, 3)),)], 2),
    "another dtype": ([(X,), (I32,), (F64,), (X,)], 3),
    "numbers": ([(1.0,), (2.5,), (-3.0,)], 1),
    "kinds of numbers": ([(1.0,), (1,), (True,), (1j,)], 4),
    "weak and strong": ([(X,), (WEAK,), (X,), (WEAK,)], 2),
    "NumPy scalar": ([(np.float32(1),), (np.float32(2),), (jnp.float32(3),)], 1),
    "number and scalar": ([(1.0,), (np.float32(1),)], 2),
    "trees": ([({"a": X},), ({"a": Y},), ({"b": X},), ([X],), ((X,),)], 4),
    "order of keys": ([({"a": X, "b": Y},), ({"b": Y, "a": X},)], 1),
    "None": ([(None,), (None,), (X,)], 2),
    "by name": ([{"x": X}, {"x": Y}, (X,)], 2),
    "empty": ([(), (), ()], 1),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_one_trace_per_signature(name: str) -> None:
    calls, expected = SIGNATURES[name]
    assert traces(lambda x=None: jnp.zeros(()) if x is None else x, *calls) == expected


def test_statics_are_part_of_the_signature() -> None:
    power = lambda x, n: x**n
    calls = [(X, 2), (Y, 2), (X, 3), (X, 2)]
    assert traces(power, *calls, static_argnums=1) == 2
    assert traces(power, *calls, static_argnums=(-1,)) == 2
    assert traces(power, *calls, static_argnames="n") == 2
    named = [{"x": X, "n": 2}, {"x": X, "n": 3}, {"n": 2, "x": Y}]
    assert traces(power, *named, static_argnames=("n",)) == 2
    assert traces(power, *named, static_argnums=1) == 2
    assert traces(power, *calls) == 1


def test_static_values_of_other_types_are_other_values() -> None:
    """1 == 1.0 == True, and yet results differ."""
    f = fg.jit(lambda x, n: x * n, static_argnums=1)
    types = [f(jnp.arange(2), n).dtype for n in (1, 1.0, True, 1, 1.0)]
    assert types == [np.int32, np.float32, np.int32, np.int32, np.float32]
    g = fg.jit(lambda x, n: x * n[0], static_argnums=1)
    types = [g(jnp.arange(2), (n,)).dtype for n in (1, 1, 1, 1.0, 1.0, 1.0, 1)]
    assert types == [np.int32] * 3 + [np.float32] * 3 + [np.int32]


def test_static_values_are_given_as_they_are() -> None:
    seen = []
    f = fg.jit(
        lambda a, x, b, *, c: seen.append((a, b, c)) or x,
        static_argnums=(0, 2),
        static_argnames="c",
    )
    f("sum", X, (1, 2), c=len)
    assert seen == [("sum", (1, 2), len)]


def test_settings_are_part_of_the_signature() -> None:
    counted = Counted(lambda x: x * jnp.ones(2))
    f = fg.jit(counted)
    assert f(1.0).dtype == np.float32
    with fg.enable_x64():
        assert f(1.0).dtype == np.float64
    assert f(1.0).dtype == np.float32 and counted.count == 2


def test_named_axes_are_part_of_the_signature() -> None:
    f = fg.jit(lambda x: x / lax.psum(x, "i"))
    two = fg.vmap(f, axis_name="i")(jnp.ones(2))
    four = fg.vmap(f, axis_name="i")(jnp.ones(4))
    assert two[0] == 0.5 and four[0] == 0.25
    with pytest.raises(NameError, match="'i'"):
        f(1.0)


def test_programs_that_close_over_tracers_are_not_kept() -> None:
    box: list = [None]
    inner = fg.jit(lambda y: y * box[0])

    def outer(x: Any) -> Any:
        box[0] = x
        return inner(2.0)

    assert fg.grad(outer)(3.0) == 2 and fg.grad(lambda x: outer(x * x))(3.0) == 12
    np.testing.assert_array_equal(fg.vmap(outer)(jnp.arange(3.0)), [0, 2, 4])
    assert fg.jit(outer)(3.0) == 6


def test_a_jit_inside_a_transformation_is_traced_once() -> None:
    counted = Counted(lambda x: jnp.sin(x))
    inner = fg.jit(counted)
    step = fg.jit(fg.grad(lambda x: inner(x) + inner(2 * x)))
    for _ in range(3):
        step(1.0)
    assert counted.count == 1
    fg.grad(inner)(2.0), fg.vmap(inner)(X), fg.jvp(inner, (1.0,), (1.0,))
    assert counted.count == 2, "vmap sees a strong f32[]"


def test_jit_twice_of_one_function_compiles_once() -> None:
    counted = Counted(lambda x: x + 1)
    fg.jit(counted)(X), fg.jit(counted)(X)
    assert counted.count == 1
    fg.clear_caches()
    fg.jit(counted)(X)
    assert counted.count == 2


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_cleared_caches_are_empty_for_functions_in_use_too(calls: int) -> None:
    counted = Counted(lambda x: x + 1)
    function, other = fg.jit(counted), fg.jit(Counted(lambda x: x * 2))
    for _ in range(calls):
        function(X), other(X)
    fg.clear_caches()
    function(X), other(X)
    assert counted.count == 2 and other._cache_size() == 1


def test_programs_die_with_their_function() -> None:
    def make() -> Any:
        big = jnp.ones(1000)
        return lambda x: x + big

    f = make()
    fg.jit(f)(X[:1])
    before = len(fg.api.compile._caches)
    del f
    gc.collect()
    assert len(fg.api.compile._caches) < before


def test_closed_over_arrays_are_constants() -> None:
    weights = jnp.ones(3)
    f = fg.jit(lambda x: x * weights)
    assert f(2.0).sum() == 6
    local = np.ones(2, np.float32)
    g = fg.jit(lambda x: x * local)
    assert g(2.0).sum() == 4
    local[:] = 100
    assert g(3.0).sum() == 6, "the NumPy array was copied"


# ---- donation


def address(x: Any) -> int:
    return np.asarray(x).__array_interface__["data"][0]


def test_donated_memory_is_used_again_and_the_array_is_gone() -> None:
    f = fg.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.arange(1000.0) * 1
    place = address(x)
    y = f(x)
    assert x.is_deleted() and address(y) == place
    np.testing.assert_array_equal(y, np.arange(1, 1001))
    for _ in range(3):
        y = f(y)
    assert address(y) == place


def test_donated_memory_that_others_can_see_is_copied() -> None:
    f = fg.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.arange(5.0) * 1
    view = np.asarray(x)
    f(x)
    np.testing.assert_array_equal(view, np.arange(5))
    base = np.arange(5, dtype=np.float32)
    x = jnp.asarray(base)
    f(x)
    np.testing.assert_array_equal(base, np.arange(5))


def test_donated_trees_names_and_the_rest() -> None:
    f = fg.jit(lambda state, x: {k: v + x for k, v in state.items()}, donate_argnames="state")
    state, x = {"a": jnp.ones(4) * 1, "b": jnp.ones(2) * 1}, jnp.float32(1)
    out = f(state, x)
    assert all(v.is_deleted() for v in state.values()) and not x.is_deleted()
    np.testing.assert_array_equal(out["b"], [2, 2])
    state = {"a": jnp.ones(4) * 1, "b": jnp.ones(2) * 1}
    f(state=state, x=x)
    assert all(v.is_deleted() for v in state.values())


def test_donation_inside_another_jit_has_no_effect() -> None:
    f = fg.jit(lambda x: x + 1, donate_argnums=0)
    g = fg.jit(lambda x: (f(x), x))
    x = jnp.ones(3) * 1
    out, kept = g(x)
    assert not x.is_deleted() and kept[0] == 1 and out[0] == 2


def test_the_same_array_twice_one_of_them_donated() -> None:
    f = fg.jit(lambda x, y: (x + 1, y * 2), donate_argnums=0)
    x = jnp.ones(3) * 1
    first, second = f(x, x)
    assert first[0] == 2 and second[0] == 2


# ---- forms


def test_decorator_with_and_without_arguments() -> None:
    @fg.jit
    def first(x: Any) -> Any:
        return x + 1

    @fg.jit(static_argnums=1)
    def second(x: Any, n: int) -> Any:
        return x * n

    @functools.partial(fg.jit, static_argnames=("n",))
    def third(x: Any, n: int = 2) -> Any:
        return x * n

    assert first(1) == 2 and second(2, 3) == 6 and third(2) == 4 and third(2, n=5) == 10


def test_methods_functions_with_defaults_and_callables() -> None:
    class Model:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        @functools.partial(fg.jit, static_argnums=0)
        def call(self, x: Any) -> Any:
            return self.scale * x

        @staticmethod
        @fg.jit
        def double(x: Any) -> Any:
            return 2 * x

    small, large = Model(2.0), Model(10.0)
    assert small.call(3.0) == 6 and large.call(3.0) == 30 and small.call(1.0) == 2
    assert Model.double(4) == small.double(4) == 8
    assert fg.jit(functools.partial(lambda a, b: a - b, 10))(3) == 7
    assert fg.jit(jnp.sin)(0.0) == 0
    assert fg.jit(lambda *args, **kwargs: len(args) + sum(kwargs.values()))(1, 2, a=3) == 5


def test_results_of_all_kinds() -> None:
    out = fg.jit(lambda x: {"a": (x, [x + 1, None]), "b": 3, "c": np.float32(2)})(1.0)
    assert out["b"] == 3 and out["a"][1][1] is None and isinstance(out["c"], fg.Array)
    assert fg.jit(lambda: None)() is None and fg.jit(lambda x: ())(X) == ()
    same = fg.jit(lambda x: (x, x))(X)
    assert same[0].shape == same[1].shape == (3,)


def test_many_calls_take_the_generated_way() -> None:
    """After some calls matching and building results are generated code: it must do the same."""
    f = fg.jit(lambda p, *, k: {"y": p["x"] * k, "z": [p["x"], (k,)], "n": None})
    for i in range(6):
        out = f({"x": jnp.full(3, float(i))}, k=2.0)
        np.testing.assert_array_equal(out["y"], np.full(3, 2.0 * i))
        assert type(out["z"]) is list and type(out["z"][1]) is tuple and out["n"] is None
    assert f({"x": I32}, k=2)["y"].dtype == np.int32
    assert f({"x": X}, k=jnp.float32(3))["y"].weak_type is False
    with pytest.raises(TypeError):
        f({"x": X})
    with pytest.raises(TypeError):
        f({"x": X, "more": X}, k=object())


def test_stages_can_be_looked_at() -> None:
    f = fg.jit(lambda x, n: {"y": jnp.sin(x) * n}, static_argnums=1)
    traced = f.trace(X, 2)
    assert "sin" in str(traced.jaxpr) and traced.out_info["y"].shape == (3,)
    lowered = f.lower(fg.ShapeDtypeStruct((3,), np.float32), 2)
    assert "sin" in lowered.as_text() and "f32[3]" in lowered.as_text()
    compiled = lowered.compile()
    np.testing.assert_array_equal(compiled(X)["y"], f(X, 2)["y"])
    assert "sin" in compiled.as_text("python")
    assert f.eval_shape(X, 2)["y"].dtype == np.float32


def test_disable_jit_runs_python() -> None:
    seen = []
    f = fg.jit(lambda x: seen.append(float(x)) or x + 1)
    with fg.disable_jit():
        assert f(1.0) == 2 and f(2.0) == 3
        total = lax.fori_loop(0, 3, lambda i, c: seen.append(int(i)) or c + i, 0)
        assert lax.cond(True, lambda: 1, lambda: 1 / 0) == 1 and int(total) == 3
        out, ys = lax.scan(lambda c, x: (c + x, float(c)), 0.0, X)
    assert seen == [1.0, 2.0, 0, 1, 2] and float(out) == 3
    np.testing.assert_array_equal(ys, [0, 1, 2])


@pytest.mark.parametrize("engine", ["reference", "numpy"])
def test_engines_agree(engine: str) -> None:
    f = fg.jit(fg.grad(lambda x: jnp.sum(jnp.tanh(x @ x.T) * jnp.cumsum(x, 0)[:, :3])))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    with config.override(engine=engine):
        ours = f(x)
    with fg.disable_jit():
        np.testing.assert_allclose(ours, f(x), rtol=1e-5, atol=1e-6)


def test_compilations_can_be_logged(caplog: Any) -> None:
    def named(x: Any) -> Any:
        return x

    with config.override(log_compiles=True), caplog.at_level(logging.WARNING, "funcgrad"):
        fg.jit(named)(X), fg.jit(named)(X)
    assert [r.getMessage() for r in caplog.records] == ["Compiling named for f32[3]"]


def test_inlined_functions_leave_no_call() -> None:
    f = fg.jit(lambda x: jnp.sin(x), inline=True)
    g = fg.jit(lambda x: jnp.sin(x))
    assert "jit" not in str(fg.make_jaxpr(lambda x: f(x) * 2)(1.0))
    assert "jit" in str(fg.make_jaxpr(lambda x: g(x) * 2)(1.0))
    assert f(1.0) == g(1.0)


def test_threads_share_programs() -> None:
    counted = Counted(lambda x: jnp.sin(x) * 2)
    f = fg.jit(counted)
    results: list = [None] * 8
    start = threading.Barrier(8)

    def work(i: int) -> None:
        start.wait()
        results[i] = [float(f(float(i + k))) for k in range(20)]
        assert fg.grad(f)(0.0) == 2

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [w.start() for w in workers], [w.join() for w in workers]
    for i, found in enumerate(results):
        np.testing.assert_allclose(
            found, [2 * np.sin(i + k) for k in range(20)], rtol=1e-5, atol=1e-6
        )
    assert counted.count <= 3, "once by itself; under grad at most twice at the same time"


def test_settings_of_a_thread_are_its_own() -> None:
    found = {}

    def work(name: str, wide: bool) -> None:
        with config.override(enable_x64=wide):
            found[name] = fg.jit(lambda: jnp.ones(2))().dtype

    workers = [threading.Thread(target=work, args=a) for a in (("wide", True), ("narrow", False))]
    [w.start() for w in workers], [w.join() for w in workers]
    assert found == {"wide": np.float64, "narrow": np.float32}


def test_an_error_while_tracing_leaves_nothing_behind() -> None:
    def fails(x: Any) -> Any:
        raise RuntimeError("mine")

    for transform in (fg.jit, fg.grad, fg.vmap, fg.checkpoint):
        with pytest.raises(RuntimeError, match="mine"):
            transform(fails)(X)
    assert isinstance(jnp.sin(X), fg.Array) and np.asarray(jnp.sin(X)).shape == (3,)
    assert gc.isenabled()
