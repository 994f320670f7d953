"""The whole workflow: data, AdamW with a rate that falls on a plateau, curves, and what went wrong.

784 - 128 - 10, 20 epochs, images drawn, or with --data DIR MNIST's (where only its test files are
there, a tenth of them is held out).
"""

import argparse
import functools

import numpy as np
from mnist_mlp import digits

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn.data import ArrayDataset, DataLoader, load_mnist, random_split


def rows_of(images, labels):
    return ArrayDataset(images.reshape(-1, 784), labels)


def read(directory):
    """Training and test rows."""
    splits = load_mnist(directory) if directory else {}
    if len(splits) == 2:
        return rows_of(*splits["train"]), rows_of(*splits["test"])
    rows = rows_of(*digits(directory, 3000, fg.random.key(0)))
    return random_split(rows, [len(rows) - len(rows) // 10, len(rows) // 10], fg.random.key(1))


def train(rows, test, epochs):
    """Fitted by AdamW; the rate is halved after two epochs without a better loss."""
    model = nn.Sequential(
        nn.Linear(784, 128, weight_init="he_normal"), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10)
    )
    loader = DataLoader(rows, 64, shuffle=True, key=fg.random.key(2))
    plateau = nn.optim.reduce_on_plateau(
        factor=0.5, patience=2, rtol=0.01, accumulation_size=len(loader)
    )
    fitted = nn.fit(
        model,
        loader,
        loss=functools.partial(nn.cross_entropy, label_smoothing=0.1),
        optimizer=nn.optim.chain(nn.optim.adamw(2e-3), plateau),
        epochs=epochs,
        key=fg.random.key(3),
        metrics={"accuracy": nn.accuracy},
        validation=DataLoader(test, 500),
        rate=2e-3,
        progress="lines",
    )
    return model, fitted


def print_curve(name, values, width=40):
    """A history as lines of text: a bar for each epoch."""
    top = max(values)
    print(name)
    for epoch, value in enumerate(values, start=1):
        print(f"  {epoch:2d} {value:8.4f} {'#' * round(width * value / top)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", metavar="DIR", help="directory of MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--plot", metavar="FILE", help="draw the curves (needs matplotlib)")
    options = parser.parse_args()

    rows, test = read(options.data)
    model, fitted = train(rows, test, options.epochs)
    history = fitted.history
    print_curve("training loss", history["train_loss"])
    print("learning rates", *(f"{rate:.5f}" for rate in dict.fromkeys(history["rate"].tolist())))

    images, labels = test.take(np.arange(len(test)))
    logits = nn.predict(model, fitted.params, fitted.state, images)
    matrix = np.asarray(nn.confusion_matrix(logits, labels, 10))
    print("confusion matrix (rows: label, columns: prediction)", matrix, sep="\n")
    shares = np.asarray(nn.per_class_accuracy(matrix))
    print("accuracy by class", *(f"{digit}: {share:.2f}" for digit, share in enumerate(shares)))
    guesses = np.asarray(logits).argmax(axis=1)
    print("first ten: labels", labels[:10], "predictions", guesses[:10])

    accuracy = float(nn.accuracy(logits, labels))
    print(f"test accuracy {accuracy:.4f}")
    assert matrix.sum() == len(test) and abs(matrix.trace() / len(test) - accuracy) < 1e-6
    assert abs(accuracy - history["val_accuracy"][-1]) < 1e-6
    if options.epochs >= 20:
        assert accuracy > 0.95 and history["rate"][-1] < history["rate"][0], "the rate has fallen"
    if options.plot:
        nn.plot(history, options.plot)


if __name__ == "__main__":
    main()
