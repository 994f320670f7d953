"""Modules inside loops and recomputation: state, keys, gradients, sizes, and lost state."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

KEY = fg.random.key(0)
X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


class Loop(nn.Module):
    """A block with state and randomness, applied several times: by a Python loop or by scan."""

    def __init__(self, how, width=3, rate=0.0):
        self.how = how
        self.norm, self.linear = nn.BatchNorm1d(width), nn.LazyLinear(width)
        self.drop = nn.Dropout(rate)

    def step(self, x, scale):
        y = self.drop(jnp.tanh(self.linear(self.norm(x))) * scale)
        return y, y.sum()

    def forward(self, x, scales):
        if self.how == "scan":
            return nn.scan(self, self.step, x, scales)
        sums = []
        for scale in scales:
            x, total = self.step(x, scale)
            sums.append(total)
        return x, jnp.stack(sums)


SCALES = jnp.array([1.0, 0.5, 2.0, -1.0])


def value_grads_state(model, wrap=lambda f: f):
    params, state = model.init(KEY, X, SCALES)

    def loss(params, state, x):
        (last, sums), after = model.apply(params, state, x, SCALES, train=True, key=KEY)
        return (last**2).sum() + (sums**2).sum(), after

    return wrap(fg.value_and_grad(loss, argnums=(0, 2), has_aux=True))(
        params, state, jnp.asarray(X)
    )


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit], ids=["eager", "jit"])
def test_scan_is_the_loop_written_out(wrap):
    """Values, gradients of shared parameters, and statistics that went from step to step."""
    expected, found = value_grads_state(Loop("loop")), value_grads_state(Loop("scan"), wrap)
    assert int(found[0][1]["norm"]["count"]) == 4
    assert fg.tree.structure(found) == fg.tree.structure(expected)
    for ours, wanted in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=2e-4, atol=2e-4)


def test_the_program_does_not_grow_with_the_steps():
    def size(count):
        model = Loop("scan")
        scales = jnp.ones(count)
        params, state = model.init(KEY, X, scales)
        return len(
            fg.make_jaxpr(lambda p: model.apply(p, state, X, scales, train=True))(params).eqns
        )

    assert size(2) == size(50)


class Masks(nn.Module):
    def __init__(self):
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        first = nn.scan(self, lambda c, _: (c, self.drop(x)), None, length=5)[1]
        second = nn.scan(self, lambda c, _: (c, self.drop(x)), None, length=5)[1]
        return jnp.concatenate([first, second, self.drop(x)[None]])


def test_each_step_of_each_scan_draws_other_numbers():
    masks = np.asarray(Masks().apply({}, {}, jnp.ones(64), train=True, key=KEY)[0])
    again = np.asarray(Masks().apply({}, {}, jnp.ones(64), train=True, key=KEY)[0])
    np.testing.assert_array_equal(masks, again)
    assert len({mask.tobytes() for mask in masks}) == 11


def test_scan_without_a_key_needs_none_outside_training():
    out, _ = Masks().apply({}, {}, jnp.ones(4))
    assert (np.asarray(out) == 1).all()
    with pytest.raises(ValueError, match="Dropout at 'drop' needs randomness"):
        Masks().apply({}, {}, jnp.ones(4), train=True)


def test_scan_runs_backwards_too():
    class Sums(nn.Module):
        def forward(self, xs):
            return nn.scan(self, lambda c, x: (c + x, c + x), 0.0, xs, reverse=True)

    (last, path), _ = Sums().apply({}, {}, jnp.array([1.0, 2.0, 3.0]))
    assert float(last) == 6 and path.tolist() == [6, 5, 3]


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit], ids=["eager", "jit"])
def test_cond_keeps_the_state_of_the_branch_taken(wrap):
    class Sometimes(nn.Module):
        def __init__(self):
            self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout(0.5)

        def forward(self, x, use):
            return nn.cond(self, use, lambda x: self.drop(self.norm(x)), lambda x: x, x)

    model = Sometimes()
    params, state = model.init(KEY, X, True)
    for use in (True, False):
        output, after = wrap(
            lambda x, use: model.apply(params, state, x, use, train=True, key=KEY)
        )(X, use)
        assert int(after["norm"]["count"]) == int(use)
        assert (np.asarray(output) == X).all() == (not use)


class Block(nn.Module):
    def __init__(self, again):
        self.again = again
        self.block = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 3)
        )

    def forward(self, x):
        block = nn.remat(self.block) if self.again else self.block
        return x + block(block(x))


def test_remat_is_the_block_itself_in_values_gradients_state_and_masks():
    results = []
    for again in (False, True):
        model = Block(again)
        params, state = model.init(KEY)

        def loss(params, model=model, state=state):
            output, after = model.apply(params, state, X, train=True, key=KEY)
            return (output**2).sum(), after

        results.append(fg.jit(fg.value_and_grad(loss, has_aux=True))(params))
    assert int(results[1][0][1]["block"]["1"]["count"]) == 2
    for ours, wanted in zip(*map(fg.tree.leaves, reversed(results)), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)


def test_remat_stores_inputs_instead_of_activations():
    """The equations of the gradient outside of checkpoint's have nothing of the inner width."""

    class Wide(nn.Module):
        def __init__(self, again):
            self.again = again
            self.block = nn.Sequential(nn.Linear(3, 4000), nn.Tanh(), nn.Linear(4000, 3))

        def forward(self, x):
            return nn.remat(self.block)(x) if self.again else self.block(x)

    def wide_values(again):
        """How many values of that width the derivative computes outside of what is recomputed."""
        model = Wide(again)
        params, state = model.init(KEY)
        grad = fg.grad(lambda p: model.apply(p, state, jnp.ones((7, 3)))[0].sum())
        jaxpr = fg.make_jaxpr(grad)(params)
        return sum(out.aval.shape == (7, 4000) for eqn in jaxpr.eqns for out in eqn.outs)

    assert wide_values(again=False) > 3
    assert wide_values(again=True) == 0


