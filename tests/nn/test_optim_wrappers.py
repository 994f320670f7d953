"""Transformations around transformations: against optax where it has them, else written out."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn import optim
from tests.nn.optim_paths import (
    GRADS,
    PARAMS,
    STEPS,
    Optax,
    assert_same_paths,
    run_counted,
    run_optax,
    run_ours,
)

LABELS = {"w": "slow", "b": {"c": "fast"}}
OPTAX = {
    "masked": lambda o: o.masked(o.adam(1e-2), {"w": True, "b": {"c": False}}),
    "multi_transform": lambda o: o.multi_transform(
        {"slow": o.sgd(0.01, momentum=0.9), "fast": o.adam(0.01), "none": o.sgd(1.0)}, LABELS
    ),
    "set_to_zero": lambda o: o.multi_transform(
        {"slow": o.set_to_zero(), "fast": o.adam(0.01)}, LABELS
    ),
    "ema": lambda o: o.chain(o.ema(0.8), o.sgd(0.1)),
    "ema, biased": lambda o: o.chain(o.ema(0.8, debias=False), o.sgd(0.1)),
    "ema, float16": lambda o: o.chain(o.ema(0.8, accumulator_dtype=np.float16), o.sgd(0.01)),
    "apply_every": lambda o: o.chain(o.sgd(0.1), o.apply_every(3)),
    "MultiSteps": lambda o: o.MultiSteps(o.adam(0.01), 3).gradient_transformation(),
    "MultiSteps, sum": lambda o: o.MultiSteps(
        o.adam(0.01), 4, use_grad_mean=False
    ).gradient_transformation(),
    "MultiSteps, schedule": lambda o: o.MultiSteps(
        o.sgd(0.1), lambda step: step + 1
    ).gradient_transformation(),
    "apply_if_finite": lambda o: o.apply_if_finite(o.adam(0.01), 5),
    "MultiSteps, float16": lambda o: o.MultiSteps(
        o.sgd(1e-3), 3, accumulator_dtype=np.float16
    ).gradient_transformation(),
    "injected": lambda o: o.inject_hyperparams(o.adam)(learning_rate=0.01, b1=0.8),
    "injected, scheduled": lambda o: o.inject_hyperparams(o.sgd)(
        learning_rate=lambda t: 0.1 / (1.0 + t), momentum=0.9
    ),
    "sam": lambda o: o.sam(o.sgd(0.1), o.sgd(0.05)),
    "sam, longer": lambda o: o.sam(o.adam(0.01), o.sgd(0.05, momentum=0.9), 3, reset_state=False),
    "normalized": lambda o: o.normalize_by_update_norm(0.5, 1e-3),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", OPTAX)
def test_same_as_optax(name):
    assert_same_paths(run_ours(OPTAX[name](optim)), run_optax(OPTAX[name](Optax())))


@pytest.mark.parametrize("name", OPTAX)
def test_eager_is_jitted(name):
    optimizer = OPTAX[name](optim)
    assert_same_paths(run_ours(optimizer, jit=False), run_ours(optimizer), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OPTAX)
def test_states_keep_structure_and_dtypes_so_that_one_compilation_serves(name):
    params, traces = run_counted(OPTAX[name](optim), jnp.bfloat16, 4)
    assert traces == 1
    assert {str(p.dtype) for p in fg.tree.leaves(params)} == {"bfloat16"}


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        dict(factor=0.5, patience=3),
        dict(factor=0.1, patience=2, rtol=0.2, cooldown=2),
        dict(factor=0.5, patience=1, atol=0.1, accumulation_size=2, min_scale=0.2),
    ],
)
def test_reduce_on_plateau_is_optax_s(options):
    optax = pytest.importorskip("optax")
    values = np.concatenate(
        [np.linspace(2, 1, 6), np.full(12, 1.0), [0.5, 0.9, 0.9, 0.9, 0.2, 0.2]]
    )
    ours, theirs = optim.reduce_on_plateau(**options), Optax().reduce_on_plateau(**options)
    update = fg.jit(lambda g, s, v: ours.update(g, s, value=v))
    state, other = ours.init(jnp.ones(2)), theirs.init(np.ones(2, np.float32))
    for value in values.astype(np.float32):
        updates, state = update(jnp.ones(2), state, value)
        expected, other = theirs.update(optax.tree.ones_like(np.ones(2)), other, value=value)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)
        assert int(state.plateau_count) == int(other.plateau_count)
        assert int(state.cooldown_count) == int(other.cooldown_count)
    assert float(state.scale) < 1


def test_reduce_on_plateau_works_in_a_chain():
    optimizer = optim.chain(optim.sgd(1.0), optim.reduce_on_plateau(factor=0.5, patience=2))
    state = optimizer.init(jnp.float32(0.0))
    for _ in range(3):
        updates, state = optimizer.update(jnp.float32(1.0), state, value=1.0)
    assert float(updates) == -0.5
    with pytest.raises(ValueError, match="value=loss"):
        optimizer.update(jnp.float32(1.0), state)
    with pytest.raises(ValueError, match="not 0 together with atol, but got rtol=0"):
        optim.reduce_on_plateau(rtol=0)
    with pytest.raises(ValueError, match="rtol must be in .* but got rtol=1.5"):
        optim.reduce_on_plateau(rtol=1.5)
    assert optim.reduce_on_plateau(rtol=1.0) and optim.reduce_on_plateau(rtol=0, atol=0.1)


@pytest.mark.oracle
@pytest.mark.parametrize("reset", [False, True])
def test_lookahead_is_optax_s(reset):
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    ours = optim.lookahead(optim.sgd(0.1, 0.9), 3, 0.4, reset)
    theirs = optax.lookahead(optax.sgd(0.1, 0.9), 3, 0.4, reset)
    params = optim.LookaheadParams.init_synced(fg.tree.map(jnp.asarray, PARAMS))
    other = optax.LookaheadParams.init_synced(jax.tree.map(jax.numpy.asarray, PARAMS))
    state, other_state = ours.init(params), theirs.init(other)
    for grads in GRADS:
        updates, state = fg.jit(ours.update)(fg.tree.map(jnp.asarray, grads), state, params)
        params = optim.apply_updates(params, updates)
        expected, other_state = theirs.update(grads, other_state, other)
        other = optax.apply_updates(other, expected)
        for a, b in zip(fg.tree.leaves(params), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=2e-6)
    with pytest.raises(
        TypeError, match="lookahead: update needs the parameters as LookaheadParams"
    ):
        ours.update(params.fast, state, params.fast)


def test_sam_takes_the_gradient_of_the_climbed_point():
    """Opaque and step by step agree, and both are the equations of the paper."""

    def loss(w):
        return (w**4).sum() + w[0] * w[1]

    start, rho, rate = jnp.array([1.0, -0.5]), 0.1, 0.05
    climb = optim.chain(optim.normalize_by_update_norm(eps=0.0), optim.sgd(rho))
    gradient = fg.grad(loss)
    g = gradient(start)
    expected = start - rate * gradient(start + rho * g / optim.global_norm(g))

    opaque = optim.sam(optim.sgd(rate), climb, opaque_mode=True)
    updates, _ = opaque.update(
        g, opaque.init(start), start, grad_fn=lambda params, i: gradient(params)
    )
    np.testing.assert_allclose(start + updates, expected, rtol=1e-6)

    stepwise, params = optim.sam(optim.sgd(rate), climb), start
    state = stepwise.init(params)
    for _ in range(2):
        updates, state = stepwise.update(gradient(params), state, params)
        params = params + updates
    np.testing.assert_allclose(params, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="grad_fn=f"):
        opaque.update(g, opaque.init(start), start)


def test_multi_steps_is_one_step_with_the_mean():
    optimizer = optim.MultiSteps(optim.adam(0.1), 4)
    params = fg.tree.map(jnp.asarray, PARAMS)
    state = optimizer.init(params)
    for i, grads in enumerate(GRADS[:4]):
        assert not bool(optimizer.has_updated(state))
        updates, state = optimizer.update(grads, state, params)
        moved = any((np.asarray(u) != 0).any() for u in fg.tree.leaves(updates))
        assert moved == (i == 3)
    assert bool(optimizer.has_updated(state))
    mean = fg.tree.map(lambda *g: np.mean(g, 0), *GRADS[:4])
    single = optim.adam(0.1)
    expected, _ = single.update(mean, single.init(params))
    for a, b in zip(fg.tree.leaves(updates), fg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_apply_if_finite_rejects_and_counts(bad):
    optimizer = optim.apply_if_finite(optim.adam(0.1), max_consecutive_errors=2)
    params = {"a": jnp.ones(2), "b": jnp.ones(())}
    good = {"a": jnp.ones(2), "b": jnp.ones(())}
    worse = {"a": jnp.array([1.0, bad]), "b": jnp.ones(())}
    update = fg.jit(optimizer.update)
    _, state = update(good, optimizer.init(params), params)
    for count in (1, 2):
        updates, after = update(worse, state, params)
        assert all((np.asarray(u) == 0).all() for u in fg.tree.leaves(updates))
        assert int(after.notfinite_count) == count == int(after.total_notfinite)
        assert not bool(after.last_finite)
        for a, b in zip(
            fg.tree.leaves(after.inner_state), fg.tree.leaves(state.inner_state), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        state = after
    updates, _ = update(worse, state, params)
    assert not np.isfinite(np.asarray(updates["a"])).all(), "the third in a row goes through"
    _, state = update(good, state, params)
    assert int(state.notfinite_count) == 0 and int(state.total_notfinite) == 2


def test_masked_keeps_no_state_for_the_others():
    optimizer = optim.masked(optim.adam(0.1), "b/**")
    state = optimizer.init(fg.tree.map(jnp.asarray, PARAMS))
    assert len(fg.tree.leaves(state.inner_state[0].mu)) == 1
    with pytest.raises(ValueError, match=r"path_mask: no parameter fits '\*\*/weigth'; there are"):
        optim.masked(optim.adam(0.1), "**/weigth").init(PARAMS)


def test_labels_by_path():
    rules = {"b/**": "fast", "**": "slow"}
    labels = optim.path_labels(rules)(PARAMS)
    assert labels == {"b": {"c": "fast"}, "w": "slow"}
    both = {"slow": optim.sgd(0.1), "fast": optim.sgd(0.3)}
    by_function = run_ours(optim.multi_transform(both, optim.path_labels(rules)))
    assert_same_paths(by_function, run_ours(optim.multi_transform(both, rules)))
    assert_same_paths(by_function, run_ours(optim.multi_transform(both, labels)))
    with pytest.raises(ValueError, match="no pattern of .* fits 'w'"):
        optim.path_labels({"b/**": "fast"})(PARAMS)
    with pytest.raises(ValueError, match=r"labels \['slow'\] have no transformation"):
        optim.multi_transform({"fast": optim.sgd(0.1)}, labels).init(PARAMS)


def test_a_mask_by_path_is_the_mask_by_tree():
    by_path = optim.adamw(1e-2, weight_decay=0.3, mask="w")
    by_tree = optim.adamw(1e-2, weight_decay=0.3, mask={"w": True, "b": {"c": False}})
    by_function = optim.adamw(
        1e-2, weight_decay=0.3, mask=lambda params: fg.tree.map(lambda p: p.ndim > 1, params)
    )
    assert_same_paths(run_ours(by_path), run_ours(by_tree), rtol=0, atol=0)
    assert_same_paths(run_ours(by_function), run_ours(by_tree), rtol=0, atol=0)


def test_hyperparameters_change_between_steps_without_compiling():
    optimizer, traces = optim.inject_hyperparams(optim.sgd)(learning_rate=0.5, momentum=0.9), []

    @fg.jit
    def step(state, g):
        traces.append(None)
        return optimizer.update(g, state)

    state = optimizer.init(jnp.zeros(2))
    assert set(state.hyperparams) == {"learning_rate", "momentum"}
    updates, state = step(state, jnp.ones(2))
    np.testing.assert_allclose(updates, -0.5)
    state.hyperparams["learning_rate"] = jnp.float32(0.1)
    updates, state = step(state, jnp.ones(2))
    np.testing.assert_allclose(updates, -0.19, rtol=1e-6)
    assert len(traces) == 1


def test_injected_recipes_know_masks_from_schedules():
    recipe = optim.inject_hyperparams(optim.adamw)
    optimizer = recipe(0.01, weight_decay=0.3, mask=optim.path_mask("w"))
    assert set(optimizer.init(PARAMS).hyperparams) == {
        "learning_rate",
        "b1",
        "b2",
        "eps",
        "weight_decay",
    }
    plain = optim.adamw(0.01, weight_decay=0.3, mask="w")
    # 1 - b1 is taken in float32 where b1 is an array
    assert_same_paths(run_ours(optimizer), run_ours(plain), rtol=1e-5, atol=1e-5)


def test_injected_recipes_keep_narrow_dtypes_and_counts():
    optimizer = optim.inject_hyperparams(optim.muon)(learning_rate=0.1)
    params = {"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3, jnp.bfloat16)}
    state = optimizer.init(params)
    assert "ns_steps" not in state.hyperparams
    updates, after = fg.jit(optimizer.update)(params, state, params)
    assert {str(u.dtype) for u in fg.tree.leaves(updates)} == {"bfloat16"}
    assert [x.dtype for x in fg.tree.leaves(after)] == [x.dtype for x in fg.tree.leaves(state)]
    with pytest.raises(ValueError, match=r"static_args \['rate'\] are no arguments of sgd"):
        optim.inject_hyperparams(optim.sgd, static_args="rate")


def test_ema_of_parameters_averages_weights():
    average = optim.ema(0.9)
    state, weights = average.init(jnp.zeros(())), np.arange(1.0, STEPS + 1)
    for w in weights:
        mean, state = average.update(jnp.float32(w), state)
    shares = 0.9 ** np.arange(STEPS)[::-1]
    np.testing.assert_allclose(mean, (shares * weights).sum() / shares.sum(), rtol=1e-5)


def test_set_to_zero_and_stateless():
    part = optim.set_to_zero()
    assert (np.asarray(part.update(jnp.array([1.0, np.nan]), part.init(None))[0]) == 0).all()
    with pytest.raises(TypeError, match="masked: needs gradient transformations"):
        optim.masked(optim.adam, True)
