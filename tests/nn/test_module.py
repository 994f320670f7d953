"""The protocol of modules: init, apply, views, sharing, randomness, state, transformations."""

import copy
import threading

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)


class MLP(nn.Module):
    def __init__(self, hidden=8, rate=0.0):
        self.l1 = nn.Linear(4, hidden)
        self.drop = nn.Dropout(rate)
        self.l2 = nn.Linear(hidden, 2)

    def forward(self, x):
        return self.l2(self.drop(jnp.tanh(self.l1(x))))


class Tied(nn.Module):
    """One module under two names, inside and outside a container."""

    def __init__(self):
        self.first = nn.Linear(3, 3)
        self.blocks = [nn.Sequential(self.first, nn.Tanh()), nn.Linear(3, 3)]

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return x


class Counter(nn.Module):
    def initial_state(self):
        return {"calls": jnp.zeros((), jnp.int32)}

    def forward(self, x):
        self.set_state(calls=self.state.calls + 1)
        return x


def shapes(tree):
    return fg.tree.map(lambda leaf: tuple(leaf.shape), tree)


def leaves_equal(a, b):
    assert fg.tree.structure(a) == fg.tree.structure(b)
    for x, y in zip(fg.tree.leaves(a), fg.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_names_in_params_are_attribute_names():
    params, state = MLP().init(KEY)
    assert shapes(params) == {
        "l1": {"weight": (4, 8), "bias": (8,)},
        "l2": {"weight": (8, 2), "bias": (2,)},
    }
    assert state == {}
    assert list(MLP().modules()) == ["", "l1", "drop", "l2"]


def test_apply_is_the_written_computation():
    model = MLP()
    params, state = model.init(KEY)
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    output, same = model.apply(params, state, x)
    hidden = np.tanh(x @ np.asarray(params["l1"]["weight"]) + np.asarray(params["l1"]["bias"]))
    expected = hidden @ np.asarray(params["l2"]["weight"]) + np.asarray(params["l2"]["bias"])
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    assert same is state


def test_init_depends_on_key_and_path_only():
    first, _ = MLP().init(KEY)
    leaves_equal(first, MLP().init(KEY)[0])
    assert not np.allclose(first["l1"]["weight"], MLP().init(fg.random.key(1))[0]["l1"]["weight"])
    twins, _ = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).init(KEY)
    assert not np.allclose(twins["0"]["weight"], twins["1"]["weight"])
    longer, _ = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)).init(KEY)
    leaves_equal(twins["1"], longer["1"])


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
def test_init_and_apply_under_jit(wrap):
    model = MLP()
    params, state = wrap(model.init)(KEY)
    for a, b in zip(fg.tree.leaves(params), fg.tree.leaves(model.init(KEY)[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    x = jnp.ones((2, 4))
    output, _ = wrap(model.apply)(params, state, x)
    np.testing.assert_allclose(output, model.apply(params, state, x)[0], rtol=1e-5, atol=1e-6)


def test_ensemble_is_vmap_over_init_and_apply():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.LazyLinear(2))
    keys, x = fg.random.split(KEY, 3), jnp.linspace(-1, 1, 20).reshape(5, 4)
    params, state = fg.vmap(lambda key: model.init(key, x))(keys)
    outputs, states = fg.vmap(lambda p, s: model.apply(p, s, x, train=True))(params, state)
    assert outputs.shape == (3, 5, 2)
    for i in range(3):
        own, own_state = model.init(keys[i], x)
        output, after = model.apply(own, own_state, x, train=True)
        np.testing.assert_allclose(outputs[i], output, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(states["1"]["mean"][i], after["1"]["mean"], rtol=1e-4, atol=1e-6)


def test_grad_goes_through_apply():
    model = MLP()
    params, state = model.init(KEY)
    x = jnp.ones((3, 4))

    def loss(params):
        return model.apply(params, state, x)[0].sum()

    grads = fg.grad(loss)(params)
    assert shapes(grads) == shapes(params)
    np.testing.assert_allclose(grads["l2"]["bias"], [3.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(
        fg.jit(fg.grad(loss))(params)["l1"]["weight"], grads["l1"]["weight"], rtol=1e-5, atol=1e-6
    )


def test_a_module_used_twice_shares_its_parameters_at_the_first_path():
    model = Tied()
    params, state = model.init(KEY)
    assert shapes(params) == {
        "first": {"weight": (3, 3), "bias": (3,)},
        "blocks": {"1": {"weight": (3, 3), "bias": (3,)}},
    }
    x = jnp.ones((2, 3))
    w, b = (np.asarray(params["first"][name]) for name in ("weight", "bias"))
    v, c = (np.asarray(params["blocks"]["1"][name]) for name in ("weight", "bias"))
    expected = np.tanh((np.ones((2, 3)) @ w + b) @ w + b) @ v + c
    np.testing.assert_allclose(model.apply(params, state, x)[0], expected, rtol=1e-5, atol=1e-6)


def test_shared_state_is_seen_by_the_second_call():
    counter = Counter()
    model = nn.Sequential(counter, counter)
    params, state = model.init(KEY)
    _, state = model.apply(params, state, jnp.ones(2))
    assert int(state["0"]["calls"]) == 2


def test_state_goes_in_and_comes_out_and_nothing_is_stored():
    model = nn.Sequential(nn.Identity(), Counter())
    params, state = model.init(KEY)
    _, after = model.apply(params, state, jnp.ones(2))
    _, later = model.apply(params, after, jnp.ones(2))
    assert [int(s["1"]["calls"]) for s in (state, after, later)] == [0, 1, 2]
    _, jitted = fg.jit(model.apply)(params, state, jnp.ones(2))
    assert int(jitted["1"]["calls"]) == 1


def test_lists_and_dictionaries_of_modules_are_named_by_index_and_key():
    class Many(nn.Module):
        def __init__(self):
            self.steps = [nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)]
            self.heads = {"a": nn.Linear(2, 1), "b": nn.Linear(2, 3)}

        def forward(self, x):
            for step in self.steps:
                x = step(x)
            return {name: head(x) for name, head in self.heads.items()}

    params, state = Many().init(KEY)
    assert {name: list(part) for name, part in params.items()} == {
        "steps": ["0", "2"],
        "heads": ["a", "b"],
    }
    output, _ = Many().apply(params, state, jnp.ones((1, 2)))
    assert shapes(output) == {"a": (1, 1), "b": (1, 3)}


def test_sizes_are_inferred_from_arrays_structs_and_shapes():
    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(2))
    from_array, _ = model.init(KEY, jnp.ones((1, 7)))
    from_struct, _ = model.init(KEY, fg.ShapeDtypeStruct((3, 7), jnp.float32))
    from_shape, _ = model.init(KEY, (9, 7))
    fixed, _ = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2)).init(KEY)
    for other in (from_struct, from_shape, fixed):
        leaves_equal(from_array, other)


def test_open_sizes_without_an_input_are_an_error_with_the_path():
    with pytest.raises(ValueError, match=r"LazyLinear at '1' is unknown. Pass an example input"):
        nn.Sequential(nn.ReLU(), nn.LazyLinear(2)).init(KEY)


def test_an_open_layer_that_forward_skips_is_an_error():
    class Skips(nn.Module):
        def __init__(self):
            self.unused = nn.LazyLinear(2)

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match="'unused' is unknown. forward did not call it"):
        Skips().init(KEY, (1, 2))


