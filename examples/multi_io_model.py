"""A model with named inputs and outputs, and a loss for each output.

`Graph` joins layers by name; `compile` puts losses and an optimizer to it. A class of one's own
with a `forward(self, left, right)` that returns a dictionary is trained in the same way.
"""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

INPUTS = {
    "left": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
    "right": np.array([[0.5, -1.0], [2.0, 0.0]], np.float32),
}
TARGETS = {
    "total": INPUTS["left"] + INPUTS["right"],
    "kind": np.array([0, 2], np.int32),
}
LOSSES = {"total": nn.mse, "kind": nn.cross_entropy}


def two_in_two_out():
    return nn.Graph(
        inputs=["left", "right"],
        nodes={
            "from_left": (nn.Linear(2, 8), "left"),
            "from_right": (nn.Linear(2, 8), "right"),
            "sum": (nn.Lambda(jnp.add), "from_left", "from_right"),
            "hidden": (nn.Sigmoid(), "sum"),
            "total": (nn.Linear(8, 2), "hidden"),
            "kind": (nn.Linear(8, 3), "hidden"),
        },
        outputs=["total", "kind"],
    )


def message_of(function, *arguments):
    """The error that a call raises."""
    try:
        function(*arguments)
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    raise SystemExit("this should have been an error")


def main():
    model, optimizer = two_in_two_out(), nn.optim.sgd(0.1)
    step = nn.make_train_step(model, LOSSES, optimizer)
    start = lambda: nn.training.start(model, optimizer, fg.random.key(0))
    now, totals = start(), []
    for number in range(1, 6):
        now, logs = step(now, INPUTS, TARGETS)
        totals.append(float(logs["loss"]))
        parts = {name: float(logs[f"{name}_loss"]) for name in LOSSES}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in parts.items())
        print(f"step {number}: {shown}  together {totals[-1]:.4f}")
        assert abs(sum(parts.values()) - totals[-1]) < 1e-5, "the total loss is the sum"
    assert all(np.diff(totals) < 0), "five steps lower the loss five times"

    trainer = nn.compile(model, loss=LOSSES, optimizer=nn.optim.adam(0.05))
    trainer.fit(INPUTS, TARGETS, epochs=200, batch_size=2, progress=False)
    outputs = trainer.predict(INPUTS)
    print("totals", np.round(outputs["total"], 1).tolist(), "wanted", TARGETS["total"].tolist())
    assert (outputs["kind"].argmax(axis=1) == TARGETS["kind"]).all()

    without_right = {"left": INPUTS["left"]}
    print("a missing input: ", message_of(step, start(), without_right, TARGETS))
    one_loss = nn.make_train_step(model, {"total": nn.mse}, optimizer)
    print("too few losses:  ", message_of(one_loss, start(), INPUTS, TARGETS))


if __name__ == "__main__":
    main()
