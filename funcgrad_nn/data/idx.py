"""IDX files, the format of MNIST: two zero bytes, a type, a rank, the sizes, the values.

Numbers are big-endian. A file comes from outside: what its header promises is compared with the
bytes that are there before anything of that size is allocated.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_RANK = 16
MAX_BYTES = 1 << 32
DEFLATE_RATIO = 1032  # no deflate stream expands further, so more is a lie of the header
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The array in an IDX file, gzipped or not, in the machine's byte order.

    Raises `ValueError`, naming file and fault, for a wrong header, too few or too many values, a
    damaged gzip stream, and for more than `max_bytes` of values; `OSError` if it cannot be opened.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte.gz"
    >>> write_idx(path, np.array([7, 2], np.uint8))
    >>> read_idx(path).tolist()
    [7, 2]
    """
    path = Path(path)
    with open(path, "rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            with gzip.GzipFile(fileobj=raw) if zipped else raw as stream:
                return _read(stream, path, size * DEFLATE_RATIO if zipped else size, max_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"read_idx: {path}: the gzip stream is damaged ({error}).") from None


def _read(stream: io.BufferedIOBase, path: Path, available: int, max_bytes: int) -> np.ndarray:
    """`available` is the most that the file can hold; it bounds what the header may ask for."""
    dtype, shape = _header(stream, path)
    # A size of zero must not hide absurd others: NumPy refuses them with a worse message.
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > max_bytes:
        raise ValueError(
            f"read_idx: {path}: shape {shape} of {dtype.name} needs more than the "
            f"{max_bytes} bytes allowed."
        )
    needed = math.prod(shape) * dtype.itemsize
    if needed > available:
        raise ValueError(
            f"read_idx: {path}: its header promises {needed} bytes of values, more "
            "than the file can hold."
        )
    values = _exactly(stream, path, needed)
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _header(stream: io.BufferedIOBase, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES:
        raise ValueError(f"read_idx: {path}: not an IDX file; it starts with {start!r}.")
    rank = start[3]
    if not 1 <= rank <= MAX_RANK:
        raise ValueError(f"read_idx: {path}: rank {rank} is not between 1 and {MAX_RANK}.")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(f"read_idx: {path}: the file ends inside its header.")
    return np.dtype(TYPES[start[2]]), tuple(map(int, np.frombuffer(sizes, ">u4")))


def _exactly(stream: io.BufferedIOBase, path: Path, needed: int) -> bytearray:
    """The next `needed` bytes, which must be the last; memory grows only as they arrive."""
    values = bytearray()
    while len(values) < needed:
        chunk = stream.read(min(CHUNK, needed - len(values)))
        if not chunk:
            raise ValueError(
                f"read_idx: {path}: {needed} bytes of values were promised, but only "
                f"{len(values)} are there."
            )
        values += chunk
    if stream.read(1):
        raise ValueError(f"read_idx: {path}: there is more after the promised {needed} bytes.")
    return values


def write_idx(path: str | os.PathLike, array) -> None:
    """Write an array as an IDX file, gzipped if the name ends in .gz.

    Raises `TypeError` for dtypes that the format lacks.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "labels-idx1-ubyte.gz"
    ...     write_idx(path, np.array([3, 1, 2], np.uint8))
    ...     read_idx(path).tolist()
    [3, 1, 2]
    """
    array = np.asarray(array)
    codes = {np.dtype(name).newbyteorder("="): code for code, name in TYPES.items()}
    if array.dtype not in codes or not 1 <= array.ndim <= MAX_RANK:
        raise TypeError(
            f"write_idx: needs an array of rank 1 to {MAX_RANK} of uint8, int8, int16, "
            f"int32, float32 or float64, but got {array.dtype} of rank {array.ndim}."
        )
    header = bytes((0, 0, codes[array.dtype], array.ndim)) + np.array(array.shape, ">u4").tobytes()
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "wb") as stream:
        stream.write(header + array.astype(array.dtype.newbyteorder(">")).tobytes())
