"""What a point writer knows of the journal, which the news of orders, fills and books follow from.

Nobody outside may see what a crash can take back, so these rows leave when their records are on the disk.
They go in order, one batch at a time, each with the place in the journal up to which the server has
everything then; the server keeps that place. It is the end of a turn of the order manager: a picture tells
what all records of its turn have changed, so behind a place within a turn it would be missing for ever.

What a crash, a successor's start or want of room takes from memory is `missing`, until the link has written
it from the journal itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct, field

from tradefan.actors.data_writer import OWN, journaled
from tradefan.messages.control import Journaled, PointBatch
from tradefan.messages.orders import FillUpdate, OrderUpdate, ParentUpdate, PositionUpdate
from tradefan.messages.tca import TcaUpdate

Own: TypeAlias = OrderUpdate | ParentUpdate | FillUpdate | PositionUpdate | TcaUpdate
PICTURES = (OrderUpdate, ParentUpdate, PositionUpdate)
"""What has the number of its turn's last record, and tells what any record of that turn changed."""
OWN_MAX = 200
"""Rows of a batch that follow from the journal: they and their place fit into one request."""


class Followed(Struct):
    """Rows that wait, and how far the journal is on the disk."""

    rows: list[Own] = field(default_factory=list)
    ready: int = 0
    """So many of them, the first, are durable."""
    durable: int = 0
    end: int = 0
    """A turn of the order manager that is durable as a whole ended here."""
    begun: bool = False
    """Whether the journal's place was heard: what was told before may be missing."""
    missing: int = 0
    """What follows from the journal up to here has to come from there; 0: nothing."""
    left: dict[str, int] = field(default_factory=lambda: {kind.__name__: 0 for kind in OWN})
    """Rows that were left to the journal, by message class."""

    @property
    def due(self) -> bool:
        """Whether the journal has what is missing."""
        return self.begun and 0 < self.missing <= self.durable

    @property
    def sendable(self) -> int:
        """Count the rows that may leave now, while no other batch of theirs is under way."""
        return 0 if self.missing else self.ready


def tell(state: Followed, row: Own) -> None:
    """Take a row; news without a record of its own is of one that is durable already."""
    state.rows.append(row)
    _count(state)


def hear(state: Followed, msg: Journaled) -> None:
    """Note how far the disk is; at the first word, that all before it was told to somebody else."""
    if not state.begun:
        state.begun, state.missing = True, max(state.missing, msg.last)
    state.durable = max(state.durable, msg.lsn)
    if msg.last <= state.durable:
        state.end = max(state.end, msg.last)
    _count(state)


def forget(state: Followed, lsn: int) -> None:
    """Let go what was told beyond a number, which never was."""
    state.missing = min(state.missing, lsn)
    _keep(state, journaled(state.rows, lsn))


def leave(state: Followed) -> int:
    """Leave all rows to the journal, once and not one by one, and return how many."""
    gone, state.rows, state.ready = state.rows, [], 0
    state.missing = max(state.missing, *(row.lsn for row in gone))
    _note_left(state, gone)
    return len(gone)


def ask(state: Followed, batch_id: int) -> PointBatch:
    """Return the batch that asks for what is missing; rows that it brings need not wait any more."""
    up_to, state.missing = state.missing, 0
    _note_left(state, journaled(state.rows, up_to))
    _keep(state, [row for row in state.rows if row.lsn > up_to])
    return PointBatch(batch_id, (), up_to=up_to)


def first(state: Followed, most: int) -> tuple[tuple[Own, ...], int | None]:
    """Return the next rows, and the place in the journal that they complete, None where they end no turn."""
    count = min(state.sendable, most, OWN_MAX)
    if not count:
        return (), None
    rows = tuple(state.rows[:count])
    ends = [state.end, *(row.lsn for row in rows if isinstance(row, PICTURES))]
    if count < len(state.rows):
        # Turns come in order, so what waits tells of nothing up to a turn's end below the first of it.
        ends = [lsn for lsn in ends if lsn < state.rows[count].lsn]
    return rows, max(ends, default=0) or None


def took(state: Followed, count: int) -> None:
    """Forget the first rows, which are under way."""
    del state.rows[:count]
    state.ready -= count


def put_back(state: Followed, batches: Iterable[PointBatch]) -> None:
    """Let what is without an answer wait again; a point that is written twice is one point."""
    for batch in batches:
        if batch.up_to is not None:
            state.missing = max(state.missing, batch.up_to)
        again = [row for row in batch.rows[: batch.own] if isinstance(row, OWN)]
        state.rows[:0] = again
        state.ready += len(again)


def _count(state: Followed) -> None:
    rows, ready = state.rows, state.ready
    while ready < len(rows) and rows[ready].lsn <= state.durable:
        ready += 1
    state.ready = ready


def _keep(state: Followed, rows: list[Own]) -> None:
    state.rows, state.ready = rows, 0
    _count(state)


def _note_left(state: Followed, rows: Iterable[Own]) -> None:
    for row in rows:
        state.left[type(row).__name__] += 1
