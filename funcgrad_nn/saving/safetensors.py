"""The safetensors format: a length, a JSON header of names, dtypes, shapes and places, the bytes.

The format is that of huggingface.co/docs/safetensors, so its package reads our files and we read
its files, without needing it. A file comes from outside: every number in its header is compared
with the bytes that are there before anything of that size is allocated. Our own files carry a
SHA-256 of header and bytes under "checksum" in the metadata; where it stands, it must be right.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

import funcgrad.numpy as jnp
from funcgrad_nn.saving.files import DamagedFileError, replacing

MAX_HEADER = 100_000_000  # the format's own limit
MAX_BYTES = 1 << 62
MAX_RANK = 32
METADATA = "__metadata__"
CHECKSUM = "checksum"
NO_SUM = "sha256:" + 64 * "0"
IS_SUM = re.compile(r"sha256:[0-9a-f]{64}")
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
}
CODES = {name: code for code, name in DTYPES.items()}


class Entry(NamedTuple):
    """Where one tensor lies: bytes `begin` to `end` after the header."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """What a file promises: its tensors by name, in the order of their bytes, and its metadata."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]
    raw: bytes


# -- writing ---------------------------------------------------------------------------------------


def write_safetensors(
    path: str | os.PathLike, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays to one safetensors file, whole or not at all, with a checksum.

    `tensors`: arrays of bool, integers, float16, bfloat16, float32, float64 or 8-bit floats, of any
    shape. `metadata`: text by name. Raises `TypeError` for another dtype, naming the tensor.

    >>> import numpy as np, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write_safetensors(path, {"w": np.arange(3.0)})
    >>> read_safetensors(path)["w"].tolist()
    [0.0, 1.0, 2.0]
    """
    arrays = {name: _plain(name, tensor) for name, tensor in tensors.items()}
    # Wide ones first, as the format's own library does: each then lies at a multiple of its size.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header = _header_bytes(arrays, order, dict(metadata or {}))
    with replacing(path) as stream:
        digest = hashlib.sha256(header)
        stream.write(len(header).to_bytes(8, "little") + header)
        for name in order:
            content = arrays[name].reshape(-1).view(np.uint8).data
            digest.update(content)
            stream.write(content)
        stream.seek(8 + header.index(NO_SUM.encode()))
        stream.write(f"sha256:{digest.hexdigest()}".encode())


def _plain(name: str, tensor) -> np.ndarray:
    """Contiguous, little-endian, of a dtype that the format knows."""
    array = np.asarray(tensor)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    if not isinstance(name, str) or name == METADATA:
        raise ValueError(f"write_safetensors: {name!r} cannot be the name of a tensor.")
    if array.dtype.name not in CODES:
        raise TypeError(
            f"write_safetensors: {name!r} has dtype {array.dtype}, which the format does not know; "
            f"it has {', '.join(CODES)}."
        )
    return np.ascontiguousarray(array).reshape(array.shape)


def _header_bytes(arrays: dict[str, np.ndarray], order: list[str], metadata: dict) -> bytes:
    if CHECKSUM in metadata or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(
            f"write_safetensors: metadata must be text by name, without {CHECKSUM!r}, but got "
            f"{metadata}."
        )
    header: dict[str, Any] = {METADATA: {CHECKSUM: NO_SUM, **metadata}}
    begin = 0
    for name in order:
        array = arrays[name]
        end = begin + array.nbytes
        header[name] = {
            "dtype": CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return text + b" " * (-len(text) % 8)


# -- reading ---------------------------------------------------------------------------------------


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name, as NumPy arrays.

    Raises `DamagedFileError` (a `ValueError`), naming file and fault, for anything that the format
    does not allow and for a wrong checksum; `OSError` if the file cannot be opened. Never allocates
    more than the file's own size warrants.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write_safetensors(path, {"w": np.zeros((2, 3))})
    >>> read_safetensors(path)["w"].shape
    (2, 3)
    """
    with open(path, "rb") as stream:
        header = header_of(stream, Path(path))
        return dict(tensors_of(stream, Path(path), header))


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The metadata of a safetensors file, text by name; the tensors are not read.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write_safetensors(path, {}, {"author": "ann"})
    >>> read_metadata(path)["author"]
    'ann'
    """
    with open(path, "rb") as stream:
        return header_of(stream, Path(path)).metadata


def header_of(stream: BinaryIO, path: Path) -> Header:
    """The header at the start of a stream, checked against the stream's size."""
    size = os.fstat(stream.fileno()).st_size
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > min(size - 8, MAX_HEADER):
        raise DamagedFileError(
            f"{path}: not a safetensors file: a header of {length} bytes in a file of {size}."
        )
    raw = stream.read(length)
    written = strict_json(raw, f"{path}: the header")
    if not isinstance(written, dict):
        raise DamagedFileError(f"{path}: the header is not a JSON object.")
    metadata = _metadata(written.pop(METADATA, {}), path)
    found = {name: _entry(name, entry, path) for name, entry in written.items()}
    ordered = dict(sorted(found.items(), key=lambda item: (item[1].begin, item[1].end)))
    _require_exact_cover(ordered, size - 8 - length, path)
    return Header(ordered, metadata, raw)


def strict_json(text: bytes | str, where: str) -> Any:
    """JSON without what Python's reader lets pass: NaN, repeated keys, bottomless nesting."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except RecursionError:
        raise DamagedFileError(f"{where} is nested too deeply.") from None
    except ValueError as error:
        raise DamagedFileError(f"{where} is not valid JSON: {error}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _metadata(written, path: Path) -> dict[str, str]:
    if not isinstance(written, dict) or not all(isinstance(v, str) for v in written.values()):
        raise DamagedFileError(f"{path}: {METADATA} must hold text by name.")
    return written


def _entry(name: str, written, path: Path) -> Entry:
    """One tensor's place; its bytes must be as many as its dtype and shape say."""
    where = f"{path}: tensor {name[:80]!r}"
    if not isinstance(written, dict) or set(written) != {"dtype", "shape", "data_offsets"}:
        raise DamagedFileError(f"{where} must have dtype, shape and data_offsets.")
    shape, offsets = written["shape"], written["data_offsets"]
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise DamagedFileError(f"{where} has a shape or offsets that are no sizes.")
    if not isinstance(written["dtype"], str) or written["dtype"] not in DTYPES:
        raise DamagedFileError(f"{where} has the unknown dtype {str(written['dtype'])[:40]!r}.")
    dtype = jnp.dtype(DTYPES[written["dtype"]])
    # A size of zero must not hide absurd others: NumPy refuses them with a worse message.
    if len(shape) > MAX_RANK or math.prod(max(n, 1) for n in shape) * dtype.itemsize > MAX_BYTES:
        raise DamagedFileError(f"{where} has an impossible shape.")
    begin, end = offsets
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise DamagedFileError(
            f"{where}: {dtype.name}{shape} does not fill bytes {begin} to {end}."
        )
    return Entry(dtype, tuple(shape), begin, end)


def _are_sizes(values) -> bool:
    """A list of natural numbers, each short enough to be computed with and printed."""
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value <= MAX_BYTES for value in values
    )


