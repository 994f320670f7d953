"""Readers of CIFAR's binary files, CSV, NPZ and folders of images.

Files come from outside: what a header promises is compared with the bytes that are there before
anything of that size is allocated, and nothing in a file is run.
"""

from __future__ import annotations

import csv
import io
import math
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from funcgrad.util import optional
from funcgrad_nn.data.dataset import Dataset
from funcgrad_nn.data.idx import DEFLATE_RATIO, MAX_BYTES

CIFAR_PIXELS = 3 * 32 * 32
NPY_VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


# -- CIFAR -----------------------------------------------------------------------------------------


def read_cifar(
    path: str | os.PathLike, labels: int = 1, *, max_bytes: int = MAX_BYTES
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 3, 32, 32) and labels uint8 (n,) of a file of CIFAR's binary version.

    A record is `labels` bytes (1 in CIFAR-10; 2 in CIFAR-100: coarse, fine) and 3072 of pixels.
    With more than one label the labels are (n, labels). Raises `ValueError` for a size that is not
    a whole number of records.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "test_batch.bin"
    >>> _ = path.write_bytes(bytes([3]) + bytes(3072))
    >>> images, labels = read_cifar(path)
    >>> images.shape, labels.tolist()
    ((1, 3, 32, 32), [3])
    """
    record, size = labels + CIFAR_PIXELS, os.path.getsize(path)
    if size == 0 or size % record or size > max_bytes:
        raise ValueError(
            f"read_cifar: {path}: {size} bytes are no whole number of records of {record} bytes, "
            f"or more than the {max_bytes} allowed."
        )
    return cifar_records(Path(path).read_bytes(), labels)


def cifar_records(content: bytes, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of whole records."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, labels + CIFAR_PIXELS)
    images = rows[:, labels:].reshape(-1, 3, 32, 32)
    return images, rows[:, 0] if labels == 1 else rows[:, :labels]


# -- CSV -------------------------------------------------------------------------------------------


def read_csv(
    path: str | os.PathLike,
    *,
    header: bool = True,
    delimiter: str = ",",
    max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray]:
    """The columns of a CSV file by name, in order.

    Columns of whole numbers become int64, of numbers float64 (an empty field is NaN), others text.
    Without a `header` they are called "0", "1", ... Raises `ValueError`, naming the line, for rows
    of different lengths, and for columns of equal names.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text("height,name\\n1.5,ann\\n,bob\\n")
    >>> table = read_csv(path)
    >>> table["height"].tolist(), table["name"].tolist()
    ([1.5, nan], ['ann', 'bob'])
    """
    if os.path.getsize(path) > max_bytes:
        raise ValueError(f"read_csv: {path}: more than the {max_bytes} bytes allowed.")
    with open(path, newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        try:
            rows = [row for row in reader if row]
        except csv.Error as error:
            raise ValueError(f"read_csv: {path}: line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"read_csv: {path}: the file has no row.")
    names = rows.pop(0) if header else [str(i) for i in range(len(rows[0]))]
    _require_table(path, names, rows)
    return {name: _column([row[i] for row in rows]) for i, name in enumerate(names)}


def _require_table(path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"read_csv: {path}: two columns have the same name: {names}.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise ValueError(
                f"read_csv: {path}: row {number} has {len(row)} fields, but there are "
                f"{len(names)} columns."
            )


def _column(fields: list[str]) -> np.ndarray:
    if any("_" in field for field in fields):  # Python would read 1_000 as a number
        return np.array(fields, dtype=str)
    try:
        return np.array([int(field) for field in fields], np.int64)
    except (ValueError, OverflowError):
        return _floats_or_text(fields)


def _floats_or_text(fields: list[str]) -> np.ndarray:
    try:
        return np.array([float(field) if field.strip() else math.nan for field in fields])
    except ValueError:
        return np.array(fields, dtype=str)


# -- NPZ -------------------------------------------------------------------------------------------


def read_npz(path: str | os.PathLike, *, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of a file of `numpy.savez` by name; pickled objects are refused.

    Raises `ValueError`, naming file and array, for what is no such file, for headers that promise
    more than the file can hold, and for more than `max_bytes` in all.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(path, x=np.arange(3))
    >>> read_npz(path)["x"].tolist()
    [0, 1, 2]
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _require_honest(archive, Path(path), max_bytes)
            return {
                name.removesuffix(".npy"): _npy(archive.read(name), f"{path}: {name}")
                for name in archive.namelist()
            }
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, OSError,
            RuntimeError, zlib.error) as error:  # fmt: skip
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"read_npz: {path}: the archive is damaged ({error}).") from None


def _require_honest(archive: zipfile.ZipFile, path: Path, max_bytes: int) -> None:
    total = sum(info.file_size for info in archive.infolist())
    if total > max_bytes or total > path.stat().st_size * DEFLATE_RATIO:
        raise ValueError(f"read_npz: {path}: it promises {total} bytes of arrays, too many.")
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError(f"read_npz: {path}: two arrays have the same name.")


def _npy(content: bytes, where: str) -> np.ndarray:
    """One array of the format of `numpy.save`, from bytes that are there."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = NPY_VERSIONS[version](stream)
    except Exception as error:  # NumPy's reader lets those of Python's parser and tokenizer through
        raise ValueError(f"read_npz: {where}: not an array of numpy.save ({error}).") from None
    if dtype.hasobject:
        raise ValueError(f"read_npz: {where}: holds Python objects, which only pickle could read.")
    values = memoryview(content)[stream.tell() :]
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"read_npz: {where}: {dtype}{list(shape)} is not {len(values)} bytes.")
    try:
        array = np.frombuffer(values, dtype).reshape(shape, order="F" if fortran else "C")
    except ValueError as error:
        raise ValueError(f"read_npz: {where}: {error}") from None
    return array.astype(dtype.newbyteorder("="))


