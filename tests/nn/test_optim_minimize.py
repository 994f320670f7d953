"""minimize against scipy's L-BFGS-B on the usual hard functions, and on a fit."""

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad_nn import optim

scipy_optimize = pytest.importorskip("scipy.optimize")


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def beale(x):
    a, b = x
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def ill_conditioned(x):
    return 0.5 * jnp.sum(jnp.logspace(0, 3, x.size, dtype=x.dtype) * x**2)


def steep_then_flat(x):
    return jnp.sum(jnp.log1p(jnp.exp(20 * x)) + 0.01 * x**2)


PROBLEMS = {
    "rosenbrock 2": (rosenbrock, [-1.2, 1.0]),
    "rosenbrock 20": (rosenbrock, [-1.2, 1.0] * 10),
    "beale": (beale, [1.0, 1.0]),
    "himmelblau": (himmelblau, [0.0, 0.0]),
    "ill-conditioned": (ill_conditioned, [1.0] * 20),
    "steep, then flat": (steep_then_flat, [3.0, -1.0]),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_as_good_as_scipy_and_no_more_work(name):
    fun, start = PROBLEMS[name]
    value_and_grad = fg.jit(fg.value_and_grad(fun))

    def for_scipy(x):
        return tuple(np.float64(v) for v in value_and_grad(jnp.asarray(x, jnp.float64)))

    theirs = scipy_optimize.minimize(
        for_scipy, np.array(start), jac=True, method="L-BFGS-B", options=dict(gtol=1e-5, ftol=0)
    )
    ours = optim.minimize(fun, jnp.asarray(np.array(start), jnp.float64))
    assert bool(ours.converged)
    assert np.abs(np.asarray(ours.gradient)).max() <= 1e-5
    np.testing.assert_allclose(ours.params, theirs.x, rtol=1e-4, atol=1e-4)
    assert float(ours.value) <= theirs.fun + 1e-9
    assert int(ours.evaluations) <= 1.5 * theirs.nfev + 10


@pytest.mark.parametrize("name", PROBLEMS)
def test_float32_goes_as_far_as_float32_goes(name):
    fun, start = PROBLEMS[name]
    found = fg.jit(lambda x: optim.minimize(fun, x))(jnp.array(start))
    exact = optim.minimize(fun, jnp.asarray(np.array(start), jnp.float64))
    assert found.params.dtype == jnp.float32 and int(found.status) != 1
    assert float(found.value) <= float(exact.value) + 1e-5 * (1 + abs(float(exact.value)))


def test_the_line_search_meets_the_strong_wolfe_conditions():
    """On one-dimensional functions with many bends, from many first steps."""
    for first in (1e-3, 0.1, 1.0, 30.0):
        for a in np.linspace(0.1, 3.0, 12):
            f = lambda x, a=a: 0.1 * (x - a) ** 2 + jnp.sin(3 * x) * jnp.exp(-x) - 0.2 * x
            value_and_grad = fg.value_and_grad(f)

            def along(step):
                value, slope = value_and_grad(step)
                return optim.linesearch.Point(step, value, slope, slope)

            start = along(jnp.float64(0.0))
            if not float(start.slope) < 0:
                continue
            found, _ = fg.jit(lambda s: optim.linesearch.strong_wolfe(along, s, first))(start)
            assert float(found.step) > 0
            assert (
                float(found.value)
                <= float(start.value) + 1e-4 * float(found.step * start.slope) + 1e-12
            )
            assert abs(float(found.slope)) <= 0.9 * abs(float(start.slope))


@pytest.mark.parametrize(
    "value, slope, accepted",
    [(-0.5, 0.5, True), (-5e-5, 0.5, False), (-0.98, -0.95, False), (-0.5, 0.95, False)],
)
def test_a_first_trial_is_accepted_only_if_it_meets_both_conditions(value, slope, accepted):
    """On the cubic with value 0 and slope -1 at 0, and these at 1."""
    c3, c2 = slope - 1 - 2 * value, 3 * value + 2 - slope

    def along(x):
        return optim.linesearch.Point(
            x, -x + c2 * x**2 + c3 * x**3, -1 + 2 * c2 * x + 3 * c3 * x**2, x
        )

    found, evaluations = optim.linesearch.strong_wolfe(along, along(jnp.float64(0.0)), 1.0)
    assert (float(found.step) == 1.0) == (int(evaluations) == 1) == accepted
    assert float(found.value) <= -1e-4 * float(found.step)
    assert abs(float(found.slope)) <= 0.9


def test_the_first_step_is_no_longer_than_one():
    """However steep the function: here it hits the minimum at once."""
    found = optim.minimize(lambda x: 5e5 * jnp.sum(x**2), jnp.ones(1, jnp.float64))
    assert int(found.evaluations) == 2 and bool(found.converged)


def test_trees_and_further_arguments_of_a_fit():
    """Ridge regression, whose solution is known."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=50)

    def loss(params, x, y):
        residual = x @ params["w"] + params["b"] - y
        return jnp.mean(residual**2) + 0.1 * jnp.sum(params["w"] ** 2)

    start = {"w": jnp.zeros(4, jnp.float64), "b": jnp.zeros((), jnp.float64)}
    data = jnp.asarray(x, jnp.float64), jnp.asarray(y, jnp.float64)
    found = optim.minimize(loss, start, *data, tolerance=1e-10)
    centred = x - x.mean(0)
    w = np.linalg.solve(centred.T @ centred / 50 + 0.1 * np.eye(4), centred.T @ y / 50)
    np.testing.assert_allclose(found.params["w"], w, rtol=1e-8)
    np.testing.assert_allclose(found.params["b"], (y - x @ w).mean(), rtol=1e-8)
    assert fg.tree.structure(found.gradient) == fg.tree.structure(start)


def test_vmap_solves_each_lane_as_if_alone():
    starts = jnp.asarray(np.random.default_rng(1).uniform(-3, 3, (4, 2)), jnp.float64)
    together = fg.vmap(lambda x: optim.minimize(himmelblau, x))(starts)
    for i in range(4):
        alone = optim.minimize(himmelblau, starts[i])
        np.testing.assert_allclose(together.params[i], alone.params, rtol=1e-6, atol=1e-6)
        assert int(together.status[i]) == int(alone.status) == 0


def test_limits_are_respected_and_reported():
    start = jnp.array([-1.2, 1.0])
    short = optim.minimize(rosenbrock, start, max_iterations=3)
    assert int(short.iterations) == 3 and int(short.status) == 1 and not bool(short.converged)
    done = optim.minimize(rosenbrock, jnp.ones(2))
    assert int(done.iterations) == 0 and bool(done.converged)
    loose = optim.minimize(rosenbrock, start, tolerance=1.0)
    assert int(loose.iterations) < int(optim.minimize(rosenbrock, start).iterations)
    steepest = optim.minimize(ill_conditioned, jnp.ones(20), history=1)
    assert int(steepest.iterations) > int(optim.minimize(ill_conditioned, jnp.ones(20)).iterations)


@pytest.mark.parametrize("fun", [lambda x: jnp.sum(jnp.log(x)) * jnp.nan, lambda x: jnp.sum(-x)])
def test_functions_without_a_minimum_end(fun):
    found = optim.minimize(fun, jnp.ones(2), max_iterations=20)
    assert not bool(found.converged)


def test_a_region_without_values_is_left_alone():
    """The first step jumps to where the logarithm is NaN."""
    found = optim.minimize(lambda x: jnp.sum(x - jnp.log(x)), jnp.full(2, 0.01, jnp.float64))
    np.testing.assert_allclose(found.params, 1.0, rtol=1e-4)


def test_what_cannot_be_minimised_is_an_error():
    with pytest.raises(TypeError, match="parameters must be floats, but one is int32"):
        optim.minimize(lambda x: x.sum(), jnp.arange(3))
    with pytest.raises(TypeError, match=r"must return a float scalar, but returned float32\[3\]"):
        optim.minimize(lambda x: x, jnp.ones(3))
    with pytest.raises(ValueError, match="minimize: tolerance must be .* but got 0"):
        optim.minimize(rosenbrock, jnp.ones(2), tolerance=0)
