"""Optimizers by name against optax and PyTorch over 20 steps: one row a configuration."""

import importlib
import inspect

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn import optim
from tests.nn.optim_paths import (
    GRADS,
    PARAMS,
    Optax,
    assert_same_paths,
    run_counted,
    run_optax,
    run_ours,
    run_torch,
)


def recipes():
    """Every exported optimizer: what is called with a learning rate and is not a part of one."""
    parts = {"scale_by_learning_rate", "proximal_l1"}
    return sorted(
        name
        for name in optim.__all__
        if callable(getattr(optim, name))
        and not inspect.isclass(getattr(optim, name))
        and "learning_rate" in inspect.signature(getattr(optim, name)).parameters
        and name not in parts
    )


def decays(t):
    """A schedule that both libraries can run."""
    return 0.1 / (1.0 + t)


WEIGHTS = {"w": True, "b": {"c": False}}
OPTAX = {
    "sgd": lambda o: o.sgd(0.1),
    "sgd, momentum": lambda o: o.sgd(0.1, momentum=0.9),
    "sgd, nesterov": lambda o: o.sgd(0.1, momentum=0.8, nesterov=True),
    "sgd, scheduled": lambda o: o.sgd(decays, momentum=0.5),
    "sgd, float16 momentum": lambda o: o.sgd(1e-3, momentum=0.9, accumulator_dtype=np.float16),
    "adam": lambda o: o.adam(1e-2),
    "adam, other rates": lambda o: o.adam(3e-2, b1=0.5, b2=0.9, eps=1e-4, eps_root=1e-5),
    "adam, scheduled": lambda o: o.adam(decays),
    "adam, nesterov": lambda o: o.adam(1e-2, nesterov=True),
    "adam, no momentum": lambda o: o.adam(1e-2, b1=0.0),
    "adam, float16 mean": lambda o: o.adam(1e-3, mu_dtype=np.float16),
    "amsgrad, float16 mean": lambda o: o.amsgrad(1e-3, mu_dtype=np.float16),
    "lion, float16 mean": lambda o: o.lion(1e-3, mu_dtype=np.float16),
    "adamw": lambda o: o.adamw(1e-2),
    "adamw, nesterov": lambda o: o.adamw(1e-2, weight_decay=0.1, nesterov=True),
    "adamw, strong": lambda o: o.adamw(1e-2, weight_decay=0.3),
    "adamw, masked": lambda o: o.adamw(1e-2, weight_decay=0.3, mask=WEIGHTS),
    "adamw, scheduled decay": lambda o: o.adamw(1e-2, weight_decay=decays),
    "amsgrad": lambda o: o.amsgrad(1e-2),
    "amsgrad, other rates": lambda o: o.amsgrad(1e-2, b1=0.5, b2=0.6, eps=1e-4, eps_root=1e-5),
    "nadam": lambda o: o.nadam(1e-2),
    "nadam, other rates": lambda o: o.nadam(1e-2, b1=0.5, b2=0.9, eps=1e-4, eps_root=1e-5),
    # optax's rho is a difference of float32 numbers, off by 1e-4; a small rate hides that
    "radam": lambda o: o.radam(2e-3),
    "radam, soon": lambda o: o.radam(1e-2, b1=0.5, b2=0.9, eps=1e-4, eps_root=1e-5, threshold=6.0),
    "radam, nesterov": lambda o: o.radam(2e-3, nesterov=True),
    "adamax": lambda o: o.adamax(1e-2),
    "adamax, other rates": lambda o: o.adamax(1e-2, b1=0.5, b2=0.8, eps=1e-3),
    "lion": lambda o: o.lion(1e-2),
    "lion, other rates": lambda o: o.lion(1e-2, b1=0.5, b2=0.7, weight_decay=0.1, mask=WEIGHTS),
    "rmsprop": lambda o: o.rmsprop(1e-2),
    "rmsprop, momentum": lambda o: o.rmsprop(
        1e-3, decay=0.8, eps=1e-6, initial_scale=0.5, momentum=0.9, nesterov=True
    ),
    "rmsprop, eps outside": lambda o: o.rmsprop(1e-2, eps_in_sqrt=False),
    "rmsprop, centered": lambda o: o.rmsprop(1e-2, centered=True, eps=1e-4, initial_scale=0.1),
    "adagrad": lambda o: o.adagrad(0.1),
    "adagrad, from zero": lambda o: o.adagrad(0.1, 0.0),
    "adagrad, other start": lambda o: o.adagrad(0.1, 0.5, 1e-3),
    "adadelta": lambda o: o.adadelta(1.0),
    "adadelta, decay": lambda o: o.adadelta(0.5, 0.8, 1e-4, 0.1, WEIGHTS),
    "lamb": lambda o: o.lamb(1e-2),
    "lamb, decay": lambda o: o.lamb(1e-2, 0.8, 0.9, 1e-4, 1e-5, 0.1, WEIGHTS),
    "lars": lambda o: o.lars(0.5),
    "lars, all": lambda o: o.lars(0.5, 0.1, WEIGHTS, 0.01, 1e-3, WEIGHTS, 0.8, True),
    "adafactor": lambda o: o.adafactor(1e-2),
    "adafactor, factored": lambda o: o.adafactor(1e-2, min_dim_size_to_factor=2),
    "adafactor, all": lambda o: o.adafactor(
        decays,
        min_dim_size_to_factor=3,
        decay_rate=0.6,
        decay_offset=-3,
        clipping_threshold=0.5,
        momentum=0.9,
        weight_decay_rate=0.01,
        eps=1e-6,
        weight_decay_mask=WEIGHTS,
    ),
    "adafactor, plain": lambda o: o.adafactor(
        1e-2, multiply_by_parameter_scale=False, clipping_threshold=None, factored=False
    ),
    "muon": lambda o: o.muon(1e-2),
    "muon, all": lambda o: o.muon(
        1e-2,
        ns_coeffs=(2.0, -1.5, 0.5),
        ns_steps=3,
        beta=0.8,
        eps=1e-4,
        weight_decay=0.1,
        nesterov=False,
        adaptive=True,
        adam_b1=0.5,
        adam_b2=0.9,
        adam_eps_root=1e-6,
        adam_weight_decay=0.2,
        adam_learning_rate=decays,
        consistent_rms=0.2,
    ),
    "clipped": lambda o: o.chain(o.clip_by_global_norm(0.5), o.sgd(0.1)),
    "clipped by value": lambda o: o.chain(o.clip(0.05), o.sgd(0.1)),
    "clipped by block": lambda o: o.chain(o.clip_by_block_rms(0.05), o.sgd(0.1)),
    "normalized": lambda o: o.chain(o.scale_by_trust_ratio(0.3), o.scale(-0.1)),
    "scaled by parameters": lambda o: o.chain(o.scale_by_param_block_rms(1.1), o.sgd(0.1)),
    "by hand": lambda o: o.chain(
        o.add_decayed_weights(0.01), o.trace(0.9), o.scale(-0.1), o.identity()
    ),
    "ascent": lambda o: o.chain(o.scale_by_adam(), o.scale_by_learning_rate(0.01, flip_sign=False)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", OPTAX)
def test_D7_same_as_optax(name):
    assert_same_paths(run_ours(OPTAX[name](optim)), run_optax(OPTAX[name](Optax())))


TORCH = {
    "sgd": (optim.sgd(0.1), lambda o, p: o.SGD(p, 0.1)),
    "D42 momentum": (optim.sgd(0.1, 0.9), lambda o, p: o.SGD(p, 0.1, momentum=0.9)),
    "D42 momentum recipe": (optim.momentum(0.1), lambda o, p: o.SGD(p, 0.1, momentum=0.9)),
    "D42 nesterov": (
        optim.sgd(0.1, 0.9, nesterov=True),
        lambda o, p: o.SGD(p, 0.1, momentum=0.9, nesterov=True),
    ),
    "D42 dampening": (
        optim.sgd(0.1, 0.9, dampening=0.4),
        lambda o, p: o.SGD(p, 0.1, momentum=0.9, dampening=0.4),
    ),
    "weight decay": (
        optim.sgd(0.1, 0.9, weight_decay=0.1),
        lambda o, p: o.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    ),
    "adam": (optim.adam(1e-2), lambda o, p: o.Adam(p, 1e-2)),
    "adamw": (optim.adamw(1e-2, weight_decay=0.1), lambda o, p: o.AdamW(p, 1e-2, weight_decay=0.1)),
    "amsgrad": (
        optim.amsgrad(1e-2, b2=0.6, correct_after_max=True),
        lambda o, p: o.Adam(p, 1e-2, betas=(0.9, 0.6), amsgrad=True),
    ),
    "nadam": (optim.nadam(2e-3, momentum_decay=4e-3), lambda o, p: o.NAdam(p)),
    "nadam, other rates": (
        optim.nadam(1e-2, 0.5, 0.9, 1e-4, momentum_decay=0.1),
        lambda o, p: o.NAdam(p, 1e-2, (0.5, 0.9), 1e-4, momentum_decay=0.1),
    ),
    "radam": (optim.radam(1e-2), lambda o, p: o.RAdam(p, 1e-2)),
    "adamax": (optim.adamax(2e-3), lambda o, p: o.Adamax(p)),
    "rmsprop": (optim.rmsprop(1e-2, 0.99, eps_in_sqrt=False), lambda o, p: o.RMSprop(p, 1e-2)),
    "rmsprop, centered": (
        optim.rmsprop(1e-2, 0.99, 1e-3, eps_in_sqrt=False, centered=True),
        lambda o, p: o.RMSprop(p, 1e-2, eps=1e-3, centered=True),
    ),
    "adagrad": (
        optim.adagrad(1e-2, 0.0, 1e-10, eps_in_sqrt=False),
        lambda o, p: o.Adagrad(p, 1e-2),
    ),
    "adadelta": (optim.adadelta(), lambda o, p: o.Adadelta(p)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", TORCH)
def test_same_as_torch(name):
    ours, theirs = TORCH[name]
    assert_same_paths(run_ours(ours), run_torch(theirs))


OWN = {"momentum", "proximal_sgd"}  # rows of TORCH, and test_D18 below


def test_every_optimizer_has_a_row():
    rows = {row.partition(",")[0] for row in OPTAX} | OWN
    assert [name for name in recipes() if name not in rows] == []
    assert set(recipes()) >= {"sgd", "adam", "lion", "muon", "adafactor"}, "the search found them"


@pytest.mark.parametrize("momentum, nesterov", [(None, False), (0.9, False), (0.9, True)])
def test_D18_proximal_sgd_is_ista_and_sets_zeros(momentum, nesterov):
    """The recurrence in float64, written out."""
    rate, l1 = 0.05, 0.4
    ours = run_ours(optim.proximal_sgd(rate, l1, momentum, nesterov, mask="w"))
    w, m, decay = PARAMS["w"].astype(np.float64), 0.0, momentum or 0.0
    for t, grads in enumerate(GRADS):
        g = grads["w"].astype(np.float64)
        m = decay * m + g
        moved = w - rate * (g + decay * m if nesterov else m)
        w = np.sign(moved) * np.maximum(np.abs(moved) - rate * l1, 0)
        np.testing.assert_allclose(ours[t][1], w, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(
            (ours[t][1] == 0)[np.abs(np.abs(moved) - rate * l1) > 1e-4],
            (w == 0)[np.abs(np.abs(moved) - rate * l1) > 1e-4],
        )
    plain = run_ours(optim.sgd(rate, momentum, nesterov))
    np.testing.assert_array_equal(ours[-1][0], plain[-1][0], "only w is penalised")


@pytest.mark.parametrize("nesterov", [False, True])
def test_D42_momentum_is_the_closed_recurrence(nesterov):
    """m_t = sum_k decay^(t-k) g_k in float64, not a loop over the implementation's own steps."""
    ours = run_ours(optim.sgd(0.1, 0.9, nesterov))
    grads = np.stack([g["w"] for g in GRADS]).astype(np.float64)
    w = PARAMS["w"].astype(np.float64)
    for t in range(10):
        m = sum(0.9 ** (t - k) * grads[k] for k in range(t + 1))
        w = w - 0.1 * (grads[t] + 0.9 * m if nesterov else m)
        np.testing.assert_allclose(ours[t][1], w, rtol=1e-5, atol=1e-5)


def test_D7_sgd_without_decay_moves():
    assert not np.allclose(run_ours(optim.sgd(0.1))[0][1], PARAMS["w"])


def test_updates_never_change_the_shape_of_a_parameter():
    with pytest.raises(ValueError, match=r"update of shape \(2, 3\) does not belong"):
        optim.apply_updates({"w": jnp.ones(3)}, {"w": jnp.ones((2, 3))})
    assert optim.apply_updates(jnp.ones(3), jnp.float32(1)).shape == (3,)


@pytest.mark.parametrize("name", OPTAX)
def test_jit_changes_nothing_and_compiles_once(name):
    optimizer = OPTAX[name](optim)
    params, traces = run_counted(optimizer, jnp.float32, 5)
    assert traces == 1
    for x, y in zip(fg.tree.leaves(params), run_ours(optimizer, jit=False)[4], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


# They give what the dtype of the accumulator and that of the gradients promote to.
OTHER_ACCUMULATORS = {name for name in OPTAX if "float16" in name} | {"adafactor, all"}


@pytest.mark.parametrize("name", OPTAX)
def test_D24b_dtypes_and_structure_are_kept(name):
    optimizer = OPTAX[name](optim)
    for dtype in (jnp.float32, jnp.bfloat16):
        params = fg.tree.map(lambda p, d=dtype: jnp.asarray(p).astype(d), PARAMS)
        grads = fg.tree.map(lambda p: jnp.ones_like(p), params)
        state = optimizer.init(params)
        updates, after = optimizer.update(grads, state, params)
        if name not in OTHER_ACCUMULATORS:
            assert {str(u.dtype) for u in fg.tree.leaves(updates)} == {str(jnp.dtype(dtype))}
        assert fg.tree.structure(after) == fg.tree.structure(state)
        assert [x.dtype for x in fg.tree.leaves(after)] == [x.dtype for x in fg.tree.leaves(state)]
        moved = optim.apply_updates(params, updates)
        assert {str(p.dtype) for p in fg.tree.leaves(moved)} == {str(jnp.dtype(dtype))}


@pytest.mark.parametrize("name", OPTAX)
def test_an_ensemble_of_optimizers_is_a_vmap(name):
    """Three members, two steps, against each alone."""
    optimizer = OPTAX[name](optim)
    grads = [fg.tree.map(lambda *g: jnp.stack(g), *GRADS[i : i + 3]) for i in (0, 3)]
    params = fg.tree.map(lambda p: jnp.stack([p, p + 1, 2 * p]), PARAMS)

    def two_steps(params, first, second):
        state = optimizer.init(params)
        _, state = optimizer.update(first, state, params)
        return optimizer.update(second, state, params)[0]

    together = fg.vmap(two_steps)(params, *grads)
    for i in range(3):
        alone = two_steps(*(fg.tree.map(lambda x, i=i: x[i], tree) for tree in (params, *grads)))
        for a, b in zip(fg.tree.leaves(together), fg.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", recipes())
def test_empty_trees_and_leaves_without_entries(name):
    required = {"learning_rate": 0.1} | ({"l1": 0.1} if name == "proximal_sgd" else {})
    optimizer = getattr(optim, name)(**required)
    for params in ({}, {"w": jnp.zeros((0, 3)), "none": None}):
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        assert fg.tree.structure(updates) == fg.tree.structure(params)
        assert [u.shape for u in fg.tree.leaves(updates)] == [(0, 3)] * len(fg.tree.leaves(params))


def test_global_norm_and_zero_gradients():
    assert float(optim.global_norm({"a": jnp.array([3.0]), "b": jnp.array([[4.0]])})) == 5.0
    clip = optim.clip_by_global_norm(1.0)
    assert float(optim.global_norm({})) == 0.0
    zeros = {"a": jnp.zeros(3)}
    assert (np.asarray(clip.update(zeros, clip.init(zeros))[0]["a"]) == 0).all()


def test_the_count_stops_at_the_largest_integer():
    last = jnp.asarray(np.int32(2**31 - 1))
    schedule = optim.scale_by_schedule(lambda t: 1.0)
    _, state = schedule.update(jnp.ones(1), schedule.init(None)._replace(count=last))
    assert int(state.count) == 2**31 - 1


def test_mistakes_are_errors():
    params = {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match="add_decayed_weights: update needs the parameters"):
        optimizer = optim.adamw(0.1)
        optimizer.update(params, optimizer.init(params))
    with pytest.raises(TypeError, match="A recipe must be called"):
        optim.chain(optim.adam)
    with pytest.raises(ValueError, match="state has 0 entries for 2 transformations"):
        optim.adam(0.1).update(params, (), params)
    with pytest.raises(ValueError, match="need a momentum"):
        optim.sgd(0.1, nesterov=True)
    with pytest.raises(ValueError, match="dampening of 0, but got 0.5"):
        optim.sgd(0.1, 0.9, nesterov=True, dampening=0.5)
    with pytest.raises(ValueError, match="no eps_root"):
        optim.nadam(0.1, eps_root=1e-3, momentum_decay=0.1)
    with pytest.raises(TypeError, match="learning_rate must be a number, but got '1e-3'"):
        optim.adam("1e-3")
    with pytest.raises(TypeError, match="needs a function of the step, but got 0.1"):
        optim.scale_by_schedule(0.1)
    with pytest.raises(ValueError, match=r"orthogonalize: needs a matrix, but got shape \(3,\)"):
        optim.orthogonalize(jnp.ones(3))


BAD = {
    "adam: learning_rate": lambda: optim.adam(-1.0),
    "adamw: b1": lambda: optim.adamw(0.1, b1=1.0),
    "radam: b2": lambda: optim.radam(0.1, b2=-0.1),
    "lamb: eps": lambda: optim.lamb(0.1, eps=-1e-8),
    "lion: weight_decay": lambda: optim.lion(0.1, weight_decay=-0.1),
    "sgd: momentum": lambda: optim.sgd(0.1, momentum=1.5),
    "sgd: dampening": lambda: optim.sgd(0.1, 0.9, dampening=2),
    "rmsprop: decay": lambda: optim.rmsprop(0.1, decay=float("nan")),
    "adagrad: initial_accumulator_value": lambda: optim.adagrad(0.1, -1),
    "adadelta: rho": lambda: optim.adadelta(0.1, rho=1),
    "adafactor: clipping_threshold": lambda: optim.adafactor(0.1, clipping_threshold=0),
    "adafactor: min_dim_size_to_factor": lambda: optim.adafactor(0.1, 1.5),
    "muon: ns_steps": lambda: optim.muon(0.1, ns_steps=-1),
    "muon: adam_b2": lambda: optim.muon(0.1, adam_b2=1),
    "lars: trust_coefficient": lambda: optim.lars(0.1, trust_coefficient=float("inf")),
    "proximal_sgd: l1": lambda: optim.proximal_sgd(0.1, -1),
    "clip: max_delta": lambda: optim.clip(0),
    "clip_by_global_norm: max_norm": lambda: optim.clip_by_global_norm(-1),
    "trace: decay": lambda: optim.trace(1.1),
    "apply_every: k": lambda: optim.apply_every(0),
    "MultiSteps: every_k": lambda: optim.MultiSteps(optim.sgd(0.1), 0),
    "ema: decay": lambda: optim.ema(2.0),
    "lookahead: sync_period": lambda: optim.lookahead(optim.sgd(0.1), 0, 0.5),
    "lookahead: slow_step_size": lambda: optim.lookahead(optim.sgd(0.1), 2, 1.5),
    "sam: sync_period": lambda: optim.sam(optim.sgd(0.1), optim.sgd(0.1), 0),
    "apply_if_finite: max_consecutive_errors": lambda: optim.apply_if_finite(optim.sgd(0.1), -1),
    "reduce_on_plateau: factor": lambda: optim.reduce_on_plateau(factor=1.0),
    "reduce_on_plateau: patience": lambda: optim.reduce_on_plateau(patience=-1),
    "sgd: learning_rate": lambda: optim.inject_hyperparams(optim.sgd)(-0.1),
}


@pytest.mark.parametrize("what", BAD)
def test_hyperparameters_outside_their_domain_are_errors_by_name_and_value(what):
    with pytest.raises(ValueError, match=f"^{what} must be .*, but got .*"):
        BAD[what]()


@pytest.mark.parametrize("name", recipes())
def test_every_number_of_a_recipe_is_checked(name):
    """NaN is in no domain, so every argument that is a number by default refuses it."""
    recipe = getattr(optim, name)
    defaults = {k: p.default for k, p in inspect.signature(recipe).parameters.items()}
    required = {k: 0.1 for k, d in defaults.items() if d is inspect.Parameter.empty}
    numbers = [k for k, d in defaults.items() if type(d) is float] + list(required)
    assert numbers
    for argument in numbers:
        with pytest.raises(ValueError, match=f"{name}: {argument} must be"):
            recipe(**{**required, argument: float("nan")})


def test_updates_are_few_equations_a_leaf():
    """Counted for each further leaf: scalars that depend on the step alone come once."""
    for recipe, most in {"sgd": 1, "adam": 12, "adamw": 14, "lion": 10, "rmsprop": 8}.items():
        assert equations_a_leaf(getattr(optim, recipe)(0.1)) <= most, recipe


def equations_a_leaf(optimizer) -> float:
    def count(leaves):
        params = [jnp.ones(3)] * leaves
        state = optimizer.init(params)
        return len(fg.make_jaxpr(optimizer.update)(params, state, params).eqns)

    return (count(9) - count(1)) / 8


PLAIN_TUPLES = {"EmptyState", "LookaheadParams", "MinimizeResult"}


@pytest.mark.parametrize("module", ["optim", "losses", "metrics"])
def test_D56_public_names_resolve_and_have_an_example(module):
    module = importlib.import_module(f"funcgrad_nn.{module}")
    assert len(set(module.__all__)) == len(module.__all__)
    documented = set(module.__all__) - PLAIN_TUPLES - {"Metric"}
    missing = [n for n in documented if ">>>" not in (getattr(module, n).__doc__ or "")]
    assert missing == []
