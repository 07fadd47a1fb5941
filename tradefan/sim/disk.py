"""A simulated disk under the real SQLite: an apsw VFS whose files survive the process, or do not.

What is written lies in a cache until it is synced. A kill keeps the cache; a power loss keeps, loses
or tears each page that was not synced. A sync that fails calls its pages clean, as Linux does: they
are read back as written, no later sync writes them, and a power loss takes them. The same calls and
the same seed give the same outcome.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Literal

import apsw
from msgspec import Struct

from tradefan.errors import Defect
from tradefan.sim.platter import PAGE, Content

Operation = Literal["open", "write", "sync", "truncate", "delete", "rename"]
"""What a crash may come before; reading changes nothing."""
ErrorKind = Literal["ENOSPC", "EIO"]
DamageKind = Literal["flip", "cut", "old", "remove"]
OnCall = Callable[[str, str], None]

_NUMBERS = count(1)
"""SQLite knows a VFS by its name alone, so no two disks of one process share one."""
_IO_ERRORS = {"write": apsw.SQLITE_IOERR_WRITE, "sync": apsw.SQLITE_IOERR_FSYNC}


class Fault(Struct):
    """What goes wrong: behind `after` good calls, `times` times, or for ever where that is None."""

    kind: ErrorKind
    on: Literal["write", "sync"]
    after: int
    times: int | None
    path: str
    then: Callable[[], None] | None = None
    """Called when it has struck for the first time."""


class SimDisk(apsw.VFS):
    """All files of one simulated machine; `connect`, `plain`, `exists` and `rename` are its seam.

    `on_call(operation, path)` comes before each call that changes something: what it raises is the
    crash of the process, from then on no call has an effect until `crash` was called.
    """

    connection: type[apsw.Connection] = apsw.Connection
    """Another class may stand here, one that breaks a setting on purpose."""

    def __init__(self, seed: int, *, on_call: OnCall | None = None, free: int = 2**40) -> None:
        """Start empty; `free` is what `free_bytes` answers."""
        self.name = f"simdisk-{next(_NUMBERS)}"
        self.on_call = on_call
        self.on_fault: Callable[[ErrorKind, str], None] = lambda _kind, _path: None
        """Told of each call that fails."""
        self.free = free
        self.life = 0
        self.closed = False
        self.counters: Counter[str] = Counter()
        self._chance = random.Random(seed)  # noqa: S311 seeded on purpose
        self._files: dict[str, Content] = {}
        self._deleted: dict[str, Content] = {}
        self._faults: list[Fault] = []
        self._old: dict[str, bytes] = {}
        self._crash: BaseException | None = None
        self._connections: list[apsw.Connection] = []
        super().__init__(self.name, "")

    # --- the seam ---------------------------------------------------------------------------------

    def connect(self, path: str, flags: int) -> apsw.Connection:
        """Open a file of SQLite; it is locked for this connection alone, which WAL needs here."""
        connection = self.connection(path, flags, vfs=self.name)
        self._connections.append(connection)
        connection.pragma("locking_mode", "exclusive")
        return connection

    def plain(self, path: str, content: bytes | None = None) -> SimFile:
        """Open a small file; a missing one is made durable with `content`, or is an OSError."""
        if path not in self._files:
            if content is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self._make(path, content)
        return SimFile(self, path, self._files[path])

    def exists(self, path: str) -> bool:
        """Say whether there is such a file."""
        return path in self._files

    def rename(self, old: str, new: str) -> None:
        """Give a file another name at once and durably."""
        self.before("rename", old)
        self._files[new] = self._files.pop(old)
        self.sync_folder()

    def free_bytes(self, path: str) -> int:
        """Return how much may still be written, as the world said."""
        return self.free

    # --- what the world does to it ----------------------------------------------------------------

    def crash(self, *, power_loss: bool) -> None:
        """End the process that used this disk: a kill keeps all that was written.

        Its connections are kept unused for good: to close them would be calls of a dead process.
        """
        self.life += 1
        self._crash = None
        for connection in self._connections:
            # It may be collected at any time now; so it has nothing to do then.
            _set_inert(connection)
        if power_loss:
            self._lose_power()

    def fail(
        self,
        kind: ErrorKind,
        on: Literal["write", "sync"],
        *,
        after: int = 0,
        times: int | None = 1,
        path: str = "",
        then: Callable[[], None] | None = None,
    ) -> None:
        """Let writes or syncs fail, of all files or of those whose path ends in `path`; `then` when one has.

        A disk without space still overwrites what is there: only writes that need more of it fail.
        """
        self._faults.append(Fault(kind, on, after, times, path, then))

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._faults.clear()

    def remember(self) -> None:
        """Keep a copy of every file, for `damage("old", ...)`."""
        self._old = {path: bytes(file.cache) for path, file in self._files.items()}

    def damage(self, kind: DamageKind, path: str, at: int | None = None, bit: int | None = None) -> str:
        """Alter a file behind the back of whoever uses it; say what was done.

        `at` is the byte to flip or the size to cut to, drawn where it is None. The harm is on the
        platter: no power loss takes it back.
        """
        file = self._files[path]
        content = bytearray(file.cache)
        if at is None and kind in ("flip", "cut"):
            at = self._chance.randrange(len(content)) if content else 0
        text = f"{kind} {path} {'' if at is None else at}".rstrip()
        if kind == "flip" and content:
            content[at or 0] ^= 1 << (self._chance.randrange(8) if bit is None else bit)
        elif kind == "cut":
            del content[at:]
        elif kind == "old":
            content = bytearray(self._old.get(path, b""))
        elif kind == "remove":
            del self._files[path]
            return text
        file.cache, file.platter, file.dirty, file.named = content, bytearray(content), {}, True
        return text

    def paths(self) -> tuple[str, ...]:
        """Name the files that are there."""
        return tuple(self._files)

    def peek(self, path: str) -> bytes:
        """Return what a reader would see."""
        return bytes(self._files[path].cache)

    def close(self) -> None:
        """Let go of everything, dead connections included; nothing is written."""
        self.closed = True
        for connection in self._connections:
            _set_inert(connection)
            with suppress(apsw.Error):
                connection.close(True)
        self._connections.clear()
        self.unregister()

    # --- what SQLite calls ------------------------------------------------------------------------

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> SimFile:  # type: ignore[override]  # noqa: N802
        """Open or make a file."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or f"temp-{len(self._files)}"
        if path not in self._files:
            if not flags[0] & apsw.SQLITE_OPEN_CREATE:
                raise apsw.CantOpenError(f"unable to open {path}")
            self.before("open", path)
            self._files[path] = Content()
        flags[1] = flags[0]
        return SimFile(self, path, self._files[path])

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Take a file away; without a sync of its folder a power loss may bring it back."""
        self.before("delete", filename)
        file = self._files.pop(filename, None)
        if file is not None and file.named:
            self._deleted[filename] = file
        if syncdir:
            self.sync_folder()

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        """Say whether a file is there."""
        return pathname in self._files

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Names are as they are: there are no folders."""
        return name

    # --- what files call --------------------------------------------------------------------------

    def before(self, operation: Operation, path: str) -> None:
        """Count a call and let the world crash the process instead of it."""
        if self._crash is not None:
            raise self._crash
        self.counters[operation] += 1
        if self.on_call is not None:
            try:
                self.on_call(operation, path)
            except BaseException as error:
                self._crash = error
                raise

    def fault(self, on: Literal["write", "sync"], path: str, *, grows: bool = True) -> ErrorKind | None:
        """Say whether this call fails, and how."""
        for fault in self._faults:
            if fault.on != on or not path.endswith(fault.path) or fault.times == 0:
                continue
            if on == "write" and fault.kind == "ENOSPC" and not grows:
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
            self.counters[f"{on} {fault.kind}"] += 1
            if fault.then is not None:
                fault.then()
                fault.then = None
            self.on_fault(fault.kind, path)
            return fault.kind
        return None

    def sync_folder(self) -> None:
        """Make all names durable, and that those deleted are gone."""
        self._deleted.clear()
        for file in self._files.values():
            file.named = True

    def _make(self, path: str, content: bytes) -> None:
        """Make a file under another name first, as the real disk does: this one is never seen half."""
        made = f"{path}.new"
        self.before("open", made)
        self._files[made] = Content()
        file = SimFile(self, made, self._files[made])
        file.write(0, content)
        file.sync()
        self.rename(made, path)

    def _lose_power(self) -> None:
        for path, file in list(self._files.items()):
            if not file.named and self._chance.random() < 0.5:
                del self._files[path]
            else:
                file.lose_power(self._chance)
        for path, file in self._deleted.items():
            if path not in self._files and self._chance.random() < 0.5:
                file.cache = bytearray(file.platter)
                file.dirty.clear()
                self._files[path] = file
        self._deleted.clear()


