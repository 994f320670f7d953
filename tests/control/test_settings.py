"""Settings as context managers: what they stop, what they name, and that nothing is left behind."""

import gc
import logging
import threading

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.core import transfers
from funcgrad.errors import LeakError


def step_of_log(_, c):
    return jnp.log(c - 2)


NAN = {
    "eager": (lambda x: jnp.log(x), -1.0, "log"),
    "through its general way": (lambda x: jnp.power(x, 0.5), jnp.array([-1.0, 4.0]), "pow"),
    "operator": (lambda x: x / x, jnp.arange(3.0), "div"),
    "jit": (fg.jit(lambda x: jnp.exp(x) + jnp.log(x)), -1.0, "log"),
    "scan": (
        lambda x: fg.lax.scan(lambda c, v: (jnp.sqrt(c - v), c), x, jnp.ones(5))[0], 3.0, "sqrt",
    ),
    "while": (
        fg.jit(lambda x: fg.lax.fori_loop(0, jnp.int32(3) + 0 * x.astype(int), step_of_log, x)),
        jnp.float32(2.5),
        "log",
    ),
    "cond": (lambda x: fg.lax.cond(x < 0, jnp.sqrt, jnp.sin, x), -2.0, "sqrt"),
    "backward": (fg.grad(lambda x: jnp.sqrt(x) * 0), 0.0, "mul"),
    "backward of jit": (fg.grad(fg.jit(lambda x: jnp.sqrt(x) * 0)), 0.0, "mul"),
    "vmap": (fg.vmap(jnp.log), jnp.array([1.0, -1.0]), "log"),
    "checkpoint": (fg.checkpoint(lambda x: jnp.arcsin(x)), 2.0, "asin"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAN)
def test_debug_nans_names_the_operation_and_the_line(name):
    f, x, operation = NAN[name]
    f(x)  # compiled before, without the setting
    with fg.debug_nans(True), pytest.raises(FloatingPointError) as caught:
        f(x)
    text = str(caught.value)
    assert text.startswith("debug_nans: invalid value (nan) from ") and operation in text
    assert "test_settings.py:" in text
    f(x)  # off again


def test_debug_nans_lets_numbers_pass_and_counts_what_is_wrong():
    with fg.debug_nans(), fg.debug_infs():
        assert float(fg.jit(lambda x: jnp.log(x))(1.0)) == 0.0
        assert int(jnp.arange(3).sum()) == 3
    with fg.debug_infs(), pytest.raises(FloatingPointError, match=r"\(inf\) from div: 2 of 3 in"):
        fg.jit(lambda x: 1 / x)(jnp.array([0.0, 1.0, 0.0]))
    with fg.debug_nans():
        assert float(1 / jnp.float32(0)) == np.inf
    with fg.debug_nans(), fg.debug_nans(False):
        assert np.isnan(jnp.log(-1.0))


def test_debug_nans_runs_effects_once(capsys):
    def f(x):
        fg.debug.print("once {}", x)
        return jnp.log(x)

    with fg.debug_nans(), pytest.raises(FloatingPointError):
        fg.jit(f)(-1.0)
    assert capsys.readouterr().out == "once -1.0\n"


def test_debug_nans_keeps_donated_arguments_for_its_second_run():
    f = fg.jit(lambda x: jnp.log(x * 2.0), donate_argnums=0)
    with fg.debug_nans(), pytest.raises(FloatingPointError, match="from log: 1 of 2000"):
        f(jnp.ones(2000).at[3].set(-1.0))


def test_debug_nans_for_the_whole_process():
    fg.config.update("jax_debug_nans", True)
    with pytest.raises(FloatingPointError):
        jnp.log(jnp.float32(-1))
    fg.config.update("jax_debug_nans", False)
    assert np.isnan(jnp.log(jnp.float32(-1)))


def test_settings_hold_in_their_own_thread_only():
    found = []
    with fg.debug_nans():
        thread = threading.Thread(target=lambda: found.append(jnp.log(jnp.float32(-1))))
        thread.start()
        thread.join()
    assert np.isnan(found[0])


@pytest.fixture
def small_heap():
    """Collections walk over what the test makes, not over all that was loaded before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


kept = []
LEAKS = {
    "jit": lambda: fg.jit(lambda x: (kept.append(jnp.sin(x)), x)[1])(1.0),
    "scan": lambda: fg.lax.scan(lambda c, _: (kept.append(c), (c, c))[1], 1.0, None, length=2),
    "vmap": lambda: fg.vmap(lambda x: (kept.append(x), x)[1])(jnp.ones(2)),
    "grad": lambda: fg.grad(lambda x: (kept.append(x), x)[1])(1.0),
    "jvp": lambda: fg.jvp(lambda x: (kept.append(x), x)[1], (1.0,), (1.0,)),
    "make_jaxpr": lambda: fg.make_jaxpr(lambda x: (kept.append(x), x)[1])(1.0),
}


@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize("name", LEAKS)
def test_checking_leaks_finds_values_that_outlive_their_function(name):
    kept.clear()
    with fg.checking_leaks(), pytest.raises(LeakError, match="outlives the function .*f32"):
        LEAKS[name]()
    kept.clear()
    LEAKS[name]()
    kept.clear()


class Proxy:
    """Others' objects may do anything when they are asked."""

    @property
    def __class__(self):
        raise RuntimeError("a proxy was asked for its class")


@pytest.mark.usefixtures("small_heap")
def test_checking_leaks_asks_nothing_of_others_objects():
    proxy = Proxy()
    with fg.checking_leaks():
        assert fg.jit(jnp.sin)(0.0) == 0
    del proxy


@pytest.mark.usefixtures("small_heap")
def test_checking_leaks_is_quiet_where_nothing_leaks():
    def loop(x):
        return fg.lax.scan(lambda c, _: (jnp.sin(c) * x, c), x, None, length=3)[0]

    with fg.checking_leaks():
        fg.jit(fg.vmap(fg.grad(loop)))(jnp.ones(2))
        fg.hessian(loop)(1.0)
        fg.checkpoint(fg.jit(loop))(1.0)
        fg.linearize(loop, 1.0)[1](1.0)
        fg.vjp(loop, 1.0)[1](1.0)


def test_log_compiles_says_what_is_compiled(caplog):
    with fg.log_compiles(), caplog.at_level(logging.WARNING, "funcgrad"):
        fg.jit(lambda logged_function: logged_function + 1)(jnp.ones(3))
    assert any("f32[3]" in message for message in caplog.messages)


def test_promotion_settings():
    with fg.numpy_dtype_promotion("strict"), pytest.raises(TypeError, match="strict"):
        jnp.ones(2) + jnp.arange(2)
    with fg.numpy_rank_promotion("raise"), pytest.raises(ValueError, match="numpy_rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)
    with fg.numpy_rank_promotion("warn"), pytest.warns(UserWarning, match="numpy_rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)
    with pytest.raises(ValueError, match="one of allow, warn, raise"), fg.numpy_rank_promotion("x"):
        pass


def test_default_matmul_precision_is_recorded():
    with fg.default_matmul_precision("highest"):
        assert "highest" in str(fg.make_jaxpr(jnp.dot)(jnp.ones(2), jnp.ones(2))).lower()


def test_transfer_guard_speaks_of_devices_only():
    with fg.transfer_guard("disallow_explicit"):
        assert float(jnp.sum(np.ones(2, np.float32))) == 2.0
        assert isinstance(fg.device_get(fg.device_put(jnp.ones(2), "cpu")), np.ndarray)
    with pytest.raises(ValueError, match="allow, log, disallow"), fg.transfer_guard("maybe"):
        pass


@pytest.mark.parametrize("direction", ["host_to_device", "device_to_device", "device_to_host"])
def test_levels_of_the_transfer_guard(direction, caplog):
    one = getattr(fg, f"transfer_guard_{direction}")
    other = next(d for d in transfers.DIRECTIONS if d != direction)

    def outcome(explicit):
        caplog.clear()
        try:
            transfers.guard(direction, "from here to there", explicit)
        except RuntimeError as error:
            assert "transfer_guard: a copy from here to there" in str(error)
            return "raises"
        return "logs" if caplog.records else "passes"

    expected = {
        "allow": ("passes", "passes"),
        "log": ("logs", "passes"),
        "disallow": ("raises", "passes"),
        "log_explicit": ("logs", "logs"),
        "disallow_explicit": ("raises", "raises"),
    }
    for level, told in expected.items():
        for setting in (fg.transfer_guard, one):
            with setting(level):
                assert (outcome(False), outcome(True)) == told
        with fg.transfer_guard("disallow"), one(level):
            assert (outcome(False), outcome(True)) == told
        with one(level), fg.transfer_guard("allow"):
            assert outcome(False) == "passes"
        with getattr(fg, f"transfer_guard_{other}")(level):
            assert outcome(False) == "passes"


def test_named_scopes_nest_and_follow_derived_equations():
    def f(x):
        with fg.named_scope("outer"):
            return fg.named_call(lambda v: jnp.sin(v), name="inner")(x) * x

    jaxpr = fg.make_jaxpr(fg.grad(f))(1.0)
    scopes = {"/".join(e.source.scope) for e in jaxpr.eqns}
    assert {"outer/inner", "outer"} <= scopes
    assert fg.make_jaxpr(jnp.sin)(1.0).eqns[0].source.scope == ()

    @fg.named_scope("decorated")
    def g(x):
        return jnp.cos(x)

    g(1.0)
    assert fg.make_jaxpr(g)(1.0).eqns[0].source.scope == ("decorated",)
    with pytest.raises(TypeError, match="named_scope: the name must be a string"):
        fg.named_scope(3).__enter__()


def test_ensure_compile_time_eval_computes_while_tracing():
    @fg.jit
    def f(x):
        with fg.ensure_compile_time_eval():
            size = int(jnp.arange(4).sum())
        return jnp.broadcast_to(x, (size,))

    assert f(1.0).shape == (6,)
    assert len(fg.make_jaxpr(f)(1.0).eqns[0].params["jaxpr"].eqns) == 1
