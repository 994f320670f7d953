"""A trained model in one file: its description as text, its weights, rebuilt in one call.

Nothing is pickled: the file holds numbers and JSON, and reading it runs no code.
"""

import tempfile
from pathlib import Path

import numpy as np

import funcgrad as fg
import funcgrad.numpy as jnp
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader, synthetic_digits


def every_kind_of_layer():
    """Convolution, three kinds of norm, pooling, dropout, reshaping, a residual connection."""
    block = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.SiLU())
    return nn.Sequential(
        nn.Reshape(1, 28, 28),
        nn.Conv2d(1, 8, 3, padding="same", stride=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.GroupNorm(2, 8),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(8 * 7 * 7, 32, weight_init="he_normal"),
        nn.Residual(block),
        nn.Lambda(jnp.tanh),
        nn.Linear(32, 10),
    )


def main():
    images, labels = synthetic_digits(1200, fg.random.key(0))
    model = every_kind_of_layer()
    rows = ArrayDataset(images[:1000], labels[:1000])
    fitted = nn.fit(
        model,
        DataLoader(rows, 50, shuffle=True, key=fg.random.key(1)),
        loss=nn.cross_entropy,
        optimizer=nn.optim.adam(3e-3),
        epochs=8,
        key=fg.random.key(2),
        progress=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        nn.save_model(path, model, fitted.params, fitted.state)
        print(f"{path.name}: {path.stat().st_size} bytes; the description begins")
        print("\n".join(model.to_json().splitlines()[:8]))

        again, params, state = nn.load_model(path)
        assert again == model and again.to_json() == model.to_json()
        ours, _ = model.apply(fitted.params, fitted.state, images[1000:])
        theirs, _ = again.apply(params, state, images[1000:])
        assert (ours == theirs).all(), "the same logits, bit for bit"

        image = images[1000]
        guess = int(jnp.argmax(again.apply(params, state, image[None])[0]))
        for row in image[2:-2:2]:
            print("   ", "".join(" .:*#"[int(5 * min(value, 0.99))] for value in row))
        print(f"predicted {guess}, drawn as {labels[1000]}")
        share = float(nn.accuracy(theirs, labels[1000:]))
        print(f"accuracy on 200 others: {share:.3f}")
        assert guess == labels[1000] and share > 0.9

        other = nn.Sequential(nn.Linear(784, 12), nn.Linear(12, 10))
        try:
            nn.load(path, like={"params": other.init(fg.random.key(0))[0]})
        except ValueError as error:
            print("another model:", str(error).splitlines()[-1].strip()[:90])
        else:
            raise SystemExit("weights of another shape were accepted")
    assert all(np.isfinite(leaf).all() for leaf in fg.tree.leaves(params))


if __name__ == "__main__":
    main()