def test_init_checks_forward_on_the_example():
    with pytest.raises(ValueError, match="last size of the input must be 4") as caught:
        MLP().init(KEY, (2, 5))
    assert "Linear at 'l1' on inputs float32[2, 5]" in caught.value.__notes__[0]


def test_calling_an_unbound_module_shows_the_right_call():
    with pytest.raises(RuntimeError) as caught:
        MLP()(jnp.ones((1, 4)))
    for part in (
        "MLP",
        "params, state = model.init(key)",
        "output, state = model.apply(params, state, x)",
        "self.name(x)",
    ):
        assert part in str(caught.value)


def test_a_view_does_not_outlive_its_apply():
    kept = []

    class Leaky(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(2, 2)

        def forward(self, x):
            kept.append(self.inner)
            return x

    params, state = Leaky().init(KEY)
    Leaky().apply(params, state, jnp.ones((1, 2)))
    with pytest.raises(RuntimeError, match="used after its apply had ended"):
        kept[0](jnp.ones((1, 2)))


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.p,
        lambda m: m.state,
        lambda m: m.train,
        lambda m: m.key(),
        lambda m: m.set_state(x=1),
    ],
)
def test_what_forward_uses_exists_only_inside_forward(use):
    with pytest.raises(RuntimeError, match="exists only inside forward"):
        use(nn.Linear(1, 1))


