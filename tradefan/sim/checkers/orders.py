"""Orders as the records tell them: an own fold, which shares nothing with `core/order`.

Only what the checkers need: how much has traded, how much may still trade, and whether there was
proof that the order never was.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from msgspec import Struct

from tradefan.messages.records import (
    Bust,
    CancelIntent,
    Correct,
    Epoch,
    ExternalOrder,
    Fill,
    FillInferred,
    FillReplaced,
    Intent,
    NotSent,
    Record,
    Report,
    Resolved,
)
from tradefan.units import ZERO, AccountId, Asset, InstrumentId, OwnerId, ParentId, Side

ENDS = ("FILLED", "CANCELED", "REJECTED", "EXPIRED")
"""The venue's words that end an order."""


class Child(Struct):
    """One order; `void` while there is proof that it never was, `ended` by the venue's word or by that.

    `revised` is what was taken back of it, each with the instant before which reports still count it;
    zero where a trade came as it is since, or never, and nobody said what it had been.
    """

    client_order_id: str
    account: AccountId
    instrument: InstrumentId
    owner: OwnerId
    parent_id: ParentId | None
    side: Side
    qty: Decimal
    asset: Asset
    per_unit: Decimal
    epoch: int
    epoch_ns: int
    intent: Intent | None
    filled: Decimal = ZERO
    reported: Decimal = ZERO
    reported_ns: int = 0
    revised: tuple[tuple[int, Decimal], ...] = ()
    ended: bool = False
    void: bool = False
    cancelled: bool = False

    @property
    def cum(self) -> Decimal:
        """What has traded, by fills or by the venue's word, whichever is more."""
        return max(self.filled, self.reported)

    @property
    def rest(self) -> Decimal:
        """What may still trade."""
        return ZERO if self.ended else max(self.qty - self.cum, ZERO)

    @property
    def reserved(self) -> Decimal:
        """What that rest can cost of its asset, and what has traded and is not booked, of ours."""
        unbooked = ZERO if self.intent is None else self.cum - self.filled
        return (self.rest + unbooked) * self.per_unit


class Orders:
    """All orders that records name; `take` returns the one that a record changed."""

    def __init__(self) -> None:
        """Begin without any."""
        self.known: dict[str, Child] = {}
        self.epoch = 0
        self.epoch_ns = 0
        self.inferred: dict[str, Fill] = {}
        self.unseen: dict[tuple[str, str, str], int] = {}
        """Trades that were revised before they were told, and when; nobody knows of which order they are."""

    def take(self, record: Record) -> Child | None:
        """Fold one record."""
        handler = _TAKES.get(type(record))
        return None if handler is None else handler(self, record)


def _of(orders: Orders, record: Any) -> Child | None:  # noqa: ANN401 any record that names an order
    return orders.known.get(record.client_order_id)


def _on_epoch(orders: Orders, record: Epoch) -> Child | None:
    orders.epoch, orders.epoch_ns = record.epoch, record.at_ns
    return None


def _on_intent(orders: Orders, record: Intent) -> Child:
    child = Child(
        record.client_order_id,
        record.account,
        record.instrument,
        record.owner,
        record.parent_id,
        record.side,
        record.order_qty,
        record.reserve_asset,
        record.reserve_per_unit,
        orders.epoch,
        orders.epoch_ns,
        record,
    )
    return orders.known.setdefault(record.client_order_id, child)


def _on_external(orders: Orders, record: ExternalOrder) -> Child:
    child = Child(
        record.client_order_id,
        record.account,
        record.instrument,
        OwnerId("external"),
        None,
        record.side,
        record.order_qty,
        record.reserve_asset,
        record.reserve_per_unit,
        orders.epoch,
        orders.epoch_ns,
        None,
        reported=record.cum_qty,
    )
    orders.known[record.client_order_id] = child
    return child


def _on_report(orders: Orders, record: Report) -> Child | None:
    child = _of(orders, record)
    if child is not None:
        # What was taken back is still in a word from before.
        since = sum((qty for until_ns, qty in child.revised if record.event_ns < until_ns), ZERO)
        word = (record.cum_qty - since, record.event_ns)
        known = (child.reported, child.reported_ns)
        if word[0] < known[0]:
            # Less behind such a revision than before it: the trade was of this order.
            child.revised += tuple(
                (until_ns, ZERO)
                for (account, instrument, _), until_ns in orders.unseen.items()
                if (account, instrument) == (child.account, child.instrument)
                and known[1] < until_ns <= word[1]
            )
        # Where nobody knows how much, only the later of two words on either side of it counts.
        apart = any(
            not qty and min(known[1], word[1]) < until_ns <= max(known[1], word[1])
            for until_ns, qty in child.revised
        )
        child.reported, child.reported_ns = (
            max(known, word, key=lambda it: it[1]) if apart else max(known, word)
        )
        child.qty = child.qty if record.order_qty is None else record.order_qty
        child.ended = child.ended or record.status in ENDS
    return child


def _on_fill(orders: Orders, fill: Fill) -> Child | None:
    child = _of(orders, fill)
    if child is None or (child.account, child.instrument) != (fill.account, fill.instrument):
        return None
    child.filled += fill.qty
    return child


def _on_inferred(orders: Orders, record: FillInferred) -> Child | None:
    orders.inferred[record.fill.trade_id] = record.fill
    return _on_fill(orders, record.fill)


def _on_replaced(orders: Orders, record: FillReplaced) -> Child | None:
    fill = orders.inferred.get(record.trade_id)
    child = None if fill is None else _of(orders, fill)
    if child is not None:
        child.filled -= record.qty
    return child


def _on_bust(orders: Orders, record: Bust | Correct) -> Child | None:
    """Only this lowers what has traded, by what the trade has lost; full by its fills is not ended then."""
    fill, trade = record.fill, (record.account, record.instrument, record.trade_id)
    child = None if fill is None else _of(orders, fill)
    if fill is None:
        orders.unseen[trade] = record.event_ns
    else:
        orders.unseen.pop(trade, None)
    if fill is None or child is None:
        return None
    lost = fill.qty - record.qty if isinstance(record, Correct) else fill.qty
    until_ns = max(record.event_ns or record.at_ns, fill.event_ns + 1)
    child.filled -= lost
    if lost or (isinstance(record, Correct) and record.price == fill.price):
        child.revised += ((until_ns, lost),)
    if child.reported_ns < until_ns:
        child.reported = max(child.reported - lost, ZERO)
    return child


def _on_proof(orders: Orders, record: NotSent) -> Child | None:
    return _void(orders, record)


def _on_resolved(orders: Orders, record: Resolved) -> Child | None:
    if record.verdict == "NOT_PLACED":
        return _void(orders, record)
    child = _of(orders, record)
    if child is not None:
        # Adopted: it exists, and what had ended rests.
        child.void = child.ended = False
    return child


def _void(orders: Orders, record: NotSent | Resolved) -> Child | None:
    child = _of(orders, record)
    if child is not None:
        child.void = child.ended = True
    return child


def _on_cancel(orders: Orders, record: CancelIntent) -> Child | None:
    child = _of(orders, record)
    if child is not None:
        child.cancelled = True
    return child


_TAKES: dict[type[Any], Callable[[Orders, Any], Child | None]] = {
    Epoch: _on_epoch,
    Intent: _on_intent,
    ExternalOrder: _on_external,
    Report: _on_report,
    Fill: _on_fill,
    FillInferred: _on_inferred,
    FillReplaced: _on_replaced,
    Bust: _on_bust,
    Correct: _on_bust,
    NotSent: _on_proof,
    Resolved: _on_resolved,
    CancelIntent: _on_cancel,
}
