"""Locks that others on this machine see: a file with a note of its holder, and a name of the kernel's.

The system lets both go with their process, however that ends, so there is never a stale one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

_TRIES, _PAUSE_S = 10, 0.05
"""Whoever asks who holds a lock shares it for a moment; that is waited for, a holder is not."""
_NOTE_MAX = 4_096
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""In a folder that everybody may write to there may be links and pipes that somebody put there."""


class FileLock:
    """One lock file; the file stays when the lock is let go."""

    def __init__(self, path: Path, mode: int | None = None) -> None:
        """Name the file; its folder must be there before `take`.

        With a `mode`, which holds whatever the umask is, it is one in a folder that everybody may write to.
        """
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
            OSError: the file cannot be made or locked. A note for which there is no room is left out.
        """
        descriptor = self._open()
        try:
            if not _locked(descriptor):
                return _note(descriptor)
            with suppress(OSError):
                _overwrite(descriptor, note.encode("utf-8", "replace"))
            self._descriptor = descriptor
        finally:
            if self._descriptor is None:
                os.close(descriptor)
        return None

    def _open(self) -> int:
        """Open the file, or make it: where everybody may write, Linux lets nobody do both in one call."""
        with suppress(FileNotFoundError):
            return self._found()
        mode = 0o644 if self._mode is None else self._mode
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, mode)
        except FileExistsError:
            # Somebody else was quicker, at this moment.
            return self._found()
        if self._mode is not None:
            os.fchmod(descriptor, self._mode)
        return descriptor

    def _found(self) -> int:
        descriptor = os.open(self.path, os.O_RDWR | _FLAGS)
        if self._mode is not None and os.fstat(descriptor).st_nlink != 1:
            os.close(descriptor)
            raise OSError(errno.EMLINK, "expected a file with one name: what is written may reach another")
        return descriptor

    def release(self) -> None:
        """Let it go; twice is fine."""
        if self._descriptor is not None:
            with suppress(OSError):
                _overwrite(self._descriptor, b"")
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> str | None:
        """Return the note of the process that holds it, None when nobody does.

        Raises:
            OSError: the file is not there, or not to be looked at: nobody can say.
        """
        probe = os.open(self.path, os.O_RDONLY | _FLAGS)
        try:
            # A shared lock, so that two that look at the same moment do not see each other.
            return None if _try(probe, fcntl.LOCK_SH) else _note(probe)
        finally:
            os.close(probe)


class NameLock:
    """A name among the kernel's sockets (Linux): no folder hides it, no cleaner removes it, all users see it.

    It tells the holder's pid and no more. On other systems, and where sockets are forbidden, nobody holds it.
    """

    def __init__(self, name: str) -> None:
        """Choose the name; nothing is taken yet."""
        self._address = f"\0{name}"
        self._socket: socket.socket | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._socket is not None

    def take(self) -> str | None:
        """Take the name where one can; return the pid of another holder, empty where it is hidden."""
        if sys.platform != "linux":
            return None
        try:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return None
        try:
            made.bind(self._address)
            # Whoever asks for the pid connects; nobody is ever answered.
            made.listen()
        except OSError as error:
            made.close()
            return (self.holder() or "") if error.errno == errno.EADDRINUSE else None
        self._socket = made
        return None

    def release(self) -> None:
        """Let it go; twice is fine."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def holder(self) -> str | None:
        """Return the holder's pid, empty where it is hidden; None when nobody holds it."""
        if sys.platform != "linux":
            return None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.setblocking(False)
                probe.connect(self._address)
                told = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except BlockingIOError:
            # It is there, and too many have asked.
            return ""
        except OSError:
            return None
        pid: int = struct.unpack("3i", told)[0]
        return str(pid) if pid else ""


class DirLock:
    """The lock of a directory: a file in it that anybody may read, and a name by the directory's inode.

    Whoever removes the file while it is held hides nobody: the name goes with the process only.
    """

    def __init__(self, folder: Path) -> None:
        """Choose the folder, which must be there before `take`."""
        self.path = folder / "lock"
        self._file = FileLock(self.path)
        self._name: NameLock | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._file.held

    def take(self, note: str) -> str | None:
        """Take the lock and leave a note; return what is known of another holder, None when it is ours.

        Raises:
            OSError: the file cannot be made or locked.
        """
        name = self._named()
        # The name first: of two that begin at once, one goes on.
        if (pid := name.take()) is not None:
            with suppress(OSError):
                return self._file.holder() or pid
            return pid
        try:
            holder = self._file.take(note)
        finally:
            if not self._file.held:
                name.release()
        self._name = name if holder is None else None
        return holder

    def release(self) -> None:
        """Let it go; twice is fine."""
        self._file.release()
        if self._name is not None:
            self._name.release()
            self._name = None

    def holder(self) -> str | None:
        """Return the holder's note, else its pid, empty where both are hidden; None when nobody holds it.

        Raises:
            OSError: the file is gone or not to be looked at, and nobody has the name: nobody can say.
        """
        note, trouble = None, None
        try:
            note = self._file.holder()
        except OSError as error:
            trouble = error
        if not note and (pid := self._named().holder()) is not None:
            return pid
        if trouble is not None:
            raise trouble
        return note

    def _named(self) -> NameLock:
        found = self.path.parent.stat()
        return NameLock(f"tradefan-dir-{found.st_dev:x}-{found.st_ino:x}")


def _overwrite(descriptor: int, note: bytes) -> None:
    """Put a note in place of another; the file is never cut, for a full disk would give no block back."""
    size = min(os.fstat(descriptor).st_size, _NOTE_MAX)
    os.pwrite(descriptor, note.ljust(size), 0)


def _note(descriptor: int) -> str:
    text = os.pread(descriptor, _NOTE_MAX, 0).decode("utf-8", "replace").strip()
    return "".join(letter if letter.isprintable() else "?" for letter in text)


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
