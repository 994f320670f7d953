"""A gradient for every example, without a loop: vmap over grad.

The usual gradient is the mean over the batch; privacy, outlier detection and noise estimates need
the single ones.
"""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn


def main():
    key = fg.random.key(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    params, state = model.init(key)
    x = fg.random.normal(fg.random.fold_in(key, 1), (16, 4))
    y = jnp.sin(x.sum(axis=1, keepdims=True)).at[3].set(50.0)  # row 3 is an outlier

    def loss(params, x, y):
        """The loss of one row; nothing in it knows of a batch."""
        prediction, _ = model.apply(params, state, x)
        return nn.mse(prediction, y)

    per_example = fg.jit(fg.vmap(fg.grad(loss), in_axes=(None, 0, 0)))
    grads = per_example(params, x, y)
    print("shapes:", fg.tree.map(lambda g: g.shape, grads))

    # They are what a loop gives ...
    looped = [fg.grad(loss)(params, x[i], y[i]) for i in range(len(x))]
    stacked = fg.tree.map(lambda *rows: jnp.stack(rows), *looped)
    fg.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, stacked)

    # ... and their mean is the gradient of the mean.
    whole = fg.grad(lambda p: nn.mse(model.apply(p, state, x)[0], y))(params)
    fg.tree.map(
        lambda a, b: np.testing.assert_allclose(a.mean(0), b, rtol=1e-4, atol=1e-5), grads, whole
    )

    squares = [jnp.sum(leaf.reshape(len(x), -1) ** 2, axis=1) for leaf in fg.tree.leaves(grads)]
    norms = np.sqrt(np.asarray(sum(squares)))
    print("norms: ", np.round(norms, 1))
    print("the outlier is row", norms.argmax())
    assert norms.argmax() == 3


if __name__ == "__main__":
    main()
