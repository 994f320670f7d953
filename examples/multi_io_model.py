"""A model with named inputs and outputs, and a loss for each output."""

import numpy as np

import funcgrad as fg
import funcgrad_nn as nn


class TwoInTwoOut(nn.Module):
    """`left` and `right` (batch, 2) -> {"total": (batch, 2), "class_": (batch, 3)}."""

    def __init__(self):
        self.left, self.right = nn.Linear(2, 8), nn.Linear(2, 8)
        self.total, self.class_ = nn.Linear(8, 2), nn.Linear(8, 3)

    def forward(self, left, right):
        hidden = fg.nn.sigmoid(self.left(left) + self.right(right))
        return {"total": self.total(hidden), "class_": self.class_(hidden)}


INPUTS = {
    "left": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
    "right": np.array([[0.5, -1.0], [2.0, 0.0]], np.float32),
}
TARGETS = {
    "total": INPUTS["left"] + INPUTS["right"],
    "class_": np.array([0, 2], np.int32),
}
LOSSES = {"total": nn.mse, "class_": nn.cross_entropy}


def message_of(function, *arguments):
    """The error that a call raises, in its first line."""
    try:
        function(*arguments)
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    raise SystemExit("this should have been an error")


def main():
    model, optimizer = TwoInTwoOut(), nn.optim.sgd(0.1)
    start = lambda: nn.training.start(model, optimizer, fg.random.key(0))
    step = nn.make_train_step(model, LOSSES, optimizer)
    now, totals = start(), []
    for number in range(1, 6):
        now, logs = step(now, INPUTS, TARGETS)
        totals.append(float(logs["loss"]))
        parts = {name: float(logs[f"{name}_loss"]) for name in LOSSES}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in parts.items())
        print(f"step {number}: {shown}  together {totals[-1]:.4f}")
        assert abs(sum(parts.values()) - totals[-1]) < 1e-5, "the total loss is the sum"
    assert all(np.diff(totals) < 0), "five steps lower the loss five times"

    outputs, _ = model.apply(now.params, now.state, **INPUTS)
    print("predict:", {name: tuple(value.shape) for name, value in outputs.items()})

    without_right = {"left": INPUTS["left"]}
    print("a missing input: ", message_of(step, start(), without_right, TARGETS))
    one_loss = nn.make_train_step(model, {"total": nn.mse}, optimizer)
    print("too few losses:  ", message_of(one_loss, start(), INPUTS, TARGETS))


if __name__ == "__main__":
    main()
