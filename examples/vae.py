"""A variational autoencoder (Kingma and Welling, 2013): randomness inside the loss.

The code is written as mean + sigma * noise, so that gradients pass through the sample; the noise
comes from a key, so that the same key gives the same loss.
"""

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader, synthetic_digits

CODE = 8


class VAE(nn.Module):
    """Pixels (batch, 784) -> reconstruction as logits, mean and log-variance of the code."""

    def __init__(self, pixels=784, hidden=128, code=CODE):
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(hidden, code), nn.Linear(hidden, code)
        self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, x):
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        noise = fg.random.normal(self.key(), mean.shape)
        return self.decoder(mean + jnp.exp(0.5 * log_variance) * noise), mean, log_variance

    def decode(self, code):
        return fg.nn.sigmoid(self.decoder(code))


def kl(mean, log_variance):
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of each row, in nats."""
    return 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=-1)


def loss_of(params, x, key):
    """-ELBO per image in nats."""
    (logits, mean, log_variance), _ = VAE().apply(params, {}, x, key=key)
    log_p = x * fg.nn.log_sigmoid(logits) + (1 - x) * fg.nn.log_sigmoid(-logits)
    return (kl(mean, log_variance) - log_p.sum(axis=-1)).mean()


def check_kl(key):
    """The closed form is the mean of log q - log p over draws, and never negative."""
    mean, log_variance = fg.random.normal(key, (2, 5, CODE))
    noise = fg.random.normal(fg.random.fold_in(key, 1), (50_000, 5, CODE))
    z = mean + jnp.exp(log_variance / 2) * noise
    log_ratio = 0.5 * (z**2 - noise**2 - log_variance).sum(axis=-1)
    print("KL", np.round(kl(mean, log_variance), 2), "sampled", np.round(log_ratio.mean(0), 2))
    np.testing.assert_allclose(log_ratio.mean(0), kl(mean, log_variance), rtol=0.03, atol=0.05)
    assert (kl(mean, log_variance) >= 0).all() and kl(jnp.zeros(3), jnp.zeros(3)) == 0


def check_gradient_through_sample(params, x, key):
    """With the key held fixed the loss is an ordinary function: differences give its gradient."""
    grads = fg.grad(loss_of)(params, x, key)
    length = jnp.sqrt(sum((leaf**2).sum() for leaf in fg.tree.leaves(grads)))
    moved = lambda step: fg.tree.map(lambda p, g: p + step * g / length, params, grads)
    quotient = (loss_of(moved(0.01), x, key) - loss_of(moved(-0.01), x, key)) / 0.02
    print(f"length of the gradient {length:.3f}, by differences along it {quotient:.3f}")
    np.testing.assert_allclose(length, quotient, rtol=0.01)


def main():
    images, _ = synthetic_digits(1024, fg.random.key(0))
    loader = DataLoader(
        ArrayDataset(images.reshape(-1, 784)), 64, shuffle=True, key=fg.random.key(1)
    )
    optimizer = nn.optim.adam(4e-3)
    params, _ = VAE().init(fg.random.key(2))
    check_kl(fg.random.key(3))
    check_gradient_through_sample(params, images[:16].reshape(16, 784), fg.random.key(4))

    @fg.jit
    def step(params, moments, x, key):
        loss, grads = fg.value_and_grad(loss_of)(params, x, key)
        updates, moments = optimizer.update(grads, moments, params)
        return nn.optim.apply_updates(params, updates), moments, loss

    moments, count, elbo = optimizer.init(params), 0, []
    for epoch in range(1, 31):
        losses = []
        for x in loader:
            params, moments, loss = step(params, moments, x, fg.random.key(100 + count))
            losses.append(float(loss))
            count += 1
        elbo.append(-np.mean(losses))
        if epoch % 5 == 0:
            print(f"epoch {epoch:2d}  ELBO {elbo[-1]:8.2f} nats per image")
    assert np.isfinite(elbo).all() and elbo[-1] > elbo[0] + 50

    code = fg.random.normal(fg.random.key(5), (4, CODE))
    samples, _ = VAE().apply(params, {}, code, method="decode")
    x = images[:64].reshape(64, 784)
    (logits, _, _), _ = VAE().apply(params, {}, x, key=fg.random.key(6))
    restored = np.asarray(fg.nn.sigmoid(logits))
    print("samples", samples.shape, "and below: an image, its reconstruction, a sample")
    for row in zip(*(p.reshape(28, 28)[4:24:2, 4:24] for p in (x[0], restored[0], samples[0]))):
        print("   ".join("".join(" .:*#"[int(5 * min(v, 0.99))] for v in part) for part in row))
    error, of_mean = abs(restored - x).mean(), abs(x.mean(axis=0) - x).mean()
    print(f"mean error of a pixel {error:.3f}; of the mean image {of_mean:.3f}")
    assert error < of_mean


if __name__ == "__main__":
    main()
