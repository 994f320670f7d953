"""Each layer against PyTorch's of the same name: values, gradients, state and weights' layout.

One row a configuration: the constructor's call, which both libraries understand, and the input. A
layer without a row fails `test_every_layer_has_a_row`.
"""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)
RNG = np.random.default_rng(0)


def image(*shape):
    return RNG.normal(size=shape).astype(np.float32)


# Inputs of activations: numbers around zero, and the points where some curve has a kink.
CURVE = np.concatenate([4 * image(30), [-6, -3, -1, -0.5, 0, 0.5, 1, 3, 6, 30, -30]]).astype("f4")
INDICES = np.array([[1, 3, 3], [0, 1, 1]])

ROWS = [
    ("Linear(5, 3)", image(4, 5)),
    ("Linear(5, 3, False)", image(4, 5)),
    ("Linear(5, 3)", image(5)),
    ("Linear(5, 3)", image(2, 1, 4, 5)),
    ("Linear(5, 3)", image(0, 5)),
    ("LazyLinear(3)", image(4, 5)),
    ("Bilinear(3, 4, 5)", image(2, 6, 3), image(2, 6, 4)),
    ("Bilinear(3, 4, 5, False)", image(3), image(4)),
    ("Identity()", image(2, 3)),
    ("Embedding(4, 3)", INDICES),
    ("Embedding(4, 3, padding_idx=1)", INDICES),
    ("Embedding(4, 3, padding_idx=-1)", INDICES),
    ("Embedding(4, 3, scale_grad_by_freq=True)", INDICES),
    ("Embedding(4, 3, None, 0.7)", INDICES),
    ("Embedding(4, 3, None, 0.7, 1.0)", INDICES),
    # D3: images that are not square, strides that do not divide, padding, dilation, groups
    ("Conv1d(2, 4, 3)", image(2, 2, 9)),
    ("Conv1d(4, 6, 3, 2, 2, 2, 2, False)", image(3, 4, 11)),
    ("Conv1d(2, 3, 4, padding='same')", image(1, 2, 6)),
    ("Conv1d(2, 3, 2, padding='valid')", image(2, 6)),
    ("Conv2d(2, 4, 3)", image(2, 2, 7, 9)),
    ("Conv2d(2, 4, 3)", image(2, 7, 9)),
    ("Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2)", image(2, 4, 8, 7)),
    ("Conv2d(2, 3, (4, 3), padding='same', bias=False)", image(1, 2, 6, 5)),
    ("Conv2d(2, 3, 3, padding='same', dilation=2)", image(1, 2, 6, 5)),
    ("Conv2d(1, 2, 3, 3)", image(1, 1, 10, 9)),
    ("Conv2d(4, 8, 3, groups=4)", image(1, 4, 5, 4)),
    ("Conv2d(2, 3, 3, 2, 1, padding_mode='reflect')", image(1, 2, 6, 5)),
    ("Conv2d(2, 3, 3, 1, (2, 1), padding_mode='replicate')", image(1, 2, 6, 5)),
    ("Conv2d(2, 3, 3, 1, 2, padding_mode='circular')", image(1, 2, 6, 5)),
    ("Conv2d(2, 3, (4, 3), padding='same', padding_mode='circular')", image(1, 2, 6, 5)),
    ("Conv3d(2, 4, 2)", image(1, 2, 3, 4, 5)),
    ("Conv3d(2, 4, (2, 3, 1), 2, 1, (1, 2, 1), 2)", image(1, 2, 4, 6, 5)),
    ("LazyConv1d(4, 3, 2)", image(2, 3, 7)),
    ("LazyConv2d(4, 3, groups=2, bias=False)", image(2, 4, 5, 4)),
    ("LazyConv3d(4, 2)", image(1, 2, 3, 4, 3)),
    ("ConvTranspose1d(2, 4, 3)", image(2, 2, 5)),
    ("ConvTranspose1d(4, 6, 3, 3, 1, 2, 2, False, 2)", image(3, 4, 5)),
    ("ConvTranspose2d(2, 4, 3, 2)", image(1, 2, 4, 3)),
    ("ConvTranspose2d(2, 4, 3)", image(2, 4, 3)),
    ("ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, True, (2, 1))", image(2, 4, 5, 4)),
    ("ConvTranspose2d(2, 3, 2, 1, 3)", image(1, 2, 8, 7)),
    ("ConvTranspose3d(2, 4, 2, 2, 0, 1)", image(1, 2, 3, 2, 2)),
    ("LazyConvTranspose1d(4, 3, 2)", image(2, 3, 4)),
    ("LazyConvTranspose2d(4, 3, groups=2)", image(1, 2, 3, 4)),
    ("LazyConvTranspose3d(4, 2)", image(1, 2, 2, 3, 2)),
    # D33: what pooling pads on is never the largest
    ("MaxPool1d(2)", image(2, 3, 7)),
    ("MaxPool1d(3, 1, 1, 2, ceil_mode=True)", -1 - image(3, 8) ** 2),
    ("MaxPool2d(2)", image(2, 3, 6, 7)),
    ("MaxPool2d(3, 2, 1)", -1 - image(1, 2, 7, 7) ** 2),
    ("MaxPool2d((3, 2), (2, 3), (1, 0), (2, 1))", image(1, 2, 9, 8)),
    ("MaxPool2d(3, 2, 1, ceil_mode=True)", image(1, 2, 8, 9)),
    ("MaxPool2d(2, 3, 1, ceil_mode=True)", image(1, 2, 6, 7)),
    ("MaxPool2d(2)", np.zeros((1, 1, 4, 4), np.float32)),
    ("MaxPool3d(2, 1)", image(1, 2, 3, 4, 3)),
    ("AvgPool1d(3, 2, 1)", image(2, 3, 7)),
    ("AvgPool1d(3, 2, 1, True, False)", image(3, 8)),
    ("AvgPool2d((2, 3))", image(2, 3, 6, 7)),
    ("AvgPool2d(3, 2, 1)", image(1, 2, 7, 7)),
    ("AvgPool2d(3, 2, 1, count_include_pad=False)", image(1, 2, 7, 8)),
    ("AvgPool2d((3, 2), 2, 1, ceil_mode=True)", image(1, 2, 8, 10)),
    ("AvgPool2d(3, 2, 1, True, False)", image(1, 2, 8, 9)),
    ("AvgPool2d(2, divisor_override=3)", image(1, 2, 4, 6)),
    ("AvgPool3d(2, 1, 1)", image(1, 2, 3, 4, 3)),
    ("LPPool1d(3, 2)", np.abs(image(2, 3, 7))),
    ("LPPool2d(2, 3, 2, True)", image(1, 2, 8, 9)),
    ("LPPool2d(1, (3, 2))", np.abs(image(1, 2, 8, 9))),
    ("LPPool3d(2, 2)", image(1, 2, 4, 4, 2)),
    ("AdaptiveAvgPool1d(3)", image(2, 3, 7)),
    ("AdaptiveAvgPool2d(1)", image(2, 3, 4, 5)),
    ("AdaptiveAvgPool2d((3, None))", image(3, 7, 5)),
    ("AdaptiveAvgPool2d((9, 2))", image(1, 2, 4, 6)),
    ("AdaptiveAvgPool3d((2, 3, 1))", image(1, 2, 4, 5, 3)),
    ("AdaptiveMaxPool1d(3)", image(2, 3, 7)),
    ("AdaptiveMaxPool2d((2, 3))", image(2, 3, 4, 5)),
    ("AdaptiveMaxPool2d((9, 2))", image(3, 4, 6)),
    ("AdaptiveMaxPool3d((2, 3, 1))", image(1, 2, 4, 5, 3)),
    # D27, D32: statistics are compared too, after a step of training
    ("BatchNorm1d(3)", image(8, 3)),
    ("BatchNorm1d(3)", image(4, 3, 5)),
    ("BatchNorm1d(3, momentum=None)", image(4, 3, 5)),
    ("BatchNorm2d(3, 1e-3, 0.3)", image(2, 3, 4, 5)),
    ("BatchNorm2d(3, track_running_stats=False)", image(2, 3, 4, 5)),
    ("BatchNorm2d(3, bias=False)", image(2, 3, 4, 5)),
    ("BatchNorm3d(2, affine=False)", image(2, 2, 3, 2, 2)),
    ("LazyBatchNorm1d(0.1, 0.2)", image(8, 3)),
    ("LazyBatchNorm2d()", image(2, 3, 4, 5)),
    ("LazyBatchNorm3d(affine=False)", image(2, 3, 4, 2, 1)),
    ("InstanceNorm1d(3)", image(4, 3, 5)),
    ("InstanceNorm1d(3, affine=True)", image(3, 5)),
    ("InstanceNorm2d(3, 1e-2, 0.3, True, True)", image(4, 3, 4, 5)),
    ("InstanceNorm2d(3, track_running_stats=True)", image(3, 4, 5)),
    ("InstanceNorm2d(3, affine=True, bias=False)", image(4, 3, 4, 5)),
    ("InstanceNorm3d(2, affine=True)", image(2, 2, 3, 2, 2)),
    ("LazyInstanceNorm1d()", image(4, 3, 5)),
    ("LazyInstanceNorm1d(affine=True, track_running_stats=False)", image(4, 3, 5)),
    ("LazyInstanceNorm2d(1e-3, 0.2, True, True)", image(4, 3, 2, 5)),
    ("LazyInstanceNorm3d(affine=False, track_running_stats=False)", image(4, 3, 2, 5, 1)),
    # D6: gradients of layer norm for inputs of rank 2, 3 and 4
    ("LayerNorm(5)", image(4, 5)),
    ("LayerNorm(5, 0.1)", image(4, 3, 5)),
    ("LayerNorm((3, 5))", image(2, 4, 3, 5)),
    ("LayerNorm(5, elementwise_affine=False)", image(2, 3, 5)),
    ("LayerNorm(5, bias=False)", image(2, 3, 5)),
    ("GroupNorm(2, 6)", image(4, 6, 4, 5)),
    ("GroupNorm(3, 6, 1e-2)", image(4, 6)),
    ("GroupNorm(3, 6, bias=False)", image(2, 6, 3)),
    ("GroupNorm(1, 6, affine=False)", image(2, 6, 3)),
    ("RMSNorm(5)", image(4, 6, 5)),
    ("RMSNorm((6, 5), 0.1)", image(4, 6, 5)),
    ("RMSNorm(5, elementwise_affine=False)", image(5)),
    ("LocalResponseNorm(3, 0.5, 0.6, 2.0)", image(4, 6, 5)),
    ("LocalResponseNorm(4)", image(2, 6, 3, 2)),
    # random layers, outside training
    ("Dropout(0.4)", image(2, 3)),
    ("Dropout1d()", image(2, 3, 4)),
    ("Dropout2d(0.3)", image(2, 3, 4, 5)),
    ("Dropout3d(0.3)", image(2, 3, 2, 2, 2)),
    ("AlphaDropout(0.3)", image(2, 3)),
    ("FeatureAlphaDropout(0.3)", image(2, 3, 4)),
    ("RReLU()", CURVE),
    ("RReLU(0.2, 0.7)", CURVE),
    # moving values around
    ("Flatten()", image(2, 3, 4)),
    ("Flatten(0, 1)", image(2, 3, 4)),
    ("Unflatten(1, (2, 3))", image(2, 6, 4)),
    ("Unflatten(-1, (-1, 2))", image(2, 6, 4)),
    ("PixelShuffle(2)", image(2, 8, 3, 2)),
    ("PixelShuffle(3)", image(9, 3, 2)),
    ("PixelUnshuffle(2)", image(2, 3, 6, 4)),
    ("ChannelShuffle(3)", image(2, 6, 4)),
    ("Unfold((2, 3))", image(2, 3, 4, 5)),
    ("Unfold(2, (2, 1), (1, 2), 2)", image(3, 6, 5)),
    ("Fold((4, 5), (2, 3))", image(2, 12, 9)),
    ("Fold(5, 3, 1, 1, 2)", image(18, 9)),
    ("ConstantPad1d((1, -2), 0.5)", image(2, 3, 6)),
    ("ConstantPad2d(2, -1.5)", image(3, 4, 5)),
    ("ConstantPad3d((1, 2, 3, 0, -1, 1), 0.5)", image(1, 2, 3, 4, 5)),
    ("ZeroPad1d((2, 1))", image(2, 3, 4)),
    ("ZeroPad2d((1, 0, -1, 2))", image(1, 3, 4, 5)),
    ("ZeroPad3d(1)", image(1, 2, 2, 3, 2)),
    ("ReflectionPad1d((3, 1))", image(2, 3, 4)),
    ("ReflectionPad2d((1, 2, 0, 3))", image(2, 2, 6, 5)),
    ("ReflectionPad3d(1)", image(1, 2, 2, 3, 2)),
    ("ReplicationPad1d((3, 1))", image(2, 3, 4)),
    ("ReplicationPad2d((1, 5, 2, 3))", image(2, 2, 3, 5)),
    ("ReplicationPad3d((1, 0, 2, 1, 0, 3))", image(1, 2, 2, 3, 2)),
    ("CircularPad1d((3, 1))", image(2, 3, 4)),
    ("CircularPad2d((1, 2, 0, 3))", image(2, 2, 6, 5)),
    ("CircularPad3d(1)", image(1, 2, 2, 3, 2)),
    ("Upsample(scale_factor=2)", image(2, 3, 4)),
    ("Upsample((3, 7))", image(2, 3, 4, 5)),
    ("Upsample(scale_factor=1.7, mode='nearest-exact')", image(1, 2, 4, 5)),
    ("Upsample(scale_factor=(2, 1, 3))", image(1, 2, 3, 2, 2)),
    ("Upsample(7, mode='linear')", image(2, 2, 4)),
    ("Upsample(7, mode='linear', align_corners=True)", image(2, 2, 4)),
    ("Upsample(scale_factor=2.5, mode='bilinear')", image(1, 2, 4, 5)),
    ("Upsample((2, 9), mode='bilinear', align_corners=True)", image(1, 2, 4, 5)),
    ("Upsample((1, 3), mode='bilinear', align_corners=True)", image(1, 2, 4, 5)),
    ("Upsample(scale_factor=(2, 1.5), mode='bicubic')", image(1, 2, 4, 5)),
    ("Upsample(7, mode='bicubic', align_corners=True)", image(1, 2, 4, 5)),
    ("Upsample(5, mode='trilinear')", image(1, 2, 3, 2, 4)),
    # activations
    ("ReLU()", CURVE),
    ("ReLU6()", CURVE),
    ("LeakyReLU()", CURVE),
    ("LeakyReLU(0.2)", CURVE),
    ("PReLU()", CURVE),
    ("PReLU(3, 0.1)", image(2, 3, 4)),
    ("Threshold(1, 20)", CURVE),
    ("Hardtanh()", CURVE),
    ("Hardtanh(-3, 0.5)", CURVE),
    ("Hardsigmoid()", CURVE),
    ("Hardswish()", CURVE),
    ("Hardshrink()", CURVE),
    ("Hardshrink(1)", CURVE),
    ("Softshrink()", CURVE),
    ("Softshrink(3)", CURVE),
    ("Tanhshrink()", CURVE),
    ("Tanh()", CURVE),
    ("Sigmoid()", CURVE),
    ("LogSigmoid()", CURVE),
    ("SiLU()", CURVE),
    ("Mish()", CURVE),
    ("Softplus()", CURVE),
    ("Softplus(0.5, 1)", CURVE),
    ("Softsign()", CURVE),
    ("ELU(0.7)", CURVE),
    ("CELU(0.7)", CURVE),
    ("SELU()", CURVE),
    ("GELU()", CURVE),
    ("GELU('tanh')", CURVE),
    ("GLU()", image(3, 4)),
    ("GLU(1)", image(3, 4, 5)),
    ("Softmax(0)", image(7)),  # D8
    ("Softmax(1)", image(4, 5, 2)),
    ("Softmin(1)", image(4, 5, 2)),
    ("Softmax2d()", image(2, 4, 3, 2)),
    ("Softmax2d()", image(4, 3, 2)),
    ("LogSoftmax(-1)", image(4, 5, 2)),
    ("Sequential(n.Linear(3, 4), n.Tanh(), n.Linear(4, 2))", image(2, 3)),
]
ELSEWHERE = {"EmbeddingBag", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"}  # test_layers_places.py
ONLY_OURS = ELSEWHERE | {
    "GaussianNoise",
    "Lambda",
    "Parallel",
    "Reshape",
    "Residual",
}  # see test_layers.py
RANDOM = re.compile("Dropout|RReLU")
IDS = [f"{call} on {list(x.shape)}" for call, x, *_ in ROWS]
every_row = pytest.mark.parametrize("call, inputs", [(c, x) for c, *x in ROWS], ids=IDS)


def made(call, namespace):
    return eval(f"n.{call}", {"n": namespace})


def ready(call, inputs):
    """The layer, and parameters and state unlike their initial values."""
    layer = made(call, nn)
    params, state = layer.init(KEY, *inputs)
    params = fg.tree.map(lambda p: jnp.asarray(image(*p.shape)), params)
    state = {
        k: v if k == "count" else jnp.abs(jnp.asarray(image(*v.shape))) for k, v in state.items()
    }
    return layer, params, state


def test_every_layer_has_a_row():
    """Here; those of other files, such as attention and recurrent layers, in their own tests."""
    here = Path(nn.__file__).parent / "layers"
    ours = {path.stem for path in here.glob("*.py")} - {"attention", "transformer", "recurrent"}
    named = {name for call, *_ in ROWS for name in re.findall(r"(\w+)\(", call)}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    for name in nn.__all__:
        layer = getattr(nn, name)
        if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
            continue
        file = layer.__module__.rpartition(".")[2]
        if file in (ours | {"activations"}) - {"positional"}:
            assert name in named | ONLY_OURS, name
        else:
            assert re.search(rf"\.{name}\b", tests), name


def torch_layer(torch, call, inputs):
    """PyTorch's layer; a lazy one has seen the input's shape."""
    theirs = made(call, torch.nn)
    if "Lazy" in call:
        theirs(*(torch.zeros(x.shape) for x in inputs))
        theirs = theirs.float()
    return theirs


@pytest.mark.oracle
@pytest.mark.filterwarnings(
    "ignore:Using padding='same'", "ignore:Lazy modules", "ignore:input's size at dim=1"
)
@every_row
def test_same_as_torch(call, inputs):
    """Values, all gradients, the state after training, to 1e-5 of the largest; names exactly."""
    torch = pytest.importorskip("torch")
    layer, params, state = ready(call, inputs)
    theirs = torch_layer(torch, call, inputs)
    weights = nn.to_state_dict(layer, params, state)
    theirs.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    training = not RANDOM.search(call)
    theirs.train(training)
    given = [torch.tensor(x, requires_grad=x.dtype == np.float32) for x in inputs]
    expected = theirs(*given)
    cotangent = image(*expected.shape)
    if expected.requires_grad:
        expected.backward(torch.tensor(cotangent))

    def forward(params, *inputs):
        return layer.apply(params, state, *inputs, train=training)

    output, pull_back, after = fg.vjp(forward, params, *map(jnp.asarray, inputs), has_aux=True)
    grads, *input_grads = pull_back(jnp.asarray(cotangent))
    close(output, expected)
    for ours, their_input in zip(input_grads, given, strict=True):
        if their_input.requires_grad:
            close(ours, their_input.grad)
    named = nn.to_state_dict(layer, grads, {})
    for name, parameter in theirs.named_parameters():
        close(named[name], parameter.grad)
    theirs_after = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    ours_after = nn.to_state_dict(layer, params, after)
    assert list(ours_after) == list(theirs_after)
    if "None, 0.7" not in call:  # PyTorch scales long rows of an embedding in place
        for name, array in theirs_after.items():
            assert ours_after[name].dtype == array.dtype
            close(ours_after[name], array)
    close(layer.apply(params, after, *inputs)[0], theirs.eval()(*given))


def close(ours, theirs):
    theirs = theirs if isinstance(theirs, np.ndarray) else theirs.detach().numpy()
    assert ours.shape == theirs.shape
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5, atol=1e-5 * scale)


