"""ReLU, sigmoid and softmax on plain arrays, and a picture of all activations if asked for."""

import argparse
import warnings

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
from funcgrad.util import optional

CURVES = "relu leaky_relu elu gelu silu softplus sigmoid tanh soft_sign hard_tanh mish selu".split()


def draw(path):
    """Each activation with its derivative, which `grad` provides."""
    x = jnp.linspace(-4.0, 4.0, 200)
    figure = optional("matplotlib.figure").Figure(figsize=(11, 7), layout="constrained")
    for axes, name in zip(figure.subplots(3, 4).flat, CURVES, strict=True):
        function = getattr(fg.nn, name)
        axes.plot(x, function(x), label=name)
        axes.plot(x, fg.vmap(fg.grad(function))(x), ":", label="derivative")
        axes.set_title(name)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plot", metavar="FILE", help="draw the curves (needs matplotlib)")
    options = parser.parse_args()

    x = jnp.linspace(-10.0, 10.0, 100)
    relu, sigmoid, softmax = fg.nn.relu(x), fg.nn.sigmoid(x), fg.nn.softmax(x)
    for name, y in (("relu", relu), ("sigmoid", sigmoid), ("softmax", softmax)):
        print(f"{name:8s} {y.shape}  first {y[0]:.5f}  last {y[-1]:.5f}  sum {y.sum():.5f}")
    assert relu[0] == 0 and relu[-1] == 10 and abs(softmax.sum() - 1) < 1e-6

    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        extreme = fg.nn.sigmoid(jnp.array([-1000.0, 1000.0]))
    print("sigmoid(-1000), sigmoid(1000):", extreme.tolist())
    assert extreme.tolist() == [0.0, 1.0]
    if options.plot:
        draw(options.plot)


if __name__ == "__main__":
    main()
