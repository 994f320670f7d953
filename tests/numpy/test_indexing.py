"""x[...] and x.at[...]: NumPy is the oracle in bounds, jax out of bounds and for derivatives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from funcgrad.api.autodiff import grad, jvp, vjp
from funcgrad.api.compile import jit
from funcgrad.api.inspect import make_jaxpr
from funcgrad.api.vectorize import vmap
from funcgrad.config import config
from funcgrad.core.array import ConcreteArray
from funcgrad.core.dtypes import bfloat16
from funcgrad.errors import NonConcreteBooleanIndexError
from funcgrad.numpy.indexing import at, getitem

new = None
every = slice(None)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def array(x):
    return ConcreteArray(np.asarray(x))


def positions(*values, dtype=np.int32):
    return np.array(values if len(values) != 1 else values[0], dtype)


MASK = np.array([[True, False, True, True], [False, False, True, False], [True] * 4])
LINES = [
    *(0, 2, -1, -3, np.int8(1), np.array(1)),
    *(every, slice(1, None), slice(None, -1), slice(1, 2), slice(2, 1), slice(-9, 9)),
    *(slice(None, None, 2), slice(None, None, -1), slice(2, 0, -2), slice(9, None, -3)),
    *(slice(0, 5, -1), slice(4, 4, -3), slice(np.int32(1), None)),
    *(positions(0), positions([2, 0, 0]), positions([-1, -3]), positions([[0, 1], [2, 2]])),
    *(positions([], dtype=np.int64), positions([1, 2], dtype=np.uint8), MASK[:, 0], [2, 1]),
    *(new, Ellipsis, True, False),
]
PAIRS = [0, -1, every, slice(None, None, -2), positions([1, 0, 1]), positions([[2], [0]]), new]
TRIPLES = [1, every, slice(1, 3), positions([0, -1]), positions(1), new, Ellipsis]
ROWS = [
    *[((3, 4), (line,)) for line in LINES],
    *[((3,), (line,)) for line in LINES[:-4]],
    *[((3, 3, 4), pair) for pair in itertools.product(PAIRS, repeat=2)],
    *[
        ((3, 3, 4), triple)
        for triple in itertools.product(TRIPLES, repeat=3)
        if sum(item is Ellipsis for item in triple) < 2
    ],
    ((), ()),
    ((), (new,)),
    ((), (Ellipsis, new)),
    ((), (True,)),
    ((), (False,)),
    ((0, 3), (every, 1)),
    ((0, 3), (positions([], dtype=np.int32),)),
    ((3, 4), ()),
    ((3, 4), (MASK,)),
    ((2, 3, 4), (every, MASK)),
    ((2, 3, 4), (1, MASK)),
    ((2, 3, 4), (positions([1]), MASK)),
    ((3, 4, 2), (MASK, slice(None, None, -1))),
    ((3, 4), (MASK[:, 1], slice(1, 3))),
    ((3, 4), (MASK[:, 0], positions([1, 2, 0])[:2])),
    ((2, 3, 4, 5), (positions([1, 0]), every, positions([3, 3]), slice(None, None, 2))),
    ((2, 3, 4, 5), (every, positions([1, 0]), positions([3, 3]), slice(None, None, -2))),
    ((2, 3, 4, 5), (0, every, positions([[3], [1]]), positions([0, 4, 4]))),
    ((2, 3, 4, 5), (Ellipsis, positions([[3], [1]]), 2)),
]


def named(row):
    shape, index = row
    return f"{shape}-{index}".replace("\n", "")


def traced_positions(index):
    """Where the index holds arrays of integers, which can be arguments of a traced function."""
    return [
        i for i, item in enumerate(index) if isinstance(item, np.ndarray) and item.dtype != bool
    ]


def refilled(index, places, arrays):
    items = list(index)
    for place, values in zip(places, arrays, strict=True):
        items[place] = values
    return tuple(items)


def accumulated(shape, index, values):
    """What the transpose of reading at `index` must give: repeated positions add up."""
    out = np.zeros(shape, np.float32)
    np.add.at(out, index, values)
    return out


def check_row(shape, index):
    """Eager, traced with known positions, traced with traced ones, and the gradient."""
    x = numbers(*shape)
    expected = x[index]
    weights = numbers(*expected.shape, seed=1)
    places = traced_positions(index)
    arrays = [array(index[i].astype(np.int32)) for i in places]

    def read(x, *arrays):
        return getitem(x, refilled(index, places, arrays))

    def weighted(x, *arrays):
        return (read(x, *arrays) * weights).sum()

    same = np.testing.assert_array_equal
    same(getitem(array(x), index), expected, strict=True)
    same(at(array(x))[index].get(), expected, strict=True)
    same(jit(read)(x, *arrays), expected, strict=True)
    close = np.testing.assert_allclose
    expected_gradient = accumulated(shape, index, weights)
    for differentiated in (grad(weighted), jit(grad(weighted))):
        # sums of at most a dozen products of numbers near one, in another order
        close(differentiated(array(x), *arrays), expected_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("start", range(0, len(ROWS), 16))
def test_reading_agrees_with_numpy_and_its_gradient_accumulates(start):
    for shape, index in ROWS[start : start + 16]:
        try:
            numbers(*shape)[index]
        except IndexError:
            continue  # arrays that do not broadcast, or too many indices: see the errors below
        check_row(shape, index)


def test_the_table_has_hundreds_of_rows_that_numpy_accepts():
    accepted = 0
    for shape, index in ROWS:
        try:
            numbers(*shape)[index]
        except IndexError:
            continue
        accepted += 1
    assert accepted > 300


# ---------------------------------------------------------------- random indices


@st.composite
def indexed_arrays(draw):
    """A shape and an index that NumPy accepts for it."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    common = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    index, dim, dots = [], 0, False
    while dim < len(shape):
        size = shape[dim]
        kind = draw(st.sampled_from(["int", "slice", "array", "array", "mask", "new", "..."]))
        if kind == "new" and len(index) < 6:
            index.append(None)
            continue
        if kind == "..." and not dots:
            dots = True
            index.append(Ellipsis)
            dim += draw(st.integers(0, len(shape) - dim))
            continue
        index.append(draw(single_index(kind, size, common)))
        dim += 1
    return shape, tuple(index)


