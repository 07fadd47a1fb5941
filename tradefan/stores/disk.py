"""What journal and store have in common: the seam to SQLite, and its errors in our words."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from tradefan.errors import Outage

Connect = Callable[[str, int], apsw.Connection]
"""The seam under which a simulated disk may lie."""
MEMORY = ":memory:"
BUSY_MS = 2_000
"""How long one connection waits for another's lock."""


def open_flags(*, read_only: bool) -> int:
    """Return SQLite's flags for a file that is only read, or written and made when missing."""
    if read_only:
        return apsw.SQLITE_OPEN_READONLY
    return apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


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
    """Turns what SQLite raises into an Outage that names the file."""

    def __init__(self, path: str) -> None:
        """Guard statements on this file."""
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Raise the Outage in place of SQLite's error."""
        if isinstance(error, apsw.Error):
            raise Outage(f"{self._path}: {type(error).__name__}: {error}") from error