LEFT_OUT = {  # of no effect here, or deprecated there
    *("device", "dtype", "inplace", "sparse", "_weight", "_freeze", "min_value", "max_value"),
    *("recompute_scale_factor", "args", "kwargs"),
}
LEFT_OUT_OF = {name: {"return_indices"} for name in nn.__all__ if name.startswith("AdaptiveMax")}


@pytest.mark.oracle
def test_arguments_have_the_names_order_and_defaults_of_torch():
    """What PyTorch takes by position means the same here, as far as it can be given so."""
    torch = pytest.importorskip("torch")
    for name in {name for call, *_ in ROWS for name in re.findall(r"(\w+)\(", call)}:
        ours, theirs = (
            dict(inspect.signature(getattr(namespace, name).__init__).parameters)
            for namespace in (nn, torch.nn)
        )
        assert set(theirs) - set(ours) <= LEFT_OUT | LEFT_OUT_OF.get(name, {"padding_mode"}), name
        by_position = [n for n, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        shared = list(theirs)[: len(by_position)]
        assert by_position[: len(shared)] == shared or name == "Upsample", name
        for argument, parameter in theirs.items():
            if argument in ours and argument != "dim":
                assert ours[argument].default == parameter.default, (name, argument)


@every_row
def test_weights_survive_the_round_trip(call, inputs):
    """To PyTorch's layout and back gives the same bits, from the shapes of `init` alone."""
    layer, params, state = ready(call, inputs)
    shapes = fg.eval_shape(lambda key: layer.init(key, *inputs), KEY)
    back = nn.from_state_dict(layer, *shapes, nn.to_state_dict(layer, params, state))
    assert fg.tree.structure(back) == fg.tree.structure((params, state))
    for ours, given in zip(fg.tree.leaves(back), fg.tree.leaves((params, state)), strict=True):
        assert ours.dtype == given.dtype
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(given))


