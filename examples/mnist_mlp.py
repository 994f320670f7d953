"""A perceptron for digits: layer norm, a step of one's own, progress, saving and loading.

784 - 128 - 10, layer norm behind each dense layer, SGD 0.01 on batches of 64. Images are drawn, or
with --data DIR MNIST's, from IDX files there.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader, load_mnist, synthetic_digits


def digits(directory, count, key):
    """Images (n, 28, 28) and labels: from files, or drawn."""
    if directory is None:
        return synthetic_digits(count, key)
    return next(iter(load_mnist(directory).values()))


def forever(loader):
    while True:
        yield from loader


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", metavar="DIR", help="directory of MNIST's IDX files")
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()

    images, labels = digits(options.data, 4000, fg.random.key(0))
    rows = ArrayDataset(images.reshape(-1, 784), labels)
    loader = DataLoader(rows, 64, shuffle=True, drop_last=True, key=fg.random.key(1))
    model = nn.Sequential(
        nn.Linear(784, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 10), nn.LayerNorm(10)
    )
    optimizer = nn.optim.sgd(0.01)
    params, state = model.init(fg.random.key(2))

    @fg.jit
    def step(params, moments, x, y):
        def loss_of(params):
            logits, _ = model.apply(params, state, x)
            return nn.cross_entropy(logits, y), nn.accuracy(logits, y)

        (loss, share), grads = fg.value_and_grad(loss_of, has_aux=True)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return nn.optim.apply_updates(params, updates), moments, loss, share

    moments, losses, shares = optimizer.init(params), [], []
    for number, (x, y) in zip(range(1, options.steps + 1), forever(loader), strict=False):
        params, moments, loss, share = step(params, moments, x, y)
        losses.append(float(loss))
        shares.append(float(share))
        if number in (1, 10, 30, 100) or number % 300 == 0:
            print(f"step {number:4d}  loss {losses[-1]:.3f}  accuracy {shares[-1]:.3f}")
    if options.steps >= 310:
        at_300 = np.mean(losses[290:310])
        print(f"loss around step 300 is {at_300 / losses[0]:.2f} of the first")
        assert at_300 < 0.5 * losses[0]
    assert options.steps < 1000 or np.mean(shares[-20:]) > 0.9

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.safetensors"
        nn.save_model(path, model, params, state)
        again, loaded, loaded_state = nn.load_model(path)
        print(f"saved in {path.stat().st_size} bytes, and read again:\n{again}")
    x = jnp.asarray(rows[:100][0])
    logits, _ = again.apply(loaded, loaded_state, x)
    assert (logits == model.apply(params, state, x)[0]).all(), "the same logits, bit for bit"


if __name__ == "__main__":
    main()
