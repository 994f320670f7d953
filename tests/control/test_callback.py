"""Callbacks and effects: the calls that are made, their order, and what they return, as in JAX."""

import contextlib
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.control import replay
from funcgrad.errors import is_ours
from funcgrad.experimental import io_callback

TRANSFORMS = ("jit", "grad", "vmap", "jvp", "checkpoint", "lax", "effects_barrier")
ours = SimpleNamespace(
    **{name: getattr(fg, name) for name in TRANSFORMS},
    numpy=jnp,
    debug=fg.debug,
    pure_callback=fg.pure_callback,
    io_callback=io_callback,
    Struct=fg.ShapeDtypeStruct,
)


@pytest.fixture(scope="module")
def theirs():
    jax = pytest.importorskip("jax")
    from jax.experimental import io_callback

    names = (*TRANSFORMS, "numpy", "debug", "pure_callback")
    own = {name: getattr(jax, name) for name in names}
    return SimpleNamespace(**own, io_callback=io_callback, Struct=jax.ShapeDtypeStruct)


# ---- printing -----------------------------------------------------------------------------------


def in_scan(lib, x):
    def body(c, v):
        lib.debug.print("step {} {}", c, v)
        return lib.numpy.sin(c * v), c

    last, ys = lib.lax.scan(body, x[0], x)
    return last + lib.numpy.sum(ys)


def without_value(lib, x):
    """Where jax moves what does not depend on the loop out of it, and prints once."""

    def body(c, v):
        lib.debug.print("no value")
        return lib.numpy.sin(c * v), None

    return lib.lax.scan(body, x[0], x)[0]


def in_while(lib, x):
    def body(c):
        lib.debug.print("body {c}", c=c)
        return (c[0] + 1, lib.numpy.cos(c[1]) * x[1])

    return lib.lax.while_loop(lambda c: c[0] < 3, body, (0, x[0]))[1]


def in_condition(lib, x):
    def test(c):
        lib.debug.print("test {}", c)
        return c < 40.0

    return lib.lax.while_loop(test, lambda c: c * 3.0, x[0] + 1.0)


def in_cond(lib, x):
    def yes(v):
        lib.debug.print("yes {:.3f}", v)
        return v * 2.0

    def no(v):
        lib.debug.print("no {:.3f}", v)
        return lib.numpy.sin(v)

    return lib.lax.cond(x[0] > 0.4, yes, no, x[1]) + lib.lax.cond(x[0] > 9.0, yes, no, x[2])


def in_jit(lib, x):
    @lib.jit
    def inner(v):
        lib.debug.print("inner {}", v)
        return lib.numpy.tanh(v)

    lib.debug.print("outer {}", x)
    return inner(x[0]) * inner(x[1])


def in_order(lib, x):
    for i in range(4):
        lib.debug.print("line {} {}", i, x[i % 3], ordered=True)
        x = lib.numpy.sin(x)
    return x.sum()


def unused(lib, x):
    lib.debug.callback(lambda v: print("called with", v), x * 7.0)
    return x[0]


PRINTING = (in_scan, without_value, in_while, in_condition, in_cond, in_jit, in_order, unused)
STACKS = {
    "eager": lambda lib, f: f,
    "jit": lambda lib, f: lib.jit(f),
    "jvp": lambda lib, f: lambda x: lib.jvp(f, (x,), (x,))[1],
    "grad": lambda lib, f: lib.grad(f),
    "jit grad": lambda lib, f: lib.jit(lib.grad(f)),
    "grad jit": lambda lib, f: lib.grad(lib.jit(f)),
}
REVERSE_OF_WHILE = (in_while, in_condition)  # where jax raises
MAPS = {"vmap": lambda lib, f: lib.vmap(f), "vmap grad": lambda lib, f: lib.vmap(lib.grad(f))}


