"""custom_gradient, closure_convert, linear_call, custom_vmap: under every transformation, as in
JAX.
"""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp


@pytest.fixture(scope="module")
def jax():
    return pytest.importorskip("jax")


# Each is a function of one vector to one scalar, for any library of JAX's form.


def clipped(lib, x):
    jnp = lib.numpy

    @lib.custom_gradient
    def f(x):
        y = jnp.sin(x)
        return y * x, lambda ct: ct * jnp.clip(y, -0.3, 0.3)

    return jnp.sum(f(x) * x)


def several_arguments(lib, x):
    jnp = lib.numpy

    @lib.custom_gradient
    def f(tree, k):
        out = {"s": tree["a"] * tree["b"], "k": k}
        return out, lambda ct: (
            {"a": ct["s"] * 3.0, "b": jnp.sum(jnp.cos(ct["s"]) * tree["a"])},
            k * 0.5,
        )

    out = f({"a": x, "b": x[0]}, x[1])
    return jnp.sum(out["s"]) * out["k"]


def converted_closure(lib, x):
    jnp = lib.numpy
    scale = jnp.tanh(x[0])
    converted, values = lib.closure_convert(lambda v: scale * v * x[1], x)

    @lib.jit
    def call(v, *values):
        return converted(v, *values)

    return jnp.sum(call(jnp.sin(x), *values))


def linear(lib, x):
    jnp = lib.numpy

    def forward(r, v):
        return {"out": v * r}

    def backward(r, ct):
        return 7.0 * ct["out"] * r  # the 7 shows that it was used

    call = lib.custom_derivatives.linear_call
    residual = lib.lax.stop_gradient(jnp.cos(x))
    return jnp.sum(call(forward, backward, residual, jnp.sin(x))["out"])


def vmap_rule(lib, x):
    jnp = lib.numpy

    @lib.custom_batching.custom_vmap
    def f(a, b):
        return jnp.sin(a) * b

    @f.def_vmap
    def rule(size, in_batched, a, b):
        a_batched, b_batched = in_batched
        out = jnp.sin(a) * b * 5.0  # the 5 shows that it was used
        return out, a_batched or b_batched

    return lib.vmap(f, in_axes=(0, None))(x, x[0]).sum() + lib.vmap(f)(x, x * x).sum()


def sequential(lib, x):
    f = lib.custom_batching.sequential_vmap(lambda a, b: lib.numpy.tanh(a) * b)
    return lib.vmap(f, in_axes=(0, None))(x, x[1]).sum()


PROGRAMS = (clipped, several_arguments, converted_closure, linear, vmap_rule, sequential)
STACKS = {
    "eager": lambda lib, f: f,
    "jit": lambda lib, f: lib.jit(f),
    "grad": lambda lib, f: lib.grad(f),
    "jit grad": lambda lib, f: lib.jit(lib.grad(f)),
    "grad jit": lambda lib, f: lib.grad(lib.jit(f)),
    "vmap": lambda lib, f: lib.vmap(f),
    "vmap jit": lambda lib, f: lib.vmap(lib.jit(f)),
    "vmap grad": lambda lib, f: lib.vmap(lib.grad(f)),
    "vmap jit grad": lambda lib, f: lib.vmap(lib.jit(lib.grad(f))),
    "jvp": lambda lib, f: lambda x: lib.jvp(f, (x,), (lib.numpy.cos(x),))[1],
    "checkpoint grad": lambda lib, f: lib.grad(lib.checkpoint(f)),
    "scan grad": lambda lib, f: lib.grad(
        lambda x: lib.lax.scan(lambda c, _: (c * f(x), c), 1.0, None, length=2)[0]
    ),
}
REVERSE_ONLY = (clipped, several_arguments)
COMPARED = [
    (program, name)
    for program in PROGRAMS
    for name in STACKS
    if not (name == "jvp" and program in REVERSE_ONLY)
]

# What jax does not differentiate in reverse, written without the custom function.
PLAIN = {
    vmap_rule: lambda lib, x: 5.0 * (lib.numpy.sin(x) * (x[0] + x * x)).sum(),
    sequential: lambda lib, x: (lib.numpy.tanh(x) * x[1]).sum(),
}