LOST = {
    "scan": lambda f, x: fg.lax.scan(lambda c, _: (f(c), None), x, None, length=2)[0],
    "checkpoint": lambda f, x: fg.checkpoint(f)(x),
    "cond": lambda f, x: fg.lax.cond(x.sum() > 0, f, lambda x: x, x),
    "jit": lambda f, x: fg.jit(f)(x),
}


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit], ids=["eager", "jit"])
def test_state_that_would_be_lost_is_a_clear_error(how, wrap):
    class Loses(nn.Module):
        def __init__(self):
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return LOST[how](self.norm, x)

    params, state = Loses().init(KEY)
    with pytest.raises(
        RuntimeError, match="state .of norm. was set inside.*Use nn.scan, nn.cond or"
    ):
        wrap(lambda p, s: Loses().apply(p, s, X, train=True))(params, state)
    Loses().apply(params, state, X)  # nothing is lost where nothing is set


@pytest.mark.parametrize("how", LOST)
def test_each_apply_sees_its_own_parameters_in_there(how):
    """A module in `forward` is no cached function: equal descriptions have other parameters."""

    class Inside(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            return LOST[how](self.linear, x)

    x = jnp.ones((2, 3))
    outputs = [Inside().apply(*Inside().init(fg.random.key(i)), x)[0] for i in (1, 2)]
    assert not np.allclose(*outputs)
    twice = [Inside().apply(*Inside().init(fg.random.key(i)), x)[0] for i in (1, 2)]
    np.testing.assert_array_equal(np.asarray(outputs), np.asarray(twice))


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit], ids=["eager", "jit"])
def test_keys_that_a_loop_would_repeat_are_a_clear_error(how, wrap):
    class Repeats(nn.Module):
        def __init__(self):
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return LOST[how](self.drop, self.drop(x))

    model = Repeats()
    with pytest.raises(RuntimeError, match="random key .of drop. was drawn inside.*Use nn.scan"):
        wrap(lambda key: model.apply({}, {}, X, train=True, key=key))(KEY)
    assert model.apply({}, {}, X)[0].shape == X.shape  # nothing is drawn outside training


@pytest.mark.parametrize("wrap", [fg.jit, fg.vmap, fg.grad])
def test_keys_that_are_traced_from_outside_are_fine(wrap):
    class Twice(nn.Module):
        def __init__(self):
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(x) + wrap(lambda x: self.drop(x).sum())(x).sum()

    outer = fg.vmap if wrap is fg.jit else fg.jit  # jit in forward traces by itself
    inner = Twice() if wrap is not fg.jit else nn.Dropout(0.5)
    keys = fg.random.split(KEY, 3) if outer is fg.vmap else KEY
    outer(lambda key: inner.apply({}, {}, X, train=True, key=key)[0])(keys)


@pytest.mark.parametrize("wrap", [fg.jit, fg.vmap, fg.grad])
def test_state_that_is_traced_from_outside_is_fine(wrap):
    layer = nn.BatchNorm1d(3)
    params, state = layer.init(KEY)

    def total(x):
        output, after = layer.apply(params, state, x, train=True)
        return (output * x).sum() + after["mean"].sum()

    x = jnp.asarray(X)
    wrap(total)(x[None] if wrap is fg.vmap else x)


def test_they_belong_inside_forward():
    for use in (nn.remat, lambda m: nn.scan(m, None, None), lambda m: nn.cond(m, 1, abs, abs, 1)):
        with pytest.raises(RuntimeError, match="exists only inside forward"):
            use(nn.Linear(1, 1))


def test_sizes_inside_a_scan_are_inferred_from_one_step():
    class Rows(nn.Module):
        def __init__(self):
            self.cell = nn.LazyLinear(3)

        def forward(self, h, xs):
            def step(h, x):
                h = jnp.tanh(self.cell(jnp.concatenate([h, x])))
                return h, {"twice": jnp.concatenate([h, h])}

            return nn.scan(self, step, h, xs)

    model = Rows()
    params, state = model.init(KEY, (3,), (7, 5))
    assert params["cell"]["weight"].shape == (8, 3)
    (last, path), _ = model.apply(params, state, jnp.ones(3), jnp.ones((7, 5)))
    assert last.shape == (3,) and path["twice"].shape == (7, 6)
    table = nn.summary(model, (3,), (7, 5))
    assert table.rows[0].output == "float32[3], float32[7, 6]"
