"""Steps, clusters, the plan of memory and the generated code: as text, and by what they cost."""

import re
import sys
import tracemalloc

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.backends import numpy as engine
from funcgrad.compiler import pipeline, program
from funcgrad.compiler.buffers import plan_buffers
from funcgrad.compiler.rewrite import Rewriter
from funcgrad.config import config

x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
row = np.arange(3, dtype=np.float32)
large = np.linspace(-1, 1, 1 << 18, dtype=np.float32)


def shown(function, *args, dialect):
    return fg.jit(function).lower(*args).as_text(dialect)


def layer(a, w, b):
    h = jnp.tanh(a @ w + b)
    return h * h, jnp.sum(h, 0)


def test_text_of_a_plan():
    w = np.ones((3, 3), np.float32)
    assert shown(layer, x, w, row, dialect="program") == (
        "library d:f32[2,3] = dot_general[dimension_numbers=(((1,), (0,)), ((), ()))] a b\n"
        "view    e:f32[2,3] = broadcast_in_dim[broadcast_dimensions=(1,) shape=(2, 3)] c\n"
        "kernel  f:f32[2,3] = add d e    # f in d\n"
        "kernel  g:f32[2,3] = tanh f    # g in f\n"
        "kernel  h:f32[2,3] = mul g g\n"
        "library i:f32[3] = reduce_sum[axes=(0,)] g    # free g\n"
        "return h, i\n"
        "6 steps, 60 flops, 288 bytes"
    )


def test_text_of_the_generated_function():
    w = np.ones((3, 3), np.float32)
    assert shown(layer, x, w, row, dialect="python") == (
        "def program(buffers):\n"
        "    a, b, c, = buffers\n"
        "    d = dot(a, b)\n"
        "    add(d, c, d)\n"
        "    tanh(d, d)\n"
        "    e = multiply(d, d)\n"
        "    f = add_reduce(d, 0)\n"
        "    return [e, f]\n"
    )


def test_text_of_loops_stands_before_the_program_that_calls_them():
    def outer(c, row):
        return lax.scan(lambda d, z: (d * z + row, jnp.sin(d)), c, jnp.arange(2.0))

    def printing(c, row):
        fg.debug.print("{}", c)
        return c + row, None

    def f(x):
        rows = jnp.arange(3.0)
        return lax.scan(outer, x, rows), lax.scan(printing, x, rows[:2])

    text = shown(f, 1.0, dialect="python")
    order = ["for row_ in range(2):", "sin(", "for row_ in range(3):", "debug_callback", "program("]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    called = {name for name in re.findall(r"(\w+)\(\(", text) if name.startswith("scan_")}
    assert len(called) == 3 and called <= set(re.findall(r"def (\w+)", text))


def chain(a):
    b = a * 0.5 + 0.1
    return jnp.exp(-b * b) + jnp.tanh(b)


def test_a_chain_over_a_large_array_is_one_kernel():
    text = shown(chain, large, dialect="program")
    assert text.startswith("kernel\n") and "1 steps" in text
    code = shown(chain, large, dialect="python")
    assert code.count("empty(") == 1 + 2, "the result, and two blocks of scratch"
    assert "for lo in range(0, 262144, 32768):" in code


def test_a_small_chain_stays_as_it_is():
    assert "for lo" not in shown(chain, row, dialect="python")


def steps_of(function, *args):
    found = engine.program_of(fg.jit(function).trace(*args).jaxpr)
    return [[e.primitive.name for e in step.eqns] for step in found.steps]


def test_clusters_do_not_read_their_own_results_through_others():
    """x - sum(x * 2): the sum lies between, so the two halves are two kernels."""

    def function(a):
        b = a * 2
        return (b - jnp.sum(b)) * a

    assert steps_of(function, large) == [["mul"], ["reduce_sum"], ["sub", "mul"]]


def test_independent_chains_meet_in_one_cluster():
    def function(a):
        return jnp.sin(a) * 2 + jnp.cos(a) * 3

    assert steps_of(function, large) == [["sin", "mul", "cos", "mul", "add"]]


def test_clusters_of_different_shapes_stay_apart():
    def function(a):
        return jnp.exp(a) + 1, jnp.exp(a[:-1]) + 1

    steps = steps_of(function, np.concatenate([large, large]))
    assert sorted(steps) == [["exp", "add"], ["exp", "add"], ["slice"]]


def test_clusters_are_capped():
    def function(a):
        for _ in range(500):
            a = jnp.sin(a) + 1
        return a

    assert max(map(len, steps_of(function, large))) <= 400


def test_operands_that_repeat_rows_or_columns():
    def function(a, r, c):
        return (a - c) * r + 1, a.T * 2 + 1

    a = np.random.default_rng(0).normal(size=(700, 500)).astype(np.float32)
    r, c = a[0].copy(), a[:, :1].copy()
    with config.override(engine="numpy"):  # native code rounds a product and a sum once
        got, turned = fg.jit(function)(a, r, c)
    np.testing.assert_array_equal(got, (a - c) * r + np.float32(1))
    np.testing.assert_array_equal(turned, a.T * np.float32(2) + np.float32(1))
    assert turned._buffer.flags.c_contiguous


# ---- ownership
# -----------------------------------------------------------------------------------------


