"""Optimizers against optax and PyTorch over 20 steps; schedules against optax and closed forms."""

import math

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn import optim

STEPS = 20
RNG = np.random.default_rng(0)
PARAMS = {
    "w": RNG.normal(size=(3, 4)).astype(np.float32),
    "b": {"c": RNG.normal(size=(4,)).astype(np.float32)},
}
# Gradients of different sizes, also exactly zero ones: what scaling by moments must survive.
GRADS = [
    fg.tree.map(
        lambda p: (
            RNG.normal(size=p.shape) * 10 ** RNG.uniform(-3, 1) * (RNG.random(p.shape) < 0.9)
        ).astype(np.float32),
        PARAMS,
    )
    for _ in range(STEPS)
]


def run_ours(optimizer, jit=True):
    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    step = fg.jit(step) if jit else step
    params = fg.tree.map(jnp.asarray, PARAMS)
    state, seen = optimizer.init(params), []
    for grads in GRADS:
        params, state = step(params, state, fg.tree.map(jnp.asarray, grads))
        seen.append([np.asarray(leaf) for leaf in fg.tree.leaves(params)])
    return seen


def run_optax(optimizer):
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    params = jax.tree.map(jax.numpy.asarray, PARAMS)
    state, seen = optimizer.init(params), []
    for grads in GRADS:
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        seen.append([np.asarray(leaf) for leaf in jax.tree.leaves(params)])
    return seen


def run_torch(make):
    torch = pytest.importorskip("torch")
    # leaves in the order of ours: b.c, then w
    params = [
        torch.tensor(PARAMS["b"]["c"]).requires_grad_(),
        torch.tensor(PARAMS["w"]).requires_grad_(),
    ]
    optimizer, seen = make(torch.optim, params), []
    for grads in GRADS:
        for p, g in zip(params, (grads["b"]["c"], grads["w"]), strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
        seen.append([p.detach().numpy().copy() for p in params])
    return seen


def assert_same_paths(ours, theirs):
    """1e-6 of the parameters' size: a few roundings of float32 in each of 20 steps."""
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=2e-6, err_msg=f"step {step}")


def decays(t):
    """A schedule that both libraries can run."""
    return 0.1 / (1.0 + t)