@every_row
def test_D24b_float32_in_float32_out_also_under_jit(call, inputs):
    layer, params, state = ready(call, inputs)

    def forward(params, state, *inputs):
        return layer.apply(params, state, *inputs, train=True, key=KEY)

    compiled, expected = (f(params, state, *inputs) for f in (fg.jit(forward), forward))
    for ours, eager in zip(fg.tree.leaves(compiled), fg.tree.leaves(expected), strict=True):
        assert ours.dtype == eager.dtype and ours.dtype in (np.float32, np.int32)
        np.testing.assert_allclose(np.asarray(ours), np.asarray(eager), rtol=2e-5, atol=2e-5)


@every_row
def test_layers_of_bfloat16_give_bfloat16(call, inputs):
    """Within the few bits of the narrow type; statistics are kept in float32 all the same."""
    layer, params, state = ready(call, inputs)
    narrow = [jnp.asarray(x, jnp.bfloat16) if x.dtype == np.float32 else x for x in inputs]
    weights = params if layer.full_precision else narrowed(params)
    output, after = layer.apply(weights, state, *narrow)
    expected, _ = layer.apply(params, state, *inputs)
    assert output.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in fg.tree.leaves(after)} <= {np.dtype("f4"), np.dtype("i4")}
    scale = max(1.0, float(jnp.abs(expected).max(initial=0)))
    np.testing.assert_allclose(
        np.asarray(output, np.float32), np.asarray(expected), rtol=0.05, atol=0.05 * scale
    )


