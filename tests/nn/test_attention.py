"""Attention and positions: masks, shared heads, decoding with a cache, rotations."""

import itertools

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from tests.nn.sequences import (
    BATCHES,
    ENCODER,
    KEY,
    MEMORY,
    POSITIONS,
    SECOND,
    X,
    decoder,
    encoder,
    hidden,
    prepared,
)

# -- attention -------------------------------------------------------------------------------------


def test_causal_is_the_mask_of_the_future():
    model = nn.MultiheadAttention(8, 2)
    params, _ = prepared(model)
    future = ~np.tri(5, dtype=bool)
    by_flag = model.apply(params, {}, X, X, X, is_causal=True)[0]
    by_mask = model.apply(params, {}, X, X, X, attn_mask=future)[0]
    for ours, theirs in zip(by_flag, by_mask, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.triu(np.asarray(by_flag[1]), 1).any()


def test_attention_of_no_sequences():
    """The last batch of a filtered data set may be empty."""
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    nothing = jnp.zeros((0, 5, 8))
    (output, weights), _ = model.apply(*model.init(KEY), nothing, nothing, nothing)
    assert output.shape == (0, 5, 8) and weights.shape == (0, 5, 5)


def test_added_keys_are_seen_whatever_masks_say():
    """And with them a query whose keys are all hidden sees something."""
    model = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True, num_kv_heads=1)
    params, _ = prepared(model)
    assert params["bias_k"].shape == params["bias_v"].shape == (1, 1, 4)
    (_, causal), _ = model.apply(params, {}, X, X, X, is_causal=True)
    assert causal.shape == (2, 5, 7) and (np.asarray(causal)[:, 0, 1:5] == 0).all()
    (_, weights), _ = model.apply(params, {}, X, X, X, attn_mask=np.ones((5, 5), bool))
    assert (np.asarray(weights)[..., :5] == 0).all()
    np.testing.assert_allclose(np.asarray(weights).sum(-1), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="do not go with a cache"):
        model.apply(params, {}, X, X, X, cache=model.new_cache(2, 5))


