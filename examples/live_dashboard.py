"""Curves in the terminal while a model trains: by plotext where it is installed, else plain text.

They are drawn every 50 steps. What that costs per step is measured and printed.
"""

import sys
import time

import numpy as np

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader


class Timed(nn.LiveCurves):
    """The same curves, and the time they took."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seconds, self.steps = 0.0, 0

    def on_step(self, step):
        began = time.perf_counter()
        super().on_step(step)
        self.seconds, self.steps = self.seconds + time.perf_counter() - began, self.steps + 1


def main():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1600, 2)).astype(np.float32)
    y = (np.hypot(*x.T) < 1.1).astype(np.int32)
    curves = Timed(["loss", "accuracy"], every=50, width=72, height=10, stream=sys.stdout)
    fitted = nn.fit(
        nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)),
        DataLoader(ArrayDataset(x, y), 32, shuffle=True, key=fg.random.key(0)),
        loss=nn.cross_entropy,
        optimizer=nn.optim.adam(5e-3),
        epochs=8,
        key=fg.random.key(1),
        metrics={"accuracy": nn.accuracy},
        callbacks=[curves],
        progress=False,
    )
    print(
        nn.training.text_plot(
            {"loss of the epochs": fitted.history["train_loss"]}, width=60, height=6
        )
    )
    cost = 1e3 * curves.seconds / curves.steps
    print(f"{curves.steps} steps, drawn {curves.steps // 50} times: {cost:.3f} ms a step")
    assert curves.steps == 400 and cost < 1.0
    assert fitted.history["train_accuracy"][-1] > 0.9


if __name__ == "__main__":
    main()
