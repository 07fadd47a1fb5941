"""Catching the store up with the journal: what follows from its records, as rows.

The state is folded by the same `apply` as in the OMS, from a snapshot or from the first record, so
that quantities, average prices and realised results are those that the OMS had. Rows are written only
from behind `applied_lsn`, less a margin: the rows of one turn may lie in two batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from tradefan.core.ledger import position
from tradefan.core.told import told
from tradefan.core.trading import Trading, apply
from tradefan.core.updates import (
    fill_update,
    kept_tca,
    order_update,
    parent_update,
    position_update,
    tca_update,
)
from tradefan.messages.contingent import Amend, Armed, Disarmed, Triggered, TriggerPause, Watermark
from tradefan.messages.control import StoreBatch, Stored
from tradefan.messages.orders import FillUpdate
from tradefan.messages.records import (
    Assign,
    Bust,
    CancelIntent,
    CancelRefused,
    Correct,
    ExternalOrder,
    Fill,
    FillInferred,
    FillReplaced,
    InDoubt,
    Intent,
    NotSent,
    Parent,
    PhaseChange,
    Record,
    Report,
    Resolved,
)
from tradefan.messages.tca import Tca, TcaUpdate
from tradefan.messages.work import (
    AmendAsked,
    Amended,
    ParentFailed,
)
from tradefan.stores.journal import SNAPSHOT_SPACING, JournalFile, Row
from tradefan.stores.sqlite import StoreFile
from tradefan.units import ZERO, AccountId, ClientOrderId, InstrumentId, OwnerId, ParentId

MARGIN = SNAPSHOT_SPACING
"""More records than one turn makes."""
BATCH = 500
"""Rows written together; fewer than the ended orders that the state remembers."""

_OF_AN_ORDER = (Intent, ExternalOrder, NotSent, Report, InDoubt, Resolved, CancelIntent, CancelRefused)
_OF_A_PARENT = (
    PhaseChange,
    ParentFailed,
    AmendAsked,
    Armed,
    Watermark,
    TriggerPause,
    Triggered,
    Disarmed,
    Amend,
)
_MOVES = (Fill, FillInferred, FillReplaced, Bust, Correct)
"""What changes a position by a trade."""

_decoder = msgspec.msgpack.Decoder(Trading)


class Place(NamedTuple):
    """A journal, told by its first hash, and where it ended before a process wrote to it."""

    journal_id: bytes | None
    end_lsn: int


def place_of(journal: JournalFile) -> Place:
    """Return which journal this is, and where it ends."""
    return Place(journal.first_chain(), journal.last_lsn)


def begin(store: StoreFile, place: Place, told_lsn: int | None = None) -> None:
    """Take away what was stored ahead of the journal's end, before a new process writes to either.

    A crash came between a message and the commit of its record. `told_lsn` is where the life ended whose
    rows came last, when others have journaled behind it that never came here. A store that followed
    another journal keeps its history and begins anew.
    """
    known = store.meta("journal")
    if known is None or known == place.journal_id:
        end_lsn = place.end_lsn
        store.forget_unjournaled(end_lsn if told_lsn is None else min(told_lsn, end_lsn), end_lsn)
    else:
        store.make_history(place.journal_id)


def catch_up(store: StoreFile, journal: JournalFile) -> int:
    """Bring a store up to its journal and return `applied_lsn`; it takes nothing away.

    While the OMS runs its messages may come here before their records are on the disk.
    """
    known, journal_id = store.meta("journal"), journal.first_chain()
    if known is None:
        store.follow(journal_id)
    elif known != journal_id:
        store.make_history(journal_id)
    after_lsn = max(0, min(store.applied_lsn, journal.last_lsn) - MARGIN)
    state, begin_lsn = state_at(journal, after_lsn)
    forgot = store.forgot
    project(state, journal.rows(begin_lsn), store, after_lsn, whole=forgot or begin_lsn > after_lsn)
    if forgot:
        store.made_whole()
    return store.applied_lsn


def state_at(journal: JournalFile, up_to: int) -> tuple[Trading, int]:
    """Return the newest state that the journal kept up to an lsn, and its lsn; at worst nothing at 0.

    A journal whose first rows are accepted as lost has a state instead of them, the oldest one.
    """
    kept = list(journal.snapshots(up_to))
    if not kept and journal.begin()[0] and (oldest := journal.oldest()) is not None:
        kept = [oldest]
    for lsn, state in kept:
        with suppress(msgspec.MsgspecError):
            return _decoder.decode(state), lsn
    return Trading(), 0


def project(
    state: Trading, rows: Iterable[Row], store: StoreFile, after_lsn: int, *, whole: bool = False
) -> None:
    """Fold rows into a state and write what follows from those behind `after_lsn`.

    `whole` writes everything that the state shows at the end, whenever it was touched.
    """
    follower = Follower(state)
    lsn = state.lsn
    for lsn, _, record in rows:
        if lsn <= after_lsn:
            apply(state, record)
            continue
        follower.take(lsn, record)
        if follower.size >= BATCH:
            store.write(StoreBatch(0, follower.give(), lsn))
    if whole:
        follower.touch_all()
    store.write(StoreBatch(0, follower.give(), lsn))


class Follower:
    """Folds records and remembers what they touch; pictures are made once, when they are given."""

    def __init__(self, state: Trading) -> None:
        """Go on with a state."""
        self.state = state
        self._fills: list[FillUpdate] = []
        self._tcas: list[TcaUpdate] = []
        self._orders: dict[ClientOrderId, None] = {}
        self._parents: dict[ParentId, None] = {}
        self._positions: dict[tuple[AccountId, OwnerId, InstrumentId], None] = {}

    @property
    def size(self) -> int:
        """How many rows `give` would give, about."""
        return len(self._fills) + len(self._tcas) + len(self._orders) + len(self._parents)

    def touch_all(self) -> None:
        """Give next time every picture of the state."""
        self._orders.update(dict.fromkeys(self.state.orders))
        self._parents.update(dict.fromkeys(self.state.parents))
        told = {one.parent_id: None for one in self._tcas}
        kept = (kept_tca(self.state, name) for name in self.state.tracks if name not in told)
        self._tcas += [one for one in kept if one is not None]
        for account, by_owner in self.state.ledger.positions.items():
            for owner, held in by_owner.items():
                self._positions.update(dict.fromkeys((account, owner, one) for one in held))

    def take(self, lsn: int, record: Record) -> None:
        """Apply a record."""
        if isinstance(record, _MOVES):
            self._trade(lsn, record)
            return
        apply(self.state, record)
        if isinstance(record, _OF_AN_ORDER):
            self._touch(record.client_order_id)
            if isinstance(record, Intent) and record.replaces is not None:
                self._touch(record.replaces)
        elif isinstance(record, Parent | Amended):
            self._parents[record.order.parent_id] = None
        elif isinstance(record, _OF_A_PARENT):
            self._parents[record.parent_id] = None
        elif isinstance(record, Tca):
            self._tcas.append(tca_update(record, lsn))
        elif isinstance(record, Assign):
            for owner in (record.giver, record.taker):
                self._positions[record.account, owner, record.instrument] = None

    def give(self) -> tuple[Stored, ...]:
        """Return what was touched as it is now, and forget that it was."""
        state = self.state
        orders = (state.orders[name] for name in self._orders if name in state.orders)
        parents = (state.parents[name] for name in self._parents if name in state.parents)
        rows: tuple[Stored, ...] = (
            *(order_update(order, state.lsn) for order in orders),
            *self._fills,
            *(position_update(state, *where) for where in self._positions),
            *(parent_update(parent, state.lsn) for parent in parents),
            *self._tcas,
        )
        for touched in (self._fills, self._tcas, self._orders, self._parents, self._positions):
            touched.clear()
        return rows

    def _touch(self, name: ClientOrderId) -> None:
        order = self.state.orders.get(name)
        if order is not None:
            self._orders[name] = None
            self._positions[order.account, order.owner, order.instrument] = None
            self._parents[order.parent_id] = None

    def _trade(self, lsn: int, record: Fill | FillInferred | FillReplaced | Bust | Correct) -> None:
        """Tell a trade, or what was taken back of it, as the OMS does."""
        fills, state = told(self.state, record, lsn), self.state
        if not fills:
            apply(state, record)
            return
        first = fills[0]
        where = (first.account, first.owner, first.instrument)
        realised, unapplied = position(state.ledger, *where).realised, state.unapplied
        apply(state, record)
        if state.unapplied != unapplied:
            return
        realised = position(state.ledger, *where).realised - realised
        order = None if first.client_order_id is None else state.orders.get(first.client_order_id)
        parent_id = None if order is None or order.external else order.parent_id
        for fill in fills:
            self._fills.append(fill_update(fill, lsn, parent_id, realised if fill is first else ZERO))
        self._positions[where] = None
        if order is not None:
            self._touch(order.client_order_id)
