"""Four ways to differentiate one function, each checked against difference quotients."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp


def energy(x):
    """A scalar function of a vector: a chain of three springs with a bend in it."""
    stretch = jnp.diff(x)
    return jnp.sum(stretch**2) + jnp.prod(jnp.sin(x))


def forces(x):
    """A vector function of a vector."""
    return jnp.stack([x[0] * x[1], jnp.exp(x[2]) / x[3], jnp.tanh(jnp.sum(x))])


def difference(f, x, direction, step=1e-5):
    """The derivative of f along a direction, from two values of f."""
    return (np.asarray(f(x + step * direction)) - np.asarray(f(x - step * direction))) / (2 * step)


def check(name, ours, theirs):
    error = np.max(np.abs(np.asarray(ours) - np.asarray(theirs)))
    print(f"{name:28s} largest error {error:.1e}")
    assert error < 1e-6


def main():
    # Differences need the digits of float64: it is kept wherever it is asked for.
    with fg.enable_x64(True):
        x = jnp.array([0.3, 0.9, 1.4, 2.0], dtype=jnp.float64)
        v = jnp.array([1.0, -2.0, 0.5, 0.1], dtype=jnp.float64)
        w = jnp.array([0.2, 1.0, -1.0], dtype=jnp.float64)

        slope = fg.grad(energy)(x)
        print("grad   ", np.round(np.asarray(slope), 4))
        check("grad . v", slope @ v, difference(energy, x, v))

        value, tangent = fg.jvp(forces, (x,), (v,))
        print("jvp    ", np.round(np.asarray(tangent), 4))
        check("jvp: Jacobian times v", tangent, difference(forces, x, v))

        value, pull_back = fg.vjp(forces, x)
        (cotangent,) = pull_back(w)
        print("vjp    ", np.round(np.asarray(cotangent), 4))
        check("vjp: w times Jacobian", cotangent @ v, w @ tangent)

        curvature = fg.hessian(energy)(x)
        print("hessian\n", np.round(np.asarray(curvature), 4))
        check("hessian times v", curvature @ v, difference(fg.grad(energy), x, v))

        # Transformations are functions of functions, so they nest without end.
        third = fg.grad(fg.grad(fg.grad(jnp.sin)))(x[0])
        check("third derivative of sin", third, -np.cos(0.3))


if __name__ == "__main__":
    main()