@pytest.mark.oracle
@pytest.mark.parametrize("program, name", COMPARED)
def test_agrees_with_jax(jax, program, name):
    x = np.linspace(0.3, 1.4, 6, dtype=np.float32).reshape(2, 3)
    x = x if "vmap" in name else x[0]
    got = STACKS[name](fg, lambda v: program(fg, v))(jnp.asarray(x))
    same = PLAIN.get(program, program) if "grad" in name else program
    expected = [
        STACKS[name.replace("vmap", "").strip() or "eager"](jax, lambda v: same(jax, v))(
            jax.numpy.asarray(row)
        )
        for row in x.reshape(-1, 3)  # jax has no vmap of linear_call
    ]
    np.testing.assert_allclose(got, np.reshape(expected, np.shape(got)), rtol=1e-5, atol=1e-6)


def test_custom_gradient_refuses_what_is_no_pair():
    with pytest.raises(TypeError, match=r"custom_gradient: .* must return a pair \(out, vjp"):
        fg.grad(fg.custom_gradient(lambda x: x))(1.0)
    with pytest.raises(TypeError, match="one cotangent for each of the 2 arguments"):
        fg.grad(fg.custom_gradient(lambda x, y: (x * y, lambda ct: ct)))(1.0, 2.0)


def test_closure_convert_returns_what_a_rule_needs():
    def f(x, n):
        converted, values = fg.closure_convert(lambda v: v * x * n, 2.0)
        assert len(values) == 1  # the integer stays where it is
        with pytest.raises(TypeError, match="structure"):
            converted((1.0, 2.0), *values)
        return converted(3.0, *values)

    assert float(fg.jit(fg.grad(f))(1.0, 2)) == 6.0
    assert fg.closure_convert(lambda v: v * 2.0, 1.0)[1] == []


def test_linear_call_transposes_twice_and_checks_types():
    def f(x):
        call = fg.custom_derivatives.linear_call
        return call(lambda r, v: v * 2.0, lambda r, ct: ct * 3.0, (), x)

    transposed = fg.linear_transpose(f, 1.0)
    assert float(transposed(1.0)[0]) == 3.0
    assert float(fg.linear_transpose(lambda ct: transposed(ct)[0], 1.0)(1.0)[0]) == 2.0
    call = fg.custom_derivatives.linear_call
    with pytest.raises(TypeError, match="linear_call: fun_transpose must return"):
        call(lambda r, v: v, lambda r, ct: (ct, ct), 1.0, 2.0)
    with pytest.raises(TypeError, match="respect to residual_args"):
        fg.grad(lambda r: call(lambda r, v: v * r, lambda r, ct: ct * r, r, 2.0))(1.0)


def test_custom_vmap_rules_see_what_is_mapped_and_are_checked():
    seen = []

    @fg.custom_batching.custom_vmap
    def f(tree, y):
        return {"out": tree["a"] + y}

    with pytest.raises(AttributeError, match="custom_vmap: f has no rule yet"):
        f({"a": 1.0}, 2.0)

    @f.def_vmap
    def rule(axis_size, in_batched, tree, y):
        seen.append((axis_size, in_batched))
        return {"out": tree["a"] + y}, {"out": True}

    out = fg.vmap(f, in_axes=({"a": None}, 1))({"a": 1.0}, jnp.ones((2, 3)))
    assert out["out"].shape == (3, 2) and seen == [(3, [{"a": False}, True])]
    f.def_vmap(lambda n, marks, tree, y: tree)
    with pytest.raises(TypeError, match=r"rule of f must return a pair"):
        fg.vmap(f)({"a": jnp.ones(2)}, jnp.ones(2))
    f.def_vmap(lambda n, marks, tree, y: (y, True))
    with pytest.raises(TypeError, match="must return the function's structure"):
        fg.vmap(f)({"a": jnp.ones(2)}, jnp.ones(2))
    f.def_vmap(lambda n, marks, tree, y: ({"out": y[0]}, True))
    with pytest.raises(TypeError, match=r"the rule must return f32\[2\], but returned f32\[\]"):
        fg.vmap(f)({"a": jnp.ones(2)}, jnp.ones(2))


