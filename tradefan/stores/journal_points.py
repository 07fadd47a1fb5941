"""What follows from a journal behind a place, some rows at a time: for a server that lost sight of it.

Fills are those that were told. Of orders, parents and positions each piece has the pictures at its end: what
was between two of them is not told again. The file is opened for each piece, because between two of them
lies a server that may be away for hours, and an open reader would let the journal's WAL grow.
"""

from __future__ import annotations

from typing import NamedTuple

from tradefan.core.trading import apply
from tradefan.messages.control import Stored
from tradefan.stores.following import Source
from tradefan.stores.journal import JournalFile
from tradefan.stores.projection import Follower, state_at
from tradefan.units import use_decimal_context

ROWS = 200
"""About so many rows are a piece: they fit into one request."""


class Piece(NamedTuple):
    """Rows, and the place in the journal that they lead to; `whole` when it is the one that was wanted."""

    rows: tuple[Stored, ...]
    lsn: int
    whole: bool


class JournalPoints:
    """Reads from a place of the journal up to another one; any thread may do it, one at a time."""

    def __init__(self, source: Source, up_to: int, size: int = ROWS) -> None:
        """Prepare; nothing is opened yet."""
        self._source = source
        self._up_to = up_to
        self._size = size
        self._follower: Follower | None = None
        self._place = self._lsn = 0
        self._all = False

    def name(self) -> str:
        """Return what tells this journal from others, "" where there is none.

        Raises:
            Outage, Refused: it cannot be read.
        """
        return journal_name(self._source)

    def begin(self, place: int) -> None:
        """Begin behind a place."""
        self._follower, self._place = None, place

    def read(self) -> Piece:
        """Return the next piece.

        Raises:
            Outage, Refused: the journal cannot be read; the same piece may be asked for again.
        """
        use_decimal_context()
        opened = self._source()
        if opened is None:
            return Piece((), self._up_to, whole=True)
        with opened as journal:
            return self._read(journal)

    def _read(self, journal: JournalFile) -> Piece:
        follower = self._follower
        if follower is None:
            state, self._lsn = state_at(journal, self._place)
            follower = self._follower = Follower(state)
            # First rows that are accepted as lost: the oldest state stands for them.
            self._all = self._lsn > self._place
        whole = True
        for row in journal.rows(self._lsn):
            if row.lsn > self._up_to:
                break
            if row.lsn <= self._place:
                apply(follower.state, row.record)
            else:
                follower.take(row.lsn, row.record)
            self._lsn = row.lsn
            if follower.size >= self._size and row.lsn < self._up_to:
                whole = False
                break
        if whole and self._all:
            follower.touch_all()
        return Piece(follower.give(), self._up_to if whole else self._lsn, whole)


def journal_name(source: Source) -> str:
    """Return what tells the journal of a source from others, "" where there is none yet.

    Raises:
        Outage, Refused: it cannot be read.
    """
    opened = source()
    if opened is None:
        return ""
    with opened as journal:
        return (journal.first_chain() or b"").hex()[:16]


def epoch_of(source: Source, lsn: int) -> int:
    """Return in which epoch a row was written, 0 where none is.

    Raises:
        Outage, Refused: it cannot be read.
    """
    opened = source()
    if opened is None:
        return 0
    with opened as journal:
        return journal.epoch_at(lsn)


def held(source: Source, place: int, epoch: int) -> int:
    """Return up to where a journal has what a server has up to a place, whose row was of an epoch.

    Rows that were lost have successors of a later epoch under the same numbers, which the server lacks.

    Raises:
        Outage, Refused: it cannot be read.
    """
    opened = source()
    if opened is None or not epoch:
        return place
    with opened as journal:
        return min(place, journal.end_of(epoch))
