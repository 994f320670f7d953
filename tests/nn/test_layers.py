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


def test_D16_a_sequential_of_nothing_is_the_identity():
    model = nn.Sequential()
    assert model.init(KEY) == ({}, {})
    assert model.apply({}, {}, 3.0)[0] == 3.0


def test_residual_reshape_and_lambda():
    x = image(2, 6)
    assert nn.Reshape(2, -1).apply({}, {}, x)[0].shape == (2, 2, 3)
    np.testing.assert_array_equal(nn.Residual(nn.Identity()).apply({}, {}, x)[0], 2 * x)
    np.testing.assert_array_equal(nn.Lambda(np.negative).apply({}, {}, x)[0], -x)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.Linear(0, 1), "in_features must be at least 1, but got 0"),
        (lambda: nn.Linear(1, 2.0), "out_features must be an integer, but got float"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2 must divide"),
        (lambda: nn.Conv2d(3, 4, 3, padding="all"), '"same" or "valid"'),
        (lambda: nn.Lambda(3), "needs a function"),
        (lambda: nn.GaussianNoise(-1.0), "must not be negative"),
    ],
)
def test_impossible_layers_are_errors(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_wrong_inputs_name_the_layer_and_the_shape():
    for layer, x, message in (
        (nn.Linear(3, 2), image(4, 5), r"Linear: the last size of the input must be 3.*\(4, 5\)"),
        (
            nn.Conv2d(3, 2, 1),
            image(1, 4, 5, 5),
            r"needs an input NCHW \(or without N\) with 3 channels",
        ),
        (nn.LayerNorm((2, 3)), image(3, 2), r"last sizes of the input must be \(2, 3\)"),
        (nn.MaxPool2d(2), image(4, 4), "must have rank 4 or 3"),
        (nn.Flatten(2, 1), image(1, 2, 3), "start_dim=2 lies behind end_dim=1"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.apply(*layer.init(KEY), x)


# -- initializers ----------------------------------------------------------------------------------

VARIANCE = {
    "glorot_uniform": lambda i, o: 2 / (i + o),
    "glorot_normal": lambda i, o: 2 / (i + o),
    "he_uniform": lambda i, o: 2 / i,
    "he_normal": lambda i, o: 2 / i,
    "lecun_uniform": lambda i, o: 1 / i,
    "lecun_normal": lambda i, o: 1 / i,
}


@pytest.mark.parametrize("shape", [(500, 2000), (5, 5, 100, 400)], ids=["dense", "conv"])
@pytest.mark.parametrize("name", VARIANCE)
def test_D17_variances(name, shape):
    """A million draws: the sample variance is within 2 % (more than ten standard errors)."""
    values = np.asarray(nn.init.draw(name, KEY, shape))
    field = np.prod(shape[:-2], dtype=int)
    expected = VARIANCE[name](field * shape[-2], field * shape[-1])
    assert abs(values.var() / expected - 1) < 0.02
    assert abs(values.mean()) < 0.01 * np.sqrt(expected)


def test_D45_truncated_normals_stay_within_two_deviations():
    values = np.asarray(nn.init.draw("truncated_normal", KEY, (1000, 1000)))
    assert np.abs(values).max() <= 0.02 * (1 + 1e-6)
    he = np.asarray(nn.init.draw("he_normal", KEY, (1000, 100)))
    # The variance lost by the cut is given back by a wider normal: 0.8796 is its deviation.
    assert np.abs(he).max() <= 2 * np.sqrt(2 / 1000) / 0.87962566 * (1 + 1e-6)


def test_other_initializers():
    assert (np.asarray(nn.init.draw(0.5, KEY, (3,))) == 0.5).all()
    assert (np.asarray(nn.init.draw("ones", KEY, (3,))) == 1).all()
    q = np.asarray(nn.init.draw("orthogonal", KEY, (6, 4)))
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-5)
    params, _ = nn.Linear(
        2, 3, weight_init=lambda key, shape, dtype: jnp.full(shape, 7, dtype), bias_init=1
    ).init(KEY)
    assert (np.asarray(params["weight"]) == 7).all() and (np.asarray(params["bias"]) == 1).all()
    with pytest.raises(ValueError, match="initializer 'xavier' is not known. Use one of zeros"):
        nn.Linear(2, 3, weight_init="xavier").init(KEY)
    with pytest.raises(TypeError, match="name, a number or a function"):
        nn.init.draw([1], KEY, (1,))


@pytest.mark.parametrize("name", nn.init.INITIALIZERS)
def test_initializers_are_functions_of_their_key(name):
    first, again = (np.asarray(nn.init.draw(name, KEY, (4, 3))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