def narrowed(tree):
    return fg.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)


@every_row
def test_descriptions_are_json(call, inputs):
    layer = made(call, nn)
    assert nn.from_json(layer.to_json()) == layer


def has_a_batch(call, x):
    layer = made(call, nn)
    return hasattr(layer, "channels_last") and x.ndim == getattr(layer, "rank", x.ndim - 2) + 2


WITH_CHANNELS_LAST = [(call, x) for call, x, *_ in ROWS if has_a_batch(call, x)]


@pytest.mark.parametrize("call, x", WITH_CHANNELS_LAST, ids=[c for c, _ in WITH_CHANNELS_LAST])
def test_channels_last_is_the_same_layer(call, x):
    first = made(call, nn)
    last = made(f"{call[:-1]}, channels_last=True)".replace("(, ", "("), nn)
    params, state = first.init(KEY, x)
    shapes, _ = last.init(KEY, np.moveaxis(x, 1, -1))
    assert fg.tree.map(jnp.shape, shapes) == fg.tree.map(jnp.shape, params)
    expected, after = first.apply(params, state, x, train=True)
    output, same = last.apply(params, state, np.moveaxis(x, 1, -1), train=True)
    np.testing.assert_allclose(np.moveaxis(np.asarray(output), -1, 1), expected, 1e-5, 1e-5)
    for ours, other in zip(fg.tree.leaves(same), fg.tree.leaves(after), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-5)
