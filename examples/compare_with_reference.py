"""The same training here and in PyTorch, step by step: losses, accuracies, seconds.

784 - 128 - 128 - 10 with dropout 0.1 and Adam. Both get the same batches, start weights and dropout
masks, so that every loss can be compared. Without PyTorch only our side runs.
"""

import time

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad.util import optional
from funcgrad_nn.data import ArrayDataset, DataLoader, synthetic_digits
from funcgrad_nn.util import has

EPOCHS, BATCH, RATE, DROPPED = 3, 64, 1e-3, 0.1


class Network(nn.Module):
    def __init__(self):
        self.l1, self.l2, self.l3 = nn.Linear(784, 128), nn.Linear(128, 128), nn.Linear(128, 10)

    def forward(self, x, masks):
        """`masks` (2, batch, 128) multiply the hidden layers: 0 or 1 / 0.9."""
        x = fg.nn.relu(self.l1(x)) * masks[0]
        return self.l3(fg.nn.relu(self.l2(x)) * masks[1])


class Ours:
    def __init__(self, model, params):
        self.optimizer = nn.optim.adam(RATE)
        self.params, self.moments = params, self.optimizer.init(params)
        self.run = fg.jit(lambda params, x, masks: model.apply(params, {}, x, masks)[0])

        def step(params, moments, x, y, masks):
            loss_of = lambda params: nn.cross_entropy(self.run(params, x, masks), y)
            loss, grads = fg.value_and_grad(loss_of)(params)
            updates, moments = self.optimizer.update(grads, moments, params)
            return nn.optim.apply_updates(params, updates), moments, loss

        self.compiled = fg.jit(step, donate_argnums=(0, 1))

    def step(self, x, y, masks):
        self.params, self.moments, loss = self.compiled(self.params, self.moments, x, y, masks)
        return float(loss)

    def logits(self, x):
        return np.asarray(self.run(self.params, x, jnp.ones((2, len(x), 128))))


class Reference:
    def __init__(self, state_dict):
        self.torch = torch = optional("torch")
        self.weights = {name: torch.tensor(array) for name, array in state_dict.items()}
        for weight in self.weights.values():
            weight.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.weights.values(), RATE)

    def forward(self, x, masks):
        functional, x = self.torch.nn.functional, self.torch.as_tensor(x)
        own = lambda name: (self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
        for name, mask in zip(("l1", "l2"), self.torch.as_tensor(masks), strict=True):
            x = functional.linear(x, *own(name)).relu() * mask
        return functional.linear(x, *own("l3"))

    def step(self, x, y, masks):
        self.optimizer.zero_grad()
        labels = self.torch.as_tensor(y).long()
        loss = self.torch.nn.functional.cross_entropy(self.forward(x, masks), labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def logits(self, x):
        return self.forward(x, np.ones((2, len(x), 128), np.float32)).detach().numpy()


def train(side, train, test):
    """Losses of all steps; a row for each epoch: loss, accuracies, seconds of its steps."""
    loader = DataLoader(ArrayDataset(*train), BATCH, shuffle=True, key=fg.random.key(2))
    rng, losses, rows = np.random.default_rng(0), [], []
    for _ in range(EPOCHS):
        seconds, first = 0.0, len(losses)
        for x, y in loader:
            masks = (rng.random((2, len(x), 128)) >= DROPPED).astype(np.float32) / (1 - DROPPED)
            began = time.perf_counter()
            losses.append(side.step(x, y, masks))
            seconds += time.perf_counter() - began
        shares = [np.mean(side.logits(x).argmax(axis=1) == y) for x, y in (train, test)]
        rows.append((np.mean(losses[first:]), *shares, seconds))
    return losses, rows


def main():
    images, labels = synthetic_digits(3000, fg.random.key(0))
    images = images.reshape(-1, 784)
    data = (images[:2500], labels[:2500]), (images[2500:], labels[2500:])
    model = Network()
    params, _ = model.init(fg.random.key(1))
    start = nn.to_state_dict(model, params)
    sides = {"funcgrad": Ours(model, params)}
    if has("torch"):
        sides["torch"] = Reference(start)
    results = {name: train(side, *data) for name, side in sides.items()}
    print(f"{'':10s}epoch    loss  train  test   seconds")
    for name, (_, rows) in results.items():
        for epoch, (loss, share, other, seconds) in enumerate(rows, start=1):
            print(f"{name:10s}{epoch:5d}  {loss:6.4f}  {share:.3f}  {other:.3f}  {seconds:6.2f}")
    if len(results) == 2:
        (ours, rows), (theirs, other) = results.values()
        print(f"largest difference of a step's loss: {np.abs(np.subtract(ours, theirs)).max():.1e}")
        print(f"time of the last epoch, ours over theirs: {rows[-1][3] / other[-1][3]:.2f}")
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert results["funcgrad"][1][-1][2] > 0.9


if __name__ == "__main__":
    main()
