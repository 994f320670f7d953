"""TensorBoard's event files: records of protocol-buffer messages, each with masked CRC-32C sums.

A record is: length (uint64), its sum, the bytes, their sum, all little-endian. Of the messages
Event { wall_time = 1, step = 2, file_version = 3, summary = 5 } and Summary.Value { tag = 1,
simple_value = 2 } only these fields are written (tensorflow/core/util/event.proto, summary.proto).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


def crc32c(content: bytes) -> int:
    """The CRC-32C of some bytes (RFC 3720).

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in content:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _masked(content: bytes) -> bytes:
    """The sum as records have it: rotated and shifted, so that sums of sums stay useful."""
    crc = crc32c(content)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _sized(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _event(wall_time: float, rest: bytes) -> bytes:
    return struct.pack("<Bd", 1 << 3 | 1, wall_time) + rest


class EventFile:
    """A new event file in a directory, which is made if it is not there."""

    def __init__(self, directory: str | os.PathLike):
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{now:017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._stream = open(directory / name, "xb")
        self._record(_event(now, _sized(3, b"brain.Event:2")))

    def scalars(self, step: int, values: Mapping[str, float], wall_time: float) -> None:
        """One event with a value for each tag; it is flushed."""
        entries = (
            _sized(1, _sized(1, tag.encode()) + struct.pack("<Bf", 2 << 3 | 5, value))
            for tag, value in values.items()
        )
        summary = _sized(5, b"".join(entries))
        self._record(_event(wall_time, _varint(2 << 3) + _varint(step) + summary))
        self._stream.flush()

    def _record(self, content: bytes) -> None:
        length = struct.pack("<Q", len(content))
        self._stream.write(length + _masked(length) + content + _masked(content))

    def close(self) -> None:
        """Flush and close."""
        self._stream.close()