def observed(lib, program, stack, x):
    """The result, and the lines printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        result = stack(lib, lambda v: program(lib, v))(lib.numpy.asarray(x))
        lib.effects_barrier()
        result = np.asarray(result)
    return result, out.getvalue().splitlines()


COMPARED = [
    (program, name)
    for program in PRINTING
    if program is not without_value
    for name in (*STACKS, *MAPS)
    if not ("grad" in name and program in REVERSE_OF_WHILE)
    and not (name in MAPS and program is in_order)  # lanes have no order
]


def rounded(lines):
    """Lines as words and numbers of four digits, sorted: unordered effects have no order in jax."""
    numbers = re.compile(r"-?\d+\.\d*(e-?\d+)?")
    return sorted(numbers.sub(lambda m: f"{float(m.group()):.4g}", line) for line in lines)


@pytest.mark.oracle
@pytest.mark.parametrize("program, name", COMPARED)
def test_prints_what_jax_prints(theirs, program, name):
    x = np.linspace(0.5, 1.5, 6, dtype=np.float32).reshape(2, 3)
    stack = {**STACKS, **MAPS}[name]
    got = observed(ours, program, stack, x if name in MAPS else x[0])
    expected = observed(theirs, program, stack, x if name in MAPS else x[0])
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    assert rounded(got[1]) == rounded(expected[1])
    if program is in_order:
        assert got[1] == observed(ours, program, STACKS["eager"], x[0])[1]


@pytest.mark.parametrize("stack", [STACKS["grad"], STACKS["jit grad"], STACKS["grad jit"]])
@pytest.mark.parametrize("program", PRINTING, ids=lambda f: f.__name__)
def test_effects_happen_in_the_primal_pass_only(program, stack):
    x = np.linspace(0.5, 1.5, 3, dtype=np.float32)
    _, once = observed(ours, program, STACKS["eager"], x)
    assert once
    for form in (program, lambda lib, v: lib.checkpoint(lambda u: program(lib, u))(v)):
        assert observed(ours, form, stack, x)[1] == once


def test_print_formats_trees_and_checks_places(capsys):
    fg.debug.print("{} {x:.2f} {y[a]} {s}", jnp.arange(2), x=1.234, y={"a": jnp.ones(1)}, s="text")
    assert capsys.readouterr().out == "[0 1] 1.23 [1.] text\n"
    with pytest.raises(ValueError, match="debug.print: the format has no place .* number 0, b"):
        fg.jit(lambda x: fg.debug.print("nothing", x, b=x))(1.0)
    with pytest.raises(KeyError):
        fg.jit(lambda x: fg.debug.print("{y}", x=x))(1.0)
    fg.debug.print("nothing", 1, skip_format_check=True)
    assert capsys.readouterr().out == "nothing\n"


def test_debug_callback_passes_on_what_is_no_array():
    seen = []

    @fg.debug.callback(ordered=True)
    def record(*args, **kwargs):
        seen.append((args, kwargs))

    fg.jit(lambda x: record(x, "s", None, {"k": [x]}, n=print))(2.0)
    ((x, s, none, d), kwargs) = seen[0]
    assert (float(x), s, none, float(d["k"][0]), kwargs) == (2.0, "s", None, 2.0, {"n": print})


def test_keys_arrive_as_keys():
    seen = []
    f = fg.jit(lambda k: (fg.debug.callback(seen.append, k), fg.random.split(k))[1])
    f(fg.random.key(3))
    fg.vmap(f)(fg.random.split(fg.random.key(3), 2))
    assert [fg.random.key_data(k).tolist() for k in seen[:1]] == [[0, 3]]
    assert len(seen) == 3 and all(k.dtype == seen[0].dtype for k in seen)


def test_arrays_given_to_callbacks_are_never_overwritten():
    seen = []

    @fg.jit
    def f(x):
        for _ in range(4):
            x = x * 2.0 + 1.0
            fg.debug.callback(seen.append, x)
        return x

    x = jnp.ones(100_000)
    f(x)
    assert [float(s[0]) for s in seen] == [3.0, 7.0, 15.0, 31.0]
    assert [float(s[-1]) for s in seen] == [3.0, 7.0, 15.0, 31.0]


def test_breakpoint_shows_variables_of_all_frames():
    commands = "p y * 2\nu\nscale + 1\nd\nlocals\nw\nl\np missing\nu\nu\nu\nh\nc\n"
    out = io.StringIO()

    @fg.jit
    def inner(x):
        y = x + 1
        fg.debug.breakpoint(stdin=io.StringIO(commands), stdout=out, num_frames=2)
        return y

    def outer(scale):
        return inner(scale * 10)

    assert float(outer(3.0)) == 31.0
    text = out.getvalue()
    for expected in ("62.0", "4.0", "x = Array(30.", "> ", "(inner)", "NameError", "no further"):
        assert expected in text
    with pytest.raises(Exception, match="stopped at the prompt"):
        fg.debug.breakpoint(stdin=io.StringIO("q\n"), stdout=out)


# ---- results ------------------------------------------------------------------------------------


def double(v):
    return np.asarray(v) * np.float32(2)


def pure_in_everything(lib, x):
    def double_of(v):
        return lib.pure_callback(double, lib.Struct(v.shape, v.dtype), v, vmap_method="sequential")

    c, ys = lib.lax.scan(lambda c, v: (double_of(c) + v, double_of(v)), x[0], x)
    w = lib.lax.while_loop(lambda c: c < 50.0, double_of, c)
    return lib.lax.cond(w > 60.0, double_of, lambda v: -v, w) + ys.sum() + double_of(x).sum()


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["eager", "jit", "vmap", "jit vmap", "checkpoint"])
def test_pure_callback_in_every_construct(theirs, name):
    def run(lib):
        f = lambda x: pure_in_everything(lib, x)
        for transform in reversed(name.split()):
            f = f if transform == "eager" else getattr(lib, transform)(f)
        return np.asarray(f(lib.numpy.asarray(x)))

    x = np.linspace(0.5, 1.5, 6, dtype=np.float32).reshape(2, 3)
    x = x if "vmap" in name else x[0]
    np.testing.assert_allclose(run(ours), run(theirs), rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "method",
    ["sequential", "sequential_unrolled", "expand_dims", "broadcast_all", "legacy_vectorized"],
)
@pytest.mark.parametrize("jitted", [False, True])
def test_vmap_methods_call_with_the_shapes_of_jax(theirs, method, jitted):
    x, y = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(10)

    def run(lib):
        shapes = []

        def add(a, b):
            shapes.append((np.shape(a), np.shape(b)))
            return np.asarray(a) + np.asarray(b)

        def f(a, b):
            return lib.pure_callback(add, lib.Struct((), np.float32), a, b, vmap_method=method)

        twice = lib.vmap(lib.vmap(f, in_axes=(0, None)), in_axes=(1, None))
        out = (lib.jit(twice) if jitted else twice)(lib.numpy.asarray(x), lib.numpy.asarray(y))
        return np.asarray(out).tolist(), sorted(shapes)

    assert run(ours) == run(theirs)


def test_pure_callback_results_are_checked():
    def f(result, *like):
        return fg.jit(lambda x: fg.pure_callback(lambda v: result, x, x))(*like or (1.0,))

    assert f(np.float64(1.5)).dtype == np.float32  # 64 bits are narrowed, as everywhere
    assert f(2).dtype == np.float32
    with pytest.raises(TypeError, match=r"pure_callback: <lambda> must return f32\[\].*int32"):
        f(np.int32(1))
    with pytest.raises(TypeError, match="must return f32"):
        f(1j)
    with pytest.raises(ValueError, match=r"must return f32\[\] .*shape \(3,\)"):
        f(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="structure"):
        f((1.0, 2.0))
    with pytest.raises(TypeError, match="result_shape_dtypes needs arrays"):
        fg.pure_callback(double, 3, 1.0)
    with pytest.raises(ValueError, match="vmap_method is one of sequential"):
        fg.pure_callback(double, jnp.ones(2), 1.0, vmap_method="other")


def test_results_of_callbacks_are_copied():
    held = np.ones(1000, np.float32)
    f = fg.jit(lambda: fg.pure_callback(lambda: held, fg.ShapeDtypeStruct((1000,), np.float32)))
    out = f()
    held[:] = 7
    assert float(out[0]) == 1.0
    g = fg.jit(lambda: fg.pure_callback(lambda: held, jnp.zeros(1000)) * 2 + 1)
    assert float(g()[0]) == 15.0 and held[0] == 7


def test_pure_callback_may_be_dropped_and_refuses_what_it_cannot():
    calls = []
    f = lambda x: fg.pure_callback(lambda v: calls.append(1) or v, x, x)
    fg.jit(lambda x: (f(x), x)[1])(1.0)
    assert not calls
    with pytest.raises(ValueError, match="pure_callback: .* cannot be differentiated.*custom_jvp"):
        fg.grad(f)(1.0)
    assert float(fg.grad(lambda x: x * f(fg.lax.stop_gradient(x)))(3.0)) == 3.0
    with pytest.raises(NotImplementedError, match="vmap_method"):
        fg.vmap(f)(jnp.ones(2))


def test_pure_callback_under_custom_jvp_has_a_derivative():
    @fg.custom_jvp
    def square(x):
        return fg.pure_callback(np.square, x, x, vmap_method="expand_dims")

    square.defjvps(lambda t, out, x: 2 * x * t)
    for f in (fg.grad(square), fg.jit(fg.grad(square)), fg.grad(fg.jit(square))):
        assert float(f(3.0)) == 6.0
    np.testing.assert_allclose(fg.vmap(fg.grad(square))(jnp.arange(3.0)), [0, 2, 4])


def test_io_callback_happens_once_and_in_order():
    lines = []

    def body(c, v):
        io_callback(lines.append, None, (c, v), ordered=True)
        return c + io_callback(lambda u: float(u) * 2, v, v, ordered=True), None

    f = lambda xs: fg.lax.scan(body, 0.0, xs)[0]
    for g in (f, fg.jit(f), fg.checkpoint(f), fg.jit(fg.checkpoint(f))):
        assert float(g(jnp.arange(3.0))) == 6.0
        assert [float(v) for _, v in lines] == [0, 1, 2]
        lines.clear()
    with pytest.raises(ValueError, match="vmap: io_callback .* is ordered"):
        fg.vmap(f)(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"vmap: debug.callback or debug.print .* is ordered"):
        fg.vmap(lambda x: fg.debug.print("{}", x, ordered=True))(jnp.ones(2))
    with pytest.raises(ValueError, match="io_callback: .* cannot be differentiated"):
        fg.grad(f)(jnp.ones(3))
    unordered = lambda x: io_callback(lambda v: np.asarray(v) + 1, x, x)
    np.testing.assert_allclose(fg.jit(fg.vmap(unordered))(jnp.arange(3.0)), [1, 2, 3])


def factors_known(x):
    n = 0
    while n < 4 and float(fg.lax.stop_gradient(x)) < 9.0:
        x, n = jnp.sin(x) * (n + 2.0) + x, n + 1
    return x


def test_results_of_io_callback_in_a_loop_are_kept_for_its_derivative():
    calls = []

    def f(x, checkpoint=False):
        def body(c):
            n, v = c
            read = lambda i: calls.append(int(i)) or np.float32(i + 2)
            own = io_callback(read, fg.ShapeDtypeStruct((), np.float32), n, ordered=True)
            return n + 1, jnp.sin(v) * own + v

        going = lambda c: (c[0] < 4) & (c[1] < 9.0)
        return fg.lax.while_loop(going, body, (0, x), checkpoint=checkpoint)[1]

    expected = fg.grad(factors_known)(0.3)
    twice = fg.grad(fg.grad(factors_known))(0.3)
    scanned = lambda x: fg.lax.scan(lambda c, _: (0.1 * f(c), c), x, None, length=2)[0]
    known = lambda x: 0.1 * factors_known(0.1 * factors_known(x))
    f(jnp.float32(0.3))
    once = list(calls)
    assert once == list(range(len(once))) and len(once) > 2
    for transform in (fg.grad, lambda f: fg.jit(fg.grad(f)), lambda f: fg.grad(fg.jit(f)),
                      lambda f: fg.grad(fg.checkpoint(f))):  # fmt: skip
        for g in (f, lambda x: f(x, True)):
            calls.clear()
            np.testing.assert_allclose(transform(g)(0.3), expected, rtol=1e-5)
            assert calls == once
    calls.clear()
    np.testing.assert_allclose(fg.jit(fg.grad(fg.grad(f)))(0.3), twice, rtol=1e-4)
    assert calls == once
    calls.clear()
    np.testing.assert_allclose(fg.grad(scanned)(0.3), fg.grad(known)(0.3), rtol=1e-5)
    _, pull = fg.vjp(f, 0.3)
    for _ in range(2):  # what was read is there for every use of the derivative
        np.testing.assert_allclose(pull(1.0)[0], expected, rtol=1e-5)


def test_io_callback_in_a_loop_beside_constants_of_its_body():
    def f(w, x):
        def body(c):
            n, v = c
            shape = fg.ShapeDtypeStruct((), np.float32)
            own = io_callback(lambda i: np.float32(i + 2), shape, n, ordered=True)
            return n + 1, w * v * own

        return fg.lax.while_loop(lambda c: c[0] < 3, body, (0, x))[1]  # w**3 * x * 2 * 3 * 4

    np.testing.assert_allclose(fg.grad(f, 1)(0.5, 0.3), 24 * 0.5**3, rtol=1e-6)
    found = fg.grad(f, (0, 1))(0.5, 0.3)
    np.testing.assert_allclose(found, (3 * 24 * 0.5**2 * 0.3, 24 * 0.5**3), rtol=1e-6)


def test_lanes_of_io_callback_in_a_loop():
    def f(x, trips):
        def body(c):
            own = io_callback(
                lambda v: np.asarray(v) * 2, fg.ShapeDtypeStruct((), np.float32),
                fg.lax.stop_gradient(c[1]),
            )  # fmt: skip
            return c[0] + 1, c[1] * own

        return fg.lax.while_loop(lambda c: c[0] < trips, body, (0, x))[1]

    x = jnp.asarray([0.5, 1.5])
    rows = fg.vmap(fg.grad(f), in_axes=(0, None))(x, 2)  # x -> 2 x^2 -> 8 x^4, factors fixed
    np.testing.assert_allclose(rows, [float(fg.grad(f)(v, 2)) for v in x], rtol=1e-6)
    trips = jnp.asarray([3, 1])
    for transform in (lambda f: f, fg.jit, fg.checkpoint):
        g = transform(f)
        rows = fg.vmap(fg.grad(g))(x, trips)
        expected = [fg.grad(g)(v, int(n)) for v, n in zip(x, trips)]
        np.testing.assert_allclose(rows, expected, rtol=1e-6)
    grid = jnp.asarray([[0.5, 1.5, -1.0], [2.0, 1.0, 0.5]])
    counts = jnp.asarray([[2, 0, 1], [1, 3, 2]])
    rows = fg.jit(fg.vmap(fg.vmap(fg.grad(f))))(grid, counts)
    expected = [[fg.grad(f)(v, int(n)) for v, n in zip(*row)] for row in zip(grid, counts)]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_a_loop_without_io_callback_opens_no_log():
    read = lambda: fg.pure_callback(lambda: np.float32(2), fg.ShapeDtypeStruct((), np.float32))
    opens = []
    for factor in (lambda: 2.0, read, lambda: io_callback(read, np.float32(2))):
        f = lambda x: fg.lax.while_loop(lambda c: c < 9.0, lambda c: c * factor(), x)
        opens.append("open_log" in str(fg.make_jaxpr(fg.grad(f))(1.0)))
    assert opens == [False, False, True]


def test_lanes_of_io_callback_in_a_loop_share_what_has_none():
    def f(x, w):
        def body(c):
            own = io_callback(np.dot, fg.ShapeDtypeStruct((), np.float32), w, w)
            return c[0] + 1, c[1] * own

        return fg.lax.while_loop(lambda c: c[0] < 2, body, (0, x))[1]

    w = jnp.asarray([0.5, 1.0])  # its product with itself is 1.25
    rows = fg.vmap(fg.grad(f), in_axes=(0, None))(jnp.asarray([0.5, 1.5]), w)
    np.testing.assert_allclose(rows, [1.25**2] * 2)


def test_io_callback_in_a_loop_is_called_once_per_lane_and_trip():
    calls = []

    def f(x, trips):
        def body(c):
            read = lambda n: calls.append(int(n)) or np.float32(len(calls) + 1)
            return c[0] + 1, c[1] * io_callback(read, fg.ShapeDtypeStruct((), np.float32), c[0])

        return fg.lax.while_loop(lambda c: c[0] < trips, body, (0, x))[1]

    x, trips = jnp.asarray([0.5, 1.5]), jnp.asarray([2, 1])
    for derivative, expected in (
        (fg.grad(f), [2 * 4, 3]),  # results are 2, 3 in the first trip, 4, 5 in the second
        (fg.grad(fg.grad(lambda x, n: f(x, n) ** 2)), [2 * 8**2, 2 * 3**2]),
    ):
        calls.clear()
        np.testing.assert_allclose(fg.vmap(derivative)(x, trips), expected)
        assert calls == [0, 0, 1, 1]  # a lane that is done is called too, as in JAX


def test_io_callback_that_cannot_be_kept_is_refused(monkeypatch):
    def inner(c, _):
        return c * io_callback(lambda: 2.0, fg.ShapeDtypeStruct((), np.float32)), None

    nested = lambda c: fg.lax.scan(inner, c, None, length=1)[0]
    f = lambda x: fg.lax.while_loop(lambda c: c < 10.0, nested, x)
    assert float(fg.jit(f)(1.0)) == 16.0
    with pytest.raises(TypeError, match="io_callback in it must happen only once"):
        fg.grad(f)(1.0)
    monkeypatch.setattr(replay, "ROOM", 2)
    direct = lambda x: fg.lax.while_loop(lambda c: c < 10.0, lambda c: inner(c, None)[0], x)
    pulls = [fg.vjp(direct, 1.0)[1] for _ in range(2)]
    assert float(pulls[1](1.0)[0]) == 16.0
    with pytest.raises(RuntimeError, match="no longer there, since later loops needed the room"):
        pulls[0](1.0)


# ---- exceptions ---------------------------------------------------------------------------------


class Wrong(Exception):
    pass


def fail(v):
    raise Wrong("no value for that")


def frames_of(error):
    """Names of the functions in its traceback, of which ours must say that they are hidden."""
    tb, names = error.__traceback__, []
    while tb is not None:
        if not tb.tb_frame.f_locals.get("__tracebackhide__"):
            names.append(tb.tb_frame.f_code.co_name)
            assert not is_ours(tb.tb_frame.f_code.co_filename)
        tb = tb.tb_next
    return names


FAILING = {
    "pure": lambda x: fg.pure_callback(fail, x, x, vmap_method="sequential") * 2,
    "io": lambda x: io_callback(fail, x, x) * 2,
    "debug": lambda x: (fg.debug.callback(fail, x), x * 2)[1],
    "scan": lambda x: fg.lax.scan(lambda c, _: (FAILING["pure"](c), None), x, None, length=3)[0],
    "while": lambda x: fg.lax.while_loop(lambda c: c < 9, FAILING["debug"], x),
    "cond": lambda x: fg.lax.cond(x < 9, FAILING["io"], lambda v: v, x),
    "checkpoint": lambda x: fg.checkpoint(FAILING["pure"])(x),
}


@pytest.mark.parametrize("transform", ["eager", "jit", "vmap", "jit vmap"])
@pytest.mark.parametrize("name", FAILING)
def test_exceptions_surface_at_the_call_with_the_users_frames(name, transform):
    f = FAILING[name]
    for t in reversed(transform.split()):
        f = f if t == "eager" else getattr(fg, t)(f)
    x = jnp.ones(2) if "vmap" in transform else jnp.float32(1)
    with pytest.raises(Wrong, match="no value for that") as caught:
        f(x)
    names = frames_of(caught.value)
    assert names[-1] == "fail"
    assert "test_exceptions_surface_at_the_call_with_the_users_frames" in names
    fg.effects_barrier()
    assert float(fg.jit(lambda v: v + 1)(1.0)) == 2.0  # the machine is still fit


def test_callbacks_may_call_compiled_programs():
    inner = fg.jit(lambda v: jnp.sin(v) * 2)
    outer = fg.jit(lambda x: fg.pure_callback(lambda v: inner(v), x, x) + 1)
    assert float(outer(0.5)) == pytest.approx(2 * np.sin(0.5) + 1)


def test_a_callback_sees_warnings_and_configuration_of_its_caller():
    with pytest.warns(RuntimeWarning):
        fg.jit(lambda x: fg.pure_callback(lambda v: np.log(np.asarray(v)), x, x))(-1.0)
