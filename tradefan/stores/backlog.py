"""How much waits for the journal's disk, and when that is too much for the process to go on."""

from __future__ import annotations

from tradefan.messages.control import Append
from tradefan.messages.records import OwnerState

BACKLOG_MAX = 100_000
BACKLOG_BYTES_MAX = 268_435_456
RECORD_BYTES = 1_000
"""What a record takes in memory, about; a strategy's state comes on top."""


class Backlog:
    """Counts the records that wait for the disk, and their bytes; beyond a bound it says so, once.

    One thread adds and another settles: each has sums of its own, so neither waits for the other.
    """

    def __init__(self, records_max: int = BACKLOG_MAX, bytes_max: int = BACKLOG_BYTES_MAX) -> None:
        """Begin empty."""
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._added = self._added_bytes = 0
        self._settled = self._settled_bytes = 0
        self._told = False

    @property
    def records(self) -> int:
        """How many wait."""
        return self._added - self._settled

    def add(self, append: Append) -> str | None:
        """Count what came; return what is wrong when that is too much for the first time."""
        self._added += len(append.records)
        self._added_bytes += _size(append)
        reason = None
        if self._added - self._settled > self._records_max:
            reason = f"more than {self._records_max} records wait for the disk"
        elif self._added_bytes - self._settled_bytes > self._bytes_max:
            reason = f"records of more than {self._bytes_max} bytes wait for the disk"
        if reason is None or self._told:
            return None
        self._told = True
        return reason

    def settle(self, append: Append) -> None:
        """Count what need not wait any more."""
        self._settled += len(append.records)
        self._settled_bytes += _size(append)


def _size(append: Append) -> int:
    size = 0
    for record in append.records:
        size += RECORD_BYTES
        if type(record) is OwnerState:
            size += len(record.state or b"")
    return size
