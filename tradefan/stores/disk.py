"""What journal and store have in common: the seam to the disk, and its errors in our words.

SQLite's files are reached through `connect`, small files of fixed size through `plain`. A simulated
disk (`tradefan/sim/disk.py`) lies under the same seam.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import apsw

from tradefan.errors import Outage

Connect = Callable[[str, int], apsw.Connection]
"""How a file of SQLite is opened: path and flags."""
MEMORY = ":memory:"
BUSY_MS = 2_000
"""How long one connection waits for another's lock."""
RECORDER_STOPS_PERCENT = 110
"""Of `journal.disk_free_min`: below it nothing is recorded for replay."""
STORE_STOPS_PERCENT = 100
"""Below it the store writes no more."""
DEBUG_LOG_STOPS_PERCENT = 90
"""Below it the debug log stops too; the journal goes on to the last byte."""

# Data and size reach the platter; macOS has only the other one.
_sync = getattr(os, "fdatasync", os.fsync)


class PlainFile(Protocol):
    """A small file that is read whole and overwritten in place; everything may raise OSError."""

    def read(self) -> bytes:
        """Return all of it."""
        ...

    def write(self, offset: int, content: bytes) -> None:
        """Overwrite a part; it survives the process, and a power loss only behind `sync`."""
        ...

    def sync(self) -> None:
        """Bring what was written to the platter."""
        ...

    def close(self) -> None:
        """Let go of it; nothing is written."""
        ...


class Disk(Protocol):
    """Where files are: the machine's disk, or a simulated one."""

    def connect(self, path: str, flags: int) -> apsw.Connection:
        """Open a file of SQLite."""
        ...

    def plain(self, path: str, content: bytes | None = None) -> PlainFile:
        """Open a small file; a missing one is made durable with `content`, or is an OSError."""
        ...

    def exists(self, path: str) -> bool:
        """Say whether there is such a file."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, durable on return; one that has that name already goes."""
        ...


class RealFile:
    """A small file of the machine's disk."""

    def __init__(self, path: str) -> None:
        """Open what is there."""
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def read(self) -> bytes:
        size = os.fstat(self._file).st_size
        return os.pread(self._file, size, 0)

    def write(self, offset: int, content: bytes) -> None:
        if os.pwrite(self._file, content, offset) != len(content):
            raise OSError(f"expected {len(content)} bytes to be written at {offset}")

    def sync(self) -> None:
        _sync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class RealDisk:
    """The machine's disk."""

    def connect(self, path: str, flags: int) -> apsw.Connection:
        if flags == apsw.SQLITE_OPEN_READONLY and _at_rest(path):
            return apsw.Connection(
                f"{Path(path).absolute().as_uri()}?immutable=1", flags | apsw.SQLITE_OPEN_URI
            )
        return apsw.Connection(path, flags)

    def plain(self, path: str, content: bytes | None = None) -> PlainFile:
        if content is not None and not Path(path).exists():
            self._make(path, content)
        return RealFile(path)

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def rename(self, old: str, new: str) -> None:
        Path(old).rename(new)
        _sync_folder(new)

    def _make(self, path: str, content: bytes) -> None:
        # Under another name first: a file of this name is never seen half.
        made = f"{path}.new"
        with Path(made).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self.rename(made, path)


class MemoryFile:
    """A small file that nobody finds again, beside a database in memory."""

    def __init__(self, content: bytes) -> None:
        """Begin with this content."""
        self._content = bytearray(content)

    def read(self) -> bytes:
        return bytes(self._content)

    def write(self, offset: int, content: bytes) -> None:
        self._content[offset : offset + len(content)] = content

    def sync(self) -> None:
        """Nothing survives anyway."""

    def close(self) -> None:
        """Nothing is open."""


class MemoryDisk:
    """The disk of one database in memory: it is gone with its connection."""

    def __init__(self) -> None:
        """Begin empty."""
        self._files: dict[str, MemoryFile] = {}

    def connect(self, path: str, flags: int) -> apsw.Connection:
        return apsw.Connection(MEMORY, flags)

    def plain(self, path: str, content: bytes | None = None) -> PlainFile:
        return self._files.setdefault(path, MemoryFile(content or b""))

    def exists(self, path: str) -> bool:
        return path in self._files

    def rename(self, old: str, new: str) -> None:
        self._files[new] = self._files.pop(old)


REAL = RealDisk()


def open_flags(*, read_only: bool) -> int:
    """Return SQLite's flags for a file that is only read, or written and made when missing."""
    if read_only:
        return apsw.SQLITE_OPEN_READONLY
    return apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


def free_bytes(path: str) -> int:
    """Return how much an ordinary program may still write beside this file.

    Raises:
        OSError: there is no such folder.
    """
    space = os.statvfs(Path(path).parent)
    return space.f_bavail * space.f_frsize


def checkpoint(path: str) -> None:
    """Bring all that the WAL holds into the file itself, so that it can be moved.

    Raises:
        Outage: the file is broken, or another program reads it.
    """
    with Trouble(path):
        connection = apsw.Connection(path, apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_MS)
            busy = next(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))[0]
        finally:
            connection.close()
    if busy:
        raise Outage(f"{path}: another program uses it")


class Trouble:
    """Turns what SQLite and the system raise into an Outage that names the file."""

    def __init__(self, path: str) -> None:
        """Guard statements on this file."""
        self.path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Raise the Outage in place of the error."""
        if isinstance(error, apsw.Error | OSError):
            raise Outage(f"{self.path}: {type(error).__name__}: {error}") from error


def _at_rest(path: str) -> bool:
    """Whether there is no WAL and we could make none, which SQLite wants to do even for a reader."""
    return not Path(f"{path}-wal").exists() and not os.access(Path(path).parent, os.W_OK)


def _sync_folder(path: str) -> None:
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
