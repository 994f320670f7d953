"""Attention, transformers, recurrent layers: with PyTorch's weights, and their own laws."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad_nn.state_dict import from_state_dict, to_state_dict
from tests.nn.sequences import (
    BATCHES,
    ENCODER,
    KEY,
    MEMORY,
    POSITIONS,
    RNG,
    SECOND,
    X,
    close,
    decoder,
    draw,
    encoder,
    hidden,
    prepared,
)

# name: (constructor from a namespace, differentiated inputs, other arguments by name)
TABLE = {
    "MHA": (lambda n: n.MultiheadAttention(8, 2), (X, MEMORY, MEMORY), {}),
    "MHA, no bias": (lambda n: n.MultiheadAttention(8, 4, bias=False), (X, X, X), {}),
    "MHA, other widths": (
        lambda n: n.MultiheadAttention(8, 2, kdim=3, vdim=6),
        (X, draw(7, 2, 3), draw(7, 2, 6)),
        {},
    ),
    "MHA, other widths without bias": (
        lambda n: n.MultiheadAttention(8, 2, kdim=3, vdim=6, bias=False),
        (X, draw(7, 2, 3), draw(7, 2, 6)),
        {},
    ),
    "MHA, batch first": (
        lambda n: n.MultiheadAttention(8, 2, batch_first=True),
        (BATCHES, SECOND, SECOND),
        {},
    ),
    "MHA, weights of each head": (
        lambda n: n.MultiheadAttention(8, 2),
        (X, MEMORY, MEMORY),
        {"average_attn_weights": False},
    ),
    "MHA, without weights": (
        lambda n: n.MultiheadAttention(8, 2),
        (X, MEMORY, MEMORY),
        {"need_weights": False},
    ),
    "MHA, one sequence": (
        lambda n: n.MultiheadAttention(8, 2),
        (draw(5, 8), draw(7, 8), draw(7, 8)),
        {"key_padding_mask": hidden(7)},
    ),
    "MHA, bool masks": (
        lambda n: n.MultiheadAttention(8, 2),
        (X, MEMORY, MEMORY),
        {"attn_mask": hidden(5, 7), "key_padding_mask": hidden(2, 7)},
    ),
    "MHA, a mask for each head": (
        lambda n: n.MultiheadAttention(8, 2),
        (X, MEMORY, MEMORY),
        {"attn_mask": hidden(4, 5, 7)},
    ),
    "MHA, added masks": (
        lambda n: n.MultiheadAttention(8, 2),
        (X, MEMORY, MEMORY),
        {"attn_mask": draw(5, 7), "key_padding_mask": draw(2, 7)},
    ),
    "MHA, a learned key": (
        lambda n: n.MultiheadAttention(8, 2, 0.0, True, True),
        (X, MEMORY, MEMORY),
        {"attn_mask": hidden(5, 7), "key_padding_mask": hidden(2, 7)},
    ),
    "MHA, a learned key and zeros": (
        lambda n: n.MultiheadAttention(
            8, 2, add_bias_kv=True, add_zero_attn=True, kdim=3, vdim=6, batch_first=True
        ),
        (BATCHES, draw(2, 7, 3), draw(2, 7, 6)),
        {"attn_mask": draw(5, 7), "average_attn_weights": False},
    ),
    "encoder layer": (lambda n: n.TransformerEncoderLayer(**ENCODER), (X,), {}),
    "encoder layer, masks": (
        lambda n: n.TransformerEncoderLayer(**ENCODER, norm_first=True, activation="gelu"),
        (X,),
        {"src_mask": hidden(5, 5), "src_key_padding_mask": hidden(2, 5)},
    ),
    "encoder layer, no bias": (
        lambda n: n.TransformerEncoderLayer(**ENCODER, bias=False, layer_norm_eps=1e-3),
        (X,),
        {},
    ),
    "encoder": (encoder(2), (X,), {"mask": hidden(5, 5)}),
    "encoder, batch first, norm first": (
        encoder(2, norm=False, batch_first=True, norm_first=True),
        (BATCHES,),
        {"src_key_padding_mask": hidden(2, 5)},
    ),
    "decoder layer": (lambda n: n.TransformerDecoderLayer(**ENCODER), (X, MEMORY), {}),
    "decoder": (
        decoder(2),
        (X, MEMORY),
        {
            "tgt_mask": hidden(5, 5),
            "memory_mask": hidden(5, 7),
            "tgt_key_padding_mask": hidden(2, 5),
            "memory_key_padding_mask": hidden(2, 7),
        },
    ),
    "decoder, batch first, norm first": (
        decoder(1, batch_first=True, norm_first=True, activation="gelu"),
        (BATCHES, SECOND),
        {},
    ),
    "Transformer": (
        lambda n: n.Transformer(8, 2, 1, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True),
        (SECOND, BATCHES),
        {
            "tgt_mask": hidden(5, 5),
            "src_key_padding_mask": hidden(2, 7),
            "tgt_key_padding_mask": hidden(2, 5),
            "memory_key_padding_mask": hidden(2, 7),
        },
    ),
    "RNNCell": (lambda n: n.RNNCell(3, 4), (draw(2, 3), draw(2, 4)), {}),
    "RNNCell, relu, no bias": (
        lambda n: n.RNNCell(3, 4, bias=False, nonlinearity="relu"),
        (draw(2, 3),),
        {},
    ),
    "LSTMCell": (lambda n: n.LSTMCell(3, 4), (draw(2, 3), (draw(2, 4), draw(2, 4))), {}),
    "LSTMCell, a vector": (lambda n: n.LSTMCell(3, 4), (draw(3),), {}),
    "GRUCell": (lambda n: n.GRUCell(3, 4), (draw(2, 3), draw(2, 4)), {}),
    "GRUCell, no bias": (lambda n: n.GRUCell(3, 4, bias=False), (draw(2, 3),), {}),
    "RNN": (lambda n: n.RNN(3, 4), (draw(6, 2, 3),), {}),
    "RNN, relu, bidirectional": (
        lambda n: n.RNN(3, 4, 2, nonlinearity="relu", bias=False, bidirectional=True),
        (draw(6, 2, 3), draw(4, 2, 4)),
        {},
    ),
    "LSTM": (lambda n: n.LSTM(3, 4), (draw(6, 2, 3),), {}),
    "LSTM, two layers from a state": (
        lambda n: n.LSTM(3, 4, 2, batch_first=True, bidirectional=True),
        (draw(2, 6, 3), (draw(4, 2, 4), draw(4, 2, 4))),
        {},
    ),
    "LSTM, projected": (
        lambda n: n.LSTM(3, 5, 2, bidirectional=True, proj_size=2),
        (draw(6, 2, 3), (draw(4, 2, 2), draw(4, 2, 5))),
        {},
    ),
    "LSTM, one sequence": (
        lambda n: n.LSTM(3, 4, 2),
        (draw(6, 3), (draw(2, 4), draw(2, 4))),
        {},
    ),
    "GRU": (lambda n: n.GRU(3, 4), (draw(6, 2, 3),), {}),
    "GRU, two layers": (
        lambda n: n.GRU(3, 4, 2, batch_first=True, bidirectional=True),
        (draw(2, 6, 3), draw(4, 2, 4)),
        {},
    ),
}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", TABLE)
def test_same_as_torch(name):
    """Outputs, gradients of weights and of inputs, and PyTorch's state_dict both ways."""
    torch = pytest.importorskip("torch")
    make, inputs, options = TABLE[name]
    model, theirs = make(nn), make(torch.nn).train()
    params, state = prepared(model)
    exported = to_state_dict(model, params, state)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in exported.items()}, strict=True)
    tensors = fg.tree.map(lambda a: torch.tensor(a, requires_grad=True), inputs)
    theirs_options = {
        k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()
    }
    expected = [t for t in fg.tree.leaves(theirs(*tensors, **theirs_options)) if t is not None]
    cotangents = [draw(*t.shape) for t in expected]
    torch.autograd.backward(expected, [torch.tensor(c) for c in cotangents])

    def forward(params, inputs):
        return fg.tree.leaves(
            model.apply(params, state, *inputs, train=True, key=KEY, **options)[0]
        )

    outputs, pull_back = fg.vjp(forward, params, fg.tree.map(jnp.asarray, inputs))
    grads, of_inputs = pull_back([jnp.asarray(c) for c in cotangents])
    for ours, their in zip(outputs, expected, strict=True):
        close(ours, their.detach())
    for ours, their in zip(fg.tree.leaves(of_inputs), fg.tree.leaves(tensors), strict=True):
        close(ours, their.grad)
    flat = to_state_dict(model, grads, state)
    for key, parameter in theirs.named_parameters():
        close(flat[key], parameter.grad)
    loaded, _ = from_state_dict(model, params, state, exported)
    assert fg.tree.all(fg.tree.map(lambda a, b: (a == b).all(), loaded, params))


