"""Linear regression with a penalty: L1 finds out which columns matter, L2 only shrinks."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

USEFUL = {2: 3.0, 7: -2.0, 11: 1.5}


def make_data(key, rows=200, columns=20):
    """Twenty columns, of which three have something to do with y."""
    x_key, noise_key = fg.random.split(key)
    x = fg.random.normal(x_key, (rows, columns))
    truth = jnp.zeros(columns).at[jnp.array(list(USEFUL))].set(jnp.array(list(USEFUL.values())))
    return x, x @ truth + 0.3 * fg.random.normal(noise_key, (rows,))


def descend(loss, optimizer, weights, steps=500):
    """Full-batch descent, all steps in one compiled scan."""

    @fg.jit
    def run(weights):
        def one(carry, _):
            weights, state = carry
            updates, state = optimizer.update(fg.grad(loss)(weights), state, weights)
            return (nn.optim.apply_updates(weights, updates), state), None

        return fg.lax.scan(one, (weights, optimizer.init(weights)), None, length=steps)[0][0]

    return run(weights)


def l2(weights, strength):
    """strength * w^2, summed over all leaves."""
    return strength * sum(jnp.sum(leaf**2) for leaf in fg.tree.leaves(weights))


def main():
    x, y = make_data(fg.random.key(0))
    misfit = lambda weights: 0.5 * jnp.mean((x @ weights - y) ** 2)
    start, strength = jnp.zeros(20), 0.1

    plain = descend(misfit, nn.optim.sgd(0.5), start)
    shrunk = descend(lambda w: misfit(w) + l2(w, strength), nn.optim.sgd(0.5), start)
    sparse = descend(misfit, nn.optim.proximal_sgd(0.5, strength), start)
    for name, weights in (("no penalty", plain), ("L2", shrunk), ("L1", sparse)):
        shown = "  ".join(f"{weights[column]:6.3f}" for column in USEFUL)
        useless = np.delete(np.asarray(weights), list(USEFUL))
        print(f"{name:11s} useful: {shown}   exact zeros among the others: {(useless == 0).sum()}")
    assert (np.delete(np.asarray(sparse), list(USEFUL)) == 0).sum() >= 15
    assert not (plain == 0).any() and jnp.linalg.norm(shrunk) < jnp.linalg.norm(plain)

    w = fg.random.normal(fg.random.key(1), (20,))
    np.testing.assert_allclose(fg.grad(l2)(w, strength), 2 * strength * w, rtol=1e-6)
    # At the optimum of L1 each kept weight's slope is -strength * sign(w): the penalty's pull.
    pull = fg.grad(misfit)(sparse)[jnp.array(list(USEFUL))]
    np.testing.assert_allclose(pull, -strength * np.sign(list(USEFUL.values())), atol=1e-4)


if __name__ == "__main__":
    main()