def single_index(kind, size, common):
    if kind == "int":
        return st.integers(-size, size - 1)
    if kind == "mask":
        return st.lists(st.booleans(), min_size=size, max_size=size).map(np.array)
    if kind == "array":
        shapes = [common, common[1:], tuple(1 for _ in common)]
        one = st.integers(-size, size - 1)
        return st.sampled_from(shapes).flatmap(
            lambda shape: st.lists(
                one, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
            ).map(lambda values: np.array(values, np.int32).reshape(shape))
        )
    bound = st.none() | st.integers(-size - 1, size + 1)
    step = st.sampled_from([None, 1, 2, -1, -2, 3])
    return st.builds(slice, bound, bound, step)


@settings(max_examples=150)
@given(indexed_arrays())
def test_random_indices_agree_with_numpy(row):
    shape, index = row
    try:
        numbers(*shape)[index]
    except IndexError:
        return  # masks of different counts do not broadcast
    check_row(shape, index)


# ---------------------------------------------------------------- updating

UFUNCS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}


def expected_update(x, index, y, method):
    out = x.copy()
    if method == "set":
        out[index] = y
    else:
        UFUNCS[method].at(out, index, y)
    return out


def check_update(shape, index, method):
    x = numbers(*shape)
    y = numbers(*x[index].shape, seed=2)
    places = traced_positions(index)
    arrays = [array(index[i].astype(np.int32)) for i in places]
    expected = expected_update(x, index, y, method)

    def updated(x, y, *arrays):
        return getattr(at(x)[refilled(index, places, arrays)], method)(y)

    close = np.testing.assert_allclose
    close(updated(array(x), array(y), *arrays), expected, rtol=1e-5, atol=1e-6)
    close(jit(updated)(array(x), array(y), *arrays), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["set", *UFUNCS])
