"""A small convolutional network for digits, by hand: weight decay, a drawing, test accuracy.

Convolutions 1 - 4 - 8, a dense layer 4608 - 1024 - 10, SGD with weight decay. Images are drawn, or
with --data DIR MNIST's. The drawing of the first batch's program is written with --draw FILE.
"""

import argparse

import numpy as np
from mnist_mlp import digits

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader, random_split


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", metavar="DIR", help="directory of MNIST's IDX files")
    parser.add_argument("--draw", metavar="FILE", help="drawing: DOT text, or PNG with Graphviz")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()

    images, labels = digits(options.data, 1100, fg.random.key(0))
    rows = ArrayDataset(images[:, None], labels)
    train, test = random_split(rows, [len(rows) - 100, 100], fg.random.key(1))
    loader = DataLoader(train, 32, shuffle=True, key=fg.random.key(2))
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(4608, 1024), nn.ReLU(), nn.Linear(1024, 10), nn.LogSoftmax(),
    )  # fmt: skip
    optimizer = nn.optim.chain(nn.optim.add_decayed_weights(1e-4), nn.optim.sgd(0.02, momentum=0.9))
    params, state = model.init(fg.random.key(3))

    def loss_of(params, x, y):
        """Minus the mean log-probability of the label."""
        log_p, _ = model.apply(params, state, x)
        return -(log_p * fg.nn.one_hot(y, 10)).sum(axis=1).mean()

    @fg.jit
    def step(params, moments, x, y):
        loss, grads = fg.value_and_grad(loss_of)(params, x, y)
        updates, moments = optimizer.update(grads, moments, params)
        return nn.optim.apply_updates(params, updates), moments, loss

    accuracy = fg.jit(lambda params, x, y: nn.accuracy(model.apply(params, state, x)[0], y))
    held_out = test.take(np.arange(100))
    x, y = next(iter(DataLoader(train, 32)))
    grads = fg.jit(fg.grad(loss_of))(params, x, y)
    largest = [float(abs(grads[layer]["weight"]).max()) for layer in ("0", "2")]
    print("largest gradients of the two convolutions:", largest)
    assert min(largest) > 1e-4, "both convolutions learn"

    drawing = nn.draw(model, x, path=options.draw)
    print("the drawing has", drawing.count("conv_general_dilated"), "convolutions")

    moments, losses, shares = optimizer.init(params), [], [float(accuracy(params, *held_out))]
    for epoch in range(1, options.epochs + 1):
        for x, y in loader:
            params, moments, loss = step(params, moments, x, y)
            losses.append(float(loss))
        shares.append(float(accuracy(params, *held_out)))
        print(f"epoch {epoch}: {len(loader)} steps, loss {losses[-1]:.3f}, test {shares[-1]:.2f}")
    assert len(losses) == options.epochs * len(loader), "an epoch is one pass over the data"
    if options.epochs >= 4:
        assert np.mean(losses[-10:]) < 0.5 * losses[0] and shares[-1] > max(shares[0], 0.8)


if __name__ == "__main__":
    main()
