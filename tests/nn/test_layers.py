"""Layers against PyTorch with copied weights, in values and gradients; initializers by variance."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)
RNG = np.random.default_rng(0)


def to_torch(layer, array):
    """Our weights in PyTorch's layout: dense (in, out) -> (out, in), kernels HWIO -> OIHW."""
    array = np.asarray(array)
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.T if isinstance(layer, nn.Linear) else array


def image(*shape):
    return RNG.normal(size=shape).astype(np.float32)


TABLE = {
    "Linear": (nn.Linear(5, 3), lambda n: n.Linear(5, 3), image(4, 5)),
    "Linear, no bias": (
        nn.Linear(5, 3, bias=False),
        lambda n: n.Linear(5, 3, bias=False),
        image(4, 5),
    ),
    "Linear of rank 1": (nn.Linear(5, 3), lambda n: n.Linear(5, 3), image(5)),
    "Linear of rank 4": (nn.Linear(5, 3), lambda n: n.Linear(5, 3), image(2, 1, 4, 5)),
    "D3 Conv2d": (nn.Conv2d(2, 4, 3), lambda n: n.Conv2d(2, 4, 3), image(2, 2, 7, 9)),
    "D3 Conv2d, all options": (
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        lambda n: n.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2),
        image(2, 4, 8, 7),
    ),
    "D3 Conv2d, same": (
        nn.Conv2d(2, 3, (4, 3), padding="same", bias=False),
        lambda n: n.Conv2d(2, 3, (4, 3), padding="same", bias=False),
        image(1, 2, 6, 5),
    ),
    "D3 Conv2d, a stride that does not divide": (
        nn.Conv2d(1, 2, 3, stride=3),
        lambda n: n.Conv2d(1, 2, 3, 3),
        image(1, 1, 10, 9),
    ),
    "D6 LayerNorm": (nn.LayerNorm(5), lambda n: n.LayerNorm(5), image(4, 5)),
    "D6 LayerNorm over two axes": (
        nn.LayerNorm((3, 5)),
        lambda n: n.LayerNorm((3, 5)),
        image(2, 4, 3, 5),
    ),
    "D6 LayerNorm, plain": (
        nn.LayerNorm(5, affine=False),
        lambda n: n.LayerNorm(5, elementwise_affine=False),
        image(2, 3, 5),
    ),
    "D6 LayerNorm, no bias": (
        nn.LayerNorm(5, bias=False),
        lambda n: n.LayerNorm(5, bias=False),
        image(2, 3, 5),
    ),
    "BatchNorm1d": (nn.BatchNorm1d(3), lambda n: n.BatchNorm1d(3), image(8, 3)),
    "BatchNorm1d, lengths": (nn.BatchNorm1d(3), lambda n: n.BatchNorm1d(3), image(4, 3, 5)),
    "BatchNorm2d": (
        nn.BatchNorm2d(3, momentum=0.3, eps=1e-3),
        lambda n: n.BatchNorm2d(3, 1e-3, 0.3),
        image(2, 3, 4, 5),
    ),
    "BatchNorm3d": (
        nn.BatchNorm3d(2, affine=False),
        lambda n: n.BatchNorm3d(2, affine=False),
        image(2, 2, 3, 2, 2),
    ),
    "MaxPool2d": (nn.MaxPool2d(2), lambda n: n.MaxPool2d(2), image(2, 3, 6, 7)),
    "D33 MaxPool2d of negative values": (
        nn.MaxPool2d(3, stride=2, padding=1),
        lambda n: n.MaxPool2d(3, 2, 1),
        -1 - image(1, 2, 7, 7) ** 2,
    ),
    "AvgPool2d": (nn.AvgPool2d((2, 3)), lambda n: n.AvgPool2d((2, 3)), image(2, 3, 6, 7)),
    "AvgPool2d, padded": (
        nn.AvgPool2d(3, stride=2, padding=1),
        lambda n: n.AvgPool2d(3, 2, 1),
        image(1, 2, 7, 7),
    ),
    "Flatten": (nn.Flatten(), lambda n: n.Flatten(), image(2, 3, 4)),
    "Flatten, part": (nn.Flatten(0, 1), lambda n: n.Flatten(0, 1), image(2, 3, 4)),
    "Identity": (nn.Identity(), lambda n: n.Identity(), image(2, 3)),
    "ReLU": (nn.ReLU(), lambda n: n.ReLU(), image(4, 5)),
    "LeakyReLU": (nn.LeakyReLU(0.2), lambda n: n.LeakyReLU(0.2), image(4, 5)),
    "ELU": (nn.ELU(0.7), lambda n: n.ELU(0.7), image(4, 5)),
    "GELU": (nn.GELU(), lambda n: n.GELU(), image(4, 5)),
    "GELU, tanh": (nn.GELU(approximate=True), lambda n: n.GELU("tanh"), image(4, 5)),
    "SiLU": (nn.SiLU(), lambda n: n.SiLU(), image(4, 5)),
    "Sigmoid": (nn.Sigmoid(), lambda n: n.Sigmoid(), image(4, 5)),
    "Tanh": (nn.Tanh(), lambda n: n.Tanh(), image(4, 5)),
    "Softplus": (nn.Softplus(), lambda n: n.Softplus(), image(4, 5)),
    "Softsign": (nn.Softsign(), lambda n: n.Softsign(), image(4, 5)),
    "D8 Softmax": (nn.Softmax(1), lambda n: n.Softmax(1), image(4, 5, 2)),
    "D8 LogSoftmax": (nn.LogSoftmax(), lambda n: n.LogSoftmax(-1), image(4, 5, 2)),
}


