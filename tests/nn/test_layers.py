"""What layers promise beyond agreeing with PyTorch (test_layers_torch.py); initializers."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)
RNG = np.random.default_rng(0)


def image(*shape):
    return RNG.normal(size=shape).astype(np.float32)


# -- batch norm ------------------------------------------------------------------------------------


def test_D27_running_statistics_are_the_closed_form():
    """After k batches: (1-m)^k times the start, plus m (1-m)^(k-i) times batch i's, unbiased."""
    layer, m, k = nn.BatchNorm1d(2, momentum=0.25), 0.25, 6
    params, state = layer.init(KEY)
    batches = [image(5, 2) + i for i in range(k)]
    for batch in batches:
        _, state = layer.apply(params, state, batch, train=True)
    weights = [m * (1 - m) ** (k - 1 - i) for i in range(k)]
    mean = sum(w * b.mean(0) for w, b in zip(weights, batches, strict=True))
    var = (1 - m) ** k + sum(w * b.var(0, ddof=1) for w, b in zip(weights, batches, strict=True))
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(state["var"], var, rtol=1e-5)


def test_D27_evaluation_does_not_depend_on_its_batch():
    layer = nn.BatchNorm1d(3)
    params, state = layer.init(KEY)
    _, state = layer.apply(params, state, image(8, 3), train=True)
    x = image(8, 3)
    whole, same = layer.apply(params, state, x)
    alone, _ = layer.apply(params, state, x[:1])
    np.testing.assert_array_equal(np.asarray(whole[:1]), np.asarray(alone))
    assert same is state


def test_D32_statistics_are_state_not_parameters():
    """They get no gradient and no decay, and 1000 steps leave the same few leaves."""
    layer = nn.BatchNorm1d(3)
    params, state = layer.init(KEY)
    assert sorted(params) == ["bias", "weight"] and sorted(state) == ["count", "mean", "var"]
    step = fg.jit(lambda state, x: layer.apply(params, state, x, train=True)[1])
    x = image(8, 3)
    for _ in range(1000):
        state = step(state, x)
    assert fg.tree.structure(state) == fg.tree.structure(layer.init(KEY)[1])
    np.testing.assert_allclose(state["mean"], x.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["var"], x.var(0, ddof=1), rtol=1e-4)

    def through_state(x):
        return layer.apply(params, state, x, train=True)[1]["mean"].sum()

    assert (np.asarray(fg.grad(through_state)(jnp.asarray(x))) == 0).all()


