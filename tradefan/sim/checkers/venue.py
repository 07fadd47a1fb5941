"""The venue's book by our ids: its orders, their trades, and which of these nobody could expect."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, field

from tradefan.sim.checkers.base import Newer
from tradefan.sim.witness import VenueOrder, VenueTrade, VenueTruth
from tradefan.units import ZERO


class Placed(Struct):
    """One order of the venue's book; `beyond` are trades behind its end, or over its quantity."""

    order: VenueOrder
    trades: list[VenueTrade] = field(default_factory=list)
    beyond: list[VenueTrade] = field(default_factory=list)
    ended: bool = False
    first: Decimal = ZERO
    """What all of them were when they happened."""

    @property
    def counts(self) -> Decimal:
        """What it has traded as it was to be expected, and may still trade."""
        return _sum(self.trades) + self.order.open_qty

    @property
    def surprise(self) -> Decimal:
        """What it has traded beyond that."""
        return _sum(self.beyond)

    @property
    def traded(self) -> Decimal:
        """What all of them are now."""
        return _sum(self.trades) + _sum(self.beyond)


class Index:
    """Follows the venue's log; its fills come in the order of its trades."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._log, self._trades = Newer(), 0
        self._by_number: dict[int, Placed] = {}
        self.by_id: dict[str, list[Placed]] = {}
        """Our orders by client id."""
        self.revisions = 0
        """How many trades the venue has taken back or changed."""

    def follow(self, venue: VenueTruth) -> dict[str, None]:
        """Take up what is new; return the client ids that it is about."""
        touched: dict[str, None] = {}
        for event in self._log.of(venue.log):
            touched[event.client_order_id] = None
            if event.what == "accepted" and event.order_id is not None:
                self._accepted(venue.orders[event.order_id])
            elif event.what in ("canceled", "expired"):
                self._ended(event.order_id)
            elif event.what == "fill":
                self._filled(venue.trades[self._trades], event.qty)
            elif event.what in ("bust", "correct"):
                self.revisions += 1
        return touched

    def of(self, client_order_id: str) -> list[Placed]:
        """Return the orders under one of our client ids."""
        return self.by_id.get(client_order_id, [])

    def _accepted(self, order: VenueOrder) -> None:
        placed = self._by_number[order.order_id] = Placed(order)
        if order.ours:
            self.by_id.setdefault(order.client_order_id, []).append(placed)

    def _ended(self, order_id: int | None) -> None:
        placed = None if order_id is None else self._by_number.get(order_id)
        if placed is not None:
            placed.ended = True

    def _filled(self, trade: VenueTrade, first: Decimal) -> None:
        self._trades += 1
        placed = self._by_number.get(trade.order_id)
        if placed is not None:
            placed.first += first
            (placed.beyond if placed.ended or trade.overfill else placed.trades).append(trade)


def _sum(trades: list[VenueTrade]) -> Decimal:
    return sum((trade.qty for trade in trades if not trade.busted), ZERO)
