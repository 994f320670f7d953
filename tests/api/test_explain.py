"""`explain`, `max_compiles`, `cost_analysis` and `memory_analysis`: what is said is what is so."""

import functools
import tracemalloc

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.config import config


def reasons(function, *calls):
    """The reasons of the last compilation after calls with these arguments."""
    for args in calls:
        function(*args)
    return function.explain().compilations[-1].reasons


@pytest.mark.parametrize(
    "first, second, reason",
    [
        ((jnp.ones(3),), (jnp.ones(4),), "x: shape (3,) -> (4,)"),
        ((jnp.ones(3),), (jnp.ones(3, "int32"),), "x: dtype float32 -> int32"),
        ((jnp.float32(1),), (1.0,), "x: weak type strong -> weak"),
        (
            (jnp.ones(3),),
            (jnp.ones((3, 1), "float16"),),
            "x: shape (3,) -> (3, 1), dtype float32 -> float16",
        ),
        (
            ({"w": 1.0},),
            ({"w": jnp.ones(2)},),
            "x['w']: shape () -> (2,), weak type weak -> strong",
        ),
        (({"w": 1.0},), ({"w": 1.0, "b": 2.0},), "x['b']: a new leaf, ~f32[]"),
        (({"w": 1.0, "b": 2.0},), ({"w": 1.0},), "x['b']: no longer there"),
        (((1.0, 2.0),), ([1.0, 2.0],), "structure: "),
    ],
)
def test_reason_names_leaf_and_change(first, second, reason):
    (told,) = reasons(fg.jit(lambda x: fg.tree.map(jnp.sin, x)), first, second)
    assert told.startswith(reason)


def test_reason_static_values():
    function = fg.jit(lambda n, x, *, mode: x * n, static_argnums=0, static_argnames="mode")
    function(2, 1.0, mode="a")
    function(3, 1.0, mode="a")
    function(3, 1.0, mode="b")
    told = [c.reasons for c in function.explain().compilations]
    assert told == [
        ("the first call",),
        ("static argument n: 2 -> 3",),
        ("static argument mode: 'a' -> 'b'",),
    ]
    assert [c.nearest for c in function.explain().compilations] == [None, 1, 2]
    assert function.explain().compilations[2].signature == "x: ~f32[], n=3, mode='b'"


def test_reason_setting():
    function = fg.jit(lambda x: jnp.sin(x))
    function(1.0)
    with fg.config.override(debug_nans=True):
        function(1.0)
    (told,) = function.explain().compilations[-1].reasons
    assert told == "config.debug_nans: False -> True"


def test_compared_with_the_nearest():
    function = fg.jit(lambda x, y: x + y)
    told = reasons(
        function,
        (jnp.ones(3), jnp.ones(3)),
        (jnp.ones((4, 1)), jnp.ones((4, 1), "int32")),
        (jnp.ones(3), jnp.ones(3, "int32")),
    )
    assert told == ("y: dtype float32 -> int32",)
    assert function.explain().compilations[-1].nearest == 1


def test_nothing_compiled_yet():
    def unused(x):
        return x

    assert str(fg.jit(unused).explain()) == "unused has not been compiled yet."


def test_programs_and_passes():
    def twice(x):
        return fg.jit(jnp.sin)(x) + fg.jit(jnp.sin)(x) * 1.0

    function = fg.jit(twice)
    function(jnp.ones(3))
    (found,) = function.explain().compilations
    assert len(found.traced.eqns) == found.passes[0].before - 2  # two calls with a sine in each
    assert [e.primitive.name for e in found.optimized.eqns] == ["sin", "mul"]
    assert found.passes[-1].after == 2
    assert all(a.after == b.before for a, b in zip(found.passes, found.passes[1:]))
    with fg.config.override(disabled_passes="share_common"):
        function(jnp.ones(3))
    assert "share_common" not in [p.name for p in function.explain().compilations[-1].passes]


def test_steps_say_what_fused():
    function = fg.jit(lambda x: jnp.dot(jnp.exp(x) * 2 + 1, x))
    with config.override(engine="numpy"):
        function(jnp.ones((512, 512)))
    (found,) = function.explain().compilations
    assert [(s.kind, s.operations) for s in found.steps] == [
        ("kernel", ("exp", "mul", "add")),
        ("library", ("dot_general",)),
    ]
    assert "kernel  [512,512] exp mul add" in str(found)


def test_steps_of_loops_and_branches_are_shown():
    def step(carry, row):
        return fg.lax.cond(row > 0, jnp.sin, lambda v: jnp.exp(v) * 2, carry), None

    function = fg.jit(lambda x: fg.lax.scan(step, x, jnp.arange(3.0))[0])
    function(jnp.ones(1 << 18))
    (found,) = function.explain().compilations
    (loop,) = [s for s in found.steps if s.operations == ("scan",)]
    (branches,) = [s for s in loop.inner if s.operations == ("cond",)]
    assert {s.operations for s in branches.inner} == {("sin",), ("exp", "mul")}
    lines = str(found).splitlines()
    depth = [len(line) - len(line.lstrip()) for line in lines if line.endswith(("cond", "exp mul"))]
    assert depth[1] == depth[0] + 2


def test_a_default_that_is_replaced_was_not_given():
    function = fg.jit(lambda x, n=3: x * n, static_argnames="n")
    function(1.0)
    function(1.0, n=4)
    reasons = function.explain().compilations[1].reasons
    assert reasons == ("static argument n: not given -> 4",)


