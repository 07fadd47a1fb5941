"""Catching the store up with the journal: what follows from its records, as rows.

The state is folded by the same `apply` as in the OMS, from the first record, so that quantities,
average prices and realised results are those that the OMS had. Rows are written only from behind
`applied_lsn`, less a margin: the rows of one turn may lie in two batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tradefan.core.ledger import position
from tradefan.core.trading import Trading, apply
from tradefan.core.updates import order_update, parent_update, position_update
from tradefan.messages.control import StoreBatch, Stored
from tradefan.messages.orders import FillUpdate
from tradefan.messages.records import (
    CancelIntent,
    CancelRefused,
    Fill,
    InDoubt,
    Intent,
    NotSent,
    Parent,
    ParentFailed,
    PhaseChange,
    Record,
    Report,
    Resolved,
)
from tradefan.stores.journal import JournalFile, Row
from tradefan.stores.sqlite import StoreFile
from tradefan.units import ClientOrderId, ParentId

MARGIN = 1_000
"""More records than one turn makes."""
BATCH = 1_000

_OF_AN_ORDER = (Intent, NotSent, Report, InDoubt, Resolved, CancelIntent, CancelRefused)


def catch_up(store: StoreFile, journal: JournalFile, *, at_start: bool = True) -> int:
    """Bring a store up to its journal and return `applied_lsn`.

    At the start what was stored ahead of the journal's end goes: a crash came between a message and
    the commit of its record. A store that followed another journal keeps its history and begins anew.
    """
    known, journal_id = store.meta("journal"), journal.first_chain()
    applied = min(store.applied_lsn, journal.last_lsn)
    if known is not None and known != journal_id:
        store.forget_positions()
        applied = 0
    elif at_start:
        store.forget_unjournaled(journal.last_lsn, journal.last_at_ns())
    store.begin_at(journal_id, applied)
    project(journal.rows(), store, max(0, applied - MARGIN))
    return store.applied_lsn


def project(rows: Iterable[Row], store: StoreFile, after_lsn: int) -> None:
    """Fold all rows and write what follows from those behind `after_lsn`."""
    state = Trading()
    stored: list[Stored] = []
    lsn = 0
    for lsn, _, record in rows:
        stored += _follow(state, lsn, record) if lsn > after_lsn else _fold(state, record)
        if len(stored) >= BATCH:
            store.write(StoreBatch(0, tuple(stored), lsn))
            stored.clear()
    store.write(StoreBatch(0, tuple(stored), lsn))


def _fold(state: Trading, record: Record) -> tuple[Stored, ...]:
    apply(state, record)
    return ()


def _follow(state: Trading, lsn: int, record: Record) -> Iterator[Stored]:
    """Apply a record and yield the rows that it changed."""
    if isinstance(record, Fill):
        yield from _follow_fill(state, lsn, record)
        return
    apply(state, record)
    if isinstance(record, _OF_AN_ORDER):
        yield from _order_rows(state, record.client_order_id)
    elif isinstance(record, Parent):
        yield from _parent_rows(state, record.order.parent_id)
    elif isinstance(record, PhaseChange | ParentFailed):
        yield from _parent_rows(state, record.parent_id)


def _follow_fill(state: Trading, lsn: int, record: Fill) -> Iterator[Stored]:
    where = (record.account, record.owner, record.instrument)
    realised, fills = position(state.ledger, *where).realised, state.fills
    apply(state, record)
    if state.fills == fills:
        return
    order = None if record.client_order_id is None else state.orders.get(record.client_order_id)
    yield FillUpdate(
        account=record.account,
        instrument=record.instrument,
        owner=record.owner,
        parent_id=None if order is None else order.parent_id,
        client_order_id=record.client_order_id,
        trade_id=record.trade_id,
        side=record.side,
        qty=record.qty,
        price=record.price,
        fee=record.fee,
        fee_asset=record.fee_asset,
        liquidity=record.liquidity,
        event_ns=record.event_ns,
        lsn=lsn,
        realised=position(state.ledger, *where).realised - realised,
    )
    yield position_update(state, *where)
    if order is not None:
        yield from _order_rows(state, order.client_order_id)


def _order_rows(state: Trading, name: ClientOrderId) -> Iterator[Stored]:
    order = state.orders.get(name)
    if order is not None:
        yield order_update(order)
        yield from _parent_rows(state, order.parent_id)


def _parent_rows(state: Trading, name: ParentId) -> Iterator[Stored]:
    parent = state.parents.get(name)
    if parent is not None:
        yield parent_update(parent)
