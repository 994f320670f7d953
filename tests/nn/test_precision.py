"""Mixed precision: which dtypes go where, that it trains, and that float16 needs the loss scale."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (256, 2)).astype(np.float32)
Y = (np.hypot(*X.T) < 0.7).astype(np.int32)


class Watched(nn.Module):
    """Notes the dtypes that it sees."""

    def __init__(self):
        self.linear = nn.Linear(3, 3)

    def parameters(self, key):
        return {"scale": jnp.ones(()), "steps": jnp.zeros((), jnp.int32)}

    def forward(self, x, index):
        seen.update(
            x=x.dtype, index=index.dtype, scale=self.p.scale.dtype, steps=self.p.steps.dtype
        )
        y = self.linear(x)
        seen.update(y=y.dtype)
        return y, index


seen: dict = {}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_floats_are_cast_on_the_way_in_and_out_and_nothing_else(dtype):
    model = nn.MixedPrecision(Watched(), dtype)
    params, state = model.init(KEY)
    (y, index), _ = model.apply(params, state, jnp.ones((2, 3)), jnp.arange(2))
    assert {params["inner"]["scale"].dtype, y.dtype} == {np.dtype("f4")}
    assert {seen["x"], seen["y"], seen["scale"]} == {jnp.dtype(dtype)}
    assert {seen["index"], seen["steps"], index.dtype} == {np.dtype("i4")}
    kept, _ = nn.MixedPrecision(Watched(), dtype, dtype).apply(
        params, state, jnp.ones((2, 3)), jnp.arange(2)
    )
    assert kept[0].dtype == jnp.dtype(dtype)


def test_outside_of_it_the_same_module_computes_in_float32():
    layer = nn.Linear(3, 3)

    class Both(nn.Module):
        def __init__(self):
            self.narrow, self.wide = nn.MixedPrecision(layer), layer

        def forward(self, x):
            return self.narrow(x), self.wide(x)

    params, state = Both().init(KEY)
    x = jnp.asarray(RNG.normal(size=(5, 3)).astype(np.float32))
    (narrow, wide), _ = Both().apply(params, state, x)
    (weights,) = [p for p in fg.tree.leaves(params) if p.ndim == 2]
    np.testing.assert_allclose(wide, np.asarray(x) @ np.asarray(weights), rtol=1e-5, atol=1e-6)
    assert 0 < float(jnp.abs(narrow - wide).max()) < 0.05


def test_gradients_and_running_statistics_are_float32():
    model = nn.MixedPrecision(nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)))
    params, state = model.init(KEY)

    def loss(params):
        output, after = model.apply(params, state, X, train=True)
        return nn.cross_entropy(output, Y), after

    grads, after = fg.grad(loss, has_aux=True)(params)
    assert {leaf.dtype for leaf in fg.tree.leaves(grads)} == {np.dtype("f4")}
    # The statistics are those of bfloat16 activations, but are not themselves rounded to it.
    mean = np.asarray(after["inner"]["1"]["mean"])
    assert mean.dtype == np.float32 and (mean != mean.astype(jnp.bfloat16)).any()


def trained(model, optimizer, steps=150, factor=1.0, params=None):
    """Accuracy and the last optimizer state after training on `factor` times the loss."""
    params, state = model.init(KEY) if params is None else params
    now = (params, state, optimizer.init(params))

    @fg.jit
    def step(params, state, optimizer_state):
        scale = getattr(optimizer_state, "loss_scale", 1.0) * factor

        def loss(params):
            output, after = model.apply(params, state, X, train=True)
            return nn.cross_entropy(output, Y) * scale, after

        grads, after = fg.grad(loss, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return nn.optim.apply_updates(params, updates), after, optimizer_state

    for _ in range(steps):
        now = step(*now)
    output, _ = model.apply(now[0], now[1], X)
    return float(nn.accuracy(output, Y)), now[2], now[0]


def network():
    """Without a bias before the norm: its gradient is rounding noise, which Adam makes steps of."""
    return nn.Sequential(
        nn.Linear(2, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_trains(dtype):
    accuracy, _, params = trained(nn.MixedPrecision(network(), dtype), nn.optim.adam(0.02))
    assert accuracy > 0.95
    assert {leaf.dtype for leaf in fg.tree.leaves(params)} == {np.dtype("f4")}


def test_float16_needs_the_loss_scale():
    """A loss of a millionth: its gradients vanish in float16, unless the loss is scaled up first.

    Adam does not mind the size of gradients, so in float32 the factor changes nothing.
    """
    model, adam = nn.MixedPrecision(network(), jnp.float16), nn.optim.adam(0.02, eps=1e-15)
    without, _, _ = trained(model, adam, factor=1e-6)
    scaled, state, _ = trained(model, nn.dynamic_loss_scale(adam, 2.0**40), factor=1e-6)
    assert without < 0.8 and scaled > 0.95
    assert 2.0**15 < float(state.loss_scale) < 2.0**40  # too large at first, then right


def test_overflowing_steps_are_skipped_and_good_ones_make_the_scale_grow():
    optimizer = nn.dynamic_loss_scale(nn.optim.sgd(0.5, momentum=0.9), 8.0, growth_interval=3)
    w = jnp.array([1.0, 2.0])
    state = optimizer.init(w)
    bad = jnp.array([1.0, np.inf])
    updates, skipped = optimizer.update(bad, state, w)
    np.testing.assert_array_equal(updates, [0, 0])
    assert float(skipped.loss_scale) == 4.0
    for before, after in zip(
        fg.tree.leaves(state.inner), fg.tree.leaves(skipped.inner), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(before), np.asarray(after))

    scales, state = [], skipped
    for _ in range(7):
        _, state = fg.jit(optimizer.update)(w * state.loss_scale, state, w)
        scales.append(float(state.loss_scale))
    assert scales == [4.0, 4.0, 8.0, 8.0, 8.0, 16.0, 16.0]
    _, state = optimizer.update(bad * np.nan, state, w)
    assert float(state.loss_scale) == 8.0 and int(state.good_steps) == 0


def test_the_scale_never_becomes_infinite():
    """It would stay so, and every step from then on would be skipped."""
    optimizer = nn.dynamic_loss_scale(nn.optim.sgd(0.5), 2.0**126, growth_interval=1)
    w = jnp.array(1.0)
    state, scales = optimizer.init(w), []
    for _ in range(3):
        updates, state = optimizer.update(0.25 * state.loss_scale, state, w)
        assert float(updates) == -0.125
        scales.append(float(state.loss_scale))
    assert scales == [2.0**127] * 3


def test_the_inner_optimizer_sees_gradients_of_the_loss_itself():
    inner, w, g = nn.optim.adam(0.1), {"a": jnp.ones(3)}, {"a": jnp.array([1.0, -2.0, 0.5])}
    outer = nn.dynamic_loss_scale(inner, initial_scale=1024.0)
    scaled = fg.tree.map(lambda leaf: leaf * 1024, g)
    expected, _ = inner.update(g, inner.init(w), w)
    updates, _ = outer.update(scaled, outer.init(w), w)
    np.testing.assert_allclose(updates["a"], expected["a"], rtol=1e-6)


def test_small_float16_gradients_survive_the_division():
    outer = nn.dynamic_loss_scale(nn.optim.identity(), initial_scale=2.0**20)
    g = jnp.asarray([1.0], jnp.float16)
    updates, _ = outer.update(g, outer.init(g), g)
    assert float(updates[0]) == 2.0**-20 * 1.0 and updates.dtype == jnp.float32


def test_all_finite():
    assert bool(nn.all_finite({"a": jnp.ones(3), "b": jnp.arange(2)}))
    assert bool(nn.all_finite({}))
    for bad in (np.nan, np.inf, -np.inf):
        assert not bool(nn.all_finite({"a": jnp.ones(3), "b": jnp.array([0.0, bad])}))


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: nn.MixedPrecision(3), TypeError, "needs a module"),
        (lambda: nn.MixedPrecision(nn.ReLU(), jnp.int32), TypeError, "must be a floating dtype"),
        (lambda: nn.dynamic_loss_scale(nn.optim.sgd(1.0), 0.0), ValueError, "initial_scale > 0"),
    ],
)
def test_impossible_policies_are_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_policy_is_part_of_the_description():
    model = nn.MixedPrecision(nn.Linear(2, 2), jnp.float16, jnp.bfloat16)
    assert nn.from_json(model.to_json()) == model
    assert model != nn.MixedPrecision(nn.Linear(2, 2), jnp.float16)


def test_fit_scales_the_loss_by_itself():
    """In float16 with a loss of a millionth, as above; the history shows the loss unscaled."""
    model = nn.MixedPrecision(network(), jnp.float16)
    optimizer = nn.dynamic_loss_scale(nn.optim.adam(0.02, eps=1e-15), 2.0**40)
    fitted = nn.fit(
        model,
        [(X, Y)] * 50,
        loss=lambda outputs, targets: 1e-6 * nn.cross_entropy(outputs, targets),
        optimizer=nn.optim.chain(optimizer),
        epochs=3,
        key=KEY,
        metrics={"accuracy": nn.accuracy},
        progress=False,
    )
    losses = fitted.history["train_loss"]
    assert losses[0] < 1e-6 and losses[-1] < 0.3 * losses[0]
    assert fitted.history["train_accuracy"][-1] > 0.95
