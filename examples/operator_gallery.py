"""One line for each basic operation, with its result; every line is checked."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

GALLERY = {
    "jnp.array([1, 2, 3]) + jnp.array([4, 5, 6])": [5, 7, 9],
    "jnp.array([1, 2, 3]) * jnp.array([4, 5, 6])": [4, 10, 18],
    "jnp.dot(jnp.array([1, 2, 3]), jnp.array([4, 5, 6]))": 32,
    "jnp.sum(jnp.array([1.0, 2.0, 3.0]))": 6,
    "jnp.mean(jnp.array([1.0, 2.0, 3.0, 4.0]))": 2.5,
    "fg.nn.relu(jnp.array([-1.0, 2.0, 0.0]))": [0, 2, 0],
    "fg.nn.softmax(jnp.zeros(4))": [0.25] * 4,
    "jnp.exp(fg.nn.log_softmax(jnp.array([0.0, np.log(3.0)])))": [0.25, 0.75],
    "jnp.arange(6).reshape(2, 3).reshape(3, 2)": [[0, 1], [2, 3], [4, 5]],
    "jnp.arange(6).reshape(2, 3).T": [[0, 3], [1, 4], [2, 5]],
    "jnp.ones((2, 3)) @ jnp.ones((3, 2))": [[3, 3], [3, 3]],
    "jnp.concatenate([jnp.zeros(1), jnp.ones(2)])": [0, 1, 1],
    "jnp.array([5, 6, 7])[jnp.array([2, 0])]": [7, 5],
    "jnp.zeros(3).at[1].add(2.0)": [0, 2, 0],
    "jnp.where(jnp.array([True, False]), 1.0, -1.0)": [1, -1],
    "jnp.max(jnp.array([[1.0, 5.0], [4.0, 2.0]]), axis=1)": [5, 4],
    "nn.mae(jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([1.5, 2.0, 2.5, 3.0]), reduction='none')": [
        0.5,
        0,
        0.5,
        1,
    ],
    "fg.grad(lambda x: jnp.sum(x))(jnp.ones(3))": [1, 1, 1],
    "fg.grad(lambda x: jnp.sum(x**2))(jnp.array([1.0, 2.0]))": [2, 4],
    "fg.vmap(jnp.dot)(jnp.ones((2, 3)), jnp.ones((2, 3)))": [3, 3],
    "fg.jit(lambda x: x + 1)(1)": 2,
    "list(fg.jvp(jnp.sin, (0.0,), (2.0,)))": [0, 2],
}


def shape_of_convolution():
    """3 channels to 16 by kernels of 5 x 5: padding 2 keeps the size."""
    layer = nn.Conv2d(3, 16, 5, padding=2)
    params, state = layer.init(fg.random.key(0))
    return layer.apply(params, state, jnp.ones((1, 3, 32, 32)))[0].shape


def main():
    for line, expected in GALLERY.items():
        result = eval(line, {"fg": fg, "jnp": jnp, "nn": nn, "np": np})
        print(f"{line}\n    {np.asarray(result).tolist()}")
        np.testing.assert_allclose(np.asarray(result), expected, atol=1e-6)
    print(f"nn.Conv2d(3, 16, 5, padding=2) of (1, 3, 32, 32)\n    {shape_of_convolution()}")
    assert shape_of_convolution() == (1, 16, 32, 32)


if __name__ == "__main__":
    main()
