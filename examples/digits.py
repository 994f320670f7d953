"""Train a classifier of handwritten digits, and look at what it has learned.

Without arguments: the 1797 images of 8 x 8 pixels that come with scikit-learn.
With --data DIR: MNIST's IDX files in DIR (train-* and t10k-*, gzipped or not); where only t10k-* is
there, a fixed tenth of it is held out for testing.
"""

import argparse
import functools
import sys
import time

import numpy as np

import funcgrad as fg
import funcgrad_nn as nn
from funcgrad_nn import data
from funcgrad_nn.util import at_a_terminal


def read(directory):
    """Training and test rows (image with one channel, label), from files or scikit-learn."""
    if directory is None:
        return held_out(*data.load_digits(), share=0.2)
    splits = data.load_mnist(directory)
    if "train" in splits and "test" in splits:
        return tuple(rows_of(*split) for split in splits.values())
    return held_out(*next(iter(splits.values())), share=0.1)


def rows_of(images, labels):
    return data.ArrayDataset(images[:, None], labels)


def held_out(images, labels, share):
    """Split by a permutation that is the same in every run."""
    test = round(share * len(images))
    return data.random_split(rows_of(images, labels), [len(images) - test, test], fg.random.key(0))


def classifier(size):
    """Images to ten logits: through one hidden layer if they are small, else convolutions."""
    dense = functools.partial(nn.LazyLinear, weight_init="he_normal")
    if size < 16:
        return nn.Sequential(nn.Flatten(), dense(128), nn.ReLU(), nn.Linear(128, 10))
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Dropout(0.25), dense(128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


def train(model, rows, test, epochs, key):
    """The loop is `fit`; smoothed labels keep the network from growing too sure.

    Large images are turned and shifted a little, another way each time.
    """
    move = data.RandomAffine(10, translate=(0.07, 0.07), scale=(0.9, 1.1))
    size, transform = (64, move) if rows[0][0].shape[-1] >= 16 else (32, None)
    shuffle_key, fit_key = fg.random.split(key)
    batches = data.DataLoader(rows, size, shuffle=True, key=shuffle_key, transform=transform)
    rate = nn.optim.cosine_decay_schedule(3e-3, epochs * len(batches))
    return nn.fit(
        model,
        batches,
        loss=functools.partial(nn.cross_entropy, label_smoothing=0.1),
        optimizer=nn.optim.adamw(rate),
        epochs=epochs,
        key=fit_key,
        metrics={"accuracy": nn.accuracy},
        validation=data.DataLoader(test, batch_size=500),
        progress="bar" if at_a_terminal() else "lines",
    )


def print_predictions(model, trained, test):
    """A table of test images: the first right ones and the first wrong ones."""
    images, labels = test.take(np.arange(len(test)))
    logits = nn.predict(model, trained.params, trained.state, images)
    probabilities = np.asarray(fg.nn.softmax(logits))
    guesses = probabilities.argmax(axis=1)
    right, wrong = np.flatnonzero(guesses == labels)[:6], np.flatnonzero(guesses != labels)[:6]
    print("\ntest row  label  predicted  probability")
    for row in [*right, *wrong]:
        guess, label = guesses[row], labels[row]
        mark = "" if guess == label else "  wrong"
        print(f"{row:8d}  {label:5d}  {guess:9d}  {probabilities[row, guess]:11.3f}{mark}")
    matrix = nn.confusion_matrix(logits, labels, 10)
    print("\nlabel      " + "".join(f"{digit:6d}" for digit in range(10)))
    print("accuracy   " + "".join(f"{a:6.2f}" for a in np.asarray(nn.per_class_accuracy(matrix))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", metavar="DIR", help="directory of MNIST's IDX files")
    parser.add_argument("--epochs", type=int, help="default: 20, with --data 10")
    parser.add_argument("--plot", metavar="FILE", default="digits.png", help="where to draw")
    options = parser.parse_args()
    options.epochs = (10 if options.data else 20) if options.epochs is None else options.epochs
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:
        rows, test = read(options.data)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"digits: {error}")
    began = time.perf_counter()
    model, epochs = classifier(size=rows[0][0].shape[-1]), options.epochs
    print(f"{len(rows)} images to learn from, {len(test)} to test with; the model:\n{model}\n")
    trained = train(model, rows, test, epochs, fg.random.key(1))
    print_predictions(model, trained, test)
    try:
        nn.plot(trained.history, options.plot)
        print(f"\nloss and accuracy by epoch: {options.plot}")
    except (ImportError, OSError) as error:
        print(f"\nno plot: {error}")
    share, seconds = trained.history["val_accuracy"][-1], time.perf_counter() - began
    print(f"test accuracy {100 * share:.2f} % after {epochs} epochs in {seconds:.1f} s")


if __name__ == "__main__":
    main()
