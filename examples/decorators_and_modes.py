"""Transformations as decorators, and the mode in which a compiled function runs step by step."""

import functools

import funcgrad as fg
import funcgrad.numpy as jnp


@fg.grad
def slope(x, y=2.0):
    """The derivative of x**3 * y in x: decorated, the function *is* its derivative."""
    return x**3 * y


@functools.partial(fg.grad, argnums=(0, 1))
def both(x, y):
    return jnp.sin(x) * y


@fg.jit
def noisy(x):
    """Python runs once, when it is compiled; `disable_jit` makes it run at every call."""
    y = jnp.exp(x)
    print("   inside, y is", y)
    return y / (1 + y)


@fg.grad
def loss(params, *, weight):
    """Gradients come in the shape of the parameters, whatever tree that is."""
    return weight * (params["w"] ** 2).sum() + params["b"] * 3.0


def main():
    print("3 x^2 y      ", slope(2.0), slope(2.0, y=10.0))
    assert slope(2.0) == 24.0 and slope(2.0, y=10.0) == 120.0
    print("6 x y        ", fg.grad(slope)(2.0), "the gradient of a gradient")
    assert fg.grad(slope)(2.0) == 24.0
    print("both         ", [round(float(d), 4) for d in both(0.0, 5.0)])
    assert both(0.0, 5.0) == (5.0, 0.0)
    print("of a tree    ", fg.tree.map(float, loss({"w": jnp.ones(()), "b": 1.0}, weight=0.5)))

    frozen = fg.grad(lambda x: x * fg.lax.stop_gradient(x))
    print("stop_gradient", frozen(3.0), "instead of 6")
    assert frozen(3.0) == 3.0

    print("first call, compiled:")
    compiled = noisy(1.0)
    print("second call: nothing to print")
    noisy(2.0)
    print("with disable_jit, every line runs on values:")
    with fg.disable_jit():
        stepped = noisy(1.0)
    assert compiled == stepped


if __name__ == "__main__":
    main()
