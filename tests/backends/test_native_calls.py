"""Calls of native programs: odd arguments, donation, who owns memory, and what is given back."""

import ctypes
import gc
import mmap
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import random
from funcgrad.backends.llvm import objects
from funcgrad.backends.llvm.direct import dispatcher
from funcgrad.backends.llvm.pool import MALLOC
from funcgrad.config import config

pytest.importorskip("llvmlite")
needs_dispatcher = pytest.mark.skipif(
    objects.offsets() is None, reason="calls go through Python on this interpreter"
)


@pytest.fixture(autouse=True)
def native():
    with config.override(engine="llvm"):
        yield


def warm(f, *args):
    """The compiled function, called often enough that its fast entry is used."""
    jitted = fg.jit(f)
    for _ in range(3):
        jitted(*args)
    return jitted


def direct_misses(f, *args):
    """Does the native entry refuse these leaves?"""
    return f._last._run.direct()(*fg.tree.leaves(args)) is None


BASE = np.arange(24, dtype=np.float32).reshape(4, 6)


def read_only():
    x = BASE.copy()
    x.flags.writeable = False
    return x


def unaligned():
    memory = np.zeros(4 * 24 + 1, np.uint8)[1:]
    x = memory.view(np.float32).reshape(4, 6)
    x[...] = BASE
    assert not x.flags.aligned
    return x


