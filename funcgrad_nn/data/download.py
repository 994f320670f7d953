"""Files of known data sets: found in a directory, or fetched and compared with a checksum."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from funcgrad.util import optional
from funcgrad_nn.saving.files import replacing

CHUNK = 1 << 20
MAX_DOWNLOAD = 1 << 29
TIMEOUT_SECONDS = 30


class Remote(NamedTuple):
    """A file of a data set: its name, where it is, and the MD5 that its authors publish."""

    name: str
    base: str
    md5: str


def default_directory(name: str) -> Path:
    """Where data sets are kept that no directory was given for."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "funcgrad" / "data" / name


def fetch(remote: Remote, directory: Path) -> Path:
    """The file in `directory`, downloaded if it is not there, whole and with the right checksum.

    Raises `FileNotFoundError` if it cannot be had, `ValueError` if its checksum is wrong.
    """
    path = directory / remote.name
    if path.is_file():
        return path
    directory.mkdir(parents=True, exist_ok=True)
    request = optional("urllib.request")  # not at the top: it brings encryption and mail with it
    try:
        with request.urlopen(remote.base + remote.name, timeout=TIMEOUT_SECONDS) as source:
            _keep(source, path, remote)
    except OSError as error:  # what the network raises, a timeout included
        raise FileNotFoundError(
            f"{remote.base}{remote.name} cannot be downloaded ({error}). Put {remote.name} into "
            f"{directory} by hand."
        ) from None
    return path


def _keep(source, path: Path, remote: Remote) -> None:
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with replacing(path) as stream:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > MAX_DOWNLOAD:
                raise ValueError(f"{remote.name}: more than {MAX_DOWNLOAD} bytes came.")
            digest.update(chunk)
            stream.write(chunk)
        if digest.hexdigest() != remote.md5:
            raise ValueError(
                f"{remote.base}{remote.name}: the checksum of what was downloaded is wrong; "
                "nothing was kept."
            )