def test_updates_agree_with_numpy(method):
    for shape, index in ROWS[:: 3 if method in ("set", "add") else 11]:
        try:
            numbers(*shape)[index]
        except IndexError:
            continue
        check_update(shape, index, method)


def test_updates_broadcast_and_the_array_stays_as_it_was():
    x = numbers(3, 4)
    before = x.copy()
    out = at(array(x))[:, 1:3].set(7.0)
    expected = before.copy()
    expected[:, 1:3] = 7.0
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(at(array(x))[1:].add([1.0, 2.0, 3.0, 4.0])[0], before[0])


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float16", "bfloat16", "complex64", "bool"])
def test_set_keeps_the_dtype(dtype):
    dtype = bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    x = np.zeros(3, dtype)
    out = at(array(x))[1].set(True if x.dtype == bool else 1)
    assert out.dtype == dtype
    assert np.asarray(out).astype(bool).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [bfloat16, np.dtype(np.float16)])
def test_narrow_floats_accumulate_in_float32(dtype):
    count = 4096  # one by one, float16 would stop growing at 2048 and bfloat16 at 256
    index = np.zeros(count, np.int32)
    out = at(array(np.zeros(2, dtype)))[index].add(np.ones(count, dtype))
    assert float(np.asarray(out).astype(np.float32)[0]) == count


def test_D29_gradients_of_repeated_positions_accumulate():
    x, index = array(numbers(3)), np.array([0, 0, 1])
    gradient = grad(lambda x: getitem(x, index).sum())(x)
    np.testing.assert_array_equal(gradient, [2.0, 1.0, 0.0])
    gradient = jit(grad(lambda x, i: getitem(x, i).sum()))(x, index)
    np.testing.assert_array_equal(gradient, [2.0, 1.0, 0.0])


def test_of_several_set_values_the_last_stays_and_gets_the_gradient():
    x, index = array(numbers(3)), np.array([1, 1])
    y = array(np.array([5.0, 6.0], np.float32))
    weights = np.array([1.0, 10.0, 100.0], np.float32)
    np.testing.assert_array_equal(at(x)[index].set(y)[1], 6.0)
    for_x, for_y = grad(lambda x, y: (at(x)[index].set(y) * weights).sum(), (0, 1))(x, y)
    np.testing.assert_array_equal(for_x, [1.0, 0.0, 100.0])
    np.testing.assert_array_equal(for_y, [0.0, 10.0])


def test_multiply_has_no_derivative_in_repeated_updates():
    x, index = array(numbers(3)), np.array([0, 2])
    y = array(numbers(2))

    def scaled(y, **options):
        return at(x)[index].multiply(y, **options).sum()

    with pytest.raises(ValueError, match="unique_indices=True"):
        grad(scaled)(y)
    gradient = grad(lambda y: scaled(y, unique_indices=True))(y)
    np.testing.assert_allclose(gradient, np.asarray(x)[index], rtol=1e-6)


def test_a_single_computed_position_does_not_repeat():
    x = array(numbers(3))
    derivative = jit(grad(lambda y, i: at(x)[i].multiply(y).sum()))(1.0, 2)
    np.testing.assert_allclose(derivative, np.asarray(x)[2], rtol=1e-6)


def test_divide_power_and_apply():
    x = array(np.array([1.0, 2.0, 3.0], np.float32))
    np.testing.assert_allclose(at(x)[1:].divide(2.0), [1.0, 1.0, 1.5])
    np.testing.assert_allclose(at(x)[1:].power(2.0), [1.0, 4.0, 9.0])
    np.testing.assert_allclose(at(x)[np.array([0, 2])].apply(lambda v: -v), [-1.0, 2.0, -3.0])
    assert at(array(np.arange(3, dtype=np.int32)))[0].divide(2).dtype == np.float32