# -- images in folders -----------------------------------------------------------------------------


class ImageFolder(Dataset):
    """Images in a folder for each class: rows (uint8 (channels, height, width), label).

    Labels are the numbers of the sorted folder names, which are `classes`. Images are read when
    they are asked for, made `mode` ("RGB" or "L") and, with `size` = (height, width), resized; rows
    of different sizes cannot be batched. Needs Pillow. Raises `FileNotFoundError` for a directory
    without such images, `ValueError` for a file that is no image, or too large a one.

    >>> import importlib.util, tempfile
    >>> if importlib.util.find_spec("PIL"):
    ...     from PIL import Image
    ...     with tempfile.TemporaryDirectory() as folder:
    ...         for name in ("cats", "dogs"):
    ...             (Path(folder) / name).mkdir()
    ...             Image.new("RGB", (8, 6)).save(Path(folder) / name / "one.png")
    ...         images = ImageFolder(folder)
    ...         assert images.classes == ["cats", "dogs"] and images[1][0].shape == (3, 6, 8)
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        size: tuple[int, int] | None = None,
        mode: str = "RGB",
        max_pixels: int = 1 << 26,
    ):
        if mode not in ("RGB", "L"):
            raise ValueError(f'ImageFolder: mode must be "RGB" or "L", but got {mode!r}.')
        directory = Path(directory)
        folders = sorted(p for p in directory.iterdir() if p.is_dir())
        self.classes = [folder.name for folder in folders]
        self.files = [
            (path, label)
            for label, folder in enumerate(folders)
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in IMAGE_ENDINGS
        ]
        if not self.files:
            raise FileNotFoundError(
                f"ImageFolder: {directory} holds no images. Put those of each class into a folder "
                f"of its own there, with one of the endings {', '.join(IMAGE_ENDINGS)}."
            )
        self.size, self.mode, self.max_pixels = size, mode, max_pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index) -> tuple[np.ndarray, np.int32]:
        path, label = self.files[int(index)]
        return self._read(path), np.int32(label)

    def _read(self, path: Path) -> np.ndarray:
        images = optional("PIL.Image")
        try:
            with images.open(path) as image:
                if image.width * image.height > self.max_pixels:
                    raise ValueError(f"{image.width} x {image.height} pixels are too many")
                picture = image.convert(self.mode)
        except (OSError, ValueError, SyntaxError, images.DecompressionBombError) as error:
            raise ValueError(f"ImageFolder: {path} cannot be read: {error}") from None
        if self.size is not None:
            picture = picture.resize(self.size[::-1], images.Resampling.BILINEAR)
        array = np.asarray(picture)
        return array[None] if self.mode == "L" else np.ascontiguousarray(array.transpose(2, 0, 1))


def columns(table: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Columns of `read_csv` side by side, float32 (rows, columns), as inputs of a model.

    >>> columns({"a": np.array([1, 2]), "b": np.array([0.5, 1.5])}, ["b", "a"]).tolist()
    [[0.5, 1.0], [1.5, 2.0]]
    """
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"columns: the table has no {missing}, only {list(table)}.")
    text = [name for name in names if table[name].dtype.kind == "U"]
    if text:
        raise TypeError(f"columns: {text} are text, not numbers.")
    return np.stack([table[name] for name in names], axis=1).astype(np.float32)
