"""Large kernels on several threads: the same results, other threads of Python, forks, settings."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax, nn
from funcgrad.config import config

pytest.importorskip("llvmlite")

from funcgrad.backends.llvm import crew, native, threads
from funcgrad.backends.llvm.assembly import Assembly
from funcgrad.backends.llvm.target import host
from funcgrad.compiler.pipeline import prepared

numbers = np.random.default_rng(5)


def random(*shape):
    return numbers.standard_normal(shape).astype(np.float32)


def chain(x):
    a = x * 0.5 + 0.1
    b = jnp.exp(-(a * a))
    return jnp.tanh(a + b) * b - a


def convolve(x, w):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout)


def by_channel(x, w, groups=19):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=groups
    )


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


def both_gradients(x, w):
    def loss(x, w):
        return (jnp.sin(nn.standardize(jnp.tanh(x)) * w)).sum()

    return jnp.concatenate([g.ravel() for g in fg.grad(loss, (0, 1))(x, w)])


CASES = {
    "elements": (chain, random(300_007)),
    "rows": (nn.softmax, random(6, 300, 130)),
    "columns added up": (lambda x: jnp.exp(x).sum(0), random(500, 407)),
    "all added up": (lambda x: chain(x).sum(), random(300_000)),
    "all of an odd number": (lambda x, y: jnp.mean((x - y) ** 2), *random(2, 1_000_003)),
    "the spread of all": (lambda x: x.var() + x.max(), random(700, 811)),
    "all of a transposed matrix": (
        lambda x, y: (jnp.exp(x).T * y).sum(), random(700, 401), random(401, 700),
    ),
    "all integers": (lambda i: (i * i).sum() + i.min(), numbers.integers(-99, 99, 2_000_001)),
    "all complex numbers": (lambda x: (x + 1j).prod(), random(600_001) / 1e5),
    "all narrow numbers": (lambda x: x.astype(jnp.float16).sum(), random(800_000)),
    "columns of a product": (lambda a, b: nn.relu(a @ b + 1), random(129, 300), random(300, 515)),
    "rows of a product": (lambda a, b: jnp.tanh(a @ b), random(5000, 64), random(64, 10)),
    "a product of few terms": (lambda a, b: a @ b, random(2000, 9), random(9, 333)),
    "a product of many terms": (lambda a, b: a.T @ b, random(3000, 129), random(3000, 100)),
    "few results of many terms": (
        lambda a, b: jnp.tanh(0.01 * a.T @ b), random(30_001, 5), random(30_001, 39),
    ),
    "many terms in rows": (
        lambda a, b: nn.relu(a @ b.T) + 1, random(9, 70_000), random(12, 70_000),
    ),
    "a matrix times a vector": (
        lambda a, x: jnp.exp(a @ x * 0.01), random(3001, 1500), random(1500),
    ),
    "a vector times a matrix": (
        lambda a, x: jnp.exp(x @ a * 0.01), random(1500, 3001), random(1500),
    ),
    "transposed": (lambda a, b: jnp.sin(a @ b.T).T, random(301, 256), random(400, 256)),
    "many products": (lambda a, b: a @ b, random(33, 100, 50), random(33, 50, 70)),
    "images": (convolve, random(9, 20, 20, 16), random(3, 3, 16, 24)),
    "images without a border": (
        lambda x, w: lax.conv(x, w, (2, 2), "VALID"), random(9, 8, 40, 40), random(24, 8, 3, 3),
    ),
    "gradient of a convolution": (
        lambda x, w: fg.grad(lambda v: convolve(x, v).sum())(w),
        random(8, 20, 20, 16), random(3, 3, 16, 24),
    ),
    "gradient of a convolution, updated": (
        lambda x, w: w - 0.1 * fg.grad(lambda v: jnp.sin(convolve(x, v)).sum())(w),
        random(9, 21, 20, 3), random(5, 5, 3, 17),
    ),
    "gradients of channels first": (
        lambda x, w: fg.grad(lambda v: jnp.sin(lax.conv(x, v, (2, 1), "SAME")).sum())(w),
        random(9, 7, 31, 20), random(24, 7, 3, 3),
    ),
    "gradients of channels by themselves": (
        lambda x, w: fg.grad(lambda v: jnp.sin(by_channel(x, v)).sum())(w),
        random(40, 28, 28, 19), random(3, 3, 1, 19),
    ),
    "one image": (
        lambda x, w: nn.relu(convolve(x, w)) + 1, random(1, 28, 28, 48), random(3, 3, 48, 90),
    ),
    "one image, larger": (
        lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME"), random(1, 14, 14, 64),
        random(3, 3, 64, 200),
    ),
    "single pixels": (convolve, random(5, 20, 20, 64), random(1, 1, 64, 130)),
    "groups of channels": (
        lambda x, w: by_channel(x, w, 4), random(8, 28, 28, 16), random(3, 3, 4, 32),
    ),
    "scattered": (
        lambda x, i: jnp.zeros(1000).at[i].add(x), random(200_000),
        numbers.integers(0, 1000, 200_000).astype(np.int32),
    ),
    "the last one wins": (
        lambda x, i: jnp.zeros(1000).at[i].set(x), random(200_000),
        numbers.integers(0, 1000, 200_000).astype(np.int32),
    ),
    "gradients of a norm": (
        lambda x, w: fg.grad(lambda w: jnp.sin(nn.standardize(x) * w).sum())(w),
        random(600, 129), random(129),
    ),
    "norms both ways": (both_gradients, random(9, 100, 129), random(129)),
    "counted": (
        lambda x, i: jnp.zeros(1000, int).at[i].max(x), numbers.integers(-99, 99, 200_000),
        numbers.integers(0, 1000, 200_000).astype(np.int32),
    ),
    "sorted": (lambda x: jnp.sort(jnp.tanh(x)), random(100, 1000)),
    "sorted with positions": (lambda x: jnp.argsort(x, axis=-1), random(211, 300)),
    "the largest": (lambda x: jnp.concatenate(lax.top_k(x, 3), 1), random(307, 500)),
    "running sums": (lambda x: jnp.cumsum(x, 1), random(900, 1003)),
    "gradient of pooling": (
        lambda x: fg.grad(lambda x: (pool(x) ** 2).sum())(x), random(37, 16, 16, 19),
    ),
    "solved": (jnp.linalg.solve, random(4001, 6, 6) + 9 * np.eye(6, dtype=np.float32),
               random(4001, 6, 2)),
    "in a loop": (
        lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.tanh(c @ c) + i, x), random(200, 200),
    ),
    "transposed elements": (lambda x: jnp.exp(x).T, random(700, 401)),
    "other dtypes": (lambda x: jnp.exp(x.astype(jnp.bfloat16)), random(300_001)),
}  # fmt: skip


@pytest.fixture
def several():
    """More threads than this machine may have cores: parts are taken by whoever comes."""
    with config.override(engine="llvm", num_threads=3):
        threads.ready()
        yield


@pytest.mark.parametrize("name", CASES)
def test_the_number_of_threads_changes_no_bit(name):
    f, *args = CASES[name]
    equal_for_all_numbers(f, [jnp.asarray(a) for a in args])


def equal_for_all_numbers(f, args, times=6):
    """Returns the result, which is the same for all numbers of threads."""
    with config.override(engine="llvm"):
        jitted = fg.jit(f)
        with config.override(num_threads=1):
            want = np.asarray(jitted(*args))
            assert threads.in_use() == 1
        for count in (2, 3, 7):
            with config.override(num_threads=count):
                threads.ready()
                assert threads.in_use() == count
                for _ in range(times):
                    np.testing.assert_array_equal(jitted(*args), want)
    return want


KINDS = {  # programs by sizes (m, n, k): k is summed over
    "gradient of a layer": lambda m, n, k: (
        lambda x, t: fg.grad(lambda w: (jnp.tanh(x @ w) * t).sum())(jnp.ones((m, n)) / k),
        (k, m), (k, n),
    ),
    "columns": lambda m, n, k: (lambda x: jnp.sin(x).sum(0) + x.max(0), (k, m * n)),
    "all": lambda m, n, k: (lambda x: (x - x.mean()).var() + x.min(), (k, m, n)),
    "rows": lambda m, n, k: (lambda x: nn.softmax(x, 1).sum(0), (m * n, k)),
    "gradient of a convolution": lambda m, n, k: (
        lambda x, w: fg.grad(lambda x, w: jnp.sin(convolve(x, w)).mean(), (0, 1))(x, w)[1],
        (-(-k // 400), 20, 20, m), (3, 3, m, n),
    ),
    "statistics of images": lambda m, n, k: (
        lambda x: fg.grad(lambda x: jnp.cos((x - x.mean((0, 2, 3), keepdims=True)) ** 2).sum())(x),
        (-(-k // 400), m, 20, n),
    ),
}  # fmt: skip


@given(
    st.sampled_from(sorted(KINDS)), st.integers(1, 24), st.integers(1, 40), st.integers(1500, 9000)
)
@settings(max_examples=30, deadline=None)
def test_any_sizes_give_equal_bits(kind, m, n, k):
    f, *shapes = KINDS[kind](m, n, k)
    args = [jnp.asarray(random(*shape)) for shape in shapes]
    found = equal_for_all_numbers(f, args, times=2)
    with config.override(engine="numpy"):
        want = np.asarray(fg.jit(f)(*args))
    scale = np.abs(want).max() + 1e-3  # sums of up to 1e7 terms of order 1, some of which cancel
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-3 * scale)


ALONE = {"all narrow numbers", "scattered", "counted", "the last one wins",
         "in a loop"}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in CASES if n not in ALONE])
def test_which_programs_are_cut(name):
    f, *args = CASES[name]
    jaxpr = fg.make_jaxpr(f)(*args)
    made = Assembly(prepared(jaxpr), (False,) * len(args), host())
    assert "@spread(" in made.text


# Cases with parts of their own kind, and whether sums of parts wait for the end of all.
IN_PARTS = {
    "all added up": False, "all of an odd number": False, "the spread of all": False,
    "all of a transposed matrix": False, "all integers": False, "all complex numbers": False,
    "norms both ways": False, "few results of many terms": True, "many terms in rows": True,
    "gradient of a convolution": True, "gradient of a convolution, updated": True,
    "one image": False, "one image, larger": False, "single pixels": False,
    "sorted with positions": False, "the largest": False, "running sums": False,
    "gradient of pooling": False, "solved": False, "gradients of channels first": True,
    "gradients of channels by themselves": True,
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PARTS)
def test_parts_give_what_numpy_gives(name):
    f, *args = CASES[name]
    with config.override(engine="numpy"):
        want = np.asarray(fg.jit(f)(*args))
    with config.override(engine="llvm"):
        found = np.asarray(fg.jit(f)(*args))
    scale = np.abs(want).max()  # sums of up to 1e6 terms of this size, in another order
    np.testing.assert_allclose(found, want, rtol=2e-4, atol=2e-4 * scale)
    made = Assembly(prepared(fg.make_jaxpr(f)(*args)), (False,) * len(args), host())
    assert ("_end(" in made.text) == IN_PARTS[name]


def test_what_may_write_one_element_twice_is_not_cut():
    f, *args = CASES["the last one wins"]
    jaxpr = fg.make_jaxpr(f)(*args)
    made = Assembly(prepared(jaxpr), (False,) * len(args), host())
    assert "@spread(" not in made.text


def test_small_kernels_are_not_cut():
    jaxpr = fg.make_jaxpr(chain)(random(1000))
    assert "@spread(" not in Assembly(prepared(jaxpr), (False,), host()).text


def test_donated_memory_is_taken_in_parts(several):
    f = fg.jit(lambda p, g: p - 0.1 * jnp.tanh(g), donate_argnums=0)
    g = jnp.asarray(random(400_000))
    for _ in range(4):
        p = jnp.asarray(random(400_000))
        want = np.asarray(p) - np.float32(0.1) * np.tanh(np.asarray(g))
        np.testing.assert_allclose(f(p, g), want, rtol=1e-5, atol=1e-6)


def test_calls_from_many_threads_share_the_crew(several):
    f = fg.jit(chain)
    xs = [jnp.asarray(random(200_000)) for _ in range(4)]
    want = [np.asarray(f(x)) for x in xs]
    wrong = []

    def run(n):
        for _ in range(30):
            if not np.array_equal(f(xs[n]), want[n]):
                wrong.append(n)

    callers = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not wrong


def test_workers_sleep_and_wake(several):
    f = fg.jit(chain)
    x = jnp.asarray(random(200_000))
    want = np.asarray(f(x))
    pause = threading.Event()
    for _ in range(30):
        pause.wait(0.003)  # long enough for all to fall asleep
        np.testing.assert_array_equal(f(x), want)


def test_the_setting_holds_for_programs_that_exist():
    with config.override(engine="llvm", num_threads=1):
        fg.jit(chain)(jnp.asarray(random(200_000)))
        for count in (4, 1, 6, 2):
            with config.override(num_threads=count):
                assert threads.in_use() == count
        assert threads.in_use() == 1


def test_workers_do_take_parts(several):
    f = fg.jit(lambda a, b: a @ b)
    a, b = jnp.asarray(random(500, 500)), jnp.asarray(random(500, 500))
    first = crew.WORKERS + crew.LINE + crew.SIZE
    threads.RECORD[first :: crew.LINE] = 0
    for _ in range(500):
        f(a, b)
        if threads.RECORD[first :: crew.LINE].any():  # who works has memory for it
            return
    pytest.fail("no worker has ever taken a part")


def test_fewer_threads_at_once_and_more_again(several):
    f = fg.jit(chain)
    x = jnp.asarray(random(200_000))
    want = np.asarray(f(x))
    for count in (1, 3, 2, 1, 2):
        with config.override(num_threads=count):
            threads.ready()
            assert threads.in_use() == count
            np.testing.assert_array_equal(f(x), want)


def test_the_setting_says_what_it_takes():
    with pytest.raises(ValueError, match="num_threads"), config.override(num_threads=-1):
        pass


SCRIPT = """
import os, sys
import numpy as np
import funcgrad as fg, funcgrad.numpy as jnp
from funcgrad.config import config
from funcgrad.backends.llvm import threads
f = fg.jit(lambda x: jnp.tanh(jnp.exp(x) * 2))
x = jnp.linspace(0, 1, 300_000)
want = np.asarray(f(x))
{body}
"""


def run(body, **variables):
    """What a process of its own prints."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}
    environment |= {"FUNCGRAD_ENGINE": "llvm", **variables}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)], env=environment, capture_output=True,
        text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({"FUNCGRAD_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "1"}, "1"),
        ({"OMP_NUM_THREADS": "1", "FUNCGRAD_NUM_THREADS": "2"}, "2"),
    ],
)
def test_variables_say_how_many(variables, count):
    assert run("print(threads.in_use())", **variables) == [count]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_says_how_many():
    body = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(threads.available())"
    assert run(body) == ["1"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_asked_again_for_new_programs():
    body = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
fg.jit(lambda x: jnp.tanh(jnp.exp(x) * 3))(x)
print(threads.in_use())
"""
    assert run(body) == ["1"]


def test_programs_run_where_no_thread_can_be_started():
    body = """
import threading, warnings
def refuse(thread):
    raise RuntimeError("can't start new thread")
warnings.simplefilter("error")
threading.Thread.start = refuse
with config.override(num_threads=5):
    g = fg.jit(lambda x: jnp.tanh(jnp.exp(x) * 2) + 0)
    print(np.array_equal(g(x), want), threads.in_use())
"""
    assert run(body, FUNCGRAD_NUM_THREADS="1") == ["True", "1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
def test_a_forked_child_computes_too():
    body = """
child = os.fork()
good = np.array_equal(f(x), want)
if child == 0:
    before = threads.in_use()
    g = fg.jit(lambda x: jnp.tanh(jnp.exp(x) * 2) + 0)
    good = good and before == 1 and np.array_equal(g(x), want) and threads.in_use() == 3
    os._exit(0 if good else 1)
_, status = os.waitpid(child, 0)
print(good, status)
"""
    assert run(body, FUNCGRAD_NUM_THREADS="3") == ["True", "0"]


def test_the_process_ends_while_workers_wait():
    assert run("print('end')", FUNCGRAD_NUM_THREADS="4") == ["end"]


def test_native_knows_no_more_threads_than_it_may():
    assert native.threads.MOST >= 2
    with config.override(engine="llvm", num_threads=10_000):
        assert threads.in_use() <= threads.MOST
