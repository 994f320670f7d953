"""Data sets by name, from packages and from files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from funcgrad.util import optional
from funcgrad_nn.data.idx import read_idx

PREFIXES = {"train": "train", "test": "t10k"}


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits: images float32 (1797, 8, 8) in [0, 1], labels int32."""
    datasets = optional("sklearn.datasets")
    digits = datasets.load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int32)


def load_mnist(directory: str | os.PathLike) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """MNIST, or a data set with the same file names, from a directory of IDX files.

    Returns what is there: "train" and "test", each images float32 (n, height, width) in [0, 1] and
    labels int32 (n,). Raises `FileNotFoundError`, listing the names it looked for, if neither is
    complete, and `ValueError` for files that do not fit together.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"load_mnist: {directory} is not a directory.")
    found = {}
    for split, prefix in PREFIXES.items():
        images = _find(directory, f"{prefix}-images", "idx3-ubyte")
        labels = _find(directory, f"{prefix}-labels", "idx1-ubyte")
        if images and labels:
            found[split] = _images_and_labels(images, labels)
    if not found:
        raise FileNotFoundError(
            f"load_mnist: {directory} holds no MNIST files. Put there train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte, or t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each "
            "with or without .gz."
        )
    return found


def _find(directory: Path, stem: str, ending: str) -> Path | None:
    names = (f"{stem}{mark}{ending}{zipped}" for mark in "-." for zipped in ("", ".gz"))
    return next((directory / name for name in names if (directory / name).is_file()), None)


def _images_and_labels(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or classes.ndim != 1:
        raise ValueError(
            f"load_mnist: {images} and {labels} must hold uint8 images of rank 3 and "
            f"labels of rank 1, but have {pixels.dtype}{list(pixels.shape)} and "
            f"{classes.dtype}{list(classes.shape)}."
        )
    if len(pixels) != len(classes):
        raise ValueError(
            f"load_mnist: {images} has {len(pixels)} images, but {labels} has "
            f"{len(classes)} labels."
        )
    return pixels.astype(np.float32) / 255, classes.astype(np.int32)
