"""Choosing parameters by path; frozen ones cost no gradient work; sharing; ensembles."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)
TREE = {
    "encoder": {"0": {"weight": 1, "bias": 2}, "1": {"weight": 3}, "norm": {"bias": 4}},
    "head": {"weight": 5, "bias": 6},
}


def chosen(*patterns):
    return set(fg.tree.leaves(nn.partition(TREE, *patterns)[0]))


@pytest.mark.parametrize(
    "pattern, leaves",
    [
        ("encoder", {1, 2, 3, 4}),
        ("encoder/**", {1, 2, 3, 4}),
        ("encoder/*", {1, 2, 3, 4}),
        ("encoder/0", {1, 2}),
        ("encoder/[01]/weight", {1, 3}),
        ("*/weight", {5}),
        ("**/weight", {1, 3, 5}),
        ("**/bias", {2, 4, 6}),
        ("**/n*/bias", {4}),
        ("enc*/**/bias", {2, 4}),
        ("**", {1, 2, 3, 4, 5, 6}),
        ("head/weight", {5}),
        (lambda path, leaf: leaf > 4, {5, 6}),
        (lambda path, leaf: path.endswith("0/bias"), {2}),
    ],
)
def test_patterns(pattern, leaves):
    assert chosen(pattern) == leaves


def test_a_pattern_that_matches_nothing_is_an_error_with_the_paths():
    with pytest.raises(ValueError, match="mask: 'decoder/.*' matches no parameter.*encoder/0/wei"):
        nn.mask(TREE, "encoder", "decoder/**")
    with pytest.raises(ValueError, match="matches no parameter"):
        nn.freeze(TREE, "Head")


def test_masks_have_the_trees_shape():
    assert nn.mask(TREE, "head", "**/norm/bias") == {
        "encoder": {
            "0": {"weight": False, "bias": False},
            "1": {"weight": False},
            "norm": {"bias": True},
        },
        "head": {"weight": True, "bias": True},
    }
    assert set(fg.tree.leaves(nn.mask(TREE))) == {False}


def test_merge_undoes_partition():
    matching, rest = nn.partition(TREE, "**/weight")
    assert "norm" not in matching["encoder"] and "1" not in rest["encoder"]
    assert nn.merge(matching, rest) == TREE == nn.merge(rest, matching)
    with pytest.raises(ValueError, match="two of the trees have an entry at 'head/weight'"):
        nn.merge(TREE, {"head": {"weight": 0}})


MODEL = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(8, 8), nn.Tanh())))


def equations(patterns):
    """How many equations the gradient of the loss has with these parameters frozen."""
    params, state = MODEL.init(KEY)
    trainable, frozen = nn.freeze(params, *patterns) if patterns else (params, {})
    x = jnp.ones((2, 8))

    def loss(trainable, frozen, x):
        return MODEL.apply(nn.merge(trainable, frozen), state, x)[0].sum()

    jaxpr = fg.make_jaxpr(fg.grad(loss))(trainable, frozen, x)
    contractions = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    return len(jaxpr.eqns), len(contractions)


def test_frozen_parameters_cost_no_gradient_work():
    """Four products forward; back, one for each trained weight and one for each input of one.

    Training all: 4 forward, 4 for weights, 3 for inputs. With the first two layers frozen nothing
    behind them runs back: 4 forward, 2 for weights, 1 for an input.
    """
    all_equations, all_products = equations(())
    early, early_products = equations(("0", "2"))
    late, late_products = equations(("6",))
    assert (all_products, early_products, late_products) == (11, 7, 10)
    assert early < all_equations - 8 and late < all_equations


def test_training_moves_what_is_not_frozen_only():
    params, state = MODEL.init(KEY)
    trainable, frozen = nn.freeze(params, "0", "**/bias")
    optimizer = nn.optim.adamw(0.1, weight_decay=0.1)
    optimizer_state = optimizer.init(trainable)

    @fg.jit
    def step(trainable, frozen, optimizer_state):
        def loss(trainable):
            return (MODEL.apply(nn.merge(trainable, frozen), state, jnp.ones((2, 8)))[0] ** 2).sum()

        grads = fg.grad(loss)(trainable)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, trainable)
        return nn.optim.apply_updates(trainable, updates), optimizer_state

    trained = nn.merge(step(trainable, frozen, optimizer_state)[0], frozen)
    for name, layer in params.items():
        np.testing.assert_array_equal(trained[name]["bias"], layer["bias"])
        assert (np.asarray(trained[name]["weight"]) == layer["weight"]).all() == (name == "0")


def test_an_ensemble_trains_in_one_program():
    """Five models by vmap over `init` and the step; each is what it becomes when trained alone."""
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = nn.optim.adam(0.05)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(16, 2)).astype(np.float32))
    y = (x[:, :1] * x[:, 1:] > 0).astype(jnp.float32)

    def start(key):
        params, state = model.init(key)
        return params, state, optimizer.init(params)

    def loss(params, state):
        output, state = model.apply(params, state, x, train=True)
        return nn.mse(output, y), state

    def step(now):
        params, state, optimizer_state = now
        (value, state), grads = fg.value_and_grad(loss, has_aux=True)(params, state)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return (nn.optim.apply_updates(params, updates), state, optimizer_state), value

    keys = fg.random.split(KEY, 5)
    together, together_step = fg.vmap(start)(keys), fg.jit(fg.vmap(step))
    alone, alone_step = start(keys[3]), fg.jit(step)
    first = None
    for _ in range(30):
        together, losses = together_step(together)
        alone, own = alone_step(alone)
        first = losses if first is None else first
    assert losses.shape == (5,) and (np.asarray(losses) < 0.6 * np.asarray(first)).all()
    assert len(set(np.asarray(losses).tolist())) == 5
    np.testing.assert_allclose(losses[3], own, rtol=1e-3, atol=1e-5)


def test_a_shared_weight_gets_the_sum_of_both_gradients():
    layer = nn.Linear(3, 3, bias=False)
    shared, twins = nn.Sequential(layer, layer), nn.Sequential(layer, nn.Linear(3, 3, bias=False))
    params, state = shared.init(KEY)
    both = {"0": params["0"], "1": params["0"]}
    x = jnp.ones((2, 3))
    grad = fg.grad(lambda p: shared.apply(p, state, x)[0].sum())(params)
    apart = fg.grad(lambda p: twins.apply(p, state, x)[0].sum())(both)
    np.testing.assert_allclose(
        grad["0"]["weight"], apart["0"]["weight"] + apart["1"]["weight"], rtol=1e-5
    )


def test_fit_leaves_frozen_parameters_and_keeps_nothing_for_them():
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = nn.optim.adamw(0.05, weight_decay=0.1)
    x = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
    before = nn.training.start(model, optimizer, KEY, frozen=("0", "**/bias"))
    assert {len(fg.tree.leaves(part.mu)) for part in before.optimizer if hasattr(part, "mu")} == {1}
    fitted = nn.fit(
        model,
        [(x, x[:, :1])] * 20,
        loss=nn.mse,
        optimizer=optimizer,
        initial=before,
        frozen=("0", "**/bias"),
        progress=False,
        epochs=2,
    )
    for path, same in {("0", "weight"): True, ("0", "bias"): True, ("2", "weight"): False}.items():
        old, new = (tree[path[0]][path[1]] for tree in (before.params, fitted.params))
        assert bool((np.asarray(old) == np.asarray(new)).all()) == same
    assert fitted.history["train_loss"][-1] < fitted.history["train_loss"][0]