def test_modules_cannot_be_changed():
    model = MLP()
    with pytest.raises(AttributeError, match="MLP.l1: a module cannot be changed"):
        model.l1 = nn.Linear(1, 1)
    with pytest.raises(AttributeError, match="stay as they are"):
        del model.l1

    class Assigns(nn.Module):
        def forward(self, x):
            self.cache = x
            return x

    with pytest.raises(AttributeError, match="belong to the parameters or the state"):
        Assigns().apply({}, {}, jnp.ones(1))


def test_arrays_and_unhashable_options_are_refused():
    class Holds(nn.Module):
        def __init__(self, value):
            self.table = value

    with pytest.raises(TypeError, match="Holds.table: a module is a description and holds no arra"):
        Holds(jnp.ones(3))
    with pytest.raises(TypeError, match=r"Holds.table\[0\].*holds no arrays"):
        Holds([np.ones(3)])
    with pytest.raises(TypeError, match="must be hashable, but got set"):
        Holds({1, 2})


def test_reserved_names_are_refused():
    class Clash(nn.Module):
        def __init__(self):
            self.train = True

    with pytest.raises(AttributeError, match="Clash.train: this name belongs to Module"):
        Clash()


def test_missing_parameters_name_path_and_entry():
    model = MLP()
    params, state = model.init(KEY)
    with pytest.raises(ValueError, match="Linear at 'l2' needs the parameter 'weight'.*nothing"):
        model.apply({"l1": params["l1"]}, state, jnp.ones((1, 4)))
    with pytest.raises(TypeError, match="params must be a dictionary, but got"):
        model.apply(jnp.ones(3), state, jnp.ones((1, 4)))
    with pytest.raises(ValueError, match="no entry in initial_state"):

        class Sets(nn.Module):
            def forward(self, x):
                self.set_state(mean=x)

        Sets().apply({}, {}, jnp.ones(1))


def test_a_parameter_and_a_submodule_of_one_name_are_an_error():
    class Both(nn.Module):
        def __init__(self):
            self.weight = nn.Linear(1, 1)

        def parameters(self, key):
            return {"weight": jnp.ones(1)}

    with pytest.raises(ValueError, match="'weight' is both a parameter and a submodule"):
        Both().init(KEY)


def test_train_must_be_static_and_init_needs_a_key():
    with pytest.raises(TypeError, match="train must be True or False"):
        fg.jit(lambda t: nn.Identity().apply({}, {}, 1.0, train=t))(True)
    with pytest.raises(TypeError, match=r"random key first, such as random.key\(0\), but got int"):
        MLP().init(0)


def test_super_and_other_methods_work_on_views():
    class Base(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(2, 2)

        def helper(self, x):
            return 2 * self.inner(x)

        def forward(self, x):
            return self.helper(x)

    class Derived(Base):
        def forward(self, x):
            return super().forward(x) + 1

    params, state = Derived().init(KEY)
    x = jnp.ones((1, 2))
    base, _ = Base().apply(params, state, x)
    np.testing.assert_allclose(Derived().apply(params, state, x)[0], base + 1, rtol=1e-6)
    np.testing.assert_allclose(Derived().apply(params, state, x, method="helper")[0], base)


def test_keyword_inputs_reach_forward():
    class Scaled(nn.Module):
        def forward(self, x, *, factor=1.0):
            return x * factor

    class Outer(nn.Module):
        def __init__(self):
            self.scaled = Scaled()

        def forward(self, x, factor):
            return self.scaled(x, factor=factor)

    assert float(Outer().apply({}, {}, 2.0, factor=3.0)[0]) == 6.0


def test_exceptions_say_where_they_came_from_once():
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Lambda(lambda x: 1 / 0)))
    with pytest.raises(ZeroDivisionError) as caught:
        model.apply({}, {}, jnp.ones((2, 3)))
    assert caught.value.__notes__ == [
        "while running module Lambda at '1/0' on inputs float32[2, 3]"
    ]


