"""The old part of the chain, verified in slices while the journal has nothing better to do.

Recovery believes the newest snapshot and verifies only what follows it. This looks at the rest, so
that damage in old rows is found while the rows that could replace them are still in a backup.
"""

from __future__ import annotations

from tradefan.errors import Refused
from tradefan.messages.control import ChainBroken
from tradefan.stores.journal import JournalFile
from tradefan.stores.journal_layout import NO_CHAIN, DamagedRow

CHECK_ROWS = 250
"""Rows of one slice, under a millisecond: no Append waits for longer than that."""


class ChainCheck:
    """How far the verification has come; `up_to` is the last lsn that it has to see."""

    def __init__(self, up_to: int, lsn: int = 0, chain: bytes = NO_CHAIN) -> None:
        """Begin at the first row, or behind the one that an accepted loss made the first."""
        self._up_to = up_to
        self._lsn, self._chain = lsn, chain

    @property
    def done(self) -> bool:
        """Whether there is nothing left to verify."""
        return self._lsn >= self._up_to

    def step(self, file: JournalFile) -> ChainBroken | None:
        """Verify a slice; say what is broken, and then be done.

        Raises:
            Outage: the disk could not be read; the same slice is next again.
        """
        first, rows = self._lsn + 1, min(CHECK_ROWS, self._up_to - self._lsn)
        try:
            lsn, chain = file.check(self._lsn, self._chain, rows)
        except Refused as error:
            row = error.__cause__
            return self._broken(row.lsn if isinstance(row, DamagedRow) else first, error.text)
        if lsn < self._lsn + rows:
            return self._broken(lsn + 1, f"expected rows up to lsn {self._up_to}, found no more")
        self._lsn, self._chain = lsn, chain
        return None

    def _broken(self, lsn: int, text: str) -> ChainBroken:
        self._lsn = self._up_to
        return ChainBroken(lsn, text)
