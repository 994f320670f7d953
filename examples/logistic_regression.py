"""Logistic regression from nothing: a loss, its gradient, and Newton's method with the Hessian."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp


def make_data(key, rows=400):
    """Two clouds of points, and which cloud each is from."""
    side_key, point_key = fg.random.split(key)
    label = fg.random.bernoulli(side_key, 0.5, (rows,)).astype(jnp.float32)
    centre = jnp.where(label[:, None] == 1, jnp.array([1.0, 1.0]), jnp.array([-1.0, -0.5]))
    return centre + fg.random.normal(point_key, (rows, 2)), label


def loss(weights, x, label):
    """Mean of -log p(label), plus a little L2 so that the optimum is unique."""
    score = x @ weights[:2] + weights[2]
    log_p = label * fg.nn.log_sigmoid(score) + (1 - label) * fg.nn.log_sigmoid(-score)
    return -log_p.mean() + 1e-3 * jnp.sum(weights**2)


@fg.jit
def gradient_step(weights, x, label):
    return weights - 1.0 * fg.grad(loss)(weights, x, label)


@fg.jit
def newton_step(weights, x, label):
    slope, curvature = fg.grad(loss)(weights, x, label), fg.hessian(loss)(weights, x, label)
    return weights - jnp.linalg.solve(curvature, slope)


def steps_until_flat(step, x, label):
    """How many steps until the gradient is below 1e-5, and where that is."""
    weights = jnp.zeros(3)
    for count in range(1, 2000):
        weights = step(weights, x, label)
        if jnp.abs(fg.grad(loss)(weights, x, label)).max() < 1e-5:
            return count, weights
    raise RuntimeError("did not converge")


def main():
    x, label = make_data(fg.random.key(0))
    slow, by_gradient = steps_until_flat(gradient_step, x, label)
    fast, by_newton = steps_until_flat(newton_step, x, label)
    right = ((x @ by_newton[:2] + by_newton[2] > 0) == (label == 1)).mean()
    print(f"gradient descent: {slow:4d} steps to {np.round(np.asarray(by_gradient), 3)}")
    print(f"Newton's method:  {fast:4d} steps to {np.round(np.asarray(by_newton), 3)}")
    print(f"accuracy {float(right):.3f}")
    assert fast < 15 < slow and right > 0.85
    assert np.allclose(by_gradient, by_newton, atol=1e-2)


if __name__ == "__main__":
    main()