def test_runs_in_two_threads_do_not_meet():
    """A barrier in forward forces both runs to be half-way at the same time."""
    barrier = threading.Barrier(2, timeout=30)

    class Meets(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(1, 1, bias=False)

        def forward(self, x):
            barrier.wait()
            y = self.inner(x)
            barrier.wait()
            return y, self.train

    model, results = Meets(), {}

    def run(weight, train):
        params = {"inner": {"weight": jnp.full((1, 1), weight)}}
        results[weight] = model.apply(params, {}, jnp.ones((1, 1)), train=train)[0]

    threads = [threading.Thread(target=run, args=(w, w > 1.5)) for w in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {w: (float(y[0, 0]), train) for w, (y, train) in results.items()} == {
        1.0: (1.0, False),
        2.0: (2.0, True),
    }


def test_deep_copies_are_other_modules():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, copy.deepcopy(layer))
    assert sorted(model.init(KEY)[0]) == ["0", "1"]
    assert sorted(nn.Sequential(layer, layer).init(KEY)[0]) == ["0"]


# -- dropout and noise ---------------------------------------------------------------------------


def dropped(rate, key=KEY, train=True, shape=(200, 100)):
    return np.asarray(nn.Dropout(rate).apply({}, {}, jnp.ones(shape), train=train, key=key)[0])


def test_D38_dropout_extremes():
    assert (dropped(1.0) == 0).all()
    assert (dropped(0.0) == 1).all()
    grad = fg.grad(lambda x: nn.Dropout(1.0).apply({}, {}, x, train=True, key=KEY)[0].sum())
    assert (np.asarray(grad(jnp.ones(5))) == 0).all()
    for rate in (-0.1, 1.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            nn.Dropout(rate)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_D38_D41_dropout_keeps_the_mean(rate):
    """`rate` is the share dropped, not kept; 250 000 draws have a mean within 1 % (> 2.5 sigma)."""
    y = dropped(rate, shape=(500, 500))
    assert abs(y.mean() - 1) < 0.01
    assert abs((y == 0).mean() - rate) < 0.01
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)


def test_D38_dropout_is_a_function_of_its_key():
    np.testing.assert_array_equal(dropped(0.5), dropped(0.5))
    assert (dropped(0.5) != dropped(0.5, fg.random.key(1))).any()


def test_D38_dropout_masks_differ_between_layers_and_calls():
    class Draws(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Dropout(0.5), nn.Dropout(0.5)

        def forward(self, x):
            return self.a(x), self.b(x), self.a(x)

    masks = Draws().apply({}, {}, jnp.ones(100), train=True, key=KEY)[0]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (np.asarray(masks[i]) != np.asarray(masks[j])).any()


def test_D41_dropout_is_the_identity_outside_training():
    assert (dropped(0.9, train=False, key=None) == 1).all()


def test_a_missing_key_names_the_layer():
    model = nn.Sequential(nn.Identity(), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"Dropout at '1' needs randomness, but apply got no key"):
        model.apply({}, {}, jnp.ones(3), train=True)


def test_gaussian_noise_has_its_deviation():
    layer = nn.GaussianNoise(0.3)
    y = np.asarray(layer.apply({}, {}, jnp.zeros((300, 300)), train=True, key=KEY)[0])
    assert abs(y.std() - 0.3) < 0.003 and abs(y.mean()) < 0.005
    assert (np.asarray(layer.apply({}, {}, jnp.zeros(3))[0]) == 0).all()