ODD = {
    "plain": (lambda: BASE, False),
    "read-only": (read_only, False),
    "transposed": (lambda: np.ascontiguousarray(BASE.T).T, True),
    "every other": (lambda: np.repeat(BASE, 2, axis=1)[:, ::2], True),
    "reversed": (lambda: BASE[::-1].copy()[::-1], True),
    "broadcast": (lambda: np.broadcast_to(BASE[:1], (4, 6)), True),
    "unaligned": (unaligned, True),
    "byte-swapped": (lambda: BASE.astype(">f4"), True),
    "float64": (lambda: BASE.astype(np.float64), True),
    "subclass": (lambda: BASE.view(type("Named", (np.ndarray,), {})), True),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("wrap", [np.asanyarray, jnp.asarray])
def test_odd_arguments_give_what_plain_ones_give(name, wrap):
    make, _ = ODD[name]
    f = warm(lambda x: x * 2 + x.sum(1, keepdims=True), jnp.asarray(BASE))
    x = wrap(make())
    values = np.asarray(x).astype(np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(f(x), values * 2 + values.sum(1, keepdims=True))


@needs_dispatcher
@pytest.mark.parametrize("name", ODD)
def test_which_arguments_the_native_entry_takes(name):
    make, refused = ODD[name]
    f = warm(lambda x: x + 1, jnp.asarray(BASE))
    assert direct_misses(f, make()) == refused


@needs_dispatcher
@pytest.mark.parametrize(
    "other",
    [
        jnp.zeros((6, 4)),
        jnp.zeros(24),
        jnp.zeros((4, 6, 1)),
        jnp.zeros((4, 6), jnp.int32),
        jnp.zeros((4, 6), jnp.bfloat16),
        jnp.zeros((0, 6)),
        np.float32(1),
        1.0,
        None,
        "text",
        random.key(0),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(other):
    f = warm(lambda x: x + 1, jnp.zeros((4, 6)))
    assert f._last._run.direct()(other) is None


@needs_dispatcher
def test_an_array_without_a_buffer_is_refused():
    f = warm(lambda x: x + 1, jnp.zeros(3))
    kind = type(jnp.zeros(3))
    direct = f._last._run.direct()
    assert direct(kind.__new__(kind)) is None
    assert direct() is None
    assert direct(jnp.zeros(3), jnp.zeros(3)) is None
    gone = jnp.zeros(3)
    gone.delete()
    assert direct(gone) is None
    with pytest.raises(RuntimeError, match="deleted"):
        f(gone)


@needs_dispatcher
def test_weak_and_strong_types_are_told_apart():
    weak, strong = fg.jit(lambda: 1.0)(), jnp.asarray(np.float32(1))
    assert weak.weak_type
    assert not strong.weak_type
    f = warm(lambda x: x * jnp.bfloat16(2), weak)
    assert f(weak).dtype == jnp.bfloat16
    assert f(strong).dtype == np.float32
    assert direct_misses(f, weak)
    assert not direct_misses(f, strong)


@needs_dispatcher
def test_results_have_their_weak_types_and_shapes():
    f = warm(lambda x: (x, x.sum(), jnp.array([[]]), 2.0, {"k": x[None]}), jnp.ones(3))
    x, total, empty, two, tree = f(jnp.ones(3))
    assert [a.shape for a in (x, total, empty, two, tree["k"])] == [(3,), (), (1, 0), (), (1, 3)]
    assert two.weak_type
    assert float(two) == 2.0
    assert not total.weak_type
    np.testing.assert_array_equal(tree["k"], np.ones((1, 3)))


@needs_dispatcher
@pytest.mark.parametrize("dtype", ["f2", "f4", "i1", "i4", "u4", "?", "c8", jnp.bfloat16])
def test_numbers_of_numpy_are_read_where_they_lie(dtype):
    scalar = np.ones((), dtype)[()]
    array = jnp.asarray(np.ones((), dtype))
    f = warm(lambda x: jnp.where(x == 1, x, x), array)
    for x in (scalar, type(array)(scalar), array):
        out = f(x)
        assert out.dtype == array.dtype
        assert np.asarray(out) == np.ones((), dtype)
    assert not direct_misses(f, type(array)(scalar))


@needs_dispatcher
def test_keys_go_in_and_out():
    f = warm(lambda k: (random.split(k)[0], random.uniform(k, (3,))), random.key(3))
    key, numbers = f(random.key(3))
    want = fg.jit(lambda k: random.split(k)[0]).lower(random.key(3)).compile()(random.key(3))
    np.testing.assert_array_equal(random.key_data(key), random.key_data(want))
    np.testing.assert_array_equal(numbers, random.uniform(random.key(3), (3,)))


@needs_dispatcher
def test_numbers_of_python_are_taken_as_they_are():
    f = warm(lambda x, y, z: x * y + z, jnp.ones(3), 0.5, 2)
    direct, x = f._last._run.direct(), jnp.ones(3)
    for y, z in [(0.25, 3), (1e300, -1), (1e-300, 0), (float("nan"), 0), (-0.0, -(2**31))]:
        with np.errstate(over="ignore"):
            want = np.ones(3, np.float32) * np.float32(y) + np.float32(z)
        np.testing.assert_array_equal(direct(x, y, z), want)
        np.testing.assert_array_equal(f(x, y, z), want)
    for y, z in [
        (0.5, 2**31),
        (0.5, -(2**80)),
        (1, 2),
        (0.5, 0.5),
        (0.5, True),
        (None, 1),
        ("", 2),
    ]:
        assert direct(x, y, z) is None
    with pytest.raises(OverflowError):
        f(x, 0.5, 2**31)


@pytest.mark.parametrize("wide", [False, True])
def test_numbers_of_python_have_the_default_width(wide):
    with config.override(enable_x64=wide):
        f = warm(lambda y, z: (y + 0, z + 0), 0.5, 2)
        for y, z in [(0.1, 2**31 - 1), (-1e-3, -5)]:
            found = f(y, z)
            assert [a.dtype.itemsize for a in found] == [8 if wide else 4] * 2
            assert float(found[0]) == (y if wide else float(np.float32(y)))
            assert int(found[1]) == z


# ---- trees


def test_other_structures_miss():
    f = fg.jit(lambda p: fg.tree.map(lambda a: a + 1, p))
    one, two = {"a": jnp.zeros(2), "b": [jnp.ones(3)]}, {"a": jnp.zeros(2), "c": [jnp.ones(3)]}
    three = {**one, "c": jnp.zeros(1)}
    for _ in range(3):
        f(one)
    for other in (two, three, [jnp.zeros(2)], {"a": jnp.zeros(2), "b": (jnp.ones(3),)}, None):
        found = f(other)
        assert fg.tree.structure(found) == fg.tree.structure(other)
        f(one)


def test_several_signatures_take_turns():
    f = fg.jit(lambda x, scale: x * scale)
    for _ in range(8):
        for n in (1, 2, 3):
            for scale in (2.0, 2):
                x = jnp.ones(n)
                np.testing.assert_array_equal(f(x, scale), np.full(n, 2.0))
                assert f(x, scale).dtype == np.float32
    assert f._cache_size() == 6


def test_a_program_without_results():
    f = fg.jit(lambda x: None)
    assert [f(jnp.ones(2)) for _ in range(5)] == [None] * 5
    g = fg.jit(lambda: (jnp.zeros(2), 3))
    assert [float(g()[1]) for _ in range(5)] == [3.0] * 5


def test_results_never_share_memory():
    f = warm(lambda x, y: (x, x, x + y, x + y, y), jnp.ones(4), jnp.ones(4))
    x = jnp.ones(4)
    found = [np.asarray(a) for a in f(x, x)] + [np.asarray(x)]
    for i, a in enumerate(found):
        assert not any(np.shares_memory(a, b) for b in found[i + 1 :])


def test_overlapping_arguments():
    memory = np.arange(10, dtype=np.float32)
    f = warm(lambda a, b: a - b, memory[:8].copy(), memory[2:].copy())
    np.testing.assert_array_equal(f(memory[:8], memory[2:]), np.full(8, -2.0))


# ---- donation


def donating(f, *args):
    jitted = fg.jit(f, donate_argnums=0)
    for _ in range(4):
        jitted(*(fg.tree.map(lambda a: jnp.array(np.array(a)), tree) for tree in args))
    return jitted


def test_donated_memory_is_taken_and_the_argument_deleted():
    f = donating(
        lambda p, g: fg.tree.map(lambda a, b: a - b, p, g), [jnp.ones(100)], [jnp.ones(100)]
    )
    p, g = [jnp.full(100, 3.0)], [jnp.ones(100)]
    place = p[0]._buffer.ctypes.data
    (out,) = f(p, g)
    assert out._buffer.ctypes.data == place
    assert p[0].is_deleted()
    np.testing.assert_array_equal(out, np.full(100, 2.0))


def test_a_donated_argument_that_others_see_is_copied():
    f = donating(lambda p: p + 1, jnp.ones(100))
    p = jnp.ones(100)
    seen = np.asarray(p)
    out = f(p)
    assert p.is_deleted()
    np.testing.assert_array_equal(seen, np.ones(100))
    np.testing.assert_array_equal(out, np.full(100, 2.0))


def test_one_array_as_two_donated_arguments():
    jitted = fg.jit(lambda a, b: (a + 1, b + 2), donate_argnums=(0, 1))
    for _ in range(4):
        x = jnp.ones(100)
        a, b = jitted(x, x)
        np.testing.assert_array_equal(a, np.full(100, 2.0))
        np.testing.assert_array_equal(b, np.full(100, 3.0))
        assert x.is_deleted()


def test_one_array_donated_and_not():
    jitted = fg.jit(lambda a, b: a * 2 + b[::-1], donate_argnums=(0,))
    for _ in range(4):
        x = jnp.arange(100.0)
        np.testing.assert_array_equal(jitted(x, x), 2 * np.arange(100.0) + np.arange(100.0)[::-1])
        assert x.is_deleted()


@needs_dispatcher
def test_a_refused_call_gives_donated_arguments_back():
    jitted = fg.jit(lambda a, b: a + b, donate_argnums=0)
    for _ in range(3):
        jitted(jnp.ones(50), jnp.ones(50))
    direct = jitted._last._run.direct()
    x = jnp.full(50, 7.0)
    assert direct(x, jnp.ones(49)) is None
    np.testing.assert_array_equal(x, np.full(50, 7.0))


# ---- memory


@needs_dispatcher
def test_results_begin_at_cache_lines_and_go_back_to_the_pool():
    pool = dispatcher().pool
    f = warm(lambda x: (x + 1, x * 2), jnp.ones(1000))
    gc.collect()
    before = pool.lent
    a, b = f(jnp.ones(1000))
    assert pool.lent == before + 2
    assert a._buffer.ctypes.data % 64 == 0 == b._buffer.ctypes.data % 64
    view = np.asarray(a)[3:7]
    del a, b
    gc.collect()
    assert pool.lent == before + 1  # the view's owner is alive
    np.testing.assert_array_equal(view, np.full(4, 2.0))
    del view
    assert pool.lent == before


@needs_dispatcher
def test_exports_keep_memory():
    pool = dispatcher().pool
    f = warm(lambda x: x + 1, jnp.ones(64))
    x = np.ones(64, np.float32)
    before = pool.lent
    view = memoryview(f(x)._buffer)
    exported = np.from_dlpack(f(x)._buffer)
    assert pool.lent == before + 2
    assert view[5] == exported[5] == 2.0
    del view, exported
    assert pool.lent == before


@needs_dispatcher
def test_memory_of_the_pool_may_be_resized():
    x = warm(lambda x: x + 1, jnp.zeros(10))(jnp.zeros(10))._buffer
    x.resize(1000, refcheck=False)
    np.testing.assert_array_equal(x, [1.0] * 10 + [0.0] * 990)


@needs_dispatcher
def test_the_pool_keeps_no_more_than_its_bound():
    pool = dispatcher().pool
    f = warm(lambda x: x + 1, jnp.zeros(1 << 16))
    x = jnp.zeros(1 << 16)
    limit = 1 << 20
    pool.bound(limit)
    try:
        held = [f(x) for _ in range(40)]
        for a in held:
            np.testing.assert_array_equal(a, np.ones(1 << 16))
        del a, held
        assert pool.kept <= limit
        pool.bound(0)
        f(x)
        assert pool.kept == 0
    finally:
        pool.bound(1 << 29)


@needs_dispatcher
@pytest.mark.parametrize("donate", [(), (0,)])
def test_many_calls_need_constant_memory(donate):
    pool = dispatcher().pool
    f = fg.jit(lambda p, x: [p["a"] + x, {"b": x, "c": 1.0}], donate_argnums=donate)
    x = jnp.ones(100)

    out = f({"a": jnp.ones(100)}, x)
    for _ in range(1000):
        out = f({"a": out[0]}, x)
    gc.collect()
    blocks, kept = pool.lent, pool.kept
    objects_alive, memory = len(gc.get_objects()), [resident_bytes()]
    for _ in range(4):
        for _ in range(25_000):
            out = f({"a": out[0]}, x)
        gc.collect()
        memory.append(resident_bytes())
    assert (pool.lent, pool.kept) == (blocks, kept)
    assert len(gc.get_objects()) <= objects_alive + 50
    assert np.median(np.diff(memory)) < 400_000  # half of what 32 bytes a call would be


def resident_bytes():
    """What this process holds now, where the system says; the most that it ever held would hide
    what is lost below it.
    """
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * mmap.PAGESIZE if pages.exists() else 0


@needs_dispatcher
def test_references_are_counted():
    f = warm(lambda x, k: (x + 1, k), jnp.ones(3), random.key(0))
    x, key, dtype = np.ones(3, np.float32), random.key(1), np.dtype(np.float32)
    watched = [x, key, key._buffer, dtype, type(key), type(jnp.ones(3)), dispatcher().pool.capsule]
    f(x, key)
    before = [sys.getrefcount(w) for w in watched]
    for _ in range(1000):
        f(x, key)
    assert [sys.getrefcount(w) for w in watched] == before


# ---- threads of Python


def test_long_calls_let_other_threads_run():
    f = fg.jit(lambda x: fg.lax.fori_loop(0, 3000, lambda i, x: jnp.sin(x + 1e-3), x))
    x = jnp.ones(20000)
    for _ in range(3):
        f(x)
    turns = 0
    stop = threading.Event()

    def count():
        nonlocal turns
        while not stop.is_set():
            turns += 1
            stop.wait(1e-4)

    thread = threading.Thread(target=count)
    thread.start()
    before = turns
    f(x)
    during = turns - before
    stop.set()
    thread.join()
    assert during > 3


def test_calls_from_many_threads_agree():
    f = warm(lambda x: jnp.cumsum(jnp.sin(x) * 2, 0) @ x.T, jnp.ones((60, 50)))
    xs = [np.random.default_rng(n).random((60, 50), np.float32) for n in range(4)]
    want = [np.asarray(f(x)) for x in xs]
    errors = []

    def run(n):
        for _ in range(50):
            if not np.array_equal(f(xs[n]), want[n]):
                errors.append(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_calls_without_the_dispatcher(monkeypatch):
    monkeypatch.setattr("funcgrad.backends.llvm.direct.dispatcher", lambda: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f = warm(lambda x: {"y": x + 1}, jnp.ones(3))
    np.testing.assert_array_equal(f(jnp.ones(3))["y"], np.full(3, 2.0))


def test_a_result_that_takes_memory_may_stand_twice():
    jitted = fg.jit(lambda x: (lambda y: (y, y))(x + 1), donate_argnums=0)
    for _ in range(4):
        a, b = jitted(jnp.ones(5))
        assert not np.shares_memory(np.asarray(a), np.asarray(b))
        np.testing.assert_array_equal(a, np.full(5, 2.0))
        np.testing.assert_array_equal(a, b)


@needs_dispatcher
def test_programs_with_steps_outside_use_the_pool_too():
    pool = dispatcher().pool
    f = warm(lambda x: jnp.linalg.svd(x)[1] * 2 + 1, jnp.eye(4))
    x = jnp.eye(4)
    before = pool.lent
    out = f(x)
    assert out._buffer.ctypes.data % 64 == 0
    assert pool.lent == before + 1
    np.testing.assert_array_equal(out, np.full(4, 3.0))
    del out
    assert pool.lent == before


@needs_dispatcher
def test_a_call_without_memory_changes_nothing():
    pool = dispatcher().pool
    f = fg.jit(lambda x: (jnp.outer(x, x), x.sum() + jnp.arange(301)), donate_argnums=0)
    for _ in range(4):
        large = f(jnp.ones(97))[1]  # and the first result's block waits to be used again
    x, before = jnp.ones(97), pool.lent
    malloc = pool.words[MALLOC]
    nothing = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(lambda size: None)
    pool.words[MALLOC] = ctypes.cast(nothing, ctypes.c_void_p).value
    try:
        kept = []
        with pytest.raises(MemoryError):
            for _ in range(8):
                kept.append(f(jnp.ones(97))[1])
        lent = pool.lent
        with pytest.raises(MemoryError):
            f(x)
    finally:
        pool.words[MALLOC] = malloc
    assert pool.lent == lent == before + len(kept)
    assert not x.is_deleted()
    np.testing.assert_array_equal(f(x)[1], large)
    assert x.is_deleted()


@needs_dispatcher
def test_large_results_need_no_fresh_pages():
    resource = pytest.importorskip("resource")
    f = warm(lambda x: (x + 1, x * 2), jnp.zeros(1 << 20))
    x = jnp.zeros(1 << 20)
    f(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        f(x)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 500  # 41 000 if all were


# ---- arguments that are nothing but leaves
# -----------------------------------------------------------------

X, Y = np.float32([1, 2, 3]), np.float32([4, 5, 6])


@needs_dispatcher
@pytest.mark.parametrize(
    "function, args, kwargs, is_flat",
    [
        (lambda a: a + 1, (X,), {}, True),
        (lambda a, b: (a + b, a * b), (X, Y), {}, True),
        (lambda a, b: (a - b,), (X, Y), {}, False),
        (lambda a, b: [a + b, a * b], (X, Y), {}, False),
        (lambda a, b: ((a + b, b), a * b), (X, Y), {}, False),
        (lambda a, b: a - b, (X,), {"b": Y}, False),
        (lambda a: a[0] - a[1], ((X, Y),), {}, False),
        (lambda a: None, (X,), {}, False),
        (lambda: jnp.ones(3), (), {}, True),
    ],
)
def test_leaves_go_straight_to_the_program(function, args, kwargs, is_flat):
    jitted = fg.jit(function)
    for _ in range(4):
        found = jitted(*args, **kwargs)
    assert (jitted._last.direct is not None) == is_flat
    expected = function(*fg.tree.map(jnp.asarray, args), **kwargs)
    assert fg.tree.structure(found) == fg.tree.structure(expected)
    for a, b in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_fit_a_straight_call_goes_the_general_way():
    jitted = warm(lambda a, b=2.0: a * b, jnp.ones(3))
    with pytest.raises(TypeError, match="argument"):
        jitted()
    with pytest.raises(TypeError, match="argument"):
        jitted(jnp.ones(3), 1.0, 2.0)
    for _ in range(3):
        np.testing.assert_array_equal(jitted(X, Y), X * Y)
        np.testing.assert_array_equal(jitted(X), X * 2)
        np.testing.assert_array_equal(jitted(X, b=Y), X * Y)
        np.testing.assert_array_equal(jitted(a=X), X * 2)
        np.testing.assert_array_equal(jitted(X[:2]), X[:2] * 2)
    assert jitted._cache_size() == 5