def test_batch_norm_refuses_wrong_inputs():
    layer = nn.BatchNorm1d(3)
    params, state = layer.init(KEY)
    for x, message in (
        (image(4, 2), "axis 1 must have size 3"),
        (image(4), "rank 2 or 3"),
        (image(1, 3), "more than one value per channel"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.apply(params, state, x, train=True)


# -- embedding, containers, small layers ----------------------------------------------------------


def test_D15_embedding_sums_the_gradients_of_repeated_indices():
    layer = nn.Embedding(4, 2)
    params, state = layer.init(KEY)
    indices = jnp.array([[1, 3], [1, 1]])
    output, _ = layer.apply(params, state, indices)
    np.testing.assert_array_equal(np.asarray(output), np.asarray(params["weight"])[indices])
    grad = fg.grad(lambda p: layer.apply(p, state, indices)[0].sum())(params)["weight"]
    np.testing.assert_array_equal(np.asarray(grad), np.array([0, 3, 0, 1])[:, None] * np.ones(2))


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
def test_D15_indices_outside_the_table_give_nan(wrap):
    layer = nn.Embedding(4, 2)
    params, state = layer.init(KEY)
    output = np.asarray(wrap(layer.apply)(params, state, jnp.array([0, 4, -1, 3]))[0])
    assert np.isnan(output[1:3]).all() and np.isfinite(output[[0, 3]]).all()
    with pytest.raises(TypeError, match="Embedding: needs integers, but got float32"):
        layer.apply(params, state, jnp.array([0.0]))


def test_embedding_can_be_the_output_layer_too():
    class Model(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(5, 3)

        def forward(self, i):
            return self.embed.attend(self.embed(i))

    params, state = Model().init(KEY)
    table = np.asarray(params["embed"]["weight"])
    np.testing.assert_allclose(
        Model().apply(params, state, jnp.array([2]))[0], table[[2]] @ table.T, rtol=1e-5, atol=1e-6
    )


def test_D44_a_dense_layer_is_affine_and_goes_with_losses_from_logits():
    """No activation hides in it, so logits may be negative and above 1, and have a gradient."""
    layer = nn.Linear(3, 4, weight_init="normal")
    params, state = layer.init(KEY)
    params = {**params, "bias": jnp.asarray(image(4))}
    x = 5 * image(6, 3)
    output, _ = layer.apply(params, state, x)
    expected = x @ np.asarray(params["weight"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)

    labels = np.array([0, 1, 2, 3, 0, 1])
    grads = fg.grad(lambda p: nn.cross_entropy(layer.apply(p, state, x)[0], labels))(params)
    slopes = (np.asarray(fg.nn.softmax(output)) - np.eye(4)[labels]) / 6
    np.testing.assert_allclose(grads["weight"], x.T @ slopes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads["bias"], slopes.sum(0), rtol=1e-4, atol=1e-5)


def test_dropout_of_integers_gives_floats_of_the_default_width():
    output, _ = nn.Dropout(0.5).apply({}, {}, np.arange(8), train=True, key=KEY)
    assert output.dtype == jnp.float32 and set(output.tolist()) <= {2.0 * i for i in range(8)}


def test_D16_a_sequential_of_nothing_is_the_identity():
    model = nn.Sequential()
    assert model.init(KEY) == ({}, {})
    assert model.apply({}, {}, 3.0)[0] == 3.0


def test_residual_reshape_and_lambda():
    x = image(2, 6)
    assert nn.Reshape(2, -1).apply({}, {}, x)[0].shape == (2, 2, 3)
    np.testing.assert_array_equal(nn.Residual(nn.Identity()).apply({}, {}, x)[0], 2 * x)
    np.testing.assert_array_equal(nn.Lambda(np.negative).apply({}, {}, x)[0], -x)


def test_residual_with_a_shortcut_that_changes_the_shape():
    x = image(2, 6)
    block = nn.Residual(nn.Linear(6, 3), nn.Linear(6, 3, bias=False))
    params, state = block.init(KEY)
    inner, shortcut = (np.asarray(params[name]["weight"]) for name in ("inner", "shortcut"))
    np.testing.assert_allclose(block.apply(params, state, x)[0], x @ (inner + shortcut), 1e-5, 1e-5)


COMBINED = {
    None: lambda a, b: (a, b),
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "concatenate": lambda a, b: np.concatenate([a, b], 1),
    "stack": lambda a, b: np.stack([a, b], 1),
    jnp.maximum: np.maximum,
}


@pytest.mark.parametrize("combine", COMBINED, ids=lambda c: getattr(c, "__name__", str(c)))
def test_parallel_branches_see_the_same_input(combine):
    x = image(3, 4)
    both = nn.Parallel(nn.Tanh(), nn.Linear(4, 4), combine=combine)
    params, state = both.init(KEY)
    assert list(params) == ["1"]
    branch = x @ np.asarray(params["1"]["weight"])
    expected = COMBINED[combine](np.tanh(x), branch)
    for ours, wanted in zip(
        fg.tree.leaves(both.apply(params, state, x)[0]), fg.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)


def test_parallel_concatenates_along_any_axis():
    both = nn.Parallel(nn.Identity(), nn.Identity(), combine="concatenate", dim=0)
    assert both.apply({}, {}, image(3, 4))[0].shape == (6, 4)


# -- layers that are random while training ---------------------------------------------------------


def drawn(layer, x, key=KEY):
    return np.asarray(layer.apply({}, {}, x, train=True, key=key)[0])


CHANNELS = {
    "Dropout1d": (nn.Dropout1d(0.4), (500, 40, 5)),
    "Dropout2d": (nn.Dropout2d(0.4), (500, 40, 2, 3)),
    "Dropout3d": (nn.Dropout3d(0.4), (500, 40, 2, 1, 3)),
    "Dropout2d without a batch": (nn.Dropout2d(0.4), (20000, 2, 3)),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_dropout_of_channels_drops_whole_ones(name):
    """Each channel is zero as a whole or scaled as a whole; 40 % of 20 000 are zero."""
    layer, shape = CHANNELS[name]
    y = drawn(layer, jnp.ones(shape))
    flat = y.reshape(20000, -1)
    assert (flat == flat[:, :1]).all()
    np.testing.assert_allclose(np.unique(flat), [0, 1 / 0.6], rtol=1e-6)
    assert abs((flat[:, 0] == 0).mean() - 0.4) < 0.02  # six standard errors


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(p):
    """Of a standard normal input, over 400 000 draws; equal dropped entries have one value."""
    x = jnp.asarray(RNG.normal(size=(1000, 400)).astype(np.float32))
    y = drawn(nn.AlphaDropout(p), x)
    assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02
    values, counts = np.unique(y, return_counts=True)
    assert abs(counts.max() / y.size - p) < 0.01
    assert values[counts.argmax()] < 0
    assert (drawn(nn.AlphaDropout(1.0), x) == 0).all()


def test_feature_alpha_dropout_drops_whole_channels():
    y = drawn(nn.FeatureAlphaDropout(0.5), jnp.zeros((100, 30, 4)))
    assert (y == y[..., :1]).all() and len(np.unique(y)) == 2


def test_rrelu_draws_a_slope_for_each_entry():
    x = np.concatenate([-np.ones(20000), np.ones(10)]).astype(np.float32)
    y = drawn(nn.RReLU(0.2, 0.6), x)
    slopes = -y[:20000]
    assert (y[20000:] == 1).all() and 0.2 <= slopes.min() and slopes.max() <= 0.6
    assert abs(slopes.mean() - 0.4) < 0.005 and abs(slopes.std() - 0.4 / np.sqrt(12)) < 0.005


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout2d(0.5),
        nn.AlphaDropout(0.5),
        nn.FeatureAlphaDropout(0.5),
        nn.RReLU(),
        nn.GaussianNoise(1),
    ],
    ids=repr,
)
def test_random_layers_are_functions_of_their_key(layer):
    x = image(8, 8, 2, 2)
    np.testing.assert_array_equal(drawn(layer, x), drawn(layer, x))
    assert (drawn(layer, x) != drawn(layer, x, fg.random.key(1))).any()
    with pytest.raises(ValueError, match="needs randomness, but apply got no key"):
        layer.apply({}, {}, x, train=True)


# -- what is wide, what is narrow, what is empty ---------------------------------------------------


@pytest.mark.parametrize("layer", [nn.LayerNorm(64), nn.RMSNorm(64), nn.GroupNorm(1, 64)], ids=repr)
def test_statistics_of_narrow_inputs_are_wide(layer):
    """float16 squares overflow from 256 on; the norms of 1000s are right all the same."""
    x = 1000 + 300 * image(4, 64)
    params, state = layer.init(KEY)
    narrow = jnp.asarray(x, jnp.float16)
    output, _ = layer.apply(params, state, narrow)
    expected, _ = layer.apply(params, state, narrow.astype(jnp.float32))
    assert output.dtype == jnp.float16
    np.testing.assert_allclose(np.asarray(output, np.float32), expected, rtol=2e-3, atol=2e-3)


def test_running_statistics_of_narrow_inputs_are_wide():
    layer = nn.BatchNorm1d(2)
    params, state = layer.init(KEY)
    x = jnp.asarray(1000 + 300 * image(64, 2), jnp.float16)
    _, state = layer.apply(params, state, x, train=True)
    np.testing.assert_allclose(state["mean"], 0.1 * np.asarray(x, np.float32).mean(0), rtol=1e-5)


def test_float64_stays_float64():
    """With parameters of that type, to 1e-12 of the formula."""
    layer = nn.LayerNorm(5)
    params, state = layer.init(KEY)
    params = fg.tree.map(lambda p: p.astype(jnp.float64), params)
    x = jnp.asarray(RNG.normal(size=(3, 5)), jnp.float64)
    y, wide = layer.apply(params, state, x)[0], np.asarray(x)
    assert y.dtype == np.float64
    centred = wide - wide.mean(1, keepdims=True)
    np.testing.assert_allclose(
        y, centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5), 1e-12
    )


@pytest.mark.parametrize(
    "layer, shape, expected",
    [
        (nn.Linear(3, 2), (0, 3), (0, 2)),
        (nn.Conv2d(1, 2, 3), (0, 1, 5, 5), (0, 2, 3, 3)),
        (nn.MaxPool2d(2), (0, 1, 4, 4), (0, 1, 2, 2)),
        (nn.AvgPool2d(2), (0, 1, 4, 4), (0, 1, 2, 2)),
        (nn.AdaptiveAvgPool2d(1), (0, 1, 4, 4), (0, 1, 1, 1)),
        (nn.LayerNorm(3), (0, 3), (0, 3)),
        (nn.BatchNorm1d(3), (0, 3), (0, 3)),
        (nn.Flatten(), (0, 3, 2), (0, 6)),
        (nn.Softmax(), (0, 3), (0, 3)),
        (nn.Embedding(3, 2), (0,), (0, 2)),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_batches_of_nothing(layer, shape, expected):
    x = jnp.zeros(shape, jnp.int32 if isinstance(layer, nn.Embedding) else jnp.float32)
    assert layer.apply(*layer.init(KEY), x)[0].shape == expected


def test_max_pooling_of_integers():
    x = jnp.asarray([[[3, -2, 7, 1]]], jnp.int32)
    y, _ = nn.MaxPool1d(3, 2, 1).apply({}, {}, x)
    assert y.dtype == np.int32 and y.tolist() == [[[3, 7]]]


def test_lazy_layers_print_and_close():
    """What is given by place and by name reaches the closed layer; it prints as it was written."""
    lazy = nn.LazyConv2d(4, 3, padding=1, bias=False)
    assert repr(lazy) == "LazyConv2d(4, 3, padding=1, bias=False)"
    params, _ = lazy.init(KEY, (1, 2, 5, 5))
    assert params["weight"].shape == (3, 3, 2, 4) and "bias" not in params
    assert lazy.infer(jnp.ones((1, 2, 5, 5))) == nn.Conv2d(2, 4, 3, padding=1, bias=False)
    with pytest.raises(ValueError, match="input size of LazyConv2d is unknown. Pass an example"):
        lazy.init(KEY)
    with pytest.raises(ValueError, match="with 2 channels, but its shape is"):
        lazy.apply(params, {}, jnp.ones((1, 3, 5, 5)))


def test_activations_are_functions_too():
    """Every layer of activations.py has a function with PyTorch's name, and gives its values."""
    x = image(3, 4)
    layers = {
        name.lower(): layer
        for name, layer in vars(nn.activations).items()
        if isinstance(layer, type) and layer.__module__ == "funcgrad_nn.activations"
    }
    functions = {name.replace("_", ""): name for name in nn.functional.__all__}
    assert set(layers) - {"softmax2d"} == set(functions)
    for name, layer in layers.items():
        if name not in ("prelu", "threshold", "softmax2d"):
            function = getattr(nn.functional, functions[name])
            np.testing.assert_array_equal(layer().apply({}, {}, x)[0], function(jnp.asarray(x)))
