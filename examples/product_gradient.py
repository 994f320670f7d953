"""The smallest gradient there is: of a product, by vjp and by grad of its sum."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp


def product(x, y):
    return x * y


def main():
    x, y = jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 5.0, 6.0])

    z, pull_back = fg.vjp(product, x, y)
    dx, dy = pull_back(jnp.ones_like(z))
    print("z ", np.asarray(z))
    print("dx", np.asarray(dx))
    print("dy", np.asarray(dy))

    both = fg.grad(lambda x, y: product(x, y).sum(), argnums=(0, 1))(x, y)
    assert (both[0] == dx).all() and (both[1] == dy).all()

    # An operand that occurs twice gets both shares.
    print("d(x*x)", np.asarray(fg.grad(lambda x: (x * x).sum())(x)))
    print("d(x+x)", np.asarray(fg.grad(lambda x: (x + x).sum())(x)))
    print("d(x-x)", np.asarray(fg.grad(lambda x: (x - x).sum())(x)))


if __name__ == "__main__":
    main()