def test_apply_counts_repetitions_eagerly_and_traced():
    x, index = array(np.arange(1.0, 5.0, dtype=np.float32)), np.array([1, 1, 3, 9])

    def doubled(x, index):
        return at(x)[index].apply(lambda v: v * 2)

    for function in (doubled, jit(doubled)):
        np.testing.assert_array_equal(function(x, index), [1, 8, 3, 8])
        gradient = grad(lambda x, function=function: function(x, index).sum())(x)
        np.testing.assert_array_equal(gradient, [1, 4, 1, 2])


# ---------------------------------------------------------------- vmap


def test_batched_over_arrays_and_over_positions():
    x, index = numbers(5, 3, 4), np.array([[0, 2], [1, 1], [2, 0], [0, 0], [-1, 1]], np.int32)
    expected = np.stack([row[i] for row, i in zip(x, index, strict=True)])
    np.testing.assert_array_equal(vmap(getitem)(x, index), expected)
    np.testing.assert_array_equal(
        vmap(getitem, in_axes=(None, 0))(x[0], index), np.stack([x[0][i] for i in index])
    )
    np.testing.assert_array_equal(
        vmap(getitem, in_axes=(0, None))(x, index[0]), np.stack([row[index[0]] for row in x])
    )
    scalar = index[:, 0]
    np.testing.assert_array_equal(
        vmap(getitem)(x, scalar), np.stack([row[i] for row, i in zip(x, scalar, strict=True)])
    )


def test_batched_updates():
    x, index = numbers(5, 3, 4), np.array([0, 2, 1, 1, -1], np.int32)
    y = numbers(5, 4, seed=3)
    expected = x.copy()
    for lane in range(5):
        expected[lane, index[lane]] += y[lane]
    out = vmap(lambda x, i, y: at(x)[i].add(y))(x, index, y)
    np.testing.assert_allclose(out, expected, rtol=1e-6)


# ---------------------------------------------------------------- the programs that result


def primitives_of(function, *args):
    return [eqn.primitive.name for eqn in make_jaxpr(function)(*args).eqns]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (1, ["slice", "squeeze"]),
        (slice(1, 3), ["slice"]),
        (every, []),
        (Ellipsis, []),
        (slice(None, None, -1), ["rev"]),
        ((new, slice(1, 3)), ["slice", "broadcast_in_dim"]),
        ((np.array(1), -1), ["slice", "squeeze"]),
        (np.array([0, 2]), ["gather"]),
        ((every, np.array([0, 2])), ["gather"]),
    ],
)
def test_known_indices_cost_few_operations(index, expected):
    x = numbers(3, 4)
    assert primitives_of(lambda x: getitem(x, index), x) == expected


def test_a_computed_integer_becomes_a_dynamic_slice():
    names = primitives_of(lambda x, i: getitem(x, i), numbers(3, 4), np.int32(1))
    assert names[-2:] == ["dynamic_slice", "squeeze"]
    assert "gather" not in names


# ---------------------------------------------------------------- out of bounds

OUTSIDE = [5, -9, np.array([0, 7, -1, -8], np.int32), (every, 9), (slice(1, 3), np.array([6, 0]))]


@pytest.mark.parametrize("index", OUTSIDE, ids=str)
def test_eager_reads_out_of_bounds_raise(index):
    x = array(numbers(3, 4))
    with pytest.raises(IndexError, match="out of bounds for dimension"):
        getitem(x, index)
    with pytest.raises(IndexError, match="out of bounds"):
        grad(lambda x: getitem(x, index).sum())(x)