def test_custom_vmap_with_mapped_closures_says_so():
    def outer(x):
        f = fg.custom_batching.custom_vmap(lambda y: x * y)
        f.def_vmap(lambda n, marks, y: (y, True))
        return f(2.0 * x)

    with pytest.raises(TypeError, match="closes over a value that vmap maps"):
        fg.vmap(outer)(jnp.ones(2))


def test_what_is_linear_is_mapped_before_it_is_transposed():
    """The backward rule of custom_vjp, mapped over cotangents, with residuals that are shared."""

    @fg.custom_vjp
    def f(x, y):
        return jnp.sin(x) * y

    f.defvjp(
        lambda x, y: (f(x, y), (x, y)),
        lambda kept, ct: (2 * jnp.cos(kept[0]) * kept[1] * ct, jnp.sin(kept[0]) * ct * kept[0]),
    )
    x, rows = jnp.array([1.0, 2.0, 3.0]), jnp.array([[1.0, -2.0, 0.5], [0.0, 1.0, 4.0]])
    _, push = fg.linearize(lambda x: f(x, x * x), x)
    (found,) = fg.linear_transpose(fg.vmap(push), rows)(rows)
    _, pull = fg.vjp(lambda x: f(x, x * x), x)
    np.testing.assert_allclose(found, np.stack([pull(row)[0] for row in rows]), rtol=1e-6)


def test_constants_of_a_custom_rule_come_before_its_residuals():
    @fg.jit
    def slope(scale, x):
        @fg.custom_vjp
        def f(x):
            return scale * x

        f.defvjp(lambda x: (f(x), x), lambda kept, ct: (ct * scale - kept,))
        return fg.grad(lambda x: f(x).sum())(x)

    np.testing.assert_array_equal(slope(3.0, jnp.array([1.0, 7.0])), [2.0, -4.0])


def test_results_of_a_linear_call_that_no_lane_changes():
    forward = lambda r, v: (r * v, jnp.zeros(2))
    backward = lambda r, ct: r * ct[0]
    call = lambda v: fg.custom_derivatives.linear_call(forward, backward, 3.0, v)
    x = jnp.array([[1.0, 2.0], [5.0, 7.0], [0.0, 1.0]])
    product, zeros = fg.vmap(call)(x)
    np.testing.assert_array_equal(product, 3 * x)
    np.testing.assert_array_equal(zeros, np.zeros((3, 2)))


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_a_map_of_its_own_is_differentiated_too(jitted):
    """Outside of maps the function holds, within them its rule, here five times as large."""

    @fg.custom_batching.custom_vmap
    def f(a, b, n):
        return jnp.sin(a) * b, n + 1

    @f.def_vmap
    def rule(size, in_batched, a, b, n):
        assert in_batched[0] and n.ndim == 0
        return (jnp.sin(a) * b * 5.0, n + 1), (True, False)

    a, b, da, db = 0.5, 2.0, 3.0, 7.0
    compiled = fg.jit if jitted else (lambda g: g)
    count, value, tangent = compiled(
        lambda a, b: (f(a, b, 1)[1], *fg.jvp(lambda a, b: f(a, b, 1)[0], (a, b), (da, db)))
    )(a, b)
    np.testing.assert_allclose(value, np.sin(a) * b, rtol=1e-6)
    assert int(count) == 2
    np.testing.assert_allclose(tangent, np.cos(a) * b * da + np.sin(a) * db, rtol=1e-6)
    slope = compiled(fg.grad(lambda b: f(a, b, 1)[0]))(b)
    np.testing.assert_allclose(slope, np.sin(a), rtol=1e-6)
    rows, both = np.float32([0.1, 0.5, 2.0]), lambda a, b: f(a, b, 1)[0]
    lanes = fg.vmap(lambda a, b: fg.jvp(both, (a, b), (da, db)), (0, None))
    values, tangents = compiled(lanes)(rows, b)
    np.testing.assert_allclose(values, 5 * np.sin(rows) * b, rtol=1e-6)
    expected = 5 * (np.cos(rows) * b * da + np.sin(rows) * db)
    np.testing.assert_allclose(tangents, expected, rtol=1e-5)
