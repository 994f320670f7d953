"""A search over settings: batch sizes in a loop, all learning rates at once by `vmap`."""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn

GRID = {"batch_size": [16, 64], "learning_rate": [0.003, 0.03, 0.3, 3.0]}
MODEL = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))


def make_data(key, count):
    """Two interleaved half moons."""
    angle_key, noise_key = fg.random.split(key)
    angle = fg.random.uniform(angle_key, (count,), maxval=np.pi)
    label = jnp.arange(count) % 2
    x = jnp.where(label == 0, jnp.cos(angle), 1 - jnp.cos(angle))
    y = jnp.where(label == 0, jnp.sin(angle), 0.5 - jnp.sin(angle))
    return jnp.stack([x, y], 1) + 0.1 * fg.random.normal(noise_key, (count, 2)), label


def run(learning_rate, batch_size, train, test, epochs=30):
    """Loss and accuracy on the test set after training; a pure function of its settings."""
    x, y = train
    params, state = MODEL.init(fg.random.key(0))
    optimizer = nn.optim.sgd(learning_rate, momentum=0.9)
    batches = fg.random.permutation(fg.random.key(1), len(x)).reshape(-1, batch_size)

    def loss_of(params, rows):
        return nn.cross_entropy(MODEL.apply(params, state, x[rows])[0], y[rows])

    def step(carry, rows):
        params, moments = carry
        updates, moments = optimizer.update(fg.grad(loss_of)(params, rows), moments, params)
        return (nn.optim.apply_updates(params, updates), moments), None

    start = params, optimizer.init(params)
    (params, _), _ = fg.lax.scan(step, start, jnp.concatenate([batches] * epochs))
    logits, _ = MODEL.apply(params, state, test[0])
    return nn.cross_entropy(logits, test[1]), nn.accuracy(logits, test[1])


def main():
    train, test = make_data(fg.random.key(2), 512), make_data(fg.random.key(3), 256)
    rates = jnp.array(GRID["learning_rate"])
    rows = []
    print("batch size  learning rate    loss  accuracy")
    for size in GRID["batch_size"]:
        one = lambda rate, size=size: run(rate, size, train, test)
        losses, shares = fg.jit(fg.vmap(one))(rates)
        separate = [fg.jit(one)(rate)[0] for rate in rates[:3]]
        np.testing.assert_allclose(losses[:3], separate, rtol=1e-6, atol=1e-6)
        for rate, loss, share in zip(GRID["learning_rate"], losses, shares, strict=True):
            rows.append((float(loss), float(share), size, rate))
            print(f"{size:10d}  {rate:13.3f}  {loss:6.3f}  {share:8.3f}")
    loss, share, size, rate = min(rows)
    print(f"best: batch size {size}, learning rate {rate}, accuracy {share:.3f}")
    assert len(rows) == 8 and share > 0.9


if __name__ == "__main__":
    main()
