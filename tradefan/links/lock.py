"""A lock that others on this machine see: a file, held by an open descriptor, with a note of the holder.

The system lets it go with its process, however that ends, so there is never a stale one.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_TRIES, _PAUSE_S = 10, 0.05
"""Whoever asks who holds a lock shares it for a moment; that is waited for, a holder is not."""
_NOTE_MAX = 4_096


class FileLock:
    """One lock file; the file stays when the lock is let go."""

    def __init__(self, path: Path, mode: int = 0o644) -> None:
        """Name the file; its folder must be there before `take`."""
        self.path = path
        self._mode = mode
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._descriptor is not None

    def take(self, note: str) -> str | None:
        """Take the lock and leave a note; return the note of another holder, None when it is ours.

        Raises:
            OSError: the file cannot be made or written.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, self._mode)
        if not _locked(descriptor):
            holder = _note(descriptor)
            os.close(descriptor)
            return holder
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note.encode(), 0)
        self._descriptor = descriptor
        return None

    def release(self) -> None:
        """Let it go; twice is fine."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> str | None:
        """Return the note of the process that holds it, None when nobody does."""
        try:
            probe = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # A shared lock, so that two that look at the same moment do not see each other.
            return None if _try(probe, fcntl.LOCK_SH) else _note(probe)
        finally:
            os.close(probe)


def _note(descriptor: int) -> str:
    return os.pread(descriptor, _NOTE_MAX, 0).decode("utf-8", "replace").strip()


def _locked(descriptor: int) -> bool:
    for _ in range(_TRIES):
        if _try(descriptor, fcntl.LOCK_EX):
            return True
        if not _try(descriptor, fcntl.LOCK_SH):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(_PAUSE_S)
    return False


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
