"""Batches of a data set: how many, how large, in which order, and again."""

import numpy as np

import funcgrad as fg
from funcgrad_nn.data import ArrayDataset, DataLoader


def labels_of(loader):
    """The labels of one pass, in the order in which they come."""
    return np.concatenate([labels for _, labels in loader])


def main():
    images = np.zeros((60_000, 28, 28), np.float32)
    labels = np.arange(60_000, dtype=np.int32)
    loader = DataLoader(ArrayDataset(images, labels), 32, shuffle=True, key=fg.random.key(0))
    x, y = next(iter(loader))
    print(f"{len(loader)} batches of shapes {x.shape} and {y.shape}")
    assert len(loader) == 1875 and x.shape == (32, 28, 28) and y.shape == (32,)

    few = ArrayDataset(np.arange(100))
    print("100 rows by 32:", [len(batch) for batch in DataLoader(few, 32)])
    print("without the short one:", [len(batch) for batch in DataLoader(few, 32, drop_last=True)])

    rows = ArrayDataset(images[:100], labels[:100])
    again = lambda: DataLoader(rows, 32, shuffle=True, key=fg.random.key(7))
    loader = again()
    first, second = labels_of(loader), labels_of(loader)
    print("first pass ", first[:8], "\nsecond pass", second[:8])
    assert (np.sort(first) == np.sort(second)).all(), "each pass yields every row"
    assert (first != second).any(), "in another order"
    other = again()
    assert (labels_of(other) == first).all() and (labels_of(other) == second).all()

    # Two iterators over one loader do not disturb each other.
    loader = DataLoader(few, 40)
    pairs = sum(1 for _ in loader for _ in loader)
    print(f"nested passes over one loader: {pairs} pairs of 3 x 3")
    assert pairs == 9


if __name__ == "__main__":
    main()
