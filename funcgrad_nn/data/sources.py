"""Data sets by name, from packages, from files, and from where their authors put them."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from funcgrad.util import optional
from funcgrad_nn.data.download import Remote, default_directory, fetch
from funcgrad_nn.data.files import CIFAR_PIXELS, cifar_records
from funcgrad_nn.data.idx import read_idx

Splits = dict[str, tuple[np.ndarray, np.ndarray]]
PREFIXES = {"train": "train", "test": "t10k"}
MNIST_BASE = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_BASE = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
)
CIFAR_BASE = "https://www.cs.toronto.edu/~kriz/"
MNIST_FILES = (
    Remote("train-images-idx3-ubyte.gz", MNIST_BASE, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    Remote("train-labels-idx1-ubyte.gz", MNIST_BASE, "d53e105ee54ea40749a09fcbcd1e9432"),
    Remote("t10k-images-idx3-ubyte.gz", MNIST_BASE, "9fb629c4189551a2d022fa330f9573f3"),
    Remote("t10k-labels-idx1-ubyte.gz", MNIST_BASE, "ec29112dd5afa0611ce80d1b7f02629c"),
)
FASHION_FILES = (
    Remote("train-images-idx3-ubyte.gz", FASHION_BASE, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    Remote("train-labels-idx1-ubyte.gz", FASHION_BASE, "25c81989df183df01b3e8a0aad5dffbe"),
    Remote("t10k-images-idx3-ubyte.gz", FASHION_BASE, "bef4ecab320f06d8554ea6380940ec79"),
    Remote("t10k-labels-idx1-ubyte.gz", FASHION_BASE, "bb300cfdad3c16e7a12a480ee83cd310"),
)
CIFAR10_FILE = Remote("cifar-10-binary.tar.gz", CIFAR_BASE, "c32a1d4ab5d03f1284b67883e8d87530")
CIFAR100_FILE = Remote("cifar-100-binary.tar.gz", CIFAR_BASE, "03b5dce01913d631647c71ecec9e9cb8")
CIFAR10_SPLITS = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR100_SPLITS = {"train": ("train.bin",), "test": ("test.bin",)}
MAX_CIFAR_FILE = 50_000 * (CIFAR_PIXELS + 2)
PathLike = str | os.PathLike


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits: images float32 (1797, 8, 8) in [0, 1], labels int32.

    Needs scikit-learn, and no file.

    >>> import importlib.util
    >>> if importlib.util.find_spec("sklearn"):
    ...     images, labels = load_digits()
    ...     assert images.shape == (1797, 8, 8) and labels.max() == 9
    """
    datasets = optional("sklearn.datasets")
    digits = datasets.load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int32)


# -- MNIST and Fashion-MNIST -----------------------------------------------------------------------


def load_mnist(directory: PathLike | None = None, *, download: bool | None = None) -> Splits:
    """MNIST (LeCun et al., 1998), or a data set with the same file names, from IDX files.

    `directory` holds the files, gzipped or not. Without one they are kept in the user's cache, and
    downloaded once, with a checksum; `download` decides otherwise. Returns what is there: "train"
    and "test", each images float32 (n, height, width) in [0, 1] and labels int32 (n,). Raises
    `FileNotFoundError`, listing the names it looked for and where, if neither is complete, and
    `ValueError` for files that do not fit together.

    >>> import tempfile
    >>> from funcgrad_nn.data import write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_idx(folder + "/t10k-images-idx3-ubyte.gz", np.zeros((5, 28, 28), np.uint8))
    ...     write_idx(folder + "/t10k-labels-idx1-ubyte.gz", np.arange(5, dtype=np.uint8))
    ...     images, labels = load_mnist(folder)["test"]
    >>> images.shape, labels.tolist()
    ((5, 28, 28), [0, 1, 2, 3, 4])
    """
    return _idx_splits("load_mnist", "mnist", directory, download, MNIST_FILES)


def load_fashion_mnist(
    directory: PathLike | None = None, *, download: bool | None = None
) -> Splits:
    """Fashion-MNIST (Xiao et al., 2017): as `load_mnist`, ten kinds of clothing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as empty:
    ...     load_fashion_mnist(empty)
    Traceback (most recent call last):
    FileNotFoundError: load_fashion_mnist: ... holds no MNIST files. Put there train-images...
    """
    return _idx_splits("load_fashion_mnist", "fashion-mnist", directory, download, FASHION_FILES)


def _idx_splits(who: str, name: str, directory, download, remotes: Sequence[Remote]) -> Splits:
    place = _place(who, name, directory, download)
    if download or (download is None and directory is None):
        for remote in remotes:
            fetch(remote, place)
    found = {}
    for split, prefix in PREFIXES.items():
        images = _find(place, f"{prefix}-images", "idx3-ubyte")
        labels = _find(place, f"{prefix}-labels", "idx1-ubyte")
        if images and labels:
            found[split] = _images_and_labels(who, images, labels)
    if not found:
        raise FileNotFoundError(
            f"{who}: {place} holds no MNIST files. Put there train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte, or t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each "
            "with or without .gz."
        )
    return found


def _place(who: str, name: str, directory, download: bool | None) -> Path:
    if directory is None:
        return default_directory(name)
    if not Path(directory).is_dir() and not download:
        raise FileNotFoundError(f"{who}: {directory} is not a directory.")
    return Path(directory)


def _find(directory: Path, stem: str, ending: str) -> Path | None:
    names = (f"{stem}{mark}{ending}{zipped}" for mark in "-." for zipped in ("", ".gz"))
    return next((directory / name for name in names if (directory / name).is_file()), None)


