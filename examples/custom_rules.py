"""Derivatives of one's own: custom_jvp for a better formula, custom_vjp for another gradient."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp


def naive_log1pexp(x):
    """log(1 + exp(x)): for large x the chain rule divides infinity by infinity."""
    return jnp.log(1.0 + jnp.exp(x))


@fg.custom_jvp
def log1pexp(x):
    """The same function with a derivative that is right everywhere."""
    return jnp.where(x > 30.0, x, jnp.log1p(jnp.exp(jnp.minimum(x, 30.0))))


@log1pexp.defjvp
def log1pexp_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return log1pexp(x), fg.nn.sigmoid(x) * dx


@fg.custom_vjp
def clip_gradient(x):
    """The identity, through which no gradient entry passes larger than one."""
    return x


clip_gradient.defvjp(lambda x: (x, None), lambda _, ct: (jnp.clip(ct, -1.0, 1.0),))


def main():
    x = jnp.array([-50.0, 0.0, 1.0, 100.0])

    plain = fg.vmap(fg.grad(naive_log1pexp))(x)
    ours = fg.vmap(fg.grad(log1pexp))(x)
    print("naive derivative ", np.asarray(plain))
    print("custom derivative", np.asarray(ours))
    assert np.isnan(plain[3]) and ours[3] == 1.0

    # One rule serves every transformation, to every order.
    second = fg.jit(fg.vmap(fg.grad(fg.grad(log1pexp))))(x)
    sigmoid = 1 / (1 + np.exp(-np.asarray(x, np.float64)))
    np.testing.assert_allclose(second, sigmoid * (1 - sigmoid), atol=1e-6)

    steep = fg.grad(lambda x: 100.0 * clip_gradient(x) ** 2)
    print("clipped gradient ", float(steep(3.0)))
    assert steep(3.0) == 1.0
    assert fg.vmap(steep)(jnp.array([-3.0, 0.001])).tolist() == [-1.0, np.float32(0.2)]


if __name__ == "__main__":
    main()