@pytest.mark.parametrize("name", TABLE)
def test_float32_in_float32_out_also_under_jit(name):
    make, inputs, options = TABLE[name]
    model = make(nn)
    params, state = model.init(KEY)
    run = fg.jit(lambda params, inputs: model.apply(params, state, *inputs, **options)[0])
    outputs = fg.tree.leaves(run(params, inputs))
    expected = fg.tree.leaves(model.apply(params, state, *inputs, **options)[0])
    assert {str(leaf.dtype) for leaf in outputs} == {"float32"}
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", TABLE)
def test_a_description_survives_json(name):
    model = TABLE[name][0](nn)
    assert nn.from_json(model.to_json()) == model
    again = nn.from_json(model.to_json()).init(KEY)
    assert fg.tree.all(fg.tree.map(lambda a, b: (a == b).all(), again, model.init(KEY)))


# -- recurrent layers ------------------------------------------------------------------------------

LENGTHS = [6, 1, 4]


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_lengths_are_torchs_packed_sequences(kind):
    torch = pytest.importorskip("torch")
    options = dict(num_layers=2, bidirectional=True)
    model, theirs = getattr(nn, kind)(3, 4, **options), getattr(torch.nn, kind)(3, 4, **options)
    params, state = prepared(model)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in to_state_dict(model, params).items()})
    x = draw(6, 3, 3)
    tensor = torch.tensor(x, requires_grad=True)
    pack = torch.nn.utils.rnn.pack_padded_sequence(tensor, LENGTHS, enforce_sorted=False)
    packed, last = theirs(pack)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(packed)
    expected = [padded, *fg.tree.leaves(last)]
    sum((t**2).sum() for t in expected).backward()

    def total(params, x):
        outputs = fg.tree.leaves(model.apply(params, state, x, lengths=LENGTHS)[0])
        return sum((leaf**2).sum() for leaf in outputs), outputs

    grads, outputs = fg.grad(total, argnums=(0, 1), has_aux=True)(params, jnp.asarray(x))
    for ours, their in zip(outputs, expected, strict=True):
        close(ours, their.detach())
    close(grads[1], tensor.grad)
    for name, parameter in theirs.named_parameters():
        close(grads[0][name], parameter.grad)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_is_its_cell_again_and_again(kind):
    layer, cell = getattr(nn, kind)(3, 4), getattr(nn, f"{kind}Cell")(3, 4)
    params, _ = prepared(layer)
    x, state = draw(6, 2, 3), None
    own = {name.removesuffix("_l0"): value for name, value in params.items()}
    expected = []
    for row in x:
        state, _ = cell.apply(own, {}, jnp.asarray(row), state)
        expected.append(fg.tree.leaves(state)[0])
    output, last = layer.apply(params, {}, x)[0]
    np.testing.assert_allclose(output, np.stack(expected), rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(fg.tree.leaves(last), fg.tree.leaves(state), strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-5, atol=1e-6)


def test_the_program_does_not_grow_with_the_length():
    layer = nn.LSTM(3, 4)
    params, _ = layer.init(KEY)
    sizes = {
        len(str(fg.make_jaxpr(lambda x: layer.apply(params, {}, x)[0])(draw(n, 2, 3))).splitlines())
        for n in (5, 50)
    }
    assert len(sizes) == 1


def test_initial_weights_lie_within_torchs_bound():
    params, _ = nn.GRU(3, 64).init(KEY)
    largest = max(float(jnp.abs(leaf).max()) for leaf in fg.tree.leaves(params))
    assert 0.99 / 8 < largest <= 1 / 8


# -- errors ----------------------------------------------------------------------------------------

ERRORS = {
    "embed_dim must be a multiple of num_heads, but got 8 and 3": lambda: nn.MultiheadAttention(
        8, 3
    ),
    "num_heads must be a multiple of num_kv_heads": lambda: nn.MultiheadAttention(
        8, 4, num_kv_heads=3
    ),
    "attn_mask must have shape": lambda: _run(
        nn.MultiheadAttention(8, 2), X, X, X, attn_mask=np.zeros((5, 4), bool)
    ),
    "key_padding_mask must have shape": lambda: _run(
        nn.MultiheadAttention(8, 2), X, X, X, key_padding_mask=np.zeros((5,), bool)
    ),
    "must be bool, True where a key is not seen": lambda: _run(
        nn.MultiheadAttention(8, 2), X, X, X, attn_mask=np.zeros((5, 5), np.int32)
    ),
    "value must have shape": lambda: _run(nn.MultiheadAttention(8, 2), X, X, draw(5, 2, 7)),
    "key and value must have equal lengths": lambda: _run(
        nn.MultiheadAttention(8, 2), X, X, MEMORY
    ),
    "activation must be a function or the name": lambda: nn.TransformerEncoderLayer(
        8, 2, activation="swosh"
    ),
    "num_layers must be at least 1": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2), 0
    ),
    "needs a layer to copy": lambda: nn.TransformerEncoder("layer", 2),
    "features must be even": lambda: nn.RotaryPositions(5),
    "must have shape \\(..., length, 4\\)": lambda: _run(nn.RotaryPositions(4), X),
    "nonlinearity must be 'tanh' or 'relu'": lambda: nn.RNN(3, 4, nonlinearity="gelu"),
    "proj_size must be 0": lambda: nn.LSTM(3, 4, proj_size=4),
    "the last size 3": lambda: _run(nn.LSTM(3, 4), X),
    "the state must have shapes": lambda: _run(nn.GRU(8, 4), X, jnp.zeros((2, 2, 4))),
    "lengths must be integers of shape \\(2,\\)": lambda: _run(nn.GRU(8, 4), X, lengths=[5]),
}


