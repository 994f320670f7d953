"""Colour images: three blocks of convolution and pooling, dropout, random flips, AdamW.

Images are drawn: ten kinds of coloured gratings under noise, told apart by colour and direction.
"""

import numpy as np

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader, RandomFlip


def gratings(count, seed):
    """Images (count, 3, 32, 32) and labels: five directions, which a flip keeps, in two colours."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count).astype(np.int32)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    waves = np.array([x * 0, abs(x) + y, y, x, abs(x) - y])[labels % 5]
    shades = np.sin(9 * waves + rng.uniform(0, 0.6, (count, 1, 1)))
    colours = np.where((labels < 5)[:, None], [1.0, 0.4, 0.1], [0.1, 0.5, 1.0])
    images = colours[:, :, None, None] * shades[:, None]
    return (images + 0.5 * rng.normal(size=images.shape)).astype(np.float32), labels


def network(width=16):
    """Blocks of convolution, ReLU and pooling halve the image three times."""
    sizes = [3, width, 2 * width, 4 * width]
    blocks = [
        layer
        for a, b in zip(sizes, sizes[1:], strict=False)
        for layer in (
            nn.Conv2d(a, b, 3, padding=1, weight_init="he_normal"),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
    ]
    return nn.Sequential(
        *blocks, nn.Flatten(), nn.Dropout(0.4), nn.LazyLinear(64), nn.ReLU(), nn.Linear(64, 10)
    )


def train(epochs):
    rows, test = ArrayDataset(*gratings(640, seed=0)), ArrayDataset(*gratings(200, seed=1))
    loader = DataLoader(
        rows, 32, shuffle=True, key=fg.random.key(0), drop_last=True, transform=RandomFlip(0.5)
    )
    plateau = nn.optim.reduce_on_plateau(factor=0.5, patience=3, accumulation_size=len(loader))
    return nn.fit(
        network(),
        loader,
        loss=nn.cross_entropy,
        optimizer=nn.optim.chain(nn.optim.adamw(2e-3), plateau),
        epochs=epochs,
        key=fg.random.key(1),
        metrics={"accuracy": nn.accuracy},
        validation=DataLoader(test, 100),
        rate=2e-3,
        progress=False,
    ).history


def main():
    history = train(epochs=5)
    print("epoch    loss  accuracy  on other images")
    columns = history["train_loss"], history["train_accuracy"], history["val_accuracy"]
    for epoch, (loss, share, other) in enumerate(zip(*columns, strict=True), start=1):
        print(f"{epoch:5d}  {loss:6.3f}  {share:8.3f}  {other:15.3f}")
    assert history["train_loss"][-1] < 0.5 * history["train_loss"][0]
    assert history["val_accuracy"][-1] > 0.7

    again = train(epochs=1)
    print("the same key, the same first epoch:", again["train_loss"][0] == history["train_loss"][0])
    assert again["train_loss"][0] == history["train_loss"][0]


if __name__ == "__main__":
    main()
