"""The kill byte: one preallocated byte that says closed, whatever becomes of the database."""

from __future__ import annotations

from contextlib import suppress

from tradefan.errors import Defect
from tradefan.stores.disk import Disk, PlainFile

KILL_END = ".kill"
OPEN, SOME, ALL = 0, 1, 2
"""Nothing is killed; some scope, the journal says which; everything."""

# Far apart, so that no single flipped bit opens what was closed.
_ON_DISK = {OPEN: b"\x00", SOME: b"\x3c", ALL: b"\xff"}
_READ = {content: value for value, content in _ON_DISK.items()}


def killed(content: bytes) -> int:
    """Return what the byte says; one that is none of ours closes everything."""
    return _READ.get(content, ALL)


class KillByteFile:
    """The byte on the journal's thread."""

    def __init__(self, disk: Disk, path: str) -> None:
        """Open it, made as open when it is not there, which a full disk may put off."""
        self._disk = disk
        self._path = path
        self._file: PlainFile | None = None
        self.value = OPEN
        self.value = self._read()

    def put(self, value: int) -> None:
        """Overwrite and sync the byte.

        A descriptor whose sync failed is not used again: its page counts as clean though the disk
        lacks it.

        Raises:
            OSError: the disk did not take it.
        """
        if value not in _ON_DISK:
            raise Defect(f"the kill byte is 0, 1 or 2, not {value}")
        file = self._file or self._disk.plain(self._path, _ON_DISK[value])
        self._file = None
        try:
            file.write(0, _ON_DISK[value])
            file.sync()
        except OSError:
            file.close()
            raise
        self._file, self.value = file, value

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _read(self) -> int:
        value = ALL if self._disk.exists(self._path) else OPEN
        # An error leaves it at that: nobody can say that what is there is open.
        with suppress(OSError):
            self._file = self._disk.plain(self._path, _ON_DISK[OPEN])
            value = killed(self._file.read())
            # A predecessor may have died between write and sync; what we go by shall stay so.
            self.put(value)
        return value