OPTAX = {
    "sgd": lambda o: o.sgd(0.1),
    "momentum": lambda o: o.sgd(0.1, momentum=0.9),
    "nesterov": lambda o: o.sgd(0.1, momentum=0.8, nesterov=True),
    "scheduled": lambda o: o.sgd(decays, momentum=0.5),
    "adam": lambda o: o.adam(1e-2),
    "adam, other rates": lambda o: o.adam(3e-2, b1=0.5, b2=0.9, eps=1e-4, eps_root=1e-5),
    "adam, scheduled": lambda o: o.adam(decays),
    "adamw": lambda o: o.adamw(1e-2),
    "adamw, strong": lambda o: o.adamw(1e-2, weight_decay=0.3),
    "adamw, masked": lambda o: o.adamw(1e-2, weight_decay=0.3, mask={"w": True, "b": {"c": False}}),
    "rmsprop": lambda o: o.rmsprop(1e-2),
    "rmsprop, momentum": lambda o: o.rmsprop(
        1e-3, decay=0.8, eps=1e-6, initial_scale=0.5, momentum=0.9, nesterov=True
    ),
    "rmsprop, eps outside": lambda o: o.rmsprop(1e-2, eps_in_sqrt=False),
    "clipped": lambda o: o.chain(o.clip_by_global_norm(0.5), o.sgd(0.1)),
    "clipped by value": lambda o: o.chain(o.clip(0.05), o.sgd(0.1)),
    "by hand": lambda o: o.chain(
        o.add_decayed_weights(0.01), o.trace(0.9), o.scale(-0.1), o.identity()
    ),
    "ascent": lambda o: o.chain(o.scale_by_adam(), o.scale_by_learning_rate(0.01, flip_sign=False)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", OPTAX)
def test_D7_same_as_optax(name):
    assert_same_paths(
        run_ours(OPTAX[name](optim)), run_optax(OPTAX[name](pytest.importorskip("optax")))
    )


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
    "rmsprop": (optim.rmsprop(1e-2, 0.99, eps_in_sqrt=False), lambda o, p: o.RMSprop(p, 1e-2)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", TORCH)
def test_same_as_torch(name):
    ours, theirs = TORCH[name]
    assert_same_paths(run_ours(ours), run_torch(theirs))


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


@pytest.mark.parametrize("name", OPTAX)
def test_jit_changes_nothing_and_compiles_once(name):
    optimizer, traces = OPTAX[name](optim), []

    @fg.jit
    def step(params, state, grads):
        traces.append(None)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    params = fg.tree.map(jnp.asarray, PARAMS)
    state = optimizer.init(params)
    eager = run_ours(optimizer, jit=False)
    for grads in GRADS[:5]:
        params, state = step(params, state, fg.tree.map(jnp.asarray, grads))
    assert len(traces) == 1
    for x, y in zip(fg.tree.leaves(params), eager[4], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTAX)
def test_D24b_dtypes_and_structure_are_kept(name):
    optimizer = OPTAX[name](optim)
    for dtype in (jnp.float32, jnp.bfloat16):
        params = fg.tree.map(lambda p, d=dtype: jnp.asarray(p).astype(d), PARAMS)
        grads = fg.tree.map(lambda p: jnp.ones_like(p), params)
        state = optimizer.init(params)
        updates, after = optimizer.update(grads, state, params)
        assert {str(u.dtype) for u in fg.tree.leaves(updates)} == {str(jnp.dtype(dtype))}
        assert fg.tree.structure(after) == fg.tree.structure(state)
        assert [x.dtype for x in fg.tree.leaves(after)] == [x.dtype for x in fg.tree.leaves(state)]
        moved = optim.apply_updates(params, updates)
        assert {str(p.dtype) for p in fg.tree.leaves(moved)} == {str(jnp.dtype(dtype))}


def test_an_ensemble_of_optimizers_is_a_vmap():
    optimizer = optim.adam(0.1)
    params = {"w": jnp.arange(6.0).reshape(3, 2)}
    state = fg.vmap(optimizer.init)(params)
    updates, _ = fg.vmap(optimizer.update)(params, state)
    for i in range(3):
        own = {"w": params["w"][i]}
        expected, _ = optimizer.update(own, optimizer.init(own))
        np.testing.assert_allclose(updates["w"][i], expected["w"], rtol=1e-6)


def test_global_norm_and_zero_gradients():
    assert float(optim.global_norm({"a": jnp.array([3.0]), "b": jnp.array([[4.0]])})) == 5.0
    clip = optim.clip_by_global_norm(1.0)
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
    with pytest.raises(ValueError, match="dampening of 0"):
        optim.sgd(0.1, 0.9, nesterov=True, dampening=0.5)


# -- schedules -------------------------------------------------------------------------------------

T = 20
SCHEDULES = {
    "constant": lambda o: o.constant_schedule(0.3),
    "linear": lambda o: o.linear_schedule(0.1, 1.0, T),
    "linear, later": lambda o: o.linear_schedule(1.0, 0.1, T - 6, transition_begin=4),
    "polynomial": lambda o: o.polynomial_schedule(1.0, 0.1, 2.0, T),
    "cosine": lambda o: o.cosine_decay_schedule(0.5, T),
    "cosine, floor": lambda o: o.cosine_decay_schedule(0.5, T, alpha=0.1, exponent=1.5),
    "exponential": lambda o: o.exponential_decay(0.5, 4, 0.8),
    "step": lambda o: o.exponential_decay(0.5, 4, 0.5, staircase=True),
    "exponential, bounded": lambda o: o.exponential_decay(0.5, 4, 0.5, 3, end_value=0.1),
    "growing, bounded": lambda o: o.exponential_decay(0.5, 4, 2.0, end_value=2.0),
    "warm-up": lambda o: o.warmup_cosine_decay_schedule(0.0, 1.0, 5, T, 0.01),
    "multi-step": lambda o: o.piecewise_constant_schedule(1.0, {5: 0.5, 12: 0.1}),
    "joined": lambda o: o.join_schedules(
        [o.linear_schedule(0.0, 1.0, 5), o.constant_schedule(1.0), o.linear_schedule(1.0, 0.0, 3)],
        [5, 10],
    ),
}
CLOSED = {
    "constant": lambda t: 0.3,
    "linear": lambda t: 0.1 + 0.9 * min(t, T) / T,
    "linear, later": lambda t: 1.0 - 0.9 * min(max(t - 4, 0), T - 6) / (T - 6),
    "polynomial": lambda t: 0.9 * (1 - min(t, T) / T) ** 2 + 0.1,
    "cosine": lambda t: 0.25 * (1 + math.cos(math.pi * min(t, T) / T)),
    "cosine, floor": lambda t: (
        0.5 * (0.9 * (0.5 * (1 + math.cos(math.pi * min(t, T) / T))) ** 1.5 + 0.1)
    ),
    "exponential": lambda t: 0.5 * 0.8 ** (t / 4),
    "step": lambda t: 0.5 * 0.5 ** (t // 4),
    "exponential, bounded": lambda t: max(0.5 * 0.5 ** (max(t - 3, 0) / 4), 0.1),
    "growing, bounded": lambda t: min(0.5 * 2.0 ** (t / 4), 2.0),
    "warm-up": lambda t: (
        t / 5
        if t < 5
        else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(t - 5, T - 5) / (T - 5)))
    ),
    "multi-step": lambda t: 1.0 if t < 5 else 0.5 if t < 12 else 0.05,
    "joined": lambda t: t / 5 if t < 5 else 1.0 if t < 10 else max(1 - (t - 10) / 3, 0.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_D36_schedules_are_their_closed_forms(name):
    """For Python numbers, arrays and vectors of steps, in any order: nothing is remembered."""
    schedule = SCHEDULES[name](optim)
    steps = [*range(T + 6), 3, 0]
    expected = [CLOSED[name](t) for t in steps]
    np.testing.assert_allclose([float(schedule(t)) for t in steps], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        [float(schedule(jnp.int32(t))) for t in steps], expected, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        np.broadcast_to(fg.jit(schedule)(jnp.array(steps)), len(steps)),
        expected,
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_optax_s(name):
    theirs = SCHEDULES[name](pytest.importorskip("optax"))
    ours = SCHEDULES[name](optim)
    for t in range(T + 6):
        np.testing.assert_allclose(float(ours(t)), float(theirs(t)), rtol=1e-5, atol=1e-6)


def test_D36_warm_up_starts_at_its_start():
    schedule = optim.warmup_cosine_decay_schedule(0.0, 1.0, 4, 10)
    assert [float(schedule(t)) for t in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_schedules_refuse_what_has_no_meaning():
    with pytest.raises(ValueError, match="transition_steps must be positive, but got 0"):
        optim.linear_schedule(0.0, 1.0, 0)
    with pytest.raises(ValueError, match="3 schedules need 2 boundaries, but got 1"):
        optim.join_schedules([optim.constant_schedule(1.0)] * 3, [1])
    with pytest.raises(ValueError, match="scales must not be negative"):
        optim.piecewise_constant_schedule(1.0, {3: -1.0})