def _run(model, *inputs, **options):
    params, state = model.init(KEY)
    return model.apply(params, state, *map(jnp.asarray, inputs), **options)


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_needed(message):
    with pytest.raises((ValueError, TypeError), match=message):
        ERRORS[message]()


# -- under transformations, in other dtypes --------------------------------------------------------

WHOLE = {
    "encoder": (encoder(1)(nn), (X,)),
    "decoder": (decoder(1)(nn), (X, MEMORY)),
    "RNN": (nn.RNN(8, 4), (X,)),
    "LSTM": (nn.LSTM(8, 4, 2, bidirectional=True), (X,)),
    "GRU": (nn.GRU(8, 4), (X,)),
    "positions": (nn.Sequential(*(p(8, axis=0) for p in POSITIONS)), (X,)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_ensemble_is_a_vmap(name):
    model, inputs = WHOLE[name]
    many, state = fg.vmap(model.init)(fg.random.split(KEY, 3))
    run = fg.jit(fg.vmap(lambda p, s: fg.tree.leaves(model.apply(p, s, *inputs)[0])[0]))
    outputs = run(many, state)
    for i, output in enumerate(outputs):
        own = fg.tree.map(lambda leaf, i=i: leaf[i], many)
        expected = fg.tree.leaves(model.apply(own, {}, *inputs)[0])[0]
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", WHOLE)
def test_a_gradient_of_each_example_is_that_of_its_own_batch(name):
    """`vmap` of `grad` over the batch axis, which stands second here."""
    model, inputs = WHOLE[name]
    params, state = prepared(model)

    def total(params, *inputs):
        return (fg.tree.leaves(model.apply(params, state, *inputs)[0])[0] ** 2).sum()

    def one(params, *rows):
        return fg.grad(total)(params, *(row[:, None] for row in rows))

    arrays = [jnp.asarray(x) for x in inputs]
    each = fg.vmap(one, in_axes=(None, *(1 for _ in arrays)))(params, *arrays)
    whole = fg.grad(total)(params, *arrays)
    for ours, theirs in zip(fg.tree.leaves(each), fg.tree.leaves(whole), strict=True):
        scale = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(ours.sum(0), theirs, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", WHOLE)
def test_narrow_dtypes_stay_and_are_near(name, dtype):
    """Within a few roundings of the dtype; inputs alone in it are widened by the weights."""
    model, inputs = WHOLE[name]
    params, state = model.init(KEY)
    narrow = lambda tree: fg.tree.map(lambda leaf: jnp.asarray(leaf).astype(dtype), tree)
    first = lambda params, inputs: fg.tree.leaves(model.apply(params, state, *inputs)[0])[0]
    expected, output = first(params, inputs), first(narrow(params), narrow(inputs))
    assert output.dtype == dtype
    tolerance = 30 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(output.astype(np.float32), expected, rtol=tolerance, atol=tolerance)
    if name != "positions":
        assert first(params, narrow(inputs)).dtype == "float32"


@pytest.mark.parametrize("name", WHOLE)
def test_float64_stays_and_gradients_are_differences(name):
    model, inputs = WHOLE[name]
    params, state = model.init(KEY)
    with fg.enable_x64(True):
        wide = lambda tree: fg.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), tree
        )
        params, inputs = wide(params), wide(inputs)

        def total(params, *inputs):
            output = fg.tree.leaves(model.apply(params, state, *inputs)[0])[0]
            assert output.dtype == "float64"
            return jnp.sin(output).sum()

        grads = fg.grad(total)(params, *inputs)
        directions = fg.tree.map(lambda p: jnp.asarray(RNG.normal(size=p.shape)), params)
        moved = lambda step: fg.tree.map(lambda p, d: p + step * d, params, directions)
        quotient = (total(moved(1e-6), *inputs) - total(moved(-1e-6), *inputs)) / 2e-6
        products = fg.tree.map(lambda g, d: (g * d).sum(), grads, directions)
        slope = sum(fg.tree.leaves(products))
    np.testing.assert_allclose(slope, quotient, rtol=1e-6, atol=1e-6)