def randomised(tree):
    """Weights unlike their initial values, so that scales of one and biases of zero are seen."""
    return fg.tree.map(lambda p: jnp.asarray(RNG.normal(size=p.shape).astype(np.float32)), tree)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", TABLE)
def test_same_as_torch(name):
    """Values, all gradients and the state after training, to 1e-5 of the largest."""
    torch = pytest.importorskip("torch")
    layer, make, x = TABLE[name]
    theirs = make(torch.nn)
    params, state = layer.init(KEY)
    params = randomised(params)
    with torch.no_grad():
        for key, value in params.items():
            getattr(theirs, key).copy_(torch.tensor(to_torch(layer, value)))
    input_ = torch.tensor(x, requires_grad=True)
    expected = theirs(input_)
    cotangent = RNG.normal(size=expected.shape).astype(np.float32)
    expected.backward(torch.tensor(cotangent))

    def forward(params, x):
        return layer.apply(params, state, x, train=True)

    output, pull_back, after = fg.vjp(forward, params, jnp.asarray(x), has_aux=True)
    grads, dx = pull_back(jnp.asarray(cotangent))
    close(output, expected.detach())
    close(dx, input_.grad)
    for key, value in grads.items():
        close(to_torch(layer, value), getattr(theirs, key).grad)
    for key, value in after.items():
        close(value, getattr(theirs, f"running_{key}"))
    close(layer.apply(params, after, x)[0], theirs.eval()(torch.tensor(x)).detach())


def close(ours, theirs):
    theirs = theirs.numpy()
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("name", TABLE)
def test_D24b_float32_in_float32_out_also_under_jit(name):
    layer, _, x = TABLE[name]
    params, state = layer.init(KEY)
    output, after = fg.jit(lambda p, s, x: layer.apply(p, s, x, train=True))(params, state, x)
    assert {str(leaf.dtype) for leaf in fg.tree.leaves((params, after, output))} == {"float32"}
    np.testing.assert_allclose(
        output, layer.apply(params, state, x, train=True)[0], rtol=2e-5, atol=2e-5
    )


CHANNELS_LAST = {
    "Conv2d": lambda last: nn.Conv2d(2, 4, 3, padding="same", channels_last=last),
    "BatchNorm2d": lambda last: nn.BatchNorm2d(2, channels_last=last),
    "MaxPool2d": lambda last: nn.MaxPool2d(2, padding=1, channels_last=last),
    "AvgPool2d": lambda last: nn.AvgPool2d(2, channels_last=last),
}


@pytest.mark.parametrize("name", CHANNELS_LAST)
def test_channels_last_is_the_same_layer(name):
    first, last = (CHANNELS_LAST[name](flag) for flag in (False, True))
    x = image(2, 2, 6, 4)
    params, state = first.init(KEY)
    expected, _ = first.apply(params, state, x, train=True)
    output, _ = last.apply(params, state, x.transpose(0, 2, 3, 1), train=True)
    np.testing.assert_allclose(
        np.asarray(output).transpose(0, 3, 1, 2), expected, rtol=1e-5, atol=1e-5
    )


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
    assert sorted(params) == ["bias", "weight"] and sorted(state) == ["mean", "var"]
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
        (nn.Conv2d(3, 2, 1), image(1, 4, 5, 5), "needs an input NCHW with 3 channels"),
        (nn.LayerNorm((2, 3)), image(3, 2), r"last sizes of the input must be \(2, 3\)"),
        (nn.MaxPool2d(2), image(4, 4), "needs an input of rank 4"),
        (nn.Flatten(2, 1), image(1, 2, 3), "start=2 lies behind stop=1"),
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
