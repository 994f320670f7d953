"""Edges that rows of the table do not reach: mixed types, nothing to compute, exact zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad import lax
from funcgrad.primitives.dynamic_slice import dynamic_slice_p
from funcgrad.primitives.slicing import pad_p, slice_p

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.oracle


def drawn(*shape: int, dtype: Any = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def agree(build: Any, *args: np.ndarray, tolerance: float = 1e-2) -> None:
    """Value, gradients and tangents are jax's, in values and dtypes."""
    found = []
    for lib in (fg, jax):
        operands = [lib.numpy.asarray(a) for a in args]
        f = lambda *xs, lib=lib: build(lib)(*xs)
        out, pull = lib.vjp(f, *operands)
        ct = lib.numpy.ones(out.shape, out.dtype)
        found.append([out, *pull(ct), lib.jvp(f, tuple(operands), tuple(operands))[1]])
    for ours, theirs in zip(*found, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        a, b = (np.asarray(v).astype(np.float64) for v in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_products_of_narrow_operands_in_float32(narrow: str) -> None:
    numbers = (((2,), (1,)), ((0,), (0,)))
    build = lambda lib: (
        lambda x, y: lib.lax.dot_general(x, y, numbers, preferred_element_type=np.float32)
    )
    x, y = drawn(2, 3, 4), drawn(2, 4, 5, seed=1)
    agree(build, *(np.asarray(jax.numpy.asarray(v, narrow)) for v in (x, y)))


def test_products_of_float32_in_float64() -> None:
    with jax.enable_x64(True), fg.enable_x64():
        build = lambda lib: (
            lambda x, y: lib.lax.dot_general(
                x, y, (((1,), (0,)), ((), ())), preferred_element_type=np.float64
            )
        )
        agree(build, drawn(2, 3), drawn(3, 4, seed=1), tolerance=1e-5)


@pytest.mark.parametrize(
    "x, w, padding",
    [
        ((2, 3, 5), (4, 3, 2), [(0, 0)]),
        ((2, 3, 1), (4, 3, 2), [(0, 0)]),  # no window fits
        ((0, 3, 5), (4, 3, 2), [(0, 0)]),
        ((2, 0, 5), (4, 0, 2), [(0, 0)]),
        ((2, 3, 5), (0, 3, 2), [(1, 1)]),
        ((2, 3, 0), (4, 3, 2), [(2, 2)]),
    ],
    ids=str,
)
def test_convolutions_of_little_or_nothing(x: Any, w: Any, padding: Any) -> None:
    build = lambda lib: lambda a, b: lib.lax.conv_general_dilated(a, b, (1,), padding)
    agree(build, drawn(*x), drawn(*w, seed=1), tolerance=1e-5)


@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_convolutions_of_narrow_operands_in_float32(narrow: str) -> None:
    build = lambda lib: (
        lambda a, b: lib.lax.conv_general_dilated(
            a, b, (2,), [(1, 0)], preferred_element_type=np.float32
        )
    )
    args = (
        np.asarray(jax.numpy.asarray(v, narrow)) for v in (drawn(2, 3, 7), drawn(4, 3, 2, seed=1))
    )
    if narrow == "float16":  # jax's own transpose refuses mixed types
        x, w = (jnp.asarray(a) for a in args)
        f = build(fg)
        gx, gw = fg.vjp(f, x, w)[1](jnp.ones(f(x, w).shape))
        wide = fg.vjp(f, x.astype("float32"), w.astype("float32"))[1](jnp.ones(f(x, w).shape))
        assert gx.dtype == gw.dtype == np.float16
        np.testing.assert_allclose(np.asarray(gx, np.float32), wide[0], rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(np.asarray(gw, np.float32), wide[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "name, slope",
    [("abs", 0.0), ("sign", 0.0), ("bessel_i1e", 0.5), ("bessel_i0e", 0.0), ("integer_pow", 0.0)],
)
def test_derivatives_at_exactly_zero(name: str, slope: float) -> None:
    function = getattr(lax, name)
    f = (lambda x: function(x, 2)) if name == "integer_pow" else function
    assert float(fg.grad(lambda x: f(x))(0.0)) == slope
    assert np.isfinite(float(fg.grad(fg.grad(lambda x: f(x)))(0.0)))


def test_powers_zero_and_one_at_zero() -> None:
    assert [float(fg.grad(lambda x, n=n: lax.integer_pow(x, n))(0.0)) for n in (0, 1)] == [0, 1]


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_slopes_of_polygamma_are_the_next_order(order: int) -> None:
    x, step = jnp.asarray([0.4, 1.5, 3.0], "float64"), 1e-5
    f = lambda x: lax.polygamma(jnp.full(3, float(order), "float64"), x)
    expected = (f(x + step) - f(x - step)) / (2 * step)
    np.testing.assert_allclose(fg.jvp(f, (x,), (jnp.ones_like(x),))[1], expected, rtol=1e-6)


def test_ties_of_two_share() -> None:
    for function in (lax.max, lax.min):
        slopes = fg.grad(lambda a, b, f=function: f(a, b), (0, 1))(2.0, 2.0)
        assert [float(s) for s in slopes] == [0.5, 0.5]
    for name in ("max", "min"):
        slope = fg.grad(getattr(jnp, name))(jnp.asarray([2.0, 2.0, 2.0, 2.0]))
        np.testing.assert_array_equal(slope, np.full(4, 0.25))


def test_no_lanes_at_all() -> None:
    """Mapped over nothing, operations keep their shapes."""
    x, i = jnp.ones((0, 4)), jnp.ones((0, 2), "int32")
    for f, shape in (
        (lambda v, k: v[k], (0, 2)),
        (lambda v, k: v.at[k].add(1.0), (0, 4)),
        (lambda v, k: lax.dynamic_slice(v, (k[0],), (2,)), (0, 2)),
        (lambda v, k: lax.dynamic_update_slice(v, v[:2], (k[1],)), (0, 4)),
        (lambda v, k: jnp.take_along_axis(v, k, 0), (0, 2)),
        (lambda v, k: jnp.sort(v) @ v, (0,)),
    ):
        assert fg.vmap(f)(x, i).shape == shape == fg.jit(fg.vmap(f))(x, i).shape
        assert fg.grad(lambda v, f=f: fg.vmap(f)(v, i).sum())(x).shape == (0, 4)


def test_extremes_share_at_ties_and_keep_order() -> None:
    x = jnp.asarray([1.0, 3.0, 3.0, 2.0, 3.0])
    ours = fg.jacrev(lambda v: lax.cummax(v, 0))(x)
    np.testing.assert_allclose(ours.sum(1), np.ones(5), rtol=1e-6)
    np.testing.assert_allclose(ours[4], [0, 1 / 3, 1 / 3, 0, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(fg.jacrev(lambda v: lax.cummin(v, 0))(-x), ours, rtol=1e-6)
    np.testing.assert_allclose(fg.jacfwd(lambda v: lax.cummax(v, 0))(x), ours, rtol=1e-6)


def test_running_logsumexp_at_infinities() -> None:
    x = jnp.asarray([-np.inf, -np.inf, 0.0, 1.0])
    out = lax.cumlogsumexp(x, 0)
    np.testing.assert_allclose(out, jax.lax.cumlogsumexp(np.asarray(x), 0), rtol=1e-6)
    np.testing.assert_allclose(
        fg.grad(lambda v: lax.cumlogsumexp(v, 0)[3])(x)[2:],
        jax.nn.softmax(np.asarray([0.0, 1.0])),
        rtol=1e-6,
    )


def test_lanes_that_read_one_operand_promise_nothing() -> None:
    """Indices that are sorted and differ within each lane need not over all of them."""
    numbers = lax.GatherDimensionNumbers((), (0,), (0,))
    promises = {"unique_indices": True, "indices_are_sorted": True}
    read = lambda x, i: lax.gather(x, i, numbers, (1,), **promises)
    x, indices = jnp.arange(3.0), jnp.array([[[0], [2]], [[0], [1]]])
    lanes = fg.make_jaxpr(fg.vmap(read, (None, 0)))(x, indices)
    (gather,) = [e for e in lanes.eqns if e.primitive.name == "gather"]
    assert not any(gather.params[name] for name in promises)
    slope = fg.grad(lambda x: fg.vmap(read, (None, 0))(x, indices).sum())(x)
    np.testing.assert_array_equal(slope, [2, 1, 1])


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_gather_where_there_are_no_lanes(jitted: bool) -> None:
    read = fg.vmap(lambda x, i: x[i])
    x, indices = jnp.zeros((0, 3)), jnp.zeros((0, 2), "int32")
    slope = fg.grad(lambda x: read(x, indices).sum())
    for function, shape in ((lambda x: read(x, indices), (0, 2)), (slope, (0, 3))):
        assert (fg.jit(function) if jitted else function)(x).shape == shape


def test_starts_of_several_dtypes_are_refused() -> None:
    starts = jnp.zeros((), "int32"), jnp.zeros((), "int8")
    with pytest.raises(TypeError, match="dynamic_slice: starts must have equal dtypes"):
        fg.jit(lambda x: dynamic_slice_p.bind(x, *starts, slice_sizes=(1, 1)))(jnp.ones((2, 2)))


def test_padding_of_another_dtype_names_both_in_order() -> None:
    with pytest.raises(TypeError, match="pad: .* float32 and int32"):
        pad_p.bind(jnp.ones(2), jnp.zeros((), "int32"), padding_config=((1, 1, 0),))


@pytest.mark.parametrize("field", ["offset_dims", "collapsed_slice_dims", "start_index_map"])
@pytest.mark.parametrize("dims", [(-1,), (2,), (0, 0)], ids=str)
def test_gather_names_the_dimensions_that_are_wrong(field: str, dims: Any) -> None:
    fields = {"offset_dims": (), "collapsed_slice_dims": (0,), "start_index_map": (0,)}
    numbers = lax.GatherDimensionNumbers(**{**fields, field: dims})
    indices = jnp.zeros((2, len(numbers.start_index_map)), "int32")
    with pytest.raises(ValueError, match=f"gather: {field} must be different"):
        fg.eval_shape(lambda x, i: lax.gather(x, i, numbers, (1,)), jnp.ones(3), indices)


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize(
    "start, limit",
    [((0, 0), (4, 4)), ((0, 0), (3, 5)), ((2, 0), (1, 4)), ((-1, 2), (3, 4)), ((0, -2), (3, 4))],
    ids=str,
)
def test_slices_stay_inside(start: Any, limit: Any, jitted: bool) -> None:
    cut = lambda x: lax.slice(x, start, limit)
    with pytest.raises(ValueError, match="slice: needs 0 <= start <= limit <= size"):
        (fg.jit(cut) if jitted else cut)(jnp.ones((3, 4)))


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_slices_name_every_dimension(jitted: bool) -> None:
    cut = lambda x: slice_p.bind(x, start_indices=(0,), limit_indices=(2,), strides=None)
    with pytest.raises(ValueError, match="slice: needs a start, limit and stride for each"):
        (fg.jit(cut) if jitted else cut)(jnp.ones((3, 4)))


SCATTERS = {
    "inserted_window_dims": [(-1,), (2,), (0, 0), (1, 0)],
    "scatter_dims_to_operand_dims": [(-1,), (2,), (0, 0)],
    "update_window_dims": [(-1,), (3,), (1, 1), (1, 0)],
}


@pytest.mark.parametrize("field, dims", [(f, d) for f, ds in SCATTERS.items() for d in ds], ids=str)
def test_scatter_names_the_dimensions_that_are_wrong(field: str, dims: Any) -> None:
    fields = dict.fromkeys(SCATTERS, (0,))
    numbers = lax.ScatterDimensionNumbers(**{**fields, "update_window_dims": (1,), field: dims})
    indices = jnp.zeros((2, len(numbers.scatter_dims_to_operand_dims)), "int32")
    write = lambda x, u: lax.scatter(x, indices, u, numbers)
    with pytest.raises(ValueError, match=f"scatter: {field} must be different"):
        fg.eval_shape(write, jnp.ones((3, 4)), jnp.ones((2, 4)))


def test_updates_larger_than_the_operand_are_refused() -> None:
    numbers = lax.ScatterDimensionNumbers((1,), (0,), (0,))
    write = lambda x, u: lax.scatter(x, jnp.zeros((2, 1), "int32"), u, numbers)
    with pytest.raises(ValueError, match="scatter: updates of shape .2, 5. do not fit"):
        fg.eval_shape(write, jnp.ones((3, 4)), jnp.ones((2, 5)))


@pytest.mark.parametrize(
    "old, new, slope", [(2.0, 2.0, 3.0), (1.0, np.nan, 5.0), (np.nan, 1.0, 1.0), (3.0, 2.0, 1.0)]
)
@pytest.mark.parametrize("scatter", [lax.scatter_max, lax.scatter_min])
def test_what_is_kept_brings_its_derivative(
    scatter: Any, old: float, new: float, slope: float
) -> None:
    """Ties share; NaN is kept, and nothing beside it."""
    sign = 1 if scatter is lax.scatter_max else -1
    numbers = lax.ScatterDimensionNumbers((), (0,), (0,))
    write = lambda x, u: scatter(x, jnp.array([[1]]), u, numbers)
    x, u = sign * jnp.array([7.0, old]), sign * jnp.array([new])
    _, tangent = fg.jvp(write, (x, u), (jnp.array([4.0, 1.0]), jnp.array([5.0])))
    np.testing.assert_array_equal(tangent, [4.0, slope])


def test_factors_that_are_scattered_are_linear() -> None:
    numbers = lax.ScatterDimensionNumbers((), (0,), (0,))
    x, indices = jnp.array([2.0, 3.0, 5.0]), jnp.array([[2], [0]])
    write = lambda u: lax.scatter_mul(x, indices, u, numbers, unique_indices=True)
    (found,) = fg.linear_transpose(write, jnp.ones(2))(jnp.array([10.0, 100.0, 1000.0]))
    np.testing.assert_array_equal(found, [5000.0, 20.0])


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_parts_of_a_split_that_are_not_used(jitted: bool) -> None:
    slope = fg.grad(lambda x: lax.split(x, (1, 2, 1))[1].sum())
    found = (fg.jit(slope) if jitted else slope)(jnp.ones(4))
    np.testing.assert_array_equal(found, [0, 1, 1, 0])
