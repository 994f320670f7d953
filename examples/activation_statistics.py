"""Looking inside networks of depth one to five: how signals and gradients fade or grow.

After Glorot and Bengio (2010): layers of sigmoid, softsign and tanh. Nothing is hooked or changed:
the network returns its activations, and their gradients are those of zeros added to them.
"""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

ACTIVATIONS = {"sigmoid": nn.Sigmoid(), "softsign": nn.Softsign(), "tanh": nn.Tanh()}


class Network(nn.Module):
    """20 - 64 - ... - 64 - 10, which also returns what each hidden layer gave."""

    def __init__(self, depth, activation):
        sizes = [20] + [64] * depth
        layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
        self.layers, self.activation, self.last = layers, activation, nn.Linear(64, 10)

    def forward(self, x, nudges):
        """`nudges`, one array for each hidden layer, are added to what it gives."""
        activations = []
        for layer, nudge in zip(self.layers, nudges, strict=True):
            x = self.activation(layer(x)) + nudge
            activations.append(x)
        return self.last(x), activations


def statistics(arrays):
    """(mean, standard deviation) of each array."""
    return [(float(a.mean()), float(a.std())) for a in arrays]


def train(depth, activation, x, y, steps=100):
    """Statistics of activations and of gradients, layer by layer, before and after training."""
    model, optimizer = Network(depth, activation), nn.optim.sgd(0.1)
    params, state = model.init(fg.random.key(depth))
    zeros = [jnp.zeros((len(x), 64))] * depth

    def loss_of(params, nudges):
        (logits, activations), _ = model.apply(params, state, x, nudges)
        return nn.cross_entropy(logits, y), activations

    @fg.jit
    def look(params):
        grads, activations = fg.grad(loss_of, argnums=1, has_aux=True)(params, zeros)
        return activations, grads

    @fg.jit
    def step(params):
        grads, _ = fg.grad(loss_of, has_aux=True)(params, zeros)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return nn.optim.apply_updates(params, updates)

    before = [statistics(part) for part in look(params)]
    for _ in range(steps):
        params = step(params)
    return before, [statistics(part) for part in look(params)]


def main():
    x_key, y_key = fg.random.split(fg.random.key(0))
    x = fg.random.normal(x_key, (256, 20))
    y = jnp.argmax(x[:, :10] + 0.1 * fg.random.normal(y_key, (256, 10)), axis=1)
    ratios = {}
    for name, activation in ACTIVATIONS.items():
        for depth in range(1, 6):
            before, (signals, slopes) = train(depth, activation, x, y)
            ratios[name, depth] = slopes[0][1] / slopes[-1][1]
            assert all(np.isfinite(before).flat) and len(signals) == len(slopes) == depth
            assert all(deviation > 0 for _, deviation in slopes), "gradients are collected"
            if depth == 5:
                print(f"{name}, five layers, after 100 steps")
                for layer, (signal, slope) in enumerate(zip(signals, slopes, strict=True), 1):
                    print(
                        f"  layer {layer}  activations {signal[0]:6.3f} +- {signal[1]:.3f}"
                        f"  gradients {slope[0]:9.1e} +- {slope[1]:.1e}"
                    )
    print("standard deviation of the gradient at the first layer over that at the last:")
    for name in ACTIVATIONS:
        print(f"  {name:9s}", "".join(f"{ratios[name, depth]:10.4f}" for depth in range(1, 6)))
    # What the paper found: behind sigmoids the gradient fades by layers, behind tanh it does not.
    assert ratios["sigmoid", 5] < 0.05 < ratios["tanh", 5]


if __name__ == "__main__":
    main()