def test_grouped_queries_are_attention_with_repeated_keys():
    """As the projections' rows repeated for each head that shares them."""
    grouped, full = nn.MultiheadAttention(8, 4, num_kv_heads=2), nn.MultiheadAttention(8, 4)
    params, _ = prepared(grouped)
    assert params["in_proj_weight"].shape == (8 + 2 * 4, 8)

    def repeated(rows):
        query, key, value = np.split(np.asarray(rows), [8, 12])
        heads = [np.repeat(part.reshape(2, 2, -1), 2, axis=0) for part in (key, value)]
        return jnp.asarray(np.concatenate([query, *(h.reshape(8, *rows.shape[1:]) for h in heads)]))

    same = {**params, **{k: repeated(params[k]) for k in ("in_proj_weight", "in_proj_bias")}}
    options = {"attn_mask": hidden(5, 7), "average_attn_weights": False}
    ours = grouped.apply(params, {}, X, MEMORY, MEMORY, **options)[0]
    for a, b in zip(ours, full.apply(same, {}, X, MEMORY, MEMORY, **options)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_query_that_sees_nothing_gets_zeros_and_gradients_are_finite():
    model = nn.MultiheadAttention(8, 2, bias=False)
    params, _ = prepared(model)
    mask = np.zeros((5, 7), bool)
    mask[2] = True

    def total(params, x):
        return (model.apply(params, {}, x, MEMORY, MEMORY, attn_mask=mask)[0][0] ** 2).sum()

    output, weights = model.apply(params, {}, X, MEMORY, MEMORY, attn_mask=mask)[0]
    assert not np.asarray(output)[2].any() and not np.asarray(weights)[:, 2].any()
    np.testing.assert_allclose(np.asarray(weights)[:, [0, 1, 3, 4]].sum(-1), 1, rtol=1e-5)
    grads = fg.grad(total, argnums=(0, 1))(params, jnp.asarray(X))
    assert all(np.isfinite(leaf).all() for leaf in fg.tree.leaves(grads))


@pytest.mark.parametrize("options", [{}, {"num_kv_heads": 1}, {"rotary": nn.RotaryPositions(4)}])
@pytest.mark.parametrize("pieces", [(1,) * 5, (3, 2), (5,)])
def test_decoding_with_a_cache_is_the_causal_whole(options, pieces):
    model = nn.MultiheadAttention(8, 2, batch_first=True, **options)
    params, _ = prepared(model)
    expected, _ = model.apply(params, {}, BATCHES, BATCHES, BATCHES, is_causal=True)[0]
    cache, outputs = model.new_cache(2, 6), []
    run = fg.jit(lambda x, c: model.apply(params, {}, x, x, x, is_causal=True, cache=c)[0])
    for end, size in zip(itertools.accumulate(pieces), pieces, strict=True):
        output, weights, cache = run(BATCHES[:, end - size : end], cache)
        assert weights.shape == (2, size, 6)
        outputs.append(output)
    np.testing.assert_allclose(np.concatenate(outputs, 1), expected, rtol=1e-4, atol=1e-5)
    assert cache["length"] == 5
    beyond = run(BATCHES[:, :2], cache)[0]
    assert np.isnan(beyond).all(), "seven vectors do not fit into six places"


def test_a_cache_without_causal_order_shows_what_has_been_written():
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    params, _ = prepared(model)
    _, _, cache = model.apply(params, {}, *[BATCHES[:, :3]] * 3, cache=model.new_cache(2, 9))[0]
    query = BATCHES[:, 3:]
    output, _, _ = model.apply(params, {}, query, query, query, cache=cache)[0]
    expected, _ = model.apply(params, {}, query, BATCHES, BATCHES)[0]
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_stacks_decode_with_caches(kind):
    make = encoder if kind == "encoder" else decoder
    model = make(2, batch_first=True, norm_first=True)(nn)
    params, state = prepared(model)
    more = () if kind == "encoder" else (SECOND,)
    causal = {"is_causal" if kind == "encoder" else "tgt_is_causal": True}
    expected = model.apply(params, state, BATCHES, *more, **causal)[0]

    @fg.jit
    def decode(params, tokens):
        """All positions, one by one, inside one compiled scan."""

        def one(cache, x):
            output, cache = model.apply(params, state, x[:, None], *more, **causal, cache=cache)[0]
            return cache, output[:, 0]

        return fg.lax.scan(one, model.new_cache(2, 5), jnp.swapaxes(tokens, 0, 1))[1]

    outputs = np.asarray(decode(params, BATCHES)).swapaxes(0, 1)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_layers_of_a_stack_have_their_own_parameters():
    params, _ = encoder(2)(nn).init(KEY)
    first, second = (params["layers"][i]["linear1"]["weight"] for i in "01")
    assert not (first == second).all()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_dropout_acts_while_training_only(share):
    models = (
        nn.MultiheadAttention(8, 2, dropout=share),
        nn.TransformerEncoderLayer(**{**ENCODER, "dropout": share}),
        nn.LSTM(8, 4, 2, dropout=share),
    )
    for model in models:
        params, state = model.init(KEY)
        inputs = (X, X, X) if isinstance(model, nn.MultiheadAttention) else (X,)
        used, *drawn = (
            fg.tree.leaves(model.apply(params, state, *inputs, train=train, key=key)[0])[0]
            for train, key in ((False, None), (True, KEY), (True, KEY), (True, fg.random.key(1)))
        )
        assert (drawn[0] == drawn[1]).all(), "the same key drops the same entries"
        assert bool((used == drawn[0]).all()) == (share == 0)
        assert bool((drawn[0] == drawn[2]).all()) == (share == 0)


# -- positions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [6, 5])
def test_sinusoidal_positions_are_the_papers_formula(features):
    out = nn.SinusoidalPositions(features, base=100.0).apply({}, {}, jnp.zeros((2, 4, features)))[0]
    for p, i in itertools.product(range(4), range(features)):
        angle = p / 100.0 ** ((i - i % 2) / features)
        expected = np.cos(angle) if i % 2 else np.sin(angle)
        np.testing.assert_allclose(np.asarray(out)[:, p, i], expected, atol=1e-6)


@pytest.mark.parametrize(
    "layer", [nn.SinusoidalPositions(8), nn.LearnedPositions(9, 8), nn.RotaryPositions(8)]
)
def test_positions_go_on_where_a_piece_begins(layer):
    params, _ = layer.init(KEY)
    whole = layer.apply(params, {}, BATCHES)[0]
    rest = fg.jit(lambda start: layer.apply(params, {}, BATCHES[:, 2:], start)[0])(2)
    np.testing.assert_allclose(np.asarray(whole)[:, 2:], rest, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", POSITIONS)
def test_positions_along_another_axis(layer):
    first, last = layer(8, axis=0), layer(8)
    params, _ = last.init(KEY)
    np.testing.assert_array_equal(
        first.apply(params, {}, X)[0].swapaxes(0, 1), last.apply(params, {}, X.swapaxes(0, 1))[0]
    )


def test_learned_positions_end():
    layer = nn.LearnedPositions(4, 8)
    params, _ = layer.init(KEY)
    with pytest.raises(ValueError, match="there are 4 positions, but the sequence needs 5"):
        layer.apply(params, {}, X.swapaxes(0, 1))
    beyond = layer.apply(params, {}, jnp.zeros((2, 8)), jnp.asarray(3))[0]
    assert np.isfinite(beyond[0]).all() and np.isnan(beyond[1]).all()


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_is_a_rotation_of_pairs(interleaved):
    """A complex number per pair, times e^(i angle)."""
    layer = nn.RotaryPositions(8, base=100.0, interleaved=interleaved)
    out = np.asarray(layer.apply({}, {}, BATCHES, 3)[0])

    def pairs(x):
        return x[..., 0::2] + 1j * x[..., 1::2] if interleaved else x[..., :4] + 1j * x[..., 4:]

    angles = np.arange(3, 8)[:, None] * 100.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(
        pairs(out), pairs(BATCHES) * np.exp(1j * angles), rtol=1e-5, atol=1e-5
    )


# -- every option does something -------------------------------------------------------------------

OPTIONS = {
    "memory_is_causal": (decoder(1)(nn), (X, MEMORY), {"memory_is_causal": True}),
    "tgt_is_causal": (decoder(1)(nn), (X, MEMORY), {"tgt_is_causal": True}),
    "is_causal": (encoder(1)(nn), (X,), {"is_causal": True}),
    **{
        f"Transformer, {name}": (nn.Transformer(8, 2, 1, 1, 16, 0.0), (MEMORY, X), {name: True})
        for name in ("src_is_causal", "tgt_is_causal", "memory_is_causal")
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_causal_flags_are_masks_of_the_future(name):
    model, inputs, options = OPTIONS[name]
    params, state = prepared(model)
    (flag,) = options
    sizes = {"src": 7, "tgt": 5, "is": 5, "memory": 5}[flag.split("_")[0]]
    keys = 7 if flag.startswith(("src", "memory")) else 5
    future = np.triu(np.ones((sizes, keys), bool), 1)
    masked = {"is_causal": "mask"}.get(flag, flag.replace("is_causal", "mask"))
    by_flag = model.apply(params, state, *inputs, **options)[0]
    by_mask = model.apply(params, state, *inputs, **{masked: future})[0]
    np.testing.assert_allclose(by_flag, by_mask, rtol=1e-5, atol=1e-6)
    assert not np.allclose(by_flag, model.apply(params, state, *inputs)[0], atol=1e-3)


@pytest.mark.parametrize("layer", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
def test_options_of_attention_reach_it(layer):
    rotary = nn.RotaryPositions(4)
    made = layer(8, 2, 16, num_kv_heads=1, rotary=rotary)
    assert made.self_attn.num_kv_heads == 1 and made.self_attn.rotary is rotary
    others = [part for path, part in made.modules().items() if path == "multihead_attn"]
    assert all(part.num_kv_heads == 1 and part.rotary is None for part in others)
    cache = made.new_cache(3, 9, jnp.bfloat16)
    assert cache["key"].shape == (3, 1, 9, 4) and cache["value"].dtype == jnp.bfloat16


def test_initial_vectors_of_positions_are_chosen():
    params, _ = nn.LearnedPositions(3, 2, weight_init="ones").init(KEY)
    assert params["weight"].tolist() == [[1.0, 1.0]] * 3
