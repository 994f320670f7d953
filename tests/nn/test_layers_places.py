"""Layers with indices against PyTorch: bags of embeddings, places of largest values."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)
RNG = np.random.default_rng(0)


def image(*shape):
    return RNG.normal(size=shape).astype(np.float32)


# -- places of largest values ----------------------------------------------------------------------

POOLS = [
    ("1d(2)", (2, 3, 7)),
    ("1d(3, 2, 1, 2)", (3, 9)),
    ("2d(2)", (2, 3, 6, 7)),
    ("2d((3, 2), (2, 1), (1, 0), (1, 2))", (1, 2, 8, 7)),
    ("2d(3, 2, 1, ceil_mode=True)", (2, 2, 8, 9)),
    ("3d(2)", (1, 2, 4, 5, 4)),
]


def assert_pools_like_torch(call, x):
    """Values, places and gradients; returns the layer with the first two."""
    torch = pytest.importorskip("torch")
    layer = eval(f"nn.{call}")
    values, places = layer.apply({}, {}, x)[0]
    given = torch.tensor(x, requires_grad=True)
    theirs, their_places = eval(f"torch.nn.{call}")(given)
    np.testing.assert_array_equal(np.asarray(values), theirs.detach().numpy())
    np.testing.assert_array_equal(np.asarray(places), their_places.numpy())
    assert places.dtype == np.int32
    cotangent = image(*values.shape)
    theirs.backward(torch.tensor(cotangent))
    slope = fg.grad(lambda x: (layer.apply({}, {}, x)[0][0] * cotangent).sum())(jnp.asarray(x))
    np.testing.assert_allclose(slope, given.grad, rtol=1e-6, atol=1e-6)
    return layer, values, places


@pytest.mark.oracle
@pytest.mark.parametrize("call, shape", POOLS, ids=[call for call, _ in POOLS])
def test_places_of_the_largest_values(call, shape):
    assert_pools_like_torch(f"MaxPool{call[:-1]}, return_indices=True)", image(*shape))


ADAPTIVE = [
    ("1d(3)", (2, 3, 7)),
    ("1d(2)", (3, 6)),
    ("2d((3, 2))", (2, 3, 7, 6)),
    ("2d((None, 4))", (2, 2, 3, 7)),
    ("3d((2, 3, 1))", (1, 2, 5, 6, 4)),
]


@pytest.mark.oracle
@pytest.mark.parametrize("call, shape", ADAPTIVE, ids=[call for call, _ in ADAPTIVE])
def test_places_of_the_largest_values_in_windows_of_any_size(call, shape):
    x = RNG.integers(0, 4, shape).astype(np.float32)  # many of them are equal: the first counts
    layer, values, places = assert_pools_like_torch(f"AdaptiveMaxPool{call[:-1]}, True)", x)
    last = eval(f"nn.AdaptiveMaxPool{call[:-1]}, True, channels_last=True)")
    channel = -1 - layer.rank
    found = last.apply({}, {}, np.moveaxis(x, channel, -1))[0]
    for ours, other in zip(found, (values, places), strict=True):
        np.testing.assert_array_equal(np.moveaxis(np.asarray(ours), -1, channel), np.asarray(other))


@pytest.mark.oracle
def test_places_of_minus_infinity_are_in_their_windows():
    """Padding is -infinity too, and has no place of its own."""
    torch = pytest.importorskip("torch")
    x = np.full((1, 1, 5, 4), -np.inf, np.float32)
    _, expected = torch.nn.MaxPool2d(3, 2, 1, return_indices=True)(torch.tensor(x))
    _, places = nn.MaxPool2d(3, 2, 1, return_indices=True).apply({}, {}, x)[0]
    np.testing.assert_array_equal(np.asarray(places), expected.numpy())


def test_places_with_channels_last_and_of_what_is_not_a_number():
    x = image(2, 3, 4, 6)
    x[0, 0, 1, 1] = np.nan
    expected = nn.MaxPool2d(2, return_indices=True).apply({}, {}, x)[0]
    last = nn.MaxPool2d(2, return_indices=True, channels_last=True)
    found = last.apply({}, {}, np.moveaxis(x, 1, -1))[0]
    for ours, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.moveaxis(np.asarray(ours), -1, 1), np.asarray(other))
    assert np.isnan(expected[0][0, 0, 0, 0]) and expected[1][0, 0, 0, 0] == 7


@pytest.mark.oracle
@pytest.mark.parametrize(
    "rank, options, shape, output_size",
    [
        (1, (2,), (2, 3, 8), None),
        (2, (2,), (2, 3, 6, 7), (6, 7)),
        (2, (3, 2, 1), (3, 9, 7), None),
        (3, (2,), (1, 2, 4, 4, 2), None),
    ],
)
def test_values_go_back_to_their_places(rank, options, shape, output_size):
    torch = pytest.importorskip("torch")
    pool, unpool = (getattr(nn, f"Max{what}{rank}d") for what in ("Pool", "Unpool"))
    values, places = pool(*options, return_indices=True).apply({}, {}, image(*shape))[0]
    layer = unpool(*options)
    output, pull_back = fg.vjp(lambda v: layer.apply({}, {}, v, places, output_size)[0], values)
    given = torch.tensor(np.asarray(values), requires_grad=True)
    theirs = getattr(torch.nn, f"MaxUnpool{rank}d")(*options)
    expected = theirs(given, torch.tensor(np.asarray(places, np.int64)), output_size)
    np.testing.assert_array_equal(np.asarray(output), expected.detach().numpy())
    cotangent = image(*output.shape)
    expected.backward(torch.tensor(cotangent))
    if options[1:]:
        return  # windows overlap: PyTorch gives the gradient of one place to each that chose it
    np.testing.assert_array_equal(np.asarray(pull_back(jnp.asarray(cotangent))[0]), given.grad)


def test_places_must_go_with_values():
    for indices in (np.zeros((1, 1, 3), int), np.zeros((1, 1, 2), np.float32)):
        with pytest.raises(ValueError, match="MaxUnpool1d: indices must be integers of the input"):
            nn.MaxUnpool1d(2).apply({}, {}, image(1, 1, 2), indices)


def test_columns_must_come_from_such_windows():
    with pytest.raises(ValueError, match=r"Fold: needs columns \(N, C \* 4, 4\) for images"):
        nn.Fold(3, 2).apply({}, {}, image(1, 4, 5))
    with pytest.raises(ValueError, match="Unfold: a window of .* does not fit"):
        nn.Unfold(4).apply({}, {}, image(1, 1, 3, 9))


# -- bags of embeddings ----------------------------------------------------------------------------

BAGS = np.array([[1, 3, 3], [0, 1, 2]])
ROW = np.array([4, 1, 1, 0, 2, 3])
FLAT = [
    ({}, (BAGS,)),
    ({"mode": "sum"}, (BAGS, None, image(2, 3))),
    ({"mode": "max"}, (BAGS,)),
    ({"mode": "mean", "padding_idx": 1}, (BAGS,)),
    ({"mode": "max", "padding_idx": 3}, (BAGS,)),
    ({"mode": "sum", "padding_idx": 3}, (ROW, np.array([0, 2, 2, 5]))),
    ({"mode": "mean"}, (ROW, np.array([0, 2, 2, 5]))),
    ({"mode": "max"}, (ROW, np.array([0, 2, 2, 5]))),
    ({"mode": "sum", "include_last_offset": True}, (ROW, np.array([0, 3, 6]), image(6))),
    ({"mode": "sum", "max_norm": 0.5}, (BAGS,)),
]


@pytest.mark.oracle
@pytest.mark.parametrize("options, inputs", FLAT, ids=[str(options) for options, _ in FLAT])
def test_bags_of_embeddings(options, inputs):
    torch = pytest.importorskip("torch")
    layer, theirs = nn.EmbeddingBag(5, 2, **options), torch.nn.EmbeddingBag(5, 2, **options)
    params, state = layer.init(KEY)
    theirs.load_state_dict({"weight": torch.tensor(np.array(params["weight"]))})
    expected = theirs(*(None if x is None else torch.tensor(x) for x in inputs))
    output, pull_back = fg.vjp(lambda p: layer.apply(p, state, *inputs)[0], params)
    np.testing.assert_allclose(output, expected.detach().numpy(), rtol=1e-6, atol=1e-6)
    if "max_norm" in options:
        return  # PyTorch scales long rows in place
    cotangent = image(*output.shape)
    expected.backward(torch.tensor(cotangent))
    slopes = pull_back(jnp.asarray(cotangent))[0]["weight"]
    np.testing.assert_allclose(slopes, theirs.weight.grad, rtol=1e-5, atol=1e-6)
    compiled = fg.jit(lambda p: layer.apply(p, state, *inputs)[0])(params)
    np.testing.assert_allclose(compiled, output, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_indices_outside_of_all_bags_are_in_none(mode):
    """PyTorch refuses a late first offset, and an early last one means another thing in each mode.

    Here offsets may be traced; before, a late first one counted to the last bag.
    """
    layer = nn.EmbeddingBag(5, 2, mode=mode, include_last_offset=True)
    params, state = layer.init(KEY)
    found = layer.apply(params, state, ROW, np.array([2, 4, 5]))[0]
    expected = layer.apply(params, state, ROW[2:5], np.array([0, 2, 3]))[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "options, inputs, message",
    [
        ({}, (ROW,), "with offsets"),
        ({}, (BAGS, np.array([0])), "with offsets"),
        ({}, (BAGS, None, image(2, 3)), 'need mode="sum"'),
        ({"mode": "sum"}, (BAGS, None, image(3)), "the shape of the indices"),
    ],
)
def test_bags_that_make_no_sense(options, inputs, message):
    layer = nn.EmbeddingBag(5, 2, **options)
    with pytest.raises(ValueError, match=message):
        layer.apply(*layer.init(KEY), *inputs)
    with pytest.raises(ValueError, match="mode is"):
        nn.EmbeddingBag(5, 2, mode="median")


def test_bags_and_places_are_json():
    for layer in (nn.EmbeddingBag(5, 2, mode="max"), nn.MaxUnpool2d(2), nn.Fold(4, 2)):
        assert nn.from_json(layer.to_json()) == layer
