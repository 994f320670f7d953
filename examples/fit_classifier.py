"""From arrays to a trained classifier in ten lines. The labels are noise: it can only memorise."""

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader, random_split


def main():
    key = fg.random.key(0)
    x = fg.random.normal(fg.random.fold_in(key, 1), (1250, 20))
    y = fg.random.randint(fg.random.fold_in(key, 2), (1250,), 0, 5)
    rows, held_out = random_split(ArrayDataset(x, y), [1000, 250], key)

    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5))
    fitted = nn.fit(
        model,
        DataLoader(rows, 32, shuffle=True, key=key),
        epochs=10,
        key=key,
        loss=nn.cross_entropy,
        optimizer=nn.optim.adam(1e-3),
        metrics={"accuracy": nn.accuracy},
        validation=DataLoader(held_out, 250),
        progress="lines",
    )

    history = fitted.history
    assert all(len(values) == 10 for values in history.values())
    print(f"{'':16s}" + "".join(f"{f'epoch {epoch}':>10s}" for epoch in (1, 5, 10)))
    for name, values in history.items():
        print(f"{name:16s}" + "".join(f"{values[epoch - 1]:10.3f}" for epoch in (1, 5, 10)))
    assert history["train_loss"][-1] < min(1.6, history["train_loss"][0])
    assert history["train_accuracy"][-1] > max(0.28, history["train_accuracy"][0])


if __name__ == "__main__":
    main()