def _require_exact_cover(tensors: dict[str, Entry], available: int, path: Path) -> None:
    """The tensors must lie side by side: no overlap, no hole, nothing beyond the end."""
    reached = 0
    for name, entry in tensors.items():
        if entry.begin != reached:
            raise DamagedFileError(
                f"{path}: tensor {name[:80]!r} begins at byte {entry.begin}, not at {reached}."
            )
        reached = entry.end
    if reached != available:
        raise DamagedFileError(
            f"{path}: the header promises {reached} bytes of tensors, but there are {available}."
        )


def tensors_of(stream: BinaryIO, path: Path, header: Header) -> Iterable[tuple[str, np.ndarray]]:
    """Each tensor in turn, read into its own memory; at the end the checksum must be right."""
    expected = header.metadata.get(CHECKSUM)
    digest = hashlib.sha256(_unsummed(header.raw, expected, path)) if expected else None
    for name, entry in header.tensors.items():
        array = np.empty(entry.shape, entry.dtype)
        content = array.reshape(-1).view(np.uint8).data
        if stream.readinto(content) != len(content):  # type: ignore[attr-defined]
            raise DamagedFileError(f"{path}: the file ended inside tensor {name[:80]!r}.")
        if digest is not None:
            digest.update(content)
        yield name, array if np.little_endian else array.byteswap()
    if digest is not None and f"sha256:{digest.hexdigest()}" != expected:
        raise DamagedFileError(f"{path}: the checksum is wrong; the file was changed or damaged.")


def _unsummed(raw: bytes, checksum: str, path: Path) -> bytes:
    """The header as it was before its checksum was known."""
    if not IS_SUM.fullmatch(checksum) or raw.count(checksum.encode()) != 1:
        raise DamagedFileError(f"{path}: the checksum {checksum[:20]!r} is not a SHA-256.")
    return raw.replace(checksum.encode(), NO_SUM.encode())
