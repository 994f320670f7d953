"""Files that are either whole or absent: written aside, forced to the disk, then renamed.

Nothing here knows what is in a file. A process killed while it writes leaves the old file as it
was and beside it, at worst, a temporary one whose name `is_leftover` recognises.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ENDING = ".partial"


class DamagedFileError(ValueError):
    """A file that is not what its kind or its checksum demands: cut off, changed, or made up."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file `path` at the end, in one step, or not at all."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.urandom(4).hex()}{ENDING}")
    try:
        with open(aside, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename or a removal in a directory last; systems without such a call need none."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_leftover(path: Path) -> bool:
    """Whether a file was being written when its process ended."""
    return path.name.startswith(".") and path.name.endswith(ENDING)
