"""Fit a noisy sine with a small network: batch norm whose statistics are state in, state out.

The whole step is compiled once. The noise has variance 0.01, so the loss can fall to about that
and, by fitting the noise, a little below.
"""

import argparse

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad.util import optional


class SineNet(nn.Module):
    """1 - 64 - 64 - 1 with batch norm and swish."""

    def __init__(self, hidden=64):
        self.l1 = nn.Linear(1, hidden, weight_init="he_uniform")
        self.n1 = nn.BatchNorm1d(hidden)
        self.l2 = nn.Linear(hidden, hidden, weight_init="he_uniform")
        self.n2 = nn.BatchNorm1d(hidden)
        self.l3 = nn.Linear(hidden, 1, weight_init="he_uniform")
        self.act = nn.SiLU()

    def forward(self, x):
        x = self.act(self.n1(self.l1(x)))
        x = self.act(self.n2(self.l2(x)))
        return self.l3(x)


def make_data(key, count=100):
    """One period of a sine, and noise scaled so that its variance in the sample is 0.01."""
    x = jnp.linspace(-1.0, 1.0, count)[:, None]
    noise = fg.random.normal(key, x.shape)
    return x, jnp.sin(np.pi * x) + 0.1 * noise / noise.std()


def fit_sine(key, count=100, epochs=100):
    """Losses per epoch, and the training state afterwards."""
    data_key, start_key = fg.random.split(key)
    model, optimizer = SineNet(), nn.optim.adam(0.01)
    x, y = make_data(data_key, count)
    now = nn.training.start(model, optimizer, start_key)
    step = nn.make_train_step(model, nn.mse, optimizer)
    losses = []
    for epoch in range(1, epochs + 1):
        now, logs = step(now, x, y)
        losses.append(float(logs["loss"]))
        if epoch % 10 == 0:
            print(f"epoch {epoch:3d}  loss {losses[-1]:.4f}")
    return losses, model, now, (x, y)


def settle(model, params, state, x, passes=100):
    """Let the running statistics reach the batch's, with the parameters held fixed."""
    run = fg.jit(lambda state: model.apply(params, state, x, train=True)[1])
    for _ in range(passes):
        state = run(state)
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plot", metavar="FILE", help="draw the fit (needs matplotlib)")
    options = parser.parse_args()
    losses, model, now, (x, y) = fit_sine(fg.random.key(3))
    state = settle(model, now.params, now.state, x)
    trained = nn.mse(model.apply(now.params, state, x, train=True)[0], y)
    used = nn.mse(model.apply(now.params, state, x)[0], y)
    print(f"with the batch's statistics {trained:.5f}, with the running ones {used:.5f}")
    assert losses[49] <= 0.012 and losses[99] <= 0.010
    assert abs(used - trained) <= 0.02 * trained
    if options.plot:
        draw(options.plot, np.asarray(x), np.asarray(y), model.apply(now.params, state, x)[0])


def draw(path, x, y, prediction):
    figure = optional("matplotlib.figure").Figure()
    axes = figure.subplots()
    axes.plot(x, y, ".", x, np.asarray(prediction), "-")
    figure.savefig(path)


if __name__ == "__main__":
    main()
