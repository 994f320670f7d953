"""What a traced function is made of: values, gradients, and a drawing of its operations.

The drawing is DOT text, which Graphviz turns into a picture: `python tape_basics.py | dot -Tpng`
needs nothing else from here.
"""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn


def mean_of_sum(a, b):
    return jnp.mean(a + b)


def block(a, b, c):
    """Four operations; nobody uses the product."""
    d = a + b
    e = b * c  # noqa: F841
    f = d / b
    g = jnp.sum(f)
    return g


def main():
    a, b = jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 5.0, 6.0])
    value, grads = fg.value_and_grad(mean_of_sum, argnums=(0, 1))(a, b)
    print("// mean of a + b:", value, "with gradients", *map(np.asarray, grads))
    assert value == 7.0 and all(np.allclose(slope, 1 / 3) for slope in grads)

    a, b, c = fg.random.uniform(fg.random.key(0), (3, 3, 3), minval=0.5, maxval=2.0)
    da, db, dc = fg.grad(block, argnums=(0, 1, 2))(a, b, c)
    np.testing.assert_allclose(da, 1 / b, rtol=1e-5)
    np.testing.assert_allclose(db, -a / b**2, rtol=1e-4)
    assert not dc.any(), "what is not used has gradient zero"
    step = 1e-2 * jnp.eye(9)[4].reshape(3, 3)
    quotient = (block(a, b + step, c) - block(a, b - step, c)) / 2e-2
    print(f"// db[1, 1] = {db[1, 1]:.4f}, by differences {quotient:.4f}")
    assert abs(quotient - db[1, 1]) < 1e-2

    print(nn.draw(block, a, b, c))
    assert nn.draw(block, a, b, c).count("label=") == 5 + 3, "five arrays, three operations"
    assert "mul" in nn.draw(block, a, b, c, unused=True)


if __name__ == "__main__":
    main()