class SimFile:
    """One open file: for SQLite by its `x` methods, for plain files by the short ones.

    A handle belongs to the process that opened it and does nothing for it once that is dead.
    """

    def __init__(self, disk: SimDisk, path: str, content: Content) -> None:
        self._disk = disk
        self._path = path
        self._content = content
        self._life = disk.life

    # --- a plain file -----------------------------------------------------------------------------

    def read(self) -> bytes:
        """Return all of it."""
        self._require_alive()
        return bytes(self._content.cache)

    def write(self, offset: int, content: bytes) -> None:
        """Overwrite a part, in the cache."""
        kind = self._write(offset, content)
        if kind is not None:
            raise _os_error(kind, self._path)

    def sync(self) -> None:
        """Bring it to the platter."""
        kind = self._sync()
        if kind is not None:
            raise _os_error(kind, self._path)

    def close(self) -> None:
        """Nothing is open below."""

    # --- a file of SQLite -------------------------------------------------------------------------

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        """Return at most so many bytes."""
        self._require_alive()
        return bytes(self._content.cache[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Write all of it, or fail."""
        kind = self._write(offset, data)
        if kind is not None:
            raise _sqlite_error(kind, "write", self._path)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Bring it to the platter."""
        kind = self._sync()
        if kind is not None:
            raise _sqlite_error(kind, "sync", self._path)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        """Cut the file."""
        self._require_alive()
        self._disk.before("truncate", self._path)
        self._content.resize(newsize)

    def xFileSize(self) -> int:  # noqa: N802
        """Return its size."""
        return len(self._content.cache)

    def xLock(self, level: int) -> None:  # noqa: N802
        """One process has the disk alone."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        """One process has the disk alone."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        """One process has the disk alone."""
        return False

    def xClose(self) -> None:  # noqa: N802
        """Nothing is open below."""

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802
        """No request is understood: SQLite's own answer is right."""
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        """As the Unix VFS says, so that SQLite does the same calls."""
        return PAGE

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        """As the Unix VFS says: bytes beside a write are not harmed, not even by a power loss."""
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    # --- both -------------------------------------------------------------------------------------

    def _write(self, offset: int, content: bytes) -> ErrorKind | None:
        self._require_alive()
        self._disk.before("write", self._path)
        grows = offset + len(content) > len(self._content.cache)
        kind = self._disk.fault("write", self._path, grows=grows)
        if kind is None:
            self._content.write(offset, content)
        return kind

    def _sync(self) -> ErrorKind | None:
        self._require_alive()
        self._disk.before("sync", self._path)
        kind = self._disk.fault("sync", self._path)
        if kind is None:
            if not self._content.named:
                # SQLite's Unix VFS syncs the folder with a new file, and so do we with plain ones.
                self._disk.sync_folder()
            self._content.sync()
        else:
            # Clean by name only: nobody will write these pages again, and the platter lacks them.
            self._content.dirty.clear()
        return kind

    def _require_alive(self) -> None:
        if self._disk.closed:
            raise apsw.IOError("the simulated disk is closed")
        if self._life != self._disk.life:
            raise Defect(f"{self._path}: the process that opened it is dead")


def _os_error(kind: ErrorKind, path: str) -> OSError:
    number = errno.ENOSPC if kind == "ENOSPC" else errno.EIO
    return OSError(number, os.strerror(number), path)


def _sqlite_error(kind: ErrorKind, on: Literal["write", "sync"], path: str) -> apsw.Error:
    full = kind == "ENOSPC" and on == "write"
    error = (apsw.FullError if full else apsw.IOError)(f"{path}: {on} failed with {kind}")
    error.extendedresult = apsw.SQLITE_FULL if full else _IO_ERRORS[on]  # type: ignore[union-attr]
    return error


def _set_inert(connection: apsw.Connection) -> None:
    """Let the end of a connection write nothing."""
    with suppress(apsw.ConnectionClosedError):
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