def _images_and_labels(who: str, images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or classes.ndim != 1:
        raise ValueError(
            f"{who}: {images} and {labels} must hold uint8 images of rank 3 and "
            f"labels of rank 1, but have {pixels.dtype}{list(pixels.shape)} and "
            f"{classes.dtype}{list(classes.shape)}."
        )
    if len(pixels) != len(classes):
        raise ValueError(
            f"{who}: {images} has {len(pixels)} images, but {labels} has {len(classes)} labels."
        )
    return pixels.astype(np.float32) / 255, classes.astype(np.int32)


# -- CIFAR -----------------------------------------------------------------------------------------


def load_cifar10(
    directory: PathLike | None = None, *, download: bool | None = None, scaled: bool = True
) -> Splits:
    """CIFAR-10 (Krizhevsky, 2009) in its binary version, from `directory` or downloaded once.

    `directory` holds the archive cifar-10-binary.tar.gz, which is read without unpacking it, or
    the files data_batch_1.bin to data_batch_5.bin and test_batch.bin, also within
    cifar-10-batches-bin. Returns what is there: "train" and "test", each images (n, 3, 32, 32),
    float32 in [0, 1] or, with `scaled=False`, uint8, and labels int32 (n,). `download` and errors
    as in `load_mnist`.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (pathlib.Path(folder) / "test_batch.bin").write_bytes(bytes([7] + 3072 * [255]))
    ...     images, labels = load_cifar10(folder)["test"]
    >>> images.shape, float(images.min()), labels.tolist()
    ((1, 3, 32, 32), 1.0, [7])
    """
    place = _place("load_cifar10", "cifar-10", directory, download)
    fetching = download or (download is None and directory is None)
    folder, splits = "cifar-10-batches-bin", CIFAR10_SPLITS
    files = _cifar_files("load_cifar10", place, CIFAR10_FILE, fetching, folder, splits)
    return _cifar_splits(files, splits, 1, 0, scaled)


def load_cifar100(
    directory: PathLike | None = None,
    *,
    download: bool | None = None,
    scaled: bool = True,
    coarse: bool = False,
) -> Splits:
    """CIFAR-100: as `load_cifar10`, with 100 classes, or 20 if `coarse`.

    The archive is cifar-100-binary.tar.gz, the files are train.bin and test.bin, also within
    cifar-100-binary.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (pathlib.Path(folder) / "test.bin").write_bytes(bytes([3, 42] + 3072 * [0]))
    ...     load_cifar100(folder)["test"][1].tolist(), load_cifar100(folder, coarse=True)["test"][1]
    ([42], array([3], dtype=int32))
    """
    place = _place("load_cifar100", "cifar-100", directory, download)
    fetching = download or (download is None and directory is None)
    folder, splits = "cifar-100-binary", CIFAR100_SPLITS
    files = _cifar_files("load_cifar100", place, CIFAR100_FILE, fetching, folder, splits)
    return _cifar_splits(files, splits, 2, 0 if coarse else 1, scaled)


def _cifar_files(
    who: str, place: Path, archive: Remote, fetching: bool | None, folder: str, splits: Mapping
) -> dict[str, bytes]:
    """The contents of the binary files that are there, by name."""
    names = [name for files in splits.values() for name in files]
    for directory in (place, place / folder):
        there = [name for name in names if (directory / name).is_file()]
        if there:
            return {name: _whole(who, directory / name) for name in there}
    if fetching:
        fetch(archive, place)
    if (place / archive.name).is_file():
        return _from_archive(who, place / archive.name, names)
    raise FileNotFoundError(
        f"{who}: {place} holds neither {archive.name} nor any of {', '.join(names)}. Put them "
        f"there; {archive.base}{archive.name} has them all."
    )


def _whole(who: str, path: Path) -> bytes:
    if path.stat().st_size > MAX_CIFAR_FILE:
        raise ValueError(f"{who}: {path} is larger than any file of CIFAR.")
    return path.read_bytes()


def _from_archive(who: str, path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Members by the last part of their name; nothing is unpacked to the disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if member.isfile() and name in names:
                    if member.size > MAX_CIFAR_FILE:
                        raise ValueError(f"{who}: {path}: {name} is larger than any file of CIFAR.")
                    stream = archive.extractfile(member)
                    found[name] = stream.read() if stream is not None else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{who}: {path}: the archive is damaged ({error}).") from None
    if not found:
        raise ValueError(f"{who}: {path} has none of {', '.join(names)}.")
    return found


def _cifar_splits(
    files: Mapping[str, bytes], splits: Mapping, labels: int, column: int, scaled: bool
) -> Splits:
    """Files joined to splits; a split counts only if all of its files are there."""
    found: Splits = {}
    for split, names in splits.items():
        if all(name in files for name in names):
            parts = [_records(name, files[name], labels) for name in names]
            images = np.concatenate([images for images, _ in parts])
            classes = np.concatenate([rows.reshape(len(rows), -1)[:, column] for _, rows in parts])
            scaled_images = images.astype(np.float32) / 255 if scaled else images
            found[split] = scaled_images, classes.astype(np.int32)
    if not found:
        raise FileNotFoundError(
            f"CIFAR: of no split are all files there, only {', '.join(sorted(files))}."
        )
    return found


def _records(name: str, content: bytes, labels: int) -> tuple[np.ndarray, np.ndarray]:
    if not content or len(content) % (labels + CIFAR_PIXELS):
        raise ValueError(f"CIFAR: {name}: {len(content)} bytes are no whole number of records.")
    return cifar_records(content, labels)