RETURNED = {
    "argument": lambda a: a,
    "argument twice": lambda a: (a, a),
    "view": lambda a: a.T,
    "reshaped": lambda a: a.reshape(-1),
    "slice": lambda a: a[1:],
    "constant": lambda a: jnp.asarray(CONSTANT),
    "literal": lambda a: jnp.float32(3),
    "result and its view": lambda a: (a * 2, (a * 2).T),
    "two views": lambda a: ((a * 2).reshape(-1), (a * 2)[0]),
    "dynamic slice": lambda a: lax.dynamic_slice(a, (0, 0), a.shape),
    "loop without steps": lambda a: lax.fori_loop(0, 0, lambda i, c: c + 1, a),
    "branch": lambda a: lax.cond(a[0, 0] < 9, lambda c: c, lambda c: c + 1, a),
    "checkpoint": lambda a: fg.checkpoint(lambda c: (c, c * 1))(a),
    "broadcast": lambda a: jnp.broadcast_to(a, (40000, *a.shape)),
}
CONSTANT = np.ones((2, 3), np.float32)


@pytest.mark.parametrize("name", RETURNED)
def test_results_share_memory_with_nothing(name):
    jitted = fg.jit(RETURNED[name])
    given = x.copy()
    for _ in range(2):
        outs = [o._buffer for o in fg.tree.leaves(jitted(given))]
        again = [o._buffer for o in fg.tree.leaves(jitted(given))]
        arrays = [o for o in [given, CONSTANT, *outs, *again] if isinstance(o, np.ndarray)]
        for i, a in enumerate(arrays):
            assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])
            a.flags.writeable or pytest.fail("a result cannot be written to")
    np.testing.assert_array_equal(given, x)


def test_donated_memory_is_used_again():
    step = fg.jit(lambda p, g: p - 0.1 * g, donate_argnums=0)
    p = jnp.array(np.ones(5000, np.float32))
    address = p._buffer.ctypes.data
    q = step(p, jnp.ones(5000))
    assert q._buffer.ctypes.data == address and p.is_deleted()


def test_a_choice_does_not_overwrite_what_it_still_reads():
    """The first case dies, but a masked copy in two steps would destroy it."""

    def function(a, mask, b):
        return jnp.where(mask, a, b * 2)

    mask, b = large > 0.5, large[::-1].copy()
    got = fg.jit(function, donate_argnums=0)(jnp.array(large), mask, b)
    np.testing.assert_array_equal(got, np.where(mask, large, b * 2))


def test_arguments_are_not_donated_unasked():
    step = fg.jit(lambda p: -p)
    p = jnp.ones(5000)
    assert step(p)._buffer.ctypes.data != p._buffer.ctypes.data


# ---- costs
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [10, 100])
def test_temporaries_of_a_chain_do_not_add_up(length):
    """Peak memory of a chain on a large array: the result, and no more than one array beside it."""

    def function(a):
        for _ in range(length):
            a = jnp.sin(a) * 1.5
        return jnp.max(a)

    jitted, argument = fg.jit(function), jnp.asarray(large)
    jitted(argument)
    tracemalloc.start()
    jitted(argument)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * large.nbytes


def test_temporaries_between_library_calls_are_freed():
    def function(a):
        for _ in range(50):
            a = jnp.cumsum(a)
        return a[-1]

    jitted, argument = fg.jit(function), jnp.asarray(large)
    jitted(argument)
    tracemalloc.start()
    jitted(argument)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3.5 * large.nbytes


def visited(count, monkeypatch):
    """Look-ups made by the passes for a program of about `count` equations."""
    seen = [0]
    current = Rewriter.current

    def counting(self, e):
        seen[0] += 1
        return current(self, e)

    def function(a):
        for _ in range(count // 2):
            a = jnp.sin(a) * a
        return a

    monkeypatch.setattr(Rewriter, "current", counting)
    jaxpr = fg.jit(function).trace(row).jaxpr
    assert len(jaxpr.eqns) == 2 * (count // 2)
    code = engine.executable_of(jaxpr)
    monkeypatch.setattr(Rewriter, "current", current)
    return seen[0], code.source.count("\n")


def test_compilation_is_linear_in_the_program(monkeypatch):
    """Counted: equations visited by passes, and lines written. No recursion over the length."""
    limit = sys.getrecursionlimit()
    with config.override(check_jaxprs=False):
        small, few_lines = visited(1000, monkeypatch)
        big, many_lines = visited(10000, monkeypatch)
    assert sys.getrecursionlimit() == limit
    assert big <= 10 * small and many_lines <= 10 * few_lines


def test_passes_walk_once_each(monkeypatch):
    others = ("physical_keys", "sink_transposes", "drop_dead")  # not there, or another way
    rewriting = [s for s in pipeline.PIPELINE if s.__name__ not in others]
    with config.override(check_jaxprs=False):
        assert visited(500, monkeypatch)[0] == 500 * len(rewriting)


def test_code_is_the_same_each_time():
    def function(a, b):
        return layer(a, b, b[0]), jnp.sin(a) + jnp.cos(a) * 2

    texts = {shown(lambda a, b: function(a, b), x, np.eye(3, dtype=np.float32), dialect="python")}
    texts |= {shown(lambda a, b: function(a, b), x, np.eye(3, dtype=np.float32), dialect="python")}
    assert len(texts) == 1


def test_unknown_dialects_are_refused():
    with pytest.raises(ValueError, match="there are the dialects"):
        shown(chain, row, dialect="assembly")


def test_estimates():
    found = engine.program_of(
        fg.jit(lambda a, b: a @ b)
        .trace(np.ones((4, 5), np.float32), np.ones((5, 6), np.float32))
        .jaxpr
    )
    assert found.flops() == 2 * 4 * 5 * 6 and found.bytes() == 4 * (20 + 30 + 24)


def test_a_plan_frees_what_it_does_not_reuse():
    jaxpr = fg.jit(lambda a: jnp.sum(jnp.cumsum(a) * 2)).trace(large).jaxpr
    found = engine.program_of(jaxpr)
    plan_buffers(found)
    assert any(step.frees for step in found.steps)
    assert program.work(found.steps[-1].eqn, found.steps[-1].forms[0]) > 0