def test_checked_functions_and_methods_explain_themselves():
    checked = fg.jit(jnp.log, checks="nan")
    checked(1.0)
    assert len(checked.explain().compilations) == 1

    class Model:
        @functools.partial(fg.jit, static_argnums=0)
        def call(self, x):
            return 2.0 * x

    model = Model()
    assert float(model.call(3.0)) == 6.0
    assert len(model.call.explain().compilations) == 1


def test_copies():
    function = fg.jit(lambda x, y: (x, y + 1.0, y.T))
    x = jnp.ones((2, 3))
    function(x, x)
    told = {c.what: c.certain for c in function.explain().compilations[0].copies}
    assert told == {"result 0 (f32[2,3])": True, "result 2 (f32[3,2])": False}


def test_donated_buffers_really_reused():
    function = fg.jit(lambda x, y, z: (x + 1, y.sum()), donate_argnums=(0, 1))
    x = jnp.ones((64, 64))
    where = x._buffer.ctypes.data
    out, _ = function(x, jnp.ones((64, 64)), jnp.ones((64, 64)))
    assert out._buffer.ctypes.data == where
    (found,) = function.explain().compilations
    assert [(d.argument, d.reused) for d in found.donations] == [("x", True), ("y", False)]


@pytest.mark.parametrize(
    "program",
    [
        lambda x: jnp.sum(jnp.sin(x) @ x),
        lambda x: jnp.sin(x) @ jnp.cos(x) @ jnp.exp(x),
        lambda x: lax.fori_loop(0, 3, lambda i, y: jnp.sin(y @ x), x),
        lambda x: jnp.concatenate([x, x]) * 2.0,
        lambda x: lax.scan(lambda c, r: (jnp.sin(c + r), c), x[0], x)[1],
    ],
)
def test_peak_memory_is_what_is_allocated(program):
    """NumPy tells tracemalloc of all its memory. 5 %: Python's own objects, and small arrays."""
    function, x = fg.jit(program), jnp.asarray(np.random.default_rng(0).random((300, 300), "f4"))
    with fg.config.override(engine="numpy"):
        function(x)
        function(x)
        tracemalloc.start()
        out = function(x)
        _, measured = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del out
        (found,) = function.explain().compilations
    assert found.cost.peak - found.cost.arguments == pytest.approx(measured, rel=0.05)


def test_max_compiles():
    function = fg.jit(lambda x, n: x * n, static_argnums=1, max_compiles=2)
    function(jnp.ones(3), 1)
    function(jnp.ones(3), 2)
    function(jnp.ones(3), 1)
    with pytest.raises(RuntimeError) as caught:
        function(jnp.ones(5), 2)
    told = str(caught.value)
    assert "max_compiles=2" in told
    assert "static argument n: 1 -> 2" in told
    assert "x: shape (3,) -> (5,)" in told
    assert len(function.explain().compilations) == 2
    function.clear_cache()
    function(jnp.ones(5), 2)


def test_max_compiles_is_shared_by_equal_jits():
    def double(x):
        return 2 * x

    fg.jit(double)(jnp.ones(2))  # without a limit nothing is counted
    fg.jit(double, max_compiles=1)(jnp.ones(3))
    with pytest.raises(RuntimeError, match="double may be compiled once"):
        fg.jit(double, max_compiles=1)(jnp.ones(4))


# ---- stages
# ------------------------------------------------------------------------------------------


def stages(function, *args, **options):
    lowered = fg.jit(function, **options).lower(*args)
    return lowered, lowered.compile()


def test_cost_analysis_of_a_product():
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    for stage in stages(jnp.dot, a, b):
        assert stage.cost_analysis() == {
            "flops": 2 * 3 * 4 * 5.0,
            "bytes accessed": 4 * (12 + 20 + 15.0),
        }


def test_fusion_saves_bytes_not_flops():
    lowered, compiled = stages(lambda x: jnp.sin(x) * x + x, jnp.ones((512, 512)))
    size = 4 * 512 * 512
    assert lowered.cost_analysis() == {"flops": 3 * 512 * 512, "bytes accessed": 8 * size}
    assert compiled.cost_analysis() == {"flops": 3 * 512 * 512, "bytes accessed": 2 * size}


def test_cost_of_loops_and_branches():
    def looped(x):
        return lax.scan(lambda c, _: (jnp.sin(c), None), x, None, length=7)[0]

    def branched(x):
        return lax.cond(x[0] > 0, lambda x: jnp.sin(jnp.cos(x)), jnp.sin, x)

    x = jnp.ones(10)
    for stage in stages(looped, x):
        assert stage.cost_analysis()["flops"] == 70
    for stage in stages(branched, x):
        assert 20 < stage.cost_analysis()["flops"] <= 24  # the dearer branch, and the test


def test_memory_analysis():
    x = jnp.ones((100, 100))
    _, compiled = stages(lambda x, y: (x + y, jnp.sin(x) @ y), x, x, donate_argnums=0)
    found = compiled.memory_analysis()
    size = x.nbytes
    assert found.argument_size_in_bytes == found.output_size_in_bytes == 2 * size
    assert found.alias_size_in_bytes == size
    assert found.temp_size_in_bytes == 0  # the sine lies in the donated argument
    assert found.peak_memory_in_bytes == 4 * size
    assert np.all(compiled(x, x)[0] == 2)


def test_loops_of_unknown_length_are_explained():
    def power(x):
        return lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, c[1] * x), (0, 1.0))[1]

    slope = fg.jit(fg.grad(power))
    assert float(slope(2.0)) == 80
    text = str(slope.explain())
    assert "while" in text and "scan" in text
