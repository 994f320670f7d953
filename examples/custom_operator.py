"""An operator with a derivative of one's own, in both forms, and what catches a wrong one."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp


@fg.custom_vjp
def hadamard(x, y):
    """The elementwise product, as if nobody had told us its derivative."""
    return x * y


def hadamard_forward(x, y):
    return hadamard(x, y), (x, y)


def hadamard_backward(saved, cotangent):
    x, y = saved
    return cotangent * y, cotangent * x


hadamard.defvjp(hadamard_forward, hadamard_backward)


@fg.custom_jvp
def hadamard_by_tangents(x, y):
    """The same, with the derivative in forward form: from it reverse mode follows, too."""
    return x * y


@hadamard_by_tangents.defjvp
def hadamard_rule(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return hadamard_by_tangents(x, y), dx * y + x * dy


@fg.custom_vjp
def mistaken(x, y):
    return x * y


mistaken.defvjp(hadamard_forward, lambda saved, cotangent: (cotangent * saved[0],) * 2)


def matches_differences(function, x, y, step=1e-2):
    """Whether the gradient along a random direction is the quotient of differences."""
    total = lambda x, y: jnp.sum(jnp.sin(function(x, y)))
    direction = fg.random.normal(fg.random.key(9), x.shape)
    slope = jnp.sum(fg.grad(total)(x, y) * direction)
    quotient = (total(x + step * direction, y) - total(x - step * direction, y)) / (2 * step)
    return bool(abs(slope - quotient) < 1e-2)


def main():
    x, y = fg.random.normal(fg.random.key(0), (2, 4, 3))
    for function in (hadamard, hadamard_by_tangents):
        total = lambda x, y, function=function: jnp.sum(jnp.tanh(function(x, y)))
        plain = fg.grad(lambda x, y: jnp.sum(jnp.tanh(x * y)), argnums=(0, 1))(x, y)
        for way in (lambda f: f, fg.jit):
            own = way(fg.grad(total, argnums=(0, 1)))(x, y)
            np.testing.assert_allclose(own, plain, rtol=1e-5, atol=1e-6)
        rows = fg.vmap(fg.grad(total, argnums=(0, 1)))(x, y)
        np.testing.assert_allclose(rows, plain, rtol=1e-5, atol=1e-6)
        print(f"{function.__name__:22s} same gradient as x * y; also under jit and vmap")
    checks = {f.__name__: matches_differences(f, x, y) for f in (hadamard, mistaken)}
    print("agrees with differences:", checks)
    assert checks == {"hadamard": True, "mistaken": False}


if __name__ == "__main__":
    main()
