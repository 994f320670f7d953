"""What compilation has made, kept on disk for later processes.

An entry is one file, named by a digest of everything that it depends on. It is written whole or not
at all, carries a checksum of its key and content, and is used only from a folder that nobody but
its owner can write. Whatever is wrong with the folder or an entry, the answer is "not there".
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from funcgrad.config import config
from funcgrad.util import blake2b

MAGIC = b"funcgrad cache 1\n"
CHECKSUM = 32  # bytes
LARGEST = 1 << 30  # bytes that an entry may have
KEPT = 0.8  # of the limit, after the oldest entries have been removed
BETWEEN_SWEEPS = 32  # entries written before sizes are counted again
SUFFIX = ".fgc"
UNFINISHED = ".tmp"
ABANDONED = 3600  # seconds after which an unfinished file is removed

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
PLAIN = NO_FOLLOW | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
AT_ONCE = PLAIN | getattr(os, "O_NONBLOCK", 0)  # a pipe, to which nobody writes, is no entry
BY_DESCRIPTOR = {os.open, os.rename, os.unlink, os.utime} <= os.supports_dir_fd


def key_of(parts: Iterable[object]) -> str:
    """The name of what depends on these parts, given as texts, bytes or numbers."""
    digest = blake2b(digest_size=20)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def get(key: str) -> bytes | None:
    """The content of an entry; None if there is none that can be trusted."""
    if not config.current().enable_compilation_cache:
        return None
    try:
        with _opened(create=False) as folder:
            return folder.read(key)
    except OSError:
        return None


def put(key: str, content: bytes) -> None:
    """Keeps content for later, if there is a folder for it."""
    state = config.current()
    if not state.enable_compilation_cache or len(content) > min(state.cache_size, LARGEST):
        return
    with contextlib.suppress(OSError), _opened(create=True) as folder:
        folder.write(key, content)
        if _sweep_is_due():
            folder.shrink(state.cache_size)


def clear() -> None:
    """Removes all entries."""
    with contextlib.suppress(OSError), _opened(create=False) as folder:
        folder.shrink(0)


_written = 0


def _sweep_is_due() -> bool:
    global _written
    _written += 1
    return _written % BETWEEN_SWEEPS == 1


# ---- the folder
# ----------------------------------------------------------------------------------


def location() -> str:
    """The folder: `config.cache_dir`, else where the platform keeps caches of a user."""
    chosen = os.fspath(config.current().cache_dir)
    if "\0" in chosen:
        raise Untrusted("no path")
    found = chosen if chosen else os.path.join(_caches_of_user(), "funcgrad")
    return os.path.abspath(os.path.expanduser(found))


def _caches_of_user() -> str:
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or os.path.join("~", "AppData", "Local")
    if sys.platform == "darwin":
        return os.path.join("~", "Library", "Caches")
    given = os.environ.get("XDG_CACHE_HOME", "")
    return given if os.path.isabs(given) else os.path.join("~", ".cache")


class Untrusted(OSError):
    """Somebody else could have written here."""


@contextlib.contextmanager
def _opened(create: bool) -> Iterator[Folder]:
    """The folder, if it is the user's own."""
    path = location()
    if create:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    if not BY_DESCRIPTOR:
        _check_by_name(path)
        yield Folder(path, None)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | PLAIN)
    try:
        _check_owner(os.fstat(descriptor))
        yield Folder(path, descriptor)
    finally:
        os.close(descriptor)


def _check_owner(found: os.stat_result) -> None:
    """Ours, and nobody else may write?"""
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Untrusted("others can write here")


def _check_by_name(path: str) -> None:
    """Where folders have no modes (Windows), the user's profile is what others cannot write."""
    if os.path.islink(path) or getattr(os.lstat(path), "st_reparse_tag", None):
        raise Untrusted("a link")
    home = os.path.realpath(os.path.expanduser("~"))
    if not os.path.realpath(path).startswith(home + os.sep):
        raise Untrusted("not in the user's own folder")


class Entry(NamedTuple):
    """A file of the cache."""

    name: str
    used: float
    size: int


class Folder:
    """A folder that was checked. Names are looked up in the folder itself, not by its path, which
    somebody might change meanwhile.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path, self.descriptor = path, descriptor

    def _named(self, name: str) -> str:
        return name if self.descriptor is not None else os.path.join(self.path, name)

    def read(self, key: str) -> bytes | None:
        """The content of an entry, if it is whole; it counts as used now."""
        name = self._named(key + SUFFIX)
        descriptor = os.open(name, os.O_RDONLY | AT_ONCE, dir_fd=self.descriptor)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
                return None
            if self.descriptor is not None:
                _check_owner(found)
            with open(descriptor, "rb", closefd=False) as file:
                content = unsealed(key, file.read())
        finally:
            os.close(descriptor)
        if content is not None:
            with contextlib.suppress(OSError):
                os.utime(name, dir_fd=self.descriptor)
        return content

    def write(self, key: str, content: bytes) -> None:
        """Adds an entry: under another name, then under its own, so that nobody sees a part."""
        unfinished = self._named(f"{key}.{os.urandom(8).hex()}{UNFINISHED}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN
        descriptor = os.open(unfinished, flags, 0o600, dir_fd=self.descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed(key, content))
            where = {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
            os.replace(unfinished, self._named(key + SUFFIX), **where)
        except BaseException:
            self._remove(unfinished)
            raise

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self.descriptor)

    def entries(self) -> list[Entry]:
        """Files of the cache; unfinished ones that nobody writes any more count as never used."""
        found = []
        with os.scandir(self.path if self.descriptor is None else self.descriptor) as listed:
            for file in listed:
                if not file.name.endswith((SUFFIX, UNFINISHED)):
                    continue
                with contextlib.suppress(OSError):
                    status = file.stat(follow_symlinks=False)
                    found.append(Entry(file.name, status.st_mtime, status.st_size))
        return found

    def shrink(self, limit: int) -> None:
        """Removes those that were not used for longest, if all together exceed the limit."""
        files = sorted(self.entries(), key=lambda entry: entry.used)
        newest = files[-1].used if files else 0.0
        for file in files:
            if file.name.endswith(UNFINISHED) and file.used < newest - ABANDONED:
                self._remove(self._named(file.name))
        finished = [file for file in files if file.name.endswith(SUFFIX)]
        total = sum(file.size for file in finished)
        if total <= limit:
            return
        for file in finished:
            if total <= KEPT * limit:
                return
            self._remove(self._named(file.name))
            total -= file.size


# ---- entries
# -------------------------------------------------------------------------------------


def sealed(key: str, content: bytes) -> bytes:
    """The file: what it is, a checksum, the content."""
    return MAGIC + _checksum(key, content) + content


def unsealed(key: str, data: bytes) -> bytes | None:
    """The content of a file; None if it is damaged, or belongs to another key or program."""
    head = len(MAGIC) + CHECKSUM
    content = data[head:]
    whole = data[:head] == MAGIC + _checksum(key, content)
    return content if whole else None


def _checksum(key: str, content: bytes) -> bytes:
    return blake2b(content, digest_size=CHECKSUM, key=key.encode()).digest()