@pytest.mark.oracle
@pytest.mark.parametrize("index", OUTSIDE, ids=str)
def test_reads_out_of_bounds_are_clipped_where_they_do_not_raise(index):
    jnp = pytest.importorskip("jax.numpy")
    x = numbers(3, 4)
    expected = jnp.asarray(x)[index]
    np.testing.assert_array_equal(jit(lambda x: getitem(x, index))(x), expected)
    with config.override(eager_bounds_check=False):
        np.testing.assert_array_equal(getitem(array(x), index), expected)


MODES = [None, "clip", "fill", "drop", "promise_in_bounds"]


@pytest.mark.oracle
@pytest.mark.parametrize("mode", MODES)
def test_get_out_of_bounds_as_jax(mode):
    jnp = pytest.importorskip("jax.numpy")
    for index, dtype in itertools.product(OUTSIDE, ["float32", "int8", "uint8", "bool"]):
        x = (10 * numbers(3, 4)).astype(dtype)
        for options in ({}, {"fill_value": 1}, {"wrap_negative_indices": False}):
            expected = jnp.asarray(x).at[index].get(mode=mode, **options)
            ours = at(array(x))[index].get(mode=mode, **options)
            np.testing.assert_array_equal(ours, expected, strict=True)
            assert np.asarray(ours).dtype == expected.dtype


@pytest.mark.oracle
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["set", "add", "multiply", "min"])
def test_updates_out_of_bounds_as_jax(mode, method):
    jnp = pytest.importorskip("jax.numpy")
    x = numbers(3, 4)
    for index in OUTSIDE:
        for options in ({}, {"wrap_negative_indices": False}):
            expected = getattr(jnp.asarray(x).at[index], method)(0.5, mode=mode, **options)
            ours = getattr(at(array(x))[index], method)(0.5, mode=mode, **options)
            np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_promises_do_not_change_the_result():
    x, index = array(numbers(4, 2)), np.array([0, 1, 3], np.int32)
    options = {"indices_are_sorted": True, "unique_indices": True}
    for program, name in (
        (make_jaxpr(lambda x: at(x)[index].get(**options))(x), "gather"),
        (make_jaxpr(lambda x: at(x)[index].add(1.0, **options))(x), "scatter-add"),
    ):
        (params,) = [eqn.params for eqn in program.eqns if eqn.primitive.name == name]
        assert params["indices_are_sorted"] and params["unique_indices"]
    np.testing.assert_array_equal(at(x)[index].get(**options), np.asarray(x)[index])


# ---------------------------------------------------------------- derivatives of updates, as jax


@pytest.mark.oracle
@pytest.mark.parametrize("method", ["set", "add", "subtract", "multiply", "min", "max", "divide"])
def test_derivatives_of_updates_as_jax(method):
    jax = pytest.importorskip("jax")
    x, weights = np.abs(numbers(3, 4)) + 1, numbers(3, 4, seed=5)
    points = (np.array([0, 2, 1]), np.array([3, 0, 3]))
    for index in [1, (slice(None, 2), 1), np.array([2, 0]), points]:
        y = np.abs(numbers(*x[index].shape, seed=4)) + 1

        def ours(x, y, index=index):
            return getattr(at(x)[index], method)(y, unique_indices=True) * weights

        def theirs(x, y, index=index):
            return getattr(x.at[index], method)(y, unique_indices=True) * weights

        expected = jax.vjp(theirs, x, y)[1](weights)
        for gradient, wanted in zip(vjp(ours, x, y)[1](array(weights)), expected, strict=True):
            np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)
        tangents = (numbers(3, 4, seed=6), numbers(*y.shape, seed=7))
        wanted = jax.jvp(theirs, (x, y), tangents)[1]
        np.testing.assert_allclose(jvp(ours, (x, y), tangents)[1], wanted, rtol=1e-5, atol=1e-6)


