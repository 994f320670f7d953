"""Convolutions and pooling against jax, torch and plain loops, over generated options."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import funcgrad
import funcgrad.lax as lax
import funcgrad.numpy as jnp

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # float64 sums of some hundred products


# ---- a reference that nobody could get wrong ----------------------------------------------------


def convolve_by_loops(x, w, strides, pads, dilations, groups):
    """(N, C, H, W) with (O, I, h, w), by the definition."""
    x = np.pad(x, ((0, 0), (0, 0), *pads))
    n, channels = x.shape[:2]
    outputs, inputs, *taps = w.shape
    sizes = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, d, s in zip(x.shape[2:], taps, dilations, strides, strict=True)
    ]
    out = np.zeros((n, outputs, *sizes))
    for b, o, i, j in itertools.product(range(n), range(outputs), *map(range, sizes)):
        first = o // (outputs // groups) * inputs
        for c, p, q in itertools.product(range(inputs), *map(range, taps)):
            row, column = i * strides[0] + p * dilations[0], j * strides[1] + q * dilations[1]
            out[b, o, i, j] += x[b, first + c, row, column] * w[o, c, p, q]
    return out


IMAGES = [  # (input, kernel, strides, padding, dilation, groups)
    ((2, 3, 5, 8), (4, 3, 3, 2), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 7, 6), (4, 3, 2, 3), (2, 3), (1, 2), (1, 1), 1),  # strides that do not divide
    ((1, 2, 9, 7), (3, 2, 3, 2), (2, 1), (2, 1), (2, 3), 1),
    ((2, 4, 6, 5), (6, 2, 3, 1), (2, 2), (1, 0), (1, 1), 2),
    ((2, 3, 6, 5), (6, 1, 2, 3), (1, 2), (1, 1), (2, 1), 3),
]


@pytest.mark.parametrize("x, w, strides, padding, dilation, groups", IMAGES)
def test_d3_conv_gradients_match_loops_and_torch(x, w, strides, padding, dilation, groups) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w, bias = rng.normal(size=x), rng.normal(size=w), rng.normal(size=w[0])
    pads = [(p, p) for p in padding]

    def layer(x, w, bias):
        out = lax.conv_general_dilated(
            x, w, strides, pads, rhs_dilation=dilation, feature_group_count=groups
        )
        return out + bias[:, None, None]

    with funcgrad.enable_x64(True):
        out, pull = funcgrad.vjp(layer, *map(jnp.asarray, (x, w, bias)))
        ct = rng.normal(size=out.shape)
        gradients = [np.asarray(g) for g in pull(jnp.asarray(ct))]
    expected = convolve_by_loops(x, w, strides, pads, dilation, groups) + bias[:, None, None]
    np.testing.assert_allclose(out, expected, **EXACT)
    leaves = [torch.tensor(v, requires_grad=True) for v in (x, w, bias)]
    theirs = torch.nn.functional.conv2d(
        *leaves, stride=strides, padding=padding, dilation=dilation, groups=groups
    )
    theirs.backward(torch.tensor(ct))
    for ours, leaf in zip(gradients, leaves, strict=True):
        assert np.abs(ours).max() > 0
        np.testing.assert_allclose(ours, leaf.grad.numpy(), **EXACT)


# ---- every option, against jax -----------------------------------------------------------------


@st.composite
def convolutions(draw):
    """Shapes and options that fit each other."""
    n = draw(st.integers(0, 3))
    groups = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]))
    small = st.integers(1, 3)
    inputs, per_group = draw(small), draw(small)
    batch = groups[1] * draw(st.integers(1, 2))
    each = lambda strategy: tuple(draw(strategy) for _ in range(n))
    sizes, taps = each(st.integers(1, 6)), each(small)
    options = {
        "window_strides": each(small),
        "padding": each(st.tuples(st.integers(-1, 3), st.integers(-1, 3))),
        "lhs_dilation": each(st.sampled_from([1, 1, 2, 3])),
        "rhs_dilation": each(st.sampled_from([1, 1, 2])),
        "feature_group_count": groups[0],
        "batch_group_count": groups[1],
    }
    if max(options["lhs_dilation"], default=1) == 1 and draw(st.booleans()):
        options["padding"] = draw(st.sampled_from(["SAME", "VALID", "SAME_LOWER"]))
    specs = tuple(tuple(draw(st.permutations(range(n + 2)))) for _ in range(3))
    shapes = []
    lhs, rhs = (
        (batch, groups[0] * inputs, *sizes),
        (groups[0] * groups[1] * per_group, inputs, *taps),
    )
    for spec, extents in zip(specs[:2], (lhs, rhs), strict=True):
        shape = [0] * (n + 2)
        for d, size in zip(spec, extents, strict=True):
            shape[d] = size
        shapes.append(tuple(shape))
    return shapes, specs, options


def compare_with_jax(shapes, ours, theirs) -> None:
    """Value, both gradients, forward mode and second order of a function of two arrays."""
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    operands = [rng.normal(size=shape) for shape in shapes]
    tangents = [rng.normal(size=shape) for shape in shapes]
    with jax.enable_x64(True), funcgrad.enable_x64(True):
        try:
            out, pull = jax.vjp(theirs, *operands)
            ct = rng.normal(size=out.shape)
            gradients = pull(ct)
        except (ValueError, TypeError):
            return  # shapes that jax refuses: not a convolution
        here, pull_here = funcgrad.vjp(ours, *map(jnp.asarray, operands))
        np.testing.assert_allclose(here, out, **EXACT)
        for mine, other in zip(pull_here(jnp.asarray(ct)), gradients, strict=True):
            np.testing.assert_allclose(mine, other, **EXACT)
        _, dot = funcgrad.jvp(ours, tuple(operands), tuple(tangents))
        np.testing.assert_allclose(
            dot, jax.jvp(theirs, tuple(operands), tuple(tangents))[1], **EXACT
        )

        def second(library, function):
            def gradient(x, y):
                return library.vjp(function, x, y)[1](library.numpy.asarray(ct))

            _, pull = library.vjp(gradient, *map(library.numpy.asarray, operands))
            return pull(tuple(map(library.numpy.asarray, tangents)))

        for mine, other in zip(second(funcgrad, ours), second(jax, theirs), strict=True):
            np.testing.assert_allclose(mine, other, **EXACT)


@settings(max_examples=30)
@given(convolutions())
def test_convolution_is_jaxs(case) -> None:
    jax = pytest.importorskip("jax")
    shapes, specs, options = case
    ours = lax.ConvDimensionNumbers(*specs)
    theirs = jax.lax.ConvDimensionNumbers(*specs)
    compare_with_jax(
        shapes,
        lambda x, w: lax.conv_general_dilated(x, w, dimension_numbers=ours, **options),
        lambda x, w: jax.lax.conv_general_dilated(x, w, dimension_numbers=theirs, **options),
    )


@pytest.mark.parametrize("numbers", [None, ("NHWC", "HWIO", "NHWC"), ("CNHW", "IHWO", "HWNC")])
def test_dimension_numbers_as_strings(numbers) -> None:
    jax = pytest.importorskip("jax")
    x, w = np.ones((2, 4, 5, 6), "float32"), np.ones((3, 4, 2, 2), "float32")
    ours = lax.conv_dimension_numbers(x.shape, w.shape, numbers)
    assert tuple(ours) == tuple(jax.lax.conv_dimension_numbers(x.shape, w.shape, numbers))


@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": "SAME"},
        {"padding": "VALID"},
        {"padding": ((1, 0), (2, 1))},
        {"padding": ((1, 0), (1, 1)), "use_consistent_padding": True},
        {"padding": "SAME", "rhs_dilation": (2, 1)},
        {"padding": "VALID", "transpose_kernel": True},
    ],
)
def test_conv_transpose_is_jaxs(strides, options) -> None:
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 5, 6, 3)), rng.normal(size=(3, 2, 3, 4))
    if options.get("transpose_kernel"):
        w = w.swapaxes(2, 3)
    x, w = x.astype("float32"), w.astype("float32")
    expected = jax.lax.conv_transpose(x, w, strides, **options)
    np.testing.assert_allclose(
        lax.conv_transpose(x, w, strides, **options), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("numbers", [None, ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NHWC")])
@pytest.mark.parametrize(
    "options", [{"padding": "SAME"}, {"padding": ((1, 0), (2, -1)), "lhs_dilation": (2, 1),
                                      "rhs_dilation": (1, 2)}]
)  # fmt: skip
def test_patches_are_jaxs(numbers, options) -> None:
    jax = pytest.importorskip("jax")
    x = np.arange(180, dtype="float32").reshape(2, 3, 5, 6)
    options = {"dimension_numbers": numbers, **options}
    ours, theirs = (
        library.conv_general_dilated_patches(x, (2, 2), (1, 2), **options)
        for library in (lax, jax.lax)
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "shape, kernel, options, strategy",
    [
        ((40, 28, 28, 8), (3, 3, 8, 16), {}, "several blocks of windows"),
        ((2, 200, 200, 16), (3, 3, 16, 8), {}, "rows cut into blocks"),
        ((9, 40, 40, 16), (3, 3, 16, 4), {"padding": "SAME"}, "products scattered"),
        ((9, 40, 40, 24), (3, 3, 1, 24), {"feature_group_count": 24}, "depthwise"),
    ],
)
def test_large_arrays_go_block_by_block(shape, kernel, options, strategy) -> None:
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=shape).astype("float32"), rng.normal(size=kernel).astype("float32")
    options = {"padding": "VALID", "dimension_numbers": ("NHWC", "HWIO", "NHWC"), **options}

    def both(library):
        return library.vjp(
            lambda x, w: library.lax.conv_general_dilated(x, w, (1, 1), **options), x, w
        )

    (ours, pull), (theirs, pull_theirs) = both(funcgrad), both(jax)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    ct = rng.normal(size=theirs.shape).astype("float32")
    for mine, other in zip(pull(jnp.asarray(ct)), pull_theirs(ct), strict=True):
        # Up to 80 000 products of unit size are summed in another order.
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    "shapes, options, message",
    [
        (((1, 3, 8, 8), (4, 2, 3, 3)), {}, "3 features must be the kernel's 2 times"),
        (((1, 3, 8, 8), (4, 3, 3)), {}, "same rank"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"window_strides": (1,)}, "window_strides needs one entry"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"padding": [(1, 1)]}, r"needs one \(low, high\) pair"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"padding": "ODD"}, "SAME_LOWER"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"padding": [(-9, 0), (0, 0)]}, "cuts off more"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"padding": [(-4, -5), (0, 0)]}, "cuts off more"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"feature_group_count": 0}, "at least 1"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"batch_group_count": 0}, "at least 1"),
        (
            ((2, 4, 8, 8), (4, 2, 3, 3)),
            {"feature_group_count": 2, "batch_group_count": 2},
            "only one of the two",
        ),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"lhs_dilation": (2, 2)}, "conv_transpose"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"dimension_numbers": ("NCHW", "OIH", "NCHW")}, "letters"),
        (((1, 4, 8, 8), (3, 2, 3, 3)), {"feature_group_count": 2}, "must divide"),
        (((3, 4, 8, 8), (4, 4, 3, 3)), {"batch_group_count": 2}, "batch size 3"),
    ],
)
def test_messages(shapes, options, message) -> None:
    options = {"window_strides": (1, 1), "padding": "SAME", **options}
    with pytest.raises(ValueError, match=f"(?s)^(conv_general_dilated: |padding must).*{message}"):
        lax.conv_general_dilated(*map(jnp.ones, shapes), **options)


# ---- window reductions -------------------------------------------------------------------------


@st.composite
def windows(draw):
    n = draw(st.integers(1, 3))
    small = st.integers(1, 3)
    each = lambda strategy: tuple(draw(strategy) for _ in range(n))
    options = {"window_dimensions": each(small), "window_strides": each(small)}
    if draw(st.booleans()):
        options["base_dilation"] = each(st.integers(1, 2))
        options["window_dilation"] = each(st.integers(1, 2))
    names = st.sampled_from(["SAME", "VALID", "SAME_LOWER"])
    pairs = st.just(each(st.tuples(st.integers(0, 2), st.integers(0, 2))))
    options["padding"] = draw(st.one_of(names, pairs))
    return each(st.integers(1, 7)), options, draw(st.booleans())


MONOIDS = {
    "max": (lambda m: m.max, -np.inf),
    "min": (lambda m: m.min, np.inf),
    "add": (lambda m: m.add, 0.0),
    "mul": (lambda m: m.mul, 1.0),
    "max from 1": (lambda m: m.max, 1.0),
    "add from 1": (lambda m: m.add, 1.0),
    "other": (lambda m: lambda a, b: a * b + a + b, 0.0),
}


@pytest.mark.parametrize("monoid", MONOIDS)
@settings(max_examples=15)
@given(windows())
def test_reduce_window_is_jaxs(monoid, case) -> None:
    jax = pytest.importorskip("jax")
    shape, options, ties = case
    pick, init = MONOIDS[monoid]
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 3, shape) if ties else rng.normal(size=shape)).astype("float32")
    theirs = lambda x: jax.lax.reduce_window(x, np.float32(init), pick(jax.lax), **options)
    ours = lambda x: lax.reduce_window(x, init, pick(lax), **options)
    expected = theirs(x)
    np.testing.assert_allclose(ours(x), expected, rtol=1e-5, atol=1e-5)
    try:
        _, pull = jax.vjp(theirs, x)
        ct = rng.normal(size=expected.shape).astype("float32")
        (gradient,) = pull(ct)
    except (ValueError, TypeError, NotImplementedError):
        return  # jax differentiates some of these only
    (mine,) = funcgrad.vjp(ours, jnp.asarray(x))[1](jnp.asarray(ct))
    np.testing.assert_allclose(mine, gradient, rtol=1e-5, atol=1e-5)


def test_recognised_by_what_the_function_does() -> None:
    x = jnp.ones((4, 4))
    for function, name in [
        (lax.max, "reduce_window_max"), (jnp.maximum, "reduce_window_max"),
        (lambda a, b: a + b, "reduce_window_sum"), (lambda a, b: b + a, "reduce_window_sum"),
    ]:  # fmt: skip
        init = 0.0 if "sum" in name else -np.inf
        program = funcgrad.make_jaxpr(lambda x: lax.reduce_window(x, init, function, (2, 2)))(x)
        assert [eqn.primitive.name for eqn in program.eqns] == [name]


@pytest.mark.parametrize("padding, stride", [(0, 2), (1, 2), (1, 3)])
def test_max_pooling_gradients_match_torch(padding, stride) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 7, 8))
    pads = ((0, 0), (0, 0), (padding, padding), (padding, padding))

    def pool(x):
        return lax.reduce_window(x, -np.inf, lax.max, (1, 1, 3, 2), (1, 1, stride, stride), pads)

    with funcgrad.enable_x64(True):
        out, pull = funcgrad.vjp(pool, jnp.asarray(x))
        ct = rng.normal(size=out.shape)
        (gradient,) = pull(jnp.asarray(ct))
    leaf = torch.tensor(x, requires_grad=True)
    theirs = torch.nn.functional.max_pool2d(leaf, (3, 2), stride, padding)
    theirs.backward(torch.tensor(ct))
    np.testing.assert_array_equal(out, theirs.detach().numpy())
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), **EXACT)


def test_average_pooling_matches_torch() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 8)).astype("float32")
    shape, strides = (1, 1, 3, 2), (1, 1, 2, 2)

    def pool(x):
        return lax.reduce_window(x, 0.0, lax.add, shape, strides) / 6

    leaf = torch.tensor(x, requires_grad=True)
    theirs = torch.nn.functional.avg_pool2d(leaf, (3, 2), 2)
    np.testing.assert_allclose(pool(x), theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    theirs.sum().backward()
    gradient = funcgrad.grad(lambda x: jnp.sum(pool(x)))(jnp.asarray(x))
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-5)


def test_d33_padding_never_wins() -> None:
    x = -jnp.ones((3, 3))
    pooled = lax.reduce_window(x, -np.inf, lax.max, (2, 2), (2, 2), "SAME")
    np.testing.assert_array_equal(pooled, -np.ones((2, 2)))


def test_gradient_goes_to_the_first_of_equals_and_to_nan() -> None:
    def gradient(values):
        return funcgrad.grad(lambda x: jnp.sum(lax.reduce_window(x, -np.inf, lax.max, (4,), (4,))))(
            jnp.asarray(values, dtype="float32")
        )

    np.testing.assert_array_equal(gradient([1, 3, 3, 2]), [0, 1, 0, 0])
    np.testing.assert_array_equal(gradient([-np.inf] * 4), [1, 0, 0, 0])
    np.testing.assert_array_equal(gradient([1, np.nan, 5, np.nan]), [0, 1, 0, 0])


def test_trees_of_operands() -> None:
    x, y = jnp.arange(6.0), jnp.arange(6.0) * 2

    def combine(a, b):
        return {"sum": a["sum"] + b["sum"], "product": a["product"] * b["product"]}

    out = lax.reduce_window(
        {"sum": x, "product": y}, {"sum": 0.0, "product": 1.0}, combine, (2,), (2,)
    )
    np.testing.assert_array_equal(out["sum"], [1, 5, 9])
    np.testing.assert_array_equal(out["product"], [0, 24, 80])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"window_dimensions": (2,)}, "window_dimensions needs one entry"),
        ({"window_dimensions": (2, 0)}, "at least 1"),
        ({"window_dimensions": (2, 2), "init_value": np.zeros(2, "float32")}, "rank 0"),
    ],
)
def test_window_messages(options, message) -> None:
    options = {"init_value": 0.0, "computation": lax.add, **options}
    with pytest.raises(ValueError, match=f"^reduce_window: .*{message}"):
        lax.reduce_window(jnp.ones((3, 3)), **options)
