"""The mark file beside the journal: how far it had come, so that a lost tail is seen.

One flipped byte in a WAL, or a file that was moved without it, ends in a database that is whole and
shorter. So lsn and hash of the last row are written behind each commit into one of two slots in turn,
and synced each second. A mark is never ahead of its journal; one slot is always whole.

A third slot holds the highest epoch that ids were made in, synced before the first of them leaves: it
outlives the rows that say so, so that a start behind a lost tail makes no id a second time.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import NamedTuple

from tradefan.stores.disk import PlainFile

MARK_END = ".mark"
CHAIN_BYTES = 24
"""So much of a row's hash is in its mark."""
_SLOT = struct.Struct(">Q24s8s")
SLOT_BYTES = _SLOT.size


class Mark(NamedTuple):
    """The row that was the last one."""

    lsn: int
    chain: bytes


def slot(lsn: int, chain: bytes) -> bytes:
    """Return a slot's 40 bytes: lsn, the hash's first 24 bytes, a check over both."""
    return _SLOT.pack(lsn, chain[:CHAIN_BYTES], _check(lsn, chain[:CHAIN_BYTES]))


def marks(content: bytes) -> tuple[Mark | None, Mark | None]:
    """Return what the two slots say, None for one that is torn, flipped or cut off."""
    return _read(content[:SLOT_BYTES]), _read(content[SLOT_BYTES : 2 * SLOT_BYTES])


def whole_marks(content: bytes | None) -> tuple[Mark, ...]:
    """Return what the slots say that are whole, the newest first."""
    found = marks(content or b"")
    return tuple(sorted((mark for mark in found if mark is not None), reverse=True))


def epoch_in(content: bytes) -> int | None:
    """Return the highest epoch that ids were made in; None where nothing whole says it."""
    found = _read(content[2 * SLOT_BYTES : 3 * SLOT_BYTES])
    return None if found is None else found.lsn


def new_marks(lsn: int, chain: bytes, epoch: int) -> bytes:
    """Return the content of a mark file that begins here."""
    return slot(lsn, chain) * 2 + _epoch_slot(epoch)


class MarkFile:
    """The mark file on one thread; everything may raise OSError."""

    def __init__(self, file: PlainFile) -> None:
        """Read what is there; `found` are the slots that are whole, the newest first."""
        self._file = file
        content = file.read()
        first, second = marks(content)
        self.found = whole_marks(content)
        # The older slot, or the broken one, is the next to be overwritten.
        self._next = 1 if first is not None and (second is None or first.lsn >= second.lsn) else 0
        self.unsynced = False
        self.epoch = epoch_in(content)

    def put(self, lsn: int, chain: bytes) -> None:
        """Note the last row; it survives the process at once and a power loss behind `sync`."""
        self._file.write(self._next * SLOT_BYTES, slot(lsn, chain))
        self._next = 1 - self._next
        self.unsynced = True

    def put_epoch(self, epoch: int) -> None:
        """Note the highest epoch; it survives a power loss at once, as the ids made in it do."""
        self._file.write(2 * SLOT_BYTES, _epoch_slot(epoch))
        self.sync()
        self.epoch = epoch

    def reset(self, lsn: int, chain: bytes, epoch: int) -> None:
        """Begin anew at this row, whatever the slots say."""
        self._file.write(0, new_marks(lsn, chain, epoch))
        self.sync()

    def sync(self) -> None:
        """Bring the marks to the platter."""
        self._file.sync()
        self.unsynced = False

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _epoch_slot(epoch: int) -> bytes:
    return slot(epoch, bytes(CHAIN_BYTES))


def _read(content: bytes) -> Mark | None:
    if len(content) != SLOT_BYTES:
        return None
    lsn, chain, check = _SLOT.unpack(content)
    return Mark(lsn, chain) if check == _check(lsn, chain) else None


def _check(lsn: int, chain: bytes) -> bytes:
    return blake2b(struct.pack(">Q24s", lsn, chain), digest_size=8).digest()