def test_extrema_share_the_derivative_between_equal_values():
    x = array(np.array([1.0, 5.0, 2.0], np.float32))
    y = array(np.array([5.0, 5.0, 1.0], np.float32))
    index = np.array([1, 1, 2])
    for_x, for_y = grad(lambda x, y: at(x)[index].max(y).sum(), (0, 1))(x, y)
    np.testing.assert_allclose(for_x, [1.0, 1 / 3, 1.0], rtol=1e-6)
    np.testing.assert_allclose(for_y, [1 / 3, 1 / 3, 0.0], rtol=1e-6)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (1.0, TypeError, "integer or bool type, but got float"),
        (np.array([0.5]), TypeError, "integer or bool type, but got float64"),
        (np.float32(1), TypeError, "float32"),
        ("a", TypeError, "got the string 'a'"),
        ([0, 1], TypeError, "a list is not an index"),
        (object, IndexError, "only integers, slices"),
        ((0, 0, 0), IndexError, "the array has 2 dimensions, but 3 were indexed"),
        ((Ellipsis, Ellipsis), IndexError, "only one ellipsis"),
        (np.array([True]), IndexError, r"must have the shape of the dimensions it masks, \(3,\)"),
        (MASK.T, IndexError, r"but got \(4, 3\)"),
        (slice(1.0, 2), TypeError, "slices must be made of integers"),
        ((np.array([0, 1]), np.array([0, 1, 2])), IndexError, r"shapes \(2,\), \(3,\)"),
    ],
    ids=str,
)
def test_errors_name_what_is_wrong(index, error, message):
    x = array(numbers(3, 4))
    with pytest.raises(error, match=message):
        getitem(x, index)
    with pytest.raises(error, match=message):
        at(x)[index].set(0.0)
    with pytest.raises(error, match=message):
        jit(lambda x: getitem(x, index))(x)


def test_traced_masks_and_slices_are_refused_with_a_way_out():
    x = numbers(3, 4)
    with pytest.raises(NonConcreteBooleanIndexError, match=r"numpy\.where"):
        jit(lambda x: getitem(x, x > 0))(x)
    with pytest.raises(IndexError, match="dynamic_slice_in_dim"):
        jit(lambda x, i: getitem(x, slice(i, None)))(x, 1)


def test_updates_that_do_not_fit():
    x = array(numbers(3, 4))
    with pytest.raises(ValueError, match=r"shape \(3,\) do not broadcast .* \(4,\)"):
        at(x)[0].set(np.zeros(3, np.float32))
    with pytest.raises(OverflowError, match="300 does not fit into int8"):
        at(array(np.zeros(3, np.int8)))[0].set(300)
    with pytest.warns(FutureWarning, match="loses something"):
        out = at(array(np.arange(3, dtype=np.int32)))[0].set(1.7)
    assert out.dtype == np.int32
    with pytest.raises(ValueError, match="mode must be"):
        at(x)[0].get(mode="nearest")
    with pytest.raises(IndexError, match="size 0"):
        getitem(array(np.zeros((0, 3), np.float32)), np.array([0]))


@pytest.mark.parametrize("second", ["int64", "int32", "int8", "uint8"])
@pytest.mark.parametrize("first", ["int64", "int32", "uint32", "uint64"])
def test_indices_of_different_widths_meet(first: str, second: str) -> None:
    x = np.arange(12.0).reshape(3, 4)
    i, j = np.array([2, 0], first), np.array([1, 3], second)
    read = jit(lambda x, i, j: x[i, j])
    np.testing.assert_array_equal(
        read(ConcreteArray(x), ConcreteArray(i), ConcreteArray(j)), x[i, j]
    )
    half_known = jit(lambda x, i: (x[i, j], x.at[i, j].add(1.0)[2, 1]))
    found, added = half_known(ConcreteArray(x), ConcreteArray(i))
    np.testing.assert_array_equal(found, x[i, j])
    assert added == x[2, 1] + 1
