"""What is told of native programs: their text, which kernel holds what, and why kernels are
apart.
"""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.config import config

X = np.ones((64, 128), np.float32)
W = np.ones((128, 32), np.float32)


@pytest.fixture(autouse=True)
def native():
    with config.override(engine="llvm"):
        yield


def steps_of(function, *args, **options):
    jitted = fg.jit(function, **options)
    jitted(*map(jnp.asarray, args))
    return jitted.explain().compilations[-1].steps


# ---- text
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "words"),
    [
        ("jaxpr", ["{ lambda ;", "tanh"]),
        ("optimized", ["{ lambda ;", "tanh"]),
        ("kernels", ["kernel(b0: float32[8192]", "tanh", "store"]),
        ("llvm", ["define void @segment0(", "float"]),
        ("asm", [".globl\tsegment0", "ret"]),
    ],
)
def test_dialects(dialect, words):
    text = fg.jit(lambda x: jnp.tanh(x) * 2).lower(X).as_text(dialect)
    assert all(word in text for word in words)


def test_kernels_of_any_engine():
    with config.override(engine="numpy"):
        lowered = fg.jit(jnp.sin).lower(X)
        assert lowered.as_text("kernels").startswith("kernel(")
        assert "numpy" in lowered.as_text("python") or "sin" in lowered.as_text("python")


def test_unknown_dialect_says_what_there_is():
    with pytest.raises(ValueError, match="kernels, llvm and asm, but got 'ptx'"):
        fg.jit(jnp.sin).lower(X).as_text("ptx")


def test_text_is_the_same_every_time():
    def function(x):
        y = jnp.exp(x - x.max(1, keepdims=True))
        return y / y.sum(1, keepdims=True) + jnp.sort(x)

    texts = [fg.jit(lambda x: function(x)).lower(X).as_text("llvm") for _ in range(2)]
    assert texts[0] == texts[1]


# ---- kernels
# -------------------------------------------------------------------------------------


def test_a_chain_is_one_kernel():
    (step,) = steps_of(lambda x: jnp.exp(jnp.sin(x) * 2) + 1, X)
    assert (step.kind, step.operations, step.shape) == (
        "kernel",
        ("sin", "mul", "exp", "add"),
        (64, 128),
    )
    assert step.apart == ()


def test_softmax_is_one_kernel():
    (step,) = steps_of(fg.nn.softmax, X)
    assert {"reduce_max", "exp", "reduce_sum", "div"} <= set(step.operations)


def test_the_end_of_a_product_is_in_its_kernel():
    (step,) = steps_of(lambda x, w: jnp.tanh(x @ w + 1), X, W)
    assert (step.kind, step.operations) == ("product", ("dot_general", "add", "tanh"))


def test_convolutions():
    def function(x, w):
        return fg.nn.relu(fg.lax.conv(x, w, (1, 1), "SAME"))

    steps = steps_of(function, np.ones((2, 8, 16, 16), np.float32), np.ones((8, 8, 3, 3), "f"))
    assert "conv" in [step.kind for step in steps]


def test_loops_show_their_kernels():
    def function(x):
        return fg.lax.scan(lambda c, r: (jnp.sin(c) + r, None), x[0], x)[0]

    *_, loop = steps_of(function, X)
    assert (loop.kind, loop.operations) == ("loop", ("scan",))
    assert [step.operations for step in loop.inner] == [("sin", "add")]


def test_small_loops_run_in_registers():
    (loop,) = steps_of(lambda x: fg.lax.fori_loop(0, 9, lambda i, c: c * 0.5 + 1, x), np.float32(1))
    assert (loop.kind, loop.inner) == ("registers", ())


def test_what_numpy_runs_is_outside():
    def function(x):
        return fg.pure_callback(np.cbrt, fg.ShapeDtypeStruct((3,), np.float32), x * 2) + 1

    steps = steps_of(function, np.ones(3, np.float32))
    assert [(step.kind, step.operations) for step in steps] == [
        ("kernel", ("mul",)),
        ("outside", ("pure_callback",)),
        ("kernel", ("add",)),
    ]


# ---- why kernels are apart
# -----------------------------------------------------------------------


def transposed_sum(x):
    y = jnp.exp(x)
    return y.sum(1), (y.T * 2).sum(1)


REASONS = {
    "two products": (lambda x, w: (x @ w) @ w.T, "each is a product or convolution"),
    "a product and a sum": (lambda x, w: (x @ w).sum(1), "a product has no whole rows to reduce"),
    "updates": (
        lambda x, w: jnp.cumsum(x, 1).at[3].add(x.sum(0)) * 2,
        "updates of an array are a kernel of their own",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_reasons(name):
    function, reason = REASONS[name]
    told = [line for step in steps_of(function, X, W) for line in step.apart]
    assert any(line.startswith("not in step") and reason in line for line in told)


def test_the_report_has_the_reasons():
    function = fg.jit(lambda x, w: (x @ w).sum(1))
    function(X, W)
    text = str(function.explain())
    assert "product [64,32] dot_general" in text
    assert "not in step 1: a product has no whole rows to reduce" in text


# ---- how the code came about
# ---------------------------------------------------------------------


def test_compiled_or_from_disk(tmp_path):
    def history():
        function = fg.jit(lambda x: jnp.sin(x) * 3)
        function(X)
        return function.explain().compilations[0].history

    with config.override(enable_compilation_cache=True, cache_dir=str(tmp_path / "cache")):
        assert history().startswith("compiled for this machine, ")
        assert history().startswith("from disk, ")
    with config.override(engine="numpy"):
        assert history() == ""


def test_donated_arguments_are_told():
    function = fg.jit(lambda x, y: (x + y, y.sum()), donate_argnums=(0, 1))
    function(jnp.asarray(X), jnp.asarray(X) * 2)
    told = {d.argument: d.reused for d in function.explain().compilations[0].donations}
    assert sorted(told.values()) == [False, True]
